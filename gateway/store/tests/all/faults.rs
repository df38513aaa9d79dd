//! Databases that cannot be used: each fault says what to do, and none passes unseen.

use std::path::{Path, PathBuf};

use patchbay_store::MasterKey;
use patchbay_store::{CallFilter, Entry, Page, Store, StoreError, UnixMs, migrate, open, rotate_master};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::places::{Place, master};
use crate::rows::{call, private, said, used};

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

async fn raw(path: &Path) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(path)).await.unwrap()
}

/// Why a store cannot be opened.
async fn fault(url: &str) -> StoreError {
    open(url, &master()).await.err().expect("it was opened")
}

#[tokio::test]
async fn a_missing_database_says_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let error = fault(&url(&folder.path().join("none/patchbay.db"))).await;
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(
        error.to_string().contains("none/patchbay.db") && error.to_string().contains("Create its folder")
    );
    for wrong in ["", "sqlite://", "mysql://localhost/x", "/var/lib/patchbay.db", "postgres://[bad"] {
        let error = fault(wrong).await;
        assert!(matches!(error, StoreError::Address { .. }), "{wrong}: {error:?}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fault(&format!("postgres://patchbay:s3cret@{nobody}/x")).await;
    assert!(matches!(error, StoreError::Away { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    for mut place in [Place::sqlite(), Place::postgres()] {
        let url = place.database();
        drop(open(&url, &master()).await.unwrap());
        let later = "INSERT INTO schema_versions (version, applied_at) VALUES (99, 0)";
        match &place {
            Place::Postgres(server) => drop(server.psql(&url, later)),
            _ => drop(sqlx::query(later).execute(&raw(file(&url)).await).await.unwrap()),
        }
        let error = fault(&url).await;
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error:?}");
        assert!(error.to_string().contains("Use the newer patchbay"), "{error}");
        assert!(matches!(migrate(&url, false).await, Err(StoreError::Newer { .. })));
    }
}

fn file(url: &str) -> &Path {
    Path::new(url.strip_prefix("sqlite://").unwrap())
}

#[tokio::test]
async fn a_locked_database_says_that_another_program_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    let store = open(&url(&path), &master()).await.unwrap();
    store.write(&[Entry::Usage(used("t", "c", "r0"))]).await.unwrap();
    let other = raw(&path).await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = store.write(&[Entry::Usage(used("t", "c", "r1"))]).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }) && error.is_passing(), "{error:?}");
    drop(held);
    store.write(&[Entry::Usage(used("t", "c", "r1"))]).await.unwrap();
    assert_eq!(store.spent("t", UnixMs(0)).await.unwrap(), 2_000);
}

#[tokio::test]
async fn another_master_key_is_refused_and_a_rotated_one_is_taken() {
    for mut place in [Place::sqlite(), Place::postgres()] {
        let url = place.database();
        let store = open(&url, &master()).await.unwrap();
        store.write(&[Entry::Call(call("t", "c"))]).await.unwrap();
        drop(store);
        let other = MasterKey::random().unwrap();
        let error = open(&url, &other).await.err().unwrap();
        assert!(matches!(error, StoreError::Key { .. }), "{error:?}");
        assert!(rotate_master(&url, &other, &master()).await.is_err());
        // The salt and one key of the tenant, and the one that only tells the master key.
        assert_eq!(rotate_master(&url, &master(), &other).await.unwrap(), 3);
        assert!(matches!(fault(&url).await, StoreError::Key { .. }));
        let store = open(&url, &other).await.unwrap();
        assert_eq!(store.call("t", "c").await.unwrap().unwrap().call, call("t", "c"));
    }
}

/// A database with calls in it, checkpointed into one file.
async fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("patchbay.db");
    let store = open(&url(&path), &master()).await.unwrap();
    let mut entries = Vec::new();
    for i in 0..100 {
        let id = format!("call_{i:03}");
        entries.push(Entry::Call(call("t", &id)));
        entries.push(Entry::Transcript(said("t", &id, 0, "It is nine.")));
        entries.push(Entry::Usage(used("t", &id, &format!("resp_{i}"))));
    }
    store.write(&entries).await.unwrap();
    store.forget("t", &patchbay_store::Subject::User(private("nobody"))).await.unwrap();
    path
}

/// What a reader of a damaged database is told.
#[derive(Debug, PartialEq)]
enum Told {
    Refused,
    Everything,
    TooLittle(String),
}

async fn read_all(path: &Path) -> Told {
    let store = match open(&url(path), &master()).await {
        Ok(store) => store,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Told::Refused;
        }
    };
    match rows(&*store).await {
        Err(_) => Told::Refused,
        Ok((100, 100, 100)) => Told::Everything,
        Ok(rows) => Told::TooLittle(format!("{rows:?}")),
    }
}

async fn rows(store: &dyn Store) -> Result<(usize, usize, u64), StoreError> {
    let filter = CallFilter { tenant: Some("t".into()), user: None };
    let (calls, _) = store.calls(&filter, &Page { after: None, limit: 500 }).await?;
    let mut transcripts = 0;
    for call in &calls {
        transcripts += store.call("t", &call.id).await?.map_or(0, |page| page.transcript.len());
    }
    let usage = store.usage(&patchbay_store::UsageQuery::default()).await?;
    Ok((calls.len(), transcripts, usage[0].rows))
}

#[tokio::test]
async fn a_damaged_database_is_told_and_loses_no_row_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    assert_eq!(read_all(&path).await, Told::Everything);
    let whole = std::fs::read(&path).unwrap();
    let (mut refused, mut spared) = (0, 0);
    for i in 0..50 {
        let cut = whole.len() * i / 50;
        let mut flipped = whole.clone();
        // Spread over pages and over what lies in a page: headers, cells, free room.
        let at = (i * 7_919 + i * i * 131) % whole.len();
        flipped[at] ^= 1 << (i % 8);
        for (how, bytes) in [("cut", &whole[..cut]), ("flipped", &flipped)] {
            let damaged = folder.path().join(format!("{how}-{i}.db"));
            std::fs::write(&damaged, bytes).unwrap();
            match read_all(&damaged).await {
                Told::Refused => refused += 1,
                Told::Everything => spared += 1,
                // An empty file is a new database: nothing was ever there that it could miss.
                Told::TooLittle(_) if bytes.is_empty() => {}
                Told::TooLittle(rows) => panic!("{how} {i}: rows went missing in silence: {rows}"),
            }
        }
    }
    println!("{refused} were refused, {spared} were hit where nothing lies");
    assert!(refused >= 49, "cut files were not refused: {refused}");
}
