//! What the operator's commands share: one request to the admin listener of a running gateway.

use std::io::Write as _;
use std::process::ExitCode;

use axum::http::{HeaderValue, Method, Uri, header};
use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use crate::secret::Secret;
use crate::transport::{Dialer, FetchSpec};

/// Where the gateway is, and who asks.
#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// The admin listener of the gateway.
    #[arg(long, value_name = "URL", env = "PATCHBAY_ADMIN", default_value = "http://127.0.0.1:9090")]
    admin: String,
    /// The variable that holds `credentials.admin_key`, where the gateway has one.
    #[arg(long, value_name = "NAME", default_value = "PATCHBAY_ADMIN_KEY")]
    admin_key_env: String,
    /// Prints what the gateway answered, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why a command did not do it: what to tell the operator.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// Not a URL.
    #[error("{0:?} is not an http:// or https:// address")]
    Address(String),
    /// Nobody answers.
    #[error(
        "no gateway answers at {0}; is it running, and is that its admin listener (server.admin_listen)?"
    )]
    Nobody(String),
    /// The gateway says no.
    #[error("{0}")]
    Refused(String),
}

impl AdminArgs {
    /// Asks once. `Null` when the answer is empty.
    ///
    /// # Errors
    /// [`NotDone`]
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        kind: &'static str,
    ) -> Result<Value, NotDone> {
        let address = format!("{}{path}", self.admin.trim_end_matches('/'));
        let uri: Uri = address.parse().map_err(|_| NotDone::Address(self.admin.clone()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(NotDone::Address(self.admin.clone()));
        }
        let mut spec = FetchSpec { method, body, ..FetchSpec::get(uri) };
        spec.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(bearer) = self.bearer() {
            spec.headers.insert(header::AUTHORIZATION, bearer);
        }
        let answer = Dialer::new().fetch(spec).await.map_err(|_| NotDone::Nobody(self.admin.clone()))?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        if answer.status.is_success() {
            return Ok(value);
        }
        let said = value["error"]["message"].as_str().map(str::to_owned);
        Err(NotDone::Refused(said.unwrap_or_else(|| format!("the gateway answered {}", answer.status))))
    }

    /// As [`ask`](Self::ask), without a body.
    ///
    /// # Errors
    /// [`NotDone`]
    pub async fn get(&self, path: &str) -> Result<Value, NotDone> {
        self.ask(Method::GET, path, Bytes::new(), "application/json").await
    }

    fn bearer(&self) -> Option<HeaderValue> {
        let key = std::env::var(&self.admin_key_env).ok().filter(|key| !key.is_empty())?;
        let key = Secret::new(key, &self.admin_key_env);
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose())).ok()?;
        bearer.set_sensitive(true);
        Some(bearer)
    }

    /// Prints the answer as JSON, or by `human` for people; or says what went wrong.
    pub fn tell(&self, answer: Result<Value, NotDone>, human: impl FnOnce(&Value) -> String) -> ExitCode {
        match answer {
            Ok(value) => {
                let text = if self.json {
                    format!("{}\n", serde_json::to_string_pretty(&value).unwrap_or_default())
                } else {
                    human(&value)
                };
                let _ = std::io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("patchbay: {error}");
                ExitCode::from(if matches!(error, NotDone::Address(_)) { super::WRONG_USE } else { 1 })
            }
        }
    }
}

/// A name as one part of a path: whatever it holds, it leads nowhere else.
pub fn part(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A table for people: columns as wide as their widest cell.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(heads.to_vec())).chain(body).collect()
}

/// A cell of an answer.
pub fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_part_of_the_path() {
        assert_eq!(part("../keys?x=1#y/ü"), "..%2Fkeys%3Fx%3D1%23y%2F%C3%BC");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "bcd".to_owned()], vec!["efgh".to_owned(), "i".to_owned()]];
        assert_eq!(table(&["x", "y"], &rows), "x     y\na     bcd\nefgh  i\n");
    }
}
