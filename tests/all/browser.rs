//! Real browsers against a real gateway: the pages that it serves, and who uses them.
//!
//! Each script of `tests/browser` is one person's visit. It prints what it saw as JSON, or why it is not content.

mod bots;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use patchbay::cli::call::place;
use patchbay::cli::folder::Folder;
use patchbay_sim::realtime::Script;
use serde_json::Value;

use crate::house;
use crate::stage::{Stage, json, model_that_says};

/// The gateway of `patchbay demo`, as far as a browser sees it.
const PARROT: &str = "[page]\nopen = true\ntokens_per_minute_max = 100\n\
                      [providers.parrot]\nkind = \"parrot\"\n\
                      [tenants.default]\nallowed_origins = [\"*\"]\n\
                      [tenants.default.routes.default]\nprovider = \"parrot\"\ngreeting = \"Greet the caller.\"\n";

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

/// Where pictures of the pages are left, for a person to look at.
fn pictures() -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&folder).expect("the folder of the build can be written to");
    folder.display().to_string()
}

/// A visit by browser; answers what it saw.
async fn visit(script: &'static str, arguments: Vec<String>) -> Value {
    let visit = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        node("tests/browser", script, &arguments)
    });
    let said = visit.await.expect("the visit did not panic");
    println!("{script}: {said}");
    serde_json::from_str(said.trim()).unwrap_or_default()
}

async fn stage() -> Stage {
    Stage::set(Script::default(), PARROT).await
}

/// What the operator of a test shows.
const ADMIN_KEY: &str = "the-key-of-the-operator-of-this-test";

/// Runs a program of Node's below `folder`. Panics, with all that it said, when it is not content.
fn node(folder: &str, script: &str, arguments: &[&str]) -> String {
    let folder = house::root().join(folder);
    assert!(folder.join("node_modules").exists(), "{}: run `bash tests/setup.sh test`", folder.display());
    let output = Command::new("node").arg(script).args(arguments).current_dir(&folder).output();
    let output = output.unwrap_or_else(|e| panic!("node: {e}: run `bash tests/setup.sh test`"));
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} {arguments:?}: {}\n{said}{complained}", output.status);
    said.into_owned()
}

#[test]
fn the_client_its_components_and_the_page_keep_their_unit_tests() {
    node("gateway/web", "scripts/unit.mjs", &[]);
}

#[test]
fn the_pages_were_built_and_are_within_their_budget() {
    let built = house::root().join("gateway/web/dist/index.html");
    assert!(built.exists(), "the page is not built: run `bash tests/setup.sh test`");
    print!("{}", node("gateway/web", "scripts/budget.mjs", &[]));
}

