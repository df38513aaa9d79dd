//! Going down in order: serving → draining → handing off → done. A second signal forces.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Where the gateway is on its way down. Only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes calls.
    Serving,
    /// Takes no new calls; those that run end by themselves.
    Draining,
    /// What still runs is to be handed off, or ended.
    HandOff,
    /// Time is up, or a second signal came: exit.
    Done,
}

/// The state that everyone may look at, and those with a signal may advance.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving) }
    }
}

impl Drain {
    /// Where we are.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether new calls are taken.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.phase() == Phase::Serving
    }

    /// A signal: the first drains, the second forces.
    pub fn signal(&self) {
        self.advance(if self.is_serving() { Phase::Draining } else { Phase::Done });
    }

    /// Moves forward to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = phase > *now;
            *now = phase.max(*now);
            forward
        });
    }

    /// Resolves when `phase` is reached.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Turns SIGTERM and SIGINT into [`signal`](Self::signal), for ever.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub async fn listen(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            self.signal();
        }
    }

    /// Advances by time once draining began: hand-off after `handoff`, done after `deadline`.
    pub async fn run_clock(&self, handoff: Duration, deadline: Duration) {
        self.reached(Phase::Draining).await;
        let began = Instant::now();
        sleep_until(began + handoff).await;
        self.advance(Phase::HandOff);
        sleep_until(began + deadline).await;
        self.advance(Phase::Done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_drains_and_the_second_forces() {
        let drain = Drain::default();
        assert!(drain.is_serving());
        drain.signal();
        assert_eq!(drain.phase(), Phase::Draining);
        drain.signal();
        assert_eq!(drain.phase(), Phase::Done);
        drain.advance(Phase::Serving);
        assert_eq!(drain.phase(), Phase::Done, "never back");
    }

    #[tokio::test]
    async fn time_hands_off_and_then_ends_but_only_once_draining() {
        let drain = Drain::default();
        let clock = drain.clone();
        let running = tokio::spawn(async move { clock.run_clock(Duration::ZERO, Duration::ZERO).await });
        tokio::task::yield_now().await;
        assert!(drain.is_serving(), "the clock waits for the signal");
        drain.signal();
        drain.reached(Phase::HandOff).await;
        drain.reached(Phase::Done).await;
        running.await.unwrap();
    }
}
