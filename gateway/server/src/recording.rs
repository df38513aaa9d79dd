//! The sound of a call in a file: stereo, what the caller said left, what the caller heard right. Off by default.
//!
//! Not to be mixed up with [`recorder`](crate::recorder), which keeps the inputs of a call for a replay. The call only
//! writes what happened into a bounded queue and never waits. A task of its own makes sound of it and hands it to the
//! disk second by second. If the task falls behind, audio is dropped before the queue and is silence in the file;
//! what stands after it stays where it belongs. A cut is never dropped.

pub mod airing;
mod heard;
mod said;
mod stereo;
#[cfg(test)]
mod tests;
mod track;
mod wave;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::{Format, Tap};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use self::stereo::{Piece, Stereo};
use self::wave::Wave;
use crate::metrics::Metrics;

/// What may wait for the disk: five seconds of both directions.
const QUEUE_MAX: usize = 512;
/// Of that, places that only cuts and the end may take.
const RESERVED: usize = 64;
/// Taken from the queue at a time.
const BATCH: usize = 64;
/// What is left after the end of a call is written within this.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// That a call is to be recorded, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Where the file goes. Made if it is not there.
    pub folder: PathBuf,
    /// Samples a second of each channel.
    pub rate_hz: u32,
}

impl Order {
    /// 8 kHz when the caller says and hears that, else 24 kHz.
    #[must_use]
    pub fn new(folder: &Path, said: Format, heard: Format) -> Self {
        let is_narrow = said.rate_hz == 8_000 && heard.rate_hz == 8_000;
        // What is written down must be found from wherever the gateway is started next.
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Self { folder, rate_hz: if is_narrow { 8_000 } else { 24_000 } }
    }

    /// The file of `call`.
    #[must_use]
    pub fn path(&self, call: &str) -> PathBuf {
        self.folder.join(file_name(call))
    }
}

/// Name of the recording of `call` in its folder.
#[must_use]
pub fn file_name(call: &str) -> String {
    format!("{call}.wav")
}

/// Where the recording is while the call runs, and stays if it could not be completed.
#[must_use]
pub fn unfinished(whole: &Path) -> PathBuf {
    whole.with_added_extension("part")
}

/// The end of a recording that the call writes to.
pub struct Recording {
    taps: Option<mpsc::Sender<Tap>>,
    metrics: Arc<Metrics>,
    fell_behind: bool,
}

impl Recording {
    /// Begins the recording of `call` in a task of its own.
    #[must_use]
    pub fn start(order: Order, call: &str, metrics: &Arc<Metrics>) -> (Self, Writing) {
        let whole = order.path(call);
        let part = unfinished(&whole);
        let rate_hz = order.rate_hz;
        let (folder, path) = (order.folder, part.clone());
        let open = move || create(&folder, &path);
        let close = move |file: File| file.sync_all().and_then(|()| std::fs::rename(&part, &whole));
        Self::over(rate_hz, open, close, metrics)
    }

    /// Over any file. `open` and `close` may block.
    fn over<F: Read + Write + Seek + Send + 'static>(
        rate_hz: u32,
        open: impl FnOnce() -> io::Result<F> + Send + 'static,
        close: impl FnOnce(F) -> io::Result<()> + Send + 'static,
        metrics: &Arc<Metrics>,
    ) -> (Self, Writing) {
        let (taps, queue) = mpsc::channel(QUEUE_MAX);
        let counters = Arc::clone(metrics);
        let task = tokio::spawn(async move {
            let written = write(rate_hz, open, close, queue).await;
            if let Err(error) = &written {
                counters.recording_failed();
                tracing::warn!(%error, "a recording cannot be written");
            }
            written.is_ok()
        });
        let recording = Self { taps: Some(taps), metrics: Arc::clone(metrics), fell_behind: false };
        (recording, Writing(task))
    }

    /// Takes note while the machine has other worries: sound is not taken, and is silence in the file.
    pub fn tap_without_sound(&mut self, tap: &Tap) {
        if is_sound(tap) {
            self.metrics.recording_frame_lost();
        } else {
            self.tap(tap);
        }
    }

    /// Takes note. Never waits.
    pub fn tap(&mut self, tap: &Tap) {
        let Some(taps) = &self.taps else { return };
        let is_sound = is_sound(tap);
        let left = if is_sound { RESERVED } else { 0 };
        if taps.capacity() > left {
            // A writer that failed has said so.
            drop(taps.try_send(tap.clone()));
            return;
        }
        self.metrics.recording_frame_lost();
        if !std::mem::replace(&mut self.fell_behind, true) {
            tracing::warn!("a recording falls behind: the disk is too slow, what is dropped is silence");
        }
        if !is_sound {
            // Without the cut, the file would hold what nobody heard: it ends here.
            self.taps = None;
        }
    }
}

const fn is_sound(tap: &Tap) -> bool {
    matches!(tap, Tap::Said { .. } | Tap::Played { .. } | Tap::Delayed { .. })
}

/// The task that writes; whoever started the recording waits for it.
pub struct Writing(JoinHandle<bool>);

impl Writing {
    /// Resolves when the file is complete, or will not be. Tells which.
    pub async fn finished(mut self) -> bool {
        let Ok(result) = timeout(FINISH_WITHIN, &mut self.0).await else {
            self.0.abort();
            tracing::warn!("a recording is incomplete: the disk did not answer in time");
            return false;
        };
        result.unwrap_or(false)
    }
}

/// A file that only its owner can read, in a folder that only its owner can enter.
fn create(folder: &Path, path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

async fn write<F: Read + Write + Seek + Send + 'static>(
    rate_hz: u32,
    open: impl FnOnce() -> io::Result<F> + Send + 'static,
    close: impl FnOnce(F) -> io::Result<()> + Send + 'static,
    mut queue: mpsc::Receiver<Tap>,
) -> io::Result<()> {
    let mut wave = blocking(move || Wave::begin(open()?, rate_hz)).await?;
    let mut stereo = Stereo::new(rate_hz);
    let mut taps = Vec::with_capacity(BATCH);
    let mut is_over = false;
    while !is_over && queue.recv_many(&mut taps, BATCH).await > 0 {
        is_over = taps.drain(..).any(|tap| stereo.take(&tap));
        wave = apply(wave, stereo.pieces()).await?;
    }
    if !is_over {
        stereo.end(None);
        wave = apply(wave, stereo.pieces()).await?;
    }
    blocking(move || close(wave.into_file())).await
}

async fn apply<F: Read + Write + Seek + Send + 'static>(
    mut wave: Wave<F>,
    pieces: Vec<Piece>,
) -> io::Result<Wave<F>> {
    if pieces.is_empty() {
        return Ok(wave);
    }
    blocking(move || wave.apply(&pieces).map(|()| wave)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
