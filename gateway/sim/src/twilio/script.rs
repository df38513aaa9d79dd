//! Who calls and what they do.

use std::collections::BTreeMap;

use bytes::Bytes;
use patchbay_core::Format;

/// The stream that the double opens.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MZ…`
    pub stream_sid: String,
    /// `CA…`
    pub call_sid: String,
    /// `AC…`
    pub account_sid: String,
    /// `<Parameter>`s of the TwiML.
    pub custom_parameters: BTreeMap<String, String>,
    /// What `start.mediaFormat` announces and the script's audio is in. Every real stream so far was µ-law.
    pub format: Format,
    /// Timestamp of the first 20 ms; real calls showed 102, 155 and 171.
    pub first_timestamp_ms: u64,
    /// What is sent while the caller is silent.
    pub silence: Silence,
    /// Whether the timeline and the log of `media` messages are kept. Load generators do without.
    pub records: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_sid: "MZ00000000000000000000000000000001".into(),
            call_sid: "CA00000000000000000000000000000001".into(),
            account_sid: "AC00000000000000000000000000000001".into(),
            custom_parameters: BTreeMap::new(),
            format: Format::PCMU,
            first_timestamp_ms: 155,
            silence: Silence::Frames,
            records: true,
        }
    }
}

/// What is sent while the caller is silent. Both were seen on real calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// A frame of silence every 20 ms.
    Frames,
    /// Nothing; the timestamp jumps.
    Holes,
}

/// One thing that the caller does. The script runs on the double's clock of 20 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Does nothing for that many milliseconds.
    Wait(u64),
    /// Says this audio, of the stream's format, in real time; done when it has been said.
    Say(Bytes),
    /// Waits until something plays.
    WaitForAudio {
        /// Gives up after this; the log tells.
        at_most_ms: u64,
    },
    /// Waits until nothing has played for `ms`.
    WaitForSilence {
        /// How long it is to be silent.
        ms: u64,
        /// Gives up after this; the log tells.
        at_most_ms: u64,
    },
    /// Presses a key.
    Dtmf(char),
    /// Says `audio` when that much of the speech in progress has been heard; gives up waiting after 30 s.
    BargeIn {
        /// Audio heard of the speech in progress.
        after_ms_of_model_speech: u64,
        /// What is said.
        audio: Bytes,
    },
    /// Sends this text as it is: a fault.
    Send(String),
    /// Hangs up: `stop`, then a close.
    HangUp,
    /// The connection breaks: no `stop`. Shown as a close with code 1006, which the harness turns into a reset.
    Reset,
}
