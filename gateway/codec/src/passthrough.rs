//! The transcoder that changes nothing.

use patchbay_core::{CodecError, Format, MediaTime, Transcoder};

use crate::conceal::Concealer;
use crate::samples::{Coding, Decoder};

/// Gives the bytes that it takes. What it conceals is silence after a fade; what follows a gap is not touched.
#[derive(Debug)]
pub struct Passthrough {
    format: Format,
    /// The first byte of a sample whose second is to come, so that nothing is concealed in the middle of a sample.
    half: Option<u8>,
    /// `None` for a codec with packets: each is one of its own, and nothing stands in for one that is lost.
    stand_in: Option<StandIn>,
}

#[derive(Debug)]
struct StandIn {
    coding: Coding,
    decoder: Decoder,
    concealer: Concealer,
}

impl Passthrough {
    /// For any format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let stand_in = Coding::of(format).map(|coding| StandIn {
            coding,
            decoder: Decoder::new(coding),
            concealer: Concealer::new(format.rate_hz),
        });
        Self { format, half: None, stand_in }
    }
}

impl Transcoder for Passthrough {
    fn input(&self) -> Format {
        self.format
    }

    fn output(&self) -> Format {
        self.format
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        out.extend(self.half.take());
        out.extend_from_slice(payload);
        let Some(sample_bytes) = self.format.sample_bytes() else { return Ok(()) };
        if (out.len() - start) % sample_bytes == 1 {
            self.half = out.pop();
        }
        if let Some(StandIn { decoder, concealer, .. }) = &mut self.stand_in {
            let newest = out.len().saturating_sub(concealer.span() * sample_bytes).max(start);
            decoder.push(&out[newest..], |samples| concealer.remember(samples));
        }
        Ok(())
    }

    fn conceal(&mut self, lost: MediaTime, _next: Option<&[u8]>, out: &mut Vec<u8>) {
        if let Some(StandIn { coding, concealer, .. }) = &mut self.stand_in {
            concealer.conceal(lost, |samples| coding.encode(samples, out));
        }
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {
        self.reset();
    }

    fn latency(&self) -> MediaTime {
        MediaTime::ZERO
    }

    fn reset(&mut self) {
        self.half = None;
        if let Some(stand_in) = &mut self.stand_in {
            stand_in.concealer.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(passthrough: &mut Passthrough, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        passthrough.push(payload, &mut out).unwrap();
        out
    }

    fn conceal(passthrough: &mut Passthrough, lost: MediaTime) -> Vec<u8> {
        let mut out = Vec::new();
        passthrough.conceal(lost, None, &mut out);
        out
    }

    #[test]
    fn bytes_pass_untouched() {
        let all: Vec<u8> = (0..=255).collect();
        for format in [Format::PCMU, Format::PCMA, Format::L16_48K, Format::OPUS] {
            let mut passthrough = Passthrough::new(format);
            assert_eq!(push(&mut passthrough, &all), all, "{format}");
            conceal(&mut passthrough, MediaTime::FRAME);
            assert_eq!(push(&mut passthrough, &all), all, "{format}");
        }
    }

    #[test]
    fn a_gap_begins_where_the_sound_broke_off_and_ends_in_the_silence_of_the_format() {
        for (format, loud) in [(Format::PCMU, 0x80), (Format::PCMA, 0xAA)] {
            let mut passthrough = Passthrough::new(format);
            push(&mut passthrough, &[loud; 160]);
            let gap = conceal(&mut passthrough, MediaTime::FRAME);
            assert_eq!(gap.len(), 160);
            assert!(gap[0].abs_diff(loud) <= 1, "{format}: {:02x}", gap[0]);
            assert!(gap[40..].iter().all(|&b| b == format.silence()), "{format}");
        }
    }

    #[test]
    fn a_gap_never_falls_into_the_middle_of_a_sample() {
        let mut passthrough = Passthrough::new(Format::L16_8K);
        assert_eq!(push(&mut passthrough, &[1, 0, 2]), [1, 0]);
        let gap = conceal(&mut passthrough, MediaTime::from_samples(10, 8_000));
        assert_eq!(gap, [0; 20]);
        assert_eq!(push(&mut passthrough, &[0, 3]), [2, 0]);
        assert_eq!(push(&mut passthrough, &[]), []);
        passthrough.reset();
        assert_eq!(push(&mut passthrough, &[4, 0]), [4, 0]);
    }

    #[test]
    fn nothing_stands_in_for_a_packet() {
        assert_eq!(conceal(&mut Passthrough::new(Format::OPUS), MediaTime::FRAME), []);
    }
}
