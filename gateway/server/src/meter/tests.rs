//! The meter's promises; the provider's double keeps an account of its own to compare with.

use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{CallConfig, Event, Pattern, Price, Rates, Tokens};
use patchbay_sim::realtime::{Detector, Fault, Point, Say, Script, Trouble, Turn};
use patchbay_sim::twilio::Step;
use patchbay_sim::world::{Setup, World};
use patchbay_store::{Entry, MasterKey, MemoryStore, Store, UsageQuery, UsageSum, Writer};

use super::*;
use crate::config::{Config, Period, Policy, Sources, SpendLimit};
use crate::spend::Spend;

const NOW: UnixMs = UnixMs(1_795_219_200_000);

fn prices() -> Arc<PriceList> {
    let price = |kind: &str| Price {
        provider: "openai".into(),
        model: Pattern::new("m*"),
        kind: kind.into(),
        from_ms: 0,
        rates: Rates {
            tokens: Tokens {
                text_in: 4_000_000,
                text_in_cached: 400_000,
                audio_in: 32_000_000,
                audio_in_cached: 400_000,
                text_out: 24_000_000,
                audio_out: 64_000_000,
            },
            ..Rates::default()
        },
        version: "test@1970-01-01".into(),
    };
    Arc::new([price("response"), price("transcription")].into_iter().collect())
}

fn bill(call: &str) -> Bill {
    let party = Party {
        tenant: "t".into(),
        route: "r".into(),
        call: call.into(),
        provider: "openai".into(),
        model: "m".into(),
        transcription_model: "m-transcribe".into(),
        user: None,
    };
    Bill { party, prices: prices(), reservation: None }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new())
}

fn response(key: &str, audio_out: u64, estimated: bool) -> Usage {
    Usage {
        tokens: Tokens { audio_out, ..Tokens::default() },
        kind: "response".into(),
        connection: "sess_1".into(),
        key: key.into(),
        estimated,
        ..Usage::default()
    }
}

fn sum(store: &MemoryStore) -> UsageSum {
    use futures_util::FutureExt as _;
    let query = UsageQuery::default();
    let sums = store.usage(&query).now_or_never().expect("memory never waits").unwrap();
    sums.into_iter().next().unwrap_or_default()
}

#[test]
fn an_estimate_gives_way_to_the_providers_account_and_never_the_other_way_round() {
    let store = Arc::new(MemoryStore::new());
    let mut meter = Meter::new(bill("c"), store.clone(), metrics());
    let mut take = |usage: &Usage| meter.take(LegId(1), usage, NOW).map(|m| (m.micro_usd, m.replaces));
    assert_eq!(take(&response("a", 100, true)), Some((6_400, false)));
    assert_eq!(take(&response("a", 200, true)), None, "one estimate is enough");
    assert_eq!(take(&response("a", 90, false)), Some((-640, true)));
    assert_eq!(take(&response("a", 90, false)), None);
    assert_eq!(take(&response("a", 100, true)), None);
    let sum = sum(&store);
    assert_eq!((sum.rows, sum.estimated_rows, sum.tokens.audio_out, sum.cost_micro_usd), (1, 0, 90, 5_760));
}

#[test]
fn the_same_id_on_another_connection_or_of_another_kind_is_another_fact() {
    let store = Arc::new(MemoryStore::new());
    let mut meter = Meter::new(bill("c"), store.clone(), metrics());
    let first = response("a", 1, false);
    let elsewhere = Usage { connection: "sess_2".into(), ..first.clone() };
    let written_down = Usage { kind: "transcription".into(), ..first.clone() };
    let nameless = Usage { connection: "".into(), ..first.clone() };
    for usage in [&first, &elsewhere, &written_down, &nameless] {
        assert!(meter.take(LegId(1), usage, NOW).is_some(), "{usage:?}");
    }
    assert!(meter.take(LegId(2), &nameless, NOW).is_some(), "a leg of its own is a connection of its own");
    assert_eq!(sum(&store).rows, 5);
}

#[test]
fn what_has_no_price_is_kept_without_one_and_counted() {
    let (store, metrics) = (Arc::new(MemoryStore::new()), metrics());
    let mut bill = bill("c");
    bill.party.model = "unknown".into();
    let mut meter = Meter::new(bill, store.clone(), Arc::clone(&metrics));
    assert_eq!(meter.take(LegId(1), &response("a", 100, false), NOW).unwrap().micro_usd, 0);
    assert_eq!((sum(&store).tokens.audio_out, sum(&store).cost_micro_usd), (100, 0));
    assert!(metrics.text().contains("patchbay_usage_unpriced_total 1"), "{}", metrics.text());
}

