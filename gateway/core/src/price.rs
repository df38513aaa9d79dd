//! What a metered fact costs: prices with the day from which they hold, exact to the millionth of a dollar.
//!
//! Amounts are whole micro-USD, rates are micro-USD for a million tokens or for a minute. There are no floats: a cost is
//! summed exactly and rounded once. What no price is known for costs nothing and says so; nothing is guessed.

use std::sync::Arc;

use crate::{Tokens, Usage};

/// One price of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Who charges it: a provider's name in the configuration.
    pub provider: Box<str>,
    /// For which models.
    pub model: Pattern,
    /// For which kind of use: [`Usage::kind`].
    pub kind: Box<str>,
    /// From when it holds, in milliseconds since 1970 (UTC).
    pub from_ms: i64,
    /// How much.
    pub rates: Rates,
    /// Its name, which is stored with every cost.
    pub version: Arc<str>,
}

/// How much is charged. Zero: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Micro-USD for a million of each.
    pub tokens: Tokens,
    /// Micro-USD for a minute.
    pub minute: u64,
    /// To what a duration is rounded up before it is charged.
    pub step: Step,
}

/// To what a duration is rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// Not at all.
    #[default]
    Millisecond,
    /// To seconds begun.
    Second,
    /// To minutes begun.
    Minute,
}

/// Names of models: one, or all that begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This one.
    Exact(Box<str>),
    /// Every one that begins so.
    Prefix(Box<str>),
}

impl Pattern {
    /// Reads `name`, or `beginning*`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(beginning) => Self::Prefix(beginning.into()),
            None => Self::Exact(text.into()),
        }
    }

    /// Whether it means `model`.
    #[must_use]
    pub fn matches(&self, model: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *model,
            Self::Prefix(beginning) => model.starts_with(&**beginning),
        }
    }

    /// The narrowest wins: one name before any beginning, a longer beginning before a shorter.
    fn narrowness(&self) -> (bool, usize) {
        match self {
            Self::Exact(name) => (true, name.len()),
            Self::Prefix(beginning) => (false, beginning.len()),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(beginning) => write!(f, "{beginning}*"),
        }
    }
}

/// What something cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Micro-USD; half of one is rounded up.
    pub micro_usd: i64,
    /// By which price.
    pub version: Arc<str>,
    /// The report had more cached than it had in all; the excess is not charged.
    pub inconsistent: bool,
}

/// Every price that is known. Cheap to share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList {
    prices: Arc<[Price]>,
    /// Asked for what this list has no price for.
    below: Option<Arc<PriceList>>,
}

impl FromIterator<Price> for PriceList {
    fn from_iter<T: IntoIterator<Item = Price>>(prices: T) -> Self {
        Self { prices: prices.into_iter().collect(), below: None }
    }
}

impl PriceList {
    /// These prices, and for what they do not say those of `below`.
    #[must_use]
    pub fn over(&self, below: Arc<Self>) -> Self {
        Self { prices: Arc::clone(&self.prices), below: Some(below) }
    }

    /// Whether there is no price in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty() && self.below.as_ref().is_none_or(|below| below.is_empty())
    }

    /// What `usage` of `model` cost at `at_ms` (milliseconds since 1970). `None` when no price is known for it.
    #[must_use]
    pub fn cost(&self, provider: &str, model: &str, usage: &Usage, at_ms: i64) -> Option<Cost> {
        let price = self.find(provider, model, &usage.kind, at_ms)?;
        Some(Cost {
            micro_usd: price.rates.charge(usage),
            version: Arc::clone(&price.version),
            inconsistent: usage.tokens.text_in_cached > usage.tokens.text_in
                || usage.tokens.audio_in_cached > usage.tokens.audio_in,
        })
    }

    /// The price that holds at `at_ms`: of the narrowest pattern, the latest that has begun.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str, kind: &str, at_ms: i64) -> Option<&Price> {
        let holds = |price: &&Price| {
            price.from_ms <= at_ms
                && *price.provider == *provider
                && *price.kind == *kind
                && price.model.matches(model)
        };
        let own =
            self.prices.iter().filter(holds).max_by_key(|price| (price.model.narrowness(), price.from_ms));
        own.or_else(|| self.below.as_ref()?.find(provider, model, kind, at_ms))
    }
}

