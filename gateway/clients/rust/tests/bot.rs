//! A bot against a scripted gateway on a real socket.
#![expect(clippy::unwrap_used, reason = "a test file: a panic is a failed test")]

mod gateway;

use std::time::{Duration, Instant};

use patchbay_bot::{Bot, BotKey, Error, OPUS, Options, ULAW, Wish};
use serde_json::json;

use self::gateway::{Answer, Gateway, frame, sse};

const SAY: &str = "POST /v1/calls/c1/audio";
const HEAR: &str = "GET /v1/calls/c1/audio";
const EVENTS: &str = "GET /v1/bots/self/events";

fn packet(n: u8) -> Vec<u8> {
    [vec![0x78], vec![n; 40]].concat()
}

fn bot(gateway: &Gateway, silent: Duration) -> Bot {
    Bot::new(&gateway.url, "echo", BotKey::generate(), Options { silent, ..Options::default() }).unwrap()
}

async fn take(gateway: &Gateway) -> (Bot, patchbay_bot::Call) {
    let bot = bot(gateway, Duration::from_secs(12));
    bot.register_with_discovery(Wish::default()).await.unwrap();
    let incoming = bot.next_call().await.unwrap();
    let call = bot.accept_call(&incoming, OPUS).await.unwrap();
    (bot, call)
}

async fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(5), "it never came to be");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn it_registers_and_is_offered_a_call_and_each_registration_has_a_token_of_its_own() {
    let gateway = Gateway::open().await;
    let bot = bot(&gateway, Duration::from_secs(12));
    let wish = Wish { name: Some("Echo".into()), capacity: 3, ..Wish::default() };
    bot.register_with_discovery(wish.clone()).await.unwrap();
    bot.register_with_discovery(wish).await.unwrap();
    let (tokens, bodies): (Vec<_>, Vec<_>) = gateway.registrations().into_iter().unzip();
    assert!(tokens[0] != tokens[1] && tokens[0].starts_with("Bearer ey"));
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(
        (&bodies[0]["id"], &bodies[0]["capacity"], &bodies[0]["ttl"]),
        (&json!("echo"), &json!(3), &json!(60))
    );
    let incoming = bot.next_call().await.unwrap();
    assert_eq!((&*incoming.call_id, &*incoming.caller, &*incoming.ticket), ("c1", "phone", "t"));
    bot.close().await;
    assert_eq!(gateway.count("DELETE /v1/register/echo"), 1);
}

#[tokio::test]
async fn a_lost_stream_of_events_is_resumed_from_the_last_one() {
    let gateway = Gateway::open().await;
    gateway.script(EVENTS, |request| match request.header("last-event-id") {
        "" => Answer::pieces(vec![sse("call.incoming", &gateway::offer("c1"), 10)]).cut(),
        last => Answer::pieces(vec![sse("call.incoming", &gateway::offer(last), 11)]).hold(),
    });
    let bot = bot(&gateway, Duration::from_secs(12));
    bot.register_with_discovery(Wish::default()).await.unwrap();
    assert_eq!(bot.next_call().await.unwrap().call_id, "c1");
    assert_eq!(bot.next_call().await.unwrap().call_id, "10");
}

#[tokio::test]
async fn a_silent_stream_of_events_gives_way_to_polling() {
    let gateway = Gateway::open().await;
    gateway.script(EVENTS, |request| match &*request.query {
        query if query.contains("after=0") => {
            let event = json!({ "id": 5, "event": "call.incoming", "data": gateway::offer("c1") });
            Answer::json(200, &json!({ "events": [event], "next": 5 }))
        }
        _ => Answer::pieces(Vec::new()).hold(),
    });
    let bot = bot(&gateway, Duration::from_millis(100));
    bot.register_with_discovery(Wish::default()).await.unwrap();
    assert_eq!(bot.next_call().await.unwrap().call_id, "c1");
}

#[tokio::test]
async fn a_lease_that_is_gone_is_taken_again() {
    let gateway = Gateway::open().await;
    let told = gateway.clone();
    gateway.script(EVENTS, move |_| match told.count("POST /v1/register") {
        1 => Answer::json(404, &json!({ "error": { "code": "lease_not_found", "message": "m" } })),
        _ => Answer::pieces(vec![sse("call.incoming", &gateway::offer("c1"), 1)]).hold(),
    });
    let bot = bot(&gateway, Duration::from_secs(12));
    bot.register_with_discovery(Wish::default()).await.unwrap();
    assert_eq!(bot.next_call().await.unwrap().call_id, "c1");
    assert_eq!(gateway.count("POST /v1/register"), 2);
}

