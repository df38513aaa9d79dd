//! The overload ladder: what the gateway gives up, step by step, so that running calls keep their time.
//!
//! It is driven by what was measured, never by a guess: how late the timers of calls and of the runtime fire, how much
//! of its memory the process has, how many of its calls are taken. The steps are those of Envoy's overload manager; the
//! thresholds are ours.

mod gauge;
mod ladder;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use patchbay_core::{EndReason, Instant};

pub use self::gauge::Lateness;
pub use self::ladder::{Ladder, Level, Load};
use crate::app::App;
use crate::calls::Calls;

/// How often the runtime is asked how late it is.
const TICK: Duration = Duration::from_millis(20);
/// How often the ladder looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often calls are handed off at the highest level.
const SHED_EVERY: u32 = 5;
/// One of so many calls is handed off each time.
const SHED_SHARE: usize = 10;

/// The level of this machine, and what it is measured by.
#[derive(Debug, Default)]
pub struct Overload {
    lateness: Lateness,
    level: AtomicU8,
    is_held: AtomicBool,
}

impl Overload {
    /// A timer fired this much after its deadline. Never waits.
    pub fn late(&self, late: Duration) {
        self.lateness.record(late);
    }

    /// Where we are.
    #[must_use]
    pub fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed))
    }

    /// Stays at `level`, whatever is measured: for tests on machines that do other work besides.
    pub fn hold(&self, level: Level) {
        self.is_held.store(true, Ordering::Relaxed);
        self.set(level);
    }

    /// For tests and for the operator who wants no calls for a while.
    pub fn set(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }
}

/// Watches until the task is dropped.
pub async fn watch(app: Arc<App>, calls: Arc<Calls>) {
    let overload = app.overload.clone();
    let ticks = overload.clone();
    let (_, ()) = tokio::join!(tick(ticks), look(&app, &calls, &overload));
}

/// Measures the runtime as a call's timer would see it, also while no call runs.
async fn tick(overload: Arc<Overload>) {
    loop {
        let due = tokio::time::Instant::now() + TICK;
        tokio::time::sleep_until(due).await;
        // The timer's own grain is a millisecond.
        overload.late(due.elapsed().saturating_sub(Duration::from_millis(1)));
    }
}

async fn look(app: &App, calls: &Calls, overload: &Overload) {
    let epoch = tokio::time::Instant::now();
    let (mut ladder, mut seconds) = (Ladder::default(), 0);
    let memory_max = gauge::memory_max();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let calls_max = app.config().limits.calls_max;
        let load = Load {
            late: overload.lateness.take(),
            memory: memory_max.and_then(gauge::memory_share).unwrap_or(0.0),
            calls: f64::from(app.admission.calls()) / f64::from(calls_max.max(1)),
        };
        let (before, level) = (ladder.level(), ladder.look(load, Instant::ZERO + epoch.elapsed()));
        if before != level {
            tracing::warn!(from = before.as_str(), to = level.as_str(), "the overload level changed");
        }
        if overload.is_held.load(Ordering::Relaxed) {
            continue;
        }
        overload.set(level);
        app.metrics.set_overload(level);
        seconds = if level == Level::HandingOff { seconds + 1 } else { 0 };
        if seconds % SHED_EVERY == 1 {
            let count = calls.count().div_ceil(SHED_SHARE);
            tracing::warn!(count, "handing off the newest calls");
            calls.end_newest(count, EndReason::Shutdown);
        }
    }
}
