//! [`Dialer::fetch`]: one bounded HTTP request, for tools and small APIs. No redirects, no connection reuse.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use bytes::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use patchbay_core::Refusal;
use tokio::time::timeout;

use super::Dialer;

/// What to ask.
#[derive(Clone, Debug)]
pub struct FetchSpec {
    /// Verb.
    pub method: Method,
    /// `http://` or `https://`.
    pub uri: Uri,
    /// Besides `host`.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From the name look-up to the last byte of the answer.
    pub within: Duration,
    /// Longest answer, in bytes; a longer one is refused.
    pub answer_max: usize,
}

impl FetchSpec {
    /// A GET within 10 s, an answer of at most 1 MiB.
    #[must_use]
    pub fn get(uri: Uri) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self {
            method: Method::GET,
            uri,
            headers,
            body,
            within: Duration::from_secs(10),
            answer_max: 1024 * 1024,
        }
    }

    /// A POST of `application/x-www-form-urlencoded`.
    #[must_use]
    pub fn post_form(uri: Uri, form: impl Into<Bytes>) -> Self {
        let mut spec = Self { method: Method::POST, body: form.into(), ..Self::get(uri) };
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        spec.headers.insert(header::CONTENT_TYPE, form);
        spec
    }
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Any status.
    pub status: StatusCode,
    /// As received.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

impl Dialer {
    /// Asks once.
    ///
    /// # Errors
    /// No answer: [`Refusal::Unreachable`] (also when it was too long), [`Refusal::Timeout`] or [`Refusal::Tls`].
    pub async fn fetch(&self, spec: FetchSpec) -> Result<Fetched, Refusal> {
        timeout(spec.within, self.fetch_at_leisure(spec)).await.map_err(|_| Refusal::Timeout)?
    }

    async fn fetch_at_leisure(&self, spec: FetchSpec) -> Result<Fetched, Refusal> {
        let stream = TokioIo::new(self.open(&spec.uri).await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(|_| Refusal::Unreachable)?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let response = sender.send_request(request(&spec)?).await.map_err(|_| Refusal::Unreachable)?;
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(Body::new(body), spec.answer_max)
                .await
                .map_err(|_| Refusal::Unreachable)?;
            Ok(Fetched { status: parts.status, headers: parts.headers, body })
        };
        let answer = answered.await;
        connection.abort();
        answer
    }
}

fn request(spec: &FetchSpec) -> Result<axum::http::Request<Body>, Refusal> {
    let authority = spec.uri.authority().ok_or(Refusal::Unreachable)?;
    let path = spec.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = axum::http::Request::builder()
        .method(spec.method.clone())
        .uri(path)
        .body(Body::from(spec.body.clone()))
        .map_err(|_| Refusal::Unreachable)?;
    // RFC 9110 §7.2: without user information.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    *request.headers_mut() = spec.headers.clone();
    request
        .headers_mut()
        .insert(header::HOST, HeaderValue::from_str(host).map_err(|_| Refusal::Unreachable)?);
    Ok(request)
}
