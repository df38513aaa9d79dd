//! [`ClientSecret`]: `ek_BODY.TAG`, what a browser or a phone app talks with instead of a key.
//!
//! The body is JSON in base64url, small and signed, so that any machine with the same signing key can check it without
//! asking another. It can be read by whoever holds it, and a WebSocket subprotocol must carry it (below 1 KiB), so that
//! the settings of the conversation, 16 KiB of instructions that are none of the browser's business, are not in it: they
//! stay in [`super::grants`] on the machine that minted it, as does the count of uses. A secret with either is good on
//! that machine only, until a cluster's Redis holds the grants.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::grants::GrantId;
use super::origin::Origin;
use super::signing::{Purpose, SigningKeys};
use crate::secret::{Private, Secret};

/// What every client secret begins with: the official SDKs take no other key in a browser.
pub const PREFIX: &str = "ek_";

/// Longest secret, in bytes.
pub const LENGTH_MAX: usize = 1024;

/// What a client secret is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Names its grant, if it has one.
    pub id: GrantId,
    /// Who minted it.
    pub tenant: String,
    /// For whom.
    pub user: Option<Private<String>>,
    /// The one route that it opens.
    pub route: String,
    /// Pages that may show it; none: those of the tenant.
    pub origins: Vec<Origin>,
    /// Seconds since 1970; from then on it is refused.
    pub expires_at: u64,
    /// Whether settings or a count of uses are kept for it.
    pub has_grant: bool,
}

#[derive(Serialize, Deserialize)]
struct Body<'b> {
    i: GrantId,
    t: &'b str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<String>,
    r: &'b str,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    o: Vec<Origin>,
    x: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    g: bool,
}

/// A signed secret.
#[derive(Clone, Debug)]
pub struct ClientSecret(Secret);

/// It would be longer than a subprotocol should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("user, route and origins together are too long")]
pub struct TooLong;

impl ClientSecret {
    /// Signs `terms`.
    ///
    /// # Errors
    /// [`TooLong`]
    pub fn sign(terms: &Terms, keys: &SigningKeys<'_>) -> Result<Self, TooLong> {
        let body = Body {
            i: terms.id,
            t: &terms.tenant,
            u: terms.user.as_ref().map(|user| user.reveal().clone()),
            r: &terms.route,
            o: terms.origins.clone(),
            x: terms.expires_at,
            g: terms.has_grant,
        };
        let body = serde_json::to_vec(&body).expect("a body has a JSON form");
        let body = URL_SAFE_NO_PAD.encode(body);
        let tag = keys.sign(Purpose::ClientSecret, body.as_bytes());
        let text = format!("{PREFIX}{body}.{}", URL_SAFE_NO_PAD.encode(tag));
        if text.len() > LENGTH_MAX {
            Err(TooLong)
        } else {
            Ok(Self(Secret::new(text, "a new client secret")))
        }
    }

    /// The secret itself, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// The terms of a secret of ours. Says nothing of its expiry.
#[must_use]
pub fn verify(text: &str, keys: &SigningKeys<'_>) -> Option<Terms> {
    if text.len() > LENGTH_MAX {
        return None;
    }
    let (body, tag) = text.strip_prefix(PREFIX)?.split_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    // Nothing of the body is looked at before its tag fits.
    if !keys.verify(Purpose::ClientSecret, body.as_bytes(), &tag) {
        return None;
    }
    let body = URL_SAFE_NO_PAD.decode(body).ok()?;
    let body: Body<'_> = serde_json::from_slice(&body).ok()?;
    Some(Terms {
        id: body.i,
        tenant: body.t.to_owned(),
        user: body.u.map(Private::new),
        route: body.r.to_owned(),
        origins: body.o,
        expires_at: body.x,
        has_grant: body.g,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credential::signing::OwnKey;

    fn terms() -> Terms {
        Terms {
            id: GrantId::fresh(),
            tenant: "t1".into(),
            user: Some(Private::new("ann \"the\" user".into())),
            route: "default".into(),
            origins: vec![Origin::parse("https://a.example").unwrap()],
            expires_at: 1_800_000_000,
            has_grant: true,
        }
    }

    fn signed(terms: &Terms, process: &OwnKey) -> String {
        ClientSecret::sign(terms, &SigningKeys::new(&[], process)).unwrap().expose().to_owned()
    }

    #[test]
    fn a_client_secret_carries_its_terms_and_fits_a_subprotocol() {
        let process = OwnKey::new();
        let text = signed(&terms(), &process);
        let terms = terms();
        let read = verify(&text, &SigningKeys::new(&[], &process)).unwrap();
        assert_eq!(Terms { id: terms.id, ..read }, terms);
        // RFC 9110 §5.6.2: the characters of a token.
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{text}");
        assert!(text.len() < LENGTH_MAX);
        let long = Terms { user: Some(Private::new("x".repeat(900))), ..terms };
        let keys = SigningKeys::new(&[], &process);
        assert_eq!(ClientSecret::sign(&long, &keys).unwrap_err(), TooLong);
    }

    #[test]
    fn another_processs_secret_is_none() {
        let text = signed(&terms(), &OwnKey::new());
        assert!(verify(&text, &SigningKeys::new(&[], &OwnKey::new())).is_none());
    }

    #[test]
    fn a_tag_alone_or_a_body_alone_opens_nothing() {
        let process = OwnKey::new();
        let keys = SigningKeys::new(&[], &process);
        let text = signed(&terms(), &process);
        let (body, tag) = text.split_once('.').unwrap();
        for bad in [
            body.to_owned(),
            format!("{body}."),
            format!("ek_.{tag}"),
            format!("{text}."),
            format!("{text}="),
            format!(" {text}"),
            format!("{text} "),
            text.replace("ek_", "EK_"),
            text.replace("ek_", "pbk_"),
            format!("{}{}", text, "A".repeat(LENGTH_MAX)),
        ] {
            assert!(verify(&bad, &keys).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_change_of_a_client_secret_is_refused(at: prop::sample::Index, to in "[A-Za-z0-9._-]") {
            let process = OwnKey::new();
            let keys = SigningKeys::new(&[], &process);
            let text = signed(&terms(), &process);
            let at = at.index(text.len());
            let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            prop_assert_eq!(verify(&changed, &keys).is_some(), changed == text);
        }
    }
}
