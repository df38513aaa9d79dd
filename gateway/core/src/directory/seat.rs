//! [`Seat`]: one instance of a bot, its lease and its load.

use std::time::Duration;

use super::{CallName, LeaseId};
use crate::{Format, Instant};

/// One instance of a bot. It stays while it has a lease or a call.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) instance: Box<str>,
    pub(super) lease: Option<Lease>,
    /// Calls that it accepted and that are not over.
    pub(super) calls: u16,
}

/// What an instance holds until it expires.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) capabilities: Box<str>,
    pub(super) formats: Box<[Format]>,
    pub(super) expires_at: Instant,
    pub(super) ttl: Duration,
    pub(super) capacity: u16,
    /// Offers in a row that it let lapse.
    lapses: u16,
    pub(super) is_draining: bool,
    pub(super) is_listening: bool,
    /// When it was last offered a call: of two that are alike, the one that waits longer is next.
    offered_at: Instant,
    /// What is offered to it now.
    pub(super) offered: Vec<CallName>,
}

/// Who is next, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    lapses: u16,
    is_deaf: bool,
    /// Of its capacity.
    load_per_mille: u32,
    load: usize,
    offered_at: Instant,
    lease: LeaseId,
}

impl Seat {
    pub(super) fn new(instance: Box<str>) -> Self {
        Self { instance, lease: None, calls: 0 }
    }

    /// Calls that it has, or may have in a moment.
    pub(super) fn load(&self) -> usize {
        usize::from(self.calls) + self.lease.as_ref().map_or(0, |lease| lease.offered.len())
    }

    /// Its place in the queue for the next call; none when it takes no call.
    pub(super) fn rank(&self) -> Option<Rank> {
        let lease = self.lease.as_ref().filter(|lease| !lease.is_draining)?;
        let (load, capacity) = (self.load(), usize::from(lease.capacity));
        (load < capacity).then(|| Rank {
            lapses: lease.lapses,
            is_deaf: !lease.is_listening,
            load_per_mille: u32::try_from(load * 1000 / capacity).unwrap_or(u32::MAX),
            load,
            offered_at: lease.offered_at,
            lease: lease.id,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lease.is_none() && self.calls == 0
    }
}

impl Lease {
    pub(super) fn new(id: LeaseId) -> Self {
        Self {
            id,
            capabilities: Box::default(),
            formats: Box::default(),
            expires_at: Instant::ZERO,
            ttl: Duration::ZERO,
            capacity: 1,
            lapses: 0,
            is_draining: false,
            is_listening: false,
            offered_at: Instant::ZERO,
            offered: Vec::new(),
        }
    }

    pub(super) fn offer(&mut self, call: CallName, now: Instant) {
        self.offered_at = now;
        self.offered.push(call);
    }

    /// The call is no longer offered to it.
    pub(super) fn take_back(&mut self, call: &str) {
        self.offered.retain(|offered| **offered != *call);
    }

    pub(super) fn lapsed(&mut self) {
        self.lapses = self.lapses.saturating_add(1);
    }

    /// It accepted or rejected: whatever it let lapse before, it is there.
    pub(super) fn answered(&mut self) {
        self.lapses = 0;
    }
}
