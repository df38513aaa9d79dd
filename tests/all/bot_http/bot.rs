//! A bot in plain HTTP: it takes calls, hears, speaks, and says back what it heard when the caller has finished.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use patchbay_codec::transcoder;
use patchbay_core::{Codec, Format, MediaTime, Packet, Transcoder};
use patchbay_legs::bot::framing::{Framing, Reader, Unit, Writer};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::plain::{self, Answer, Upload};

/// One bot, with a key of its own.
pub(crate) struct Bot {
    /// Where the gateway, or what stands before it, is.
    pub(crate) at: SocketAddr,
    public_url: String,
    pair: Ed25519KeyPair,
    lease: String,
    /// The last event that was read.
    after: AtomicU64,
}

impl Bot {
    /// A bot `echo` that its tenant makes known, and that registers.
    pub(crate) async fn registered(gateway: SocketAddr, gateway_key: &str) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public_url = format!("http://{gateway}");
        let mut bot = Self { at: gateway, public_url, pair, lease: String::new(), after: AtomicU64::new(0) };
        let x = URL_SAFE_NO_PAD.encode(bot.pair.public_key());
        let known = json!({ "id": "echo", "jwk": { "kty": "OKP", "crv": "Ed25519", "x": x } });
        let made = bot.post_as(&format!("Bearer {gateway_key}"), "/v1/bots", &known).await;
        assert_eq!(made.status(), 201, "{}", made.head);
        bot.register().await;
        bot
    }

    async fn register(&mut self) {
        let wanted = json!({ "id": "echo", "instance": "the-one", "capacity": 10, "delivery": "poll",
            "formats": ["audio/x-mulaw;rate=8000", "audio/opus"] });
        let leased = self.post_as(&self.bearer(), "/v1/register", &wanted).await.json().await;
        self.lease = leased["lease"].as_str().unwrap_or_else(|| panic!("{leased}")).to_owned();
    }

    /// The bot goes: nobody is to be called any more.
    pub(crate) async fn unregister(&self) {
        let bearer = self.bearer();
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(plain::ask(self.at, "DELETE /v1/register/echo", &headers, b"").await.status() / 100, 2);
    }

    /// A fresh token (reference/browser.md §6.5).
    pub(crate) fn bearer(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        let thumb = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, thumb.as_bytes()));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(&json!({ "typ": "bot+jwt", "alg": "EdDSA", "kid": kid }));
        let claims = part(
            &json!({ "iss": "bot:echo", "sub": "bot:echo", "aud": self.public_url, "iat": now.as_secs(),
            "exp": now.as_secs() + 300, "jti": now.as_nanos().to_string() }),
        );
        let signed = format!("{head}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("Bearer {signed}.{signature}")
    }

    async fn post_as(&self, bearer: &str, path: &str, body: &Value) -> Answer {
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        plain::post(self.at, path, &headers, body.to_string().as_bytes()).await
    }

    async fn get_json(&self, path: &str) -> Value {
        let bearer = self.bearer();
        plain::get(self.at, path, &[("authorization", &bearer), ("connection", "close")]).await.json().await
    }

    /// The next call that is offered, which is taken.
    pub(crate) async fn take_call(&self) -> String {
        for _ in 0..3 {
            let path = format!(
                "/v1/bots/self/events?lease={}&after={}&wait=10",
                self.lease,
                self.after.load(Relaxed)
            );
            let heard = self.get_json(&path).await;
            // One event at a time: what comes with it is read again.
            let events = heard["events"].as_array().unwrap_or_else(|| panic!("{heard}"));
            let Some(offer) = events.iter().find(|event| event["event"] == "call.incoming") else {
                self.after.store(heard["next"].as_u64().unwrap(), Relaxed);
                continue;
            };
            self.after.store(offer["id"].as_u64().unwrap(), Relaxed);
            let id = offer["data"]["call_id"].as_str().unwrap().to_owned();
            let path = format!("/v1/calls/{id}/accept");
            let accepted = self.post_as(&self.bearer(), &path, &json!({ "lease": self.lease })).await;
            assert_eq!(accepted.status(), 200, "{}", accepted.head);
            return id;
        }
        panic!("nobody called");
    }

    /// Hangs up.
    pub(crate) async fn hang_up(&self, call: &str) -> Answer {
        self.post_as(&self.bearer(), &format!("/v1/calls/{call}/hangup"), &json!({})).await
    }

    /// What is heard, from a packet on or live.
    pub(crate) async fn listen(&self, call: &str, accept: &str, from: Option<u64>) -> Answer {
        let from = from.map_or(String::new(), |from| format!("?from_seq={from}"));
        let path = format!("/v1/calls/{call}/audio{from}");
        plain::get(self.at, &path, &[("authorization", &self.bearer()), ("accept", accept)]).await
    }

    pub(crate) async fn speak(&self, call: &str, kind: &str) -> Upload {
        let path = format!("/v1/calls/{call}/audio");
        plain::upload(self.at, &path, &[("authorization", &self.bearer()), ("content-type", kind)]).await
    }

    pub(crate) async fn batch(&self, call: &str, kind: &str, seq: Option<u64>, body: &[u8]) -> Answer {
        let path = format!("/v1/calls/{call}/audio");
        let (bearer, seq) = (self.bearer(), seq.map(|seq| seq.to_string()));
        let mut headers = vec![("authorization", bearer.as_str()), ("content-type", kind)];
        headers.extend(seq.as_deref().map(|seq| ("seq", seq)));
        plain::post(self.at, &path, &headers, body).await
    }

    pub(crate) async fn tell(&self, call: &str, event: &Value) -> Answer {
        let path = format!("/v1/calls/{call}/events");
        let bearer = self.bearer();
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        plain::post(self.at, &path, &headers, event.to_string().as_bytes()).await
    }

    pub(crate) async fn events(&self, call: &str) -> Answer {
        let path = format!("/v1/calls/{call}/events");
        plain::get(self.at, &path, &[("authorization", &self.bearer())]).await
    }

    pub(crate) async fn acknowledged(&self, call: &str) -> Value {
        self.get_json(&format!("/v1/calls/{call}/audio/ack")).await
    }

    /// Waits for the caller's first sentence, and says it back at once, faster than it was said; then listens until the end.
    /// Returns what the caller is to have heard, as packets.
    pub(crate) async fn echo(&self, call: &str, accept: &str) -> Vec<Unit> {
        let mut hearing = Hearing::of(self.listen(call, accept, None).await, accept);
        let sentence = hearing.sentence().await;
        let framing = Framing::of_content_type(accept).unwrap();
        let mut upload = self.speak(call, &framing.content_type()).await;
        assert!(upload.send(&body(&framing, &sentence)).await);
        let said = upload.finish().await;
        assert_eq!(said.status(), 200, "{}", said.head);
        hearing.rest().await;
        sentence
    }
}

