//! Where the money is: what may be spent, what was, and where that is kept.

use std::sync::Arc;

use futures_util::FutureExt as _;
use patchbay_store::{Entry, MemoryStore, Store, UnixMs, UsageRow, Writer};

use super::{Bill, Meter, Telephone};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::spend::Spend;

/// Takes rows from calls. Never waits.
pub trait Sink: Send + Sync {
    /// Keeps a row, in the place of one with the same key as the store's rules say.
    fn enter(&self, row: UsageRow);
}

/// A store in memory is written at once.
impl Sink for MemoryStore {
    fn enter(&self, row: UsageRow) {
        let written = self.write(&[Entry::Usage(row)]).now_or_never();
        if !matches!(written, Some(Ok(()))) {
            tracing::error!("a usage row was not kept");
        }
    }
}

/// A database is written by a task of its own, which drops no usage.
impl Sink for Writer {
    fn enter(&self, row: UsageRow) {
        self.push(Entry::Usage(row));
    }
}

/// What all calls share of the money.
#[derive(Clone)]
pub struct Till {
    /// What tenants may still spend.
    pub spend: Arc<Spend>,
    /// Minutes of the telephone.
    pub telephone: Arc<Telephone>,
    /// Where usage is read back.
    pub store: Arc<dyn Store>,
    sink: Arc<dyn Sink>,
    metrics: Arc<Metrics>,
}

impl Till {
    /// Rows go to `sink`, and are read back from `store`.
    #[must_use]
    pub fn new(sink: Arc<dyn Sink>, store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        let spend = Spend::new(Arc::clone(&metrics));
        let telephone = Telephone::new(Arc::clone(&sink), Arc::clone(&spend), Arc::clone(&metrics));
        Self { spend, telephone: Arc::new(telephone), store, sink, metrics }
    }

    /// One that forgets when the process ends.
    #[must_use]
    pub fn in_memory(metrics: Arc<Metrics>) -> Self {
        let store = Arc::new(MemoryStore::new());
        Self::new(store.clone(), store, metrics)
    }

    /// The meter of a call that begins.
    #[must_use]
    pub fn meter(&self, bill: Bill) -> Meter {
        Meter::new(bill, Arc::clone(&self.sink), Arc::clone(&self.metrics))
    }

    /// Reads what the tenants of `config` had spent in their periods before they were in use here. To be called before
    /// the first call, and when tenants may have come: each is read once.
    ///
    /// # Errors
    /// The store's.
    pub async fn restore(&self, config: &Config, at: UnixMs) -> Result<(), patchbay_store::StoreError> {
        for tenant in config.tenants.values().filter(|tenant| !self.spend.is_loaded(&tenant.name)) {
            let since = Spend::period_start(&tenant.spend, at);
            let spent = self.store.spent(&tenant.name, since).await?;
            self.spend.load(&tenant.name, &tenant.spend, spent, at);
        }
        Ok(())
    }
}
