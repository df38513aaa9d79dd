//! Replays `fixtures/twilio/*.jsonl` through the Twilio leg. See the README there for what a line means.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use patchbay_core::{Event, Format, Instant, Leg, LegError, Outbox, Wire};
use patchbay_legs::{Media, twilio};
use serde_json::json;

const LINE_EVERY: Duration = Duration::from_millis(20);

/// One leg, and what it did so far.
struct Replay {
    leg: Box<dyn Leg>,
    now: Instant,
    told: String,
}

impl Replay {
    fn new() -> Self {
        let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
        let leg = (twilio::ENDPOINT.open)(&json!({}), media).unwrap();
        let mut replay = Self { leg, now: Instant::ZERO, told: String::new() };
        replay.wire(Wire::Opened);
        replay
    }

    fn line(&mut self, line: &str) {
        let (order, rest) = line.split_once(' ').unwrap_or((line, ""));
        match order {
            "!wait" => self.pass(Duration::from_millis(rest.parse().unwrap())),
            "!close" => self.wire(Wire::Close { code: rest.parse().unwrap(), reason: "".into() }),
            "!binary" => self.wire(Wire::Binary(vec![0xFF; rest.len() / 2].into())),
            "!deep" => self.wire(Wire::Text("[".repeat(rest.parse().unwrap()).into())),
            "!media" => self.wire(Wire::Text(media(rest.parse().unwrap()).into())),
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
        let wires = out.wires.iter().map(|wire| format!("> {wire:?}"));
        let errors = result.err().map(|error| format!("! {error}"));
        for line in events.chain(wires).chain(errors) {
            writeln!(self.told, "{:>6} {line}", self.now.as_micros() / 1000).unwrap();
        }
    }
}

fn event(event: &Event) -> String {
    let Event::AudioReceived(frame) = event else { return format!("{event:?}") };
    let (form, at, duration) = (&frame.payload, frame.pts.as_ms(), frame.duration);
    format!("AudioReceived {} {form:?} at {at} ms, {} ticks", frame.format, duration.ticks())
}

fn media(bytes: usize) -> String {
    let payload = "/".repeat(bytes / 3 * 4);
    let sid = "MZ00000000000000000000000000000001";
    json!({"event": "media", "streamSid": sid, "media": {"timestamp": "155", "payload": payload}}).to_string()
}

#[test]
fn fixtures_replay_to_the_committed_snapshot() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/twilio");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    paths.sort();
    let mut told = String::new();
    for path in paths {
        let mut replay = Replay::new();
        std::fs::read_to_string(&path).unwrap().lines().for_each(|line| replay.line(line));
        let name = path.file_stem().unwrap().to_str().unwrap();
        writeln!(told, "{name}\n{}", squeezed(&replay.told)).unwrap();
    }
    insta::assert_snapshot!("twilio", told);
}

/// Lines that differ only in their time stand once, with their number.
fn squeezed(told: &str) -> String {
    let mut lines: Vec<(&str, u32)> = Vec::new();
    for line in told.lines() {
        match lines.last_mut() {
            Some((last, times)) if last[7..] == line[7..] => *times += 1,
            _ => lines.push((line, 1)),
        }
    }
    let tell = |(line, times): (&str, u32)| match times {
        1 => format!("{line}\n"),
        _ => format!("{line} ({times} times)\n"),
    };
    lines.into_iter().map(tell).collect()
}
