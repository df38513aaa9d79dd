//! [`Words`]: what somebody says and hears who is no provider, in the words of the realtime API (`reference/realtime.md` §1.3, in
//! the canonical order), so that the official SDKs can talk to them.

use patchbay_core::{Cut, Event, MediaTime, Outbox, Told, UtteranceId};
use serde_json::{Value, json};

/// What was said so far, as far as the next word depends on it.
#[derive(Debug)]
pub(crate) struct Words {
    /// Who: part of every id.
    who: &'static str,
    /// Number of the last id that was given.
    given: u32,
    /// The item of the turn in progress.
    turn: String,
    /// The newest item.
    last_item: Option<String>,
    /// The answer in progress.
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    response: String,
    item: String,
    text: String,
}

pub(crate) fn say(event: &Value, out: &mut Outbox) {
    out.event(Event::Told(Told::event(event.to_string().into())));
}

pub(crate) fn refuse(code: &str, message: &str, event_id: Option<&str>, out: &mut Outbox) {
    let error = json!({ "type": "invalid_request_error", "code": code, "message": message, "param": null, "event_id": event_id });
    say(&json!({ "type": "error", "error": error }), out);
}

fn message(id: &str, role: &str, status: &str, content: &Value) -> Value {
    json!({ "id": id, "object": "realtime.item", "type": "message", "role": role, "status": status, "content": content })
}

impl Words {
    pub(crate) fn of(who: &'static str) -> Self {
        Self { who, given: 0, turn: String::new(), last_item: None, answer: None }
    }

    /// The name of an utterance.
    pub(crate) fn item_of(&self, utterance: UtteranceId) -> String {
        format!("item_{}_{}", self.who, utterance.0)
    }

    /// Whether an answer is in progress.
    pub(crate) fn answers(&self) -> bool {
        self.answer.is_some()
    }

    pub(crate) fn id(&mut self, kind: &str) -> String {
        self.given = self.given.wrapping_add(1);
        format!("{kind}_{}_w{}", self.who, self.given)
    }

    pub(crate) fn speech_started(&mut self, at: MediaTime, out: &mut Outbox) {
        self.turn = self.id("item");
        say(
            &json!({ "type": "input_audio_buffer.speech_started", "audio_start_ms": at.as_ms(), "item_id": self.turn }),
            out,
        );
    }

    pub(crate) fn speech_stopped(&mut self, at: MediaTime, out: &mut Outbox) {
        let item = self.turn.clone();
        say(
            &json!({ "type": "input_audio_buffer.speech_stopped", "audio_end_ms": at.as_ms(), "item_id": item }),
            out,
        );
        self.took_turn(item, out);
    }

    /// The turn of `item` is over.
    pub(crate) fn took_turn(&mut self, item: String, out: &mut Outbox) {
        let before = self.last_item.clone();
        say(
            &json!({ "type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": before }),
            out,
        );
        let content = json!([{ "type": "input_audio", "transcript": null }]);
        self.add(&message(&item, "user", "completed", &content), out);
    }

    /// An item that is whole as it comes.
    pub(crate) fn add(&mut self, item: &Value, out: &mut Outbox) {
        let before = self.last_item.take();
        for kind in ["conversation.item.added", "conversation.item.done"] {
            say(&json!({ "type": kind, "previous_item_id": before, "item": item }), out);
        }
        self.last_item = item["id"].as_str().map(str::to_owned);
    }

    /// An utterance begins. `text` is what is known of it.
    pub(crate) fn begun(&mut self, utterance: UtteranceId, text: &str, out: &mut Outbox) {
        let item = self.item_of(utterance);
        let response = self.open(&item, "audio", text, out);
        if !text.is_empty() {
            say(
                &json!({ "type": "response.output_audio_transcript.delta", "response_id": response, "item_id": item,
                    "output_index": 0, "content_index": 0, "delta": text }),
                out,
            );
        }
        let announced = json!({ "type": "response.output_audio.delta", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0 });
        out.event(Event::Told(Told { utterance: Some(utterance), event: announced.to_string().into() }));
    }

