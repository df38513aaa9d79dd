//! How much nonsense a peer may send.

use std::time::Duration;

use patchbay_core::{Event, Fault, Instant, LegError, Outbox};

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

    /// Drops ingress message number `message`, which makes no sense. Too many of them end the leg.
    pub(crate) fn drop_message(
        &mut self,
        reason: &'static str,
        message: u64,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), LegError> {
        out.event(Event::MessageDropped { reason });
        if self.take(now) {
            return Ok(());
        }
        let what = "too many messages that make no sense";
        Err(LegError { fault: Fault::PeerMisbehaved, what, message })
    }

    /// Takes one. False when there is none left.
    fn take(&mut self, now: Instant) -> bool {
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
