//! A person calls a bot from the voice page: the echo bots of the SDKs, each in its language.

use serde_json::json;
use tokio::runtime::Handle;

use super::{url, visit};
use crate::clients;

/// The page's own route leads to the bot.
async fn talks_to(language: &'static str) {
    let file =
        "[page]\nopen = true\ntokens_per_minute_max = 100\n[tenants.default]\nallowed_origins = [\"*\"]\n";
    let stage = clients::stage_with(file, &[("default", language)]).await;
    let (page, runtime) = (url(stage.public()), Handle::current());
    let arguments = ["--no-idle", "--echo", "60", "--only", language].map(str::to_owned).to_vec();
    let verdict = clients::conform(&stage, arguments, move |_| {
        let seen = runtime.block_on(visit("echo.mjs", vec![page.clone()]));
        json!({ language: { "speech_came_back": seen["rms"].as_f64().is_some_and(|rms| rms > 0.02) } })
    });
    let verdict = verdict.await;
    assert!(verdict["calls"][language]["call"].is_string(), "{verdict}");
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_chromium_talks_to_the_echo_bot_in_python() {
    talks_to("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_chromium_talks_to_the_echo_bot_in_node() {
    talks_to("node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_chromium_talks_to_the_echo_bot_in_go() {
    talks_to("go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_in_chromium_talks_to_the_echo_bot_in_rust() {
    talks_to("rust").await;
}
