//! Clients of the realtime API over real sockets, in real time: a client as the SDKs are, the gateway, and a provider or the
//! built-in AI that answers.

use std::time::Duration;

use patchbay::cli::wav;
use patchbay_codec::transcoder;
use patchbay_core::{Format, Refusal, Wire};
use patchbay_sim::browser::{BrowserDouble, Config, Step};
use patchbay_sim::realtime::Script;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::speech::{self, Match};
use crate::stage::{Stage, json as body_of, model_that_says, wav_path};

const KEY: &str = "a-gateway-key-of-this-test-alone";
const VARIABLES: &[(&str, &str)] = &[("BROWSER_KEY", KEY)];
const KEYED: &str = "[tenants.default]\napi_key = { env = \"BROWSER_KEY\" }\n";
/// The built-in AI instead of a provider.
const PARROT: &str = "[providers.parrot]\nkind = \"parrot\"\n[tenants.default]\napi_key = { env = \"BROWSER_KEY\" }\n\
                      [tenants.default.routes.default]\nprovider = \"parrot\"\n";

fn pcm(fixture: &str) -> bytes::Bytes {
    wav::read_l16_24k(&wav_path(fixture)).expect("a fixture is a WAV").into()
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

async fn secret(stage: &Stage, body: Value) -> String {
    let headers = [("authorization", &*bearer(KEY))];
    let answer = stage.post("POST /v1/realtime/client_secrets", &headers, &body.to_string()).await;
    body_of(&answer)["value"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// As a browser carries it.
fn protocols(secret: &str) -> String {
    format!("realtime, openai-insecure-api-key.{secret}, openai-agents-sdk.0.20.0")
}

/// How well all that the client heard fits a fixture.
fn heard(fixture: &str, audio: &[u8]) -> Match {
    let mut ulaw = Vec::new();
    transcoder(Format::L16_24K, Format::PCMU).unwrap().push(audio, &mut ulaw).unwrap();
    speech::find(&speech::fixture(fixture), &speech::samples(&ulaw))
}

fn talks(fixture: &str) -> Vec<Step> {
    let answered = Step::Answered(1);
    vec![Step::Wait(Duration::from_millis(300)), Step::Say(pcm(fixture)), answered, Step::Close(1000)]
}

fn assert_faultless(double: &BrowserDouble) {
    let errors: Vec<_> = double.of("error").collect();
    assert_eq!((double.faults(), errors.as_slice()), ([].as_slice(), [].as_slice()));
}

#[tokio::test]
async fn a_browser_with_a_client_secret_talks_to_the_model_and_its_audio_passes_untouched() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let secret = secret(&stage, json!({})).await;
    let double = BrowserDouble::new(Config::default(), talks("caller-24k.wav"));
    let headers = [("sec-websocket-protocol", &*protocols(&secret))];
    let double = stage.converse("/v1/realtime?model=gpt-realtime", &headers, double).await.unwrap();
    assert_faultless(&double);
    let (_, answer) = &double.items()[0];
    let found = heard("model-answer.wav", &answer.audio);
    assert!(found.fit > 0.95 && answer.is_done, "{found:?}");
    let ledgers = stage.clear().await;
    let said = pcm("caller-24k.wav");
    let is_whole = ledgers[0].appended.windows(said.len()).any(|window| window == said);
    assert!(is_whole, "the model got other bytes than the browser sent");
}

#[tokio::test]
async fn a_server_with_a_key_talks_to_the_parrot_which_speaks_the_protocol() {
    let stage = Stage::set_with(Script::default(), PARROT, VARIABLES).await;
    let double = BrowserDouble::new(Config::default(), talks("caller-24k.wav"));
    let headers = [("authorization", &*bearer(KEY))];
    let double = stage.converse("/v1/realtime", &headers, double).await.unwrap();
    assert_faultless(&double);
    let found = heard("caller-24k.wav", &double.items()[0].1.audio);
    assert!(found.fit > 0.9, "it says back what it heard: {found:?}");
    for kind in ["input_audio_buffer.speech_started", "response.content_part.added", "response.done"] {
        assert_eq!(double.of(kind).count(), 1, "{kind}");
    }
    stage.clear().await;
}

#[tokio::test]
async fn the_parrot_greets_when_asked_and_writes_back_what_is_written() {
    let stage = Stage::set_with(Script::default(), PARROT, VARIABLES).await;
    let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Good morning."}]});
    let steps = vec![
        Step::Answered(1),
        Step::Send(json!({"type": "conversation.item.create", "item": item})),
        Step::Send(json!({"type": "response.create"})),
        Step::Answered(2),
        Step::Close(1000),
    ];
    let double = BrowserDouble::new(Config { talks: false, ..Config::default() }, steps);
    let headers = [("authorization", &*bearer(KEY))];
    let double = stage.converse("/v1/realtime?greet=true", &headers, double).await.unwrap();
    assert_faultless(&double);
    let written = double.of("response.output_text.done").next().expect("an answer in writing");
    assert_eq!(written["text"], "Good morning.");
    assert!(double.items()[0].1.audio.len() > 48 * 2_000, "it greets");
    stage.clear().await;
}

#[tokio::test]
async fn what_may_not_come_is_refused_before_anything_begins() {
    let file = format!("{KEYED}[tenants.default.limits]\ncalls_max = 1\n");
    let stage = Stage::set_with(model_that_says("model-answer.wav"), &file, VARIABLES).await;
    let ask = async |path: &str, headers: &[(&'static str, &str)]| {
        let double =
            BrowserDouble::new(Config { talks: false, ..Config::default() }, vec![Step::Close(1000)]);
        match stage.converse(path, headers, double).await {
            Ok(_) => 101,
            Err(Refusal::Status { status, .. }) => status,
            Err(other) => panic!("{other:?}"),
        }
    };
    let key = bearer(KEY);
    let protocol = protocols("ek_wrong");
    assert_eq!(ask("/v1/realtime", &[]).await, 401);
    assert_eq!(ask("/v1/realtime", &[("authorization", "Bearer sk-somebodys")]).await, 401);
    assert_eq!(ask("/v1/realtime", &[("sec-websocket-protocol", &protocol)]).await, 401);
    assert_eq!(ask("/v1/realtime?api-key=x", &[]).await, 401, "a key in an address is in every log");
    assert_eq!(
        ask("/v1/realtime", &[("authorization", &key), ("origin", "https://evil.example")]).await,
        403
    );
    assert_eq!(ask("/v1/realtime?route=none", &[("authorization", &key)]).await, 400);
    assert_eq!(ask("/v1/realtime?intent=transcription", &[("authorization", &key)]).await, 400);
    let once = secret(&stage, json!({"patchbay": {"uses": 1}})).await;
    let protocol = protocols(&once);
    assert_eq!(ask("/v1/realtime", &[("sec-websocket-protocol", &protocol)]).await, 101);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ask("/v1/realtime", &[("sec-websocket-protocol", &protocol)]).await, 401, "it is used up");
    assert_eq!(stage.clear().await.len(), 1, "the provider was dialled once");
}

#[tokio::test]
async fn settings_of_a_client_secret_hold_from_the_first_moment() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let session = json!({"type": "realtime", "instructions": "Hidden words.", "audio": {"output": {"voice": "cedar"},
        "input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}}});
    let secret = secret(&stage, json!({"session": session})).await;
    let steps = vec![Step::Wait(Duration::from_secs(1)), Step::Close(1000)];
    let double = BrowserDouble::new(Config { talks: false, ..Config::default() }, steps);
    let headers = [("sec-websocket-protocol", &*protocols(&secret))];
    let double = stage.converse("/v1/realtime", &headers, double).await.unwrap();
    assert_faultless(&double);
    for event in double.of("session.created").chain(double.of("session.updated")) {
        assert_eq!(event["session"]["audio"]["output"]["voice"], "cedar");
        assert_eq!(event["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"], 300);
        assert!(!event.to_string().contains("Hidden"), "{event}");
    }
    stage.clear().await;
}

#[tokio::test]
async fn the_page_gets_a_token_only_when_it_is_open_and_only_for_itself() {
    for open in [false, true] {
        let file = format!("[page]\nopen = {open}\ntokens_per_minute_max = 2\n{PARROT}");
        let stage = Stage::set_with(Script::default(), &file, VARIABLES).await;
        let own = format!("http://localhost:{}", stage.public().port());
        let ask = async |origin: &str| stage.post("POST /v1/page/token", &[("origin", origin)], "").await;
        assert!(ask("https://evil.example").await.contains(" 403 "));
        let answer = ask(&own).await;
        if !open {
            assert!(answer.contains(" 403 ") && answer.contains("#token="), "it says what to do: {answer}");
            stage.clear().await;
            continue;
        }
        let token = body_of(&answer)["value"].as_str().unwrap().to_owned();
        let double = BrowserDouble::new(
            Config { talks: false, ..Config::default() },
            vec![Step::Answered(1), Step::Close(1000)],
        );
        let headers = [("sec-websocket-protocol", &*protocols(&token)), ("origin", &own)];
        let double = stage.converse("/v1/realtime?greet=true", &headers, double).await.unwrap();
        assert_faultless(&double);
        assert!(ask(&own).await.contains(" 200 "));
        assert!(ask(&own).await.contains(" 429 "), "too many of one address");
        stage.clear().await;
    }
}

#[tokio::test]
async fn an_old_client_is_served_in_the_beta_and_so_is_azures_dated_address() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let key = bearer(KEY);
    let ways: [(&str, &[(&'static str, &str)]); 3] = [
        (
            "/v1/realtime?model=gpt-4o-realtime-preview",
            &[("authorization", &key), ("openai-beta", "realtime=v1")],
        ),
        (
            "/v1/realtime",
            &[("authorization", &key), ("sec-websocket-protocol", "realtime, openai-beta.realtime-v1")],
        ),
        ("/openai/realtime?api-version=2025-04-01-preview&deployment=mine", &[("api-key", KEY)]),
    ];
    for (path, headers) in ways {
        let steps = vec![
            Step::Wait(Duration::from_secs(1)),
            Step::Send(
                json!({"type": "session.update", "session": {"modalities": ["audio", "text"], "voice": "cedar"}}),
            ),
            Step::Send(json!({"type": "response.create", "response": {"modalities": ["audio", "text"]}})),
            Step::Answered(1),
            Step::Close(1000),
        ];
        let double = BrowserDouble::new(Config { talks: false, update: None, ..Config::default() }, steps);
        let double = stage.converse(path, headers, double).await.unwrap();
        assert_faultless(&double);
        let updated = double.of("session.updated").next().expect("an update is answered");
        assert_eq!(updated["session"]["voice"], "cedar", "{path}: {updated}");
        assert_eq!(updated["session"]["output_audio_format"], "pcm16");
        assert!(double.of("response.audio.delta").count() > 3, "{path}");
        assert!(double.of("response.audio_transcript.done").count() == 1 && double.items().is_empty());
    }
    let ledgers = stage.clear().await;
    assert!(
        ledgers.len() == 3 && ledgers.iter().all(|ledger| ledger.errors.is_empty()),
        "no beta header went on"
    );
}

#[tokio::test]
async fn azures_present_address_speaks_as_openais_does() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let double = BrowserDouble::new(Config::default(), talks("caller-24k.wav"));
    let double = stage.converse("/openai/v1/realtime?model=mine", &[("api-key", KEY)], double).await.unwrap();
    assert_faultless(&double);
    assert!(heard("model-answer.wav", &double.items()[0].1.audio).fit > 0.95);
    stage.clear().await;
}

#[tokio::test]
async fn a_message_that_is_too_long_or_binary_ends_with_a_clear_code_and_disturbs_nobody() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let key = bearer(KEY);
    let headers = [("authorization", &*key)];
    let other = BrowserDouble::new(Config::default(), talks("caller-24k.wav"));
    let other = stage.converse("/v1/realtime", &headers, other);
    let bad = async {
        let steps = vec![Step::Wait(Duration::from_millis(200)), Step::Raw(Wire::Binary("PCM".into()))];
        let double = BrowserDouble::new(Config { talks: false, ..Config::default() }, steps);
        let double = stage.converse("/v1/realtime", &headers, double).await.unwrap();
        assert_eq!(double.closed_with(), Some(1003));
        assert_eq!(double.of("error").count(), 1, "said in words where it can be");
        // RFC 6455 §5.2: a text of 2 MiB is announced, and none of it sent.
        let mut socket = opened(&stage).await;
        socket.write_all(&[0x81, 0xFF, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await;
        drop(read.expect("the gateway ends it"));
        assert!(answer.windows(2).any(|code| code == 1009u16.to_be_bytes()), "closed with 1009");
    };
    let (other, ()) = tokio::join!(other, bad);
    let other = other.unwrap();
    assert_faultless(&other);
    assert!(heard("model-answer.wav", &other.items()[0].1.audio).fit > 0.95);
    stage.clear().await;
}

/// A socket of somebody who keeps to no rule of ours, upgraded.
async fn opened(stage: &Stage) -> tokio::net::TcpStream {
    let mut socket = tokio::net::TcpStream::connect(stage.public()).await.unwrap();
    let request = format!(
        "GET /v1/realtime HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nauthorization: Bearer {KEY}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn a_page_that_vanishes_without_goodbye_releases_the_provider_within_twenty_seconds() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let socket = opened(&stage).await;
    let state = async || {
        let list = body_of(&stage.get("/v1/calls", KEY).await);
        list["data"][0]["state"].as_str().unwrap_or_default().to_owned()
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(state().await, "live");
    let begun = tokio::time::Instant::now();
    while state().await != "ended" {
        assert!(begun.elapsed() < Duration::from_secs(20), "the provider is still held");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(5), "it was not the socket's end that was noticed");
    drop(socket);
    stage.clear().await;
}

/// The id of the one call there is.
async fn only_call(stage: &Stage) -> String {
    let listed = stage.get("/v1/calls", KEY).await;
    let calls = body_of(&listed)["data"].as_array().cloned().unwrap_or_default();
    assert_eq!(calls.len(), 1, "{listed}");
    calls[0]["id"].as_str().unwrap().to_owned()
}

/// Changes what the model is told, adds a word of the system's, and reads along.
fn steers() -> Vec<Step> {
    let settings = json!({"type": "realtime", "instructions": "Say goodbye."});
    let content = json!([{"type": "input_text", "text": "The caller is known."}]);
    let item = json!({"type": "message", "role": "system", "content": content});
    vec![
        Step::Send(json!({"type": "session.update", "event_id": "mine", "session": settings})),
        Step::Send(json!({"type": "conversation.item.create", "item": item})),
        Step::Wait(Duration::from_secs(3)),
        Step::Close(1000),
    ]
}

#[tokio::test]
async fn a_server_steers_a_phone_call_of_its_tenant_and_another_takes_over() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let caller = stage.caller("caller-order.wav");
    let phone = tokio::spawn(async move { patchbay::cli::call::place(&caller, |_| ()).await });
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let path = format!("/v1/realtime?call_id={}", only_call(&stage).await);
    let headers = [("authorization", &*bearer(KEY))];
    let mut spoken = 0;
    for _ in 0..2 {
        let double = BrowserDouble::new(Config { talks: false, ..Config::default() }, steers());
        let double = stage.converse(&path, &headers, double).await.unwrap();
        assert_eq!(double.of("error").collect::<Vec<_>>(), [] as [&Value; 0]);
        let updated = double.of("session.updated").last().expect("the settings were taken");
        assert_eq!(updated["session"]["instructions"], "Say goodbye.");
        assert_eq!(
            double.of("conversation.item.added").filter(|event| event["item"]["role"] == "system").count(),
            1
        );
        assert_eq!(double.of("response.output_audio.delta").count(), 0, "audio goes elsewhere");
        spoken += double.of("response.done").count();
    }
    assert!(spoken >= 1, "it reads what the model says");
    let report = phone.await.unwrap().unwrap();
    assert!(report.speech_came_back, "{report:?}");
    let ledgers = stage.clear().await;
    assert_eq!((ledgers.len(), ledgers[0].errors.as_slice()), (1, [].as_slice()), "it dials nobody");
}

#[tokio::test]
async fn nobody_steers_a_call_that_is_not_theirs_or_with_a_browsers_secret() {
    let stage = Stage::set_with(model_that_says("model-answer.wav"), KEYED, VARIABLES).await;
    let key = bearer(KEY);
    let talker = BrowserDouble::new(Config::default(), talks("caller-24k.wav"));
    let (headers, secret) = ([("authorization", &*key)], secret(&stage, json!({})).await);
    let asks = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        let path = format!("/v1/realtime?call_id={}", only_call(&stage).await);
        let silent = || BrowserDouble::new(Config { talks: false, ..Config::default() }, vec![]);
        let refused =
            stage.converse(&path, &[("sec-websocket-protocol", &*protocols(&secret))], silent()).await;
        assert!(matches!(refused, Err(Refusal::Status { status: 403, .. })), "{:?}", refused.err());
        let refused = stage.converse("/v1/realtime?call_id=call_of_nobody", &headers, silent()).await;
        assert!(matches!(refused, Err(Refusal::Status { status: 404, .. })), "{:?}", refused.err());
    };
    let (talked, ()) = tokio::join!(stage.converse("/v1/realtime", &headers, talker), asks);
    assert_faultless(&talked.unwrap());
    stage.clear().await;
}
