//! The provider's answers: begun, spoken in bursts in the canonical order of events, cancelled, billed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use patchbay_core::{Instant, MediaTime, Payload, Wire};
use serde_json::{Value, json};

use super::settings::{Complaint, complain};
use super::speaking::{Part, Speaking, Stage};
use super::{Item, Phase, Point, RealtimeDouble, Response, Shape, Turn, script, words};

impl RealtimeDouble {
    pub(super) fn create_response(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let instructions = event["response"]["instructions"].as_str().map(str::to_owned);
        self.begin_response(instructions, now)
    }

    pub(super) fn begin_response(
        &mut self,
        instructions: Option<String>,
        now: Instant,
    ) -> Result<(), Complaint> {
        if let Some(speaking) = &self.speaking {
            let message =
                format!("Conversation already has an active response in progress: {}.", speaking.id);
            return Err(complain("conversation_already_has_active_response", "", message));
        }
        self.idle_at = None;
        let id = self.id("resp");
        let turn = self.ledger.responses.len() % self.script.turns.len().max(1);
        let (says, failure) = match self.script.turns.get(turn) {
            Some(Turn::Say(says)) => {
                let output = self.settings.output;
                (says.iter().map(|say| (say.text.clone(), say.in_format(output))).collect(), None)
            }
            Some(Turn::Fail(code)) => (Vec::new(), Some(code.clone())),
            Some(Turn::Echo) | None => (vec![(String::new(), self.echo())], None),
        };
        let parts = says.into_iter().enumerate().map(|(index, (text, audio))| {
            let item = self.id("item");
            Part { item, text, audio, sent: 0, told: 0, index }
        });
        let parts = parts.collect();
        let at = now + Duration::from_millis(self.script.think_ms);
        self.ledger.responses.push(Response {
            id: id.clone(),
            status: "in_progress",
            instructions: instructions.clone(),
            sent: MediaTime::ZERO,
        });
        self.speaking = Some(Speaking {
            id,
            parts,
            done: Vec::new(),
            at,
            stage: Stage::Thinking,
            failure,
            late: 0,
            cancelled: None,
            instructions,
            first: true,
            middle: true,
        });
        Ok(())
    }

    pub(super) fn echo(&self) -> Bytes {
        script::convert(self.settings.input, self.settings.output, &self.last_turn).into()
    }

    pub(super) fn cancel_by_client(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        self.ledger.cancels += 1;
        let wanted = event["response_id"].as_str();
        let active = self.speaking.as_ref().filter(|s| s.cancelled.is_none());
        if active.is_none_or(|s| wanted.is_some_and(|id| id != s.id)) {
            let message = "Cancellation failed: no active response found";
            return Err(complain("response_cancel_not_active", "", message));
        }
        self.cancel("client_cancelled", now);
        Ok(())
    }

    pub(super) fn cancel(&mut self, reason: &'static str, now: Instant) {
        let late = self.script.late_deltas;
        let Some(speaking) = self.speaking.as_mut().filter(|s| s.cancelled.is_none()) else { return };
        speaking.cancelled = Some(reason);
        if speaking.stage == Stage::Speaking && late > 0 {
            speaking.late = late;
            return;
        }
        if speaking.stage == Stage::Thinking {
            self.announce(now);
        }
        self.finish(now);
    }

    pub(super) fn announce(&mut self, now: Instant) {
        let Some(speaking) = &self.speaking else { return };
        let response = json!({"id": speaking.id, "object": "realtime.response", "status": "in_progress",
            "output": [], "conversation_id": "conv_double", "metadata": null, "usage": null,
            "instructions": speaking.instructions});
        self.say(json!({"type": "response.created", "response": response}), now);
    }

    /// Sends what is due of the answer in progress.
    pub(super) fn speak(&mut self, now: Instant) {
        let Some(speaking) = &mut self.speaking else { return };
        match speaking.stage {
            Stage::Thinking => {
                speaking.stage = Stage::Opening;
                self.announce(now);
                self.reach(Point::ResponseCreated, now);
            }
            Stage::Opening => {
                let empty = speaking.parts.is_empty() || speaking.failure.is_some();
                speaking.stage = if empty { Stage::Closing } else { Stage::Speaking };
                if !empty {
                    self.open_part(now);
                }
            }
            Stage::Speaking => self.speak_delta(now),
            Stage::Closing => self.finish(now),
        }
    }

