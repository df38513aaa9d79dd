//! [`Caller`]: the extractor through which every route of `/v1` learns who asks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::cross_origin::Identified;
use super::error::ApiError;
use crate::app::App;
use crate::config::{Config, Tenant};
use crate::credential::bot_token::BotPass;
use crate::credential::{Identity, Refusal, Scope, Sending};

/// Who asks: identified, not yet allowed anything. A tenant is only to be had for a permission, so that no route forgets to
/// ask for one.
#[derive(Debug)]
pub struct Caller {
    config: Arc<Config>,
    tenant: Arc<Tenant>,
    identity: Identity,
    sending: Sending,
}

impl Caller {
    /// The tenant, for whoever has `scope`.
    ///
    /// # Errors
    /// [`Refusal::Scope`]
    pub fn tenant(&self, app: &App, scope: Scope) -> Result<&Arc<Tenant>, ApiError> {
        self.identity.needs(scope).map_err(|refusal| refused(app, refusal))?;
        Ok(&self.tenant)
    }

    /// The bot, if one asks.
    ///
    /// # Errors
    /// It is somebody else.
    pub fn bot(&self) -> Result<&BotPass, ApiError> {
        self.identity.bot.as_ref().ok_or_else(|| {
            let message =
                "This is for bots: show a bot's token (Authorization: Bearer, a JWT of typ bot+jwt).";
            ApiError::new(StatusCode::FORBIDDEN, "bot_token_required", message)
        })
    }

    /// The tenant, for a bot of its, or whoever has `scope`.
    ///
    /// # Errors
    /// [`Refusal::Scope`]
    pub fn tenant_or_bot(&self, app: &App, scope: Scope) -> Result<&Arc<Tenant>, ApiError> {
        if self.bot().is_ok() { Ok(&self.tenant) } else { self.tenant(app, scope) }
    }

    /// The name of one of the tenant's routes that the credential may use: the one asked for, else the credential's own, else
    /// `default`, else the only one.
    #[must_use]
    pub fn route(&self, asked: Option<&str>) -> Option<String> {
        let routes = &self.tenant.routes;
        let only = || match routes.keys().collect::<Vec<_>>().as_slice() {
            [only] => Some((*only).clone()),
            _ => None,
        };
        let usual = || routes.contains_key("default").then(|| "default".to_owned()).or_else(only);
        let name = asked.map(str::to_owned).or_else(|| self.identity.route.clone()).or_else(usual)?;
        (routes.contains_key(&name) && self.identity.may_use(&name)).then_some(name)
    }

    /// The configuration under which the caller was identified.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// From where, and when.
    #[must_use]
    pub fn sending(&self) -> Sending {
        self.sending
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let config = app.config();
        let sending = Sending::now(peer(parts));
        let identity = app.credentials.identify(&config, &parts.headers, sending).await;
        let identity = identity.map_err(|refusal| refused(app, refusal))?;
        let tenant = config.tenants.get(&identity.tenant).cloned();
        let tenant = tenant.ok_or_else(|| refused(app, Refusal::ApiKey))?;
        if let Some(identified) = parts.extensions.get::<Identified>() {
            identified.set(&tenant.name);
        }
        Ok(Self { config, tenant, identity, sending })
    }
}

/// The listener says who is connected; a router without one, in a test, serves nobody in particular.
fn peer(parts: &Parts) -> IpAddr {
    let connected = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    connected.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

fn refused(app: &App, refusal: Refusal) -> ApiError {
    app.metrics.auth_refused(refusal.as_str());
    refusal.into()
}
