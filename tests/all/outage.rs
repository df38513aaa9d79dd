//! Databases that go away under live calls, and come back: no call is dropped, no usage row is lost, the sums are exact.

use std::path::Path;
use std::time::{Duration, Instant};

use patchbay::cli::call::{Report, place};

use crate::stage::{Stage, json, model_that_says};

#[expect(dead_code, reason = "the store's own tests use all of it")]
#[path = "../../gateway/store/tests/all/postgres.rs"]
mod postgres;
#[path = "../../gateway/store/tests/all/small_disk.rs"]
mod small_disk;

use postgres::PostgresServer;
use small_disk::SmallDisk;

/// Calls that run when the database goes.
const CALLS: usize = 3;
/// Until a database that is back has everything.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// The master key of these tests' databases.
const MASTER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// Each of another number: a caller has three lines.
async fn call(stage: &Stage, nth: usize) -> Report {
    let mut caller = stage.caller("caller-short.wav");
    caller.from = format!("+4915550000{nth:03}");
    place(&caller, |_| ()).await.unwrap()
}

/// Waits until a metric has this value.
async fn until(stage: &Stage, metric: &str, value: &str) {
    let began = Instant::now();
    let line = format!("patchbay_{metric} {value}");
    loop {
        let metrics = stage.admin("/metrics").await;
        if metrics.lines().any(|found| found == line) {
            return;
        }
        let found = metrics.lines().find(|found| found.starts_with(&format!("patchbay_{metric} ")));
        assert!(began.elapsed() < SETTLED_WITHIN, "{line} is awaited, and there is {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Calls run, one more comes while the database is away, and everything is there when it is back.
async fn calls_go_on(stage: Stage, away: impl Future<Output = ()>, back: impl Future<Output = ()>) {
    let running = async {
        until(&stage, "calls_active", &CALLS.to_string()).await;
        away.await;
    };
    let (a, b, c, ()) = tokio::join!(call(&stage, 0), call(&stage, 1), call(&stage, 2), running);
    let meanwhile = call(&stage, CALLS).await;
    for report in [a, b, c, meanwhile] {
        assert!(report.speech_came_back && report.invalid == 0, "{report:?}");
    }
    until(&stage, "store_away", "1").await;
    back.await;
    for (metric, value) in [("store_away", "0"), ("usage_records_pending", "0"), ("spill_bytes", "0")] {
        until(&stage, metric, value).await;
    }
    let ours = json(&stage.admin("/admin/usage").await)["data"][0].clone();
    let calls = json(&stage.admin("/admin/calls?limit=20").await);
    let calls = calls["data"].as_array().unwrap();
    assert_eq!(calls.iter().filter(|call| call["state"] == "ended").count(), CALLS + 1, "{calls:?}");
    let ledgers = stage.clear().await;
    let theirs = |count: fn(&patchbay_sim::realtime::Usage) -> u64| -> u64 {
        ledgers.iter().map(|ledger| count(&ledger.usage)).sum()
    };
    for (name, theirs) in [
        ("text_in", theirs(|usage| usage.text_in)),
        ("audio_in", theirs(|usage| usage.audio_in)),
        ("text_out", theirs(|usage| usage.text_out)),
        ("audio_out", theirs(|usage| usage.audio_out)),
    ] {
        assert_eq!(ours[name], theirs, "{name}: {ours}");
    }
    assert_eq!(ours["estimated_rows"], 0, "{ours}");
}

async fn stage(url: &str, spill: &Path) -> Stage {
    let spill = spill.display().to_string();
    let variables = [
        ("PATCHBAY__STORAGE__URL", url),
        ("PATCHBAY__STORAGE__SPILL", spill.as_str()),
        ("PATCHBAY_MASTER_KEY", MASTER_KEY),
    ];
    Stage::set_with(model_that_says("model-answer.wav"), "", &variables).await
}

#[tokio::test]
async fn calls_go_on_while_sqlite_has_a_full_disk_and_no_usage_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("no small disk without root: what is full is tried where tests run as root");
        return;
    };
    let url = format!("sqlite://{}/patchbay.db", disk.path().display());
    let stage = stage(&url, &disk.path().join("spill")).await;
    let filler = disk.path().join("filler");
    let away = async {
        let full = std::fs::write(&filler, vec![0; 2 << 20]);
        assert!(full.is_err(), "2 MiB held it all");
    };
    calls_go_on(stage, away, async { disk.grow() }).await;
}

#[tokio::test]
async fn calls_go_on_while_postgresql_is_stopped_and_no_usage_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    // Its processes are waited for where that holds up no call: the gateway runs on this test's thread.
    let blocking = |work: fn(PostgresServer) -> PostgresServer, server| async move {
        tokio::task::spawn_blocking(move || work(server)).await.unwrap()
    };
    let (server, url) = tokio::task::spawn_blocking(|| {
        let mut server = PostgresServer::start();
        let url = server.database();
        (server, url)
    })
    .await
    .unwrap();
    let stage = stage(&url, &folder.path().join("spill")).await;
    let place = std::cell::RefCell::new(Some(server));
    let away = async {
        let running = place.take().unwrap();
        let stopped = blocking(
            |mut server| {
                server.stop();
                server
            },
            running,
        )
        .await;
        place.replace(Some(stopped));
    };
    let back = async {
        let stopped = place.take().unwrap();
        let running = blocking(
            |mut server| {
                server.resume();
                server
            },
            stopped,
        )
        .await;
        place.replace(Some(running));
    };
    calls_go_on(stage, away, back).await;
}
