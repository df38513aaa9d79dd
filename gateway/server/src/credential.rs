//! Who may call: keys, client secrets and users' tokens.
//!
//! Every route asks [`Credentials::identify`], and nothing else, who asks. Whatever fails, the peer learns no more than that it
//! did.

use std::net::IpAddr;
use std::sync::{Arc, RwLock};

use axum::http::HeaderMap;

pub mod api_key;
pub mod attempts;
pub mod bot_key;
pub mod bot_token;
pub mod client_secret;
pub mod grants;
pub mod identity;
pub mod jwks;
pub mod jwt;
pub mod mint;
pub mod origin;
pub mod scope;
pub mod shown;
pub mod signing;
mod stored;
pub mod strict_json;
pub mod ticket;
pub mod token;
pub mod verifying_key;

#[cfg(test)]
mod tests;

pub use identity::{Identity, Kind, Refusal, Sending};
pub use scope::{Scope, Scopes};

use api_key::{KeyRow, KeyTable, Shown};
use attempts::{Attempts, Source};
use bot_key::BotKeys;
use client_secret::Terms;
use grants::Grants;
use jwks::Jwks;
use origin::{AllowedOrigins, Origin, Page};
use signing::{OwnKey, SigningKeys};
use token::Token;
use verifying_key::Algorithm;

use crate::config::{Config, JwtIssuer, JwtKeys, Tenant};
use crate::transport::Dialer;

/// What identifying needs besides the configuration.
#[derive(Debug)]
pub struct Credentials {
    /// The gateway's own origin: its pages may always come.
    own: Option<Origin>,
    process: OwnKey,
    /// Keys of the store, replaced as a whole.
    stored: RwLock<Arc<KeyTable>>,
    /// Of the store too, replaced as a whole.
    bots: RwLock<Arc<BotKeys>>,
    grants: Grants,
    jwks: Jwks,
    attempts: Attempts,
    /// `aud` of a bot's token.
    audience: String,
}

impl Credentials {
    /// Nothing stored, nothing minted; `public_url` is the gateway's own address.
    #[must_use]
    pub fn new(public_url: &str, dialer: Dialer) -> Self {
        Self {
            own: Origin::of_url(public_url),
            process: OwnKey::new(),
            stored: RwLock::default(),
            bots: RwLock::default(),
            grants: Grants::default(),
            jwks: Jwks::new(dialer),
            attempts: Attempts::default(),
            audience: public_url.trim_end_matches('/').to_owned(),
        }
    }

    /// Replaces the keys of the store: new ones open, revoked ones do not, from the next request on.
    pub fn use_keys(&self, rows: impl IntoIterator<Item = KeyRow>) {
        let table = Arc::new(KeyTable::new(rows));
        *self.stored.write().expect("nobody panics while holding the table") = table;
    }

    /// Replaces the bots and their keys, as [`use_keys`](Self::use_keys).
    pub fn use_bots(&self, keys: BotKeys) {
        *self.bots.write().expect("nobody panics while holding the table") = Arc::new(keys);
    }

    /// The bots that are known, and their keys.
    #[must_use]
    pub fn bots(&self) -> Arc<BotKeys> {
        self.bots.read().expect("nobody panics while holding the table").clone()
    }

    /// Who sends these headers.
    ///
    /// # Errors
    /// [`Refusal`]; too many failures from one source make it [`Refusal::TooMany`].
    pub async fn identify(
        &self,
        config: &Config,
        headers: &HeaderMap,
        sending: Sending,
    ) -> Result<Identity, Refusal> {
        let identified = self.identify_once(config, headers, sending).await;
        match identified {
            Err(refusal) if refusal.is_failure() => Err(self.counted(config, refusal, sending.peer)),
            other => other,
        }
    }

    /// Whether a page may read answers: of `tenant`, or, while nobody is identified, of any tenant.
    #[must_use]
    pub fn may_read(&self, config: &Config, tenant: Option<&str>, origin: &str) -> bool {
        let own = self.own.as_ref();
        match tenant {
            Some(name) => {
                config.tenants.get(name).is_some_and(|tenant| tenant.allowed_origins.allow(origin, own))
            }
            None => config.tenants.values().any(|tenant| tenant.allowed_origins.allow(origin, own)),
        }
    }

    /// Takes one use of the credential, where uses are counted: to be called when a call is about to begin.
    ///
    /// # Errors
    /// [`Refusal::ClientSecret`] when none is left.
    pub fn spend(&self, identity: &Identity, sending: Sending) -> Result<(), Refusal> {
        match identity.kind {
            Kind::ClientSecret(Some(id)) if !self.grants.spend(id, sending.unix) => {
                Err(Refusal::ClientSecret)
            }
            _ => Ok(()),
        }
    }

    fn counted(&self, config: &Config, refusal: Refusal, peer: IpAddr) -> Refusal {
        let source = Source::of(peer);
        match self.attempts.fail(source, config.credentials.failures_per_minute_max) {
            Ok(()) => {
                tracing::info!(%source, kind = refusal.as_str(), "nobody identified");
                refusal
            }
            Err(wait) => Refusal::TooMany(wait),
        }
    }

