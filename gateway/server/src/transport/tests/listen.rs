use super::*;

fn hasty() -> ListenLimits {
    ListenLimits { header_within: Duration::from_millis(150), ..ListenLimits::default() }
}

async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn a_half_sent_header_is_closed_at_its_deadline() {
    let server = Server::start(PortLimits::PUBLIC, hasty()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /ok HTTP/1.1\r\nhost: ").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still open");
}

#[tokio::test]
async fn a_socket_that_never_asks_and_one_that_idles_after_an_answer_are_closed() {
    let server = Server::start(PortLimits::PUBLIC, hasty()).await;
    for request in [&b""[..], b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let answer = tokio::time::timeout(Duration::from_secs(3), ask(server.address, request)).await;
        assert_eq!(answer.expect("still open").contains("200 OK"), !request.is_empty());
    }
}

#[tokio::test]
async fn too_many_and_too_long_headers_are_refused() {
    let server = Server::start(PortLimits::PUBLIC, hasty()).await;
    let many = format!("GET /ok HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
    let long = format!("GET /ok HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(20_000));
    for request in [many, long] {
        let answer = ask(server.address, request.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn no_extension_is_ever_negotiated_and_an_offered_protocol_is_chosen() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = String::from_utf8(UPGRADE.to_vec()).unwrap();
    let request = request.replacen("host: a", "host: a\r\nsec-websocket-protocol: other, realtime", 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.to_ascii_lowercase();
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: realtime"), "{head}");
    assert!(!head.contains("extensions"), "{head}");
    server.ports.recv().await.unwrap();
}

#[tokio::test]
async fn what_is_not_a_proper_upgrade_is_refused_with_the_reason() {
    let server = Server::start(PortLimits::PUBLIC, hasty()).await;
    let proper = String::from_utf8(UPGRADE.to_vec()).unwrap();
    for (from, to, status) in [
        ("version: 13", "version: 8", 426),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400),
        ("connection: Upgrade", "connection: close", 426),
        ("upgrade: websocket", "upgrade: h2c", 426),
        ("GET", "POST", 405),
    ] {
        let answer = ask(server.address, proper.replacen(from, to, 1).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{to}: {answer}");
    }
}

#[tokio::test]
async fn frames_sent_together_with_the_upgrade_are_not_lost() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut eager = UPGRADE.to_vec();
    eager.extend(frame(0x81, b"early"));
    stream.write_all(&eager).await.unwrap();
    let mut port = server.ports.recv().await.unwrap();
    assert_eq!(recv(&mut port).await, text("early"));
}

#[tokio::test]
async fn over_the_bound_a_connection_is_answered_503_until_an_upgraded_one_is_dropped() {
    let limits = ListenLimits { connections_max: 1, ..ListenLimits::default() };
    let mut server = Server::start(PortLimits::PUBLIC, limits).await;
    let (mut peer, ours) = server.raw().await;
    assert!(ask(server.address, b"").await.starts_with("HTTP/1.1 503"));
    drop(ours);
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
    let request = b"GET /ok HTTP/1.1\r\nconnection: close\r\n\r\n";
    assert!(ask(server.address, request).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stopped_listener_ends_while_an_upgraded_socket_lives_on() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (mut client, mut ours) = server.pair().await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    drop(server.stop.take());
    tokio::time::timeout(Duration::from_secs(3), server.task).await.expect("drained").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    send(&mut client, text("still here")).await;
    assert_eq!(recv(&mut ours).await, text("still here"));
}
