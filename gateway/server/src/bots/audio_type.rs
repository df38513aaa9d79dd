//! Formats as bots name them: media types.

use patchbay_core::{Codec, Format};

/// The media type of `format`.
#[must_use]
pub fn name(format: Format) -> String {
    match format.codec {
        Codec::Opus => "audio/opus".into(),
        Codec::Pcmu => "audio/x-mulaw;rate=8000".into(),
        Codec::Pcma => "audio/x-alaw;rate=8000".into(),
        Codec::L16 => format!("audio/pcm;rate={}", format.rate_hz),
    }
}

/// The format of a media type. PCM is signed, 16 bit, little-endian, at 8, 16, 24 or 48 kHz.
#[must_use]
pub fn parse(text: &str) -> Option<Format> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let (kind, rate) = match text.split_once(";rate=") {
        Some((kind, rate)) => (kind, Some(rate)),
        None => (text.as_str(), None),
    };
    match (kind, rate) {
        ("audio/opus", None | Some("48000")) => Some(Format::OPUS),
        ("audio/x-mulaw" | "audio/pcmu", None | Some("8000")) => Some(Format::PCMU),
        ("audio/x-alaw" | "audio/pcma", None | Some("8000")) => Some(Format::PCMA),
        ("audio/pcm", Some("8000")) => Some(Format::L16_8K),
        ("audio/pcm", Some("16000")) => Some(Format::L16_16K),
        ("audio/pcm", None | Some("24000")) => Some(Format::L16_24K),
        ("audio/pcm", Some("48000")) => Some(Format::L16_48K),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_media_type_and_back() {
        let all = [
            Format::OPUS,
            Format::PCMU,
            Format::PCMA,
            Format::L16_8K,
            Format::L16_16K,
            Format::L16_24K,
            Format::L16_48K,
        ];
        for format in all {
            assert_eq!(parse(&name(format)), Some(format));
        }
        assert_eq!(parse("Audio/PCM; rate=16000"), Some(Format::L16_16K));
        for bad in [
            "",
            "audio/pcm;rate=44100",
            "audio/L16",
            "audio/opus;rate=8000",
            "video/opus",
            "audio/pcm;rate=24000;channels=2",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
