//! The items of the conversation: told, deleted, truncated, as the client asks.

use patchbay_core::{Instant, MediaTime};
use serde_json::{Value, json};

use super::settings::{Complaint, complain};
use super::{ITEMS_MAX, Item, RealtimeDouble, Shape, Truncation};

impl RealtimeDouble {
    pub(super) fn keep(&mut self, item: Item) {
        if self.ledger.items.len() < ITEMS_MAX {
            self.ledger.items.push(item);
        }
    }

    /// Announces an item: GA in two events, the beta in one.
    pub(super) fn add_item(&mut self, id: &str, role: &str, content: &Value, status: &str, now: Instant) {
        let item = json!({"id": id, "object": "realtime.item", "type": "message", "status": status,
            "role": role, "content": content});
        if self.accepted.shape == Shape::Flat {
            return self.say(json!({"type": "conversation.item.created", "item": item}), now);
        }
        self.say(json!({"type": "conversation.item.added", "item": item}), now);
        if status == "completed" {
            self.say(json!({"type": "conversation.item.done", "item": item}), now);
        }
    }

    pub(super) fn create_item(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let item = &event["item"];
        let role = item["role"].as_str().unwrap_or_default();
        if item["type"] != "message" {
            return Err(complain("invalid_value", "item.type", "This double takes messages only."));
        }
        let written = match (role, self.accepted.shape) {
            ("assistant", Shape::Flat) => "text",
            ("assistant", _) => "output_text",
            ("user" | "system", _) => "input_text",
            _ => return Err(complain("invalid_value", "item.role", format!("Invalid value: '{role}'."))),
        };
        let parts = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        if parts.is_empty() || parts.iter().any(|part| part["type"] != written) {
            let message = format!("Invalid content for role '{role}'. Supported: '{written}'.");
            return Err(complain("invalid_value", "item.content[0].type", message));
        }
        let id = item["id"].as_str().map_or_else(|| self.id("item"), str::to_owned);
        if id.len() > 32 {
            return Err(complain("string_above_max_length", "item.id", "At most 32 characters."));
        }
        if self.ledger.items.iter().any(|kept| kept.id == id) {
            let message = format!("Error adding item: an item with id '{id}' already exists.");
            return Err(complain("item_create_duplicate_item_id", "item.id", message));
        }
        let previous = event["previous_item_id"].as_str();
        if previous.is_some_and(|p| p != "root" && !self.ledger.items.iter().any(|kept| kept.id == p)) {
            return Err(complain("invalid_value", "previous_item_id", "No such item."));
        }
        let text = parts.iter().filter_map(|part| part["text"].as_str()).collect::<String>();
        self.add_item(&id, role, &item["content"], "completed", now);
        let item = Item { id, role: role.into(), text, sent: MediaTime::ZERO };
        match previous.map(|p| self.ledger.items.iter().position(|kept| kept.id == p)) {
            Some(place) if self.ledger.items.len() < ITEMS_MAX => {
                self.ledger.items.insert(place.map_or(0, |at| at + 1), item);
            }
            _ => self.keep(item),
        }
        Ok(())
    }

    pub(super) fn find_item(&self, event: &Value, code: &'static str) -> Result<usize, Complaint> {
        let id = event["item_id"].as_str().unwrap_or_default();
        let found = self.ledger.items.iter().position(|item| item.id == id);
        found.ok_or_else(|| complain(code, "item_id", format!("Item with id '{id}' does not exist.")))
    }

    pub(super) fn delete_item(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let index = self.find_item(event, "item_delete_invalid_item_id")?;
        let id = self.ledger.items.remove(index).id;
        self.say(json!({"type": "conversation.item.deleted", "item_id": id}), now);
        self.ledger.deletions.push(id);
        Ok(())
    }

    pub(super) fn retrieve(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let index = self.find_item(event, "item_retrieve_invalid_item_id")?;
        let item = json!({"id": self.ledger.items[index].id, "type": "message"});
        self.say(json!({"type": "conversation.item.retrieved", "item": item}), now);
        Ok(())
    }

    pub(super) fn truncate(&mut self, event: &Value, now: Instant) -> Result<(), Complaint> {
        let index = self.find_item(event, "item_truncate_invalid_item_id")?;
        let end = event["audio_end_ms"].as_u64().ok_or_else(|| {
            complain("invalid_type", "audio_end_ms", "'audio_end_ms' must be an integer of milliseconds.")
        })?;
        let item = &self.ledger.items[index];
        let (id, sent) = (item.id.clone(), item.sent);
        let verdict = if item.role != "assistant" || sent.is_zero() {
            Err(complain(
                "unsupported_content_type",
                "item_id",
                "Only model output audio messages can be truncated",
            ))
        } else if end > sent.as_ms() {
            let message = format!("Audio content of {}ms is already shorter than {end}ms", sent.as_ms());
            Err(complain("invalid_value", "audio_end_ms", message))
        } else {
            Ok(())
        };
        let accepted = verdict.is_ok();
        self.ledger.truncations.push(Truncation { item: id.clone(), audio_end_ms: end, sent, accepted });
        verdict?;
        // The provider forgets the transcript of a truncated item.
        self.ledger.items[index].text.clear();
        let event = json!({"type": "conversation.item.truncated", "item_id": id,
            "content_index": event["content_index"], "audio_end_ms": end});
        self.say(event, now);
        Ok(())
    }
}
