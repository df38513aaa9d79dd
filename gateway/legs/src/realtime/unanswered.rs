//! The caller's audio that the model has not answered yet: what a new connection must hear again.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use patchbay_core::{Format, MediaTime, Payload};

/// Kept while nobody speaks: the detector's prefix, which providers set to 300 ms.
const QUIET_MAX: MediaTime = MediaTime::from_ms(300);
/// The same for PCM16 at 24 kHz, which is six times as big.
const QUIET_WIDE_MAX: MediaTime = MediaTime::from_ms(200);
/// Kept of one turn; beyond it the beginning is dropped.
const TURN_MAX: MediaTime = MediaTime::from_ms(8_000);

/// Copies of what was appended, so that no message of the caller's transport is pinned.
#[derive(Clone, Debug)]
pub(super) struct Unanswered {
    format: Format,
    /// Since the last commit.
    open: Clip,
    /// Committed, not answered, not written down either.
    committed: Clip,
    speaking: bool,
}

impl Unanswered {
    pub(super) fn new(format: Format) -> Self {
        Self { format, open: Clip::default(), committed: Clip::default(), speaking: false }
    }

    pub(super) fn push(&mut self, payload: &Payload) {
        let most = self.bytes_max();
        self.open.push(payload, most);
    }

    fn bytes_max(&self) -> usize {
        let span = match (self.speaking, self.format.sample_bytes()) {
            (true, _) => TURN_MAX,
            (false, Some(1)) => QUIET_MAX,
            (false, _) => QUIET_WIDE_MAX,
        };
        self.format.bytes_for(span).unwrap_or(0)
    }

    pub(super) fn speech_started(&mut self) {
        self.speaking = true;
    }

    /// The turn is complete: it waits for its answer or its transcript.
    pub(super) fn committed(&mut self) {
        self.speaking = false;
        let turn = std::mem::take(&mut self.open);
        self.committed.append(turn, self.format.bytes_for(TURN_MAX).unwrap_or(0));
    }

    /// The turn needs no repeating: it was answered, or is in the history as text.
    pub(super) fn settled(&mut self) {
        self.committed = Clip::default();
    }

    pub(super) fn clear(&mut self) {
        (self.open, self.committed) = (Clip::default(), Clip::default());
    }

    pub(super) fn speaking(&self) -> bool {
        self.speaking
    }

    /// The committed turn, then what came since, as raw audio.
    pub(super) fn audio(&self) -> (Vec<u8>, Vec<u8>) {
        (self.committed.raw(), self.open.raw())
    }
}

/// Payloads in one ring: each with a head of its form (high bit: base64) and length in four bytes.
#[derive(Clone, Debug, Default)]
struct Clip {
    ring: VecDeque<u8>,
    /// Audio bytes held.
    audio: usize,
}

const HEAD: usize = 4;
/// Room that an idle ring may keep.
const ROOM_IDLE_MAX: usize = 8 * 1024;
const IS_BASE64: u32 = 1 << 31;

impl Clip {
    fn push(&mut self, payload: &Payload, bytes_max: usize) {
        let (stored, flag) = match payload {
            Payload::Raw(raw) => (raw, 0),
            Payload::Base64(text) => (text, IS_BASE64),
        };
        if payload.len() > bytes_max {
            return;
        }
        let Some(size) = u32::try_from(stored.len()).ok().filter(|n| *n < IS_BASE64) else { return };
        while self.audio + payload.len() > bytes_max && self.pop() {}
        let room = self.ring.len() + HEAD + stored.len();
        if self.ring.capacity() > ROOM_IDLE_MAX.max(4 * room) {
            self.ring.shrink_to(room);
        }
        if self.ring.is_empty() {
            // Room for one quiet stretch of equal frames, so that an idle leg never doubles past it.
            let frames = bytes_max.div_ceil(payload.len().max(1));
            self.ring.reserve_exact((frames * (HEAD + stored.len())).min(ROOM_IDLE_MAX));
        }
        // A long turn grows in steps: doubling would leave half of a big ring empty for each caller who speaks long.
        if self.ring.capacity() < room {
            self.ring.reserve_exact(ROOM_IDLE_MAX.max(HEAD + stored.len()));
        }
        self.ring.extend((size | flag).to_be_bytes());
        self.ring.extend(stored.iter());
        self.audio += payload.len();
    }

