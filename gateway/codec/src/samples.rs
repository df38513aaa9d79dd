//! 16-bit linear samples in the bytes of a format.

use patchbay_core::{Codec, Format};

use crate::g711;

/// Samples that are decoded at a time: 10 ms at 48 kHz.
pub(crate) const PIECE: usize = 480;

/// How a sample is coded in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// One byte, µ-law.
    Ulaw,
    /// One byte, A-law.
    Alaw,
    /// Two bytes, little-endian.
    Linear,
}

impl Coding {
    /// `None` for a codec with packets, and for rates that no leg uses.
    pub(crate) fn of(format: Format) -> Option<Self> {
        match (format.codec, format.rate_hz) {
            (Codec::Pcmu, 8_000) => Some(Self::Ulaw),
            (Codec::Pcma, 8_000) => Some(Self::Alaw),
            (Codec::L16, 8_000 | 16_000 | 24_000 | 48_000) => Some(Self::Linear),
            _ => None,
        }
    }

    /// Appends `samples`.
    pub(crate) fn encode(self, samples: &[i16], out: &mut Vec<u8>) {
        match self {
            Self::Ulaw => out.extend(samples.iter().map(|&s| g711::ulaw_encode(s))),
            Self::Alaw => out.extend(samples.iter().map(|&s| g711::alaw_encode(s))),
            Self::Linear => {
                let start = out.len();
                out.resize(start + 2 * samples.len(), 0);
                for (bytes, sample) in out[start..].as_chunks_mut().0.iter_mut().zip(samples) {
                    *bytes = sample.to_le_bytes();
                }
            }
        }
    }

    /// Bytes of one sample.
    pub(crate) fn width(self) -> usize {
        if self == Self::Linear { 2 } else { 1 }
    }

    /// As many samples as both slices hold.
    fn decode(self, bytes: &[u8], samples: &mut [i16]) {
        match self {
            Self::Ulaw => samples.iter_mut().zip(bytes).for_each(|(s, &b)| *s = g711::ulaw_decode(b)),
            Self::Alaw => samples.iter_mut().zip(bytes).for_each(|(s, &b)| *s = g711::alaw_decode(b)),
            Self::Linear => samples
                .iter_mut()
                .zip(bytes.as_chunks().0)
                .for_each(|(s, &pair)| *s = i16::from_le_bytes(pair)),
        }
    }
}

/// Bytes in, samples out. Keeps half a sample between pushes.
#[derive(Debug)]
pub(crate) struct Decoder {
    coding: Coding,
    half: Option<u8>,
}

impl Decoder {
    pub(crate) fn new(coding: Coding) -> Self {
        Self { coding, half: None }
    }

    /// Gives the samples of `payload`, at most [`PIECE`] at a time.
    pub(crate) fn push(&mut self, mut payload: &[u8], mut piece: impl FnMut(&mut [i16])) {
        if let Some(first) = self.half
            && let Some((&second, rest)) = payload.split_first()
        {
            piece(&mut [i16::from_le_bytes([first, second])]);
            self.half = None;
            payload = rest;
        }
        if self.coding == Coding::Linear && payload.len() % 2 == 1 {
            self.half = payload.last().copied();
        }
        let mut samples = [0; PIECE];
        for bytes in payload.chunks(PIECE * self.coding.width()) {
            let samples = &mut samples[..bytes.len() / self.coding.width()];
            self.coding.decode(bytes, samples);
            piece(samples);
        }
    }

    /// Forgets half a sample.
    pub(crate) fn reset(&mut self) {
        self.half = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Vec<i16> {
        let mut samples = Vec::new();
        decoder.push(bytes, |piece| samples.extend_from_slice(piece));
        samples
    }

    #[test]
    fn half_a_sample_waits_for_its_other_half() {
        let mut decoder = Decoder::new(Coding::Linear);
        assert_eq!(decode(&mut decoder, &[0x34]), []);
        assert_eq!(decode(&mut decoder, &[]), []);
        assert_eq!(decode(&mut decoder, &[0x12]), [0x1234]);
        assert_eq!(decode(&mut decoder, &[1, 0, 2]), [1]);
        assert_eq!(decode(&mut decoder, &[0, 3, 0, 4]), [2, 3]);
        decoder.reset();
        assert_eq!(decode(&mut decoder, &[5, 0]), [5]);
    }

    #[test]
    fn long_payloads_decode_whole() {
        for coding in [Coding::Ulaw, Coding::Alaw, Coding::Linear] {
            let samples: Vec<i16> = (0..1037).map(|s| s * 8).collect();
            let mut bytes = Vec::new();
            coding.encode(&samples, &mut bytes);
            let decoded = decode(&mut Decoder::new(coding), &bytes);
            assert_eq!(decoded.len(), samples.len(), "{coding:?}");
            if coding == Coding::Linear {
                assert_eq!(decoded, samples);
            }
        }
    }
}
