//! What a `media` message costs the Twilio leg, in and out:
//! `cargo run --release -p patchbay-legs --example twilio_cost`.

use std::hint::black_box;

use bytes::Bytes;
use patchbay_core::{Command, Format, Frame, Instant, Leg, MediaTime, Outbox, Payload, Wire};
use patchbay_legs::{Media, twilio};

const RUNS: u32 = 501;
const MESSAGES: u32 = 1_000;
const START: &str = r#"{"event":"start","sequenceNumber":"1","streamSid":"MZ00000000000000000000000000000001","start":{"streamSid":"MZ00000000000000000000000000000001","accountSid":"AC1","callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":{}}}"#;

fn main() {
    let mut leg = started();
    let mut out = Outbox::default();
    let plain: Vec<Bytes> = (0..50).map(|n| media(n, "\"chunk\":\"1\",")).collect();
    let unusual: Vec<Bytes> = (0..50).map(|n| media(n, "\"chunk\":1,")).collect();
    for (name, messages) in [("in, plain message", plain), ("in, unusual message", unusual)] {
        measure(name, |n| {
            let message = messages[n as usize % messages.len()].clone();
            let now = Instant::from_micros(u64::from(n) * 20_000);
            leg.on_wire(Wire::Text(message), now, &mut out).expect("the message is valid");
            black_box(&out.events);
            out.events.clear();
        });
    }
    for (name, bytes) in [("out, 20 ms", 160), ("out, 100 ms", 800)] {
        let mut text = bytes::BytesMut::new();
        Payload::Raw(vec![0x55; bytes].into()).write_base64(&mut text);
        let payload = Payload::base64(text.freeze()).expect("it was just made");
        let frame = Frame::live(Format::PCMU, payload, MediaTime::ZERO);
        measure(name, |_| {
            let play = Command::Play(frame.clone());
            leg.on_command(play, Instant::ZERO, &mut out).expect("the format is the stream's");
            black_box(&out.wires);
            out.wires.clear();
        });
    }
}

fn started() -> Box<dyn Leg> {
    let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
    let mut leg = (twilio::ENDPOINT.open)(&serde_json::json!({}), media).expect("the configuration is empty");
    let start = Wire::Text(Bytes::from_static(START.as_bytes()));
    leg.on_wire(start, Instant::ZERO, &mut Outbox::default()).expect("the start is valid");
    leg
}

fn media(n: u32, chunk: &str) -> Bytes {
    let timestamp = 155 + n * 20;
    let payload = "f39/".repeat(54);
    format!(
        r#"{{"event":"media","sequenceNumber":"{n}","streamSid":"MZ00000000000000000000000000000001","media":{{"track":"inbound",{chunk}"timestamp":"{timestamp}","payload":"{payload}"}}}}"#
    )
    .into()
}

/// Prints the median of many short runs: on a busy machine most of them are not interrupted.
fn measure(name: &str, mut once: impl FnMut(u32)) {
    let mut runs: Vec<u128> = (0..RUNS)
        .map(|_| {
            let start = std::time::Instant::now();
            (0..MESSAGES).for_each(&mut once);
            start.elapsed().as_nanos() / u128::from(MESSAGES)
        })
        .collect();
    runs.sort_unstable();
    println!("{name:<22} {:>6} ns a message", runs[runs.len() / 2]);
}
