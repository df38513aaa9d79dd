//! A realtime provider: the server side of OpenAI's and Azure's realtime API as a state machine without IO.
//!
//! Faithful where samples are sloppy (`reference/realtime.md` §1, §2.1, §5, 2026-11-20): it speaks faster than real
//! time, finds turns with a real detector in the audio that it gets, refuses what the provider refuses, and keeps its
//! own account. [`accept`] is the HTTP side, [`RealtimeDouble`] one socket behind it.

mod accept;
mod ledger;
mod listening;
mod script;
mod settings;
mod speaking;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use patchbay_core::{Format, Instant, MediaTime, Payload, Wire};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::accept::{Accepted, Shape, accept};
pub use self::ledger::{Item, Ledger, Response, Truncation, Usage};
use self::listening::{Heard, Listening};
pub use self::script::{Clip, Detector, Fault, Pace, Point, Refused, Say, Script, Trouble, Turn};
use self::settings::{Complaint, Settings, complain};
use self::speaking::{Part, Speaking, Stage};

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

/// Messages on their way, in order.
#[derive(Default)]
struct Outgoing {
    queue: VecDeque<(Instant, Wire)>,
    last: Instant,
    random: u64,
    /// The server is silent until then; for ever when `None` inside.
    stalled: Option<Option<Instant>>,
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
            Wire::Opened | Wire::Text(_) | Wire::Binary(_) => {}
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
        self.settings.echo("sess_double", &self.accepted.model, expires_at)
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

    // --- turns of the caller ---

    fn speech_began(&mut self, at: MediaTime, now: Instant) {
        let Some(vad) = self.settings.vad else { return };
        let item = self.id("item");
        self.speech_item = Some(item.clone());
        let start = at.saturating_sub(MediaTime::from_ms(vad.prefix_ms)).as_ms();
        self.say(
            json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": start, "item_id": item}),
            now,
        );
        if self.reach(Point::SpeechStarted, now) {
            return;
        }
        if vad.interrupt_response {
            self.cancel("turn_detected", now);
        }
    }

