//! OpenAI's realtime API and its dialects: OpenAI GA, Azure OpenAI GA, Azure's dated preview, as configuration.
//!
//! Source: the types of `openai` npm 7.55.0 (2026-11-10), generated from OpenAI's specification, and Microsoft's
//! `realtime-audio-websockets.md`; gathered in `reference/realtime.md` with the traps met in the field.
//!
//! Life: `Opened` → `session.update` at once → `session.updated` → [`Event::LegUp`]. The caller's audio is appended as
//! it comes; the model's comes faster than real time, as utterances, one for each audio part of an item. What was said
//! is kept as text, and what was not answered as audio, so that [`Leg::successor`] can carry on over a new connection.

mod answering;
mod answers;
mod complaint;
mod config;
mod delta;
mod dialect;
mod fault;
mod history;
mod relay;
mod renewal;
mod speech;
mod turns;
mod unanswered;
mod unbilled;
mod usage;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{
    Caps, Command, Down, Event, Format, Frame, Instant, Leg, LegError, MediaTime, Outbox, Pacing,
    Payload, Role, Wire,
};
use serde_json::Value;

use self::answering::{Answering, Due, Instructions};
use crate::bucket::Bucket;
pub use self::config::{
    Auth, Config, Dialect, Eagerness, Effort, NoiseReduction, OPENAI_BASE_URL, Target, TurnDetection, target,
};
use self::history::History;
use self::relay::Relay;
use self::renewal::Owed;
use self::speech::{Speech, Taken};
use self::unanswered::Unanswered;
use self::unbilled::Unbilled;
use self::wire::{Kind, ServerEvent};
use crate::{ConfigError, EndpointDef, Media, Transport};

/// A realtime model at OpenAI, Azure, or a compatible provider.
pub static ENDPOINT: EndpointDef =
    EndpointDef { kind: "realtime", transport: Transport::Dialled, sends: FORMATS, receives: FORMATS, open };

/// What the API takes and gives, best first for a telephone.
const FORMATS: &[Format] = &[Format::PCMU, Format::PCMA, Format::L16_24K];

/// From `Opened` to `session.updated`.
const UP_WITHIN: Duration = Duration::from_secs(3);

fn open(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError> {
    let refuse = |reason| ConfigError { kind: ENDPOINT.kind, reason };
    let config = serde_json::from_value::<Config>(config.clone()).map_err(|e| refuse(e.to_string()))?;
    Ok(Box::new(Realtime::new(config, media).map_err(refuse)?))
}

/// One connection to a realtime model.
pub struct Realtime {
    setup: Arc<Setup>,
    phase: Phase,
    /// Ordinal of the ingress message.
    message: u64,
    /// Number of the last event id that we gave.
    sent: u32,
    answering: Answering,
    speech: Speech,
    history: History,
    unanswered: Unanswered,
    unbilled: Unbilled,
    owed: Owed,
    nonsense: Bucket,
    relay: Relay,
    /// Whether this leg carries on a conversation that began on another connection.
    renewed: bool,
    /// Whether the caller's audio since the last commit is enough to commit (without a detector of the provider's).
    uncommitted: MediaTime,
}

/// What changes only by the other side's wish, shared with successors.
struct Setup {
    config: Config,
    media: Media,
    /// Whether the provider noticed turns when the leg was made: `caps` must not change by itself.
    reports_speech: bool,
    /// Whether speech may stop the model by itself.
    interrupts: bool,
}

/// What audio belongs to, in the provider's names.
#[derive(Clone, Copy)]
struct Of<'a> {
    response: &'a str,
    item: &'a str,
    /// Which of the response's items.
    output: u32,
    /// Which of the item's parts.
    part: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dialling,
    /// `session.update` went out with this event id.
    Updating { event: u32, deadline: Instant },
    Up,
    Down { fatal: bool },
}

impl Realtime {
    /// # Errors
    /// What is wrong with the configuration, and what to write instead.
    pub fn new(config: Config, media: Media) -> Result<Self, String> {
        config.check()?;
        for format in [media.ingress, media.egress] {
            if !FORMATS.contains(&format) {
                return Err(format!("{format} is none of the API's formats"));
            }
        }
        let reports_speech = config.turn_detection != TurnDetection::None;
        let interrupts = config.turn_detection.interrupts();
        Ok(Self::fresh(Arc::new(Setup { config, media, reports_speech, interrupts })))
    }

    fn fresh(setup: Arc<Setup>) -> Self {
        Self {
            phase: Phase::Dialling,
            message: 0,
            sent: 0,
            answering: Answering::new(),
            speech: Speech::new(setup.media.ingress),
            history: History::default(),
            unanswered: Unanswered::new(setup.media.egress),
            unbilled: Unbilled::new(setup.config.instructions.as_deref()),
            owed: Owed::Nothing,
            nonsense: Bucket::new(),
            relay: Relay::default(),
            renewed: false,
            uncommitted: MediaTime::ZERO,
            setup,
        }
    }

    fn config(&self) -> &Config {
        &self.setup.config
    }

