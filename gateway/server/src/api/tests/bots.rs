//! Bots as they meet the API: two tenants, keys, tokens, leases, offers.

use patchbay_core::{Format, Refusal};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;
use crate::bots::{Accepted, From, Human, Level, Offer, Transport};
use crate::credential::verifying_key::{Algorithm, VerifyingKey};

/// A bot with a key of its own.
struct TestBot {
    name: &'static str,
    pair: Ed25519KeyPair,
}

impl TestBot {
    fn new(name: &'static str, seed: u8) -> Self {
        Self { name, pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.pair.public_key()) })
    }

    fn kid(&self) -> String {
        crate::credential::bot_key::PublicKey::read(self.jwk().as_object().unwrap()).unwrap().kid
    }

    /// A token that says what is usual, but for the changes.
    fn token_with(&self, header: &[(&str, Value)], claims: &[(&str, Value)]) -> String {
        let now = Sending::now([127, 0, 0, 1].into()).unix;
        let name = format!("bot:{}", self.name);
        let mut head = json!({ "typ": "bot+jwt", "alg": "EdDSA", "kid": self.kid() });
        let mut body = json!({
            "iss": name, "sub": name, "aud": "https://gw.example.com", "iat": now, "exp": now + 300,
            "jti": crate::id::fresh(""),
        });
        header.iter().for_each(|(name, value)| head[*name] = value.clone());
        claims.iter().for_each(|(name, value)| body[*name] = value.clone());
        let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", text(&head), text(&body));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes())))
    }

    fn token(&self) -> String {
        self.token_with(&[], &[])
    }
}

impl House {
    async fn say(&self, credential: &str, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_from("192.0.2.1", method, path, &[("authorization", &bearer(credential))], &body).await
    }

