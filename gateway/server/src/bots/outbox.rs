//! [`Outbox`]: the events of one lease, kept for a while, so that a bot that loses its connection misses none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use patchbay_core::{BotId, LeaseId};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Bots, Delivery};

/// Events that are kept.
const EVENTS_MAX: usize = 1000;
/// For how long.
const KEPT: Duration = Duration::from_secs(300);

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts up from 1 for each lease.
    pub id: u64,
    /// `call.incoming`, `call.canceled`, `call.ended`.
    pub name: &'static str,
    /// JSON, on one line.
    pub body: Arc<str>,
    at: Instant,
}

/// The events of one lease. The lock protects them, for the time of one look.
#[derive(Debug)]
pub struct Outbox {
    /// Which lease.
    pub lease: LeaseId,
    /// Whose.
    pub bot: BotId,
    ring: Mutex<Ring>,
    more: Notify,
    listeners: AtomicUsize,
}

#[derive(Debug)]
struct Ring {
    delivery: Delivery,
    events: VecDeque<Event>,
    last: u64,
    /// The last event that somebody was given.
    delivered: u64,
    is_over: bool,
}

/// What there is after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Where the next look begins.
    pub next: u64,
    /// The lease ended: nothing follows.
    pub is_over: bool,
}

impl Outbox {
    /// No events yet.
    #[must_use]
    pub fn new(lease: LeaseId, bot: BotId) -> Arc<Self> {
        let ring =
            Ring { delivery: Delivery::Sse, events: VecDeque::new(), last: 0, delivered: 0, is_over: false };
        Arc::new(Self {
            lease,
            bot,
            ring: Mutex::new(ring),
            more: Notify::new(),
            listeners: AtomicUsize::new(0),
        })
    }

    /// How its instance wants to hear of calls.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.ring().delivery
    }

    /// Its instance said anew how it wants to hear of calls.
    pub fn set_delivery(&self, delivery: Delivery) {
        self.ring().delivery = delivery;
    }

    /// Adds an event; the oldest goes when there are too many.
    pub fn push(&self, name: &'static str, body: &Value) {
        let mut ring = self.ring();
        let now = Instant::now();
        while ring.events.len() >= EVENTS_MAX || ring.events.front().is_some_and(|old| now - old.at > KEPT) {
            ring.events.pop_front();
        }
        ring.last += 1;
        let event = Event { id: ring.last, name, body: body.to_string().into(), at: now };
        ring.events.push_back(event);
        drop(ring);
        self.more.notify_waiters();
    }

    /// Nothing follows.
    pub fn close(&self) {
        self.ring().is_over = true;
        self.more.notify_waiters();
    }

    /// What there is after event `after`; without it, what nobody was given yet.
    #[must_use]
    pub fn after(&self, after: Option<u64>) -> Batch {
        let mut ring = self.ring();
        let after = after.unwrap_or(ring.delivered).min(ring.last);
        let events: Vec<_> = ring.events.iter().filter(|event| event.id > after).cloned().collect();
        let next = events.last().map_or(after, |event| event.id);
        ring.delivered = ring.delivered.max(next);
        Batch { events, next, is_over: ring.is_over }
    }

    /// As [`after`](Self::after), waiting at most so long for there to be something.
    pub async fn wait_after(&self, after: Option<u64>, within: Duration) -> Batch {
        let until = Instant::now() + within;
        loop {
            let mut more = std::pin::pin!(self.more.notified());
            // What is pushed from here on wakes us, also between the look and the wait.
            more.as_mut().enable();
            let batch = self.after(after);
            if !batch.events.is_empty()
                || batch.is_over
                || tokio::time::timeout_at(until, more).await.is_err()
            {
                return batch;
            }
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("nobody panics while holding the ring")
    }
}

/// Somebody listens to an outbox. While nobody does, its instance is offered calls last.
pub struct Listening {
    bots: Arc<Bots>,
    outbox: Arc<Outbox>,
    /// Whoever polls comes back.
    stays: bool,
}

impl Listening {
    /// From now on.
    #[must_use]
    pub fn begin(bots: &Arc<Bots>, outbox: &Arc<Outbox>) -> Self {
        outbox.listeners.fetch_add(1, Ordering::Relaxed);
        bots.desk().directory.set_listening(outbox.lease, true);
        Self { bots: bots.clone(), outbox: outbox.clone(), stays: false }
    }

    /// What is listened to.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// It was answered, and will ask again.
    pub fn answered(mut self) {
        self.stays = true;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let was_last = self.outbox.listeners.fetch_sub(1, Ordering::Relaxed) == 1;
        if was_last && !self.stays {
            self.bots.desk().directory.set_listening(self.outbox.lease, false);
        }
    }
}