/// A cost is summed in parts of this many to a micro-USD: a million tokens and 60,000 ms both divide it.
const PARTS: u128 = 3_000_000;
const PARTS_PER_TOKEN: u128 = PARTS / 1_000_000;
const PARTS_PER_MS: u128 = PARTS / 60_000;

impl Rates {
    /// Micro-USD. Cached tokens are some of those that came in. Saturates where no real bill can come.
    fn charge(&self, usage: &Usage) -> i64 {
        let (used, rates) = (usage.tokens, self.tokens);
        let text_cached = used.text_in_cached.min(used.text_in);
        let audio_cached = used.audio_in_cached.min(used.audio_in);
        let tokens = [
            (used.text_in - text_cached, rates.text_in),
            (text_cached, rates.text_in_cached),
            (used.audio_in - audio_cached, rates.audio_in),
            (audio_cached, rates.audio_in_cached),
            (used.text_out, rates.text_out),
            (used.audio_out, rates.audio_out),
        ];
        let sum = tokens
            .iter()
            .fold(0, |sum: u128, (count, rate)| sum.saturating_add(parts(*count, *rate, PARTS_PER_TOKEN)));
        let span_ms = self.step.round_up(usage.duration_ms);
        let sum = sum.saturating_add(parts(span_ms, self.minute, PARTS_PER_MS));
        i64::try_from(sum.saturating_add(PARTS / 2) / PARTS).unwrap_or(i64::MAX)
    }
}

fn parts(count: u64, rate: u64, each: u128) -> u128 {
    (u128::from(count) * u128::from(rate)).saturating_mul(each)
}

