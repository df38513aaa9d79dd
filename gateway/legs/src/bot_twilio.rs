//! A bot that was written for Twilio's Media Streams: here we are Twilio. We dial its address, and it is told of the call as of
//! a phone call.
//!
//! <https://www.twilio.com/docs/voice/media-streams/websocket-messages>, read 2026-11. Out: `connected start media dtmf mark
//! stop`; in: `media mark clear`. The bot may send faster than real time; what it sent is played in order, a mark is echoed
//! when all before it was played, and at once, with all others, when the bot clears. It hangs up by closing its socket.

mod message;
mod saying;
mod speech;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use patchbay_core::{
    Caps, Command, Down, Event, Fault, Format, Frame, Instant, Leg, LegError, MediaTime, Outbox, Pacing,
    Payload, Reframer, Refusal, Wire,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::message::Message;
pub use self::saying::{Saying, Start};
use self::speech::Speech;
use crate::bucket::Bucket;
use crate::ear::{Ear, Noticed, Tuning};
use crate::{ConfigError, EndpointDef, Media, Transport};

/// A bot that speaks Twilio's protocol.
pub static ENDPOINT: EndpointDef =
    EndpointDef { kind: "bot_twilio", transport: Transport::Dialled, sends: FORMATS, receives: FORMATS, open };

/// Every bot so far was written for this.
const FORMATS: &[Format] = &[Format::PCMU];
/// Marks of the bot's that may be under way.
const MARKS_MAX: usize = 1000;
/// Timestamps of a stream begin here: never at 0, which samples in JavaScript take for none.
const FIRST_MS: u64 = 20;
/// Less than this is no hole in the caller's audio.
const HOLE_MS: u64 = 60;
const FRAME_MS: u64 = 20;

/// What a bot is told of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `MZ…`
    pub stream_sid: String,
    /// `CA…`: of the phone call, if it is one.
    pub call_sid: String,
    /// `AC…`
    pub account_sid: String,
    /// `customParameters`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Whether what it says is told in the realtime API's words too.
    #[serde(default)]
    pub relays: bool,
}

