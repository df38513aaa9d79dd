//! Where a listener is in what we sent: the clock's estimate, corrected by what the listener confirms.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Instant, MediaTime};

/// Stretches of uninterrupted playing that are remembered. Older ones are confirmed, or as good as.
const STRETCHES_MAX: usize = 64;

/// An estimate of a remote playout buffer. Positions count all audio ever sent to this listener.
///
/// The *ideal* listener plays what we send at the instant we send it. The real one is the ideal one, some delay later,
/// and each confirmed position measures that delay. So a confirmation moves the head downward only, never ahead of the
/// ideal: a peer that echoes its marks at once (some do) cannot make us believe that unheard speech was heard.
#[derive(Clone, Debug, Default)]
pub struct PlayHead {
    sent: MediaTime,
    stretches: VecDeque<Stretch>,
    delay: Duration,
}

/// From `at` on the ideal listener plays without a break, beginning at `from`.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    at: Instant,
    from: MediaTime,
}

impl Stretch {
    fn position(self, at: Instant) -> MediaTime {
        self.from + MediaTime::from_duration(at.saturating_since(self.at))
    }
    fn reaches(self, position: MediaTime) -> Instant {
        self.at + position.saturating_sub(self.from)
    }
}

impl PlayHead {
    /// Everything sent so far.
    #[must_use]
    pub fn sent(&self) -> MediaTime {
        self.sent
    }

    /// Where the listener is. Never more than [`sent`](Self::sent).
    #[must_use]
    pub fn position(&self, now: Instant) -> MediaTime {
        self.ideal(now.saturating_sub(self.delay))
    }

    /// What the listener still has to play.
    #[must_use]
    pub fn ahead(&self, now: Instant) -> MediaTime {
        self.sent.saturating_sub(self.position(now))
    }

    /// When everything sent will have been played.
    #[must_use]
    pub fn dry_at(&self) -> Instant {
        self.stretches.back().map_or(Instant::ZERO, |last| last.reaches(self.sent) + self.delay)
    }

    /// When the ideal listener plays what stands at `position`, or would if it were sent.
    #[must_use]
    pub fn plays_at(&self, position: MediaTime) -> Instant {
        let later = self.stretches.partition_point(|stretch| stretch.from <= position);
        let stretch = self.stretches.get(later.saturating_sub(1));
        stretch.map_or(Instant::ZERO, |stretch| stretch.reaches(position))
    }

    /// When the ideal listener has played all before `position`, of what was sent.
    #[must_use]
    pub fn played_at(&self, position: MediaTime) -> Instant {
        let later = self.stretches.partition_point(|stretch| stretch.from < position);
        let stretch = self.stretches.get(later.saturating_sub(1));
        stretch.map_or(Instant::ZERO, |stretch| stretch.reaches(position))
    }

    /// How much later the real listener is, as last measured.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// `span` more was sent.
    pub fn send(&mut self, span: MediaTime, now: Instant) {
        let ran_dry = self.stretches.back().is_none_or(|last| last.position(now) >= self.sent);
        if ran_dry {
            if self.stretches.len() == STRETCHES_MAX {
                self.stretches.pop_front();
            }
            self.stretches.push_back(Stretch { at: now, from: self.sent });
        }
        self.sent += span;
    }

    /// The listener confirms that it played up to `position`.
    pub fn confirm(&mut self, position: MediaTime, now: Instant) {
        while self.stretches.get(1).is_some_and(|next| next.from < position) {
            self.stretches.pop_front();
        }
        if let Some(stretch) = self.stretches.front() {
            self.delay = now.saturating_since(stretch.reaches(position));
        }
    }

    /// The listener dropped what it had not played.
    pub fn clear(&mut self, now: Instant) {
        self.stretches.clear();
        self.stretches.push_back(Stretch { at: now, from: self.sent });
    }

    fn ideal(&self, at: Instant) -> MediaTime {
        let later = self.stretches.partition_point(|stretch| stretch.at <= at);
        let end = self.stretches.get(later).map_or(self.sent, |next| next.from);
        match later.checked_sub(1).and_then(|index| self.stretches.get(index)) {
            Some(stretch) => stretch.position(at).min(end),
            None => end.min(self.stretches.front().map_or(self.sent, |first| first.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }
    const fn ms(ms: u64) -> MediaTime {
        MediaTime::from_ms(ms)
    }

    #[test]
    fn the_head_runs_with_the_clock_and_stops_at_what_was_sent() {
        let mut head = PlayHead::default();
        head.send(ms(300), at(1000));
        assert_eq!(head.position(at(1100)), ms(100));
        assert_eq!(head.position(at(9000)), ms(300));
        assert_eq!(head.dry_at(), at(1300));
    }

    #[test]
    fn playing_starts_anew_after_the_buffer_ran_dry() {
        let mut head = PlayHead::default();
        head.send(ms(100), at(0));
        head.send(ms(100), at(500));
        assert_eq!(head.position(at(550)), ms(150));
    }

    #[test]
    fn a_late_confirmation_holds_the_head_back() {
        let mut head = PlayHead::default();
        head.send(ms(600), at(0));
        head.confirm(ms(200), at(280)); // 80 ms on the way
        assert_eq!(head.position(at(280)), ms(200));
        assert_eq!(head.position(at(380)), ms(300));
        assert_eq!(head.dry_at(), at(680));
    }

    #[test]
    fn a_confirmation_never_moves_the_head_past_the_clock() {
        let mut head = PlayHead::default();
        head.send(ms(600), at(0));
        head.confirm(ms(600), at(1)); // a peer that echoes at once
        assert_eq!(head.position(at(100)), ms(100));
    }

    #[test]
    fn a_burst_of_confirmations_leaves_only_the_delay_of_the_last() {
        let mut head = PlayHead::default();
        head.send(ms(1000), at(0));
        for confirmed in [200, 400, 600] {
            head.confirm(ms(confirmed), at(650));
        }
        assert_eq!(head.position(at(650)), ms(600));
    }

    #[test]
    fn a_late_confirmation_after_dryness_revives_the_tail() {
        let mut head = PlayHead::default();
        head.send(ms(400), at(0));
        assert_eq!(head.position(at(450)), ms(400));
        head.confirm(ms(200), at(450));
        assert_eq!(head.position(at(500)), ms(250));
    }
}
