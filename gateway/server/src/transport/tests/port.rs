use super::*;

#[tokio::test]
async fn messages_cross_in_both_directions_unchanged() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (mut client, mut ours) = server.pair().await;
    client.send(text("grüß dich"));
    send(&mut client, Wire::Binary(Bytes::from_static(&[0, 255, 1]))).await;
    assert_eq!(recv(&mut ours).await, text("grüß dich"));
    assert_eq!(recv(&mut ours).await, Wire::Binary(Bytes::from_static(&[0, 255, 1])));
    let long = "x".repeat(60_000);
    send(&mut ours, text(&long)).await;
    assert_eq!(recv(&mut client).await, text(&long));
}

#[tokio::test]
async fn a_close_crosses_with_code_and_reason_and_ends_both_sides() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (mut client, mut ours) = server.pair().await;
    send(&mut client, close(1013, "try later")).await;
    assert_eq!(recv(&mut ours).await, close(1013, "try later"));
    tokio::join!(ours.finish(), async {
        assert_eq!(recv(&mut client).await, close(1013, "try later"));
        assert!(client.is_closed());
        client.finish().await;
    });
}

#[tokio::test]
async fn an_oversize_message_is_refused_with_1009_and_the_peer_gets_to_read_it() {
    let mut server = Server::with_limits(PortLimits { message_max: 1000, ..brief() }).await;
    let (mut peer, mut ours) = server.raw().await;
    peer.write_all(&frame(0x81, &[b'a'; 1001])).await.unwrap();
    assert_eq!(recv(&mut ours).await, close(1009, "message too big"));
    let mut answer = Vec::new();
    tokio::join!(ours.finish(), async {
        peer.read_to_end(&mut answer).await.unwrap();
        drop(peer);
    });
    assert_eq!(answer[..4], [0x88, 17, 0x03, 0xF1], "{answer:?}");
}

