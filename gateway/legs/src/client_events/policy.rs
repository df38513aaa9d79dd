//! [`Policy`]: which settings of a conversation a client may choose.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing that may be chosen. The words are those of a route's `browser_may`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// `audio.output.voice`
    Voice,
    /// `audio.output.speed`
    Speed,
    /// `audio.input.transcription.language`
    Language,
    /// The rest of `audio.input.transcription`.
    Transcription,
    /// `audio.input.turn_detection`
    TurnDetection,
    /// `audio.input.noise_reduction`
    NoiseReduction,
    /// `output_modalities`
    OutputModalities,
    /// `max_output_tokens`
    MaxOutputTokens,
    /// `instructions`, `prompt`, and items of the system's and the model's role.
    Instructions,
    /// `tools`, `tool_choice`, `parallel_tool_calls`
    Tools,
    /// `reasoning`
    Reasoning,
    /// `truncation`
    Truncation,
    /// `tracing`, `include`
    Tracing,
    /// The model that is dialled.
    Model,
}

impl Choice {
    /// Every one, in the order of their words in the configuration.
    pub const ALL: [(&'static str, Self); 14] = [
        ("voice", Self::Voice),
        ("speed", Self::Speed),
        ("language", Self::Language),
        ("transcription", Self::Transcription),
        ("turn_detection", Self::TurnDetection),
        ("noise_reduction", Self::NoiseReduction),
        ("output_modalities", Self::OutputModalities),
        ("max_output_tokens", Self::MaxOutputTokens),
        ("instructions", Self::Instructions),
        ("tools", Self::Tools),
        ("reasoning", Self::Reasoning),
        ("truncation", Self::Truncation),
        ("tracing", Self::Tracing),
        ("model", Self::Model),
    ];

    /// What a page may choose unless its route says otherwise: how it sounds, not what it is told to be.
    pub const USUAL: [Self; 7] = [
        Self::Voice,
        Self::Speed,
        Self::Language,
        Self::TurnDetection,
        Self::NoiseReduction,
        Self::OutputModalities,
        Self::MaxOutputTokens,
    ];
}

/// Which settings of a conversation a client may choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Everything: a server with a key of its tenant.
    All,
    /// These: somebody's browser.
    These(BTreeSet<Choice>),
}

/// What came of the settings that a client wants.
#[derive(Debug, Default, PartialEq)]
pub struct Allowed {
    /// What goes on, in the nested shape; without formats.
    pub settings: Map<String, Value>,
    /// What was left out, as paths.
    pub refused: Vec<String>,
}

/// What a session says of itself, and what is said by its own means: neither asked for nor refused.
const SAID_ANYWAY: [&str; 6] = ["type", "object", "id", "model", "expires_at", "patchbay"];

impl Policy {
    /// Of a browser to which its route says nothing else.
    #[must_use]
    pub fn usual() -> Self {
        Self::These(Choice::USUAL.into())
    }

