//! [`Kind`]: what a bot's audio is, as a media type says it.

use patchbay_core::{Codec, Format};
use serde::{Deserialize, Deserializer};

/// A format by its media type: `audio/opus`, `audio/x-mulaw;rate=8000`, `audio/pcm;rate=24000` (PCM16, little-endian; RFC 3551's
/// `audio/L16` is big-endian and so is none of these).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(Format);

impl Kind {
    /// Reads a media type; parameters but the rate are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let rate = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("rate").then(|| value.trim().trim_matches('"'))
        });
        let format = match (name.as_str(), rate) {
            ("audio/opus", None | Some("48000")) => Format::OPUS,
            ("audio/x-mulaw" | "audio/basic" | "audio/pcmu", None | Some("8000")) => Format::PCMU,
            ("audio/x-alaw" | "audio/pcma", None | Some("8000")) => Format::PCMA,
            ("audio/pcm", None | Some("24000")) => Format::L16_24K,
            ("audio/pcm", Some("8000")) => Format::L16_8K,
            ("audio/pcm", Some("16000")) => Format::L16_16K,
            ("audio/pcm", Some("48000")) => Format::L16_48K,
            _ => return None,
        };
        Some(Self(format))
    }

    /// The kind of a format, if bots know it.
    #[must_use]
    pub fn of(format: Format) -> Option<Self> {
        super::FORMATS.contains(&format).then_some(Self(format))
    }

    /// Codec and rate.
    #[must_use]
    pub fn format(self) -> Format {
        self.0
    }

    /// The media type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match (self.0.codec, self.0.rate_hz) {
            (Codec::Opus, _) => "audio/opus",
            (Codec::Pcmu, _) => "audio/x-mulaw;rate=8000",
            (Codec::Pcma, _) => "audio/x-alaw;rate=8000",
            (Codec::L16, 8_000) => "audio/pcm;rate=8000",
            (Codec::L16, 16_000) => "audio/pcm;rate=16000",
            (Codec::L16, 48_000) => "audio/pcm;rate=48000",
            (Codec::L16, _) => "audio/pcm;rate=24000",
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no media type of ours"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for format in super::super::FORMATS {
            let kind = Kind::of(*format).unwrap();
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("Audio/PCM; rate=\"16000\"").map(Kind::format), Some(Format::L16_16K));
        assert_eq!(Kind::parse("audio/pcm").map(Kind::format), Some(Format::L16_24K));
        for text in ["", "audio/L16;rate=16000", "audio/pcm;rate=44100", "audio/opus;rate=8000", "text/plain"] {
            assert_eq!(Kind::parse(text), None, "{text}");
        }
    }
}
