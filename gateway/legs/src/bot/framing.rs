//! Audio in the body of an HTTP request or answer: five ways to put packets one behind the other, without IO.
//!
//! Reading takes arbitrary bytes in arbitrary slices and holds at most one packet and its frame; writing gives each packet whole,
//! so that it can be flushed at once.

use bytes::{Bytes, BytesMut};
use patchbay_core::{Format, Packet};

use super::Kind;

mod frames;
mod multipart;
mod ogg;
mod raw;

/// Longest packet. Opus has 1,275 bytes a frame of 20 ms (RFC 6716 §3.2.1), and at most six of those in a packet.
pub const PACKET_MAX: usize = 6 * 1_275 + 7;
/// What our multipart bodies are cut at.
const BOUNDARY: &str = "f";
const FRAMES: &str = "application/vnd.patchbay.opus-frames";
const MULTIPART: &str = "multipart/x-mixed-replace";

/// How packets lie in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A part for each Opus packet (RFC 2046 §5.1.1).
    Multipart {
        /// What lies between two parts.
        boundary: Box<str>,
    },
    /// A length of two bytes, big-endian, before each Opus packet (as RFC 4571 §2).
    Frames {
        /// Whether each has its number and its time too: six more bytes, counted in the length.
        has_header: bool,
    },
    /// Ogg pages (RFC 3533, RFC 7845).
    Ogg,
    /// Samples and nothing else.
    Raw(Format),
    /// The body is one Opus packet.
    Single,
}

impl Framing {
    /// What a `Content-Type` says.
    #[must_use]
    pub fn of_content_type(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let parameter = |wanted: &str| {
            let of = |part: &str| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"').to_owned())
            };
            text.split(';').skip(1).find_map(of)
        };
        match name.as_str() {
            MULTIPART | "multipart/mixed" => {
                let boundary = parameter("boundary").unwrap_or_else(|| BOUNDARY.into());
                // RFC 2046 §5.1.1: 1 to 70 characters.
                (1..=70).contains(&boundary.len()).then(|| Self::Multipart { boundary: boundary.into() })
            }
            FRAMES => Some(Self::Frames { has_header: parameter("hdr").as_deref() == Some("1") }),
            "audio/ogg" | "application/ogg" => Some(Self::Ogg),
            "audio/opus" => Some(Self::Single),
            _ => Kind::parse(text).map(|kind| Self::Raw(kind.format())),
        }
    }

    /// The first of an `Accept` that we can write; what takes anything, or says nothing, gets multipart.
    #[must_use]
    pub fn of_accept(text: &str) -> Option<Self> {
        let usual = || Self::Multipart { boundary: BOUNDARY.into() };
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let mut known = words.clone().filter_map(|word| match word.split(';').next().unwrap_or_default().trim() {
            "*/*" | "multipart/*" | MULTIPART | "audio/*" | "audio/opus" => Some(usual()),
            _ => Self::of_content_type(word),
        });
        known.next().or_else(|| words.count().eq(&0).then(usual))
    }

    /// What the body is, for its `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> String {
        match self {
            Self::Multipart { boundary } => format!("{MULTIPART}; boundary={boundary}"),
            Self::Frames { has_header: false } => FRAMES.into(),
            Self::Frames { has_header: true } => format!("{FRAMES};hdr=1"),
            Self::Ogg => "audio/ogg; codecs=opus".into(),
            Self::Raw(format) => Kind::of(*format).map_or("application/octet-stream", Kind::as_str).into(),
            Self::Single => "audio/opus".into(),
        }
    }

    /// Codec and rate of what is in it.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Raw(format) => *format,
            _ => Format::OPUS,
        }
    }
}

/// A body that cannot be read on: a short token for programs, and what was expected for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected}")]
pub struct BadBody {
    /// Stable.
    pub code: &'static str,
    /// A sentence.
    pub expected: &'static str,
}

/// The number of a packet, as its sender wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// The lower 16 bits.
    Short(u16),
    /// All of it.
    Whole(u64),
}

/// One packet of a body, or one piece of its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// If the sender numbers its packets.
    pub number: Option<Number>,
    /// The packet.
    pub audio: Bytes,
}

/// Reads a body.
#[derive(Debug)]
pub enum Reader {
    /// See [`Framing::Multipart`].
    Multipart(multipart::Reader),
    /// See [`Framing::Frames`].
    Frames(frames::Reader),
    /// See [`Framing::Ogg`].
    Ogg(Box<ogg::Reader>),
    /// See [`Framing::Raw`].
    Raw(raw::Reader),
    /// See [`Framing::Single`].
    Single(BytesMut),
}

