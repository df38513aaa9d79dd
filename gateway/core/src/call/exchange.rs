//! What a call and its shell say to each other: how it is set up, what goes in, and what comes out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Tap;
use crate::dead_air::Patience;
use crate::leg::{Cut, Event, Fault, Wire};
use crate::turn::BargeIn;
use crate::{LegId, Limits, MediaTime};

/// What a call is told when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallConfig {
    /// What interrupts the callee.
    pub barge_in: BargeIn,
    /// Whether the callee speaks first.
    pub greets: bool,
    /// What it is to say then; the callee's own choice when absent.
    pub greeting: Option<Box<str>>,
    /// How long the caller waits for what.
    pub patience: Patience,
    /// Limits.
    pub limits: Limits,
    /// Makes everything that looks random.
    pub seed: u64,
    /// Whether what is said and heard is told, for a recording.
    pub records: bool,
    /// Whether the caller is told first of all that the call is recorded.
    pub announces: bool,
}

/// Prompts that need no provider, as µ-law at 8 kHz.
#[derive(Clone, Debug, Default)]
pub struct Prompts {
    /// A soft sound: somebody is working on it.
    pub filler: Bytes,
    /// "One moment, please."
    pub notice: Bytes,
    /// "We cannot take your call."
    pub apology: Bytes,
    /// "The budget for this call is used up."
    pub budget: Bytes,
    /// "This call is recorded."
    pub recorded: Bytes,
}

/// What the shell tells the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The call begins.
    Start,
    /// Something came from the transport of a leg.
    Wire {
        /// Whose transport; one that was replaced is ignored.
        leg: LegId,
        /// What came.
        wire: Wire,
    },
    /// Time has passed.
    Timeout,
    /// The transport of a leg takes nothing for now (`true`), or takes again (`false`).
    Stalled {
        /// Whose transport.
        leg: LegId,
        /// Whether it is stalled.
        stalled: bool,
    },
    /// Say this to the caller; the call goes on.
    Say {
        /// What.
        prompt: PromptKind,
    },
    /// End the call: somebody in charge says so. For a shutdown, the first such input waits for a quiet moment, the
    /// second does not.
    End {
        /// Why.
        reason: EndReason,
    },
}

/// What the shell is asked to do, or told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Hand this to the transport of the leg.
    Wire {
        /// Whose transport.
        leg: LegId,
        /// What to send.
        wire: Wire,
    },
    /// Do this.
    Effect(Effect),
    /// A leg said this: for the journal. Never audio, and not recorded: it follows from the input.
    #[serde(skip)]
    Event {
        /// Which.
        leg: LegId,
        /// What.
        event: Event,
    },
    /// The call says this: for the journal and the metrics.
    Fact(Fact),
    /// Said, heard: for the recording. Not part of a replay: it follows from the input.
    #[serde(skip)]
    Tap(Tap),
}

/// A request to the shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Get a transport for this leg: dial it, or expect its peer to come. Answered by `Wire::Opened` or `Wire::Refused`.
    Open {
        /// Which.
        leg: LegId,
        /// Whether it is the callee's side.
        callee: bool,
    },
    /// The call is over; the last output. Transports are closed already.
    Ended(Outcome),
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The caller hung up.
    CallerHungUp,
    /// The callee hung up.
    CalleeHungUp,
    /// The caller's transport never came, or did not come back.
    CallerLost,
    /// The callee could not be reached, or not again.
    CalleeLost,
    /// A leg broke its protocol.
    Misbehaved,
    /// A limit was reached.
    Limit,
    /// The tenant's money is spent: the caller is told.
    Spend,
    /// An operator, the API or a plugin ended it.
    Requested,
    /// The gateway is going down.
    Shutdown,
}

impl EndReason {
    /// Stable name for logs, metrics and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallerHungUp => "caller_hung_up",
            Self::CalleeHungUp => "callee_hung_up",
            Self::CallerLost => "caller_lost",
            Self::CalleeLost => "callee_lost",
            Self::Misbehaved => "misbehaved",
            Self::Limit => "limit",
            Self::Spend => "spend_limit",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why.
    pub reason: EndReason,
    /// Whose fault, if it was one.
    pub fault: Option<Fault>,
    /// The error code of the peer, or ours.
    pub code: Option<Box<str>>,
}

/// What the call itself has to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// First audio of an answer went out, this long after it was owed (microseconds).
    Answered {
        /// Since the answer was owed.
        after_us: u64,
    },
    /// An utterance was interrupted.
    Cut(Cut),
    /// The callee is dialled again.
    Redialled {
        /// How many dials since it was last heard, this one included.
        attempt: u32,
    },
    /// The callee's connection was renewed before its cap.
    Rotated,
    /// The caller's transport broke; the call waits.
    CallerDetached,
    /// It came back.
    CallerReturned,
    /// The caller was played a prompt because an answer is late.
    Prompted(PromptKind),
    /// Live audio was dropped because its receiver was slow.
    AudioDropped {
        /// Towards whom.
        leg: LegId,
        /// How much.
        span: MediaTime,
    },
    /// A frame could not be carried: no transcoder, a bad packet, or a source that overran a full queue.
    FrameLost {
        /// Towards whom.
        leg: LegId,
    },
}

/// Which prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptKind {
    /// The soft sound.
    Filler,
    /// The notice.
    Notice,
    /// The apology.
    Apology,
    /// That the money is spent.
    Budget,
    /// That the call is recorded.
    Recorded,
}
