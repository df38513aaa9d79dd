//! A part for each Opus packet (RFC 2046 §5.1.1). The boundary behind a part is written with it: a reader that looks for the
//! boundary would else be one packet late (reference/browser.md §6.2).

use std::io::Write as _;

use bytes::{Buf as _, BufMut as _, BytesMut};
use memchr::memmem;
use patchbay_core::Packet;

use super::{BadBody, Number, PACKET_MAX, TOO_LONG, Unit};

/// Longest header of a part.
const HEADER_MAX: usize = 1024;
const NO_BOUNDARY: BadBody =
    BadBody { code: "no_boundary", expected: "A part begins with the boundary that Content-Type names." };

/// Reads parts. With a `Content-Length` a part is taken by it, without one up to the next boundary.
#[derive(Debug)]
pub struct Reader {
    /// `\r\n--boundary`
    delimiter: Box<[u8]>,
    held: BytesMut,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A boundary comes next.
    Boundary,
    Header,
    Body { number: Option<u64>, length: Option<usize>, is_audio: bool },
    /// Behind the last boundary.
    Over,
}

impl Reader {
    pub(super) fn new(boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}").into_bytes().into();
        Self { delimiter, held: BytesMut::new(), state: State::Boundary }
    }

    pub(super) fn push(&mut self, bytes: &[u8], give: &mut impl FnMut(Unit)) -> Result<(), BadBody> {
        if matches!(self.state, State::Over) {
            return Ok(());
        }
        self.held.extend_from_slice(bytes);
        while self.step(give)? {}
        Ok(())
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// One step. False when more bytes are needed.
    fn step(&mut self, give: &mut impl FnMut(Unit)) -> Result<bool, BadBody> {
        match self.state {
            State::Boundary => self.boundary(),
            State::Header => self.header(),
            State::Body { number, length, is_audio } => self.body((number, length, is_audio), give),
            State::Over => {
                self.held.clear();
                Ok(false)
            }
        }
    }

    fn boundary(&mut self) -> Result<bool, BadBody> {
        while self.held.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            self.held.advance(1);
        }
        let dashes = &self.delimiter[2..];
        let have = self.held.len().min(dashes.len());
        if self.held[..have] != dashes[..have] {
            return Err(NO_BOUNDARY);
        }
        let Some(behind) = self.held.get(dashes.len()..dashes.len() + 2) else { return Ok(false) };
        self.state = match behind {
            b"--" => State::Over,
            b"\r\n" => State::Header,
            _ => return Err(NO_BOUNDARY),
        };
        self.held.advance(dashes.len() + if behind_is_end(self.state) { 2 } else { 0 });
        Ok(true)
    }

    /// The header stands between the line break of the boundary and an empty line.
    fn header(&mut self) -> Result<bool, BadBody> {
        let Some(end) = memmem::find(&self.held, b"\r\n\r\n") else {
            let expected = "The header of a part has at most 1,024 bytes.";
            let too_long = BadBody { code: "header_too_long", expected };
            return if self.held.len() > HEADER_MAX { Err(too_long) } else { Ok(false) };
        };
        let header = self.held.split_to(end + 4).freeze();
        let (mut number, mut length, mut is_audio) = (None, None, true);
        for line in header[..].split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse::<usize>().ok(),
                "seq" => number = value.trim().parse::<u64>().ok(),
                "content-type" => is_audio = value.trim().to_ascii_lowercase().starts_with("audio/opus"),
                _ => {}
            }
        }
        if length.is_some_and(|length| length > PACKET_MAX) {
            return Err(TOO_LONG);
        }
        self.state = State::Body { number, length, is_audio };
        Ok(true)
    }

    fn body(
        &mut self,
        (number, length, is_audio): (Option<u64>, Option<usize>, bool),
        give: &mut impl FnMut(Unit),
    ) -> Result<bool, BadBody> {
        let end = match length {
            Some(length) => (self.held.len() >= length).then_some(length),
            None => memmem::find(&self.held, &self.delimiter),
        };
        let Some(end) = end else {
            let is_too_long = self.held.len() > PACKET_MAX + self.delimiter.len();
            return if is_too_long { Err(TOO_LONG) } else { Ok(false) };
        };
        let audio = self.held.split_to(end).freeze();
        self.state = State::Boundary;
        if audio.len() > PACKET_MAX {
            return Err(TOO_LONG);
        }
        if is_audio && !audio.is_empty() {
            give(Unit { number: number.map(Number::Whole), audio });
        }
        Ok(true)
    }
}

/// The line break behind a boundary is left for the header, which may have no line.
fn behind_is_end(state: State) -> bool {
    matches!(state, State::Over)
}

pub(super) fn begin(boundary: &str, out: &mut BytesMut) {
    out.put_slice(b"--");
    out.put_slice(boundary.as_bytes());
    out.put_slice(b"\r\n");
}

pub(super) fn packet(boundary: &str, packet: &Packet, out: &mut BytesMut) {
    write(out, format_args!(
        "Content-Type: audio/opus\r\nContent-Length: {}\r\nSeq: {}\r\nTimestamp: {}\r\n\r\n",
        packet.payload.len(), packet.seq, packet.time,
    ));
    out.put_slice(&packet.payload);
    next(boundary, out);
}

pub(super) fn empty(boundary: &str, out: &mut BytesMut) {
    out.put_slice(b"Content-Type: audio/opus\r\nContent-Length: 0\r\n\r\n");
    next(boundary, out);
}

pub(super) fn end(boundary: &str, reason: &str, out: &mut BytesMut) {
    let last = serde_json::json!({ "type": "call.ended", "reason": reason }).to_string();
    write(out, format_args!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{last}\r\n--{boundary}--\r\n",
        last.len(),
    ));
}

fn next(boundary: &str, out: &mut BytesMut) {
    out.put_slice(b"\r\n");
    begin(boundary, out);
}

fn write(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    out.writer().write_fmt(text).expect("writing to memory does not fail");
}
