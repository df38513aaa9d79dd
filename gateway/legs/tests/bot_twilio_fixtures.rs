//! Replays `fixtures/twilio-bot/*.jsonl` through the leg that is Twilio to a bot. See the README there for what a line means.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use patchbay_core::{
    Command, Event, Format, Frame, Instant, Leg, LegError, MediaTime, Outbox, Payload, Refusal, Wire,
};
use patchbay_legs::{Media, bot_twilio};
use serde_json::json;

const LINE_EVERY: Duration = Duration::from_millis(20);
const SID: &str = "MZ00000000000000000000000000000001";

/// One leg, and what it did so far.
struct Replay {
    leg: Box<dyn Leg>,
    now: Instant,
    told: String,
}

impl Replay {
    fn new() -> Self {
        let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
        let config = json!({"stream_sid": SID, "call_sid": "CA1", "account_sid": "AC1",
            "parameters": {"route": "a \"quoted\" one"}});
        let leg = (bot_twilio::ENDPOINT.open)(&config, media).unwrap();
        Self { leg, now: Instant::ZERO, told: String::new() }
    }

    fn line(&mut self, line: &str) {
        let (order, rest) = line.split_once(' ').unwrap_or((line, ""));
        match order {
            "!wait" => self.pass(Duration::from_millis(rest.parse().unwrap())),
            "!close" => self.wire(Wire::Close { code: rest.parse().unwrap(), reason: "".into() }),
            "!refused" => {
                let refusal = Refusal::Status { status: rest.parse().unwrap(), retry_after: None };
                self.wire(Wire::Refused(refusal));
            }
            "!binary" => self.wire(Wire::Binary(vec![0xFF; rest.len() / 2].into())),
            "!deep" => self.wire(Wire::Text("[".repeat(rest.parse().unwrap()).into())),
            "!media" => self.wire(Wire::Text(media(rest.parse().unwrap()).into())),
            "!play" => {
                let payload = Payload::Raw(vec![0xFF; rest.parse::<usize>().unwrap() * 8].into());
                self.command(Command::Play(Frame::live(Format::PCMU, payload, MediaTime::ZERO)));
            }
            "!echo" => {
                let (mark, played) = rest.split_once(' ').unwrap();
                let (mark, played) = (mark.parse().unwrap(), played.parse().unwrap());
                self.command(Command::EchoMark { mark, played });
            }
            "!press" => self.command(Command::Press(rest.parse().unwrap())),
            "!cancel" => self.command(Command::Cancel),
            "!respond" => self.command(Command::Respond { instructions: None }),
            "!hangup" => self.command(Command::Hangup { code: 1000 }),
            "!repeat" => {
                let (times, line) = rest.split_once(' ').unwrap();
                (0..times.parse().unwrap()).for_each(|_: u32| self.line(line));
            }
            _ => self.wire(Wire::Text(line.to_owned().into())),
        }
    }

    fn wire(&mut self, wire: Wire) {
        let mut out = Outbox::default();
        let result = self.leg.on_wire(wire, self.now, &mut out);
        self.tell(&out, result);
        self.pass(LINE_EVERY);
    }

    fn command(&mut self, command: Command) {
        let mut out = Outbox::default();
        let result = self.leg.on_command(command, self.now, &mut out);
        self.tell(&out, result);
        self.pass(LINE_EVERY);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.leg.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            let mut out = Outbox::default();
            let result = self.leg.on_timeout(due, &mut out);
            self.tell(&out, result);
        }
        self.now = end;
    }

    fn tell(&mut self, out: &Outbox, result: Result<(), LegError>) {
        let events = out.events.iter().map(event);
        let wires = out.wires.iter().map(wire);
        let errors = result.err().map(|error| format!("! {error}"));
        for line in events.chain(wires).chain(errors) {
            writeln!(self.told, "{:>6} {line}", self.now.as_micros() / 1000).unwrap();
        }
    }
}

fn wire(wire: &Wire) -> String {
    let Wire::Text(text) = wire else { return format!("> {wire:?}") };
    let text = std::str::from_utf8(text).unwrap();
    let silence = "/".repeat(216);
    format!("> {}", text.replace(&silence[..213], "…"))
}

fn event(event: &Event) -> String {
    let Event::AudioReceived(frame) = event else { return format!("{event:?}") };
    let (form, at, duration) = (&frame.payload, frame.pts.as_ms(), frame.duration.as_ms());
    let of = frame.utterance.map_or(-1, |u| i64::from(u.0));
    format!("AudioReceived of {of} {form:?} at {at} ms, {duration} ms")
}

fn media(ms: usize) -> String {
    let mut payload = bytes::BytesMut::new();
    Payload::Raw(vec![0xFF; ms * 8].into()).write_base64(&mut payload);
    let payload = std::str::from_utf8(&payload).unwrap();
    json!({"event": "media", "streamSid": SID, "media": {"payload": payload}}).to_string()
}

#[test]
fn fixtures_replay_to_the_committed_snapshot() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/twilio-bot");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    paths.sort();
    let mut told = String::new();
    for path in paths {
        let mut replay = Replay::new();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if !name.starts_with("refused") {
            replay.wire(Wire::Opened);
        }
        std::fs::read_to_string(&path).unwrap().lines().for_each(|line| replay.line(line));
        writeln!(told, "{name}\n{}", squeezed(&replay.told)).unwrap();
    }
    insta::assert_snapshot!("twilio_bot", told);
}

/// Lines that differ only in their time, or in the number of a mark, stand once, with their number.
fn squeezed(told: &str) -> String {
    let what = |line: &str| {
        if line[7..].starts_with("MarkPlaced") { "MarkPlaced".to_owned() } else { line[7..].to_owned() }
    };
    let mut lines: Vec<(&str, u32)> = Vec::new();
    for line in told.lines() {
        match lines.last_mut() {
            Some((last, times)) if what(last) == what(line) => *times += 1,
            _ => lines.push((line, 1)),
        }
    }
    let tell = |(line, times): (&str, u32)| match times {
        1 => format!("{line}\n"),
        _ => format!("{line} ({times} times)\n"),
    };
    lines.into_iter().map(tell).collect()
}
