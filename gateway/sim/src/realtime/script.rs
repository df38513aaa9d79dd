//! What the double is to do: a plain value that a test builds, or `patchbay sim --script FILE` reads from JSON.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use patchbay_core::Format;
use serde::{Deserialize, Serialize};

/// A scripted provider. What is absent has the default of a well-behaved one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The only key that is let in; any that is not empty when absent.
    pub key: Option<String>,
    /// Dials refused, in order, before the first is let in.
    pub refusals: Vec<Refused>,
    /// Way of one message from us to the gateway.
    pub latency_ms: u64,
    /// Random part on top, from 0 to this; order is kept.
    pub jitter_ms: u64,
    /// Seed of all that is random.
    pub seed: u64,
    /// From the end of a turn, or a request, to `response.created`.
    pub think_ms: u64,
    /// How fast audio is sent.
    pub pace: Pace,
    /// What the model says, one a response, from the start again when all are said.
    pub turns: Vec<Turn>,
    /// What the caller is written down as, one a turn, from the start again; none without transcripts.
    pub transcripts: Vec<String>,
    /// From the end of a turn to its transcript.
    pub transcript_ms: u64,
    /// Whether transcription is billed by time instead of by tokens.
    pub transcription_by_time: bool,
    /// Audio deltas still sent after an answer was cancelled.
    pub late_deltas: u32,
    /// How the caller's speech is noticed when the configuration asks for a detector.
    pub detector: Detector,
    /// Length of a session, after which it expires.
    pub session_cap_ms: Option<u64>,
    /// What goes wrong, and where.
    pub faults: Vec<Fault>,
    /// Whether the ledger keeps the appended audio itself, up to ten minutes.
    pub records: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            key: None,
            refusals: Vec::new(),
            latency_ms: 0,
            jitter_ms: 0,
            seed: 1,
            think_ms: 150,
            pace: Pace::default(),
            turns: vec![Turn::Echo],
            transcripts: Vec::new(),
            transcript_ms: 200,
            transcription_by_time: false,
            late_deltas: 0,
            detector: Detector::default(),
            session_cap_ms: None,
            faults: Vec::new(),
            records: true,
        }
    }
}

impl Script {
    /// The WAV files that turns name and that [`resolve`](Self::resolve) has to bring.
    pub fn wavs(&self) -> impl Iterator<Item = &str> {
        self.turns.iter().flat_map(Turn::says).filter_map(|say| say.wav.as_deref())
    }

    /// Brings the audio of turns that name a WAV file: `load` answers its samples as PCM16 at 24 kHz.
    ///
    /// # Errors
    /// The first error of `load`.
    pub fn resolve<E>(&mut self, mut load: impl FnMut(&str) -> Result<Vec<u8>, E>) -> Result<(), E> {
        for turn in &mut self.turns {
            if let Turn::Say(says) = turn {
                for say in says.iter_mut() {
                    if let Some(path) = &say.wav {
                        say.audio = Some(Clip::new(load(path)?));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A dial that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// HTTP status of the answer.
    pub status: u16,
    /// `Retry-After` in seconds.
    #[serde(default)]
    pub retry_after_s: Option<u64>,
}

/// How fast audio is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Audio in one delta.
    pub delta_ms: u64,
    /// Time between two deltas.
    pub every_ms: u64,
}

impl Pace {
    /// Small deltas at the speed of speech: for benches.
    pub const REAL_TIME: Self = Self { delta_ms: 20, every_ms: 20 };
}

impl Default for Pace {
    /// Five times as fast as speech.
    fn default() -> Self {
        Self { delta_ms: 200, every_ms: 40 }
    }
}

/// One response.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Says back the caller's last turn.
    Echo,
    /// Says these, one audio item each.
    Say(Vec<Say>),
    /// Fails with this error code, as a response does.
    Fail(String),
}

impl Turn {
    fn says(&self) -> &[Say] {
        if let Self::Say(says) = self { says } else { &[] }
    }
}

/// One item of speech.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Say {
    /// Transcript.
    pub text: String,
    /// PCM16 at 24 kHz, base64.
    pub audio: Option<Clip>,
    /// A WAV file, brought by [`Script::resolve`].
    pub wav: Option<String>,
    /// A voice-like buzz of this length, when there is no audio.
    pub buzz_ms: u64,
}

impl Say {
    /// A buzz of that length under a transcript.
    #[must_use]
    pub fn buzz(text: &str, ms: u64) -> Self {
        Self { text: text.into(), buzz_ms: ms, ..Self::default() }
    }

    /// PCM16 at 24 kHz under a transcript.
    #[must_use]
    pub fn audio(text: &str, pcm: Vec<u8>) -> Self {
        Self { text: text.into(), audio: Some(Clip::new(pcm)), ..Self::default() }
    }

    /// The audio in `format`.
    pub(super) fn in_format(&self, format: Format) -> Bytes {
        match &self.audio {
            Some(clip) => clip.in_format(format),
            None => convert(Format::L16_24K, format, &buzz(self.buzz_ms)).into(),
        }
    }
}

/// PCM16 at 24 kHz that remembers its other forms, so that a thousand doubles convert it once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Clip {
    pcm: Bytes,
    pcmu: OnceLock<Bytes>,
    pcma: OnceLock<Bytes>,
}

impl Clip {
    fn new(pcm: Vec<u8>) -> Self {
        Self { pcm: pcm.into(), ..Self::default() }
    }

