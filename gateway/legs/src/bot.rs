//! A bot of ours, over whatever transport it chose: long HTTP requests, batches, or a WebSocket (`docs/adr`, "one leg for every
//! bot transport of our own").
//!
//! The wire, the same for all: audio as `Wire::Packet` or `Wire::Binary`, one Opus packet or any number of whole samples each;
//! events as JSON texts. From the bot: `clear`, `speech_started`, `mark`, `dtmf`, `transcript`; and `audio`, by which the transport
//! says which formats were agreed. To the bot: `mark`, `dtmf`, `cleared`, `transcript`, `call.ended`.
//!
//! A bot speaks as fast as it likes: what it says is speech towards the caller, of which nothing is dropped. What the caller says
//! reaches it live. **An utterance ends** when the bot has sent no audio for [`PAUSE`] and all it sent has had the time to play;
//! also with a `mark`, and with a `clear`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{
    Caps, Command, Down, Event, Fault, Format, Instant, Leg, LegError, MediaTime, Outbox, Pacing, Refusal, Role,
    Wire,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bucket::Bucket;
use crate::{ConfigError, EndpointDef, Media, Transport};

pub mod framing;
mod kind;
mod line;
mod message;
mod speech;
mod words;

pub use kind::Kind;
use line::Line;
pub use message::{Message, Nonsense};
use speech::Speech;
use words::Words;

/// A bot over HTTP or WebSocket.
pub static ENDPOINT: EndpointDef =
    EndpointDef { kind: "bot", transport: Transport::Accepted, sends: FORMATS, receives: FORMATS, open };

/// What a bot may send and take, as far as no caller is known: nothing is lost in the first.
pub const FORMATS: &[Format] =
    &[Format::OPUS, Format::PCMU, Format::PCMA, Format::L16_24K, Format::L16_16K, Format::L16_8K, Format::L16_48K];

/// A bot that sends nothing for this long pauses.
pub const PAUSE: Duration = Duration::from_millis(200);
/// After an interruption that the bot did not ask for, this much of what it goes on to say is not heard, unless it pauses.
const MUTED: Duration = Duration::from_secs(1);
/// Between people, audio later than this is dropped.
const LIVE_MAX: MediaTime = MediaTime::from_ms(200);
/// Sent ahead of what a bot hears, if it is spoken to by a machine.
const LEAD: MediaTime = MediaTime::from_ms(200);
const QUEUE_MAX: MediaTime = MediaTime::from_ms(120_000);
/// Marks that wait to be reached.
const MARKS_MAX: usize = 256;
/// A bot that cleared learns within this what was heard, if only that nothing was.
const CLEARED_WITHIN: Duration = Duration::from_millis(500);

/// What may be said about the leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the other side understands the realtime API's words.
    pub relays: bool,
    /// Whether the other side speaks faster than real time, so that it is paced towards the bot.
    pub paced: bool,
}