#[tokio::test]
async fn an_offer_that_is_too_late_says_so() {
    let gateway = Gateway::open().await;
    gateway.script("POST /v1/calls/c1/accept", |_| {
        Answer::json(410, &json!({ "error": { "type": "t", "code": "offer_expired", "message": "m" } }))
    });
    let bot = bot(&gateway, Duration::from_secs(12));
    bot.register_with_discovery(Wish::default()).await.unwrap();
    let incoming = bot.next_call().await.unwrap();
    assert!(matches!(bot.accept_call(&incoming, OPUS).await, Err(Error::OfferExpired)));
}

#[tokio::test]
async fn speech_goes_up_as_one_stream() {
    let gateway = Gateway::open().await;
    let (_bot, call) = take(&gateway).await;
    for n in 0..20 {
        call.send_audio_opus(packet(n)).await.unwrap();
    }
    until(|| gateway.heard().len() == 20).await;
    assert!(gateway.heard().iter().all(|(seq, said)| *said == packet(u8::try_from(*seq).unwrap())));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!((call.upload_mode().is_batch(), gateway.count(SAY)), (false, 1));
}

#[tokio::test]
async fn a_stream_that_a_proxy_holds_back_becomes_batches_and_nothing_is_lost() {
    let gateway = Gateway::open().await;
    gateway.script(
        SAY,
        |request| if request.header("seq").is_empty() { Answer::swallow() } else { Answer::hear() },
    );
    let (_bot, call) = take(&gateway).await;
    let began = Instant::now();
    for n in 0..20 {
        call.send_audio_opus(packet(n)).await.unwrap();
    }
    until(|| gateway.heard().len() == 20).await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert!(gateway.heard().iter().all(|(seq, said)| *said == packet(u8::try_from(*seq).unwrap())));
    assert!(call.upload_mode().is_batch());
}

#[tokio::test]
async fn a_batch_that_fails_is_sent_again_with_the_same_seq() {
    let gateway = Gateway::open().await;
    let told = gateway.clone();
    gateway.script(SAY, move |request| {
        if request.header("seq").is_empty() {
            return Answer::swallow();
        }
        assert_eq!(request.header("seq"), "0");
        match told.count_with("seq") {
            1 => Answer::json(503, &json!({})),
            2 => Answer::json(429, &json!({})).with("retry-after", "0.1"),
            _ => Answer::hear(),
        }
    });
    let (_bot, call) = take(&gateway).await;
    call.send_audio_opus(packet(0)).await.unwrap();
    until(|| !gateway.heard().is_empty()).await;
    assert_eq!((gateway.heard()[&0].clone(), gateway.count_with("seq")), (packet(0), 3));
}

#[tokio::test]
async fn a_stream_that_is_lost_goes_on_where_the_gateway_is() {
    let gateway = Gateway::open().await;
    let told = gateway.clone();
    gateway.script(
        SAY,
        move |_| if told.count(SAY) == 1 { Answer::pieces(Vec::new()).cut() } else { Answer::hear() },
    );
    let (_bot, call) = take(&gateway).await;
    for n in 0..20 {
        call.send_audio_opus(packet(n)).await.unwrap();
    }
    until(|| gateway.heard().len() == 20).await;
}

#[tokio::test]
async fn a_clear_forgets_what_waits_and_the_next_speech_has_a_later_seq() {
    let gateway = Gateway::open().await;
    gateway.script("POST /v1/calls/c1/events", |_| Answer::json(200, &json!({})));
    let (_bot, call) = take(&gateway).await;
    for n in 0..3 {
        call.send_audio_opus(packet(n)).await.unwrap();
    }
    call.clear().await.unwrap();
    call.send_audio_opus(packet(9)).await.unwrap();
    until(|| gateway.heard().contains_key(&3)).await;
    assert_eq!(gateway.heard()[&3], packet(9));
    assert_eq!(gateway.told(), [json!({ "type": "clear", "next_seq": 3 })]);
}