    fn in_format(&self, format: Format) -> Bytes {
        let convert = || convert(Format::L16_24K, format, &self.pcm).into();
        match format {
            Format::PCMU => self.pcmu.get_or_init(convert).clone(),
            Format::PCMA => self.pcma.get_or_init(convert).clone(),
            _ => self.pcm.clone(),
        }
    }
}

impl TryFrom<String> for Clip {
    type Error = base64::DecodeError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self::new(STANDARD.decode(text)?))
    }
}

impl From<Clip> for String {
    fn from(clip: Clip) -> Self {
        STANDARD.encode(&clip.pcm)
    }
}

/// Converts whole audio; unchanged when there is no such conversion.
pub(super) fn convert(from: Format, to: Format, audio: &[u8]) -> Vec<u8> {
    let Some(mut codec) = patchbay_codec::transcoder(from, to) else { return audio.to_owned() };
    let mut converted = Vec::new();
    if codec.push(audio, &mut converted).is_ok() {
        codec.finish(&mut converted);
    }
    converted
}

/// Six harmonics of 140 Hz under a syllable rhythm of 4 Hz: PCM16 at 24 kHz.
fn buzz(ms: u64) -> Vec<u8> {
    let samples = ms.saturating_mul(24).min(24_000 * 120);
    let sample = |n: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a few million samples are exact in f32")]
        let t = n as f32 / 24_000.0;
        let voice: f32 =
            (1..=6u8).map(|k| (t * 140.0 * f32::from(k) * std::f32::consts::TAU).sin() / f32::from(k)).sum();
        let syllable = (t * 4.0 * std::f32::consts::TAU).sin().max(0.0);
        #[expect(clippy::cast_possible_truncation, reason = "at most 2.5 × 6,000, well inside PCM16")]
        let level = (voice * (0.3 + 0.7 * syllable) * 6_000.0) as i16;
        level
    };
    (0..samples).flat_map(|n| sample(n).to_le_bytes()).collect()
}

/// How speech is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// By a real detector.
    #[default]
    Voice,
    /// By the mean level: cheap, for benches.
    Level,
    /// Never: only the test's own calls make turns.
    Off,
}

/// Where in the life of a connection something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Instead of `session.created`.
    BeforeSessionCreated,
    /// After it.
    SessionCreated,
    /// After `session.updated`.
    SessionUpdated,
    /// After `speech_started`.
    SpeechStarted,
    /// After `speech_stopped`.
    SpeechStopped,
    /// After `committed` and the user's item.
    Committed,
    /// After `response.created`.
    ResponseCreated,
    /// After the first audio delta.
    FirstDelta,
    /// In the middle of the audio.
    MidDeltas,
    /// After `output_audio.done`.
    AudioDone,
    /// After `response.done`.
    ResponseDone,
    /// One second after `response.done`, when nothing happens.
    Idle,
}

impl Point {
    /// All of them, in the order of a call.
    pub const ALL: [Self; 12] = [
        Self::BeforeSessionCreated,
        Self::SessionCreated,
        Self::SessionUpdated,
        Self::SpeechStarted,
        Self::SpeechStopped,
        Self::Committed,
        Self::ResponseCreated,
        Self::FirstDelta,
        Self::MidDeltas,
        Self::AudioDone,
        Self::ResponseDone,
        Self::Idle,
    ];
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The server closes.
    Close {
        /// Close code; 1006 is a reset without a close.
        code: u16,
        /// Reason.
        #[serde(default)]
        reason: String,
    },
    /// The server falls silent, for so long or for ever, and keeps the socket.
    Stall {
        /// How long.
        #[serde(default)]
        ms: Option<u64>,
    },
    /// An `error` event that ends nothing by itself.
    Error {
        /// Its type.
        #[serde(rename = "type", default)]
        kind: String,
        /// Its code.
        code: String,
    },
}

/// A fault of the script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub at: Point,
    /// In which turn: how many responses were done before.
    #[serde(default)]
    pub turn: u32,
    /// On which connection, counted from 0; `null` on each.
    #[serde(default)]
    pub dial: Option<usize>,
    /// What.
    pub trouble: Trouble,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `patchbay sim --script FILE` reads it.
    const FILE: &str = r#"{
        "key": "sk-test", "latency_ms": 40, "jitter_ms": 10,
        "refusals": [{"status": 503, "retry_after_s": 1}],
        "turns": [
            {"say": [{"text": "Certainly.", "wav": "fixtures/audio/model-answer.wav"}]},
            {"say": [{"text": "One", "buzz_ms": 300}, {"text": "two", "audio": "AAABAA=="}]},
            {"fail": "inference_rate_limit_exceeded"},
            "echo"
        ],
        "transcripts": ["Two pizzas, please."],
        "faults": [
            {"at": "mid_deltas", "turn": 1, "dial": 0, "trouble": {"close": {"code": 1011}}},
            {"at": "committed", "trouble": {"stall": {"ms": 500}}},
            {"at": "first_delta", "trouble": {"error": {"type": "server_error", "code": "x"}}}
        ]
    }"#;

    #[test]
    fn a_script_is_read_from_json_and_survives_it() {
        let mut script: Script = serde_json::from_str(FILE).unwrap();
        assert_eq!(script.wavs().collect::<Vec<_>>(), ["fixtures/audio/model-answer.wav"]);
        script.resolve(|_| Ok::<_, ()>(vec![0; 480])).unwrap();
        let Turn::Say(says) = &script.turns[0] else { panic!("a turn that speaks") };
        assert_eq!(says[0].in_format(Format::PCMU).len(), 80);
        let again: Script = serde_json::from_str(&serde_json::to_string(&script).unwrap()).unwrap();
        assert_eq!(again.faults, script.faults);
        assert!(serde_json::from_str::<Script>(r#"{"turn": []}"#).is_err(), "unknown keys are errors");
    }
}
