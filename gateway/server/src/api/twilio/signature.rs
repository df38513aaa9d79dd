//! `X-Twilio-Signature`: proof that a request comes from Twilio.
//!
//! base64(HMAC-SHA1(auth token, URL ‖ name ‖ value ‖ …)), names in byte order, no separators
//! (<https://www.twilio.com/docs/usage/webhooks/webhooks-security>; reference/twilio.md §2.3, November 2026). The scheme
//! has no separators and no time, so that it is necessary and never sufficient: media tokens do the rest.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The hash of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// With an auth token.
    HmacSha1,
    /// With a customer's own key, if it says so (public beta of 2026).
    HmacSha256,
}

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The address that the outside used, never one rebuilt from the request's headers.
    pub url: &'a str,
    /// Decoded parameters of a form body; empty for GET, WebSocket and JSON.
    pub params: &'a [(String, String)],
    /// A body that is not a form: the URL then carries its hash.
    pub body: Option<&'a [u8]>,
}

impl<'a> Signed<'a> {
    /// A form.
    #[must_use]
    pub fn form(url: &'a str, params: &'a [(String, String)]) -> Self {
        Self { url, params, body: None }
    }

    /// A WebSocket upgrade, or any request without a body.
    #[must_use]
    pub fn bare(url: &'a str) -> Self {
        Self { url, params: &[], body: None }
    }
}

/// Signs as Twilio does.
#[must_use]
pub fn sign(key: &str, url: &str, params: &[(String, String)]) -> String {
    sign_with(Algorithm::HmacSha1, key, url, params)
}

/// Signs with a chosen hash.
#[must_use]
pub fn sign_with(algorithm: Algorithm, key: &str, url: &str, params: &[(String, String)]) -> String {
    let tail = tail(params);
    match algorithm {
        Algorithm::HmacSha1 => STANDARD.encode(mac::<Hmac<Sha1>>(key, url, &tail)),
        Algorithm::HmacSha256 => STANDARD.encode(mac::<Hmac<Sha256>>(key, url, &tail)),
    }
}

/// Whether `signature` is Twilio's over `signed` with one of `keys`. A missing signature is a wrong one. Every candidate
/// is computed and compared in constant time, so that the time tells nothing.
#[must_use]
pub fn verify<'k>(
    keys: impl IntoIterator<Item = &'k str>,
    signed: &Signed<'_>,
    signature: Option<&str>,
) -> bool {
    verify_with(Algorithm::HmacSha1, keys, signed, signature)
}

/// As [`verify`], with a chosen hash.
#[must_use]
pub fn verify_with<'k>(
    algorithm: Algorithm,
    keys: impl IntoIterator<Item = &'k str>,
    signed: &Signed<'_>,
    signature: Option<&str>,
) -> bool {
    let given = signature.unwrap_or_default().as_bytes();
    let mut valid = Choice::from(0);
    for key in keys {
        for url in candidates(signed.url) {
            let expected = sign_with(algorithm, key, &url, signed.params);
            valid |= expected.as_bytes().ct_eq(given);
        }
    }
    bool::from(valid & body_matches(signed))
}

/// A body that is not a form must match the `bodySHA256` of the URL.
fn body_matches(signed: &Signed<'_>) -> Choice {
    let Some(body) = signed.body else { return Choice::from(1) };
    let query = signed.url.split_once('?').map_or("", |(_, query)| query);
    let hash = query.split('&').find_map(|pair| pair.strip_prefix("bodySHA256=")).unwrap_or_default();
    let actual: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    actual.as_bytes().ct_eq(hash.to_ascii_lowercase().as_bytes())
}

