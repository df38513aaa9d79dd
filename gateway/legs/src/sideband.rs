//! A server that steers a call whose audio goes elsewhere: OpenAI's realtime protocol over a WebSocket that it opens to us with
//! `?call_id=` (`reference/realtime.md` §1.1). It reads every event of the model, and says what it likes to it.
//!
//! Before it comes, this leg notes the settings, so that it is told those that hold.

use patchbay_core::{
    Caps, Command, Down, Event, Fault, Instant, Leg, LegError, MediaTime, Outbox, Pacing, Wire,
};
use serde_json::Value;

use crate::bucket::Bucket;
use crate::client_events::{ClientEvents, Config, FORMATS, Sense};
use crate::{ConfigError, EndpointDef, Media, Transport};

/// A server that steers from aside.
pub static ENDPOINT: EndpointDef =
    EndpointDef { kind: "sideband", transport: Transport::Accepted, sends: FORMATS, receives: FORMATS, open };

fn open(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError> {
    let refuse = |error: serde_json::Error| ConfigError { kind: ENDPOINT.kind, reason: error.to_string() };
    let config = serde_json::from_value::<Config>(config.clone()).map_err(refuse)?;
    Ok(Box::new(Sideband::new(ClientEvents::beside(config, media))))
}

/// One server on one socket.
pub struct Sideband {
    client: ClientEvents,
    phase: Phase,
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

impl Sideband {
    fn new(client: ClientEvents) -> Self {
        Self { client, phase: Phase::Waiting, nonsense: Bucket::new(), message: 0 }
    }

    fn on_text(&mut self, text: &bytes::Bytes, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.phase != Phase::Up || self.client.on_message(text, out) == Sense::Some {
            return Ok(());
        }
        let dropped = self.nonsense.drop_message("malformed_event", self.message, now, out);
        dropped.inspect_err(|_| self.phase = Phase::Down)
    }

    fn down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down;
        out.event(Event::LegDown(down));
    }
}

impl Leg for Sideband {
    fn caps(&self) -> Caps {
        let media = self.client.media();
        Caps {
            ingress: media.ingress,
            egress: media.egress,
            pacing: Pacing::Live { latency_max: MediaTime::ZERO },
            multiple: MediaTime::from_ms(1),
            can_clear: false,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: false,
            can_cancel: false,
            can_truncate: false,
            answers: false,
            reports_heard: false,
        }
    }

    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.phase == Phase::Down {
            return Ok(());
        }
        self.message += u64::from(matches!(wire, Wire::Text(_) | Wire::Binary(_)));
        match wire {
            Wire::Opened if self.phase == Phase::Waiting => {
                self.phase = Phase::Up;
                self.client.opened(out);
                out.event(Event::LegUp);
            }
            Wire::Text(text) => self.on_text(&text, now, out)?,
            Wire::Binary(_) => {
                self.client.failed("binary_message", "Messages are text: the call's audio goes elsewhere.", out);
                out.close(1003, "messages are text");
                self.down(Down::Fatal { fault: Fault::PeerIncompatible, code: "binary_message".into() }, out);
            }
            Wire::Close { code: 1000 | 1001 | 1005, .. } => self.down(Down::HungUp, out),
            Wire::Close { code, .. } => self.down(Down::Lost { code }, out),
            Wire::Refused(_) => self.down(Down::Lost { code: 1006 }, out),
            Wire::Opened | Wire::Packet(_) | Wire::Quality(_) => {}
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command, _now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (command, self.phase) {
            (Command::Tell(told), Phase::Up) => self.client.on_told(&told, out),
            (Command::Tell(told), Phase::Waiting) => self.client.note(&told),
            (Command::Hangup { code }, Phase::Waiting | Phase::Up) => {
                out.close(code, "");
                self.down(Down::HungUp, out);
            }
            _ => {}
        }
        Ok(())
    }

    fn successor(&self) -> Option<Box<dyn Leg>> {
        Some(Box::new(Self::new(self.client.renewed())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_core::{Format, Told};
    use serde_json::json;

    const MEDIA: Media = Media { ingress: Format::PCMU, egress: Format::PCMU };

    fn leg() -> Box<dyn Leg> {
        let config = json!({ "session": { "id": "sess_1", "instructions": "Be kind." }, "policy": "all" });
        open(&config, MEDIA).unwrap()
    }

    fn texts(out: &mut Outbox) -> Vec<Value> {
        out.wires
            .drain(..)
            .filter_map(|wire| match wire {
                Wire::Text(text) => Some(serde_json::from_slice(&text).unwrap()),
                _ => None,
            })
            .collect()
    }

    fn tell(leg: &mut dyn Leg, event: &Value, out: &mut Outbox) {
        let told = Told::event(event.to_string().into());
        leg.on_command(Command::Tell(told), Instant::ZERO, out).unwrap();
    }

    #[test]
    fn who_comes_late_is_told_the_settings_that_hold_and_then_every_event() {
        let (mut leg, mut out) = (leg(), Outbox::default());
        tell(&mut *leg, &json!({ "type": "response.created", "response": { "id": "resp_1" } }), &mut out);
        let settings = json!({ "type": "session.updated", "session": { "instructions": "Be brief." } });
        tell(&mut *leg, &settings, &mut out);
        assert_eq!(out.wires, [], "nobody is there");
        leg.on_wire(Wire::Opened, Instant::ZERO, &mut out).unwrap();
        let told = texts(&mut out);
        assert_eq!((&told[0]["type"], &told[0]["session"]["instructions"]), (&json!("session.created"), &json!("Be brief.")));
        tell(&mut *leg, &json!({ "type": "response.done", "response": { "id": "resp_1" } }), &mut out);
        assert_eq!(texts(&mut out)[0]["type"], "response.done");
        let mut next = leg.successor().unwrap();
        next.on_wire(Wire::Opened, Instant::ZERO, &mut out).unwrap();
        assert_eq!(texts(&mut out)[0]["session"]["instructions"], "Be brief.");
    }

    #[test]
    fn what_it_says_goes_on_and_audio_is_refused() {
        let (mut leg, mut out) = (leg(), Outbox::default());
        leg.on_wire(Wire::Opened, Instant::ZERO, &mut out).unwrap();
        out = Outbox::default();
        let say = |leg: &mut dyn Leg, event: Value, out: &mut Outbox| {
            leg.on_wire(Wire::Text(event.to_string().into()), Instant::ZERO, out).unwrap();
        };
        say(&mut *leg, json!({ "type": "response.create" }), &mut out);
        assert!(matches!(&out.events[..], [Event::Told(_)]), "{:?}", out.events);
        say(&mut *leg, json!({ "type": "input_audio_buffer.append", "audio": "AAAA", "event_id": "e7" }), &mut out);
        let error = &texts(&mut out)[0]["error"];
        assert_eq!((&error["code"], out.events.len()), (&json!("invalid_value"), 1));
    }
}
