//! [`Carrier`]: what carries a leg's wires, as the driver polls it.

use std::task::{Context, Poll};

use patchbay_core::Wire;

use super::{BotPort, Port, RtcPort};

/// A leg's transport of whatever kind.
#[derive(Debug)]
pub enum Carrier {
    /// A WebSocket: open when it is handed over.
    WebSocket(Box<Port>),
    /// A WebRTC connection: says itself when it is open.
    Rtc(Box<RtcPort>),
    /// The requests of a bot: says itself when the first is there.
    Bot(Box<BotPort>),
}

impl Carrier {
    /// Whether it is open already.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    /// What came. Pending for ever after a close.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Wire> {
        match self {
            Self::WebSocket(port) => port.poll_recv(cx),
            Self::Rtc(port) => port.poll_recv(cx),
            Self::Bot(port) => port.poll_recv(cx),
        }
    }

    /// Hands over what is to leave with the next flush.
    pub fn send(&mut self, wire: Wire) {
        match self {
            Self::WebSocket(port) => port.send(wire),
            Self::Rtc(port) => port.send(wire),
            Self::Bot(port) => port.send(wire),
        }
    }

    /// Writes what was handed over.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::WebSocket(port) => port.poll_flush(cx),
            Self::Rtc(port) => port.poll_flush(cx),
            Self::Bot(port) => port.poll_flush(cx),
        }
    }

    /// Whether the peer keeps up. A datagram that does not get through is lost, and holds up nothing; a bot that reads slowly
    /// misses the oldest.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        match self {
            Self::WebSocket(port) => port.is_writable(),
            Self::Rtc(_) | Self::Bot(_) => true,
        }
    }

    /// Whether the end was delivered.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::WebSocket(port) => port.is_closed(),
            Self::Rtc(port) => port.is_closed(),
            Self::Bot(port) => port.is_closed(),
        }
    }

    /// The call is over, for this reason: whoever can be told is.
    pub fn ended(&mut self, reason: &'static str) {
        if let Self::Bot(port) = self {
            port.ended(reason);
        }
    }

    /// Says goodbye.
    pub fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::WebSocket(port) => port.poll_finish(cx),
            Self::Rtc(port) => port.poll_finish(cx),
            Self::Bot(port) => port.poll_finish(cx),
        }
    }
}
