//! The right channel: what the caller heard, at the time at which they heard it.

use std::ops::Range;

use patchbay_core::{Frame, MediaTime};

use super::track::{Decoder, Track};

/// Frames on end may be this far apart by rounding.
const ON_END: MediaTime = MediaTime::from_ms(5);

/// What the caller heard. Positions on the track are those of the real listener.
pub(super) struct Heard {
    pub(super) track: Track,
    rate_hz: u32,
    decoder: Decoder,
    /// How much later the listener plays than the ideal one.
    delay: MediaTime,
    /// Speech without a break, the newest.
    stretch: Option<Stretch>,
}

/// Audio that the listener plays without a break.
struct Stretch {
    /// Where it begins for the ideal listener, and where on the track.
    ideal: u64,
    from: u64,
    /// It cannot begin before what was played before it has ended.
    not_before: u64,
    /// When what continues it begins, for the ideal listener.
    next: MediaTime,
}

impl Heard {
    pub(super) fn new(rate_hz: u32) -> Self {
        Self {
            track: Track::default(),
            rate_hz,
            decoder: Decoder::new(rate_hz),
            delay: MediaTime::ZERO,
            stretch: None,
        }
    }

    /// The ideal listener begins to play `frame` at `at`.
    pub(super) fn play(&mut self, at: MediaTime, frame: &Frame) {
        let continues = |s: &Stretch| s.next.saturating_sub(at).max(at.saturating_sub(s.next)) < ON_END;
        if !self.stretch.as_ref().is_some_and(continues) {
            self.begin(at);
        }
        if let Some(stretch) = &mut self.stretch {
            stretch.next = at + frame.duration;
        }
        self.decoder.push(frame, &mut self.track);
    }

    /// The listener is measured to be `by` behind the ideal one. What it plays now is moved, if none of it is on disk.
    pub(super) fn delay(&mut self, by: MediaTime) {
        self.delay = by;
        let Some(stretch) = &mut self.stretch else { return };
        if stretch.from < self.track.from() {
            return;
        }
        let wanted =
            (stretch.ideal + by.samples(self.rate_hz)).max(stretch.not_before).max(self.track.from());
        if wanted > stretch.from {
            self.track.insert_silence(stretch.from, wanted - stretch.from);
        } else {
            self.track.remove(wanted, stretch.from - wanted);
        }
        stretch.from = wanted;
    }

    /// Nothing was heard of what the ideal listener would have played from `at` on. Tells what of that is on disk.
    pub(super) fn cut(&mut self, at: MediaTime) -> Option<Range<u64>> {
        self.decoder.reset();
        let at = at.samples(self.rate_hz);
        let delay = match self.stretch.take() {
            Some(stretch) => stretch.from.saturating_sub(stretch.ideal),
            None => self.delay.samples(self.rate_hz),
        };
        let from = at + delay;
        self.track.truncate(from);
        (from < self.track.from()).then(|| from..self.track.from())
    }

    /// The call ended at `at`.
    pub(super) fn finish(&mut self, at: Option<u64>) {
        self.decoder.finish(&mut self.track);
        if let Some(at) = at {
            self.track.truncate(at);
        }
    }

    fn begin(&mut self, at: MediaTime) {
        self.decoder.finish(&mut self.track);
        let not_before = self.track.end();
        let ideal = at.samples(self.rate_hz);
        let from = (ideal + self.delay.samples(self.rate_hz)).max(not_before);
        self.track.pad(from);
        self.stretch = Some(Stretch { ideal, from, not_before, next: at });
    }
}
