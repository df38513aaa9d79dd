//! [`ClientEvents`]: the server's side of OpenAI's realtime protocol, towards one client, without a transport. The WebSocket
//! of a browser or a server is one transport of it, the data channel of a WebRTC call another.
//!
//! Source: the types of `openai` npm 7.55.0 (2026-11-10) and what the official SDKs do with them (`reference/browser.md` §2,
//! `reference/realtime.md` §1.2 to §1.11).
//!
//! How a leg uses it: [`opened`](ClientEvents::opened) when its transport is up; [`on_message`](ClientEvents::on_message) for
//! each text of the client; [`on_told`](ClientEvents::on_told) for `Command::Tell`. Each writes the client's messages as
//! `Wire::Text` and the call's events into an outbox. A leg whose audio goes in these events too (a WebSocket) hands each frame
//! to [`play`](ClientEvents::play); one whose audio goes beside them says when playing begins and ends:
//! [`started`](ClientEvents::started), [`stopped`](ClientEvents::stopped), [`cleared`](ClientEvents::cleared).

mod flat_object;
mod message;
mod policy;
mod session;
mod spoken;

use bytes::{BufMut as _, Bytes, BytesMut};
use patchbay_core::{Event, Format, Frame, MediaTime, Outbox, Payload, Told, UtteranceId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(crate) use self::flat_object::Scanner;
use self::message::Refusal;
pub use self::policy::{Allowed, Choice, Policy};
use self::session::Session;
use self::spoken::{Names, Spoken};
use crate::{Media, shape};

/// What a client is told of its conversation, and may change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The settings in force when the call begins, as a nested session without formats.
    #[serde(default)]
    pub session: Map<String, Value>,
    /// What the client may change.
    #[serde(default = "Policy::usual")]
    pub policy: Policy,
    /// Whether the client speaks the retired beta.
    #[serde(default)]
    pub is_flat: bool,
}

/// Whether a message of the client's made sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// It did, whatever came of it.
    Some,
    /// It is none of the protocol's messages: the client was told so.
    None,
}

/// One client's view of its conversation.
#[derive(Debug)]
pub struct ClientEvents {
    config: Config,
    session: Session,
    /// Whether audio is in the events.
    in_band: bool,
    spoken: Spoken,
    /// Whose start the client was told, by response.
    playing: Option<Box<str>>,
    /// Number of the last event id that we gave.
    given: u64,
    /// Where the client's audio is.
    heard: MediaTime,
}

impl ClientEvents {
    /// For a client whose audio goes in the events themselves, in the formats of `media`, until it chooses others.
    #[must_use]
    pub fn in_band(config: Config, media: Media) -> Self {
        Self::new(config, media, true)
    }

    /// For a client whose audio goes beside the events. It is told of `media`, and cannot choose.
    #[must_use]
    pub fn beside(config: Config, media: Media) -> Self {
        Self::new(config, media, false)
    }

    fn new(config: Config, media: Media, in_band: bool) -> Self {
        Self {
            session: Session::new(&config.session, &config.policy, media),
            config,
            in_band,
            spoken: Spoken::default(),
            playing: None,
            given: 0,
            heard: MediaTime::ZERO,
        }
    }

    /// The formats that the client's audio has now.
    #[must_use]
    pub fn media(&self) -> Media {
        self.session.media()
    }

    /// The transport is up: the client is told what its conversation is like.
    pub fn opened(&mut self, out: &mut Outbox) {
        let session = self.session.shown(&[]);
        self.say(json!({ "type": "session.created", "session": session }), out);
    }

    /// Takes one message of the client's.
    pub fn on_message(&mut self, text: &Bytes, out: &mut Outbox) -> Sense {
        if let Some(audio) = flat_object::append(text) {
            if let Err(refusal) = self.append(audio, out) {
                self.refuse(&refusal, None, out);
            }
            return Sense::Some;
        }
        let event = match serde_json::from_slice::<Value>(text) {
            Ok(event) if event["type"].is_string() => event,
            _ => {
                let refusal = Refusal::new("invalid_json", "", "A message is a JSON object with a `type`.");
                self.refuse(&refusal, None, out);
                return Sense::None;
            }
        };
        let event = if self.config.is_flat { shape::client_to_nested(event) } else { event };
        let id = event["event_id"].as_str().map(str::to_owned);
        match self.on_event(event, out) {
            Ok(()) => Sense::Some,
            Err(refusal) => {
                self.refuse(&refusal, id.as_deref(), out);
                if refusal.is_nonsense() { Sense::None } else { Sense::Some }
            }
        }
    }

    /// Takes what the model's side says.
    pub fn on_told(&mut self, told: &Told, out: &mut Outbox) {
        if let Some(utterance) = told.utterance {
            if let Ok(names) = serde_json::from_slice::<Names>(&told.event) {
                self.spoken.announce(utterance, names);
            }
            return;
        }
        let Ok(mut event) = serde_json::from_slice::<Value>(&told.event) else { return };
        match event["type"].as_str().unwrap_or_default() {
            "session.updated" => {
                if let Some(settings) = event["session"].as_object() {
                    self.session.take(settings, &self.config.policy);
                }
                self.show_session(out);
            }
            // Ours says what this client's conversation is like.
            "session.created" | "" => {}
            _ => {
                self.session.put_formats(&mut event);
                self.say(event, out);
            }
        }
    }

