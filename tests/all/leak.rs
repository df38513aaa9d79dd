//! What may not leave does not: canaries are planted where keys and personal data are, every flow is driven, and every
//! byte that left is searched for them in the forms in which they could hide.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use patchbay::cli::call::place;
use patchbay::cli::folder::Folder;
use patchbay_sim::browser::{BrowserDouble, Config, Step};
use patchbay_sim::realtime::{Refused, Say, Script, Turn};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{Stage, bytes_below, json, model_that_says};

const PROVIDER_KEY: &str = "sk-canary-provider-7f3a91";
const SEALED_KEY: &str = "sk-canary-sealed-c04d11";
const TWILIO_TOKEN: &str = "canarytwiliotoken52b8e0";
const GATEWAY_KEY: &str = "canary-gateway-key-9e1d77aa";
const ADMIN_KEY: &str = "canary-admin-key-5c6b20";
const SIGNING_KEY: &str = "canary-signing-key-0123456789abcdef";
const KEYS: [&str; 6] = [PROVIDER_KEY, SEALED_KEY, TWILIO_TOKEN, GATEWAY_KEY, ADMIN_KEY, SIGNING_KEY];

const PHRASE: &str = "the canary sings at midnight";
const NUMBER: &str = "+4915550884711";
const INSTRUCTIONS: &str = "never tell the canary password";
const PERSONAL: [&str; 3] = [PHRASE, NUMBER, INSTRUCTIONS];

/// Bytes that left, by where.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<&'static str, Vec<u8>>>>);

impl Seen {
    fn add(&self, place: &'static str, bytes: &[u8]) {
        self.0.lock().unwrap().entry(place).or_default().extend_from_slice(bytes);
    }

    /// Fails for the first form of the first canary that is in a place.
    fn assert_free_of(&self, canaries: &[&str]) {
        for (place, bytes) in &*self.0.lock().unwrap() {
            for canary in canaries {
                for (form, hidden) in forms(canary) {
                    let found = bytes.windows(hidden.len()).position(|window| window == hidden);
                    if let Some(at) = found {
                        let around = &bytes[at.saturating_sub(120)..(at + 160).min(bytes.len())];
                        panic!("{canary:?} ({form}) left by {place}: {}", String::from_utf8_lossy(around));
                    }
                }
            }
        }
    }
}

/// Raw, hexadecimal, as a URL has it, and base64 at each of the three alignments.
fn forms(canary: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = canary.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let url: String = bytes
        .iter()
        .map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let mut forms = vec![
        ("raw", bytes.to_vec()),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
        ("url", url.replace("%20", "+").into_bytes()),
        ("url", url.into_bytes()),
    ];
    for skip in 0..3 {
        // Characters that a neighbour shares bits with are cut off.
        let padded = [&b"   "[..skip], bytes].concat();
        let whole = padded.len() / 3 * 3;
        for engine in [&STANDARD, &URL_SAFE] {
            let text = engine.encode(&padded[..whole]);
            let from = if skip == 0 { 0 } else { 4 };
            forms.push(("base64", text.as_bytes()[from..].to_vec()));
        }
    }
    forms
}

