//! WAV files to and from telephone audio.

use std::path::Path;

use bytes::Bytes;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use patchbay_codec::{g711, transcoder};
use patchbay_core::Format;

/// Rate that a file of an unusual rate is brought to first.
const FALLBACK_HZ: u32 = 16_000;
/// A level that no telephone line's noise reaches: 1/64 of full scale.
const LOUD: i32 = 512;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// Not there, not a WAV, or cut off.
    #[error(transparent)]
    Unreadable(#[from] hound::Error),
    /// More than two channels, or a rate outside of 8 to 192 kHz.
    #[error("only mono or stereo of 8 to 192 kHz is understood")]
    Unsupported,
    /// No samples.
    #[error("the file has no audio")]
    Empty,
}

/// Reads a file of any rate, mono or stereo, PCM or float, as µ-law at 8 kHz.
///
/// # Errors
/// [`WavError`].
pub fn read_ulaw(path: &Path) -> Result<Bytes, WavError> {
    let (samples, rate_hz) = read(path)?;
    Ok(convert(samples, rate_hz, Format::PCMU).into())
}

/// Reads a file of any rate, mono or stereo, PCM or float, as PCM16 at 24 kHz.
///
/// # Errors
/// [`WavError`].
pub fn read_l16_24k(path: &Path) -> Result<Vec<u8>, WavError> {
    let (samples, rate_hz) = read(path)?;
    Ok(convert(samples, rate_hz, Format::L16_24K))
}

/// Reads a WAV that is in the program.
///
/// # Errors
/// [`WavError`].
pub fn read_embedded(file: &[u8], format: Format) -> Result<Vec<u8>, WavError> {
    let (samples, rate_hz) = read_from(WavReader::new(file)?)?;
    Ok(convert(samples, rate_hz, format))
}

