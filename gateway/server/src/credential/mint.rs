//! Minting a client secret.

use std::sync::Arc;

use super::Credentials;
use super::client_secret::{ClientSecret, Terms, TooLong};
use super::grants::{Full, Grant, GrantId};
use super::origin::Origin;
use crate::config::Config;
use crate::secret::Private;

/// What a client secret is to be bound to.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose.
    pub tenant: String,
    /// For whom.
    pub user: Option<Private<String>>,
    /// The one route that it opens.
    pub route: String,
    /// Pages that may show it; none: those of the tenant.
    pub origins: Vec<Origin>,
    /// Settings of the conversation, as JSON.
    pub settings: Option<Arc<str>>,
    /// Calls that may be begun with it; `None`: as many as one likes until it expires, as at OpenAI.
    pub uses: Option<u32>,
    /// Seconds since 1970.
    pub expires_at: u64,
}

/// Why none was minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMinted {
    /// It would not fit into a subprotocol.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Too many are waiting.
    #[error(transparent)]
    Full(#[from] Full),
}

impl Credentials {
    /// Mints a client secret at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`NotMinted`]
    pub fn mint(&self, config: &Config, wanted: Wanted, now: u64) -> Result<ClientSecret, NotMinted> {
        let Wanted { tenant, user, route, origins, settings, uses, expires_at } = wanted;
        let has_grant = settings.is_some() || uses.is_some();
        let terms = Terms { id: GrantId::fresh(), tenant, user, route, origins, expires_at, has_grant };
        let secret = ClientSecret::sign(&terms, &self.signing_keys(config))?;
        if has_grant {
            let grant = Grant { tenant: terms.tenant, settings, uses_left: uses, expires_at };
            self.grants.keep(terms.id, grant, now)?;
        }
        Ok(secret)
    }
}
