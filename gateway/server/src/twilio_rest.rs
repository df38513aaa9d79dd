//! Twilio's REST API: to place a call, to end one, to send one elsewhere (reference/twilio.md §3).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use tokio::time::timeout;

use crate::config::TwilioAccount;
use crate::form;
use crate::secret::Private;

/// TCP and TLS.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The whole request.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Of an answer.
const BODY_MAX: usize = 64 * 1024;
/// Twilio's code for a call that is over.
const NOT_FOUND: u32 = 20404;

/// Why a request failed. Never holds a number or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TwilioError {
    /// The tenant has no `account_sid` with a token or an API key.
    #[error("the tenant has no account at Twilio: set account_sid, and an auth token or an API key")]
    NoAccount,
    /// No connection.
    #[error("Twilio cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("Twilio did not answer in time")]
    Timeout,
    /// Not 2xx.
    #[error("Twilio refused it with status {status}, code {code}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Twilio's error code; 0 when it gave none.
        code: u32,
    },
    /// An answer that is not what it should be.
    #[error("Twilio's answer was not understood")]
    Answer,
}

/// A call to be placed.
#[derive(Clone, Debug)]
pub struct Outbound<'a> {
    /// E.164.
    pub to: &'a Private<String>,
    /// A number of the account.
    pub from: &'a Private<String>,
    /// Asked for TwiML when the callee answers.
    pub url: &'a str,
    /// Told how it went.
    pub status_url: &'a str,
}

