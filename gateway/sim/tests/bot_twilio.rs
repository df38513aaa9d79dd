//! A bot that was written for Twilio and a phone, in one call in virtual time: when its marks come back, and what a clear does.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use patchbay_core::{
    BargeIn, Call, CallConfig, Effect, EndReason, Fact, Format, Input, Instant, Leg, LegId, MediaTime,
    Outcome, Output, PromptKind, Prompts, Wire,
};
use patchbay_legs::{Media, bot_twilio, twilio};
use patchbay_sim::twilio::{Config, Step, TwilioDouble};
use serde_json::{Value, json};

const SID: &str = "MZ00000000000000000000000000000009";
const MEDIA: Media = Media { ingress: Format::PCMU, egress: Format::PCMU };
const PHONE: LegId = LegId(0);
const BOT: LegId = LegId(1);
/// One way, between us and the phone.
const DELAY_MS: u64 = 40;

fn open_bot() -> Box<dyn Leg> {
    let config = json!({"stream_sid": SID, "call_sid": "CA1", "account_sid": "AC1"});
    (bot_twilio::ENDPOINT.open)(&config, MEDIA).unwrap()
}

/// A phone, a call, and a bot that does what the test says.
struct Line {
    call: Call,
    phone: TwilioDouble,
    now: u64,
    /// On their way between us and the phone: when, to whom, what.
    flying: Vec<(u64, bool, Wire)>,
    /// What the bot got, and when, in milliseconds.
    got: Vec<(u64, Value)>,
    facts: Vec<Fact>,
    outcome: Option<Outcome>,
}

impl Line {
    fn ringing(greets: bool, script: Vec<Step>) -> Self {
        let config = CallConfig { barge_in: BargeIn::Off, greets, ..CallConfig::default() };
        let caller = (twilio::ENDPOINT.open)(&json!({}), MEDIA).unwrap();
        let prompts = Prompts {
            filler: vec![0xF0; 8 * 300].into(),
            notice: vec![0xE0; 8 * 1000].into(),
            apology: vec![0xD0; 8 * 2000].into(),
            ..Prompts::default()
        };
        let call = Call::new(config, prompts, patchbay_codec::transcoder, caller, open_bot());
        let phone = TwilioDouble::new(Config::default(), script);
        let (flying, got, facts) = (Vec::new(), Vec::new(), Vec::new());
        let mut line = Self { call, phone, now: 1_000, flying, got, facts, outcome: None };
        line.feed(Input::Start);
        line.feed(Input::Wire { leg: PHONE, wire: Wire::Opened });
        line.flying.push((line.now, true, Wire::Opened));
        line
    }

    fn up(script: Vec<Step>) -> Self {
        let mut line = Self::ringing(false, script);
        line.feed(Input::Wire { leg: BOT, wire: Wire::Opened });
        line.run(200);
        line
    }

    fn at(&self) -> Instant {
        Instant::from_micros(self.now * 1000)
    }

    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        let now = self.at();
        self.call.handle(input, now, &mut out);
        assert!(self.call.poll_timeout().is_none_or(|at| at > now), "a deadline was left in the past");
        for output in out {
            match output {
                Output::Wire { leg: PHONE, wire } => self.flying.push((self.now + DELAY_MS, true, wire)),
                Output::Wire { wire: Wire::Text(text), .. } => {
                    self.got.push((self.now, serde_json::from_slice(&text).unwrap()));
                }
                Output::Wire { wire, .. } => self.got.push((self.now, json!(format!("{wire:?}")))),
                Output::Fact(fact) => self.facts.push(fact),
                Output::Effect(Effect::Ended(outcome)) => self.outcome = Some(outcome),
                _ => {}
            }
        }
    }

    /// Steps in milliseconds.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += 1;
            let now = self.at();
            let mut said = Vec::new();
            let due: Vec<_> = self.flying.extract_if(.., |(at, ..)| *at <= self.now).collect();
            for (_, to_phone, wire) in due {
                if to_phone {
                    self.phone.on_wire(wire, now, &mut said);
                } else {
                    self.feed(Input::Wire { leg: PHONE, wire });
                }
            }
            if self.phone.poll_timeout().is_some_and(|at| at <= now) {
                self.phone.on_timeout(now, &mut said);
            }
            let arrives = self.now + DELAY_MS;
            self.flying.extend(said.into_iter().map(|wire| (arrives, false, wire)));
            if self.call.poll_timeout().is_some_and(|at| at <= now) {
                self.feed(Input::Timeout);
            }
        }
    }

    fn says(&mut self, message: Value) {
        self.feed(Input::Wire { leg: BOT, wire: Wire::Text(message.to_string().into()) });
    }

    fn speaks(&mut self, ms: usize) {
        let payload = STANDARD.encode(vec![0x55; ms * 8]);
        self.says(json!({"event": "media", "streamSid": SID, "media": {"payload": payload}}));
    }

    fn marks(&mut self, name: &str) {
        self.says(json!({"event": "mark", "streamSid": SID, "mark": {"name": name}}));
    }

    fn clears(&mut self) {
        self.says(json!({"event": "clear", "streamSid": SID}));
    }

    /// When which mark came back.
    fn echoes(&self) -> Vec<(u64, &str)> {
        let marks = self.got.iter().filter(|(_, message)| message["event"] == "mark");
        marks.map(|(at, message)| (*at, message["mark"]["name"].as_str().unwrap())).collect()
    }
}

