//! [`Dialer`]: opens a WebSocket to a provider or bot, over TCP or TLS, under one deadline, never following a redirect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, Uri, header};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use patchbay_core::Refusal;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self};

use super::io::{Io, Stream, tune};
use super::port::Port;
use super::pulse::PortLimits;

/// How long the first address is tried before the next one joins in (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Unless told otherwise: TCP, TLS and the upgrade together.
const DIAL_WITHIN: Duration = Duration::from_secs(2);

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

    fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("wss")
    }

    /// Without the brackets of an IPv6 literal.
    fn host(&self) -> &str {
        self.uri.host().expect("checked by new").trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    fn request(&self) -> Result<Request, Refusal> {
        let mut request = self.uri.clone().into_client_request().map_err(|_| Refusal::Unreachable)?;
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
        let addresses = lookup_host((spec.host(), spec.port())).await.map_err(|_| Refusal::Unreachable)?;
        let stream = connect(addresses.collect()).await?;
        tune(&stream).map_err(|_| Refusal::Unreachable)?;
        let stream = if spec.is_tls() { self.secure(spec, stream).await? } else { Stream::Plain(stream) };
        let config = Some(spec.limits.tungstenite());
        let (socket, _) =
            client_async_with_config(spec.request()?, Io::new(stream), config).await.map_err(refusal)?;
        Ok(Port::over(socket, Role::Client, spec.limits))
    }

    async fn secure(&self, spec: &DialSpec, stream: TcpStream) -> Result<Stream, Refusal> {
        let name = ServerName::try_from(spec.host().to_owned()).map_err(|_| Refusal::Tls)?;
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

fn refusal(error: tungstenite::Error) -> Refusal {
    match error {
        tungstenite::Error::Http(response) => {
            Refusal::Status { status: response.status().as_u16(), retry_after: retry_after(&response) }
        }
        tungstenite::Error::Io(error) => tls_refusal(&error),
        _ => Refusal::Unreachable,
    }
}

/// `retry-after-ms` (Azure) or `retry-after` in seconds; dates are ignored.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("retry-after-ms")
        .map(Duration::from_millis)
        .or_else(|| number(header::RETRY_AFTER.as_str()).map(Duration::from_secs))
}
