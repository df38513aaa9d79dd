//! `/v1` as its callers meet it: two tenants, every route, every kind of credential.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;

mod bots;

use super::remembering::Remembering;
use crate::api;
use crate::app::{App, AppParts};
use crate::config::{self, Config, Origin, Sources};
use crate::credential::api_key::ApiKey;
use crate::credential::{Scope, Scopes, Sending};
use crate::journal::CallRecord;
use crate::secret::Private;

const ONE: &str = "the key of tenant one, chosen by itself";
const TWO: &str = "the key of tenant two, chosen by itself";
const JWT_SECRET: &str = "a secret of thirty-two bytes or more";

const CONFIG: &str = r#"
[providers.parrot]
[server]
public_url = "https://gw.example.com"
[credentials]
failures_per_minute_max = 40
[tenants.one]
api_key = { env = "ONE" }
allowed_origins = ["https://one.example"]
[tenants.one.jwt]
algorithm = "HS256"
secret = { env = "JWT" }
issuer = "https://login.example.com/"
audience = "one"
scopes_claim = "scope"
[tenants.one.routes.default]
[tenants.one.routes.other]
[tenants.two]
api_key = { env = "TWO" }
allowed_origins = ["https://two.example"]
[tenants.two.jwt]
algorithm = "HS256"
secret = { env = "JWT" }
issuer = "https://login.example.com/"
audience = "two"
"#;

