//! The Twilio double as a gateway sees it, and the Twilio leg against it, in virtual time.

#![expect(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use patchbay_core::{
    Command, Down, Event, Format, Frame, Instant, Leg, MarkId, MediaTime, Outbox, Payload, Wire,
};
use patchbay_sim::twilio::{Config, Ending, Silence, Step, TwilioDouble};
use serde_json::{Value, json};

const SID: &str = "MZ00000000000000000000000000000001";

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1000)
}

fn ms(ms: u64) -> MediaTime {
    MediaTime::from_ms(ms)
}

fn tone(ms: u64) -> Bytes {
    (0..ms * 8).map(|n| (n * 7 % 120) as u8).collect::<Vec<_>>().into()
}

/// A double alone, with all that it sent and when.
struct Line {
    double: TwilioDouble,
    sent: Vec<(u64, Value)>,
    now: u64,
}

impl Line {
    fn open(config: Config, script: impl IntoIterator<Item = Step>) -> Self {
        let mut line = Self { double: TwilioDouble::new(config, script), sent: Vec::new(), now: 0 };
        line.hand(Wire::Opened);
        line
    }

    fn hand(&mut self, wire: Wire) {
        let mut out = Vec::new();
        self.double.on_wire(wire, at(self.now), &mut out);
        self.keep(out);
    }

    fn say(&mut self, message: Value) {
        self.hand(Wire::Text(message.to_string().into()));
    }

    fn media(&mut self, audio: &[u8]) {
        use base64::Engine as _;
        let payload = base64::engine::general_purpose::STANDARD.encode(audio);
        self.say(json!({"event": "media", "streamSid": SID, "media": {"payload": payload}}));
    }

    fn mark(&mut self, name: &str) {
        self.say(json!({"event": "mark", "streamSid": SID, "mark": {"name": name}}));
    }

    fn run_until(&mut self, end_ms: u64) {
        while let Some(due) = self.double.poll_timeout().filter(|due| *due <= at(end_ms)) {
            self.now = due.as_micros() / 1000 - 1_000;
            let mut out = Vec::new();
            self.double.on_timeout(due, &mut out);
            self.keep(out);
            assert!(self.double.poll_timeout().is_none_or(|next| next > due));
        }
        self.now = end_ms;
    }

    fn keep(&mut self, out: Vec<Wire>) {
        for wire in out {
            let value = match wire {
                Wire::Text(text) => serde_json::from_slice(&text).unwrap(),
                other => json!(format!("{other:?}")),
            };
            self.sent.push((self.now, value));
        }
    }

    fn events(&self, event: &str) -> Vec<&Value> {
        self.sent.iter().map(|(_, value)| value).filter(|value| value["event"] == event).collect()
    }

    fn echoes(&self) -> Vec<(u64, &str)> {
        let echoes = self.sent.iter().filter(|(_, value)| value["event"] == "mark");
        echoes.map(|(when, value)| (*when, value["mark"]["name"].as_str().unwrap())).collect()
    }
}

#[test]
fn a_stream_begins_as_on_the_wire() {
    let parameters = [("route".to_owned(), "a \"b\"".to_owned())].into();
    let mut line = Line::open(Config { custom_parameters: parameters, ..Config::default() }, []);
    line.run_until(40);
    assert_eq!(line.sent[0].1, json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
    let start = &line.sent[1].1;
    assert_eq!(start["sequenceNumber"], "1");
    assert_eq!(
        start["start"]["mediaFormat"],
        json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1})
    );
    assert_eq!(start["start"]["customParameters"], json!({"route": "a \"b\""}));
    let (when, media) = &line.sent[2];
    assert_eq!((*when, &media["sequenceNumber"]), (20, &json!("2")));
    assert_eq!((&media["media"]["chunk"], &media["media"]["timestamp"]), (&json!("1"), &json!("155")));
    assert_eq!(media["media"]["payload"].as_str().unwrap().len(), 216);
    assert_eq!(line.sent[3].1["media"]["timestamp"], "175");
}

#[test]
fn a_hole_sends_nothing_and_the_timestamp_jumps() {
    let script = [Step::Say(tone(40)), Step::Wait(200), Step::Say(tone(20))];
    let mut line = Line::open(Config { silence: Silence::Holes, ..Config::default() }, script);
    line.run_until(1_000);
    let media = line.events("media");
    let times: Vec<_> = media.iter().map(|m| m["media"]["timestamp"].as_str().unwrap()).collect();
    assert_eq!(times, ["155", "175", "395"]);
    let chunks: Vec<_> = media.iter().map(|m| m["media"]["chunk"].as_str().unwrap()).collect();
    assert_eq!(chunks, ["1", "2", "3"]);
}

