//! A client of the realtime API: what the official SDKs do over a WebSocket, as a state machine without IO.
//!
//! Faithful to `@openai/agents-realtime` 0.20.0 (`reference/browser.md` §2.1): it updates the session when it connects, sends
//! its microphone without a break, plays what it is sent in real time from a buffer of its own, and, when the model notices
//! speech, stops and says how much it played. It complains of every event that breaks the protocol.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use patchbay_core::{Format, Instant, MediaTime, Wire};
use serde_json::{Value, json};

/// How much of the microphone goes into one event.
const CHUNK: MediaTime = MediaTime::from_ms(40);
/// Events that are kept.
const EVENTS_MAX: usize = 20_000;

/// What the client is like.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it updates the session with when it connects; `None`: nothing.
    pub update: Option<Value>,
    /// Whether it stops playing by itself, and says so, when it hears of speech.
    pub truncates: bool,
    /// Format of its audio, which `update` asks for if it is not 24 kHz PCM.
    pub format: Format,
    /// Whether its microphone is open.
    pub talks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            update: Some(json!({ "type": "realtime" })),
            truncates: true,
            format: Format::L16_24K,
            talks: true,
        }
    }
}

/// What the person does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing, for so long.
    Wait(Duration),
    /// Says this, in the client's format.
    Say(Bytes),
    /// Sends an event as it is.
    Send(Value),
    /// Sends a message that is none of the protocol's.
    Raw(Wire),
    /// Waits until so many responses are done and what was sent is played.
    Answered(usize),
    /// Waits until so much of the answer in progress is played.
    Heard(MediaTime),
    /// Closes with this code.
    Close(u16),
}

/// What was received of one part of an item.
#[derive(Clone, Debug, Default)]
pub struct Speech {
    /// The audio.
    pub audio: Vec<u8>,
    /// Whether the server said that it is complete.
    pub is_done: bool,
    /// What the client said that it played, when it was cut.
    pub cut_ms: Option<u64>,
}

/// A stretch of the loudspeaker.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    item: usize,
    from: Instant,
    span: MediaTime,
}

/// One client on one socket.
#[derive(Debug)]
pub struct BrowserDouble {
    config: Config,
    steps: VecDeque<Step>,
    is_open: bool,
    is_over: bool,
    /// When the next piece of the microphone is due.
    mic_at: Option<Instant>,
    saying: VecDeque<u8>,
    waits_until: Option<Instant>,
    items: Vec<(String, Speech)>,
    stretches: Vec<Stretch>,
    responses: BTreeMap<String, bool>,
    ids: BTreeSet<String>,
    events: Vec<(Instant, Value)>,
    faults: Vec<String>,
    close: Option<u16>,
}

impl BrowserDouble {
    /// A client that does `steps`.
    #[must_use]
    pub fn new(config: Config, steps: Vec<Step>) -> Self {
        Self {
            config,
            steps: steps.into(),
            is_open: false,
            is_over: false,
            mic_at: None,
            saying: VecDeque::new(),
            waits_until: None,
            items: Vec::new(),
            stretches: Vec::new(),
            responses: BTreeMap::new(),
            ids: BTreeSet::new(),
            events: Vec::new(),
            faults: Vec::new(),
            close: None,
        }
    }

    /// What was received, by item, in the order of first audio.
    #[must_use]
    pub fn items(&self) -> &[(String, Speech)] {
        &self.items
    }

    /// Every event but audio, with its time.
    #[must_use]
    pub fn events(&self) -> &[(Instant, Value)] {
        &self.events
    }