impl Step {
    fn round_up(self, span_ms: u64) -> u64 {
        let step_ms = match self {
            Self::Millisecond => 1,
            Self::Second => 1_000,
            Self::Minute => 60_000,
        };
        span_ms.div_ceil(step_ms).saturating_mul(step_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    /// gpt-realtime-2.1 (reference/realtime.md, price table).
    const REALTIME: Rates = Rates {
        tokens: Tokens {
            text_in: 4_000_000,
            text_in_cached: 400_000,
            audio_in: 32_000_000,
            audio_in_cached: 400_000,
            text_out: 24_000_000,
            audio_out: 64_000_000,
        },
        minute: 0,
        step: Step::Millisecond,
    };

    fn price(model: &str, from_day: i64, rates: Rates) -> Price {
        Price {
            provider: "openai".into(),
            model: Pattern::new(model),
            kind: "response".into(),
            from_ms: from_day * DAY_MS,
            rates,
            version: format!("{model}@{from_day}").into(),
        }
    }

    fn response() -> Usage {
        Usage { kind: "response".into(), ..Usage::default() }
    }

    fn cost(rates: Rates, usage: &Usage) -> i64 {
        PriceList::from_iter([price("m", 0, rates)]).cost("openai", "m", usage, 0).unwrap().micro_usd
    }

    #[test]
    fn costs_are_what_the_providers_price_list_says() {
        let minutes = |minute, step| Rates { minute, step, ..Rates::default() };
        let lasts = |duration_ms| Usage { duration_ms, ..response() };
        let table = [
            // The example of reference/realtime.md §1.9: 55·4 + 64·0.4 + 13·32 + 30·24 + 91·64, rounded once.
            (
                REALTIME,
                Usage {
                    tokens: Tokens {
                        text_in: 119,
                        text_in_cached: 64,
                        audio_in: 13,
                        text_out: 30,
                        audio_out: 91,
                        ..Tokens::default()
                    },
                    ..response()
                },
                7_206,
            ),
            (
                REALTIME,
                Usage { tokens: Tokens { audio_in: 1_000_000, ..Tokens::default() }, ..response() },
                32_000_000,
            ),
            (
                REALTIME,
                Usage {
                    tokens: Tokens { audio_in: 1_000_000, audio_in_cached: 1_000_000, ..Tokens::default() },
                    ..response()
                },
                400_000,
            ),
            (REALTIME, response(), 0),
            // Half a millionth of a dollar is rounded up, less is rounded down.
            (
                Rates { tokens: Tokens { text_in: 500_000, ..Tokens::default() }, ..Rates::default() },
                Usage { tokens: Tokens { text_in: 1, ..Tokens::default() }, ..response() },
                1,
            ),
            (
                Rates { tokens: Tokens { text_in: 499_999, ..Tokens::default() }, ..Rates::default() },
                Usage { tokens: Tokens { text_in: 1, ..Tokens::default() }, ..response() },
                0,
            ),
            // Two halves make one, not two: rounding is once for each row.
            (
                Rates {
                    tokens: Tokens { text_in: 500_000, text_out: 500_000, ..Tokens::default() },
                    ..Rates::default()
                },
                Usage { tokens: Tokens { text_in: 1, text_out: 1, ..Tokens::default() }, ..response() },
                1,
            ),
            (minutes(17_000, Step::Millisecond), lasts(1_500), 425),
            (minutes(50_000, Step::Second), lasts(61_000), 50_833),
            (minutes(60_000, Step::Second), lasts(1), 1_000),
            (minutes(8_500, Step::Minute), lasts(61_000), 17_000),
            (minutes(8_500, Step::Minute), lasts(60_000), 8_500),
            (minutes(8_500, Step::Minute), lasts(0), 0),
        ];
        for (rates, usage, expected) in table {
            assert_eq!(cost(rates, &usage), expected, "{rates:?} {usage:?}");
        }
    }

    #[test]
    fn a_price_above_goes_before_a_narrower_one_below_from_its_day_on() {
        let own = PriceList::from_iter([price(
            "gpt*",
            5,
            Rates { tokens: Tokens { audio_out: 1, ..Tokens::default() }, ..Rates::default() },
        )]);
        let list = own.over(Arc::new(PriceList::from_iter([price("gpt-realtime-2.1", 0, REALTIME)])));
        let found = |model, day: i64| {
            list.find("openai", model, "response", day * DAY_MS).map(|price| price.version.to_string())
        };
        assert_eq!(found("gpt-realtime-2.1", 4).as_deref(), Some("gpt-realtime-2.1@0"));
        assert_eq!(found("gpt-realtime-2.1", 5).as_deref(), Some("gpt*@5"));
        assert_eq!(found("another", 5), None);
        assert!(!list.is_empty() && PriceList::default().is_empty());
    }

    #[test]
    fn the_narrowest_pattern_and_the_latest_price_that_has_begun_hold() {
        let list = PriceList::from_iter([
            price("gpt-realtime*", 0, REALTIME),
            price("gpt-realtime-mini*", 0, REALTIME),
            price("gpt-realtime-mini", 0, REALTIME),
            price("gpt-realtime-mini", 20, REALTIME),
            price("gpt-realtime-mini", 10, REALTIME),
        ]);
        let table = [
            ("gpt-realtime-2.1", 15, Some("gpt-realtime*@0")),
            ("gpt-realtime-mini-2025-10-06", 15, Some("gpt-realtime-mini*@0")),
            ("gpt-realtime-mini", 5, Some("gpt-realtime-mini@0")),
            ("gpt-realtime-mini", 10, Some("gpt-realtime-mini@10")),
            ("gpt-realtime-mini", 25, Some("gpt-realtime-mini@20")),
            ("gpt-live-1", 25, None),
        ];
        for (model, day, expected) in table {
            let cost = list.cost("openai", model, &response(), day * DAY_MS);
            assert_eq!(cost.as_ref().map(|cost| &*cost.version), expected, "{model} on day {day}");
        }
    }

    #[test]
    fn what_has_no_price_costs_nothing_and_says_so() {
        let list = PriceList::from_iter([price("m", 10, REALTIME)]);
        let used = Usage { tokens: Tokens { audio_out: 1_000, ..Tokens::default() }, ..response() };
        assert_eq!(list.cost("openai", "m", &used, 10 * DAY_MS - 1), None, "before it begins");
        assert_eq!(list.cost("azure", "m", &used, 10 * DAY_MS), None, "another provider's");
        let transcription = Usage { kind: "transcription".into(), ..used.clone() };
        assert_eq!(list.cost("openai", "m", &transcription, 10 * DAY_MS), None, "another kind of use");
        assert!(list.cost("openai", "m", &used, 10 * DAY_MS).is_some());
    }

    #[test]
    fn more_cached_than_came_in_is_told_and_the_excess_is_free() {
        let usage =
            Usage { tokens: Tokens { text_in: 10, text_in_cached: 25, ..Tokens::default() }, ..response() };
        let cost = PriceList::from_iter([price("m", 0, REALTIME)]).cost("openai", "m", &usage, 0).unwrap();
        assert!(cost.inconsistent);
        assert_eq!(cost.micro_usd, 4);
    }

    fn any_usage(most: u64) -> impl Strategy<Value = Usage> {
        let count = move || 0..=most;
        let counts = (count(), count(), count(), count(), count(), count(), count());
        counts.prop_map(|(text, text_cached, audio, audio_cached, text_out, audio_out, duration_ms)| Usage {
            tokens: Tokens {
                text_in: text.saturating_add(text_cached),
                text_in_cached: text_cached,
                audio_in: audio.saturating_add(audio_cached),
                audio_in_cached: audio_cached,
                text_out,
                audio_out,
            },
            duration_ms,
            ..response()
        })
    }

    proptest! {
        #[test]
        fn a_cost_is_within_half_a_micro_of_the_exact_one(usage in any_usage(1 << 20), minute in 0..1_000_000u64) {
            let rates = Rates { minute, ..REALTIME };
            let token = |count: u64, rate: u64| i128::from(count) * i128::from(rate) * 3;
            let exact_parts = token(usage.tokens.text_in - usage.tokens.text_in_cached, rates.tokens.text_in)
                + token(usage.tokens.text_in_cached, rates.tokens.text_in_cached)
                + token(usage.tokens.audio_in - usage.tokens.audio_in_cached, rates.tokens.audio_in)
                + token(usage.tokens.audio_in_cached, rates.tokens.audio_in_cached)
                + token(usage.tokens.text_out, rates.tokens.text_out)
                + token(usage.tokens.audio_out, rates.tokens.audio_out)
                + i128::from(usage.duration_ms) * i128::from(minute) * 50;
            let off = i128::from(cost(rates, &usage)) * 3_000_000 - exact_parts;
            prop_assert!(-1_500_000 < off && off <= 1_500_000, "{off}");
        }

        #[test]
        fn caching_never_costs_more_and_using_more_never_costs_less(usage in any_usage(1 << 40), more in 0..1u64 << 40) {
            let tokens = Tokens { text_in_cached: 0, audio_in_cached: 0, ..usage.tokens };
            let uncached = Usage { tokens, ..usage.clone() };
            prop_assert!(cost(REALTIME, &usage) <= cost(REALTIME, &uncached));
            let tokens = Tokens { audio_out: usage.tokens.audio_out + more, ..usage.tokens };
            let used_more = Usage { tokens, ..usage.clone() };
            prop_assert!(cost(REALTIME, &used_more) >= cost(REALTIME, &usage));
        }

        #[test]
        fn no_report_overflows(usage in any_usage(u64::MAX), rate in any::<u64>()) {
            let rates = Rates { tokens: Tokens::of([rate; 6]), minute: rate, step: Step::Minute };
            prop_assert!(cost(rates, &usage) >= 0);
        }
    }
}
