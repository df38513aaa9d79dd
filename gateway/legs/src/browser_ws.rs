//! A browser or a server that speaks OpenAI's realtime protocol over a WebSocket that it opens to us: audio as base64 in JSON
//! events, as the official SDKs send it (`reference/browser.md` §2).
//!
//! What the events mean is [`ClientEvents`]'s; here is what a leg is: up when the socket is, the audio handed over as soon as it
//! comes, since such a client keeps what it has not played, and the end said in words before the socket is closed.

use patchbay_core::{
    Caps, Command, Down, Event, Fault, Instant, Leg, LegError, MediaTime, Outbox, Pacing, Wire,
};
use serde_json::Value;

use crate::bucket::Bucket;
use crate::client_events::{ClientEvents, Config, FORMATS, Sense};
use crate::{ConfigError, EndpointDef, Media, Transport};

/// A client of the realtime API over WebSocket.
pub static ENDPOINT: EndpointDef =
    EndpointDef { kind: "browser_ws", transport: Transport::Accepted, sends: FORMATS, receives: FORMATS, open };

/// What the client may have of one conversation and not have played; then the model is not read.
const KEPT_MAX: MediaTime = MediaTime::from_ms(120_000);

fn open(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError> {
    let refuse = |reason| ConfigError { kind: ENDPOINT.kind, reason };
    let config = serde_json::from_value::<Config>(config.clone()).map_err(|e| refuse(e.to_string()))?;
    if !FORMATS.contains(&media.ingress) || !FORMATS.contains(&media.egress) {
        return Err(refuse("the protocol has 24 kHz PCM16, PCMU and PCMA".into()));
    }
    Ok(Box::new(BrowserWs::new(config, media)))
}

/// One client on one socket.
pub struct BrowserWs {
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

impl BrowserWs {
    /// A client that has still to come.
    #[must_use]
    pub fn new(config: Config, media: Media) -> Self {
        let client = ClientEvents::in_band(config, media);
        Self { client, phase: Phase::Waiting, nonsense: Bucket::new(), message: 0 }
    }

    fn opened(&mut self, out: &mut Outbox) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Up;
            self.client.opened(out);
            out.event(Event::LegUp);
        }
    }

    fn on_text(&mut self, text: &bytes::Bytes, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.phase != Phase::Up || self.client.on_message(text, out) == Sense::Some {
            return Ok(());
        }
        let dropped = self.nonsense.drop_message("malformed_event", self.message, now, out);
        dropped.inspect_err(|_| self.phase = Phase::Down)
    }

    fn end(&mut self, down: Down, code: u16, reason: &str, out: &mut Outbox) {
        out.close(code, reason);
        self.down(down, out);
    }

    fn down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down;
        out.event(Event::LegDown(down));
    }

    /// The close code alone tells a client's program what to do; a person who reads its log wants words.
    fn hang_up(&mut self, code: u16, out: &mut Outbox) {
        let words = match code {
            1008 => Some(("spend_limit_reached", "The budget for this conversation is used up.")),
            1013 => Some(("overloaded", "There is too much to do at the moment; try again soon.")),
            1000 | 1001 => None,
            _ => Some(("model_unreachable", "The model cannot be reached.")),
        };
        if let Some((name, message)) = words.filter(|_| self.phase == Phase::Up) {
            self.client.failed(name, message, out);
        }
        self.end(Down::HungUp, code, "", out);
    }
}

impl Leg for BrowserWs {
    fn caps(&self) -> Caps {
        let media = self.client.media();
        Caps {
            ingress: media.ingress,
            egress: media.egress,
            pacing: Pacing::Speech { lead: KEPT_MAX, queue_max: KEPT_MAX },
            multiple: MediaTime::from_ms(1),
            can_clear: true,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: false,
            can_cancel: false,
            can_truncate: false,
            answers: false,
            reports_heard: true,
        }
    }

    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.phase == Phase::Down {
            return Ok(());
        }
        self.message += u64::from(matches!(wire, Wire::Text(_) | Wire::Binary(_)));
        match wire {
            Wire::Opened => self.opened(out),
            Wire::Text(text) => self.on_text(&text, now, out)?,
            Wire::Binary(_) => {
                self.client.failed("binary_message", "Messages are text: audio is base64 in JSON.", out);
                let code: Box<str> = "binary_message".into();
                self.end(Down::Fatal { fault: Fault::PeerIncompatible, code }, 1003, "messages are text", out);
            }
            // Its transport is a WebSocket.
            Wire::Packet(_) | Wire::Quality(_) => {}
            Wire::Close { code: 1000 | 1001 | 1005, .. } => self.down(Down::HungUp, out),
            Wire::Close { code, .. } => self.down(Down::Lost { code }, out),
            Wire::Refused(_) => self.down(Down::Lost { code: 1006 }, out),
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command, _now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (command, self.phase) {
            (_, Phase::Down) => {}
            (Command::Hangup { code }, _) => self.hang_up(code, out),
            (Command::Play(frame), Phase::Up) if frame.format == self.client.media().egress => {
                self.client.play(&frame, out);
            }
            (Command::Flush, Phase::Up) => self.client.cleared(out),
            (Command::Tell(told), Phase::Up) => self.client.on_told(&told, out),
            _ => {}
        }
        Ok(())
    }
}
