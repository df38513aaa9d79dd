//! The caller's turns, as the provider notices, commits and writes them down.

use std::time::Duration;

use patchbay_core::{Instant, MediaTime};
use serde_json::json;

use super::settings::{Complaint, complain};
use super::{Item, Phase, Point, RealtimeDouble, words};

impl RealtimeDouble {
    pub(super) fn speech_began(&mut self, at: MediaTime, now: Instant) {
        let Some(vad) = self.settings.vad else { return };
        let item = self.id("item");
        self.speech_item = Some(item.clone());
        let start = at.saturating_sub(MediaTime::from_ms(vad.prefix_ms)).as_ms();
        self.say(
            json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": start, "item_id": item}),
            now,
        );
        if self.reach(Point::SpeechStarted, now) {
            return;
        }
        if vad.interrupt_response {
            self.cancel("turn_detected", now);
        }
    }

    pub(super) fn speech_ended(&mut self, at: MediaTime, now: Instant) {
        let Some(vad) = self.settings.vad else { return };
        let item = self.speech_item.take().unwrap_or_else(|| self.id("item"));
        self.say(
            json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at.as_ms(), "item_id": item}),
            now,
        );
        if self.reach(Point::SpeechStopped, now) {
            return;
        }
        self.commit(item, now);
        if vad.create_response && self.phase == Phase::Open {
            // With the interruption switched off, an answer may still be running: the automatic one is refused.
            match self.begin_response(None, now) {
                Ok(()) => {}
                Err(complaint) => self.refuse(&complaint, None, now),
            }
        }
    }

    pub(super) fn commit_by_client(&mut self, now: Instant) -> Result<(), Complaint> {
        let least = self.settings.input.bytes_for(MediaTime::from_ms(100)).unwrap_or(0);
        if self.listening.buffer.len() < least {
            let held =
                self.settings.input.duration_of(self.listening.buffer.len()).unwrap_or_default().as_ms();
            let message =
                format!("Expected at least 100ms of audio, but buffer only has {held}.00ms of audio.");
            return Err(complain("input_audio_buffer_commit_empty", "", message));
        }
        let item = self.id("item");
        self.commit(item, now);
        Ok(())
    }

    pub(super) fn commit(&mut self, item: String, now: Instant) {
        self.last_turn = self.listening.commit();
        let span = self.settings.input.duration_of(self.last_turn.len()).unwrap_or_default();
        self.audio_in_unbilled += span;
        self.ledger.commits += 1;
        let previous = self.ledger.items.last().map(|i| i.id.clone());
        self.say(
            json!({"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": previous}),
            now,
        );
        let content = json!([{"type": "input_audio", "transcript": null}]);
        self.add_item(&item, "user", &content, "completed", now);
        self.keep(Item { id: item.clone(), role: "user".into(), text: String::new(), sent: MediaTime::ZERO });
        if self.settings.transcribes && !self.script.transcripts.is_empty() {
            let text = self.script.transcripts[self.turns_heard % self.script.transcripts.len()].clone();
            let due = now + Duration::from_millis(self.script.transcript_ms);
            self.transcripts.push_back((due, item, text, span));
        }
        self.turns_heard += 1;
        self.reach(Point::Committed, now);
    }

    pub(super) fn write_down(&mut self, item: &str, text: &str, span: MediaTime, now: Instant) {
        let name = |piece| format!("conversation.item.input_audio_transcription.{piece}");
        let usage = if self.script.transcription_by_time {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of a turn are exact in f64")]
            let seconds = span.as_ms() as f64 / 1000.0;
            json!({"type": "duration", "seconds": seconds})
        } else {
            let (heard, told) = (span.as_ms() / 100, words(text));
            self.ledger.usage.audio_in += heard;
            self.ledger.usage.text_out += told;
            json!({"type": "tokens", "total_tokens": heard + told, "input_tokens": heard, "output_tokens": told,
                "input_token_details": {"audio_tokens": heard, "text_tokens": 0}})
        };
        self.say(json!({"type": name("delta"), "item_id": item, "content_index": 0, "delta": text}), now);
        let whole = json!({"type": name("completed"), "item_id": item, "content_index": 0,
            "transcript": text, "usage": usage});
        self.say(whole, now);
        if let Some(kept) = self.ledger.items.iter_mut().find(|i| i.id == item) {
            text.clone_into(&mut kept.text);
        }
    }
}
