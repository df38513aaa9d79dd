//! What Twilio calls.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

pub mod media;
pub mod minutes;
pub mod phone;
pub mod request;
pub mod resume;
pub mod signature;
pub mod status;
pub mod voice;

#[cfg(test)]
mod tests;

/// TwiML as an answer.
fn twiml(document: String) -> Response {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], document).into_response()
}

/// Whoever is not Twilio learns nothing.
fn refused() -> Response {
    StatusCode::FORBIDDEN.into_response()
}
