//! The built-in AI: it greets, listens, and says back what it heard. No key, no network, no chance.
//!
//! It behaves on a call as a realtime model does: speech comes faster than real time, as utterances that can be cut;
//! it notices when the caller begins and stops to speak, by a real detector; it can be cancelled and truncated. To a client of
//! the realtime API it says all of this in that API's words too.

mod client;

use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{
    Caps, Command, Down, Event, Format, Frame, Instant, Leg, LegError, MediaTime, Outbox, Pacing, Payload,
    UtteranceId, Wire,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ear::{Ear, Noticed, Tuning};
use self::client::Client;
use crate::words::Words;
use crate::{ConfigError, EndpointDef, Media, Transport};

/// The built-in AI.
pub static ENDPOINT: EndpointDef =
    EndpointDef { kind: "parrot", transport: Transport::Inside, sends: FORMATS, receives: FORMATS, open };

const FORMATS: &[Format] = &[Format::PCMU];

/// "Hello. This is Patchbay. Say something, and I will say it back to you." (`fixtures/README.md`).
static GREETING: &[u8] = include_bytes!("../prompts/greeting.ulaw");
const GREETING_TEXT: &str = "Hello. This is Patchbay. Say something, and I will say it back to you.";

/// Kept of one turn; what is said beyond it is not said back.
const TURN_MAX: MediaTime = MediaTime::from_ms(30_000);
/// Kept while nobody speaks: what the detector needs to notice, and the lead-in.
const QUIET_MAX: MediaTime = MediaTime::from_ms(400);
/// Audio around the detected speech that is said back with it.
const LEAD_IN: MediaTime = MediaTime::from_ms(150);
const LEAD_OUT: MediaTime = MediaTime::from_ms(100);
/// Speech is handed over in bursts, five times as fast as it plays.
const BURST: MediaTime = MediaTime::from_ms(200);
const BURST_EVERY: Duration = Duration::from_millis(40);

/// What may be said about the parrot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Silence that ends the caller's turn, in milliseconds.
    pub silence_ms: u16,
    /// Whether it speaks and understands the realtime API's words too.
    pub relays: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { silence_ms: 500, relays: false }
    }
}

