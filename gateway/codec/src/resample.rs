//! Conversion between 8, 16, 24 and 48 kHz: rubato's FFT resampler in blocks of 10 ms with the Hann² window.
//!
//! A block of 10 ms makes a filter of 10 ms, whose group delay is 5 ms. That delay is taken out again: the first 5 ms
//! are dropped, so that position for position the output is the input, and what is late is only the end, which
//! [`Resampler::finish`] hands out. Hence a stream is never longer or shorter than what went in, and a position in the
//! one is the same position in the other: the ledger needs no correction.

use patchbay_core::MediaTime;
use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// Blocks in one second. A filter is as long as a block; 20 ms would be flatter still, but delays by 10 ms.
const BLOCKS_PER_SECOND: u32 = 100;

/// A mono stream from one rate to another. Allocates only when it is made.
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    fft: Fft<f32>,
    /// One channel, one block; `filled` samples of it wait for the rest.
    input: [Vec<f32>; 1],
    filled: usize,
    /// One channel, one block.
    output: [Vec<f32>; 1],
    /// `output` in 16 bits.
    rounded: Vec<i16>,
    /// Samples of the filter's delay that are still to be dropped.
    lead: usize,
    /// Samples in and out since the stream began.
    taken: u64,
    given: u64,
}

impl Resampler {
    /// `None` unless both rates are whole numbers of samples in 10 ms and differ.
    #[must_use]
    pub fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        let (block_in, block_out) = (block(from_hz)?, block(to_hz)?);
        if from_hz == to_hz {
            return None;
        }
        let fft =
            Fft::new_custom(block_in, block_out, block_in, 1, 1, WindowFunction::Hann2, FixedSync::Both)
                .ok()?;
        let sizes_are_ours = fft.fft_size_in() == block_in && fft.fft_size_out() == block_out;
        sizes_are_ours.then(|| Self {
            from_hz,
            to_hz,
            lead: fft.output_delay(),
            fft,
            input: [vec![0.0; block_in]],
            filled: 0,
            output: [vec![0.0; block_out]],
            rounded: vec![0; block_out],
            taken: 0,
            given: 0,
        })
    }

    /// Takes any number of samples and gives those that are ready, at most 10 ms at a time. What is not a whole block
    /// of 10 ms waits for the rest of it.
    pub fn push(&mut self, mut samples: &[i16], mut ready: impl FnMut(&[i16])) {
        self.taken += samples.len() as u64;
        while !samples.is_empty() {
            let room = self.input[0].len() - self.filled;
            let (now, later) = samples.split_at(room.min(samples.len()));
            for (to, &from) in self.input[0][self.filled..].iter_mut().zip(now) {
                *to = f32::from(from);
            }
            self.filled += now.len();
            samples = later;
            if self.filled == self.input[0].len() {
                self.convert(&mut ready);
            }
        }
    }

    /// The stream is complete: gives what is held back, so that all in all it is as long as what went in (rounded down
    /// to a sample), and starts fresh.
    pub fn finish(&mut self, mut ready: impl FnMut(&[i16])) {
        while self.given < self.due() {
            self.input[0][self.filled..].fill(0.0);
            self.convert(&mut ready);
        }
        self.reset();
    }

    /// How far the output is behind the input while the stream runs in whole blocks: half the filter.
    #[must_use]
    pub fn latency(&self) -> MediaTime {
        MediaTime::from_samples(self.fft.output_delay() as u64, self.to_hz)
    }

    /// Forgets all history: what follows is a stream of its own.
    pub fn reset(&mut self) {
        self.fft.reset();
        self.filled = 0;
        self.lead = self.fft.output_delay();
        self.taken = 0;
        self.given = 0;
    }

    /// Samples that all that was taken amounts to.
    fn due(&self) -> u64 {
        self.taken.saturating_mul(self.to_hz.into()) / u64::from(self.from_hz)
    }

    /// Converts the block that is full and gives what of it belongs to the stream: not the filter's delay before, not
    /// the filling after.
    fn convert(&mut self, ready: &mut impl FnMut(&[i16])) {
        self.filter();
        self.filled = 0;
        let dropped = self.lead.min(self.rounded.len());
        self.lead -= dropped;
        let missing = usize::try_from(self.due() - self.given).unwrap_or(usize::MAX);
        let fresh = &self.rounded[dropped..];
        let fresh = &fresh[..fresh.len().min(missing)];
        self.given += fresh.len() as u64;
        if !fresh.is_empty() {
            ready(fresh);
        }
    }

    /// One block through the filter, into `rounded`.
    fn filter(&mut self) {
        const SIZES: &str = "the buffers were made in the sizes of the resampler";
        let (frames_in, frames_out) = (self.input[0].len(), self.output[0].len());
        let input = SequentialSliceOfVecs::new(&self.input, 1, frames_in).expect(SIZES);
        let mut output = SequentialSliceOfVecs::new_mut(&mut self.output, 1, frames_out).expect(SIZES);
        self.fft.process_into_buffer(&input, &mut output, None).expect(SIZES);
        for (to, &from) in self.rounded.iter_mut().zip(&self.output[0]) {
            *to = round(from);
        }
    }
}

