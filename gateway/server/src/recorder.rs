//! Writes a call's inputs and outputs to a file, so that `patchbay replay` can run it again. One JSON value a line.
//!
//! The first line is the [`Header`]: what is needed to build the same call. The writer is a task of its own behind a
//! bounded queue. If it falls behind, the recording ends there, and says so; the call does not wait.

use std::path::{Path, PathBuf};

use patchbay_core::{Call, CallConfig, Format, Prompts, Recorded};
use patchbay_legs::ConfigError;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::sync::mpsc;

use crate::calls::open;

/// Lines that may wait for the disk: some seconds of a call.
const QUEUE_MAX: usize = 4096;

/// How the names of such files end.
pub const SUFFIX: &str = ".jsonl";

/// Name of the recording of `call` in its folder.
#[must_use]
pub fn file_name(call: &str) -> String {
    format!("{call}{SUFFIX}")
}

/// First line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the recording's form.
    pub patchbay_recording: u32,
    /// What the call was told.
    pub call: CallConfig,
    /// The caller's leg.
    pub caller: LegPlan,
    /// The callee's leg.
    pub callee: LegPlan,
    /// The leg of whoever may come to steer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<LegPlan>,
}

impl Header {
    /// The call before its first input.
    ///
    /// # Errors
    /// [`ConfigError`] when a leg refuses its configuration.
    pub fn call(&self, prompts: Prompts) -> Result<Call, ConfigError> {
        let (caller, callee) = (open(&self.caller)?, open(&self.callee)?);
        let call = Call::new(self.call.clone(), prompts, patchbay_codec::transcoder, caller, callee);
        let Some(aside) = &self.aside else { return Ok(call) };
        Ok(call.with_aside(open(aside)?))
    }
}

/// All that is needed to make one leg. Holds no secret: keys are added by the shell when it dials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegPlan {
    /// Endpoint kind.
    pub kind: String,
    /// The endpoint's own configuration.
    pub config: serde_json::Value,
    /// From the peer to us.
    pub ingress: Format,
    /// From us to the peer.
    pub egress: Format,
}

/// The writing end of one recording.
pub struct Recorder {
    lines: Option<mpsc::Sender<Recorded>>,
}

impl Recorder {
    /// Opens `<folder>/<call>.jsonl` in a task of its own.
    #[must_use]
    pub fn start(folder: &Path, call: &str, header: Header) -> Self {
        let (lines, queue) = mpsc::channel(QUEUE_MAX);
        let path = folder.join(file_name(call));
        tokio::spawn(async move {
            if let Err(error) = write_all(path, header, queue).await {
                tracing::warn!(%error, "recording ended early");
            }
        });
        Self { lines: Some(lines) }
    }

    /// Adds a line, or ends the recording if the disk is too slow.
    pub fn write(&mut self, line: Recorded) {
        if self.lines.as_ref().is_some_and(|lines| lines.try_send(line).is_err()) {
            tracing::warn!("recording ended: the disk is too slow");
            self.lines = None;
        }
    }
}

async fn write_all(
    path: PathBuf,
    header: Header,
    mut queue: mpsc::Receiver<Recorded>,
) -> std::io::Result<()> {
    let mut file = BufWriter::new(tokio::fs::File::create(path).await?);
    file.write_all(&line(&header)?).await?;
    while let Some(recorded) = queue.recv().await {
        file.write_all(&line(&recorded)?).await?;
        if queue.is_empty() {
            file.flush().await?;
        }
    }
    file.flush().await
}

fn line(value: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
