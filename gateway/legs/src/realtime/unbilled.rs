//! What the provider will bill and has not told yet: the basis of an estimate when the connection goes first.
//!
//! Rates: OpenAI's guide `realtime-costs` (2026-11): one token for 100 ms of the caller, one for 50 ms of the model. Each
//! response is billed the whole conversation as input, and all the audio that it made, heard or not.

use patchbay_core::{Event, MediaTime, Outbox, Tokens, Usage};

use super::wire::ServerEvent;
use super::{Realtime, usage};

const HEARD_MS_PER_TOKEN: u64 = 100;
const SPOKEN_MS_PER_TOKEN: u64 = 50;
/// Of English text.
const BYTES_PER_TOKEN: usize = 4;

#[derive(Debug)]
pub(super) struct Unbilled {
    /// The provider's id of the connection; empty before it is known.
    connection: Box<str>,
    /// Tokens of the conversation, as the last account had it.
    text: u64,
    audio: u64,
    /// The caller's audio since then.
    heard: MediaTime,
    /// The model's, of the response in progress.
    spoken: MediaTime,
}

impl Unbilled {
    /// `instructions` are all that a fresh conversation holds.
    pub(super) fn new(instructions: Option<&str>) -> Self {
        Self {
            connection: "".into(),
            text: instructions.unwrap_or_default().len().div_ceil(BYTES_PER_TOKEN) as u64,
            audio: 0,
            heard: MediaTime::ZERO,
            spoken: MediaTime::ZERO,
        }
    }

    /// An event that may name the connection.
    pub(super) fn connected(&mut self, event: &ServerEvent) {
        if let Some(id) = event.session.as_ref().and_then(|session| session.id.as_deref())
            && self.connection.is_empty()
        {
            self.connection = id.into();
        }
    }

    /// The caller's audio went to the model.
    pub(super) fn heard(&mut self, span: MediaTime) {
        self.heard += span;
    }

    /// A response began.
    pub(super) fn begun(&mut self) {
        self.spoken = MediaTime::ZERO;
    }

    /// The model's audio came, wanted or not.
    pub(super) fn spoke(&mut self, span: Option<MediaTime>) {
        self.spoken += span.unwrap_or_default();
    }

    /// The provider's own account of a response, which says what the conversation has grown to.
    fn billed(&mut self, usage: &Usage) {
        self.text = usage.tokens.text_in.saturating_add(usage.tokens.text_out);
        self.audio = usage.tokens.audio_in.saturating_add(usage.tokens.audio_out);
        (self.heard, self.spoken) = (MediaTime::ZERO, MediaTime::ZERO);
    }

    /// An account of the response `id` in place of the provider's. Nothing is taken for cached: it may cost less.
    fn estimate(&self, id: &str) -> Usage {
        Usage {
            kind: usage::RESPONSE.into(),
            key: id.into(),
            estimated: true,
            tokens: Tokens {
                text_in: self.text,
                audio_in: self.audio.saturating_add(self.heard.as_ms().div_ceil(HEARD_MS_PER_TOKEN)),
                audio_out: self.spoken.as_ms().div_ceil(SPOKEN_MS_PER_TOKEN),
                ..Tokens::default()
            },
            ..Usage::default()
        }
    }
}

impl Realtime {
    /// Tells what the provider metered, keyed so that it can count only once.
    pub(super) fn report(&mut self, mut usage: Usage, out: &mut Outbox) {
        if usage.key.is_empty() {
            // Some compatible servers give no ids.
            usage.key = format!("message-{}", self.message).into();
        }
        if &*usage.kind == usage::RESPONSE && !usage.estimated {
            self.unbilled.billed(&usage);
        }
        usage.connection = self.unbilled.connection.clone();
        out.event(Event::UsageReported(usage));
    }

    /// The connection goes while a response is in progress: its account will never come.
    pub(super) fn estimate_unbilled(&mut self, out: &mut Outbox) {
        if let Some(id) = self.answering.active() {
            let usage = self.unbilled.estimate(id);
            self.report(usage, out);
        }
    }
}