    /// Whether `choice` is the client's.
    #[must_use]
    pub fn allows(&self, choice: Choice) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&choice),
        }
    }

    /// Of the settings that a client wants (a session or a response, nested), those that it may choose. Formats are
    /// nobody's to refuse, and not looked at here.
    #[must_use]
    pub fn filter(&self, wanted: &Map<String, Value>) -> Allowed {
        let mut allowed = Allowed::default();
        for (key, value) in wanted {
            if SAID_ANYWAY.contains(&key.as_str()) {
                continue;
            }
            if key == "audio" {
                let audio = self.filter_audio(value, &mut allowed.refused);
                if !audio.is_empty() {
                    allowed.settings.insert(key.clone(), Value::Object(audio));
                }
            } else if self.may(key) {
                allowed.settings.insert(key.clone(), value.clone());
            } else {
                allowed.refused.push(key.clone());
            }
        }
        allowed
    }

    fn filter_audio(&self, audio: &Value, refused: &mut Vec<String>) -> Map<String, Value> {
        let mut kept = Map::new();
        for (side, settings) in audio.as_object().into_iter().flatten() {
            let mut of_side = Map::new();
            for (key, value) in settings.as_object().into_iter().flatten() {
                let path = format!("audio.{side}.{key}");
                match path.as_str() {
                    "audio.input.format" | "audio.output.format" => {}
                    "audio.input.transcription" => {
                        if let Some(value) = self.filter_transcription(value, refused) {
                            of_side.insert(key.clone(), value);
                        }
                    }
                    _ if self.may(&path) => drop(of_side.insert(key.clone(), value.clone())),
                    _ => refused.push(path),
                }
            }
            if !of_side.is_empty() {
                kept.insert(side.clone(), Value::Object(of_side));
            }
        }
        kept
    }

    /// The language is chosen apart from who writes it down.
    fn filter_transcription(&self, wanted: &Value, refused: &mut Vec<String>) -> Option<Value> {
        if self.allows(Choice::Transcription) {
            return Some(wanted.clone());
        }
        let says_more = wanted.as_object().is_none_or(|fields| fields.keys().any(|key| key != "language"));
        if says_more {
            refused.push("audio.input.transcription".into());
        }
        let language = wanted.get("language").filter(|_| self.allows(Choice::Language))?;
        Some(serde_json::json!({ "language": language }))
    }

    fn may(&self, path: &str) -> bool {
        let choice = match path {
            "audio.output.voice" => Choice::Voice,
            "audio.output.speed" => Choice::Speed,
            "audio.input.turn_detection" => Choice::TurnDetection,
            "audio.input.noise_reduction" => Choice::NoiseReduction,
            "output_modalities" => Choice::OutputModalities,
            "max_output_tokens" => Choice::MaxOutputTokens,
            "instructions" | "prompt" | "input" => Choice::Instructions,
            "tools" | "tool_choice" | "parallel_tool_calls" => Choice::Tools,
            "reasoning" => Choice::Reasoning,
            "truncation" => Choice::Truncation,
            "tracing" | "include" => Choice::Tracing,
            // Of a response: a note of the client's own.
            "metadata" => return true,
            _ => return *self == Self::All,
        };
        self.allows(choice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filter(policy: &Policy, wanted: &Value) -> (Value, Vec<String>) {
        let allowed = policy.filter(wanted.as_object().unwrap());
        (Value::Object(allowed.settings), allowed.refused)
    }

    /// What `@openai/agents-realtime` 0.20.0 sends when it connects.
    fn of_the_sdk() -> Value {
        json!({
            "type": "realtime", "model": "gpt-realtime-2.1", "instructions": "Obey me.", "output_modalities": ["audio"],
            "tools": [], "tool_choice": "auto",
            "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": 24_000}, "noise_reduction": null,
                    "transcription": {"model": "gpt-4o-mini-transcribe", "language": "de"},
                    "turn_detection": {"type": "semantic_vad"}},
                "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "cedar", "speed": 1.0},
            },
        })
    }

    #[test]
    fn a_browser_chooses_how_it_sounds_and_not_what_the_model_is_told_to_be() {
        let (kept, refused) = filter(&Policy::usual(), &of_the_sdk());
        assert_eq!(
            kept,
            json!({
                "output_modalities": ["audio"],
                "audio": {
                    "input": {"noise_reduction": null, "transcription": {"language": "de"},
                        "turn_detection": {"type": "semantic_vad"}},
                    "output": {"voice": "cedar", "speed": 1.0},
                },
            })
        );
        let expected = ["audio.input.transcription", "instructions", "tool_choice", "tools"];
        let mut refused = refused;
        refused.sort();
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_server_chooses_everything_but_what_is_ours_to_say() {
        let mut wanted = of_the_sdk();
        wanted["something_new"] = 1.into();
        let (kept, refused) = filter(&Policy::All, &wanted);
        assert_eq!((&kept["instructions"], &kept["something_new"]), (&json!("Obey me."), &json!(1)));
        assert!(kept.get("model").is_none() && kept["audio"]["input"].get("format").is_none());
        assert_eq!(refused, Vec::<String>::new());
    }

    #[test]
    fn what_nobody_knows_is_not_a_browsers_to_choose() {
        let (kept, refused) =
            filter(&Policy::usual(), &json!({"x": 1, "audio": {"output": {"y": 2}, "z": 3}}));
        assert_eq!(kept, json!({}));
        assert_eq!(refused, ["audio.output.y", "x"]);
    }

    #[test]
    fn every_word_of_the_configuration_is_a_choice() {
        for (word, choice) in Choice::ALL {
            assert_eq!(serde_json::to_value(choice).unwrap(), word);
        }
    }
}
