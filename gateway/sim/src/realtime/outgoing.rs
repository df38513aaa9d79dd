//! The way of messages from the provider to the gateway: latency, jitter, silence.

use std::collections::VecDeque;
use std::time::Duration;

use patchbay_core::{Instant, Wire};

use super::Script;

/// Messages on their way, in order.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) queue: VecDeque<(Instant, Wire)>,
    pub(super) last: Instant,
    pub(super) random: u64,
    /// The server is silent until then; for ever when `None` inside.
    pub(super) stalled: Option<Option<Instant>>,
}

impl Outgoing {
    pub(super) fn push(&mut self, wire: Wire, now: Instant, script: &Script) {
        let stalled = match self.stalled {
            Some(None) => return,
            Some(Some(until)) => until,
            None => Instant::ZERO,
        };
        let jitter =
            if script.jitter_ms == 0 { 0 } else { self.next_random() % (script.jitter_ms * 1000 + 1) };
        let way = Duration::from_micros(script.latency_ms * 1000 + jitter);
        self.last = (now + way).max(self.last).max(stalled);
        self.queue.push_back((self.last, wire));
    }

    pub(super) fn next_random(&mut self) -> u64 {
        // xorshift64 (Marsaglia 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    pub(super) fn flush(&mut self, now: Instant, out: &mut Vec<Wire>) {
        let due = self.queue.iter().take_while(|(at, _)| *at <= now).count();
        out.extend(self.queue.drain(..due).map(|(_, wire)| wire));
    }
}
