//! The input buffer: what was appended since the last commit, and where speech begins and ends in it.

use patchbay_core::{Format, MediaTime};
use patchbay_legs::ear::{Ear, Noticed, Tuning};

use super::script::Detector;
use super::settings::Settings;

/// Audio kept of one turn.
const TURN_MAX: MediaTime = MediaTime::from_ms(60_000);
/// Mean level above which a cheap detector hears speech: about −40 dBFS.
const LEVEL: i64 = 330;

/// What was noticed, at which position of the session's audio.
pub(super) enum Heard {
    Began(MediaTime),
    Ended(MediaTime),
}

pub(super) struct Listening {
    format: Format,
    sense: Sense,
    prefix: MediaTime,
    /// Since the last commit; while nobody speaks and a detector listens, only the prefix.
    pub(super) buffer: Vec<u8>,
    heard: u64,
    pub(super) is_speech: bool,
}

enum Sense {
    None,
    Voice(Ear),
    Level { silence: MediaTime, quiet: MediaTime },
}

impl Listening {
    pub(super) fn new(settings: &Settings, detector: Detector) -> Self {
        let sense = match (settings.vad, detector) {
            (None, _) | (_, Detector::Off) => Sense::None,
            (Some(vad), Detector::Voice) => {
                #[expect(clippy::cast_possible_truncation, reason = "a score between 0 and 1")]
                let threshold = vad.threshold as f32;
                let silence = MediaTime::from_ms(vad.silence_ms);
                Sense::Voice(Ear::new(Tuning { threshold, silence, ..Tuning::default() }))
            }
            (Some(vad), Detector::Level) => {
                Sense::Level { silence: MediaTime::from_ms(vad.silence_ms), quiet: MediaTime::ZERO }
            }
        };
        let prefix = MediaTime::from_ms(settings.vad.map_or(0, |vad| vad.prefix_ms));
        Self { format: settings.input, sense, prefix, buffer: Vec::new(), heard: 0, is_speech: false }
    }

    /// Audio appended so far.
    pub(super) fn position(&self) -> MediaTime {
        let sample = self.format.sample_bytes().unwrap_or(1) as u64;
        MediaTime::from_samples(self.heard / sample, self.format.rate_hz)
    }

    pub(super) fn push(&mut self, raw: &[u8]) -> Vec<Heard> {
        self.bound();
        let mut heard = Vec::new();
        self.heard += raw.len() as u64;
        self.buffer.extend_from_slice(raw);
        let position = self.position();
        match &mut self.sense {
            Sense::None => {}
            Sense::Voice(ear) => ear.push(self.format, raw, |noticed| {
                heard.push(match noticed {
                    Noticed::Began(at) => Heard::Began(at),
                    Noticed::Ended(at) => Heard::Ended(at),
                });
            }),
            Sense::Level { silence, quiet } => {
                let span = self.format.duration_of(raw.len()).unwrap_or_default();
                let loud = level(self.format, raw) > LEVEL;
                *quiet = if loud { MediaTime::ZERO } else { *quiet + span };
                if loud && !self.is_speech {
                    heard.push(Heard::Began(position.saturating_sub(span)));
                } else if self.is_speech && *quiet >= *silence {
                    heard.push(Heard::Ended(position.saturating_sub(*quiet)));
                }
            }
        }
        for turn in &heard {
            self.is_speech = matches!(turn, Heard::Began(_));
        }
        heard
    }

    fn bound(&mut self) {
        let waiting = !matches!(self.sense, Sense::None) && !self.is_speech;
        // The detector needs a moment to notice: that belongs to the turn as well.
        let most = if waiting { self.prefix + MediaTime::from_ms(100) } else { TURN_MAX };
        let most = self.format.bytes_for(most).unwrap_or(0);
        let excess = self.buffer.len().saturating_sub(most);
        // In steps, so that a long silence does not move the buffer for every frame.
        if excess > most || (excess > 0 && !waiting) {
            self.buffer.drain(..excess);
        }
    }

    /// Takes the turn.
    pub(super) fn commit(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }
}

/// Mean absolute level of PCM16, roughly.
fn level(format: Format, raw: &[u8]) -> i64 {
    let decode = |b: &u8| -> i64 {
        match format {
            Format::PCMU => patchbay_codec::g711::ulaw_decode(*b).into(),
            _ => patchbay_codec::g711::alaw_decode(*b).into(),
        }
    };
    let (sum, count) = match format {
        Format::PCMU | Format::PCMA => (raw.iter().map(|b| decode(b).abs()).sum::<i64>(), raw.len()),
        _ => {
            let samples = raw.chunks_exact(2).map(|b| i64::from(i16::from_le_bytes([b[0], b[1]])).abs());
            (samples.sum(), raw.len() / 2)
        }
    };
    sum / i64::try_from(count.max(1)).unwrap_or(1)
}