struct House {
    app: Arc<App>,
    router: Router,
    calls: Remembering,
    _reload: config::Reload,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn house() -> House {
    let mut sources = Sources { file: Some((PathBuf::from("p.toml"), CONFIG.into())), ..Sources::default() };
    for (name, value) in [("ONE", ONE), ("TWO", TWO), ("JWT", JWT_SECRET)] {
        sources.set(name, value);
    }
    let (reload, config) = config::watch(Config::parse(&sources).unwrap(), Origin::Given(Box::new(sources)));
    let calls = Remembering::default();
    let bound = "127.0.0.1:8080".parse().unwrap();
    let app = App::new(AppParts::in_memory(config, bound, Box::new(calls.clone())));
    House { router: api::public(&app), app, calls, _reload: reload }
}

type Headers<'h> = &'h [(&'static str, &'h str)];

impl House {
    async fn ask_from(
        &self,
        peer: &str,
        method: Method,
        path: &str,
        headers: Headers<'_>,
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        let peer: SocketAddr = format!("{peer}:1").parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn ask(&self, method: Method, path: &str, headers: Headers<'_>) -> Answer {
        self.ask_from("192.0.2.1", method, path, headers, "").await
    }

    async fn list(&self, key: &str) -> Answer {
        self.ask(Method::GET, "/v1/calls", &[("authorization", &bearer(key))]).await
    }

    async fn mint(&self, key: &str, body: &Value) -> Answer {
        let path = "/v1/realtime/client_secrets";
        let headers = [("authorization", &*bearer(key))];
        self.ask_from("192.0.2.1", Method::POST, path, &headers, &body.to_string()).await
    }

    /// A call of `tenant`, live or ringing.
    fn call(&self, tenant: &str, live: bool) -> String {
        if !live {
            let to = Private::new("+4930123456".to_owned());
            return self.app.phones.dial((tenant, "default"), to, None, Instant::now()).0;
        }
        let id = crate::id::fresh("call_");
        let record = CallRecord::new(&id, tenant, "default");
        self.calls.0.lock().unwrap().records.insert(id.clone(), record);
        id
    }

    /// A key of `tenant` with some permissions, as the store would bring it.
    fn stored_key(&self, tenant: &str, scopes: Scopes) -> String {
        let (key, row) = ApiKey::mint(tenant, "test", scopes, 0);
        self.app.credentials.use_keys([row]);
        key.expose().to_owned()
    }
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn jwt(audience: &str, scope: &str) -> String {
    let now = Sending::now([127, 0, 0, 1].into()).unix;
    let claims = json!({
        "iss": "https://login.example.com/", "aud": audience, "sub": "ann", "exp": now + 60, "scope": scope,
    });
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", text(&header), text(&claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(JWT_SECRET.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Every route of `/v1` that names an object of a tenant. [`every_route_of_a_tenant_is_in_the_list`] keeps it whole.
const OBJECTS: &[(&str, &str)] = &[
    ("GET", "/v1/calls/{id}"),
    ("POST", "/v1/calls/{id}/hangup"),
    ("POST", "/v1/calls/{id}/join"),
    ("GET", "/v1/calls/{id}/audio"),
    ("POST", "/v1/calls/{id}/audio"),
    ("GET", "/v1/calls/{id}/audio/ack"),
    ("GET", "/v1/calls/{id}/stream"),
    ("GET", "/v1/calls/{id}/events"),
    ("POST", "/v1/calls/{id}/events"),
    ("POST", "/v1/realtime/calls/{id}"),
    ("PATCH", "/v1/realtime/calls/{id}"),
    ("DELETE", "/v1/realtime/calls/{id}"),
    ("POST", "/v1/realtime/calls/{id}/hangup"),
];
/// Those that name none, and those that ask for a bot: `bots.rs` asks them with one.
const OTHERS: &[(&str, &str)] = &[
    ("POST", "/v1/bots"),
    ("GET", "/v1/bots"),
    ("DELETE", "/v1/bots/{id}"),
    ("GET", "/v1/bots/self/events"),
    ("GET", "/v1/presence"),
    ("POST", "/v1/register"),
    ("DELETE", "/v1/register/{id}"),
    ("GET", "/v1/lookup/{id}"),
    ("POST", "/v1/calls/{id}/accept"),
    ("POST", "/v1/calls/{id}/reject"),
    ("GET", "/v1/calls"),
    ("POST", "/v1/calls"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/realtime"),
    ("POST", "/v1/realtime/client_secrets"),
    ("POST", "/v1/page/token"),
    ("POST", "/v1/realtime/calls"),
];

#[test]
fn every_route_of_a_tenant_is_in_the_list() {
    let source = include_str!("../api.rs");
    let written: Vec<&str> = source
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| path.starts_with("/v1/"))
        .collect();
    assert!(written.len() >= 4, "{written:?}: has the form of api.rs changed?");
    for path in written {
        let listed = OBJECTS.iter().chain(OTHERS).any(|(_, known)| *known == path);
        assert!(listed, "{path} is in api.rs, and no test of tenants knows it: add it to OBJECTS or OTHERS");
    }
}

#[test]
fn a_tenant_never_sees_or_ends_anothers_call() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Calls by tenant and state, and which credential of tenant one asks.
    let calls = prop::collection::vec((any::<bool>(), any::<bool>()), 1..12);
    proptest!(ProptestConfig::with_cases(48), |(calls in calls, kind in 0..3u8, verb in "(GET|POST|PUT|PATCH|DELETE|HEAD)")| {
        runtime.block_on(async {
            let house = house();
            let credential = match kind {
                0 => ONE.to_owned(),
                1 => house.stored_key("one", Scopes::all()),
                _ => jwt("one", "calls:read calls:write"),
            };
            let ids: Vec<_> = calls.iter().map(|(own, live)| (*own, *live, house.call(if *own { "one" } else { "two" }, *live))).collect();
            let authorization = bearer(&credential);
            let headers = [("authorization", authorization.as_str())];
            for (own, _, id) in &ids {
                for (method, template) in OBJECTS {
                    let path = template.replace("{id}", id);
                    let answer = house.ask(method.parse().unwrap(), &path, &headers).await;
                    // A browser's connection is known while its call lives: these were never on one.
                    let has_none = *own && template.starts_with("/v1/realtime/");
                    assert!(has_none || (answer.status == StatusCode::NOT_FOUND) != *own, "{method} {path}: {}", answer.body);
                    let odd = house.ask(verb.parse().unwrap(), &path, &headers).await;
                    assert!(*own || matches!(odd.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED), "{verb} {path}");
                }
            }
            let seen: Vec<String> = house.list(&credential).await.json()["data"].as_array().unwrap().iter()
                .map(|call| call["id"].as_str().unwrap().to_owned()).collect();
            let expected = ids.iter().filter(|(own, live, _)| *own && *live).count();
            assert_eq!(seen.len(), expected);
            let foreign = |id: &String| ids.iter().any(|(own, _, known)| !own && known == id);
            assert!(!seen.iter().any(foreign));
            assert!(!house.calls.0.lock().unwrap().ended.iter().any(foreign), "a foreign call was ended");
        });
    });
}

#[tokio::test]
async fn a_foreign_call_and_no_call_are_told_in_the_same_words() {
    let house = house();
    let foreign = house.call("two", true);
    let authorization = bearer(ONE);
    let headers = [("authorization", authorization.as_str())];
    for (method, template) in OBJECTS {
        let ask = async |id: &str| {
            house.ask(method.parse().unwrap(), &template.replace("{id}", id), &headers).await
        };
        let (theirs, nobodys) = (ask(&foreign).await, ask("call_00000000000000000000000000000000").await);
        assert_eq!((theirs.status, &theirs.body), (nobodys.status, &nobodys.body), "{template}");
    }
}

#[tokio::test]
async fn a_wrong_credential_is_told_nothing_about_what_is_wrong() {
    let house = house();
    let (_, expired) = {
        let (key, row) = ApiKey::mint("one", "test", Scopes::all(), 0);
        house.app.credentials.use_keys([crate::credential::api_key::KeyRow { expires_at: Some(1), ..row }]);
        ((), key.expose().to_owned())
    };
    let unknown = ApiKey::mint("one", "test", Scopes::all(), 0).0.expose().to_owned();
    let mut bodies = std::collections::BTreeSet::new();
    let ek = format!("ek_{}.{}", "A".repeat(80), "A".repeat(43));
    let cut = &ONE[1..];
    for shown in [
        &expired,
        &unknown,
        &ek,
        cut,
        "pbk_",
        "pbk_1",
        "ek_",
        "a.b.c",
        &jwt("three", ""),
        &format!("{}x", jwt("one", "")),
    ] {
        let answer = house.list(shown).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{shown}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"patchbay\""));
        assert!(answer.header("x-request-id").is_some());
        bodies.insert(answer.body);
    }
    let headers: [Headers<'_>; 5] = [
        &[],
        &[("authorization", "Basic x")],
        &[("authorization", ONE)],
        &[("api-key", "x\ty")],
        &[("authorization", "Bearer a"), ("api-key", "b")],
    ];
    for headers in headers {
        let answer = house.ask(Method::GET, "/v1/calls", headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{headers:?}");
        bodies.insert(answer.body);
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert!(bodies.first().unwrap().contains("\"authentication_error\""));
    let text = house.app.metrics.text();
    for kind in ["api_key", "client_secret", "jwt", "missing", "several", "malformed"] {
        assert!(text.contains(&format!("patchbay_auth_failures_total{{kind=\"{kind}\"}}")), "{kind}: {text}");
    }
}

#[tokio::test]
async fn a_credential_is_taken_from_three_places_and_never_from_the_address() {
    let house = house();
    let protocol = format!("realtime, openai-insecure-api-key.{}", house.stored_key("one", Scopes::all()));
    let good: [Headers<'_>; 3] = [
        &[("authorization", &bearer(&jwt("one", "calls:read")))],
        &[("api-key", &house.stored_key("one", Scopes::all()))],
        &[("sec-websocket-protocol", &protocol)],
    ];
    // The last key that was stored is the one that is good.
    let key = house.stored_key("one", Scopes::all());
    let protocol = format!("realtime, openai-insecure-api-key.{key}");
    let fresh: [Headers<'_>; 3] = [good[0], &[("api-key", &key)], &[("sec-websocket-protocol", &protocol)]];
    for headers in fresh {
        assert_eq!(house.ask(Method::GET, "/v1/calls", headers).await.status, StatusCode::OK, "{headers:?}");
    }
    assert_eq!(
        house.ask(Method::GET, "/v1/calls", good[1]).await.status,
        StatusCode::UNAUTHORIZED,
        "it was taken back"
    );
    for name in ["api_key", "api-key", "key", "token", "access_token", "authorization"] {
        let path = format!("/v1/calls?{name}={key}");
        assert_eq!(house.ask(Method::GET, &path, &[]).await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn a_credential_does_what_it_may_and_no_more() {
    let house = house();
    let id = house.call("one", true);
    let table = [
        ("GET", "/v1/calls".to_owned(), Scope::CallsRead),
        ("GET", format!("/v1/calls/{id}"), Scope::CallsRead),
        ("POST", format!("/v1/calls/{id}/hangup"), Scope::CallsWrite),
        ("POST", "/v1/calls".to_owned(), Scope::CallsWrite),
        ("GET", "/v1/usage".to_owned(), Scope::UsageRead),
        ("POST", "/v1/realtime/client_secrets".to_owned(), Scope::SecretsCreate),
        ("GET", "/v1/realtime".to_owned(), Scope::RealtimeConnect),
    ];
    for (method, path, needed) in &table {
        for held in Scope::ALL {
            let key = house.stored_key("one", [held].into_iter().collect());
            let authorization = bearer(&key);
            let answer = house.ask(method.parse().unwrap(), path, &[("authorization", &authorization)]).await;
            let lacks = answer.status == StatusCode::FORBIDDEN && answer.code() == "insufficient_scope";
            assert_eq!(lacks, held != *needed, "{method} {path} with {held}: {}", answer.body);
        }
    }
    assert!(house.calls.0.lock().unwrap().ended.len() == 1, "refused requests end nothing");
}

#[tokio::test]
async fn failures_are_held_up_and_good_credentials_are_not() {
    let house = house();
    let ask = |peer: &'static str, key: &'static str| {
        let house = &house;
        async move {
            let authorization = bearer(key);
            house.ask_from(peer, Method::GET, "/v1/calls", &[("authorization", &authorization)], "").await
        }
    };
    for _ in 0..40 {
        assert_eq!(ask("192.0.2.7", "wrong").await.status, StatusCode::UNAUTHORIZED);
    }
    let held = ask("192.0.2.7", "wrong").await;
    assert_eq!((held.status, held.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too_many_failures"));
    let after: u64 = held.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&after), "one each 1.5 s: {after}");
    assert_eq!(ask("192.0.2.7", ONE).await.status, StatusCode::OK, "nobody locks a tenant out");
    assert_eq!(ask("192.0.2.8", "wrong").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("[2001:db8::1]", "wrong").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_page_comes_only_from_where_the_tenant_allows_whatever_it_shows() {
    let house = house();
    let user = jwt("one", "calls:read");
    for credential in [ONE, &user] {
        let from = |origin: &'static str| {
            let (house, authorization) = (&house, bearer(credential));
            async move {
                house
                    .ask(Method::GET, "/v1/calls", &[("authorization", &authorization), ("origin", origin)])
                    .await
            }
        };
        for good in ["https://one.example", "https://gw.example.com"] {
            let answer = from(good).await;
            assert_eq!(answer.status, StatusCode::OK, "{good}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(good));
            assert_eq!(answer.header("vary"), Some("origin"));
        }
        for bad in ["https://evil.example", "null", "https://one.example.evil.example", "https://two.example"]
        {
            let answer = from(bad).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::FORBIDDEN, "origin_not_allowed"),
                "{bad}"
            );
            // Another tenant's page may read that it is refused, as it may read any answer of nobody's.
            let readable = answer.header("access-control-allow-origin");
            assert_eq!(readable, (bad == "https://two.example").then_some(bad), "{bad}");
        }
        assert_eq!(house.list(credential).await.status, StatusCode::OK, "a program has no origin");
    }
}

#[tokio::test]
async fn a_page_may_read_errors_too() {
    let house = house();
    let own = bearer(ONE);
    let cases: [(Method, &str, Headers<'_>, StatusCode); 5] = [
        (Method::GET, "/v1/calls", &[], StatusCode::UNAUTHORIZED),
        (Method::GET, "/v1/calls/none", &[("authorization", &own)], StatusCode::NOT_FOUND),
        (Method::GET, "/v1/nothing", &[], StatusCode::NOT_FOUND),
        (Method::DELETE, "/v1/calls", &[], StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/v1/calls", &[("authorization", &own)], StatusCode::BAD_REQUEST),
    ];
    for (method, path, headers, status) in cases {
        let headers = [headers, &[("origin", "https://one.example")]].concat();
        let answer = house.ask(method, path, &headers).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://one.example"), "{path}");
        assert!(answer.header("access-control-expose-headers").unwrap().contains("x-request-id"));
        let foreign = [("origin", "https://evil.example")];
        let answer = house.ask(Method::GET, path, &foreign).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_as_the_sdks_need_it() {
    let house = house();
    let ask = |origin: &'static str| {
        let house = &house;
        async move {
            let wanted = "authorization,content-type,x-openai-agents-sdk,x-stainless-os";
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", wanted),
            ];
            house.ask(Method::OPTIONS, "/v1/realtime/client_secrets", &headers).await
        }
    };
    let answer = ask("https://two.example").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://two.example"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("*, authorization"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    assert_eq!(answer.header("access-control-allow-credentials"), None, "there are no cookies");
    assert_eq!(ask("https://evil.example").await.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_client_secret_has_openais_shape_and_opens_one_route_for_one_user() {
    let house = house();
    let settings = json!({ "type": "realtime", "instructions": "Be brief.", "audio": { "output": { "voice": "cedar" } } });
    let body = json!({
        "expires_after": { "anchor": "created_at", "seconds": 7200 },
        "session": settings,
        "patchbay": { "user": "ann", "route": "other", "origins": ["https://one.example"], "uses": 2 },
    });
    let answer = house.mint(ONE, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let shown = answer.json();
    let now = Sending::now([127, 0, 0, 1].into());
    let left = shown["expires_at"].as_u64().unwrap() - now.unix;
    assert!((7198..=7200).contains(&left), "{left}");
    assert_eq!(shown["session"]["object"], "realtime.session");
    assert_eq!(shown["session"]["type"], "realtime");
    assert!(shown["session"]["id"].as_str().unwrap().starts_with("sess_"));
    assert_eq!(shown["session"]["instructions"], "Be brief.");
    let secret = shown["value"].as_str().unwrap();
    assert!(secret.starts_with("ek_") && secret.len() < 1024);
    let identify = async |origin: Option<&str>, sending: Sending| {
        let mut headers = HeaderMap::new();
        let protocol = format!("realtime, openai-insecure-api-key.{secret}");
        headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        house.app.credentials.identify(&house.app.config(), &headers, sending).await
    };
    let ann = identify(Some("https://one.example"), now).await.unwrap();
    assert_eq!((ann.tenant.as_str(), ann.user.as_ref().unwrap().reveal().as_str()), ("one", "ann"));
    assert!(ann.may_use("other") && !ann.may_use("default"));
    assert_eq!(ann.scopes.iter().collect::<Vec<_>>(), [Scope::RealtimeConnect]);
    let kept: Value = serde_json::from_str(ann.settings.as_deref().unwrap()).unwrap();
    assert_eq!(kept, settings);
    for origin in [None, Some("https://gw.example.com"), Some("https://two.example"), Some("null")] {
        assert_eq!(identify(origin, now).await.unwrap_err().as_str(), "origin", "{origin:?}");
    }
    for _ in 0..2 {
        assert!(house.app.credentials.spend(&ann, now).is_ok());
    }
    assert!(house.app.credentials.spend(&ann, now).is_err(), "two uses are two");
    assert!(identify(Some("https://one.example"), now).await.is_ok(), "but who talks may still hang up");
    let over = Sending { unix: shown["expires_at"].as_u64().unwrap(), ..now };
    assert_eq!(identify(Some("https://one.example"), over).await.unwrap_err().as_str(), "client_secret");
    let just = Sending { unix: over.unix - 1, ..now };
    assert!(identify(Some("https://one.example"), just).await.is_ok());
}

#[tokio::test]
async fn a_client_secret_is_good_for_ten_minutes_and_many_uses_unless_one_says_otherwise() {
    let house = house();
    let shown = house.mint(ONE, &json!({})).await.json();
    let now = Sending::now([127, 0, 0, 1].into());
    assert!((598..=600).contains(&(shown["expires_at"].as_u64().unwrap() - now.unix)));
    let authorization = bearer(shown["value"].as_str().unwrap());
    let headers = HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, authorization.parse().unwrap())]);
    let identity = house.app.credentials.identify(&house.app.config(), &headers, now).await.unwrap();
    assert!((0..100).all(|_| house.app.credentials.spend(&identity, now).is_ok()));
    assert_eq!((identity.route.as_deref(), identity.settings), (Some("default"), None));
    let empty =
        house.ask(Method::POST, "/v1/realtime/client_secrets", &[("authorization", &bearer(ONE))]).await;
    assert_eq!(empty.status, StatusCode::OK, "a body is optional");
    let calls = house.ask(Method::GET, "/v1/calls", &[("authorization", &authorization)]).await;
    assert_eq!((calls.status, calls.code().as_str()), (StatusCode::FORBIDDEN, "insufficient_scope"));
}

#[tokio::test]
async fn a_client_secret_that_could_not_be_meant_so_is_not_minted() {
    let house = house();
    let table = [
        (json!({ "expires_after": { "anchor": "created_at", "seconds": 9 } }), "expires_after.seconds"),
        (json!({ "expires_after": { "anchor": "created_at", "seconds": 7201 } }), "expires_after.seconds"),
        (json!({ "expires_after": { "anchor": "now", "seconds": 60 } }), "expires_after.anchor"),
        (json!({ "expires_after": { "seconds": -1 } }), "body"),
        (json!({ "expires_at": 1 }), "body"),
        (json!({ "session": [] }), "body"),
        (json!({ "session": { "type": "telepathy" } }), "session.type"),
        (json!({ "session": { "instructions": "x".repeat(16 * 1024) } }), "session"),
        (json!({ "patchbay": { "route": "none" } }), "patchbay.route"),
        (json!({ "patchbay": { "uses": 0 } }), "patchbay.uses"),
        (json!({ "patchbay": { "user": "" } }), "patchbay.user"),
        (json!({ "patchbay": { "user": "a\nb" } }), "patchbay.user"),
        (json!({ "patchbay": { "origins": ["https://One.example"] } }), "patchbay.origins"),
        (json!({ "patchbay": { "origins": ["https://two.example"] } }), "patchbay.origins"),
        (json!({ "patchbay": { "origins": ["*"] } }), "patchbay.origins"),
        (json!({ "patchbay": { "tenant": "two" } }), "body"),
    ];
    for (body, param) in table {
        let answer = house.mint(ONE, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let user = jwt("one", "secrets:create");
    assert_eq!(
        house.mint(&user, &json!({ "patchbay": { "user": "bob" } })).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(house.mint(&user, &json!({})).await.status, StatusCode::OK);
    assert_eq!(house.mint(&jwt("one", "calls:read"), &json!({})).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_secret_whose_settings_are_elsewhere_opens_nothing_here() {
    let (here, there) = (house(), house());
    let with = json!({ "session": { "instructions": "Say nothing of money." } });
    let secret = here.mint(ONE, &with).await.json()["value"].as_str().unwrap().to_owned();
    assert_eq!(here.list(&secret).await.code(), "insufficient_scope", "it is known here");
    assert_eq!(there.list(&secret).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_users_token_is_its_own_tenants() {
    let house = house();
    assert_eq!(house.list(&jwt("one", "calls:read")).await.status, StatusCode::OK);
    let without = house.list(&jwt("one", "")).await;
    assert_eq!(without.code(), "insufficient_scope");
    // Tenant two asks no scopes of its tokens: its users may talk.
    assert_eq!(house.list(&jwt("two", "calls:read admin")).await.code(), "insufficient_scope");
    assert_eq!(house.list(&jwt("three", "calls:read")).await.status, StatusCode::UNAUTHORIZED);
}
