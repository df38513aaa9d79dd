//! A session's configuration as the provider keeps it: what it accepts, and what it says about the rest.

use patchbay_core::Format;
use serde_json::{Map, Value, json};

use super::accept::Shape;

/// What an update or another event is refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) param: String,
}

pub(super) fn complain(code: &'static str, param: &str, message: impl Into<String>) -> Complaint {
    Complaint { code, param: param.into(), message: message.into() }
}

/// Detector settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Vad {
    pub(super) threshold: f64,
    pub(super) prefix_ms: u64,
    pub(super) silence_ms: u64,
    pub(super) create_response: bool,
    pub(super) interrupt_response: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    shape: Shape,
    pub(super) input: Format,
    pub(super) output: Format,
    pub(super) vad: Option<Vad>,
    pub(super) transcribes: bool,
    voice: Value,
    /// As the client sent them, merged; echoed in `session.created` and `session.updated`.
    sent: Map<String, Value>,
}

const DEFAULT_VAD: Vad =
    Vad { threshold: 0.5, prefix_ms: 300, silence_ms: 500, create_response: true, interrupt_response: true };

const VOICES: &[&str] =
    &["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"];

const NESTED: &[&str] = &[
    "type",
    "output_modalities",
    "instructions",
    "audio",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "max_output_tokens",
    "truncation",
    "tracing",
    "include",
    "prompt",
];
const FLAT: &[&str] = &[
    "modalities",
    "instructions",
    "voice",
    "input_audio_format",
    "output_audio_format",
    "input_audio_transcription",
    "input_audio_noise_reduction",
    "turn_detection",
    "tools",
    "tool_choice",
    "temperature",
    "max_response_output_tokens",
];

impl Settings {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            input: Format::L16_24K,
            output: Format::L16_24K,
            vad: Some(DEFAULT_VAD),
            transcribes: false,
            voice: "marin".into(),
            sent: Map::new(),
        }
    }

    /// The whole configuration, as the provider answers it.
    pub(super) fn echo(&self, id: &str, model: &str, expires_at: u64) -> Value {
        let mut session = self.sent.clone();
        session.insert("id".into(), id.into());
        session.insert("object".into(), "realtime.session".into());
        session.insert("model".into(), model.into());
        session.insert("expires_at".into(), expires_at.into());
        Value::Object(session)
    }

    /// Applies a whole update, or none of it.
    pub(super) fn update(&mut self, session: &Value, has_spoken: bool) -> Result<(), Complaint> {
        let fields = object(session, "session")?;
        let mut next = self.clone();
        match self.shape {
            Shape::Nested | Shape::Buried => next.update_nested(fields)?,
            Shape::Flat => next.update_flat(fields)?,
        }
        if has_spoken && next.voice != self.voice {
            return Err(complain(
                "cannot_update_voice",
                "session.voice",
                "The voice is fixed once it was heard.",
            ));
        }
        for (key, value) in fields {
            next.sent.insert(key.clone(), value.clone());
        }
        *self = next;
        Ok(())
    }

    fn update_nested(&mut self, fields: &Map<String, Value>) -> Result<(), Complaint> {
        known(fields, NESTED, "session")?;
        if fields.get("type").and_then(Value::as_str) != Some("realtime") {
            return Err(complain("missing_required_parameter", "session.type", "Missing: 'session.type'."));
        }
        check_speech_only(fields.get("output_modalities"))?;
        let Some(audio) = fields.get("audio") else { return Ok(()) };
        let audio = object(audio, "session.audio")?;
        known(audio, &["input", "output"], "session.audio")?;
        if let Some(input) = audio.get("input") {
            let path = "session.audio.input";
            let input = object(input, path)?;
            known(input, &["format", "noise_reduction", "transcription", "turn_detection"], path)?;
            self.hear(input, "format", "transcription", nested_format, path)?;
        }
        if let Some(output) = audio.get("output") {
            let path = "session.audio.output";
            let output = object(output, path)?;
            known(output, &["format", "voice", "speed"], path)?;
            if let Some(format) = output.get("format") {
                self.output = nested_format(format, &format!("{path}.format"))?;
            }
            self.speak(output.get("voice"), &format!("{path}.voice"))?;
        }
        Ok(())
    }

    fn update_flat(&mut self, fields: &Map<String, Value>) -> Result<(), Complaint> {
        known(fields, FLAT, "session")?;
        self.hear(fields, "input_audio_format", "input_audio_transcription", flat_format, "session")?;
        if let Some(format) = fields.get("output_audio_format") {
            self.output = flat_format(format, "session.output_audio_format")?;
        }
        self.speak(fields.get("voice"), "session.voice")
    }

    fn hear(
        &mut self,
        fields: &Map<String, Value>,
        format: &str,
        transcription: &str,
        parse: fn(&Value, &str) -> Result<Format, Complaint>,
        path: &str,
    ) -> Result<(), Complaint> {
        if let Some(value) = fields.get(format) {
            self.input = parse(value, &format!("{path}.{format}"))?;
        }
        if let Some(value) = fields.get(transcription) {
            self.transcribes = !value.is_null();
        }
        if let Some(value) = fields.get("turn_detection") {
            self.vad = turn_detection(value, &format!("{path}.turn_detection"))?;
        }
        Ok(())
    }

    fn speak(&mut self, voice: Option<&Value>, path: &str) -> Result<(), Complaint> {
        let Some(voice) = voice else { return Ok(()) };
        let custom = voice.get("id").is_some_and(Value::is_string);
        if !custom && !voice.as_str().is_some_and(|name| VOICES.contains(&name)) {
            return Err(complain("invalid_value", path, format!("Invalid voice. Supported: {VOICES:?}.")));
        }
        self.voice = voice.clone();
        Ok(())
    }
}

