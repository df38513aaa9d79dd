//! A tenant's cap on what it spends.

use serde::{Serialize, Serializer};

use super::prices::usd;
use super::section::Section;

/// What a tenant may spend, and what happens when that is spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpendLimit {
    /// Micro-USD in a period; 0: no limit.
    #[serde(rename = "limit_usd", serialize_with = "as_usd")]
    pub limit: i64,
    /// After which it begins anew.
    pub period: Period,
    /// Micro-USD that each call sets aside when it starts.
    #[serde(rename = "reserve_usd", serialize_with = "as_usd")]
    pub reserve: i64,
    /// What happens when it is spent.
    pub policy: Policy,
    /// Millionths of the limit, at which the operator is told.
    #[serde(rename = "warn_at", serialize_with = "as_usd")]
    pub warn_at: i64,
    /// Whom a caller is connected to when it is spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_to: Option<String>,
}

/// After which a limit begins anew, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// At midnight.
    Day,
    /// At midnight before the first.
    Month,
}

/// What happens when the limit is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The operator is told; calls go on and begin.
    Warn,
    /// The caller is told; calls go on, none begins.
    Say,
    /// The caller is told, and the call ends; none begins.
    HangUp,
    /// The caller is told, and goes on to a person or to the route's fallback; none begins.
    Transfer,
}

const USD_MAX: f64 = 1_000_000_000.0;

impl SpendLimit {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let periods = [("day", Period::Day), ("month", Period::Month)];
        let policies = [
            ("warn", Policy::Warn),
            ("say", Policy::Say),
            ("hang_up", Policy::HangUp),
            ("transfer", Policy::Transfer),
        ];
        let reserve_place = section.place_of("reserve_usd");
        let limit = Self {
            limit: usd(section, "limit_usd", USD_MAX).unwrap_or_default(),
            period: section.choice("period", &periods).map_or(Period::Month, |period| period.value),
            reserve: usd(section, "reserve_usd", USD_MAX).unwrap_or_default(),
            policy: section.choice("policy", &policies).map_or(Policy::HangUp, |policy| policy.value),
            warn_at: usd(section, "warn_at", 1.0).unwrap_or_default(),
            transfer_to: section.optional("transfer_to", "+4930123456").and_then(|number| {
                if is_number(&number.value) {
                    return Some(number.value);
                }
                let what = format!("`{}` takes a number such as +4930123456", section.name("transfer_to"));
                section.fault(&number.place, what, "write transfer_to = \"+4930123456\"");
                None
            }),
        };
        limit.check(&reserve_place, section);
        limit
    }

    fn check(&self, reserve_place: &super::Place, section: &Section<'_>) {
        if section.has_fault_below() {
            return;
        }
        if self.is_limited() && !(1..=self.limit).contains(&self.reserve) {
            let what = format!("`{}` is nothing, or more than the limit", section.name("reserve_usd"));
            let advice = format!("write reserve_usd = {}, a tenth of limit_usd", show(self.limit / 10));
            section.fault(reserve_place, what, advice);
        }
    }

    /// Whether there is a limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.limit > 0
    }

    /// Micro-USD at which the operator is told.
    #[must_use]
    pub fn warns_from(&self) -> i64 {
        let part = i128::from(self.limit) * i128::from(self.warn_at) / 1_000_000;
        i64::try_from(part).unwrap_or(i64::MAX)
    }
}

/// + and 7 to 15 digits, the first not 0 (ITU-T E.164 §6).
fn is_number(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}

/// Micro-USD as USD.
fn show(micro: i64) -> String {
    let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
fn as_usd<S: Serializer>(micro: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    #[expect(clippy::cast_precision_loss, reason = "for people to read; an amount is below 2^53 micro-USD")]
    let usd = *micro as f64 / 1e6;
    serializer.serialize_f64(usd)
}
