//! Two kinds of time: [`Instant`], when something happened to us, and [`MediaTime`], where in the audio.
//!
//! Both are integers that a recording can hold. Neither reads a clock: the shell does, and hands the result in.

use std::ops::{Add, AddAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the shell's monotonic clock, in microseconds since an epoch that the shell chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Instant(u64);

impl Instant {
    /// The shell's epoch.
    pub const ZERO: Self = Self(0);

    /// `micros` after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Instant {
    /// `span` before this, or the epoch.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Saturates at the end of time, which is 584,000 years away.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Add<MediaTime> for Instant {
    type Output = Self;
    fn add(self, span: MediaTime) -> Self {
        self + span.to_duration()
    }
}

/// A position in, or a span of, audio: ticks of 1/48 000 s, which 8, 16, 24 and 48 kHz divide exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MediaTime(u64);

impl MediaTime {
    /// Nothing, or the start.
    pub const ZERO: Self = Self(0);
    /// Ticks in one second.
    pub const TICKS_PER_SECOND: u64 = 48_000;
    /// The usual length of a frame.
    pub const FRAME: Self = Self::from_ms(20);

    /// From ticks of 1/48 000 s.
    #[must_use]
    pub const fn from_ticks(ticks: u64) -> Self {
        Self(ticks)
    }

    /// Ticks of 1/48 000 s.
    #[must_use]
    pub const fn ticks(self) -> u64 {
        self.0
    }

    /// From milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(Self::TICKS_PER_SECOND / 1000))
    }

    /// Whole milliseconds, rounded down: towards *less heard*.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0 / (Self::TICKS_PER_SECOND / 1000)
    }

    /// The span of `samples` at `rate_hz`, rounded down; zero for a rate of zero.
    #[must_use]
    pub const fn from_samples(samples: u64, rate_hz: u32) -> Self {
        if rate_hz == 0 {
            return Self::ZERO;
        }
        Self(samples.saturating_mul(Self::TICKS_PER_SECOND) / rate_hz as u64)
    }

    /// Whole samples at `rate_hz`, rounded down.
    #[must_use]
    pub const fn samples(self, rate_hz: u32) -> u64 {
        self.0.saturating_mul(rate_hz as u64) / Self::TICKS_PER_SECOND
    }

    /// The audio that plays in `span` of real time, rounded down.
    #[must_use]
    pub fn from_duration(span: Duration) -> Self {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(micros.saturating_mul(6) / 125) // 48 ticks per 1000 µs
    }

    /// The real time this takes to play, rounded up, so that a deadline made from it never fires early.
    #[must_use]
    pub const fn to_duration(self) -> Duration {
        Duration::from_micros(self.0.saturating_mul(125).div_ceil(6))
    }

    /// `self - other`, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Add for MediaTime {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MediaTime {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_rates_convert_exactly() {
        for rate in [8_000, 16_000, 24_000, 48_000] {
            let samples = u64::from(rate) / 50;
            assert_eq!(MediaTime::from_samples(samples, rate), MediaTime::FRAME);
            assert_eq!(MediaTime::FRAME.samples(rate), samples);
        }
    }

    #[test]
    fn a_deadline_made_of_media_time_never_fires_early() {
        for ticks in 0..10_000 {
            let span = MediaTime::from_ticks(ticks);
            assert!(MediaTime::from_duration(span.to_duration()) >= span);
        }
    }

    #[test]
    fn conversion_rounds_towards_less_heard() {
        assert_eq!(MediaTime::from_ticks(47).as_ms(), 0);
        assert_eq!(MediaTime::from_duration(Duration::from_micros(999)).as_ms(), 0);
    }
}
