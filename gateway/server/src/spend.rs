//! The spend governor: what tenants may still spend in this period, set aside call by call.
//!
//! A call sets a slice aside when it starts and fills it up again as it is used. When nothing is left to set aside it uses
//! up its slice, and then it is over. So what is spent beyond the limit is at most what the last answers cost more than
//! their slices: nothing, where two answers fit into a slice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use patchbay_store::UnixMs;

use crate::config::{Policy, SpendLimit};
use crate::metrics::Metrics;

mod book;

pub use book::Verdict;
use book::{Book, Exhausted};

/// The tenant's money for this period is spent, or set aside for calls that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tenant has spent its limit")]
pub struct Spent {
    /// Until the next period.
    pub again: Duration,
}

/// What every tenant spent in this period. The lock protects the books, for the time of one sum.
pub struct Spend {
    books: Mutex<BTreeMap<String, Book>>,
    /// Tenants whose earlier spending is in their book. The lock protects their names, for the time of one look.
    loaded: Mutex<BTreeSet<String>>,
    metrics: Arc<Metrics>,
}

impl Spend {
    /// Nothing is spent yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { books: Mutex::default(), loaded: Mutex::default(), metrics })
    }

    /// What a store says that `tenant` had spent in the period of `at`, before it was in use here. Counts once.
    pub fn load(&self, tenant: &str, limit: &SpendLimit, spent: i64, at: UnixMs) {
        if self.loaded().insert(tenant.to_owned()) {
            self.with(tenant, limit, at, |book| book.add(spent));
        }
    }

    /// Whether what `tenant` had spent before is counted.
    #[must_use]
    pub fn is_loaded(&self, tenant: &str) -> bool {
        self.loaded().contains(tenant)
    }

    /// When the period of `at` began.
    #[must_use]
    pub fn period_start(limit: &SpendLimit, at: UnixMs) -> UnixMs {
        UnixMs(book::span(limit.period, at.0).start)
    }

    /// Sets a slice aside for a call of `tenant`, to be given back when it is dropped.
    ///
    /// # Errors
    /// [`Spent`]: there is no whole slice left, and the tenant's policy lets no call begin then.
    pub fn reserve(
        self: &Arc<Self>,
        tenant: &str,
        limit: &SpendLimit,
        at: UnixMs,
    ) -> Result<Reservation, Spent> {
        let held = self.with(tenant, limit, at, Book::reserve).map_err(|Exhausted { next_ms }| {
            self.metrics.budget_refused();
            Spent { again: Duration::from_millis(u64::try_from(next_ms - at.0).unwrap_or(0)) }
        })?;
        Ok(Reservation { spend: Arc::clone(self), tenant: tenant.to_owned(), held, over: false })
    }

    /// Adds what no running call caused: the telephone's account comes when the call is over.
    pub fn add(&self, tenant: &str, limit: &SpendLimit, micro_usd: i64, at: UnixMs) {
        self.with(tenant, limit, at, |book| book.add(micro_usd));
    }

    /// Micro-USD that `tenant` spent in this period.
    #[must_use]
    pub fn spent(&self, tenant: &str) -> i64 {
        self.books().get(tenant).map_or(0, Book::spent)
    }

    fn with<T>(
        &self,
        tenant: &str,
        limit: &SpendLimit,
        at: UnixMs,
        change: impl FnOnce(&mut Book) -> T,
    ) -> T {
        let mut books = self.books();
        if !books.contains_key(tenant) {
            books.insert(tenant.to_owned(), Book::new(limit.clone(), at.0));
        }
        let book = books.get_mut(tenant).expect("it was put there");
        book.turn_to(limit, at.0);
        change(book)
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.loaded.lock().expect("no look at the names panics")
    }

    fn books(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Book>> {
        self.books.lock().expect("no sum over the books panics")
    }
}

/// What one call holds of its tenant's money.
pub struct Reservation {
    spend: Arc<Spend>,
    tenant: String,
    held: i64,
    /// The call was told that it is over.
    over: bool,
}

impl Reservation {
    /// The call cost so much (or less than was thought, when negative). Over is told once.
    pub fn charge(&mut self, micro_usd: i64, at: UnixMs) -> Verdict {
        let verdict = {
            let mut books = self.spend.books();
            let book = books.get_mut(&self.tenant).expect("a reservation is of a book");
            book.charge(&mut self.held, micro_usd, at.0)
        };
        match verdict {
            Verdict::Over(policy) => return self.tell_over(policy),
            Verdict::Warn => {
                self.spend.metrics.budget_warned();
                tracing::warn!(tenant = self.tenant, "the spend limit is near");
            }
            Verdict::Fine => {}
        }
        self.over = false;
        verdict
    }

    /// Asks how it stands: another period may have begun, other calls may have spent the rest.
    pub fn check(&mut self, at: UnixMs) -> Verdict {
        self.charge(0, at)
    }

    fn tell_over(&mut self, policy: Policy) -> Verdict {
        if std::mem::replace(&mut self.over, true) {
            return Verdict::Fine;
        }
        self.spend.metrics.limit_hit("spend");
        tracing::warn!(tenant = self.tenant, ?policy, "the spend limit is reached");
        Verdict::Over(policy)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(book) = self.spend.books().get_mut(&self.tenant) {
            book.give_back(self.held);
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("tenant", &self.tenant).field("held", &self.held).finish()
    }
}

impl std::fmt::Debug for Spend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spend").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
