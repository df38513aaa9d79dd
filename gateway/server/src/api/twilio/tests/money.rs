//! Webhooks and money.

use std::time::Duration;

use patchbay_store::UnixMs;

use super::*;
use crate::api::twilio::minutes;

/// One call at a time, of which half a dollar is set aside, and nothing more.
const LIMIT: [(&str, &str); 2] = [
    ("PATCHBAY__TENANTS__DEFAULT__SPEND__LIMIT_USD", "0.5"),
    ("PATCHBAY__TENANTS__DEFAULT__SPEND__RESERVE_USD", "0.5"),
];

const OTHER: &str = "CA000000000000000000000000000000c3";

fn completed(call_sid: &'static str, seconds: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut form = usual();
    form[0].1 = call_sid;
    form[4].1 = "completed";
    form.extend([("CallDuration", seconds), ("Direction", "inbound")]);
    form
}

fn with_a_phone_price() -> House {
    with_a_phone_price_and(&[])
}

fn with_a_phone_price_and(list: &[(&str, &str)]) -> House {
    let mut sources = Sources::default();
    for (name, value) in list {
        sources.set(name, value);
    }
    sources.set("OPENAI_API_KEY", "sk-x");
    sources.set("TWILIO_AUTH_TOKEN", TOKEN);
    sources.set("PATCHBAY__SERVER__PUBLIC_URL", "https://gw.example.com");
    sources.set("KEY", "pbk_of-default");
    let file = "[tenants.default]\napi_key = { env = \"KEY\" }\n[tenants.other]\n[prices.phone]\n\
                providers = [\"twilio\"]\nmodels = [\"inbound:+4930*\"]\nkind = \"telephony_minute\"\n\
                from = \"2026-01-01\"\nper_minute = 0.01\nround_up_to = \"minute\"\n";
    sources.file = Some(("p.toml".into(), file.into()));
    house_of(sources)
}

impl House {
    async fn get(&self, path: &str, key: Option<&str>) -> Answer {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    fn spent(&self) -> i64 {
        self.app.till.spend.spent("default")
    }
}

#[tokio::test]
async fn a_webhook_of_a_tenant_that_has_spent_its_limit_is_answered_in_twiml() {
    let house = house(&LIMIT);
    assert!(house.signed(VOICE, &usual()).await.body.contains("<Connect>"));
    let mut second = usual();
    second[0].1 = OTHER;
    let refused = house.signed(VOICE, &second).await;
    assert_eq!(refused.status, StatusCode::OK, "Twilio speaks it to the caller");
    assert!(refused.body.starts_with("<Response><Say>"), "{}", refused.body);
    assert_eq!(house.calls.started(), 1);
    for line in [
        "patchbay_budget_refusals_total 1",
        "patchbay_calls_refused_total{reason=\"spend_limit_reached\"} 1",
        "patchbay_limit_hits_total{limit=\"spend_limit_reached\"} 1",
    ] {
        assert!(house.metric(line), "{line}: {}", house.app.metrics.text());
    }
}

#[tokio::test]
async fn an_outbound_call_of_a_tenant_that_has_spent_its_limit_gets_429_and_when_to_ask_again() {
    let mut list = LIMIT.to_vec();
    list.extend([
        ("PATCHBAY__TENANTS__DEFAULT__API_KEY", "pbk_1"),
        ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__ALLOW_OUTBOUND", "true"),
        ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__OUTBOUND_PREFIXES", "+4930"),
    ]);
    let house = house(&list);
    assert!(house.signed(VOICE, &usual()).await.body.contains("<Connect>"));
    let request = Request::post("/v1/calls")
        .header("authorization", "Bearer pbk_1")
        .header("content-type", "application/json")
        .body(Body::from("{\"to\":\"+4930123456\",\"from\":\"+4930654321\"}"));
    let refused = house.send(request.unwrap()).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.body.contains("\"code\":\"spend_limit_reached\""), "{}", refused.body);
    let again: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(again <= 31 * 86_400, "{again} s is beyond the month");
}

