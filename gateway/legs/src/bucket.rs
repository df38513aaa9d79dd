//! How much nonsense a peer may send.

use std::time::Duration;

use patchbay_core::Instant;

/// A token bucket: `BURST` at once, one more each `EVERY`.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    left: u32,
    refilled: Instant,
}

const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(200);

impl Bucket {
    pub(crate) fn new() -> Self {
        Self { left: BURST, refilled: Instant::ZERO }
    }

    /// Takes one. False when there is none left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_since(self.refilled).as_micros() / EVERY.as_micros();
        if earned > 0 {
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(BURST);
            self.refilled = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}
