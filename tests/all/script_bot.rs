//! A bot as Twilio's tutorials shape it, on a real socket: it hears a turn, sends its whole answer at once with a mark after each
//! second, and clears when it is interrupted. It looks at every message as a strict reader of Twilio's pages would.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use patchbay::cli::stage::{Double, Stage as Peer};
use patchbay::transport::{ListenLimits, Listener, PortLimits, WsUpgrade};
use patchbay_codec::g711::ulaw_decode;
use patchbay_core::{Instant, Wire};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What the bot is like.
#[derive(Clone, Debug, Default)]
pub(crate) struct BotPlan {
    /// Its answers, one a turn; the last is given again. µ-law.
    pub(crate) says: Vec<Bytes>,
    /// After so many answers it closes its socket.
    pub(crate) hangs_up_after: Option<usize>,
    /// What it sends in place of a conversation, when the stream starts, and how it closes then.
    pub(crate) sends: Vec<String>,
    pub(crate) closes: Option<u16>,
}

/// What became of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct BotLog {
    pub(crate) path: String,
    pub(crate) signature: Option<String>,
    pub(crate) start: Value,
    /// The caller, µ-law.
    pub(crate) heard: Vec<u8>,
    /// Name, when it was sent and when it came back, in milliseconds.
    pub(crate) marks: Vec<(String, u64, Option<u64>)>,
    pub(crate) cleared_at: Option<u64>,
    pub(crate) keys: String,
    pub(crate) is_stopped: bool,
    pub(crate) closed: Option<u16>,
    /// What no Twilio sends.
    pub(crate) faults: Vec<String>,
}

/// The bot's server.
pub(crate) struct BotServer {
    /// Where its streams are taken.
    pub(crate) url: String,
    logs: mpsc::Receiver<BotLog>,
    /// The newest stream, while it lasts.
    live: Arc<Mutex<BotLog>>,
}