fn open(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError> {
    let refuse = |reason| ConfigError { kind: ENDPOINT.kind, reason };
    let config = serde_json::from_value::<Config>(config.clone()).map_err(|e| refuse(e.to_string()))?;
    if !FORMATS.contains(&media.ingress) || !FORMATS.contains(&media.egress) {
        return Err(refuse("a bot has opus/48000, PCMU/8000 or PCM16 at 8, 16, 24 or 48 kHz".into()));
    }
    Ok(Box::new(Bot::new(config, media)))
}

/// One bot on one call.
pub struct Bot {
    config: Config,
    phase: Phase,
    media: Media,
    speech: Speech,
    line: Line,
    /// Names of places in what the bot said, under the numbers that the call knows them by.
    marks: VecDeque<(u32, Box<str>)>,
    next_mark: u32,
    /// When the bot is told that nothing was heard, if nobody says otherwise before.
    cleared_by: Option<Instant>,
    words: Option<Words>,
    nonsense: Bucket,
    /// Ordinal of the ingress message.
    message: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Up,
    Down,
}

impl Bot {
    /// A bot that has still to accept. Formats are the ones it gets if it chooses none.
    #[must_use]
    pub fn new(config: Config, media: Media) -> Self {
        Self {
            phase: Phase::Waiting,
            media,
            speech: Speech::new(media.ingress, 0),
            line: Line::new(media.egress),
            marks: VecDeque::new(),
            next_mark: 0,
            cleared_by: None,
            words: config.relays.then(Words::default),
            nonsense: Bucket::new(),
            message: 0,
            config,
        }
    }

    fn on_audio(&mut self, audio: Bytes, now: Instant, out: &mut Outbox) {
        let begun = self.speech.take(audio, now, out);
        if let (Some(utterance), Some(words)) = (begun, &mut self.words) {
            words.begun(utterance, out);
        }
        // The announcement goes before the first frame.
        self.speech.give(out);
    }

    fn on_text(&mut self, text: &Bytes, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match Message::parse(text) {
            Ok(Message::Audio { receive, send }) => self.agree(receive, send, out),
            Ok(_) if self.phase == Phase::Waiting => out.event(Event::MessageDropped { reason: "early" }),
            Ok(Message::Clear { .. } | Message::SpeechStarted) => self.withdraw(now, out),
            Ok(Message::Mark { name }) => self.mark(name, out),
            Ok(Message::Dtmf { digits }) => digits.chars().for_each(|key| out.event(Event::DtmfReceived(key))),
            Ok(Message::Transcript { role, text, is_final }) => self.transcript(role.into(), text, is_final, out),
            Err(Nonsense(reason)) => {
                let dropped = self.nonsense.drop_message(reason, self.message, now, out);
                return dropped.inspect_err(|_| self.phase = Phase::Down);
            }
        }
        Ok(())
    }

    /// The formats are these from here on.
    fn agree(&mut self, receive: Option<Kind>, send: Option<Kind>, out: &mut Outbox) {
        let egress = receive.map_or(self.media.egress, Kind::format);
        let ingress = send.map_or(self.media.ingress, Kind::format);
        let media = Media { ingress, egress };
        if media == self.media {
            return;
        }
        if ingress != self.media.ingress {
            self.end_utterance(true, out);
            self.speech.renegotiate(ingress);
        }
        if egress != self.media.egress {
            self.line = Line::new(egress);
        }
        self.media = media;
        if self.phase == Phase::Up {
            out.event(Event::Renegotiated);
        }
    }

    /// What the caller has not heard is not to be said.
    fn withdraw(&mut self, now: Instant, out: &mut Outbox) {
        out.event(Event::Withdrawn);
        self.speech.withdraw(out);
        self.fall_silent("cancelled", out);
        self.cleared_by.get_or_insert(now + CLEARED_WITHIN);
    }

    /// The bot wants to know when the caller has heard what it said so far. What it says next is another utterance.
    fn mark(&mut self, name: Box<str>, out: &mut Outbox) {
        if self.marks.len() >= MARKS_MAX {
            return out.event(Event::MessageDropped { reason: "too_many_marks" });
        }
        self.end_utterance(true, out);
        let mark = self.next_mark;
        self.next_mark = mark.wrapping_add(1);
        self.marks.push_back((mark, name));
        out.event(Event::MarkPlaced(mark));
    }

    /// A mark is over: the bot is told of it if all before it was heard.
    fn mark_over(&mut self, mark: u32, was_played: bool, out: &mut Outbox) {
        let Some(index) = self.marks.iter().position(|(placed, _)| *placed == mark) else { return };
        if let Some((_, name)) = self.marks.remove(index).filter(|_| was_played) {
            message::tell(&serde_json::json!({ "type": "mark", "name": name }), out);
        }
    }

    fn transcript(&mut self, role: Role, text: Box<str>, is_final: bool, out: &mut Outbox) {
        if let Some(words) = &mut self.words {
            words.transcript(role, &text, is_final, out);
        }
        let item = match role {
            Role::Caller => "caller".into(),
            Role::Model => self.speech.newest().map_or_else(|| "bot".into(), speech::item_of),
        };
        out.event(Event::TranscriptReceived { role, item, text, is_final });
    }

    fn end_utterance(&mut self, is_whole: bool, out: &mut Outbox) {
        if self.speech.end(is_whole, out) {
            self.fall_silent("completed", out);
        }
    }

    fn fall_silent(&mut self, status: &'static str, out: &mut Outbox) {
        self.words.iter_mut().for_each(|words| words.ended(status, out));
    }

    /// The caller, or a key, cut what the bot said.
    fn cut(&mut self, now: Instant, out: &mut Outbox) {
        if self.speech.cut(now, out) {
            self.fall_silent("cancelled", out);
        }
    }

    fn tell_cleared(&mut self, heard: MediaTime, out: &mut Outbox) {
        self.cleared_by = None;
        message::tell(&serde_json::json!({ "type": "cleared", "heard_ms": heard.as_ms() }), out);
    }

    fn lost(&mut self, code: u16, out: &mut Outbox) {
        // What it would have said is owed, so that the caller hears something while it is sought again.
        if self.phase == Phase::Up && !self.speech.is_speaking() {
            out.event(Event::ResponseStarted);
        }
        self.down(Down::Lost { code }, out);
    }

    fn down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down;
        out.event(Event::LegDown(down));
    }

    fn refused(&mut self, refusal: &Refusal, out: &mut Outbox) {
        let (fault, code) = match refusal {
            Refusal::Status { status: 404, .. } => (Fault::TenantConfig, "bot_not_found"),
            _ => (Fault::PeerLost, "bot_unavailable"),
        };
        self.down(Down::Fatal { fault, code: code.into() }, out);
    }
}

