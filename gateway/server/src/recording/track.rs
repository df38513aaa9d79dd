//! One channel of a recording: the samples that are not on disk yet.

use patchbay_codec::transcoder;
use patchbay_core::{Format, Frame, Transcoder};

/// Samples of one channel, mono. Positions count samples since the start of the call; what was never written is silent.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Position of the first sample that is still here.
    from: u64,
    samples: Vec<i16>,
}

impl Track {
    /// Position of the first sample that can still be changed.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// Position behind the last sample.
    pub(super) fn end(&self) -> u64 {
        self.from + self.samples.len() as u64
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Adds samples at the end, little-endian.
    pub(super) fn push(&mut self, pcm: &[u8]) {
        self.samples.extend(pcm.as_chunks().0.iter().map(|pair| i16::from_le_bytes(*pair)));
    }

    /// Silence up to `at`, if that is behind the end.
    pub(super) fn pad(&mut self, at: u64) {
        let length = self.index(at).max(self.samples.len());
        self.samples.resize(length, 0);
    }

    /// Forgets what lies at `at` and behind it.
    pub(super) fn truncate(&mut self, at: u64) {
        self.samples.truncate(self.index(at));
    }

    /// Takes `count` samples out at `at`: what lies behind them moves to the front.
    pub(super) fn remove(&mut self, at: u64, count: u64) {
        let (start, end) = (self.index(at).min(self.samples.len()), self.index(at + count));
        self.samples.drain(start..end.min(self.samples.len()));
    }

    /// Puts `count` silent samples in at `at`: what lies there moves back.
    pub(super) fn insert_silence(&mut self, at: u64, count: u64) {
        let (start, count) = (self.index(at).min(self.samples.len()), size(count));
        self.samples.splice(start..start, std::iter::repeat_n(0, count));
    }

    /// Hands out the next `count` samples, as far as there are any; the rest is silence, and the end moves with it.
    pub(super) fn take(&mut self, count: u64) -> Vec<i16> {
        self.from += count;
        let kept = self.samples.split_off(size(count).min(self.samples.len()));
        std::mem::replace(&mut self.samples, kept)
    }

    fn index(&self, at: u64) -> usize {
        size(at.saturating_sub(self.from))
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Makes PCM16 of one rate from frames of any format. What it cannot decode is silence.
pub(super) struct Decoder {
    target: Format,
    transcoder: Option<Box<dyn Transcoder>>,
    pcm: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self { target: Format::l16(rate_hz), transcoder: None, pcm: Vec::new() }
    }

    /// Adds what is ready of `frame` to `track`.
    pub(super) fn push(&mut self, frame: &Frame, track: &mut Track) {
        if self.transcoder.as_ref().is_none_or(|t| t.input() != frame.format) {
            self.finish(track);
            self.transcoder = transcoder(frame.format, self.target);
        }
        let Some(transcoder) = &mut self.transcoder else { return };
        self.pcm.clear();
        // A packet that is refused leaves a hole, which is padded.
        if transcoder.push(&frame.payload.to_raw(), &mut self.pcm).is_ok() {
            track.push(&self.pcm);
        }
    }

    /// Adds what a resampler still holds: what follows does not continue it.
    pub(super) fn finish(&mut self, track: &mut Track) {
        if let Some(transcoder) = &mut self.transcoder {
            self.pcm.clear();
            transcoder.finish(&mut self.pcm);
            track.push(&self.pcm);
        }
    }

    /// Forgets what a resampler still holds.
    pub(super) fn reset(&mut self) {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.reset();
        }
    }
}
