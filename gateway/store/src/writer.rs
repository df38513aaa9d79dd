//! From the calls to the store: the media path pushes without waiting, one task writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::BATCH_MAX;
use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::queue::{Counters, Lane, Queue, Waiting};
use crate::row::Entry;
use crate::spill::{Spill, SpillOptions};
use crate::store::{Forgotten, Store, Subject};

/// How long entries gather before they are written together.
const GATHER: Duration = Duration::from_millis(50);
/// How long one write may take.
const WRITE: Duration = Duration::from_secs(10);
/// Between two tries while the database is away.
const RETRY: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The durable side of the journal. While the database is away, entries go to the spill, and from there to the
/// database when it is back, or at the next start. Cheap to share.
#[derive(Clone)]
pub struct Writer {
    queue: Arc<Queue>,
    store: Arc<dyn Store>,
    progress: watch::Receiver<u64>,
    ending: Arc<watch::Sender<bool>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    /// Starts to write to `store`, first of all what an earlier run left in the spill. Without `spill`, entries wait
    /// in memory while the store is away.
    ///
    /// # Errors
    /// The spill's folder cannot be used.
    pub fn start(
        store: Arc<dyn Store>,
        spill: Option<SpillOptions>,
        master: &MasterKey,
    ) -> Result<Self, StoreError> {
        let mut spill = spill.map(|options| Spill::open(options, master)).transpose()?;
        let queue = Arc::new(Queue::new());
        if let Some(spill) = &mut spill {
            // What cannot be read is told now, and not while calls run.
            queue.counters.torn.fetch_add(spill.replay(1)?.torn, Ordering::Relaxed);
            queue.counters.spilled_bytes.store(spill.spilled().bytes, Ordering::Relaxed);
        }
        let (progressed, progress) = watch::channel(0);
        let (ending, ended) = watch::channel(false);
        let writing = Writing {
            queue: queue.clone(),
            store: store.clone(),
            spill,
            waiting: Vec::new(),
            retry: RETRY,
            retry_at: None,
            progressed,
        };
        let task = Arc::new(Mutex::new(Some(tokio::spawn(writing.run(ended)))));
        Ok(Self { queue, store, progress, ending: Arc::new(ending), task })
    }

    /// Takes an entry. Never waits; about 100 ns.
    pub fn push(&self, entry: Entry) {
        self.queue.push(Box::new(entry));
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.queue.counters
    }

    /// Waits until everything that was pushed is in the store, for `deadline` at most; whether it is. If not, it is in
    /// the spill, unless that fails too.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let pushed = self.counters().pushed.load(Ordering::Relaxed);
        let mut progress = self.progress.clone();
        self.queue.wake.notify_one();
        let reached = async {
            while !self.has_stored(pushed) {
                if progress.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(deadline, reached).await.unwrap_or(false)
    }

    fn has_stored(&self, pushed: u64) -> bool {
        let counters = self.counters();
        counters.settled.load(Ordering::Acquire) >= pushed
            && counters.spilled_bytes.load(Ordering::Acquire) == 0
    }

    /// Forgets a person in the store, after what waits for it was written.
    ///
    /// # Errors
    /// The store is away, and the spill may speak of the person; a fault of the store.
    pub async fn forget(
        &self,
        tenant: &str,
        subject: &Subject,
        deadline: Duration,
    ) -> Result<Forgotten, StoreError> {
        if !self.flush(deadline).await {
            let reason = "the spill could not be written to it, and it may speak of that person".to_owned();
            return Err(StoreError::Away { reason });
        }
        self.store.forget(tenant, subject).await
    }

    /// Flushes, and ends the task; whether everything is in the store. What is not is in the spill.
    pub async fn close(&self, deadline: Duration) -> bool {
        let stored = self.flush(deadline).await;
        let _ = self.ending.send(true);
        self.queue.wake.notify_one();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that writes the journal failed");
        }
        stored
    }
}

