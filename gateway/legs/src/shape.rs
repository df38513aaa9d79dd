//! The two shapes of OpenAI's realtime API: *nested*, which is GA, and *flat*, the beta that OpenAI retired in May 2026 and
//! that Azure's dated previews and old clients still speak (`reference/realtime.md` §1.11; P352 `types/beta/realtime`).
//!
//! Everything between the two ends of a call is nested. Here is the way in and out for an end that is flat.

use patchbay_core::{Codec, Format};
use serde_json::{Map, Value, json};

/// Names of server events, nested and flat.
const NAMES: [(&str, &str); 6] = [
    ("response.output_text.delta", "response.text.delta"),
    ("response.output_text.done", "response.text.done"),
    ("response.output_audio.delta", "response.audio.delta"),
    ("response.output_audio.done", "response.audio.done"),
    ("response.output_audio_transcript.delta", "response.audio_transcript.delta"),
    ("response.output_audio_transcript.done", "response.audio_transcript.done"),
];

/// Types of an assistant's content, nested and flat.
const CONTENT: [(&str, &str); 2] = [("output_text", "text"), ("output_audio", "audio")];

/// A format as the nested shape writes it. A rate is refused with G.711 and required with PCM.
#[must_use]
pub fn format_object(format: Format) -> Value {
    match format.codec {
        Codec::Pcmu => json!({"type": "audio/pcmu"}),
        Codec::Pcma => json!({"type": "audio/pcma"}),
        Codec::L16 | Codec::Opus => json!({"type": "audio/pcm", "rate": format.rate_hz}),
    }
}

/// The format of such an object; PCM without a rate is taken for 24 kHz, the only one there is.
#[must_use]
pub fn format_of(object: &Value) -> Option<Format> {
    match (object["type"].as_str()?, object["rate"].as_u64()) {
        ("audio/pcmu", _) => Some(Format::PCMU),
        ("audio/pcma", _) => Some(Format::PCMA),
        ("audio/pcm", None | Some(24_000)) => Some(Format::L16_24K),
        _ => None,
    }
}

/// A format as the flat shape names it.
#[must_use]
pub fn format_name(format: Format) -> &'static str {
    match format.codec {
        Codec::Pcmu => "g711_ulaw",
        Codec::Pcma => "g711_alaw",
        Codec::L16 | Codec::Opus => "pcm16",
    }
}

fn format_object_of_name(name: &Value) -> Value {
    match name.as_str() {
        Some("g711_ulaw") => format_object(Format::PCMU),
        Some("g711_alaw") => format_object(Format::PCMA),
        Some("pcm16") => format_object(Format::L16_24K),
        // Left for whoever judges it.
        _ => json!({ "type": name }),
    }
}

/// A server event of a flat peer, as nested ones.
#[must_use]
pub fn server_to_nested(mut event: Value) -> Vec<Value> {
    let name = event["type"].as_str().unwrap_or_default().to_owned();
    if let Some((nested, _)) = NAMES.iter().find(|(_, flat)| *flat == name) {
        event["type"] = (*nested).into();
    }
    rename_contents(&mut event, |(nested, flat)| (flat, nested));
    nest_in(&mut event, "session", session_to_nested);
    nest_in(&mut event, "response", response_to_nested);
    if name != "conversation.item.created" {
        return vec![event];
    }
    let mut done = event.clone();
    event["type"] = "conversation.item.added".into();
    done["type"] = "conversation.item.done".into();
    vec![event, done]
}

/// A nested server event for a flat client; nothing for one that the flat shape has not.
#[must_use]
pub fn server_to_flat(mut event: Value) -> Option<Value> {
    let name = event["type"].as_str().unwrap_or_default().to_owned();
    match name.as_str() {
        "conversation.item.added" => event["type"] = "conversation.item.created".into(),
        "conversation.item.done" => return None,
        _ => {}
    }
    if let Some((_, flat)) = NAMES.iter().find(|(nested, _)| *nested == name) {
        event["type"] = (*flat).into();
    }
    rename_contents(&mut event, |pair| pair);
    nest_in(&mut event, "session", session_to_flat);
    nest_in(&mut event, "response", response_to_flat);
    Some(event)
}

/// A client event of a flat client, nested.
#[must_use]
pub fn client_to_nested(mut event: Value) -> Value {
    if event["type"] == "transcription_session.update" {
        event["type"] = "session.update".into();
    }
    rename_contents(&mut event, |(nested, flat)| (flat, nested));
    nest_in(&mut event, "session", session_to_nested);
    nest_in(&mut event, "response", response_to_nested);
    event
}

/// A nested client event for a flat peer.
#[must_use]
pub fn client_to_flat(mut event: Value) -> Value {
    rename_contents(&mut event, |pair| pair);
    nest_in(&mut event, "session", session_to_flat);
    nest_in(&mut event, "response", response_to_flat);
    event
}