/// The client. One pool of connections for all tenants.
#[derive(Clone, Debug)]
pub struct TwilioRest {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

#[derive(Deserialize)]
struct Created {
    sid: String,
}

/// A call as Twilio keeps it. The duration is a text, and null until the call is over.
#[derive(Deserialize)]
struct Placed {
    status: String,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: u32,
}

impl Default for TwilioRest {
    fn default() -> Self {
        Self::new()
    }
}

impl TwilioRest {
    /// A client without connections.
    #[must_use]
    pub fn new() -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_WITHIN));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
        Self { client }
    }

    /// Places a call, and answers its `CA…`.
    ///
    /// # Errors
    /// [`TwilioError`]
    pub async fn place(&self, account: &TwilioAccount, call: &Outbound<'_>) -> Result<String, TwilioError> {
        let fields = [
            ("To", call.to.reveal().as_str()),
            ("From", call.from.reveal().as_str()),
            ("Url", call.url),
            ("Method", "POST"),
            ("StatusCallback", call.status_url),
            ("StatusCallbackMethod", "POST"),
        ];
        let body = self.post(account, "Calls.json", &fields).await?;
        serde_json::from_slice::<Created>(&body).map(|created| created.sid).map_err(|_| TwilioError::Answer)
    }

    /// Ends a call. One that is over already counts as ended.
    ///
    /// # Errors
    /// [`TwilioError`]
    pub async fn hang_up(&self, account: &TwilioAccount, call_sid: &str) -> Result<(), TwilioError> {
        let path = format!("Calls/{call_sid}.json");
        match self.post(account, &path, &[("Status", "completed")]).await {
            Ok(_)
            | Err(TwilioError::Refused { status: 404, .. } | TwilioError::Refused { code: NOT_FOUND, .. }) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a call to other TwiML: the running stream ends.
    ///
    /// # Errors
    /// [`TwilioError`]
    pub async fn redirect(
        &self,
        account: &TwilioAccount,
        call_sid: &str,
        twiml: &str,
    ) -> Result<(), TwilioError> {
        let path = format!("Calls/{call_sid}.json");
        self.post(account, &path, &[("Twiml", twiml)]).await.map(|_| ())
    }

    /// Seconds that a phone call lasted; `None`: it is not over.
    ///
    /// # Errors
    /// [`TwilioError`]
    pub async fn lasted(&self, account: &TwilioAccount, call_sid: &str) -> Result<Option<u64>, TwilioError> {
        let path = format!("Calls/{call_sid}.json");
        let body = self.send(request(account, Method::GET, &path, &[])?).await?;
        let call: Placed = serde_json::from_slice(&body).map_err(|_| TwilioError::Answer)?;
        match (call.status.as_str(), call.duration) {
            ("completed", Some(seconds)) => seconds.parse().map(Some).map_err(|_| TwilioError::Answer),
            ("busy" | "failed" | "no-answer" | "canceled", _) => Ok(Some(0)),
            _ => Ok(None),
        }
    }

    async fn post(
        &self,
        account: &TwilioAccount,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Bytes, TwilioError> {
        self.send(request(account, Method::POST, path, fields)?).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, TwilioError> {
        timeout(ANSWER_WITHIN, self.exchange(request)).await.unwrap_or(Err(TwilioError::Timeout))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, TwilioError> {
        let response = self.client.request(request).await.map_err(|_| TwilioError::Unreachable)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|_| TwilioError::Answer)?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let code = serde_json::from_slice::<Complaint>(&body).map_or(0, |complaint| complaint.code);
        Err(TwilioError::Refused { status: status.as_u16(), code })
    }
}

fn request(
    account: &TwilioAccount,
    method: Method,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<Request<Full<Bytes>>, TwilioError> {
    let sid = account.account_sid.as_deref().ok_or(TwilioError::NoAccount)?;
    let (user, password) = account.rest_credential().ok_or(TwilioError::NoAccount)?;
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())));
    let mut basic = HeaderValue::try_from(basic).map_err(|_| TwilioError::NoAccount)?;
    basic.set_sensitive(true);
    let body = form::encode(fields.iter().copied());
    Request::builder()
        .method(method)
        .uri(format!("{}/2010-04-01/Accounts/{sid}/{path}", account.api_base_url))
        .header(AUTHORIZATION, basic)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| TwilioError::NoAccount)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::http::{HeaderMap, StatusCode, Uri};
    use axum::routing::any;

    use super::*;
    use crate::config::{Config, Sources};

    const SID: &str = "AC00000000000000000000000000000001";

    type Seen = Arc<Mutex<Vec<(String, String, String)>>>;

    /// A Twilio that answers the same to everything, and remembers path, credential and body.
    async fn twilio(status: StatusCode, answer: &'static str) -> (TwilioAccount, Seen) {
        let seen = Seen::default();
        let notes = seen.clone();
        let answer = move |uri: Uri, headers: HeaderMap, body: String| async move {
            let credential = headers["authorization"].to_str().unwrap().to_owned();
            notes.lock().unwrap().push((uri.path().to_owned(), credential, body));
            (status, answer)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(answer))).await });
        let mut sources = Sources::default();
        sources.set("OPENAI_API_KEY", "sk-x");
        sources.set("TWILIO_AUTH_TOKEN", "token");
        sources.set("TWILIO_ACCOUNT_SID", SID);
        sources.set("PATCHBAY__TENANTS__DEFAULT__TWILIO__API_BASE_URL", &format!("http://{address}"));
        (Config::parse(&sources).unwrap().tenants["default"].twilio.clone(), seen)
    }

    #[tokio::test]
    async fn a_call_is_placed_with_its_form_and_credential() {
        let (account, seen) = twilio(StatusCode::CREATED, "{\"sid\":\"CA1\",\"status\":\"queued\"}").await;
        let (to, from) = (Private::new("+4930 1".to_owned()), Private::new("+15005550006".to_owned()));
        let call = Outbound { to: &to, from: &from, url: "https://h/x?y", status_url: "https://h/s" };
        assert_eq!(TwilioRest::new().place(&account, &call).await.unwrap(), "CA1");
        let (path, credential, body) = seen.lock().unwrap()[0].clone();
        assert_eq!(path, format!("/2010-04-01/Accounts/{SID}/Calls.json"));
        assert_eq!(credential, format!("Basic {}", STANDARD.encode(format!("{SID}:token"))));
        let fields = form::decode(body.as_bytes());
        assert!(
            fields.contains(&("To".into(), "+4930 1".into()))
                && fields.contains(&("Url".into(), "https://h/x?y".into()))
        );
    }

    #[tokio::test]
    async fn hanging_up_a_call_that_is_over_succeeds() {
        let (account, _) = twilio(StatusCode::NOT_FOUND, "{\"code\":20404}").await;
        assert_eq!(TwilioRest::new().hang_up(&account, "CA1").await, Ok(()));
        let redirected = TwilioRest::new().redirect(&account, "CA1", "<Response/>").await;
        assert_eq!(redirected, Err(TwilioError::Refused { status: 404, code: 20404 }));
    }

    #[tokio::test]
    async fn how_long_a_call_lasted_is_known_when_it_is_over() {
        let table = [
            ("{\"sid\":\"CA1\",\"status\":\"completed\",\"duration\":\"61\"}", Ok(Some(61))),
            ("{\"status\":\"in-progress\",\"duration\":null}", Ok(None)),
            ("{\"status\":\"completed\",\"duration\":null}", Ok(None)),
            ("{\"status\":\"no-answer\",\"duration\":\"0\"}", Ok(Some(0))),
            ("{\"status\":\"completed\",\"duration\":\"-1\"}", Err(TwilioError::Answer)),
            ("[]", Err(TwilioError::Answer)),
        ];
        for (answer, expected) in table {
            let (account, seen) = twilio(StatusCode::OK, answer).await;
            assert_eq!(TwilioRest::new().lasted(&account, "CA1").await, expected, "{answer}");
            let (path, _, body) = seen.lock().unwrap()[0].clone();
            assert_eq!((path, body), (format!("/2010-04-01/Accounts/{SID}/Calls/CA1.json"), String::new()));
        }
    }

    #[tokio::test]
    async fn a_refusal_tells_twilios_code() {
        let (account, _) = twilio(StatusCode::UNAUTHORIZED, "{\"code\":20003}").await;
        let refused = TwilioRest::new().hang_up(&account, "CA1").await;
        assert_eq!(refused, Err(TwilioError::Refused { status: 401, code: 20003 }));
        let nobody = TwilioAccount { account_sid: None, ..account };
        assert_eq!(TwilioRest::new().hang_up(&nobody, "CA1").await, Err(TwilioError::NoAccount));
    }
}
