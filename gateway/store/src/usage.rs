//! Metered facts, and their sums.

use patchbay_core::Tokens;
use serde::{Deserialize, Serialize};

use crate::row::UnixMs;
use crate::secret::{Private, revealed_option};

/// One metered fact. Its key, `(provider, provider_session, kind, source)`, can count only once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRow {
    /// `openai`, `azure`, `twilio`, …
    pub provider: String,
    /// The provider's own id of the connection: `sess_…`, a `CallSid`.
    pub provider_session: String,
    /// `response`, `transcription`, `telephony`, …
    pub kind: String,
    /// The provider's id of the fact: a response, an item.
    pub source: String,
    /// Who pays.
    pub tenant: String,
    /// The user that a credential named.
    #[serde(with = "revealed_option")]
    pub user: Option<Private<String>>,
    /// By which route.
    pub route: String,
    /// Of which call.
    pub call: String,
    /// The provider's name of it.
    pub model: String,
    /// When it was reported.
    pub at: UnixMs,
    /// How many tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Of what is charged by time.
    pub duration_ms: u64,
    /// The price list that `cost_micro_usd` was reckoned with.
    pub price_version: Option<String>,
    /// Millionths of a US dollar.
    pub cost_micro_usd: i64,
    /// How sure it is.
    pub quality: Quality,
}

/// How sure a fact is. A surer row replaces an estimated one of the same key, never the other way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Reckoned from audio, because the provider's report was lost.
    Estimated,
    /// As the provider reported it.
    #[default]
    Exact,
    /// An estimate that was set right later.
    Reconciled,
}

impl Quality {
    /// As it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Estimated => "estimated",
            Self::Exact => "exact",
            Self::Reconciled => "reconciled",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Estimated, Self::Exact, Self::Reconciled].into_iter().find(|quality| quality.as_str() == text)
    }

    /// Whether a row of this quality takes the place of a stored one of `old`.
    #[must_use]
    pub fn replaces(self, old: Self) -> bool {
        old == Self::Estimated && self != Self::Estimated
    }
}

/// By what usage is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Who pays.
    Tenant,
    /// Who used it.
    User,
    /// By which route.
    Route,
    /// Which model.
    Model,
    /// Which UTC day.
    Day,
}

/// Which usage, and how it is summed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Of one tenant; `None`: of all, for the operator.
    pub tenant: Option<String>,
    /// Of one user.
    pub user: Option<Private<String>>,
    /// Not before.
    pub from: Option<UnixMs>,
    /// Before.
    pub to: Option<UnixMs>,
    /// One sum for each; nothing: one sum of all. In the order of [`Group`], each once, whatever the order here.
    pub group_by: Vec<Group>,
}

/// A sum. Of the first five, those are set that the query groups by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSum {
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Who used it; `None` within a grouping by user: nobody that a credential named, or forgotten.
    #[serde(with = "revealed_option", skip_serializing_if = "Option::is_none")]
    pub user: Option<Private<String>>,
    /// By which route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Which model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Which UTC day, as days since 1970-01-01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<i64>,
    /// Facts in this sum.
    pub rows: u64,
    /// Facts in this sum that are estimates.
    pub estimated_rows: u64,
    /// How many tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Of what is charged by time.
    pub duration_ms: u64,
    /// Millionths of a US dollar.
    pub cost_micro_usd: i64,
}

impl UsageSum {
    pub(crate) fn add(&mut self, row: &UsageRow) {
        let sum = |total: &mut u64, count: u64| *total = total.saturating_add(count);
        sum(&mut self.rows, 1);
        sum(&mut self.estimated_rows, u64::from(row.quality == Quality::Estimated));
        let (mine, theirs) = (self.tokens.each(), row.tokens.each());
        self.tokens = Tokens::of(std::array::from_fn(|kind| mine[kind].saturating_add(theirs[kind])));
        sum(&mut self.duration_ms, row.duration_ms);
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(row.cost_micro_usd);
    }
}