/// Samples of a block at `rate_hz`.
fn block(rate_hz: u32) -> Option<usize> {
    let whole = rate_hz > 0 && rate_hz.is_multiple_of(BLOCKS_PER_SECOND);
    whole.then(|| usize::try_from(rate_hz / BLOCKS_PER_SECOND).ok())?
}

/// To the nearest 16-bit value, at most full scale. `f32::round` is a call into the C library on plain x86-64; adding
/// 1.5 × 2²³ instead leaves the integer, in two's complement, in the low bits of the mantissa, and vectorises.
#[inline]
fn round(sample: f32) -> i16 {
    const INTEGER_IN_MANTISSA: f32 = 12_582_912.0;
    let bits = (sample.clamp(-32_768.0, 32_767.0) + INTEGER_IN_MANTISSA).to_bits();
    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are the integer")]
    let low = bits as u16;
    low.cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::levels::{Fit, db, noise, rms, tone};

    const RATES: [u32; 4] = [8_000, 16_000, 24_000, 48_000];
    const LOUD: f64 = 16_000.0;
    const FULL_SINE_RMS: f64 = LOUD * std::f64::consts::FRAC_1_SQRT_2;

    fn pairs() -> impl Iterator<Item = (u32, u32)> {
        RATES.into_iter().flat_map(|a| RATES.into_iter().map(move |b| (a, b))).filter(|(a, b)| a != b)
    }

    fn push(resampler: &mut Resampler, samples: &[i16]) -> Vec<i16> {
        let mut out = Vec::new();
        resampler.push(samples, |ready| out.extend_from_slice(ready));
        out
    }

    fn finish(resampler: &mut Resampler) -> Vec<i16> {
        let mut out = Vec::new();
        resampler.finish(|ready| out.extend_from_slice(ready));
        out
    }

    /// All of a stream, in one push.
    fn converted(from: u32, to: u32, samples: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to).unwrap();
        let mut out = push(&mut resampler, samples);
        out.extend(finish(&mut resampler));
        out
    }

    /// What comes of a loud tone once the filter has settled.
    fn fit(from: u32, to: u32, hz: f64) -> Fit {
        let out = converted(from, to, &tone(hz, from, LOUD, 0.2));
        let settled = to as usize / 50;
        Fit::of(&out[settled..out.len() - settled], settled, hz, to)
    }

    /// `parts` of the lower Nyquist frequency, in steps of a fortieth.
    fn frequencies(from: u32, to: u32, parts: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = f64> {
        let nyquist = f64::from(from.min(to)) / 2.0;
        parts.map(move |part| nyquist * f64::from(part) / 40.0)
    }

    /// 3.4 kHz of 4: 34 fortieths. Measured: within 0.004 dB.
    #[test]
    fn the_pass_band_is_flat_to_3_4_khz() {
        for (from, to) in pairs() {
            for hz in frequencies(from, to, 1..=34) {
                let level = db(fit(from, to, hz).amplitude / LOUD);
                assert!(level.abs() < 0.05, "{from} -> {to} at {hz} Hz: {level} dB");
            }
        }
    }

    /// Measured: −87 dB at worst, of which most is the rounding to 16 bits.
    #[test]
    fn no_image_of_any_tone_is_heard() {
        for (from, to) in pairs() {
            for hz in frequencies(from, to, 1..=39) {
                let rest = db(fit(from, to, hz).rest_rms / FULL_SINE_RMS);
                assert!(rest < -80.0, "{from} -> {to} at {hz} Hz: {rest} dB");
            }
        }
    }

    /// From the very Nyquist frequency on. Measured: −83 dB at worst.
    #[test]
    fn what_the_lower_rate_cannot_carry_does_not_alias() {
        for (from, to) in pairs().filter(|(from, to)| from > to) {
            let (nyquist_in, nyquist_out) = (f64::from(from) / 2.0, f64::from(to) / 2.0);
            let beyond = (0..).map(|n| nyquist_out + 1.0 + 50.0 * f64::from(n));
            for hz in beyond.take_while(|&hz| hz < nyquist_in) {
                let out = converted(from, to, &tone(hz, from, LOUD, 0.2));
                let settled = to as usize / 50;
                let alias = db(rms(&out[settled..out.len() - settled]) / FULL_SINE_RMS);
                assert!(alias < -75.0, "{from} -> {to} at {hz} Hz: {alias} dB");
            }
        }
    }

    #[test]
    fn a_position_in_the_output_is_the_same_position_in_the_input() {
        for (from, to) in pairs() {
            for hz in [300.0, 1_000.0, 3_400.0] {
                let late_us = fit(from, to, hz).late_s * 1e6;
                assert!(late_us.abs() < 0.2, "{from} -> {to} at {hz} Hz: {late_us} µs");
            }
        }
    }

    /// The output is aligned, so its delay is what is missing of it while the stream runs.
    #[test]
    fn the_measured_delay_is_the_reported_one_and_5_ms() {
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut given = 0;
            for frame in 1..=50 {
                given += push(&mut resampler, &vec![100; from as usize / 50]).len() as u64;
                let behind =
                    MediaTime::from_ms(20 * frame).saturating_sub(MediaTime::from_samples(given, to));
                assert_eq!(behind, resampler.latency(), "{from} -> {to}");
            }
            assert_eq!(resampler.latency(), MediaTime::from_ms(5));
        }
    }

    #[test]
    fn an_hour_does_not_drift_by_a_sample() {
        for (from, to) in [(8_000, 24_000), (24_000, 8_000)] {
            let mut resampler = Resampler::new(from, to).unwrap();
            let silence = vec![0; from as usize / 50];
            let mut given = 0;
            for _ in 0..3_599 * 50 {
                resampler.push(&silence, |ready| given += ready.len());
            }
            let mut last = push(&mut resampler, &tone(1_000.0, from, LOUD, 1.0));
            last.extend(finish(&mut resampler));
            assert_eq!(given + last.len(), 3_600 * to as usize, "{from} -> {to}");
            let settled = last.len() / 2;
            let start = given + settled - 3_599 * to as usize;
            let fit = Fit::of(&last[settled..last.len() - 480], start, 1_000.0, to);
            assert!(fit.late_s.abs() < 1e-7, "{from} -> {to}: {} s", fit.late_s);
        }
    }

    #[test]
    fn a_constant_stays_that_constant() {
        for (from, to) in pairs() {
            for level in [0, 1, -1, 12_345, i16::MAX, i16::MIN] {
                let out = converted(from, to, &vec![level; from as usize / 10]);
                let middle = &out[out.len() / 4..out.len() * 3 / 4];
                assert!(middle.iter().all(|&s| s.abs_diff(level) <= 1), "{from} -> {to}: {level}");
            }
        }
    }

    #[test]
    fn a_tone_gets_no_constant_added() {
        for (from, to) in pairs() {
            let out = converted(from, to, &tone(1_000.0, from, LOUD, 0.2));
            let middle = &out[to as usize / 20..to as usize * 3 / 20];
            let mean = middle.iter().map(|&s| f64::from(s)).sum::<f64>() / middle.len() as f64;
            assert!(mean.abs() < 0.1, "{from} -> {to}: {mean}");
        }
    }

    #[test]
    fn full_scale_is_clipped_and_never_wraps() {
        let square: Vec<i16> = (0..800).map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let out = converted(8_000, 24_000, &square);
        for (n, &sample) in out.iter().enumerate().filter(|(n, _)| (30..90).contains(&(n % 120))) {
            let expected_positive = n / 120 % 2 == 0;
            assert_eq!(sample > 0, expected_positive, "sample {n}: {sample}");
        }
        assert!(out.contains(&i16::MAX) && out.contains(&i16::MIN));
    }

    #[test]
    fn nothing_from_before_a_reset_is_heard_after_it() {
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to).unwrap();
            let next = noise(LOUD, 777);
            push(&mut resampler, &noise(LOUD, from as usize / 7));
            resampler.reset();
            let mut out = push(&mut resampler, &next);
            out.extend(finish(&mut resampler));
            assert_eq!(out, converted(from, to, &next), "{from} -> {to}");
        }
    }

    /// Root mean square of the second difference in the first 5 ms: what a click has and a low tone has not.
    fn roughness(samples: &[i16], rate_hz: u32) -> f64 {
        let window: Vec<f64> = samples[..rate_hz as usize / 200].iter().map(|&s| f64::from(s)).collect();
        let bends = window.windows(3).map(|w| w[0] - 2.0 * w[1] + w[2]);
        (bends.map(|b| b * b).sum::<f64>() / window.len() as f64).sqrt()
    }

    /// A tone cut off at its crest and begun anew: with the reset it starts as from silence, without it as from a step.
    #[test]
    fn a_seam_at_a_reset_does_not_click() {
        for (from, to) in pairs() {
            let tone = tone(100.0, from, LOUD, 0.1);
            let to_the_crest = &tone[..from as usize / 16]; // 6¼ periods, 62.5 ms
            let after = |reset: bool| {
                let mut resampler = Resampler::new(from, to).unwrap();
                push(&mut resampler, to_the_crest);
                if reset {
                    resampler.reset();
                    push(&mut resampler, &tone)
                } else {
                    let spliced = push(&mut resampler, &tone);
                    spliced[to as usize / 200..].to_vec() // the seam is 7.5 ms behind the 55 ms given before
                }
            };
            let (seam, click) = (roughness(&after(true), to), roughness(&after(false), to));
            assert!(seam < click * 0.15, "{from} -> {to}: {seam}, a click is {click}");
        }
    }

    #[test]
    fn nothing_is_allocated_once_it_is_made() {
        for (from, to) in pairs() {
            let mut resampler = Resampler::new(from, to).unwrap();
            let samples = noise(LOUD, 5_000);
            let mut given = 0;
            let allocations = allocation_counter::measure(|| {
                resampler.push(&samples, |ready| given += ready.len());
                resampler.finish(|ready| given += ready.len());
            });
            assert!(given > 0);
            assert_eq!(allocations.count_total, 0, "{from} -> {to}");
        }
    }

    /// A transcoded call has two. Measured: 15.6 and 15.9 KB between 8 and 24 kHz, 34.9 KB at most (48 to 24).
    #[test]
    fn a_resampler_between_telephone_and_model_holds_16_kib() {
        for (from, to) in pairs() {
            let mut made = None;
            let held = allocation_counter::measure(|| made = Resampler::new(from, to)).bytes_current;
            let limit = if from.max(to) <= 24_000 && from.min(to) == 8_000 { 16 } else { 36 } * 1024;
            assert!(made.is_some() && held <= limit, "{from} -> {to}: {held} bytes");
        }
    }

    #[test]
    fn rates_without_whole_blocks_and_equal_rates_are_refused() {
        for (from, to) in [(0, 8_000), (8_000, 0), (8_000, 8_000), (11_025, 8_000), (8_000, 44_101)] {
            assert!(Resampler::new(from, to).is_none(), "{from} -> {to}");
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_saturates() {
        let table = [
            (0.0, 0),
            (0.4, 0),
            (0.6, 1),
            (-0.4, 0),
            (-0.6, -1),
            (32_766.6, i16::MAX),
            (40_000.0, i16::MAX),
            (-32_768.4, i16::MIN),
            (-1e9, i16::MIN),
        ];
        for (sample, expected) in table {
            assert_eq!(round(sample), expected, "{sample}");
        }
    }

    proptest! {
        #[test]
        fn any_sizes_in_give_the_same_stream_of_exact_length(
            pair in prop::sample::select(pairs().collect::<Vec<_>>()),
            sizes in prop::collection::vec(0usize..2_000, 0..12),
        ) {
            let (from, to) = pair;
            let samples = noise(LOUD, sizes.iter().sum());
            let mut resampler = Resampler::new(from, to).unwrap();
            let mut out = Vec::new();
            let mut rest = samples.as_slice();
            for size in sizes {
                let (now, later) = rest.split_at(size);
                out.extend(push(&mut resampler, now));
                rest = later;
            }
            out.extend(finish(&mut resampler));
            prop_assert_eq!(out.len(), samples.len() * to as usize / from as usize);
            prop_assert_eq!(out, converted(from, to, &samples));
        }
    }
}
