//! What a transcoder costs: nanoseconds for 20 ms of audio, for each pair of formats.
//!
//! `cargo run --release -p patchbay-codec --example codec_cost`. Take the ratios: machines differ.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement needs a clock")]

use std::hint::black_box;
use std::time::Instant;

use patchbay_codec::transcoder;
use patchbay_core::{Format, MediaTime};

const FORMATS: [Format; 6] =
    [Format::PCMU, Format::PCMA, Format::L16_8K, Format::L16_16K, Format::L16_24K, Format::L16_48K];
/// Short rounds, many of them: on a busy machine some remain undisturbed.
const FRAMES: u32 = 200;
const ROUNDS: usize = 100;

fn main() {
    print!("{:>12}", "ns / 20 ms");
    FORMATS.iter().for_each(|output| print!("{:>11}", output.to_string()));
    println!();
    for input in FORMATS {
        print!("{:>12}", input.to_string());
        FORMATS.iter().for_each(|&output| print!("{:>11.0}", cost_ns(input, output)));
        println!();
    }
}

/// The fastest of the rounds: what disturbs a round can only make it slower.
fn cost_ns(input: Format, output: Format) -> f64 {
    let rounds = (0..ROUNDS).map(|_| round_ns(input, output));
    rounds.fold(f64::INFINITY, f64::min)
}

fn round_ns(input: Format, output: Format) -> f64 {
    let mut transcoder = transcoder(input, output).expect("every pair of these formats converts");
    let bytes = input.bytes_for(MediaTime::FRAME).expect("formats of whole samples");
    let frame: Vec<u8> = (0u8..=255).cycle().map(|n| n.wrapping_mul(37)).take(bytes).collect();
    let mut out = Vec::with_capacity(4_096);
    let start = Instant::now();
    for _ in 0..FRAMES {
        out.clear();
        transcoder.push(black_box(&frame), &mut out).expect("no packets, no refusal");
        black_box(&out);
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(FRAMES)
}