#[test]
fn one_sequence_counts_all_messages() {
    let mut line =
        Line::open(Config::default(), [Step::Wait(40), Step::Dtmf('5'), Step::Wait(40), Step::HangUp]);
    line.mark("now");
    line.run_until(200);
    let numbers: Vec<u64> =
        line.sent.iter().filter_map(|(_, v)| v["sequenceNumber"].as_str()?.parse().ok()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(line.events("dtmf")[0]["dtmf"], json!({"track": "inbound_track", "digit": "5"}));
    assert_eq!(line.events("stop").len(), 1);
    assert_eq!(line.sent.last().unwrap().1, "Close(1000)");
    assert_eq!(line.double.log().ending, Some((ms(80), Ending::HungUp)));
}

#[test]
fn a_mark_is_echoed_when_playback_reaches_it_and_at_once_when_nothing_is_buffered() {
    let mut line = Line::open(Config::default(), []);
    line.run_until(100);
    line.mark("empty");
    line.media(&tone(250));
    line.mark("a");
    line.media(&tone(50));
    line.mark("b");
    line.mark("c");
    line.run_until(1_000);
    assert_eq!(line.echoes(), [(100, "empty"), (350, "a"), (400, "b"), (400, "c")]);
}

#[test]
fn a_clear_echoes_every_outstanding_mark_and_discards_the_rest() {
    let mut line = Line::open(Config::default(), []);
    line.run_until(100);
    line.media(&tone(200));
    line.mark("a");
    line.media(&tone(300));
    line.mark("b");
    line.run_until(350);
    line.say(json!({"event": "clear", "streamSid": SID}));
    line.run_until(1_000);
    assert_eq!(line.echoes(), [(300, "a"), (350, "b")]);
    let log = line.double.log();
    assert_eq!((log.clears[0].heard, log.clears[0].discarded_bytes), (ms(250), 250 * 8));
    assert_eq!(log.marks.iter().map(|mark| mark.because_of_clear).collect::<Vec<_>>(), [false, true]);
    assert_eq!(
        (log.media[1].from, log.media[1].to, log.media[1].discarded_bytes),
        (Some(ms(300)), ms(350), 2000)
    );
    assert_eq!(line.double.heard().len(), 350 * 8);
}

#[test]
fn what_was_heard_stands_where_it_was_played() {
    let mut line = Line::open(Config::default(), []);
    line.run_until(100);
    line.media(&tone(60));
    line.run_until(200);
    line.media(&tone(20));
    line.run_until(300);
    let mut heard = vec![0xFF; 800];
    heard.extend_from_slice(&tone(60));
    heard.resize(1600, 0xFF);
    heard.extend_from_slice(&tone(20));
    assert_eq!(line.double.heard(), heard);
    let log = line.double.log();
    assert_eq!(log.first_audio, Some(ms(100)));
    assert_eq!(log.gaps.iter().map(|gap| (gap.from, gap.to)).collect::<Vec<_>>(), [(ms(160), ms(200))]);
}

#[test]
fn faster_than_real_time_is_played_in_real_time() {
    let mut line = Line::open(Config::default(), []);
    for _ in 0..50 {
        line.media(&tone(100));
    }
    line.mark("end");
    line.run_until(10_000);
    assert_eq!(line.echoes(), [(5_000, "end")]);
    assert!(line.double.log().gaps.is_empty());
}

#[test]
fn an_invalid_message_is_dropped_and_reported_once() {
    let mut line = Line::open(Config::default(), []);
    for wrong in [
        json!({"event": "media", "streamSid": "MZ2", "media": {"payload": "/w=="}}),
        json!({"event": "media", "media": {"payload": "/w=="}}),
        json!({"event": "media", "streamSid": SID, "media": {"payload": "/w==", "track": "outbound"}}),
        json!({"event": "media", "streamSid": SID, "media": {"payload": "/w="}}),
        json!({"event": "clear", "streamSid": SID, "mark": {"name": "x"}}),
        json!({"event": "connected", "streamSid": SID}),
        json!("media"),
    ] {
        line.say(wrong);
    }
    line.run_until(100);
    assert_eq!((line.double.log().invalid, &line.double.log().warnings[..]), (7, &[31951][..]));
    assert!(line.double.heard().is_empty());
}

#[test]
fn a_reset_gives_no_stop() {
    let mut line = Line::open(Config::default(), [Step::Wait(100), Step::Reset]);
    line.run_until(1_000);
    assert!(line.events("stop").is_empty());
    assert_eq!(line.sent.last().unwrap().1, "Close(1006)");
    assert!(line.double.is_over() && line.double.poll_timeout().is_none());
}

#[test]
fn a_script_waits_for_speech_and_for_its_end_and_tells_when_it_waited_in_vain() {
    let script = [
        Step::WaitForAudio { at_most_ms: 1_000 },
        Step::WaitForSilence { ms: 200, at_most_ms: 5_000 },
        Step::Dtmf('1'),
        Step::WaitForAudio { at_most_ms: 500 },
        Step::Dtmf('2'),
    ];
    let mut line = Line::open(Config::default(), script);
    line.run_until(300);
    line.media(&tone(400));
    line.run_until(3_000);
    let keys: Vec<_> =
        line.sent.iter().filter(|(_, v)| v["event"] == "dtmf").map(|(when, _)| *when).collect();
    assert_eq!(keys, [900, 1_400]);
    assert_eq!(line.double.log().missed, [3]);
}

#[test]
fn a_barge_in_begins_when_so_much_was_heard() {
    let audio = tone(100);
    let mut line = Line::open(Config::default(), [Step::BargeIn { after_ms_of_model_speech: 260, audio }]);
    line.run_until(500);
    line.media(&tone(1_000));
    line.run_until(1_000);
    let said = line.double.log().said[0];
    assert_eq!((said.from, said.to), (ms(760), ms(860)));
}

/// The leg against the double, without a network between them.
struct Pair {
    leg: Box<dyn Leg>,
    double: TwilioDouble,
    now: Instant,
    events: Vec<Event>,
    out: Outbox,
}

impl Pair {
    fn open(config: Config, script: impl IntoIterator<Item = Step>) -> Self {
        let call = json!({"call_sid": config.call_sid, "account_sid": config.account_sid});
        let media = patchbay_legs::Media { ingress: Format::PCMU, egress: Format::PCMU };
        let leg = (patchbay_legs::endpoint("twilio").unwrap().open)(&call, media).unwrap();
        let double = TwilioDouble::new(config, script);
        let mut pair = Self { leg, double, now: at(0), events: Vec::new(), out: Outbox::default() };
        pair.leg.on_wire(Wire::Opened, pair.now, &mut pair.out).unwrap();
        let mut wires = Vec::new();
        pair.double.on_wire(Wire::Opened, pair.now, &mut wires);
        pair.settle(wires);
        pair
    }

    fn command(&mut self, command: Command) {
        self.leg.on_command(command, self.now, &mut self.out).unwrap();
        self.settle(Vec::new());
    }

    fn play(&mut self, audio: Bytes) {
        self.command(Command::Play(Frame::live(Format::PCMU, Payload::Raw(audio), MediaTime::ZERO)));
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let due = self.leg.poll_timeout().into_iter().chain(self.double.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = due;
            let mut wires = Vec::new();
            self.double.on_timeout(due, &mut wires);
            if self.leg.poll_timeout().is_some_and(|wanted| wanted <= due) {
                self.leg.on_timeout(due, &mut self.out).unwrap();
            }
            self.settle(wires);
        }
        self.now = end;
    }

    /// Hands wires to and fro until none is left.
    fn settle(&mut self, mut to_leg: Vec<Wire>) {
        loop {
            for wire in to_leg.drain(..) {
                self.leg.on_wire(wire, self.now, &mut self.out).unwrap();
            }
            self.events.append(&mut self.out.events);
            if self.out.wires.is_empty() {
                return;
            }
            for wire in std::mem::take(&mut self.out.wires) {
                self.double.on_wire(wire, self.now, &mut to_leg);
            }
        }
    }

    fn ingress(&self) -> Vec<u8> {
        let audio = self.events.iter().filter_map(|event| match event {
            Event::AudioReceived(frame) => Some(frame.payload.to_raw()),
            _ => None,
        });
        audio.collect::<Vec<_>>().concat()
    }
}

#[test]
fn what_the_caller_says_arrives_sample_by_sample_through_holes() {
    for silence in [Silence::Frames, Silence::Holes] {
        let script = [
            Step::Say(tone(500)),
            Step::Wait(160),
            Step::Say(tone(500)),
            Step::Wait(2_000),
            Step::Say(tone(500)),
        ];
        let mut pair = Pair::open(Config { silence, ..Config::default() }, script);
        pair.run_until(at(3_660));
        let pause = |ms: usize| vec![0xFF; ms * 8];
        let said = [&tone(500)[..], &pause(160), &tone(500), &pause(2_000), &tone(500)].concat();
        assert!(pair.ingress() == said, "{silence:?}");
    }
}

#[test]
fn what_the_leg_plays_is_heard_and_its_marks_come_back() {
    let mut pair = Pair::open(Config::default(), []);
    pair.run_until(at(100));
    pair.play(tone(200));
    let mark = MarkId { generation: 0, seq: 1 };
    pair.command(Command::Mark(mark));
    pair.run_until(at(299));
    assert!(!pair.events.contains(&Event::MarkReached(mark)));
    pair.run_until(at(300));
    assert!(pair.events.contains(&Event::MarkReached(mark)));
    assert_eq!(pair.double.heard()[800..], tone(200));
    assert_eq!(pair.double.log().invalid, 0);
}

#[test]
fn a_flush_silences_at_once() {
    let mut pair = Pair::open(Config::default(), []);
    pair.play(tone(1_000));
    pair.run_until(at(330));
    pair.command(Command::Flush);
    pair.run_until(at(2_000));
    assert_eq!(pair.double.heard(), &tone(1_000)[..330 * 8]);
    assert_eq!(pair.double.log().clears[0].heard, ms(330));
}

#[test]
fn a_hang_up_and_a_reset_are_told_apart() {
    for (step, down) in [(Step::HangUp, Down::HungUp), (Step::Reset, Down::Lost { code: 1006 })] {
        let mut pair = Pair::open(Config::default(), [Step::Wait(100), step]);
        pair.run_until(at(1_000));
        assert_eq!(pair.events.last(), Some(&Event::LegDown(down)));
    }
}

#[test]
fn every_format_that_a_stream_may_announce_works_both_ways() {
    for format in [Format::PCMA, Format::L16_8K, Format::L16_16K, Format::L16_24K] {
        let audio = Bytes::from(vec![3; format.bytes_for(ms(100)).unwrap()]);
        let mut pair = Pair::open(Config { format, ..Config::default() }, [Step::Say(audio.clone())]);
        assert_eq!(pair.leg.caps().egress, format);
        pair.command(Command::Play(Frame::live(format, Payload::Raw(audio.clone()), MediaTime::ZERO)));
        pair.run_until(at(100));
        assert_eq!((pair.ingress(), pair.double.heard()), (audio.to_vec(), &audio[..]), "{format}");
    }
}

#[test]
fn the_twilio_leg_keeps_the_contract() {
    let text = |value: Value| Wire::Text(value.to_string().into());
    let start = json!({"event": "start", "sequenceNumber": "1", "streamSid": SID, "start": {
        "streamSid": SID, "accountSid": "AC1", "callSid": "CA1", "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"route": "a"}}});
    let connected = json!({"event": "connected", "protocol": "Call", "version": "1.0.0"});
    let media = |timestamp: &str| {
        json!({"event": "media", "sequenceNumber": "2", "streamSid": SID, "media": {
            "track": "inbound", "chunk": "1", "timestamp": timestamp, "payload": "////".repeat(54)}})
    };
    let samples = [
        text(connected.clone()),
        text(start.clone()),
        text(media("155")),
        text(media("175")),
        text(media("5175")),
        text(json!({"event": "dtmf", "streamSid": SID, "dtmf": {"track": "inbound_track", "digit": "5"}})),
        text(json!({"event": "mark", "streamSid": SID, "mark": {"name": "g0.1"}})),
        text(json!({"event": "stop", "streamSid": SID, "stop": {"accountSid": "AC1", "callSid": "CA1"}})),
    ];
    let is_media = |wire: &Wire| {
        let Wire::Text(text) = wire else { return false };
        serde_json::from_slice::<Value>(text).unwrap()["event"] == "media"
    };
    let media = patchbay_legs::Media { ingress: Format::PCMU, egress: Format::PCMU };
    let make = || (patchbay_legs::twilio::ENDPOINT.open)(&json!({}), media).unwrap();
    let opening = [Wire::Opened, text(connected), text(start)];
    let subject =
        patchbay_sim::contract::Subject { make: &make, opening: &opening, samples: &samples, is_media };
    assert_eq!(subject.check(2_000), Ok(()));
}
