//! A client of the realtime API on the other side: what it says goes to the provider, what the provider says goes to it.
//!
//! Each of its events goes out under an id of ours, since ids are counted here, and an error that names ours comes back naming
//! its own. What the gateway needs of the settings stays right: formats are never the client's, and the detector that it
//! chooses is the one that is reckoned with.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use patchbay_core::{Event, Instant, Outbox, Told, UtteranceId};
use serde_json::{Value, json};

use super::wire::{Kind, ServerEvent};
use super::{Config, Of, Owed, Realtime, Setup, TurnDetection, dialect};
use crate::shape;

/// Events of the client whose fate is not known.
const ORIGINS_MAX: usize = 64;
/// Updates of the client that were not confirmed; it waits for each, if it is one of the SDKs.
const UPDATES_MAX: usize = 8;
/// Answers aside of the conversation that are remembered.
const ASIDE_MAX: usize = 8;
/// What the gateway itself puts into a conversation: nothing that the client should see.
const OURS: &str = "pb_";

/// An event of the client's, sent under our number.
struct Origin {
    number: u32,
    event_id: Option<Box<str>>,
}

/// What is remembered of the client's wishes.
#[derive(Default)]
pub(super) struct Relay {
    origins: VecDeque<Origin>,
    /// Settings that the provider was asked for, under which number; they hold when it says so.
    updates: VecDeque<(u32, Arc<Setup>)>,
    /// An update was asked for over a connection that is gone.
    owes_update: bool,
    /// Answers that are not of the conversation.
    aside: VecDeque<Box<str>>,
}

impl Relay {
    /// For the next connection, which begins with all settings that held.
    pub(super) fn renewed(&self) -> Self {
        Self { owes_update: self.owes_update || !self.updates.is_empty(), ..Self::default() }
    }

    /// Whether the event of that number was the client's.
    pub(super) fn is_clients(&self, number: u32) -> bool {
        self.origins.iter().any(|origin| origin.number == number)
    }

    pub(super) fn is_aside(&self, response: &str) -> bool {
        self.aside.iter().any(|id| **id == *response)
    }

    fn note_aside(&mut self, response: &str) {
        if self.aside.len() == ASIDE_MAX {
            self.aside.pop_front();
        }
        self.aside.push_back(response.into());
    }

    fn note(&mut self, number: u32, event_id: Option<&str>) {
        if self.origins.len() == ORIGINS_MAX {
            self.origins.pop_front();
        }
        self.origins.push_back(Origin { number, event_id: event_id.map(Into::into) });
    }
}

/// What is to become of a server event once this leg has taken it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It is of no interest to the client.
    No,
    /// As it is.
    AsItIs,
    /// An error, to this event of the client's.
    Error(Option<Box<str>>),
}

impl Realtime {
    // --- from the provider to the client ---

    /// Whether the client is to see `event`; asked before the leg itself takes it.
    pub(super) fn passes_on(&mut self, event: &ServerEvent) -> Pass {
        if !self.config().relays || !self.is_up() {
            return Pass::No;
        }
        let of_item = event.item.as_ref().and_then(|item| item.id.as_deref()).or(event.item_id.as_deref());
        if of_item.is_some_and(|id| id.starts_with(OURS)) {
            return Pass::No;
        }
        if let Some(response) = event.response.as_ref().filter(|response| response.conversation_id) {
            self.relay.note_aside(response.id.as_deref().unwrap_or_default());
        }
        match Kind::of(&event.name) {
            Kind::Audio => Pass::No,
            Kind::Updated => {
                if self.relay.updates.is_empty() { Pass::No } else { Pass::AsItIs }
            }
            Kind::Error => self.passes_error(event),
            _ if matches!(&*event.name, "session.created" | "conversation.created" | "ping") => Pass::No,
            _ => Pass::AsItIs,
        }
    }

    /// An error of a request of ours is ours alone; one that names nobody may be anybody's.
    fn passes_error(&mut self, event: &ServerEvent) -> Pass {
        let named = event.error.as_ref().and_then(|error| error.event_id.as_deref());
        let Some(number) = named.and_then(dialect::event_number) else { return Pass::Error(None) };
        self.relay.updates.retain(|(of, _)| *of != number);
        let origin = self.relay.origins.iter().find(|origin| origin.number == number);
        origin.map_or(Pass::No, |origin| Pass::Error(origin.event_id.clone()))
    }