    fn next_event(&mut self) -> u32 {
        self.sent = self.sent.wrapping_add(1);
        self.sent
    }

    fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Down { .. })
    }

    fn reports_speech(&self) -> bool {
        self.config().turn_detection != TurnDetection::None
    }

    /// Ends the leg over an open transport.
    fn end(&mut self, down: Down, code: u16, out: &mut Outbox) {
        out.close(code, "");
        self.down(down, out);
    }

    fn down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down { fatal: matches!(down, Down::Fatal { .. } | Down::HungUp) };
        self.estimate_unbilled(out);
        out.event(Event::LegDown(down));
    }

    fn opened(&mut self, now: Instant, out: &mut Outbox) {
        if self.phase != Phase::Dialling {
            return;
        }
        let event = self.next_event();
        self.phase = Phase::Updating { event, deadline: now + UP_WITHIN };
        dialect::send(&dialect::session_update(self.config(), self.setup.media, event), out);
    }

    /// Drops a message that makes no sense; too many of them end the leg.
    fn drop_nonsense(&mut self, reason: &'static str, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        self.nonsense.drop_message(reason, self.message, now, out).inspect_err(|_| {
            self.phase = Phase::Down { fatal: false };
            self.estimate_unbilled(out);
        })
    }

    fn on_text(&mut self, text: &Bytes, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if let Some(delta) = delta::scan(text) {
            let of = Of { response: delta.response, item: delta.item, output: delta.output, part: delta.part };
            return self.on_audio(of, delta.audio, now, out);
        }
        match serde_json::from_slice::<ServerEvent>(text) {
            Ok(event) => {
                let pass = self.passes_on(&event);
                self.on_event(event, now, out)?;
                self.pass_on(pass, text, out);
                Ok(())
            }
            Err(_) => self.drop_nonsense("malformed_event", now, out),
        }
    }

    fn on_event(&mut self, event: ServerEvent, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        let kind = Kind::of(&event.name);
        if event.name.starts_with("response.") {
            self.answering.sign_of_life(now);
        }
        self.unbilled.connected(&event);
        match kind {
            Kind::Updated => self.updated(now, out),
            Kind::SpeechStarted => self.speech_started(out),
            Kind::SpeechStopped => self.speech_stopped(now, out),
            Kind::Committed => self.committed(&event, now, out),
            Kind::ItemAdded => self.item_added(&event, out),
            Kind::CallerSaid(piece) => self.caller_said(event, piece, out),
            Kind::ModelSaid(piece) => self.model_said(event, piece, out),
            Kind::ResponseCreated => self.response_created(&event, now, out),
            Kind::Audio => return self.audio_by_parser(event, now, out),
            Kind::AudioDone => self.audio_done(&event, out),
            Kind::ResponseDone => self.response_done(event, now, out),
            Kind::Error => self.on_error(&event.error.unwrap_or_default(), now, out),
            Kind::OfResponse | Kind::Ignored => {}
            Kind::Unknown => out.event(Event::MessageDropped { reason: "unknown_event" }),
        }
        Ok(())
    }

    // --- audio of the model ---

    fn audio_by_parser(&mut self, event: ServerEvent, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        let (Some(item), Some(delta)) = (event.item_id, event.delta) else {
            return self.drop_nonsense("malformed_event", now, out);
        };
        let response = event.response_id.unwrap_or_default();
        let audio = Bytes::from(String::from(delta));
        let (output, part) = (event.output_index.unwrap_or(0), event.content_index.unwrap_or(0));
        self.on_audio(Of { response: &response, item: &item, output, part }, audio, now, out)
    }

    fn on_audio(
        &mut self,
        of: Of<'_>,
        audio: Bytes,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), LegError> {
        let Ok(payload) = Payload::base64(audio) else {
            return self.drop_nonsense("bad_base64", now, out);
        };
        if !self.is_up() {
            return self.drop_nonsense("audio_before_session", now, out);
        }
        self.respect(of.response, now, out);
        self.unbilled.spoke(self.setup.media.ingress.duration_of(payload.len()));
        if self.answering.is_late(of.response) {
            out.event(Event::MessageDropped { reason: "late_delta" });
        } else if !payload.is_empty() {
            self.take_audio(of, payload, now, out);
        }
        Ok(())
    }

    fn take_audio(&mut self, of: Of<'_>, payload: Payload, now: Instant, out: &mut Outbox) {
        let Of { response, item, part, .. } = of;
        let format = self.setup.media.ingress;
        let (taken, forgotten) = self.speech.take(response, item, part, payload.len());
        if let Some(utterance) = forgotten {
            out.event(Event::UtteranceEnded { utterance });
        }
        let (utterance, pts) = match taken {
            Taken::Begun(utterance) => {
                self.history.place(item, part, Role::Model);
                self.unanswered.settled();
                self.owed.begun();
                out.event(Event::UtteranceStarted { utterance, item: item.into() });
                self.announce(utterance, of, out);
                (utterance, MediaTime::ZERO)
            }
            Taken::More(utterance, pts) => (utterance, pts),
            Taken::Late => return out.event(Event::MessageDropped { reason: "late_delta" }),
        };
        let frame = Frame::speech(format, payload, pts, utterance);
        self.answering.spoke(frame.duration, now);
        out.event(Event::AudioReceived(frame));
    }

    fn audio_done(&mut self, event: &ServerEvent, out: &mut Outbox) {
        let Some(item) = &event.item_id else { return };
        if let Some(utterance) = self.speech.end(item, event.content_index.unwrap_or(0)) {
            out.event(Event::UtteranceEnded { utterance });
        }
    }

    // --- commands ---

    fn play(&mut self, frame: &Frame, out: &mut Outbox) {
        if frame.format != self.setup.media.egress || frame.payload.is_empty() {
            return;
        }
        self.unanswered.push(&frame.payload);
        if self.is_up() {
            self.uncommitted += frame.duration;
            self.unbilled.heard(frame.duration);
            dialect::append(&frame.payload, out);
        }
    }

    fn respond(&mut self, instructions: Instructions, now: Instant, out: &mut Outbox) {
        self.owed = Owed::Asked(instructions.clone());
        if !self.is_up() {
            return;
        }
        self.commit_turn(out);
        self.ask(instructions, now, out);
    }

    /// Without a detector of the provider's, a turn ends when we ask for the answer. Less than 100 ms is refused.
    fn commit_turn(&mut self, out: &mut Outbox) {
        if !self.reports_speech() && self.uncommitted >= MediaTime::from_ms(100) {
            let event = self.next_event();
            dialect::send(&dialect::bare("input_audio_buffer.commit", event), out);
            self.uncommitted = MediaTime::ZERO;
        }
    }

    fn flush(&mut self, out: &mut Outbox) {
        self.unanswered.clear();
        self.uncommitted = MediaTime::ZERO;
        if self.is_up() {
            let event = self.next_event();
            dialect::send(&dialect::bare("input_audio_buffer.clear", event), out);
        }
    }

    /// Does what is due, so that no deadline is left in the past.
    fn catch_up(&mut self, now: Instant, out: &mut Outbox) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            match self.answering.due(now).filter(|_| self.is_up()) {
                Some(Due::Ask(instructions)) => self.ask(instructions, now, out),
                Some(Due::Nudge) => self.nudge(now, out),
                Some(Due::Lost) | None => self.end(Down::Lost { code: fault::LOST }, 1000, out),
            }
        }
    }

}