fn nest_in(event: &mut Value, key: &str, turn: fn(&Map<String, Value>) -> Map<String, Value>) {
    if let Some(object) = event.get(key).and_then(Value::as_object) {
        let turned = turn(object);
        event[key] = Value::Object(turned);
    }
}

/// Content types of the items in an event. `way` gives (from, to) of a pair (nested, flat).
fn rename_contents(event: &mut Value, way: fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    if let Some(item) = event.get_mut("item") {
        rename_content(item, way);
    }
    for list in ["output", "input"] {
        let items = event.get_mut("response").and_then(|response| response.get_mut(list));
        for item in items.and_then(Value::as_array_mut).into_iter().flatten() {
            rename_content(item, way);
        }
    }
}

fn rename_content(item: &mut Value, way: fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    for part in item.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        let kind = part["type"].as_str().unwrap_or_default();
        if let Some((_, to)) = CONTENT.iter().map(|pair| way(*pair)).find(|(from, _)| *from == kind) {
            part["type"] = to.into();
        }
    }
}

/// Settings that both shapes have under the same name.
const SAME: [&str; 10] = [
    "id",
    "object",
    "model",
    "expires_at",
    "instructions",
    "tools",
    "tool_choice",
    "tracing",
    "include",
    "prompt",
];

/// A flat session, nested. What the nested shape has not (`temperature`) is left out.
#[must_use]
pub fn session_to_nested(flat: &Map<String, Value>) -> Map<String, Value> {
    let mut nested = Map::new();
    copy(flat, &mut nested, &SAME.map(|key| (key, key)));
    copy(flat, &mut nested, &[("max_response_output_tokens", "max_output_tokens")]);
    nested.insert("type".into(), "realtime".into());
    if let Some(modalities) = flat.get("modalities") {
        nested.insert("output_modalities".into(), to_one_modality(modalities));
    }
    let (mut input, mut output) = (Map::new(), Map::new());
    let inputs = [
        ("input_audio_transcription", "transcription"),
        ("input_audio_noise_reduction", "noise_reduction"),
        ("turn_detection", "turn_detection"),
    ];
    copy(flat, &mut input, &inputs);
    copy(flat, &mut output, &[("voice", "voice"), ("speed", "speed")]);
    if let Some(name) = flat.get("input_audio_format") {
        input.insert("format".into(), format_object_of_name(name));
    }
    if let Some(name) = flat.get("output_audio_format") {
        output.insert("format".into(), format_object_of_name(name));
    }
    let sides = [("input", input), ("output", output)];
    let audio: Map<_, _> = sides
        .into_iter()
        .filter(|(_, side)| !side.is_empty())
        .map(|(name, side)| (name.to_owned(), Value::Object(side)))
        .collect();
    if !audio.is_empty() {
        nested.insert("audio".into(), Value::Object(audio));
    }
    nested
}

/// A nested session, flat. What the flat shape has not is left out.
#[must_use]
pub fn session_to_flat(nested: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    copy(nested, &mut flat, &SAME.map(|key| (key, key)));
    copy(nested, &mut flat, &[("max_output_tokens", "max_response_output_tokens")]);
    if let Some(modalities) = nested.get("output_modalities") {
        flat.insert("modalities".into(), to_both_modalities(modalities));
    }
    let side = |name: &str| nested.get("audio").and_then(|audio| audio.get(name)).and_then(Value::as_object);
    if let Some(input) = side("input") {
        let inputs = [
            ("transcription", "input_audio_transcription"),
            ("noise_reduction", "input_audio_noise_reduction"),
            ("turn_detection", "turn_detection"),
        ];
        copy(input, &mut flat, &inputs);
        if let Some(format) = input.get("format").and_then(format_of) {
            flat.insert("input_audio_format".into(), format_name(format).into());
        }
    }
    if let Some(output) = side("output") {
        copy(output, &mut flat, &[("voice", "voice"), ("speed", "speed")]);
        if let Some(format) = output.get("format").and_then(format_of) {
            flat.insert("output_audio_format".into(), format_name(format).into());
        }
    }
    flat
}

/// A flat response (of `response.create`, or of a server event), nested.
fn response_to_nested(flat: &Map<String, Value>) -> Map<String, Value> {
    let mut nested = flat.clone();
    let mut output = Map::new();
    for key in ["modalities", "voice", "output_audio_format", "temperature", "max_response_output_tokens"] {
        nested.remove(key);
    }
    if let Some(modalities) = flat.get("modalities") {
        nested.insert("output_modalities".into(), to_one_modality(modalities));
    }
    copy(flat, &mut nested, &[("max_response_output_tokens", "max_output_tokens")]);
    copy(flat, &mut output, &[("voice", "voice")]);
    if let Some(name) = flat.get("output_audio_format") {
        output.insert("format".into(), format_object_of_name(name));
    }
    if !output.is_empty() {
        nested.insert("audio".into(), json!({ "output": output }));
    }
    nested
}

