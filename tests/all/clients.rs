//! The bot SDKs of `gateway/clients`: each keeps its own tests, in its own language, against its own scripted gateway.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use patchbay::cli::call::place;
use patchbay_sim::realtime::Script;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};

use crate::bot_http::nginx::Nginx;
use crate::house;
use crate::stage::Stage;

const KEY: &str = "a-gateway-key-of-this-test-alone";
const LANGUAGES: [&str; 4] = ["python", "node", "go", "rust"];

/// Runs `program` of the top, or of the path, in the folder of an SDK. Panics, with all that it said, when it fails.
fn run(language: &str, program: &str, arguments: &[&str]) {
    let inside = house::root().join(program);
    let program = if inside.exists() { inside.as_os_str() } else { program.as_ref() };
    let folder = house::root().join("gateway/clients").join(language);
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output =
        output.unwrap_or_else(|e| panic!("{}: {e}: run `bash tests/setup.sh test`", program.display()));
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{language}: {}\n{said}{complained}", output.status);
}

#[test]
fn the_python_sdk_keeps_its_unit_tests() {
    run("python", "tests/interop/.venv/bin/python", &["-m", "unittest"]);
}

#[test]
fn the_node_sdk_keeps_its_unit_tests() {
    run("node", "node", &["--test"]);
}

#[test]
fn the_go_sdk_keeps_its_unit_tests() {
    run("go", "tests/interop/.venv/bin/go", &["test", "./..."]);
}

/// Lines that do something: without comments, imports and empty ones.
fn lines_that_do(source: &str) -> usize {
    let mut imports = false;
    let does = |line: &&str| {
        imports = (imports || *line == "import (") && *line != ")";
        let line = line.trim_start();
        let words = ["import ", "from ", "use ", "package ", "//", "\"\"\"", ")"];
        !imports && !line.is_empty() && !words.iter().any(|word| line.starts_with(word))
    };
    source.lines().filter(does).count()
}

#[test]
fn an_echo_bot_has_at_most_thirty_lines() {
    for example in [
        "python/examples/echo.py",
        "node/examples/echo.mjs",
        "go/examples/echo/main.go",
        "rust/examples/echo.rs",
    ] {
        let lines = lines_that_do(&house::text(&format!("gateway/clients/{example}")));
        assert!((10..=30).contains(&lines), "{example} has {lines}");
    }
}

/// A gateway with a route to each of these bots, and more configuration before them.
pub(crate) async fn stage_with(file: &str, routes: &[(&str, &str)]) -> Stage {
    let route = |(name, bot): &(&str, &str)| {
        format!("[tenants.default.routes.{name}]\nbot = \"{bot}\"\ngreeting = \"\"\n")
    };
    let routes: String = routes.iter().map(route).collect();
    let key = "api_key = { env = \"CLIENTS_KEY\" }\n";
    let file =
        format!("{}{routes}", file.replace("[tenants.default]\n", &format!("[tenants.default]\n{key}")));
    Stage::set_with(Script::default(), &file, &[("CLIENTS_KEY", KEY)]).await
}

/// The echo bot in Rust: an example of the workspace, built with its tests.
fn rust_echo() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    let built = folder.with_file_name("examples").join("echo");
    assert!(built.exists(), "{}: run `cargo build -p patchbay-bot --example echo`", built.display());
    built
}

/// Runs `conformance.py` against the gateway, and places the calls that it asks for. Answers its verdict.
pub(crate) async fn conform(
    stage: &Stage,
    arguments: Vec<String>,
    call: impl Fn(&[&str]) -> Value + Send + 'static,
) -> Value {
    let gateway = format!("http://{}", stage.public());
    let python = house::root().join("tests/interop/.venv/bin/python");
    let script = house::root().join("gateway/clients/conformance.py");
    let conforming = spawn_blocking(move || {
        let mut command = Command::new(python);
        command
            .arg(script)
            .args(["--gateway", &gateway, "--key", KEY, "--rust"])
            .arg(rust_echo())
            .args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut tell = child.stdin.take().unwrap();
        let mut verdict = Value::Null;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            println!("{line}");
            verdict = serde_json::from_str(&line).unwrap_or_default();
            if let Some(languages) = verdict["call"].as_array() {
                let languages: Vec<&str> = languages.iter().filter_map(Value::as_str).collect();
                writeln!(tell, "{}", call(&languages)).unwrap();
            }
        }
        assert!(child.wait().unwrap().success(), "{verdict}");
        verdict
    });
    conforming.await.unwrap()
}

/// The four are called by phone, and all say something. `arguments` are those of `conformance.py`.
async fn take_phone_calls(stage: &Stage, arguments: Vec<String>) {
    let plans = [0, 1, 2, 3].map(|number| {
        let mut plan = stage.caller_of("default", LANGUAGES[number], "caller-short.wav");
        plan.from = format!("+1500555000{number}");
        (LANGUAGES[number], plan)
    });
    let runtime = Handle::current();
    let verdict = conform(stage, arguments, move |languages| {
        let called = plans.iter().filter(|(language, _)| languages.contains(language)).cloned();
        let placed: JoinSet<_> = called
            .map(|(language, plan)| async move { (language, place(&plan, |_| ()).await.unwrap()) })
            .collect();
        let reports = runtime.block_on(placed.join_all()).into_iter().map(|(language, report)| {
            // 31921: the gateway closed the stream, for the bot hung up.
            let complaints: Vec<_> = report.warnings.iter().filter(|warning| **warning != 31_921).collect();
            assert!(
                report.invalid == 0 && complaints.is_empty(),
                "{language}: Twilio would complain: {complaints:?}"
            );
            let told = json!({ "speech_came_back": report.speech_came_back, "clears": report.clears });
            (language.to_owned(), told)
        });
        reports.collect::<serde_json::Map<_, _>>().into()
    });
    let verdict = verdict.await;
    let is_called = |language: &&str| verdict["calls"][*language]["call"].is_string();
    assert!(LANGUAGES.iter().all(is_called), "{verdict}");
}

fn a_route_for_each() -> [(&'static str, &'static str); 4] {
    LANGUAGES.map(|language| (language, language))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_echo_bots_take_a_phone_call_and_cost_little_while_they_wait() {
    let stage = stage_with("[tenants.default]\n", &a_route_for_each()).await;
    take_phone_calls(&stage, Vec::new()).await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_echo_bots_notice_that_debians_nginx_keeps_what_they_say_and_send_batches() {
    let stage = stage_with("[tenants.default]\n", &a_route_for_each()).await;
    let nginx = Nginx::before(stage.public(), "").await;
    let proxy = ["--no-idle".to_owned(), "--proxy".to_owned(), format!("http://{}", nginx.at)];
    take_phone_calls(&stage, proxy.to_vec()).await;
    stage.clear().await;
}
