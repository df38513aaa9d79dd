//! [`Port`]: one WebSocket as the driver polls it. No task, no channel, no copy that the framing does not need.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use patchbay_core::Wire;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::io::{Io, Later, Now, Stream};
use super::pulse::{Beat, PortLimits, Pulse};

/// RFC 6455 §7.4.1: the connection broke without a close.
const ABNORMAL: u16 = 1006;
/// RFC 6455 §7.4.1: the close carried no code.
const NO_STATUS: u16 = 1005;

/// One WebSocket in either role.
///
/// The driver, woken once, calls [`send`](Self::send) for all it has, [`poll_recv`](Self::poll_recv) until pending, and
/// [`poll_flush`](Self::poll_flush) once. Pings, pongs, deadlines and the close handshake are handled inside. Failures
/// never surface as errors: the port delivers one [`Wire::Close`], and after it nothing.
#[derive(Debug)]
pub struct Port {
    io: Io,
    /// The framing. It is driven by hand: tokio-tungstenite's stream would put two wakers of its own in between, which
    /// pays only when reader and writer are two tasks.
    framing: Box<WebSocketContext>,
    limits: PortLimits,
    role: Role,
    state: State,
    pulse: Pulse,
    /// Bytes handed to the framing since it was last empty, and the stream's `written` at that moment.
    queued: u64,
    written_base: u64,
    write_failed: bool,
    /// Held, never read: dropping it frees the listener's slot.
    _slot: Option<Slot>,
}

/// One of the listener's connections.
pub(super) type Slot = Arc<OwnedSemaphorePermit>;

#[derive(Debug)]
enum State {
    Open,
    /// We sent a close and wait for the peer's.
    Closing,
    /// The end is decided but not yet delivered to the driver.
    Ending {
        code: u16,
        reason: Box<str>,
        farewell: bool,
    },
    /// The driver knows. What is queued goes out, then our side is shut and the rest of the peer's bytes discarded, so
    /// that the kernel does not answer them with a reset that would destroy the close frame.
    Farewell {
        shut: bool,
    },
    Gone,
}

impl Port {
    /// A port over a stream whose upgrade is done. `early` are bytes that were read with the upgrade.
    pub(super) fn over(stream: Stream, early: Vec<u8>, role: Role, limits: PortLimits) -> Self {
        let framing = WebSocketContext::from_partially_read(early, role, Some(limits.framing()));
        Self {
            io: Io::new(stream),
            framing: Box::new(framing),
            pulse: Pulse::new(&limits),
            limits,
            role,
            state: State::Open,
            queued: 0,
            written_base: 0,
            write_failed: false,
            _slot: None,
        }
    }

    /// The listener's slot, given back when the port is dropped.
    pub(super) fn holding(mut self, slot: Option<Slot>) -> Self {
        self._slot = slot;
        self
    }