#[tokio::test]
async fn fragments_count_together_against_the_message_cap() {
    let mut server = Server::with_limits(PortLimits { message_max: 1000, ..brief() }).await;
    let (mut peer, mut ours) = server.raw().await;
    peer.write_all(&frame(0x01, &[b'a'; 600])).await.unwrap();
    peer.write_all(&frame(0x00, &[b'a'; 600])).await.unwrap();
    assert_eq!(recv(&mut ours).await, close(1009, "message too big"));
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused_with_1007_and_a_reserved_bit_with_1002() {
    let mut server = Server::with_limits(brief()).await;
    for (first, payload, code) in [(0x81, [0xC3, 0x28], 1007), (0xC1, *b"ok", 1002)] {
        let (mut peer, mut ours) = server.raw().await;
        peer.write_all(&frame(first, &payload)).await.unwrap();
        assert!(matches!(recv(&mut ours).await, Wire::Close { code: got, .. } if got == code));
    }
}

#[tokio::test]
async fn twenty_unfinished_messages_stay_within_their_bound_of_memory() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let before = rss();
    let mut open = Vec::new();
    for _ in 0..20 {
        let (mut peer, mut ours) = server.raw().await;
        let (reader, writer) = tokio::join!(recv(&mut ours), async {
            // 3 MiB of fragments that never end: the third one passes the cap.
            for nth in 0..100 {
                let part = frame(if nth == 0 { 0x01 } else { 0x00 }, &[b'a'; 30_000]);
                if peer.write_all(&part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            peer
        });
        assert_eq!(reader, close(1009, "message too big"));
        open.push((writer, ours));
    }
    let grown = rss().saturating_sub(before);
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes for 20 sockets");
}

/// Resident set, in bytes.
fn rss() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_dead() {
    let mut server = Server::with_limits(brief()).await;
    let (mut peer, mut ours) = server.raw().await;
    assert_eq!(recv(&mut ours).await, close(1006, "peer is silent"));
    let mut ping = [0; 2];
    peer.read_exact(&mut ping).await.unwrap();
    assert_eq!(ping, [0x89, 0]);
}

#[tokio::test]
async fn a_quiet_peer_that_answers_pings_lives() {
    let mut server = Server::with_limits(brief()).await;
    let (mut client, mut ours) = server.pair().await;
    let quiet = tokio::time::timeout(Duration::from_millis(600), async {
        tokio::select! { wire = recv(&mut ours) => wire, wire = recv(&mut client) => wire }
    });
    assert!(quiet.await.is_err());
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (mut peer, mut ours) = server.raw().await;
    peer.write_all(&frame(0x89, b"hi")).await.unwrap();
    peer.write_all(&frame(0x81, b"x")).await.unwrap();
    assert_eq!(recv(&mut ours).await, text("x"));
    let mut pong = [0; 4];
    peer.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x02hi");
}

#[tokio::test]
async fn a_peer_that_does_not_read_never_blocks_and_is_broken_off_at_the_bound() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (peer, mut ours) = server.raw().await;
    let message = Bytes::from(vec![0; 32 * 1024]);
    let mut was_slow = false;
    for _ in 0..2000 {
        ours.send(Wire::Binary(message.clone()));
        poll_fn(|cx| {
            let _ = ours.poll_flush(cx);
            std::task::Poll::Ready(())
        })
        .await;
        was_slow |= !ours.is_writable() && !ours.is_closed();
        assert!(ours.pending() <= PortLimits::PUBLIC.backlog_max);
    }
    assert!(was_slow);
    assert_eq!(recv(&mut ours).await, close(1006, "peer does not read"));
    drop(peer);
}

/// Sends until the kernel takes no more; tells how many messages that were.
async fn fill(port: &mut Port) -> usize {
    for sent in 0.. {
        port.send(Wire::Binary(Bytes::from(vec![0; 200_000])));
        let flushed = tokio::time::timeout(Duration::from_millis(50), poll_fn(|cx| port.poll_flush(cx)));
        if flushed.await.is_err() && !port.is_writable() {
            return sent + 1;
        }
    }
    unreachable!("a kernel's buffers are finite")
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_what_is_pending_is_dead() {
    let mut server = Server::with_limits(PortLimits { dead_after: Duration::from_secs(60), ..brief() }).await;
    let (mut peer, mut ours) = server.raw().await;
    fill(&mut ours).await;
    peer.write_all(&frame(0x81, b"still talking")).await.unwrap();
    assert_eq!(recv(&mut ours).await, text("still talking"));
    assert_eq!(recv(&mut ours).await, close(1006, "peer is silent"));
}

#[tokio::test]
async fn pending_is_exact_again_once_a_slow_peer_has_caught_up() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (mut client, mut ours) = server.pair().await;
    let sent = fill(&mut ours).await;
    assert!(!ours.is_writable());
    tokio::join!(poll_fn(|cx| ours.poll_flush(cx)), async {
        for _ in 0..sent {
            recv(&mut client).await;
        }
    });
    assert_eq!(ours.pending(), 0);
}

#[tokio::test]
async fn an_abrupt_reset_is_1006() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (peer, mut ours) = server.raw().await;
    socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    assert_eq!(recv(&mut ours).await, close(1006, "connection lost"));
}

#[tokio::test]
async fn an_end_of_stream_without_a_close_is_1006_after_what_came_before() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (mut peer, mut ours) = server.raw().await;
    peer.write_all(&frame(0x81, b"last words")).await.unwrap();
    drop(peer);
    assert_eq!(recv(&mut ours).await, text("last words"));
    assert_eq!(recv(&mut ours).await, close(1006, "connection lost"));
}

#[tokio::test]
async fn after_the_end_nothing_more_comes() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (peer, mut ours) = server.raw().await;
    drop(peer);
    recv(&mut ours).await;
    poll_fn(|cx| {
        ours.send(text("ignored"));
        let _ = ours.poll_flush(cx);
        assert!(ours.poll_recv(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    ours.finish().await;
}

#[tokio::test]
async fn a_close_that_the_peer_does_not_answer_ends_at_its_deadline() {
    let mut server = Server::with_limits(brief()).await;
    let (mut peer, mut ours) = server.raw().await;
    send(&mut ours, close(1000, "")).await;
    // The peer floods instead of answering: its messages are dropped, and do not postpone the end.
    let flood = async {
        while peer.write_all(&frame(0x81, b"more")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let end = tokio::select! { wire = recv(&mut ours) => wire, () = flood => unreachable!() };
    assert_eq!(end, close(1006, "close not answered"));
}

#[tokio::test]
async fn a_code_that_may_not_be_sent_becomes_a_close_without_a_code() {
    let mut server = Server::with_limits(PortLimits::PUBLIC).await;
    let (mut client, mut ours) = server.pair().await;
    send(&mut ours, close(1006, "")).await;
    assert_eq!(recv(&mut client).await, close(1005, ""));
}
