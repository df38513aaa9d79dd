//! What waits to be written: a bounded queue that takes an entry without waiting, each lane by its own policy.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::BATCH_MAX;
use crate::row::Entry;

/// What an entry is worth when there is no room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Dropped first.
    Transcript,
    /// Records of calls and legs: dropped next.
    Record,
    /// Money: never dropped while there is memory.
    Usage,
}

impl Lane {
    /// All, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Transcript, Self::Record, Self::Usage];

    /// An entry's lane.
    #[must_use]
    pub const fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Transcript(_) => Self::Transcript,
            Entry::Call(_) | Entry::Leg(_) => Self::Record,
            Entry::Usage(_) => Self::Usage,
        }
    }

    /// For a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transcript => "transcript",
            Self::Record => "record",
            Self::Usage => "usage",
        }
    }

    /// Entries that may wait in memory before this lane is closed. The writer empties the queue into the database or
    /// the spill, so it fills only when both are stuck; usage then takes about a kilobyte each.
    const fn waiting_max(self) -> usize {
        match self {
            Self::Transcript => 20_000,
            Self::Record => 40_000,
            Self::Usage => 1_000_000,
        }
    }

    /// Whether an entry of this lane still finds room among `waiting`.
    pub(crate) const fn has_room(self, waiting: usize) -> bool {
        waiting < self.waiting_max()
    }
}

/// What the writer counts, for metrics: read them at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries pushed, ever; those dropped for want of room are not among them.
    pub pushed: AtomicU64,
    /// Entries that are in the database or, synced, in the spill. What is not here yet is lost by a crash.
    pub settled: AtomicU64,
    /// Entries that wait in memory.
    pub pending: AtomicU64,
    /// Entries in the spill.
    pub spilled_entries: AtomicU64,
    /// Bytes in the spill.
    pub spilled_bytes: AtomicU64,
    /// Dropped for want of room, by [`Lane::ALL`].
    pub dropped: [AtomicU64; 3],
    /// Records of the spill that were torn or damaged.
    pub torn: AtomicU64,
    /// Entries that the database refused for what is in them.
    pub refused: AtomicU64,
    /// Commits that failed.
    pub failures: AtomicU64,
    /// Commits that succeeded.
    pub commits: AtomicU64,
    /// Entries in these commits.
    pub committed: AtomicU64,
    /// Microseconds that these commits took, in all.
    pub commit_us: AtomicU64,
    /// Whether the database is away.
    pub away: AtomicBool,
}

impl Counters {
    pub(crate) fn dropped(&self, lane: Lane) {
        self.dropped[lane as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Entries on their way. A list of pointers grows, and is taken, without moving half a kilobyte for each entry.
pub(crate) type Waiting = Vec<Box<Entry>>;

/// The queue. Its lock protects a list of pointers, for the time of adding one or of taking the list as a whole.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    pub(crate) wake: Notify,
    pub(crate) counters: Counters,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let waiting = Mutex::new(Vec::with_capacity(4 * BATCH_MAX));
        Self { waiting, wake: Notify::new(), counters: Counters::default() }
    }

    /// Adds an entry, or drops it if its lane is closed.
    pub(crate) fn push(&self, entry: Box<Entry>) {
        let lane = Lane::of(&entry);
        let mut waiting = self.waiting.lock().expect("nothing under this lock panics");
        let before = waiting.len();
        if !lane.has_room(before) {
            drop(waiting);
            self.counters.dropped(lane);
            return;
        }
        waiting.push(entry);
        self.counters.pushed.fetch_add(1, Ordering::Relaxed);
        drop(waiting);
        if before == 0 || before + 1 == BATCH_MAX {
            self.wake.notify_one();
        }
    }

    /// Takes everything, and leaves the emptied `into` in its place.
    pub(crate) fn take(&self, into: &mut Waiting) {
        into.clear();
        std::mem::swap(&mut *self.waiting.lock().expect("nothing under this lock panics"), into);
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().expect("nothing under this lock panics").len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::TranscriptRow;
    use crate::usage::UsageRow;

    #[test]
    fn a_full_queue_drops_transcripts_and_keeps_usage() {
        let queue = Queue::new();
        for _ in 0..20_001 {
            queue.push(Box::new(Entry::Transcript(TranscriptRow::default())));
        }
        queue.push(Box::new(Entry::Usage(UsageRow::default())));
        let dropped = queue.counters.dropped.each_ref().map(|count| count.load(Ordering::Relaxed));
        assert_eq!((queue.len(), dropped), (20_001, [1, 0, 0]));
    }
}
