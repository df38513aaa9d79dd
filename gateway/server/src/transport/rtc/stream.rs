//! ICE over TCP (RFC 6544, passive), each packet behind its length (RFC 4571 §2): for networks that carry no UDP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use str0m::net::Protocol;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::demux::From;

/// Until the first check of a call that we know.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// A peer checks every few seconds.
const NEXT_WITHIN: Duration = Duration::from_secs(30);
/// No packet of ours or of a browser's is longer.
const FRAME_MAX: usize = 2_048;
/// What may wait for a slow peer: a tenth of a second of audio. What does not fit is lost, as on any network, so that what
/// comes is never late.
const BACKLOG_MAX: usize = 2_048;

/// The way back over one stream.
#[derive(Debug)]
pub(super) struct Link {
    peer: SocketAddr,
    writer: Arc<OwnedWriteHalf>,
    backlog: BytesMut,
}

impl Clone for Link {
    fn clone(&self) -> Self {
        Self { peer: self.peer, writer: Arc::clone(&self.writer), backlog: BytesMut::new() }
    }
}

impl Link {
    pub(super) fn from(&self) -> From {
        (Protocol::Tcp, self.peer)
    }

    /// Sends one packet, or loses it. Never half of one.
    pub(super) fn send(&mut self, packet: &[u8]) -> bool {
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        if self.backlog.len() > BACKLOG_MAX {
            return false;
        }
        self.backlog.extend_from_slice(&length.to_be_bytes());
        self.backlog.extend_from_slice(packet);
        self.write();
        true
    }

    /// Writes what waits, and has the task woken when there is room again.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) {
        while !self.backlog.is_empty() && self.writer.as_ref().as_ref().poll_write_ready(cx).is_ready() {
            if !self.write() {
                break;
            }
        }
    }

    /// False when nothing more goes for now.
    fn write(&mut self) -> bool {
        while !self.backlog.is_empty() {
            match self.writer.try_write(&self.backlog) {
                Ok(0) => return false,
                Ok(written) => self.backlog.advance(written),
                Err(error) => {
                    if error.kind() != std::io::ErrorKind::WouldBlock {
                        self.backlog.clear();
                    }
                    return false;
                }
            }
        }
        true
    }
}

/// A stream that was accepted: whose it is shows with its first frame.
pub(super) struct Stream {
    reader: BufReader<OwnedReadHalf>,
    link: Link,
    frame: Vec<u8>,
    is_known: bool,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let link = Link { peer, writer: Arc::new(writer), backlog: BytesMut::new() };
        let reader = BufReader::with_capacity(FRAME_MAX, reader);
        Ok(Self { reader, link, frame: vec![0; FRAME_MAX], is_known: false })
    }

    /// Some call took the first frame.
    pub(super) fn is_known(&mut self) {
        self.is_known = true;
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// The next frame; nothing when the peer is gone, silent, or sends what is none.
    pub(super) async fn frame(&mut self) -> Option<&[u8]> {
        let within = if self.is_known { NEXT_WITHIN } else { FIRST_WITHIN };
        let Self { reader, frame, .. } = self;
        let read = async {
            let length = usize::from(reader.read_u16().await.ok()?);
            let frame = frame.get_mut(..length).filter(|frame| !frame.is_empty())?;
            reader.read_exact(frame).await.ok()?;
            Some(length)
        };
        let length = timeout(within, read).await.ok()??;
        Some(&self.frame[..length])
    }
}
