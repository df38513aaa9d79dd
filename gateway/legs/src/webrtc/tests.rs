use bytes::Bytes;
use patchbay_core::{Frame, Packet, Payload, Told};

use super::*;

const OPUS: Media = Media { ingress: Format::OPUS, egress: Format::OPUS };
const PCMU: Media = Media { ingress: Format::PCMU, egress: Format::PCMU };
/// A packet of 20 ms: SILK, wideband.
const TOC: u8 = 9 << 3;

/// A leg, and what came of it.
struct Bench {
    leg: WebRtc,
    now: Instant,
    out: Outbox,
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}
const fn ms(ms: u64) -> MediaTime {
    MediaTime::from_ms(ms)
}

impl Bench {
    fn up(media: Media) -> Self {
        let leg = WebRtc::new(&Config { events: Some(events()), live: false }, media);
        let mut bench = Self { leg, now: at(1_000), out: Outbox::default() };
        bench.wire(Wire::Opened);
        assert_eq!(bench.events(), [Event::LegUp]);
        assert_eq!(bench.told(), ["session.created"]);
        bench
    }

    fn wire(&mut self, wire: Wire) {
        self.leg.on_wire(wire, self.now, &mut self.out).unwrap();
    }

    fn command(&mut self, command: Command) {
        self.leg.on_command(command, self.now, &mut self.out).unwrap();
    }

    /// Packet number `seq` of a stream of 20 ms packets, at its own time.
    fn packet(&mut self, seq: u64) {
        self.packet_at(seq, seq * 960);
    }

    fn packet_at(&mut self, seq: u64, time: u64) {
        let payload = Bytes::copy_from_slice(&[TOC, u8::try_from(seq % 256).unwrap()]);
        self.wire(Wire::Packet(Packet { codec: Codec::Opus, seq, time, marker: false, payload }));
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + MediaTime::from_ms(ms);
        while let Some(due) = self.leg.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.leg.on_timeout(due, &mut self.out).unwrap();
        }
        self.now = end;
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.out.events)
    }

    /// What the other side gets: the number of a packet, or how many milliseconds were lost.
    fn heard(&mut self) -> Vec<Heard> {
        let heard = |event| match event {
            Event::AudioReceived(frame) => Heard::Packet(frame.payload.to_raw()[1], frame.pts.as_ms()),
            Event::AudioLost { span, next } => Heard::Lost(span.as_ms(), next.map(|packet| packet[1])),
            Event::MessageDropped { reason } => Heard::Dropped(reason),
            other => panic!("{other:?}"),
        };
        self.events().into_iter().map(heard).collect()
    }

    fn sent(&mut self) -> Vec<Packet> {
        let packet = |wire| if let Wire::Packet(packet) = wire { Some(packet) } else { None };
        std::mem::take(&mut self.out.wires).into_iter().filter_map(packet).collect()
    }

    fn told(&mut self) -> Vec<String> {
        let kind = |wire| match wire {
            Wire::Text(text) => {
                let event: Value = serde_json::from_slice(&text).unwrap();
                Some(event["type"].as_str().unwrap().to_owned())
            }
            _ => None,
        };
        std::mem::take(&mut self.out.wires).into_iter().filter_map(kind).collect()
    }

    fn speak(&mut self, utterance: u32) {
        self.announce(utterance);
        let payload = Payload::Raw(Bytes::from_static(&[TOC, 0]));
        self.command(Command::Play(Frame::speech(Format::OPUS, payload, ms(0), UtteranceId(utterance))));
    }
}

