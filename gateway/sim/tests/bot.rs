//! The leg of a bot keeps the contract, passes Opus on without a codec, and learns what was really heard.

use bytes::Bytes;
use patchbay_core::{
    Call, CallConfig, Codec, Format, Input, Instant, Leg, LegId, Output, Packet, Prompts, Transcoder, Wire,
};
use patchbay_legs::Media;
use patchbay_legs::bot::{Bot, Config};
use patchbay_legs::webrtc::{self, WebRtc};
use patchbay_sim::contract::Subject;

fn leg(format: Format, config: Config) -> Box<dyn Leg> {
    Box::new(Bot::new(config, Media { ingress: format, egress: format }))
}

fn packet(codec: Codec, seq: u64, payload: &[u8]) -> Wire {
    let clock = if codec == Codec::Opus { 960 } else { 160 };
    let payload = Bytes::copy_from_slice(payload);
    Wire::Packet(Packet { codec, seq, time: seq * clock, marker: false, payload })
}

const TEXTS: [&str; 8] = [
    r#"{"type":"clear"}"#,
    r#"{"type":"speech_started"}"#,
    r#"{"type":"mark","name":"half-way"}"#,
    r#"{"type":"dtmf","digits":"12#"}"#,
    r#"{"type":"transcript","role":"assistant","text":"Good morning.","final":true}"#,
    r#"{"type":"transcript","role":"user","text":"Good","final":false}"#,
    r#"{"type":"audio","receive":"audio/opus","send":"audio/opus"}"#,
    r#"{"type":"audio","receive":"audio/pcm;rate=16000","send":"audio/x-mulaw"}"#,
];

#[test]
fn it_keeps_the_contract() {
    let is_media = |wire: &Wire| matches!(wire, Wire::Packet(_) | Wire::Binary(_));
    for (format, payload) in [(Format::OPUS, &[9 << 3, 1, 2, 3][..]), (Format::PCMU, &[0x55; 160])] {
        for config in [Config::default(), Config { relays: true, paced: true }] {
            let mut samples: Vec<Wire> = TEXTS.iter().map(|text| Wire::Text((*text).into())).collect();
            samples.extend((0..10).map(|seq| packet(format.codec, seq, payload)));
            samples.extend((0..10).map(|_| Wire::Binary(Bytes::copy_from_slice(payload))));
            let make = || leg(format, config.clone());
            let subject = Subject { make: &make, opening: &[Wire::Opened], samples: &samples, is_media };
            subject.check(400).unwrap();
        }
    }
}

/// A transcoder factory that must not be asked.
fn no_codec(_: Format, _: Format) -> Option<Box<dyn Transcoder>> {
    panic!("Opus to Opus needs no codec")
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

/// A browser and a bot, both up, both with Opus.
struct Stage {
    call: Call,
    out: Vec<Output>,
    now_ms: u64,
}

impl Stage {
    fn new() -> Self {
        let media = Media { ingress: Format::OPUS, egress: Format::OPUS };
        let browser = Box::new(WebRtc::new(&webrtc::Config::default(), media));
        let bot = leg(Format::OPUS, Config::default());
        let mut call = Call::new(CallConfig::default(), Prompts::default(), no_codec, browser, bot);
        let mut out = Vec::new();
        call.handle(Input::Start, at(0), &mut out);
        for side in [0, 1] {
            call.handle(Input::Wire { leg: LegId(side), wire: Wire::Opened }, at(0), &mut out);
        }
        out.clear();
        Self { call, out, now_ms: 0 }
    }

    fn wire(&mut self, side: u16, wire: Wire) {
        self.call.handle(Input::Wire { leg: LegId(side), wire }, at(self.now_ms), &mut self.out);
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(due) = self.call.poll_timeout().filter(|due| *due <= at(end)) {
            self.call.handle(Input::Timeout, due, &mut self.out);
        }
        self.now_ms = end;
    }

    fn sent(&self, side: u16) -> Vec<Packet> {
        let of = |output: &Output| match output {
            Output::Wire { leg, wire: Wire::Packet(packet) } if leg.0 == side => Some(packet.clone()),
            _ => None,
        };
        self.out.iter().filter_map(of).collect()
    }

    fn told(&self) -> Vec<String> {
        let of = |output: &Output| match output {
            Output::Wire { leg: LegId(1), wire: Wire::Text(text) } => {
                Some(String::from_utf8(text.to_vec()).expect("a text is UTF-8"))
            }
            _ => None,
        };
        self.out.iter().filter_map(of).collect()
    }
}

#[test]
fn between_a_browser_and_a_bot_no_codec_runs() {
    let mut stage = Stage::new();
    for n in 0..50_u8 {
        stage.wire(0, packet(Codec::Opus, n.into(), &[9 << 3, n, 7]));
        stage.wire(1, Wire::Binary(vec![9 << 3, n, 8].into()));
        stage.pass(20);
    }
    stage.pass(200);
    for (side, mark) in [(0, 8), (1, 7)] {
        let payloads: Vec<_> = stage.sent(side).into_iter().map(|packet| packet.payload.to_vec()).collect();
        let expected: Vec<_> = (0..50).map(|n| vec![9 << 3, n, mark]).collect();
        assert_eq!(payloads, expected, "towards {side}");
    }
}

#[test]
fn a_bot_that_speaks_faster_than_real_time_is_paced_and_its_mark_comes_when_it_was_heard() {
    let mut stage = Stage::new();
    for n in 0..250_u8 {
        stage.wire(1, Wire::Binary(vec![9 << 3, n].into()));
    }
    stage.wire(1, Wire::Text(r#"{"type":"mark","name":"said"}"#.into()));
    assert!(stage.sent(0).len() <= 4, "at most the lead: {}", stage.sent(0).len());
    stage.pass(4_900);
    assert_eq!(stage.told(), [""; 0]);
    stage.pass(300);
    assert_eq!(stage.sent(0).len(), 250, "nothing is dropped");
    assert_eq!(stage.told(), [r#"{"name":"said","type":"mark"}"#]);
}

#[test]
fn a_clear_silences_the_caller_at_once_and_tells_what_was_heard() {
    let mut stage = Stage::new();
    for n in 0..250_u8 {
        stage.wire(1, Wire::Binary(vec![9 << 3, n].into()));
    }
    stage.wire(1, Wire::Text(r#"{"type":"mark","name":"never"}"#.into()));
    stage.pass(1_000);
    let before = stage.sent(0).len();
    stage.wire(1, Wire::Text(r#"{"type":"clear"}"#.into()));
    stage.pass(600);
    assert_eq!(stage.sent(0).len(), before, "nothing more leaves");
    let [told] = &stage.told()[..] else { panic!("{:?}", stage.told()) };
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    let heard = told["heard_ms"].as_u64().unwrap();
    assert!(told["type"] == "cleared" && (880..=1_000).contains(&heard), "{told}");
    stage.wire(1, Wire::Binary(vec![9 << 3, 9].into()));
    stage.pass(100);
    assert_eq!(stage.sent(0).len(), before + 1, "what is said after it is heard");
}
