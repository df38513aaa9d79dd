//! What was checked about a caller, and the ticket that tells a bot (reference/browser.md §6.6).
//!
//! Nobody can prove that somebody is human: the gateway signs what it checked, and who says so.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;

use super::Offer;
use crate::config::Config;
use crate::credential::signing::{OwnKey, Purpose, SigningKeys};
use crate::credential::ticket::TicketKeys;
use crate::credential::{Identity, Kind};
use crate::secret::Private;

/// How long a ticket is good, in seconds.
const LIFETIME: u64 = 60;

/// How sure the gateway is that there is a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing was checked.
    #[default]
    None,
    /// A test against programs was passed, lately.
    Challenge,
    /// An issuer of the tenant's vouches for a user.
    Account,
    /// A person proved to be present, with a passkey. Nothing here says so yet.
    Verified,
    /// A telephone, and what its carrier says of the number.
    Phone,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Method {
    /// `turnstile`, `jwt`, `phone`.
    #[serde(rename = "m")]
    pub name: &'static str,
    /// STIR/SHAKEN: `A`, `B` or `C`, when the carrier signed the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attest: Option<char>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

/// What was checked about a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Human {
    /// The surest.
    pub level: Level,
    /// All of it.
    pub methods: Vec<Method>,
    /// Who it is, to make a pseudonym of.
    pub subject: Option<Private<String>>,
}

impl Human {
    /// What a credential says of its holder.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        let subject = identity.user.clone();
        match &identity.kind {
            Kind::Jwt if identity.bot.is_none() => {
                let methods = vec![Method { name: "jwt", attest: None, at: None }];
                Self { level: Level::Account, methods, subject }
            }
            Kind::Jwt | Kind::ApiKey(_) | Kind::ClientSecret(_) => Self { subject, ..Self::default() },
        }
    }

    /// A phone call from `number`. `verstat` is what Twilio says of it (`StirVerstat`): `TN-Validation-Passed-A` and such.
    #[must_use]
    pub fn phone(number: Option<Private<String>>, verstat: Option<&str>) -> Self {
        let attest = verstat.and_then(|verstat| match verstat.strip_prefix("TN-Validation-Passed-")? {
            "A" => Some('A'),
            "B" => Some('B'),
            "C" => Some('C'),
            _ => None,
        });
        Self {
            level: Level::Phone,
            methods: vec![Method { name: "phone", attest, at: None }],
            subject: number,
        }
    }
}

/// Signs tickets.
pub(super) struct Attest {
    config: watch::Receiver<Arc<Config>>,
    own: OwnKey,
    issuer: String,
}

impl Attest {
    pub(super) fn new(config: watch::Receiver<Arc<Config>>, public_url: &str) -> Self {
        Self { config, own: OwnKey::new(), issuer: public_url.trim_end_matches('/').to_owned() }
    }

    pub(super) fn keys(&self) -> TicketKeys {
        let config = self.config.borrow();
        TicketKeys::new(&SigningKeys::new(&config.credentials.signing_keys, &self.own))
    }

    /// The ticket of a call for the bot that it is offered to, at `now` in seconds since 1970.
    pub(super) fn ticket(&self, offer: &Offer, now: u64) -> String {
        let claims = json!({
            "iss": self.issuer,
            "aud": format!("bot:{}", offer.bot),
            "jti": offer.call_id,
            "iat": now,
            "exp": now + LIFETIME,
            "sub": self.pseudonym(offer),
            "call": { "id": offer.call_id, "transport": offer.transport },
            "human": { "level": offer.human.level, "methods": offer.human.methods },
        });
        self.keys().sign("call-ticket+jwt", &claims)
    }

    /// The same for the same caller and bot, and another for any other bot; of a caller without a name, another each time.
    fn pseudonym(&self, offer: &Offer) -> String {
        let (kind, who) = match &offer.human.subject {
            Some(subject) => ("user", subject.reveal().as_str()),
            None => ("anon", offer.call_id.as_str()),
        };
        let config = self.config.borrow();
        let keys = SigningKeys::new(&config.credentials.signing_keys, &self.own);
        let message = [offer.tenant.as_str(), offer.bot.as_str(), kind, who].join("\0");
        let tag = keys.sign(Purpose::Pseudonym, message.as_bytes());
        format!("{kind}:{}", URL_SAFE_NO_PAD.encode(&tag[..16]))
    }
}
