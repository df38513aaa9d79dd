//! The local file that holds what the database could not take: append-only segments, sealed, synced by batch.
//!
//! A record is its length and its CRC-32 (4 bytes each, little-endian), the lane (1 byte) and the sealed JSON of an
//! entry. A segment that was begun by an earlier run is never appended to.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::master_key::MasterKey;
use crate::queue::Lane;
use crate::row::Entry;
use crate::seal::{KeyBytes, Place, seal, unseal};

const SEGMENT_BYTES_MAX: u64 = 16 << 20;
const RECORD_BYTES_MAX: usize = 4 << 20;
const HEADER: usize = 8;

/// Where the spill lies and how large it may become.
#[derive(Clone, Debug)]
pub struct SpillOptions {
    /// A folder on a local disk, of this process alone.
    pub folder: PathBuf,
    /// Bytes after which records are dropped, and after three quarters of which transcripts are. Usage never is.
    pub bytes_max: u64,
}

/// What is in the spill.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spilled {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// A batch that was read, and how many records after it were torn or damaged.
pub(crate) struct Replay {
    pub(crate) entries: Vec<Entry>,
    pub(crate) torn: u64,
}

/// The spill of one process.
pub(crate) struct Spill {
    options: SpillOptions,
    key: KeyBytes,
    segments: VecDeque<Segment>,
    tail: Option<File>,
    next: u64,
    /// Entries of the first segment that are still to be written to the database.
    reading: Option<VecDeque<Entry>>,
    /// Held as long as the folder is ours.
    _lock: File,
}

struct Segment {
    number: u64,
    bytes: u64,
    /// `None`: an earlier run wrote it, and nobody has counted.
    entries: Option<u64>,
}

impl Spill {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// It cannot be used, or another process uses it.
    pub(crate) fn open(options: SpillOptions, master: &MasterKey) -> Result<Self, StoreError> {
        let folder = options.folder.clone();
        let unusable = |error: std::io::Error| spill_error(&folder, &error);
        std::fs::create_dir_all(&folder).map_err(unusable)?;
        let lock = private_file(&folder.join("lock"), false).map_err(unusable)?;
        if lock.try_lock().is_err() {
            let reason = "another patchbay uses it".to_owned();
            return Err(StoreError::Spill { place: folder.display().to_string(), reason });
        }
        let segments = segments(&folder).map_err(unusable)?;
        let next = segments.back().map_or(0, |segment| segment.number + 1);
        Ok(Self {
            options,
            key: master.derive("spill"),
            segments,
            tail: None,
            next,
            reading: None,
            _lock: lock,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn spilled(&self) -> Spilled {
        Spilled {
            entries: self.segments.iter().filter_map(|segment| segment.entries).sum(),
            bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
        }
    }

    /// Whether an entry of `lane` still finds room.
    pub(crate) fn has_room(&self, lane: Lane) -> bool {
        let bytes = self.spilled().bytes;
        match lane {
            Lane::Transcript => bytes < self.options.bytes_max / 4 * 3,
            Lane::Record => bytes < self.options.bytes_max,
            Lane::Usage => true,
        }
    }

    /// Appends entries and syncs them.
    ///
    /// # Errors
    /// Nothing is certain to be kept; what was written of it is a torn tail.
    pub(crate) fn append(&mut self, entries: &[Box<Entry>]) -> Result<(), StoreError> {
        let appended = self.try_append(entries);
        if appended.is_err() {
            // Whatever is at the end of this segment now, the next batch begins a new one.
            self.tail = None;
        }
        appended
    }

    fn try_append(&mut self, entries: &[Box<Entry>]) -> Result<(), StoreError> {
        let full = self.segments.back().is_some_and(|segment| segment.bytes >= SEGMENT_BYTES_MAX);
        if self.tail.is_none() || full {
            self.begin_segment()?;
        }
        let number = self.segments.back().expect("a segment was begun").number;
        let mut batch = Vec::new();
        for entry in entries {
            record(&self.key, number, entry, &mut batch)?;
        }
        let tail = self.tail.as_mut().expect("a segment was begun");
        let written = tail.write_all(&batch).and_then(|()| tail.sync_data());
        let segment = self.segments.back_mut().expect("a segment was begun");
        segment.bytes += batch.len() as u64;
        written.map_err(|error| spill_error(&self.options.folder, &error))?;
        segment.entries = segment.entries.map(|count| count + entries.len() as u64);
        if let (1, Some(reading)) = (self.segments.len(), &mut self.reading) {
            reading.extend(entries.iter().map(|entry| (**entry).clone()));
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), StoreError> {
        let folder = &self.options.folder;
        let file = private_file(&path(folder, self.next), true);
        let file = file.and_then(|file| File::open(folder)?.sync_all().map(|()| file));
        self.tail = Some(file.map_err(|error| spill_error(folder, &error))?);
        self.segments.push_back(Segment { number: self.next, bytes: 0, entries: Some(0) });
        self.next += 1;
        Ok(())
    }

    /// The next entries to write to the database, up to `count`; they stay until [`Self::done`].
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(crate) fn replay(&mut self, count: usize) -> Result<Replay, StoreError> {
        let mut torn = 0;
        while let Some(segment) = self.segments.front_mut() {
            if self.reading.is_none() {
                let read = read_segment(&self.options.folder, segment.number, &self.key)?;
                segment.entries = Some(read.entries.len() as u64);
                torn += read.torn;
                self.reading = Some(read.entries.into());
            }
            let reading = self.reading.as_ref().expect("it was read above");
            if !reading.is_empty() {
                return Ok(Replay { entries: reading.iter().take(count).cloned().collect(), torn });
            }
            self.drop_first()?;
        }
        Ok(Replay { entries: Vec::new(), torn })
    }

    /// The first `count` entries are in the database. A segment goes when all of it is.
    ///
    /// # Errors
    /// The segment cannot be deleted; it will be written again, which does no harm.
    pub(crate) fn done(&mut self, count: usize) -> Result<(), StoreError> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        reading.drain(..count.min(reading.len()));
        let left = reading.len() as u64;
        if let Some(segment) = self.segments.front_mut() {
            segment.entries = Some(left);
        }
        if left == 0 { self.drop_first() } else { Ok(()) }
    }

    fn drop_first(&mut self) -> Result<(), StoreError> {
        let Some(segment) = self.segments.pop_front() else { return Ok(()) };
        self.reading = None;
        if self.segments.is_empty() {
            self.tail = None;
        }
        let file = path(&self.options.folder, segment.number);
        std::fs::remove_file(&file).map_err(|error| spill_error(&file, &error))
    }

    /// Keeps a usage row that the database refused, without its user, for a person to look at. It is not written again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep_refused(&self, mut entry: Entry) -> Result<(), StoreError> {
        let file = self.options.folder.join("refused");
        if let Entry::Usage(row) = &mut entry {
            row.user = None;
        }
        let mut bytes = Vec::new();
        record(&self.key, u64::MAX, &entry, &mut bytes)?;
        let opened =
            private_file(&file, false).and_then(|mut opened| opened.seek(SeekFrom::End(0)).map(|_| opened));
        let written =
            opened.and_then(|mut opened| opened.write_all(&bytes).and_then(|()| opened.sync_data()));
        written.map_err(|error| spill_error(&file, &error))
    }
}

fn record(key: &KeyBytes, segment: u64, entry: &Entry, out: &mut Vec<u8>) -> Result<(), StoreError> {
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(entry).expect("an entry has a JSON form"));
    let lane = Lane::of(entry);
    let segment = segment.to_string();
    let sealed = seal(key, 0, &place(&segment, lane.as_str()), &plain)?;
    let mut payload = Vec::with_capacity(sealed.len() + 1);
    payload.push(lane as u8);
    payload.extend_from_slice(&sealed);
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= RECORD_BYTES_MAX);
    let length = length.ok_or_else(|| StoreError::invalid("an entry is too long to be kept"))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(())
}

