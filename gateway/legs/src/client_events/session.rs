//! [`Session`]: the settings of a conversation as its client sees them: its own formats, and nothing that is not its business.

use patchbay_core::Format;
use serde_json::{Map, Value, json};

use super::FORMATS;
use super::policy::{Choice, Policy};
use crate::{Media, shape};

/// Settings that the client left out of what it asked for are told to it, this many at most.
const REFUSED_MAX: usize = 32;

/// What names a session: ours, never the provider's.
const NAMES: [&str; 3] = ["id", "object", "expires_at"];

/// A conversation as its client sees it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    settings: Map<String, Value>,
    media: Media,
    /// What the last update asked for and may not have.
    refused: Vec<String>,
}

impl Session {
    /// Named as `told` says, with those of its settings that are the client's business.
    pub(super) fn new(told: &Map<String, Value>, policy: &Policy, media: Media) -> Self {
        let named = NAMES.iter().filter_map(|key| Some(((*key).to_owned(), told.get(*key)?.clone())));
        let mut session = Self { settings: named.collect(), media, refused: Vec::new() };
        session.take(told, policy);
        session
    }

    pub(super) fn media(&self) -> Media {
        self.media
    }

    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.clone()
    }

    pub(super) fn set_refused(&mut self, mut refused: Vec<String>) {
        refused.truncate(REFUSED_MAX);
        self.refused = refused;
    }

    /// What the model's side says of its settings. Its formats are not the client's; its instructions and tools are none of a
    /// browser's business.
    pub(super) fn take(&mut self, told: &Map<String, Value>, policy: &Policy) {
        for (key, value) in told {
            let hidden = match key.as_str() {
                "client_secret" => true,
                name if NAMES.contains(&name) => true,
                "instructions" | "prompt" => !policy.allows(Choice::Instructions),
                "tools" | "tool_choice" | "parallel_tool_calls" => !policy.allows(Choice::Tools),
                "tracing" => !policy.allows(Choice::Tracing),
                _ => false,
            };
            if !hidden {
                self.settings.insert(key.clone(), value.clone());
            }
        }
    }

    /// The client chooses formats. Tells whether they are others than before.
    ///
    /// # Errors
    /// Where a format stands that cannot be served.
    pub(super) fn choose(&mut self, wanted: &Map<String, Value>) -> Result<bool, &'static str> {
        let of = |side: &str| {
            wanted.get("audio").and_then(|audio| audio.get(side)).and_then(|side| side.get("format"))
        };
        let read = |format: Option<&Value>, now: Format, path: &'static str| match format {
            None | Some(Value::Null) => Ok(now),
            Some(object) => shape::format_of(object).filter(|f| FORMATS.contains(f)).ok_or(path),
        };
        let media = Media {
            ingress: read(of("input"), self.media.ingress, "session.audio.input.format")?,
            egress: read(of("output"), self.media.egress, "session.audio.output.format")?,
        };
        Ok(std::mem::replace(&mut self.media, media) != media)
    }

    /// The whole, as the client is told it; `refused` are paths that it asked for and may not have.
    pub(super) fn shown(&self, refused: &[String]) -> Value {
        let mut session = Value::Object(self.settings.clone());
        session["object"] = "realtime.session".into();
        if !session["type"].is_string() {
            session["type"] = "realtime".into();
        }
        for (side, format) in [("input", self.media.ingress), ("output", self.media.egress)] {
            put(&mut session, side, shape::format_object(format));
        }
        if !refused.is_empty() {
            session["patchbay"] = json!({ "not_applied": refused });
        }
        session
    }

    /// A response says in which format it is spoken: to this client, in its own.
    pub(super) fn put_formats(&self, event: &mut Value) {
        let format = event.pointer_mut("/response/audio/output/format");
        if let Some(format) = format {
            *format = shape::format_object(self.media.egress);
        }
    }
}

fn put(session: &mut Value, side: &str, format: Value) {
    if !session["audio"].is_object() {
        session["audio"] = json!({});
    }
    if !session["audio"][side].is_object() {
        session["audio"][side] = json!({});
    }
    session["audio"][side]["format"] = format;
}