fn open(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError> {
    let refuse = |reason| ConfigError { kind: ENDPOINT.kind, reason };
    let config = serde_json::from_value::<Config>(config.clone()).map_err(|e| refuse(e.to_string()))?;
    if (media.ingress, media.egress) != (Format::PCMU, Format::PCMU) {
        return Err(refuse("the parrot speaks and hears PCMU at 8 kHz only".into()));
    }
    Ok(Box::new(Parrot::new(&config)))
}

/// One parrot on one call.
pub struct Parrot {
    phase: Phase,
    hearing: Hearing,
    answer: Option<Answer>,
    /// The next utterance.
    next: u32,
    client: Option<Client>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Up,
    Down,
}

/// The answer in progress: handed over up to `sent`.
struct Answer {
    utterance: UtteranceId,
    audio: Bytes,
    sent: usize,
    next_at: Instant,
}

impl Parrot {
    /// A parrot that waits for its call.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let silence = MediaTime::from_ms(config.silence_ms.max(100).into());
        let client = config.relays.then(Client::default);
        Self { phase: Phase::Waiting, hearing: Hearing::new(silence), answer: None, next: 0, client }
    }

    fn hear(&mut self, frame: &Frame, now: Instant, out: &mut Outbox) {
        if frame.format != Format::PCMU {
            return;
        }
        for noticed in self.hearing.push(&frame.payload.to_raw()) {
            match noticed {
                Noticed::Began(at) => {
                    self.hearing.turn_began(at);
                    out.event(Event::SpeechStarted);
                    self.tell(|words, out| words.speech_started(at, out), out);
                }
                Noticed::Ended(at) => {
                    out.event(Event::SpeechStopped);
                    self.tell(|words, out| words.speech_stopped(at, out), out);
                    let turn = self.hearing.take_turn(at);
                    self.say(turn, "(what you just said)", now, out);
                }
            }
        }
    }

    fn greet(&mut self, now: Instant, out: &mut Outbox) {
        self.say(Bytes::from_static(GREETING), GREETING_TEXT, now, out);
    }

    /// Begins to say `audio`, in place of what it was saying. `text` is what it tells of it in words.
    fn say(&mut self, audio: Bytes, text: &str, now: Instant, out: &mut Outbox) {
        self.stop(out);
        if audio.is_empty() {
            return;
        }
        let utterance = UtteranceId(self.next);
        self.next = self.next.wrapping_add(1);
        out.event(Event::ResponseStarted);
        out.event(Event::UtteranceStarted { utterance, item: Words::of("parrot").item_of(utterance).into() });
        self.tell(|words, out| words.begun(utterance, text, out), out);
        self.answer = Some(Answer { utterance, audio, sent: 0, next_at: now });
        self.speak(now, out);
    }

    /// Hands over the bursts that are due.
    fn speak(&mut self, now: Instant, out: &mut Outbox) {
        let burst = Format::PCMU.bytes_for(BURST).unwrap_or(1);
        while let Some(answer) = self.answer.as_mut().filter(|a| a.next_at <= now) {
            let end = (answer.sent + burst).min(answer.audio.len());
            let payload = Payload::Raw(answer.audio.slice(answer.sent..end));
            let pts = Format::PCMU.duration_of(answer.sent).unwrap_or_default();
            let utterance = answer.utterance;
            out.event(Event::AudioReceived(Frame::speech(Format::PCMU, payload, pts, utterance)));
            (answer.sent, answer.next_at) = (end, answer.next_at + BURST_EVERY);
            if end == answer.audio.len() {
                self.answer = None;
                out.event(Event::UtteranceEnded { utterance });
                out.event(Event::ResponseEnded { completed: true });
                self.tell(|words, out| words.ended("completed", out), out);
            }
        }
    }

    /// Breaks off what it was saying.
    fn stop(&mut self, out: &mut Outbox) {
        if self.answer.take().is_some() {
            out.event(Event::ResponseEnded { completed: false });
            self.tell(|words, out| words.ended("cancelled", out), out);
        }
    }

    /// Says it in words too, if somebody wants them.
    fn tell(&mut self, say: impl FnOnce(&mut Words, &mut Outbox), out: &mut Outbox) {
        if let Some(client) = &mut self.client {
            say(&mut client.words, out);
        }
    }

    fn down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down;
        self.answer = None;
        out.event(Event::LegDown(down));
    }
}

impl Leg for Parrot {
    fn caps(&self) -> Caps {
        Caps {
            ingress: Format::PCMU,
            egress: Format::PCMU,
            pacing: Pacing::Live { latency_max: MediaTime::from_ms(200) },
            multiple: MediaTime::from_ms(1),
            can_clear: true,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: true,
            can_cancel: true,
            can_truncate: true,
            answers: true,
            reports_heard: false,
        }
    }

    /// It has no wire: `Opened` brings it up, a close takes it down, anything else is dropped.
    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (wire, self.phase) {
            (_, Phase::Down) => {}
            (Wire::Opened, Phase::Waiting) => {
                self.phase = Phase::Up;
                out.event(Event::LegUp);
            }
            (Wire::Close { code, .. }, _) => self.down(Down::Lost { code }, out),
            (Wire::Refused(_), _) => self.down(Down::Lost { code: 1006 }, out),
            (Wire::Text(_) | Wire::Binary(_) | Wire::Packet(_) | Wire::Quality(_), _) => out.event(Event::MessageDropped { reason: "no_wire" }),
            (Wire::Opened, Phase::Up) => {}
        }
        self.speak(now, out);
        Ok(())
    }

    fn on_command(&mut self, command: Command, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (command, self.phase) {
            (_, Phase::Down) => {}
            (Command::Hangup { code }, _) => {
                out.close(code, "");
                self.down(Down::HungUp, out);
            }
            (Command::Play(frame), Phase::Up) => self.hear(&frame, now, out),
            (Command::Flush, _) => self.hearing.forget(),
            (Command::Cancel, _) => self.stop(out),
            (Command::Respond { .. }, Phase::Up) => self.greet(now, out),
            // It has no memory that could be cut.
            (Command::Truncate(cut), _) => self.tell(|words, out| words.truncated(&cut, out), out),
            (Command::Tell(told), Phase::Up) => self.told(&told, now, out),
            (Command::Mark(_) | Command::Tell(_) | Command::EchoMark { .. } | Command::Press(_), _) => {}
            (Command::Play(_) | Command::Respond { .. }, Phase::Waiting) => {}
        }
        self.speak(now, out);
        Ok(())
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        self.speak(now, out);
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.answer.as_ref().map(|answer| answer.next_at)
    }
}