    pub(super) fn open_part(&mut self, now: Instant) {
        let Some((response, part)) =
            self.speaking.as_ref().and_then(|s| Some((s.id.clone(), s.parts.front()?)))
        else {
            return;
        };
        let (item, index) = (part.item.clone(), part.index);
        let head = json!({"id": item, "object": "realtime.item", "type": "message", "status": "in_progress",
            "role": "assistant", "content": []});
        self.say(
            json!({"type": "response.output_item.added", "response_id": response, "output_index": index, "item": head}),
            now,
        );
        self.add_item(&item, "assistant", &json!([]), "in_progress", now);
        self.keep(Item {
            id: item.clone(),
            role: "assistant".into(),
            text: String::new(),
            sent: MediaTime::ZERO,
        });
        let part = json!({"type": "response.content_part.added", "response_id": response, "item_id": item,
            "output_index": index, "content_index": 0, "part": {"type": "audio", "transcript": ""}});
        self.say(part, now);
    }

    pub(super) fn speak_delta(&mut self, now: Instant) {
        let pace = self.script.pace;
        let bytes = self.settings.output.bytes_for(MediaTime::from_ms(pace.delta_ms)).unwrap_or(1);
        let Some(speaking) = &mut self.speaking else { return };
        if speaking.cancelled.is_some() && speaking.late == 0 {
            return self.finish(now);
        }
        speaking.late = speaking.late.saturating_sub(1);
        speaking.at = now + Duration::from_millis(pace.every_ms.max(1));
        let next = speaking.parts.front_mut().and_then(|part| part.next(bytes));
        let Some((audio, words)) = next else {
            self.close_part(now);
            if let Some(speaking) = self.speaking.as_mut() {
                speaking.stage = Stage::Opening;
                speaking.at = now;
            }
            return;
        };
        self.send_delta(audio, &words, now);
    }

