//! Prompts inside the binary, so that they need no provider, disk or network. µ-law at 8 kHz, made by
//! `fixtures/make-audio.sh`.

use bytes::Bytes;
use patchbay_core::Prompts;

/// In English.
#[must_use]
pub fn english() -> Prompts {
    Prompts {
        filler: Bytes::from_static(include_bytes!("../prompts/en/filler.ulaw")),
        notice: Bytes::from_static(include_bytes!("../prompts/en/moment.ulaw")),
        budget: Bytes::from_static(include_bytes!("../prompts/en/budget.ulaw")),
        apology: Bytes::from_static(include_bytes!("../prompts/en/apology.ulaw")),
        recorded: Bytes::from_static(include_bytes!("../prompts/en/recorded.ulaw")),
    }
}
