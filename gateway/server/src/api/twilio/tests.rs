//! Webhooks as Twilio meets them: the public router, with a table of calls that only remembers.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use patchbay_core::{EndReason, Fault, Outcome};
use tower::ServiceExt;

use super::signature::sign;
use crate::api;
use crate::api::remembering::Remembering;
use crate::app::{App, AppParts};
use crate::config::{self, Config, Origin, Sources};
use crate::form;
use crate::transport::{DialSpec, Dialer, ListenLimits, Listener};

mod money;

const TOKEN: &str = "12345";
const CALL: &str = "CA000000000000000000000000000000a1";
const ACCOUNT: &str = "AC000000000000000000000000000000b2";
const VOICE: &str = "/twilio/voice/default/default";

impl Remembering {
    fn started(&self) -> usize {
        self.0.lock().unwrap().plans.len()
    }

    fn lasted_ms(&self, duration_ms: u64) {
        self.finish(EndReason::CallerHungUp, None);
        for record in self.0.lock().unwrap().records.values_mut() {
            record.duration_ms = duration_ms;
        }
    }

    fn finish(&self, reason: EndReason, fault: Option<Fault>) {
        for record in self.0.lock().unwrap().records.values_mut() {
            record.state = "ended";
            record.outcome = Some(Outcome { reason, fault, code: None });
        }
    }
}

struct House {
    app: Arc<App>,
    router: Router,
    calls: Remembering,
    /// Keeps the configuration's channel open.
    _reload: config::Reload,
}

fn house(list: &[(&str, &str)]) -> House {
    let mut sources = Sources::default();
    sources.set("OPENAI_API_KEY", "sk-x");
    sources.set("TWILIO_AUTH_TOKEN", TOKEN);
    sources.set("PATCHBAY__SERVER__PUBLIC_URL", "https://gw.example.com");
    for (name, value) in list {
        sources.set(name, value);
    }
    house_of(sources)
}

fn house_of(sources: Sources) -> House {
    let (reload, config) = config::watch(Config::parse(&sources).unwrap(), Origin::Given(Box::new(sources)));
    let calls = Remembering::default();
    let bound = "127.0.0.1:8080".parse().unwrap();
    let app = App::new(AppParts::in_memory(config, bound, Box::new(calls.clone())));
    House { router: api::public(&app), app, calls, _reload: reload }
}

struct Answer {
    status: StatusCode,
    body: String,
    headers: axum::http::HeaderMap,
}

impl Answer {
    /// What stands between two texts.
    fn between(&self, before: &str, after: &str) -> &str {
        self.body.split_once(before).unwrap().1.split_once(after).unwrap().0
    }

    fn media(&self) -> &str {
        self.between("url=\"wss://gw.example.com", "\"")
    }

    fn resume(&self) -> &str {
        self.between("<Redirect method=\"POST\">https://gw.example.com", "<")
    }
}

fn usual() -> Vec<(&'static str, &'static str)> {
    vec![
        ("CallSid", CALL),
        ("AccountSid", ACCOUNT),
        ("From", "+4930123456"),
        ("To", "+4930654321"),
        ("CallStatus", "ringing"),
    ]
}

impl House {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn post(&self, path: &str, params: &[(&str, &str)], signature: Option<&str>) -> Answer {
        let mut request = Request::post(path)
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(signature) = signature {
            request = request.header("x-twilio-signature", signature);
        }
        self.send(request.body(Body::from(form::encode(params.iter().copied()))).unwrap()).await
    }

    async fn signed(&self, path: &str, params: &[(&str, &str)]) -> Answer {
        let signature = signature(&format!("https://gw.example.com{path}"), params);
        self.post(path, params, Some(&signature)).await
    }

    fn metric(&self, line: &str) -> bool {
        self.app.metrics.text().lines().any(|found| found == line)
    }
}

fn signature(url: &str, params: &[(&str, &str)]) -> String {
    let params: Vec<_> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    sign(TOKEN, url, &params)
}

#[tokio::test]
async fn a_webhook_is_answered_with_a_stream_and_a_way_back_and_dials_the_model() {
    let house = house(&[]);
    let answer = house.signed(VOICE, &usual()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "text/xml; charset=utf-8");
    assert!(answer.headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    let (media, resume) = (answer.media(), answer.resume());
    assert_eq!(
        answer.body,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Connect><Stream \
             url=\"wss://gw.example.com{media}\" statusCallback=\"https://gw.example.com/twilio/status\"/></Connect>\
             <Redirect method=\"POST\">https://gw.example.com{resume}</Redirect></Response>"
        )
    );
    assert_eq!(media.len(), "/twilio/media/".len() + 32);
    assert_ne!(media.rsplit('/').next(), resume.rsplit('/').next());
    assert_eq!(house.calls.started(), 1);
    let plan = house.calls.0.lock().unwrap().plans.pop().unwrap();
    assert_eq!(plan.caller.config["call_sid"], CALL);
    assert!(!answer.body.contains(&*plan.id), "the call's id is not in any address");
}

