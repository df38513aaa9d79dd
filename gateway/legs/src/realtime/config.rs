//! What a tenant may say about a realtime model, and where that model is found.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The wire that the provider speaks. Event names of both shapes are understood in every dialect; this decides what we
/// send, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI Realtime GA and servers compatible with it.
    #[default]
    Openai,
    /// Azure OpenAI GA: the same events at `/openai/v1/realtime`.
    Azure,
    /// Azure's dated preview: the flat shape of the beta at `/openai/realtime`.
    AzurePreview,
}

impl Dialect {
    /// Whether sessions have the beta's flat shape.
    #[must_use]
    pub fn is_flat(self) -> bool {
        self == Self::AzurePreview
    }
}

/// Which header carries the key. The key itself never comes here: the shell holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// `Authorization: Bearer <key or Entra token>`.
    Bearer,
    /// `api-key: <key>`. Azure answers an API key sent as bearer with a redirect, which must not be followed.
    ApiKeyHeader,
}

/// Who decides that the caller's turn began and ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum TurnDetection {
    /// By the sound.
    ServerVad {
        /// 0 to 1; 0.6 to 0.8 for noisy lines.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f64>,
        /// Audio kept from before the speech.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix_padding_ms: Option<u32>,
        /// Silence that ends a turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        silence_duration_ms: Option<u32>,
        /// Answer by itself at the end of a turn.
        #[serde(default = "yes")]
        create_response: bool,
        /// Stop answering by itself when the caller speaks.
        #[serde(default = "yes")]
        interrupt_response: bool,
        /// Speak up after this much silence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idle_timeout_ms: Option<u32>,
    },
    /// By the meaning. Reported not to fire on some telephone lines.
    SemanticVad {
        /// How soon it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        eagerness: Option<Eagerness>,
        /// Answer by itself at the end of a turn.
        #[serde(default = "yes")]
        create_response: bool,
        /// Stop answering by itself when the caller speaks.
        #[serde(default = "yes")]
        interrupt_response: bool,
    },
    /// Nobody: a turn ends with `Command::Respond`.
    None,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_no(is: &bool) -> bool {
    !is
}

impl Default for TurnDetection {
    fn default() -> Self {
        Self::ServerVad {
            threshold: None,
            prefix_padding_ms: None,
            silence_duration_ms: None,
            create_response: true,
            interrupt_response: true,
            idle_timeout_ms: None,
        }
    }
}

impl TurnDetection {
    /// Whether the model answers by itself at the end of a turn.
    #[must_use]
    pub fn creates_response(&self) -> bool {
        match self {
            Self::ServerVad { create_response, .. } | Self::SemanticVad { create_response, .. } => {
                *create_response
            }
            Self::None => false,
        }
    }

    /// Whether the caller's speech stops the model by itself. Nobody's does not, and may be told to.
    pub(super) fn interrupts(&self) -> bool {
        match self {
            Self::ServerVad { interrupt_response, .. } | Self::SemanticVad { interrupt_response, .. } => {
                *interrupt_response
            }
            Self::None => true,
        }
    }

    /// Silence after which the detector is sure that a turn has ended, in milliseconds.
    pub(super) fn silence_ms(&self) -> u64 {
        match self {
            Self::ServerVad { silence_duration_ms, .. } => u64::from(silence_duration_ms.unwrap_or(500)),
            Self::SemanticVad { .. } | Self::None => 1_000,
        }
    }
}

/// How soon a semantic detector takes a turn for ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eagerness {
    /// At most 8 s.
    Low,
    /// At most 4 s.
    Medium,
    /// At most 2 s.
    High,
    /// As `medium`.
    Auto,
}

/// How much a reasoning model thinks before it speaks. Other models refuse the whole configuration if it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// Least.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Most.
    Xhigh,
}

/// Noise filter of the provider, before its detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseReduction {
    /// Headset, handset.
    NearField,
    /// Room, loudspeaker.
    FarField,
}

