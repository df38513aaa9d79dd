//! Twilio Media Streams, bidirectional (`<Connect><Stream>`): a phone call as JSON over a WebSocket that Twilio opens.
//!
//! <https://www.twilio.com/docs/voice/media-streams/websocket-messages>, read 2026-11. In: `connected start media dtmf
//! mark stop`; out: `media mark clear`, each with the SID of this stream. There is no message that hangs up: closing
//! the socket ends the stream, and the TwiML behind `<Connect>` says what the call does next.

mod message;
mod timeline;

use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{
    Caps, Command, Down, Event, Fault, Format, Frame, Instant, Leg, LegError, MarkId, MediaTime, Outbox, Pacing,
    Payload, Wire,
};
use serde::Deserialize;
use serde_json::Value;

use self::message::{Media as MediaMessage, Message, Start};
use self::timeline::Timeline;
use crate::endpoint::{ConfigError, EndpointDef, Media, Transport};

/// Twilio Media Streams. Every stream so far was µ-law; `start.mediaFormat` decides.
pub static ENDPOINT: EndpointDef = EndpointDef {
    kind: "twilio",
    transport: Transport::Accepted,
    sends: FORMATS,
    receives: FORMATS,
    open: |config, media| Ok(Box::new(Twilio::new(Config::parse(config)?, media))),
};

const FORMATS: &[Format] =
    &[Format::PCMU, Format::PCMA, Format::L16_8K, Format::L16_16K, Format::L16_24K];

/// `start` has to come within this of the transport, unless the configuration says otherwise, in milliseconds.
const START_WITHIN_MS: u64 = 10_000;
/// Longest ingress message; Twilio's own have 350 bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What the signed webhook said about the call; `start` must say the same.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `CallSid`. Not checked when absent.
    pub call_sid: Option<String>,
    /// `AccountSid`. Not checked when absent.
    pub account_sid: Option<String>,
    /// `start` has to come within this of the transport; 10 s when absent.
    pub start_timeout_ms: Option<u64>,
}

impl Config {
    fn parse(config: &Value) -> Result<Self, ConfigError> {
        Self::deserialize(config)
            .map_err(|error| ConfigError { kind: ENDPOINT.kind, reason: error.to_string() })
    }

    fn agrees_with(&self, start: &Start<'_>) -> bool {
        let same = |wanted: &Option<String>, got: &str| wanted.as_deref().is_none_or(|wanted| wanted == got);
        same(&self.call_sid, &start.call_sid) && same(&self.account_sid, &start.account_sid)
    }
}

/// One Twilio stream.
pub struct Twilio {
    config: Config,
    media: Media,
    phase: Phase,
    tolerance: Tolerance,
    /// Ingress messages so far.
    messages: u64,
}

enum Phase {
    /// No `start` yet, and until when we wait for it, once the transport is up.
    Waiting { until: Option<Instant>, is_connected: bool },
    Live(Stream),
    Down,
}

struct Stream {
    sid: Box<str>,
    /// The SID as a JSON string, quotes included.
    sid_json: Box<str>,
    timeline: Timeline,
}

