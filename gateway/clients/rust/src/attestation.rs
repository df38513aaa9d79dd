//! What the gateway vouches for about a caller: the call ticket.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;

/// Longest life of a ticket and how far two clocks may differ, in seconds.
const TICKET_S: f64 = 60.0;
const SKEW_S: f64 = 5.0;
/// How long the gateway's keys are believed, and how long at least before they are fetched again.
const JWKS_LIFE: Duration = Duration::from_secs(600);
const JWKS_AGAIN: Duration = Duration::from_secs(10);
const SEEN_MAX: usize = 10_000;

/// How much was checked about a caller, least first. A phone number is no proof of a person: a phone whose number the network vouches for in
/// full (STIR/SHAKEN attestation A) counts as `Challenge`, any other as `None`. Asked for as the least, `Phone` means a phone and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    None,
    /// A test against programs.
    Challenge,
    /// Somebody is logged in.
    Account,
    /// Somebody was present and showed it, with a passkey.
    Verified,
    /// It is a phone call.
    Phone,
}

/// What is wrong with a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says in its message what it is")]
pub enum TicketFault {
    #[error("it is no signed token, or a claim is missing")]
    Malformed,
    #[error("it is of another type")]
    Kind,
    #[error("it was not signed by this gateway")]
    Signature,
    #[error("another gateway issued it")]
    Issuer,
    #[error("it is made out to another bot")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it was shown before")]
    Replayed,
    #[error("it is made out for another call")]
    Call,
    #[error("less was checked than is asked for")]
    Level,
}

/// What a valid ticket says. `subject` is a pseudonym of the caller, the same only for this bot.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the claims of the ticket, by their names")]
pub struct Attestation {
    pub call_id: String,
    pub level: Level,
    pub methods: Vec<Value>,
    pub subject: String,
    pub transport: String,
}

#[derive(Deserialize)]
struct Head {
    typ: String,
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    jti: String,
    iat: f64,
    exp: f64,
    #[serde(default)]
    sub: String,
    call: CallClaim,
    human: HumanClaim,
}

#[derive(Deserialize)]
struct CallClaim {
    id: String,
    #[serde(default)]
    transport: String,
}

#[derive(Deserialize)]
struct HumanClaim {
    level: Level,
    #[serde(default)]
    methods: Vec<Value>,
}

/// Checks tickets. Keeps the gateway's keys, and the tickets that it has seen until they expire.
#[derive(Debug)]
pub(crate) struct Verifier {
    issuer: String,
    audience: String,
    // Held for a look-up, never over an await.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<String, Vec<u8>>,
    fetched: Option<Duration>,
    seen: HashMap<String, f64>,
}

impl Verifier {
    pub(crate) fn new(issuer: &str, bot_id: &str) -> Self {
        Self { issuer: issuer.to_owned(), audience: format!("bot:{bot_id}"), known: Mutex::default() }
    }

    /// Whether the gateway's keys have to be fetched for this ticket.
    pub(crate) fn wants_keys(&self, ticket: &str, now: Duration) -> bool {
        let head: Option<Head> = ticket.split('.').next().and_then(parse);
        let known = self.known();
        let is_known = head.is_some_and(|head| known.keys.contains_key(&head.kid));
        let age = known.fetched.map_or(Duration::MAX, |at| now.saturating_sub(at));
        age > JWKS_LIFE || !is_known && age > JWKS_AGAIN
    }

    pub(crate) fn learn_keys(&self, jwks: &Value, now: Duration) {
        let keys = jwks["keys"].as_array().into_iter().flatten().filter(|key| key["crv"] == "Ed25519");
        let known = keys.filter_map(|key| {
            Some((key["kid"].as_str()?.to_owned(), URL_SAFE_NO_PAD.decode(key["x"].as_str()?).ok()?))
        });
        let keys = known.collect();
        let mut known = self.known();
        (known.keys, known.fetched) = (keys, Some(now));
    }