    /// Takes what the model's side says while no client is there: of it all, only the settings remain.
    pub fn note(&mut self, told: &Told) {
        if told.utterance.is_some() {
            return;
        }
        let Ok(Settings { kind, session }) = serde_json::from_slice(&told.event) else { return };
        if kind == "session.updated" {
            self.session.take(&session, &self.config.policy);
        }
    }

    /// For the next client of the same conversation, which begins with the settings that hold.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let session = self.session.clone();
        Self { session, ..Self::new(self.config.clone(), self.session.media(), self.in_band) }
    }

    /// Sends the client what it is to play, with its audio in band. What the gateway itself says goes by names of its own.
    pub fn play(&mut self, frame: &Frame, out: &mut Outbox) {
        if !self.in_band {
            return;
        }
        let name = if self.config.is_flat { "response.audio.delta" } else { "response.output_audio.delta" };
        self.given += 1;
        let given = self.given;
        let unnamed = spoken::gateways();
        let names = frame.utterance.and_then(|utterance| self.spoken.names(utterance)).unwrap_or(&unnamed);
        out.text(|b: &mut BytesMut| {
            let head = Delta { kind: name, event_id: EventId(given), names };
            serde_json::to_writer((&mut *b).writer(), &head).expect("names always serialise");
            b.truncate(b.len() - 1);
            b.extend_from_slice(b",\"delta\":\"");
            frame.payload.write_base64(b);
            b.extend_from_slice(b"\"}");
        });
        if self.playing.as_ref() != Some(&names.response_id) {
            self.playing = Some(names.response_id.clone());
        }
    }

    /// The client begins to hear `utterance`. Said once a response.
    pub fn started(&mut self, utterance: UtteranceId, out: &mut Outbox) {
        let Some(response) = self.spoken.names(utterance).map(|names| names.response_id.clone()) else {
            return;
        };
        if self.playing.as_ref() != Some(&response) {
            self.stopped(out);
            self.buffer("output_audio_buffer.started", &response, out);
            self.playing = Some(response);
        }
    }

    /// The client has heard all there was.
    pub fn stopped(&mut self, out: &mut Outbox) {
        if let Some(response) = self.playing.take() {
            self.buffer("output_audio_buffer.stopped", &response, out);
        }
    }

    /// What the client had not heard was dropped.
    pub fn cleared(&mut self, out: &mut Outbox) {
        if let Some(response) = self.playing.take() {
            self.buffer("output_audio_buffer.cleared", &response, out);
        }
    }

    /// Something went wrong that is none of the client's doing.
    pub fn failed(&mut self, code: &str, message: &str, out: &mut Outbox) {
        let error = json!({ "type": "server_error", "code": code, "message": message, "param": null, "event_id": null });
        self.say(json!({ "type": "error", "error": error }), out);
    }

    fn append(&mut self, audio: Bytes, out: &mut Outbox) -> Result<(), Refusal> {
        let wrong = |message| Refusal::new("invalid_value", "audio", message);
        if !self.in_band {
            return Err(wrong("This call's audio is its media track."));
        }
        let payload = Payload::base64(audio).map_err(|_| wrong("`audio` is base64 with padding."))?;
        let format = self.session.media().ingress;
        if !payload.len().is_multiple_of(format.sample_bytes().unwrap_or(1)) {
            return Err(wrong("`audio` ends within a sample."));
        }
        if !payload.is_empty() {
            let frame = Frame::live(format, payload, self.heard);
            self.heard = frame.end();
            out.event(Event::AudioReceived(frame));
        }
        Ok(())
    }

    fn show_session(&mut self, out: &mut Outbox) {
        let refused = self.session.refused();
        let session = self.session.shown(&refused);
        self.say(json!({ "type": "session.updated", "session": session }), out);
    }

    fn refuse(&mut self, refusal: &Refusal, event_id: Option<&str>, out: &mut Outbox) {
        self.say(json!({ "type": "error", "error": refusal.error(event_id) }), out);
    }

    fn buffer(&mut self, name: &str, response: &str, out: &mut Outbox) {
        self.say(json!({ "type": name, "response_id": response }), out);
    }

    /// Sends one event, in the client's shape, with an id.
    fn say(&mut self, mut event: Value, out: &mut Outbox) {
        if !event["event_id"].is_string() {
            self.given += 1;
            event["event_id"] = EventId(self.given).to_string().into();
        }
        let event = if self.config.is_flat { shape::server_to_flat(event) } else { Some(event) };
        if let Some(event) = event {
            out.text(|b| {
                serde_json::to_writer((&mut *b).writer(), &event).expect("a tree of JSON always serialises");
            });
        }
    }
}

/// Which of its formats an in-band client may choose.
pub(crate) const FORMATS: &[Format] = &[Format::L16_24K, Format::PCMU, Format::PCMA];

/// As much of an event as tells of settings.
#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    session: Map<String, Value>,
}

/// An audio delta before its audio.
#[derive(Serialize)]
struct Delta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(serialize_with = "as_text")]
    event_id: EventId,
    #[serde(flatten)]
    names: &'a Names,
}

/// An event id that we give: `event_pb_<number>`, unique in one call.
#[derive(Clone, Copy)]
struct EventId(u64);

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "event_pb_{}", self.0)
    }
}

fn as_text<S: serde::Serializer>(id: &EventId, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

#[cfg(test)]
mod tests;
