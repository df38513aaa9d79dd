//! [`Tally`]: counts and latencies of one direction.

use serde::Serialize;

/// Width of a bucket, in microseconds.
const BUCKET_US: u32 = 20;
/// Up to two seconds; what is later counts as that.
const BUCKETS: usize = 100_000;

/// Latencies in buckets of 20 µs.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    buckets: Vec<u32>,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sent: 0, received: 0 }
    }
}

/// What a tally says.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half of the frames were not later.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// 999 of 1,000.
    pub p999_ms: f64,
    /// Frames sent and not received.
    pub lost: u64,
    /// Frames sent.
    pub sent: u64,
}

impl Tally {
    pub(super) fn add(&mut self, latency_us: u32) {
        let bucket = usize::try_from(latency_us / BUCKET_US).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.buckets[bucket] += 1;
    }

    /// Forgets latencies, not counts.
    pub(super) fn forget_latencies(&mut self) {
        self.buckets.fill(0);
    }

    pub(super) fn p99_ms(&self) -> f64 {
        self.quantile(990)
    }

    pub(super) fn latency(&self) -> Latency {
        Latency {
            p50_ms: self.quantile(500),
            p99_ms: self.quantile(990),
            p999_ms: self.quantile(999),
            lost: self.sent.saturating_sub(self.received),
            sent: self.sent,
        }
    }

    fn quantile(&self, per_mille: u64) -> f64 {
        let total: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        let rank = (total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        bucket.map_or(0.0, |bucket| {
            f64::from(u32::try_from(bucket + 1).unwrap_or(u32::MAX)) * f64::from(BUCKET_US) / 1000.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_upper_edge_of_their_bucket() {
        let mut tally = Tally::default();
        (0..1000).for_each(|nth| tally.add(nth * 20));
        assert!((tally.quantile(500) - 10.0).abs() < 1e-9);
        assert!((tally.quantile(999) - 19.98).abs() < 1e-9);
        assert!(Tally::default().quantile(990).abs() < 1e-9);
    }
}
