//! The heart of Patchbay without IO: the nouns of a call, and the [`Call`] machine that patches two legs together.
//!
//! Read `call.rs` first, `playout.rs` second. Time is an argument, consequences are returned, nothing here reaches a
//! socket, a clock or a runtime.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod format;
mod frame;
mod id;
mod leg;
mod reframe;
mod time;
mod transcoder;

pub use format::{Agreed, Codec, Format, negotiate};
pub use frame::{BadBase64, Frame, Payload};
pub use id::{ForeignMark, LegId, MarkId, UtteranceId};
pub use leg::{
    Caps, Command, Cut, Down, Event, Fault, Leg, LegError, Outbox, Pacing, Refusal, Role, Usage, Wire,
};
pub use reframe::Reframer;
pub use time::{Instant, MediaTime};
pub use transcoder::{CodecError, Transcoder, TranscoderFactory};