/// A nested response, flat.
fn response_to_flat(nested: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = nested.clone();
    flat.remove("audio");
    if let Some(modalities) = flat.remove("output_modalities") {
        flat.insert("modalities".into(), to_both_modalities(&modalities));
    }
    let output = nested.get("audio").and_then(|audio| audio.get("output")).and_then(Value::as_object);
    if let Some(output) = output {
        copy(output, &mut flat, &[("voice", "voice")]);
        if let Some(format) = output.get("format").and_then(format_of) {
            flat.insert("output_audio_format".into(), format_name(format).into());
        }
    }
    flat
}

/// The beta names both when there is audio, since that has a transcript; GA names one.
fn to_one_modality(both: &Value) -> Value {
    let has_audio = both.as_array().is_some_and(|list| list.iter().any(|one| one == "audio"));
    if has_audio { json!(["audio"]) } else { both.clone() }
}

fn to_both_modalities(one: &Value) -> Value {
    let has_audio = one.as_array().is_some_and(|list| list.iter().any(|one| one == "audio"));
    if has_audio { json!(["audio", "text"]) } else { one.clone() }
}

fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, names: &[(&str, &str)]) {
    for (old, new) in names {
        if let Some(value) = from.get(*old) {
            to.insert((*new).to_owned(), value.clone());
        }
    }
}

/// Puts what `chosen` says over `session`; an object in both is merged, anything else replaced.
pub fn merge(session: &mut Value, chosen: &Value) {
    let (Some(into), Some(chosen)) = (session.as_object_mut(), chosen.as_object()) else {
        return session.clone_from(chosen);
    };
    for (key, value) in chosen {
        match into.get_mut(key) {
            Some(old) if old.is_object() && value.is_object() && key != "turn_detection" => merge(old, value),
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat_session() -> Value {
        json!({
            "id": "sess_1", "model": "m", "instructions": "Be brief.", "modalities": ["audio", "text"],
            "voice": "marin", "input_audio_format": "g711_ulaw", "output_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"}, "turn_detection": null,
            "max_response_output_tokens": 100, "tools": [], "tool_choice": "auto",
        })
    }

    #[test]
    fn a_session_survives_the_way_there_and_back() {
        let flat = flat_session();
        let nested = session_to_nested(flat.as_object().unwrap());
        assert_eq!(nested["audio"]["input"]["format"], json!({"type": "audio/pcmu"}));
        assert_eq!(nested["audio"]["input"]["turn_detection"], Value::Null);
        assert_eq!(
            nested["audio"]["output"],
            json!({"voice": "marin", "format": {"type": "audio/pcm", "rate": 24_000}})
        );
        assert_eq!(nested["output_modalities"], json!(["audio"]));
        assert_eq!(Value::Object(session_to_flat(&nested)), flat);
    }

    #[test]
    fn what_is_not_said_stays_unsaid() {
        let nested = session_to_nested(json!({"voice": "cedar", "temperature": 0.8}).as_object().unwrap());
        assert_eq!(
            Value::Object(nested),
            json!({"type": "realtime", "audio": {"output": {"voice": "cedar"}}})
        );
    }

    #[test]
    fn server_events_have_their_names_and_contents_in_both_shapes() {
        let item = json!({"id": "i", "type": "message", "role": "assistant", "content": [{"type": "audio", "transcript": "x"}]});
        let created = json!({"type": "conversation.item.created", "event_id": "e", "previous_item_id": null, "item": item});
        let nested = server_to_nested(created.clone());
        let names: Vec<_> = nested.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(names, ["conversation.item.added", "conversation.item.done"]);
        assert_eq!(nested[0]["item"]["content"][0]["type"], "output_audio");
        let flat: Vec<_> = nested.into_iter().filter_map(server_to_flat).collect();
        assert_eq!(flat, [created]);
        for (nested, flat) in NAMES {
            let event = json!({"type": flat, "delta": "x"});
            let there = server_to_nested(event.clone());
            assert_eq!(there[0]["type"], nested);
            assert_eq!(server_to_flat(there[0].clone()), Some(event));
        }
    }

    #[test]
    fn a_request_of_an_old_client_is_nested() {
        let event = json!({"type": "response.create", "response": {"modalities": ["text"], "voice": "ash",
            "output_audio_format": "g711_alaw", "temperature": 0.7, "instructions": "Go."}});
        let nested = client_to_nested(event);
        assert_eq!(
            nested["response"],
            json!({"output_modalities": ["text"], "instructions": "Go.",
                "audio": {"output": {"voice": "ash", "format": {"type": "audio/pcma"}}}})
        );
    }
}