#[test]
fn what_is_used_is_in_the_metrics_by_model_and_kind() {
    let metrics = metrics();
    let mut meter = Meter::new(bill("c"), Arc::new(MemoryStore::new()), Arc::clone(&metrics));
    meter.take(LegId(1), &response("a", 1_000_000, true), NOW);
    let text = metrics.text();
    for line in [
        "patchbay_tokens_total{provider=\"openai\",model=\"m\",kind=\"audio_out\"} 1000000",
        "patchbay_cost_usd_total{provider=\"openai\"} 64.0",
        "patchbay_usage_estimated_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
}

#[test]
fn a_call_whose_budget_is_used_up_is_over_by_the_row_that_used_it_up() {
    let limit = SpendLimit {
        limit: 10_000,
        period: Period::Month,
        reserve: 5_000,
        policy: Policy::HangUp,
        warn_at: 800_000,
        transfer_to: None,
    };
    let spend = Spend::new(metrics());
    let reservation = Some(spend.reserve("t", &limit, NOW).unwrap());
    let mut meter = Meter::new(Bill { reservation, ..bill("c") }, Arc::new(MemoryStore::new()), metrics());
    let mut verdict = |key: &str| meter.take(LegId(1), &response(key, 79, false), NOW).unwrap().verdict;
    assert_eq!(verdict("a"), Verdict::Fine);
    assert_eq!(verdict("b"), Verdict::Over(Policy::HangUp));
}

/// A loud buzz, as the telephone sends it.
fn voice(ms: usize) -> Bytes {
    (0..ms * 8).map(|n| if n / 8 % 2 == 0 { 0x80 } else { 0x00 }).collect()
}

fn conversation() -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..3 {
        steps.push(Step::WaitForAudio { at_most_ms: 8_000 });
        steps.push(Step::WaitForSilence { ms: 900, at_most_ms: 15_000 });
        steps.push(Step::Say(voice(1_200)));
    }
    steps.extend([Step::Wait(8_000), Step::HangUp]);
    steps
}

/// A call in virtual time that is over; with a loss in the midst of an answer, if `loses`.
fn played(seed: u64, loses: bool) -> World {
    let say = |n: u64| Turn::Say(vec![Say::buzz("one two three four five", 700 + 130 * (n + seed % 7))]);
    let trouble = Trouble::Close { code: 1011, reason: String::new() };
    let fault = Fault { at: Point::MidDeltas, turn: 1, dial: Some(0), trouble };
    let script = Script {
        turns: (0..4).map(say).collect(),
        transcripts: vec!["six seven".into()],
        detector: Detector::Level,
        faults: if loses { vec![fault] } else { Vec::new() },
        seed,
        ..Script::default()
    };
    let call = CallConfig { greets: true, seed, ..CallConfig::default() };
    let mut world = World::new(Setup { call, script, streams: vec![conversation()], ..Setup::default() });
    world.run(Duration::from_secs(120));
    assert!(world.outcome.is_some(), "the call is over");
    world
}

