//! What a bot's token must claim ("BotAuth", reference/browser.md §6.5).

use serde_json::{Map, Value};

use super::bot_key::BotKey;
use super::jwt::is_for;
use patchbay_core::BotId;

/// Longest life of a token, in seconds.
pub const LIFETIME_MAX: u64 = 300;
/// How far a bot's clock may be ahead of ours, in seconds.
const AHEAD_MAX: u64 = 30;
/// Longest `jti`, in bytes.
const JTI_MAX: usize = 128;

/// A bot that proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotPass {
    /// Which bot, of which tenant.
    pub bot: BotId,
    /// By which key.
    pub kid: String,
    /// The token's own name: a registration takes it once.
    pub jti: String,
    /// Seconds since 1970.
    pub expires_at: u64,
}

/// What is wrong with a token whose signature is good: its owner may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BotFault {
    /// `exp` has passed.
    #[error("the token has expired: sign a new one, `exp` at most 300 s after `iat`")]
    Expired,
    /// `iat` or `nbf` is to come.
    #[error("the token begins in the future: set the bot's clock")]
    NotYet,
    /// It lives too long.
    #[error("the token lives too long, or says no `iat` and `exp`: `exp` is at most 300 s after `iat`")]
    Lifetime,
    /// It is for another gateway.
    #[error("the token is for somebody else: `aud` is this gateway's public_url, without a slash at the end")]
    Audience,
    /// It names another bot than its key's.
    #[error("`iss` and `sub` are both bot:NAME, of the bot that the key belongs to")]
    Name,
    /// It has no name.
    #[error("the token has no `jti` of 1 to 128 characters")]
    Jti,
}

impl BotFault {
    /// Stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "bot_token_expired",
            Self::NotYet => "bot_token_not_yet_valid",
            Self::Lifetime => "bot_token_lifetime",
            Self::Audience => "bot_token_audience",
            Self::Name => "bot_token_name",
            Self::Jti => "bot_token_jti",
        }
    }
}

/// Reads verified claims of a token that `key`, named `kid`, signed for `audience`, at `now`, in seconds since 1970.
///
/// # Errors
/// [`BotFault`]
pub fn check(
    claims: &Map<String, Value>,
    (kid, key): (&str, &BotKey),
    audience: &str,
    now: u64,
) -> Result<BotPass, BotFault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let (Some(issued), Some(expires_at)) = (time("iat"), time("exp")) else { return Err(BotFault::Lifetime) };
    let name = format!("bot:{}", key.bot.name());
    if text("iss") != Some(&name) || text("sub") != Some(&name) {
        return Err(BotFault::Name);
    }
    if !is_for(claims.get("aud"), audience) {
        return Err(BotFault::Audience);
    }
    if expires_at <= issued || expires_at - issued > LIFETIME_MAX {
        return Err(BotFault::Lifetime);
    }
    if expires_at <= now {
        return Err(BotFault::Expired);
    }
    let begins = claims.get("nbf").map_or(Some(issued), Value::as_u64).ok_or(BotFault::NotYet)?;
    if issued.max(begins) > now + AHEAD_MAX {
        return Err(BotFault::NotYet);
    }
    let jti = text("jti").filter(|jti| (1..=JTI_MAX).contains(&jti.len())).ok_or(BotFault::Jti)?;
    Ok(BotPass { bot: key.bot.clone(), kid: kid.to_owned(), jti: jti.to_owned(), expires_at })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::credential::bot_key::PublicKey;

    const NOW: u64 = 1_800_000_000;
    const HERE: &str = "https://gw.example.com";

    fn checked(change: &[(&str, Value)]) -> Result<BotPass, BotFault> {
        let mut claims = json!({
            "iss": "bot:echo", "sub": "bot:echo", "aud": HERE, "iat": NOW - 1, "exp": NOW + 299, "jti": "1",
        });
        for (name, value) in change {
            claims[*name] = value.clone();
        }
        let jwk =
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let public = PublicKey::read(jwk.as_object().unwrap()).unwrap();
        let key = BotKey { bot: BotId::new("t", "echo").unwrap(), key: public.key };
        check(claims.as_object().unwrap(), (&public.kid, &key), HERE, NOW)
    }

    #[test]
    fn a_token_names_its_bot_and_no_other() {
        let pass = checked(&[]).unwrap();
        assert_eq!((&*pass.bot, pass.jti.as_str(), pass.expires_at), ("t/echo", "1", NOW + 299));
        assert!(checked(&[("aud", json!(["https://other.example", HERE]))]).is_ok());
        for (name, value) in
            [("iss", "bot:other"), ("sub", "bot:other"), ("iss", "echo"), ("sub", "bot:Echo")]
        {
            assert_eq!(checked(&[(name, json!(value))]), Err(BotFault::Name), "{name} {value}");
        }
        for aud in [json!("https://gw.example.com/"), json!("https://evil.example"), json!([]), Value::Null] {
            assert_eq!(checked(&[("aud", aud.clone())]), Err(BotFault::Audience), "{aud}");
        }
    }

    #[test]
    fn a_token_lives_five_minutes_at_most_and_ends_at_its_second() {
        let lives = |iat: u64, exp: u64| checked(&[("iat", json!(iat)), ("exp", json!(exp))]).map(drop);
        assert_eq!(lives(NOW, NOW + 300), Ok(()));
        assert_eq!(lives(NOW, NOW + 301), Err(BotFault::Lifetime));
        assert_eq!(lives(NOW - 300, NOW), Err(BotFault::Expired));
        assert_eq!(lives(NOW - 299, NOW + 1), Ok(()));
        assert_eq!(lives(NOW, NOW), Err(BotFault::Lifetime));
        assert_eq!(lives(u64::MAX, u64::MAX), Err(BotFault::Lifetime));
        assert_eq!(lives(NOW + 30, NOW + 100), Ok(()), "a clock may be half a minute ahead");
        assert_eq!(lives(NOW + 31, NOW + 100), Err(BotFault::NotYet));
        assert_eq!(checked(&[("nbf", json!(NOW + 31))]), Err(BotFault::NotYet));
        assert_eq!(checked(&[("nbf", json!("now"))]), Err(BotFault::NotYet));
        for bad in [json!("soon"), Value::Null, json!(-1), json!(1.5)] {
            assert_eq!(checked(&[("exp", bad.clone())]), Err(BotFault::Lifetime), "{bad}");
        }
    }

    #[test]
    fn a_token_has_a_name_of_its_own() {
        for bad in [json!(""), json!("x".repeat(129)), json!(7), Value::Null] {
            assert_eq!(checked(&[("jti", bad.clone())]), Err(BotFault::Jti), "{bad}");
        }
    }
}
