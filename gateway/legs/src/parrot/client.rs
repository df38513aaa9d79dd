//! What a client of the realtime API may ask of the parrot, so that the official SDKs work with no provider at all. What is
//! written to it, it writes back.

use bytes::Bytes;
use patchbay_core::{Event, Instant, Outbox, Told};
use serde_json::{Value, json};

use super::Parrot;
use crate::words::{Words, refuse, say};

/// Longest text that is written back, in characters.
const TEXT_MAX: usize = 4 * 1024;

/// What a client said, and is told.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) words: Words,
    /// What was written and not answered.
    written: Option<String>,
    /// What was committed by hand and not answered.
    committed: Bytes,
}

impl Default for Client {
    fn default() -> Self {
        Self { words: Words::of("parrot"), written: None, committed: Bytes::new() }
    }
}

impl Parrot {
    /// Takes what a client of the realtime API says.
    pub(super) fn told(&mut self, told: &Told, now: Instant, out: &mut Outbox) {
        let Some(client) = &mut self.client else { return };
        let Ok(mut event) = serde_json::from_slice::<Value>(&told.event) else { return };
        let id = event["event_id"].as_str().map(str::to_owned);
        match event["type"].as_str().unwrap_or_default() {
            "session.update" => {
                say(&json!({ "type": "session.updated", "session": event["session"] }), out);
            }
            "conversation.item.create" => {
                let text = client.words.create(event["item"].take(), out);
                client.written = text.map(|text| text.chars().take(TEXT_MAX).collect());
            }
            "conversation.item.delete" => {
                say(&json!({ "type": "conversation.item.deleted", "item_id": event["item_id"] }), out);
            }
            "conversation.item.retrieve" => {
                refuse("item_retrieve_invalid_item_id", "The parrot keeps no items.", id.as_deref(), out);
            }
            "input_audio_buffer.clear" => {
                self.hearing.forget();
                say(&json!({ "type": "input_audio_buffer.cleared" }), out);
            }
            "input_audio_buffer.commit" => self.commit(id.as_deref(), out),
            "response.create" => self.answer_client(id.as_deref(), now, out),
            "response.cancel" if self.answer.is_some() => self.stop(out),
            "response.cancel" => {
                refuse("response_cancel_not_active", "There is no active response to cancel.", id.as_deref(), out);
            }
            _ => {}
        }
    }

    fn commit(&mut self, event_id: Option<&str>, out: &mut Outbox) {
        let turn = self.hearing.take_turn(self.hearing.ear.heard());
        let Some(client) = &mut self.client else { return };
        if turn.is_empty() {
            return refuse("input_audio_buffer_commit_empty", "There is no audio to commit.", event_id, out);
        }
        client.committed = turn;
        let item = client.words.id("item");
        client.words.took_turn(item, out);
    }

    fn answer_client(&mut self, event_id: Option<&str>, now: Instant, out: &mut Outbox) {
        let Some(client) = &mut self.client else { return };
        if client.words.answers() {
            let code = "conversation_already_has_active_response";
            return refuse(code, "The conversation has an active response.", event_id, out);
        }
        let committed = std::mem::take(&mut client.committed);
        match client.written.take() {
            _ if !committed.is_empty() => self.say(committed, "(what you just said)", now, out),
            Some(text) => {
                out.event(Event::ResponseStarted);
                client.words.write(&text, out);
                out.event(Event::ResponseEnded { completed: true });
            }
            None => self.greet(now, out),
        }
    }
}
