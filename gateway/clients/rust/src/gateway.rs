//! Requests to one gateway as one bot.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tokio::time::timeout;

use crate::error::Error;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Idle connections are kept for less time than any proxy keeps them.
const IDLE: Duration = Duration::from_secs(4);

pub(crate) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A token for each request.
pub(crate) type Bearer = Arc<dyn Fn() -> String + Send + Sync>;

/// One gateway, and who asks it.
#[derive(Clone)]
pub(crate) struct Gateway {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    origin: String,
    prefix: String,
    bearer: Bearer,
    /// How long a connection may go without a byte: the gateway sends something every 10 s.
    pub(crate) silent: Duration,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Gateway({}{})", self.origin, self.prefix)
    }
}

/// A request before its body.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
}

impl Gateway {
    pub(crate) fn new(address: &str, bearer: Bearer, silent: Duration) -> Result<Self, Error> {
        let wrong = || Error::Setting(format!("not the address of a gateway: {address}"));
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_WITHIN));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(https);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { client, origin: format!("{scheme}://{authority}"), prefix, bearer, silent })
    }

    /// The same gateway for somebody else.
    pub(crate) fn with_bearer(&self, bearer: Bearer) -> Self {
        Self { bearer, ..self.clone() }
    }

    /// The address of `url` on this gateway. Whatever host it names: a bot's token goes to no other.
    fn target(&self, url: &str) -> String {
        match url.split_once("://") {
            Some((_, rest)) => format!("{}{}", self.origin, rest.find('/').map_or("/", |at| &rest[at..])),
            None => format!("{}{}{url}", self.origin, self.prefix),
        }
    }

    /// Sends a request; answers the head of the answer.
    pub(crate) async fn send(&self, ask: &Ask<'_>, body: Body) -> Result<Response<Incoming>, Error> {
        let request = Request::builder().method(&ask.method).uri(self.target(ask.url));
        let request = request.header(USER_AGENT, "patchbay-bot/0.1 (rust)");
        let request = request.header(AUTHORIZATION, format!("Bearer {}", (self.bearer)()));
        let request =
            ask.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(body).map_err(|e| Error::Setting(e.to_string()))?;
        self.client.request(request).await.map_err(lost)
    }

    /// A short request with a body of JSON, or none; answers the JSON of a 2xx.
    pub(crate) async fn ask(&self, method: Method, url: &str, body: Option<Value>) -> Result<Value, Error> {
        let raw = body.map(|body| Bytes::from(body.to_string()));
        let headers: &[_] = if raw.is_some() { &[(CONTENT_TYPE.as_str(), "application/json")] } else { &[] };
        self.exchange(&Ask { method, url, headers }, raw.unwrap_or_default(), ANSWER_WITHIN).await
    }

    /// As [`ask`](Self::ask), with any body.
    pub(crate) async fn exchange(
        &self,
        ask: &Ask<'_>,
        body: Bytes,
        within: Duration,
    ) -> Result<Value, Error> {
        let exchange = async {
            let answer = match self.send(ask, full(body.clone())).await {
                // Most likely a kept connection that the other side had closed.
                Err(Error::Lost(_)) => self.send(ask, full(body)).await?,
                answer => answer?,
            };
            if !answer.status().is_success() {
                return Err(refusal(answer).await);
            }
            let raw = whole(answer).await?;
            if raw.is_empty() {
                return Ok(Value::Null);
            }
            serde_json::from_slice(&raw).map_err(|_| Error::Lost("the answer is not JSON".to_owned()))
        };
        timeout(within, exchange).await.unwrap_or(Err(Error::Silent))
    }

    /// A download. Answers the answer, if it is a 200.
    pub(crate) async fn get(
        &self,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Response<Incoming>, Error> {
        let ask = Ask { method: Method::GET, url, headers };
        let answer =
            timeout(self.silent, self.send(&ask, full(Bytes::new()))).await.map_err(|_| Error::Silent)??;
        if answer.status() == 200 { Ok(answer) } else { Err(refusal(answer).await) }
    }

    /// What comes next of a download; `None` at its end.
    pub(crate) async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = timeout(self.silent, body.frame()).await.map_err(|_| Error::Silent)?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::Lost(error.to_string())),
                // What is not a piece are trailers.
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }
}

fn lost(error: hyper_util::client::legacy::Error) -> Error {
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    Error::Lost(format!("{error}: {cause}"))
}

pub(crate) fn full(body: Bytes) -> Body {
    Full::new(body).boxed_unsync()
}

/// What a refusal says.
pub(crate) async fn refusal(answer: Response<Incoming>) -> Error {
    let status = answer.status().as_u16();
    let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()).map(str::to_owned);
    let body = timeout(ANSWER_WITHIN, whole(answer)).await.unwrap_or(Err(Error::Silent)).unwrap_or_default();
    Error::of(status, after.as_deref(), &body)
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, Error> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).map_err(|e| Error::Lost(e.to_string()))
}