/// What was heard, and where the turn in it begins.
struct Hearing {
    ear: Ear,
    kept: Vec<u8>,
    /// Position of the first byte kept.
    kept_at: u64,
    turn_at: Option<u64>,
}

impl Hearing {
    fn new(silence: MediaTime) -> Self {
        let ear = Ear::new(Tuning { silence, ..Tuning::default() });
        Self { ear, kept: Vec::new(), kept_at: 0, turn_at: None }
    }

    fn push(&mut self, raw: &[u8]) -> Vec<Noticed> {
        self.bound();
        self.kept.extend_from_slice(raw);
        let mut noticed = Vec::new();
        self.ear.push(Format::PCMU, raw, |n| noticed.push(n));
        noticed
    }

    /// Of a turn the beginning is kept, of silence the end.
    fn bound(&mut self) {
        let most = if self.turn_at.is_some() { TURN_MAX } else { QUIET_MAX };
        let most = Format::PCMU.bytes_for(most).unwrap_or(0);
        let excess = self.kept.len().saturating_sub(most);
        if self.turn_at.is_some() {
            self.kept.truncate(most);
        } else if excess > most {
            // In steps, so that a long silence does not move the buffer for every frame.
            self.kept.drain(..excess);
            self.kept_at += excess as u64;
        }
    }

    fn turn_began(&mut self, at: MediaTime) {
        let at = samples(at.saturating_sub(LEAD_IN)).max(self.kept_at);
        self.turn_at = Some(at);
    }

    /// The turn that ended there, trimmed of the silence around it.
    fn take_turn(&mut self, ended_at: MediaTime) -> Bytes {
        let (from, to) = (self.turn_at.take().unwrap_or(self.kept_at), samples(ended_at + LEAD_OUT));
        let index = |at: u64| usize::try_from(at.saturating_sub(self.kept_at)).unwrap_or(usize::MAX);
        let most = Format::PCMU.bytes_for(TURN_MAX).unwrap_or(0);
        let from = index(from).min(self.kept.len());
        let to = index(to).clamp(from, self.kept.len()).min(from + most);
        let turn = Bytes::copy_from_slice(&self.kept[from..to]);
        self.forget();
        turn
    }

    fn forget(&mut self) {
        self.kept_at = samples(self.ear.heard());
        (self.kept, self.turn_at) = (Vec::new(), None);
    }
}