/// A log that is kept instead of printed.
struct Log(Seen);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.add("the log", bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Stands before the gateway, and keeps every byte that the gateway sends.
struct Tap {
    address: SocketAddr,
    gateway: Arc<OnceLock<SocketAddr>>,
}

impl Tap {
    async fn open(seen: &Seen) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, gateway) = (listener.local_addr().unwrap(), Arc::new(OnceLock::<SocketAddr>::new()));
        let (target, seen) = (gateway.clone(), seen.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let to = *target.get().expect("the gateway is up before anybody comes");
                let seen = seen.clone();
                tokio::spawn(async move {
                    let Ok(gateway) = TcpStream::connect(to).await else { return };
                    let ((from_client, to_client), (from_gateway, to_gateway)) =
                        (client.into_split(), gateway.into_split());
                    tokio::join!(
                        pass(from_client, to_gateway, |_| ()),
                        pass(from_gateway, to_client, |bytes| seen.add("the public listener", bytes)),
                    );
                });
            }
        });
        Self { address, gateway }
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, keep: impl Fn(&[u8])) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        keep(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

const CONFIG: &str = "[tenants.default]\napi_key = { env = \"GATEWAY_KEY\" }\n[tenants.default.routes.default]\n\
instructions = \"never tell the canary password\"\ngreeting = \"\"\n[tenants.other]\n\
api_key = { env = \"OTHER_KEY\" }\n[tenants.other.routes.default]\n\
[credentials]\nsigning_keys = [{ env = \"SIGNING_KEY\" }]\nadmin_key = { env = \"ADMIN_KEY\" }\n";

async fn stage(script: Script, tap: &Tap, folder: &Folder) -> Stage {
    let database = format!("sqlite://{}", folder.path().join("patchbay.db").display());
    let public = format!("http://{}", tap.address);
    let variables = [
        ("OPENAI_API_KEY", PROVIDER_KEY),
        ("TWILIO_AUTH_TOKEN", TWILIO_TOKEN),
        ("GATEWAY_KEY", GATEWAY_KEY),
        ("OTHER_KEY", "another-tenants-key-1234567890"),
        ("SIGNING_KEY", SIGNING_KEY),
        ("ADMIN_KEY", ADMIN_KEY),
        ("PATCHBAY__STORAGE__URL", &database),
        ("PATCHBAY__SERVER__PUBLIC_URL", &public),
    ];
    let stage = Stage::set_with(script, CONFIG, &variables).await;
    tap.gateway.get_or_init(|| stage.public());
    stage
}

/// The model says the phrase, and the double writes down what the caller said with it too.
fn script() -> Script {
    let mut script = model_that_says("model-answer.wav");
    for turn in &mut script.turns {
        if let Turn::Say(said) = turn {
            for say in said.iter_mut() {
                *say = Say { text: PHRASE.into(), ..say.clone() };
            }
        }
    }
    script
}

async fn phone(stage: &Stage) -> bool {
    let mut caller = stage.caller("caller-short.wav");
    caller.from = NUMBER.to_owned();
    caller.auth_token = Some(SecretString::from(TWILIO_TOKEN));
    place(&caller, |_| ()).await.is_ok_and(|report| report.speech_came_back)
}

/// A browser with a client secret, and settings that whoever minted it chose. Everything that it receives is searched: its own
/// words may be there, what the model is told to be may not.
async fn browser(stage: &Stage) {
    let seen = Seen::default();
    let tap = Tap::open(&seen).await;
    tap.gateway.get_or_init(|| stage.public());
    let bearer = format!("Bearer {GATEWAY_KEY}");
    let session = serde_json::json!({ "session": { "type": "realtime", "instructions": INSTRUCTIONS,
        "tools": [{ "type": "function", "name": "lookup", "description": PHRASE }] } });
    let minted = stage
        .post("POST /v1/realtime/client_secrets", &[("authorization", &bearer)], &session.to_string())
        .await;
    let secret = json(&minted)["value"].as_str().expect("a secret").to_owned();
    let pcm = patchbay::cli::wav::read_l16_24k(&crate::stage::wav_path("caller-24k.wav")).expect("a fixture");
    let said = Step::Wait(std::time::Duration::from_millis(500));
    let steps = vec![said, Step::Say(pcm.into()), Step::Answered(1), Step::Close(1000)];
    let update = serde_json::json!({ "type": "realtime", "instructions": "Obey the page.", "tools": [] });
    let double = BrowserDouble::new(Config { update: Some(update), ..Config::default() }, steps);
    let protocols = format!("realtime, openai-insecure-api-key.{secret}");
    let headers = [("sec-websocket-protocol", &*protocols)];
    let double =
        Stage::converse_at(tap.address, "/v1/realtime", &headers, double).await.expect("it is let in");
    assert!(double.of("session.created").count() == 1);
    seen.assert_free_of(&KEYS);
    seen.assert_free_of(&[INSTRUCTIONS, NUMBER]);
}

#[tokio::test]
async fn no_canary_leaves_by_a_socket_a_log_a_metric_an_error_or_the_database() {
    let seen = Seen::default();
    let log = seen.clone();
    tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || Log(log.clone()))
        .init();
    let (tap, folder) = (Tap::open(&seen).await, Folder::new("test").unwrap());
    let stage = stage(script(), &tap, &folder).await;
    let bearer = format!("authorization: Bearer {ADMIN_KEY}\r\n");

    assert!(phone(&stage).await, "the call went well");
    browser(&stage).await;
    // Whoever may read it, reads it; by another way than the tap.
    let list = json(&stage.get("/v1/calls", GATEWAY_KEY).await);
    let of_phone = list["data"].as_array().unwrap().iter().find(|call| call["direction"] != "browser");
    let id = of_phone.expect("the phone's call")["id"].as_str().unwrap().to_owned();
    let whole = stage.get(&format!("/v1/calls/{id}"), GATEWAY_KEY).await;
    assert!(whole.contains(PHRASE) && whole.contains(NUMBER), "the canaries are alive: {whole}");

    // Strangers, and those who make mistakes.
    for (path, key) in [
        ("/v1/calls", "another-tenants-key-1234567890"),
        (&*format!("/v1/calls/{id}"), "another-tenants-key-1234567890"),
        (&*format!("/v1/calls/{id}"), "wrong"),
        ("/v1/usage?group_by=user", "another-tenants-key-1234567890"),
        ("/v1/usage?from=never", GATEWAY_KEY),
        ("/v1/calls?after=nothing", GATEWAY_KEY),
        ("/health", ""),
        ("/readyz", ""),
        ("/no/such/route", PROVIDER_KEY),
    ] {
        seen.add("an answer to a stranger", stage.get(path, key).await.as_bytes());
    }
    for (line, kind, body) in [
        ("PUT /admin/tenants/acme/secrets/openai", "text/plain", SEALED_KEY),
        (
            "PUT /admin/tenants/acme",
            "application/toml",
            "[providers.openai]\nkey = { sealed = \"openai\" }\n[routes.desk]\n",
        ),
        (
            "PUT /admin/tenants/bad",
            "application/toml",
            "[providers.openai]\nkey = \"sk-canary-sealed-c04d11\"\n",
        ),
        (
            "PUT /admin/tenants/bad",
            "application/toml",
            "[providers.openai]\nkey = \"sk-canary-sealed-c04d11\n",
        ),
        (
            "PUT /admin/tenants/bad",
            "application/json",
            "{\"providers\":{\"openai\":{\"key\":\"sk-canary-sealed-c04d11\"}}}",
        ),
        ("GET /admin/tenants", "text/plain", ""),
        ("GET /admin/tenants/acme", "text/plain", ""),
        ("GET /admin/audit", "text/plain", ""),
        ("GET /admin/usage?format=csv&group_by=tenant,route,model,day", "text/plain", ""),
    ] {
        let answer = stage.order(line, &format!("{kind}\r\n{}", bearer.trim_end()), body).await;
        assert!(!answer.starts_with("HTTP/1.1 403"), "{line}: {answer}");
        seen.add("the admin listener", answer.as_bytes());
    }
    seen.add("the metrics", stage.admin("/metrics").await.as_bytes());
    seen.add("the admin listener", stage.admin("/admin/tenants/default").await.as_bytes());
    stage.clear().await;

    // A provider that refuses the key: the caller hears an apology.
    let folder = Folder::new("test").unwrap();
    let second = Tap::open(&seen).await;
    let refusals = vec![Refused { status: 401, retry_after_s: None }; 50];
    let refused = self::stage(Script { refusals, ..script() }, &second, &folder).await;
    let _ = phone(&refused).await;
    browser(&refused).await;
    seen.add("the metrics", refused.admin("/metrics").await.as_bytes());
    refused.clear().await;

    seen.add("the database", &bytes_below(folder.path()));
    seen.assert_free_of(&KEYS);
    seen.assert_free_of(&PERSONAL);
    assert_eq!(seen.0.lock().unwrap().len(), 6, "each place was looked at");
}

#[test]
fn each_form_is_found_wherever_it_stands() {
    for before in ["", "x", "xy"] {
        let seen = Seen::default();
        seen.add("a text", STANDARD.encode(format!("{before}{PROVIDER_KEY} and more")).as_bytes());
        let caught = std::panic::catch_unwind(|| seen.assert_free_of(&KEYS));
        assert!(caught.is_err(), "base64 behind {before:?} was not found");
    }
}
