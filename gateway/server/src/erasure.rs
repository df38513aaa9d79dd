//! Removes the files of calls that are gone: of persons who were forgotten, and what is too old.
//!
//! The store notes such calls in the transaction that deletes their rows. Each machine reads the notes, after a
//! deletion of its own and every hour, and removes the files that it has. So nothing is left behind by a machine that
//! was down when another forgot somebody, or by a crash between the rows and the files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use patchbay_store::{Gone, PAGE_MAX, Store, StoreError, UnixMs};
use tokio::task::spawn_blocking;

use crate::{recorder, recording};

/// Machines' clocks may differ, and a note is seen only when its transaction is done: notes this much older than the
/// newest are read again.
const OVERLAP_MS: i64 = 15 * 60_000;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Files.
    pub files: u64,
    /// Files that are still there, because they cannot be removed. They are tried again.
    pub left: u64,
    /// Calls of persons who were forgotten: nothing else may speak of them either.
    pub forgotten: u64,
}

/// The files of this machine. Cheap to share.
#[derive(Clone)]
pub struct Erasure {
    store: Arc<dyn Store>,
    /// Where the inputs of calls are kept for a replay.
    replays: Option<PathBuf>,
    /// From when on notes are read. The lock protects one number, for the time of its copying.
    since: Arc<Mutex<UnixMs>>,
}

impl Erasure {
    /// Begins with all notes that there are.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, replays: Option<PathBuf>) -> Self {
        Self { store, replays, since: Arc::default() }
    }

    /// Removes the files of all calls that are gone by now.
    ///
    /// # Errors
    /// The store's.
    pub async fn run(&self) -> Result<Erased, StoreError> {
        let since = *self.since();
        let (mut erased, mut newest, mut after) = (Erased::default(), since, String::new());
        loop {
            let page = self.store.gone(since, &after).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.call);
            let is_last = page.len() < PAGE_MAX as usize;
            newest = page.iter().map(|gone| gone.gone_at).fold(newest, Ord::max);
            erased = erased + self.erase(page).await;
            if is_last {
                break;
            }
        }
        if erased.left == 0 {
            *self.since() = UnixMs(newest.0 - OVERLAP_MS).max(since);
        }
        Ok(erased)
    }

    /// Removes inputs of calls that were written longer ago than this; how many files.
    pub async fn remove_replays_older_than(&self, days: u32) -> u64 {
        let Some(folder) = self.replays.clone() else { return 0 };
        let before = SystemTime::now() - Duration::from_secs(u64::from(days) * 86_400);
        let removed = spawn_blocking(move || remove_older(&folder, before)).await;
        match removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(removed) => removed,
            Err(error) => {
                tracing::error!(%error, "old files of server.recordings cannot be removed");
                0
            }
        }
    }

    async fn erase(&self, page: Vec<Gone>) -> Erased {
        let replays = self.replays.clone();
        let done = spawn_blocking(move || {
            page.iter().fold(Erased::default(), |sum, gone| sum + erase(gone, replays.as_deref()))
        });
        done.await.expect("removing a file does not panic")
    }

    fn since(&self) -> std::sync::MutexGuard<'_, UnixMs> {
        self.since.lock().expect("no holder of a number panics")
    }
}

impl std::ops::Add for Erased {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            files: self.files + other.files,
            left: self.left + other.left,
            forgotten: self.forgotten + other.forgotten,
        }
    }
}

fn erase(gone: &Gone, replays: Option<&Path>) -> Erased {
    let mut paths = Vec::new();
    // The store's word is not enough to remove just any file.
    let is_its =
        |path: &Path| path.file_name().is_some_and(|name| name == recording::file_name(&gone.call).as_str());
    if let Some(whole) = gone.recording.as_ref().map(PathBuf::from).filter(|path| is_its(path)) {
        paths.extend([recording::unfinished(&whole), whole]);
    }
    if let Some(folder) = replays.filter(|_| gone.is_forgotten && is_id(&gone.call)) {
        paths.push(folder.join(recorder::file_name(&gone.call)));
    }
    let mut erased = Erased { forgotten: gone.is_forgotten.into(), ..Erased::default() };
    for path in paths {
        match std::fs::remove_file(&path) {
            Ok(()) => erased.files += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a file of a call that is gone cannot be removed");
                erased.left += 1;
            }
        }
    }
    erased
}