#[test]
fn a_bots_mark_comes_back_when_the_phone_has_played_what_stands_before_it() {
    let mut line = Line::up(Vec::new());
    let began = line.now;
    for name in ["a", "b", "c"] {
        line.speaks(1_000);
        line.marks(name);
    }
    line.run(4_000);
    let echoes: Vec<_> = line.echoes().iter().map(|(at, name)| (at - began, *name)).collect();
    assert_eq!(echoes.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["a", "b", "c"]);
    for ((at, _), played) in echoes.iter().zip([1_000, 2_000, 3_000]) {
        // There and back, and a frame of the double's clock.
        assert!((played + 2 * DELAY_MS..=played + 2 * DELAY_MS + 25).contains(at), "{echoes:?}");
    }
}

#[test]
fn a_mark_with_nothing_before_it_comes_back_at_once() {
    let mut line = Line::up(Vec::new());
    line.marks("now");
    assert_eq!(line.echoes(), [(line.now, "now")]);
    line.speaks(100);
    line.run(2_000);
    line.marks("later");
    assert_eq!(line.echoes()[1], (line.now, "later"));
}

#[test]
fn a_clear_silences_the_phone_and_echoes_every_mark_and_what_is_said_then_is_heard() {
    let mut line = Line::up(Vec::new());
    for name in ["a", "b"] {
        line.speaks(5_000);
        line.marks(name);
    }
    line.run(1_000);
    line.clears();
    assert_eq!(line.echoes(), [(line.now, "a"), (line.now, "b")]);
    line.speaks(500);
    line.marks("c");
    line.run(1_500);
    assert_eq!(line.phone.log().clears.len(), 1);
    let heard = MediaTime::from_ms(line.phone.log().played_bytes / 8);
    assert!((1_400..=1_600).contains(&heard.as_ms()), "{} ms: a second, then half of one", heard.as_ms());
    assert_eq!(line.echoes()[2].1, "c");
}

#[test]
fn a_bot_that_speaks_just_in_time_in_small_pieces_is_heard_without_a_gap() {
    let mut line = Line::up(Vec::new());
    for _ in 0..150 {
        line.speaks(20);
        line.run(20);
    }
    line.run(500);
    assert_eq!(line.phone.log().played_bytes, 3_000 * 8);
    assert!(line.phone.log().gaps.is_empty(), "{:?}", line.phone.log().gaps);
}

