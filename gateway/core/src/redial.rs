//! When to dial a lost peer again, and when to stop.

use std::time::Duration;

use crate::{Instant, Limits};

/// First bound of the jitter; doubles with each attempt.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two dials, whether by jitter or because the peer asks for it.
const LONGEST: Duration = Duration::from_secs(2);

/// The budget of dials for one peer. Only audio fills it again, not a connect: a peer whose quota is gone accepts the
/// socket and fails again for ever (livekit/agents#6352).
#[derive(Debug)]
pub struct Redial {
    attempts_max: u32,
    span: Duration,
    attempts: u32,
    first: Option<Instant>,
    random: u64,
}

impl Redial {
    /// A full budget. `seed` makes the jitter.
    #[must_use]
    pub fn new(limits: &Limits, seed: u64) -> Self {
        Self {
            attempts_max: limits.redial_attempts,
            span: limits.redial_span,
            attempts: 0,
            first: None,
            random: seed,
        }
    }

    /// When to dial after a failure, or `None` when the budget is spent. `asked`: what the peer asks us to wait.
    pub fn next(&mut self, now: Instant, asked: Option<Duration>) -> Option<Instant> {
        let first = *self.first.get_or_insert(now);
        let jitter_max = FIRST.saturating_mul(1 << self.attempts.min(8)).min(LONGEST);
        let wait = asked.unwrap_or_default().max(jitter_max.mul_f64(self.uniform()));
        let at = now + wait;
        if self.attempts >= self.attempts_max || wait > LONGEST || at.saturating_since(first) > self.span {
            return None;
        }
        self.attempts += 1;
        Some(at)
    }

    /// Dials since the last answer.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The peer was heard: the budget is full again.
    pub fn answered(&mut self) {
        (self.attempts, self.first) = (0, None);
    }

    /// Uniform in [0, 1): SplitMix64 (Steele, Lea, Flood 2014), seeded by the call so that a replay dials at the same
    /// instants.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_ends_and_only_audio_fills_it() {
        let mut redial = Redial::new(&Limits::default(), 7);
        let mut now = Instant::ZERO;
        for attempt in 0..3 {
            let at = redial.next(now, None).expect("within the budget");
            assert!(at.saturating_since(now) <= FIRST.saturating_mul(1 << attempt));
            now = at;
        }
        assert_eq!(redial.next(now, None), None);
        redial.answered();
        assert!(redial.next(now, None).is_some());
    }

    #[test]
    fn a_peer_that_asks_for_too_long_is_given_up() {
        let mut redial = Redial::new(&Limits::default(), 7);
        assert!(
            redial.next(Instant::ZERO, Some(Duration::from_secs(1))).unwrap()
                >= Instant::from_micros(1_000_000)
        );
        assert_eq!(redial.next(Instant::ZERO, Some(Duration::from_secs(3))), None);
    }

    #[test]
    fn slow_failures_spend_the_time_budget() {
        let mut redial = Redial::new(&Limits::default(), 7);
        assert!(redial.next(Instant::ZERO, None).is_some());
        assert_eq!(redial.next(Instant::from_micros(6_000_000), Some(Duration::from_millis(1))), None);
    }
}
