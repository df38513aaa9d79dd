//! Sockets of the gateway: WebSocket [`Port`]s, the HTTP [`Listener`] that accepts them and the [`Dialer`] that opens them.
//!
//! The defaults of the stacks below are not safe at the edge (no header deadline, 64 MiB messages, no pings, unbounded
//! write buffers), so every limit is set here, once.

mod dial;
mod fetch;
mod io;
mod listen;
mod port;
mod pulse;
mod upgrade;

pub use dial::{BadCa, BadUrl, DialSpec, Dialer};
pub use fetch::{FetchSpec, Fetched};
pub use listen::{ListenLimits, Listener};
pub use port::Port;
pub use pulse::PortLimits;
pub use upgrade::{PortPending, UpgradeRefused, WsUpgrade};

#[cfg(test)]
mod tests;
