//! What is kept beyond a call: the store, and the queue that leads to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use patchbay_store::{
    Forgotten, MasterKey, MemoryStore, Retention, Store, StoreError, Subject, UnixMs, Writer, sweep,
};
use tokio::sync::watch;

use crate::config::{Config, Storage, TenantRetention};
use crate::erasure::{Erased, Erasure};

/// How often what is too old is deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long a reader waits for what was just written.
const SETTLE: Duration = Duration::from_millis(250);
/// How long memory alone keeps anything but files: it has no other bound.
const MEMORY_DAYS: u32 = 1;

/// The store, and the way to it that never waits.
#[derive(Clone)]
pub struct Archive {
    /// To read.
    pub store: Arc<dyn Store>,
    /// To write from a call.
    pub writer: Writer,
    /// Whether there is a database.
    pub is_durable: bool,
    /// To remove files of calls that are gone.
    pub erasure: Erasure,
}

impl Archive {
    /// Opens what the configuration names; `replays` is the folder of calls' inputs. To be called within the runtime that will write.
    ///
    /// # Errors
    /// A database or a spill that cannot be used, and what to do about it.
    pub async fn open(storage: &Storage, replays: Option<PathBuf>) -> Result<Self, StoreError> {
        let master = storage.master()?;
        let store = patchbay_store::open(storage.address(), &master).await?;
        let writer = Writer::start(store.clone(), storage.spill(), &master)?;
        let erasure = Erasure::new(store.clone(), replays);
        Ok(Self { store, writer, is_durable: storage.url.is_some(), erasure })
    }

    /// One that forgets when the process ends.
    #[must_use]
    pub fn in_memory() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let master = MasterKey::random().expect("the system has random numbers");
        let writer =
            Writer::start(store.clone(), None, &master).expect("without a spill there is nothing to fail");
        let erasure = Erasure::new(store.clone(), None);
        Self { store, writer, is_durable: false, erasure }
    }

    /// Lets what was pushed reach the store, so that who reads finds what they just did. Not for long, and not at all
    /// while the database is away.
    pub async fn settle(&self) {
        if !self.writer.counters().away.load(Ordering::Relaxed) {
            self.writer.flush(SETTLE).await;
        }
    }

    /// Forgets a person: what waits is written first. Answers the rows and the files that are gone.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget(
        &self,
        tenant: &str,
        subject: &Subject,
        within: Duration,
    ) -> Result<(Forgotten, Erased), StoreError> {
        let forgotten = self.writer.forget(tenant, subject, within).await?;
        Ok((forgotten, self.erasure.run().await?))
    }

    /// Deletes what is too old, and files of what is gone, now and every hour, for ever. `forgotten` is called when
    /// another machine may have forgotten somebody. The caller owns the task.
    pub async fn keep_swept(&self, config: watch::Receiver<Arc<Config>>, forgotten: impl Fn()) {
        loop {
            let config = config.borrow().clone();
            let retention_of = |tenant: &str| self.retention(&config, tenant);
            match sweep(&*self.store, UnixMs::now(), retention_of).await {
                Ok(swept) if swept.calls + swept.transcripts + swept.usage > 0 => {
                    tracing::info!(
                        calls = swept.calls,
                        transcripts = swept.transcripts,
                        "old rows are deleted"
                    );
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "old rows cannot be deleted; trying again in an hour"),
            }
            match self.erasure.run().await {
                Ok(erased) if erased.forgotten > 0 => forgotten(),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "files of calls that are gone stay for another hour"),
            }
            self.erasure.remove_replays_older_than(config.storage.retention.recordings_days).await;
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    /// A tenant that is gone is kept as long as the machine says.
    fn retention(&self, config: &Config, tenant: &str) -> Retention {
        if !self.is_durable {
            return Retention {
                transcripts_days: MEMORY_DAYS,
                calls_days: MEMORY_DAYS,
                usage_days: 32,
                recordings_days: u32::MAX,
            };
        }
        config.tenants.get(tenant).map_or_else(
            || TenantRetention::default().within(config.storage.retention),
            |tenant| config.retention(tenant),
        )
    }
}