    /// The events of a type.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().map(|(_, event)| event).filter(move |event| event["type"] == kind)
    }

    /// What broke the protocol.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The code with which the server closed.
    #[must_use]
    pub fn closed_with(&self) -> Option<u16> {
        self.close
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// How much of an item is played by now.
    #[must_use]
    pub fn played(&self, item: &str, now: Instant) -> MediaTime {
        let Some(index) = self.items.iter().position(|(id, _)| id == item) else { return MediaTime::ZERO };
        self.played_of(index, now)
    }

    fn played_of(&self, index: usize, now: Instant) -> MediaTime {
        self.stretches
            .iter()
            .filter(|stretch| stretch.item == index)
            .map(|stretch| MediaTime::from_duration(now.saturating_since(stretch.from)).min(stretch.span))
            .fold(MediaTime::ZERO, |sum, span| sum + span)
    }

    fn silent_from(&self) -> Instant {
        self.stretches.last().map_or(Instant::ZERO, |last| last.from + last.span)
    }

    /// Takes what came from the server.
    pub fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>) {
        match wire {
            _ if self.is_over => return,
            Wire::Opened => self.opened(now, out),
            Wire::Text(text) => self.on_text(&text, now, out),
            Wire::Binary(_) => self.faults.push("a binary message".into()),
            Wire::Packet(_) | Wire::Quality(_) => {}
            Wire::Close { code, .. } => {
                self.close = Some(code);
                self.is_over = true;
            }
            Wire::Refused(_) => self.is_over = true,
        }
        self.on_timeout(now, out);
    }

    /// Call at or after [`poll_timeout`](Self::poll_timeout).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<Wire>) {
        while self.mic_at.is_some_and(|at| at <= now) && !self.is_over {
            self.send_microphone(out);
        }
        while self.is_open && !self.is_over && self.step(now, out) {}
    }

    /// When the double next wants [`on_timeout`](Self::on_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over || !self.is_open {
            return None;
        }
        let playing = match self.steps.front() {
            Some(Step::Answered(count)) if self.done() >= *count => Some(self.silent_from()),
            Some(Step::Heard(span)) => self.heard_at(*span),
            _ => None,
        };
        [self.mic_at, self.waits_until, playing].into_iter().flatten().min()
    }

    fn opened(&mut self, now: Instant, out: &mut Vec<Wire>) {
        self.is_open = true;
        if let Some(update) = &self.config.update {
            let mut session = update.clone();
            if self.config.format != Format::L16_24K {
                let format = patchbay_legs::shape::format_object(self.config.format);
                session["audio"] = json!({ "input": { "format": format }, "output": { "format": format } });
            }
            send(&json!({ "type": "session.update", "event_id": "double_update", "session": session }), out);
        }
        self.mic_at = self.config.talks.then_some(now);
    }

    fn send_microphone(&mut self, out: &mut Vec<Wire>) {
        let bytes = self.config.format.bytes_for(CHUNK).unwrap_or(0);
        let silence = self.config.format.silence();
        let chunk: Vec<u8> = (0..bytes).map(|_| self.saying.pop_front().unwrap_or(silence)).collect();
        send(&json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode(chunk) }), out);
        self.mic_at = self.mic_at.map(|at| at + CHUNK);
    }

    /// Does the next step, if it can be done. True when there may be another.
    fn step(&mut self, now: Instant, out: &mut Vec<Wire>) -> bool {
        let Some(step) = self.steps.front().cloned() else { return false };
        let is_done = match step {
            Step::Wait(span) => {
                let until = *self.waits_until.get_or_insert(now + span);
                until <= now
            }
            Step::Say(audio) => {
                if self.waits_until.is_none() {
                    self.saying.extend(audio);
                    self.waits_until = Some(now);
                }
                self.saying.is_empty()
            }
            Step::Send(event) => {
                send(&event, out);
                true
            }
            Step::Raw(wire) => {
                out.push(wire);
                true
            }
            Step::Answered(count) => self.done() >= count && self.silent_from() <= now,
            Step::Heard(span) => self.heard_at(span).is_some_and(|at| at <= now),
            Step::Close(code) => {
                out.push(Wire::Close { code, reason: "".into() });
                self.is_over = true;
                true
            }
        };
        if is_done {
            self.steps.pop_front();
            self.waits_until = None;
        } else if matches!(self.steps.front(), Some(Step::Say(_))) {
            self.waits_until = self.mic_at;
        }
        is_done
    }

    fn done(&self) -> usize {
        self.responses.values().filter(|done| **done).count()
    }

    /// When so much of the newest item will have been played, if it is there.
    fn heard_at(&self, span: MediaTime) -> Option<Instant> {
        let newest = self.items.len().checked_sub(1)?;
        let mut left = span;
        for stretch in self.stretches.iter().filter(|stretch| stretch.item == newest) {
            if left <= stretch.span {
                return Some(stretch.from + left);
            }
            left = left.saturating_sub(stretch.span);
        }
        None
    }

    fn on_text(&mut self, text: &Bytes, now: Instant, out: &mut Vec<Wire>) {
        let Ok(mut event) = serde_json::from_slice::<Value>(text) else {
            return self.faults.push("a message that is no JSON".into());
        };
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        self.check(&kind, &event);
        match kind.as_str() {
            "response.created" => {
                self.responses.insert(id_of(&event["response"]), false);
            }
            "response.done" => {
                self.responses.insert(id_of(&event["response"]), true);
            }
            "response.output_audio.delta" => {
                self.delta(&event, now);
                event["delta"] = Value::Null;
            }
            "response.output_audio.done" => {
                let item = event["item_id"].as_str().unwrap_or_default();
                if let Some((_, speech)) = self.items.iter_mut().find(|(id, _)| id == item) {
                    speech.is_done = true;
                }
            }
            "input_audio_buffer.speech_started" if self.config.truncates => self.stop(now, out),
            _ => {}
        }
        if self.events.len() < EVENTS_MAX && kind != "response.output_audio.delta" {
            self.events.push((now, event));
        }
    }

    fn check(&mut self, kind: &str, event: &Value) {
        let id = event["event_id"].as_str().unwrap_or_default().to_owned();
        if id.is_empty() || !self.ids.insert(id) {
            self.faults.push(format!("{kind}: an event id that is missing or not unique"));
        }
        if self.ids.len() == 1 && kind != "session.created" {
            self.faults.push(format!("{kind}: the first event is not session.created"));
        }
        let response = event["response_id"].as_str();
        if response.is_some_and(|id| !self.responses.contains_key(id)) {
            self.faults.push(format!("{kind}: of a response that was not created"));
        }
        if event.to_string().contains("\"pb_") {
            self.faults.push(format!("{kind}: an id of the gateway's own: {event}"));
        }
    }

    fn delta(&mut self, event: &Value, now: Instant) {
        let names = ["response_id", "item_id"].map(|key| event[key].as_str());
        let numbers = ["output_index", "content_index"].map(|key| event[key].as_u64());
        let audio = event["delta"].as_str().and_then(|text| STANDARD.decode(text).ok());
        let ([Some(_), Some(item)], [Some(_), Some(_)], Some(audio)) = (names, numbers, audio) else {
            return self.faults.push(format!("a delta that lacks something: {event}"));
        };
        let index = self.items.iter().position(|(id, _)| id == item).unwrap_or_else(|| {
            self.items.push((item.to_owned(), Speech::default()));
            self.items.len() - 1
        });
        let speech = &mut self.items[index].1;
        if speech.is_done {
            self.faults.push(format!("audio of {item} after its end"));
        }
        if speech.cut_ms.is_some() {
            // As the SDK: what still comes of what was cut is not played.
            return;
        }
        let span = self.config.format.duration_of(audio.len()).unwrap_or_default();
        speech.audio.extend_from_slice(&audio);
        let from = self.silent_from().max(now);
        self.stretches.push(Stretch { item: index, from, span });
    }

    /// The person speaks: the loudspeaker stops, and the server is told how much of the item was played.
    fn stop(&mut self, now: Instant, out: &mut Vec<Wire>) {
        let Some(playing) = self.stretches.iter().find(|s| s.from + s.span > now).map(|s| s.item) else {
            return;
        };
        let played = self.played_of(playing, now).as_ms();
        for stretch in &mut self.stretches {
            stretch.span = MediaTime::from_duration(now.saturating_since(stretch.from)).min(stretch.span);
        }
        for (_, speech) in self.items.iter_mut().skip(playing) {
            speech.cut_ms.get_or_insert(played);
        }
        let item = &self.items[playing].0;
        send(
            &json!({ "type": "conversation.item.truncate", "event_id": "double_cut", "item_id": item,
                "content_index": 0, "audio_end_ms": played }),
            out,
        );
    }
}

fn id_of(response: &Value) -> String {
    response["id"].as_str().unwrap_or_default().to_owned()
}

fn send(event: &Value, out: &mut Vec<Wire>) {
    out.push(Wire::Text(event.to_string().into()));
}
