//! Hears where speech begins and ends: a voice-activity detector with hysteresis, for peers that bring none.
//!
//! The detector (earshot, a small neural network in pure Rust) takes windows of 16 ms at 16 kHz. Other rates are brought
//! there crudely, which a detector does not mind: nobody listens to the result.

use patchbay_core::{Codec, Format, MediaTime};

/// When speech counts as begun and as ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Score from 0 to 1 above which a window is speech.
    pub threshold: f32,
    /// Speech that it takes to begin.
    pub onset: MediaTime,
    /// Silence that it takes to end.
    pub silence: MediaTime,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { threshold: 0.5, onset: MediaTime::from_ms(64), silence: MediaTime::from_ms(500) }
    }
}

/// What an [`Ear`] noticed; positions are on the timeline of the audio pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// Speech began there; it is noticed `onset` later.
    Began(MediaTime),
    /// Speech ended there; it is noticed `silence` later.
    Ended(MediaTime),
}

/// A detector of one stream of audio. About 9 KB.
pub struct Ear {
    tuning: Tuning,
    detector: Box<earshot::Detector>,
    window: Vec<i16>,
    /// Position behind the last whole window.
    position: MediaTime,
    /// The last sample, for interpolation, and the phase of the decimator.
    last: i16,
    phase: u8,
    /// Windows in a row, with misses forgiven, that were speech (before) or silence (during).
    run: u64,
    is_speech: bool,
}

const WINDOW: usize = 256;
const WINDOW_SPAN: MediaTime = MediaTime::from_ms(16);

impl Ear {
    /// An ear that has heard nothing yet.
    #[must_use]
    pub fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            detector: Box::default(),
            window: Vec::with_capacity(WINDOW),
            position: MediaTime::ZERO,
            last: 0,
            phase: 0,
            run: 0,
            is_speech: false,
        }
    }

    /// Whether speech goes on.
    #[must_use]
    pub fn is_speech(&self) -> bool {
        self.is_speech
    }

    /// How much was pushed.
    #[must_use]
    pub fn heard(&self) -> MediaTime {
        self.position + MediaTime::from_samples(self.window.len() as u64, 16_000)
    }

    /// Takes raw audio of PCMU, PCMA or PCM16 at 8, 16, 24 or 48 kHz; anything else is not heard.
    pub fn push(&mut self, format: Format, raw: &[u8], mut noticed: impl FnMut(Noticed)) {
        match format.codec {
            Codec::Pcmu => raw.iter().for_each(|b| self.sample(format.rate_hz, ulaw(*b), &mut noticed)),
            Codec::Pcma => raw.iter().for_each(|b| self.sample(format.rate_hz, alaw(*b), &mut noticed)),
            Codec::L16 => raw
                .chunks_exact(2)
                .for_each(|b| self.sample(format.rate_hz, i16::from_le_bytes([b[0], b[1]]), &mut noticed)),
            Codec::Opus => {}
        }
    }

    /// Takes one sample at `rate_hz` to 16 kHz.
    fn sample(&mut self, rate_hz: u32, sample: i16, noticed: &mut impl FnMut(Noticed)) {
        let middle = i16::midpoint(self.last, sample);
        self.last = sample;
        let every = u8::from(rate_hz == 24_000 || rate_hz == 48_000) * 3;
        self.phase = if every == 0 { 0 } else { (self.phase + 1) % every };
        match (rate_hz, self.phase) {
            (8_000, _) => {
                self.take(middle, noticed);
                self.take(sample, noticed);
            }
            (16_000, _) => self.take(sample, noticed),
            (24_000, 1) | (48_000, 0) => self.take(sample, noticed),
            (24_000, 0) => self.take(middle, noticed),
            _ => {}
        }
    }

    fn take(&mut self, sample: i16, noticed: &mut impl FnMut(Noticed)) {
        self.window.push(sample);
        if self.window.len() == WINDOW {
            let score = self.detector.predict_i16(&self.window);
            self.window.clear();
            self.position += WINDOW_SPAN;
            if let Some(turn) = self.judge(score) {
                noticed(turn);
            }
        }
    }

    fn judge(&mut self, score: f32) -> Option<Noticed> {
        let (hit, needed) = if self.is_speech {
            // A little lower than the onset, so that a fading word does not end a turn.
            (score < self.tuning.threshold * 0.7, self.tuning.silence)
        } else {
            (score >= self.tuning.threshold, self.tuning.onset)
        };
        self.run = match (hit, self.is_speech) {
            (true, _) => self.run + 1,
            (false, true) => 0,
            (false, false) => self.run.saturating_sub(2),
        };
        let span = MediaTime::from_ticks(WINDOW_SPAN.ticks() * self.run);
        if self.run == 0 || span < needed {
            return None;
        }
        self.run = 0;
        self.is_speech = !self.is_speech;
        let at = self.position.saturating_sub(span);
        Some(if self.is_speech { Noticed::Began(at) } else { Noticed::Ended(at) })
    }
}