impl Reader {
    /// For a body that begins.
    #[must_use]
    pub fn new(framing: &Framing) -> Self {
        match framing {
            Framing::Multipart { boundary } => Self::Multipart(multipart::Reader::new(boundary)),
            Framing::Frames { has_header } => Self::Frames(frames::Reader::new(*has_header)),
            Framing::Ogg => Self::Ogg(Box::default()),
            Framing::Raw(format) => Self::Raw(raw::Reader::new(*format)),
            Framing::Single => Self::Single(BytesMut::new()),
        }
    }

    /// Takes the next bytes; `give` gets what is whole.
    ///
    /// # Errors
    /// [`BadBody`]: nothing more can be read of it. What was given before is good.
    pub fn push(&mut self, bytes: &[u8], mut give: impl FnMut(Unit)) -> Result<(), BadBody> {
        match self {
            Self::Multipart(reader) => reader.push(bytes, &mut give),
            Self::Frames(reader) => reader.push(bytes, &mut give),
            Self::Ogg(reader) => reader.push(bytes, &mut give),
            Self::Raw(reader) => {
                reader.push(bytes, &mut give);
                Ok(())
            }
            Self::Single(packet) if packet.len() + bytes.len() > PACKET_MAX => Err(TOO_LONG),
            Self::Single(packet) => {
                packet.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// The body is over: `give` gets what only its end makes whole.
    pub fn finish(&mut self, mut give: impl FnMut(Unit)) {
        match self {
            Self::Single(packet) if !packet.is_empty() => {
                give(Unit { number: None, audio: packet.split().freeze() });
            }
            _ => {}
        }
    }

    /// Bytes that wait for the rest of their packet.
    #[must_use]
    pub fn held(&self) -> usize {
        match self {
            Self::Multipart(reader) => reader.held(),
            Self::Frames(reader) => reader.held(),
            Self::Ogg(reader) => reader.held(),
            Self::Raw(reader) => reader.held(),
            Self::Single(packet) => packet.len(),
        }
    }
}

const TOO_LONG: BadBody = BadBody { code: "packet_too_long", expected: "A packet has at most 7,657 bytes." };

/// Writes a body, packet by packet.
#[derive(Debug)]
pub enum Writer {
    /// See [`Framing::Multipart`], with its boundary.
    Multipart(Box<str>),
    /// See [`Framing::Frames`].
    Frames(bool),
    /// See [`Framing::Ogg`].
    Ogg(ogg::Writer),
    /// See [`Framing::Raw`].
    Raw(Format),
}

impl Writer {
    /// For a body that begins. `serial` tells one Ogg stream from another.
    #[must_use]
    pub fn new(framing: &Framing, serial: u32) -> Self {
        match framing {
            Framing::Multipart { boundary } => Self::Multipart(boundary.clone()),
            Framing::Single => Self::Multipart(BOUNDARY.into()),
            Framing::Frames { has_header } => Self::Frames(*has_header),
            Framing::Ogg => Self::Ogg(ogg::Writer::new(serial)),
            Framing::Raw(format) => Self::Raw(*format),
        }
    }

    /// What stands before the first packet.
    pub fn begin(&mut self, out: &mut BytesMut) {
        match self {
            Self::Multipart(boundary) => multipart::begin(boundary, out),
            Self::Ogg(writer) => writer.begin(out),
            Self::Frames(_) | Self::Raw(_) => {}
        }
    }

    /// One packet, whole.
    pub fn packet(&mut self, packet: &Packet, out: &mut BytesMut) {
        match self {
            Self::Multipart(boundary) => multipart::packet(boundary, packet, out),
            Self::Frames(has_header) => frames::packet(*has_header, packet, out),
            Self::Ogg(writer) => writer.packet(packet, out),
            Self::Raw(_) => out.extend_from_slice(&packet.payload),
        }
    }

    /// Nothing was said for a while: what shows whoever is in between that we are there.
    pub fn keep_alive(&mut self, out: &mut BytesMut) {
        match self {
            Self::Multipart(boundary) => multipart::empty(boundary, out),
            Self::Frames(_) => out.extend_from_slice(&[0, 0]),
            Self::Ogg(writer) => writer.empty(out),
            Self::Raw(format) => raw::silence(*format, out),
        }
    }

    /// The call is over.
    pub fn end(&mut self, reason: &str, out: &mut BytesMut) {
        match self {
            Self::Multipart(boundary) => multipart::end(boundary, reason, out),
            Self::Ogg(writer) => writer.end(out),
            Self::Frames(_) | Self::Raw(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
