//! An answer in progress: what is left to be sent of it, and when.

use std::collections::VecDeque;

use bytes::Bytes;
use patchbay_core::{Format, Instant, MediaTime};

/// One item of an answer.
pub(super) struct Part {
    pub(super) item: String,
    pub(super) text: String,
    pub(super) audio: Bytes,
    /// Audio bytes and characters of the transcript sent.
    pub(super) sent: usize,
    pub(super) told: usize,
    pub(super) index: usize,
}

impl Part {
    /// The next delta: audio, and the words that go with it. `None` when all is sent.
    pub(super) fn next(&mut self, bytes: usize) -> Option<(Bytes, String)> {
        if self.sent >= self.audio.len() {
            return None;
        }
        let end = (self.sent + bytes.max(1)).min(self.audio.len());
        let audio = self.audio.slice(self.sent..end);
        self.sent = end;
        let characters = self.text.chars().count();
        // The transcript runs a little ahead of the audio, as the model writes before it speaks.
        let due = (characters * end).div_ceil(self.audio.len()).min(characters);
        let words = self.text.chars().skip(self.told).take(due - self.told).collect();
        self.told = due;
        Some((audio, words))
    }

    pub(super) fn duration(&self, format: Format) -> MediaTime {
        format.duration_of(self.sent).unwrap_or_default()
    }

    pub(super) fn told(&self) -> String {
        self.text.chars().take(self.told).collect()
    }

    pub(super) fn is_past_middle(&self) -> bool {
        self.sent * 2 >= self.audio.len()
    }
}

/// The answer in progress.
pub(super) struct Speaking {
    pub(super) id: String,
    pub(super) parts: VecDeque<Part>,
    /// Parts that are complete: item and transcript.
    pub(super) done: Vec<(String, String)>,
    pub(super) at: Instant,
    pub(super) stage: Stage,
    /// Fails with this code instead of speaking.
    pub(super) failure: Option<String>,
    /// Deltas that are still sent after a cancel.
    pub(super) late: u32,
    pub(super) cancelled: Option<&'static str>,
    pub(super) instructions: Option<String>,
    pub(super) first: bool,
    pub(super) middle: bool,
}

/// What is sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// `response.created`.
    Thinking,
    /// The head of the first part that is left.
    Opening,
    /// Its deltas.
    Speaking,
    /// `response.done`.
    Closing,
}