    pub(super) fn pass_on(&mut self, pass: Pass, text: &Bytes, out: &mut Outbox) {
        if self.is_down() || pass == Pass::No {
            return;
        }
        if pass == Pass::AsItIs && !self.config().dialect.is_flat() {
            return out.event(Event::Told(Told::event(text.clone())));
        }
        let Ok(mut event) = serde_json::from_slice::<Value>(text) else { return };
        if let Pass::Error(of) = pass {
            event["error"]["event_id"] = of.map_or(Value::Null, |id| String::from(id).into());
        }
        if !self.config().dialect.is_flat() {
            return say(&event, out);
        }
        shape::server_to_nested(event).iter().for_each(|event| say(event, out));
    }

    /// The client learns of which item the audio is that comes now.
    pub(super) fn announce(&self, utterance: UtteranceId, of: Of<'_>, out: &mut Outbox) {
        if !self.config().relays {
            return;
        }
        let event = json!({
            "type": "response.output_audio.delta", "response_id": of.response, "item_id": of.item,
            "output_index": of.output, "content_index": of.part,
        });
        out.event(Event::Told(Told { utterance: Some(utterance), event: event.to_string().into() }));
    }

    // --- from the client to the provider ---

    pub(super) fn tell(&mut self, told: &Told, now: Instant, out: &mut Outbox) {
        if !self.config().relays || !self.is_up() {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Value>(&told.event) else { return };
        match event["type"].as_str().unwrap_or_default() {
            "session.update" => self.update_by_client(&event, out),
            "response.create" => self.ask_by_client(event, now, out),
            "response.cancel" => self.cancel_by_client(event, out),
            "input_audio_buffer.clear" => {
                self.unanswered.clear();
                self.uncommitted = patchbay_core::MediaTime::ZERO;
                self.forward(event, out);
            }
            "input_audio_buffer.commit"
            | "conversation.item.create"
            | "conversation.item.delete"
            | "conversation.item.retrieve" => drop(self.forward(event, out)),
            _ => {}
        }
    }

    /// Sends an event of the client's under an id of ours.
    fn forward(&mut self, mut event: Value, out: &mut Outbox) -> u32 {
        let number = self.next_event();
        self.relay.note(number, event["event_id"].as_str());
        event["event_id"] = dialect::event_id(number).into();
        let is_flat = self.config().dialect.is_flat();
        dialect::send(&if is_flat { shape::client_to_flat(event) } else { event }, out);
        number
    }

    fn update_by_client(&mut self, event: &Value, out: &mut Outbox) {
        let held = self.relay.updates.back().map_or(&self.setup, |(_, setup)| setup);
        let (event_id, wanted) = (event["event_id"].as_str(), event["session"].clone());
        if self.relay.updates.len() >= UPDATES_MAX {
            return refuse("rate_limit_exceeded", "session", "Wait for `session.updated`.", event_id, out);
        }
        match held.with(wanted) {
            Ok((setup, session)) => {
                let update = json!({ "type": "session.update", "event_id": event_id, "session": session });
                let number = self.forward(update, out);
                self.relay.updates.push_back((number, Arc::new(setup)));
            }
            Err(param) => {
                refuse("invalid_value", param, "This is no setting of this field.", event_id, out);
            }
        }
    }

    /// The provider confirms an update of the client's: it holds from here on, on later connections too.
    pub(super) fn updated_by_client(&mut self) {
        if let Some((_, setup)) = self.relay.updates.pop_front() {
            self.setup = setup;
        }
    }

    /// The new connection has begun with all settings: whoever waits for a confirmation of the old one has it.
    pub(super) fn confirm_update(&mut self, out: &mut Outbox) {
        if std::mem::take(&mut self.relay.owes_update) {
            say(&json!({ "type": "session.updated", "session": self.config().session() }), out);
        }
    }

    fn ask_by_client(&mut self, event: Value, now: Instant, out: &mut Outbox) {
        let wanted = &event["response"];
        if wanted["conversation"] == "none" {
            self.forward(event, out);
        } else if self.answering.is_idle() {
            let instructions = wanted["instructions"].as_str().map(Box::from);
            self.owed = Owed::Asked(instructions.clone());
            let number = self.forward(event, out);
            self.answering.asked(number, instructions, now);
        } else {
            let message = "The conversation has an active response; wait for `response.done`.";
            let code = "conversation_already_has_active_response";
            refuse(code, "", message, event["event_id"].as_str(), out);
        }
    }

    fn cancel_by_client(&mut self, event: Value, out: &mut Outbox) {
        let other = event["response_id"].as_str().filter(|id| self.answering.active() != Some(*id));
        if other.is_some_and(|id| self.relay.is_aside(id)) {
            self.forward(event, out);
        } else if self.answering.is_idle() || other.is_some() {
            let message = "There is no active response to cancel.";
            refuse("response_cancel_not_active", "", message, event["event_id"].as_str(), out);
        } else {
            self.cancel(out);
        }
    }
}

impl Setup {
    /// These settings with what the client wants over them, and the update that asks the provider for it.
    ///
    /// # Errors
    /// The field that makes no sense.
    fn with(&self, wanted: Value) -> Result<(Self, Value), &'static str> {
        let (config, wanted) = self.config.choosing(wanted, self.interrupts)?;
        Ok((Self { config, ..*self }, wanted))
    }
}