fn samples(at: MediaTime) -> u64 {
    at.samples(Format::PCMU.rate_hz)
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_core::Cut;

    const CALLER: &[u8] = include_bytes!("../../../fixtures/audio/caller-short.wav");
    const ORDER: &[u8] = include_bytes!("../../../fixtures/audio/caller-order.wav");

    /// A parrot that is stepped in frames of 20 ms.
    struct Aviary {
        parrot: Parrot,
        now: Instant,
        out: Outbox,
        played: Vec<u8>,
    }

    impl Aviary {
        fn new() -> Self {
            let parrot = Parrot::new(&Config::default());
            let mut aviary = Self { parrot, now: Instant::ZERO, out: Outbox::default(), played: Vec::new() };
            aviary.parrot.on_wire(Wire::Opened, aviary.now, &mut aviary.out).unwrap();
            aviary
        }

        fn command(&mut self, command: Command) {
            self.parrot.on_command(command, self.now, &mut self.out).unwrap();
        }

        fn frame(&mut self, ulaw: &[u8]) {
            self.played.extend_from_slice(ulaw);
            let payload = Payload::Raw(Bytes::copy_from_slice(ulaw));
            self.command(Command::Play(Frame::live(Format::PCMU, payload, MediaTime::ZERO)));
            let end = self.now + MediaTime::FRAME;
            while let Some(at) = self.parrot.poll_timeout().filter(|at| *at <= end) {
                self.now = at;
                self.parrot.on_timeout(at, &mut self.out).unwrap();
            }
            self.now = end;
        }

        fn talk(&mut self, wav: &[u8]) {
            let ulaw: Vec<u8> =
                wav[44..].chunks_exact(2).map(|b| encode(i16::from_le_bytes([b[0], b[1]]))).collect();
            ulaw.chunks(160).for_each(|frame| self.frame(frame));
        }

        fn quiet(&mut self, ms: usize) {
            (0..ms / 20).for_each(|_| self.frame(&[0xFF; 160]));
        }

        fn said(&self, utterance: u32) -> Vec<u8> {
            let of = |event: &Event| match event {
                Event::AudioReceived(frame) if frame.utterance == Some(UtteranceId(utterance)) => {
                    frame.payload.to_raw().to_vec()
                }
                _ => Vec::new(),
            };
            self.out.events.iter().flat_map(of).collect()
        }
    }

    /// The nearest code, by the definition.
    fn encode(sample: i16) -> u8 {
        let magnitude = sample.unsigned_abs().min(32_635) + 0x84;
        let segment = 8 - magnitude.leading_zeros();
        let step = u8::try_from((magnitude >> (segment + 3)) & 0x0F).unwrap();
        !(u8::from(sample < 0) << 7 | u8::try_from(segment).unwrap() << 4 | step)
    }

    #[test]
    fn it_greets_when_asked_faster_than_real_time() {
        let mut aviary = Aviary::new();
        aviary.command(Command::Respond { instructions: None });
        aviary.quiet(1_200);
        assert_eq!(aviary.said(0), GREETING);
        let events = &aviary.out.events;
        assert_eq!(events[..2], [Event::LegUp, Event::ResponseStarted]);
        let end = [Event::UtteranceEnded { utterance: UtteranceId(0) }, Event::ResponseEnded { completed: true }];
        assert_eq!(events[events.len() - 2..], end);
    }

    #[test]
    fn it_says_back_what_it_heard() {
        for wav in [CALLER, ORDER] {
            let mut aviary = Aviary::new();
            aviary.quiet(3_000);
            aviary.talk(wav);
            aviary.quiet(4_000);
            let said = aviary.said(0);
            let at = aviary.played.windows(said.len()).position(|part| part == said).expect("word for word");
            assert!(at >= 3_000 * 8 && said.len() < wav.len() / 2, "trimmed");
            assert!(said.len() > wav.len() / 2 - 600 * 8, "whole: {} of {}", said.len(), wav.len() / 2);
            let speech = |e: &Event| matches!(e, Event::SpeechStarted | Event::SpeechStopped);
            assert_eq!(aviary.out.events.iter().filter(|e| speech(e)).count(), 2);
        }
    }

    #[test]
    fn nothing_comes_of_an_answer_that_was_cancelled() {
        let mut aviary = Aviary::new();
        aviary.command(Command::Respond { instructions: None });
        aviary.quiet(200);
        let before = aviary.said(0).len();
        assert!(before > 0 && before < GREETING.len());
        aviary.command(Command::Cancel);
        let (utterance, heard) = (UtteranceId(0), MediaTime::from_ms(100));
        aviary.command(Command::Truncate(Cut { utterance, heard, sent: heard, received: heard }));
        aviary.quiet(2_000);
        assert_eq!(aviary.said(0).len(), before);
        assert_eq!(aviary.out.events.last(), Some(&Event::ResponseEnded { completed: false }));
        aviary.talk(CALLER);
        aviary.quiet(2_000);
        assert!(!aviary.said(1).is_empty(), "it goes on listening");
    }

    #[test]
    fn a_speech_without_end_is_bounded() {
        let mut aviary = Aviary::new();
        while aviary.now < Instant::from_micros(60_000_000) {
            // Without the silence at both ends of the file: one turn of a minute.
            aviary.talk(&ORDER[4_000..ORDER.len() - 6_000]);
            assert!(aviary.parrot.hearing.kept.len() <= 30 * 8_000 + 160);
        }
        aviary.quiet(8_000);
        let longest = (0..9).map(|n| aviary.said(n).len()).max().unwrap();
        assert!((20 * 8_000..=30 * 8_000).contains(&longest), "{longest}");
    }
}