/// What the leg makes of one message: nothing worse than a reason to drop it, or the end.
enum Fall {
    /// The peer broke its protocol; too many of these end the leg.
    Broken(&'static str),
    /// Legal and of no use to us.
    Ignored(&'static str),
    Fatal(Fault, &'static str),
}

impl Twilio {
    fn new(config: Config, media: Media) -> Self {
        let phase = Phase::Waiting { until: None, is_connected: false };
        Self { config, media, phase, tolerance: Tolerance::new(), messages: 0 }
    }

    fn on_text(&mut self, text: &Bytes, now: Instant, out: &mut Outbox) -> Result<(), Fall> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err(Fall::Broken("oversized"));
        }
        match Message::parse(text).map_err(Fall::Broken)? {
            Message::Media(media) => self.stream(&media.sid)?.on_media(&media, text, now, out),
            Message::Connected => self.on_connected(),
            Message::Start(start) => self.on_start(&start, now, out),
            Message::Dtmf { sid, digit } => self.stream(sid.as_bytes())?.on_dtmf(&digit, out),
            Message::Mark { sid, name } => self.stream(sid.as_bytes())?.on_mark(&name, out),
            Message::Stop { sid } => {
                self.stream(sid.as_bytes())?;
                self.end(1000, out);
                Ok(())
            }
            Message::Unknown => Err(Fall::Ignored("unknown_event")),
        }
    }

    fn on_connected(&mut self) -> Result<(), Fall> {
        match &mut self.phase {
            Phase::Waiting { is_connected, .. } if !*is_connected => *is_connected = true,
            _ => return Err(Fall::Broken("second_connected")),
        }
        Ok(())
    }

    fn on_start(&mut self, start: &Start<'_>, now: Instant, out: &mut Outbox) -> Result<(), Fall> {
        if !matches!(self.phase, Phase::Waiting { .. }) {
            return Err(Fall::Broken("second_start"));
        }
        if !self.config.agrees_with(start) {
            return Err(Fall::Fatal(Fault::PeerMisbehaved, "the stream is of another call"));
        }
        let unserved = Fall::Fatal(Fault::PeerIncompatible, "the stream's media format is not served");
        let format = start.format.ok_or(unserved)?;
        self.media = Media { ingress: format, egress: format };
        self.phase = Phase::Live(Stream {
            sid: (*start.sid).into(),
            sid_json: serde_json::to_string(&start.sid).expect("a string is JSON").into(),
            timeline: Timeline::new(format, now),
        });
        out.event(Event::LegUp);
        Ok(())
    }

    /// The stream that a message names.
    fn stream(&mut self, sid: &[u8]) -> Result<&mut Stream, Fall> {
        match &mut self.phase {
            Phase::Live(stream) if stream.sid.as_bytes() == sid => Ok(stream),
            Phase::Live(_) => Err(Fall::Broken("wrong_stream")),
            _ => Err(Fall::Broken("before_start")),
        }
    }

    fn end(&mut self, code: u16, out: &mut Outbox) {
        out.close(code, "");
        self.go_down(Down::HungUp, out);
    }

    fn go_down(&mut self, down: Down, out: &mut Outbox) {
        self.phase = Phase::Down;
        out.event(Event::LegDown(down));
    }

    fn fail(&mut self, fault: Fault, what: &'static str) -> LegError {
        self.phase = Phase::Down;
        LegError { fault, what, message: self.messages }
    }

    /// Counts what fell, and ends the leg when it was too much.
    fn settle(&mut self, fall: Fall, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match fall {
            Fall::Ignored(reason) => out.event(Event::MessageDropped { reason }),
            Fall::Broken(reason) => {
                out.event(Event::MessageDropped { reason });
                if !self.tolerance.take(now) {
                    return Err(self.fail(Fault::PeerMisbehaved, "too many broken messages"));
                }
            }
            Fall::Fatal(fault, what) => return Err(self.fail(fault, what)),
        }
        Ok(())
    }
}

impl Leg for Twilio {
    fn caps(&self) -> Caps {
        Caps {
            ingress: self.media.ingress,
            egress: self.media.egress,
            pacing: Pacing::Speech { lead: MediaTime::from_ms(300), queue_max: MediaTime::from_ms(120_000) },
            multiple: MediaTime::FRAME,
            can_clear: true,
            echoes_marks: true,
            echoes_marks_on_clear: true,
            reports_speech: false,
            can_cancel: false,
            can_truncate: false,
            answers: false,
            reports_heard: false,
        }
    }

    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        if matches!(self.phase, Phase::Down) {
            return Ok(());
        }
        let taken = match wire {
            Wire::Text(text) => {
                self.messages += 1;
                self.on_text(&text, now, out)
            }
            Wire::Binary(_) => {
                self.messages += 1;
                Err(Fall::Broken("binary"))
            }
            Wire::Opened => {
                if let Phase::Waiting { until: until @ None, .. } = &mut self.phase {
                    let within_ms = self.config.start_timeout_ms.unwrap_or(START_WITHIN_MS);
                    *until = Some(now + Duration::from_millis(within_ms));
                }
                Ok(())
            }
            // Its transport is a WebSocket.
            Wire::Packet(_) | Wire::Quality(_) => Ok(()),
            Wire::Close { code, .. } => {
                self.go_down(Down::Lost { code }, out);
                Ok(())
            }
            Wire::Refused(_) => {
                self.go_down(Down::Lost { code: 1006 }, out);
                Ok(())
            }
        };
        taken.or_else(|fall| self.settle(fall, now, out))?;
        self.on_timeout(now, out)
    }

