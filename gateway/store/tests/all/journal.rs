//! The durable side of the journal: nothing is counted twice, nothing is lost, nobody waits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use patchbay_core::Tokens;
use patchbay_store::{
    Entry, MemoryStore, SpillOptions, Store, Subject, UnixMs, UsageQuery, UsageRow, Writer, open,
};

use crate::places::master;
use crate::rows::{call, private, said, used};

const RECORDS: u64 = 100_000;
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn spill(folder: &Path) -> Option<SpillOptions> {
    Some(SpillOptions { folder: folder.join("spill"), bytes_max: 256 << 20 })
}

/// A provider's ledger, and the order in which its reports arrive: shuffled within a window, every third twice.
struct Double {
    reports: Vec<u64>,
    seed: u64,
}

impl Double {
    fn new(records: u64) -> Self {
        let mut double = Self { reports: Vec::new(), seed: 7 };
        for record in 0..records {
            double.reports.push(record);
            if record % 3 == 0 {
                double.reports.push(record);
            }
        }
        for i in 1..double.reports.len() {
            let j = i - usize::try_from(double.chance(i.min(1_000) as u64)).unwrap();
            double.reports.swap(i, j);
        }
        double
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % below.max(1)
    }

    fn cost(record: u64) -> i64 {
        i64::try_from(record % 997).unwrap() + 1
    }

    fn row(record: u64) -> Entry {
        Entry::Usage(UsageRow {
            tokens: Tokens { audio_out: record, ..used("t", "c", &format!("resp_{record}")).tokens },
            cost_micro_usd: Self::cost(record),
            ..used("t", "c", &format!("resp_{record}"))
        })
    }
}

/// What the store sums, against the double's own ledger.
async fn sums_are_exact(store: &dyn Store, records: u64) {
    let sum = store.usage(&UsageQuery::default()).await.unwrap().remove(0);
    let cost: i64 = (0..records).map(Double::cost).sum();
    assert_eq!((sum.rows, sum.cost_micro_usd, sum.tokens.audio_out), (records, cost, (0..records).sum()));
}

#[test]
fn usage_sums_exactly_after_duplicates_reordering_and_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/patchbay.db", folder.path().display());
    let mut double = Double::new(RECORDS);
    let (mut next, mut crashes) = (0, 0);
    while next < double.reports.len() {
        // One life of the gateway: it takes reports for a while, and is gone from one moment to the next.
        let length = 2_000 + usize::try_from(double.chance(30_000)).unwrap();
        let last = next + length >= double.reports.len();
        let reports = &double.reports[next..(next + length).min(double.reports.len())];
        let life = Duration::from_millis(20 + crashes * 37 % 200);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let settled = runtime.block_on(async {
            let store = open(&url, &master()).await.unwrap();
            let writer = start_when_free(store.clone(), folder.path()).await;
            reports.iter().for_each(|record| writer.push(Double::row(*record)));
            if last {
                assert!(writer.close(LONG).await);
                sums_are_exact(&*store, RECORDS).await;
            } else {
                tokio::time::sleep(life).await;
            }
            writer.counters().settled.load(Ordering::Acquire)
        });
        runtime.shutdown_background();
        // What was not settled is reported again, as a callback that was not answered is.
        next += usize::try_from(settled).unwrap();
        crashes += 1;
    }
    assert!(crashes > 3, "only {crashes} lives: nothing crashed");
}

