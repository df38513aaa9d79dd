//! [`Origin`]: which page's script sends a request (RFC 6454 §6.1).

use std::fmt;

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

use crate::config::is_loopback_host;

/// Longest origin, in bytes.
const LENGTH_MAX: usize = 256;

/// An origin in the one form in which a browser sends it: `scheme://host[:port]`, lower case, no default port, a host
/// beyond ASCII in punycode. Two are the same when their bytes are: nothing is normalised at a comparison, so nothing can be
/// normalised wrongly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// Takes an origin in the browser's form only.
    ///
    /// # Errors
    /// What is wrong, and what to write instead, when that is known.
    pub fn parse(text: &str) -> Result<Self, (&'static str, Option<String>)> {
        let wanted = canonical(text)?;
        if wanted == text {
            Ok(Self(wanted))
        } else {
            Err(("is not in the form that browsers send", Some(wanted)))
        }
    }

    /// The origin of an address, whatever its form.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        canonical(&format!("{scheme}://{authority}")).ok().map(Self)
    }

    /// Whether a page of `origin`, as a browser sent it, is a page of this place: on a loopback listener whatever name of this
    /// machine somebody typed.
    #[must_use]
    pub fn is_place_of(&self, origin: &str) -> bool {
        let on_loopback = |origin: &str| {
            let (scheme, authority) = origin.split_once("://")?;
            let (host, port) = split_port(authority);
            is_loopback_host(host).then(|| (scheme.to_owned(), port.map(str::to_owned)))
        };
        self.0 == origin || on_loopback(&self.0).is_some_and(|own| on_loopback(origin) == Some(own))
    }

    /// As browsers send it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl TryFrom<String> for Origin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|(what, _)| what)
    }
}

fn canonical(text: &str) -> Result<String, (&'static str, Option<String>)> {
    let fail = |what| Err((what, None));
    if text == "null" {
        return fail("is `null`, which every sandboxed page and file shares");
    }
    if text.len() > LENGTH_MAX {
        return fail("is too long");
    }
    if !text.is_ascii() {
        return fail("has a character beyond ASCII: write the host in punycode (xn--…)");
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return fail("is not scheme://host[:port]");
    };
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let authority = authority.strip_suffix('/').unwrap_or(&authority);
    let word = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(word) {
        return fail("has no scheme such as https");
    }
    let (host, port) = split_port(authority);
    let is_v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(|host| {
        host.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.to_string() == host)
    });
    let is_name = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    if !is_v6 && !is_name(host) {
        return fail("is not scheme://host[:port], without path, user, wildcard or blank");
    }
    match port {
        None => Ok(format!("{scheme}://{host}")),
        Some(port) if port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port) => {
            let is_default = matches!((scheme.as_str(), port), ("https", "443") | ("http", "80"));
            Ok(if is_default { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") })
        }
        Some(_) => fail("has a port that is none"),
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    }
}

/// Pages that may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// No page but our own.
    #[default]
    None,
    /// These, to the byte.
    These(Vec<Origin>),
    /// Any: the tenant wrote `*`.
    Any,
}

impl AllowedOrigins {
    /// Whether a page of `origin`, as the browser sent it, may come. `own` is the gateway's own, which always may.
    #[must_use]
    pub fn allow(&self, origin: &str, own: Option<&Origin>) -> bool {
        let is_own = own.is_some_and(|own| own.is_place_of(origin));
        match self {
            Self::Any => true,
            Self::These(these) => is_own || these.iter().any(|allowed| allowed.as_str() == origin),
            Self::None => is_own,
        }
    }
}

impl Serialize for AllowedOrigins {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.collect_seq::<[&str; 0]>([]),
            Self::These(these) => serializer.collect_seq(these),
            Self::Any => serializer.collect_seq(["*"]),
        }
    }
}

/// What a request says of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'r> {
    /// Nothing: it comes from a program.
    Absent,
    /// One origin, as it was sent.
    From(&'r str),
    /// Two, or bytes that no browser sends.
    Odd,
}

impl<'r> Page<'r> {
    /// Of the `Origin` header.
    #[must_use]
    pub fn of(headers: &'r HeaderMap) -> Self {
        let mut values = headers.get_all(header::ORIGIN).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => value.to_str().map_or(Self::Odd, Self::From),
            (Some(_), Some(_)) => Self::Odd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_listener_is_the_same_place_under_every_name_of_this_machine() {
        let own = Origin::of_url("http://127.0.0.1:8080").unwrap();
        for same in ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"] {
            assert!(own.is_place_of(same), "{same}");
        }
        for other in [
            "http://localhost:8081",
            "https://localhost:8080",
            "http://localhost",
            "http://evil.example:8080",
            "null",
        ] {
            assert!(!own.is_place_of(other), "{other}");
        }
        let public = Origin::of_url("https://gw.example.com").unwrap();
        assert!(public.is_place_of("https://gw.example.com") && !public.is_place_of("https://localhost"));
    }