#[tokio::test]
async fn a_caller_whose_call_ended_for_want_of_money_goes_where_the_policy_says() {
    let policy = "PATCHBAY__TENANTS__DEFAULT__SPEND__POLICY";
    let to = ("PATCHBAY__TENANTS__DEFAULT__SPEND__TRANSFER_TO", "+4930777777");
    let table = [
        (vec![(policy, "hang_up")], "<Hangup/>"),
        (vec![(policy, "transfer"), to], "<Dial>+4930777777</Dial>"),
        (vec![(policy, "transfer")], "<Say>"),
    ];
    for (list, expected) in table {
        let house = house(&list);
        let first = house.signed(VOICE, &usual()).await;
        house.calls.finish(EndReason::Spend, None);
        let answer = house.signed(first.resume(), &usual()).await;
        assert!(answer.body.contains(expected), "{list:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn minutes_of_the_telephone_count_once_however_often_twilio_tells_them() {
    let house = with_a_phone_price();
    house.signed(VOICE, &usual()).await;
    for _ in 0..3 {
        let told = house.signed("/twilio/status", &completed(CALL, "61")).await;
        assert_eq!(told.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(house.spent(), 20_000, "two minutes begun");
    let usage = house.get("/v1/usage?group_by=model,route", Some("pbk_of-default")).await;
    assert!(usage.body.contains("\"model\":\"inbound:+4930*\""), "{}", usage.body);
    assert!(
        usage.body.contains("\"duration_ms\":61000") && usage.body.contains("\"rows\":1"),
        "{}",
        usage.body
    );
    assert!(!usage.body.contains("+4930654321"), "a row is kept for years, and names no number");
}

/// A Twilio that keeps every call as completed after 61 seconds.
async fn twilio_that_knows() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json");
    let call = || async { "{\"status\":\"completed\",\"duration\":\"61\"}" };
    let router = Router::new().route(&path, axum::routing::get(call));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

#[tokio::test]
async fn minutes_that_twilio_never_tells_are_estimated_and_then_asked_for() {
    let house = with_a_phone_price_and(&[
        ("TWILIO_ACCOUNT_SID", ACCOUNT),
        ("PATCHBAY__TENANTS__DEFAULT__TWILIO__API_BASE_URL", &twilio_that_knows().await),
    ]);
    house.signed(VOICE, &usual()).await;
    let over = std::time::Instant::now();
    minutes::look(&house.app, over).await;
    house.calls.lasted_ms(30_000);
    for wait in [0, 59] {
        minutes::look(&house.app, over + Duration::from_secs(wait)).await;
        assert_eq!(house.spent(), 0, "the callback may still come");
    }
    minutes::look(&house.app, over + Duration::from_secs(60)).await;
    assert_eq!(house.spent(), 20_000, "Twilio says 61 s, whatever was estimated");
    house.signed("/twilio/status", &completed(CALL, "61")).await;
    assert_eq!(house.spent(), 20_000, "a callback that comes after all adds nothing");
    let usage = house.get("/v1/usage", Some("pbk_of-default")).await.body;
    assert!(usage.contains("\"rows\":1") && usage.contains("\"estimated_rows\":0"), "{usage}");
}

#[tokio::test]
async fn minutes_that_nobody_can_be_asked_for_stay_an_estimate_until_they_are_told() {
    let house = with_a_phone_price();
    house.signed(VOICE, &usual()).await;
    house.calls.lasted_ms(30_000);
    let over = std::time::Instant::now();
    minutes::look(&house.app, over).await;
    minutes::look(&house.app, over + Duration::from_secs(60)).await;
    assert_eq!(house.spent(), 10_000);
    let usage = house.get("/v1/usage", Some("pbk_of-default")).await.body;
    assert!(usage.contains("\"rows\":1") && usage.contains("\"estimated_rows\":1"), "{usage}");
    house.signed("/twilio/status", &completed(CALL, "61")).await;
    assert_eq!(house.spent(), 20_000, "the callback comes late, and is surer");
}

#[tokio::test]
async fn minutes_that_cannot_be_counted_are_not() {
    let house = with_a_phone_price();
    house.signed(VOICE, &usual()).await;
    for seconds in ["", "-1", "1e9", "86401", "18446744073709551616"] {
        house.signed("/twilio/status", &completed(CALL, seconds)).await;
    }
    let mut still_ringing = completed(CALL, "61");
    still_ringing[4].1 = "ringing";
    house.signed("/twilio/status", &still_ringing).await;
    house.post("/twilio/status", &completed(CALL, "61"), None).await;
    assert_eq!(house.spent(), 0);
    // Nobody's phone call: it is not ours to bill.
    house.signed("/twilio/status", &completed(OTHER, "61")).await;
    assert_eq!(house.spent(), 0);
}

#[tokio::test]
async fn a_tenant_reads_its_own_usage_and_the_operator_everybodys() {
    let house = with_a_phone_price();
    house.signed(VOICE, &usual()).await;
    house.signed("/twilio/status", &completed(CALL, "30")).await;
    let mut row =
        patchbay_store::UsageRow { tenant: "other".into(), at: UnixMs::now(), ..Default::default() };
    row.cost_micro_usd = 5;
    house.app.till.store.write(&[patchbay_store::Entry::Usage(row)]).await.unwrap();
    let own = house.get("/v1/usage?group_by=tenant", Some("pbk_of-default")).await;
    assert!(own.body.contains("\"tenant\":\"default\"") && !own.body.contains("other"), "{}", own.body);
    assert!(own.body.contains("\"cost_usd\":\"0.010000\""), "{}", own.body);
    let admin = api::admin(&house.app);
    let request = Request::get("/admin/usage?group_by=tenant&format=csv").body(Body::empty()).unwrap();
    let response = admin.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    let body = String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
    assert_eq!(body.lines().count(), 3, "{body}");
    assert!(body.contains("\r\nother,1,0,") && body.contains(",0.000005\r\n"), "{body}");
    for (path, key) in
        [("/v1/usage", None), ("/v1/usage", Some("pbk_wrong")), ("/admin/usage", Some("pbk_of-default"))]
    {
        let refused = house.get(path, key).await;
        assert!([StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND].contains(&refused.status), "{path}");
    }
}

#[tokio::test]
async fn a_question_that_cannot_be_understood_is_told_what_it_takes() {
    let house = with_a_phone_price();
    for query in ["from=yesterday", "to=x", "group_by=price", "format=xml", "since=1", "from=1&from=2"] {
        let refused = house.get(&format!("/v1/usage?{query}"), Some("pbk_of-default")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}: {}", refused.body);
        assert!(refused.body.contains("\"code\":\"invalid_value\""), "{}", refused.body);
    }
    let none = house.get("/v1/usage?from=2030-01-01", Some("pbk_of-default")).await;
    assert_eq!(none.status, StatusCode::OK);
}
