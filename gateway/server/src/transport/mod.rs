//! Sockets of the gateway: WebSocket [`Port`]s, the [`Gate`] of every WebRTC call, the HTTP [`Listener`] that accepts them and the [`Dialer`] that opens them.
//!
//! The defaults of the stacks below are not safe at the edge (no header deadline, 64 MiB messages, no pings, unbounded
//! write buffers), so every limit is set here, once.

mod bot_port;
mod carrier;
mod dial;
mod fetch;
mod io;
mod listen;
mod port;
mod pulse;
mod rtc;
mod upgrade;

pub use bot_port::{
    Acknowledged, BotPort, Heard, Listening, Meeting, Meetings, Occasion, Reading, Speaking, Unsaid, Untold,
    Uptake, span_of,
};
pub use carrier::Carrier;
pub use dial::{BadCa, BadUrl, DialSpec, Dialer};
pub use fetch::{FetchSpec, Fetched};
pub use listen::{ListenLimits, Listener};
pub use port::Port;
pub use pulse::PortLimits;
pub use rtc::{Answer, Gate, GateSpec, OfferError, RtcPort};
pub use upgrade::{PortPending, UpgradeRefused, WsUpgrade};

#[cfg(test)]
mod tests;
