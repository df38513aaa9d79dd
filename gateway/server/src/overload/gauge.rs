//! What the ladder is driven by: how late timers fire, how much memory is taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the classes, in milliseconds: the ladder's own thresholds, so that nothing finer is needed.
const CLASSES_MS: [u64; 6] = [1, 3, 5, 10, 20, 60];

/// Lateness of timers, counted in classes: one relaxed addition a timer, whoever's it is.
#[derive(Debug, Default)]
pub struct Lateness {
    counts: [AtomicU64; CLASSES_MS.len() + 1],
}

impl Lateness {
    /// A timer fired this much after its deadline.
    pub fn record(&self, late: Duration) {
        let class = CLASSES_MS.iter().position(|ms| late <= Duration::from_millis(*ms));
        self.counts[class.unwrap_or(CLASSES_MS.len())].fetch_add(1, Ordering::Relaxed);
    }

    /// What 99 of 100 since the last time stayed within: the upper end of their class, or more than the last end. Zero
    /// when there were none.
    pub fn take(&self) -> Duration {
        let counts = self.counts.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
        let all: u64 = counts.iter().sum();
        let mut above = all;
        for (ms, count) in CLASSES_MS.iter().zip(counts) {
            above -= count;
            if above * 100 <= all {
                // The class of the least late starts at nothing.
                return Duration::from_millis(if *ms == CLASSES_MS[0] { 0 } else { *ms });
            }
        }
        Duration::from_millis(CLASSES_MS[CLASSES_MS.len() - 1] + 1)
    }
}

/// Bytes that this process may have: what its control group allows, else what the machine has.
pub(super) fn memory_max() -> Option<u64> {
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let allowed = group.and_then(|text| text.trim().parse().ok());
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
    });
    [allowed, machine].into_iter().flatten().min()
}

/// Resident memory as a share of `most` bytes; `None` where the system does not tell.
pub(super) fn memory_share(most: u64) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "a share of memory needs no 53 bits")]
    Some((kib * 1024) as f64 / most.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p99(list: &[(u64, u64)]) -> Duration {
        let lateness = Lateness::default();
        for (ms, count) in list {
            (0..*count).for_each(|_| lateness.record(Duration::from_millis(*ms)));
        }
        lateness.take()
    }

    #[test]
    fn one_late_timer_in_a_hundred_is_not_seen_and_two_are() {
        assert_eq!(p99(&[(0, 99), (50, 1)]), Duration::ZERO);
        assert_eq!(p99(&[(0, 98), (50, 2)]), Duration::from_millis(60));
        assert_eq!(p99(&[(0, 98), (100, 2)]), Duration::from_millis(61));
        assert_eq!(p99(&[]), Duration::ZERO);
    }

    #[test]
    fn a_second_is_forgotten_when_it_was_taken() {
        let lateness = Lateness::default();
        lateness.record(Duration::from_secs(1));
        assert!(lateness.take() > Duration::from_millis(60));
        assert_eq!(lateness.take(), Duration::ZERO);
    }

    #[test]
    fn we_have_memory() {
        assert!(memory_share(1 << 40).is_some_and(|share| share > 0.0 && share < 1.0));
    }
}
