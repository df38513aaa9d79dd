//! [`Told`]: what the two ends of a call say to each other in the words of OpenAI's realtime API.

use std::fmt;

use bytes::Bytes;

use crate::UtteranceId;

/// One event of OpenAI's realtime API, in its GA shape, from the one side of a call to the other: a server event from the
/// model's side, a client event from the other. Audio does not go this way but as frames.
///
/// `response.output_audio.delta` is the one event whose audio is left out: the model's side tells it once for each utterance,
/// before the utterance's first frame, so that the listener's side knows which item, response and part the frames are of.
#[derive(Clone, PartialEq, Eq)]
pub struct Told {
    /// The utterance that the event announces: set for `response.output_audio.delta` only.
    pub utterance: Option<UtteranceId>,
    /// The event: one JSON object.
    pub event: Bytes,
}

impl Told {
    /// An event that announces no utterance.
    #[must_use]
    pub fn event(event: Bytes) -> Self {
        Self { utterance: None, event }
    }
}

/// Never prints content: what was said is in it.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Told({} bytes)", self.event.len())
    }
}
