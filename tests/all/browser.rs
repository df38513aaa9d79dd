//! What a browser gets from the gateway: the built pages, within their budget, with what they may do.

use std::process::Command;

use crate::house;
use crate::stage::Stage;

/// The gateway of `patchbay demo`, as far as a browser sees it.
const PARROT: &str = "[providers.parrot]\nkind = \"parrot\"\n\
                      [tenants.default.routes.default]\nprovider = \"parrot\"\ngreeting = \"Greet the caller.\"\n";

async fn stage() -> Stage {
    Stage::set(patchbay_sim::realtime::Script::default(), PARROT).await
}

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
