//! What the hot paths of the realtime leg cost: `cargo run --release -p patchbay-legs --example realtime_cost`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use patchbay_core::{Command, Event, Format, Frame, Instant, Leg, MediaTime, Outbox, Payload, Wire};
use patchbay_legs::{Media, endpoint};
use serde_json::json;

const ROUNDS: u32 = 200_000;

fn main() {
    println!("append, 20 ms of µ-law, base64 through:      {:>6} ns", append());
    for ms in [20, 200, 1_000] {
        println!("delta, {ms:>4} ms of µ-law, sliced:            {:>6} ns", delta(ms, ""));
        println!("delta, {ms:>4} ms of µ-law, by the full parser: {:>6} ns", delta(ms, r#""extra":{},"#));
    }
}

/// A leg that is up.
fn leg() -> Box<dyn Leg> {
    let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
    let open = endpoint("realtime").expect("an endpoint of this build").open;
    let mut leg = open(&json!({"model": "m"}), media).expect("a good configuration");
    for wire in [Wire::Opened, Wire::Text(Bytes::from_static(br#"{"type":"session.updated"}"#))] {
        leg.on_wire(wire, Instant::ZERO, &mut Outbox::default()).expect("it comes up");
    }
    leg
}

fn base64(ms: usize) -> Bytes {
    let mut text = BytesMut::new();
    Payload::Raw(vec![0xFF; ms * 8].into()).write_base64(&mut text);
    text.freeze()
}

fn append() -> u128 {
    let mut leg = leg();
    let payload = Payload::base64(base64(20)).expect("base64");
    let frame = Frame::live(Format::PCMU, payload, MediaTime::ZERO);
    let mut out = Outbox::default();
    per_round(|| {
        leg.on_command(Command::Play(frame.clone()), Instant::ZERO, &mut out).expect("it plays");
        black_box(&out.wires);
        out.wires.clear();
    })
}

fn delta(ms: usize, extra: &str) -> u128 {
    let mut leg = leg();
    let mut text = String::new();
    let audio = base64(ms);
    let audio = std::str::from_utf8(&audio).expect("base64 is ASCII");
    write!(
        text,
        r#"{{"type":"response.output_audio.delta","event_id":"event_0123456789","response_id":"resp_0123456789",{extra}"item_id":"item_0123456789","output_index":0,"content_index":0,"delta":"{audio}"}}"#
    )
    .expect("a string takes all");
    let message = Bytes::from(text);
    let mut out = Outbox::default();
    per_round(|| {
        leg.on_wire(Wire::Text(message.clone()), Instant::ZERO, &mut out).expect("it takes a delta");
        black_box(out.events.iter().filter(|e| matches!(e, Event::AudioReceived(_))).count());
        out.events.clear();
    })
}

fn per_round(mut round: impl FnMut()) -> u128 {
    let rounds = |n: u32, round: &mut dyn FnMut()| (0..n).for_each(|_| round());
    rounds(ROUNDS / 10, &mut round);
    #[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "an example measures real time")]
    let spent: Duration = {
        let began = std::time::Instant::now();
        rounds(ROUNDS, &mut round);
        began.elapsed()
    };
    spent.as_nanos() / u128::from(ROUNDS)
}
