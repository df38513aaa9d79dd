//! Replays `fixtures/openai/*.jsonl` and `fixtures/azure/*.jsonl` through the realtime leg. See the README there for what
//! a line means.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use patchbay_core::{
    Command, Cut, Event, Format, Frame, Instant, Leg, LegError, MediaTime, Outbox, Payload, Refusal,
    UtteranceId, Wire,
};
use patchbay_legs::{Media, realtime};
use serde_json::json;

const LINE_EVERY: Duration = Duration::from_millis(20);

/// One leg, and what it did so far.
struct Replay {
    dialect: &'static str,
    leg: Box<dyn Leg>,
    now: Instant,
    told: String,
}

fn open(dialect: &str) -> Box<dyn Leg> {
    let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
    let config = json!({"dialect": dialect, "model": "m", "voice": "marin", "instructions": "Be brief.",
        "transcription_model": "t", "language": "en"});
    (realtime::ENDPOINT.open)(&config, media).unwrap()
}

impl Replay {
    fn new(dialect: &'static str) -> Self {
        let mut replay = Self { dialect, leg: open(dialect), now: Instant::ZERO, told: String::new() };
        replay.wire(Wire::Opened);
        replay
    }

    fn line(&mut self, line: &str) {
        let (order, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        let mut number = || words.next().unwrap().parse::<u32>().unwrap();
        let ms = |ms: u32| MediaTime::from_ms(ms.into());
        match order {
            "!wait" => self.pass(Duration::from_millis(rest.parse().unwrap())),
            "!close" => self.wire(Wire::Close { code: rest.parse().unwrap(), reason: "".into() }),
            "!refused" => {
                let status = rest.parse().unwrap();
                self.wire(Wire::Refused(Refusal::Status { status, retry_after: None }));
            }
            "!new" => self.renew(open(self.dialect)),
            "!renew" => match self.leg.successor() {
                Some(leg) => self.renew(leg),
                None => writeln!(self.told, "       no successor").unwrap(),
            },
            "!binary" => self.wire(Wire::Binary(vec![0xFF; rest.len() / 2].into())),
            "!deep" => self.wire(Wire::Text("[".repeat(rest.parse().unwrap()).into())),
            "!delta" => self.wire(Wire::Text(delta("response.output_audio.delta", rest).into())),
            "!flatdelta" => self.wire(Wire::Text(delta("response.audio.delta", rest).into())),
            "!repeat" => {
                let (times, line) = rest.split_once(' ').unwrap();
                (0..times.parse().unwrap()).for_each(|_: u32| self.line(line));
            }
            "!hangup" => self.command(Command::Hangup { code: 1000 }),
            "!cancel" => self.command(Command::Cancel),
            "!respond" => {
                self.command(Command::Respond { instructions: (!rest.is_empty()).then(|| rest.into()) });
            }
            "!truncate" => {
                let utterance = UtteranceId(number());
                let (heard, received) = (ms(number()), ms(number()));
                self.command(Command::Truncate(Cut { utterance, heard, sent: heard, received }));
            }
            "!play" => {
                let payload = Payload::Raw(vec![0xFF; rest.parse().unwrap()].into());
                self.command(Command::Play(Frame::live(Format::PCMU, payload, MediaTime::ZERO)));
            }
            _ => self.wire(Wire::Text(line.to_owned().into())),
        }
    }

    fn renew(&mut self, leg: Box<dyn Leg>) {
        writeln!(self.told, "       a new connection").unwrap();
        self.leg = leg;
        self.wire(Wire::Opened);
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
    match wire {
        Wire::Text(text) if text.len() < 2_000 => format!("> {}", std::str::from_utf8(text).unwrap()),
        wire => format!("> {wire:?}"),
    }
}

fn event(event: &Event) -> String {
    let Event::AudioReceived(frame) = event else { return format!("{event:?}") };
    let (form, at, duration) = (&frame.payload, frame.pts.as_ms(), frame.duration.as_ms());
    let of = frame.utterance.map_or(-1, |u| i64::from(u.0));
    format!("AudioReceived of {of} {} {form:?} at {at} ms, {duration} ms", frame.format)
}

/// `RESPONSE ITEM PART MS` of silence.
fn delta(name: &str, of: &str) -> String {
    let [response, item, part, ms] = of.split(' ').collect::<Vec<_>>()[..] else { panic!("{of}") };
    let mut audio = bytes::BytesMut::new();
    Payload::Raw(vec![0xFF; ms.parse::<usize>().unwrap() * 8].into()).write_base64(&mut audio);
    let audio = std::str::from_utf8(&audio).unwrap();
    format!(
        r#"{{"type":"{name}","event_id":"e","response_id":"{response}","item_id":"{item}","output_index":0,"content_index":{part},"delta":"{audio}"}}"#
    )
}

fn replayed(folder: &str, dialect: fn(&str) -> &'static str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    paths.sort();
    let mut told = String::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut replay = Replay::new(dialect(name));
        std::fs::read_to_string(&path).unwrap().lines().for_each(|line| replay.line(line));
        writeln!(told, "{name}\n{}", squeezed(&replay.told)).unwrap();
    }
    told
}

#[test]
fn openai_fixtures_replay_to_the_committed_snapshot() {
    insta::assert_snapshot!("openai", replayed("openai", |_| "openai"));
}

#[test]
fn azure_fixtures_replay_to_the_committed_snapshot() {
    let dialect = |name: &str| if name.starts_with("preview") { "azure_preview" } else { "azure" };
    insta::assert_snapshot!("azure", replayed("azure", dialect));
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
