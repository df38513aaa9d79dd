//! Secrets of a section: named here, kept elsewhere.

use std::path::{Path, PathBuf};

use super::{Section, plain_text, split};
use crate::config::tree::{Entry, Node, Value};
use crate::secret::Secret;

impl Section<'_> {
    /// A secret. `variable` is the name that the advice proposes.
    pub(in crate::config) fn secret(&mut self, key: &'static str, variable: &str) -> Option<Secret> {
        let node = self.take(key)?;
        self.read_secret(key, variable, node)
    }

    /// A list of secrets, or one.
    pub(in crate::config) fn secrets(&mut self, key: &'static str, variable: &str) -> Vec<Secret> {
        let Some(node) = self.take(key) else { return Vec::new() };
        match node.value {
            Value::List(items) => {
                items.into_iter().filter_map(|item| self.read_secret(key, variable, item)).collect()
            }
            Value::Loose(text) => {
                split(&text).map(|value| Secret::new(value, &format!("env {}", node.place))).collect()
            }
            _ => self.read_secret(key, variable, node).into_iter().collect(),
        }
    }

    fn read_secret(&self, key: &str, variable: &str, node: Node) -> Option<Secret> {
        let advice = format!("write {key} = {{ env = \"{variable}\" }} or {{ file = \"PATH\" }}");
        let name = self.name(key);
        let mut table = match node.value {
            Value::Table(table) => table,
            // The variable itself is the secret.
            Value::Loose(value) if value.is_empty() => return None,
            Value::Loose(value) => return Some(Secret::new(value, &format!("env {}", node.place))),
            Value::Text(_) => {
                self.fault(
                    &node.place,
                    format!("`{name}` is a secret, and a secret is never written here"),
                    advice,
                );
                return None;
            }
            _ => {
                self.fault(&node.place, format!("`{name}` takes a secret"), advice);
                return None;
            }
        };
        let given = [
            ("env", table.remove("env")),
            ("file", table.remove("file")),
            ("sealed", table.remove("sealed")),
        ];
        let mut given = given.into_iter().filter_map(|(kind, entry)| Some((kind, entry?)));
        match (given.next(), given.next(), table.into_iter().next()) {
            (Some(("env", entry)), None, None) => self.secret_from_variable(&name, &entry, &advice),
            (Some(("file", entry)), None, None) => self.secret_from_file(&name, &entry, &advice),
            (Some((_, entry)), None, None) => self.secret_from_store(&name, &entry),
            (_, _, Some((_, odd))) => {
                self.fault(&odd.key, format!("`{name}` takes `env`, `file` or `sealed` only"), advice);
                None
            }
            _ => {
                self.fault(&node.place, format!("`{name}` takes one of `env`, `file` and `sealed`"), advice);
                None
            }
        }
    }

    fn secret_from_variable(&self, name: &str, entry: &Entry, advice: &str) -> Option<Secret> {
        let Some(variable) = plain_text(&entry.node).filter(|variable| is_variable(variable)) else {
            let what = format!("`{name}.env` takes the name of a variable");
            self.fault(&entry.node.place, what, advice);
            return None;
        };
        match self.reading.variables.get(variable).map(|value| value.trim()) {
            Some(value) if !value.is_empty() => {
                Some(Secret::new(value.to_owned(), &format!("env {variable}")))
            }
            _ => {
                let what = format!("the variable {variable} for `{name}` is not set");
                self.fault(&entry.node.place, what, format!("set {variable} in the environment or in .env"));
                None
            }
        }
    }

    /// A secret that the tenant of this section keeps in the database, sealed.
    fn secret_from_store(&self, name: &str, entry: &Entry) -> Option<Secret> {
        let tenant = self.path.strip_prefix("tenants.").and_then(|rest| rest.split('.').next());
        let Some(tenant) = tenant else {
            let what = format!("`{name}` is no tenant's, and only tenants keep secrets in the database");
            self.fault(&entry.node.place, what, "write { env = \"NAME\" } or { file = \"PATH\" }");
            return None;
        };
        let Some(key) = plain_text(&entry.node).filter(|key| !key.is_empty()) else {
            self.fault(
                &entry.node.place,
                format!("`{name}.sealed` takes a name"),
                "write sealed = \"openai\"",
            );
            return None;
        };
        let kept = self.reading.sealed.get(&(tenant.to_owned(), key.to_owned())).cloned();
        if kept.is_none() {
            let what = format!("tenant `{tenant}` keeps no secret `{key}`");
            self.fault(&entry.node.place, what, format!("run `patchbay tenant secret {tenant} {key}` first"));
        }
        kept
    }

    fn secret_from_file(&self, name: &str, entry: &Entry, advice: &str) -> Option<Secret> {
        let Some(path) = plain_text(&entry.node).filter(|path| !path.is_empty()) else {
            self.fault(&entry.node.place, format!("`{name}.file` takes a path"), advice);
            return None;
        };
        self.reading.files.borrow_mut().push(PathBuf::from(path));
        match std::fs::read_to_string(Path::new(path)).as_deref().map(str::trim) {
            Ok("") => {
                let what = format!("the file for `{name}` is empty");
                self.fault(&entry.node.place, what, "put the secret into it");
                None
            }
            Ok(value) => Some(Secret::new(value.to_owned(), &format!("file {path}"))),
            Err(error) => {
                let what = format!("the file for `{name}` cannot be read ({})", error.kind());
                self.fault(&entry.node.place, what, "check its path and its permissions");
                None
            }
        }
    }
}

/// Whether it looks like the name of a variable; a key pasted here by mistake does not, and is not echoed.
fn is_variable(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_uppercase() || c == '_');
    first
        && text.len() <= 128
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
