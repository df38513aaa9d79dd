//! The bot SDKs of `gateway/clients`: each keeps its own tests, in its own language, against its own scripted gateway.

use std::process::Command;

use crate::house;

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