/// The task.
struct Writing {
    queue: Arc<Queue>,
    store: Arc<dyn Store>,
    spill: Option<Spill>,
    /// Taken from the queue, neither in the store nor in the spill yet.
    waiting: Waiting,
    retry: Duration,
    /// The store is away; when to try again.
    retry_at: Option<Instant>,
    progressed: watch::Sender<u64>,
}

impl Writing {
    async fn run(mut self, ended: watch::Receiver<bool>) {
        let mut taken = Vec::new();
        loop {
            self.rest(&ended).await;
            let ends = *ended.borrow();
            self.queue.take(&mut taken);
            self.admit(&mut taken);
            self.work().await;
            self.report();
            if ends {
                // What the store has not taken by now, and no spill holds, is lost with the machine's memory.
                return;
            }
        }
    }

    /// Until there is something to do, and a little longer, so that entries come together.
    async fn rest(&self, ended: &watch::Receiver<bool>) {
        let idle = self.waiting.is_empty() && self.spill.as_ref().is_none_or(Spill::is_empty);
        let wake = self.queue.wake.notified();
        match self.retry_at {
            _ if *ended.borrow() || self.queue.len() > 0 => {}
            Some(at) => {
                let _ = tokio::time::timeout(at.saturating_duration_since(Instant::now()), wake).await;
            }
            None if idle => wake.await,
            None => {}
        }
        if !*ended.borrow() && (1..BATCH_MAX).contains(&self.queue.len()) {
            let _ = tokio::time::timeout(GATHER, self.queue.wake.notified()).await;
        }
    }

    /// Adds what was taken to what waits, as far as each lane has room.
    fn admit(&mut self, taken: &mut Waiting) {
        for entry in taken.drain(..) {
            let lane = Lane::of(&entry);
            if lane.has_room(self.waiting.len()) {
                self.waiting.push(entry);
            } else {
                self.queue.counters.dropped(lane);
                self.settled(1);
            }
        }
    }

    async fn work(&mut self) {
        let may_try = self.retry_at.is_none_or(|at| Instant::now() >= at);
        if may_try {
            self.retry_at = None;
            self.replay().await;
        }
        // In order: while something is in the spill, what comes after it goes there too.
        let direct = self.retry_at.is_none() && self.spill.as_ref().is_none_or(Spill::is_empty);
        if direct {
            self.write_waiting().await;
        }
        if !self.waiting.is_empty() {
            self.spill_waiting().await;
        }
    }

    /// Writes what is in the spill, the oldest first, until it is empty or the store fails.
    async fn replay(&mut self) {
        while self.spill.as_ref().is_some_and(|spill| !spill.is_empty()) {
            let Some(read) = self.on_disk(|spill| spill.replay(BATCH_MAX)).await else { return };
            let replay = match read {
                Ok(replay) => replay,
                Err(error) => return self.failed(&error),
            };
            self.queue.counters.torn.fetch_add(replay.torn, Ordering::Relaxed);
            if !replay.entries.is_empty() && !self.write(&replay.entries).await {
                return;
            }
            let count = replay.entries.len();
            if let Some(Err(error)) = self.on_disk(move |spill| spill.done(count)).await {
                return self.failed(&error);
            }
            self.report();
        }
    }

    /// Writes what waits to the store, a batch at a time, until the store fails.
    async fn write_waiting(&mut self) {
        while !self.waiting.is_empty() && self.retry_at.is_none() {
            let count = self.waiting.len().min(BATCH_MAX);
            let batch: Vec<Entry> = self.waiting.drain(..count).map(|entry| *entry).collect();
            if self.write(&batch).await {
                self.settled(batch.len());
            } else {
                self.waiting.splice(0..0, batch.into_iter().map(Box::new));
            }
        }
    }

    /// Writes a batch; whether it is done with. If the store refuses it for what is in it, each entry is tried alone.
    async fn write(&mut self, entries: &[Entry]) -> bool {
        match self.commit(entries).await {
            Ok(()) => true,
            Err(error) if !is_about_entries(&error) => {
                self.failed(&error);
                false
            }
            Err(_) => self.write_each(entries).await,
        }
    }

