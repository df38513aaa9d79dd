//! Both channels, aligned: the caller left, what the caller heard right.

use std::ops::Range;

use patchbay_core::{MediaTime, Tap};

use super::heard::Heard;
use super::said::Said;

/// What happened longer ago than this is written: until then, measured delays and cuts still change it. More than a
/// listener is ever sent ahead (300 ms), and a second.
const WINDOW: MediaTime = MediaTime::from_ms(2_000);
/// How far ahead of now audio is sent, at most.
const LEAD_MAX: MediaTime = MediaTime::from_ms(500);

/// Something to do to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Append these: left, right, left, right.
    Samples(Vec<i16>),
    /// Append so many silent pairs.
    Silence(u64),
    /// Silence the right channel there: it was not heard after all.
    Unheard(Range<u64>),
}

/// Makes one stereo stream of what a call tells. Positions are pairs of samples since the start of the call.
pub(super) struct Stereo {
    rate_hz: u32,
    /// Pairs that are handed on at once.
    step: u64,
    said: Said,
    heard: Heard,
    written: u64,
    pieces: Vec<Piece>,
}

impl Stereo {
    /// Second by second.
    pub(super) fn new(rate_hz: u32) -> Self {
        Self::in_steps_of(u64::from(rate_hz), rate_hz)
    }

    /// In pieces of `step` pairs.
    pub(super) fn in_steps_of(step: u64, rate_hz: u32) -> Self {
        let (said, heard) = (Said::new(rate_hz), Heard::new(rate_hz));
        Self { rate_hz, step, said, heard, written: 0, pieces: Vec::new() }
    }

    /// Takes what the call told. True when it was the last.
    pub(super) fn take(&mut self, tap: &Tap) -> bool {
        match tap {
            Tap::Said { at, frame } => {
                self.advance(*at);
                self.said.take(*at, frame);
            }
            Tap::Played { at, frame } => {
                self.advance(at.saturating_sub(LEAD_MAX));
                self.heard.play(*at, frame);
            }
            Tap::Delayed { by } => self.heard.delay(*by),
            Tap::Cut { at } => self.pieces.extend(self.heard.cut(*at).map(Piece::Unheard)),
            Tap::Ended { at } => {
                self.end(Some(at.samples(self.rate_hz)));
                return true;
            }
        }
        false
    }

    /// What is to be done to the file by now.
    pub(super) fn pieces(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    /// Nothing more comes; `at`: the call ended there, and nothing later was heard or said.
    pub(super) fn end(&mut self, at: Option<u64>) {
        self.said.finish(at);
        self.heard.finish(at);
        let end = at.unwrap_or_else(|| self.said.track.end().max(self.heard.track.end()));
        self.write_until(end);
        let missing = end.saturating_sub(self.written);
        self.write(missing);
    }

    fn advance(&mut self, now: MediaTime) {
        self.write_until(now.saturating_sub(WINDOW).samples(self.rate_hz));
    }

    /// Whole steps, at most up to `at`.
    fn write_until(&mut self, at: u64) {
        while self.written + self.step <= at {
            let is_silent = self.said.track.is_empty() && self.heard.track.is_empty();
            self.write(if is_silent { at - self.written } else { self.step });
        }
    }

    fn write(&mut self, pairs: u64) {
        let (left, right) = (self.said.track.take(pairs), self.heard.track.take(pairs));
        self.written += pairs;
        if left.is_empty() && right.is_empty() {
            self.pieces.extend((pairs > 0).then_some(Piece::Silence(pairs)));
            return;
        }
        let at = |channel: &[i16], n: usize| channel.get(n).copied().unwrap_or_default();
        let pairs = usize::try_from(pairs).expect("a piece with sound is a second at most");
        self.pieces.push(Piece::Samples((0..pairs).flat_map(|n| [at(&left, n), at(&right, n)]).collect()));
    }
}
