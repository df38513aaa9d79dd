//! Calls of every tenant, and forgetting a person.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use patchbay_core::EndReason;
use patchbay_store::{CallFilter, Subject};
use serde::Deserialize;
use serde_json::json;

use crate::api::asked::Asked;
use crate::api::calls::{of_page, one};
use crate::api::error::ApiError;
use crate::app::App;
use crate::secret::Private;

/// How long what waits for the database may take to get there before a person is forgotten.
const FLUSH: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    tenant: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET /admin/calls?tenant=&after=&limit=`: the latest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Asked(which): Asked<Which>,
) -> Result<Response, ApiError> {
    let filter = CallFilter { tenant: which.tenant, ..CallFilter::default() };
    of_page(&app, &filter, which.after, which.limit).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    tenant: String,
}

/// `GET /admin/calls/{id}?tenant=`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(whose): Asked<Whose>,
) -> Result<Response, ApiError> {
    one(&app, &whose.tenant, &id).await
}

/// `POST /admin/calls/{id}/end`: of this machine.
pub(super) async fn end(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    if !app.calls.end(&id, EndReason::Requested) {
        return Err(ApiError::not_found("call that runs on this machine"));
    }
    Ok(Json(json!({ "id": id, "state": "ending" })).into_response())
}

/// Who is to be forgotten: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whom {
    number: Option<String>,
    user: Option<String>,
}

/// `POST /admin/tenants/{tenant}/forget`: answers what was deleted.
pub(super) async fn forget(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
    body: Result<Json<Whom>, JsonRejection>,
) -> Result<Response, ApiError> {
    let wrong = || ApiError::field("body", "Give one of number and user.");
    let subject = match body.map_err(|_| wrong())?.0 {
        Whom { number: Some(number), user: None } => Subject::Number(Private::new(number)),
        Whom { number: None, user: Some(user) } => Subject::User(Private::new(user)),
        _ => return Err(wrong()),
    };
    let (forgotten, erased) = app.archive.forget(&tenant, &subject, FLUSH).await?;
    // They may speak of that person too, and the store has those of everybody else.
    app.calls.drop_ended();
    if let Some(registry) = &app.registry {
        registry.audit(&tenant, "forget", "a person", None, None).await?;
    }
    if erased.left > 0 {
        let message = format!(
            "The rows are deleted, but {} files cannot be removed; the log names them. They are tried again every hour.",
            erased.left
        );
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "files_left", message));
    }
    let mut done = serde_json::to_value(forgotten).expect("numbers have a JSON form");
    done["files"] = erased.files.into();
    Ok(Json(done).into_response())
}