pub(super) fn object<'a>(value: &'a Value, path: &str) -> Result<&'a Map<String, Value>, Complaint> {
    value.as_object().ok_or_else(|| complain("invalid_type", path, format!("'{path}' must be an object.")))
}

pub(super) fn known(fields: &Map<String, Value>, names: &[&str], path: &str) -> Result<(), Complaint> {
    match fields.keys().find(|key| !names.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let param = format!("{path}.{key}");
            Err(complain("unknown_parameter", &param, format!("Unknown parameter: '{param}'.")))
        }
    }
}

fn check_speech_only(modalities: Option<&Value>) -> Result<(), Complaint> {
    match modalities {
        None => Ok(()),
        Some(value) if *value == json!(["audio"]) => Ok(()),
        Some(_) => Err(complain("invalid_value", "session.output_modalities", "This double only speaks.")),
    }
}

/// A rate belongs to PCM only; with G.711 it is an unknown parameter.
fn nested_format(value: &Value, path: &str) -> Result<Format, Complaint> {
    let fields = object(value, path)?;
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let (names, format): (&[&str], _) = match kind {
        "audio/pcm" => (&["type", "rate"], Format::L16_24K),
        "audio/pcmu" => (&["type"], Format::PCMU),
        "audio/pcma" => (&["type"], Format::PCMA),
        _ => return Err(complain("invalid_value", path, "Supported: audio/pcm, audio/pcmu, audio/pcma.")),
    };
    known(fields, names, path)?;
    match fields.get("rate").map(Value::as_u64) {
        None if format == Format::L16_24K => {
            let param = format!("{path}.rate");
            Err(complain("missing_required_parameter", &param, format!("Missing: '{param}'.")))
        }
        Some(rate) if rate != Some(24_000) => {
            Err(complain("invalid_value", &format!("{path}.rate"), "The only rate is 24000."))
        }
        _ => Ok(format),
    }
}

fn flat_format(value: &Value, path: &str) -> Result<Format, Complaint> {
    match value.as_str() {
        Some("pcm16") => Ok(Format::L16_24K),
        Some("g711_ulaw") => Ok(Format::PCMU),
        Some("g711_alaw") => Ok(Format::PCMA),
        _ => Err(complain("invalid_value", path, "Supported: pcm16, g711_ulaw, g711_alaw.")),
    }
}

fn turn_detection(value: &Value, path: &str) -> Result<Option<Vad>, Complaint> {
    if value.is_null() {
        return Ok(None);
    }
    let fields = object(value, path)?;
    let names: &[&str] = match fields.get("type").and_then(Value::as_str) {
        Some("server_vad") => &[
            "type",
            "threshold",
            "prefix_padding_ms",
            "silence_duration_ms",
            "create_response",
            "interrupt_response",
            "idle_timeout_ms",
        ],
        Some("semantic_vad") => &["type", "eagerness", "create_response", "interrupt_response"],
        _ => return Err(complain("invalid_value", path, "Supported: server_vad, semantic_vad.")),
    };
    known(fields, names, path)?;
    let number = |key: &str, default: u64| fields.get(key).and_then(Value::as_u64).unwrap_or(default);
    let flag = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(true);
    Ok(Some(Vad {
        threshold: fields.get("threshold").and_then(Value::as_f64).unwrap_or(DEFAULT_VAD.threshold),
        prefix_ms: number("prefix_padding_ms", DEFAULT_VAD.prefix_ms),
        silence_ms: number("silence_duration_ms", DEFAULT_VAD.silence_ms),
        create_response: flag("create_response"),
        interrupt_response: flag("interrupt_response"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(shape: Shape, session: Value) -> (&'static str, String) {
        let mut settings = Settings::new(shape);
        let complaint = settings.update(&session, false).unwrap_err();
        (complaint.code, complaint.param)
    }

    #[test]
    fn a_rate_with_g711_is_an_unknown_parameter() {
        let format = json!({"type": "audio/pcmu", "rate": 8000});
        let session = json!({"type": "realtime", "audio": {"input": {"format": format}}});
        let param = "session.audio.input.format.rate".to_owned();
        assert_eq!(refused(Shape::Nested, session), ("unknown_parameter", param));
    }

    #[test]
    fn the_two_shapes_do_not_mix() {
        let flat = json!({"modalities": ["audio", "text"], "input_audio_format": "g711_ulaw"});
        assert_eq!(refused(Shape::Nested, flat.clone()).0, "unknown_parameter");
        assert!(Settings::new(Shape::Flat).update(&flat, false).is_ok());
        let nested = json!({"type": "realtime", "audio": {}});
        assert_eq!(refused(Shape::Flat, nested.clone()).0, "unknown_parameter");
        assert!(Settings::new(Shape::Nested).update(&nested, false).is_ok());
    }

    #[test]
    fn one_bad_field_refuses_the_whole_update() {
        let mut settings = Settings::new(Shape::Nested);
        let session = json!({"type": "realtime", "audio": {
            "input": {"format": {"type": "audio/pcmu"}}, "output": {"voice": "nova"}}});
        assert_eq!(settings.update(&session, false).unwrap_err().code, "invalid_value");
        assert_eq!(settings.input, Format::L16_24K);
    }

    #[test]
    fn the_voice_is_fixed_once_it_was_heard() {
        let mut settings = Settings::new(Shape::Nested);
        let session = json!({"type": "realtime", "audio": {"output": {"voice": "cedar"}}});
        assert_eq!(settings.update(&session, true).unwrap_err().code, "cannot_update_voice");
        assert!(settings.update(&session, false).is_ok());
    }
}
