//! [`PortLimits`] and the [`Pulse`] that watches over a quiet, stalled or closing socket.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// What a port allows its peer. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLimits {
    /// Longest message and frame from the peer; a longer one closes with 1009.
    pub message_max: usize,
    /// Bytes that the framing asks for at once. It clears them each time, so it is sized for voice: the socket itself is
    /// read in larger pieces, into a buffer that all ports of a thread share.
    pub read_size: usize,
    /// Above this the peer is slow: [`Port::is_writable`](super::Port::is_writable) is false.
    pub high_water: usize,
    /// Above this the port is broken off: the peer does not read.
    pub backlog_max: usize,
    /// A ping goes out this often.
    pub ping_every: Duration,
    /// A peer that sent nothing at all for this long (up to a third of `ping_every` longer) is dead.
    pub dead_after: Duration,
    /// A peer that takes nothing of what is pending for this long is dead.
    pub stall_max: Duration,
    /// How long a close handshake may take.
    pub close_within: Duration,
}

impl PortLimits {
    /// For sockets that anyone can open: 64 KiB a message.
    pub const PUBLIC: Self = Self {
        message_max: 64 * 1024,
        read_size: 1024,
        high_water: 64 * 1024,
        backlog_max: 1024 * 1024,
        ping_every: Duration::from_secs(15),
        dead_after: Duration::from_secs(35),
        stall_max: Duration::from_secs(10),
        close_within: Duration::from_secs(2),
    };
    /// For sockets to a provider, whose audio deltas may be long: 16 MiB a message.
    pub const PROVIDER: Self = Self { message_max: 16 * 1024 * 1024, read_size: 1024, ..Self::PUBLIC };

    pub(super) fn framing(&self) -> WebSocketConfig {
        // The framing never writes by itself, and never runs out of room before the port breaks off.
        let room = self.backlog_max + 64 * 1024;
        WebSocketConfig::default()
            .read_buffer_size(self.read_size)
            .write_buffer_size(room)
            .max_write_buffer_size(2 * room)
            .max_message_size(Some(self.message_max))
            .max_frame_size(Some(self.message_max))
    }
}

/// What the pulse asks the port to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a ping.
    Ping,
    /// The peer sent nothing for too long, or takes nothing.
    Dead,
    /// The close handshake took too long.
    CloseExpired,
}

/// One timer a port, re-armed every few seconds and never per message: it compares byte counters from beat to beat.
#[derive(Debug)]
pub(super) struct Pulse {
    timer: Pin<Box<Sleep>>,
    /// Who is woken when the timer fires: polling it again for the same task costs more than looking.
    waker: Option<Waker>,
    tick: Duration,
    closing: bool,
    read_seen: u64,
    written_seen: u64,
    quiet: Duration,
    stalled: Duration,
    since_ping: Duration,
}

impl Pulse {
    pub(super) fn new(limits: &PortLimits) -> Self {
        let tick = (limits.ping_every.min(limits.dead_after).min(limits.stall_max * 3) / 3)
            .max(Duration::from_millis(5));
        Self {
            timer: Box::pin(sleep_until(Instant::now() + tick)),
            waker: None,
            tick,
            closing: false,
            read_seen: 0,
            written_seen: 0,
            quiet: Duration::ZERO,
            stalled: Duration::ZERO,
            since_ping: Duration::ZERO,
        }
    }

    /// From now on only the close deadline counts.
    pub(super) fn start_closing(&mut self, limits: &PortLimits) {
        if !self.closing {
            self.closing = true;
            self.waker = None;
            self.timer.as_mut().reset(Instant::now() + limits.close_within);
        }
    }

    /// `read` and `written` count bytes so far; `pending` is what waits to be written.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        limits: &PortLimits,
        (read, written, pending): (u64, u64, usize),
    ) -> Poll<Beat> {
        while self.has_fired(cx) {
            if self.closing {
                return Poll::Ready(Beat::CloseExpired);
            }
            self.timer.as_mut().reset(Instant::now() + self.tick);
            if let Some(beat) = self.beat(limits, read, written, pending) {
                return Poll::Ready(beat);
            }
        }
        Poll::Pending
    }

    fn has_fired(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) && !self.timer.is_elapsed() {
            return false;
        }
        let has_fired = self.timer.as_mut().poll(cx).is_ready();
        self.waker = (!has_fired).then(|| cx.waker().clone());
        has_fired
    }

    fn beat(&mut self, limits: &PortLimits, read: u64, written: u64, pending: usize) -> Option<Beat> {
        self.quiet = if read == self.read_seen { self.quiet + self.tick } else { Duration::ZERO };
        self.stalled = if pending > 0 && written == self.written_seen {
            self.stalled + self.tick
        } else {
            Duration::ZERO
        };
        self.since_ping += self.tick;
        self.read_seen = read;
        self.written_seen = written;
        if self.quiet >= limits.dead_after || self.stalled >= limits.stall_max {
            return Some(Beat::Dead);
        }
        if self.since_ping >= limits.ping_every {
            self.since_ping = Duration::ZERO;
            return Some(Beat::Ping);
        }
        None
    }
}
