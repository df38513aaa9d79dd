//! Codec and sample rate of a stream, and the choice between what two peers can do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::MediaTime;

/// How samples are coded. Names follow the rtpmap registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// G.711 µ-law, one byte a sample (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law, one byte a sample (RFC 3551 §4.5.14).
    Pcma,
    /// Linear PCM, signed 16 bit, **little-endian** as every JSON voice API sends it (RFC 3551's L16 is big-endian).
    L16,
    /// Opus packets (RFC 6716), one packet a frame.
    Opus,
}

/// Codec and sample rate of mono audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Format {
    /// How samples are coded.
    pub codec: Codec,
    /// Samples per second.
    pub rate_hz: u32,
}

impl Format {
    /// µ-law at 8 kHz: the telephone.
    pub const PCMU: Self = Self { codec: Codec::Pcmu, rate_hz: 8_000 };
    /// A-law at 8 kHz.
    pub const PCMA: Self = Self { codec: Codec::Pcma, rate_hz: 8_000 };
    /// PCM16 at 8 kHz.
    pub const L16_8K: Self = Self::l16(8_000);
    /// PCM16 at 16 kHz.
    pub const L16_16K: Self = Self::l16(16_000);
    /// PCM16 at 24 kHz: the realtime APIs.
    pub const L16_24K: Self = Self::l16(24_000);
    /// PCM16 at 48 kHz.
    pub const L16_48K: Self = Self::l16(48_000);
    /// Opus, whose clock is always 48 kHz (RFC 7587 §4.1).
    pub const OPUS: Self = Self { codec: Codec::Opus, rate_hz: 48_000 };

    /// PCM16 at `rate_hz`.
    #[must_use]
    pub const fn l16(rate_hz: u32) -> Self {
        Self { codec: Codec::L16, rate_hz }
    }

    /// Bytes of one sample, or `None` for a codec whose packets vary.
    #[must_use]
    pub const fn sample_bytes(self) -> Option<usize> {
        match self.codec {
            Codec::Pcmu | Codec::Pcma => Some(1),
            Codec::L16 => Some(2),
            Codec::Opus => None,
        }
    }

    /// How long `bytes` of this format play, or `None` for a codec whose packets vary. An incomplete last sample does
    /// not count.
    #[must_use]
    pub fn duration_of(self, bytes: usize) -> Option<MediaTime> {
        Some(MediaTime::from_samples((bytes / self.sample_bytes()?) as u64, self.rate_hz))
    }

    /// Bytes that play for `span`, whole samples, or `None` for a codec whose packets vary.
    #[must_use]
    pub fn bytes_for(self, span: MediaTime) -> Option<usize> {
        Some(usize::try_from(span.samples(self.rate_hz)).unwrap_or(usize::MAX) * self.sample_bytes()?)
    }

    /// The byte that repeated gives silence: 0xFF in µ-law (0x00 there is full-scale noise), 0xD5 in A-law.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self.codec {
            Codec::Pcmu => 0xFF,
            Codec::Pcma => 0xD5,
            Codec::L16 | Codec::Opus => 0,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = match self.codec {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::L16 => "L16",
            Codec::Opus => "opus",
        };
        write!(f, "{codec}/{}", self.rate_hz)
    }
}

/// The formats for one direction, source to sink, and whether audio passes untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// What the source is to send.
    pub source: Format,
    /// What the sink is to receive.
    pub sink: Format,
}

impl Agreed {
    /// Whether no transcoder runs.
    #[must_use]
    pub fn is_passthrough(self) -> bool {
        self.source == self.sink
    }
}

/// Chooses formats for one direction: pass-through first, in the source's order of preference; else the cheapest pair.
/// `None` when one side offers nothing.
///
/// Cost, from measurements (`reference/performance.md`): an Opus encode or decode costs some hundred times a table
/// look-up; a resampling some ten times; bandwidth lost cannot be bought back, so a wider sink rate wins a tie.
#[must_use]
pub fn negotiate(source: &[Format], sink: &[Format]) -> Option<Agreed> {
    if let Some(&same) = source.iter().find(|f| sink.contains(f)) {
        return Some(Agreed { source: same, sink: same });
    }
    let pairs = source.iter().flat_map(|&s| sink.iter().map(move |&k| Agreed { source: s, sink: k }));
    pairs.min_by_key(|pair| cost(*pair))
}

/// Relative cost of a pair that differs. `min_by_key` keeps the first of equals, so order of preference decides ties.
fn cost(pair: Agreed) -> u32 {
    let opus = u32::from(pair.source.codec == Codec::Opus) + u32::from(pair.sink.codec == Codec::Opus);
    let resample = u32::from(pair.source.rate_hz != pair.sink.rate_hz);
    let narrowed = u32::from(pair.sink.rate_hz < pair.source.rate_hz);
    opus * 1000 + narrowed * 100 + resample * 10 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation_table() {
        let model = [Format::PCMU, Format::PCMA, Format::L16_24K];
        let pcm_only = [Format::L16_24K];
        let browser = [Format::OPUS, Format::PCMU];
        type Row<'a> = (&'a [Format], &'a [Format], Option<(Format, Format)>);
        let table: [Row<'_>; 8] = [
            (&[Format::PCMU], &model, Some((Format::PCMU, Format::PCMU))),
            (&[Format::PCMA], &model, Some((Format::PCMA, Format::PCMA))),
            (&[Format::PCMU], &pcm_only, Some((Format::PCMU, Format::L16_24K))),
            (&[Format::L16_16K], &model, Some((Format::L16_16K, Format::L16_24K))),
            (&[Format::L16_24K, Format::PCMU], &model, Some((Format::L16_24K, Format::L16_24K))),
            (&browser, &[Format::OPUS], Some((Format::OPUS, Format::OPUS))),
            (&browser, &pcm_only, Some((Format::PCMU, Format::L16_24K))),
            (&[], &model, None),
        ];
        for (source, sink, expected) in table {
            let got = negotiate(source, sink).map(|a| (a.source, a.sink));
            assert_eq!(got, expected, "{source:?} -> {sink:?}");
        }
    }

    #[test]
    fn twenty_milliseconds_have_the_sizes_of_the_wire() {
        assert_eq!(Format::PCMU.bytes_for(MediaTime::FRAME), Some(160));
        assert_eq!(Format::L16_24K.bytes_for(MediaTime::FRAME), Some(960));
        assert_eq!(Format::L16_24K.duration_of(961), Some(MediaTime::FRAME));
        assert_eq!(Format::OPUS.bytes_for(MediaTime::FRAME), None);
    }
}