fn mac<M: Mac + KeyInit>(key: &str, url: &str, tail: &str) -> impl AsRef<[u8]> + use<M> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    mac.update(tail.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Names in byte order with their values; a repeated name counts once per distinct value, in order, as Twilio's Node and
/// Python libraries do it.
fn tail(params: &[(String, String)]) -> String {
    let mut sorted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in params {
        sorted.entry(name).or_default().insert(value);
    }
    let mut tail = String::new();
    for (name, values) in sorted {
        for value in values {
            tail.push_str(name);
            tail.push_str(value);
        }
    }
    tail
}

/// The forms of a URL that Twilio may have signed: as given, without its port, with its scheme's port. Twilio's systems
/// differ in this (reference/twilio.md §2.4). Always three, so that the count tells nothing either.
fn candidates(url: &str) -> [String; 3] {
    let Some((scheme, rest)) = url.split_once("://") else { return [url.into(), url.into(), url.into()] };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let (user, host_port) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    let host = match host_port.rfind(':') {
        Some(at) if !host_port[at..].contains(']') => &host_port[..at],
        _ => host_port,
    };
    let port = if matches!(scheme, "https" | "wss") { 443 } else { 80 };
    let with_port = if host == host_port { format!("{host}:{port}") } else { host_port.to_owned() };
    [url.to_owned(), format!("{scheme}://{user}{host}{path}"), format!("{scheme}://{user}{with_port}{path}")]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "12345";
    const V1: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const JSON: &[u8] = br#"{"property": "value", "boolean": true}"#;
    const HASH: &str = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn usual() -> Vec<(String, String)> {
        pairs(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ])
    }

    fn valid(url: &str, params: &[(String, String)], signature: &str) -> bool {
        verify([TOKEN], &Signed::form(url, params), Some(signature))
    }

    #[test]
    fn the_published_vectors_of_forms_verify() {
        let with = |extra: &[(&str, &str)]| [usual(), pairs(extra)].concat();
        let v7 = pairs(&[
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ]);
        let v8 = with(&[("ReasonConferenceEnded", "test"), ("Reason", "Participant")]);
        let v10 = pairs(&[("property", "value"), ("boolean", "true")]);
        let http = "http://mycompany.com/myapp.php?foo=1&bar=2";
        let port = "http://mycompany.com:1234/myapp.php?foo=1&bar=2";
        let user = "https://user:pass@mycompany.com/myapp.php?foo=1&bar=2";
        type Row<'a> = (&'a str, &'a str, Vec<(String, String)>, &'a str);
        let table: [Row<'_>; 8] = [
            ("V1", V1, usual(), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
            ("V2", V1, usual(), "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("V3", http, usual(), "0ZXoZLH/DfblKGATFgpif+LLRf4="),
            ("V4", port, usual(), "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
            ("V7", V1, v7, "IK+Dwps556ElfBT0I3Rgjkr1wJU="),
            ("V8", V1, v8, "vOEb5UThFn24KEfnOFLQY2AE5FY="),
            ("V9", user, usual(), "CukzLTc1tT5dXEDIHm/tKBanW10="),
            ("V10", V1, v10, "NBdBDr/T/lgjI+tlgpXjKZQZs/k="),
        ];
        for (name, url, params, signature) in table {
            assert!(valid(url, &params, signature), "{name}");
            assert!(
                !verify(["12346"], &Signed::form(url, &params), Some(signature)),
                "{name} with another token"
            );
        }
    }

    #[test]
    fn the_published_vectors_of_json_bodies_verify() {
        let v5 = format!("{V1}&bodySHA256={HASH}");
        let v6 = format!("https://mycompany.com/myapp.php?bodySHA256={HASH}");
        for (url, signature) in [(v5, "a9nBmqA0ju/hNViExpshrM61xv4="), (v6, "y77kIzt2vzLz71DgmJGsen2scGs=")] {
            let signed = Signed { url: &url, params: &[], body: Some(JSON) };
            assert!(verify([TOKEN], &signed, Some(signature)), "{url}");
            let other = Signed { body: Some(b"{}"), ..signed };
            assert!(!verify([TOKEN], &other, Some(signature)), "another body: {url}");
        }
        let without_hash = Signed { url: V1, params: &[], body: Some(JSON) };
        let signature = sign(TOKEN, V1, &[]);
        assert!(!verify([TOKEN], &without_hash, Some(&signature)), "a JSON body needs its hash in the URL");
    }

    #[test]
    fn the_wrong_sorting_of_names_is_refused() {
        let params =
            [usual(), pairs(&[("ReasonConferenceEnded", "test"), ("Reason", "Participant")])].concat();
        assert!(!valid(V1, &params, "95+Bu0JVPi0r/SsESZCVf0dWAjw="));
    }

    #[test]
    fn a_stream_is_signed_over_its_wss_address() {
        let url = "wss://gw.example.com/twilio/media";
        assert!(valid(url, &[], "xOtUNom2O6Ixz0xt8ODDv8MkQUY="));
        assert!(valid(url, &[], "l1kCkxwGIXa39FwZNOU5zimZCp0="), "with :443");
        assert!(!valid(url, &[], "l0WzXexllA+2Nr2uoD32CYvxCeo="), "over https://");
        assert!(valid("wss://gw.example.com", &[], "lCV1oVPtGrae/ik2d/CyDA2rf6E="));
        assert!(valid("wss://gw.example.com/", &[], "FWBcAPZ+F/IvXRJVEVx6mDOWtFg="));
        assert!(!valid("wss://gw.example.com", &[], "FWBcAPZ+F/IvXRJVEVx6mDOWtFg="), "a slash counts");
        let shared = "zS1vzuzWiHQtXDMzCkOiQYLM3VYvdRVzlA9kIyFRUUU=";
        assert!(verify_with(Algorithm::HmacSha256, [TOKEN], &Signed::bare(url), Some(shared)));
        assert!(!valid(url, &[], shared));
    }

    #[test]
    fn a_missing_or_mangled_signature_is_refused() {
        let params = usual();
        let signed = Signed::form(V1, &params);
        for signature in [
            None,
            Some(""),
            Some("RSOYDt4T1cUTdK1PDd93/VVr8B8"),
            Some("RSOYDt4T1cUTdK1PDd93/VVr8B8=="),
            Some("rsoydt4t1cutdk1pdd93/vvr8b8="),
        ] {
            assert!(!verify([TOKEN], &signed, signature), "{signature:?}");
        }
        let none: [&str; 0] = [];
        assert!(!verify(none, &signed, Some("RSOYDt4T1cUTdK1PDd93/VVr8B8=")), "no token, no entry");
    }

    #[test]
    fn both_tokens_of_a_rotation_are_good() {
        let signature = sign("new", V1, &usual());
        assert!(verify(["old", "new"], &Signed::form(V1, &usual()), Some(&signature)));
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_and_any_change_does_not(
            token in "[a-z0-9]{1,32}", path in "(/[a-zA-Z0-9%'~_-]{0,8}){1,3}", port in prop::option::of(1u16..),
            params: Vec<(String, String)>, at: prop::sample::Index,
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let url = format!("https://Example.com{port}{path}");
            let signature = sign(&token, &url, &params);
            prop_assert!(verify([token.as_str()], &Signed::form(&url, &params), Some(&signature)));
            let mut bytes = signature.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert!(!verify([token.as_str()], &Signed::form(&url, &params), Some(&changed)));
            let elsewhere = format!("{url}x");
            prop_assert!(!verify([token.as_str()], &Signed::form(&elsewhere, &params), Some(&signature)));
        }

        #[test]
        fn the_order_of_parameters_does_not_matter(mut params: Vec<(String, String)>) {
            let before = sign(TOKEN, V1, &params);
            params.reverse();
            prop_assert_eq!(before, sign(TOKEN, V1, &params));
        }

        #[test]
        fn a_signature_with_or_without_the_default_port_verifies(path in "/[a-z]{0,8}") {
            for (scheme, port) in [("https", 443), ("http", 80), ("wss", 443), ("ws", 80)] {
                let bare = format!("{scheme}://a.example{path}");
                let with = format!("{scheme}://a.example:{port}{path}");
                prop_assert!(valid(&bare, &[], &sign(TOKEN, &with, &[])));
                prop_assert!(valid(&with, &[], &sign(TOKEN, &bare, &[])));
            }
        }

        #[test]
        fn no_url_panics(url: String) {
            prop_assert!(!verify([TOKEN], &Signed::bare(&url), Some("x")));
        }
    }
}