    /// Makes the bot known to `key`'s tenant.
    async fn know(&self, key: &str, bot: &TestBot) {
        let body = json!({ "id": bot.name, "name": "A test", "jwk": bot.jwk() });
        let answer = self.say(key, Method::POST, "/v1/bots", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        assert!(answer.body.contains(&bot.kid()), "{}", answer.body);
    }

    async fn register(&self, bot: &TestBot, instance: &str) -> String {
        let body = json!({
            "id": bot.name, "instance": instance, "capabilities": ["echo"], "formats": ["audio/x-mulaw;rate=8000", "audio/opus"],
            "capacity": 2, "delivery": "poll", "ttl": 60,
        });
        let answer = self.say(&bot.token(), Method::POST, "/v1/register", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()["lease"].as_str().unwrap().to_owned()
    }

    fn ring(
        &self,
        tenant: &str,
        bot: &str,
        call: &str,
    ) -> tokio::task::JoinHandle<Result<Accepted, Refusal>> {
        let offer = Offer {
            tenant: tenant.into(),
            bot: bot.into(),
            call_id: call.into(),
            from: From::Browser,
            transport: Transport::WebRtc,
            codecs: vec![Format::OPUS, Format::PCMU],
            human: Human::default(),
        };
        let bots = self.app.bots.clone();
        tokio::spawn(async move { bots.call(offer).await })
    }

    async fn poll(&self, bot: &TestBot, lease: &str, query: &str) -> Value {
        let path = format!("/v1/bots/self/events?lease={lease}&{query}");
        let answer = self.say(&bot.token(), Method::GET, &path, &Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    }

    async fn accept(&self, bot: &TestBot, lease: &str, call: &str) -> Answer {
        let path = format!("/v1/calls/{call}/accept");
        self.say(&bot.token(), Method::POST, &path, &json!({ "lease": lease })).await
    }
}

#[tokio::test]
async fn a_bot_registers_is_found_hears_of_a_call_and_takes_it() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    house.know(ONE, &bot).await;
    let seen = house.say(ONE, Method::GET, "/v1/lookup/echo", &Value::Null).await.json();
    assert_eq!((&seen["online"], &seen["keys"]), (&json!(false), &json!([bot.kid()])));
    let lease = house.register(&bot, "i1").await;
    let seen = house.say(ONE, Method::GET, "/v1/lookup/echo", &Value::Null).await;
    assert_eq!(seen.json()["online"], true);
    assert_eq!(seen.json()["capabilities"], json!(["echo"]));
    assert!(!seen.body.contains("192.0.2.1"), "never where it is: {}", seen.body);
    let call = house.ring("one", "echo", "call_1");
    let heard = house.poll(&bot, &lease, "wait=5").await;
    let incoming = &heard["events"][0];
    assert_eq!(
        (&incoming["event"], &incoming["id"], &heard["next"]),
        (&json!("call.incoming"), &json!(1), &json!(1))
    );
    let told = &incoming["data"];
    assert_eq!((&told["call_id"], &told["from"]["kind"]), (&json!("call_1"), &json!("browser")));
    assert_eq!(told["codecs"], json!(["audio/opus", "audio/x-mulaw;rate=8000"]));
    let answer = house.accept(&bot, &lease, "call_1").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(
        answer.json()["receive"],
        "audio/x-mulaw;rate=8000",
        "what the bot likes best of what is offered"
    );
    assert_eq!(answer.json()["audio_url"], "https://gw.example.com/v1/calls/call_1/audio");
    assert_eq!(answer.json()["stream_url"], "wss://gw.example.com/v1/calls/call_1/stream");
    let accepted = call.await.unwrap().unwrap();
    assert_eq!((accepted.instance.as_str(), accepted.receive), ("i1", Format::PCMU));
    assert_eq!(house.app.bots.taken(&accepted.bot, "call_1"), Some(accepted.clone()));
    assert_eq!(house.accept(&bot, &lease, "call_1").await.status, StatusCode::OK, "an answer that was lost");
    house.app.bots.ended("call_1", "hangup");
    let heard = house.poll(&bot, &lease, "after=1&wait=5").await;
    assert_eq!(heard["events"][0]["event"], "call.ended");
    assert_eq!(heard["events"][0]["data"], json!({ "call_id": "call_1", "reason": "hangup" }));
    assert_eq!(house.accept(&bot, &lease, "call_1").await.code(), "offer_expired");
}

#[tokio::test]
async fn the_ticket_of_an_offer_is_signed_for_this_bot_and_this_call_and_lives_a_minute() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    house.know(ONE, &bot).await;
    let lease = house.register(&bot, "i1").await;
    let _call = house.ring("one", "echo", "call_1");
    let heard = house.poll(&bot, &lease, "wait=5").await;
    let ticket = heard["events"][0]["data"]["ticket"].as_str().unwrap();
    let jwks = house.ask(Method::GET, "/.well-known/jwks.json", &[]).await.json();
    let key = VerifyingKey::of_jwk(Algorithm::EdDsa, jwks["keys"][0].as_object().unwrap()).unwrap();
    let token = crate::credential::token::Token::parse_as(ticket, "call-ticket+jwt").unwrap();
    assert_eq!(token.kid().unwrap(), jwks["keys"][0]["kid"].as_str());
    let claims = Value::Object(token.verify(Algorithm::EdDsa, &key).unwrap());
    assert_eq!((&claims["aud"], &claims["jti"]), (&json!("bot:echo"), &json!("call_1")));
    assert_eq!(claims["iss"], "https://gw.example.com");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert_eq!(claims["human"]["level"], json!(Level::None));
    assert_eq!(claims["call"], json!({ "id": "call_1", "transport": "webrtc" }));
    let as_a_credential = house.list(ticket).await;
    assert_eq!(as_a_credential.status, StatusCode::UNAUTHORIZED, "a ticket opens nothing");
}

#[tokio::test]
async fn an_instance_that_does_not_answer_loses_the_call_to_another_after_five_seconds() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    house.know(ONE, &bot).await;
    let leases = [house.register(&bot, "i1").await, house.register(&bot, "i2").await];
    let began = tokio::time::Instant::now();
    let call = house.ring("one", "echo", "call_1");
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let mut first = None;
    for (n, lease) in leases.iter().enumerate() {
        if house.poll(&bot, lease, "wait=0").await["events"][0]["event"] == "call.incoming" {
            assert_eq!(first.replace(n), None, "never two at once");
        }
    }
    let first = first.unwrap();
    let (silent, other) = (&leases[first], &leases[1 - first]);
    let heard = house.poll(&bot, other, "wait=25").await;
    assert_eq!(heard["events"][0]["event"], "call.incoming");
    let passed = began.elapsed().as_secs_f64();
    assert!((4.9..8.0).contains(&passed), "{passed} s");
    let told = house.poll(&bot, silent, "after=1&wait=0").await;
    assert_eq!(told["events"][0]["data"], json!({ "call_id": "call_1", "reason": "offer_expired" }));
    let late = house.accept(&bot, silent, "call_1").await;
    assert_eq!((late.status, late.code().as_str()), (StatusCode::GONE, "offer_expired"));
    assert_eq!(house.accept(&bot, other, "call_1").await.status, StatusCode::OK);
    let taken = house.accept(&bot, silent, "call_1").await;
    assert_eq!((taken.status, taken.code().as_str()), (StatusCode::CONFLICT, "call_taken"));
    assert_eq!(call.await.unwrap().unwrap().lease, *other);
}