    /// A response with one item of one part begins.
    fn open(&mut self, item: &str, part: &str, text: &str, out: &mut Outbox) -> String {
        let response = self.id("resp");
        let before = self.last_item.replace(item.to_owned());
        let empty = message(item, "assistant", "in_progress", &json!([]));
        let part = if part == "audio" {
            json!({ "type": "audio", "transcript": "" })
        } else {
            json!({ "type": "text", "text": "" })
        };
        for event in [
            json!({ "type": "response.created", "response": self.response(&response, "in_progress", &json!([])) }),
            json!({ "type": "response.output_item.added", "response_id": response, "output_index": 0, "item": empty }),
            json!({ "type": "conversation.item.added", "previous_item_id": before, "item": empty }),
            json!({ "type": "response.content_part.added", "response_id": response, "item_id": item,
                "output_index": 0, "content_index": 0, "part": part }),
        ] {
            say(&event, out);
        }
        self.answer =
            Some(Answer { response: response.clone(), item: item.to_owned(), text: text.to_owned() });
        response
    }

    /// The utterance in progress is over: `completed` or `cancelled`.
    pub(crate) fn ended(&mut self, status: &str, out: &mut Outbox) {
        let Some(Answer { response, item, text }) = self.answer.take() else { return };
        let of = |kind: &str| json!({ "type": kind, "response_id": response, "item_id": item, "output_index": 0, "content_index": 0 });
        say(&of("response.output_audio.done"), out);
        let mut done = of("response.output_audio_transcript.done");
        done["transcript"] = text.as_str().into();
        say(&done, out);
        let part = json!({ "type": "audio", "transcript": text });
        let content = json!([{ "type": "output_audio", "transcript": text }]);
        self.close(&response, &item, status, &part, &content, out);
    }

    fn close(
        &mut self,
        response: &str,
        item: &str,
        status: &str,
        part: &Value,
        content: &Value,
        out: &mut Outbox,
    ) {
        let of_item = if status == "completed" { "completed" } else { "incomplete" };
        let whole = message(item, "assistant", of_item, content);
        for event in [
            json!({ "type": "response.content_part.done", "response_id": response, "item_id": item,
                "output_index": 0, "content_index": 0, "part": part }),
            json!({ "type": "conversation.item.done", "previous_item_id": null, "item": whole }),
            json!({ "type": "response.output_item.done", "response_id": response, "output_index": 0, "item": whole }),
            json!({ "type": "response.done", "response": self.response(response, status, &json!([whole])) }),
        ] {
            say(&event, out);
        }
    }

    pub(crate) fn truncated(&mut self, cut: &Cut, out: &mut Outbox) {
        let event = json!({ "type": "conversation.item.truncated", "item_id": self.item_of(cut.utterance),
            "content_index": 0, "audio_end_ms": cut.heard.as_ms() });
        say(&event, out);
    }

    /// An answer in writing, whole as it comes.
    pub(crate) fn write(&mut self, text: &str, out: &mut Outbox) {
        let item = self.id("item");
        let response = self.open(&item, "text", text, out);
        self.answer = None;
        let of = |kind: &str, key: &str| {
            let mut event = json!({ "type": kind, "response_id": response, "item_id": item, "output_index": 0,
                "content_index": 0 });
            event[key] = text.into();
            event
        };
        say(&of("response.output_text.delta", "delta"), out);
        say(&of("response.output_text.done", "text"), out);
        let part = json!({ "type": "text", "text": text });
        let content = json!([{ "type": "output_text", "text": text }]);
        self.close(&response, &item, "completed", &part, &content, out);
    }

    /// The other side wrote an item; answers its text.
    pub(crate) fn create(&mut self, mut item: Value, out: &mut Outbox) -> Option<String> {
        if !item["id"].is_string() {
            item["id"] = self.id("item").into();
        }
        item["object"] = "realtime.item".into();
        item["status"] = "completed".into();
        self.add(&item, out);
        let parts = item["content"].as_array().into_iter().flatten();
        let text = parts.filter_map(|part| part["text"].as_str()).next().or(item["output"].as_str());
        text.map(str::to_owned)
    }

    fn response(&self, id: &str, status: &str, output: &Value) -> Value {
        let details =
            (status == "cancelled").then(|| json!({ "type": "cancelled", "reason": "turn_detected" }));
        let tokens = json!({ "text_tokens": 0, "audio_tokens": 0 });
        let usage = (status != "in_progress").then(|| {
            json!({ "total_tokens": 0, "input_tokens": 0, "output_tokens": 0, "input_token_details": tokens,
                "output_token_details": tokens })
        });
        json!({
            "id": id, "object": "realtime.response", "status": status, "status_details": details, "output": output,
            "conversation_id": format!("conv_{}", self.who), "output_modalities": ["audio"], "max_output_tokens": "inf", "usage": usage,
            "metadata": null,
        })
    }
}
