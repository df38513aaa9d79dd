//! What a call costs: each report of a provider becomes one priced row, which can count only once.

use std::collections::HashMap;
use std::sync::Arc;

use patchbay_core::{LegId, PriceList, Usage};
use patchbay_store::{Private, Quality, UnixMs, UsageRow};

use crate::metrics::Metrics;
use crate::spend::{Reservation, Verdict};

mod owed;
mod telephone;
mod till;

pub use owed::{Due, PhoneCall};
pub use telephone::{PhoneBill, Telephone};
pub use till::{Sink, Till};

/// Reports that one call remembers. Past that a provider repeats itself at its customer's cost.
const COUNTED_MAX: usize = 20_000;

/// Who uses what: the columns that all rows of a call share.
#[derive(Clone, Debug, Default)]
pub struct Party {
    /// Who pays.
    pub tenant: String,
    /// The user that a credential named; a phone number never.
    pub user: Option<Private<String>>,
    /// By which route.
    pub route: String,
    /// Of which call.
    pub call: String,
    /// The provider's name in the configuration.
    pub provider: String,
    /// What answers.
    pub model: String,
    /// What writes down the caller.
    pub transcription_model: String,
}

/// What is needed to meter a call.
#[derive(Debug, Default)]
pub struct Bill {
    /// Who uses what.
    pub party: Party,
    /// What it costs.
    pub prices: Arc<PriceList>,
    /// The money that was set aside for it.
    pub reservation: Option<Reservation>,
}

/// The meter of one call.
pub struct Meter {
    bill: Bill,
    sink: Arc<dyn Sink>,
    metrics: Arc<Metrics>,
    counted: HashMap<Key, Counted>,
}

/// What can count only once within a call: connection, kind, and the provider's id.
type Key = (Box<str>, Box<str>, Box<str>);

#[derive(Clone, Copy, Debug)]
struct Counted {
    micro_usd: i64,
    quality: Quality,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metered {
    /// What it adds to the cost of the call; negative when it replaces a dearer estimate.
    pub micro_usd: i64,
    /// Whether it replaces an estimate.
    pub replaces: bool,
    /// How the call stands.
    pub verdict: Verdict,
}

impl Meter {
    /// A meter that has counted nothing yet.
    #[must_use]
    pub fn new(bill: Bill, sink: Arc<dyn Sink>, metrics: Arc<Metrics>) -> Self {
        Self { bill, sink, metrics, counted: HashMap::new() }
    }

    /// Counts a report of `leg`, unless it was counted before. An estimate gives way to the provider's own account.
    pub fn take(&mut self, leg: LegId, usage: &Usage, at: UnixMs) -> Option<Metered> {
        let row = self.row(leg, usage, at);
        let key = (row.provider_session.as_str().into(), usage.kind.clone(), usage.key.clone());
        let before = self.counted.get(&key).copied();
        if before.is_some_and(|before| !row.quality.replaces(before.quality)) {
            self.metrics.usage_repeated();
            return None;
        }
        if self.counted.len() < COUNTED_MAX || before.is_some() {
            self.counted.insert(key, Counted { micro_usd: row.cost_micro_usd, quality: row.quality });
        }
        let micro_usd = row.cost_micro_usd.saturating_sub(before.map_or(0, |before| before.micro_usd));
        self.metrics.usage(&row, micro_usd, before.is_some());
        self.sink.enter(row);
        let verdict = self.bill.reservation.as_mut().map_or(Verdict::Fine, |held| held.charge(micro_usd, at));
        Some(Metered { micro_usd, replaces: before.is_some(), verdict })
    }

    /// How the call stands, though nothing was reported.
    pub fn check(&mut self, at: UnixMs) -> Verdict {
        self.bill.reservation.as_mut().map_or(Verdict::Fine, |held| held.check(at))
    }

    fn row(&self, leg: LegId, usage: &Usage, at: UnixMs) -> UsageRow {
        let party = &self.bill.party;
        let model = if &*usage.kind == "transcription" { &party.transcription_model } else { &party.model };
        let cost = self.bill.prices.cost(&party.provider, model, usage, at.0);
        if cost.as_ref().is_some_and(|cost| cost.inconsistent) {
            self.metrics.usage_inconsistent();
        }
        let nameless = || format!("{}/{leg}", party.call);
        UsageRow {
            provider: party.provider.clone(),
            provider_session: if usage.connection.is_empty() {
                nameless()
            } else {
                usage.connection.to_string()
            },
            kind: usage.kind.to_string(),
            source: usage.key.to_string(),
            tenant: party.tenant.clone(),
            user: party.user.clone(),
            route: party.route.clone(),
            call: party.call.clone(),
            model: model.clone(),
            at,
            tokens: usage.tokens,
            duration_ms: usage.duration_ms,
            price_version: cost.as_ref().map(|cost| cost.version.to_string()),
            cost_micro_usd: cost.map_or(0, |cost| cost.micro_usd),
            quality: if usage.estimated { Quality::Estimated } else { Quality::Exact },
        }
    }
}

#[cfg(test)]
mod tests;
