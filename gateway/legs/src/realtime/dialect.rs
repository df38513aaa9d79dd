//! What we send: the client events of both shapes. Only `append` is hot; it is composed in place.

use bytes::{BufMut as _, BytesMut};
use patchbay_core::{Outbox, Payload, Role};
use serde_json::{Map, Value, json};

use super::config::{Config, Dialect, TurnDetection};
use crate::Media;
use crate::shape::{format_name, format_object, session_to_flat};

/// Event ids that we give: `pb_<number>`, unique in one connection.
pub(super) fn event_id(number: u32) -> String {
    format!("pb_{number}")
}

/// The inverse of [`event_id`].
pub(super) fn event_number(id: &str) -> Option<u32> {
    id.strip_prefix("pb_")?.parse().ok()
}

/// Writes one event.
pub(super) fn send(event: &Value, out: &mut Outbox) {
    out.text(|b| {
        serde_json::to_writer((&mut *b).writer(), event).expect("a tree of strings and numbers always serialises");
    });
}

/// `input_audio_buffer.append`: base64 passes through. No event id: it is never answered.
pub(super) fn append(audio: &Payload, out: &mut Outbox) {
    out.text(|b: &mut BytesMut| {
        b.extend_from_slice(br#"{"type":"input_audio_buffer.append","audio":""#);
        audio.write_base64(b);
        b.extend_from_slice(br#""}"#);
    });
}

pub(super) fn session_update(config: &Config, media: Media, number: u32) -> Value {
    let mut session = if config.dialect.is_flat() { flat(config, media) } else { nested(config, media) };
    let chosen = if config.dialect.is_flat() {
        Value::Object(session_to_flat(&config.settings))
    } else {
        Value::Object(config.settings.clone())
    };
    crate::shape::merge(&mut session, &chosen);
    json!({"type": "session.update", "event_id": event_id(number), "session": session})
}

/// The GA shape (N755 `RealtimeSessionCreateRequest`, 2026-11-10).
pub(super) fn nested(config: &Config, media: Media) -> Value {
    let mut input = Map::new();
    input.insert("format".into(), format_object(media.egress));
    input.insert("turn_detection".into(), turn_detection(config));
    insert(&mut input, "transcription", transcription(config));
    insert(&mut input, "noise_reduction", noise_reduction(config));
    let mut output = Map::new();
    output.insert("format".into(), format_object(media.ingress));
    insert(&mut output, "voice", config.voice.clone());
    insert(&mut output, "speed", config.speed.map(Value::from));
    let mut session = Map::new();
    session.insert("type".into(), "realtime".into());
    session.insert("output_modalities".into(), json!(["audio"]));
    session.insert("audio".into(), json!({"input": input, "output": output}));
    insert(&mut session, "max_output_tokens", config.max_output_tokens.map(Value::from));
    insert(&mut session, "reasoning", config.reasoning_effort.map(|effort| json!({"effort": effort})));
    insert(&mut session, "truncation", config.truncation.clone());
    shared(&mut session, config);
    Value::Object(session)
}

/// The beta's flat shape (P352 `types/beta/realtime`; Microsoft's migration guide, 2026-04).
fn flat(config: &Config, media: Media) -> Value {
    let mut session = Map::new();
    session.insert("modalities".into(), json!(["audio", "text"]));
    session.insert("input_audio_format".into(), format_name(media.egress).into());
    session.insert("output_audio_format".into(), format_name(media.ingress).into());
    session.insert("turn_detection".into(), turn_detection(config));
    insert(&mut session, "input_audio_transcription", transcription(config));
    insert(&mut session, "input_audio_noise_reduction", noise_reduction(config));
    insert(&mut session, "voice", config.voice.clone());
    insert(&mut session, "temperature", config.temperature.map(Value::from));
    insert(&mut session, "max_response_output_tokens", config.max_output_tokens.map(Value::from));
    shared(&mut session, config);
    Value::Object(session)
}

fn shared(session: &mut Map<String, Value>, config: &Config) {
    insert(session, "instructions", config.instructions.clone().map(Value::from));
    insert(session, "tools", (!config.tools.is_empty()).then(|| config.tools.clone().into()));
    insert(session, "tool_choice", config.tool_choice.clone());
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.into(), value);
    }
}

/// `null` switches detection off; leaving it out would keep the provider's default, which is on.
fn turn_detection(config: &Config) -> Value {
    match &config.turn_detection {
        TurnDetection::None => Value::Null,
        vad => serde_json::to_value(vad).expect("a struct of numbers and flags always serialises"),
    }
}

fn transcription(config: &Config) -> Option<Value> {
    let mut fields = Map::new();
    fields.insert("model".into(), config.transcription_model.clone()?.into());
    insert(&mut fields, "language", config.language.clone().map(Value::from));
    insert(&mut fields, "prompt", config.transcription_prompt.clone().map(Value::from));
    Some(Value::Object(fields))
}

fn noise_reduction(config: &Config) -> Option<Value> {
    config.noise_reduction.map(|kind| json!({"type": kind}))
}

/// `response.create`.
pub(super) fn respond(instructions: Option<&str>, number: u32) -> Value {
    let mut event = json!({"type": "response.create", "event_id": event_id(number)});
    if let Some(instructions) = instructions {
        event["response"] = json!({"instructions": instructions});
    }
    event
}

/// `response.cancel`: of one answer if it has a name, so that it can never hit a newer one.
pub(super) fn cancel(response: Option<&str>, number: u32) -> Value {
    let mut event = json!({"type": "response.cancel", "event_id": event_id(number)});
    if let Some(response) = response {
        event["response_id"] = response.into();
    }
    event
}

pub(super) fn truncate(item: &str, part: u32, audio_end_ms: u64, number: u32) -> Value {
    json!({
        "type": "conversation.item.truncate", "event_id": event_id(number),
        "item_id": item, "content_index": part, "audio_end_ms": audio_end_ms,
    })
}

pub(super) fn delete(item: &str, number: u32) -> Value {
    json!({"type": "conversation.item.delete", "event_id": event_id(number), "item_id": item})
}

pub(super) fn bare(name: &str, number: u32) -> Value {
    json!({"type": name, "event_id": event_id(number)})
}

/// Seeds one item of text. `role` `None` is the system's.
pub(super) fn item(dialect: Dialect, id: &str, role: Option<Role>, text: &str, number: u32) -> Value {
    let (role, content) = match role {
        None => ("system", "input_text"),
        Some(Role::Caller) => ("user", "input_text"),
        Some(Role::Model) if dialect.is_flat() => ("assistant", "text"),
        Some(Role::Model) => ("assistant", "output_text"),
    };
    json!({
        "type": "conversation.item.create", "event_id": event_id(number),
        "item": {"id": id, "type": "message", "role": role, "content": [{"type": content, "text": text}]},
    })
}
