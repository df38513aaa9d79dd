//! A leg and a double with a wire between them, stepped to their next event.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{
    Command, Down, Event, Format, Frame, Instant, Leg, MediaTime, Outbox, Payload, Role, Usage, UtteranceId,
    Wire,
};
use patchbay_legs::Media;
use patchbay_legs::realtime::{Config, Dialect, Realtime};
use patchbay_sim::realtime::{Accepted, RealtimeDouble, Script, Shape};
use serde_json::Value;

/// "What time do you close on Sundays?", 2.6 s, PCM16 at 8 kHz.
pub(crate) const CALLER: &[u8] = include_bytes!("../../../../fixtures/audio/caller-short.wav");

pub(crate) struct Pair {
    pub(crate) leg: Box<dyn Leg>,
    pub(crate) double: RealtimeDouble,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    pub(crate) times: Vec<Instant>,
    /// What the leg sent, by name of the event.
    pub(crate) names: Vec<String>,
    /// What the double sent on this connection.
    pub(crate) received: Vec<Wire>,
    /// Audio that the caller played, raw.
    pub(crate) played: Vec<u8>,
    pub(crate) talked_at: Instant,
    /// Whether the test cancels as a call does when the caller speaks.
    pub(crate) cancels_on_speech: bool,
    script: Arc<Script>,
    shape: Shape,
    format: Format,
    dials: usize,
}

impl Pair {
    pub(crate) fn new(config: Config, format: Format, script: Script) -> Self {
        let shape = if config.dialect == Dialect::AzurePreview { Shape::Flat } else { Shape::Nested };
        let leg =
            Realtime::new(config, Media { ingress: format, egress: format }).expect("a good configuration");
        let script = Arc::new(script);
        let mut pair = Self {
            leg: Box::new(leg),
            double: RealtimeDouble::new(Arc::clone(&script), accepted(shape), 0),
            now: Instant::from_micros(1_000_000),
            events: Vec::new(),
            times: Vec::new(),
            names: Vec::new(),
            received: Vec::new(),
            played: Vec::new(),
            talked_at: Instant::ZERO,
            cancels_on_speech: false,
            script,
            shape,
            format,
            dials: 0,
        };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        let mut wires = Vec::new();
        self.double.on_wire(Wire::Opened, self.now, &mut wires);
        self.leg_takes(Wire::Opened);
        self.deliver(wires);
    }

    /// Replaces the leg by its successor, on a new connection.
    pub(crate) fn redial(&mut self) {
        self.leg = self.leg.successor().expect("the leg has a successor");
        self.dials += 1;
        self.double = RealtimeDouble::new(Arc::clone(&self.script), accepted(self.shape), self.dials);
        self.events.clear();
        self.times.clear();
        self.names.clear();
        self.received.clear();
        self.connect();
    }

    fn leg_takes(&mut self, wire: Wire) {
        let mut out = Outbox::default();
        self.leg.on_wire(wire, self.now, &mut out).expect("the double keeps the protocol");
        self.carry(out);
    }

    pub(crate) fn command(&mut self, command: Command) {
        let mut out = Outbox::default();
        self.leg.on_command(command, self.now, &mut out).expect("a command does not fail");
        self.carry(out);
    }

    fn carry(&mut self, out: Outbox) {
        for event in out.events {
            let interrupted = event == Event::SpeechStarted && self.cancels_on_speech;
            self.times.push(self.now);
            self.events.push(event);
            if interrupted {
                self.command(Command::Cancel);
            }
        }
        for wire in out.wires {
            if let Wire::Text(text) = &wire {
                let event: Value = serde_json::from_slice(text).expect("the leg writes JSON");
                self.names.push(event["type"].as_str().unwrap_or_default().to_owned());
            }
            let mut back = Vec::new();
            self.double.on_wire(wire, self.now, &mut back);
            self.deliver(back);
        }
    }

    fn deliver(&mut self, wires: Vec<Wire>) {
        self.received.extend(wires.iter().cloned());
        wires.into_iter().for_each(|wire| self.leg_takes(wire));
    }

