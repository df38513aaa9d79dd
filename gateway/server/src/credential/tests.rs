//! Identifying as a whole: tokens by URL over a real socket, and keys that are rotated.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::mint::Wanted;
use super::*;
use crate::config::Sources;

/// An issuer with one key at a time.
struct Issuer {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { pair: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap(), kid }
    }

    fn jwks(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig" }] })
            .to_string()
    }

    fn token(&self, audience: &serde_json::Value, now: Sending) -> String {
        let claims =
            json!({ "iss": "https://i.example/", "aud": audience, "sub": "ann", "exp": now.unix + 60 });
        let text = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", text(&json!({ "alg": "EdDSA", "kid": self.kid })), text(&claims));
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn bearer(key: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {key}").parse().unwrap())])
}

fn config(text: &str, variables: &[(&str, &str)]) -> Config {
    let text = format!("[providers.parrot]\n{text}");
    let mut sources = Sources { file: Some((PathBuf::from("p.toml"), text)), ..Sources::default() };
    for (name, value) in variables {
        sources.set(name, value);
    }
    Config::parse(&sources).unwrap()
}

fn now() -> Sending {
    Sending::now([127, 0, 0, 1].into())
}

#[tokio::test]
async fn an_issuers_keys_are_fetched_and_rotated_without_anybody_being_turned_away() {
    let published = Arc::new(Mutex::new(String::new()));
    let answers = published.clone();
    let route = get(move || async move { answers.lock().unwrap().clone() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(route)).await });
    let section = |tenant: &str| {
        format!(
            "[tenants.{tenant}.jwt]\nalgorithm = \"EdDSA\"\njwks_url = \"{url}\"\nissuer = \"https://i.example/\"\n\
             audience = \"{tenant}\"\n"
        )
    };
    let config = config(&format!("{}{}", section("one"), section("two")), &[]);
    let credentials = Credentials::new("http://127.0.0.1:1", Dialer::new());
    let (first, second, stranger) = (Issuer::new("k1"), Issuer::new("k2"), Issuer::new("k1"));
    *published.lock().unwrap() = first.jwks();
    let start = now();
    let ask = async |text: &str, after: u64| {
        let sending = Sending { at: start.at + Duration::from_secs(after), ..start };
        credentials.identify(&config, &bearer(text), sending).await
    };
    let identity = ask(&first.token(&json!("two"), start), 0).await.unwrap();
    assert_eq!((identity.tenant.as_str(), identity.user.unwrap().reveal().as_str()), ("two", "ann"));
    assert_eq!(
        ask(&stranger.token(&json!("two"), start), 0).await,
        Err(Refusal::Jwt),
        "the same kid, another key"
    );
    *published.lock().unwrap() = second.jwks();
    assert!(
        ask(&second.token(&json!("one"), start), 20).await.is_ok(),
        "the new key is fetched when it is named"
    );
    assert_eq!(ask(&first.token(&json!("one"), start), 20).await, Err(Refusal::Jwt), "the old one is gone");
    let both = second.token(&json!(["one", "two"]), start);
    assert_eq!(ask(&both, 20).await, Err(Refusal::Jwt), "a token for two tenants is for none");
}

#[tokio::test]
async fn client_secrets_outlive_the_rotation_of_the_signing_key_and_a_restart() {
    let (old, new) = ("an old key of thirty-two characters", "a new key of thirty-two characters!");
    let keys = |list: &str| {
        config(&format!("[credentials]\nsigning_keys = {list}\n"), &[("OLD", old), ("NEW", new)])
    };
    let before = keys("[{ env = \"OLD\" }]");
    let during = keys("[{ env = \"NEW\" }, { env = \"OLD\" }]");
    let after = keys("[{ env = \"NEW\" }]");
    let wanted = || Wanted {
        tenant: "default".into(),
        user: None,
        route: "default".into(),
        origins: Vec::new(),
        settings: None,
        uses: None,
        expires_at: now().unix + 600,
    };
    // Another process, on another machine perhaps.
    let process = || Credentials::new("https://gw.example.com", Dialer::new());
    let mint = |config: &Config| process().mint(config, wanted(), now().unix).unwrap();
    let (from_before, from_during) = (mint(&before), mint(&during));
    let opens = async |config: &Config, secret: &str| {
        process().identify(config, &bearer(secret), now()).await.is_ok()
    };
    assert!(opens(&before, from_before.expose()).await && opens(&during, from_before.expose()).await);
    assert!(!opens(&after, from_before.expose()).await, "once the old key is gone, so are its secrets");
    assert!(opens(&during, from_during.expose()).await && opens(&after, from_during.expose()).await);
    let none = config("", &[]);
    assert!(!opens(&none, mint(&none).expose()).await, "without a key, each process has its own");
}

#[tokio::test]
async fn a_client_secret_of_a_tenant_that_is_gone_opens_nothing() {
    let signing = "[credentials]\nsigning_keys = [{ env = \"K\" }]\n";
    let key = [("K", "a key of thirty-two characters, or so")];
    let with = config(&format!("{signing}[tenants.here]\n[tenants.gone]\n"), &key);
    let without = config(&format!("{signing}[tenants.here]\n"), &key);
    let credentials = Credentials::new("https://gw.example.com", Dialer::new());
    let expires_at = now().unix + 600;
    let (tenant, route) = ("gone".to_owned(), "default".to_owned());
    let wanted =
        Wanted { tenant, user: None, route, origins: Vec::new(), settings: None, uses: None, expires_at };
    let secret = credentials.mint(&with, wanted, now().unix).unwrap();
    assert!(credentials.identify(&with, &bearer(secret.expose()), now()).await.is_ok());
    assert_eq!(credentials.identify(&without, &bearer(secret.expose()), now()).await, Err(Refusal::ApiKey));
}

#[test]
fn what_is_signed_with_is_never_printed() {
    let credentials = Credentials::new("https://gw.example.com", Dialer::new());
    let text = format!("{credentials:?}");
    assert!(text.contains("OwnKey([redacted])"), "{text}");
    let config = config("", &[("PATCHBAY_SIGNING_KEY", "a canary of thirty-two characters ..")]);
    assert!(!config.to_toml().contains("canary") && !format!("{config:?}").contains("canary"));
    assert!(config.to_toml().contains("signing_keys"));
}
