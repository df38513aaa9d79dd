//! [`Dialer`]: opens a WebSocket to a provider or bot, over TCP or TLS, under one deadline, never following a redirect.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use patchbay_core::Refusal;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::io::{Stream, tune};
use super::port::Port;
use super::pulse::PortLimits;

/// How long the first address is tried before the next one joins in (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Unless told otherwise: TCP, TLS and the upgrade together.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// Header of the answer to an upgrade, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Where to dial, and how.
#[derive(Clone, Debug)]
pub struct DialSpec {
    uri: Uri,
    headers: HeaderMap,
    /// What the peer may do.
    pub limits: PortLimits,
    /// From the name look-up to the 101.
    pub within: Duration,
}

impl DialSpec {
    /// To a `ws://` or `wss://` URL, with the limits of a provider and two seconds.
    ///
    /// # Errors
    /// Not a URL of these schemes with a host.
    pub fn new(url: &str) -> Result<Self, BadUrl> {
        let uri: Uri = url.parse().map_err(|_| BadUrl)?;
        let scheme_fits = matches!(uri.scheme_str(), Some("ws" | "wss"));
        if !scheme_fits || uri.host().is_none_or(str::is_empty) {
            return Err(BadUrl);
        }
        Ok(Self { uri, headers: HeaderMap::new(), limits: PortLimits::PROVIDER, within: DIAL_WITHIN })
    }

    /// Adds a header whose value may be printed.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds a header whose value is a secret: it is marked, and `Debug` prints `Sensitive` instead of it.
    #[must_use]
    pub fn secret(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.append(name, value);
        self
    }

    /// RFC 6455 §4.1. No extension is offered.
    fn request(&self) -> Result<Request<Empty<Bytes>>, Refusal> {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        // RFC 9110 §7.2: without user information.
        let host = authority.rsplit('@').next().unwrap_or_default();
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path)
            .header(header::HOST, host)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key())
            .body(Empty::new())
            .map_err(|_| Refusal::Unreachable)?;
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        Ok(request)
    }
}

/// Opens sockets. Holds the one TLS configuration (and its resumption tickets) of the process.
#[derive(Clone, Debug)]
pub struct Dialer {
    tls: Arc<ClientConfig>,
}

impl Dialer {
    /// Trusts the roots inside the binary (Mozilla's).
    #[must_use]
    pub fn new() -> Self {
        Self::trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// Trusts the certificates of a PEM file instead.
    ///
    /// # Errors
    /// No certificate in it, or one that cannot be read.
    pub fn with_ca(pem: &[u8]) -> Result<Self, BadCa> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|_| BadCa)?).map_err(|_| BadCa)?;
        }
        if roots.is_empty() {
            return Err(BadCa);
        }
        Ok(Self::trusting(roots))
    }

    fn trusting(roots: RootCertStore) -> Self {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: Arc::new(tls) }
    }

    /// Dials once.
    ///
    /// # Errors
    /// [`Refusal`]: which stage failed, and what the peer answered.
    pub async fn dial(&self, spec: &DialSpec) -> Result<Port, Refusal> {
        timeout(spec.within, self.dial_at_leisure(spec)).await.map_err(|_| Refusal::Timeout)?
    }

    async fn dial_at_leisure(&self, spec: &DialSpec) -> Result<Port, Refusal> {
        let stream = TokioIo::new(self.open(&spec.uri).await?);
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEADER_BYTES_MAX)
            .handshake(stream)
            .await
            .map_err(|_| Refusal::Unreachable)?;
        let request = spec.request()?;
        let accept =
            request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let connection = pin!(connection.without_shutdown());
        let answered = pin!(sender.send_request(request));
        // After a 101 the connection lets go of the stream; it may do so before the answer is looked at.
        let parts = match select(answered, connection).await {
            Either::Left((answered, connection)) => {
                check(&answered.map_err(|_| Refusal::Unreachable)?, accept.as_deref())?;
                connection.await
            }
            Either::Right((parts, answered)) => {
                check(&answered.await.map_err(|_| Refusal::Unreachable)?, accept.as_deref())?;
                parts
            }
        };
        let parts = parts.map_err(|_| Refusal::Unreachable)?;
        Ok(Port::over(parts.io.into_inner(), parts.read_buf.to_vec(), Role::Client, spec.limits))
    }

    /// A stream to the host of `uri`, over TLS if its scheme is `wss` or `https`.
    pub(super) async fn open(&self, uri: &Uri) -> Result<Stream, Refusal> {
        let is_tls = matches!(uri.scheme_str(), Some("wss" | "https"));
        // Without the brackets of an IPv6 literal.
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let addresses = lookup_host((host, port)).await.map_err(|_| Refusal::Unreachable)?;
        let stream = connect(addresses.collect()).await?;
        tune(&stream).map_err(|_| Refusal::Unreachable)?;
        if is_tls { self.secure(host, stream).await } else { Ok(Stream::Plain(stream)) }
    }

    async fn secure(&self, host: &str, stream: TcpStream) -> Result<Stream, Refusal> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Refusal::Tls)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await.map_err(|error| tls_refusal(&error))?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new()
    }
}

/// Not a `ws://` or `wss://` URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ws:// or wss:// URL")]
pub struct BadUrl;

/// A CA file without a readable certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no readable certificate in the CA file")]
pub struct BadCa;

/// Tries the addresses, IPv6 and IPv4 in turn, each with a head start over the next; the first connection wins.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, Refusal> {
    let mut waiting = interleaved(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        match waiting.next() {
            Some(address) => running.push(TcpStream::connect(address)),
            None if running.is_empty() => return Err(Refusal::Unreachable),
            None => {}
        }
        if let Ok(Some(Ok(stream))) = timeout(HEAD_START, running.next()).await {
            return Ok(stream);
        }
    }
}

/// The resolver's order, but the families take turns (RFC 8305 §4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut leading, mut other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    leading.reverse();
    other.reverse();
    let mut order = Vec::with_capacity(leading.len() + other.len());
    while let Some(address) = leading.pop() {
        order.push(address);
        order.extend(other.pop());
    }
    order.extend(other.into_iter().rev());
    order
}

fn tls_refusal(error: &io::Error) -> Refusal {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if is_tls { Refusal::Tls } else { Refusal::Unreachable }
}

/// RFC 6455 §4.1: what an answer must be. One that is no refusal and no proper acceptance is an unreachable peer.
fn check<B>(response: &Response<B>, accept: Option<&str>) -> Result<(), Refusal> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status().as_u16();
        return Err(Refusal::Status { status, retry_after: retry_after(response) });
    }
    let headers = response.headers();
    let value = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_upgrade = value(header::UPGRADE).is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
    let is_ours = value(header::SEC_WEBSOCKET_ACCEPT) == accept;
    let is_plain = !headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
    if is_upgrade && is_ours && is_plain { Ok(()) } else { Err(Refusal::Unreachable) }
}

/// `retry-after-ms` (Azure) or `retry-after` in seconds; dates are ignored.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("retry-after-ms")
        .map(Duration::from_millis)
        .or_else(|| number(header::RETRY_AFTER.as_str()).map(Duration::from_secs))
}