    async fn identify_once(
        &self,
        config: &Config,
        headers: &HeaderMap,
        sending: Sending,
    ) -> Result<Identity, Refusal> {
        let text = shown::credential(headers).map_err(Refusal::NotShown)?;
        let page = Page::of(headers);
        if let Some(identity) = self.by_key(config, text, sending.unix) {
            return self.admit(config, identity, None, page);
        }
        if text.starts_with(client_secret::PREFIX) {
            let (identity, origins) =
                self.by_secret(config, text, sending.unix).ok_or(Refusal::ClientSecret)?;
            return self.admit(config, identity, Some(&origins), page);
        }
        if let Some(token) = Token::parse_as(text, "bot+jwt") {
            let identity = self.by_bot(token, sending.unix)?;
            return self.admit(config, identity, None, page);
        }
        if Token::is_like(text) {
            let identity = self.by_token(config, text, sending).await.ok_or(Refusal::Jwt)?;
            return self.admit(config, identity, None, page);
        }
        Err(Refusal::ApiKey)
    }

    /// A page must be allowed, whatever credential it shows: a key in a page of somebody else's is a leak. A credential that
    /// names its pages is none without a page.
    fn admit(
        &self,
        config: &Config,
        identity: Identity,
        origins: Option<&[Origin]>,
        page: Page<'_>,
    ) -> Result<Identity, Refusal> {
        let tenant = config.tenants.get(&identity.tenant).ok_or(Refusal::ApiKey)?;
        let named = origins.filter(|origins| !origins.is_empty());
        let is_allowed = match (page, named) {
            (Page::Odd, _) | (Page::Absent, Some(_)) => false,
            (Page::Absent, None) => true,
            (Page::From(origin), None) => tenant.allowed_origins.allow(origin, self.own.as_ref()),
            (Page::From(origin), Some(named)) => {
                AllowedOrigins::These(named.to_vec()).allow(origin, None)
                    && tenant.allowed_origins.allow(origin, self.own.as_ref())
            }
        };
        if is_allowed { Ok(identity) } else { Err(Refusal::Origin) }
    }

    fn by_key(&self, config: &Config, text: &str, unix: u64) -> Option<Identity> {
        let shown = Shown::new(text);
        let stored = self.stored.read().expect("nobody panics while holding the table").clone();
        // Both tables are asked, whatever the first one says.
        let (of_store, of_config) = (stored.find(&shown, unix), config.api_keys.find(&shown, unix));
        let row = of_store.or(of_config)?;
        Some(Identity {
            tenant: row.tenant.clone(),
            user: None,
            scopes: row.scopes,
            route: None,
            settings: None,
            bot: None,
            kind: Kind::ApiKey(row.id.clone()),
        })
    }

    fn by_secret(&self, config: &Config, text: &str, unix: u64) -> Option<(Identity, Vec<Origin>)> {
        let keys = self.signing_keys(config);
        let terms = client_secret::verify(text, &keys).filter(|terms| terms.expires_at > unix)?;
        let Terms { id, tenant, user, route, origins, has_grant, .. } = terms;
        // What should be kept here and is not was minted elsewhere, or before a restart: without its settings it would open
        // more than it was meant to.
        let grant = if has_grant { Some(self.grants.get(id, unix)?) } else { None };
        let identity = Identity {
            tenant,
            user,
            scopes: [Scope::RealtimeConnect].into_iter().collect(),
            route: Some(route),
            settings: grant.and_then(|grant| grant.settings),
            bot: None,
            kind: Kind::ClientSecret(has_grant.then_some(id)),
        };
        Some((identity, origins))
    }

    async fn by_token(&self, config: &Config, text: &str, sending: Sending) -> Option<Identity> {
        let token = Token::parse(text)?;
        let (tenant, issuer) = meant(config, &token)?;
        let kid = token.kid().ok()?;
        let key = match &issuer.keys {
            JwtKeys::Fixed(key) => key.clone(),
            JwtKeys::Url(url) => self.jwks.key(url, issuer.algorithm, kid, sending.at).await?,
        };
        let claims = token.verify(issuer.algorithm, &key)?;
        let vouched = jwt::vouched(&claims, issuer, sending.unix)?;
        Some(Identity {
            tenant: tenant.name.clone(),
            user: Some(vouched.user),
            scopes: vouched.scopes,
            route: None,
            settings: None,
            bot: None,
            kind: Kind::Jwt,
        })
    }

    /// What is wrong with a token is told only to who holds the key.
    fn by_bot(&self, token: Token<'_>, unix: u64) -> Result<Identity, Refusal> {
        let kid = token.kid().ok().flatten().ok_or(Refusal::Jwt)?.to_owned();
        let bots = self.bots();
        let key = bots.key(&kid).ok_or(Refusal::Jwt)?;
        let claims = token.verify(Algorithm::EdDsa, &key.key).ok_or(Refusal::Jwt)?;
        let pass = bot_token::check(&claims, (&kid, key), &self.audience, unix).map_err(Refusal::Bot)?;
        Ok(Identity {
            tenant: key.bot.tenant().to_owned(),
            user: None,
            scopes: Scopes::NONE,
            route: None,
            settings: None,
            bot: Some(pass),
            kind: Kind::Jwt,
        })
    }

    fn signing_keys<'k>(&'k self, config: &'k Config) -> SigningKeys<'k> {
        SigningKeys::new(&config.credentials.signing_keys, &self.process)
    }
}

/// The one tenant that a token is for. A token for two is for none: nobody could say whose calls it opens.
fn meant<'c>(config: &'c Config, token: &Token<'_>) -> Option<(&'c Arc<Tenant>, &'c JwtIssuer)> {
    let mut meant = config.tenants.values().filter_map(|tenant| {
        let issuer = tenant.jwt.as_ref().filter(|issuer| jwt::is_meant_for(token, issuer))?;
        Some((tenant, issuer))
    });
    match (meant.next(), meant.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}
