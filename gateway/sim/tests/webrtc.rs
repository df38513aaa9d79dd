//! The browser's leg keeps the contract, and two of them in one call pass Opus on without a codec.

use bytes::Bytes;
use patchbay_core::{
    Call, CallConfig, Codec, Format, Input, Instant, Leg, LegId, MediaTime, Output, Packet, Prompts, Quality,
    Wire,
};
use patchbay_legs::Media;
use patchbay_legs::webrtc::{Config, WebRtc};
use patchbay_sim::contract::Subject;

fn leg(format: Format, live: bool) -> Box<dyn Leg> {
    Box::new(WebRtc::new(
        &Config {
            live,
            events: (!live).then(|| serde_json::from_value(serde_json::json!({})).expect("an empty object")),
        },
        Media { ingress: format, egress: format },
    ))
}

fn packet(codec: Codec, seq: u64, payload: &[u8]) -> Wire {
    let clock = if codec == Codec::Opus { 960 } else { 160 };
    let payload = Bytes::copy_from_slice(payload);
    Wire::Packet(Packet { codec, seq, time: seq * clock, marker: false, payload })
}

#[test]
fn it_keeps_the_contract() {
    let is_media = |wire: &Wire| matches!(wire, Wire::Packet(_));
    for (format, payload) in [(Format::OPUS, &[9 << 3, 1, 2, 3][..]), (Format::PCMU, &[0x55; 160])] {
        for live in [false, true] {
            let mut samples: Vec<Wire> = (0..30).map(|seq| packet(format.codec, seq, payload)).collect();
            samples.push(Wire::Quality(Quality::default()));
            samples.push(Wire::Text(r#"{"type":"input_audio_buffer.clear","event_id":"e1"}"#.into()));
            let make = || leg(format, live);
            let subject = Subject { make: &make, opening: &[Wire::Opened], samples: &samples, is_media };
            subject.check(300).unwrap();
        }
    }
}

/// A transcoder factory that must not be asked.
fn no_codec(_: Format, _: Format) -> Option<Box<dyn patchbay_core::Transcoder>> {
    panic!("Opus to Opus needs no codec")
}

#[test]
fn between_two_browsers_no_codec_runs() {
    let mut call = Call::new(
        CallConfig::default(),
        Prompts::default(),
        no_codec,
        leg(Format::OPUS, true),
        leg(Format::OPUS, true),
    );
    let mut out = Vec::new();
    let now = |ms: u64| Instant::from_micros(ms * 1000);
    call.handle(Input::Start, now(0), &mut out);
    for side in [0, 1] {
        call.handle(Input::Wire { leg: LegId(side), wire: Wire::Opened }, now(0), &mut out);
    }
    out.clear();
    for seq in (0..50_u8).filter(|seq| *seq != 20) {
        let payload = [9 << 3, seq, seq, seq];
        let wire = packet(Codec::Opus, seq.into(), &payload);
        call.handle(Input::Wire { leg: LegId(0), wire }, now(u64::from(seq) * 20), &mut out);
        while let Some(due) = call.poll_timeout().filter(|due| *due <= now(u64::from(seq) * 20 + 19)) {
            call.handle(Input::Timeout, due, &mut out);
        }
    }
    let sent: Vec<Packet> = out
        .into_iter()
        .filter_map(|output| match output {
            Output::Wire { leg: LegId(1), wire: Wire::Packet(packet) } => Some(packet),
            _ => None,
        })
        .collect();
    assert_eq!(sent.len(), 49);
    for packet in &sent {
        let number = u64::from(packet.payload[1]);
        assert_eq!(packet.payload[..], [9 << 3, packet.payload[1], packet.payload[1], packet.payload[1]]);
        assert_eq!(packet.time, number * 960, "what was lost is a hole in time");
        assert_eq!(MediaTime::from_ticks(packet.time).as_ms(), number * 20);
    }
    assert!(sent.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "and none in the numbers");
}
