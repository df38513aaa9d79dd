//! The HTTP API: the public router and the admin router.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::App;

pub mod admin;
mod asked;
pub mod bot_audio;
pub mod bot_call;
mod bot_join;
mod bot_offer;
pub mod bot_stream;
pub mod bots;
pub mod caller;
pub mod calls;
pub mod client_secrets;
pub mod cross_origin;
pub mod error;
pub mod health;
mod multipart;
pub mod page;
pub mod pages;
pub mod realtime;
pub mod twilio;
pub mod usage;
pub mod webrtc;

#[cfg(test)]
mod remembering;
#[cfg(test)]
mod tests;

use cross_origin::cross_origin;
use error::ApiError;

/// Everything that the outside may reach.
pub fn public(app: &Arc<App>) -> Router {
    let limits = app.config().limits.clone();
    let v1 = Router::new()
        .route("/v1/calls", post(calls::create).get(calls::list))
        .route("/v1/calls/{id}", get(calls::show))
        .route("/v1/calls/{id}/hangup", post(calls::hang_up))
        .route("/v1/calls/{id}/audio", get(bot_audio::hear).post(bot_audio::say))
        .route("/v1/calls/{id}/audio/ack", get(bot_audio::acknowledge))
        .route("/v1/calls/{id}/stream", get(bot_stream::open))
        .route("/v1/calls/{id}/join", post(webrtc::join))
        .route("/v1/calls/{id}/events", get(bot_call::read).post(bot_call::tell))
        .route("/v1/usage", get(usage::of_tenant))
        .route("/v1/realtime", get(realtime::open))
        .route("/v1/realtime/client_secrets", post(client_secrets::create))
        .route("/v1/page/token", post(page::token))
        .route("/v1/realtime/calls", post(webrtc::create))
        .route(
            "/v1/realtime/calls/{id}",
            post(webrtc::restart).patch(webrtc::restart).delete(webrtc::hang_up),
        )
        .route("/v1/realtime/calls/{id}/hangup", post(webrtc::hang_up))
        .route("/whip/{route}", post(webrtc::create_whip))
        .merge(bots())
        .layer(DefaultBodyLimit::max(limits.body_bytes_max));
    let twilio = Router::new()
        .route("/twilio/voice/{tenant}/{route}", post(twilio::voice::answer))
        .route("/twilio/media/{token}", get(twilio::media::open))
        .route("/twilio/resume/{token}", post(twilio::resume::answer))
        .route("/twilio/status", post(twilio::status::take))
        .layer(DefaultBodyLimit::max(limits.webhook_bytes_max));
    let azure = Router::new()
        .route("/openai/v1/realtime", get(realtime::open))
        .route("/openai/realtime", get(realtime::open_dated));
    let machines = Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/.well-known/jwks.json", get(bots::jwks));
    let routes = v1.merge(azure).merge(twilio).merge(machines).merge(pages::public());
    dressed(routes, app)
}

/// What bots, and those who look for them, may reach.
fn bots() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/bots", post(bots::create).get(bots::list))
        .route("/v1/bots/{id}", axum::routing::delete(bots::delete))
        .route("/v1/bots/self/events", get(bots::events::open))
        .route("/v1/presence", get(bots::presence::open))
        .route("/v1/register", post(bots::register))
        .route("/v1/register/{id}", axum::routing::delete(bots::unregister))
        .route("/v1/lookup/{id}", get(bots::lookup))
        .route("/v1/calls/{id}/accept", post(bots::answer::accept))
        .route("/v1/calls/{id}/reject", post(bots::answer::reject))
}

/// Everything that only operators may reach.
pub fn admin(app: &Arc<App>) -> Router {
    let routes = admin::routes(app)
        .route("/metrics", get(health::metrics))
        .route("/admin/usage", get(usage::of_all))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .merge(pages::admin());
    dressed(routes, app)
}

/// Adds what every answer has: an id, a count, and an error in our shape where axum has its own.
fn dressed(routes: Router<Arc<App>>, app: &Arc<App>) -> Router {
    routes
        .fallback(|| async { ApiError::not_found("route") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This route takes another method.",
            )
        })
        .layer(from_fn_with_state(app.clone(), in_time))
        .layer(from_fn_with_state(app.clone(), counted))
        .layer(from_fn_with_state(app.clone(), cross_origin))
        .layer(from_fn(identified))
        .with_state(app.clone())
}

/// Every answer carries an id of ours.
async fn identified(request: Request, next: Next) -> Response {
    let id = crate::id::fresh("req_");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let id = HeaderValue::try_from(id).expect("hexadecimal is a header value");
    headers.insert(HeaderName::from_static("x-request-id"), id);
    response
}

/// Counts by the route's template, never by the path, which may hold a token.
async fn counted(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let template = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let template = template.unwrap_or_else(|| "unmatched".into());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics.request(&template, status);
    tracing::debug!(route = template, status, "answered");
    response
}

/// Answers 503 when an answer takes too long.
async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if is_long(&request) {
        return next.run(request).await;
    }
    let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    // Who polls asks us to wait.
    let waits = if template == Some(bots::events::PATH) { bots::events::WAIT_MAX } else { Duration::ZERO };
    let within = app.config().limits.request_timeout + waits;
    match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "It took too long.").into_response()
        }
    }
}

/// What a bot says is read as long as it speaks; its own deadlines are its meeting's.
fn is_long(request: &Request) -> bool {
    let template = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    template == Some("/v1/calls/{id}/audio") && request.method() == Method::POST
}
