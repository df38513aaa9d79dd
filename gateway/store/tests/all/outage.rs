//! Databases that go away under load, and come back: no usage row is lost, and the sums are exact.

use std::sync::atomic::Ordering;
use std::time::Duration;

use patchbay_store::{Entry, Store, StoreError, UsageQuery, UsageRow, Writer, open};

use crate::journal::spill;
use crate::places::master;
use crate::postgres::PostgresServer;
use crate::rows::{call, said, used};
use crate::small_disk::SmallDisk;

const LONG: Duration = Duration::from_secs(60);

/// Pushes what `calls` calls leave behind.
fn load(writer: &Writer, calls: std::ops::Range<u32>) {
    for i in calls {
        let id = format!("call_{i}");
        writer.push(Entry::Call(call("t", &id)));
        writer.push(Entry::Transcript(said("t", &id, 0, &"It is nine. ".repeat(40))));
        for turn in 0..4 {
            let source = format!("{id}/resp_{turn}");
            writer.push(Entry::Usage(UsageRow { cost_micro_usd: i64::from(i), ..used("t", &id, &source) }));
        }
    }
}

async fn sums_are_exact(store: &dyn Store, calls: u32) {
    let sum = store.usage(&UsageQuery::default()).await.unwrap().remove(0);
    let cost = (0..i64::from(calls)).sum::<i64>() * 4;
    assert_eq!((sum.rows, sum.cost_micro_usd), (u64::from(calls) * 4, cost));
}

#[tokio::test]
async fn postgresql_stopped_under_load_loses_nothing() {
    let mut server = PostgresServer::start();
    let folder = tempfile::tempdir().unwrap();
    let store = open(&server.database(), &master()).await.unwrap();
    let writer = Writer::start(store.clone(), spill(folder.path()), &master()).unwrap();
    for (calls, running) in [(0..300, true), (300..600, false), (600..900, true)] {
        match running {
            true if calls.start > 0 => server.resume(),
            true => {}
            false => server.stop(),
        }
        for first in calls.step_by(50) {
            load(&writer, first..first + 50);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        if !running {
            let away = store.health().await.unwrap_err();
            assert!(
                matches!(away, StoreError::Away { .. }) && away.to_string().contains("Start it"),
                "{away}"
            );
            assert!(!writer.flush(Duration::from_millis(500)).await);
        }
    }
    assert!(writer.flush(LONG).await, "{:?}", writer.counters());
    sums_are_exact(&*store, 900).await;
    assert!(writer.counters().failures.load(Ordering::Relaxed) > 0);
    assert!(writer.close(LONG).await);
}

#[tokio::test]
async fn sqlite_and_spill_on_a_full_disk_lose_no_usage() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("no small disk without root: what is full is tried where tests run as root");
        return;
    };
    let store = open(&format!("sqlite://{}/patchbay.db", disk.path().display()), &master()).await.unwrap();
    let writer = Writer::start(store.clone(), spill(disk.path()), &master()).unwrap();
    for first in (0..2_000).step_by(100) {
        load(&writer, first..first + 100);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!writer.flush(Duration::from_secs(2)).await, "2 MiB held it all");
    assert!(writer.counters().away.load(Ordering::Relaxed));
    let full = store.write(&[Entry::Transcript(said("t", "c", 0, &"x".repeat(1 << 21)))]).await.unwrap_err();
    assert!(
        matches!(full, StoreError::Full { .. }) && full.to_string().contains("Free some space"),
        "{full}"
    );
    disk.grow();
    assert!(writer.flush(LONG).await, "{:?}", writer.counters());
    sums_are_exact(&*store, 2_000).await;
    assert!(writer.close(LONG).await);
}
