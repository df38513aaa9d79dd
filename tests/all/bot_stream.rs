//! A bot whose whole call is one WebSocket, over real sockets, in real time.

use std::future::poll_fn;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use patchbay::cli::call::place;
use patchbay::transport::{DialSpec, Dialer, Port};
use patchbay_core::Wire;
use patchbay_sim::realtime::Script;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::bot_http::bot::{Bot, is_loud};
use crate::speech;
use crate::stage::Stage;

const KEY: &str = "a-gateway-key-of-this-test-alone";
const CONFIG: &str = "[tenants.default]\napi_key = { env = \"BOT_TEST_KEY\" }\n\
                      [tenants.default.routes.default]\nbot = \"echo\"\ngreeting = \"\"\n";

/// The stream of a call.
async fn stream(stage: &Stage, bot: &Bot, call: &str) -> Port {
    let spec = DialSpec::new(&format!("ws://{}/v1/calls/{call}/stream", stage.public())).unwrap();
    let bearer = HeaderValue::try_from(bot.bearer()).unwrap();
    Dialer::new().dial(&spec.secret(HeaderName::from_static("authorization"), bearer)).await.unwrap()
}

/// What comes next, once what is queued has left.
async fn next(port: &mut Port) -> Wire {
    let come = poll_fn(|cx| {
        let _ = port.poll_flush(cx);
        port.poll_recv(cx)
    });
    timeout(Duration::from_secs(20), come).await.expect("something comes")
}

fn json_of(text: &Bytes) -> Value {
    serde_json::from_slice(text).expect("an event is JSON")
}

/// The caller's first sentence: µ-law, up to a second of silence behind it.
async fn sentence(port: &mut Port) -> Vec<u8> {
    let (mut heard, mut quiet, mut has_begun) = (Vec::new(), 0, false);
    while quiet < 50 {
        let Wire::Binary(audio) = next(port).await else { continue };
        assert_eq!(audio.len() % 160, 0, "whole frames of µ-law");
        has_begun |= is_loud(&audio);
        quiet = if is_loud(&audio) || !has_begun { 0 } else { quiet + audio.len() / 160 };
        heard.extend_from_slice(&audio);
    }
    heard
}

#[tokio::test]
async fn a_bot_on_one_websocket_says_back_what_it_heard_learns_of_its_mark_and_hangs_up() {
    let stage = Stage::set_with(Script::default(), CONFIG, &[("BOT_TEST_KEY", KEY)]).await;
    let bot = Bot::registered(stage.public(), KEY).await;
    let caller = stage.caller("caller-short.wav");
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let id = bot.take_call().await;
    let mut port = stream(&stage, &bot, &id).await;
    port.send(Wire::Text(Bytes::from_static(b"what?")));
    let heard = sentence(&mut port).await;
    let found = speech::find(&speech::fixture("caller-short.wav"), &speech::samples(&heard));
    assert!(found.fit > 0.9, "the bot heard the caller: {found:?}");
    // All at once: the gateway paces it.
    heard.chunks(800).for_each(|piece| port.send(Wire::Binary(Bytes::copy_from_slice(piece))));
    port.send(Wire::Text(json!({ "type": "mark", "name": "said" }).to_string().into()));
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Value| event["type"] != "mark") {
        match next(&mut port).await {
            Wire::Text(text) => events.push(json_of(&text)),
            Wire::Close { code, .. } => panic!("closed with {code}: {events:?}"),
            _ => {}
        }
    }
    assert_eq!(events.last().unwrap()["name"], "said");
    port.send(Wire::Close { code: 1000, reason: "".into() });
    port.finish().await;
    let report = call.await.unwrap().unwrap();
    let back = speech::find(&speech::fixture("caller-short.wav"), &speech::samples(&report.heard));
    assert!(back.fit > 0.9, "the caller heard the bot: {back:?}");
    stage.clear().await;
}

#[tokio::test]
async fn a_newer_stream_takes_over_and_the_end_is_told_on_it() {
    let stage = Stage::set_with(Script::default(), CONFIG, &[("BOT_TEST_KEY", KEY)]).await;
    let bot = Bot::registered(stage.public(), KEY).await;
    let caller = stage.caller("caller-short.wav");
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let id = bot.take_call().await;
    let mut old = stream(&stage, &bot, &id).await;
    let mut new = stream(&stage, &bot, &id).await;
    let closed = loop {
        if let Wire::Close { code, .. } = next(&mut old).await {
            break code;
        }
    };
    assert_eq!(closed, 1001);
    let said = sentence(&mut new).await;
    new.send(Wire::Binary(said.into()));
    let mut last = Value::Null;
    let closed = loop {
        match next(&mut new).await {
            Wire::Text(text) => last = json_of(&text),
            Wire::Close { code, .. } => break code,
            _ => {}
        }
    };
    assert_eq!((closed, last), (1000, json!({ "type": "call.ended", "reason": "caller_hung_up" })));
    assert!(call.await.unwrap().unwrap().speech_came_back);
    stage.clear().await;
}
