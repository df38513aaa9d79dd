//! How the messages of Twilio's side leave, and what it accepts from ours.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use patchbay_core::Wire;
use patchbay_legs::bot_twilio::Saying;
use serde::Deserialize;

/// One message as it is composed.
pub(super) fn text(compose: impl FnOnce(&mut BytesMut)) -> Wire {
    let mut text = BytesMut::new();
    compose(&mut text);
    Wire::Text(text.freeze())
}

pub(super) fn echo(name: &str, saying: &mut Saying, out: &mut Vec<Wire>) {
    out.push(text(|text| saying.mark(name, text)));
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