impl Bench {
    /// The model's side says whose frames follow.
    fn announce(&mut self, utterance: u32) {
        let event = format!(r#"{{"response_id":"resp_{utterance}","item_id":"item_{utterance}"}}"#);
        let told = Told { utterance: Some(UtteranceId(utterance)), event: event.into() };
        self.command(Command::Tell(told));
    }
}

fn events() -> client_events::Config {
    serde_json::from_value(serde_json::json!({})).unwrap()
}

#[derive(Debug, PartialEq)]
enum Heard {
    /// Which, and at what millisecond.
    Packet(u8, u64),
    /// How long, and the packet behind it.
    Lost(u64, Option<u8>),
    Dropped(&'static str),
}
use Heard::{Dropped, Lost, Packet as Got};

#[test]
fn what_comes_in_order_goes_on_at_once() {
    let mut bench = Bench::up(OPUS);
    (0..5).for_each(|seq| bench.packet(seq));
    assert_eq!(bench.heard(), (0..5).map(|n| Got(n, u64::from(n) * 20)).collect::<Vec<_>>());
}

#[test]
fn what_was_overtaken_is_put_in_order() {
    let mut bench = Bench::up(OPUS);
    for seq in [0, 2, 1, 4, 3] {
        bench.packet(seq);
    }
    assert_eq!(bench.heard(), [Got(0, 0), Got(1, 20), Got(2, 40), Got(3, 60), Got(4, 80)]);
    assert_eq!(bench.leg.ingress.poll_timeout(), Some(bench.now + std::time::Duration::from_millis(120)));
}

#[test]
fn a_hole_is_waited_for_50_ms_and_the_next_packet_is_shown() {
    let mut bench = Bench::up(OPUS);
    bench.packet(0);
    bench.packet(2);
    bench.pass(49);
    assert_eq!(bench.heard(), [Got(0, 0)]);
    bench.pass(1);
    assert_eq!(bench.heard(), [Lost(20, Some(2)), Got(2, 40)]);
    bench.packet(1);
    assert_eq!(bench.heard(), [Dropped("late")]);
}

#[test]
fn three_later_packets_prove_one_lost() {
    let mut bench = Bench::up(OPUS);
    for seq in [0, 3, 4, 5] {
        bench.packet(seq);
    }
    assert_eq!(bench.heard(), [Got(0, 0), Lost(40, Some(3)), Got(3, 60), Got(4, 80), Got(5, 100)]);
}

#[test]
fn a_pause_of_the_peer_is_silence_of_the_same_length() {
    let mut bench = Bench::up(OPUS);
    bench.packet(0);
    bench.heard();
    // DTX: the numbers go on, the time jumps.
    bench.pass(400);
    let ticked = bench.heard();
    assert_eq!(ticked.len(), 15, "from 120 ms on, in step with the clock");
    assert!(ticked.iter().all(|heard| *heard == Lost(20, None)));
    bench.packet_at(1, 21 * 960);
    assert_eq!(bench.heard(), [Lost(100, Some(1)), Got(1, 420)]);
}

#[test]
fn what_a_late_network_brings_is_not_thrown_away() {
    let mut bench = Bench::up(OPUS);
    bench.packet(0);
    bench.pass(200);
    (1..10).for_each(|seq| bench.packet(seq));
    let heard = bench.heard();
    let packets = heard.iter().filter(|heard| matches!(heard, Got(..))).count();
    assert_eq!(packets, 10, "{heard:?}");
}

#[test]
fn a_network_that_is_late_for_ever_does_not_stretch_time_for_ever() {
    let mut bench = Bench::up(OPUS);
    bench.packet(0);
    bench.pass(10_000);
    bench.heard();
    (1..20).for_each(|seq| bench.packet(seq));
    assert!(bench.heard().iter().all(|heard| *heard == Dropped("late")), "ten seconds late");
    bench.packet_at(20, 500 * 960);
    assert!(matches!(bench.heard()[..], [.., Got(20, _)]), "in time again");
}

#[test]
fn a_stream_that_begins_anew_goes_on_where_the_old_one_was() {
    let mut bench = Bench::up(OPUS);
    (0..3).for_each(|seq| bench.packet(seq));
    bench.packet_at(40_000, 7);
    bench.packet_at(40_001, 967);
    let heard = bench.heard();
    assert_eq!(heard[3..], [Got(64, 60), Got(65, 80)]);
}

#[test]
fn another_codec_and_a_packet_that_cannot_be_are_counted_and_dropped() {
    let mut bench = Bench::up(PCMU);
    bench.packet(0);
    let empty = Packet { codec: Codec::Pcmu, seq: 1, time: 0, marker: false, payload: Bytes::new() };
    bench.wire(Wire::Packet(empty));
    assert_eq!(bench.heard(), [Dropped("codec"), Dropped("bad_packet")]);
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut bench = Bench::up(OPUS);
    bench.packet(0);
    for round in 0..200_u64 {
        for hole in 0..20 {
            bench.packet(2 + round * 50 + hole * 2);
            assert!(bench.leg.ingress.waiting() < 3);
        }
    }
}

#[test]
fn a_talk_spurt_begins_with_a_marker_and_time_goes_on_with_the_clock() {
    let mut bench = Bench::up(OPUS);
    // The lead, then one every 20 ms.
    (0..3).for_each(|_| bench.speak(0));
    (0..3).for_each(|_| {
        bench.pass(20);
        bench.speak(0);
    });
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|packet| packet.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(sent.iter().map(|packet| packet.time / 960).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(sent.iter().filter(|packet| packet.marker).count(), 1);
    bench.pass(5_000);
    bench.speak(1);
    let next = bench.sent();
    assert!(next[0].marker);
    assert_eq!((next[0].seq, next[0].time), (6, 5_060 * 48), "a pause is a pause");
}

#[test]
fn playing_starts_with_the_first_frame_and_stops_when_all_was_heard() {
    let mut bench = Bench::up(OPUS);
    (0..3).for_each(|_| bench.speak(0));
    bench.pass(109);
    assert_eq!(bench.told(), ["output_audio_buffer.started"], "60 ms of speech, 50 ms in the browser");
    bench.pass(1);
    assert_eq!(bench.told(), ["output_audio_buffer.stopped"]);
}

#[test]
fn an_interruption_is_reported_by_what_the_listener_had_heard() {
    let listener_cut = |heard| Event::ListenerCut { utterance: UtteranceId(0), heard };
    for (round_trip_ms, heard_ms) in [(0, 150 - 50), (100, 150 - 50 - 50), (600, 0)] {
        let mut bench = Bench::up(OPUS);
        let round_trip = Some(std::time::Duration::from_millis(round_trip_ms));
        bench.wire(Wire::Quality(Quality { round_trip, ..Quality::default() }));
        (0..3).for_each(|_| bench.speak(0));
        (0..7).for_each(|_| {
            bench.pass(20);
            bench.speak(0);
        });
        bench.pass(10);
        bench.events();
        bench.command(Command::Flush);
        bench.pass(1_000);
        assert_eq!(bench.events(), [listener_cut(ms(heard_ms))], "round trip {round_trip_ms} ms");
        assert_eq!(bench.told(), ["output_audio_buffer.started", "output_audio_buffer.cleared"]);
    }
}

#[test]
fn what_was_wholly_heard_is_not_reported() {
    let mut bench = Bench::up(OPUS);
    bench.speak(0);
    bench.pass(1_000);
    bench.speak(1);
    bench.command(Command::Flush);
    bench.pass(1_000);
    assert_eq!(bench.events(), [Event::ListenerCut { utterance: UtteranceId(1), heard: ms(0) }]);
}

#[test]
fn a_page_that_hangs_up_and_a_page_that_is_lost_differ() {
    for (code, down) in [(1000, Down::HungUp), (1006, Down::Lost { code: 1006 })] {
        let mut bench = Bench::up(OPUS);
        bench.wire(Wire::Close { code, reason: "".into() });
        assert_eq!(bench.events(), [Event::LegDown(down)]);
        bench.packet(0);
        bench.pass(10_000);
        assert_eq!(bench.events(), []);
    }
}

#[test]
fn a_format_that_webrtc_does_not_carry_is_refused() {
    let media = Media { ingress: Format::OPUS, egress: Format::L16_24K };
    assert!(open(&serde_json::json!({}), media).is_err());
    assert!(open(&serde_json::json!({ "speed": 1 }), OPUS).is_err(), "unknown keys too");
}
