//! [`Listener`]: the accept loop in front of an axum router, with the deadlines and bounds that `axum::serve` lacks.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::io::tune;
use super::port::Slot;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a connection over the bound is told.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Bounds of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenLimits {
    /// Open sockets at once, upgraded ones included; more are answered 503.
    pub connections_max: usize,
    /// From accept (or the end of the last response) to a complete header; then the socket is closed.
    pub header_within: Duration,
    /// Bytes of one request's header, at least 8,192.
    pub header_bytes_max: usize,
    /// Headers of one request.
    pub headers_max: usize,
    /// How long requests in progress may take once the listener was stopped.
    pub drain_within: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            header_within: Duration::from_secs(5),
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            drain_within: Duration::from_secs(10),
        }
    }
}

/// A bound listener that has accepted nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    limits: ListenLimits,
}

impl Listener {
    /// Binds, and starts nothing.
    ///
    /// # Errors
    /// The address is taken, not ours, or needs privileges.
    pub async fn bind(address: SocketAddr, limits: ListenLimits) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, limits })
    }

    /// Where it listens; tells the port when 0 was asked for.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is ready; then accepts no more, and lets requests in progress end within the limit. Upgraded
    /// sockets are the business of whoever took their ports. Requests carry `ConnectInfo<SocketAddr>`.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        let slots = Arc::new(Semaphore::new(self.limits.connections_max));
        while let Some(accepted) = unless(stop.as_mut(), self.accept()).await {
            while connections.try_join_next().is_some() {}
            let (stream, peer) = accepted;
            match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let inbound = Inbound { peer, slot: Arc::new(slot), router: router.clone() };
                    connections.spawn(serve_connection(stream, inbound, self.limits, stopped.clone()));
                }
                Err(_) => refuse(&stream),
            }
        }
        drop(self.socket);
        let _ = stopping.send(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(self.limits.drain_within, drained).await;
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) if tune(&stream).is_ok() => return (stream, peer),
                Ok(_) => {}
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accept failed, pausing");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What every request of one connection carries.
#[derive(Clone)]
struct Inbound {
    peer: SocketAddr,
    slot: Slot,
    router: Router,
}

async fn serve_connection(
    stream: TcpStream,
    inbound: Inbound,
    limits: ListenLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let Inbound { peer, slot, router } = inbound.clone();
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(slot);
        router.oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_within)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max.max(8192))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let stop = pin!(stopped.wait_for(|stopping| *stopping));
    if unless(stop, connection.as_mut()).await.is_none() {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// The output of `work`, or `None` when `stop` was ready first.
async fn unless<S: Future + Unpin, W: Future>(stop: S, work: W) -> Option<W::Output> {
    match futures_util::future::select(stop, pin!(work)).await {
        futures_util::future::Either::Left(_) => None,
        futures_util::future::Either::Right((output, _)) => Some(output),
    }
}

/// Best effort: what does not fit the socket's empty buffer is not worth waiting for.
fn refuse(stream: &TcpStream) {
    tracing::debug!("connection bound reached");
    let _ = stream.try_write(FULL);
}

/// The connection died before we took it; nothing is wrong with the listener.
fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
