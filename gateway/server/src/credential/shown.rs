//! The credential that a request shows: exactly one, in one of three places, never in the address.

use axum::http::{HeaderMap, header};

/// Longest credential, in bytes.
const LENGTH_MAX: usize = 8192;

/// How a browser's WebSocket carries a key, as it cannot set headers (reference/browser.md §2.1).
const SUBPROTOCOL: &str = "openai-insecure-api-key.";

/// Why there is no credential to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoneShown {
    /// There is none.
    Missing,
    /// There are two: whichever was meant, another reader might take the other.
    Several,
    /// What is there cannot be one.
    Malformed,
}

/// The one credential of a request: of `Authorization: Bearer` (RFC 6750 §2.1), of Azure's `api-key`, or of a WebSocket
/// subprotocol.
///
/// # Errors
/// [`NoneShown`]
pub fn credential(headers: &HeaderMap) -> Result<&str, NoneShown> {
    let mut shown = Vec::new();
    for value in headers.get_all(header::AUTHORIZATION) {
        shown.push(value.to_str().ok().and_then(bearer));
    }
    for value in headers.get_all("api-key") {
        shown.push(value.to_str().ok());
    }
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        let offered = value.to_str().unwrap_or_default().split(',').map(str::trim);
        shown.extend(offered.filter_map(|word| word.strip_prefix(SUBPROTOCOL)).map(Some));
    }
    match shown.as_slice() {
        [] => Err(NoneShown::Missing),
        [Some(one)] if is_credential(one) => Ok(one),
        [_] => Err(NoneShown::Malformed),
        _ => Err(NoneShown::Several),
    }
}

/// RFC 9110 §11.1: the scheme in any case; then one blank.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(rest)
}

/// Blanks within are for a tenant's own choice of a secret.
fn is_credential(text: &str) -> bool {
    (1..=LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &[(&'static str, &str)]) -> Result<String, NoneShown> {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        credential(&headers).map(str::to_owned)
    }

    #[test]
    fn a_credential_is_taken_from_each_of_its_three_places() {
        let protocol = "realtime, openai-insecure-api-key.ek_abc.def, openai-agents-sdk.0.20.0";
        for (name, value, expected) in [
            ("authorization", "Bearer pbk_x", "pbk_x"),
            ("authorization", "bearer pbk_x", "pbk_x"),
            ("authorization", "Bearer a secret of my own", "a secret of my own"),
            ("api-key", "pbk_x", "pbk_x"),
            ("sec-websocket-protocol", protocol, "ek_abc.def"),
        ] {
            assert_eq!(shown(&[(name, value)]).as_deref(), Ok(expected), "{name}: {value}");
        }
    }

    #[test]
    fn two_credentials_are_none_even_when_they_are_the_same() {
        let places = [
            ("authorization", "Bearer k"),
            ("api-key", "k"),
            ("sec-websocket-protocol", "realtime, openai-insecure-api-key.k"),
        ];
        for one in places {
            for other in places {
                assert_eq!(shown(&[one, other]), Err(NoneShown::Several), "{one:?} {other:?}");
            }
        }
        let both = "openai-insecure-api-key.k, openai-insecure-api-key.k";
        assert_eq!(shown(&[("sec-websocket-protocol", both)]), Err(NoneShown::Several));
        assert_eq!(shown(&[("authorization", "Basic x"), ("api-key", "k")]), Err(NoneShown::Several));
    }

    #[test]
    fn what_cannot_be_a_credential_is_refused() {
        assert_eq!(shown(&[]), Err(NoneShown::Missing));
        assert_eq!(shown(&[("sec-websocket-protocol", "realtime")]), Err(NoneShown::Missing));
        let long = format!("Bearer {}", "x".repeat(LENGTH_MAX + 1));
        for value in ["Bearer", "Bearer ", "Basic x", "Bearer  x", "Bearer\tx", "x", "", &long] {
            assert_eq!(shown(&[("authorization", value)]), Err(NoneShown::Malformed), "{value}");
        }
        assert_eq!(shown(&[("api-key", "")]), Err(NoneShown::Malformed));
        assert_eq!(
            shown(&[("sec-websocket-protocol", "openai-insecure-api-key.")]),
            Err(NoneShown::Malformed)
        );
    }
}