/// Packets as a body.
pub(crate) fn body(framing: &Framing, units: &[Unit]) -> Vec<u8> {
    let mut writer = Writer::new(framing, 77);
    let mut out = BytesMut::new();
    writer.begin(&mut out);
    for (seq, unit) in (0..).zip(units) {
        let payload = unit.audio.clone();
        writer.packet(&Packet { codec: Codec::Opus, seq, time: seq * 960, marker: false, payload }, &mut out);
    }
    writer.end("done", &mut out);
    out.to_vec()
}

/// What a bot hears, packet by packet.
pub(crate) struct Hearing {
    pub(crate) answer: Answer,
    reader: Reader,
    decoder: Option<Box<dyn Transcoder>>,
    pub(crate) units: Vec<Unit>,
    /// When each came.
    pub(crate) came: Vec<Instant>,
}

impl Hearing {
    pub(crate) fn of(answer: Answer, accept: &str) -> Self {
        assert_eq!(answer.status(), 200, "{}", answer.head);
        let content_type = answer.header("content-type").unwrap().to_owned();
        let framing = Framing::of_content_type(&content_type).unwrap();
        assert!(Framing::of_accept(accept) == Some(framing.clone()), "{accept} got {content_type}");
        let decoder =
            (framing.format() != Format::PCMU).then(|| transcoder(framing.format(), Format::PCMU).unwrap());
        Self { answer, reader: Reader::new(&framing), decoder, units: Vec::new(), came: Vec::new() }
    }

    /// More, within ten seconds. False at the end.
    pub(crate) async fn more(&mut self) -> bool {
        let piece =
            timeout(Duration::from_secs(10), self.answer.next()).await.expect("audio or a sign of life");
        let Some(piece) = piece else { return false };
        let before = self.units.len();
        self.reader.push(&piece, |unit| self.units.push(unit)).unwrap();
        self.came.resize(before.max(self.units.len()), Instant::now());
        true
    }

    pub(crate) async fn rest(&mut self) {
        while self.more().await {}
    }

    /// As a phone would say it.
    pub(crate) fn ulaw(&mut self, unit: &Unit) -> Vec<u8> {
        let mut ulaw = Vec::new();
        match &mut self.decoder {
            Some(decoder) => decoder.push(&unit.audio, &mut ulaw).unwrap(),
            None => ulaw.extend_from_slice(&unit.audio),
        }
        ulaw
    }

    /// The first sentence, up to a second of silence behind it.
    pub(crate) async fn sentence(&mut self) -> Vec<Unit> {
        let (mut at, mut begun, mut quiet) = (0, None, MediaTime::ZERO);
        loop {
            while at < self.units.len() {
                let unit = self.units[at].clone();
                let ulaw = self.ulaw(&unit);
                if is_loud(&ulaw) {
                    begun = begun.or(Some(at));
                    quiet = MediaTime::ZERO;
                } else {
                    quiet += Format::PCMU.duration_of(ulaw.len()).unwrap();
                }
                at += 1;
                if let Some(begun) = begun.filter(|_| quiet > MediaTime::from_ms(1_000)) {
                    return self.units[begun.saturating_sub(10)..at].to_vec();
                }
            }
            assert!(self.more().await, "the call ended before the caller said anything");
        }
    }
}

pub(crate) fn is_loud(ulaw: &[u8]) -> bool {
    let samples = crate::speech::samples(ulaw);
    samples.iter().filter(|sample| sample.abs() > 800.0).count() > samples.len() / 10
}

/// The events of an SSE stream, up to the end.
pub(crate) async fn events_of(mut answer: Answer) -> Vec<Value> {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = timeout(Duration::from_secs(30), answer.next()).await {
        text.extend(piece);
    }
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn clear() -> Value {
    json!({ "type": "clear" })
}
