//! Errors in OpenAI's shape.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::admission::Refused;
use crate::credential::Refusal;
use crate::twilio_rest::TwilioError;

/// An error as a client sees it: `{"error":{"type","code","message","param"}}`. Holds nothing secret or personal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    param: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// With a code for programs and a message for people.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry_after: None }
    }

    /// A field that is missing or wrong.
    #[must_use]
    pub fn field(param: &'static str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_value", message);
        Self { param: Some(param), ..error }
    }

    /// No credential, or a wrong one: the same to the byte, whatever is wrong.
    #[must_use]
    pub fn unauthorized() -> Self {
        let message = "Give a credential that is good here: Authorization: Bearer, with a gateway API key (pbk_…), a client \
                       secret (ek_…), a user's token, or a bot's that a key signed which is known here.";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    }

    /// Not now; in a minute perhaps.
    #[must_use]
    pub fn busy(code: &'static str, message: &'static str) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        Self { retry_after: Some(Duration::from_secs(60)), ..error }
    }

    /// The same, to be tried again after so long.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Nothing of that name.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Machine
            | Refused::StartRate
            | Refused::Transcoding
            | Refused::Overload
            | Refused::Draining => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::TOO_MANY_REQUESTS,
        };
        let error = Self::new(status, refused.as_str(), format!("Not now: {refused}."));
        Self { retry_after: Some(refused.retry_after()), ..error }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotShown(_) | Refusal::ApiKey | Refusal::ClientSecret | Refusal::Jwt => {
                Self::unauthorized()
            }
            Refusal::Bot(fault) => {
                let said = fault.to_string();
                let message = format!("{}{}.", said[..1].to_uppercase(), &said[1..]);
                Self::new(StatusCode::UNAUTHORIZED, fault.as_str(), message)
            }
            Refusal::TooMany(wait) => {
                let message = "Too many requests from there showed no good credential.";
                let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", message);
                // Rounded up: who comes back that much later is let in.
                Self { retry_after: Some(Duration::from_secs(wait.as_secs() + 1)), ..error }
            }
            Refusal::Origin => {
                let message = "This page may not come here: see the tenant's allowed_origins.";
                Self::new(StatusCode::FORBIDDEN, "origin_not_allowed", message)
            }
            Refusal::Scope(scope) => {
                let message = format!("The credential lacks the permission {scope}.");
                Self::new(StatusCode::FORBIDDEN, "insufficient_scope", message)
            }
        }
    }
}

impl From<TwilioError> for ApiError {
    fn from(error: TwilioError) -> Self {
        let (status, code) = match error {
            TwilioError::NoAccount => (StatusCode::CONFLICT, "twilio_not_configured"),
            TwilioError::Timeout => (StatusCode::GATEWAY_TIMEOUT, "twilio_timeout"),
            TwilioError::Refused { .. } => (StatusCode::BAD_GATEWAY, "twilio_refused"),
            TwilioError::Unreachable | TwilioError::Answer => (StatusCode::BAD_GATEWAY, "twilio_failed"),
        };
        Self::new(status, code, format!("{error}."))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({ "type": self.kind(), "code": self.code, "message": self.message });
        if let Some(param) = self.param {
            error["param"] = param.into();
        }
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1.
            let scheme = HeaderValue::from_static("Bearer realm=\"patchbay\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}
