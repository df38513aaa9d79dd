//! A route: which model answers, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use patchbay_legs::client_events::Choice;
use serde::Serialize;

use super::provider::{Provider, ProviderKind};
use super::recording::Recording;
use super::section::{Located, Section, is_name, nearest};
use crate::twiml;

/// Which model answers, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// Its name in the configuration and in addresses.
    #[serde(skip)]
    pub name: String,
    /// Name of the provider; it exists. Empty where a bot answers.
    pub provider: String,
    /// Name of the bot that answers instead of a model: one that the tenant configures, else one that registers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot: Option<String>,
    /// Model, or Azure's deployment.
    pub model: String,
    /// The provider's name of a voice.
    pub voice: String,
    /// What the model is told.
    pub instructions: String,
    /// What the model is told to say first; `None`: the caller speaks first.
    pub greeting: Option<String>,
    /// ISO 639-1.
    pub language: String,
    /// Whether audio may pass untouched.
    pub audio: AudioChoice,
    /// What interrupts the model.
    pub barge_in: BargeIn,
    /// What writes down what the caller says.
    pub transcription_model: Option<String>,
    /// Noise reduction at the provider.
    pub noise_reduction: NoiseReduction,
    /// What Twilio does when we cannot serve the call: a `<Response>` document.
    pub fallback_twiml: String,
    /// Whether `POST /v1/calls` may dial.
    pub allow_outbound: bool,
    /// What a number that we dial begins with.
    pub outbound_prefixes: Vec<String>,
    /// What somebody's browser may choose of its conversation.
    pub browser_may: BTreeSet<Choice>,
    /// How the provider finds the end of a turn.
    pub turn_detection: TurnDetection,
    /// Whether its calls are recorded.
    pub recording: Recording,
}

/// Whether audio may pass untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioChoice {
    /// Pass-through where the model takes what the caller sends.
    Auto,
    /// Always 24 kHz PCM16 towards the model.
    Pcm,
}

/// What interrupts the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BargeIn {
    /// Speech, or a key.
    Speech,
    /// A key only.
    Dtmf,
    /// Nothing.
    Off,
}

/// Noise reduction at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseReduction {
    /// None.
    Off,
    /// A microphone at the mouth.
    NearField,
    /// A microphone in the room.
    FarField,
}

/// How the provider finds the end of a turn (reference/realtime.md §1.4).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TurnDetection {
    /// By level and silence.
    ServerVad {
        /// 0 to 1.
        threshold: f64,
        /// Audio before the speech that belongs to it.
        prefix_padding_ms: u64,
        /// Silence that ends a turn.
        silence_duration_ms: u64,
    },
    /// By what was said.
    SemanticVad {
        /// low, medium, high, auto.
        eagerness: &'static str,
    },
}

/// What a route is read against.
pub(super) struct RouteContext<'a> {
    pub(super) tenant: &'a str,
    pub(super) name: &'a str,
    pub(super) providers: &'a BTreeMap<String, Arc<Provider>>,
    pub(super) favourite: Option<&'a str>,
}

impl Route {
    pub(super) fn read(context: &RouteContext<'_>, section: &mut Section<'_>) -> Self {
        let bot = section.optional("bot", "receptionist");
        let provider = if bot.is_none() { read_provider(context, section) } else { None };
        let bot = bot.and_then(|bot| read_bot(bot, section));
        let model = section.optional("model", "gpt-realtime-2.1").map(|model| model.value);
        let kind = provider.map(|provider| provider.kind);
        let audio = [("auto", AudioChoice::Auto), ("pcm", AudioChoice::Pcm)];
        let barge_in = [("speech", BargeIn::Speech), ("dtmf", BargeIn::Dtmf), ("off", BargeIn::Off)];
        let noise = [
            ("off", NoiseReduction::Off),
            ("near_field", NoiseReduction::NearField),
            ("far_field", NoiseReduction::FarField),
        ];
        let route = Self {
            name: context.name.to_owned(),
            provider: provider.map(|provider| provider.name.clone()).unwrap_or_default(),
            bot,
            model: model.or_else(|| provider.map(|provider| provider.model.clone())).unwrap_or_default(),
            voice: section.text("voice", "marin").map(|voice| voice.value).unwrap_or_default(),
            instructions: section
                .text("instructions", "Be brief.")
                .map(|text| text.value)
                .unwrap_or_default(),
            greeting: section.optional("greeting", "Greet the caller.").map(|text| text.value),
            language: section.parsed("language", "en", language).map(|text| text.value).unwrap_or_default(),
            audio: section.choice("audio", &audio).map_or(AudioChoice::Auto, |choice| choice.value),
            barge_in: section.choice("barge_in", &barge_in).map_or(BargeIn::Speech, |choice| choice.value),
            transcription_model: read_transcription(kind, section),
            noise_reduction: section
                .choice("noise_reduction", &noise)
                .map_or(NoiseReduction::Off, |choice| choice.value),
            fallback_twiml: section
                .parsed("fallback_twiml", "<Response><Hangup/></Response>", fallback_twiml)
                .map(|twiml| twiml.value)
                .unwrap_or_default(),
            allow_outbound: section.switch("allow_outbound").unwrap_or_default(),
            outbound_prefixes: read_prefixes(section),
            browser_may: read_choices(section),
            turn_detection: read_turn_detection(section),
            recording: Recording::read(section),
        };
        if route.allow_outbound && route.outbound_prefixes.is_empty() && !section.has_fault_below() {
            let what = format!("`{}` allows outbound calls to no number", section.path());
            section.fault(section.place(), what, "write outbound_prefixes = [\"+4930\"]");
        }
        route
    }
}

