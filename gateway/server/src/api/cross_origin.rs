//! What pages of other origins may read (<https://fetch.spec.whatwg.org/#http-cors-protocol>, November 2026).
//!
//! No cookie opens anything here, so that these headers guard no door: the credential does, with its own check of the origin.
//! They say which pages get to read an answer, errors too: without them a page sees no status and no `error.code`.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::App;
use crate::credential::origin::Page;

/// How long a browser may remember a preflight, in seconds.
const PREFLIGHT_AGE: &str = "600";
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// `*` covers every header but `authorization` (reference/browser.md §2.4); narrow lists break when an SDK adds one.
const HEADERS: &str = "*, authorization";
const EXPOSED: &str = "location, retry-after, x-request-id";

/// Whose answer it is, once the caller is identified.
#[derive(Clone, Debug, Default)]
pub struct Identified(Arc<OnceLock<String>>);

impl Identified {
    /// Notes the tenant. The first one counts; there is no second.
    pub fn set(&self, tenant: &str) {
        let _ = self.0.set(tenant.to_owned());
    }

    fn tenant(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Answers preflights, and lets the pages that a tenant allows read the rest.
pub async fn cross_origin(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let origin = match Page::of(request.headers()) {
        Page::From(origin) => Some(origin.to_owned()),
        Page::Absent | Page::Odd => None,
    };
    let identified = Identified::default();
    request.extensions_mut().insert(identified.clone());
    let mut response = if is_preflight(&request) { preflight() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some(origin) = origin else { return response };
    if app.credentials.may_read(&app.config(), identified.tenant(), &origin) {
        allow(headers, &origin);
    }
    response
}

fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// A preflight carries no credential: whether the page may come at all is said of any tenant, and each answer is then its
/// own tenant's.
fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn allow(headers: &mut HeaderMap, origin: &str) {
    let Ok(origin) = HeaderValue::from_str(origin) else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
