//! Against a made-up gateway over real sockets, in real time: it answers with a tone what the caller has said.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use patchbay_core::Wire;
use serde_json::{Value, json};

use super::*;
use crate::api::twilio::signature::{Signed, verify};
use crate::cli::wav::has_sound;
use crate::form;
use crate::transport::{ListenLimits, Listener, Port, PortLimits, WsUpgrade};

/// Half a second that is no silence.
fn tone() -> Vec<u8> {
    (0..4_000).map(|nth| if nth % 8 < 4 { 0x20 } else { 0xA0 }).collect()
}

async fn gateway(answers: bool) -> SocketAddr {
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), ListenLimits::default()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/voice", post(voice))
        .route("/silent", post(|| async { "<Response><Hangup/></Response>" }))
        .route("/broken", post(|| async { StatusCode::BAD_GATEWAY }))
        .route("/media/token", get(media))
        .with_state((address, answers));
    tokio::spawn(listener.serve(router, std::future::pending()));
    address
}

type Seat = (SocketAddr, bool);

async fn voice(State((address, _)): State<Seat>, headers: HeaderMap, body: axum::body::Bytes) -> Response {
    let pairs = form::decode(&body);
    let url = format!("http://{address}/voice");
    let signature = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok());
    if !verify(["secret"], &Signed::form(&url, &pairs), signature) {
        return StatusCode::FORBIDDEN.into_response();
    }
    format!(
        "<Response><Connect><Stream url=\"ws://{address}/media/token\"><Parameter name=\"a\" value=\"b\"/></Stream>\
         </Connect><Redirect>/voice</Redirect></Response>"
    )
    .into_response()
}

async fn media(State((_, answers)): State<Seat>, upgrade: WsUpgrade) -> Response {
    let (response, pending) = upgrade.accept(PortLimits::PUBLIC);
    tokio::spawn(async move {
        if let Some(port) = pending.port().await {
            converse(port, answers).await;
        }
    });
    response
}

/// Two seconds of tone after each half second of silence that follows sound; sound while it plays clears it.
async fn converse(mut port: Port, answers: bool) {
    let (mut sid, mut silent, mut is_owed, mut plays) = (Value::Null, 0, false, false);
    loop {
        let text = match poll_fn(|cx| port.poll_recv(cx)).await {
            Wire::Text(text) => text,
            _ => return port.finish().await,
        };
        let message: Value = serde_json::from_slice(&text).unwrap();
        match message["event"].as_str().unwrap() {
            "start" => {
                assert_eq!(message["start"]["customParameters"]["a"], "b");
                sid = message["streamSid"].clone();
            }
            "media" => {
                let audio = STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap();
                let is_loud = has_sound(&audio);
                silent = if is_loud { 0 } else { silent + 1 };
                is_owed |= is_loud;
                if is_loud && plays {
                    plays = false;
                    port.send(text_of(&json!({"event": "clear", "streamSid": sid})));
                }
                if answers && is_owed && silent == 25 {
                    (is_owed, plays) = (false, true);
                    let payload = STANDARD.encode(tone().repeat(4));
                    port.send(text_of(
                        &json!({"event": "media", "streamSid": sid, "media": {"payload": payload}}),
                    ));
                    port.send(text_of(&json!({"event": "mark", "streamSid": sid, "mark": {"name": "end"}})));
                }
            }
            "mark" => plays = false,
            _ => {}
        }
        poll_fn(|cx| port.poll_flush(cx)).await;
    }
}

fn text_of(message: &Value) -> Wire {
    Wire::Text(message.to_string().into())
}

fn plan(url: &str) -> CallPlan {
    CallPlan {
        greeting_ms: 20,
        answer_ms: 2_000,
        auth_token: Some(SecretString::from("secret")),
        ..CallPlan::new(url, tone().into())
    }
}

#[tokio::test]
async fn a_call_is_placed_signed_answered_and_measured() {
    let address = gateway(true).await;
    let report = place(&plan(&format!("http://{address}/voice")), |_| ()).await.unwrap();
    assert!(report.speech_came_back);
    assert_eq!((report.marks, report.marks_cleared, report.clears), (1, 0, 0));
    assert_eq!((report.heard_ms, report.invalid), (2_000, 0));
    // 500 ms of silence until it answers.
    assert!((450..800).contains(&report.answer_ms.unwrap()), "{report:?}");
    assert!(report.webhook_ms <= report.setup_ms);
    assert!(table(&report).contains("speech came back      yes"));
}

#[tokio::test]
async fn an_interruption_is_measured_to_the_clear() {
    let address = gateway(true).await;
    let mut plan = plan(&format!("http://{address}/voice"));
    plan.barge_in = Some((400, tone().into()));
    let report = place(&plan, |_| ()).await.unwrap();
    assert!(report.barge_in_ms.unwrap() < 300, "{report:?}");
    assert!((400..700).contains(&report.barge_in_heard_ms.unwrap()), "{report:?}");
    assert_eq!((report.clears, report.marks_cleared, report.marks), (1, 1, 1));
}

#[tokio::test]
async fn silence_is_no_answer() {
    let address = gateway(false).await;
    let mut plan = plan(&format!("http://{address}/voice"));
    plan.answer_ms = 300;
    let report = place(&plan, |_| ()).await.unwrap();
    assert!(!report.speech_came_back);
    assert_eq!(report.answer_ms, None);
}

#[tokio::test]
async fn what_cannot_be_called_says_why() {
    let address = gateway(true).await;
    let error = |url: String| async move { place(&plan(&url), |_| ()).await.unwrap_err() };
    assert!(matches!(error(format!("http://{address}/silent")).await, CallError::NoStream));
    assert!(matches!(
        error(format!("http://{address}/broken")).await,
        CallError::Status(StatusCode::BAD_GATEWAY)
    ));
    assert!(matches!(
        error(format!("http://{address}/nowhere")).await,
        CallError::Status(StatusCode::NOT_FOUND)
    ));
    assert!(error("ftp://a/b".to_owned()).await.is_wrong_use());
    let mut unsigned = plan(&format!("http://{address}/voice"));
    unsigned.auth_token = None;
    assert!(matches!(place(&unsigned, |_| ()).await, Err(CallError::Status(StatusCode::FORBIDDEN))));
}
