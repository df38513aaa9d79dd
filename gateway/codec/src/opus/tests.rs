use super::*;
use crate::levels::{db, rms, tone};
use crate::transcoder;

const PCM: [Format; 6] =
    [Format::PCMU, Format::PCMA, Format::L16_8K, Format::L16_16K, Format::L16_24K, Format::L16_48K];

fn bytes(format: Format, samples: &[i16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Coding::of(format).unwrap().encode(samples, &mut bytes);
    bytes
}

fn samples(format: Format, bytes: &[u8]) -> Vec<i16> {
    let mut samples = Vec::new();
    Decoder::new(Coding::of(format).unwrap()).push(bytes, |piece| samples.extend_from_slice(piece));
    samples
}

/// A voice of a kind: a buzz whose loudness comes and goes, so that a place in it can be found again.
fn voice(rate_hz: u32, seconds: f64) -> Vec<i16> {
    let waves = [(140.0, 5_000.0), (280.0, 3_000.0), (700.0, 2_000.0), (1_120.0, 1_000.0)];
    let tones: Vec<Vec<i16>> = waves.iter().map(|&(hz, loud)| tone(hz, rate_hz, loud, seconds)).collect();
    let swell = tone(3.0, rate_hz, 1_000.0, seconds);
    (0..tones[0].len())
        .map(|n| {
            let sum: i32 = tones.iter().map(|tone| i32::from(tone[n])).sum();
            i16::try_from(sum * (1_100 + i32::from(swell[n])) / 2_200).unwrap()
        })
        .collect()
}

/// Packets of `samples`, in pushes of `step` bytes.
fn packets(format: Format, samples: &[i16], step: usize) -> Vec<Vec<u8>> {
    let mut encoding = transcoder(format, Format::OPUS).unwrap();
    encoding.expect_loss(200);
    let mut packets = Vec::new();
    let mut out = Vec::new();
    let mut take = |encoding: &dyn Transcoder, out: &mut Vec<u8>| {
        let mut start = 0;
        for &end in encoding.packet_ends() {
            packets.push(out[start..end].to_vec());
            start = end;
        }
        assert_eq!(start, out.len(), "every byte is of a packet");
        out.clear();
    };
    for piece in bytes(format, samples).chunks(step) {
        encoding.push(piece, &mut out).unwrap();
        take(&*encoding, &mut out);
    }
    encoding.finish(&mut out);
    take(&*encoding, &mut out);
    packets
}

/// Best correlation of `heard` with `said`, where it may be up to 30 ms late: 1 is the same, 0 nothing in common.
fn likeness(said: &[i16], heard: &[i16], rate_hz: u32) -> f64 {
    let lag_max = usize::try_from(rate_hz * 30 / 1000).unwrap();
    (0..lag_max)
        .map(|lag| {
            let pairs = || said.iter().zip(&heard[lag..]).map(|(&a, &b)| (f64::from(a), f64::from(b)));
            let dot: f64 = pairs().map(|(a, b)| a * b).sum();
            let (a, b): (f64, f64) = pairs().fold((0.0, 0.0), |(x, y), (a, b)| (x + a * a, y + b * b));
            dot / (a * b).sqrt().max(1.0)
        })
        .fold(0.0, f64::max)
}

#[test]
fn what_was_said_is_heard_in_every_format() {
    for format in PCM {
        let said = voice(format.rate_hz, 1.0);
        let mut decoding = transcoder(Format::OPUS, format).unwrap();
        let mut out = Vec::new();
        for packet in packets(format, &said, 1_000) {
            assert_eq!(opus_duration(&packet), Some(MediaTime::FRAME));
            decoding.push(&packet, &mut out).unwrap();
        }
        let heard = samples(format, &out);
        assert_eq!(heard.len(), said.len(), "{format}");
        let like = likeness(&said, &heard, format.rate_hz);
        // The filters of the voice mode turn phases: 0.88 and more was measured.
        assert!(like > 0.8, "{format}: {like}");
        let louder = db(rms(&heard) / rms(&said));
        assert!(louder.abs() < 2.0, "{format}: {louder} dB");
    }
}

#[test]
fn any_sizes_in_give_the_same_packets() {
    let said = voice(24_000, 0.5);
    let whole = packets(Format::L16_24K, &said, usize::MAX);
    assert_eq!(whole.len(), 25);
    for step in [1, 7, 960, 1_001] {
        assert_eq!(packets(Format::L16_24K, &said, step), whole, "{step}");
    }
}

#[test]
fn the_rest_of_an_utterance_is_filled_up_to_a_packet() {
    let said = voice(8_000, 0.05);
    assert_eq!(packets(Format::PCMU, &said, 100).len(), 3, "50 ms");
}

#[test]
fn a_gap_is_as_long_as_what_was_lost() {
    for format in PCM {
        for lost_ms in [5, 20, 35, 60, 400] {
            let said = packets(format, &voice(format.rate_hz, 0.4), 960);
            let mut decoding = transcoder(Format::OPUS, format).unwrap();
            let mut out = Vec::new();
            decoding.push(&said[9], &mut out).unwrap();
            for next in [None, Some(&said[11][..])] {
                out.clear();
                decoding.conceal(MediaTime::from_ms(lost_ms), next, &mut out);
                assert_eq!(format.duration_of(out.len()), Some(MediaTime::from_ms(lost_ms)), "{format}");
            }
        }
    }
}

/// One packet of ten is lost, of speech. How like the original the lost frames are, where something was said.
#[test]
fn a_lost_packet_is_made_good_by_the_copy_in_the_next() {
    let format = Format::L16_8K;
    let said = samples(format, &include_bytes!("../../../../fixtures/audio/caller-order.wav")[44..]);
    let sent = packets(format, &said, 320);
    let heard_of = |with_copy: bool| {
        let mut decoding = transcoder(Format::OPUS, format).unwrap();
        let mut out = Vec::new();
        for (n, packet) in sent.iter().enumerate() {
            if n % 10 == 5 {
                let next = with_copy.then(|| &sent[n + 1][..]);
                decoding.conceal(MediaTime::FRAME, next, &mut out);
            } else {
                decoding.push(packet, &mut out).unwrap();
            }
        }
        let heard = samples(format, &out);
        let frames = (20..sent.len() - 4).filter(|n| n % 10 == 5).map(|n| n * 160);
        let spoken = frames.filter(|&at| rms(&said[at..at + 160]) > 500.0);
        let likes: Vec<f64> =
            spoken.map(|at| likeness(&said[at..at + 160], &heard[at..at + 400], format.rate_hz)).collect();
        likes.iter().sum::<f64>() / likes.len() as f64
    };
    let (copied, guessed) = (heard_of(true), heard_of(false));
    assert!(copied > guessed + 0.1, "{copied} copied, {guessed} guessed");
}

#[test]
fn a_long_loss_is_guessed_for_100_ms_and_then_silent() {
    let format = Format::L16_24K;
    let sent = packets(format, &voice(format.rate_hz, 0.4), 960);
    let mut decoding = transcoder(Format::OPUS, format).unwrap();
    let mut out = Vec::new();
    sent.iter().for_each(|packet| decoding.push(packet, &mut out).unwrap());
    out.clear();
    // As a timer does it: a frame at a time.
    (0..20).for_each(|_| decoding.conceal(MediaTime::FRAME, None, &mut out));
    let heard = samples(format, &out);
    assert!(rms(&heard[..480]) > 100.0, "it does not break off");
    assert!(heard[2_400..].iter().all(|s| *s == 0), "100 ms later there is silence");
}

#[test]
fn garbage_is_refused_and_does_no_harm() {
    let format = Format::L16_24K;
    let said = voice(format.rate_hz, 0.4);
    let sent = packets(format, &said, 960);
    let (mut clean, mut troubled) =
        (transcoder(Format::OPUS, format).unwrap(), transcoder(Format::OPUS, format).unwrap());
    let (mut expected, mut out) = (Vec::new(), Vec::new());
    for packet in &sent {
        for garbage in [&[][..], &[0xFF], &[0xFF, 0xFF], &[0xFF, 0x3F, 0xFF], &[0x03, 0x00]] {
            let before = out.len();
            assert!(troubled.push(garbage, &mut out).is_err(), "{garbage:?}");
            assert_eq!(out.len(), before);
        }
        clean.push(packet, &mut expected).unwrap();
        troubled.push(packet, &mut out).unwrap();
    }
    assert_eq!(out, expected);
}

#[test]
fn nothing_from_before_a_reset_is_heard_after_it() {
    let format = Format::L16_24K;
    let sent = packets(format, &voice(format.rate_hz, 0.2), 960);
    let mut decoding = transcoder(Format::OPUS, format).unwrap();
    let mut out = Vec::new();
    sent.iter().for_each(|packet| decoding.push(packet, &mut out).unwrap());
    decoding.reset();
    out.clear();
    decoding.conceal(MediaTime::FRAME, Some(&sent[3]), &mut out);
    assert_eq!(out, vec![0; 960]);

    let mut encoding = transcoder(format, Format::OPUS).unwrap();
    out.clear();
    encoding.push(&bytes(format, &voice(format.rate_hz, 0.03)), &mut out).unwrap();
    encoding.reset();
    out.clear();
    encoding.push(&[0; 960], &mut out).unwrap();
    assert_eq!(encoding.packet_ends().len(), 1);
    let mut fresh = transcoder(format, Format::OPUS).unwrap();
    let mut expected = Vec::new();
    fresh.push(&[0; 960], &mut expected).unwrap();
    assert_eq!(out, expected);
}

#[test]
fn a_frame_allocates_nothing() {
    let format = Format::L16_24K;
    let frame = bytes(format, &voice(format.rate_hz, 0.02));
    let mut encoding = transcoder(format, Format::OPUS).unwrap();
    let mut decoding = transcoder(Format::OPUS, format).unwrap();
    let (mut packet, mut out) = (Vec::with_capacity(4_096), Vec::with_capacity(4_096));
    let mut carry = || {
        packet.clear();
        out.clear();
        encoding.push(&frame, &mut packet).unwrap();
        decoding.push(&packet, &mut out).unwrap();
    };
    carry();
    let measured = allocation_counter::measure(|| (0..50).for_each(|_| carry()));
    assert_eq!(measured.count_total, 0);
}
