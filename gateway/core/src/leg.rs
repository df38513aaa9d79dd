//! A [`Leg`]: one live peer of a call as a state machine without IO, and the words it exchanges with the call.
//!
//! Contract, tested for every leg by the contract suite:
//! never panics on arbitrary wire; emits nothing after [`Event::LegDown`]; [`Command::Flush`] silences;
//! [`Command::Hangup`] closes; [`Leg::poll_timeout`] is never in the past after a call into the leg.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Format, Frame, Instant, MarkId, MediaTime, Packet, Quality, Told, Usage, UtteranceId};

/// What crosses a transport. Ingress: all of them. Egress: `Text`, `Binary`, `Packet` and `Close`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// The transport is up.
    Opened,
    /// One message of UTF-8, checked by the transport.
    Text(#[serde(with = "text")] Bytes),
    /// One message of bytes.
    Binary(Bytes),
    /// One packet of media.
    Packet(Packet),
    /// Ingress: how well packets get through, about once a second.
    Quality(Quality),
    /// Ingress: the transport is gone (code 1006 when it broke without a close). Egress: close it.
    Close {
        /// RFC 6455 §7.4 close code.
        code: u16,
        /// At most 123 bytes of UTF-8.
        reason: Box<str>,
    },
    /// The transport could not be opened.
    Refused(Refusal),
}

/// A text message is a string in a recording.
mod text {
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _, ser::Error as _};

    pub(super) fn serialize<S: Serializer>(text: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(text).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        String::deserialize(from).map(Bytes::from).map_err(D::Error::custom)
    }
}

/// Never prints content: sizes and codes only.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("Opened"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Self::Packet(packet) => write!(f, "Packet({packet:?})"),
            Self::Quality(quality) => write!(f, "{quality:?}"),
            Self::Close { code, .. } => write!(f, "Close({code})"),
            Self::Refused(refusal) => write!(f, "Refused({refusal:?})"),
        }
    }
}

/// Why a dial failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The peer answered the upgrade with another status than 101.
    Status {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, if it was given in seconds.
        retry_after: Option<Duration>,
    },
    /// No address, no connection, reset.
    Unreachable,
    /// The deadline passed.
    Timeout,
    /// Certificate or protocol failure of TLS: never retried.
    Tls,
}

/// Whose fault it was. Decides close code, log level and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The peer broke its own protocol.
    PeerMisbehaved,
    /// The peer does something legal that we cannot serve.
    PeerIncompatible,
    /// The tenant's configuration: a key, a model name, a quota.
    TenantConfig,
    /// Too much at once, here or there.
    Overload,
    /// The network or the peer went away.
    PeerLost,
    /// Ours.
    Bug,
}

impl Fault {
    /// The close code that tells the peer (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(self) -> u16 {
        match self {
            Self::PeerMisbehaved => 1008,
            Self::PeerIncompatible => 1003,
            Self::TenantConfig | Self::PeerLost | Self::Bug => 1011,
            Self::Overload => 1013,
        }
    }

    /// Stable name for logs, metrics and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeerMisbehaved => "peer_misbehaved",
            Self::PeerIncompatible => "peer_incompatible",
            Self::TenantConfig => "tenant_config",
            Self::Overload => "overload",
            Self::PeerLost => "peer_lost",
            Self::Bug => "bug",
        }
    }
}

/// An error that ends the leg. The call closes the transport with `fault.close_code()`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({}, wire message {message})", fault.as_str())]
pub struct LegError {
    /// Whose fault it was.
    pub fault: Fault,
    /// What happened: a fixed phrase, never content.
    pub what: &'static str,
    /// Ordinal of the ingress message, from 1.
    pub message: u64,
}

/// Why a leg went down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down {
    /// The peer ended it on purpose, or we did.
    HungUp,
    /// The transport was lost; worth another try.
    Lost {
        /// Close code, 1006 when there was none.
        code: u16,
    },
    /// The provider's cap on the length of a session; worth another try, not counted as a failure.
    Expired,
    /// Refused for now.
    Refused {
        /// What the peer asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Another try would fail the same way.
    Fatal {
        /// Whose fault it was.
        fault: Fault,
        /// The peer's error code, or ours: a short token.
        code: Box<str>,
    },
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person.
    Caller,
    /// The model or bot.
    Model,
}