    /// Adds a later clip; past `bytes_max` the oldest audio is dropped.
    fn append(&mut self, later: Self, bytes_max: usize) {
        if self.audio == 0 {
            *self = later;
            return;
        }
        self.ring.extend(later.ring);
        self.audio += later.audio;
        while self.audio > bytes_max && self.pop() {}
    }

    fn head(&self, at: usize) -> Option<(usize, bool)> {
        let byte = |n| self.ring.get(at + n).copied();
        let word = u32::from_be_bytes([byte(0)?, byte(1)?, byte(2)?, byte(3)?]);
        Some(((word & !IS_BASE64) as usize, word & IS_BASE64 != 0))
    }

    fn pop(&mut self) -> bool {
        let Some((size, is_base64)) = self.head(0) else { return false };
        let padding = |n: usize| usize::from(self.ring.get(HEAD + size - n) == Some(&b'='));
        let audio = if is_base64 && size > 0 { size / 4 * 3 - padding(1) - padding(2) } else { size };
        self.audio = self.audio.saturating_sub(audio);
        self.ring.drain(..HEAD + size);
        true
    }

    fn raw(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(self.audio);
        let mut at = 0;
        while let Some((size, is_base64)) = self.head(at) {
            let stored: Vec<u8> = self.ring.range(at + HEAD..at + HEAD + size).copied().collect();
            if is_base64 {
                STANDARD.decode_vec(&stored, &mut raw).expect("a Base64 payload was checked when it was made");
            } else {
                raw.extend_from_slice(&stored);
            }
            at += HEAD + size;
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};

    fn frame(n: u8, coded: bool) -> Payload {
        let raw = Payload::Raw(Bytes::from(vec![n; 160]));
        let mut text = BytesMut::new();
        raw.write_base64(&mut text);
        if coded { Payload::base64(text.freeze()).unwrap() } else { raw }
    }

    #[test]
    fn while_nobody_speaks_only_the_prefix_is_kept_and_it_is_small() {
        for coded in [true, false] {
            let mut unanswered = Unanswered::new(Format::PCMU);
            for n in 0..=255 {
                unanswered.push(&frame(n, coded));
            }
            let (committed, open) = unanswered.audio();
            assert!(committed.is_empty());
            assert_eq!(open.len(), 2400, "300 ms");
            assert_eq!((open[0], open[2399]), (241, 255), "the newest");
            assert!(unanswered.open.ring.capacity() <= 7 * 512, "{}", unanswered.open.ring.capacity());
        }
    }

    #[test]
    fn a_turn_is_kept_from_its_prefix_until_it_is_settled() {
        let mut unanswered = Unanswered::new(Format::PCMU);
        for n in 0..100 {
            unanswered.push(&frame(n, true));
        }
        unanswered.speech_started();
        for n in 100..150 {
            unanswered.push(&frame(n, n % 2 == 0));
        }
        unanswered.committed();
        unanswered.push(&frame(200, true));
        let (committed, open) = unanswered.audio();
        assert_eq!((committed.len(), committed[0], committed[committed.len() - 1]), (65 * 160, 85, 149));
        assert_eq!(open, vec![200; 160]);
        unanswered.settled();
        assert!(unanswered.audio().0.is_empty());
        assert_eq!(unanswered.audio().1.len(), 160);
    }

    #[test]
    fn two_turns_without_an_answer_are_both_kept() {
        let mut unanswered = Unanswered::new(Format::PCMU);
        for n in [1, 2] {
            unanswered.speech_started();
            unanswered.push(&frame(n, true));
            unanswered.committed();
        }
        assert_eq!(unanswered.audio().0, [[1; 160], [2; 160]].concat());
    }

    #[test]
    fn a_long_turn_is_bounded_at_eight_seconds() {
        let mut unanswered = Unanswered::new(Format::PCMU);
        unanswered.speech_started();
        for n in 0..1000u32 {
            unanswered.push(&frame(u8::try_from(n % 250).unwrap(), true));
        }
        assert_eq!(unanswered.audio().1.len(), 64_000);
        let held = unanswered.open.ring.len();
        assert!(unanswered.open.ring.capacity() <= held + 2 * ROOM_IDLE_MAX, "it does not double");
        unanswered.committed();
        unanswered.settled();
        unanswered.push(&frame(1, true));
        assert!(unanswered.open.ring.capacity() <= 8 * 1024, "the room is given back");
    }
}
