//! What Twilio sends: the wire structs, and the short way past them for `media`.
//!
//! <https://www.twilio.com/docs/voice/media-streams/websocket-messages>, read 2026-11: `timestamp` and `digit` are JSON
//! strings, `sampleRate` and `channels` are numbers.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr2;
use patchbay_core::Format;
use serde::Deserialize;

/// One message, parsed as far as the leg needs it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Connected,
    Start(Box<Start<'a>>),
    Media(Media<'a>),
    Dtmf { sid: Cow<'a, str>, digit: Cow<'a, str> },
    Mark { sid: Cow<'a, str>, name: Cow<'a, str> },
    Stop { sid: Cow<'a, str> },
    /// An event that is not of this protocol yet.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start<'a> {
    pub(super) sid: Cow<'a, str>,
    pub(super) call_sid: Cow<'a, str>,
    pub(super) account_sid: Cow<'a, str>,
    /// `None` when we cannot serve what was announced.
    pub(super) format: Option<Format>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Media<'a> {
    pub(super) sid: Cow<'a, [u8]>,
    /// False for our own audio, which a fork of both tracks would send.
    pub(super) is_inbound: bool,
    pub(super) timestamp_ms: u64,
    /// Base64, not checked yet.
    pub(super) payload: Cow<'a, [u8]>,
}

impl Media<'_> {
    /// The payload as a slice of the message it stands in; copied only when the message escaped it.
    pub(super) fn payload_of(&self, text: &Bytes) -> Bytes {
        match &self.payload {
            Cow::Borrowed(payload) => text.slice_ref(payload),
            Cow::Owned(payload) => Bytes::copy_from_slice(payload),
        }
    }
}

impl<'a> Message<'a> {
    /// Parses one message.
    ///
    /// # Errors
    /// A short token for the counter.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        if let Some(media) = usual_media(text).or_else(|| plain_media(text)) {
            return Ok(Self::Media(media));
        }
        Self::parse_any(text)
    }

    fn parse_any(text: &'a [u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "invalid_utf8")?;
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => "wrong_shape",
            _ => "invalid_json",
        })?;
        envelope.into_message()
    }
}

/// Every message in one flat struct: the event says which part counts.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(rename = "streamSid")]
    sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    start: Option<StartPart<'a>>,
    #[serde(borrow)]
    media: Option<MediaPart<'a>>,
    #[serde(borrow)]
    dtmf: Option<DtmfPart<'a>>,
    #[serde(borrow)]
    mark: Option<MarkPart<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StartPart<'a> {
    stream_sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    call_sid: Cow<'a, str>,
    #[serde(borrow)]
    account_sid: Cow<'a, str>,
    #[serde(borrow)]
    media_format: FormatPart<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormatPart<'a> {
    #[serde(borrow)]
    encoding: Cow<'a, str>,
    sample_rate: u32,
    channels: Option<u32>,
}

#[derive(Deserialize)]
struct MediaPart<'a> {
    track: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct DtmfPart<'a> {
    #[serde(borrow)]
    digit: Cow<'a, str>,
}

#[derive(Deserialize)]
struct MarkPart<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    fn into_message(self) -> Result<Message<'a>, &'static str> {
        const INCOMPLETE: &str = "wrong_shape";
        let sid = self.sid.ok_or(INCOMPLETE);
        Ok(match &*self.event {
            "connected" => Message::Connected,
            "start" => Message::Start(self.start.ok_or(INCOMPLETE)?.into_start(sid.ok())?),
            "media" => Message::Media(self.media.ok_or(INCOMPLETE)?.into_media(sid?)?),
            "dtmf" => Message::Dtmf { sid: sid?, digit: self.dtmf.ok_or(INCOMPLETE)?.digit },
            "mark" => Message::Mark { sid: sid?, name: self.mark.ok_or(INCOMPLETE)?.name },
            "stop" => Message::Stop { sid: sid? },
            _ => Message::Unknown,
        })
    }
}