/// A life that was cut off may hold the folder for a moment longer.
async fn start_when_free(store: Arc<dyn Store>, folder: &Path) -> Writer {
    let began = Instant::now();
    loop {
        match Writer::start(store.clone(), spill(folder), &master()) {
            Ok(writer) => return writer,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn no_usage_row_is_lost_while_the_store_is_away() {
    let folder = tempfile::tempdir().unwrap();
    for spill in [spill(folder.path()), None] {
        let store = Arc::new(MemoryStore::new());
        let writer = Writer::start(store.clone(), spill.clone(), &master()).unwrap();
        let records = 20_000;
        for record in 0..records {
            store.set_away((4_000..16_000).contains(&record));
            writer.push(Double::row(record));
            if record % 500 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(writer.flush(LONG).await);
        sums_are_exact(&*store, records).await;
        assert!(writer.counters().failures.load(Ordering::Relaxed) > 0, "the store was never away");
        assert_eq!(writer.counters().spilled_bytes.load(Ordering::Relaxed), 0);
        assert!(writer.close(LONG).await);
    }
}

#[tokio::test]
async fn what_was_spilled_is_written_at_the_next_start_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    store.set_away(true);
    let writer = Writer::start(store.clone(), spill(folder.path()), &master()).unwrap();
    for revision in 1..=2_000 {
        writer.push(Entry::Call(patchbay_store::CallRow { revision, ..call("t", "c") }));
    }
    writer.push(Entry::Transcript(said("t", "c", 0, "first")));
    writer.push(Entry::Transcript(said("t", "c", 0, "last")));
    assert!(!writer.close(Duration::from_millis(300)).await, "a store that is away took entries");
    assert!(writer.counters().spilled_bytes.load(Ordering::Relaxed) > 0);
    store.set_away(false);
    let writer = Writer::start(store.clone(), spill(folder.path()), &master()).unwrap();
    assert!(writer.flush(LONG).await);
    let page = store.call("t", "c").await.unwrap().unwrap();
    assert_eq!((page.call.revision, page.transcript[0].text.clone()), (2_000, private("last")));
    assert!(writer.close(LONG).await);
}

#[tokio::test]
async fn a_person_is_not_forgotten_while_the_spill_may_speak_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    let writer = Writer::start(store.clone(), spill(folder.path()), &master()).unwrap();
    let subject = Subject::Number(private("+49301234"));
    store.set_away(true);
    writer.push(Entry::Call(call("t", "c")));
    let early = writer.forget("t", &subject, Duration::from_millis(300)).await;
    assert!(early.is_err());
    store.set_away(false);
    let gone = writer.forget("t", &subject, LONG).await.unwrap();
    assert_eq!(gone.calls, 1);
    assert!(writer.close(LONG).await);
    let left = std::fs::read_dir(folder.path().join("spill")).unwrap();
    let names: BTreeMap<_, _> =
        left.map(|file| file.unwrap()).map(|f| (f.file_name(), f.metadata().unwrap().len())).collect();
    assert!(names.len() == 1 && names.values().all(|length| *length == 0), "{names:?}");
}

#[tokio::test]
async fn one_impossible_entry_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/patchbay.db", folder.path().display());
    let store = open(&url, &master()).await.unwrap();
    let writer = Writer::start(store.clone(), spill(folder.path()), &master()).unwrap();
    writer.push(Double::row(0));
    writer.push(Entry::Usage(used("", "c", "of nobody")));
    writer.push(Double::row(1));
    assert!(writer.close(LONG).await);
    sums_are_exact(&*store, 2).await;
    assert_eq!(writer.counters().refused.load(Ordering::Relaxed), 1);
    assert!(std::fs::metadata(folder.path().join("spill/refused")).unwrap().len() > 0);
}

#[tokio::test]
async fn a_push_never_waits_for_the_disk_or_the_database() {
    let writer = Writer::start(Arc::new(MemoryStore::new()), None, &master()).unwrap();
    let entries: Vec<_> = (0..50_000).map(Double::row).collect();
    let began = Instant::now();
    let count = u32::try_from(entries.len()).unwrap();
    for entry in entries {
        writer.push(entry);
    }
    let each = began.elapsed() / count;
    println!("a push took {each:?}");
    // Promised are 100 ns in release; a sync or a query would be hundreds of microseconds.
    assert!(each < Duration::from_micros(10), "a push took {each:?}");
    assert!(writer.close(LONG).await);
    assert_eq!(writer.counters().settled.load(Ordering::Relaxed), 50_000);
}

#[tokio::test]
async fn a_sweep_keeps_each_tenants_rows_as_long_as_they_say() {
    use patchbay_store::{Retention, sweep};
    let store = MemoryStore::new();
    for tenant in ["brief", "long"] {
        let row = patchbay_store::CallRow { started_at: UnixMs(0), ..call(tenant, "c") };
        store.write(&[Entry::Call(row), Entry::Transcript(said(tenant, "c", 0, "hello"))]).await.unwrap();
    }
    let of = |tenant: &str| match tenant {
        "brief" => Retention { transcripts_days: 1, calls_days: 1, usage_days: 1, recordings_days: 1 },
        _ => Retention::default(),
    };
    let swept = sweep(&store, UnixMs(2 * UnixMs::DAY), of).await.unwrap();
    assert_eq!((swept.tenants, swept.calls, swept.transcripts), (2, 1, 1));
    assert!(store.call("long", "c").await.unwrap().is_some());
}
