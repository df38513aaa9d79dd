//! What `deploy/` says of the binary, held to the binary: ports, paths, commands, flags, names of variables, deadlines.
//! Each check is also shown a copy with one thing wrong, and must find it.

mod claims;
mod compose;
mod example;
mod fly;
mod image;
mod linters;
mod unit;

use std::time::Duration;

/// `text` with the one occurrence of `from` replaced. Panics when there is none or more: then the copy proves nothing.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} must be there once to be replaced");
    text.replace(from, to)
}

/// Asserts that some fault says `wanted`.
fn assert_found(faults: &[String], wanted: &str, mutation: &str) {
    assert!(faults.iter().any(|fault| fault.contains(wanted)), "{mutation}: no {wanted:?} in {faults:#?}");
}

/// A span as Fly, Compose and systemd write it: `300`, `300s`, `15m`, `1h`.
fn span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no span of time"))?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => number,
        "m" => 60 * number,
        "h" => 3600 * number,
        _ => return Err(format!("{text:?} is no span of time")),
    };
    Ok(Duration::from_secs(seconds))
}
