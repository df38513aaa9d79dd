//! The transcoder that changes nothing.

use patchbay_core::{CodecError, Format, MediaTime, Transcoder};

use crate::conceal::Concealer;
use crate::samples::{Coding, Decoder, PIECE};

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
            let newest = &out[start.max(out.len().saturating_sub(PIECE))..];
            let newest = &newest[newest.len() % sample_bytes..];
            decoder.push(newest, |samples| concealer.remember(samples));
        }
        Ok(())
    }

    fn conceal(&mut self, lost: MediaTime, out: &mut Vec<u8>) {
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
