//! Reads one table of the configuration key by key, and finds what nobody asked for.

mod secrets;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::fault::{Fault, Place};
use super::tree::{Entry, Node, Table, Value};
use crate::secret::Secret;

/// What reading needs and gathers: variables for secrets, faults, and the files that were read.
pub(super) struct Reading<'a> {
    pub(super) variables: &'a BTreeMap<String, String>,
    /// Secrets of the store, by tenant and name.
    pub(super) sealed: &'a BTreeMap<(String, String), Secret>,
    pub(super) faults: RefCell<Vec<Fault>>,
    pub(super) files: RefCell<Vec<PathBuf>>,
}

impl Reading<'_> {
    pub(super) fn fault(&self, place: &Place, what: impl Into<String>, advice: impl Into<String>) {
        let fault = Fault { place: place.clone(), what: what.into(), advice: advice.into() };
        self.faults.borrow_mut().push(fault);
    }
}

/// A value that was read, with its place for later complaints.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// One table. Its getters answer `None` when the key is absent or faulty; faults go to the [`Reading`].
pub(super) struct Section<'a> {
    reading: &'a Reading<'a>,
    path: String,
    place: Place,
    table: Table,
    asked: Vec<&'static str>,
    faults_before: usize,
}

impl<'a> Section<'a> {
    pub(super) fn new(reading: &'a Reading<'a>, path: &str, place: Place, table: Table) -> Self {
        let faults_before = reading.faults.borrow().len();
        Self { reading, path: path.to_owned(), place, table, asked: Vec::new(), faults_before }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Where `key` is written; the section itself when it is not. To be asked before the key is read.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.table.get(key).map_or_else(|| self.place.clone(), |entry| entry.node.place.clone())
    }

    /// Whether nothing is written here that was not read yet.
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn fault(&self, place: &Place, what: impl Into<String>, advice: impl Into<String>) {
        self.reading.fault(place, what, advice);
    }

    /// How many faults there are so far, anywhere.
    pub(super) fn fault_count(&self) -> usize {
        self.reading.faults.borrow().len()
    }

    /// Whether a fault of this section was noted since it was opened: then what is missing may be a consequence.
    pub(super) fn has_fault_below(&self) -> bool {
        self.fault_count() > self.faults_before
    }

    fn take(&mut self, key: &'static str) -> Option<Node> {
        self.asked.push(key);
        self.table.remove(key).map(|entry| entry.node)
    }

    /// `section.key`, as messages name it.
    pub(super) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong<T>(&self, key: &str, place: &Place, wanted: &str, example: &str) -> Option<T> {
        let what = format!("`{}` takes {wanted}", self.name(key));
        self.fault(place, what, format!("write {key} = {example}"));
        None
    }

    /// Text.
    pub(super) fn text(&mut self, key: &'static str, example: &str) -> Option<Located<String>> {
        let node = self.take(key)?;
        match node.value {
            Value::Text(value) | Value::Loose(value) => Some(Located { value, place: node.place }),
            _ => self.wrong(key, &node.place, "text", &format!("\"{example}\"")),
        }
    }

    /// Text, where empty means none.
    pub(super) fn optional(&mut self, key: &'static str, example: &str) -> Option<Located<String>> {
        self.text(key, example).filter(|text| !text.value.trim().is_empty())
    }