    fn speech_ended(&mut self, at: MediaTime, now: Instant) {
        let Some(vad) = self.settings.vad else { return };
        let item = self.speech_item.take().unwrap_or_else(|| self.id("item"));
        self.say(
            json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at.as_ms(), "item_id": item}),
            now,
        );
        if self.reach(Point::SpeechStopped, now) {
            return;
        }
        self.commit(item, now);
        if vad.create_response && self.phase == Phase::Open {
            // With the interruption switched off, an answer may still be running: the automatic one is refused.
            match self.begin_response(None, now) {
                Ok(()) => {}
                Err(complaint) => self.refuse(&complaint, None, now),
            }
        }
    }

    fn commit_by_client(&mut self, now: Instant) -> Result<(), Complaint> {
        let least = self.settings.input.bytes_for(MediaTime::from_ms(100)).unwrap_or(0);
        if self.listening.buffer.len() < least {
            let held =
                self.settings.input.duration_of(self.listening.buffer.len()).unwrap_or_default().as_ms();
            let message =
                format!("Expected at least 100ms of audio, but buffer only has {held}.00ms of audio.");
            return Err(complain("input_audio_buffer_commit_empty", "", message));
        }
        let item = self.id("item");
        self.commit(item, now);
        Ok(())
    }

    fn commit(&mut self, item: String, now: Instant) {
        self.last_turn = self.listening.commit();
        let span = self.settings.input.duration_of(self.last_turn.len()).unwrap_or_default();
        self.audio_in_unbilled += span;
        self.ledger.commits += 1;
        let previous = self.ledger.items.last().map(|i| i.id.clone());
        self.say(
            json!({"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": previous}),
            now,
        );
        let content = json!([{"type": "input_audio", "transcript": null}]);
        self.add_item(&item, "user", &content, "completed", now);
        self.keep(Item { id: item.clone(), role: "user".into(), text: String::new(), sent: MediaTime::ZERO });
        if self.settings.transcribes && !self.script.transcripts.is_empty() {
            let text = self.script.transcripts[self.turns_heard % self.script.transcripts.len()].clone();
            let due = now + Duration::from_millis(self.script.transcript_ms);
            self.transcripts.push_back((due, item, text, span));
        }
        self.turns_heard += 1;
        self.reach(Point::Committed, now);
    }

    fn write_down(&mut self, item: &str, text: &str, span: MediaTime, now: Instant) {
        let name = |piece| format!("conversation.item.input_audio_transcription.{piece}");
        let usage = if self.script.transcription_by_time {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a turn are exact in f64")]
            let seconds = span.as_ms() as f64 / 1000.0;
            json!({"type": "duration", "seconds": seconds})
        } else {
            let (heard, told) = (span.as_ms() / 100, words(text));
            self.ledger.usage.audio_in += heard;
            self.ledger.usage.text_out += told;
            json!({"type": "tokens", "total_tokens": heard + told, "input_tokens": heard, "output_tokens": told,
                "input_token_details": {"audio_tokens": heard, "text_tokens": 0}})
        };
        self.say(json!({"type": name("delta"), "item_id": item, "content_index": 0, "delta": text}), now);
        let whole = json!({"type": name("completed"), "item_id": item, "content_index": 0,
            "transcript": text, "usage": usage});
        self.say(whole, now);
        if let Some(kept) = self.ledger.items.iter_mut().find(|i| i.id == item) {
            text.clone_into(&mut kept.text);
        }
    }

    // --- items ---

    fn keep(&mut self, item: Item) {
        if self.ledger.items.len() < ITEMS_MAX {
            self.ledger.items.push(item);
        }
    }

    /// Announces an item: GA in two events, the beta in one.
    fn add_item(&mut self, id: &str, role: &str, content: &Value, status: &str, now: Instant) {
        let item = json!({"id": id, "object": "realtime.item", "type": "message", "status": status,
            "role": role, "content": content});
        if self.accepted.shape == Shape::Flat {
            return self.say(json!({"type": "conversation.item.created", "item": item}), now);
        }
        self.say(json!({"type": "conversation.item.added", "item": item}), now);
        if status == "completed" {
            self.say(json!({"type": "conversation.item.done", "item": item}), now);
        }
    }

    fn create_item(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let item = &event["item"];
        let role = item["role"].as_str().unwrap_or_default();
        if item["type"] != "message" {
            return Err(complain("invalid_value", "item.type", "This double takes messages only."));
        }
        let written = match (role, self.accepted.shape) {
            ("assistant", Shape::Flat) => "text",
            ("assistant", _) => "output_text",
            ("user" | "system", _) => "input_text",
            _ => return Err(complain("invalid_value", "item.role", format!("Invalid value: '{role}'."))),
        };
        let parts = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        if parts.is_empty() || parts.iter().any(|part| part["type"] != written) {
            let message = format!("Invalid content for role '{role}'. Supported: '{written}'.");
            return Err(complain("invalid_value", "item.content[0].type", message));
        }
        let id = item["id"].as_str().map_or_else(|| self.id("item"), str::to_owned);
        if id.len() > 32 {
            return Err(complain("string_above_max_length", "item.id", "At most 32 characters."));
        }
        if self.ledger.items.iter().any(|kept| kept.id == id) {
            let message = format!("Error adding item: an item with id '{id}' already exists.");
            return Err(complain("item_create_duplicate_item_id", "item.id", message));
        }
        let previous = event["previous_item_id"].as_str();
        if previous.is_some_and(|p| p != "root" && !self.ledger.items.iter().any(|kept| kept.id == p)) {
            return Err(complain("invalid_value", "previous_item_id", "No such item."));
        }
        let text = parts.iter().filter_map(|part| part["text"].as_str()).collect::<String>();
        self.add_item(&id, role, &item["content"], "completed", now);
        let item = Item { id, role: role.into(), text, sent: MediaTime::ZERO };
        match previous.map(|p| self.ledger.items.iter().position(|kept| kept.id == p)) {
            Some(place) if self.ledger.items.len() < ITEMS_MAX => {
                self.ledger.items.insert(place.map_or(0, |at| at + 1), item);
            }
            _ => self.keep(item),
        }
        Ok(())
    }

    fn find_item(&self, event: &Value, code: &'static str) -> Result<usize, Complaint> {
        let id = event["item_id"].as_str().unwrap_or_default();
        let found = self.ledger.items.iter().position(|item| item.id == id);
        found.ok_or_else(|| complain(code, "item_id", format!("Item with id '{id}' does not exist.")))
    }

    fn delete_item(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let index = self.find_item(event, "item_delete_invalid_item_id")?;
        let id = self.ledger.items.remove(index).id;
        self.say(json!({"type": "conversation.item.deleted", "item_id": id}), now);
        self.ledger.deletions.push(id);
        Ok(())
    }

    fn retrieve(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let index = self.find_item(event, "item_retrieve_invalid_item_id")?;
        let item = json!({"id": self.ledger.items[index].id, "type": "message"});
        self.say(json!({"type": "conversation.item.retrieved", "item": item}), now);
        Ok(())
    }

    fn truncate(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let index = self.find_item(event, "item_truncate_invalid_item_id")?;
        let end = event["audio_end_ms"].as_u64().ok_or_else(|| {
            complain("invalid_type", "audio_end_ms", "'audio_end_ms' must be an integer of milliseconds.")
        })?;
        let item = &self.ledger.items[index];
        let (id, sent) = (item.id.clone(), item.sent);
        let verdict = if item.role != "assistant" || sent.is_zero() {
            Err(complain(
                "unsupported_content_type",
                "item_id",
                "Only model output audio messages can be truncated",
            ))
        } else if end > sent.as_ms() {
            let message = format!("Audio content of {}ms is already shorter than {end}ms", sent.as_ms());
            Err(complain("invalid_value", "audio_end_ms", message))
        } else {
            Ok(())
        };
        let accepted = verdict.is_ok();
        self.ledger.truncations.push(Truncation { item: id.clone(), audio_end_ms: end, sent, accepted });
        verdict?;
        // The provider forgets the transcript of a truncated item.
        self.ledger.items[index].text.clear();
        let event = json!({"type": "conversation.item.truncated", "item_id": id,
            "content_index": event["content_index"], "audio_end_ms": end});
        self.say(event, now);
        Ok(())
    }

    // --- answers ---

    fn create_response(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let instructions = event["response"]["instructions"].as_str().map(str::to_owned);
        self.begin_response(instructions, now)
    }

    fn begin_response(&mut self, instructions: Option<String>, now: Instant) -> Result<(), Complaint> {
        if let Some(speaking) = &self.speaking {
            let message =
                format!("Conversation already has an active response in progress: {}.", speaking.id);
            return Err(complain("conversation_already_has_active_response", "", message));
        }
        self.idle_at = None;
        let id = self.id("resp");
        let turn = self.ledger.responses.len() % self.script.turns.len().max(1);
        let (says, failure) = match self.script.turns.get(turn) {
            Some(Turn::Say(says)) => {
                let output = self.settings.output;
                (says.iter().map(|say| (say.text.clone(), say.in_format(output))).collect(), None)
            }
            Some(Turn::Fail(code)) => (Vec::new(), Some(code.clone())),
            Some(Turn::Echo) | None => (vec![(String::new(), self.echo())], None),
        };
        let parts = says.into_iter().enumerate().map(|(index, (text, audio))| {
            let item = self.id("item");
            Part { item, text, audio, sent: 0, told: 0, index }
        });
        let parts = parts.collect();
        let at = now + Duration::from_millis(self.script.think_ms);
        self.ledger.responses.push(Response {
            id: id.clone(),
            status: "in_progress",
            instructions: instructions.clone(),
            sent: MediaTime::ZERO,
        });
        self.speaking = Some(Speaking {
            id,
            parts,
            done: Vec::new(),
            at,
            stage: Stage::Thinking,
            failure,
            late: 0,
            cancelled: None,
            instructions,
            first: true,
            middle: true,
        });
        Ok(())
    }

    fn echo(&self) -> Bytes {
        script::convert(self.settings.input, self.settings.output, &self.last_turn).into()
    }

    fn cancel_by_client(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        self.ledger.cancels += 1;
        let wanted = event["response_id"].as_str();
        let active = self.speaking.as_ref().filter(|s| s.cancelled.is_none());
        if active.is_none_or(|s| wanted.is_some_and(|id| id != s.id)) {
            let message = "Cancellation failed: no active response found";
            return Err(complain("response_cancel_not_active", "", message));
        }
        self.cancel("client_cancelled", now);
        Ok(())
    }

    fn cancel(&mut self, reason: &'static str, now: Instant) {
        let late = self.script.late_deltas;
        let Some(speaking) = self.speaking.as_mut().filter(|s| s.cancelled.is_none()) else { return };
        speaking.cancelled = Some(reason);
        if speaking.stage == Stage::Speaking && late > 0 {
            speaking.late = late;
            return;
        }
        if speaking.stage == Stage::Thinking {
            self.announce(now);
        }
        self.finish(now);
    }

    fn announce(&mut self, now: Instant) {
        let Some(speaking) = &self.speaking else { return };
        let response = json!({"id": speaking.id, "object": "realtime.response", "status": "in_progress",
            "output": [], "conversation_id": "conv_double", "metadata": null, "usage": null,
            "instructions": speaking.instructions});
        self.say(json!({"type": "response.created", "response": response}), now);
    }

    /// Sends what is due of the answer in progress.
    fn speak(&mut self, now: Instant) {
        let Some(speaking) = &mut self.speaking else { return };
        match speaking.stage {
            Stage::Thinking => {
                speaking.stage = Stage::Opening;
                self.announce(now);
                self.reach(Point::ResponseCreated, now);
            }
            Stage::Opening => {
                let empty = speaking.parts.is_empty() || speaking.failure.is_some();
                speaking.stage = if empty { Stage::Closing } else { Stage::Speaking };
                if !empty {
                    self.open_part(now);
                }
            }
            Stage::Speaking => self.speak_delta(now),
            Stage::Closing => self.finish(now),
        }
    }

    fn open_part(&mut self, now: Instant) {
        let Some((response, part)) =
            self.speaking.as_ref().and_then(|s| Some((s.id.clone(), s.parts.front()?)))
        else {
            return;
        };
        let (item, index) = (part.item.clone(), part.index);
        let head = json!({"id": item, "object": "realtime.item", "type": "message", "status": "in_progress",
            "role": "assistant", "content": []});
        self.say(
            json!({"type": "response.output_item.added", "response_id": response, "output_index": index, "item": head}),
            now,
        );
        self.add_item(&item, "assistant", &json!([]), "in_progress", now);
        self.keep(Item {
            id: item.clone(),
            role: "assistant".into(),
            text: String::new(),
            sent: MediaTime::ZERO,
        });
        let part = json!({"type": "response.content_part.added", "response_id": response, "item_id": item,
            "output_index": index, "content_index": 0, "part": {"type": "audio", "transcript": ""}});
        self.say(part, now);
    }

    fn speak_delta(&mut self, now: Instant) {
        let pace = self.script.pace;
        let bytes = self.settings.output.bytes_for(MediaTime::from_ms(pace.delta_ms)).unwrap_or(1);
        let Some(speaking) = &mut self.speaking else { return };
        if speaking.cancelled.is_some() && speaking.late == 0 {
            return self.finish(now);
        }
        speaking.late = speaking.late.saturating_sub(1);
        speaking.at = now + Duration::from_millis(pace.every_ms.max(1));
        let next = speaking.parts.front_mut().and_then(|part| part.next(bytes));
        let Some((audio, words)) = next else {
            self.close_part(now);
            if let Some(speaking) = self.speaking.as_mut() {
                speaking.stage = Stage::Opening;
                speaking.at = now;
            }
            return;
        };
        self.send_delta(audio, &words, now);
    }

    fn send_delta(&mut self, audio: Bytes, words: &str, now: Instant) {
        let output = self.settings.output;
        let Some(speaking) = &mut self.speaking else { return };
        let Some(part) = speaking.parts.front() else { return };
        let first = std::mem::replace(&mut speaking.first, false);
        let middle = part.is_past_middle() && std::mem::replace(&mut speaking.middle, false);
        let (response, item, index) = (speaking.id.clone(), part.item.clone(), part.index);
        let sent = part.duration(output);
        if !words.is_empty() {
            let name = self.name("transcript.delta");
            self.say(
                json!({"type": name, "response_id": response, "item_id": item, "output_index": index,
                    "content_index": 0, "delta": words}),
                now,
            );
        }
        let span = output.duration_of(audio.len()).unwrap_or_default();
        if let Some(record) = self.ledger.responses.last_mut() {
            record.sent += span;
        }
        if let Some(kept) = self.ledger.items.iter_mut().rev().find(|i| i.id == item) {
            kept.sent = sent;
        }
        let name = self.name("delta");
        let event = self.id("event");
        let mut text = BytesMut::with_capacity(256 + audio.len() / 3 * 4 + 4);
        let head = format!(
            r#"{{"type":"{name}","event_id":"{event}","response_id":"{response}","item_id":"{item}","output_index":{index},"content_index":0,"delta":""#
        );
        text.extend_from_slice(head.as_bytes());
        Payload::Raw(audio).write_base64(&mut text);
        text.extend_from_slice(br#""}"#);
        self.outgoing.push(Wire::Text(text.freeze()), now, &self.script);
        if first && self.reach(Point::FirstDelta, now) {
            return;
        }
        if middle {
            self.reach(Point::MidDeltas, now);
        }
    }

    /// The name of an audio event in this shape.
    fn name(&self, piece: &str) -> String {
        let stem = match (self.accepted.shape, piece.starts_with("transcript")) {
            (Shape::Flat, true) => "response.audio_",
            (Shape::Flat, false) => "response.audio.",
            (_, true) => "response.output_audio_",
            (_, false) => "response.output_audio.",
        };
        format!("{stem}{piece}")
    }

    /// The tail of a part: done events in the canonical order.
    fn close_part(&mut self, now: Instant) {
        let Some(speaking) = &mut self.speaking else { return };
        let Some(part) = speaking.parts.pop_front() else { return };
        let (response, status) =
            (speaking.id.clone(), speaking.cancelled.map_or("completed", |_| "incomplete"));
        let (item, index, text) = (part.item.clone(), part.index, part.told());
        speaking.done.push((item.clone(), text.clone()));
        if let Some(kept) = self.ledger.items.iter_mut().rev().find(|i| i.id == item) {
            kept.text.clone_from(&text);
        }
        let of = |name: String| json!({"type": name, "response_id": response, "item_id": item, "output_index": index, "content_index": 0});
        self.say(of(self.name("done")), now);
        if self.reach(Point::AudioDone, now) {
            return;
        }
        let mut event = of(self.name("transcript.done"));
        event["transcript"] = text.clone().into();
        self.say(event, now);
        let mut event = of("response.content_part.done".into());
        event["part"] = json!({"type": "audio", "transcript": text});
        self.say(event, now);
        let kind = if self.accepted.shape == Shape::Flat { "audio" } else { "output_audio" };
        let item = json!({"id": item, "object": "realtime.item", "type": "message", "status": status,
            "role": "assistant", "content": [{"type": kind, "transcript": text}]});
        if self.accepted.shape != Shape::Flat {
            self.say(json!({"type": "conversation.item.done", "item": item}), now);
        }
        self.say(
            json!({"type": "response.output_item.done", "response_id": response, "output_index": index, "item": item}),
            now,
        );
    }

    /// `response.done`, whatever the end.
    fn finish(&mut self, now: Instant) {
        if self.speaking.as_ref().is_some_and(|s| s.cancelled.is_some() && s.stage == Stage::Speaking) {
            self.close_part(now);
        }
        if self.phase == Phase::Over {
            return;
        }
        let Some(speaking) = self.speaking.take() else { return };
        let (status, details) = match (&speaking.failure, speaking.cancelled) {
            (_, Some(reason)) => ("cancelled", json!({"type": "cancelled", "reason": reason})),
            (Some(code), None) => {
                let error = json!({"type": "server_error", "code": code, "message": "Scripted."});
                ("failed", json!({"type": "failed", "error": error}))
            }
            (None, None) => ("completed", Value::Null),
        };
        let usage = self.bill(&speaking);
        let output: Vec<Value> = speaking
            .done
            .iter()
            .map(|(item, text)| {
                json!({"id": item, "type": "message", "role": "assistant",
                "content": [{"type": "output_audio", "transcript": text}]})
            })
            .collect();
        let response = json!({"id": speaking.id, "object": "realtime.response", "status": status,
            "status_details": details, "output": output, "usage": usage});
        if let Some(record) = self.ledger.responses.last_mut() {
            record.status = status;
        }
        self.responses_done += 1;
        self.say(json!({"type": "response.done", "response": response}), now);
        if self.reach(Point::ResponseDone, now) {
            return;
        }
        self.say(
            json!({"type": "rate_limits.updated", "rate_limits": [
                {"name": "tokens", "limit": 40000, "remaining": 39000, "reset_seconds": 1.5}]}),
            now,
        );
        self.idle_at =
            self.script.faults.iter().any(|f| f.at == Point::Idle).then(|| now + Duration::from_secs(1));
    }

    /// One token for 100 ms heard and for 50 ms said (OpenAI's guide `realtime-costs`).
    fn bill(&mut self, speaking: &Speaking) -> Value {
        let audio_in = std::mem::take(&mut self.audio_in_unbilled).as_ms() / 100;
        let sent = self.ledger.responses.last().map_or(MediaTime::ZERO, |r| r.sent);
        let audio_out = sent.as_ms() / 50;
        let text_out = speaking.done.iter().map(|(_, text)| words(text)).sum::<u64>();
        let text_in = 100 + 10 * u64::from(self.responses_done);
        let cached = if self.responses_done > 0 { 64 } else { 0 };
        self.ledger.usage.audio_in += audio_in;
        self.ledger.usage.audio_out += audio_out;
        self.ledger.usage.text_in += text_in;
        self.ledger.usage.text_out += text_out;
        json!({"total_tokens": audio_in + text_in + audio_out + text_out,
            "input_tokens": audio_in + text_in, "output_tokens": audio_out + text_out,
            "input_token_details": {"text_tokens": text_in, "audio_tokens": audio_in, "image_tokens": 0,
                "cached_tokens": cached,
                "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0}},
            "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out}})
    }
}

/// Words are near enough to tokens.
fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

impl Outgoing {
    fn push(&mut self, wire: Wire, now: Instant, script: &Script) {
        let stalled = match self.stalled {
            Some(None) => return,
            Some(Some(until)) => until,
            None => Instant::ZERO,
        };
        let jitter =
            if script.jitter_ms == 0 { 0 } else { self.next_random() % (script.jitter_ms * 1000 + 1) };
        let way = Duration::from_micros(script.latency_ms * 1000 + jitter);
        self.last = (now + way).max(self.last).max(stalled);
        self.queue.push_back((self.last, wire));
    }

    fn next_random(&mut self) -> u64 {
        // xorshift64 (Marsaglia 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Wire>) {
        let due = self.queue.iter().take_while(|(at, _)| *at <= now).count();
        out.extend(self.queue.drain(..due).map(|(_, wire)| wire));
    }
}
