use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::time::Duration;

use patchbay_core::Refusal;
use patchbay_sim::realtime::{Fault, Point, Trouble};
use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::transport::{DialSpec, Dialer, Port};

struct Running {
    url: String,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    /// Something for each socket that has ended.
    ended: mpsc::Receiver<()>,
}

async fn run(script: Script) -> Running {
    let sim = Sim::bind((Ipv4Addr::LOCALHOST, 0).into(), script).await.unwrap();
    let url = sim.base_url().unwrap().replace("http", "ws");
    let (stop, stopped) = oneshot::channel::<()>();
    let (sender, ended) = mpsc::channel(8);
    let task = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        sim.serve(stopped, |_| sender.try_send(()).unwrap()).await;
    });
    Running { url, stop, task, ended }
}

async fn dial(url: &str, key: Option<&str>) -> Result<Port, Refusal> {
    let mut spec = DialSpec::new(url).unwrap();
    if let Some(key) = key {
        spec = spec.secret(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}")).unwrap());
    }
    Dialer::new().dial(&spec).await
}

async fn event(port: &mut Port) -> Value {
    match poll_fn(|cx| port.poll_recv(cx)).await {
        Wire::Text(text) => serde_json::from_slice(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_model_is_dialled_configured_and_asked_to_speak() {
    let mut sim = run(Script::default()).await;
    let mut port = dial(&format!("{}/realtime?model=gpt-realtime", sim.url), Some("any")).await.unwrap();
    assert_eq!(event(&mut port).await["type"], "session.created");
    port.send(Wire::Text(
        r#"{"type":"session.update","session":{"type":"realtime","output_modalities":["audio"]}}"#.into(),
    ));
    poll_fn(|cx| port.poll_flush(cx)).await;
    assert_eq!(event(&mut port).await["type"], "session.updated");
    port.finish().await;
    assert_eq!(sim.ended.recv().await, Some(()));
}

#[tokio::test]
async fn no_key_another_path_and_a_scripted_refusal_are_answered_as_the_provider_does() {
    let refusals = vec![Refused { status: 429, retry_after_s: Some(7) }];
    let sim = run(Script { refusals, ..Script::default() }).await;
    let url = format!("{}/realtime?model=m", sim.url);
    let busy = Refusal::Status { status: 429, retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(dial(&url, Some("k")).await.unwrap_err(), busy);
    assert_eq!(dial(&url, None).await.unwrap_err(), Refusal::Status { status: 401, retry_after: None });
    let elsewhere = format!("{}/elsewhere", sim.url);
    assert_eq!(
        dial(&elsewhere, Some("k")).await.unwrap_err(),
        Refusal::Status { status: 404, retry_after: None }
    );
}

#[tokio::test]
async fn a_scripted_reset_reaches_the_peer_as_1006_and_a_close_with_its_code() {
    for code in [1006, 1011] {
        let trouble = Trouble::Close { code, reason: String::new() };
        let fault = Fault { at: Point::SessionCreated, turn: 0, dial: None, trouble };
        let sim = run(Script { faults: vec![fault], ..Script::default() }).await;
        let mut port = dial(&format!("{}/realtime?model=m", sim.url), Some("k")).await.unwrap();
        let end = loop {
            if let Wire::Close { code, .. } = poll_fn(|cx| port.poll_recv(cx)).await {
                break code;
            }
        };
        assert_eq!(end, code);
    }
}

#[tokio::test]
async fn a_stopped_sim_ends_with_its_sockets() {
    let sim = run(Script::default()).await;
    let _port = dial(&format!("{}/realtime?model=m", sim.url), Some("k")).await.unwrap();
    let _ = sim.stop.send(());
    tokio::time::timeout(Duration::from_secs(5), sim.task).await.expect("it ends").unwrap();
}

#[test]
fn a_script_with_a_fault_in_it_is_refused_with_file_and_line() {
    let path = std::env::temp_dir().join(format!("patchbay-script-{}.json", std::process::id()));
    std::fs::write(&path, "{\n  \"think\": 1\n}").unwrap();
    let error = read_script(&path).unwrap_err().to_string();
    assert!(error.contains("think") && error.contains("line 2"), "{error}");
    std::fs::write(&path, r#"{"turns":[{"say":[{"text":"hi","wav":"nowhere.wav"}]}]}"#).unwrap();
    assert!(read_script(&path).unwrap_err().to_string().contains("nowhere.wav"));
    std::fs::remove_file(&path).unwrap();
}