impl BotServer {
    pub(crate) async fn open(plan: BotPlan) -> Self {
        let listener =
            Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), ListenLimits::default()).await.unwrap();
        let url = format!("ws://{}/media/desk", listener.local_addr().unwrap());
        let (ended, logs) = mpsc::channel(64);
        let live = Arc::default();
        let desk = Desk { plan, ended, live: Arc::clone(&live) };
        let router = Router::new().fallback(take).with_state(desk);
        tokio::spawn(listener.serve(router, std::future::pending()));
        Self { url, logs, live }
    }

    /// The configuration that leads a route to it.
    pub(crate) fn config(&self) -> String {
        format!(
            "[tenants.default.bots.desk]\nprotocol = \"twilio\"\nurl = \"{}\"\nauth_token = {{ env = \"BOT_TOKEN\" }}\n\
             parameters = {{ route = \"front desk\" }}\n\
             [tenants.default.routes.default]\nbot = \"desk\"\ngreeting = \"\"\n",
            self.url
        )
    }

    /// The next stream that ended.
    pub(crate) async fn ended(&mut self) -> BotLog {
        let wait = tokio::time::timeout(std::time::Duration::from_secs(10), self.logs.recv());
        wait.await.expect("the bot's stream ends").expect("the server runs")
    }

    pub(crate) fn live(&self) -> BotLog {
        self.live.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Desk {
    plan: BotPlan,
    ended: mpsc::Sender<BotLog>,
    live: Arc<Mutex<BotLog>>,
}

async fn take(State(desk): State<Desk>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let signature = parts.headers.get("x-twilio-signature").map(|value| value.to_str().unwrap().to_owned());
    let path = parts.uri.path().to_owned();
    let upgrade = match WsUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    // It may say more than is taken from it, for as long as it likes.
    let limits = PortLimits {
        backlog_max: 1 << 28,
        stall_max: std::time::Duration::from_secs(600),
        ..PortLimits::PUBLIC
    };
    let (response, pending) = upgrade.accept(limits);
    tokio::spawn(async move {
        let Some(port) = pending.port().await else { return };
        let log = BotLog { path, signature, ..BotLog::default() };
        let bot = Bot { log, live: desk.live, ..Bot::new(desk.plan) };
        let bot = Peer::new(bot, port).play(|_| ()).await;
        let _ = desk.ended.try_send(bot.log);
    });
    response
}

struct Bot {
    plan: BotPlan,
    log: BotLog,
    live: Arc<Mutex<BotLog>>,
    sid: String,
    messages: u64,
    answers: usize,
    loud_ms: u64,
    quiet_ms: u64,
    is_over: bool,
}

impl Bot {
    fn new(plan: BotPlan) -> Self {
        Self {
            plan,
            log: BotLog::default(),
            live: Arc::default(),
            sid: String::new(),
            messages: 0,
            answers: 0,
            loud_ms: 0,
            quiet_ms: 0,
            is_over: false,
        }
    }

    fn expect(&mut self, is_so: bool, what: &str) {
        if !is_so && self.log.faults.len() < 20 {
            self.log.faults.push(what.to_owned());
        }
    }

    fn is_speaking(&self) -> bool {
        self.log.marks.iter().any(|(.., echoed)| echoed.is_none())
    }

    fn on_message(&mut self, message: &Value, now: u64, out: &mut Vec<Wire>) {
        let event = message["event"].as_str().unwrap_or_default();
        self.expect(self.messages != 0 || event == "connected", "connected comes first");
        self.expect(self.messages != 1 || event == "start", "start comes second");
        if self.messages > 0 {
            self.expect(message["sequenceNumber"] == *self.messages.to_string(), "sequenceNumber counts");
            self.expect(
                self.messages == 1 || message["streamSid"] == self.sid.as_str(),
                "every message names the stream",
            );
        }
        self.messages += 1;
        match event {
            "connected" => self.expect(message["protocol"] == "Call", "protocol is Call"),
            "start" => self.on_start(message, out),
            "media" => self.on_media(&message["media"], now, out),
            "mark" => self.on_mark(message["mark"]["name"].as_str().unwrap_or_default(), now, out),
            "dtmf" => self.log.keys.push_str(message["dtmf"]["digit"].as_str().unwrap_or("?")),
            "stop" => self.log.is_stopped = true,
            other => self.log.faults.push(format!("{other} is no event of Twilio's")),
        }
        *self.live.lock().unwrap() = self.log.clone();
    }

    fn on_start(&mut self, message: &Value, out: &mut Vec<Wire>) {
        self.sid = message["streamSid"].as_str().unwrap_or_default().to_owned();
        self.log.start = message["start"].clone();
        out.extend(
            std::mem::take(&mut self.plan.sends)
                .into_iter()
                .map(|text| Wire::Text(text.replace("SID", &self.sid).into())),
        );
        if let Some(code) = self.plan.closes {
            out.push(Wire::Close { code, reason: "".into() });
        }
    }

    fn on_media(&mut self, media: &Value, now: u64, out: &mut Vec<Wire>) {
        let chunks = self.log.heard.len() / 160 + 1;
        self.expect(media["track"] == "inbound", "the track is inbound");
        self.expect(media["chunk"] == *chunks.to_string(), "chunk counts");
        self.expect(
            media["timestamp"].as_str().is_some_and(|t| t.parse::<u64>().is_ok()),
            "timestamp is a string",
        );
        let audio = STANDARD.decode(media["payload"].as_str().unwrap_or_default()).unwrap_or_default();
        self.expect(audio.len() == 160, "20 ms of audio");
        let level = audio.iter().map(|code| i32::from(ulaw_decode(*code)).abs()).sum::<i32>() / 160;
        self.log.heard.extend(audio);
        if level > 200 {
            (self.loud_ms, self.quiet_ms) = (self.loud_ms + 20, 0);
        } else {
            self.quiet_ms += 20;
            if self.quiet_ms >= 600 && self.loud_ms < 300 {
                self.loud_ms = 0;
            }
        }
        if self.is_speaking() && self.loud_ms >= 200 && self.log.cleared_at.is_none() {
            self.log.cleared_at = Some(now);
            self.send(json!({"event": "clear", "streamSid": self.sid}), out);
        }
        if self.loud_ms >= 300 && self.quiet_ms >= 600 && !self.is_speaking() {
            self.answer(now, out);
        }
    }

    fn answer(&mut self, now: u64, out: &mut Vec<Wire>) {
        (self.loud_ms, self.quiet_ms) = (0, 0);
        let Some(audio) = self.plan.says.get(self.answers).or(self.plan.says.last()).cloned() else { return };
        self.answers += 1;
        for (second, piece) in audio.chunks(8_000).enumerate() {
            let payload = STANDARD.encode(piece);
            self.send(json!({"event": "media", "streamSid": self.sid, "media": {"payload": payload}}), out);
            let name = format!("{}:{second}", self.answers);
            self.send(json!({"event": "mark", "streamSid": self.sid, "mark": {"name": name}}), out);
            self.log.marks.push((name, now, None));
        }
    }

    fn on_mark(&mut self, name: &str, now: u64, out: &mut Vec<Wire>) {
        let mark = self.log.marks.iter_mut().find(|(sent, _, echoed)| sent == name && echoed.is_none());
        match mark {
            Some((.., echoed)) => *echoed = Some(now),
            None => self.log.faults.push(format!("a mark that was not sent: {name}")),
        }
        if !self.is_speaking() && self.plan.hangs_up_after == Some(self.answers) {
            out.push(Wire::Close { code: 1000, reason: "".into() });
        }
    }

    fn send(&self, message: Value, out: &mut Vec<Wire>) {
        out.push(Wire::Text(message.to_string().into()));
    }
}

impl Double for Bot {
    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>) {
        match wire {
            Wire::Text(text) => match serde_json::from_slice(&text) {
                Ok(message) => self.on_message(&message, now.as_micros() / 1000, out),
                Err(_) => self.log.faults.push("a message that is no JSON".into()),
            },
            Wire::Binary(_) => self.log.faults.push("a binary message".into()),
            Wire::Close { code, .. } => {
                self.log.closed = Some(code);
                self.is_over = true;
            }
            _ => {}
        }
    }

    fn on_timeout(&mut self, _now: Instant, _out: &mut Vec<Wire>) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn is_over(&self) -> bool {
        self.is_over
    }
}
