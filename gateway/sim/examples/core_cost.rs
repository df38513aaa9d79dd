//! Cost of the core path, wire text in to wire text out, one thread: `cargo run --release --example core_cost`.
//!
//! Prints nanoseconds per frame for both directions of a Twilio call to a realtime model, pass-through and transcoded.
//! Instructions, which do not depend on the machine: `tests/instructions.py` runs this under callgrind, collecting only
//! inside `Call::handle`, with `core_cost FRAMES pass-through|transcoded up|down`.
#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::time::Instant as Clock;

use bytes::Bytes;
use patchbay_core::{Call, CallConfig, Format, Input, Instant, LegId, Output, Prompts, Wire};
use patchbay_legs::Media;
use serde_json::json;

const CALLER: LegId = LegId(0);
const CALLEE: LegId = LegId(1);

fn main() {
    let frames = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let is_asked = |nth, word: &str| std::env::args().nth(nth).is_none_or(|asked| asked == word);
    for (name, model) in [("pass-through", Format::PCMU), ("transcoded", Format::L16_24K)] {
        let mut bench = Bench::new(model);
        if is_asked(2, name) && is_asked(3, "up") {
            println!("{name:>14}: caller to model {:.0} ns/frame", bench.upstream(frames));
        }
        if is_asked(2, name) && is_asked(3, "down") {
            println!("{name:>14}: model to caller {:.0} ns/frame", bench.downstream(frames));
        }
    }
}

struct Bench {
    call: Call,
    now: u64,
    out: Vec<Output>,
    model: Format,
}

impl Bench {
    fn new(model: Format) -> Self {
        let telephone = Media { ingress: Format::PCMU, egress: Format::PCMU };
        let media = Media { ingress: model, egress: model };
        let open =
            |kind, config, media| (patchbay_legs::endpoint(kind).expect("built in").open)(&config, media);
        let caller = open("twilio", json!({}), telephone).expect("a valid configuration");
        let callee =
            open("realtime", json!({"model": "gpt-realtime"}), media).expect("a valid configuration");
        let call =
            Call::new(CallConfig::default(), Prompts::default(), patchbay_codec::transcoder, caller, callee);
        let mut bench = Self { call, now: 1, out: Vec::new(), model };
        bench.feed(Input::Start);
        for leg in [CALLER, CALLEE] {
            bench.feed(Input::Wire { leg, wire: Wire::Opened });
        }
        bench.text(CALLEE, r#"{"type":"session.updated","event_id":"e","session":{"id":"s"}}"#.into());
        bench.text(CALLER, START.into());
        bench
    }

    fn feed(&mut self, input: Input) -> usize {
        self.out.clear();
        self.call.handle(input, Instant::from_micros(self.now), &mut self.out);
        self.out.iter().filter(|o| matches!(o, Output::Wire { .. })).count()
    }

    fn text(&mut self, leg: LegId, text: Bytes) -> usize {
        self.feed(Input::Wire { leg, wire: Wire::Text(text) })
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    fn upstream(&mut self, frames: u64) -> f64 {
        let payload = base64(&[0x55; 160]);
        let messages: Vec<Bytes> = (1..=frames)
            .map(|n| {
                format!(
                    r#"{{"event":"media","sequenceNumber":"{}","media":{{"track":"inbound","chunk":"{n}","timestamp":"{}","payload":"{payload}"}},"streamSid":"MZ1"}}"#,
                    n + 1,
                    n * 20
                )
                .into()
            })
            .collect();
        let start = Clock::now();
        let mut sent = 0;
        for message in messages {
            self.now += 20_000;
            sent += self.text(CALLER, message);
        }
        assert_eq!(sent as u64, frames, "each frame leaves as one message");
        start.elapsed().as_nanos() as f64 / frames as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    fn downstream(&mut self, frames: u64) -> f64 {
        let bytes = if self.model == Format::PCMU { 160 } else { 960 };
        let delta: Bytes = format!(
            r#"{{"type":"response.output_audio.delta","event_id":"event_1","response_id":"resp_1","item_id":"item_1","output_index":0,"content_index":0,"delta":"{}"}}"#,
            base64(&vec![0x55; bytes])
        )
        .into();
        self.text(CALLEE, r#"{"type":"response.created","response":{"id":"resp_1"}}"#.into());
        let start = Clock::now();
        let mut sent = 0;
        for _ in 0..frames {
            self.now += 20_000;
            sent += self.text(CALLEE, delta.clone());
        }
        assert!(sent as u64 >= frames / 2, "the audio leaves");
        start.elapsed().as_nanos() as f64 / frames as f64
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

const START: &str = r#"{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"streamSid":"MZ1","accountSid":"AC1","callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":{}}}"#;
