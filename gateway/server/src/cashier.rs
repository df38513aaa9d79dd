//! Asks the meter how a call stands, and tells the call what follows when its tenant's money is spent.

use std::time::Duration;

use patchbay_core::{EndReason, Instant, LegId, PromptKind, Usage};
use patchbay_store::UnixMs;
use tokio::sync::mpsc;

use crate::config::Policy;
use crate::driver::Control;
use crate::meter::{Meter, Metered};
use crate::spend::Verdict;

/// How often it is asked when nothing is reported: others spend too, and periods end.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// One call's meter, and the way to tell the call. The way is the bounded queue that everybody else takes, so that
/// nothing happens to a call in the midst of a step.
pub struct Cashier {
    meter: Meter,
    tell: mpsc::Sender<Control>,
    look_at: Instant,
    /// What the queue had no room for.
    untold: Option<Policy>,
}

impl Cashier {
    /// Meters with `meter`, and tells the call through `tell`.
    #[must_use]
    pub fn new(meter: Meter, tell: mpsc::Sender<Control>) -> Self {
        Self { meter, tell, look_at: Instant::ZERO + LOOK_EVERY, untold: None }
    }

    /// A leg reported use. `None` when it was counted before.
    pub fn take(&mut self, leg: LegId, usage: &Usage) -> Option<Metered> {
        let metered = self.meter.take(leg, usage, UnixMs::now())?;
        self.follow(metered.verdict);
        Some(metered)
    }

    /// Time has passed. Nothing but a comparison, most of the time.
    pub fn look(&mut self, now: Instant) {
        if now < self.look_at && self.untold.is_none() {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        match self.untold.take() {
            Some(policy) => self.carry_out(policy),
            None => {
                let verdict = self.meter.check(UnixMs::now());
                self.follow(verdict);
            }
        }
    }

    fn follow(&mut self, verdict: Verdict) {
        if let Verdict::Over(policy) = verdict {
            self.carry_out(policy);
        }
    }

    fn carry_out(&mut self, policy: Policy) {
        let control = match policy {
            Policy::Warn => return,
            Policy::Say => Control::Say(PromptKind::Budget),
            Policy::HangUp | Policy::Transfer => Control::End(EndReason::Spend),
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.tell.try_send(control) {
            self.untold = Some(policy);
        }
    }
}
