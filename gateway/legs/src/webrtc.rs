//! A browser over WebRTC: audio in RTP packets (RFC 3550, 7587 for Opus), realtime events on the data channel `oai-events`
//! (<https://platform.openai.com/docs/guides/realtime-webrtc>, November 2026).
//!
//! ICE, DTLS, SRTP and SCTP belong to the transport, as TLS does for WebSockets: handshakes are random, and a call replays
//! bit for bit. What comes here are packets and texts, as the peer meant them.

use bytes::Bytes;
use patchbay_core::{
    Caps, Codec, Command, Down, Event, Format, Instant, Leg, LegError, MediaTime, Outbox, Pacing, Quality,
    UtteranceId, Wire,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bucket::Bucket;
use crate::client_events::{self, ClientEvents, Sense};
use crate::{ConfigError, EndpointDef, Media, Transport};

mod egress;
mod hearing;
mod ingress;

use egress::Egress;
use hearing::Hearing;
use ingress::Ingress;

/// A browser, or whatever else speaks WebRTC.
pub static ENDPOINT: EndpointDef =
    EndpointDef { kind: "webrtc", transport: Transport::Accepted, sends: FORMATS, receives: FORMATS, open };

const FORMATS: &[Format] = &[Format::OPUS, Format::PCMU];

/// Sent ahead of what the listener hears: it rides out a late timer, and little is still on its way at a flush.
const LEAD: MediaTime = MediaTime::from_ms(60);
/// Speech that waits; beyond it the model is not read.
const QUEUE_MAX: MediaTime = MediaTime::from_ms(120_000);
/// Between two people, audio that is later than this is dropped.
const LIVE_MAX: MediaTime = MediaTime::from_ms(200);

/// What the events say of the audio: it has no other name there.
const SHOWN: Media = Media { ingress: Format::L16_24K, egress: Format::L16_24K };

/// What may be said about the leg.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is told and may be chosen on the data channel; without it, nothing is said there.
    pub events: Option<client_events::Config>,
    /// The other side is a person too: what they say is passed on at once, and never piles up.
    pub live: bool,
}

fn open(config: &Value, media: Media) -> Result<Box<dyn Leg>, ConfigError> {
    let refuse = |reason| ConfigError { kind: ENDPOINT.kind, reason };
    let config = serde_json::from_value::<Config>(config.clone()).map_err(|e| refuse(e.to_string()))?;
    if !FORMATS.contains(&media.ingress) || !FORMATS.contains(&media.egress) {
        return Err(refuse("WebRTC carries opus/48000 or PCMU/8000".into()));
    }
    Ok(Box::new(WebRtc::new(&config, media)))
}

/// One browser on one call.
pub struct WebRtc {
    phase: Phase,
    live: bool,
    media: Media,
    ingress: Ingress,
    egress: Egress,
    hearing: Hearing,
    client: Option<ClientEvents>,
    /// The listener has something to hear, as far as it was told.
    is_playing: bool,
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

impl WebRtc {
    /// A leg that waits for its transport. Formats are what the two descriptions agreed on.
    #[must_use]
    pub fn new(config: &Config, media: Media) -> Self {
        Self {
            phase: Phase::Waiting,
            live: config.live,
            media,
            ingress: Ingress::new(media.ingress),
            egress: Egress::new(media.egress),
            hearing: Hearing::default(),
            client: config.events.clone().map(|events| ClientEvents::beside(events, SHOWN)),
            is_playing: false,
            nonsense: Bucket::new(),
            message: 0,
        }
    }

    fn down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down;
        out.event(Event::LegDown(down));
    }

    fn starts(&mut self, utterance: UtteranceId, out: &mut Outbox) {
        self.is_playing = true;
        self.client.iter_mut().for_each(|client| client.started(utterance, out));
    }

    fn on_text(&mut self, text: &Bytes, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        let Some(client) = &mut self.client else {
            out.event(Event::MessageDropped { reason: "no_events" });
            return Ok(());
        };
        if self.phase == Phase::Waiting || client.on_message(text, out) == Sense::Some {
            return Ok(());
        }
        let dropped = self.nonsense.drop_message("malformed_event", self.message, now, out);
        dropped.inspect_err(|_| self.phase = Phase::Down)
    }

    fn heard_all_at(&self) -> Instant {
        self.hearing.heard_at(self.egress.dry_at())
    }

    fn report(&mut self, quality: Quality, out: &mut Outbox) {
        self.hearing.heed(&quality);
        out.event(Event::QualityReported(quality));
    }
}