#[tokio::test]
async fn a_repeated_webhook_gives_the_same_twiml_and_starts_no_second_call() {
    let house = house(&[]);
    let first = house.signed(VOICE, &usual()).await;
    let second = house.signed(VOICE, &usual()).await;
    assert_eq!(first.body, second.body);
    assert_eq!(house.calls.started(), 1);
}

#[tokio::test]
async fn what_twilio_did_not_sign_gets_403_and_an_empty_body() {
    let house = house(&[]);
    let good = signature("https://gw.example.com/twilio/voice/default/default", &usual());
    let by_host = signature("https://evil.example/twilio/voice/default/default", &usual());
    let by_scheme = signature("http://gw.example.com/twilio/voice/default/default", &usual());
    let elsewhere = signature("https://gw.example.com/twilio/voice/default/other", &usual());
    let lower = good.to_lowercase();
    for bad in [
        None,
        Some(""),
        Some(by_host.as_str()),
        Some(&by_scheme),
        Some(&elsewhere),
        Some(&lower),
        Some(&good[1..]),
    ] {
        let answer = house.post(VOICE, &usual(), bad).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::FORBIDDEN, ""), "{bad:?}");
    }
    let mut changed = usual();
    changed[2].1 = "+4930999999";
    assert_eq!(house.post(VOICE, &changed, Some(&good)).await.status, StatusCode::FORBIDDEN);
    let with_query = house.post(&format!("{VOICE}?a=b"), &usual(), Some(&good)).await;
    assert_eq!((with_query.status, with_query.body.as_str()), (StatusCode::FORBIDDEN, ""));
    assert_eq!(house.calls.started(), 0);
    assert!(house.metric("patchbay_twilio_signature_failures_total 9"), "{}", house.app.metrics.text());
    assert_eq!(house.post(VOICE, &usual(), Some(&good)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_second_signature_header_is_no_choice() {
    let house = house(&[]);
    let good = signature("https://gw.example.com/twilio/voice/default/default", &usual());
    let request = Request::post(VOICE)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-twilio-signature", good)
        .header("x-twilio-signature", "x")
        .body(Body::from(form::encode(usual())))
        .unwrap();
    assert_eq!(house.send(request).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn signed_but_odd_forms_are_refused() {
    let house = house(&[("TWILIO_ACCOUNT_SID", ACCOUNT)]);
    let with = |name: &'static str, value: &'static str| {
        let mut form = usual();
        form.retain(|(found, _)| *found != name);
        form.push((name, value));
        form
    };
    let mut repeated = usual();
    repeated.push(("From", "+1"));
    let without: Vec<_> = usual().into_iter().filter(|(name, _)| *name != "CallSid").collect();
    for form in [
        repeated,
        without,
        with("CallSid", "CA12"),
        with("CallSid", "ca000000000000000000000000000000a1"),
        with("CallSid", "CA000000000000000000000000000000a1 "),
        with("AccountSid", "AC000000000000000000000000000000ff"),
    ] {
        assert_eq!(house.signed(VOICE, &form).await.status, StatusCode::FORBIDDEN, "{form:?}");
    }
    let large = "x".repeat(70_000);
    let mut form = usual();
    form.push(("Large", &large));
    assert_eq!(house.signed(VOICE, &form).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let json = Request::post(VOICE)
        .header("content-type", "application/json")
        .header("x-twilio-signature", signature("https://gw.example.com/twilio/voice/default/default", &[]))
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(house.send(json).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.calls.started(), 0);
}

#[tokio::test]
async fn a_refused_call_hears_the_fallback() {
    let house = house(&[("PATCHBAY__LIMITS__CALLS_MAX", "1")]);
    assert!(house.signed(VOICE, &usual()).await.body.contains("<Connect>"));
    let mut second = usual();
    second[0].1 = "CA000000000000000000000000000000a2";
    let answer = house.signed(VOICE, &second).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.starts_with("<Response><Say>We are sorry"), "{}", answer.body);
    assert!(
        house.metric("patchbay_calls_refused_total{reason=\"machine_full\"} 1"),
        "{}",
        house.app.metrics.text()
    );
    house.app.drain.signal();
    second[0].1 = "CA000000000000000000000000000000a3";
    assert!(house.signed(VOICE, &second).await.body.starts_with("<Response><Say>"));
    assert!(house.metric("patchbay_calls_refused_total{reason=\"draining\"} 1"));
    assert_eq!(house.calls.started(), 1);
}

#[tokio::test]
async fn a_webhook_for_a_number_that_is_not_the_tenants_is_refused_and_says_why() {
    let numbers = ("PATCHBAY__TENANTS__DEFAULT__TWILIO__NUMBERS", "+4930654321, +15005550006");
    let house = house(&[numbers]);
    let mut other = usual();
    other[3].1 = "+4930999999";
    let refused = house.signed(VOICE, &other).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let why = "`To` is none of the numbers in `tenants.default.twilio.numbers`.";
    assert!(
        refused.body.contains("\"code\":\"number_not_listed\"") && refused.body.contains(why),
        "{}",
        refused.body
    );
    assert!(
        house.metric("patchbay_calls_refused_total{reason=\"number\"} 1"),
        "{}",
        house.app.metrics.text()
    );
    assert_eq!(house.signed(VOICE, &other[..3]).await.status, StatusCode::FORBIDDEN, "no `To` at all");
    assert_eq!((house.calls.started(), house.app.admission.calls()), (0, 0));
    assert!(house.signed(VOICE, &usual()).await.body.contains("<Connect>"));
    // Of a call that is made by Twilio for the tenant, ours is the number that calls.
    let mut outbound = other.clone();
    outbound[0].1 = "CA000000000000000000000000000000a2";
    outbound[2].1 = "+15005550006";
    outbound.push(("Direction", "outbound-api"));
    assert!(house.signed(VOICE, &outbound).await.body.contains("<Connect>"));
}

#[tokio::test]
async fn a_resume_answers_by_how_the_call_stands() {
    let live = house(&[]);
    let first = live.signed(VOICE, &usual()).await;
    let again = live.signed(first.resume(), &usual()).await;
    assert!(again.body.contains("<Connect>"));
    assert_ne!(again.media(), first.media(), "a fresh token");
    assert_eq!(live.calls.started(), 1);
    let table = [
        (EndReason::CallerHungUp, None, "<Hangup/></Response>", true),
        (EndReason::Requested, None, "<Hangup/></Response>", true),
        (EndReason::CalleeLost, Some(Fault::PeerLost), "<Say>", false),
        (EndReason::CalleeHungUp, Some(Fault::TenantConfig), "<Say>", false),
        (EndReason::Shutdown, None, "<Say>", false),
    ];
    for (reason, fault, expected, only_hangs_up) in table {
        let house = house(&[]);
        let first = house.signed(VOICE, &usual()).await;
        house.calls.finish(reason, fault);
        let answer = house.signed(first.resume(), &usual()).await;
        assert!(answer.body.contains(expected), "{reason:?}: {}", answer.body);
        assert_eq!(!answer.body.contains("<Say>"), only_hangs_up, "{reason:?}");
    }
}

#[tokio::test]
async fn the_fourth_resume_in_a_minute_is_the_fallback() {
    let house = house(&[]);
    let first = house.signed(VOICE, &usual()).await;
    for _ in 0..3 {
        assert!(house.signed(first.resume(), &usual()).await.body.contains("<Connect>"));
    }
    assert!(house.signed(first.resume(), &usual()).await.body.contains("<Say>"));
}

#[tokio::test]
async fn a_resume_needs_its_token_its_phone_call_and_a_signature() {
    let house = house(&[]);
    let first = house.signed(VOICE, &usual()).await;
    let mut other = usual();
    other[0].1 = "CA000000000000000000000000000000a2";
    assert_eq!(house.signed(first.resume(), &other).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.post(first.resume(), &usual(), None).await.status, StatusCode::FORBIDDEN);
    let guess = "/twilio/resume/00000000000000000000000000000000";
    assert_eq!(house.signed(guess, &usual()).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_status_ends_the_call_that_it_is_about() {
    let house = house(&[]);
    house.signed(VOICE, &usual()).await;
    let mut form = usual();
    form[4].1 = "in-progress";
    assert_eq!(house.signed("/twilio/status", &form).await.status, StatusCode::NO_CONTENT);
    assert!(house.calls.0.lock().unwrap().ended.is_empty());
    form[4].1 = "completed";
    assert_eq!(house.signed("/twilio/status", &form).await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.calls.0.lock().unwrap().ended.len(), 1);
    assert_eq!(house.post("/twilio/status", &form, None).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn without_a_token_only_this_machine_is_answered() {
    let no_token = [("TWILIO_AUTH_TOKEN", "")];
    let known_to_others = house(&no_token);
    assert_eq!(known_to_others.post(VOICE, &usual(), None).await.status, StatusCode::FORBIDDEN);
    let local = house(&[no_token[0], ("PATCHBAY__SERVER__PUBLIC_URL", "")]);
    let request = |host: &str, origin: Option<&str>| {
        let mut request = Request::post(VOICE)
            .header("host", host)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.body(Body::from(form::encode(usual()))).unwrap()
    };
    let answer = local.send(request("127.0.0.1:8080", None)).await;
    assert!(answer.body.contains("url=\"ws://127.0.0.1:8080/twilio/media/"), "{}", answer.body);
    assert_eq!(local.send(request("rebound.example:8080", None)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        local.send(request("localhost:8080", Some("https://evil.example"))).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn errors_have_openais_shape() {
    let house = house(&[]);
    let asked = Request::get("/nothing").header("origin", "https://gw.example.com");
    let missing = house.send(asked.body(Body::empty()).unwrap()).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.headers["access-control-allow-origin"], "https://gw.example.com");
    let error: serde_json::Value = serde_json::from_str(&missing.body).unwrap();
    assert_eq!(error["error"]["type"], "invalid_request_error");
    assert_eq!(error["error"]["code"], "not_found");
    let method = house.send(Request::get(VOICE).body(Body::empty()).unwrap()).await;
    assert_eq!(method.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(method.body.contains("\"method_not_allowed\""));
}

#[tokio::test]
async fn readiness_falls_with_the_drain_and_liveness_does_not() {
    let house = house(&[]);
    let get = |path: &'static str| house.send(Request::get(path).body(Body::empty()).unwrap());
    assert_eq!(get("/readyz").await.status, StatusCode::OK);
    house.app.drain.signal();
    assert_eq!(get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/livez").await.status, StatusCode::OK);
    assert!(get("/health").await.body.contains("\"draining\""));
    assert_eq!(get("/metrics").await.status, StatusCode::NOT_FOUND, "never on the public listener");
}

/// The router on a real socket.
async fn on_air(house: &House) -> String {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), ListenLimits::default()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listener.serve(house.router.clone(), std::future::pending()));
    format!("ws://{address}")
}

async fn dial(base: &str, path: &str, signature: Option<&str>) -> bool {
    let mut spec = DialSpec::new(&format!("{base}{path}")).unwrap();
    if let Some(signature) = signature {
        spec = spec.header("x-twilio-signature".parse().unwrap(), signature.parse().unwrap());
    }
    Dialer::new().dial(&spec).await.is_ok()
}

#[tokio::test]
async fn a_media_socket_opens_once_and_belongs_to_its_call() {
    let house = house(&[]);
    let base = on_air(&house).await;
    let media = house.signed(VOICE, &usual()).await.media().to_owned();
    assert!(!dial(&base, "/twilio/media/00000000000000000000000000000000", None).await);
    assert!(
        !dial(&base, &media, Some(&signature(&format!("https://gw.example.com{media}"), &[]))).await,
        "not wss://"
    );
    assert!(!dial(&base, &media, Some("wrong")).await);
    let right = signature(&format!("wss://gw.example.com{media}"), &[]);
    assert!(dial(&base, &media, Some(&right)).await, "what was refused has not spent the token");
    assert!(!dial(&base, &media, Some(&right)).await, "a replay");
    let memory = house.calls.0.lock().unwrap();
    assert_eq!(memory.attached, [memory.plans[0].id.to_string()]);
}

#[tokio::test]
async fn a_tenant_may_insist_on_the_streams_signature() {
    let name = "PATCHBAY__TENANTS__DEFAULT__TWILIO__REQUIRE_STREAM_SIGNATURE";
    let house = house(&[(name, "true")]);
    let base = on_air(&house).await;
    let media = house.signed(VOICE, &usual()).await.media().to_owned();
    assert!(!dial(&base, &media, None).await);
    let with_port = signature(&format!("wss://gw.example.com:443{media}"), &[]);
    assert!(dial(&base, &media, Some(&with_port)).await);
}

#[tokio::test]
async fn a_plain_get_does_not_spend_the_media_token() {
    let house = house(&[]);
    let base = on_air(&house).await;
    let media = house.signed(VOICE, &usual()).await.media().to_owned();
    let plain = house.send(Request::get(media.as_str()).body(Body::empty()).unwrap()).await;
    assert_eq!(plain.status, StatusCode::UPGRADE_REQUIRED);
    assert!(dial(&base, &media, None).await);
}

#[tokio::test]
async fn the_calls_api_needs_the_tenants_key() {
    let house = house(&[("PATCHBAY__TENANTS__DEFAULT__API_KEY", "pbk_1")]);
    house.signed(VOICE, &usual()).await;
    let get = |key: Option<&str>, path: &str| {
        let request = Request::get(path);
        let request = key.iter().fold(request, |r, key| r.header("authorization", format!("Bearer {key}")));
        request.body(Body::empty()).unwrap()
    };
    for bad in [None, Some("pbk_2"), Some("")] {
        let answer = house.send(get(bad, "/v1/calls")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.body.contains("invalid_api_key"));
    }
    let list = house.send(get(Some("pbk_1"), "/v1/calls")).await;
    let list: serde_json::Value = serde_json::from_str(&list.body).unwrap();
    let id = list["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(house.send(get(Some("pbk_1"), &format!("/v1/calls/{id}"))).await.status, StatusCode::OK);
    assert_eq!(house.send(get(Some("pbk_1"), "/v1/calls/call_x")).await.status, StatusCode::NOT_FOUND);
    let hang_up = Request::post(format!("/v1/calls/{id}/hangup")).header("authorization", "Bearer pbk_1");
    assert_eq!(house.send(hang_up.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    assert_eq!(house.calls.0.lock().unwrap().ended, [id]);
}

#[tokio::test]
async fn no_key_configured_opens_nothing() {
    let house = house(&[]);
    for key in ["", "Bearer ", "Bearer null"] {
        let request = Request::get("/v1/calls").header("authorization", key).body(Body::empty()).unwrap();
        assert_eq!(house.send(request).await.status, StatusCode::UNAUTHORIZED);
    }
}

/// A Twilio that places every call as `CALL`, and remembers the forms.
async fn twilio() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let answer = move |body: String| async move {
        notes.lock().unwrap().push(body);
        (StatusCode::CREATED, format!("{{\"sid\":\"{CALL}\"}}"))
    };
    let router = Router::new().fallback(axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, seen)
}

#[tokio::test]
async fn an_outbound_call_is_off_by_default_limited_by_prefix_and_dials_the_model_when_answered() {
    let (base, seen) = twilio().await;
    let key = ("PATCHBAY__TENANTS__DEFAULT__API_KEY", "pbk_1");
    let route = "PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__";
    let (allow, prefixes) = (format!("{route}ALLOW_OUTBOUND"), format!("{route}OUTBOUND_PREFIXES"));
    let create = |to: &str| {
        let body = serde_json::json!({ "to": to, "from": "+15005550006" }).to_string();
        Request::post("/v1/calls")
            .header("authorization", "Bearer pbk_1")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let closed = house(&[key]);
    let refused = closed.send(create("+4930123456")).await;
    assert_eq!(
        (refused.status, refused.body.contains("outbound_not_allowed")),
        (StatusCode::FORBIDDEN, true)
    );

    let open = house(&[
        key,
        (&allow, "true"),
        (&prefixes, "+4930,+1"),
        ("TWILIO_ACCOUNT_SID", ACCOUNT),
        ("PATCHBAY__TENANTS__DEFAULT__TWILIO__API_BASE_URL", &base),
    ]);
    assert!(open.send(create("+4989123456")).await.body.contains("number_not_allowed"));
    assert_eq!(open.send(create("12")).await.status, StatusCode::BAD_REQUEST);
    let listed = ("PATCHBAY__TENANTS__DEFAULT__TWILIO__NUMBERS", "+4930654321");
    let not_ours =
        house(&[key, (&allow, "true"), (&prefixes, "+4930"), listed]).send(create("+4930123456")).await;
    assert!(not_ours.body.contains("none of the tenant's twilio.numbers"), "{}", not_ours.body);
    let placed = open.send(create("+4930123456")).await;
    assert_eq!(placed.status, StatusCode::CREATED, "{}", placed.body);
    assert_eq!(open.calls.started(), 0, "nobody has answered yet");
    assert_eq!(open.app.admission.calls(), 1, "but its line is taken");
    let phone = open.app.phones.by_sid(CALL).unwrap();
    assert_eq!(placed.body, format!("{{\"id\":\"{}\",\"state\":\"ringing\"}}", phone.id));
    let asked = form::decode(seen.lock().unwrap()[0].as_bytes());
    let url = asked.iter().find(|(name, _)| name == "Url").unwrap().1.clone();
    let path = url.strip_prefix("https://gw.example.com").unwrap();
    let answered = open.signed(path, &usual()).await;
    assert!(answered.body.contains("<Connect>"), "{}", answered.body);
    assert_eq!(open.calls.started(), 1);
    assert_eq!(*open.calls.0.lock().unwrap().plans[0].id, *phone.id);
}