/// A realtime model as a tenant configures it. What is absent is the provider's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where, and in which shape.
    #[serde(default)]
    pub dialect: Dialect,
    /// Model name; with Azure the name of the deployment.
    pub model: String,
    /// Which header carries the key; default is the dialect's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Date of the preview; only with `azure_preview`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// A voice's name, or `{"id": "voice_…"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<Value>,
    /// What the model is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Language of the caller for transcription, ISO 639-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Model (with Azure: deployment) that writes down the caller; without it there is no transcript of the caller,
    /// and a renewed connection does not know what the caller had said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcription_model: Option<String>,
    /// Words that the transcription should expect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcription_prompt: Option<String>,
    /// Noise filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise_reduction: Option<NoiseReduction>,
    /// Who decides whose turn it is.
    #[serde(default)]
    pub turn_detection: TurnDetection,
    /// Only with `azure_preview`: the GA shape has no such setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0.25 to 1.5; not with `azure_preview`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// At most this many tokens an answer; absent is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Tools, passed on as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// `auto`, `none`, `required` or an object; passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    /// Only for reasoning models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<Effort>,
    /// `auto`, `disabled` or an object; passed on as it is; not with `azure_preview`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncation: Option<Value>,
    /// Whether what the model's side says is told to the other side in the API's own words, and the other side's words to it.
    #[serde(default, skip_serializing_if = "is_no")]
    pub relays: bool,
    /// Further settings, as a nested session without formats: they come over all the others.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

impl Config {
    /// The settings in force when the conversation begins, as a nested session without formats.
    #[must_use]
    pub fn session(&self) -> Map<String, Value> {
        let media = crate::Media { ingress: patchbay_core::Format::L16_24K, egress: patchbay_core::Format::L16_24K };
        let mut session = super::dialect::nested(self, media);
        crate::shape::merge(&mut session, &Value::Object(self.settings.clone()));
        session["model"] = self.model.as_str().into();
        for side in ["input", "output"] {
            session["audio"][side].as_object_mut().map(|settings| settings.remove("format"));
        }
        if let Value::Object(session) = session { session } else { Map::new() }
    }

    /// Finds what the provider would refuse, so that a bad configuration fails before a caller is on the line.
    pub(super) fn check(&self) -> Result<(), String> {
        let flat = self.dialect.is_flat();
        let rules = [
            (self.model.is_empty(), "`model` is empty: write a model's (with Azure a deployment's) name"),
            (self.temperature.is_some() && !flat, "`temperature` is only a setting of `azure_preview`: remove it"),
            (self.speed.is_some() && flat, "`speed` is no setting of `azure_preview`: remove it"),
            (self.speed.is_some_and(|s| !(0.25..=1.5).contains(&s)), "`speed` must lie between 0.25 and 1.5"),
            (self.truncation.is_some() && flat, "`truncation` is no setting of `azure_preview`: remove it"),
            (self.reasoning_effort.is_some() && flat, "`reasoning_effort` is no setting of `azure_preview`"),
            (self.api_version.is_some() && !flat, "`api_version` is only for `azure_preview`: GA refuses it"),
            (self.max_output_tokens == Some(0), "`max_output_tokens` must be at least 1"),
            (self.voice.as_ref().is_some_and(|v| !is_voice(v)), "`voice` is a name or {\"id\": \"voice_…\"}"),
            (self.threshold_is_off(), "`turn_detection.threshold` must lie between 0 and 1"),
        ];
        rules.iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, rule)| Err((*rule).to_owned()))
    }

    fn threshold_is_off(&self) -> bool {
        matches!(self.turn_detection,
            TurnDetection::ServerVad { threshold: Some(t), .. } if !(0.0..=1.0).contains(&t))
    }
}

fn is_voice(voice: &Value) -> bool {
    voice.is_string() || voice.get("id").is_some_and(Value::is_string)
}

/// Where to dial. The shell adds the key by `auth`, and follows no redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `wss://…` (or `ws://…` when the base is plain HTTP).
    pub url: String,
    /// Headers of the upgrade, without the key. Never `OpenAI-Beta`: the server closes with 4000 on it.
    pub headers: Vec<(&'static str, String)>,
    /// Which header is to carry the key.
    pub auth: Auth,
}

/// Base URL of OpenAI.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// The preview that is dialled when none is named (Microsoft's migration guide, 2026-04).
const AZURE_PREVIEW: &str = "2025-04-01-preview";