fn open(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError> {
    let refuse = |reason| ConfigError { kind: ENDPOINT.kind, reason };
    let config = serde_json::from_value::<Config>(config.clone()).map_err(|e| refuse(e.to_string()))?;
    if (media.ingress, media.egress) != (Format::PCMU, Format::PCMU) {
        return Err(refuse("a bot of Twilio's protocol speaks and hears PCMU at 8 kHz only".into()));
    }
    Ok(Box::new(BotTwilio::new(config)))
}

/// One bot on one call.
pub struct BotTwilio {
    config: Config,
    phase: Phase,
    speech: Speech,
    marks: Marks,
    /// The caller's audio, whose last piece may not be whole yet.
    pieces: Pieces,
    /// Listens for the caller while the bot owes the first word: whoever speaks first, it is owed no more.
    ear: Option<Ear>,
    nonsense: Bucket,
    /// Ordinal of the ingress message.
    message: u64,
}

enum Phase {
    Dialling,
    Live { saying: Saying, since: Instant, next_ms: u64 },
    Down,
}

/// The bot's marks that were not echoed, by the number that the call knows them by.
#[derive(Default)]
struct Marks {
    next: u32,
    names: VecDeque<(u32, Box<str>)>,
}

impl BotTwilio {
    /// A bot that has still to be dialled.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            phase: Phase::Dialling,
            speech: Speech::new(config.relays),
            marks: Marks::default(),
            pieces: Pieces(Reframer::new(Format::PCMU, MediaTime::FRAME, MediaTime::FRAME)),
            ear: None,
            nonsense: Bucket::new(),
            message: 0,
            config,
        }
    }

    fn opened(&mut self, now: Instant, out: &mut Outbox) {
        if !matches!(self.phase, Phase::Dialling) {
            return;
        }
        let Config { stream_sid, call_sid, account_sid, parameters, .. } = &self.config;
        let mut saying = Saying::new(stream_sid);
        out.wire(Wire::Text(Bytes::from_static(Saying::CONNECTED.as_bytes())));
        let start = Start { account_sid, call_sid, format: Format::PCMU, parameters };
        out.text(|text| saying.start(&start, text));
        self.phase = Phase::Live { saying, since: now, next_ms: 0 };
        out.event(Event::LegUp);
    }

    fn on_text(&mut self, text: &Bytes, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        let understood = match Message::parse(text, &self.config.stream_sid) {
            Ok(Message::Media(payload)) => self.on_media(text, payload, now, out),
            Ok(Message::Mark(name)) => self.on_mark(&name, out),
            Ok(Message::Clear) => {
                self.on_clear(out);
                Ok(())
            }
            Err(reason) => Err(reason),
        };
        understood.or_else(|reason| self.drop_nonsense(reason, now, out))
    }

    fn on_media(
        &mut self,
        text: &Bytes,
        payload: std::borrow::Cow<'_, str>,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), &'static str> {
        let bytes = match payload {
            std::borrow::Cow::Borrowed(payload) => text.slice_ref(payload.as_bytes()),
            std::borrow::Cow::Owned(payload) => Bytes::copy_from_slice(payload.as_bytes()),
        };
        let payload = Payload::base64(bytes).map_err(|_| "bad_base64")?;
        if payload.is_empty() {
            return Err("empty_payload");
        }
        self.ear = None;
        self.speech.take(payload, now, out);
        Ok(())
    }

    fn on_mark(&mut self, name: &str, out: &mut Outbox) -> Result<(), &'static str> {
        if self.marks.names.len() >= MARKS_MAX {
            return Err("too_many_marks");
        }
        let mark = self.marks.next;
        self.marks.next = mark.wrapping_add(1);
        self.marks.names.push_back((mark, name.into()));
        out.event(Event::MarkPlaced(mark));
        Ok(())
    }

    /// Everything that waits is dropped, and every mark with it is echoed: the call does both.
    fn on_clear(&mut self, out: &mut Outbox) {
        self.speech.end(false, out);
        out.event(Event::Withdrawn);
        if let Phase::Live { next_ms, .. } = self.phase {
            self.speech.interrupted(MediaTime::from_ms(next_ms), out);
        }
    }

    fn drop_nonsense(&mut self, reason: &'static str, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        self.nonsense
            .drop_message(reason, self.message, now, out)
            .inspect_err(|_| self.phase = Phase::Down)
    }

    fn play(&mut self, frame: &Frame, now: Instant, out: &mut Outbox) {
        let Phase::Live { saying, since, next_ms } = &mut self.phase else { return };
        if frame.format != Format::PCMU || frame.payload.is_empty() {
            return;
        }
        let passed = u64::try_from(now.saturating_since(*since).as_millis()).unwrap_or(u64::MAX);
        if passed > *next_ms + HOLE_MS {
            *next_ms = passed / FRAME_MS * FRAME_MS;
        }
        self.pieces.push(&frame.payload, |piece| {
            out.text(|text| saying.media(FIRST_MS + *next_ms, piece, text));
            *next_ms += FRAME_MS;
        });
        self.listen(frame, out);
    }

    /// Looks whether the caller takes the first word.
    fn listen(&mut self, frame: &Frame, out: &mut Outbox) {
        let Some(ear) = &mut self.ear else { return };
        let mut speaks = false;
        ear.push(frame.format, &frame.payload.to_raw(), |noticed| {
            speaks |= matches!(noticed, Noticed::Began(_));
        });
        if speaks {
            self.ear = None;
            out.event(Event::ResponseEnded { completed: false });
        }
    }

    fn echo(&mut self, mark: u32, out: &mut Outbox) {
        let Phase::Live { saying, .. } = &mut self.phase else { return };
        let Some(index) = self.marks.names.iter().position(|(known, _)| *known == mark) else { return };
        if let Some((_, name)) = self.marks.names.remove(index) {
            out.text(|text| saying.mark(&name, text));
        }
    }

    fn hang_up(&mut self, code: u16, out: &mut Outbox) {
        if let Phase::Live { saying, .. } = &mut self.phase {
            let Config { account_sid, call_sid, .. } = &self.config;
            out.text(|text| saying.stop(account_sid, call_sid, text));
        }
        out.close(code, "");
        self.down(Down::HungUp, out);
    }

    fn down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down;
        out.event(Event::LegDown(down));
    }
}