    fn these(list: &[&str]) -> AllowedOrigins {
        AllowedOrigins::These(list.iter().map(|text| Origin::parse(text).unwrap()).collect())
    }

    #[test]
    fn an_origin_is_allowed_to_the_byte_or_not_at_all() {
        let allowed =
            these(&["https://app.example.com", "https://shop.example.com:8443", "http://[::1]:3000"]);
        let own = Origin::of_url("https://GW.example.com:443/base").unwrap();
        for good in [
            "https://app.example.com",
            "https://shop.example.com:8443",
            "http://[::1]:3000",
            "https://gw.example.com",
        ] {
            assert!(allowed.allow(good, Some(&own)), "{good}");
        }
        let bad = [
            "null",
            "",
            " ",
            "*",
            "https://evil.com",
            "https://example.com",
            "https://evil-app.example.com",
            "https://app.example.com.evil.com",
            "https://app.example.comevil.com",
            "https://appXexample.com",
            "https://sub.app.example.com",
            "https://app.example.com:443",
            "https://app.example.com:8443",
            "https://app.example.com:",
            "https://shop.example.com",
            "https://shop.example.com:8444",
            "http://app.example.com",
            "wss://app.example.com",
            "ftp://app.example.com",
            "//app.example.com",
            "app.example.com",
            "https://APP.example.com",
            "HTTPS://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://app.example.com?x",
            "https://app.example.com#x",
            "https://app.example.com.",
            "https://user@app.example.com",
            "https://app.example.com@evil.com",
            " https://app.example.com",
            "https://app.example.com ",
            "https://app.example.com, https://evil.com",
            "https://evil.com https://app.example.com",
            "https://\u{430}pp.example.com",
            "https://xn--pp-6kc.example.com",
            "https://app\u{3002}example.com",
            "https://app.example.com\u{0}",
            "https://%61pp.example.com",
            "http://[0:0:0:0:0:0:0:1]:3000",
            "http://[::1]",
            "http://127.0.0.1:3000",
        ];
        for bad in bad {
            assert!(!allowed.allow(bad, Some(&own)), "{bad}");
            assert!(!AllowedOrigins::None.allow(bad, Some(&own)), "{bad}");
            assert!(AllowedOrigins::Any.allow(bad, None), "{bad}");
        }
        assert!(!AllowedOrigins::None.allow("https://app.example.com", Some(&own)));
    }

    #[test]
    fn only_the_browsers_form_can_be_written_down() {
        let instead = |text: &str| Origin::parse(text).unwrap_err().1;
        assert_eq!(instead("https://App.Example.com").as_deref(), Some("https://app.example.com"));
        assert_eq!(instead("https://app.example.com:443/").as_deref(), Some("https://app.example.com"));
        for bad in [
            "null",
            "app.example.com",
            "https://",
            "https://*.example.com",
            "https://a.example/path",
            "https://u@a.example",
            "https://a.example:0",
            "https://a.example:099",
            "https://a.example:65536",
            "https://b\u{fc}cher.example",
            "://a.example",
            "1https://a.example",
            "http://[::1",
            "http://[0::1]",
        ] {
            assert_eq!(instead(bad), None, "{bad}");
        }
        for good in
            ["https://a.example", "http://localhost:3000", "capacitor://localhost", "http://[::1]:80a"]
        {
            assert_eq!(Origin::parse(good).is_ok(), !good.ends_with('a'), "{good}");
        }
    }

    #[test]
    fn two_origins_are_none_that_could_be_allowed() {
        let mut headers = HeaderMap::new();
        assert_eq!(Page::of(&headers), Page::Absent);
        headers.append("origin", "https://a.example".parse().unwrap());
        assert_eq!(Page::of(&headers), Page::From("https://a.example"));
        headers.append("origin", "https://a.example".parse().unwrap());
        assert_eq!(Page::of(&headers), Page::Odd);
        let bytes = axum::http::HeaderValue::from_bytes(b"https://\xFF.example").unwrap();
        assert_eq!(Page::of(&HeaderMap::from_iter([(header::ORIGIN, bytes)])), Page::Odd);
    }
}