    /// The next message, or the end: `Text`, `Binary`, then exactly one `Close` (code 1006 when the connection broke,
    /// 1005 when the close had no code, else the peer's code or the one of our refusal). Pending for ever after it.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Wire> {
        loop {
            match &self.state {
                State::Open | State::Closing => {}
                State::Ending { .. } => return Poll::Ready(self.deliver_end()),
                State::Farewell { .. } | State::Gone => return Poll::Pending,
            }
            match self.poll_message(cx) {
                Poll::Ready(Ok(message)) => {
                    if let Some(wire) = self.received(message) {
                        return Poll::Ready(wire);
                    }
                    // A peer that floods a closing port must not outlive the close deadline.
                    if matches!(self.state, State::Closing) {
                        let _ = self.poll_pulse(cx);
                    }
                }
                Poll::Ready(Err(error)) => self.failed(&error),
                Poll::Pending => ready!(self.poll_pulse(cx)),
            }
        }
    }

    /// Queues a message or the close; never waits and never writes before the flush (below 64 KiB). After a close,
    /// everything is ignored.
    pub fn send(&mut self, wire: Wire) {
        if !matches!(self.state, State::Open) {
            return;
        }
        match wire {
            // Legs write text as UTF-8, from `&str` and ASCII: it need not be looked at again for each frame.
            Wire::Text(bytes) => {
                debug_assert!(std::str::from_utf8(&bytes).is_ok(), "a leg wrote a text that is none");
                let payload = bytes.len();
                self.queue(payload, Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true)));
            }
            Wire::Binary(bytes) => self.queue(bytes.len(), Message::Binary(bytes)),
            Wire::Close { code, reason } => self.start_close(code, &reason),
            Wire::Opened | Wire::Refused(_) | Wire::Packet(_) | Wire::Quality(_) => {}
        }
    }

    /// Writes what is queued, at most once per wake-up. `Ready` when all of it left. A failure is reported by
    /// [`poll_recv`](Self::poll_recv), for which the task is woken.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.state {
            State::Open | State::Closing => {}
            State::Ending { .. } => {
                cx.waker().wake_by_ref();
                return Poll::Ready(());
            }
            State::Farewell { .. } | State::Gone => return self.poll_finish(cx),
        }
        match self.poll_write_out(cx) {
            Poll::Ready(Ok(())) => {
                self.queued = 0;
                self.written_base = self.io.written;
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) => {
                // What the peer said before it went away may still wait in the receive buffer: reading finds the end.
                if std::mem::replace(&mut self.write_failed, true) {
                    self.end(ABNORMAL, "connection lost", false);
                }
                cx.waker().wake_by_ref();
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Bytes that wait to be written; zero right after a complete flush.
    #[must_use]
    pub fn pending(&self) -> usize {
        let written = self.io.written - self.written_base;
        usize::try_from(self.queued.saturating_sub(written)).unwrap_or(usize::MAX)
    }

    /// Whether the peer keeps up. When false, its source should be paused or its audio dropped.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.pending() < self.limits.high_water
    }

    /// Whether the end was delivered: nothing will be received or sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Farewell { .. } | State::Gone)
    }

    /// Says goodbye properly, within `close_within`: sends a close (1000 unless one was sent), waits for the peer's,
    /// flushes, shuts down. To be called when the call is over; dropping the port instead may cost the peer the close
    /// frame.
    pub async fn finish(mut self) {
        poll_fn(|cx| self.poll_finish(cx)).await;
    }

    /// As [`finish`](Self::finish), for a port that lives in a larger future.
    pub fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.state {
                State::Open | State::Closing => {
                    self.start_close(1000, "");
                    let _ = self.poll_flush(cx);
                    let _ = ready!(self.poll_recv(cx));
                }
                State::Ending { .. } => {
                    let _ = self.deliver_end();
                }
                State::Farewell { .. } => ready!(self.poll_farewell(cx)),
                State::Gone => return Poll::Ready(()),
            }
        }
    }

    /// Breaks the connection off with a TCP reset, as a crash or a middlebox does.
    pub fn reset(self) {
        self.io.set_reset();
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        unless_blocked(self.framing.read(&mut Now { io: &mut self.io, cx }))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        write_out(&mut self.framing, &mut self.io, cx)
    }

    fn received(&mut self, message: Message) -> Option<Wire> {
        match message {
            Message::Close(frame) => {
                let (code, reason) = frame.map_or((NO_STATUS, Box::from("")), |frame| {
                    (frame.code.into(), Box::from(frame.reason.as_str()))
                });
                self.end_with(code, reason, true);
                None
            }
            // What still comes after our close is of no interest any more.
            _ if matches!(self.state, State::Closing) => None,
            Message::Text(text) => Some(Wire::Text(Bytes::from(text))),
            Message::Binary(bytes) => Some(Wire::Binary(bytes)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
        }
    }

    fn queue(&mut self, payload: usize, message: Message) {
        let size = frame_size(payload, self.role);
        if self.pending() + size > self.limits.backlog_max {
            return self.end(ABNORMAL, "peer does not read", false);
        }
        self.queued += size as u64;
        // It "would block", for `Later` takes nothing: the message is in the buffer all the same.
        let _ = self.framing.write(&mut Later, message);
    }

    fn start_close(&mut self, code: u16, reason: &str) {
        if !matches!(self.state, State::Open) {
            return;
        }
        self.queue_close(code, reason);
        self.state = State::Closing;
        self.pulse.start_closing(&self.limits);
    }

    fn queue_close(&mut self, code: u16, reason: &str) {
        let frame = close_frame(code, reason);
        self.queued += frame_size(2 + reason.len(), self.role) as u64;
        let _ = self.framing.write(&mut Later, Message::Close(frame));
    }

    fn failed(&mut self, error: &Error) {
        match error {
            Error::Capacity(_) => self.refuse(1009, "message too big"),
            Error::Utf8(_) => self.refuse(1007, "text is not UTF-8"),
            Error::Protocol(fault) if !is_loss(fault) => self.refuse(1002, "protocol error"),
            _ => self.end(ABNORMAL, "connection lost", false),
        }
    }

    /// Ends a connection whose peer misbehaved, telling it so.
    fn refuse(&mut self, code: u16, reason: &str) {
        if matches!(self.state, State::Open) {
            self.queue_close(code, reason);
        }
        self.end(code, reason, true);
    }

    fn end(&mut self, code: u16, reason: &str, farewell: bool) {
        self.end_with(code, reason.into(), farewell);
    }

    fn end_with(&mut self, code: u16, reason: Box<str>, farewell: bool) {
        self.state = State::Ending { code, reason, farewell };
    }

    fn deliver_end(&mut self) -> Wire {
        let State::Ending { code, reason, farewell } = std::mem::replace(&mut self.state, State::Gone) else {
            unreachable!("the end is delivered once, from Ending")
        };
        if farewell {
            self.pulse.start_closing(&self.limits);
            self.state = State::Farewell { shut: false };
        }
        Wire::Close { code, reason }
    }

    fn poll_pulse(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let counts = (self.io.read, self.io.written, self.pending());
        match ready!(self.pulse.poll(cx, &self.limits, counts)) {
            Beat::Ping => {
                self.queue(0, Message::Ping(Bytes::new()));
                let _ = self.poll_flush(cx);
            }
            Beat::Dead => self.end(ABNORMAL, "peer is silent", false),
            Beat::CloseExpired => self.end(ABNORMAL, "close not answered", false),
        }
        Poll::Ready(())
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_pulse(cx).is_ready() || ready!(self.poll_goodbye(cx)).is_err() {
            self.state = State::Gone;
        }
        Poll::Ready(())
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        if let State::Farewell { shut: shut @ false } = &mut self.state {
            ready!(write_out(&mut self.framing, &mut self.io, cx)).map_err(|_| ())?;
            ready!(Pin::new(&mut self.io).poll_shutdown(cx)).map_err(|_| ())?;
            *shut = true;
        }
        let mut scratch = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)).map_err(|_| ())?;
            if buf.filled().is_empty() {
                return Poll::Ready(Err(()));
            }
        }
    }
}

fn write_out(framing: &mut WebSocketContext, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
    unless_blocked(match framing.flush(&mut Now { io, cx }) {
        // The close handshake is complete, and its last frame has left.
        Err(Error::ConnectionClosed) => Ok(()),
        flushed => flushed,
    })
}

fn unless_blocked<T>(done: Result<T, Error>) -> Poll<Result<T, Error>> {
    match done {
        Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

/// Losses that tungstenite files under protocol errors.
fn is_loss(fault: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    matches!(
        fault,
        ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::SendAfterClosing
            | ProtocolError::ReceivedAfterClosing
    )
}

/// Size on the wire (RFC 6455 §5.2). A client masks: four bytes more.
fn frame_size(payload: usize, role: Role) -> usize {
    let header = match payload {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    };
    payload + header + if matches!(role, Role::Client) { 4 } else { 0 }
}

/// Codes that may not be sent (RFC 6455 §7.4.1) become an empty close; a reason has at most 123 bytes.
fn close_frame(code: u16, reason: &str) -> Option<CloseFrame> {
    let code = CloseCode::from(code);
    let end = (0..=reason.len().min(123)).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    code.is_allowed().then(|| CloseFrame { code, reason: reason[..end].into() })
}
