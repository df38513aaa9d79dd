//! Prices: what providers charge, from which day.

use std::collections::BTreeMap;
use std::sync::Arc;

use patchbay_core::{Pattern, Price, PriceList, Rates, Step, Tokens};
use serde::{Serialize, Serializer};

use super::provider::Provider;
use super::section::Section;
use crate::calendar::{DAY_MS, Date};

/// Who charges for the telephone: no provider of models has this name in a price.
pub const TELEPHONE: &str = "twilio";

/// Every price, as it is written and as it is used.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// As written, by name.
    pub written: BTreeMap<String, WrittenPrice>,
    /// As used.
    pub list: Arc<PriceList>,
}

/// As the configuration has it, for whoever reads that.
impl Serialize for Prices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

/// A price as the configuration has it.
#[derive(Clone, Debug, Serialize)]
pub struct WrittenPrice {
    /// Names or kinds of providers.
    pub providers: Vec<String>,
    /// Names of models, or `beginning*`.
    pub models: Vec<String>,
    /// Of use.
    pub kind: &'static str,
    /// The first day, UTC.
    #[serde(serialize_with = "as_text")]
    pub from: Date,
    /// Micro-USD.
    #[serde(flatten)]
    rates: WrittenRates,
}

/// Rates in dollars, for whoever reads the effective configuration; those that are zero are not shown.
#[derive(Clone, Copy, Debug, Serialize)]
struct WrittenRates {
    #[serde(serialize_with = "as_usd", skip_serializing_if = "is_zero")]
    text_in: u64,
    #[serde(serialize_with = "as_usd", skip_serializing_if = "is_zero")]
    text_in_cached: u64,
    #[serde(serialize_with = "as_usd", skip_serializing_if = "is_zero")]
    audio_in: u64,
    #[serde(serialize_with = "as_usd", skip_serializing_if = "is_zero")]
    audio_in_cached: u64,
    #[serde(serialize_with = "as_usd", skip_serializing_if = "is_zero")]
    text_out: u64,
    #[serde(serialize_with = "as_usd", skip_serializing_if = "is_zero")]
    audio_out: u64,
    #[serde(serialize_with = "as_usd", skip_serializing_if = "is_zero")]
    per_minute: u64,
    round_up_to: &'static str,
}

/// Dearest rate, in USD.
const USD_MAX: f64 = 1_000_000.0;

impl Prices {
    /// `owner` is the tenant whose prices these are: their versions begin with its name.
    pub(super) fn read(
        root: &mut Section<'_>,
        providers: &BTreeMap<String, Arc<Provider>>,
        owner: Option<&str>,
    ) -> Self {
        let mut written = BTreeMap::new();
        let mut prices: Vec<Price> = Vec::new();
        for (name, mut section) in root.named("prices") {
            let before = section.fault_count();
            let price = WrittenPrice::read(&mut section);
            if section.fault_count() == before {
                let version = owner.map_or_else(|| name.clone(), |owner| format!("{owner}/{name}"));
                let made = price.make(&version, providers);
                if let Some(twin) = made.iter().find_map(|price| twin(&prices, price)) {
                    let what = format!(
                        "`{}` and the price {twin} hold for the same from the same day",
                        section.path()
                    );
                    section.fault(section.place(), what, "write another day, or remove one");
                }
                prices.extend(made);
                written.insert(name, price);
            }
            section.finish();
        }
        Self { written, list: Arc::new(prices.into_iter().collect()) }
    }
}

impl Prices {
    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty()
    }
}

/// A price that would hold for the same as `new`, and from the same day: nobody could say which.
fn twin(prices: &[Price], new: &Price) -> Option<Arc<str>> {
    let same = |old: &&Price| {
        (&old.provider, &old.model, &old.kind, old.from_ms)
            == (&new.provider, &new.model, &new.kind, new.from_ms)
    };
    prices.iter().find(same).map(|old| Arc::clone(&old.version))
}

const KINDS: [(&str, &str); 3] =
    [("response", "response"), ("transcription", "transcription"), ("telephony_minute", "telephony_minute")];

