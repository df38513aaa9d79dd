//! Bots that take calls from a Patchbay gateway over plain HTTP: no public address, no WebRTC, no codec.
//!
//! A [`Bot`] registers and is offered calls; a [`Call`] is one that it has taken.

mod attestation;
mod backoff;
mod bot;
mod call;
mod download;
mod error;
mod framing;
mod gateway;
mod key;
mod sse;
mod upload;

pub use self::attestation::{Attestation, Level, TicketFault};
pub use self::bot::{Bot, IncomingCall, Options, Wish};
pub use self::call::{Call, CallEvent, Mode};
pub use self::download::{AudioPacket, Incoming};
pub use self::error::{Error, Refusal};
pub use self::framing::PACKET_BYTES_MAX;
pub use self::key::BotKey;

/// Opus packets, which pass through the gateway untouched.
pub const OPUS: &str = "audio/opus";
/// Raw µ-law.
pub const ULAW: &str = "audio/x-mulaw;rate=8000";
/// Raw samples: signed, 16 bits, little-endian.
pub const PCM_24K: &str = "audio/pcm;rate=24000";
