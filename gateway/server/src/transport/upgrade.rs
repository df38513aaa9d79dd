//! [`WsUpgrade`]: an axum extractor that takes a WebSocket upgrade (RFC 6455 §4.2) and yields a [`Port`].

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::io::Stream;
use super::port::{Port, Slot};
use super::pulse::PortLimits;

/// How long the 101 may take to leave.
const UPGRADE_WITHIN: Duration = Duration::from_secs(5);

/// A request that asks for a WebSocket, checked. Nothing has been answered yet.
#[derive(Debug)]
pub struct WsUpgrade {
    accept: String,
    offered: Vec<HeaderValue>,
    chosen: Option<HeaderValue>,
    on_upgrade: OnUpgrade,
    slot: Option<Slot>,
}

impl WsUpgrade {
    /// The subprotocols that the client offers, in its order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.offered
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(str::trim)
    }

    /// Chooses a subprotocol; ignored unless the client offered it.
    #[must_use]
    pub fn with_protocol(mut self, protocol: &str) -> Self {
        if self.protocols().any(|offered| offered == protocol) {
            self.chosen = HeaderValue::from_str(protocol).ok();
        }
        self
    }

    /// The 101 to answer with, and the port that will be there once it has left. Extensions are never negotiated.
    #[must_use]
    pub fn accept(self, limits: PortLimits) -> (Response, PortPending) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is a header value");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        if let Some(protocol) = self.chosen {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        (response, PortPending { on_upgrade: self.on_upgrade, slot: self.slot, limits })
    }
}

impl<S: Sync> FromRequestParts<S> for WsUpgrade {
    type Rejection = UpgradeRefused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, UpgradeRefused> {
        if parts.method != Method::GET {
            return Err(UpgradeRefused::Method);
        }
        let headers = &parts.headers;
        if !has_token(headers, &header::CONNECTION, "upgrade")
            || !has_token(headers, &header::UPGRADE, "websocket")
        {
            return Err(UpgradeRefused::NotWebSocket);
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(UpgradeRefused::Version);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(UpgradeRefused::Key)?.as_bytes();
        if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
            return Err(UpgradeRefused::Key);
        }
        let accept = derive_accept_key(key);
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
        let slot = parts.extensions.get::<Slot>().cloned();
        let on_upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(UpgradeRefused::NotWebSocket)?;
        Ok(Self { accept, offered, chosen: None, on_upgrade, slot })
    }
}

/// A port whose 101 is on its way.
#[derive(Debug)]
pub struct PortPending {
    on_upgrade: OnUpgrade,
    slot: Option<Slot>,
    limits: PortLimits,
}

impl PortPending {
    /// The port, or `None` when the client went away before the 101 had left.
    pub async fn port(self) -> Option<Port> {
        let upgraded = timeout(UPGRADE_WITHIN, self.on_upgrade).await.ok()?.ok()?;
        let (stream, early) = unwrap(upgraded);
        Some(Port::over(stream, early, Role::Server, self.limits).holding(self.slot))
    }
}

/// Sheds hyper's buffers and dispatch: what remains is the TCP stream and a copy of what the client sent early. (Turned
/// into a vector without a copy, the few bytes would keep hyper's 8 KiB with them for the length of the call.)
fn unwrap(upgraded: Upgraded) -> (Stream, Vec<u8>) {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => (Stream::Plain(parts.io.into_inner()), parts.read_buf.to_vec()),
        Err(upgraded) => (Stream::Upgraded(Box::new(TokioIo::new(upgraded))), Vec::new()),
    }
}

/// Why an upgrade was refused before anything of ours saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeRefused {
    /// Not a GET.
    #[error("a WebSocket is opened with GET")]
    Method,
    /// No `Connection: upgrade` with `Upgrade: websocket`.
    #[error("this route speaks WebSocket")]
    NotWebSocket,
    /// Another version than 13.
    #[error("WebSocket version 13 is required")]
    Version,
    /// No key of 16 bytes.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
}

impl IntoResponse for UpgradeRefused {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], text).into_response(),
            Self::NotWebSocket => {
                (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], text).into_response()
            }
            Self::Version => {
                (StatusCode::UPGRADE_REQUIRED, [(header::SEC_WEBSOCKET_VERSION, "13")], text).into_response()
            }
            Self::Key => (StatusCode::BAD_REQUEST, text).into_response(),
        }
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}
