//! Hearing a call while it runs: where its route allows it, and never without a line in the audit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;

use crate::api::error::ApiError;
use crate::app::App;
use crate::recording::airing::{Airing, Meter};

/// How often levels are told.
const LEVELS_EVERY: Duration = Duration::from_millis(200);

/// `GET /admin/calls/{id}/listen`: its sound from now on, two seconds late, as PCM16 at 24 kHz, the caller left, what the
/// caller hears right, until the call ends or the operator has heard enough.
pub(super) async fn listen(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let no_call = || ApiError::not_found("call that runs on this machine");
    let call = app.calls.record(&id).filter(|call| call.state != "ended").ok_or_else(no_call)?;
    let not_allowed = || {
        let message = "Nobody listens to the calls of this route: set recording.listen_in = true in it, for the calls to come.";
        ApiError::new(StatusCode::FORBIDDEN, "listening_not_allowed", message)
    };
    let airing = permitted(&app).remove(&call.id).ok_or_else(not_allowed)?;
    if let Some(registry) = &app.registry {
        registry.audit(&call.tenant, "listen", &call.id, None, None).await?;
    }
    tracing::info!(tenant = %call.tenant, call = %call.id, "an operator listens in");
    let sound = stream::unfold(airing.listen(), |mut listener| async {
        let pcm = listener.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(pcm)), listener))
    });
    Ok(streamed("audio/pcm;rate=24000;channels=2", Body::from_stream(sound)))
}

/// `GET /admin/levels`: five lines a second, to the end of the gateway, each `{"call_…": [caller, model]}`: root mean squares, 0 to 1.
pub(super) async fn levels(State(app): State<Arc<App>>) -> Response {
    let meters: BTreeMap<Box<str>, Meter> = BTreeMap::new();
    let lines = stream::unfold((app, meters), |(app, mut meters)| async {
        tokio::time::sleep(LEVELS_EVERY).await;
        // A gateway that goes down waits for nobody who only watches.
        if !app.drain.is_serving() && app.admission.calls() == 0 {
            return None;
        }
        for (id, airing) in permitted(&app) {
            meters.entry(id).or_insert_with(|| airing.meter());
        }
        let mut line = serde_json::Map::new();
        meters.retain(|id, meter| {
            let levels = meter.levels();
            if let Some((caller, model)) = levels {
                line.insert(id.to_string(), json!([rounded(caller), rounded(model)]));
            }
            levels.is_some()
        });
        let line = serde_json::Value::Object(line).to_string() + "\n";
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (app, meters)))
    });
    streamed("application/x-ndjson", Body::from_stream(lines))
}

fn rounded(level: f32) -> f64 {
    (f64::from(level) * 1_000.0).round() / 1_000.0
}

/// The calls that run and whose route says, now, that they may be heard.
fn permitted(app: &App) -> BTreeMap<Box<str>, Airing> {
    let config = app.config();
    let may_be_heard = |id: &str| {
        let call = app.calls.record(id)?;
        let (_, route, _) = config.route(&call.tenant, &call.route)?;
        Some(route.recording.listen_in)
    };
    app.calls.on_air().into_iter().filter(|(id, _)| may_be_heard(id) == Some(true)).collect()
}

fn streamed(kind: &'static str, body: Body) -> Response {
    // Between us and the operator may stand an nginx, which would keep it to itself.
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store"), (BUFFERING, "no")];
    (headers, body).into_response()
}

const BUFFERING: header::HeaderName = header::HeaderName::from_static("x-accel-buffering");