/// A fact from a leg, in the past tense.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The peer is ready for audio. From here on `Leg::caps` changes only with [`Event::Renegotiated`].
    LegUp,
    /// Audio came in. Of an utterance if `frame.utterance` is set.
    AudioReceived(Frame),
    /// Live audio that will not come any more: its place in time, between what was received before and what will be.
    AudioLost {
        /// How long it would have played.
        span: MediaTime,
        /// The packet behind it, if it is there; it is received next.
        next: Option<Bytes>,
    },
    /// How well packets get through.
    QualityReported(Quality),
    /// A new utterance begins. `item` is the provider's id.
    UtteranceStarted {
        /// Ours.
        utterance: UtteranceId,
        /// The provider's.
        item: Box<str>,
    },
    /// All of the utterance's audio has been received.
    UtteranceEnded {
        /// Which.
        utterance: UtteranceId,
    },
    /// The peer (or the peer's own detector) noticed that the other side began to speak.
    SpeechStarted,
    /// The other side stopped speaking: the peer will answer.
    SpeechStopped,
    /// The peer began to answer.
    ResponseStarted,
    /// The peer ended its answer. `completed` is false when it was cancelled, failed or incomplete.
    ResponseEnded {
        /// Whether it came to its own end.
        completed: bool,
    },
    /// A key was pressed: `0`–`9`, `*`, `#`, `A`–`D`.
    DtmfReceived(char),
    /// The peer says that playback reached a mark.
    MarkReached(MarkId),
    /// A transcript; when not final, `text` is the next piece.
    TranscriptReceived {
        /// Who said it.
        role: Role,
        /// The provider's item id.
        item: Box<str>,
        /// What was said. Personal data: never logged.
        text: Box<str>,
        /// Whether `text` is the whole.
        is_final: bool,
    },
    /// Metered use.
    UsageReported(Usage),
    /// An ingress message was dropped, not fatal: a fixed phrase for the counter.
    MessageDropped {
        /// Why: a short token, for a metric label.
        reason: &'static str,
    },
    /// The peer complained, not fatal: the error code.
    PeerComplained {
        /// The peer's error code, or `unknown`.
        code: Box<str>,
    },
    /// What the peer says in its API's own words, for the other side.
    Told(Told),
    /// The listener has played so much of an utterance, and plays on.
    Played {
        /// Which.
        utterance: UtteranceId,
        /// From its beginning.
        so_far: MediaTime,
    },
    /// The listener stopped playing an utterance by itself, when it had played `heard` of it.
    ListenerCut {
        /// Which.
        utterance: UtteranceId,
        /// From its beginning.
        heard: MediaTime,
    },
    /// The listener wants silence.
    Interrupted,
    /// The peer takes back what it said and was not heard yet.
    Withdrawn,
    /// The peer put a mark of its own behind all that it has said so far: answered by [`Command::EchoMark`].
    MarkPlaced(u32),
    /// The formats of [`Leg::caps`] are others from here on.
    Renegotiated,
    /// The leg is gone. The last event of a leg.
    LegDown(Down),
}

/// How much of an utterance the listener heard when it was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Which.
    pub utterance: UtteranceId,
    /// Played to the listener; rounded down.
    pub heard: MediaTime,
    /// Handed to the listener's transport.
    pub sent: MediaTime,
    /// Received from the source.
    pub received: MediaTime,
}

/// An intent to a leg, imperative.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Send this audio to the peer. Its format is `caps().egress`.
    Play(Frame),
    /// Ask the peer to tell when playback got here. Only if `caps().echoes_marks`.
    Mark(MarkId),
    /// Silence: drop what the peer has buffered.
    Flush,
    /// Stop generating; mute what still comes of the answer in progress, and of every utterance begun so far.
    Cancel,
    /// Tell the model what of its utterance was heard. `heard` zero: it was never said.
    Truncate(Cut),
    /// Speak first (a greeting), or speak now, following `instructions` if given.
    Respond {
        /// What to do or say.
        instructions: Option<Box<str>>,
    },
    /// Pass this on to the peer if it speaks that API; else nothing.
    Tell(Told),
    /// A mark that the peer placed is over ([`Event::MarkPlaced`]): tell it, if it wants to know.
    EchoMark {
        /// As it was placed.
        mark: u32,
        /// Whether the other side heard all that stands before it, or it was cut.
        played: bool,
    },
    /// The other side pressed this key: tell the peer, if it wants to know.
    Press(char),
    /// End the leg politely and close its transport.
    Hangup {
        /// Close code for the transport.
        code: u16,
    },
}