    pub(super) fn send_delta(&mut self, audio: Bytes, words: &str, now: Instant) {
        let output = self.settings.output;
        let Some(speaking) = &mut self.speaking else { return };
        let Some(part) = speaking.parts.front() else { return };
        let first = std::mem::replace(&mut speaking.first, false);
        let middle = part.is_past_middle() && std::mem::replace(&mut speaking.middle, false);
        let (response, item, index) = (speaking.id.clone(), part.item.clone(), part.index);
        let sent = part.duration(output);
        if !words.is_empty() {
            let name = self.name("transcript.delta");
            self.say(
                json!({"type": name, "response_id": response, "item_id": item, "output_index": index,
                    "content_index": 0, "delta": words}),
                now,
            );
        }
        let span = output.duration_of(audio.len()).unwrap_or_default();
        if let Some(record) = self.ledger.responses.last_mut() {
            record.sent += span;
        }
        if let Some(kept) = self.ledger.items.iter_mut().rev().find(|i| i.id == item) {
            kept.sent = sent;
        }
        let name = self.name("delta");
        let event = self.id("event");
        let mut text = BytesMut::with_capacity(256 + audio.len() / 3 * 4 + 4);
        let head = format!(
            r#"{{"type":"{name}","event_id":"{event}","response_id":"{response}","item_id":"{item}","output_index":{index},"content_index":0,"delta":""#
        );
        text.extend_from_slice(head.as_bytes());
        Payload::Raw(audio).write_base64(&mut text);
        text.extend_from_slice(br#""}"#);
        self.outgoing.push(Wire::Text(text.freeze()), now, &self.script);
        if first && self.reach(Point::FirstDelta, now) {
            return;
        }
        if middle {
            self.reach(Point::MidDeltas, now);
        }
    }

    /// The name of an audio event in this shape.
    pub(super) fn name(&self, piece: &str) -> String {
        let stem = match (self.accepted.shape, piece.starts_with("transcript")) {
            (Shape::Flat, true) => "response.audio_",
            (Shape::Flat, false) => "response.audio.",
            (_, true) => "response.output_audio_",
            (_, false) => "response.output_audio.",
        };
        format!("{stem}{piece}")
    }

    /// The tail of a part: done events in the canonical order.
    pub(super) fn close_part(&mut self, now: Instant) {
        let Some(speaking) = &mut self.speaking else { return };
        let Some(part) = speaking.parts.pop_front() else { return };
        let (response, status) =
            (speaking.id.clone(), speaking.cancelled.map_or("completed", |_| "incomplete"));
        let (item, index, text) = (part.item.clone(), part.index, part.told());
        speaking.done.push((item.clone(), text.clone()));
        if let Some(kept) = self.ledger.items.iter_mut().rev().find(|i| i.id == item) {
            kept.text.clone_from(&text);
        }
        let of = |name: String| json!({"type": name, "response_id": response, "item_id": item, "output_index": index, "content_index": 0});
        self.say(of(self.name("done")), now);
        if self.reach(Point::AudioDone, now) {
            return;
        }
        let mut event = of(self.name("transcript.done"));
        event["transcript"] = text.clone().into();
        self.say(event, now);
        let mut event = of("response.content_part.done".into());
        event["part"] = json!({"type": "audio", "transcript": text});
        self.say(event, now);
        let kind = if self.accepted.shape == Shape::Flat { "audio" } else { "output_audio" };
        let item = json!({"id": item, "object": "realtime.item", "type": "message", "status": status,
            "role": "assistant", "content": [{"type": kind, "transcript": text}]});
        if self.accepted.shape != Shape::Flat {
            self.say(json!({"type": "conversation.item.done", "item": item}), now);
        }
        self.say(
            json!({"type": "response.output_item.done", "response_id": response, "output_index": index, "item": item}),
            now,
        );
    }

    /// `response.done`, whatever the end.
    pub(super) fn finish(&mut self, now: Instant) {
        if self.speaking.as_ref().is_some_and(|s| s.cancelled.is_some() && s.stage == Stage::Speaking) {
            self.close_part(now);
        }
        if self.phase == Phase::Over {
            return;
        }
        let Some(speaking) = self.speaking.take() else { return };
        let (status, details) = match (&speaking.failure, speaking.cancelled) {
            (_, Some(reason)) => ("cancelled", json!({"type": "cancelled", "reason": reason})),
            (Some(code), None) => {
                let error = json!({"type": "server_error", "code": code, "message": "Scripted."});
                ("failed", json!({"type": "failed", "error": error}))
            }
            (None, None) => ("completed", Value::Null),
        };
        let usage = self.bill(&speaking);
        let output: Vec<Value> = speaking
            .done
            .iter()
            .map(|(item, text)| {
                json!({"id": item, "type": "message", "role": "assistant",
                "content": [{"type": "output_audio", "transcript": text}]})
            })
            .collect();
        let response = json!({"id": speaking.id, "object": "realtime.response", "status": status,
            "status_details": details, "output": output, "usage": usage});
        if let Some(record) = self.ledger.responses.last_mut() {
            record.status = status;
        }
        self.responses_done += 1;
        self.say(json!({"type": "response.done", "response": response}), now);
        if self.reach(Point::ResponseDone, now) {
            return;
        }
        self.say(
            json!({"type": "rate_limits.updated", "rate_limits": [
                {"name": "tokens", "limit": 40000, "remaining": 39000, "reset_seconds": 1.5}]}),
            now,
        );
        self.idle_at =
            self.script.faults.iter().any(|f| f.at == Point::Idle).then(|| now + Duration::from_secs(1));
    }

    /// One token for 100 ms heard and for 50 ms said (OpenAI's guide `realtime-costs`).
    pub(super) fn bill(&mut self, speaking: &Speaking) -> Value {
        let audio_in = std::mem::take(&mut self.audio_in_unbilled).as_ms() / 100;
        let sent = self.ledger.responses.last().map_or(MediaTime::ZERO, |r| r.sent);
        let audio_out = sent.as_ms() / 50;
        let text_out = speaking.done.iter().map(|(_, text)| words(text)).sum::<u64>();
        let text_in = 100 + 10 * u64::from(self.responses_done);
        let cached = if self.responses_done > 0 { 64 } else { 0 };
        self.ledger.usage.audio_in += audio_in;
        self.ledger.usage.audio_out += audio_out;
        self.ledger.usage.text_in += text_in;
        self.ledger.usage.text_out += text_out;
        json!({"total_tokens": audio_in + text_in + audio_out + text_out,
            "input_tokens": audio_in + text_in, "output_tokens": audio_out + text_out,
            "input_token_details": {"text_tokens": text_in, "audio_tokens": audio_in, "image_tokens": 0,
                "cached_tokens": cached,
                "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0}},
            "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out}})
    }
}