    /// Lets time pass while the caller sends nothing.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = [self.leg.poll_timeout(), self.double.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
            .filter(|t| *t <= end)
        {
            self.now = self.now.max(next);
            self.tick();
        }
        self.now = end;
    }

    fn tick(&mut self) {
        let mut wires = Vec::new();
        self.double.on_timeout(self.now, &mut wires);
        self.deliver(wires);
        let mut out = Outbox::default();
        self.leg.on_timeout(self.now, &mut out).expect("time does not fail");
        self.carry(out);
        assert!(self.leg.poll_timeout().is_none_or(|at| at > self.now), "a deadline is left in the past");
    }

    /// The caller says this WAV (PCM16 at 8 kHz) at the speed of speech.
    pub(crate) fn talk(&mut self, wav: &[u8]) {
        self.talked_at = self.now;
        for frame in wav[44..].chunks(320) {
            self.play(frame);
        }
    }

    /// The caller is silent, but the line is not: frames keep coming.
    pub(crate) fn quiet(&mut self, span: Duration) {
        for _ in 0..span.as_millis() / 20 {
            self.play(&[0; 320]);
        }
    }

    fn play(&mut self, pcm_8k: &[u8]) {
        let raw: Vec<u8> = pcm_8k
            .chunks_exact(2)
            .map(|b| patchbay_codec::g711::ulaw_encode(i16::from_le_bytes([b[0], b[1]])))
            .collect();
        assert_eq!(self.format, Format::PCMU, "the caller of this pair is a telephone");
        self.played.extend_from_slice(&raw);
        let payload = Payload::Raw(Bytes::from(raw));
        self.command(Command::Play(Frame::live(self.format, payload, MediaTime::ZERO)));
        self.run(Duration::from_millis(20));
    }

    // --- what happened ---

    pub(crate) fn at(&self, found: impl Fn(&Event) -> bool) -> Option<Instant> {
        self.events.iter().position(found).map(|n| self.times[n])
    }

    pub(crate) fn spoken(&self, utterance: UtteranceId) -> MediaTime {
        let mut end = MediaTime::ZERO;
        for event in &self.events {
            if let Event::AudioReceived(frame) = event
                && frame.utterance == Some(utterance)
            {
                assert_eq!(frame.pts, end, "the positions of an utterance follow one another");
                end = frame.end();
            }
        }
        end
    }

    pub(crate) fn ended(&self, utterance: UtteranceId) -> bool {
        self.events.contains(&Event::UtteranceEnded { utterance })
    }

    pub(crate) fn transcript(&self, of: Role) -> Vec<&str> {
        let whole = self.events.iter().filter_map(|event| match event {
            Event::TranscriptReceived { role, text, is_final: true, .. } if *role == of => Some(&**text),
            _ => None,
        });
        whole.collect()
    }

    pub(crate) fn complaints(&self) -> Vec<&str> {
        let complaints = self.events.iter().filter_map(|event| match event {
            Event::PeerComplained { code } => Some(&**code),
            Event::MessageDropped { reason } if *reason != "late_delta" => Some(*reason),
            _ => None,
        });
        complaints.collect()
    }

    pub(crate) fn dropped(&self, reason: &str) -> usize {
        self.events
            .iter()
            .filter(|e| matches!(e, Event::MessageDropped { reason: r } if *r == reason))
            .count()
    }

    pub(crate) fn usage(&self) -> Vec<&Usage> {
        let usage = self.events.iter().filter_map(|event| match event {
            Event::UsageReported(usage) => Some(usage),
            _ => None,
        });
        usage.collect()
    }

    pub(crate) fn down(&self) -> Option<&Down> {
        let down = self.events.iter().position(|e| matches!(e, Event::LegDown(_)))?;
        assert_eq!(down, self.events.len() - 1, "nothing after LegDown");
        match &self.events[down] {
            Event::LegDown(down) => Some(down),
            _ => None,
        }
    }

    pub(crate) fn sent(&self, name: &str) -> usize {
        self.names.iter().filter(|n| *n == name).count()
    }
}

fn accepted(shape: Shape) -> Accepted {
    Accepted { shape, model: "gpt-realtime-2.1".into() }
}
