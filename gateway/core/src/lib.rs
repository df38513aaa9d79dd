//! The heart of Patchbay without IO: the nouns of a call, and the [`Call`] machine that patches two legs together.
//!
//! Read `call.rs` first, `playout.rs` second. Time is an argument, consequences are returned, nothing here reaches a
//! socket, a clock or a runtime.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod call;
mod dead_air;
mod directory;
mod format;
mod frame;
mod hook;
mod id;
mod ledger;
mod leg;
mod limit;
mod packet;
mod placed;
mod play_head;
mod playout;
mod price;
mod quality;
mod record;
mod redial;
mod reframe;
mod route;
mod side;
mod time;
mod told;
mod transcoder;
mod turn;
mod usage;

pub use call::{Call, CallConfig, Effect, EndReason, Fact, Input, Outcome, Output, PromptKind, Prompts, Tap};
pub use dead_air::{DeadAir, Overdue, Patience};
pub use directory::{
    BadBotId, BotId, CallName, Directory, DirectoryFull, DirectoryLimits, LeaseId, Leased, NotAccepted,
    NotOffered, Notice, Presence, Registration, Status, Withdrawal, Won,
};
pub use format::{Agreed, Codec, Format, negotiate};
pub use frame::{BadBase64, Frame, Payload};
pub use hook::{Hook, Verdict};
pub use id::{ForeignMark, LegId, MarkId, UtteranceId};
pub use ledger::Ledger;
pub use leg::{Caps, Command, Cut, Down, Event, Fault, Leg, LegError, Outbox, Pacing, Refusal, Role, Wire};
pub use limit::Limits;
pub use packet::{Packet, opus_duration};
pub use play_head::PlayHead;
pub use playout::{Playout, Unqueued};
pub use price::{Cost, Pattern, Price, PriceList, Rates, Step};
pub use quality::Quality;
pub use record::{Difference, Recorded, is_recorded, replay};
pub use redial::Redial;
pub use reframe::Reframer;
pub use route::{NoRoute, Route};
pub use time::{Instant, MediaTime};
pub use told::Told;
pub use transcoder::{CodecError, Transcoder, TranscoderFactory};
pub use turn::{BargeIn, Turn};
pub use usage::{Tokens, Usage};