/// µ-law to PCM16 (ITU-T G.711 table 2a). The codec crate has the tables; legs do not know it.
fn ulaw(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i16::from(code & 0x0F) << 3) + 0x84) << ((code >> 4) & 7);
    if code & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}

/// A-law to PCM16 (ITU-T G.711 table 1a).
fn alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (segment, step) = ((code >> 4) & 7, i16::from(code & 0x0F) << 4);
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &[u8] = include_bytes!("../../../fixtures/audio/caller-short.wav");
    const ORDER_24K: &[u8] = include_bytes!("../../../fixtures/audio/caller-24k.wav");
    const ORDER_48K: &[u8] = include_bytes!("../../../fixtures/audio/caller-48k.wav");
    const ORDER: &[u8] = include_bytes!("../../../fixtures/audio/caller-order.wav");

    fn heard(rate_hz: u32, wav: &[u8]) -> Vec<Noticed> {
        let mut audio = wav[44..].to_vec();
        audio.resize(audio.len() + rate_hz as usize * 2, 0);
        let mut ear = Ear::new(Tuning::default());
        let mut noticed = Vec::new();
        for frame in audio.chunks(rate_hz as usize / 25) {
            ear.push(Format::l16(rate_hz), frame, |n| noticed.push(n));
        }
        noticed
    }

    #[test]
    fn a_spoken_sentence_is_one_turn_at_every_rate() {
        for (rate, wav, length_ms) in [
            (8_000, SHORT, 2_600),
            (8_000, ORDER, 9_800),
            (24_000, ORDER_24K, 9_800),
            (48_000, ORDER_48K, 9_800),
        ] {
            let noticed = heard(rate, wav);
            let [Noticed::Began(began), Noticed::Ended(ended)] = noticed[..] else {
                panic!("{rate} Hz: {noticed:?}")
            };
            assert!((100..400).contains(&began.as_ms()), "{rate} Hz: began at {} ms", began.as_ms());
            let off = ended.as_ms().abs_diff(length_ms - 200);
            assert!(off < 300, "{rate} Hz: ended at {} ms", ended.as_ms());
        }
    }

    #[test]
    fn silence_and_a_steady_hum_are_no_speech() {
        let mut ear = Ear::new(Tuning::default());
        ear.push(Format::PCMU, &[0xFF; 16_000], |n| panic!("{n:?}"));
        let hum: Vec<u8> =
            (0..16_000u32).flat_map(|n| (if n % 160 < 80 { 300i16 } else { -300 }).to_le_bytes()).collect();
        ear.push(Format::L16_8K, &hum, |n| panic!("{n:?}"));
    }

    #[test]
    fn g711_codes_have_the_values_of_the_recommendation() {
        assert_eq!((ulaw(0xFF), ulaw(0x7F), ulaw(0x00), ulaw(0x80)), (0, 0, -32_124, 32_124));
        assert_eq!((alaw(0xD5), alaw(0x55), alaw(0xAA), alaw(0x2A)), (8, -8, 32_256, -32_256));
    }
}