fn remove_older(folder: &Path, before: SystemTime) -> io::Result<u64> {
    let mut removed = 0;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let call = name.to_str().and_then(|name| name.strip_suffix(recorder::SUFFIX));
        if call.is_some_and(is_id) && entry.metadata()?.modified()? < before {
            std::fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether it is how we name calls.
fn is_id(call: &str) -> bool {
    call.starts_with("call_") && call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use patchbay_store::{CallRow, Entry, Horizon, MemoryStore, Private, Subject};

    use super::*;
    use crate::cli::folder::Folder;

    async fn kept(store: &MemoryStore, id: &str, recording: &Path) {
        let row = CallRow {
            id: id.into(),
            tenant: "t".into(),
            caller: Some(Private::new(format!("+{id}"))),
            started_at: UnixMs(1),
            recording: Some(recording.to_string_lossy().into_owned()),
            ..CallRow::default()
        };
        store.write(&[Entry::Call(row)]).await.unwrap();
    }

    fn files(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn what_is_forgotten_leaves_no_file_and_what_is_too_old_no_recording() {
        let folder = Folder::new("test").unwrap();
        let store = Arc::new(MemoryStore::new());
        for id in ["call_a", "call_b", "call_c"] {
            for end in ["wav", "wav.part", "jsonl"] {
                std::fs::write(folder.path().join(format!("{id}.{end}")), "x").unwrap();
            }
            kept(&store, id, &folder.path().join(format!("{id}.wav"))).await;
        }
        let erasure = Erasure::new(store.clone(), Some(folder.path().to_owned()));
        assert_eq!(erasure.run().await.unwrap(), Erased::default());
        store.forget("t", &Subject::Number(Private::new("+call_a".into()))).await.unwrap();
        assert_eq!(erasure.run().await.unwrap(), Erased { files: 3, left: 0, forgotten: 1 });
        assert_eq!(files(folder.path())[0], "call_b.jsonl");
        let never = UnixMs(0);
        let horizon =
            Horizon { transcripts: never, calls: never, usage: never, recordings: UnixMs(2), gone: never };
        store.retain("t", &horizon).await.unwrap();
        assert_eq!(erasure.run().await.unwrap().files, 4);
        assert_eq!(files(folder.path()), ["call_b.jsonl", "call_c.jsonl"]);
        assert_eq!(erasure.remove_replays_older_than(1).await, 0);
        std::fs::write(folder.path().join("notes.jsonl"), "mine").unwrap();
        assert_eq!(erasure.remove_replays_older_than(0).await, 2);
        assert_eq!(files(folder.path()), ["notes.jsonl"]);
    }

    #[tokio::test]
    async fn only_a_file_that_bears_the_calls_name_is_removed() {
        let folder = Folder::new("test").unwrap();
        let (store, mine) = (Arc::new(MemoryStore::new()), folder.path().join("mine.wav"));
        std::fs::write(&mine, "x").unwrap();
        kept(&store, "call_a", &mine).await;
        store.forget("t", &Subject::Number(Private::new("+call_a".into()))).await.unwrap();
        assert_eq!(Erasure::new(store, None).run().await.unwrap().files, 0);
        assert!(mine.exists());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_removed_is_told_and_tried_again() {
        let folder = Folder::new("test").unwrap();
        let (store, stuck) = (Arc::new(MemoryStore::new()), folder.path().join("call_a.wav"));
        // What is a folder cannot be removed as a file, by root neither.
        std::fs::create_dir(&stuck).unwrap();
        kept(&store, "call_a", &stuck).await;
        store.forget("t", &Subject::Number(Private::new("+call_a".into()))).await.unwrap();
        let erasure = Erasure::new(store, None);
        assert_eq!(erasure.run().await.unwrap().left, 1);
        std::fs::remove_dir(&stuck).unwrap();
        std::fs::write(&stuck, "x").unwrap();
        assert_eq!(erasure.run().await.unwrap().files, 1);
    }
}
