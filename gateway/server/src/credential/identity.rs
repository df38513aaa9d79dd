//! [`Identity`]: who asks, as far as a credential proves it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::bot_token::{BotFault, BotPass};
use super::grants::GrantId;
use super::scope::{Scope, Scopes};
use super::shown::NoneShown;
use crate::secret::Private;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose configuration, quota and calls.
    pub tenant: String,
    /// Which of the tenant's users, if the credential is one's.
    pub user: Option<Private<String>>,
    /// What may be done.
    pub scopes: Scopes,
    /// The one route that may be used; `None`: any of the tenant's.
    pub route: Option<String>,
    /// Settings of the conversation that whoever minted the credential chose, as JSON.
    pub settings: Option<Arc<str>>,
    /// The bot, if it is one. It has no permission of people: what bots may do, routes ask for by name.
    pub bot: Option<BotPass>,
    /// What proves it.
    pub kind: Kind,
}

/// What proves an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A gateway key of this public name.
    ApiKey(String),
    /// A client secret; the id of its grant if its uses are counted or its settings kept.
    ClientSecret(Option<GrantId>),
    /// A user's JWT, or a bot's.
    Jwt,
}

impl Identity {
    /// # Errors
    /// The permission is not among those of the credential.
    pub fn needs(&self, scope: Scope) -> Result<(), Refusal> {
        if self.scopes.has(scope) { Ok(()) } else { Err(Refusal::Scope(scope)) }
    }

    /// Whether `route` may be used.
    #[must_use]
    pub fn may_use(&self, route: &str) -> bool {
        self.route.as_ref().is_none_or(|only| only == route)
    }
}

/// Who sends a request, and when.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    /// The peer of the connection.
    pub peer: IpAddr,
    /// Seconds since 1970.
    pub unix: u64,
    /// The same moment, for spans.
    pub at: Instant,
}

impl Sending {
    /// By `peer`, now.
    #[must_use]
    pub fn now(peer: IpAddr) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { peer, unix, at: Instant::now() }
    }
}

/// Why somebody is turned away. What the peer is told does not depend on it beyond its status: what is wrong with a
/// credential is nobody's business but its owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No credential, two, or none that could be one.
    NotShown(NoneShown),
    /// Neither a key of ours, nor a secret, nor a token: or one that is over.
    ApiKey,
    /// A client secret that is not ours, over, used up, or not here.
    ClientSecret,
    /// A JWT that does not hold.
    Jwt,
    /// A bot's token that its key signed, and that does not hold for another reason.
    Bot(BotFault),
    /// Too many failures from there.
    TooMany(Duration),
    /// A page that the tenant does not allow.
    Origin,
    /// A permission that the credential has not.
    Scope(Scope),
}

impl Refusal {
    /// Stable name for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotShown(NoneShown::Missing) => "missing",
            Self::NotShown(NoneShown::Several) => "several",
            Self::NotShown(NoneShown::Malformed) => "malformed",
            Self::ApiKey => "api_key",
            Self::ClientSecret => "client_secret",
            Self::Jwt => "jwt",
            Self::Bot(_) => "bot",
            Self::TooMany(_) => "too_many",
            Self::Origin => "origin",
            Self::Scope(_) => "scope",
        }
    }

    /// Whether nobody was identified: such failures are counted against their source.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::TooMany(_) | Self::Origin | Self::Scope(_))
    }
}
