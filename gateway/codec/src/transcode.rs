//! Any format of whole samples to any other.

use patchbay_core::{Codec, CodecError, Format, MediaTime, Transcoder};

use crate::conceal::Concealer;
use crate::samples::{Coding, Decoder};
use crate::{OpusDecoding, OpusEncoding, Passthrough, Resampler};

/// The transcoder from `input` to `output`: among Opus, PCMU and PCMA at 8 kHz and L16 at 8, 16, 24 and 48 kHz every pair,
/// and every format to itself. `None` for any other pair.
#[must_use]
pub fn transcoder(input: Format, output: Format) -> Option<Box<dyn Transcoder>> {
    if input == output {
        return Some(Box::new(Passthrough::new(input)));
    }
    match (input.codec, output.codec) {
        (Codec::Opus, _) => Some(Box::new(OpusDecoding::new(input, output)?)),
        (_, Codec::Opus) => Some(Box::new(OpusEncoding::new(input, output)?)),
        _ => Some(Box::new(Conversion::new(input, output)?)),
    }
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

    fn conceal(&mut self, lost: MediaTime, _next: Option<&[u8]>, out: &mut Vec<u8>) {
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
    use proptest::prelude::*;

    use super::*;
    use crate::levels::{Fit, db, noise, tone};
    use crate::samples::PIECE;

    const FORMATS: [Format; 6] =
        [Format::PCMU, Format::PCMA, Format::L16_8K, Format::L16_16K, Format::L16_24K, Format::L16_48K];

    fn pairs() -> impl Iterator<Item = (Format, Format)> {
        FORMATS.into_iter().flat_map(|a| FORMATS.into_iter().map(move |b| (a, b)))
    }

    fn encoded(format: Format, samples: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Coding::of(format).unwrap().encode(samples, &mut bytes);
        bytes
    }

    fn decoded(format: Format, bytes: &[u8]) -> Vec<i16> {
        let mut samples = Vec::new();
        Decoder::new(Coding::of(format).unwrap()).push(bytes, |piece| samples.extend_from_slice(piece));
        samples
    }

    /// All of a stream, in one push.
    fn converted(input: Format, output: Format, bytes: &[u8]) -> Vec<u8> {
        let mut transcoder = transcoder(input, output).unwrap();
        let mut out = Vec::new();
        transcoder.push(bytes, &mut out).unwrap();
        transcoder.finish(&mut out);
        out
    }

    /// Signal to everything else, of a 1 kHz tone of `amplitude`, in dB, after the conversions of `path`.
    fn snr(path: &[Format], amplitude: f64) -> f64 {
        let hz = 1_020.0; // 1,000 Hz divides the rates: it would meet a few codes again and again
        let mut bytes = encoded(path[0], &tone(hz, path[0].rate_hz, amplitude, 0.4));
        for pair in path.windows(2) {
            bytes = converted(pair[0], pair[1], &bytes);
        }
        let last = path[path.len() - 1];
        let samples = decoded(last, &bytes);
        let settled = last.rate_hz as usize / 50;
        let fit = Fit::of(&samples[settled..samples.len() - settled], settled, hz, last.rate_hz);
        db(fit.amplitude * std::f64::consts::FRAC_1_SQRT_2 / fit.rest_rms)
    }

    #[test]
    fn every_pair_of_formats_of_whole_samples_has_a_transcoder() {
        for (input, output) in pairs() {
            let transcoder = transcoder(input, output).unwrap();
            assert_eq!((transcoder.input(), transcoder.output()), (input, output));
            let latency_ms = if input.rate_hz == output.rate_hz { 0 } else { 5 };
            assert_eq!(transcoder.latency(), MediaTime::from_ms(latency_ms), "{input} -> {output}");
        }
    }

    #[test]
    fn pairs_that_no_leg_uses_are_refused() {
        let pcmu_16k = Format { codec: Codec::Pcmu, rate_hz: 16_000 };
        let l16_44k = Format::l16(44_100);
        for other in [pcmu_16k, l16_44k] {
            for known in [Format::PCMU, Format::L16_24K, Format::OPUS] {
                assert!(transcoder(known, other).is_none(), "{other}");
                assert!(transcoder(other, known).is_none(), "{other}");
            }
        }
        assert!(transcoder(Format::OPUS, Format::OPUS).is_some(), "to itself, any");
    }

    #[test]
    fn a_tone_arrives_as_loud_and_at_the_same_place_in_every_format() {
        for (input, output) in pairs() {
            let bytes = encoded(input, &tone(1_020.0, input.rate_hz, 16_000.0, 0.2));
            let samples = decoded(output, &converted(input, output, &bytes));
            let settled = output.rate_hz as usize / 50;
            let fit = Fit::of(&samples[settled..samples.len() - settled], settled, 1_020.0, output.rate_hz);
            let level = db(fit.amplitude / 16_000.0);
            assert!(level.abs() < 0.1, "{input} -> {output}: {level} dB");
            assert!(fit.late_s.abs() < 5e-6, "{input} -> {output}: {} s late", fit.late_s);
        }
    }

    /// Measured at 0, −10 and −20 dB of full scale: 36.95 to 39.2 dB. ITU-T G.712 asks for 33.
    #[test]
    fn companding_keeps_the_signal_36_db_above_its_noise() {
        for law in [Format::PCMU, Format::PCMA] {
            for amplitude in [31_000.0, 10_000.0, 3_200.0] {
                let through = snr(&[Format::L16_8K, law, Format::L16_8K], amplitude);
                assert!(through > 36.5, "{law} at {amplitude}: {through} dB");
            }
        }
    }

    /// Most samples come back so close that they get the code again that they had. Measured: 0.02 dB.
    #[test]
    fn the_way_to_a_model_and_back_adds_next_to_no_noise() {
        let once = snr(&[Format::L16_8K, Format::PCMU], 10_000.0);
        let back = snr(&[Format::L16_8K, Format::PCMU, Format::L16_24K, Format::PCMU], 10_000.0);
        assert!(back > once - 0.1, "{once} dB before, {back} dB after");
    }

    #[test]
    fn law_to_law_is_the_way_through_linear() {
        let all: Vec<u8> = (0..=255).collect();
        for (input, output) in [(Format::PCMU, Format::PCMA), (Format::PCMA, Format::PCMU)] {
            let linear = converted(input, Format::L16_8K, &all);
            let through = converted(Format::L16_8K, output, &linear);
            assert_eq!(converted(input, output, &all), through);
        }
    }

    #[test]
    fn after_a_finish_a_new_stream_begins() {
        for (input, output) in pairs() {
            let bytes = encoded(input, &noise(16_000.0, 1_001));
            let expected = converted(input, output, &bytes);
            let mut transcoder = transcoder(input, output).unwrap();
            for round in 0..3 {
                let mut out = Vec::new();
                transcoder.push(&bytes, &mut out).unwrap();
                transcoder.finish(&mut out);
                assert_eq!(out, expected, "{input} -> {output}, round {round}");
            }
        }
    }

    #[test]
    fn nothing_from_before_a_reset_is_heard_after_it() {
        for (input, output) in pairs() {
            let mut transcoder = transcoder(input, output).unwrap();
            let mut out = Vec::new();
            let mut bytes = encoded(input, &noise(16_000.0, 1_001));
            bytes.push(0x11); // half a sample, of L16
            transcoder.push(&bytes, &mut out).unwrap();
            transcoder.reset();
            out.clear();
            transcoder.conceal(MediaTime::FRAME, None, &mut out);
            transcoder.finish(&mut out);
            assert!(decoded(output, &out).iter().all(|s| s.abs() <= 8), "{input} -> {output}");
            assert_eq!(output.duration_of(out.len()), Some(MediaTime::FRAME));
        }
    }

    #[test]
    fn a_finish_without_a_push_gives_nothing() {
        for (input, output) in pairs() {
            assert_eq!(converted(input, output, &[]), [], "{input} -> {output}");
        }
    }

    #[test]
    fn a_frame_of_20_ms_gives_a_frame_of_20_ms_once_the_delay_is_paid() {
        for (input, output) in pairs() {
            let mut transcoder = transcoder(input, output).unwrap();
            let frame = encoded(input, &vec![0; input.rate_hz as usize / 50]);
            let mut spans = Vec::new();
            for _ in 0..3 {
                let mut out = Vec::new();
                transcoder.push(&frame, &mut out).unwrap();
                spans.push(output.duration_of(out.len()).unwrap());
            }
            let first = MediaTime::FRAME.saturating_sub(transcoder.latency());
            assert_eq!(spans, [first, MediaTime::FRAME, MediaTime::FRAME], "{input} -> {output}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Conceal(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..3 * PIECE).prop_map(Step::Push),
            1 => (0u64..5_000).prop_map(Step::Conceal),
        ];
        prop::collection::vec(step, 0..12)
    }

    proptest! {
        #[test]
        fn the_whole_is_as_long_as_what_was_pushed_and_concealed(
            pair in prop::sample::select(pairs().collect::<Vec<_>>()),
            steps in steps(),
        ) {
            let (input, output) = pair;
            let mut transcoder = transcoder(input, output).unwrap();
            let (mut bytes, mut concealed, mut out) = (0, 0, Vec::new());
            for step in steps {
                match step {
                    Step::Push(size) => {
                        transcoder.push(&vec![0x55; size], &mut out).unwrap();
                        bytes += size;
                    }
                    Step::Conceal(ticks) => {
                        let lost = MediaTime::from_ticks(ticks);
                        transcoder.conceal(lost, None, &mut out);
                        concealed += lost.samples(input.rate_hz);
                    }
                }
            }
            transcoder.finish(&mut out);
            let samples = (bytes / input.sample_bytes().unwrap()) as u64 + concealed;
            let due = samples * u64::from(output.rate_hz) / u64::from(input.rate_hz);
            prop_assert_eq!(out.len() as u64, due * output.sample_bytes().unwrap() as u64);
        }

        #[test]
        fn any_sizes_in_give_the_same_bytes_out(
            pair in prop::sample::select(pairs().collect::<Vec<_>>()),
            sizes in prop::collection::vec(0usize..1_500, 0..12),
        ) {
            let (input, output) = pair;
            let bytes = encoded(input, &noise(16_000.0, sizes.iter().sum()));
            let bytes = &bytes[..sizes.iter().sum()];
            let mut transcoder = transcoder(input, output).unwrap();
            let mut out = Vec::new();
            let mut rest = bytes;
            for size in sizes {
                let (now, later) = rest.split_at(size);
                transcoder.push(now, &mut out).unwrap();
                rest = later;
            }
            transcoder.finish(&mut out);
            prop_assert_eq!(out, converted(input, output, bytes));
        }
    }
}