/// Where the model of `config` is found under `base_url`: for OpenAI `https://api.openai.com/v1`, for Azure
/// `https://<resource>.openai.azure.com`. `http` becomes `ws`, `https` becomes `wss`; a bare host of an OpenAI base gets
/// the path `/v1`.
#[must_use]
pub fn target(config: &Config, base_url: &str) -> Target {
    let root = websocket_base(base_url);
    let model = Query(&config.model);
    let url = match config.dialect {
        Dialect::Openai if has_path(&root) => format!("{root}/realtime?model={model}"),
        Dialect::Openai => format!("{root}/v1/realtime?model={model}"),
        Dialect::Azure => format!("{}/openai/v1/realtime?model={model}", azure_resource(&root)),
        Dialect::AzurePreview => format!(
            "{}/openai/realtime?api-version={}&deployment={model}",
            azure_resource(&root),
            Query(config.api_version.as_deref().unwrap_or(AZURE_PREVIEW)),
        ),
    };
    let auth = config.auth.unwrap_or(match config.dialect {
        Dialect::Openai => Auth::Bearer,
        Dialect::Azure | Dialect::AzurePreview => Auth::ApiKeyHeader,
    });
    let agent = concat!("patchbay/", env!("CARGO_PKG_VERSION")).to_owned();
    Target { url, headers: vec![("user-agent", agent)], auth }
}

fn websocket_base(base_url: &str) -> String {
    let base = base_url.trim().trim_end_matches('/');
    match base.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(_) => base.to_owned(),
        None => format!("wss://{base}"),
    }
}

fn has_path(base: &str) -> bool {
    base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}

/// People paste the endpoint with or without the API's own path.
fn azure_resource(base: &str) -> &str {
    let base = base.strip_suffix("/v1").unwrap_or(base);
    base.strip_suffix("/openai").unwrap_or(base)
}

/// Percent-encodes a query value (RFC 3986 §2.3: unreserved characters pass).
struct Query<'a>(&'a str);

impl std::fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(dialect: Dialect) -> Config {
        Config { dialect, model: "gpt realtime".into(), ..Config::default() }
    }

    #[test]
    fn each_dialect_dials_its_own_address() {
        let table = [
            (Dialect::Openai, OPENAI_BASE_URL, "wss://api.openai.com/v1/realtime?model=gpt%20realtime"),
            (Dialect::Openai, "http://127.0.0.1:8", "ws://127.0.0.1:8/v1/realtime?model=gpt%20realtime"),
            (Dialect::Openai, "http://h/v1/", "ws://h/v1/realtime?model=gpt%20realtime"),
            (
                Dialect::Azure,
                "https://r.openai.azure.com/",
                "wss://r.openai.azure.com/openai/v1/realtime?model=gpt%20realtime",
            ),
            (
                Dialect::Azure,
                "https://r.openai.azure.com/openai/v1",
                "wss://r.openai.azure.com/openai/v1/realtime?model=gpt%20realtime",
            ),
            (
                Dialect::AzurePreview,
                "https://r.openai.azure.com",
                "wss://r.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=gpt%20realtime",
            ),
        ];
        for (dialect, base, url) in table {
            assert_eq!(target(&config(dialect), base).url, url);
        }
    }

    #[test]
    fn the_key_goes_where_the_provider_reads_it_and_no_beta_header_is_sent() {
        assert_eq!(target(&config(Dialect::Openai), OPENAI_BASE_URL).auth, Auth::Bearer);
        assert_eq!(target(&config(Dialect::Azure), "https://r").auth, Auth::ApiKeyHeader);
        let entra = Config { auth: Some(Auth::Bearer), ..config(Dialect::Azure) };
        assert_eq!(target(&entra, "https://r").auth, Auth::Bearer);
        for dialect in [Dialect::Openai, Dialect::Azure, Dialect::AzurePreview] {
            let headers = target(&config(dialect), "https://r").headers;
            assert!(headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("openai-beta")));
        }
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        let parse = |v| serde_json::from_value::<Config>(v);
        assert!(parse(json!({"model": "m", "voise": "marin"})).is_err());
        assert!(parse(json!({"model": "m", "turn_detection": {"type": "server_vad", "treshold": 0.5}})).is_err());
        for bad in [
            json!({"model": ""}),
            json!({"model": "m", "temperature": 0.7}),
            json!({"model": "m", "speed": 3.0}),
            json!({"model": "m", "voice": 3}),
            json!({"model": "m", "api_version": "2025-04-01-preview"}),
            json!({"model": "m", "turn_detection": {"type": "server_vad", "threshold": 1.5}}),
            json!({"model": "m", "dialect": "azure_preview", "speed": 1.0}),
        ] {
            assert!(parse(bad.clone()).unwrap().check().is_err(), "{bad}");
        }
        assert!(parse(json!({"model": "m", "turn_detection": {"type": "none"}})).unwrap().check().is_ok());
    }
}
