//! `output_audio_buffer.*`: what OpenAI's server tells a WebRTC client of the audio that it sends
//! (<https://platform.openai.com/docs/api-reference/realtime-server-events>, November 2026).

use bytes::BytesMut;
use patchbay_core::{Frame, Outbox, UtteranceId};

/// What is being played.
#[derive(Default)]
pub(super) struct Output {
    playing: Option<UtteranceId>,
    events: u64,
}

impl Output {
    /// Whether anything is.
    pub(super) fn is_playing(&self) -> bool {
        self.playing.is_some()
    }

    /// A frame leaves: of a new utterance, playing starts.
    pub(super) fn plays(&mut self, frame: &Frame, out: &mut Outbox) {
        let Some(utterance) = frame.utterance.filter(|utterance| self.playing != Some(*utterance)) else {
            return;
        };
        self.stopped(out);
        self.playing = Some(utterance);
        self.tell("started", out);
    }

    /// All of it was heard.
    pub(super) fn stopped(&mut self, out: &mut Outbox) {
        if self.playing.take().is_some() {
            self.tell("stopped", out);
        }
    }

    /// It was cut.
    pub(super) fn cleared(&mut self, out: &mut Outbox) {
        if self.playing.take().is_some() {
            self.tell("cleared", out);
        }
    }

    fn tell(&mut self, what: &str, out: &mut Outbox) {
        self.events += 1;
        let event = format!(
            r#"{{"type":"output_audio_buffer.{what}","event_id":"event_out_{}"}}"#,
            self.events
        );
        out.text(|text: &mut BytesMut| text.extend_from_slice(event.as_bytes()));
    }
}