/// Writes µ-law at 8 kHz as PCM16.
///
/// # Errors
/// The file cannot be written.
pub fn write_ulaw(path: &Path, audio: &[u8]) -> Result<(), WavError> {
    let spec =
        WavSpec { channels: 1, sample_rate: 8_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(path, spec)?;
    for code in audio {
        writer.write_sample(g711::ulaw_decode(*code))?;
    }
    Ok(writer.finalize()?)
}

/// Where the last sound of µ-law audio ends, in bytes; zero when there is none.
#[must_use]
pub fn end_of_sound(audio: &[u8]) -> usize {
    audio.chunks(160).rposition(is_loud).map_or(0, |at| ((at + 1) * 160).min(audio.len()))
}

/// Whether there is any sound in µ-law audio.
#[must_use]
pub fn has_sound(audio: &[u8]) -> bool {
    audio.chunks(160).any(is_loud)
}

fn is_loud(frame: &[u8]) -> bool {
    frame.iter().filter(|code| i32::from(g711::ulaw_decode(**code)).abs() > LOUD).count() > frame.len() / 16
}

/// Mono samples and their rate.
fn read(path: &Path) -> Result<(Vec<i16>, u32), WavError> {
    read_from(WavReader::open(path)?)
}

fn read_from<R: std::io::Read>(mut reader: WavReader<R>) -> Result<(Vec<i16>, u32), WavError> {
    let spec = reader.spec();
    if !(1..=2).contains(&spec.channels) || !(8_000..=192_000).contains(&spec.sample_rate) {
        return Err(WavError::Unsupported);
    }
    let samples = mono(&read_samples(&mut reader)?, usize::from(spec.channels));
    if samples.is_empty() { Err(WavError::Empty) } else { Ok((samples, spec.sample_rate)) }
}

fn read_samples<R: std::io::Read>(reader: &mut WavReader<R>) -> Result<Vec<i16>, hound::Error> {
    let spec = reader.spec();
    match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().map(|sample| sample.map(from_float)).collect(),
        SampleFormat::Int if spec.bits_per_sample <= 16 => {
            let shift = 16 - spec.bits_per_sample;
            reader.samples::<i16>().map(|sample| sample.map(|sample| sample << shift)).collect()
        }
        SampleFormat::Int => {
            let shift = spec.bits_per_sample - 16;
            let narrow = |sample: i32| i16::try_from(sample >> shift).unwrap_or(i16::MAX);
            reader.samples::<i32>().map(|sample| sample.map(narrow)).collect()
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of i16")]
fn from_float(sample: f32) -> i16 {
    (sample * 32_767.0).clamp(-32_768.0, 32_767.0) as i16
}

fn mono(samples: &[i16], channels: usize) -> Vec<i16> {
    let average = |frame: &[i16]| {
        let sum: i32 = frame.iter().map(|sample| i32::from(*sample)).sum();
        i16::try_from(sum / i32::try_from(channels).unwrap_or(1)).unwrap_or(0)
    };
    samples.chunks_exact(channels).map(average).collect()
}

fn convert(samples: Vec<i16>, rate_hz: u32, format: Format) -> Vec<u8> {
    let Some(mut transcoder) = transcoder(Format::l16(rate_hz), format) else {
        return convert(interpolated(&samples, rate_hz, FALLBACK_HZ), FALLBACK_HZ, format);
    };
    let bytes: Vec<u8> = samples.into_iter().flat_map(i16::to_le_bytes).collect();
    let mut out = Vec::with_capacity(bytes.len());
    transcoder.push(&bytes, &mut out).expect("PCM has no packets to refuse");
    transcoder.finish(&mut out);
    out
}

/// Linear interpolation: good enough for a test file of an odd rate, such as 44.1 kHz.
fn interpolated(samples: &[i16], from_hz: u32, to_hz: u32) -> Vec<i16> {
    let (from, to) = (u64::from(from_hz), u64::from(to_hz));
    let length = samples.len() as u64 * to / from;
    (0..length).map(|at| between(samples, at * from / to, at * from % to, to)).collect()
}

/// The value `part / whole` of the way from sample `at` to the next.
fn between(samples: &[i16], at: u64, part: u64, whole: u64) -> i16 {
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(samples.len() - 1);
    let here = i64::from(samples[at]);
    let next = samples.get(at + 1).map_or(here, |next| i64::from(*next));
    let step = (next - here) * i64::try_from(part).unwrap_or(0) / i64::try_from(whole).unwrap_or(1);
    i16::try_from(here + step).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate_hz: u32, channels: u16, dir: &Path) -> std::path::PathBuf {
        let path = dir.join(format!("{rate_hz}-{channels}.wav"));
        let spec =
            WavSpec { channels, sample_rate: rate_hz, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::create(&path, spec).unwrap();
        for nth in 0..rate_hz {
            let at = f64::from(nth) * 440.0 / f64::from(rate_hz) * std::f64::consts::TAU;
            for _ in 0..channels {
                #[expect(clippy::cast_possible_truncation, reason = "a sine of 8,000")]
                writer.write_sample((at.sin() * 8_000.0) as i16).unwrap();
            }
        }
        writer.finalize().unwrap();
        path
    }

    #[test]
    fn a_second_stays_a_second_whatever_the_rate_and_the_channels() {
        let dir = std::env::temp_dir().join(format!("patchbay-wav-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (rate_hz, channels) in [(8_000, 1), (16_000, 2), (24_000, 1), (44_100, 2), (48_000, 1)] {
            let audio = read_ulaw(&tone(rate_hz, channels, &dir)).unwrap();
            assert!(audio.len().abs_diff(8_000) <= 1, "{rate_hz}: {}", audio.len());
            assert!(has_sound(&audio[1_000..1_200]), "{rate_hz}");
            write_ulaw(&dir.join("out.wav"), &audio).unwrap();
            let again = read_ulaw(&dir.join("out.wav")).unwrap();
            let same = again.iter().zip(&audio).all(|(a, b)| g711::ulaw_decode(*a) == g711::ulaw_decode(*b));
            assert!(same && again.len() == audio.len(), "{rate_hz}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn silence_is_no_sound_and_the_end_of_sound_is_found() {
        let mut audio = vec![0xFF; 1_600];
        assert!(!has_sound(&audio));
        assert_eq!(end_of_sound(&audio), 0);
        audio[320..480].fill(0x80);
        assert_eq!(end_of_sound(&audio), 480);
    }
}