    async fn write_each(&mut self, entries: &[Entry]) -> bool {
        for entry in entries {
            match self.commit(std::slice::from_ref(entry)).await {
                Ok(()) => {}
                Err(error) if is_about_entries(&error) => self.refused(entry.clone(), &error).await,
                Err(error) => {
                    self.failed(&error);
                    return false;
                }
            }
        }
        true
    }

    async fn commit(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let began = Instant::now();
        let written = tokio::time::timeout(WRITE, self.store.write(entries)).await;
        let written = written
            .unwrap_or_else(|_| Err(StoreError::Away { reason: "it did not answer in time".to_owned() }));
        let counters = &self.queue.counters;
        match &written {
            Ok(()) => {
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                counters.commits.fetch_add(1, Ordering::Relaxed);
                counters.committed.fetch_add(entries.len() as u64, Ordering::Relaxed);
                counters.commit_us.fetch_add(took, Ordering::Relaxed);
                if counters.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the database is back; the spill is written to it");
                }
                self.retry = RETRY;
            }
            Err(_) => {
                counters.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        written
    }

    /// The store cannot be used now.
    fn failed(&mut self, error: &StoreError) {
        if !self.queue.counters.away.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the journal cannot be written to the database; it is spilled");
        }
        self.retry_at = Some(Instant::now() + self.retry);
        self.retry = (self.retry * 2).min(RETRY_MAX);
    }

    /// The store will never take this one.
    async fn refused(&mut self, entry: Entry, error: &StoreError) {
        self.queue.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, call = entry.call(), "the database refused an entry of the journal");
        if matches!(entry, Entry::Usage(_)) {
            let kept = self.on_disk(move |spill| spill.keep_refused(entry)).await;
            if let Some(Err(error)) = kept {
                tracing::error!(%error, "a refused usage row could not be kept");
            }
        }
    }

    /// Puts what waits into the spill, as far as each lane has room there.
    async fn spill_waiting(&mut self) {
        let Some(spill) = &self.spill else { return };
        let room = Lane::ALL.map(|lane| spill.has_room(lane));
        let before = self.waiting.len();
        let counters = &self.queue.counters;
        self.waiting.retain(|entry| {
            let lane = Lane::of(entry);
            let stays = room[lane as usize];
            if !stays {
                counters.dropped(lane);
            }
            stays
        });
        self.settled(before - self.waiting.len());
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH_MAX);
            let batch: Vec<_> = self.waiting.drain(..count).collect();
            let appended = self.on_disk(move |spill| (spill.append(&batch), batch)).await;
            match appended {
                Some((Ok(()), _)) => self.settled(count),
                Some((Err(error), batch)) => {
                    self.waiting.splice(0..0, batch);
                    return self.failed(&error);
                }
                None => return,
            }
            self.report();
        }
    }

    /// Files are read and synced where waiting for a disk holds up nobody.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Spill) -> T + Send + 'static,
    ) -> Option<T> {
        let mut spill = self.spill.take()?;
        let done = tokio::task::spawn_blocking(move || {
            let answer = work(&mut spill);
            (spill, answer)
        });
        let (spill, answer) = done.await.expect("nothing in the spill panics");
        self.spill = Some(spill);
        Some(answer)
    }

    fn settled(&self, count: usize) {
        self.queue.counters.settled.fetch_add(count as u64, Ordering::Release);
    }

    /// Tells whoever flushes, and the metrics.
    fn report(&self) {
        let counters = &self.queue.counters;
        let spilled = self.spill.as_ref().map(Spill::spilled).unwrap_or_default();
        counters.spilled_entries.store(spilled.entries, Ordering::Release);
        counters.spilled_bytes.store(spilled.bytes, Ordering::Release);
        counters.pending.store((self.waiting.len() + self.queue.len()) as u64, Ordering::Relaxed);
        self.progressed.send_modify(|turn| *turn += 1);
    }
}

/// Whether the fault lies in what was to be written, and not in the database.
const fn is_about_entries(error: &StoreError) -> bool {
    matches!(error, StoreError::Invalid { .. } | StoreError::Refused { .. } | StoreError::Conflict { .. })
}
