//! The messages of Twilio's side, and what it accepts from ours.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use patchbay_core::{Codec, Wire};
use serde::Deserialize;

use super::Config;

/// The part of a `start` message: no `From` or `To` in it, numbers for rate and channels.
pub(super) fn start_part(config: &Config, sid_json: &str) -> String {
    let encoding = match config.format.codec {
        Codec::Pcmu => "audio/x-mulaw",
        Codec::Pcma => "audio/x-alaw",
        Codec::L16 => "audio/x-l16",
        Codec::Opus => "audio/opus",
    };
    let rate_hz = config.format.rate_hz;
    let (account, call) = (json(&config.account_sid), json(&config.call_sid));
    let parameters = serde_json::to_string(&config.custom_parameters).expect("strings are JSON");
    format!(
        r#"{{"streamSid":{sid_json},"accountSid":{account},"callSid":{call},"tracks":["inbound"],"mediaFormat":{{"encoding":"{encoding}","sampleRate":{rate_hz},"channels":1}},"customParameters":{parameters}}}"#,
    )
}

pub(super) fn text(message: impl Into<Bytes>) -> Wire {
    Wire::Text(message.into())
}

pub(super) fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

pub(super) fn message(event: &str, sequence: u64, sid_json: &str, part: &str) -> Wire {
    text(format!(
        r#"{{"event":"{event}","sequenceNumber":"{sequence}","streamSid":{sid_json},"{event}":{part}}}"#
    ))
}

pub(super) fn echo(name: &str, sequence: &mut u64, sid_json: &str, out: &mut Vec<Wire>) {
    *sequence += 1;
    out.push(message("mark", *sequence, sid_json, &format!(r#"{{"name":{}}}"#, json(name))));
}

/// What the gateway may say. A missing, wrong or additional member makes the message invalid (warning 31951).
pub(super) enum Said {
    Media(Bytes),
    Mark(Box<str>),
    Clear,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidWire<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, rename = "streamSid")]
    sid: Cow<'a, str>,
    #[serde(borrow)]
    media: Option<MediaWire<'a>>,
    #[serde(borrow)]
    mark: Option<MarkWire<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaWire<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkWire<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

pub(super) fn parse(text: &[u8], sid: &str) -> Option<Said> {
    let said: SaidWire<'_> = serde_json::from_slice(text).ok()?;
    if said.sid != sid {
        return None;
    }
    match (&*said.event, said.media, said.mark) {
        ("media", Some(media), None) => {
            let audio = STANDARD.decode(media.payload.as_bytes()).ok()?;
            (!audio.is_empty()).then(|| Said::Media(audio.into()))
        }
        ("mark", None, Some(mark)) => Some(Said::Mark(mark.name.into())),
        ("clear", None, None) => Some(Said::Clear),
        _ => None,
    }
}
