//! [`End`]: one end of a benched connection, with the least framing that works. It is not what is measured.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

/// RFC 6455 §5.2: final, text.
const TEXT: u8 = 0x81;
/// RFC 6455 §5.2: final, ping and pong.
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// RFC 6455 §5.2: final, close.
const CLOSE: u8 = 0x88;

/// A non-blocking socket, TLS as the server or none, and its buffers.
pub(super) struct End {
    pub(super) socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Whether frames of ours are masked, as a client's must be. The mask is zero, so that nothing changes.
    masks: bool,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl End {
    pub(super) fn new(socket: TcpStream, tls: Option<ServerConnection>, masks: bool) -> Self {
        Self { socket, tls: tls.map(Box::new), masks, inbox: Vec::new(), outbox: Vec::new() }
    }

    /// Queues bytes as they are.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
    }

    /// Queues one text message.
    pub(super) fn queue_text(&mut self, text: &[u8]) {
        self.queue_frame(TEXT, text);
    }

    /// Queues the end of the connection.
    pub(super) fn queue_close(&mut self) {
        self.queue_frame(CLOSE, &1000_u16.to_be_bytes());
    }

    fn queue_frame(&mut self, first: u8, payload: &[u8]) {
        let mask = if self.masks { 0x80 } else { 0 };
        self.outbox.push(first);
        match u8::try_from(payload.len()) {
            Ok(short @ 0..=125) => self.outbox.push(mask | short),
            _ => {
                let length = u16::try_from(payload.len()).expect("benched messages are below 64 KiB");
                self.outbox.push(mask | 126);
                self.outbox.extend_from_slice(&length.to_be_bytes());
            }
        }
        if self.masks {
            self.outbox.extend_from_slice(&[0; 4]);
        }
        self.outbox.extend_from_slice(payload);
    }

    /// Writes what the kernel takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&self.outbox)?;
            self.outbox.clear();
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }
        while !self.outbox.is_empty() {
            match self.socket.write(&self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is. False at the end of the stream.
    pub(super) fn fill(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.inbox.extend_from_slice(&scratch[..count]);
                    // A short read has emptied the socket (epoll(7), question 9); asking again costs as much.
                    if count < scratch.len() && self.tls.is_none() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(scratch) };
        match tls.reader().read(scratch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        if tls.read_tls(&mut self.socket)? == 0 {
            return Ok(0);
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        if tls.wants_write() {
            // A handshake message; what does not fit now goes with the next flush.
            let _ = tls.write_tls(&mut self.socket);
        }
        tls.reader().read(scratch).or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock => self.read(scratch),
            _ => Err(error),
        })
    }

    /// The head of an HTTP message, once it is complete.
    pub(super) fn take_head(&mut self) -> Option<String> {
        let end = memchr::memmem::find(&self.inbox, b"\r\n\r\n")? + 4;
        Some(String::from_utf8_lossy(&self.inbox.drain(..end).collect::<Vec<_>>()).into_owned())
    }

    /// The next text message, or `None` when none is complete. Pings are answered on the way.
    pub(super) fn take_text(&mut self, into: &mut Vec<u8>) -> bool {
        while let Some(first) = self.take_frame(into) {
            match first {
                TEXT => return true,
                PING => self.queue_frame(PONG, into),
                _ => {}
            }
        }
        false
    }

    fn take_frame(&mut self, into: &mut Vec<u8>) -> Option<u8> {
        let [first, second, ..] = *self.inbox else { return None };
        let is_masked = second & 0x80 != 0;
        let (header, length) = match second & 0x7F {
            126 => (4, usize::from(u16::from_be_bytes(self.inbox.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(self.inbox.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        let start: usize = header + if is_masked { 4 } else { 0 };
        let payload = self.inbox.get(start..start.checked_add(length)?)?;
        into.clear();
        into.extend_from_slice(payload);
        if is_masked {
            let mask: [u8; 4] = self.inbox[header..start].try_into().expect("four bytes");
            unmask(into, mask);
        }
        self.inbox.drain(..start + length);
        Some(first)
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        let plain = u32::from_ne_bytes(word.try_into().expect("four bytes")) ^ u32::from_ne_bytes(mask);
        word.copy_from_slice(&plain.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