/// How audio towards a peer is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// Due at once; past `latency_max` the oldest is dropped.
    Live {
        /// Longest queue.
        latency_max: MediaTime,
    },
    /// Nothing is dropped; at most `lead` leaves ahead of the listener's play head; past `queue_max` the source is
    /// not read.
    Speech {
        /// How far we run ahead of the listener.
        lead: MediaTime,
        /// Longest queue.
        queue_max: MediaTime,
    },
}

/// What a peer can do, instead of the call guessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact about a protocol")]
pub struct Caps {
    /// Format of the audio that comes from the peer.
    pub ingress: Format,
    /// Format of the audio that the peer takes.
    pub egress: Format,
    /// How audio towards the peer is queued.
    pub pacing: Pacing,
    /// Audio towards the peer goes in multiples of this.
    pub multiple: MediaTime,
    /// Can drop what it has buffered.
    pub can_clear: bool,
    /// Tells when playback reached a mark.
    pub echoes_marks: bool,
    /// Echoes pending marks on a clear, so that such an echo proves nothing.
    pub echoes_marks_on_clear: bool,
    /// Notices by itself that the other side speaks.
    pub reports_speech: bool,
    /// Can stop an answer in progress.
    pub can_cancel: bool,
    /// Can be told how much of an utterance was heard.
    pub can_truncate: bool,
    /// Answers: a turn of the other side is followed by speech, so silence after it is a fault.
    pub answers: bool,
    /// Tells within moments of an interruption how much it had played: [`Event::ListenerCut`].
    pub reports_heard: bool,
}

/// Where a leg writes its consequences. Reused from call to call.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Egress, in order.
    pub wires: Vec<Wire>,
    /// Facts for the call, in order.
    pub events: Vec<Event>,
    arena: BytesMut,
}

impl Outbox {
    /// Composes one text message in the outbox's arena, so that messages share allocations.
    pub fn text(&mut self, compose: impl FnOnce(&mut BytesMut)) {
        // Two messages of a voice frame: what was sent is taken back at the next turn, while it is still in the cache.
        if self.arena.capacity() < 512 {
            self.arena.reserve(1024);
        }
        compose(&mut self.arena);
        self.wires.push(Wire::Text(self.arena.split().freeze()));
    }

    /// Adds an egress message that exists already.
    pub fn wire(&mut self, wire: Wire) {
        self.wires.push(wire);
    }

    /// Asks the shell to close the transport.
    pub fn close(&mut self, code: u16, reason: &str) {
        self.wires.push(Wire::Close { code, reason: reason.into() });
    }

    /// Adds a fact.
    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// One live peer as a state machine. See the module's contract.
pub trait Leg: Send {
    /// What the peer can do. May change until [`Event::LegUp`], and with [`Event::Renegotiated`].
    fn caps(&self) -> Caps;

    /// Takes what came from the transport.
    ///
    /// # Errors
    /// [`LegError`] ends the leg; the call closes its transport. Nothing may be written to `out` before it fails, but
    /// events that preceded the fault.
    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError>;

    /// Takes an intent of the call.
    ///
    /// # Errors
    /// As [`on_wire`](Self::on_wire).
    fn on_command(&mut self, command: Command, now: Instant, out: &mut Outbox) -> Result<(), LegError>;

    /// Called at or after [`poll_timeout`](Self::poll_timeout).
    ///
    /// # Errors
    /// As [`on_wire`](Self::on_wire).
    fn on_timeout(&mut self, _now: Instant, _out: &mut Outbox) -> Result<(), LegError> {
        Ok(())
    }

    /// When the leg next wants [`on_timeout`](Self::on_timeout).
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// A fresh leg to the same peer that carries on where this one ended: text history, audio that was not answered.
    /// It numbers its utterances upwards from where this one stopped. `None` when the peer cannot be reached again.
    fn successor(&self) -> Option<Box<dyn Leg>> {
        None
    }
}
