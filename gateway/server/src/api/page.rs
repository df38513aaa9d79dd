//! `POST /v1/page/token`: what our own page talks with, if its visitors may talk at a tenant's expense.

use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

use super::error::ApiError;
use crate::app::App;
use crate::credential::attempts::Source;
use crate::credential::mint::Wanted;
use crate::credential::origin::{AllowedOrigins, Origin, Page};
use crate::credential::{Refusal, Sending};
use crate::secret::Private;

/// How long such a token is good, in seconds: the page asks for one when somebody presses the button.
const SECONDS: u64 = 60;

/// Mints a token for a visitor of the page at `/`.
///
/// # Errors
/// 403 unless the page is open, and for pages that are not ours; 429 for too many from one address.
pub async fn token(
    State(app): State<Arc<App>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let config = app.config();
    let page = &config.page;
    if !is_ours(&app, &headers) {
        return Err(Refusal::Origin.into());
    }
    if !page.open {
        let message = "This page needs a token: open it as /#token=ek_…, with a client secret from POST \
                       /v1/realtime/client_secrets. Or, if whoever opens it may talk at your expense, write open = true in \
                       [page] of the configuration.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "page_closed", message));
    }
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(ConnectInfo(peer))| peer.ip());
    let source = Source::of(peer);
    app.page_tokens.fail(source, page.tokens_per_minute_max).map_err(Refusal::TooMany)?;
    if config.route(&page.tenant, &page.route).is_none() {
        return Err(ApiError::not_found("route: [page] names one that is not there"));
    }
    let now = Sending::now(peer).unix;
    let wanted = Wanted {
        tenant: page.tenant.clone(),
        user: Some(visitor(&app, source)),
        route: page.route.clone(),
        origins: Vec::new(),
        settings: None,
        uses: None,
        expires_at: now + SECONDS,
    };
    let secret = app.credentials.mint(&config, wanted, now)?;
    let body = json!({ "value": secret.expose(), "expires_at": now + SECONDS });
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::OK, [no_store], Json(body)).into_response())
}

/// A browser says of every such request which page sends it.
fn is_ours(app: &App, headers: &HeaderMap) -> bool {
    let own = Origin::of_url(&app.public_url.http(""));
    match Page::of(headers) {
        Page::From(origin) => AllowedOrigins::None.allow(origin, own.as_ref()),
        Page::Absent | Page::Odd => false,
    }
}

/// One visitor's calls count together, and nobody learns an address from its name.
fn visitor(app: &App, source: Source) -> Private<String> {
    Private::new(format!("visitor-{:016x}", app.visitors.hash_one(source.to_string())))
}
