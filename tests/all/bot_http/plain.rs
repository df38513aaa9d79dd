//! HTTP as a bot without any library writes it: one request on one socket, bodies that go on.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// An answer whose body is read as it comes.
pub(crate) struct Answer {
    pub(crate) head: String,
    socket: OwnedReadHalf,
    held: Vec<u8>,
    is_chunked: bool,
    /// Kept, so that our side of the connection stays open.
    _ours: Option<OwnedWriteHalf>,
}

/// A request whose body is written as it comes.
pub(crate) struct Upload {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
}

async fn connect(at: SocketAddr) -> (OwnedReadHalf, OwnedWriteHalf) {
    let socket = TcpStream::connect(at).await.expect("somebody listens");
    socket.set_nodelay(true).unwrap();
    socket.into_split()
}

fn head(line: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}")
}

/// A request without a body.
pub(crate) async fn get(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let (read, mut write) = connect(at).await;
    write.write_all(format!("{}\r\n", head(&format!("GET {path}"), headers)).as_bytes()).await.unwrap();
    Answer::read(read, Some(write)).await
}

/// A request with a whole body.
pub(crate) async fn post(at: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask(at, &format!("POST {path}"), headers, body).await
}

/// Any request with a whole body; `line` is method and path.
pub(crate) async fn ask(at: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let (read, mut write) = connect(at).await;
    let head = head(line, headers);
    let head = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    // Who refuses a body need not read it.
    let _ = write.write_all(&[head.as_bytes(), body].concat()).await;
    Answer::read(read, Some(write)).await
}

/// A request with a body in chunks, as long as it likes.
pub(crate) async fn upload(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Upload {
    let (read, mut write) = connect(at).await;
    let head = head(&format!("POST {path}"), headers);
    write.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    Upload { read, write }
}

impl Upload {
    /// False when the other side takes no more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.write.write_all(&chunk).await.is_ok()
    }

    /// Ends the body, and waits for the answer.
    pub(crate) async fn finish(mut self) -> Answer {
        let _ = self.write.write_all(b"0\r\n\r\n").await;
        self.answer().await
    }

    /// The answer, which may come before the body is over.
    pub(crate) async fn answer(self) -> Answer {
        Answer::read(self.read, Some(self.write)).await
    }

    /// Shuts our side in the middle of the body.
    pub(crate) async fn half_close(mut self) {
        self.write.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = self.read.read_to_end(&mut rest).await;
    }
}

impl Answer {
    async fn read(mut socket: OwnedReadHalf, ours: Option<OwnedWriteHalf>) -> Self {
        let mut held = Vec::new();
        let end = loop {
            let found = held.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                // 100 Continue is no answer.
                Some(end) if held.starts_with(b"HTTP/1.1 100") => drop(held.drain(..end + 4)),
                Some(end) => break end,
                None => {
                    let mut piece = [0; 4096];
                    let got = socket.read(&mut piece).await.unwrap_or(0);
                    if got == 0 {
                        return Self {
                            head: String::new(),
                            socket,
                            held: Vec::new(),
                            is_chunked: false,
                            _ours: ours,
                        };
                    }
                    held.extend_from_slice(&piece[..got]);
                }
            }
        };
        let head = String::from_utf8(held.drain(..end + 4).collect()).unwrap();
        let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        Self { head, socket, held, is_chunked, _ours: ours }
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// What comes next of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(piece) = self.take() {
                return (!piece.is_empty()).then_some(piece);
            }
            let mut piece = [0; 16 * 1024];
            let got = self.socket.read(&mut piece).await.unwrap_or(0);
            if got == 0 {
                return None;
            }
            self.held.extend_from_slice(&piece[..got]);
        }
    }

    /// A chunk that is whole, an empty one at the end; without chunks, whatever is there.
    fn take(&mut self) -> Option<Vec<u8>> {
        if !self.is_chunked {
            return (!self.held.is_empty()).then(|| std::mem::take(&mut self.held));
        }
        let line = self.held.windows(2).position(|two| two == b"\r\n")?;
        let length =
            usize::from_str_radix(std::str::from_utf8(&self.held[..line]).unwrap().trim(), 16).unwrap();
        if self.held.len() < line + 2 + length + 2 {
            return None;
        }
        let chunk = self.held[line + 2..line + 2 + length].to_vec();
        self.held.drain(..line + 2 + length + 2);
        Some(chunk)
    }

    /// One byte, and no more: a reader as slow as can be.
    pub(crate) async fn byte(&mut self) -> bool {
        self.socket.read_u8().await.is_ok()
    }

    /// The JSON of a body that ends.
    pub(crate) async fn json(mut self) -> serde_json::Value {
        let length = self.header("content-length").and_then(|length| length.parse::<usize>().ok());
        let mut body = Vec::new();
        while length.is_none_or(|length| body.len() < length) {
            let Some(piece) = self.next().await else { break };
            body.extend(piece);
        }
        serde_json::from_slice(&body)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.head, String::from_utf8_lossy(&body)))
    }
}