impl Config {
    /// These settings with what somebody wants over them, as a nested session. Formats and the model are not chosen so.
    ///
    /// # Errors
    /// The field that makes no sense.
    pub fn with(&self, wanted: Value) -> Result<Self, &'static str> {
        self.choosing(wanted, self.turn_detection.interrupts()).map(|(config, _)| config)
    }

    /// As [`with`](Self::with), and the update that says it. Who has the route's word that speech does not interrupt keeps it.
    fn choosing(&self, mut wanted: Value, interrupts: bool) -> Result<(Self, Value), &'static str> {
        let mut config = self.clone();
        let Some(fields) = wanted.as_object_mut() else { return Err("session") };
        fields.retain(|key, _| !matches!(key.as_str(), "model" | "type" | "id" | "object"));
        for side in ["input", "output"] {
            let settings = wanted.pointer_mut(&format!("/audio/{side}")).and_then(Value::as_object_mut);
            settings.map(|settings| settings.remove("format"));
        }
        if let Some(turns) = wanted.pointer_mut("/audio/input/turn_detection") {
            config.turn_detection = chosen_detection(interrupts, turns)?;
        }
        if let Some(transcription) = wanted.pointer_mut("/audio/input/transcription") {
            self.complete_transcription(transcription);
        }
        let mut settings = Value::Object(std::mem::take(&mut config.settings));
        shape::merge(&mut settings, &wanted);
        if let Value::Object(settings) = settings {
            config.settings = settings;
        }
        if !config.dialect.is_flat() {
            wanted["type"] = "realtime".into();
        }
        Ok((config, wanted))
    }

    /// A language alone says nothing without the model that writes down.
    fn complete_transcription(&self, wanted: &mut Value) {
        if !wanted.is_object() {
            return;
        }
        let session = self.session();
        let mut whole = session.get("audio").map(|audio| audio["input"]["transcription"].clone()).unwrap_or_default();
        if !whole.is_object() && wanted.get("model").is_none() {
            *wanted = Value::Null;
        } else if whole.is_object() {
            shape::merge(&mut whole, wanted);
            *wanted = whole;
        }
    }
}

fn chosen_detection(interrupts: bool, wanted: &mut Value) -> Result<TurnDetection, &'static str> {
    const PARAM: &str = "session.audio.input.turn_detection";
    if wanted.is_null() {
        return Ok(TurnDetection::None);
    }
    let fields = wanted.as_object_mut().ok_or(PARAM)?;
    fields.retain(|_, value| !value.is_null());
    if !interrupts {
        fields.insert("interrupt_response".into(), false.into());
    }
    serde_json::from_value(wanted.clone()).map_err(|_| PARAM)
}

fn refuse(code: &str, param: &str, message: &str, event_id: Option<&str>, out: &mut Outbox) {
    let param = Some(param).filter(|param| !param.is_empty());
    let error = json!({ "type": "invalid_request_error", "code": code, "message": message, "param": param,
        "event_id": event_id });
    say(&json!({ "type": "error", "error": error }), out);
}

fn say(event: &Value, out: &mut Outbox) {
    out.event(Event::Told(Told::event(event.to_string().into())));
}

