//! What a bot says that was written for Twilio: `media`, `mark` and `clear`, each with the SID of its stream.

use std::borrow::Cow;

use serde::Deserialize;

/// Longest name of a mark that is kept.
const NAME_BYTES_MAX: usize = 1024;

/// One message of the bot's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Base64, not checked yet.
    Media(Cow<'a, str>),
    Mark(Cow<'a, str>),
    Clear,
}

/// As it is on the wire. Twilio takes no other member; we do not mind them.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, rename = "streamSid")]
    sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    media: Option<Media<'a>>,
    #[serde(borrow)]
    mark: Option<Mark<'a>>,
}

#[derive(Deserialize)]
struct Media<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Mark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl<'a> Message<'a> {
    /// Parses one message of the stream `sid`.
    ///
    /// # Errors
    /// A short token for the counter.
    pub(super) fn parse(text: &'a [u8], sid: &str) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "invalid_utf8")?;
        let said: Said<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => "wrong_shape",
            _ => "invalid_json",
        })?;
        if said.sid.is_none_or(|named| named != sid) {
            return Err("wrong_stream");
        }
        match (&*said.event, said.media, said.mark) {
            ("media", Some(media), _) => Ok(Self::Media(media.payload)),
            ("mark", _, Some(mark)) if mark.name.len() <= NAME_BYTES_MAX => Ok(Self::Mark(mark.name)),
            ("clear", ..) => Ok(Self::Clear),
            ("media" | "mark", ..) => Err("wrong_shape"),
            _ => Err("unknown_event"),
        }
    }
}
