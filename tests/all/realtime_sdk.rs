//! The official SDKs of OpenAI, unmodified, over real sockets: all that they are told of us is an address.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use patchbay_codec::transcoder;
use patchbay_core::Format;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::house;
use crate::speech;
use crate::stage::{Stage, model_that_says, wav_path};

const KEY: &str = "a-gateway-key-of-this-test-alone";
const FILE: &str = "[tenants.default]\napi_key = { env = \"SDK_KEY\" }\n";

async fn stage() -> Stage {
    Stage::set_with(model_that_says("model-answer.wav"), FILE, &[("SDK_KEY", KEY)]).await
}

/// TLS in front of the gateway, as the SDKs of the `openai` package insist. Answers its port and its authority, as a file.
async fn tls_before(stage: &Stage, folder: &tempfile::TempDir) -> (u16, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, gateway) = (listener.local_addr().unwrap().port(), stage.public());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(socket).await else { return };
                let Ok(mut inside) = TcpStream::connect(gateway).await else { return };
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (port, authority)
}

/// Runs a program of `tests/interop`. Answers its last line, or fails with all that it said.
async fn run(program: &str, arguments: Vec<String>, authority: Option<PathBuf>) -> Value {
    let interop = house::root().join("tests/interop");
    let program = interop.join(program);
    assert!(program.exists(), "{}: run `bash tests/setup.sh test`", program.display());
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(interop).stdin(Stdio::null());
        if let Some(authority) = authority {
            command.env("NODE_EXTRA_CA_CERTS", authority);
        }
        command.output().unwrap()
    });
    let output = ran.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {said}"))
}

fn assert_heard(told: &Value) {
    assert_eq!(told["errors"], serde_json::json!([]), "the SDK complains");
    let audio = STANDARD.decode(told["heard"].as_str().unwrap()).unwrap();
    let mut ulaw = Vec::new();
    transcoder(Format::L16_24K, Format::PCMU).unwrap().push(&audio, &mut ulaw).unwrap();
    let found = speech::find(&speech::fixture("model-answer.wav"), &speech::samples(&ulaw));
    assert!(found.fit > 0.95, "{found:?} {}", told["seen"]);
}

fn node(how: &str, address: String) -> Vec<String> {
    let wav = wav_path("caller-24k.wav").display().to_string();
    vec!["realtime_sdk.mjs".into(), how.into(), address, KEY.into(), wav]
}

#[tokio::test]
async fn the_unmodified_openai_package_for_node_talks_over_both_of_its_sockets() {
    for how in ["openai-websocket", "openai-ws"] {
        let (stage, folder) = (stage().await, tempfile::tempdir().unwrap());
        let (port, authority) = tls_before(&stage, &folder).await;
        let told =
            run("node_modules/.bin/node", node(how, format!("https://localhost:{port}")), Some(authority))
                .await;
        assert_heard(&told);
        stage.clear().await;
    }
}

#[tokio::test]
async fn the_unmodified_agents_sdk_for_node_talks_over_its_websocket() {
    let stage = stage().await;
    let told =
        run("node_modules/.bin/node", node("agents", format!("http://{}", stage.public())), None).await;
    assert_heard(&told);
    stage.clear().await;
}

#[tokio::test]
async fn the_unmodified_openai_package_for_python_talks() {
    let stage = stage().await;
    let wav = wav_path("caller-24k.wav").display().to_string();
    let arguments = vec!["realtime_sdk.py".into(), format!("http://{}", stage.public()), KEY.into(), wav];
    let told = run(".venv/bin/python", arguments, None).await;
    assert_heard(&told);
    stage.clear().await;
}