impl Leg for Realtime {
    fn caps(&self) -> Caps {
        Caps {
            ingress: self.setup.media.ingress,
            egress: self.setup.media.egress,
            pacing: Pacing::Live { latency_max: MediaTime::from_ms(200) },
            multiple: MediaTime::from_ms(1),
            can_clear: true,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: self.setup.reports_speech,
            can_cancel: true,
            can_truncate: true,
            answers: true,
            reports_heard: false,
        }
    }

    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.is_down() {
            return Ok(());
        }
        self.message += u64::from(matches!(wire, Wire::Text(_) | Wire::Binary(_)));
        match wire {
            Wire::Opened => self.opened(now, out),
            Wire::Text(text) => self.on_text(&text, now, out)?,
            Wire::Binary(_) => self.drop_nonsense("binary_message", now, out)?,
            Wire::Packet(_) | Wire::Quality(_) => {}
            Wire::Close { code, reason } => self.down(fault::down_by_close(code, &reason, self.is_up()), out),
            Wire::Refused(refusal) => self.down(fault::down_by_refusal(&refusal), out),
        }
        self.catch_up(now, out);
        Ok(())
    }

    fn on_command(&mut self, command: Command, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.is_down() {
            return Ok(());
        }
        match command {
            Command::Play(frame) => self.play(&frame, out),
            Command::Mark(_) | Command::EchoMark { .. } | Command::Press(_) => {}
            Command::Tell(told) => self.tell(&told, now, out),
            Command::Flush => self.flush(out),
            Command::Cancel => self.cancel(out),
            Command::Truncate(cut) => self.truncate(cut, out),
            Command::Respond { instructions } => self.respond(instructions, now, out),
            Command::Hangup { code } => self.end(Down::HungUp, code, out),
        }
        self.catch_up(now, out);
        Ok(())
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        self.catch_up(now, out);
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Updating { deadline, .. } => Some(deadline),
            Phase::Up => self.answering.poll_timeout(),
            Phase::Dialling | Phase::Down { .. } => None,
        }
    }

    fn successor(&self) -> Option<Box<dyn Leg>> {
        self.renew().map(|leg| Box::new(leg) as Box<dyn Leg>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_idle_leg_is_small() {
        assert!(size_of::<Realtime>() <= 1_024, "{} bytes", size_of::<Realtime>());
    }

    #[test]
    fn a_format_that_the_api_does_not_take_is_refused() {
        let media = Media { ingress: Format::L16_16K, egress: Format::PCMU };
        let Err(error) = (ENDPOINT.open)(&json!({"model": "m"}), media) else { panic!("opened") };
        assert!(error.to_string().contains("L16/16000"), "{error}");
    }
}
