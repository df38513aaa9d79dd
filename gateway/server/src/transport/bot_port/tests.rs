use super::*;
use std::future::poll_fn;
use std::time::Duration;

use patchbay_core::{Codec, Format, Packet};
use patchbay_legs::bot::framing::{Number, Unit};

const GONE_AFTER: Duration = Duration::from_millis(200);
const SHORT: Duration = Duration::from_millis(50);

fn open() -> (BotPort, Arc<Meeting>, Arc<Meetings>) {
    let meetings = Arc::new(Meetings::with_patience(GONE_AFTER));
    let occasion = Occasion {
        call: "call_1".into(),
        tenant: "t".into(),
        bot: "echo".into(),
        receive: Format::PCMU,
        send: Format::PCMU,
    };
    let port = meetings.open(occasion);
    let meeting = meetings.find("call_1").unwrap();
    (port, meeting, meetings)
}

async fn next(port: &mut BotPort) -> Wire {
    poll_fn(|cx| port.poll_recv(cx)).await
}

fn unit(seq: u64) -> Unit {
    Unit { number: Some(Number::Whole(seq)), audio: vec![0x55; 160].into() }
}

fn heard(port: &mut BotPort, packets: u64) {
    for seq in 0..packets {
        let payload = vec![0x55; 160].into();
        port.send(Wire::Packet(Packet { codec: Codec::Pcmu, seq, time: seq * 160, marker: false, payload }));
    }
    port.is_pending = false;
    port.meeting.wake();
}

