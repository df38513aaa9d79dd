//! What a simulated caller says when nobody chose anything else.

use patchbay_core::Format;

use super::wav;

/// "What time do you close on Sundays?" (fixtures/README.md).
const SPEECH: &[u8] = include_bytes!("../../../../fixtures/audio/caller-short.wav");

/// It, in PCM16 of some rate or as µ-law.
#[must_use]
pub fn speech(format: Format) -> Vec<u8> {
    wav::read_embedded(SPEECH, format).expect("the embedded WAV is a WAV")
}