    /// Text that `parse` understands; it answers what is wrong and what to write.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, (String, String)>,
    ) -> Option<Located<T>> {
        let text = self.text(key, example)?;
        match parse(&text.value) {
            Ok(value) => Some(Located { value, place: text.place }),
            Err((what, advice)) => {
                self.fault(&text.place, format!("`{}` {what}", self.name(key)), advice);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<Located<T>> {
        let listed = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let near = |text: &str| nearest(text, words.iter().map(|(word, _)| *word));
        self.parsed(key, words.first().map_or("", |(word, _)| *word), |text| {
            let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            found.ok_or_else(|| {
                let instead = near(text).map_or_else(|| listed.clone(), |word| format!("\"{word}\""));
                (format!("takes {listed}"), format!("write {key} = {instead}"))
            })
        })
    }

    /// A whole number within `range`.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.take(key)?;
        let number = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Loose(text) => text.trim().parse().ok(),
            _ => None,
        };
        let (low, high) = (*range.start(), *range.end());
        let near = number.map_or(low, |number| number.clamp(low, high));
        number.filter(|number| range.contains(number)).or_else(|| {
            self.wrong(key, &node.place, &format!("a whole number from {low} to {high}"), &near.to_string())
        })
    }

    /// A number within `range`.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let node = self.take(key)?;
        let number = match &node.value {
            Value::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            Value::Float(number) => Some(*number),
            Value::Loose(text) => text.trim().parse().ok(),
            _ => None,
        };
        let (low, high) = (*range.start(), *range.end());
        number.filter(|number| range.contains(number)).or_else(|| {
            self.wrong(key, &node.place, &format!("a number from {low} to {high}"), &low.to_string())
        })
    }

    /// `true` or `false`.
    pub(super) fn switch(&mut self, key: &'static str) -> Option<bool> {
        let node = self.take(key)?;
        match &node.value {
            Value::Switch(value) => Some(*value),
            Value::Loose(text) if matches!(text.trim(), "true" | "1") => Some(true),
            Value::Loose(text) if matches!(text.trim(), "false" | "0" | "") => Some(false),
            _ => self.wrong(key, &node.place, "true or false", "true"),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str, example: &str) -> Vec<Located<String>> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let one = |item: Node| match item.value {
            Value::Text(value) => Some(Located { value, place: item.place }),
            _ => self.wrong(key, &item.place, "a list of texts", &format!("[\"{example}\"]")),
        };
        match node.value {
            Value::List(items) => items.into_iter().filter_map(one).collect(),
            Value::Loose(text) => {
                split(&text).map(|value| Located { value, place: node.place.clone() }).collect()
            }
            _ => self
                .wrong(key, &node.place, "a list of texts", &format!("[\"{example}\"]"))
                .unwrap_or_default(),
        }
    }

    /// Texts by names that the user gives them, whatever the names are.
    pub(super) fn texts_by_name(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Vec<(String, Located<String>)> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let path = self.name(key);
        let wrong = |place: &Place, name: &str| {
            let what = format!("`{path}` takes texts by their names");
            self.fault(place, what, format!("write {key} = {{ {name} = \"{example}\" }}"));
        };
        let Value::Table(table) = node.value else {
            wrong(&node.place, "name");
            return Vec::new();
        };
        let one = |(name, entry): (String, Entry)| match entry.node.value {
            Value::Text(value) | Value::Loose(value) => {
                Some((name, Located { value, place: entry.node.place }))
            }
            _ => {
                wrong(&entry.node.place, &name);
                None
            }
        };
        table.into_iter().filter_map(one).collect()
    }

    /// A file: its path and what it holds. It is watched from then on.
    pub(super) fn file(&mut self, key: &'static str, example: &str) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.optional(key, example)?;
        self.reading.files.borrow_mut().push(PathBuf::from(&path.value));
        match std::fs::read(&path.value) {
            Ok(bytes) => Some((path.value.into(), bytes)),
            Err(error) => {
                let what = format!("the file of `{}` cannot be read ({})", self.name(key), error.kind());
                self.fault(&path.place, what, "check its path and its permissions");
                None
            }
        }
    }

    /// The table at `key`, empty when absent.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let path = self.name(key);
        let written = self.table.get(key).map(|entry| entry.key.clone());
        let (place, table) = match self.take(key) {
            Some(Node { place, value: Value::Table(table) }) => (written.unwrap_or(place), table),
            Some(node) => {
                self.fault(
                    &node.place,
                    format!("`{path}` is a section"),
                    format!("write [{path}] and its keys below"),
                );
                (node.place, Table::new())
            }
            None => (self.place.clone(), Table::new()),
        };
        Section::new(self.reading, &path, place, table)
    }

    /// The tables below `key`, each with the name that the user gave it.
    pub(super) fn named(&mut self, key: &'static str) -> Vec<(String, Section<'a>)> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let path = self.name(key);
        let Value::Table(table) = node.value else {
            self.fault(
                &node.place,
                format!("`{path}` is a section of named sections"),
                format!("write [{path}.NAME]"),
            );
            return Vec::new();
        };
        table.into_iter().filter_map(|(name, entry)| self.one_named(&path, name, entry)).collect()
    }

    fn one_named(&self, path: &str, name: String, entry: Entry) -> Option<(String, Section<'a>)> {
        if !is_name(&name) {
            let what = format!("a name below `{path}` has up to 64 of a-z, 0-9, `-` and `_`");
            self.fault(&entry.key, what, format!("write [{path}.{}]", as_name(&name)));
            return None;
        }
        let inner = format!("{path}.{name}");
        let Value::Table(table) = entry.node.value else {
            self.fault(
                &entry.key,
                format!("`{inner}` is a section"),
                format!("write [{inner}] and its keys below"),
            );
            return None;
        };
        Some((name, Section::new(self.reading, &inner, entry.key, table)))
    }

    /// Complains about every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, entry) in &self.table {
            let what = format!("unknown key `{}`", self.name(key));
            self.fault(&entry.key, what, self.instead_of(key, &entry.key));
        }
    }

    fn instead_of(&self, key: &str, place: &Place) -> String {
        let spelled = |word: &str| match place {
            Place::Variable(_) => format!("PATCHBAY__{}", self.name(word).replace('.', "__").to_uppercase()),
            _ => word.to_owned(),
        };
        if self.path.is_empty() && LATER.contains(&key) {
            return "remove it: this version does not use that section yet".into();
        }
        match nearest(key, self.asked.iter().copied()) {
            Some(word) => format!("write {} instead", spelled(word)),
            None => format!("known here: {}", self.asked.join(", ")),
        }
    }
}

/// Sections that later versions bring.
const LATER: &[&str] = &["cluster", "turn", "plugins"];

fn split(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned)
}

fn plain_text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) | Value::Loose(text) => Some(text),
        _ => None,
    }
}

pub(super) fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(word)
}

fn as_name(name: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let made: String = name.chars().take(64).map(word).collect();
    if made.is_empty() { "name".into() } else { made }
}

/// The word that a slip of the fingers most likely meant.
pub(super) fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let slips_max = (text.chars().count() / 3).max(2);
    let scored = words.map(|word| (distance(text, word), word));
    scored.filter(|(slips, _)| *slips <= slips_max).min_by_key(|(slips, _)| *slips).map(|(_, word)| word)
}

/// Levenshtein's distance, for short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