impl Leg for WebRtc {
    fn caps(&self) -> Caps {
        let pacing = if self.live {
            Pacing::Live { latency_max: LIVE_MAX }
        } else {
            Pacing::Speech { lead: LEAD, queue_max: QUEUE_MAX }
        };
        Caps {
            ingress: self.media.ingress,
            egress: self.media.egress,
            pacing,
            multiple: MediaTime::FRAME,
            // What was sent ahead is played; there is little of it.
            can_clear: false,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: false,
            can_cancel: false,
            can_truncate: false,
            answers: false,
            reports_heard: !self.live,
        }
    }

    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        self.message += u64::from(matches!(wire, Wire::Text(_)));
        match (wire, self.phase) {
            (_, Phase::Down) => {}
            (Wire::Opened, Phase::Waiting) => {
                self.phase = Phase::Up;
                self.client.iter_mut().for_each(|client| client.opened(out));
                out.event(Event::LegUp);
            }
            (Wire::Opened, Phase::Up) => {}
            // The peer closed its side: a page hangs up so.
            (Wire::Close { code: 1000, .. }, _) => self.down(Down::HungUp, out),
            (Wire::Close { code, .. }, _) => self.down(Down::Lost { code }, out),
            (Wire::Refused(_), _) => self.down(Down::Lost { code: 1006 }, out),
            (Wire::Packet(packet), Phase::Up) => self.ingress.take(packet, now, out),
            (Wire::Quality(quality), Phase::Up) => self.report(quality, out),
            (Wire::Packet(_) | Wire::Quality(_), Phase::Waiting) => {
                out.event(Event::MessageDropped { reason: "early" });
            }
            (Wire::Text(text), _) => return self.on_text(&text, now, out),
            (Wire::Binary(_), _) => out.event(Event::MessageDropped { reason: "binary" }),
        }
        Ok(())
    }

    fn on_command(&mut self, command: Command, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (command, self.phase) {
            (_, Phase::Down) => {}
            (Command::Hangup { code }, _) => {
                out.close(code, "");
                self.down(Down::HungUp, out);
            }
            (_, Phase::Waiting) => {}
            (Command::Play(frame), Phase::Up) => {
                let packet = self.egress.packet(&frame, now);
                out.wire(Wire::Packet(packet));
                if let Some(utterance) = frame.utterance {
                    self.hearing.sends(utterance, frame.duration, self.egress.dry_at());
                    self.starts(utterance, out);
                }
            }
            (Command::Flush, Phase::Up) => {
                self.hearing.cut(now);
                self.is_playing = false;
                self.client.iter_mut().for_each(|client| client.cleared(out));
            }
            (Command::Mark(_) | Command::EchoMark { .. } | Command::Press(_), Phase::Up) => {}
            (Command::Tell(told), Phase::Up) => {
                self.client.iter_mut().for_each(|client| client.on_told(&told, out));
            }
            // It generates nothing, and remembers nothing that could be cut.
            (Command::Cancel | Command::Truncate(_) | Command::Respond { .. }, Phase::Up) => {}
        }
        Ok(())
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if self.phase != Phase::Up {
            return Ok(());
        }
        self.ingress.on_timeout(now, out);
        self.hearing.on_timeout(now, out);
        if self.is_playing && self.heard_all_at() <= now {
            self.is_playing = false;
            self.client.iter_mut().for_each(|client| client.stopped(out));
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let stops = self.is_playing.then(|| self.heard_all_at());
        let own = [self.ingress.poll_timeout(), self.hearing.poll_timeout(), stops];
        if self.phase == Phase::Up { own.into_iter().flatten().min() } else { None }
    }
}

/// Ticks of the RTP clock in one tick of ours, as a ratio: Opus counts at 48 kHz whatever it carries (RFC 7587 §4.1).
fn clock_hz(codec: Codec) -> u32 {
    match codec {
        Codec::Opus => Format::OPUS.rate_hz,
        Codec::Pcmu | Codec::Pcma | Codec::L16 => Format::PCMU.rate_hz,
    }
}

/// How long a payload plays; `None` for one that is none.
fn span_of(format: Format, payload: &Bytes) -> Option<MediaTime> {
    match format.codec {
        Codec::Opus => patchbay_core::opus_duration(payload),
        _ => format.duration_of(payload.len()).filter(|span| !span.is_zero() && *span <= PACKET_MAX),
    }
}

/// The longest packet that is taken: 120 ms, as in Opus.
const PACKET_MAX: MediaTime = MediaTime::from_ms(120);

#[cfg(test)]
mod tests;