#[tokio::test]
async fn it_opens_with_the_first_request_and_says_the_formats_before() {
    let (mut port, meeting, _table) = open();
    let formats = |receive, send| format!(r#"{{"receive":"{receive}","send":"{send}","type":"audio"}}"#);
    let mulaw = "audio/x-mulaw;rate=8000";
    assert_eq!(next(&mut port).await, Wire::Text(formats(mulaw, mulaw).into()));
    let waiting = tokio::time::timeout(SHORT, next(&mut port)).await;
    assert!(waiting.is_err(), "nobody has come");
    let _reader = meeting.listen(None, Format::OPUS);
    assert_eq!(next(&mut port).await, Wire::Text(r#"{"receive":"audio/opus","type":"audio"}"#.into()));
    assert_eq!(next(&mut port).await, Wire::Opened);
}

#[tokio::test]
async fn a_bot_that_never_comes_or_is_away_too_long_is_gone_and_one_request_is_enough() {
    let (mut port, meeting, table) = open();
    next(&mut port).await;
    let reader = meeting.listen(None, Format::PCMU);
    assert_eq!(next(&mut port).await, Wire::Opened);
    let still = tokio::time::timeout(GONE_AFTER * 2, next(&mut port)).await;
    assert!(still.is_err(), "it listens");
    drop(reader);
    let away = Instant::now();
    meeting.tell(r#"{"type":"clear"}"#.into()).unwrap();
    assert_eq!(next(&mut port).await, Wire::Text(r#"{"type":"clear"}"#.into()));
    assert!(matches!(next(&mut port).await, Wire::Close { code: 1006, .. }));
    assert!(away.elapsed() >= GONE_AFTER);
    drop(port);
    assert!(table.find("call_1").is_none());
    let (mut port, ..) = open();
    next(&mut port).await;
    assert!(matches!(next(&mut port).await, Wire::Close { code: 1006, .. }), "it never came");
}

#[tokio::test]
async fn a_reader_resumes_by_number_and_a_newer_one_replaces_it() {
    let (mut port, meeting, _table) = open();
    let mut first = meeting.listen(None, Format::PCMU);
    heard(&mut port, 100);
    let Heard::Packets(packets, 0) = first.next().await else { panic!() };
    assert_eq!((packets.len(), packets[0].seq), (100, 0));
    let mut second = meeting.listen(Some(90), Format::PCMU);
    assert_eq!(first.next().await, Heard::Replaced);
    let Heard::Packets(packets, 0) = second.next().await else { panic!() };
    assert_eq!((packets.len(), packets[0].seq), (10, 90));
    heard(&mut port, 300);
    let Heard::Packets(packets, 50) = second.next().await else { panic!("the oldest are dropped") };
    assert_eq!(packets.len(), 250);
    port.ended("caller_hung_up");
    assert_eq!(second.next().await, Heard::Over("caller_hung_up".into()));
}

#[tokio::test]
async fn numbers_that_were_there_are_ignored_and_a_gap_is_no_fault() {
    let (_port, meeting, _table) = open();
    let mut writer = meeting.speak(Format::PCMU);
    let mut say = |number| writer.try_say(Unit { number, ..unit(0) }).unwrap();
    assert_eq!(say(Some(Number::Short(65_534))), Uptake::New, "it may begin anywhere");
    assert_eq!(say(Some(Number::Short(65_535))), Uptake::New);
    assert_eq!(say(Some(Number::Short(65_534))), Uptake::Known);
    assert_eq!(say(Some(Number::Short(0))), Uptake::New, "it goes round");
    assert_eq!(say(Some(Number::Whole(65_536))), Uptake::Known);
    assert_eq!(say(None), Uptake::New);
    assert_eq!(say(Some(Number::Whole(65_600))), Uptake::New);
    assert_eq!(meeting.acknowledged().next_seq, 65_601);
}

#[tokio::test]
async fn what_a_clear_took_back_is_not_said_when_it_comes_late() {
    let (_port, meeting, _table) = open();
    let mut writer = meeting.speak(Format::PCMU);
    let mut say = |seq| writer.try_say(unit(seq)).unwrap();
    assert_eq!(say(0), Uptake::New);
    meeting.tell(r#"{"type":"clear","next_seq":3}"#.into()).unwrap();
    assert_eq!((say(1), say(2), say(3)), (Uptake::Known, Uptake::Known, Uptake::New));
}

#[tokio::test]
async fn a_writer_is_ten_seconds_ahead_at_most_and_a_clear_makes_room() {
    let (mut port, meeting, _table) = open();
    let mut writer = meeting.speak(Format::PCMU);
    let mut taken = 0;
    while writer.check().is_ok() {
        writer.try_say(unit(taken)).unwrap();
        taken += 1;
        while tokio::time::timeout(Duration::ZERO, next(&mut port)).await.is_ok() {}
    }
    // Ten seconds, and as much as played meanwhile.
    assert!((500..=800).contains(&taken), "{taken} packets of 20 ms");
    assert!(tokio::time::timeout(Duration::ZERO, writer.say(unit(taken))).await.is_err(), "it waits");
    assert!(meeting.acknowledged().buffered_ms > 9_000);
    meeting.tell(r#"{"type":"clear"}"#.into()).unwrap();
    assert_eq!(meeting.acknowledged().buffered_ms, 0);
    assert_eq!(writer.say(unit(taken)).await, Ok(Uptake::New));
    let _other = meeting.speak(Format::PCMU);
    assert_eq!(writer.try_say(unit(5_000)), Err(Unsaid::Replaced));
    port.ended("limit");
    assert_eq!(writer.done().await, Unsaid::Over("limit".into()));
}

#[tokio::test]
async fn events_are_kept_for_a_reader_who_was_away_and_the_last_says_why_it_is_over() {
    let (mut port, meeting, _table) = open();
    port.send(Wire::Text(r#"{"type":"dtmf","digit":"1"}"#.into()));
    let mut reading = meeting.read(0);
    assert_eq!(reading.next(Duration::from_secs(1)).await.unwrap().0, 1);
    assert_eq!(reading.next(SHORT).await, None);
    assert!(!reading.is_over());
    port.ended("requested");
    let (number, event) = reading.next(Duration::from_secs(1)).await.unwrap();
    assert_eq!((number, &event[..]), (2, &br#"{"reason":"requested","type":"call.ended"}"#[..]));
    assert!(reading.is_over() && meeting.read(0).next(Duration::ZERO).await.is_some());
}

#[tokio::test]
async fn what_is_no_event_is_told_and_a_call_that_takes_nothing_fills_no_memory() {
    let (_port, meeting, _table) = open();
    assert!(matches!(meeting.tell("{".into()), Err(Untold::Nonsense(_))));
    let formats = r#"{"type":"audio","send":"audio/opus"}"#;
    assert!(matches!(meeting.tell(formats.into()), Err(Untold::Nonsense(_))), "requests say their formats");
    let mark = || meeting.tell(r#"{"type":"mark","name":"x"}"#.into());
    let taken = (0..10_000).take_while(|_| mark().is_ok()).count();
    assert!((900..1_100).contains(&taken), "{taken}");
    assert_eq!(mark(), Err(Untold::Busy));
}
