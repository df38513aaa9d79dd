//! [`Io`]: the byte stream below a WebSocket, counting what crosses it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How long unacknowledged bytes may be in flight before the kernel gives up.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of one read of a socket, whoever's it is.
const READ_MAX: usize = 16 * 1024;
/// Room that a port may keep for what was read ahead.
const AHEAD_IDLE_MAX: usize = 1024;

thread_local! {
    /// Where every socket of this thread is read into: nothing of a message stays here after the read, so it is one
    /// buffer a thread that is warm in the cache, instead of one a socket that is not.
    static SCRATCH: RefCell<[u8; READ_MAX]> = const { RefCell::new([0; READ_MAX]) };
}

/// A byte stream and the bytes that crossed it. The counters tell the port what is still pending and whether the peer
/// lives, without a clock read per message.
#[derive(Debug)]
pub(super) struct Io {
    stream: Stream,
    ahead: Ahead,
    /// Bytes read so far.
    pub(super) read: u64,
    /// Bytes written so far.
    pub(super) written: u64,
}

#[derive(Debug)]
pub(super) enum Stream {
    /// What a call normally runs on.
    Plain(TcpStream),
    /// A provider behind TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// An upgraded connection that is not a plain TCP stream below.
    Upgraded(Box<TokioIo<Upgraded>>),
}

impl Io {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, ahead: Ahead::default(), read: 0, written: 0 }
    }

    /// Fills `buf` with what the socket has. What does not fit is kept for the next time, so that a message costs one
    /// read of the socket however small the framing's buffer is.
    fn read_through(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(self.ahead.take(buf)));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *self).poll_read(cx, &mut read))?;
            let (now, later) = read.filled().split_at(read.filled().len().min(buf.len()));
            buf[..now.len()].copy_from_slice(now);
            self.ahead.put(later);
            Poll::Ready(Ok(now.len()))
        })
    }

    /// Makes the close that comes with the drop a reset. What is not TCP below stays as it is.
    pub(super) fn set_reset(&self) {
        let tcp = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Upgraded(_) => return,
        };
        let _ = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    }
}

/// Bytes that were read and did not fit.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    taken: usize,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.taken = 0;
        if bytes.len() <= AHEAD_IDLE_MAX && self.bytes.capacity() > AHEAD_IDLE_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn take(&mut self, buf: &mut [u8]) -> usize {
        let rest = &self.bytes[self.taken..];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        count
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Upgraded(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Upgraded(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Upgraded(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Upgraded(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.read += (buf.filled().len() - before) as u64;
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = polled {
            self.written += count as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The stream as the framing wants it, within one poll: what is not ready blocks, and the task will be woken.
pub(super) struct Now<'a, 'w> {
    pub(super) io: &'a mut Io,
    pub(super) cx: &'a mut Context<'w>,
}

impl io::Read for Now<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        unblocked(self.io.read_through(self.cx, buf))
    }
}

impl io::Write for Now<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        unblocked(Pin::new(&mut *self.io).poll_write(self.cx, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        unblocked(Pin::new(&mut *self.io).poll_flush(self.cx))
    }
}

fn unblocked<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// A stream that takes nothing yet: what is written stays in the framing's buffer until the flush.
pub(super) struct Later;

impl io::Read for Later {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl io::Write for Later {
    fn write(&mut self, _buf: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Sets what a voice socket needs: no Nagle delay, and dead peers noticed by the kernel too (keepalive 10 s, then three
/// probes 5 s apart; unacknowledged bytes 20 s).
///
/// # Errors
/// A socket that refuses the options is already gone.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_came_together_costs_one_read_of_the_socket_however_small_the_buffer() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut io = Io::new(Stream::Plain(stream));
        let sent: Vec<u8> = (0..1_500).map(|n| u8::try_from(n % 251).unwrap()).collect();
        peer.write_all(&sent).await.unwrap();
        let mut got = Vec::new();
        let mut buf = [0; 100];
        while got.len() < sent.len() {
            let count = poll_fn(|cx| io.read_through(cx, &mut buf)).await.unwrap();
            got.extend_from_slice(&buf[..count]);
            assert_eq!(io.read, sent.len() as u64, "the first read took all of it");
        }
        assert_eq!(got, sent);
        drop(peer);
        assert_eq!(poll_fn(|cx| io.read_through(cx, &mut buf)).await.unwrap(), 0, "the end");
    }

    #[test]
    fn a_port_keeps_no_more_than_a_little_of_what_it_read_ahead() {
        let mut ahead = Ahead::default();
        ahead.put(&[0; 9_000]);
        ahead.put(&[0; 10]);
        assert!(ahead.bytes.capacity() <= AHEAD_IDLE_MAX);
    }
}
