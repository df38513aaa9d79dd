//! A realtime provider: the server side of OpenAI's and Azure's realtime API as a state machine without IO.
//!
//! Faithful where samples are sloppy (`reference/realtime.md` §1, §2.1, §5, 2026-11-20): it speaks faster than real
//! time, finds turns with a real detector in the audio that it gets, refuses what the provider refuses, and keeps its
//! own account. [`accept`] is the HTTP side, [`RealtimeDouble`] one socket behind it.

mod accept;
mod answers;
mod items;
mod ledger;
mod listening;
mod outgoing;
mod script;
mod settings;
mod speaking;
mod turns;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use patchbay_core::{Format, Instant, MediaTime, Wire};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::accept::{Accepted, Shape, accept};
pub use self::ledger::{Item, Ledger, Response, Truncation, Usage};
use self::listening::{Heard, Listening};
use self::outgoing::Outgoing;
pub use self::script::{Clip, Detector, Fault, Pace, Point, Refused, Say, Script, Trouble, Turn};
use self::settings::{Complaint, Settings, complain};
use self::speaking::Speaking;

/// Audio that the ledger keeps.
const RECORD_MAX: MediaTime = MediaTime::from_ms(600_000);
/// One append (N755).
const APPEND_BYTES_MAX: usize = 15 * 1024 * 1024;
/// Unheard of in a session, but a test may run for ever.
const ITEMS_MAX: usize = 2_000;

/// One socket of the provider. Feed it wires and time; it writes the wires of the server's side.
pub struct RealtimeDouble {
    script: Arc<Script>,
    accepted: Accepted,
    dial: usize,
    phase: Phase,
    settings: Settings,
    listening: Listening,
    speaking: Option<Speaking>,
    /// The last turn that was committed, in the input format.
    last_turn: Vec<u8>,
    /// The item of the speech in progress.
    speech_item: Option<String>,
    /// Transcripts that are due: when, item, text, span of the turn.
    transcripts: VecDeque<(Instant, String, String, MediaTime)>,
    ledger: Ledger,
    ids: u32,
    turns_heard: usize,
    responses_done: u32,
    audio_in_unbilled: MediaTime,
    expires_at: Option<Instant>,
    idle_at: Option<Instant>,
    outgoing: Outgoing,
    faults_done: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Open,
    Over,
}

#[derive(Deserialize)]
struct Append<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    audio: &'a str,
}

impl RealtimeDouble {
    /// The server side of the `dial`th connection (from 0), which [`accept`] let in.
    #[must_use]
    pub fn new(script: Arc<Script>, accepted: Accepted, dial: usize) -> Self {
        let settings = Settings::new(accepted.shape);
        Self {
            listening: Listening::new(&settings, script.detector),
            settings,
            accepted,
            dial,
            phase: Phase::Waiting,
            speaking: None,
            last_turn: Vec::new(),
            speech_item: None,
            transcripts: VecDeque::new(),
            ledger: Ledger::default(),
            ids: 0,
            turns_heard: 0,
            responses_done: 0,
            audio_in_unbilled: MediaTime::ZERO,
            expires_at: None,
            idle_at: None,
            outgoing: Outgoing { random: script.seed.max(1), ..Outgoing::default() },
            faults_done: vec![false; script.faults.len()],
            script,
        }
    }

    /// An OpenAI GA server for the first connection.
    #[must_use]
    pub fn openai(script: Script) -> Self {
        let accepted = Accepted { shape: Shape::Nested, model: "gpt-realtime-2.1".into() };
        Self::new(Arc::new(script), accepted, 0)
    }

    /// What happened so far.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The format that the gateway is to append, as configured.
    #[must_use]
    pub fn input_format(&self) -> Format {
        self.settings.input
    }

    /// The format that we speak, as configured.
    #[must_use]
    pub fn output_format(&self) -> Format {
        self.settings.output
    }

