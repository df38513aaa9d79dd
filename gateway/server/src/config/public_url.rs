//! How the outside reaches us.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

/// The address that the outside uses, as it was written, without a slash at the end. It never goes through a URL parser:
/// Twilio signs bytes (reference/twilio.md §2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    secure: bool,
    /// Host, port and path.
    rest: String,
}

impl PublicUrl {
    /// Parses `https://host[:port][/path]`, or `http://` for a loopback host.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let example = "write public_url = \"https://voice.example.com\"".to_owned();
        let fail = |what: &str| Err((what.to_owned(), example.clone()));
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let rest = rest.trim_end_matches('/');
        let secure = match scheme {
            "https" => true,
            "http" => false,
            "wss" | "ws" => return fail("takes the https:// address, stream addresses are made from it"),
            _ => return fail("begins with https://"),
        };
        if rest.contains(['?', '#']) {
            return fail("has no query and no fragment");
        }
        if rest.contains('@') {
            return fail("has no user and no password");
        }
        if rest.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"'\\{}|^`".contains(c)) {
            return fail("has a character that no address has");
        }
        let host = host_of(rest);
        if host.is_empty() {
            return fail("lacks a host");
        }
        if host.contains('_') {
            return fail("has an underscore in its host, which Twilio refuses");
        }
        if !secure && !is_loopback_host(host) {
            let instead = format!("write public_url = \"https://{rest}\"");
            return Err(("would be in clear: http:// is for loopback only".into(), instead));
        }
        Ok(Self { secure, rest: rest.to_owned() })
    }

    /// The own address of a loopback listener.
    #[must_use]
    pub fn of_loopback(bound: SocketAddr) -> Self {
        Self { secure: false, rest: bound.to_string() }
    }

    /// The `https://` (loopback: `http://`) address of `path`, which begins with a slash.
    #[must_use]
    pub fn http(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.secure { "https" } else { "http" }, self.rest)
    }

    /// The `wss://` (loopback: `ws://`) address of `path`, which begins with a slash.
    #[must_use]
    pub fn ws(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.secure { "wss" } else { "ws" }, self.rest)
    }

    /// Whether only this machine can mean it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(host_of(&self.rest))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.http(""))
    }
}

impl Serialize for PublicUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The host of `host[:port][/path]`, brackets of an IPv6 address kept.
pub(crate) fn host_of(rest: &str) -> &str {
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.find(']') {
        Some(end) => &authority[..=end],
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Whether a host names this machine: `localhost` or a loopback address.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_kept_as_it_was_written() {
        let url = PublicUrl::parse("https://Voice.Example.com:443/gw/").unwrap();
        assert_eq!(url.http("/x"), "https://Voice.Example.com:443/gw/x");
        assert_eq!(url.ws("/x"), "wss://Voice.Example.com:443/gw/x");
        assert!(!url.is_loopback());
    }

    #[test]
    fn clear_text_is_for_loopback_only() {
        for good in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:80", "https://a.b"] {
            assert!(PublicUrl::parse(good).is_ok(), "{good}");
        }
        let bad = [
            "http://a.b",
            "a.b",
            "wss://a.b",
            "https://",
            "https://u:p@a.b",
            "https://a.b?x",
            "https://a_b.c",
            "https://a b",
            "http://127.0.0.1.evil.com",
        ];
        for bad in bad {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
