//! [`Io`]: the byte stream below a WebSocket, counting what crosses it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How long unacknowledged bytes may be in flight before the kernel gives up.
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// A byte stream and the bytes that crossed it. The counters tell the port what is still pending and whether the peer
/// lives, without a clock read per message.
#[derive(Debug)]
pub(super) struct Io {
    stream: Stream,
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
        Self { stream, read: 0, written: 0 }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Stream::Upgraded(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        self.read += (buf.filled().len() - before) as u64;
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Stream::Upgraded(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        };
        if let Poll::Ready(Ok(count)) = polled {
            self.written += count as u64;
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Stream::Upgraded(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Stream::Upgraded(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
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
