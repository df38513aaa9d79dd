//! Over real loopback sockets; deadlines are configured short, nothing sleeps.

mod dial;
mod listen;
mod port;

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use patchbay_core::Wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{DialSpec, Dialer, ListenLimits, Listener, Port, PortLimits, WsUpgrade};

/// A listener whose `/ws` hands every port to the test, and whose `/ok` answers.
struct Server {
    address: SocketAddr,
    ports: mpsc::Receiver<Port>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Doorway {
    ports: mpsc::Sender<Port>,
    limits: PortLimits,
}

async fn take(State(doorway): State<Doorway>, upgrade: WsUpgrade) -> Response {
    let (response, pending) = upgrade.with_protocol("realtime").accept(doorway.limits);
    tokio::spawn(async move {
        if let Some(port) = pending.port().await {
            let _ = doorway.ports.send(port).await;
        }
    });
    response
}

impl Server {
    async fn start(limits: PortLimits, listen: ListenLimits) -> Self {
        let (sender, ports) = mpsc::channel(64);
        let router = Router::new()
            .route("/ws", get(take))
            .route("/ok", get(|| async { "ok" }))
            .with_state(Doorway { ports: sender, limits });
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(listener.serve(router, async {
            let _ = stopped.await;
        }));
        Self { address, ports, stop: Some(stop), task }
    }

    async fn with_limits(limits: PortLimits) -> Self {
        Self::start(limits, ListenLimits::default()).await
    }

    /// Two ends of one WebSocket: the client's port and ours.
    async fn pair(&mut self) -> (Port, Port) {
        let spec = DialSpec::new(&format!("ws://{}/ws", self.address)).unwrap();
        let client = Dialer::new().dial(&spec).await.unwrap();
        (client, self.ports.recv().await.unwrap())
    }

    /// A client that speaks bytes, past its upgrade, and our port.
    async fn raw(&mut self) -> (TcpStream, Port) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(UPGRADE).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        (stream, self.ports.recv().await.unwrap())
    }
}

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
sec-websocket-extensions: permessage-deflate\r\n\r\n";

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn recv(port: &mut Port) -> Wire {
    poll_fn(|cx| port.poll_recv(cx)).await
}

async fn send(port: &mut Port, wire: Wire) {
    port.send(wire);
    poll_fn(|cx| port.poll_flush(cx)).await;
}

fn text(content: &str) -> Wire {
    Wire::Text(Bytes::copy_from_slice(content.as_bytes()))
}

fn close(code: u16, reason: &str) -> Wire {
    Wire::Close { code, reason: reason.into() }
}

/// A client's frame with the mask 0, which leaves the payload as it is.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 127];
    frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn brief() -> PortLimits {
    PortLimits {
        ping_every: Duration::from_millis(60),
        dead_after: Duration::from_millis(200),
        stall_max: Duration::from_millis(200),
        close_within: Duration::from_millis(200),
        ..PortLimits::PUBLIC
    }
}