#[tokio::test]
async fn what_the_caller_says_comes_packet_by_packet_and_a_lost_connection_is_resumed() {
    let gateway = Gateway::open().await;
    gateway.script(HEAR, |request| {
        let frames = |seqs: &[u32]| seqs.iter().map(|seq| frame(*seq, &packet(1))).collect();
        match &*request.query {
            "" => Answer::pieces(frames(&[65_534, 65_535, 65_536])).with("seq", "65534").cut(),
            "from_seq=65537" => Answer::pieces(frames(&[65_537, 65_540])).with("seq", "65537"),
            other => panic!("{other}"),
        }
    });
    let (_bot, call) = take(&gateway).await;
    let (mut packets, mut got) = (call.receive_audio_opus(), Vec::new());
    while let Some(packet) = packets.next().await {
        let packet = packet.unwrap();
        got.push((packet.seq, packet.lost));
    }
    assert_eq!(got, [(65_534, 0), (65_535, 0), (65_536, 0), (65_537, 0), (65_540, 2)]);
    assert_eq!(call.reason().as_deref(), Some("ended"));
}

#[tokio::test]
async fn a_silent_download_is_a_dead_one_and_a_gap_is_told() {
    let gateway = Gateway::open().await;
    gateway.script(HEAR, |request| match &*request.query {
        "" => Answer::pieces(vec![frame(0, &packet(0))]).with("seq", "0").hold(),
        _ => Answer::pieces(vec![frame(400, &packet(0))]).with("seq", "400").with("gap-ms", "8000"),
    });
    let bot = bot(&gateway, Duration::from_millis(200));
    bot.register_with_discovery(Wish::default()).await.unwrap();
    let call = bot.accept_call(&bot.next_call().await.unwrap(), OPUS).await.unwrap();
    let (mut packets, mut got) = (call.receive_audio_opus(), Vec::new());
    while let Some(packet) = packets.next().await {
        let packet = packet.unwrap();
        got.push((packet.seq, packet.lost));
    }
    assert_eq!(got, [(0, 0), (400, 400)]);
}

#[tokio::test]
async fn raw_audio_comes_in_pieces_of_20_ms() {
    let gateway = Gateway::open().await;
    gateway
        .script("POST /v1/calls/c1/accept", |_| Answer::json(200, &json!({ "receive": ULAW, "send": ULAW })));
    gateway.script(HEAR, |request| {
        assert_eq!(request.header("accept"), ULAW);
        Answer::pieces([100, 300, 80].iter().map(|size| vec![0xFF; *size]).collect())
    });
    let (_bot, call) = take(&gateway).await;
    let (mut packets, mut got) = (call.receive_audio(), Vec::new());
    while let Some(packet) = packets.next().await {
        got.push(packet.unwrap().payload.len());
    }
    assert_eq!(got, [160, 160, 160]);
}

#[tokio::test]
async fn nothing_can_be_said_after_the_end_and_what_is_no_packet_is_refused_at_once() {
    let gateway = Gateway::open().await;
    let (_bot, call) = take(&gateway).await;
    for packet in [Vec::new(), vec![0; 1276]] {
        assert!(matches!(call.send_audio_opus(packet).await, Err(Error::Framing(_))));
    }
    call.hangup().await.unwrap();
    call.hangup().await.unwrap();
    assert!(matches!(call.send_audio_opus(packet(0)).await, Err(Error::CallEnded)));
    assert!(matches!(call.clear().await, Err(Error::CallEnded)));
    assert_eq!(gateway.count("POST /v1/calls/c1/hangup"), 1);
}

#[tokio::test]
async fn an_end_told_by_the_gateway_ends_the_call_and_its_events_come_until_then() {
    let gateway = Gateway::open().await;
    gateway.script("GET /v1/calls/c1/events", |_| {
        let events = [
            sse("dtmf", &json!({ "digit": "5" }), 1),
            sse("call.ended", &json!({ "reason": "caller_hung_up" }), 2),
        ];
        Answer::pieces(events.to_vec()).hold()
    });
    let (_bot, call) = take(&gateway).await;
    let mut events = call.events();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!((&*first.kind, &first.fields["digit"]), ("dtmf", &json!("5")));
    assert_eq!(call.ended().await, "caller_hung_up");
}