fn reports(world: &World) -> Vec<(LegId, Usage)> {
    let report = |(_, leg, event): &(_, LegId, Event)| match event {
        Event::UsageReported(usage) => Some((*leg, usage.clone())),
        _ => None,
    };
    world.events.iter().filter_map(report).collect()
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

/// The same call, `copy` times as many connections.
fn copy_of(reports: &[(LegId, Usage)], copy: usize) -> Vec<(LegId, Usage)> {
    let renamed = |(leg, usage): &(LegId, Usage)| {
        let connection = format!("{}#{copy}", usage.connection).into();
        (*leg, Usage { connection, ..usage.clone() })
    };
    reports.iter().map(renamed).collect()
}

#[test]
fn a_hundred_thousand_records_with_duplicates_reordering_and_crashes_sum_to_the_providers_own_account() {
    const RECORDS: usize = 100_000;
    let (store, metrics, mut dice) = (Arc::new(MemoryStore::new()), metrics(), Dice(7));
    let worlds: Vec<World> = (0..8).map(|seed| played(seed, seed % 4 == 3)).collect();
    let (mut taken, mut copies, mut lost) = (0, 0, 0);
    while taken < RECORDS {
        for (number, world) in worlds.iter().enumerate() {
            let call = format!("call_{number}_{copies}");
            let mut stream = copy_of(&reports(world), copies * worlds.len() + number);
            lost += stream.iter().filter(|(_, usage)| usage.estimated).count();
            for _ in 0..stream.len() {
                let again = stream[dice.below(stream.len())].clone();
                stream.push(again);
            }
            for at in (1..stream.len()).rev() {
                stream.swap(at, dice.below(at + 1));
            }
            let crash_at = dice.below(stream.len());
            let mut meter = Meter::new(bill(&call), store.clone(), Arc::clone(&metrics));
            for (leg, usage) in &stream[..crash_at] {
                meter.take(*leg, usage, NOW);
            }
            // The process died; what it had not confirmed is told again to another one.
            let mut meter = Meter::new(bill(&call), store.clone(), Arc::clone(&metrics));
            for (leg, usage) in &stream[crash_at / 2..] {
                meter.take(*leg, usage, NOW);
            }
            taken += stream.len() + crash_at - crash_at / 2;
        }
        copies += 1;
    }
    let theirs = worlds.iter().flat_map(|world| &world.models).map(|(_, model)| model.ledger().usage);
    let each = theirs.fold([0; 4], |sum, usage| {
        let counts = [usage.text_in, usage.audio_in, usage.text_out, usage.audio_out];
        std::array::from_fn(|n| sum[n] + counts[n])
    });
    let estimated = worlds.iter().flat_map(reports).filter(|(_, usage)| usage.estimated).map(|(_, usage)| {
        [usage.tokens.text_in, usage.tokens.audio_in, usage.tokens.text_out, usage.tokens.audio_out]
    });
    let estimated =
        estimated.fold([0; 4], |sum: [u64; 4], counts| std::array::from_fn(|n| sum[n] + counts[n]));
    let (ours, copies) = (sum(&store), copies as u64);
    let exact = [ours.tokens.text_in, ours.tokens.audio_in, ours.tokens.text_out, ours.tokens.audio_out];
    let expected: [u64; 4] = std::array::from_fn(|n| copies * (each[n] + estimated[n]));
    assert_eq!(exact, expected, "{ours:?}");
    assert!(each.iter().all(|count| *count > 0), "the provider metered of every kind: {each:?}");
    assert_eq!(ours.estimated_rows, lost as u64);
    assert!(
        lost > 0 && lost * 20 < usize::try_from(ours.rows).unwrap(),
        "{lost} estimates of {} rows",
        ours.rows
    );
}

#[tokio::test]
async fn what_was_spent_before_a_restart_is_read_back_from_the_store() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let writer = Writer::start(store.clone(), None, &MasterKey::random().unwrap()).unwrap();
    let till = Till::new(Arc::new(writer.clone()), store.clone(), metrics());
    let mut meter = till.meter(bill("c"));
    meter.take(LegId(1), &response("a", 1_000_000, false), NOW);
    assert!(writer.flush(Duration::from_secs(5)).await, "the row is in the store");
    let mut sources = Sources::default();
    for (name, value) in [
        ("OPENAI_API_KEY", "sk-x"),
        ("PATCHBAY__TENANTS__T__SPEND__LIMIT_USD", "100"),
        ("PATCHBAY__TENANTS__T__SPEND__RESERVE_USD", "40"),
    ] {
        sources.set(name, value);
    }
    let config = Config::parse(&sources).unwrap();
    let restarted = Till::new(Arc::new(writer), store, metrics());
    restarted.restore(&config, NOW).await.unwrap();
    assert_eq!(restarted.spend.spent("t"), 64_000_000);
    let refused = restarted.spend.reserve("t", &config.tenants["t"].spend, NOW);
    assert!(refused.is_err(), "36 of 100 dollars are left, and a slice is 40");
    restarted.restore(&config, NOW).await.unwrap();
    assert_eq!(restarted.spend.spent("t"), 64_000_000, "what was read back counts once");
}

#[tokio::test]
async fn a_tenant_that_comes_while_the_gateway_runs_brings_what_it_spent_before() {
    let store = Arc::new(MemoryStore::new());
    let till = Till::new(store.clone(), store.clone(), metrics());
    let of = |tenant: &str| {
        let mut sources = Sources::default();
        sources.set("OPENAI_API_KEY", "sk-x");
        sources.set(&format!("PATCHBAY__TENANTS__{tenant}__SPEND__LIMIT_USD"), "100");
        Config::parse(&sources).unwrap()
    };
    till.restore(&of("OTHER"), NOW).await.unwrap();
    let row = |tenant: &str, source: &str| UsageRow {
        tenant: tenant.into(),
        source: source.into(),
        at: NOW,
        cost_micro_usd: 5_000_000,
        ..UsageRow::default()
    };
    for (tenant, source) in [("late", "1"), ("late", "2"), ("other", "3")] {
        store.write(&[Entry::Usage(row(tenant, source))]).await.unwrap();
    }
    till.restore(&of("LATE"), NOW).await.unwrap();
    assert_eq!(till.spend.spent("late"), 10_000_000);
    till.restore(&of("OTHER"), NOW).await.unwrap();
    assert_eq!(till.spend.spent("other"), 0, "who was here all along counts their own, as they come");
}

#[test]
fn every_answer_of_the_provider_is_counted_once_or_estimated_once() {
    for (seed, loses) in [(1, false), (2, true)] {
        let world = played(seed, loses);
        let reports = reports(&world);
        for (_, model) in &world.models {
            for answer in &model.ledger().responses {
                let rows = reports.iter().filter(|(_, usage)| *usage.key == *answer.id).count();
                assert_eq!(rows, 1, "{answer:?}");
            }
        }
    }
}
