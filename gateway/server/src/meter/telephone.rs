//! Minutes of the telephone: as Twilio's status callback reports them when a call is over; else estimated, then asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use patchbay_core::{PriceList, Usage};
use patchbay_store::{Quality, UnixMs, UsageRow};

use super::Sink;
use super::owed::{Due, Owed, PhoneCall};
use crate::config::{SpendLimit, TELEPHONE};
use crate::metrics::Metrics;
use crate::spend::Spend;

const KIND: &str = "telephony_minute";
/// Longest call that is believed: Twilio's own limit is 24 hours.
const SECONDS_MAX: u64 = 86_400;
/// Calls that are remembered, so that a repeated callback spends nothing. The store knows all.
const REMEMBERED_MAX: usize = 10_000;

/// A phone call that is over.
#[derive(Clone, Copy, Debug)]
pub struct PhoneBill<'a> {
    /// `CA…`
    pub call_sid: &'a str,
    /// Who pays.
    pub tenant: &'a str,
    /// By which route.
    pub route: &'a str,
    /// Our id of the call.
    pub call: &'a str,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The number that was called; only its price's beginning is kept.
    pub called: &'a str,
    /// How long it lasted.
    pub seconds: u64,
    /// How sure that is.
    pub quality: Quality,
}

/// Counts each phone call once. The lock protects what is remembered, for the time of one look.
pub struct Telephone {
    remembered: Mutex<Remembered>,
    /// The lock protects the list, for the time of one look over it.
    owed: Mutex<Owed>,
    sink: Arc<dyn Sink>,
    spend: Arc<Spend>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Remembered {
    /// What each cost, and how sure that is.
    known: HashMap<Box<str>, (i64, Quality)>,
    oldest_first: VecDeque<Box<str>>,
}

impl Remembered {
    /// What was counted of it before; `None`: something as sure or surer.
    fn note(&mut self, call_sid: &str, micro_usd: i64, quality: Quality) -> Option<Option<i64>> {
        let before = self.known.get(call_sid).copied();
        if before.is_some_and(|(_, before)| !quality.replaces(before)) {
            return None;
        }
        self.known.insert(call_sid.into(), (micro_usd, quality));
        if before.is_none() {
            self.oldest_first.push_back(call_sid.into());
        }
        if self.oldest_first.len() > REMEMBERED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        Some(before.map(|(micro_usd, _)| micro_usd))
    }
}

impl Telephone {
    pub(super) fn new(sink: Arc<dyn Sink>, spend: Arc<Spend>, metrics: Arc<Metrics>) -> Self {
        Self { remembered: Mutex::default(), owed: Mutex::default(), sink, spend, metrics }
    }

    /// A phone call begins: its minutes will be told, or are to be asked for.
    pub fn begin(&self, call: PhoneCall) {
        self.owed().begin(call);
    }

    /// What is due at `now`; `lasted` answers the seconds of a call of ours that is over.
    #[must_use]
    pub fn due(&self, now: Instant, lasted: impl Fn(&str) -> Option<u64>) -> Vec<Due> {
        self.owed().look(now, lasted)
    }

    fn owed(&self) -> std::sync::MutexGuard<'_, Owed> {
        self.owed.lock().expect("no look at what is owed panics")
    }

    /// Counts the minutes of a call, the first time it is told of them; an estimate gives way to what is surer. False
    /// when they cannot be believed, or were counted.
    pub fn take(&self, bill: &PhoneBill<'_>, prices: &PriceList, limit: &SpendLimit, at: UnixMs) -> bool {
        if bill.seconds > SECONDS_MAX {
            return false;
        }
        if bill.quality != Quality::Estimated {
            self.owed().settle(bill.call_sid);
        }
        let row = row(bill, prices, at);
        let mut remembered = self.remembered.lock().expect("no look at the remembered panics");
        let Some(before) = remembered.note(bill.call_sid, row.cost_micro_usd, bill.quality) else {
            self.metrics.usage_repeated();
            return false;
        };
        drop(remembered);
        let more = row.cost_micro_usd.saturating_sub(before.unwrap_or_default());
        self.metrics.usage(&row, more, before.is_some());
        self.spend.add(bill.tenant, limit, more, at);
        self.sink.enter(row);
        true
    }
}

fn row(bill: &PhoneBill<'_>, prices: &PriceList, at: UnixMs) -> UsageRow {
    let duration_ms = bill.seconds * 1000;
    let usage = Usage { kind: KIND.into(), duration_ms, ..Usage::default() };
    let line = format!("{}:{}", bill.direction, bill.called);
    let price = prices.find(TELEPHONE, &line, KIND, at.0);
    let cost = prices.cost(TELEPHONE, &line, &usage, at.0);
    UsageRow {
        provider: TELEPHONE.into(),
        provider_session: bill.call_sid.into(),
        kind: KIND.into(),
        source: bill.call_sid.into(),
        tenant: bill.tenant.into(),
        route: bill.route.into(),
        call: bill.call.into(),
        // A number is personal and a row is kept for years: what it was priced by is enough.
        model: price.map_or_else(|| bill.direction.into(), |price| price.model.to_string()),
        at,
        duration_ms,
        price_version: cost.as_ref().map(|cost| cost.version.to_string()),
        cost_micro_usd: cost.map_or(0, |cost| cost.micro_usd),
        quality: bill.quality,
        ..UsageRow::default()
    }
}