impl Leg for Bot {
    fn caps(&self) -> Caps {
        let pacing = if self.config.paced {
            Pacing::Speech { lead: LEAD, queue_max: QUEUE_MAX }
        } else {
            Pacing::Live { latency_max: LIVE_MAX }
        };
        Caps {
            ingress: self.media.ingress,
            egress: self.media.egress,
            pacing,
            multiple: MediaTime::FRAME,
            can_clear: false,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: false,
            can_cancel: true,
            // It has no memory that we could cut; it is told what was heard, and does with it what it likes.
            can_truncate: true,
            answers: false,
            reports_heard: false,
        }
    }

    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        self.message += u64::from(matches!(wire, Wire::Text(_) | Wire::Binary(_) | Wire::Packet(_)));
        match (wire, self.phase) {
            (_, Phase::Down) => {}
            (Wire::Opened, Phase::Waiting) => {
                self.phase = Phase::Up;
                out.event(Event::LegUp);
            }
            (Wire::Opened, Phase::Up) | (Wire::Quality(_), _) => {}
            (Wire::Close { code: 1000, .. }, _) => self.down(Down::HungUp, out),
            (Wire::Close { code, .. }, _) => self.lost(code, out),
            (Wire::Refused(refusal), _) => self.refused(&refusal, out),
            (Wire::Text(text), _) => self.on_text(&text, now, out)?,
            (Wire::Packet(_) | Wire::Binary(_), Phase::Waiting) => {
                out.event(Event::MessageDropped { reason: "early" });
            }
            (Wire::Packet(packet), Phase::Up) if packet.codec != self.media.ingress.codec => {
                out.event(Event::MessageDropped { reason: "codec" });
            }
            (Wire::Packet(patchbay_core::Packet { payload, .. }) | Wire::Binary(payload), Phase::Up) => {
                self.on_audio(payload, now, out);
            }
        }
        self.on_timeout(now, out)
    }

    fn on_command(&mut self, command: Command, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (command, self.phase) {
            (_, Phase::Down) => {}
            (Command::Hangup { code }, _) => {
                out.close(code, "");
                self.down(Down::HungUp, out);
            }
            (_, Phase::Waiting) => {}
            (Command::Play(frame), Phase::Up) if frame.format == self.media.egress => {
                out.wire(Wire::Packet(self.line.packet(&frame)));
            }
            (Command::Play(_), Phase::Up) => out.event(Event::MessageDropped { reason: "format" }),
            (Command::Cancel, Phase::Up) => self.cut(now, out),
            (Command::Truncate(cut), Phase::Up) => {
                if self.speech.is_of(cut.utterance) {
                    self.cut(now, out);
                }
                self.words.iter_mut().for_each(|words| words.truncated(&cut, out));
                if cut.heard.is_zero() {
                    self.cleared_by.get_or_insert(now + CLEARED_WITHIN);
                } else {
                    self.tell_cleared(cut.heard, out);
                }
            }
            (Command::EchoMark { mark, played }, Phase::Up) => self.mark_over(mark, played, out),
            (Command::Press(key), Phase::Up) => {
                message::tell(&serde_json::json!({ "type": "dtmf", "digit": key.to_string() }), out);
            }
            (Command::Tell(told), Phase::Up) => {
                self.words.iter_mut().for_each(|words| words.on_told(&told, out));
            }
            // What it says is its own business, and it is not asked for marks: it plays nothing that we pace by.
            (Command::Respond { .. } | Command::Mark(_) | Command::Flush, Phase::Up) => {}
        }
        self.on_timeout(now, out)
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.phase == Phase::Up {
            if self.speech.is_over(now) {
                self.end_utterance(true, out);
            }
            if self.cleared_by.is_some_and(|at| at <= now) {
                self.tell_cleared(MediaTime::ZERO, out);
            }
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = [self.speech.ends_at(), self.cleared_by];
        if self.phase == Phase::Up { own.into_iter().flatten().min() } else { None }
    }

    /// The call is offered again: to another instance of the bot, or to the same one when it is back.
    fn successor(&self) -> Option<Box<dyn Leg>> {
        let mut next = Self::new(self.config.clone(), self.media);
        next.speech = Speech::new(self.media.ingress, self.speech.next());
        Some(Box::new(next))
    }
}

#[cfg(test)]
mod tests;
