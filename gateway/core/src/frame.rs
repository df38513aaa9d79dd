//! Audio on its way: a [`Frame`] and the [`Payload`] it carries.

use base64_simd::{AsOut as _, STANDARD};
use bytes::{Bytes, BytesMut};

use crate::{Format, MediaTime, UtteranceId, opus_duration};

/// A frame's bytes in the form they arrived in. Base64 stays base64 when nobody needs the samples.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// Audio bytes.
    Raw(Bytes),
    /// Standard base64 with padding (RFC 4648 §4), checked by whoever made this, so that decoding cannot fail.
    Base64(Bytes),
}

/// Text that is not base64 with the standard alphabet and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload is not base64")]
pub struct BadBase64;

impl Payload {
    /// Takes `text` as base64 without decoding it: checks alphabet, padding and length only.
    ///
    /// # Errors
    /// [`BadBase64`] when a decoder would refuse it.
    pub fn base64(text: Bytes) -> Result<Self, BadBase64> {
        STANDARD.check(&text).map_err(|_| BadBase64)?;
        Ok(Self::Base64(text))
    }

    /// Length in audio bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Raw(bytes) => bytes.len(),
            Self::Base64(text) => {
                let padding = text.iter().rev().take_while(|b| **b == b'=').count();
                text.len() / 4 * 3 - padding
            }
        }
    }

    /// Whether there is no audio.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The audio bytes: free for `Raw`, decoded for `Base64`.
    #[must_use]
    pub fn to_raw(&self) -> Bytes {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Base64(text) => {
                let mut raw = vec![0; self.len()];
                let read = STANDARD
                    .decode(text, raw.as_mut_slice().as_out())
                    .expect("a Base64 payload was checked when it was made");
                debug_assert_eq!(read.len(), self.len());
                raw.into()
            }
        }
    }

    /// Appends the base64 text: copied for `Base64`, encoded for `Raw`.
    pub fn write_base64(&self, out: &mut BytesMut) {
        match self {
            Self::Base64(text) => out.extend_from_slice(text),
            Self::Raw(bytes) => {
                let start = out.len();
                out.resize(start + bytes.len().div_ceil(3) * 4, 0);
                let written = STANDARD.encode(bytes, out[start..].as_out());
                debug_assert_eq!(start + written.len(), out.len());
            }
        }
    }
}

/// Never prints audio: only its form and size.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let form = match self {
            Self::Raw(_) => "Raw",
            Self::Base64(_) => "Base64",
        };
        write!(f, "{form}({} bytes)", self.len())
    }
}

/// Contiguous mono audio of one format, usually 20 ms. Never control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Codec and rate of the payload.
    pub format: Format,
    /// The audio.
    pub payload: Payload,
    /// Where it starts on its leg's ingress timeline.
    pub pts: MediaTime,
    /// How long it plays.
    pub duration: MediaTime,
    /// The interruptible speech it belongs to; `None` for live audio.
    pub utterance: Option<UtteranceId>,
}

impl Frame {
    /// Live audio (no utterance); `duration` follows from the payload. One that cannot be is taken as 20 ms.
    #[must_use]
    pub fn live(format: Format, payload: Payload, pts: MediaTime) -> Self {
        let packet = || opus_duration(&payload.to_raw()).unwrap_or(MediaTime::FRAME);
        let duration = format.duration_of(payload.len()).unwrap_or_else(packet);
        Self { format, payload, pts, duration, utterance: None }
    }

    /// Like [`Frame::live`], belonging to `utterance`.
    #[must_use]
    pub fn speech(format: Format, payload: Payload, pts: MediaTime, utterance: UtteranceId) -> Self {
        Self { utterance: Some(utterance), ..Self::live(format, payload, pts) }
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> MediaTime {
        self.pts + self.duration
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn base64_is_accepted_exactly_when_a_decoder_accepts_it(text in "[A-Za-z0-9+/=\\-\\x00]{0,24}") {
            let accepted = Payload::base64(Bytes::from(text.clone())).is_ok();
            prop_assert_eq!(accepted, STANDARD.decode(&text).is_ok());
        }

        // Long enough for every width that the codec works in.
        #[test]
        fn one_wrong_character_is_found_wherever_it_stands(audio in prop::collection::vec(0u8.., 1..300), at: prop::sample::Index, wrong: u8) {
            let mut text = STANDARD.encode(&audio).into_bytes();
            let at = at.index(text.len());
            text[at] = wrong;
            let accepted = Payload::base64(Bytes::from(text.clone())).is_ok();
            prop_assert_eq!(accepted, STANDARD.decode(&text).is_ok());
        }

        #[test]
        fn raw_and_base64_say_the_same(audio: Vec<u8>) {
            let raw = Payload::Raw(audio.clone().into());
            let mut text = BytesMut::new();
            raw.write_base64(&mut text);
            let coded = Payload::base64(text.freeze()).unwrap();
            prop_assert_eq!(coded.len(), audio.len());
            prop_assert_eq!(coded.to_raw(), Bytes::from(audio));
        }
    }

    #[test]
    fn audio_is_never_printed() {
        assert_eq!(format!("{:?}", Payload::Raw(Bytes::from_static(b"secret"))), "Raw(6 bytes)");
    }
}