#[test]
fn keys_and_speech_reach_the_bot_as_from_twilio_and_a_key_interrupts_nobody() {
    let mut line = Line::up(vec![Step::Wait(1_000), Step::Dtmf('7')]);
    line.speaks(3_000);
    line.run(2_000);
    assert!(line.phone.log().clears.is_empty(), "the bot did not ask for it");
    let first: Vec<_> = line.got.iter().take(2).map(|(_, message)| message.clone()).collect();
    assert_eq!(first[0], json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
    assert_eq!(
        first[1],
        json!({"event": "start", "sequenceNumber": "1", "streamSid": SID, "start": {
            "streamSid": SID, "accountSid": "AC1", "callSid": "CA1", "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}, "customParameters": {}}})
    );
    let key = line.got.iter().find(|(_, message)| message["event"] == "dtmf").unwrap();
    assert_eq!(key.1["dtmf"], json!({"track": "inbound_track", "digit": "7"}));
    let media: Vec<_> = line.got.iter().filter(|(_, message)| message["event"] == "media").collect();
    assert!(media.len() >= 95, "{}", media.len());
    for (n, (_, message)) in media.iter().enumerate() {
        assert_eq!(message["media"]["chunk"], (n + 1).to_string());
        assert_eq!(STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap().len(), 160);
    }
    let sequence: Vec<u64> =
        line.got[1..].iter().map(|(_, m)| m["sequenceNumber"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(sequence, (1..=sequence.len() as u64).collect::<Vec<_>>(), "one count over all");
}

#[test]
fn whoever_hangs_up_the_other_learns_it() {
    let mut line = Line::up(vec![Step::Wait(500), Step::HangUp]);
    line.run(1_000);
    let last: Vec<_> = line.got.iter().rev().take(2).map(|(_, message)| message.clone()).collect();
    assert_eq!((last[1]["event"].as_str(), last[0].as_str()), (Some("stop"), Some("Close(1000)")));
    assert_eq!(last[1]["stop"], json!({"accountSid": "AC1", "callSid": "CA1"}));
    assert_eq!(line.outcome.unwrap().reason, EndReason::CallerHungUp);

    let mut line = Line::up(Vec::new());
    line.speaks(1_000);
    line.feed(Input::Wire { leg: BOT, wire: Wire::Close { code: 1000, reason: "".into() } });
    line.run(3_000);
    assert_eq!(line.phone.log().played_bytes, 8_000, "its last words are heard");
    assert_eq!(line.outcome.unwrap().reason, EndReason::CalleeHungUp);
}

#[test]
fn a_caller_hears_something_within_two_seconds_of_a_bot_that_does_not_come() {
    let mut line = Line::ringing(false, Vec::new());
    line.run(1_990);
    assert!(line.phone.log().first_audio.is_some(), "{:?}", line.facts);
    for _ in 0..4 {
        // Each dial waits two seconds.
        line.run(2_000);
        let leg = LegId(
            1 + u16::try_from(line.facts.iter().filter(|f| matches!(f, Fact::Redialled { .. })).count())
                .unwrap(),
        );
        line.feed(Input::Wire { leg, wire: Wire::Refused(patchbay_core::Refusal::Timeout) });
    }
    line.run(6_000);
    assert!(line.facts.contains(&Fact::Prompted(PromptKind::Apology)), "{:?}", line.facts);
    assert_eq!(line.outcome.unwrap().reason, EndReason::CalleeLost);
}

#[test]
fn a_bot_that_owes_the_first_word_is_covered_up_for_until_somebody_speaks() {
    let mut line = Line::ringing(true, Vec::new());
    line.feed(Input::Wire { leg: BOT, wire: Wire::Opened });
    line.run(1_900);
    assert!(line.facts.contains(&Fact::Prompted(PromptKind::Filler)), "{:?}", line.facts);
    line.speaks(500);
    let prompted = line.facts.len();
    line.run(14_000);
    let prompts = line.facts[prompted..].iter().filter(|fact| matches!(fact, Fact::Prompted(_))).count();
    assert_eq!((prompts, line.outcome.is_none()), (0, true), "{:?}", line.facts);
    assert_eq!(line.phone.log().ending, None);
}

#[test]
fn a_bot_that_sends_without_end_is_not_read_and_disturbs_nothing() {
    let mut line = Line::up(Vec::new());
    let mut sent = Duration::ZERO;
    while line.call.reads(BOT) {
        line.speaks(10_000);
        sent += Duration::from_secs(10);
        assert!(sent < Duration::from_secs(300), "nobody stops it");
    }
    line.run(1_000);
    assert!(!line.call.reads(BOT));
    line.clears();
    assert!(line.call.reads(BOT), "what it took back is gone");
}

#[test]
fn the_leg_keeps_the_contract() {
    let text = |value: Value| Wire::Text(value.to_string().into());
    let media =
        |payload: &str| text(json!({"event": "media", "streamSid": SID, "media": {"payload": payload}}));
    let samples = [
        media(&"////".repeat(54)),
        media(&"////".repeat(5_000)),
        media("/w=="),
        text(json!({"event": "mark", "streamSid": SID, "mark": {"name": "responsePart"}})),
        text(json!({"event": "clear", "streamSid": SID})),
    ];
    let is_media = |wire: &Wire| {
        let Wire::Text(text) = wire else { return false };
        serde_json::from_slice::<Value>(text).unwrap()["event"] == "media"
    };
    for relays in [false, true] {
        let make = || {
            let config =
                json!({"stream_sid": SID, "call_sid": "CA1", "account_sid": "AC1", "relays": relays});
            (bot_twilio::ENDPOINT.open)(&config, MEDIA).unwrap()
        };
        let opening = [Wire::Opened];
        let subject =
            patchbay_sim::contract::Subject { make: &make, opening: &opening, samples: &samples, is_media };
        assert_eq!(subject.check(1_000), Ok(()));
    }
}
