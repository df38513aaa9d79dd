//! What a client's event means: for the call, for the model, or an error that the client is told.

use bytes::Bytes;
use patchbay_core::{Event, MediaTime, Outbox, Told, UtteranceId};
use serde_json::{Map, Value, json};

use super::ClientEvents;
use super::policy::{Choice, Policy};
use super::spoken::GATEWAYS_ITEM;

/// Why a client's event is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: &'static str,
    param: String,
    message: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        Self { code, param: param.to_owned(), message: message.into() }
    }

    /// No event of the protocol at all: too many of them end the call.
    pub(super) fn is_nonsense(&self) -> bool {
        self.param == "type" || self.param.is_empty()
    }

    /// As OpenAI's `error` has it; `event_id` is the client's.
    pub(super) fn error(&self, event_id: Option<&str>) -> Value {
        let param = Some(self.param.as_str()).filter(|param| !param.is_empty());
        json!({ "type": "invalid_request_error", "code": self.code, "message": self.message, "param": param,
            "event_id": event_id })
    }
}

/// Longest event id that is repeated.
const EVENT_ID_MAX: usize = 512;

impl ClientEvents {
    /// Takes one event in the nested shape.
    pub(super) fn on_event(&mut self, mut event: Value, out: &mut Outbox) -> Result<(), Refusal> {
        if event["event_id"].as_str().is_some_and(|id| id.len() > EVENT_ID_MAX) {
            return Err(Refusal::new("invalid_value", "event_id", "`event_id` has at most 512 characters."));
        }
        match event["type"].as_str().unwrap_or_default() {
            "input_audio_buffer.append" => {
                let audio = text(&event, "audio")?;
                self.append(Bytes::from(audio.to_owned()), out)
            }
            "session.update" => self.update(&event, out),
            "input_audio_buffer.commit" | "input_audio_buffer.clear" | "response.cancel" => {
                tell(&event, out);
                Ok(())
            }
            "conversation.item.delete" | "conversation.item.retrieve" => {
                text(&event, "item_id")?;
                tell(&event, out);
                Ok(())
            }
            "conversation.item.create" => {
                self.may_create(&event["item"])?;
                tell(&event, out);
                Ok(())
            }
            "response.create" => {
                self.trim_response(&mut event);
                tell(&event, out);
                Ok(())
            }
            "conversation.item.truncate" | "output_audio_buffer.played"
                if event["item_id"] == GATEWAYS_ITEM =>
            {
                Ok(())
            }
            "conversation.item.truncate" => {
                let (utterance, heard) = self.position(&event, "audio_end_ms")?;
                out.event(Event::ListenerCut { utterance, heard });
                Ok(())
            }
            "output_audio_buffer.clear" => {
                out.event(Event::Interrupted);
                Ok(())
            }
            "output_audio_buffer.played" => {
                let (utterance, so_far) = self.position(&event, "audio_ms")?;
                out.event(Event::Played { utterance, so_far });
                Ok(())
            }
            _ => Err(Refusal::new("invalid_value", "type", "This `type` is no client event.")),
        }
    }

    fn update(&mut self, event: &Value, out: &mut Outbox) -> Result<(), Refusal> {
        let Some(wanted) = event["session"].as_object() else {
            return Err(Refusal::new("missing_required_parameter", "session", "`session` is an object."));
        };
        if self.in_band {
            let unserved = |path| {
                Refusal::new(
                    "invalid_value",
                    path,
                    "A format is {\"type\": \"audio/pcm\", \"rate\": 24000}, {\"type\": \"audio/pcmu\"} or {\"type\": \"audio/pcma\"}.",
                )
            };
            if self.session.choose(wanted).map_err(unserved)? {
                out.event(Event::Renegotiated);
            }
        }
        let allowed = self.config.policy.filter(wanted);
        self.session.set_refused(allowed.refused);
        if allowed.settings.is_empty() {
            self.show_session(out);
        } else {
            let mut session = allowed.settings;
            session.insert("type".into(), "realtime".into());
            let id = &event["event_id"];
            tell(&json!({ "type": "session.update", "event_id": id, "session": session }), out);
        }
        Ok(())
    }

    /// What a page says, it says as its user: the system and the model speak for themselves.
    fn may_create(&self, item: &Value) -> Result<(), Refusal> {
        if !item.is_object() {
            return Err(Refusal::new("missing_required_parameter", "item", "`item` is an object."));
        }
        let is_users = match item["type"].as_str() {
            Some("function_call_output" | "mcp_approval_response") => true,
            Some("message") => item["role"] == "user",
            _ => false,
        };
        if is_users || self.config.policy.allows(Choice::Instructions) {
            return Ok(());
        }
        let message = "This credential adds messages of its user only.";
        Err(Refusal::new("not_permitted", "item.role", message))
    }

    /// A request is narrowed to what the client may choose. Its audio is of the client's format whatever it says.
    fn trim_response(&self, event: &mut Value) {
        let Some(wanted) = event["response"].as_object() else {
            event.as_object_mut().map(|event| event.remove("response"));
            return;
        };
        let mut settings = self.config.policy.filter(wanted).settings;
        if self.config.policy == Policy::All {
            copy(wanted, &mut settings, "conversation");
        }
        event["response"] = Value::Object(settings);
    }

    /// The utterance that an event names by its item, and a position in it.
    fn position(&self, event: &Value, key: &str) -> Result<(UtteranceId, MediaTime), Refusal> {
        let item = text(event, "item_id")?;
        let part = u32::try_from(event["content_index"].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
        let ms = event[key].as_f64().filter(|ms| *ms >= 0.0 && *ms < 1e9);
        let ms = ms.ok_or_else(|| {
            Refusal::new("invalid_value", key, format!("`{key}` is a number of milliseconds."))
        })?;
        let utterance = self.spoken.utterance(item, part).ok_or_else(|| {
            let message = "No audio of such an item was sent to this client.";
            Refusal::new("item_truncate_invalid_item_id", "item_id", message)
        })?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within 0 and 1e9")]
        Ok((utterance, MediaTime::from_ms(ms as u64)))
    }
}

fn text<'e>(event: &'e Value, key: &str) -> Result<&'e str, Refusal> {
    let missing = || Refusal::new("missing_required_parameter", key, format!("`{key}` is a text."));
    event[key].as_str().filter(|text| !text.is_empty()).ok_or_else(missing)
}

fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, key: &str) {
    if let Some(value) = from.get(key) {
        to.insert(key.to_owned(), value.clone());
    }
}

/// For the model's side.
fn tell(event: &Value, out: &mut Outbox) {
    out.event(Event::Told(Told::event(Bytes::from(event.to_string()))));
}
