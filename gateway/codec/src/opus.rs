//! Opus (RFC 6716) by libopus, mono, in 20 ms packets, at the rate of the other side: nothing is resampled by us.

use audiopus::coder::{Decoder as Libopus, Encoder, GenericCtl};
use audiopus::packet::Packet;
use audiopus::{Application, Bitrate, Channels, MutSignals, SampleRate, Signal};
use patchbay_core::{Codec, CodecError, Format, MediaTime, Transcoder, opus_duration};

use crate::samples::{Coding, Decoder};

/// Bits a second that we send (reference/browser.md §1.7: browsers send 24,000 to 32,000).
pub const BITRATE: i32 = 28_000;
/// Of 0 to 10. Measured at 28 kbit/s: above 5 the time grows by half, and the voice does not gain.
pub const COMPLEXITY: u8 = 5;

/// libopus conceals well for about this long (it fades by itself); then there is silence.
const CONCEALED_MAX: MediaTime = MediaTime::from_ms(100);
/// The longest packet: 120 ms (RFC 6716 §2.1.4) at 48 kHz.
const SAMPLES_MAX: usize = 5_760;
/// More than a packet of 20 ms can have (RFC 6716 §3.4 R5).
const PACKET_MAX: usize = 1_275;
/// Before anybody reports, copies are sent as if three in a hundred packets were lost.
const LOSS_PERCENT_MIN: u8 = 3;
/// Above it, copies cost more than they save.
const LOSS_PERCENT_MAX: u8 = 25;

/// Opus packets to samples. What is lost comes from the next packet's copy, else from libopus's guess, then is silence.
pub struct OpusDecoding {
    output: Format,
    libopus: Libopus,
    encoding: Coding,
    samples: Box<[i16; SAMPLES_MAX]>,
    /// How much was guessed since a packet was decoded.
    guessed: MediaTime,
    /// Nothing was decoded since the last reset: there is nothing to guess from.
    fresh: bool,
}

impl OpusDecoding {
    /// `None` if `input` is not Opus, or `output` none of whole samples at 8, 16, 24 or 48 kHz.
    #[must_use]
    pub fn new(input: Format, output: Format) -> Option<Self> {
        let libopus = Libopus::new(rate(output)?, Channels::Mono).ok()?;
        (input == Format::OPUS).then_some(())?;
        Some(Self {
            output,
            libopus,
            encoding: Coding::of(output)?,
            samples: Box::new([0; SAMPLES_MAX]),
            guessed: MediaTime::ZERO,
            fresh: true,
        })
    }

    /// Decodes `packet`, or its copy of what went before it, or guesses; appends `span` of it.
    fn decode(&mut self, packet: Option<&[u8]>, is_copy: bool, span: MediaTime, out: &mut Vec<u8>) -> bool {
        let wanted = self.samples_of(span);
        let packet = packet.and_then(|packet| Packet::try_from(packet).ok());
        let Ok(room) = MutSignals::try_from(&mut self.samples[..wanted]) else { return false };
        let decoded = self.libopus.decode(packet, room, is_copy);
        if !decoded.is_ok_and(|samples| samples == wanted) {
            return false;
        }
        self.encoding.encode(&self.samples[..wanted], out);
        true
    }

    fn samples_of(&self, span: MediaTime) -> usize {
        usize::try_from(span.samples(self.output.rate_hz)).unwrap_or(usize::MAX).min(SAMPLES_MAX)
    }

    fn silence(&mut self, span: MediaTime, out: &mut Vec<u8>) {
        let mut left = span.samples(self.output.rate_hz);
        self.samples.fill(0);
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(SAMPLES_MAX);
            self.encoding.encode(&self.samples[..now], out);
            left -= now as u64;
        }
    }

    /// Guesses `span`: as long as libopus does it well, in steps that it takes (multiples of 2.5 ms, RFC 6716 §2.1.4).
    fn guess(&mut self, span: MediaTime, out: &mut Vec<u8>) {
        const STEP_TICKS: u64 = 120;
        let mut left = span;
        while self.guessed < CONCEALED_MAX && !self.fresh {
            let step = left.ticks().min(MediaTime::FRAME.ticks()) / STEP_TICKS * STEP_TICKS;
            let step = MediaTime::from_ticks(step);
            if step.is_zero() || !self.decode(None, false, step, out) {
                break;
            }
            self.guessed += step;
            left = left.saturating_sub(step);
        }
        self.silence(left, out);
    }
}

impl Transcoder for OpusDecoding {
    fn input(&self) -> Format {
        Format::OPUS
    }

    fn output(&self) -> Format {
        self.output
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let bad = CodecError::BadPacket { bytes: payload.len() };
        let span = opus_duration(payload).ok_or(bad)?;
        if !self.decode(Some(payload), false, span, out) {
            return Err(bad);
        }
        (self.guessed, self.fresh) = (MediaTime::ZERO, false);
        Ok(())
    }