    fn on_command(&mut self, command: Command, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match (command, &mut self.phase) {
            (_, Phase::Down) => return Ok(()),
            (Command::Play(frame), Phase::Live(stream)) => {
                if frame.format != self.media.egress {
                    return Err(self.fail(Fault::Bug, "a frame is not of the stream's format"));
                }
                stream.play(&frame, out);
            }
            (Command::Mark(mark), Phase::Live(stream)) => stream.mark(mark, out),
            (Command::Flush, Phase::Live(stream)) => stream.clear(out),
            (Command::Play(_), Phase::Waiting { .. }) => {
                out.event(Event::MessageDropped { reason: "play_before_start" });
            }
            (Command::Mark(_), Phase::Waiting { .. }) => {
                out.event(Event::MessageDropped { reason: "mark_before_start" });
            }
            (Command::Hangup { code }, _) => self.end(code, out),
            (
                Command::Flush
                | Command::Cancel
                | Command::Truncate(_)
                | Command::Respond { .. }
                | Command::Tell(_)
                | Command::EchoMark { .. }
                | Command::Press(_),
                _,
            ) => {}
        }
        self.on_timeout(now, out)
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        match &mut self.phase {
            Phase::Waiting { until: Some(until), .. } if *until <= now => {
                Err(self.fail(Fault::PeerMisbehaved, "no start message"))
            }
            Phase::Live(stream) => {
                if let Some(silence) = stream.timeline.fill_hole(now) {
                    out.event(Event::AudioReceived(silence));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting { until, .. } => *until,
            Phase::Live(stream) => stream.timeline.due(),
            Phase::Down => None,
        }
    }

    /// Twilio does not dial again by itself: the `<Redirect>` behind `<Connect>` asks for the next stream, which has a
    /// new SID and counts from the start.
    fn successor(&self) -> Option<Box<dyn Leg>> {
        Some(Box::new(Self::new(self.config.clone(), self.media)))
    }
}

impl Stream {
    fn on_media(
        &mut self, media: &MediaMessage<'_>, text: &Bytes, now: Instant, out: &mut Outbox,
    ) -> Result<(), Fall> {
        if !media.is_inbound {
            return Err(Fall::Ignored("other_track"));
        }
        let payload = Payload::base64(media.payload_of(text)).map_err(|_| Fall::Broken("bad_base64"))?;
        let sample_bytes = self.timeline.format().sample_bytes().unwrap_or(1);
        match payload.len() {
            0 => return Err(Fall::Broken("empty_payload")),
            bytes if !bytes.is_multiple_of(sample_bytes) => return Err(Fall::Broken("partial_sample")),
            _ => {}
        }
        let (silence, frame) = self.timeline.place(media.timestamp_ms, payload, now);
        if let Some(silence) = silence {
            out.event(Event::AudioReceived(silence));
        }
        out.event(Event::AudioReceived(frame));
        Ok(())
    }

    fn on_dtmf(&mut self, digit: &str, out: &mut Outbox) -> Result<(), Fall> {
        match digit.as_bytes() {
            [key @ (b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D')] => {
                out.event(Event::DtmfReceived(char::from(*key)));
                Ok(())
            }
            _ => Err(Fall::Broken("bad_digit")),
        }
    }

    fn on_mark(&mut self, name: &str, out: &mut Outbox) -> Result<(), Fall> {
        let mark = name.parse().map_err(|_| Fall::Broken("foreign_mark"))?;
        out.event(Event::MarkReached(mark));
        Ok(())
    }

    fn play(&self, frame: &Frame, out: &mut Outbox) {
        if frame.payload.is_empty() {
            return;
        }
        out.text(|text| {
            self.begin("media", text);
            text.extend_from_slice(b",\"media\":{\"payload\":\"");
            frame.payload.write_base64(text);
            text.extend_from_slice(br#""}}"#);
        });
    }

    fn mark(&self, mark: MarkId, out: &mut Outbox) {
        out.text(|text| {
            self.begin("mark", text);
            // A MarkId is letters, digits and a dot: nothing in it needs an escape.
            let _ = std::fmt::Write::write_fmt(text, format_args!(r#","mark":{{"name":"{mark}"}}}}"#));
        });
    }

    fn clear(&self, out: &mut Outbox) {
        out.text(|text| {
            self.begin("clear", text);
            text.extend_from_slice(b"}");
        });
    }

    /// The members that every egress message has.
    fn begin(&self, event: &str, text: &mut bytes::BytesMut) {
        for piece in [r#"{"event":""#, event, r#"","streamSid":"#, &*self.sid_json] {
            text.extend_from_slice(piece.as_bytes());
        }
    }
}

/// How many broken messages a peer has in hand; time gives them back.
struct Tolerance {
    in_hand: u64,
    counted_at: Instant,
}

impl Tolerance {
    const IN_HAND_MAX: u64 = 100;
    const BACK_AFTER: Duration = Duration::from_secs(1);

    fn new() -> Self {
        Self { in_hand: Self::IN_HAND_MAX, counted_at: Instant::ZERO }
    }

    /// Takes one; false when there is none.
    fn take(&mut self, now: Instant) -> bool {
        let back = now.saturating_since(self.counted_at).as_secs() / Self::BACK_AFTER.as_secs();
        if self.in_hand.saturating_add(back) >= Self::IN_HAND_MAX {
            self.in_hand = Self::IN_HAND_MAX;
            self.counted_at = now;
        } else {
            self.in_hand += back;
            self.counted_at = self.counted_at + Duration::from_secs(back);
        }
        let is_left = self.in_hand > 0;
        self.in_hand = self.in_hand.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MEDIA: Media = Media { ingress: Format::PCMU, egress: Format::PCMU };
    const SID: &str = "MZ00000000000000000000000000000001";

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// A leg and what it did with each input, in order.
    struct Bench {
        leg: Twilio,
        out: Outbox,
        now: Instant,
    }

    impl Bench {
        fn waiting() -> Self {
            let mut bench = Self { leg: Twilio::new(Config::default(), MEDIA), out: Outbox::default(), now: at(0) };
            bench.wire(Wire::Opened).unwrap();
            bench
        }

        fn live() -> Self {
            let mut bench = Self::waiting();
            bench.text(json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
            bench.text(start(SID, "audio/x-mulaw", 8000));
            assert_eq!(bench.events(), [Event::LegUp]);
            bench
        }

        fn wire(&mut self, wire: Wire) -> Result<(), LegError> {
            self.leg.on_wire(wire, self.now, &mut self.out)
        }

        fn text(&mut self, message: Value) {
            self.wire(Wire::Text(message.to_string().into())).unwrap();
        }

        fn media(&mut self, timestamp_ms: u64) {
            self.text(media(SID, timestamp_ms));
        }

        fn command(&mut self, command: Command) {
            self.leg.on_command(command, self.now, &mut self.out).unwrap();
        }

        fn events(&mut self) -> Vec<Event> {
            std::mem::take(&mut self.out.events)
        }

        fn said(&mut self) -> Vec<Value> {
            let parse = |wire| match wire {
                Wire::Text(text) => serde_json::from_slice(&text).unwrap(),
                other => json!(format!("{other:?}")),
            };
            std::mem::take(&mut self.out.wires).into_iter().map(parse).collect()
        }

        fn dropped(&mut self) -> Vec<&'static str> {
            let reason = |event| match event {
                Event::MessageDropped { reason } => reason,
                other => panic!("{other:?}"),
            };
            self.events().into_iter().map(reason).collect()
        }
    }

    fn start(sid: &str, encoding: &str, rate: u32) -> Value {
        json!({"event": "start", "sequenceNumber": "1", "streamSid": sid, "start": {
            "streamSid": sid, "accountSid": "AC1", "callSid": "CA1", "tracks": ["inbound"],
            "mediaFormat": {"encoding": encoding, "sampleRate": rate, "channels": 1},
            "customParameters": {"payload": "AAAA"}}})
    }

    fn media(sid: &str, timestamp_ms: u64) -> Value {
        json!({"event": "media", "sequenceNumber": "2", "streamSid": sid, "media": {
            "track": "inbound", "chunk": "1", "timestamp": timestamp_ms.to_string(), "payload": "f39/fw=="}})
    }

    fn play(payload: &'static [u8]) -> Command {
        Command::Play(Frame::live(Format::PCMU, Payload::Raw(Bytes::from_static(payload)), MediaTime::ZERO))
    }

    #[test]
    fn a_stream_that_does_not_start_within_what_is_configured_is_given_up() {
        let configured = Config { start_timeout_ms: Some(700), ..Config::default() };
        for (config, within_ms) in [(Config::default(), START_WITHIN_MS), (configured, 700)] {
            let (mut leg, mut out) = (Twilio::new(config, MEDIA), Outbox::default());
            leg.on_wire(Wire::Opened, at(5), &mut out).unwrap();
            assert_eq!(leg.poll_timeout(), Some(at(5 + within_ms)));
            assert_eq!(leg.on_timeout(at(4 + within_ms), &mut out), Ok(()));
            assert!(leg.on_timeout(at(5 + within_ms), &mut out).is_err());
        }
    }

    #[test]
    fn a_payload_is_passed_on_as_a_slice_of_its_message() {
        let mut bench = Bench::live();
        let text = Bytes::from(media(SID, 155).to_string());
        bench.wire(Wire::Text(text.clone())).unwrap();
        let [Event::AudioReceived(frame)] = &bench.events()[..] else { panic!("one frame") };
        let Payload::Base64(payload) = &frame.payload else { panic!("base64 stays base64") };
        assert!(text.as_ptr_range().contains(&payload.as_ptr()));
        assert_eq!(frame.payload.to_raw(), vec![0x7F; 4]);
    }

    #[test]
    fn the_announced_format_is_the_format_of_the_leg() {
        let mut bench = Bench::waiting();
        bench.text(start(SID, "audio/x-l16", 16_000));
        assert_eq!((bench.leg.caps().ingress, bench.leg.caps().egress), (Format::L16_16K, Format::L16_16K));
        bench.media(155);
        let events = bench.events();
        assert!(matches!(&events[1], Event::AudioReceived(frame) if frame.format == Format::L16_16K));
    }

    #[test]
    fn an_unknown_format_is_incompatible() {
        let mut bench = Bench::waiting();
        let start = Wire::Text(start(SID, "audio/opus", 48_000).to_string().into());
        assert_eq!(bench.wire(start).unwrap_err().fault, Fault::PeerIncompatible);
    }

    #[test]
    fn a_stream_of_another_call_is_refused() {
        for config in [json!({"call_sid": "CA2"}), json!({"account_sid": "AC2", "call_sid": "CA1"})] {
            let mut leg = (ENDPOINT.open)(&config, MEDIA).unwrap();
            let start = Wire::Text(start(SID, "audio/x-mulaw", 8000).to_string().into());
            let mut out = Outbox::default();
            let error = leg.on_wire(start, at(0), &mut out).unwrap_err();
            assert_eq!((error.fault, out.events.len()), (Fault::PeerMisbehaved, 0));
        }
        let mut leg = (ENDPOINT.open)(&json!({"call_sid": "CA1", "account_sid": "AC1"}), MEDIA).unwrap();
        let start = Wire::Text(start(SID, "audio/x-mulaw", 8000).to_string().into());
        leg.on_wire(start, at(0), &mut Outbox::default()).unwrap();
    }

    #[test]
    fn unknown_configuration_keys_are_named() {
        let error = (ENDPOINT.open)(&json!({"call_id": "CA1"}), MEDIA).err().unwrap().to_string();
        assert!(error.contains("call_id"), "{error}");
    }

    #[test]
    fn what_is_said_has_the_shape_of_the_wire() {
        let mut bench = Bench::live();
        bench.command(play(&[0xFF; 3]));
        bench.command(Command::Mark(MarkId { generation: 2, seq: 7 }));
        bench.command(Command::Flush);
        bench.command(Command::Hangup { code: 1000 });
        let said = [
            json!({"event": "media", "streamSid": SID, "media": {"payload": "////"}}),
            json!({"event": "mark", "streamSid": SID, "mark": {"name": "g2.7"}}),
            json!({"event": "clear", "streamSid": SID}),
            json!("Close(1000)"),
        ];
        assert_eq!(bench.said(), said);
        assert_eq!(bench.events(), [Event::LegDown(Down::HungUp)]);
    }

    #[test]
    fn a_hostile_sid_cannot_write_json() {
        let mut bench = Bench::waiting();
        let sid = "MZ\",\"event\":\"stop\u{1}é";
        bench.text(start(sid, "audio/x-mulaw", 8000));
        bench.command(Command::Flush);
        assert_eq!(bench.said(), [json!({"event": "clear", "streamSid": sid})]);
    }

    #[test]
    fn nothing_is_said_before_start() {
        let mut bench = Bench::waiting();
        bench.command(play(&[0xFF; 160]));
        bench.command(Command::Mark(MarkId { generation: 0, seq: 0 }));
        bench.command(Command::Flush);
        assert!(bench.out.wires.is_empty());
        assert_eq!(bench.dropped(), ["play_before_start", "mark_before_start"]);
    }

    #[test]
    fn a_malformed_message_is_dropped_and_counted_and_the_call_goes_on() {
        let mut bench = Bench::live();
        for broken in [
            media("MZ2", 155),
            start(SID, "audio/x-mulaw", 8000),
            json!({"event": "connected"}),
            json!({"event": "dtmf", "streamSid": SID, "dtmf": {"digit": "55"}}),
            json!({"event": "mark", "streamSid": SID, "mark": {"name": "responsePart"}}),
            json!({"event": "media", "streamSid": SID, "media": {"timestamp": "1", "payload": "!!!!"}}),
            json!({"event": "media", "streamSid": SID, "media": {"timestamp": "1", "payload": ""}}),
            json!({"event": "media", "streamSid": SID, "media": {"timestamp": "x", "payload": "////"}}),
            json!({"event": "media", "streamSid": SID}),
            json!({"event": "weather"}),
            json!([]),
        ] {
            bench.text(broken);
        }
        bench.wire(Wire::Binary(Bytes::from_static(b"\xff"))).unwrap();
        bench.wire(Wire::Text(Bytes::from_static(b"{"))).unwrap();
        let reasons = [
            "wrong_stream", "second_start", "second_connected", "bad_digit", "foreign_mark", "bad_base64",
            "empty_payload", "bad_timestamp", "wrong_shape", "unknown_event", "wrong_shape", "binary", "invalid_json",
        ];
        assert_eq!(bench.dropped(), reasons);
        bench.media(155);
        assert!(matches!(bench.events()[..], [Event::AudioReceived(_)]));
    }

    #[test]
    fn too_many_malformed_messages_end_the_leg_and_time_forgives() {
        let mut bench = Bench::live();
        let broken = || Wire::Binary(Bytes::new());
        for _ in 0..100 {
            bench.wire(broken()).unwrap();
        }
        bench.now = at(50_000);
        for _ in 0..50 {
            bench.wire(broken()).unwrap();
        }
        let error = bench.wire(broken()).unwrap_err();
        assert_eq!((error.fault, error.message), (Fault::PeerMisbehaved, 2 + 151));
        bench.events();
        bench.media(155);
        assert_eq!(bench.events(), []);
    }

    #[test]
    fn unknown_events_never_end_a_call() {
        let mut bench = Bench::live();
        for _ in 0..1000 {
            bench.text(json!({"event": "weather", "streamSid": SID}));
        }
        assert_eq!(bench.dropped(), ["unknown_event"; 1000]);
    }

    #[test]
    fn a_stop_hangs_up_and_a_lost_socket_is_lost() {
        let mut bench = Bench::live();
        bench.text(json!({"event": "stop", "streamSid": SID, "stop": {"accountSid": "AC1", "callSid": "CA1"}}));
        assert_eq!(bench.events(), [Event::LegDown(Down::HungUp)]);
        assert_eq!(bench.said(), [json!("Close(1000)")]);
        bench.wire(Wire::Close { code: 1005, reason: "".into() }).unwrap();
        bench.command(play(&[0xFF; 160]));
        assert!(bench.events().is_empty() && bench.said().is_empty());

        let mut bench = Bench::live();
        bench.wire(Wire::Close { code: 1006, reason: "".into() }).unwrap();
        assert_eq!(bench.events(), [Event::LegDown(Down::Lost { code: 1006 })]);
    }

    #[test]
    fn marks_and_keys_are_facts() {
        let mut bench = Bench::live();
        let track = "inbound_track";
        bench.text(json!({"event": "dtmf", "streamSid": SID, "dtmf": {"track": track, "digit": "#"}}));
        bench.text(json!({"event": "mark", "streamSid": SID, "mark": {"name": "g0.3"}}));
        let mark = MarkId { generation: 0, seq: 3 };
        assert_eq!(bench.events(), [Event::DtmfReceived('#'), Event::MarkReached(mark)]);
    }

    #[test]
    fn silence_is_made_while_the_stream_lasts_and_only_then() {
        let mut bench = Bench::waiting();
        assert_eq!(bench.leg.poll_timeout(), Some(at(10_000)));
        bench.text(start(SID, "audio/x-mulaw", 8000));
        bench.media(155);
        bench.events();
        bench.now = bench.leg.poll_timeout().unwrap();
        assert_eq!(bench.now, at(300));
        bench.leg.on_timeout(bench.now, &mut bench.out).unwrap();
        assert!(matches!(&bench.events()[..], [Event::AudioReceived(frame)] if frame.duration == MediaTime::from_ms(200)));
        bench.text(json!({"event": "stop", "streamSid": SID}));
        assert_eq!(bench.leg.poll_timeout(), None);
    }

    #[test]
    fn a_stream_that_never_starts_is_given_up() {
        let mut bench = Bench::waiting();
        let error = bench.leg.on_timeout(at(10_000), &mut bench.out).unwrap_err();
        assert_eq!(error.fault, Fault::PeerMisbehaved);
    }

    #[test]
    fn a_successor_takes_the_next_stream_of_the_call() {
        let bench = Bench::live();
        let mut next = bench.leg.successor().unwrap();
        let mut out = Outbox::default();
        for message in [start("MZ2", "audio/x-mulaw", 8000), media("MZ2", 102)] {
            next.on_wire(Wire::Text(message.to_string().into()), at(0), &mut out).unwrap();
        }
        assert!(matches!(&out.events[..], [Event::LegUp, Event::AudioReceived(frame)] if frame.pts.is_zero()));
    }
}
