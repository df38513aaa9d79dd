//! What is wrong with a configuration: where, what, and what to write instead.

use std::fmt;
use std::sync::Arc;

/// Where a value of the configuration was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column count from 1, columns in characters.
    File {
        /// As the user gave it.
        name: Arc<str>,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// In a variable of the environment or of `.env`.
    Variable(String),
    /// Nowhere: the whole configuration.
    Whole,
}

impl Place {
    /// The place of byte `offset` of `text`.
    pub(super) fn in_text(name: &Arc<str>, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Self::File { name: name.clone(), line, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => f.write_str(name),
            Self::Whole => f.write_str("configuration"),
        }
    }
}

/// One fault. Never holds a value that could be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to write instead, or to do.
    pub advice: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.advice)
    }
}

/// Everything that is wrong with a configuration, in the order in which it was read. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", join(.0))]
pub struct Faults(pub Vec<Fault>);

fn join(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
