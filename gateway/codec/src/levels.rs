//! What the tests measure with: tones, and how much of a tone is in a signal.

use std::f64::consts::TAU;

/// `seconds` of a sine that begins at zero.
pub(crate) fn tone(hz: f64, rate_hz: u32, amplitude: f64, seconds: f64) -> Vec<i16> {
    let count = (seconds * f64::from(rate_hz)).round();
    let step = TAU * hz / f64::from(rate_hz);
    let samples = (0..).map(f64::from).take_while(|&n| n < count);
    samples.map(|n| quantised(amplitude * (step * n).sin())).collect()
}

/// To the nearest 16-bit value.
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
pub(crate) fn quantised(value: f64) -> i16 {
    value.round() as i16
}

/// Reproducible white noise, uniform within ±`amplitude`.
pub(crate) fn noise(amplitude: f64, count: usize) -> Vec<i16> {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..count).map(|_| quantised(amplitude * next())).collect()
}

/// Root mean square.
pub(crate) fn rms(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

/// A ratio of amplitudes in dB.
pub(crate) fn db(ratio: f64) -> f64 {
    20.0 * ratio.max(1e-12).log10()
}

/// The tone of a known frequency that is in a signal, by least squares.
pub(crate) struct Fit {
    /// Amplitude of the tone.
    pub(crate) amplitude: f64,
    /// Seconds by which the tone is late against a sine that begins at zero, within ± half a period.
    pub(crate) late_s: f64,
    /// Root mean square of everything else: images, aliases, rounding.
    pub(crate) rest_rms: f64,
}

impl Fit {
    /// Of the tone of `hz` in `samples`, the first of which is sample number `start` of the stream.
    pub(crate) fn of(samples: &[i16], start: usize, hz: f64, rate_hz: u32) -> Self {
        let step = TAU * hz / f64::from(rate_hz);
        let angles = (start..start + samples.len()).map(|n| step * n as f64);
        let waves: Vec<(f64, f64)> = angles.map(f64::sin_cos).collect();
        let sum = |f: &dyn Fn(f64, f64, f64) -> f64| -> f64 {
            waves.iter().zip(samples).map(|(&(sin, cos), &x)| f(sin, cos, f64::from(x))).sum()
        };
        let (ss, sc, cc) = (sum(&|s, _, _| s * s), sum(&|s, c, _| s * c), sum(&|_, c, _| c * c));
        let (sx, cx) = (sum(&|s, _, x| s * x), sum(&|_, c, x| c * x));
        let determinant = ss * cc - sc * sc;
        let a = (sx * cc - cx * sc) / determinant;
        let b = (cx * ss - sx * sc) / determinant;
        let rest = sum(&|s, c, x| (x - a * s - b * c).powi(2));
        Self {
            amplitude: a.hypot(b),
            late_s: (-b).atan2(a) / (TAU * hz),
            rest_rms: (rest / samples.len() as f64).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_finds_amplitude_and_delay_and_nothing_else() {
        let samples = tone(1_000.0, 8_000, 10_000.0, 0.1);
        let fit = Fit::of(&samples[3..], 0, 1_000.0, 8_000);
        assert!((fit.amplitude - 10_000.0).abs() < 0.1);
        assert!((fit.late_s + 3.0 / 8_000.0).abs() < 1e-7, "three samples early");
        assert!(fit.rest_rms < 0.4, "rounding alone");
    }

    #[test]
    fn decibels_are_of_amplitudes() {
        assert!((db(0.1) + 20.0).abs() < 1e-9);
        assert!((db(rms(&tone(100.0, 8_000, 2.0f64.sqrt() * 1_000.0, 1.0)) / 1_000.0)).abs() < 0.01);
    }
}
