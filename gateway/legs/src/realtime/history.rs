//! What was said, as text: all that a new connection to the model can be given, since spoken answers cannot be seeded.

use std::collections::VecDeque;

use patchbay_core::{MediaTime, Role};

/// Items kept.
const ITEMS_MAX: usize = 40;
/// Bytes of text kept in all.
const TEXT_BYTES_MAX: usize = 32 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    item: Box<str>,
    part: u32,
    pub(super) role: Role,
    pub(super) text: String,
    /// No more text is taken: it was cut to what was heard.
    cut: bool,
    /// The id under which this connection was told of it.
    pub(super) seed: Option<Box<str>>,
}

/// Text of both sides in the order of the conversation. Personal data: never printed.
#[derive(Clone, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    text_bytes: usize,
}

impl History {
    /// The items that have text, oldest first.
    pub(super) fn said(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|e| !e.text.trim().is_empty())
    }

    /// The items that have text, for naming them as they are told to a new connection.
    pub(super) fn said_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut().filter(|e| !e.text.trim().is_empty())
    }

    /// The seed of an item and that of the item before it.
    pub(super) fn seeds(&self, item: &str, part: u32) -> Option<(&str, Option<&str>)> {
        let at = self.entries.iter().position(|e| e.part == part && &*e.item == item)?;
        let before = self.entries.iter().take(at).rev().find_map(|e| e.seed.as_deref());
        Some((self.entries.get(at)?.seed.as_deref()?, before))
    }

    /// An item was told again, under another id; `None`: not at all.
    pub(super) fn reseed(&mut self, item: &str, part: u32, seed: Option<Box<str>>) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.part == part && &*e.item == item) {
            entry.seed = seed;
        }
    }

    /// Whether the newest item with text is the caller's.
    pub(super) fn ends_with_caller(&self) -> bool {
        self.said().last().is_some_and(|e| e.role == Role::Caller)
    }

    /// Reserves an item's place in the order of the conversation: its text may come later than that of its answer.
    pub(super) fn place(&mut self, item: &str, part: u32, role: Role) {
        if self.entries.iter().any(|e| e.part == part && &*e.item == item) {
            return;
        }
        self.entries.push_back(Entry { item: item.into(), part, role, text: String::new(), cut: false, seed: None });
        self.forget();
    }

    /// Adds the next piece. False when the item was cut: nobody heard it.
    pub(super) fn add(&mut self, item: &str, part: u32, role: Role, text: &str) -> bool {
        self.write(item, part, role, |entry| entry.text.push_str(text))
    }

    /// Sets the whole text. False when the item was cut.
    pub(super) fn set(&mut self, item: &str, part: u32, role: Role, text: &str) -> bool {
        self.write(item, part, role, |entry| text.clone_into(&mut entry.text))
    }

    fn write(&mut self, item: &str, part: u32, role: Role, change: impl FnOnce(&mut Entry)) -> bool {
        self.place(item, part, role);
        let entry = self.entries.iter_mut().rev().find(|e| e.part == part && &*e.item == item);
        let Some(entry) = entry.filter(|e| !e.cut) else { return false };
        let before = entry.text.len();
        change(entry);
        let after = entry.text.len();
        self.text_bytes = (self.text_bytes + after).saturating_sub(before);
        self.forget();
        true
    }

    /// Cuts the model's text to the part that was heard, whole words only; the rest was never said. Returns what is
    /// left.
    pub(super) fn cut(&mut self, item: &str, part: u32, heard: MediaTime, received: MediaTime) -> Option<&str> {
        let entry = self.entries.iter_mut().rev().find(|e| e.part == part && &*e.item == item)?;
        entry.cut = true;
        let before = entry.text.len();
        let kept = heard_part(&entry.text, heard, received).len();
        entry.text.truncate(kept);
        self.text_bytes = self.text_bytes.saturating_sub(before - kept);
        Some(&entry.text)
    }

    /// Bounds items and bytes, oldest first; the newest item stays whatever its size, cut to the bound.
    fn forget(&mut self) {
        while self.entries.len() > 1 && (self.entries.len() > ITEMS_MAX || self.text_bytes > TEXT_BYTES_MAX) {
            let oldest = self.entries.pop_front().map_or(0, |e| e.text.len());
            self.text_bytes = self.text_bytes.saturating_sub(oldest);
        }
        if let Some(only) = self.entries.back_mut().filter(|_| self.text_bytes > TEXT_BYTES_MAX) {
            let mut end = TEXT_BYTES_MAX;
            while !only.text.is_char_boundary(end) {
                end -= 1;
            }
            only.text.truncate(end);
            self.text_bytes = end;
        }
    }
}

/// The part of `text` that was heard: by proportion, back to the end of a whole word.
fn heard_part(text: &str, heard: MediaTime, received: MediaTime) -> &str {
    if heard >= received {
        return text;
    }
    let characters = text.chars().count() as u64;
    let share = u128::from(characters) * u128::from(heard.ticks()) / u128::from(received.ticks().max(1));
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    let end = text.char_indices().nth(share).map_or(text.len(), |(at, _)| at);
    let whole_word = text[end..].starts_with(char::is_whitespace);
    let kept = if whole_word { end } else { text[..end].rfind(char::is_whitespace).unwrap_or(0) };
    text[..kept].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(history: &History) -> Vec<(Role, &str)> {
        history.said().map(|e| (e.role, e.text.as_str())).collect()
    }

    #[test]
    fn the_order_is_that_of_the_conversation_not_of_the_transcripts() {
        let mut history = History::default();
        history.place("u1", 0, Role::Caller);
        history.add("a1", 0, Role::Model, "Half past ");
        history.add("a1", 0, Role::Model, "nine.");
        history.set("u1", 0, Role::Caller, "When?");
        assert_eq!(texts(&history), [(Role::Caller, "When?"), (Role::Model, "Half past nine.")]);
    }

    #[test]
    fn what_was_not_heard_was_not_said() {
        let cases = [(0, ""), (10, ""), (250, "one"), (300, "one"), (999, "one two three"), (1000, "one two three four")];
        for (heard, left) in cases {
            let mut history = History::default();
            history.add("a", 0, Role::Model, "one two three four");
            let kept = history.cut("a", 0, MediaTime::from_ms(heard), MediaTime::from_ms(1000));
            assert_eq!(kept, Some(left), "{heard} ms");
            assert!(!history.add("a", 0, Role::Model, " five"), "late text is not taken");
            assert!(!history.set("a", 0, Role::Model, "one two three four five"));
            assert_eq!(history.said().count(), usize::from(!left.is_empty()));
        }
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        let mut history = History::default();
        history.add("a", 0, Role::Model, "ääää öööö üüüü");
        for heard in (0..1000).rev() {
            history.cut("a", 0, MediaTime::from_ms(heard), MediaTime::from_ms(1000));
        }
    }

    #[test]
    fn it_is_bounded_in_items_and_in_bytes() {
        let mut history = History::default();
        for n in 0..1000 {
            history.set(&format!("i{n}"), 0, Role::Caller, &"ä".repeat(n * 7));
            assert!(history.entries.len() <= ITEMS_MAX);
            let bytes: usize = history.entries.iter().map(|e| e.text.len()).sum();
            assert_eq!(bytes, history.text_bytes);
            assert!(bytes <= TEXT_BYTES_MAX);
        }
        history.set("huge", 0, Role::Model, &"ä".repeat(TEXT_BYTES_MAX));
        assert_eq!(history.entries.len(), 1);
        assert!(history.text_bytes <= TEXT_BYTES_MAX);
    }
}
