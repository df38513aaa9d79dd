//! What Twilio's side of a stream says, in order and numbered: for the leg that is Twilio to a bot, and for the double that is
//! Twilio to us.
//!
//! <https://www.twilio.com/docs/voice/media-streams/websocket-messages>, read 2026-11: numbers are strings but for the rate
//! and the channels, and one sequence counts all messages but `connected`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::BytesMut;
use patchbay_core::{Codec, Format, Payload};

/// What `start` tells of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// `AC…`
    pub account_sid: &'a str,
    /// `CA…`
    pub call_sid: &'a str,
    /// What is in the `media`, both ways.
    pub format: Format,
    /// `<Parameter>`s.
    pub parameters: &'a BTreeMap<String, String>,
}

/// The voice of one stream.
#[derive(Clone, Debug)]
pub struct Saying {
    /// The SID as a JSON string, quotes included.
    sid: Box<str>,
    sequence: u64,
    chunk: u64,
}

impl Saying {
    /// The first message of all.
    pub const CONNECTED: &'static str = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;

    /// A stream that has said nothing yet.
    #[must_use]
    pub fn new(stream_sid: &str) -> Self {
        Self { sid: json(stream_sid).into(), sequence: 0, chunk: 0 }
    }

    /// The second: no `From` or `To` in it.
    pub fn start(&mut self, start: &Start<'_>, text: &mut BytesMut) {
        let encoding = match start.format.codec {
            Codec::Pcmu => "audio/x-mulaw",
            Codec::Pcma => "audio/x-alaw",
            Codec::L16 => "audio/x-l16",
            Codec::Opus => "audio/opus",
        };
        let (account, call) = (json(start.account_sid), json(start.call_sid));
        let parameters = serde_json::to_string(start.parameters).expect("strings are JSON");
        self.begin("start", text);
        let _ = write!(
            text,
            r#"{{"streamSid":{},"accountSid":{account},"callSid":{call},"tracks":["inbound"],"mediaFormat":{{"encoding":"{encoding}","sampleRate":{},"channels":1}},"customParameters":{parameters}}}}}"#,
            self.sid, start.format.rate_hz,
        );
    }

    /// Audio of the caller that begins `timestamp_ms` into the stream.
    pub fn media(&mut self, timestamp_ms: u64, payload: &Payload, text: &mut BytesMut) {
        self.chunk += 1;
        self.begin("media", text);
        let chunk = self.chunk;
        let _ = write!(
            text,
            r#"{{"track":"inbound","chunk":"{chunk}","timestamp":"{timestamp_ms}","payload":""#
        );
        payload.write_base64(text);
        text.extend_from_slice(br#""}}"#);
    }

    /// A key that the caller pressed.
    pub fn dtmf(&mut self, key: char, text: &mut BytesMut) {
        self.begin("dtmf", text);
        let key = json(key.encode_utf8(&mut [0; 4]));
        let _ = write!(text, r#"{{"track":"inbound_track","digit":{key}}}}}"#);
    }

    /// The echo of a mark.
    pub fn mark(&mut self, name: &str, text: &mut BytesMut) {
        self.begin("mark", text);
        let _ = write!(text, r#"{{"name":{}}}}}"#, json(name));
    }

    /// The last message of all.
    pub fn stop(&mut self, account_sid: &str, call_sid: &str, text: &mut BytesMut) {
        self.begin("stop", text);
        let _ = write!(text, r#"{{"accountSid":{},"callSid":{}}}}}"#, json(account_sid), json(call_sid));
    }

    /// The members that every message has, up to the part that goes by the event's name.
    fn begin(&mut self, event: &str, text: &mut BytesMut) {
        self.sequence += 1;
        let (sequence, sid) = (self.sequence, &self.sid);
        let _ = write!(
            text,
            r#"{{"event":"{event}","sequenceNumber":"{sequence}","streamSid":{sid},"{event}":"#
        );
    }
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}
