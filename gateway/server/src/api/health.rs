//! Whether we live, whether we take calls, and the counters.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::drain::Phase;
use crate::overload::Level;

/// `GET /health`: for people and dashboards. 200 as long as we live.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    Json(json!({
        "status": status(&app),
        "version": env!("CARGO_PKG_VERSION"),
        "overload": app.overload.level().as_str(),
        "calls": app.admission.calls(),
        "calls_max": app.config().limits.calls_max,
    }))
    .into_response()
}

/// `GET /livez`: 200 as long as requests are answered at all.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 while new calls are taken, else 503.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let status = status(&app);
    let code = if status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{status}\n")).into_response()
}

/// `GET /metrics`, on the admin listener only.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.set_draining(!app.drain.is_serving());
    app.metrics.set_journal(app.archive.writer.counters());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

fn status(app: &App) -> &'static str {
    match app.drain.phase() {
        Phase::Serving if app.admission.calls() >= app.config().limits.calls_max => "full",
        Phase::Serving if app.overload.level() > Level::Normal => "overloaded",
        Phase::Serving => "ok",
        Phase::Draining | Phase::HandOff | Phase::Done => "draining",
    }
}