    fn conceal(&mut self, lost: MediaTime, next: Option<&[u8]>, out: &mut Vec<u8>) {
        // The copy is of the one packet before the next (RFC 6716 §2.1.7), as long as the next.
        let copied = next.and_then(opus_duration).filter(|span| *span <= lost && !self.fresh);
        let guessed = lost.saturating_sub(copied.unwrap_or_default());
        self.guess(guessed, out);
        if let Some(span) = copied
            && !self.decode(next, true, span, out)
        {
            self.guess(span, out);
        }
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {
        self.reset();
    }

    fn latency(&self) -> MediaTime {
        MediaTime::ZERO
    }

    fn reset(&mut self) {
        // It refuses unknown requests only.
        let _ = self.libopus.reset_state();
        (self.guessed, self.fresh) = (MediaTime::ZERO, true);
    }
}

/// Samples to Opus packets of 20 ms.
pub struct OpusEncoding {
    input: Format,
    encoder: Encoder,
    decoder: Decoder,
    /// Less than one packet's.
    held: Vec<i16>,
    packet_samples: usize,
    ends: Vec<usize>,
    latency: MediaTime,
}

impl OpusEncoding {
    /// `None` if `output` is not Opus, or `input` none of whole samples at 8, 16, 24 or 48 kHz.
    #[must_use]
    pub fn new(input: Format, output: Format) -> Option<Self> {
        (output == Format::OPUS).then_some(())?;
        let coding = Coding::of(input)?;
        let encoder = encoder(rate(input)?).ok()?;
        let lookahead = encoder.lookahead().ok()?;
        let packet_samples = usize::try_from(MediaTime::FRAME.samples(input.rate_hz)).ok()?;
        Some(Self {
            input,
            encoder,
            decoder: Decoder::new(coding),
            held: Vec::with_capacity(packet_samples),
            packet_samples,
            ends: Vec::with_capacity(16),
            latency: MediaTime::from_samples(lookahead.into(), input.rate_hz),
        })
    }

    fn take(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let Self { encoder, decoder, held, packet_samples, ends, .. } = self;
        ends.clear();
        let start = out.len();
        decoder.push(payload, |mut samples| {
            while !samples.is_empty() {
                let now = samples.len().min(*packet_samples - held.len());
                let (head, tail) = std::mem::take(&mut samples).split_at_mut(now);
                held.extend_from_slice(head);
                samples = tail;
                if held.len() == *packet_samples {
                    encode(encoder, held, start, ends, out);
                    held.clear();
                }
            }
        });
    }
}

impl Transcoder for OpusEncoding {
    fn input(&self) -> Format {
        self.input
    }

    fn output(&self) -> Format {
        Format::OPUS
    }

    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.take(payload, out);
        Ok(())
    }

    /// Silence: who sends whole samples has concealed them already.
    fn conceal(&mut self, lost: MediaTime, _next: Option<&[u8]>, out: &mut Vec<u8>) {
        let silence = vec![self.input.silence(); self.input.bytes_for(lost).unwrap_or_default()];
        self.take(&silence, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.ends.clear();
        if !self.held.is_empty() {
            self.held.resize(self.packet_samples, 0);
            encode(&self.encoder, &self.held, out.len(), &mut self.ends, out);
        }
        let ends = std::mem::take(&mut self.ends);
        self.reset();
        self.ends = ends;
    }

    fn packet_ends(&self) -> &[usize] {
        &self.ends
    }

    fn expect_loss(&mut self, permille: u16) {
        let percent = u8::try_from(permille.div_ceil(10)).unwrap_or(LOSS_PERCENT_MAX);
        let _ = self.encoder.set_packet_loss_perc(percent.clamp(LOSS_PERCENT_MIN, LOSS_PERCENT_MAX));
    }

    fn latency(&self) -> MediaTime {
        self.latency
    }

    fn reset(&mut self) {
        let _ = self.encoder.reset_state();
        self.decoder.reset();
        self.held.clear();
        self.ends.clear();
    }
}

/// Encodes the samples of one packet. libopus refuses wrong sizes only, and these are right.
fn encode(encoder: &Encoder, samples: &[i16], start: usize, ends: &mut Vec<usize>, out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + PACKET_MAX, 0);
    let written = encoder.encode(samples, &mut out[from..]).unwrap_or(0);
    out.truncate(from + written);
    ends.push(out.len() - start);
}

/// Settings of reference/browser.md §1.7. No DTX: a model's timeline has no holes.
fn encoder(rate: SampleRate) -> Result<Encoder, audiopus::Error> {
    let mut encoder = Encoder::new(rate, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::BitsPerSecond(BITRATE))?;
    encoder.set_signal(Signal::Voice)?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_inband_fec(true)?;
    encoder.set_packet_loss_perc(LOSS_PERCENT_MIN)?;
    encoder.set_dtx(false)?;
    Ok(encoder)
}

fn rate(format: Format) -> Option<SampleRate> {
    match (format.codec, format.rate_hz) {
        (Codec::Opus, _) => None,
        (_, 8_000) => Some(SampleRate::Hz8000),
        (_, 16_000) => Some(SampleRate::Hz16000),
        (_, 24_000) => Some(SampleRate::Hz24000),
        (_, 48_000) => Some(SampleRate::Hz48000),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
