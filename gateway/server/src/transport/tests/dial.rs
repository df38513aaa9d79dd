use std::sync::Arc;

use axum::http::{HeaderValue, header};
use patchbay_core::Refusal;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use super::*;

/// Answers the first connection with `answer` after it has read the request, and hands that over.
async fn once(answer: &'static [u8]) -> (String, JoinHandle<String>) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("ws://{}/v1/realtime?model=m", socket.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = socket.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        head
    });
    (url, task)
}

async fn refusal(spec: DialSpec) -> Refusal {
    Dialer::new().dial(&spec).await.expect_err("should be refused")
}

#[tokio::test]
async fn a_status_other_than_101_is_told_with_its_retry_after() {
    for (answer, status, retry_after) in [
        (&b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}"[..], 401, None),
        (
            b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            429,
            Some(Duration::from_secs(7)),
        ),
        (
            b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\nretry-after-ms: 250\r\n\r\n",
            503,
            Some(Duration::from_millis(250)),
        ),
    ] {
        let (url, _task) = once(answer).await;
        assert_eq!(refusal(DialSpec::new(&url).unwrap()).await, Refusal::Status { status, retry_after });
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (url, _task) =
        once(b"HTTP/1.1 302 Found\r\nlocation: ws://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(
        refusal(DialSpec::new(&url).unwrap()).await,
        Refusal::Status { status: 302, retry_after: None }
    );
}

#[tokio::test]
async fn an_acceptance_that_is_not_for_us_is_none() {
    let wrong = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    let (url, _task) = once(wrong).await;
    assert_eq!(refusal(DialSpec::new(&url).unwrap()).await, Refusal::Unreachable);
}

#[tokio::test]
async fn a_peer_that_never_answers_is_a_timeout_and_a_closed_port_unreachable() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut spec = DialSpec::new(&format!("ws://{address}/")).unwrap();
    spec.within = Duration::from_millis(100);
    assert_eq!(refusal(spec.clone()).await, Refusal::Timeout);
    drop(silent);
    spec.within = Duration::from_secs(2);
    assert_eq!(refusal(spec).await, Refusal::Unreachable);
}

#[tokio::test]
async fn the_request_carries_headers_and_query_and_offers_no_extension() {
    let (url, task) = once(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n").await;
    let spec =
        DialSpec::new(&url).unwrap().secret(header::AUTHORIZATION, HeaderValue::from_static("Bearer sk-1"));
    assert!(!format!("{spec:?}").contains("sk-1"));
    refusal(spec).await;
    let head = task.await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /v1/realtime?model=m http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer sk-1\r\n"), "{head}");
    assert!(!head.contains("extensions"), "{head}");
}

#[test]
fn only_ws_and_wss_urls_with_a_host_can_be_dialled() {
    for url in ["http://a/", "a/b", "ws://", "", "wss:///x"] {
        assert!(DialSpec::new(url).is_err(), "{url}");
    }
    assert!(DialSpec::new("wss://[::1]:8443/a?b=c").is_ok());
}

#[tokio::test]
async fn when_one_family_is_refused_the_other_is_tried_at_once() {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let addresses = vec![(std::net::Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()];
    assert!(super::super::dial::connect(addresses).await.is_ok());
}

/// A TLS echo with a certificate of a private CA, and that CA in PEM.
async fn tls_echo(name: &str) -> (SocketAddr, String) {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = futures_util::StreamExt::next(&mut socket).await {
                    let _ = futures_util::SinkExt::send(&mut socket, message).await;
                }
            });
        }
    });
    (address, certified.cert.pem())
}

#[tokio::test]
async fn a_private_ca_is_trusted_when_given_and_refused_as_tls_when_not() {
    let (address, ca) = tls_echo("localhost").await;
    let spec = DialSpec::new(&format!("wss://localhost:{}/", address.port())).unwrap();
    assert_eq!(refusal(spec.clone()).await, Refusal::Tls);
    let mut port = Dialer::with_ca(ca.as_bytes()).unwrap().dial(&spec).await.unwrap();
    let long = "y".repeat(200_000);
    send(&mut port, text("over tls")).await;
    assert_eq!(recv(&mut port).await, text("over tls"));
    port.send(text(&long));
    let echoed = poll_fn(|cx| {
        let _ = port.poll_flush(cx);
        port.poll_recv(cx)
    });
    assert_eq!(echoed.await, text(&long));
    port.finish().await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_as_tls() {
    let (address, ca) = tls_echo("provider.example").await;
    let spec = DialSpec::new(&format!("wss://localhost:{}/", address.port())).unwrap();
    assert_eq!(Dialer::with_ca(ca.as_bytes()).unwrap().dial(&spec).await.expect_err("refused"), Refusal::Tls);
    assert!(Dialer::with_ca(b"no pem").is_err());
}