impl WrittenPrice {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            providers: names(section, "providers", "openai"),
            models: names(section, "models", "gpt-realtime-2.1"),
            kind: section.choice("kind", &KINDS).map_or("response", |kind| kind.value),
            from: read_day(section),
            rates: WrittenRates::read(section),
        }
    }

    /// One price for each provider and each model. Its version names it and its day.
    fn make(&self, name: &str, providers: &BTreeMap<String, Arc<Provider>>) -> Vec<Price> {
        let version: Arc<str> = format!("{name}@{}", self.from).into();
        let is_meant = |provider: &&Arc<Provider>| {
            self.providers.iter().any(|named| *named == provider.name || named == provider.kind.as_str())
        };
        let telephone = self.providers.iter().any(|named| named == TELEPHONE).then_some(TELEPHONE);
        let meant = providers.values().filter(is_meant).map(|provider| provider.name.as_str());
        let price = |provider: &str, model: &String| Price {
            provider: provider.into(),
            model: Pattern::new(model),
            kind: self.kind.into(),
            from_ms: self.from.days() * DAY_MS,
            rates: self.rates.rates(),
            version: Arc::clone(&version),
        };
        meant
            .chain(telephone)
            .flat_map(|provider| self.models.iter().map(move |model| price(provider, model)))
            .collect()
    }
}

fn names(section: &mut Section<'_>, key: &'static str, example: &str) -> Vec<String> {
    let place = section.place_of(key);
    let names: Vec<String> = section.texts(key, example).into_iter().map(|text| text.value).collect();
    if names.iter().all(|name| name.trim().is_empty()) && !section.has_fault_below() {
        let what = format!("`{}` names nothing", section.name(key));
        section.fault(&place, what, format!("write {key} = [\"{example}\"]"));
    }
    names
}

fn read_day(section: &mut Section<'_>) -> Date {
    const EXAMPLE: &str = "2026-11-01";
    let parse = |text: &str| {
        let wrong = || ("takes a day".to_owned(), format!("write from = \"{EXAMPLE}\""));
        Date::parse(text).ok_or_else(wrong)
    };
    let before = section.fault_count();
    let read = section.parsed("from", EXAMPLE, parse).map(|day| day.value);
    if read.is_none() && section.fault_count() == before {
        let what = format!("`{}` lacks the day from which it holds", section.path());
        section.fault(section.place(), what, format!("write from = \"{EXAMPLE}\""));
    }
    read.unwrap_or(Date { year: 1970, month: 1, day: 1 })
}

const STEPS: [(&str, Step); 3] =
    [("none", Step::Millisecond), ("second", Step::Second), ("minute", Step::Minute)];

impl WrittenRates {
    fn read(section: &mut Section<'_>) -> Self {
        let before = section.fault_count();
        let mut rate = |key| usd(section, key, USD_MAX).and_then(|usd| u64::try_from(usd).ok());
        let (text_in, audio_in) = (rate("text_in"), rate("audio_in"));
        let rates = Self {
            text_in: text_in.unwrap_or_default(),
            // What is not said to be cheaper is not cheaper.
            text_in_cached: rate("text_in_cached").or(text_in).unwrap_or_default(),
            audio_in: audio_in.unwrap_or_default(),
            audio_in_cached: rate("audio_in_cached").or(audio_in).unwrap_or_default(),
            text_out: rate("text_out").unwrap_or_default(),
            audio_out: rate("audio_out").unwrap_or_default(),
            per_minute: rate("per_minute").unwrap_or_default(),
            round_up_to: section
                .choice("round_up_to", &STEPS.map(|(word, _)| (word, word)))
                .map_or("none", |word| word.value),
        };
        if rates.rates() == (Rates { step: rates.rates().step, ..Rates::default() })
            && section.fault_count() == before
        {
            let what = format!("`{}` charges nothing", section.path());
            section.fault(
                section.place(),
                what,
                "write text_in = 4.00 (USD for a million tokens), or per_minute = 0.05",
            );
        }
        rates
    }

    fn rates(self) -> Rates {
        Rates {
            tokens: Tokens {
                text_in: self.text_in,
                text_in_cached: self.text_in_cached,
                audio_in: self.audio_in,
                audio_in_cached: self.audio_in_cached,
                text_out: self.text_out,
                audio_out: self.audio_out,
            },
            minute: self.per_minute,
            step: STEPS
                .iter()
                .find(|(word, _)| *word == self.round_up_to)
                .map_or(Step::Millisecond, |(_, step)| *step),
        }
    }
}

/// An amount in USD, as micro-USD. A decimal of six places becomes the very number that it names.
pub(super) fn usd(section: &mut Section<'_>, key: &'static str, most: f64) -> Option<i64> {
    let amount = section.number(key, 0.0..=most)?;
    let micro = format!("{:.0}", amount * 1e6);
    Some(micro.parse().expect("an amount within range is a whole number of micro-USD"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
fn is_zero(rate: &u64) -> bool {
    *rate == 0
}

fn as_usd<S: Serializer>(micro: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    #[expect(clippy::cast_precision_loss, reason = "for people to read; a rate is below 10^12")]
    let usd = *micro as f64 / 1e6;
    serializer.serialize_f64(usd)
}

fn as_text<S: Serializer>(date: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(date)
}