    pub(crate) fn verify(
        &self,
        ticket: &str,
        least: Level,
        call_id: Option<&str>,
        now: Duration,
    ) -> Result<Attestation, TicketFault> {
        let (signed, signature) = ticket.rsplit_once('.').ok_or(TicketFault::Malformed)?;
        let (head, claims) = signed.split_once('.').ok_or(TicketFault::Malformed)?;
        let head: Head = parse(head).ok_or(TicketFault::Malformed)?;
        if head.typ != "call-ticket+jwt" || !["EdDSA", "Ed25519"].contains(&&*head.alg) {
            return Err(TicketFault::Kind);
        }
        let key = self.known().keys.get(&head.kid).cloned().ok_or(TicketFault::Signature)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TicketFault::Malformed)?;
        let checked = UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &signature);
        checked.map_err(|_| TicketFault::Signature)?;
        self.believe(parse(claims).ok_or(TicketFault::Malformed)?, least, call_id, now.as_secs_f64())
    }

    fn believe(
        &self,
        claims: Claims,
        least: Level,
        call_id: Option<&str>,
        now: f64,
    ) -> Result<Attestation, TicketFault> {
        if claims.iss != self.issuer {
            return Err(TicketFault::Issuer);
        }
        if claims.aud != self.audience {
            return Err(TicketFault::Audience);
        }
        if claims.exp - claims.iat > TICKET_S || claims.iat > now + SKEW_S || claims.exp <= now - SKEW_S {
            return Err(TicketFault::Expired);
        }
        if claims.call.id != claims.jti || call_id.is_some_and(|call_id| call_id != claims.jti) {
            return Err(TicketFault::Call);
        }
        if !is_enough(&claims.human, least) {
            return Err(TicketFault::Level);
        }
        self.once(&claims, now)?;
        let HumanClaim { level, methods } = claims.human;
        let (subject, transport) = (claims.sub, claims.call.transport);
        Ok(Attestation { call_id: claims.jti, level, methods, subject, transport })
    }

    fn once(&self, claims: &Claims, now: f64) -> Result<(), TicketFault> {
        let seen = &mut self.known().seen;
        if seen.len() >= SEEN_MAX {
            seen.retain(|_, until| *until > now);
        }
        if seen.get(&claims.jti).is_some_and(|until| *until > now) {
            return Err(TicketFault::Replayed);
        }
        seen.insert(claims.jti.clone(), claims.exp + SKEW_S);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<TicketFault> for Error {
    fn from(fault: TicketFault) -> Self {
        Self::Ticket(fault)
    }
}

fn parse<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn is_enough(human: &HumanClaim, least: Level) -> bool {
    let attests_in_full = |method: &Value| method == "phone:A" || method["attest"] == "A";
    match (least, human.level) {
        (Level::Phone, level) => level == Level::Phone,
        (least, Level::Phone) if human.methods.iter().any(attests_in_full) => {
            least as u8 <= Level::Challenge as u8
        }
        (least, Level::Phone) => least == Level::None,
        (least, level) => least as u8 <= level as u8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::key::BotKey;

    const NOW: Duration = Duration::from_secs(1_000_000);

    /// A gateway's key, and a verifier that has fetched it.
    fn gateway() -> (BotKey, Verifier) {
        let (key, verifier) = (BotKey::generate(), Verifier::new("https://gw.example", "echo"));
        verifier.learn_keys(&jwks(&key), NOW);
        (key, verifier)
    }

    fn jwks(key: &BotKey) -> Value {
        let mut jwk = key.jwk();
        jwk["kid"] = key.thumbprint().into();
        json!({ "keys": [jwk] })
    }

    fn ticket(key: &BotKey, change: &Value) -> String {
        let mut head = json!({ "typ": "call-ticket+jwt", "alg": "EdDSA", "kid": key.thumbprint() });
        let mut claims = json!({ "iss": "https://gw.example", "aud": "bot:echo", "jti": "c1", "iat": 1_000_000, "exp": 1_000_060,
            "call": { "id": "c1", "transport": "twilio" }, "human": { "level": "account", "methods": [] } });
        for (name, value) in change.as_object().unwrap() {
            let part = if name == "typ" { &mut head } else { &mut claims };
            part[name] = value.clone();
        }
        key.sign(&head, &claims)
    }

    #[test]
    fn a_good_ticket_is_believed_once() {
        let (key, verifier) = gateway();
        let ticket = ticket(&key, &json!({}));
        assert!(!verifier.wants_keys(&ticket, NOW));
        let attestation = verifier.verify(&ticket, Level::Challenge, Some("c1"), NOW).unwrap();
        assert_eq!(
            (&*attestation.call_id, attestation.level, &*attestation.transport),
            ("c1", Level::Account, "twilio")
        );
        assert_eq!(verifier.verify(&ticket, Level::None, None, NOW).unwrap_err(), TicketFault::Replayed);
    }

    #[test]
    fn each_fault_of_a_ticket_has_its_name() {
        let (key, verifier) = gateway();
        let fault = |ticket: &str, least, now| verifier.verify(ticket, least, Some("c1"), now).unwrap_err();
        for (change, expected) in [
            (json!({ "typ": "bot+jwt" }), TicketFault::Kind),
            (json!({ "iss": "https://other.example" }), TicketFault::Issuer),
            (json!({ "aud": "bot:other" }), TicketFault::Audience),
            (json!({ "exp": 1_000_061 }), TicketFault::Expired),
            (json!({ "iat": 1_000_010 }), TicketFault::Expired),
            (json!({ "call": { "id": "c9" } }), TicketFault::Call),
            (json!({ "jti": "c9", "call": { "id": "c9" } }), TicketFault::Call),
            (json!({ "human": {} }), TicketFault::Malformed),
        ] {
            assert_eq!(fault(&ticket(&key, &change), Level::None, NOW), expected, "{change}");
        }
        assert_eq!(fault("nonsense", Level::None, NOW), TicketFault::Malformed);
        assert_eq!(fault("a.b.c", Level::None, NOW), TicketFault::Malformed);
        let good = ticket(&key, &json!({}));
        assert_eq!(fault(&good, Level::Verified, NOW), TicketFault::Level);
        assert_eq!(fault(&good, Level::None, NOW + Duration::from_secs(66)), TicketFault::Expired);
        let forged = format!("{}AAAAAAAA", &good[..good.len() - 8]);
        assert_eq!(fault(&forged, Level::None, NOW), TicketFault::Signature);
    }

    #[test]
    fn a_phone_is_a_challenge_only_if_the_network_attests_it_in_full() {
        let (key, verifier) = gateway();
        let phone = |attest: &str| {
            let human = json!({ "level": "phone", "methods": [{ "m": "phone", "attest": attest }] });
            ticket(&key, &json!({ "human": human }))
        };
        assert_eq!(
            verifier.verify(&phone("B"), Level::Challenge, None, NOW).unwrap_err(),
            TicketFault::Level
        );
        let account = ticket(&key, &json!({}));
        assert_eq!(verifier.verify(&account, Level::Phone, None, NOW).unwrap_err(), TicketFault::Level);
        verifier.verify(&phone("A"), Level::Challenge, None, NOW).unwrap();
    }

    #[test]
    fn an_unknown_key_is_looked_for_again_but_not_at_once() {
        let (_, verifier) = gateway();
        let foreign = ticket(&BotKey::generate(), &json!({}));
        assert!(!verifier.wants_keys(&foreign, NOW + Duration::from_secs(9)));
        assert!(verifier.wants_keys(&foreign, NOW + Duration::from_secs(11)));
    }
}
