//! What a user's JWT must claim (RFC 7519 §4.1), and whom it then names.

use serde_json::{Map, Value};

use super::scope::{Scope, Scopes};
use super::token::Token;
use crate::config::JwtIssuer;
use crate::secret::Private;

/// Longest name of a user, in bytes.
pub const USER_MAX: usize = 256;

/// A user whom an issuer vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The issuer's name for the user.
    pub user: Private<String>,
    /// What the user may do.
    pub scopes: Scopes,
}

/// Whether a token, not verified yet, is meant for `issuer`: who signed it, and whom it is for. It only chooses the key.
#[must_use]
pub fn is_meant_for(token: &Token<'_>, issuer: &JwtIssuer) -> bool {
    is_of(token.unverified("iss"), &issuer.issuer) && is_for(token.unverified("aud"), &issuer.audience)
}

/// Reads verified claims at `now`, in seconds since 1970. `None` when one is missing, misshapen, over or not begun.
#[must_use]
pub fn vouched(claims: &Map<String, Value>, issuer: &JwtIssuer, now: u64) -> Option<Vouched> {
    let (now, leeway) = (seconds(now), issuer.leeway.as_secs_f64());
    let is_live = claims.get("exp")?.as_f64()? + leeway > now;
    let begins =
        |name| claims.get(name).is_none_or(|at: &Value| at.as_f64().is_some_and(|at| at - leeway <= now));
    let has_begun = begins("nbf") && begins("iat");
    let is_ours = is_of(claims.get("iss"), &issuer.issuer) && is_for(claims.get("aud"), &issuer.audience);
    if !(is_live && has_begun && is_ours) {
        return None;
    }
    let user = claims.get(&issuer.user_claim)?.as_str()?;
    let fits = (1..=USER_MAX).contains(&user.len()) && !user.chars().any(char::is_control);
    let scopes = granted(claims, issuer.scopes_claim.as_deref())?;
    fits.then(|| Vouched { user: Private::new(user.to_owned()), scopes })
}

/// Without a claim for it, a user may talk, and nothing else.
fn granted(claims: &Map<String, Value>, claim: Option<&str>) -> Option<Scopes> {
    let Some(claim) = claim else { return Some([Scope::RealtimeConnect].into_iter().collect()) };
    match claims.get(claim) {
        None => Some(Scopes::NONE),
        // RFC 6749 §3.3: words with blanks between them. Some issuers send a list.
        Some(Value::String(words)) => Some(Scopes::of_words(words.split(' '))),
        Some(Value::Array(words)) => {
            let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
            words.map(Scopes::of_words)
        }
        Some(_) => None,
    }
}

fn is_of(claim: Option<&Value>, issuer: &str) -> bool {
    claim.and_then(Value::as_str) == Some(issuer)
}

/// RFC 7519 §4.1.3: one audience, or a list of texts.
pub(super) fn is_for(claim: Option<&Value>, audience: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(list)) => {
            list.iter().all(Value::is_string) && list.iter().any(|one| one == audience)
        }
        _ => false,
    }
}

fn seconds(unix: u64) -> f64 {
    std::time::Duration::from_secs(unix).as_secs_f64()
}

#[cfg(test)]
mod tests;
