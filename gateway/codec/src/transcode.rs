//! Any format of whole samples to any other.

use patchbay_core::{CodecError, Format, MediaTime, Transcoder};

use crate::conceal::Concealer;
use crate::samples::{Coding, Decoder};
use crate::{Passthrough, Resampler};

/// The transcoder from `input` to `output`: among PCMU and PCMA at 8 kHz and L16 at 8, 16, 24 and 48 kHz every pair,
/// and every format to itself. `None` for any other pair.
#[must_use]
pub fn transcoder(input: Format, output: Format) -> Option<Box<dyn Transcoder>> {
    if input == output {
        return Some(Box::new(Passthrough::new(input)));
    }
    Some(Box::new(Conversion::new(input, output)?))
}

/// Decodes, resamples if the rates differ, and encodes.
///
/// While a stream runs, the output is [`latency`](Transcoder::latency) behind the input (5 ms where it resamples, else
/// nothing); [`finish`](Transcoder::finish) hands out the rest, and the whole is as long as what was pushed and
/// concealed. No delay is left inside the audio: a position in the output is the same position in the input.
/// What is lost is concealed before it is resampled, so that it counts like what was pushed.
pub struct Conversion {
    input: Format,
    output: Format,
    decoder: Decoder,
    concealer: Concealer,
    resampler: Option<Resampler>,
    encoding: Coding,
}

impl Conversion {
    /// `None` if one of the formats is none of whole samples at 8, 16, 24 or 48 kHz.
    #[must_use]
    pub fn new(input: Format, output: Format) -> Option<Self> {
        let resampler = if input.rate_hz == output.rate_hz {
            None
        } else {
            Some(Resampler::new(input.rate_hz, output.rate_hz)?)
        };
        Some(Self {
            input,
            output,
            decoder: Decoder::new(Coding::of(input)?),
            concealer: Concealer::new(input.rate_hz),
            resampler,
            encoding: Coding::of(output)?,
        })
    }
}

impl Transcoder for Conversion {
    fn input(&self) -> Format {
        self.input
    }

    fn output(&self) -> Format {
        self.output
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let Self { decoder, concealer, resampler, encoding, .. } = self;
        decoder.push(payload, |samples| {
            concealer.fade_in(samples);
            concealer.remember(samples);
            pass_on(samples, resampler.as_mut(), *encoding, out);
        });
        Ok(())
    }

    fn conceal(&mut self, lost: MediaTime, out: &mut Vec<u8>) {
        let Self { concealer, resampler, encoding, .. } = self;
        concealer.conceal(lost, |samples| pass_on(samples, resampler.as_mut(), *encoding, out));
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(|samples| self.encoding.encode(samples, out));
        }
        self.reset();
    }

    fn latency(&self) -> MediaTime {
        self.resampler.as_ref().map_or(MediaTime::ZERO, Resampler::latency)
    }

    fn reset(&mut self) {
        self.decoder.reset();
        self.concealer.reset();
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
    }
}

/// Samples of the input's rate into bytes of the output.
fn pass_on(samples: &[i16], resampler: Option<&mut Resampler>, encoding: Coding, out: &mut Vec<u8>) {
    match resampler {
        Some(resampler) => resampler.push(samples, |ready| encoding.encode(ready, out)),
        None => encoding.encode(samples, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_formats_of_whole_samples_has_a_transcoder() {
        let formats =
            [Format::PCMU, Format::PCMA, Format::L16_8K, Format::L16_16K, Format::L16_24K, Format::L16_48K];
        for input in formats {
            for output in formats {
                let transcoder = transcoder(input, output).unwrap();
                assert_eq!((transcoder.input(), transcoder.output()), (input, output));
                let latency_ms = if input.rate_hz == output.rate_hz { 0 } else { 5 };
                assert_eq!(transcoder.latency(), MediaTime::from_ms(latency_ms), "{input} -> {output}");
            }
        }
    }

    #[test]
    fn pairs_that_no_leg_uses_are_refused() {
        let pcmu_16k = Format { codec: patchbay_core::Codec::Pcmu, rate_hz: 16_000 };
        let l16_44k = Format::l16(44_100);
        for other in [Format::OPUS, pcmu_16k, l16_44k] {
            assert!(transcoder(Format::PCMU, other).is_none(), "{other}");
            assert!(transcoder(other, Format::L16_24K).is_none(), "{other}");
        }
        assert!(transcoder(Format::OPUS, Format::OPUS).is_some(), "to itself, any");
    }
}