#[tokio::test]
async fn the_pages_are_served_with_what_they_may_do() {
    let stage = stage().await;
    let page = stage.get("/", "").await;
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self';",
        "permissions-policy: microphone=(self)",
        "cache-control: no-cache",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(page.contains(header), "no {header} in {page}");
    }
    assert!(!page.contains("<script>"), "an inline script would not run under the policy");
    let script =
        page.split("src=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("the page has a script");
    let script = stage.get(script, "").await;
    assert!(script.contains("cache-control: public, max-age=31536000, immutable"));
    assert!(script.contains("content-type: text/javascript"));
    for path in ["/sw.js", "/manifest.webmanifest", "/voice-call.js", "/voice-worklet.js", "/console"] {
        let answer = stage.get(path, "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {}", answer.lines().next().unwrap_or_default());
    }
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_talks_with_the_parrot_by_websocket_and_speaks_over_it() {
    talks("ws").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_talks_with_the_parrot_by_webrtc_over_udp_and_speaks_over_it() {
    talks("udp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_talks_with_the_parrot_by_webrtc_over_tcp_and_speaks_over_it() {
    talks("tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_voice_page_is_accessible_installable_and_there_without_a_network() {
    let stage = stage().await;
    let seen = visit("page.mjs", vec![url(stage.public()), pictures()]).await;
    assert_eq!(seen["installability"], "none against it");
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_script_tag_puts_a_call_into_somebody_elses_page() {
    let stage = stage().await;
    let token = token(&stage).await;
    visit("element.mjs", vec![url(stage.public()), token, "ws".into()]).await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_voice_page_talks_in_firefox() {
    let stage = stage().await;
    visit("firefox.mjs", vec![url(stage.public())]).await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmodified_agents_sdk_talks_by_webrtc() {
    let stage = stage().await;
    let token = token(&stage).await;
    visit("sdk.mjs", vec![url(stage.public()), token, "webrtc".into()]).await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webrtc_class_of_the_unmodified_openai_package_talks() {
    let stage = stage().await;
    let token = token(&stage).await;
    visit("sdk.mjs", vec![url(stage.public()), token, "openai".into()]).await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unmodified_agents_sdk_talks_by_websocket() {
    let stage = stage().await;
    let token = token(&stage).await;
    visit("sdk.mjs", vec![url(stage.public()), token, "websocket".into()]).await;
    stage.clear().await;
}

/// A visit to the voice page, by one path.
async fn talks(path: &str) {
    let stage = stage().await;
    let seen = visit("voice.mjs", vec![url(stage.public()), path.into(), pictures()]).await;
    assert!(seen["rms"].as_f64().is_some_and(|rms| rms > 0.02), "{seen}");
    stage.clear().await;
}

/// What the page itself gets.
async fn token(stage: &Stage) -> String {
    let head = format!("POST /v1/page/token HTTP/1.1\r\norigin: http://{}", stage.public());
    let answer = stage.ask_public(&head).await;
    json(&answer)["value"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reads_along_listens_in_and_ends_a_call() {
    let folder = Folder::new("console").unwrap();
    let database = format!("sqlite://{}", folder.path().join("patchbay.db").display());
    let variables = [("PATCHBAY__STORAGE__URL", database.as_str()), ("PATCHBAY_ADMIN_KEY", ADMIN_KEY)];
    let file = "[credentials]\nadmin_key = { env = \"PATCHBAY_ADMIN_KEY\" }\n\
                [tenants.default.routes.default.recording]\nlisten_in = true\n";
    let script = Script { transcripts: vec!["Two pizzas.".into()], ..model_that_says("model-long.wav") };
    let stage = Stage::set_with(script, file, &variables).await;
    let mut caller = stage.caller("caller-order.wav");
    // Says it again and again, with time for an answer in between: 0xff is silence, 8 bytes a millisecond.
    caller.speech = [caller.speech.as_ref(), &[0xff; 96_000]].concat().repeat(4).into();
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let arguments = vec![url(stage.admin_addr()), url(stage.public()), ADMIN_KEY.into(), pictures()];
    let seen = visit("console.mjs", arguments).await;
    assert!(seen["channels"].as_array().is_some_and(|both| both.len() == 2), "{seen}");
    // It was ended under the caller's feet.
    drop(call.await.expect("the caller did not panic"));
    let kind = format!("application/json\r\nauthorization: Bearer {ADMIN_KEY}");
    let audit = stage.order("GET /admin/audit?tenant=default", &kind, "").await;
    assert!(audit.contains("\"listen\""), "nobody wrote down who listened: {audit}");
    stage.clear().await;
}

#[tokio::test]
async fn nobody_listens_in_where_the_route_does_not_say_so() {
    let stage = Stage::set(model_that_says("model-long.wav"), "").await;
    let caller = stage.caller("caller-short.wav");
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let id = loop {
        let calls = json(&stage.admin("/admin/calls").await);
        match calls["data"][0]["id"].as_str() {
            Some(id) => break id.to_owned(),
            None => tokio::task::yield_now().await,
        }
    };
    let answer = stage.admin(&format!("/admin/calls/{id}/listen")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("listening_not_allowed"), "{answer}");
    let answer = stage.admin("/admin/calls/call_of_nobody/listen").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    call.await.expect("the caller did not panic").expect("the call was placed");
    stage.clear().await;
}