impl<'a> StartPart<'a> {
    /// The SID stands twice in `start`; both must agree.
    fn into_start(self, outer: Option<Cow<'a, str>>) -> Result<Box<Start<'a>>, &'static str> {
        const SID_BYTES_MAX: usize = 128;
        let sid = match (outer, self.stream_sid) {
            (Some(outer), Some(inner)) if outer != inner => return Err("wrong_stream"),
            (Some(sid), _) | (None, Some(sid)) => sid,
            (None, None) => return Err("wrong_shape"),
        };
        if sid.is_empty() || sid.len() > SID_BYTES_MAX {
            return Err("wrong_shape");
        }
        let format = self.media_format.format();
        Ok(Box::new(Start { sid, call_sid: self.call_sid, account_sid: self.account_sid, format }))
    }
}

impl FormatPart<'_> {
    /// What we serve of what a stream may announce. Twilio says `audio/x-mulaw`; its SDKs of October 2026 know wider
    /// formats, whose spelling is not documented yet, so the look-alikes' spellings are taken as well.
    fn format(&self) -> Option<Format> {
        if self.channels.is_some_and(|channels| channels != 1) {
            return None;
        }
        let name = self.encoding.split(';').next()?.trim().to_ascii_lowercase();
        match (name.as_str(), self.sample_rate) {
            ("audio/x-mulaw" | "audio/mulaw" | "audio/pcmu", 8_000) => Some(Format::PCMU),
            ("audio/x-alaw" | "audio/alaw" | "audio/pcma", 8_000) => Some(Format::PCMA),
            ("audio/x-l16" | "audio/l16", rate @ (8_000 | 16_000 | 24_000)) => Some(Format::l16(rate)),
            _ => None,
        }
    }
}

