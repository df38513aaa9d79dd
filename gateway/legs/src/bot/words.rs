//! [`Words`]: what the bot says, in the words of the realtime API, so that a page or an SDK shows a call with a bot as it shows one
//! with a model (`reference/realtime.md` §1.3, in the canonical order).

use patchbay_core::{Cut, Event, Outbox, Role, Told, UtteranceId};
use serde_json::{Value, json};

use super::{message, speech::item_of};

/// Most of a transcript that is kept for the end of an answer, in bytes.
const TEXT_MAX: usize = 32 * 1024;

/// What was said so far, as far as the next word depends on it.
#[derive(Debug, Default)]
pub(super) struct Words {
    last_item: Option<Box<str>>,
    answer: Option<Answer>,
    /// Number of the caller's items.
    turns: u32,
    /// What the bot wrote before it spoke.
    early: String,
}

#[derive(Debug)]
struct Answer {
    response: String,
    item: Box<str>,
    text: String,
}

impl Answer {
    fn of(&self, kind: &str) -> Value {
        json!({ "type": kind, "response_id": self.response, "item_id": self.item, "output_index": 0, "content_index": 0 })
    }
}

fn say(event: &Value, out: &mut Outbox) {
    out.event(Event::Told(Told::event(event.to_string().into())));
}

fn item(id: &str, role: &str, status: &str, content: &Value) -> Value {
    json!({ "id": id, "object": "realtime.item", "type": "message", "role": role, "status": status, "content": content })
}

fn response(id: &str, status: &str, output: &Value) -> Value {
    json!({ "id": id, "object": "realtime.response", "status": status, "output": output, "output_modalities": ["audio"] })
}

impl Words {
    /// The bot begins to speak.
    pub(super) fn begun(&mut self, utterance: UtteranceId, out: &mut Outbox) {
        let id = item_of(utterance);
        let before = self.last_item.replace(id.clone());
        let answer = Answer { response: format!("resp_{}", utterance.0), item: id, text: String::new() };
        let empty = item(&answer.item, "assistant", "in_progress", &json!([]));
        let mut part = answer.of("response.content_part.added");
        part["part"] = json!({ "type": "audio", "transcript": "" });
        for event in [
            json!({ "type": "response.created", "response": response(&answer.response, "in_progress", &json!([])) }),
            json!({ "type": "response.output_item.added", "response_id": answer.response, "output_index": 0, "item": empty }),
            json!({ "type": "conversation.item.added", "previous_item_id": before, "item": empty }),
            part,
        ] {
            say(&event, out);
        }
        let announced = answer.of("response.output_audio.delta").to_string().into();
        out.event(Event::Told(Told { utterance: Some(utterance), event: announced }));
        self.answer = Some(answer);
        let early = std::mem::take(&mut self.early);
        if !early.is_empty() {
            self.spoken(&early, out);
        }
    }

    /// The bot has spoken, or was stopped.
    pub(super) fn ended(&mut self, status: &str, out: &mut Outbox) {
        let Some(answer) = self.answer.take() else { return };
        let of_item = if status == "completed" { "completed" } else { "incomplete" };
        let content = json!([{ "type": "output_audio", "transcript": answer.text }]);
        let whole = item(&answer.item, "assistant", of_item, &content);
        let mut words = answer.of("response.output_audio_transcript.done");
        words["transcript"] = answer.text.as_str().into();
        let mut part = answer.of("response.content_part.done");
        part["part"] = json!({ "type": "audio", "transcript": answer.text });
        for event in [
            answer.of("response.output_audio.done"),
            words,
            part,
            json!({ "type": "conversation.item.done", "previous_item_id": null, "item": whole }),
            json!({ "type": "response.output_item.done", "response_id": answer.response, "output_index": 0, "item": whole }),
            json!({ "type": "response.done", "response": response(&answer.response, status, &json!([whole])) }),
        ] {
            say(&event, out);
        }
    }

    /// The bot says what was said.
    pub(super) fn transcript(&mut self, role: Role, text: &str, is_final: bool, out: &mut Outbox) {
        match role {
            Role::Model => self.spoken(text, out),
            Role::Caller => {
                let id = format!("item_caller_{}", self.turns);
                let (kind, key) = if is_final { ("completed", "transcript") } else { ("delta", "delta") };
                let kind = format!("conversation.item.input_audio_transcription.{kind}");
                let mut event = json!({ "type": kind, "item_id": id, "content_index": 0 });
                event[key] = text.into();
                say(&event, out);
                self.turns += u32::from(is_final);
            }
        }
    }

    fn spoken(&mut self, text: &str, out: &mut Outbox) {
        let Some(answer) = &mut self.answer else {
            if self.early.len() + text.len() <= TEXT_MAX {
                self.early.push_str(text);
            }
            return;
        };
        if answer.text.len() + text.len() <= TEXT_MAX {
            answer.text.push_str(text);
        }
        let mut event = answer.of("response.output_audio_transcript.delta");
        event["delta"] = text.into();
        say(&event, out);
    }

    pub(super) fn truncated(&mut self, cut: &Cut, out: &mut Outbox) {
        let event = json!({ "type": "conversation.item.truncated", "item_id": item_of(cut.utterance),
            "content_index": 0, "audio_end_ms": cut.heard.as_ms() });
        say(&event, out);
    }

    /// What a client of the realtime API says: its settings are acknowledged, what it writes reaches the bot as a transcript.
    pub(super) fn on_told(&mut self, told: &Told, out: &mut Outbox) {
        let Ok(mut event) = serde_json::from_slice::<Value>(&told.event) else { return };
        match event["type"].as_str().unwrap_or_default() {
            "session.update" => say(&json!({ "type": "session.updated", "session": event["session"].take() }), out),
            "conversation.item.create" => self.written(event["item"].take(), out),
            "input_audio_buffer.clear" => say(&json!({ "type": "input_audio_buffer.cleared" }), out),
            _ => {}
        }
    }

    fn written(&mut self, mut item: Value, out: &mut Outbox) {
        if !item.is_object() {
            return;
        }
        if !item["id"].is_string() {
            item["id"] = format!("item_written_{}", self.turns).into();
            self.turns += 1;
        }
        let parts = item["content"].as_array().into_iter().flatten();
        let text: Vec<_> = parts.filter_map(|part| part["text"].as_str()).collect();
        if !text.is_empty() {
            let event = json!({ "type": "transcript", "role": "user", "text": text.join("\n"), "final": true });
            message::tell(&event, out);
        }
        item["object"] = "realtime.item".into();
        item["status"] = "completed".into();
        let before = self.last_item.take();
        for kind in ["conversation.item.added", "conversation.item.done"] {
            say(&json!({ "type": kind, "previous_item_id": before, "item": item }), out);
        }
        self.last_item = item["id"].as_str().map(Into::into);
    }
}
