//! The configuration before it is understood: values with the places where they were written, merged layer by layer.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Place};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What can stand in a configuration.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// From a variable: text, number, switch or comma-separated list, as the key demands.
    Loose(String),
    Integer(i64),
    Float(f64),
    Switch(bool),
    List(Vec<Node>),
    Table(Table),
    /// A date: nothing here takes one.
    Other,
}

/// Keys with the place of the key itself.
pub(super) type Table = BTreeMap<String, Entry>;

/// A key's place and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) node: Node,
}

/// Parses TOML.
pub(super) fn parse(name: &Arc<str>, text: &str) -> Result<Table, Fault> {
    let table = DeTable::parse(text).map_err(|error| Fault {
        place: Place::in_text(name, text, error.span().map_or(0, |span| span.start)),
        what: syntax(error.message()),
        advice: "write TOML, one `key = value` a line".into(),
    })?;
    Ok(Layer { name: Some(name), text }.table(table.get_ref()))
}

/// Parses the built-in defaults, which are nobody's to correct: they have no places.
pub(super) fn parse_defaults(text: &str) -> Table {
    let table = DeTable::parse(text).expect("the defaults are TOML, which a test checks");
    Layer { name: None, text }.table(table.get_ref())
}

/// The parser's words, but never the text it stumbled on, which may be a secret.
fn syntax(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let quoted = first.find(['`', '"', '\'']).unwrap_or(first.len());
    format!("not TOML ({})", first[..quoted].trim_end_matches([' ', ',', ':']))
}

struct Layer<'a> {
    name: Option<&'a Arc<str>>,
    text: &'a str,
}

impl Layer<'_> {
    fn place(&self, offset: usize) -> Place {
        self.name.map_or(Place::Whole, |name| Place::in_text(name, self.text, offset))
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let place = self.place(key.span().start);
            (String::from(AsRef::<str>::as_ref(key.get_ref())), Entry { key: place, node: self.node(value) })
        };
        table.iter().map(entry).collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Other, Value::Integer)
            }
            DeValue::Float(number) => number.as_str().parse().map_or(Value::Other, Value::Float),
            DeValue::Boolean(switch) => Value::Switch(*switch),
            DeValue::Datetime(_) => Value::Other,
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { place, value }
    }
}

/// Lays `upper` over `lower`: tables merge, anything else replaces. A secret (`env`, `file` or `sealed`) replaces as a whole, so
/// that an `env` over a `file` does not leave both.
pub(super) fn merge(lower: &mut Table, upper: Table) {
    for (key, entry) in upper {
        match (lower.get_mut(&key), entry.node.value) {
            (Some(Entry { key, node: Node { place, value: Value::Table(below) } }), Value::Table(above))
                if !is_secret(&above) =>
            {
                // Complaints about a section go to where the user wrote it: best in a file.
                if *place == Place::Whole || matches!(entry.key, Place::File { .. }) {
                    (*key, *place) = (entry.key, entry.node.place);
                }
                merge(below, above);
            }
            (_, value) => {
                lower.insert(key, Entry { key: entry.key, node: Node { place: entry.node.place, value } });
            }
        }
    }
}

fn is_secret(table: &Table) -> bool {
    !table.is_empty() && table.keys().all(|key| matches!(key.as_str(), "env" | "file" | "sealed"))
}

/// Puts a variable's value at `path`, making tables on the way.
pub(super) fn put(table: &mut Table, path: &[&str], variable: &str, value: Value) {
    let place = Place::Variable(variable.to_owned());
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        let node = Node { place: place.clone(), value };
        table.insert((*first).to_owned(), Entry { key: place, node });
        return;
    }
    let fresh = || Entry {
        key: place.clone(),
        node: Node { place: place.clone(), value: Value::Table(Table::new()) },
    };
    let entry = table.entry((*first).to_owned()).or_insert_with(fresh);
    if !matches!(entry.node.value, Value::Table(_)) {
        *entry = fresh();
    }
    if let Value::Table(inner) = &mut entry.node.value {
        put(inner, rest, variable, value);
    }
}

/// Takes the table at `key` out, or an empty one.
pub(super) fn take_table(table: &mut Table, key: &str) -> Table {
    match table.remove(key) {
        Some(Entry { node: Node { value: Value::Table(inner), .. }, .. }) => inner,
        _ => Table::new(),
    }
}