#[tokio::test]
async fn a_call_that_no_bot_takes_is_refused_in_the_way_it_failed() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    let status = |answer: Result<Accepted, Refusal>| match answer.unwrap_err() {
        Refusal::Status { status, .. } => status,
        Refusal::Timeout => 0,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(house.ring("one", "echo", "call_0").await.unwrap()), 404);
    house.know(ONE, &bot).await;
    assert_eq!(status(house.ring("one", "echo", "call_0").await.unwrap()), 404, "it is offline");
    let lease = house.register(&bot, "i1").await;
    assert_eq!(status(house.ring("one", "echo", "call_0").await.unwrap()), 0, "nobody answered");
    let call = house.ring("one", "echo", "call_1");
    let heard = house.poll(&bot, &lease, "after=2&wait=1").await;
    assert_eq!(heard["events"][0]["data"]["call_id"], "call_1");
    let path = "/v1/calls/call_1/reject";
    let body = json!({ "lease": lease, "reason": "I am asleep" });
    assert_eq!(house.say(&bot.token(), Method::POST, path, &body).await.status, StatusCode::OK);
    assert_eq!(status(call.await.unwrap()), 403);
    for n in 0..2 {
        let (id, call) = (format!("call_b{n}"), house.ring("one", "echo", &format!("call_b{n}")));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(house.accept(&bot, &lease, &id).await.status, StatusCode::OK);
        call.await.unwrap().unwrap();
    }
    assert_eq!(status(house.ring("one", "echo", "call_b2").await.unwrap()), 503, "its capacity is two");
    house.app.bots.ended("call_b0", "hangup");
    let going = house.ring("one", "echo", "call_c");
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    going.abort();
    let _ = going.await;
    let heard = house.poll(&bot, &lease, "wait=0").await;
    let last = heard["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["event"], &last["data"]["reason"]), (&json!("call.canceled"), &json!("canceled")));
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_told_why_to_who_holds_the_key_and_to_nobody_else() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    house.know(ONE, &bot).await;
    let now = Sending::now([127, 0, 0, 1].into()).unix;
    let register = async |token: &str| {
        let body = json!({ "id": "echo", "delivery": "sse" });
        house.say(token, Method::POST, "/v1/register", &body).await
    };
    let table = [
        (vec![("exp", json!(now)), ("iat", json!(now - 300))], "bot_token_expired"),
        (vec![("exp", json!(now + 301))], "bot_token_lifetime"),
        (vec![("aud", json!("https://other.example.com"))], "bot_token_audience"),
        (vec![("iss", json!("bot:other")), ("sub", json!("bot:other"))], "bot_token_name"),
        (vec![("iat", json!(now + 60))], "bot_token_not_yet_valid"),
        (vec![("jti", json!(""))], "bot_token_jti"),
    ];
    for (claims, code) in table {
        let answer = register(&bot.token_with(&[], &claims)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::UNAUTHORIZED, code),
            "{}",
            answer.body
        );
    }
    let stranger = TestBot::new("echo", 2);
    let forged = format!("{}x", bot.token_with(&[], &[("exp", json!(now))]));
    let stolen = stranger.token_with(&[("kid", json!(bot.kid()))], &[]);
    let hs256 = bot.token_with(&[("alg", json!("HS256"))], &[]);
    let jwt = bot.token_with(&[("typ", json!("JWT"))], &[]);
    let none = bot.token_with(&[("kid", Value::Null)], &[]);
    let brought = bot.token_with(&[("jwk", stranger.jwk())], &[]);
    for bad in [&stranger.token(), &forged, &stolen, &hs256, &jwt, &none, &brought] {
        let answer = register(bad).await;
        assert_eq!(answer.body, house.list("nonsense").await.body, "{bad}");
    }
    for alg in ["EdDSA", "Ed25519"] {
        let answer = register(&bot.token_with(&[("alg", json!(alg))], &[])).await;
        assert_eq!(answer.status, StatusCode::OK, "{alg}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_token_registers_once_and_may_be_used_again_for_the_rest() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    house.know(ONE, &bot).await;
    let token = bot.token();
    let body = json!({ "id": "echo", "instance": "i1", "delivery": "poll" });
    let lease = house.say(&token, Method::POST, "/v1/register", &body).await.json()["lease"].clone();
    let again = house.say(&token, Method::POST, "/v1/register", &body).await;
    assert_eq!((again.status, again.code().as_str()), (StatusCode::UNAUTHORIZED, "bot_token_replayed"));
    for _ in 0..2 {
        let path = format!("/v1/bots/self/events?lease={}&wait=0", lease.as_str().unwrap());
        assert_eq!(house.say(&token, Method::GET, &path, &Value::Null).await.status, StatusCode::OK);
    }
    let renewed = house.say(&bot.token(), Method::POST, "/v1/register", &body).await.json();
    assert_eq!(renewed["lease"], lease, "the same instance has the same lease");
    let anonymous = json!({ "id": "echo", "delivery": "poll" });
    let other = house.say(&bot.token(), Method::POST, "/v1/register", &anonymous).await.json();
    assert!(other["lease"] != lease && other["instance"].as_str().unwrap().starts_with("instance_"));
}

#[tokio::test]
async fn two_tenants_have_a_bot_of_one_name_and_neither_reaches_the_others() {
    let (house, mine, theirs) = (house(), TestBot::new("echo", 1), TestBot::new("echo", 2));
    house.know(ONE, &mine).await;
    house.know(TWO, &theirs).await;
    let (lease, their_lease) = (house.register(&mine, "i").await, house.register(&theirs, "i").await);
    let call = house.ring("two", "echo", "call_2");
    let heard = house.poll(&theirs, &their_lease, "wait=5").await;
    assert_eq!(heard["events"][0]["data"]["call_id"], "call_2");
    assert_eq!(house.poll(&mine, &lease, "wait=0").await["events"], json!([]));
    let foreign = house.accept(&mine, &lease, "call_2").await;
    let nobodys = house.accept(&mine, &lease, "call_9").await;
    assert_eq!((foreign.status, &foreign.body), (StatusCode::NOT_FOUND, &nobodys.body));
    for path in [
        format!("/v1/bots/self/events?lease={their_lease}&wait=0"),
        format!("/v1/bots/self/events?lease=lease_{}&wait=0", "0".repeat(32)),
        "/v1/bots/self/events?lease=x".into(),
    ] {
        let answer = house.say(&mine.token(), Method::GET, &path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::NOT_FOUND, "lease_not_found"),
            "{path}"
        );
    }
    let stolen = house.accept(&mine, &their_lease, "call_2").await;
    assert_eq!(stolen.code(), "lease_not_found");
    let path = format!("/v1/register/echo?lease={their_lease}");
    assert_eq!(house.say(&mine.token(), Method::DELETE, &path, &Value::Null).await.code(), "lease_not_found");
    assert_eq!(house.accept(&theirs, &their_lease, "call_2").await.status, StatusCode::OK);
    call.await.unwrap().unwrap();
    assert_eq!(
        house.say(TWO, Method::DELETE, "/v1/bots/echo", &Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(house.say(ONE, Method::GET, "/v1/lookup/echo", &Value::Null).await.json()["online"], true);
    assert_eq!(house.say(TWO, Method::GET, "/v1/lookup/echo", &Value::Null).await.code(), "bot_not_found");
    let gone = house.say(&theirs.token(), Method::GET, "/v1/bots", &Value::Null).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_bots_token_opens_what_bots_may_do_and_people_do_not_open_that() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    house.know(ONE, &bot).await;
    for (method, path) in [
        (Method::GET, "/v1/calls"),
        (Method::POST, "/v1/bots"),
        (Method::DELETE, "/v1/bots/echo"),
        (Method::GET, "/v1/usage"),
        (Method::POST, "/v1/realtime/client_secrets"),
        (Method::GET, "/v1/realtime"),
    ] {
        let answer = house.say(&bot.token(), method, path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "insufficient_scope"),
            "{path}"
        );
    }
    for (method, path) in [
        (Method::POST, "/v1/register"),
        (Method::GET, "/v1/bots/self/events"),
        (Method::POST, "/v1/calls/x/accept"),
        (Method::POST, "/v1/calls/x/reject"),
    ] {
        let answer = house.say(ONE, method, path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "bot_token_required"),
            "{path}"
        );
    }
    for held in Scope::ALL {
        let key = house.stored_key("one", [held].into_iter().collect());
        let found = house.say(&key, Method::GET, "/v1/lookup/echo", &Value::Null).await.status;
        assert_eq!(found == StatusCode::OK, held == Scope::RealtimeConnect, "{held}");
        let body = json!({ "id": "new", "jwk": TestBot::new("new", 9).jwk() });
        let made = house.say(&key, Method::POST, "/v1/bots", &body).await.status;
        assert_eq!(made == StatusCode::CREATED, held == Scope::BotsWrite, "{held}");
    }
    assert_eq!(
        house.say(&bot.token(), Method::GET, "/v1/lookup/echo", &Value::Null).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn keys_are_rotated_without_a_gap_and_each_is_one_bots() {
    let (house, old, new) = (house(), TestBot::new("echo", 1), TestBot::new("echo", 2));
    house.know(ONE, &old).await;
    house.know(ONE, &new).await;
    house.register(&old, "a").await;
    house.register(&new, "b").await;
    let path = format!("/v1/bots/echo?kid={}", old.kid());
    assert_eq!(house.say(ONE, Method::DELETE, &path, &Value::Null).await.status, StatusCode::NO_CONTENT);
    let body = json!({ "id": "echo", "delivery": "poll" });
    assert_eq!(
        house.say(&old.token(), Method::POST, "/v1/register", &body).await.status,
        StatusCode::UNAUTHORIZED
    );
    house.register(&new, "b").await;
    let thief = json!({ "id": "thief", "jwk": new.jwk() });
    assert_eq!(house.say(TWO, Method::POST, "/v1/bots", &thief).await.code(), "key_taken");
    for seed in 3..6 {
        house.know(ONE, &TestBot::new("echo", seed)).await;
    }
    let fifth = json!({ "id": "echo", "jwk": TestBot::new("echo", 6).jwk() });
    assert_eq!(house.say(ONE, Method::POST, "/v1/bots", &fifth).await.code(), "too_many_keys");
    let private = json!({ "kty": "OKP", "crv": "Ed25519", "x": new.jwk()["x"], "d": "AAAA" });
    let answer = house.say(ONE, Method::POST, "/v1/bots", &json!({ "id": "x", "jwk": private })).await;
    assert!(
        answer.status == StatusCode::BAD_REQUEST && answer.body.contains("private half"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn what_a_bot_says_wrong_is_named() {
    let (house, bot) = (house(), TestBot::new("echo", 1));
    house.know(ONE, &bot).await;
    let table = [
        (json!({ "delivery": "pigeon" }), "delivery"),
        (json!({ "capacity": 0 }), "capacity"),
        (json!({ "capacity": 1001 }), "capacity"),
        (json!({ "ttl": 301 }), "ttl"),
        (json!({ "ttl": 4 }), "ttl"),
        (json!({ "capabilities": ["two words"] }), "capabilities"),
        (json!({ "capabilities": vec!["x"; 17] }), "capabilities"),
        (json!({ "formats": ["audio/mp3"] }), "formats"),
        (json!({ "instance": "" }), "instance"),
        (json!({ "name": "a\nb" }), "name"),
        (json!({ "colour": "red" }), "body"),
        (json!({ "capacity": "many" }), "body"),
    ];
    for (change, param) in table {
        let mut body = json!({ "id": "echo", "delivery": "sse" });
        change.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        let answer = house.say(&bot.token(), Method::POST, "/v1/register", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let other = json!({ "id": "other", "delivery": "sse" });
    assert_eq!(house.say(&bot.token(), Method::POST, "/v1/register", &other).await.code(), "foreign_bot");
    for bad in ["A", "a/b", "", &"x".repeat(65)] {
        let answer = house.say(ONE, Method::POST, "/v1/bots", &json!({ "id": bad, "jwk": bot.jwk() })).await;
        assert_eq!(answer.json()["error"]["param"], "id", "{bad}");
    }
}