impl<'a> MediaPart<'a> {
    fn into_media(self, sid: Cow<'a, str>) -> Result<Media<'a>, &'static str> {
        let is_inbound = self.track.is_none_or(|track| track == "inbound");
        let timestamp_ms = milliseconds(self.timestamp.as_bytes()).ok_or("bad_timestamp")?;
        Ok(Media { sid: bytes(sid), is_inbound, timestamp_ms, payload: bytes(self.payload) })
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Digits only, at most 15: thirty thousand years, and no overflow in any unit.
fn milliseconds(digits: &[u8]) -> Option<u64> {
    const DIGITS_MAX: usize = 15;
    let in_bounds = (1..=DIGITS_MAX).contains(&digits.len());
    let fold = |sum: u64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'));
    if in_bounds { digits.iter().try_fold(0, fold) } else { None }
}

/// Takes a `media` message apart if it is laid out as all were so far, byte for byte, but for where the SID stands.
/// Comparing long literals costs a seventh of reading members, fifty times a second.
fn usual_media(text: &[u8]) -> Option<Media<'_>> {
    let mut cursor = Cursor { rest: text };
    cursor.literal(br#"{"event":"media","sequenceNumber":""#)?;
    cursor.digits()?;
    cursor.literal(b"\",")?;
    let before = cursor.usual_sid();
    if before.is_some() {
        cursor.literal(b",")?;
    }
    cursor.literal(br#""media":{"track":"inbound","chunk":""#)?;
    cursor.digits()?;
    cursor.literal(br#"","timestamp":""#)?;
    let timestamp_ms = cursor.digits()?;
    cursor.literal(br#"","payload":"#)?;
    let payload = cursor.long_string()?;
    cursor.literal(b"}")?;
    let sid = match before {
        Some(sid) => sid,
        None => cursor.literal(b",").and_then(|()| cursor.usual_sid())?,
    };
    (cursor.rest == b"}").then_some(Media {
        sid: Cow::Borrowed(sid),
        is_inbound: true,
        timestamp_ms,
        payload: Cow::Borrowed(payload),
    })
}

/// Takes a `media` message apart if it is plain: known keys, each once, in any order, with string values that hold no
/// escape. Whatever else it may be, the flat structs decide; so this cannot misread, only decline. Only a payload that
/// is not base64 is found out later.
fn plain_media(text: &[u8]) -> Option<Media<'_>> {
    let mut cursor = Cursor { rest: text };
    let (mut is_media, mut sid, mut part) = (false, None, None);
    cursor.members(|key, cursor| match key {
        b"event" if !is_media => {
            is_media = cursor.string()? == b"media";
            is_media.then_some(())
        }
        b"streamSid" if sid.is_none() => {
            sid = Some(cursor.string()?);
            Some(())
        }
        b"media" if part.is_none() => {
            part = Some(plain_part(cursor)?);
            Some(())
        }
        b"sequenceNumber" => cursor.string().map(drop),
        _ => None,
    })?;
    cursor.skip_space();
    if !is_media || !cursor.rest.is_empty() {
        return None;
    }
    let (is_inbound, timestamp_ms, payload) = part?;
    Some(Media { sid: Cow::Borrowed(sid?), is_inbound, timestamp_ms, payload: Cow::Borrowed(payload) })
}

fn plain_part<'a>(cursor: &mut Cursor<'a>) -> Option<(bool, u64, &'a [u8])> {
    let (mut track, mut timestamp, mut payload) = (None, None, None);
    cursor.members(|key, cursor| {
        let before = match key {
            b"payload" => payload.replace(cursor.long_string()?),
            b"timestamp" => timestamp.replace(cursor.string()?),
            b"track" => track.replace(cursor.string()?),
            b"chunk" => {
                cursor.string()?;
                None
            }
            _ => return None,
        };
        before.is_none().then_some(())
    })?;
    let is_inbound = track.is_none_or(|track| track == b"inbound");
    Some((is_inbound, milliseconds(timestamp?)?, payload?))
}

/// Reads the small part of JSON that a plain message is made of.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Walks the members of one object; `member` gets each key and must take its value.
    fn members(&mut self, mut member: impl FnMut(&'a [u8], &mut Self) -> Option<()>) -> Option<()> {
        self.token(b'{')?;
        loop {
            self.skip_space();
            let key = self.string()?;
            self.token(b':')?;
            self.skip_space();
            member(key, self)?;
            self.skip_space();
            let (&end, rest) = self.rest.split_first()?;
            self.rest = rest;
            match end {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    #[inline]
    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// A number as Twilio writes it inside a string; the closing quote stays.
    #[inline]
    fn digits(&mut self) -> Option<u64> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        milliseconds(digits)
    }

    /// `"streamSid":"…"` with letters and digits only.
    #[inline]
    fn usual_sid(&mut self) -> Option<&'a [u8]> {
        self.literal(br#""streamSid":"#)?;
        let sid = self.long_string()?;
        sid.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric()).then_some(sid)
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn token(&mut self, token: u8) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(&[token])?;
        Some(())
    }

    /// A string of printable ASCII without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let body = self.rest.strip_prefix(b"\"")?;
        let end = body.iter().position(|byte| !matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))?;
        self.close(body, end)
    }

    /// A string without escapes, found faster than looked at: whoever takes it has to look at every byte.
    fn long_string(&mut self) -> Option<&'a [u8]> {
        let body = self.rest.strip_prefix(b"\"")?;
        self.close(body, memchr2(b'"', b'\\', body)?)
    }

    fn close(&mut self, body: &'a [u8], end: usize) -> Option<&'a [u8]> {
        let (text, quote) = body.split_at(end);
        self.rest = quote.strip_prefix(b"\"")?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use patchbay_core::Payload;
    use proptest::prelude::*;

    use super::*;

    const MEDIA: &str = r#"{"event":"media","sequenceNumber":"2","streamSid":"MZ1","media":{"track":"inbound","chunk":"1","timestamp":"155","payload":"////"}}"#;

    fn expected() -> Media<'static> {
        let (sid, payload) = (Cow::Borrowed(&b"MZ1"[..]), Cow::Borrowed(&b"////"[..]));
        Media { sid, is_inbound: true, timestamp_ms: 155, payload }
    }

    #[test]
    fn the_short_ways_take_what_twilio_sends() {
        let sid_last = r#"{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"155","payload":"////"},"streamSid":"MZ1"}"#;
        for text in [MEDIA, sid_last] {
            assert_eq!(usual_media(text.as_bytes()), Some(expected()));
            assert_eq!(plain_media(text.as_bytes()), Some(expected()));
        }
    }

    #[test]
    fn key_order_and_space_do_not_matter() {
        let spaced = " {\n\"media\" : { \"payload\":\t\"////\" , \"timestamp\":\"155\" } ,\r\"streamSid\":\"MZ1\" , \"event\" : \"media\" } ";
        assert_eq!(plain_media(spaced.as_bytes()), Some(expected()));
    }

    #[test]
    fn an_escaped_payload_is_unescaped_by_the_long_way() {
        let escaped = MEDIA.replace("////", r"\/\u002f//");
        assert_eq!(plain_media(escaped.as_bytes()), None);
        assert_eq!(Message::parse(escaped.as_bytes()), Ok(Message::Media(expected())));
    }

    #[test]
    fn a_payload_elsewhere_is_not_the_payload() {
        let decoy = MEDIA.replace(r#""streamSid""#, r#""customParameters":{"payload":"AAAA","streamSid":"MZ9"},"streamSid""#);
        assert_eq!(Message::parse(decoy.as_bytes()), Ok(Message::Media(expected())));
        let quoted = MEDIA.replace(r#""chunk":"1""#, r#""chunk":"\",\"payload\":\"AAAA""#);
        assert_eq!(Message::parse(quoted.as_bytes()), Ok(Message::Media(expected())));
    }

    #[test]
    fn a_member_given_twice_is_refused() {
        let twice = MEDIA.replace(r#""payload":"////""#, r#""payload":"////","payload":"AAAA""#);
        assert_eq!(Message::parse(twice.as_bytes()), Err("wrong_shape"));
    }

    #[test]
    fn every_announced_format_is_read() {
        let table = [
            ("audio/x-mulaw", 8_000, Some(1), Some(Format::PCMU)),
            ("audio/x-alaw", 8_000, None, Some(Format::PCMA)),
            ("audio/x-L16", 16_000, Some(1), Some(Format::L16_16K)),
            ("audio/l16;rate=24000", 24_000, Some(1), Some(Format::L16_24K)),
            ("audio/x-mulaw", 16_000, Some(1), None),
            ("audio/x-mulaw", 8_000, Some(2), None),
            ("audio/opus", 48_000, Some(1), None),
        ];
        for (encoding, sample_rate, channels, format) in table {
            let part = FormatPart { encoding: encoding.into(), sample_rate, channels };
            assert_eq!(part.format(), format, "{encoding} {sample_rate}");
        }
    }

    proptest! {
        #[test]
        fn the_short_ways_decline_or_agree_with_the_long_way(
            place in 0..MEDIA.len(), byte: u8, cut in 0..MEDIA.len(), insert: bool,
        ) {
            let mut text = MEDIA.as_bytes().to_vec();
            if insert { text.insert(place, byte) } else { text[place] = byte }
            let cut_short = &text[..cut];
            for text in [&text[..], cut_short] {
                let has_audio = |media: &Media<'_>| Payload::base64(media.payload.to_vec().into()).is_ok();
                for short in [usual_media, plain_media] {
                    if let Some(media) = short(text).filter(has_audio) {
                        prop_assert_eq!(Message::parse_any(text), Ok(Message::Media(media)));
                    }
                }
            }
        }
    }
}