impl Leg for BotTwilio {
    fn caps(&self) -> Caps {
        Caps {
            ingress: Format::PCMU,
            egress: Format::PCMU,
            pacing: Pacing::Live { latency_max: MediaTime::from_ms(200) },
            multiple: MediaTime::FRAME,
            // It is sent audio in real time, and keeps it to itself.
            can_clear: false,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: false,
            can_cancel: true,
            can_truncate: true,
            answers: false,
            reports_heard: false,
        }
    }

    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if matches!(self.phase, Phase::Down) {
            return Ok(());
        }
        self.message += u64::from(matches!(wire, Wire::Text(_) | Wire::Binary(_)));
        match wire {
            Wire::Opened => self.opened(now, out),
            Wire::Text(_) | Wire::Binary(_) if matches!(self.phase, Phase::Dialling) => {
                self.drop_nonsense("before_start", now, out)?;
            }
            Wire::Text(text) => self.on_text(&text, now, out)?,
            Wire::Binary(_) => self.drop_nonsense("binary", now, out)?,
            Wire::Packet(_) | Wire::Quality(_) => {}
            Wire::Close { code: 1000 | 1001 | 1005, .. } => {
                self.speech.end(true, out);
                self.down(Down::HungUp, out);
            }
            Wire::Close { code, .. } => self.down(Down::Lost { code }, out),
            Wire::Refused(refusal) => self.down(down_by(&refusal), out),
        }
        self.on_timeout(now, out)
    }

    fn on_command(&mut self, command: Command, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (command, &mut self.phase) {
            (_, Phase::Down) => return Ok(()),
            (Command::Play(frame), _) => self.play(&frame, now, out),
            (Command::EchoMark { mark, .. }, _) => self.echo(mark, out),
            (Command::Press(key), Phase::Live { saying, .. }) => out.text(|text| saying.dtmf(key, text)),
            (Command::Hangup { code }, _) => self.hang_up(code, out),
            (Command::Cancel, _) => self.speech.cut(now),
            (Command::Truncate(cut), _) => {
                self.speech.cut(now);
                self.speech.tell(|words, out| words.truncated(&cut, out), out);
            }
            // A bot begins to speak when it likes; that it was expected to is the call's to remember.
            (Command::Respond { .. }, _) => self.ear = Some(Ear::new(Tuning::default())),
            (Command::Mark(_) | Command::Flush | Command::Tell(_) | Command::Press(_), _) => {}
        }
        self.on_timeout(now, out)
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if !matches!(self.phase, Phase::Down) {
            self.speech.on_timeout(now, out);
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.speech.poll_timeout().filter(|_| matches!(self.phase, Phase::Live { .. }))
    }

    /// Twilio does not dial a bot again that it has lost, and the bot would know nothing of the call; but one that was never
    /// reached may be there at the next try.
    fn successor(&self) -> Option<Box<dyn Leg>> {
        let was_reached = self.message > 0 || matches!(self.phase, Phase::Live { .. });
        (!was_reached).then(|| Box::new(Self::new(self.config.clone())) as Box<dyn Leg>)
    }
}

/// The caller's audio in pieces of 20 ms, as Twilio sends it: bots count on it. What is one stays in the form that it came in.
struct Pieces(Reframer);

impl Pieces {
    fn push(&mut self, payload: &Payload, mut piece: impl FnMut(&Payload)) {
        let whole = Format::PCMU.bytes_for(MediaTime::FRAME).unwrap_or(1);
        if payload.len() == whole && self.0.held().is_zero() {
            return piece(payload);
        }
        self.0.push(payload.to_raw(), |chunk| piece(&Payload::Raw(chunk)));
    }
}

/// What a refused upgrade means: an address or a token that is wrong will be wrong at the next try too.
fn down_by(refusal: &Refusal) -> Down {
    let fatal = |code: &str| Down::Fatal { fault: Fault::TenantConfig, code: code.into() };
    match refusal {
        Refusal::Status { status: 408 | 425 | 429 | 500.., retry_after } => {
            Down::Refused { retry_after: *retry_after }
        }
        Refusal::Status { status: 401 | 403, .. } => fatal("bot_refused_the_signature"),
        Refusal::Status { .. } => fatal("bot_refused_the_stream"),
        Refusal::Tls => fatal("bot_tls"),
        Refusal::Unreachable | Refusal::Timeout => Down::Lost { code: 1006 },
    }
}