fn place<'a>(segment: &'a str, lane: &'a str) -> Place<'a> {
    Place { tenant: "", table: "spill", row: segment, column: lane }
}

/// Reads what is whole. A record with a wrong checksum is left out; after a length that cannot be, nothing is read.
fn read_segment(folder: &Path, number: u64, key: &KeyBytes) -> Result<Replay, StoreError> {
    let file = path(folder, number);
    let mut bytes = Vec::new();
    let read = File::open(&file).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(|error| spill_error(&file, &error))?;
    let mut replay = Replay { entries: Vec::new(), torn: 0 };
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let Some((payload, sum, after)) = split_record(rest) else {
            replay.torn += 1;
            break;
        };
        rest = after;
        if crc32fast::hash(payload) != sum {
            replay.torn += 1;
            continue;
        }
        // The sum is right, so it is what was written: only another key can fail to open it.
        let entry = open_record(key, number, payload).ok_or_else(|| StoreError::Key {
            what: format!("the spill {} was sealed with another master key", file.display()),
            advice: "start once with that key, so that it is written to the database, or move the file away",
        })?;
        replay.entries.push(entry);
    }
    Ok(replay)
}

/// A payload, its checksum, and what follows.
fn split_record(bytes: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let length = u32::from_le_bytes(header[..4].try_into().expect("four bytes")) as usize;
    let sum = u32::from_le_bytes(header[4..].try_into().expect("four bytes"));
    let (payload, after) =
        rest.split_at_checked(length).filter(|_| length > 0 && length <= RECORD_BYTES_MAX)?;
    Some((payload, sum, after))
}

fn open_record(key: &KeyBytes, segment: u64, payload: &[u8]) -> Option<Entry> {
    let (lane, sealed) = payload.split_first()?;
    let lane = Lane::ALL.into_iter().find(|known| *known as u8 == *lane)?;
    let plain = unseal(key, &place(&segment.to_string(), lane.as_str()), sealed)?;
    serde_json::from_slice(&plain).ok()
}

fn segments(folder: &Path) -> std::io::Result<VecDeque<Segment>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".spill")).and_then(|n| n.parse().ok());
        if let Some(number) = number {
            found.push(Segment { number, bytes: file.metadata()?.len(), entries: None });
        }
    }
    found.sort_by_key(|segment| segment.number);
    Ok(found.into())
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.spill"))
}

/// A file that only its owner may read.
fn private_file(path: &Path, new: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(!new).create_new(new).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn spill_error(place: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Spill { place: place.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