fn read_provider<'p>(context: &RouteContext<'p>, section: &mut Section<'_>) -> Option<&'p Arc<Provider>> {
    let providers = context.providers;
    let names = || providers.keys().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    if let Some(Located { value, place }) = section.optional("provider", "openai") {
        return providers.get(&value).or_else(|| {
            let near = nearest(&value, providers.keys().map(String::as_str));
            let instead = near.map_or_else(names, |name| format!("\"{name}\""));
            let what = format!("`{}` names no provider", section.name("provider"));
            section.fault(&place, what, format!("write provider = {instead}, or add [providers.NAME]"));
            None
        });
    }
    if let Some(favourite) = context.favourite.and_then(|name| providers.get(name)) {
        return Some(favourite);
    }
    if providers.len() > 1 {
        let what = format!("route `{}` of tenant `{}` lacks its provider", context.name, context.tenant);
        section.fault(section.place(), what, format!("write provider = {}", names()));
    }
    providers.values().next()
}

/// A bot answers, and no provider beside it.
fn read_bot(bot: Located<String>, section: &mut Section<'_>) -> Option<String> {
    if let Some(provider) = section.optional("provider", "openai") {
        let what = format!("`{}` has a bot and a provider", section.path());
        section.fault(&provider.place, what, "write one of them: who is to answer?");
    }
    if is_name(&bot.value) {
        return Some(bot.value);
    }
    let what = format!("`{}` takes up to 64 of a-z, 0-9, `-` and `_`", section.name("bot"));
    section.fault(&bot.place, what, "write bot = \"receptionist\"");
    None
}

/// A transcription model is a deployment's name at Azure, so that there is none to assume (reference/realtime.md §2.1).
fn read_transcription(kind: Option<ProviderKind>, section: &mut Section<'_>) -> Option<String> {
    let given = section.optional("transcription_model", "auto")?.value;
    match (given.as_str(), kind) {
        ("auto", Some(ProviderKind::OpenAi)) => Some("gpt-transcribe".into()),
        ("auto", _) => None,
        _ => Some(given),
    }
}

fn read_prefixes(section: &mut Section<'_>) -> Vec<String> {
    let texts = section.texts("outbound_prefixes", "+4930");
    for text in &texts {
        if !is_prefix(&text.value) {
            let what = format!(
                "`{}` takes + and 1 to 15 digits, the first not 0",
                section.name("outbound_prefixes")
            );
            section.fault(&text.place, what, "write outbound_prefixes = [\"+4930\"]");
        }
    }
    texts.into_iter().map(|text| text.value).collect()
}

fn read_choices(section: &mut Section<'_>) -> BTreeSet<Choice> {
    let mut choices = BTreeSet::new();
    for Located { value, place } in section.texts("browser_may", "voice") {
        if let Some((_, choice)) = Choice::ALL.iter().find(|(word, _)| *word == value) {
            choices.insert(*choice);
            continue;
        }
        let near = nearest(&value, Choice::ALL.iter().map(|(word, _)| *word));
        let what = format!("`{}` has no word \"{value}\"", section.name("browser_may"));
        section.fault(&place, what, format!("write \"{}\"", near.unwrap_or("voice")));
    }
    choices
}

/// The beginning of an E.164 number.
fn is_prefix(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

fn read_turn_detection(outer: &mut Section<'_>) -> TurnDetection {
    let mut section = outer.section("turn_detection");
    let semantic = section.choice("type", &[("server_vad", false), ("semantic_vad", true)]);
    let threshold = section.number("threshold", 0.0..=1.0).unwrap_or_default();
    let prefix_padding_ms = section.integer("prefix_padding_ms", 0..=5000).unwrap_or_default();
    let silence_duration_ms = section.integer("silence_duration_ms", 50..=10_000).unwrap_or_default();
    let words = ["auto", "low", "medium", "high"].map(|word| (word, word));
    let eagerness = section.choice("eagerness", &words).map_or("auto", |word| word.value);
    section.finish();
    if semantic.is_some_and(|semantic| semantic.value) {
        TurnDetection::SemanticVad { eagerness }
    } else {
        TurnDetection::ServerVad { threshold, prefix_padding_ms, silence_duration_ms }
    }
}

fn language(text: &str) -> Result<String, (String, String)> {
    let valid = text.is_empty() || (text.len() == 2 && text.bytes().all(|b| b.is_ascii_lowercase()));
    let fail = || ("takes a language of two letters".to_owned(), "write language = \"en\"".to_owned());
    valid.then(|| text.to_owned()).ok_or_else(fail)
}

fn fallback_twiml(text: &str) -> Result<String, (String, String)> {
    twiml::check(text).map_err(|what| {
        let example =
            "write fallback_twiml = \"<Response><Say>Please call again.</Say><Hangup/></Response>\"";
        (format!("is not TwiML ({what})"), example.to_owned())
    })?;
    Ok(text.trim().to_owned())
}
