//! Personal data and keys: sealed wherever they lie, and gone when a person is forgotten.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use patchbay_store::{Entry, MemoryStore, Secret, Subject, Writer, open};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::journal::spill;
use crate::places::{Place, master};
use crate::rows::{call, private, said, used};

const NUMBER: &str = "+4915770001234";
const USER: &str = "canary-user-7f3a";
const PHRASE: &str = "the canary sings at midnight";
const KEYS: &str = "8675309*8675309#";
const SECRET: &str = "sk-canary-0123456789abcdef";

/// Every form in which bytes of a canary may lie somewhere.
fn forms(canary: &str) -> Vec<Vec<u8>> {
    let hex = |upper: bool| -> String {
        canary.bytes().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
    };
    let url = canary.replace('+', "%2B").replace(' ', "%20");
    let mut forms: Vec<_> = [canary.to_owned(), hex(false), hex(true), url].map(String::into_bytes).to_vec();
    // Base64 depends on where in three bytes the canary begins; its ends mix with what is beside it.
    for offset in 0..3 {
        let text = STANDARD_NO_PAD.encode(format!("{}{canary}", " ".repeat(offset)));
        forms.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    forms
}

fn canaries() -> Vec<Vec<u8>> {
    [NUMBER, USER, PHRASE, KEYS, SECRET].into_iter().flat_map(forms).collect()
}

/// Files below `folder` that hold one of `needles`.
fn found_in(folder: &Path, needles: &[Vec<u8>]) -> Vec<String> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_dir() {
            found.extend(found_in(&file.path(), needles));
        } else if let Ok(bytes) = std::fs::read(file.path())
            && let Some(needle) = needles.iter().find(|needle| holds(&bytes, needle))
        {
            found.push(format!("{}: {}", file.path().display(), String::from_utf8_lossy(needle)));
        }
    }
    found
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}

/// What a call of the person leaves behind.
fn planted() -> Vec<Entry> {
    let mut record = call("t", "c");
    record.user = Some(private(USER));
    record.caller = Some(private(NUMBER));
    record.called = Some(private(NUMBER));
    record.dtmf = private(KEYS);
    let mut usage = used("t", "c", "resp_1");
    usage.user = Some(private(USER));
    vec![Entry::Call(record), Entry::Transcript(said("t", "c", 0, PHRASE)), Entry::Usage(usage)]
}

#[test]
fn the_search_finds_a_canary_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrapped = STANDARD_NO_PAD.encode(format!("x{PHRASE}yz")).into_bytes();
    for text in [PHRASE.into(), wrapped.split_off(0), forms(NUMBER)[1].clone(), forms(USER)[2].clone()] {
        std::fs::write(folder.path().join("file"), text).unwrap();
        assert_eq!(found_in(folder.path(), &canaries()).len(), 1);
    }
}

#[tokio::test]
async fn sqlite_holds_no_canary_in_clear_and_no_trace_of_a_person_who_was_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    let url = format!("sqlite://{}", path.display());
    let store = open(&url, &master()).await.unwrap();
    store.put_secret("t", "openai", &Secret::new(SECRET.into(), "a test")).await.unwrap();
    store.write(&planted()).await.unwrap();
    assert_eq!(found_in(folder.path(), &canaries()), [""; 0]);

    let raw = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&path)).await.unwrap();
    let mut sealed: Vec<Vec<u8>> = Vec::new();
    for column in [
        "SELECT caller FROM calls",
        "SELECT caller_hash FROM calls",
        "SELECT dtmf FROM calls",
        "SELECT user_hash FROM usage",
        "SELECT name FROM users",
        "SELECT body FROM transcripts",
    ] {
        sealed.push(sqlx::query(column).fetch_one(&raw).await.unwrap().get(0));
    }
    raw.close().await;
    for trace in &sealed {
        assert!(!found_in(folder.path(), std::slice::from_ref(trace)).is_empty(), "the search is blind");
    }
    // Found by the number, the call goes; what it was for, the user, needs a call of its own.
    assert_eq!(store.forget("t", &Subject::Number(private(NUMBER))).await.unwrap().calls, 1);
    // That somebody was forgotten is kept as their hash, in one row.
    sealed.remove(1);
    assert_eq!(found_in(folder.path(), &sealed), [""; 0]);
    assert_eq!(store.spent("t", patchbay_store::UnixMs(0)).await.unwrap(), 1_000);
}

#[tokio::test]
async fn postgresql_holds_no_canary_in_clear_and_no_row_of_a_person_who_was_forgotten() {
    let mut place = Place::postgres();
    let url = place.database();
    let store = open(&url, &master()).await.unwrap();
    store.put_secret("t", "openai", &Secret::new(SECRET.into(), "a test")).await.unwrap();
    store.write(&planted()).await.unwrap();
    let Place::Postgres(server) = &place else { unreachable!("it is one") };
    server.psql(&url, "CHECKPOINT");
    assert_eq!(found_in(server.folder(), &canaries()), [""; 0]);
    let columns = "SELECT encode(caller, 'hex') FROM calls UNION SELECT encode(dtmf, 'hex') FROM calls \
                   UNION SELECT encode(name, 'hex') FROM users UNION SELECT encode(body, 'hex') FROM transcripts";
    let sealed = server.psql(&url, columns);
    assert_eq!(sealed.lines().count(), 4);
    let in_dump = |dump: &str| sealed.lines().filter(|trace| dump.contains(*trace)).count();
    assert_eq!(in_dump(&server.dump(&url)), 4, "the search is blind");
    assert_eq!(store.forget("t", &Subject::User(private(USER))).await.unwrap().calls, 1);
    assert_eq!(in_dump(&server.dump(&url)), 0);
}

#[tokio::test]
async fn the_spill_holds_no_canary_and_is_gone_when_a_person_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(MemoryStore::new());
    store.set_away(true);
    let writer = Writer::start(store.clone(), spill(folder.path()), &master()).unwrap();
    planted().into_iter().for_each(|entry| writer.push(entry));
    writer.flush(Duration::from_millis(300)).await;
    let bytes = || -> u64 {
        let files = std::fs::read_dir(folder.path().join("spill")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    assert!(bytes() > 500, "nothing was spilled");
    assert_eq!(found_in(folder.path(), &canaries()), [""; 0]);
    store.set_away(false);
    let gone = writer.forget("t", &Subject::User(private(USER)), Duration::from_secs(30)).await.unwrap();
    assert_eq!((gone.calls, gone.transcripts, bytes()), (1, 1, 0));
    writer.close(Duration::from_secs(30)).await;
}