    /// Whether the connection has ended on our side.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Takes what came from the gateway.
    pub fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>) {
        match wire {
            _ if self.phase == Phase::Over => {}
            Wire::Opened if self.phase == Phase::Waiting => self.open(now),
            Wire::Text(text) if self.phase == Phase::Open => self.on_text(&text, now),
            Wire::Binary(_) if self.phase == Phase::Open => {
                self.close(1003, "Binary messages are not supported.", now)
            }
            Wire::Close { .. } | Wire::Refused(_) => {
                self.phase = Phase::Over;
                self.outgoing.queue.clear();
            }
            Wire::Opened | Wire::Text(_) | Wire::Binary(_) | Wire::Packet(_) | Wire::Quality(_) => {}
        }
        self.on_timeout(now, out);
    }

    /// Call at or after [`poll_timeout`](Self::poll_timeout).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<Wire>) {
        while let Some(at) = self.next_step().filter(|at| *at <= now) {
            self.step(at);
        }
        self.outgoing.flush(now, out);
    }

    /// When the double next wants [`on_timeout`](Self::on_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.next_step(), self.outgoing.next()].into_iter().flatten().min()
    }

    fn next_step(&self) -> Option<Instant> {
        if self.phase != Phase::Open {
            return None;
        }
        let speaking = self.speaking.as_ref().map(|s| s.at);
        let transcript = self.transcripts.front().map(|t| t.0);
        [speaking, transcript, self.expires_at, self.idle_at].into_iter().flatten().min()
    }

    fn step(&mut self, at: Instant) {
        if self.expires_at.is_some_and(|due| due <= at) {
            return self.expire(at);
        }
        if self.idle_at.is_some_and(|due| due <= at) {
            self.idle_at = None;
            self.reach(Point::Idle, at);
        } else if self.transcripts.front().is_some_and(|t| t.0 <= at) {
            if let Some((_, item, text, span)) = self.transcripts.pop_front() {
                self.write_down(&item, &text, span, at);
            }
        } else if self.speaking.as_ref().is_some_and(|s| s.at <= at) {
            self.speak(at);
        }
    }

    // --- the connection ---

    fn open(&mut self, now: Instant) {
        self.phase = Phase::Open;
        self.expires_at = self.script.session_cap_ms.map(|ms| now + Duration::from_millis(ms));
        if self.accepted.shape == Shape::Buried {
            let error = json!({"type": "invalid_request_error", "code": "beta_api_shape_disabled",
                "message": "The Realtime beta API is no longer supported."});
            self.say(json!({"type": "error", "error": error}), now);
            return self.close(4000, "invalid_request_error.beta_api_shape_disabled", now);
        }
        if self.reach(Point::BeforeSessionCreated, now) {
            return;
        }
        let session = self.session();
        self.say(json!({"type": "session.created", "session": session}), now);
        self.reach(Point::SessionCreated, now);
    }

    fn session(&self) -> Value {
        let expires_at = 1_800_000_000 + self.script.session_cap_ms.unwrap_or(3_600_000) / 1000;
        self.settings.echo(&format!("sess_double_{}", self.dial), &self.accepted.model, expires_at)
    }

    fn expire(&mut self, now: Instant) {
        let message = "Your session hit the maximum duration of 60 minutes.";
        let error = json!({"type": "invalid_request_error", "code": "session_expired", "message": message});
        self.ledger.errors.push("session_expired".into());
        self.say(json!({"type": "error", "error": error}), now);
        self.close(1001, message, now);
    }

    fn close(&mut self, code: u16, reason: &str, now: Instant) {
        self.outgoing.push(Wire::Close { code, reason: reason.into() }, now, &self.script);
        self.phase = Phase::Over;
    }

    /// Does the faults of this point. True when the connection is over.
    fn reach(&mut self, point: Point, now: Instant) -> bool {
        let script = Arc::clone(&self.script);
        for (index, fault) in script.faults.iter().enumerate() {
            let here = fault.at == point && fault.turn == self.responses_done;
            let here = here
                || (fault.at == point
                    && matches!(point, Point::ResponseDone | Point::Idle)
                    && fault.turn + 1 == self.responses_done);
            if !here || self.faults_done[index] || fault.dial.is_some_and(|dial| dial != self.dial) {
                continue;
            }
            self.faults_done[index] = true;
            match &fault.trouble {
                Trouble::Close { code, reason } => self.close(*code, reason, now),
                Trouble::Stall { ms } => {
                    self.outgoing.stalled = Some(ms.map(|ms| now + Duration::from_millis(ms)));
                }
                Trouble::Error { kind, code } => {
                    self.ledger.errors.push(code.clone());
                    let error = json!({"type": kind, "code": code, "message": "Scripted."});
                    self.say(json!({"type": "error", "error": error}), now);
                }
            }
        }
        self.phase == Phase::Over
    }

    fn say(&mut self, mut event: Value, now: Instant) {
        event["event_id"] = self.id("event").into();
        self.outgoing.push(Wire::Text(event.to_string().into()), now, &self.script);
    }

    fn id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}_d{}_{:05}", self.dial, self.ids)
    }

    fn refuse(&mut self, complaint: &Complaint, event_id: Option<&str>, now: Instant) {
        self.ledger.errors.push(complaint.code.into());
        let error = json!({"type": "invalid_request_error", "code": complaint.code,
            "message": complaint.message, "param": complaint.param, "event_id": event_id});
        self.say(json!({"type": "error", "error": error}), now);
    }

    // --- client events ---

    fn on_text(&mut self, text: &Bytes, now: Instant) {
        if let Ok(Append { kind: "input_audio_buffer.append", audio }) = serde_json::from_slice(text) {
            if let Err(complaint) = self.append(audio, now) {
                self.refuse(&complaint, None, now);
            }
            return;
        }
        let event = match serde_json::from_slice::<Value>(text) {
            Ok(event) if event.is_object() => event,
            _ => {
                let complaint = complain("invalid_json", "", "The message is not a JSON object.");
                return self.refuse(&complaint, None, now);
            }
        };
        if let Err(complaint) = self.on_event(&event, now) {
            self.refuse(&complaint, event["event_id"].as_str(), now);
        }
    }

    fn on_event(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        match event["type"].as_str().unwrap_or_default() {
            "session.update" => self.update(event, now),
            "input_audio_buffer.append" => self.append(event["audio"].as_str().unwrap_or_default(), now),
            "input_audio_buffer.commit" => self.commit_by_client(now),
            "input_audio_buffer.clear" => {
                self.listening.commit();
                self.ledger.clears += 1;
                self.say(json!({"type": "input_audio_buffer.cleared"}), now);
                Ok(())
            }
            "conversation.item.create" => self.create_item(event, now),
            "conversation.item.delete" => self.delete_item(event, now),
            "conversation.item.truncate" => self.truncate(event, now),
            "conversation.item.retrieve" => self.retrieve(event, now),
            "response.create" => self.create_response(event, now),
            "response.cancel" => self.cancel_by_client(event, now),
            other => Err(complain("invalid_value", "type", format!("Invalid value: '{other}'."))),
        }
    }

    fn update(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let has_spoken = self.ledger.responses.iter().any(|r| !r.sent.is_zero());
        let before = (self.settings.input, self.settings.vad);
        self.settings.update(&event["session"], has_spoken)?;
        if before != (self.settings.input, self.settings.vad) {
            self.listening = Listening::new(&self.settings, self.script.detector);
        }
        self.ledger.updates += 1;
        let session = self.session();
        self.say(json!({"type": "session.updated", "session": session}), now);
        self.reach(Point::SessionUpdated, now);
        Ok(())
    }

    fn append(&mut self, audio: &str, now: Instant) -> Result<(), Complaint> {
        if audio.len() > APPEND_BYTES_MAX {
            return Err(complain("invalid_value", "audio", "Audio of one event is at most 15 MiB."));
        }
        let raw = STANDARD.decode(audio).map_err(|_| {
            complain("invalid_value", "audio", "Invalid 'audio'. Expected base64-encoded audio bytes.")
        })?;
        self.ledger.appends += 1;
        self.ledger.appended_bytes += raw.len() as u64;
        let room =
            self.settings.input.bytes_for(RECORD_MAX).unwrap_or(0).saturating_sub(self.ledger.appended.len());
        if self.script.records {
            self.ledger.appended.extend_from_slice(&raw[..raw.len().min(room)]);
        }
        // In frames, so that a long append is heard as if it had come in time.
        let frame = self.settings.input.bytes_for(MediaTime::FRAME).unwrap_or(160);
        for chunk in raw.chunks(frame) {
            for heard in self.listening.push(chunk) {
                match heard {
                    Heard::Began(at) => self.speech_began(at, now),
                    Heard::Ended(at) => self.speech_ended(at, now),
                }
                if self.phase == Phase::Over {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Words are near enough to tokens.
fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}
