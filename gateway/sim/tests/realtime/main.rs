//! The realtime leg against the provider double, in virtual time.

mod contract;
mod pair;

use std::time::Duration;

use patchbay_core::{Command, Cut, Down, Event, Fault, Format, MediaTime, Role, UtteranceId};
use patchbay_legs::realtime::{Config, Dialect, TurnDetection};
use patchbay_sim::realtime::{Fault as Wrong, Pace, Point, Say, Script, Trouble, Turn};

use self::pair::{CALLER, Pair};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn config() -> Config {
    Config {
        model: "gpt-realtime-2.1".into(),
        voice: Some("marin".into()),
        instructions: Some("Be brief.".into()),
        transcription_model: Some("gpt-live-transcribe".into()),
        ..Config::default()
    }
}

fn says(texts: &[(&str, u64)]) -> Vec<Turn> {
    texts.iter().map(|(text, ms)| Turn::Say(vec![Say::buzz(text, *ms)])).collect()
}

fn script() -> Script {
    Script {
        turns: says(&[("one two three four five six seven eight", 4_000)]),
        transcripts: vec!["What time do you close on Sundays?".into()],
        ..Script::default()
    }
}

fn fault(at: Point, trouble: Trouble) -> Wrong {
    Wrong { at, turn: 0, dial: Some(0), trouble }
}

fn ask(pair: &mut Pair) {
    pair.command(Command::Respond { instructions: Some("Greet the caller.".into()) });
}

/// Of the first utterance.
fn cut(heard_ms: u64, received: MediaTime) -> Command {
    let heard = MediaTime::from_ms(heard_ms);
    Command::Truncate(Cut { utterance: UtteranceId(0), heard, sent: heard, received })
}

#[test]
fn every_dialect_and_format_comes_up_and_speaks() {
    for dialect in [Dialect::Openai, Dialect::Azure, Dialect::AzurePreview] {
        for format in [Format::PCMU, Format::PCMA, Format::L16_24K] {
            let mut pair = Pair::new(Config { dialect, ..config() }, format, script());
            pair.run(MS(100));
            assert_eq!(pair.events, [Event::LegUp], "{dialect:?} {format}");
            assert_eq!((pair.double.input_format(), pair.double.output_format()), (format, format));
            ask(&mut pair);
            pair.run(MS(5_000));
            assert_eq!(pair.spoken(UtteranceId(0)), MediaTime::from_ms(4_000), "{dialect:?} {format}");
            assert!(pair.ended(UtteranceId(0)));
            assert_eq!(pair.transcript(Role::Model), ["one two three four five six seven eight"]);
            assert!(pair.complaints().is_empty(), "{:?}", pair.complaints());
            assert!(pair.double.ledger().errors.is_empty());
        }
    }
}

#[test]
fn a_turn_of_the_caller_is_heard_written_down_answered_and_billed() {
    let mut pair = Pair::new(config(), Format::PCMU, script());
    pair.run(MS(100));
    pair.talk(CALLER);
    pair.quiet(MS(6_000));
    let began = pair.at(|e| *e == Event::SpeechStarted).unwrap();
    let ended = pair.at(|e| *e == Event::SpeechStopped).unwrap();
    assert!((MS(100)..MS(600)).contains(&began.saturating_since(pair.talked_at)));
    assert!((MS(2_500)..MS(3_300)).contains(&ended.saturating_since(pair.talked_at)));
    assert_eq!(pair.transcript(Role::Caller), ["What time do you close on Sundays?"]);
    assert_eq!(pair.spoken(UtteranceId(0)), MediaTime::from_ms(4_000));
    let usage = pair.usage();
    let ledger = pair.double.ledger().usage;
    assert_eq!(usage.iter().map(|u| u.tokens.audio_in).sum::<u64>(), ledger.audio_in);
    assert_eq!(usage.iter().map(|u| u.tokens.audio_out).sum::<u64>(), ledger.audio_out);
    assert_eq!(usage.iter().map(|u| u.tokens.text_in).sum::<u64>(), ledger.text_in);
    assert_eq!(usage.iter().map(|u| u.tokens.text_out).sum::<u64>(), ledger.text_out);
    assert!(ledger.audio_out >= 80 && ledger.audio_in > 20, "{ledger:?}");
    assert_eq!(usage.iter().map(|u| &*u.kind).collect::<Vec<_>>(), ["transcription", "response"]);
}

#[test]
fn appended_audio_arrives_byte_for_byte() {
    let mut pair = Pair::new(config(), Format::PCMU, script());
    pair.run(MS(100));
    pair.talk(CALLER);
    assert_eq!(pair.double.ledger().appended, pair.played);
    assert!(!pair.played.is_empty());
}

#[test]
fn late_deltas_of_a_cut_utterance_are_dropped() {
    let mut pair = Pair::new(config(), Format::PCMU, Script { late_deltas: 5, ..script() });
    pair.run(MS(100));
    ask(&mut pair);
    pair.run(MS(400));
    let before = pair.spoken(UtteranceId(0));
    assert!(before > MediaTime::ZERO && before < MediaTime::from_ms(4_000));
    pair.command(Command::Cancel);
    pair.command(cut(150, before));
    pair.run(MS(3_000));
    assert_eq!(pair.spoken(UtteranceId(0)), before, "nothing after the cut");
    assert_eq!(pair.dropped("late_delta"), 5);
    let ledger = pair.double.ledger();
    assert_eq!((ledger.cancels, ledger.truncations.len()), (1, 1));
    assert!(ledger.truncations[0].accepted, "{:?}", ledger.truncations);
    assert_eq!(ledger.truncations[0].audio_end_ms, 150);
    assert!(pair.events.contains(&Event::ResponseEnded { completed: false }));
}

#[test]
fn nothing_is_cancelled_when_nothing_is_active() {
    let mut pair = Pair::new(config(), Format::PCMU, script());
    pair.run(MS(100));
    pair.command(Command::Cancel);
    ask(&mut pair);
    pair.run(MS(5_000));
    pair.command(Command::Cancel);
    pair.run(MS(100));
    assert_eq!(pair.double.ledger().cancels, 0);
}

#[test]
fn a_cancel_that_races_the_server_is_no_complaint() {
    let mut pair = Pair::new(config(), Format::PCMU, Script { latency_ms: 60, ..script() });
    pair.run(MS(200));
    ask(&mut pair);
    pair.run(MS(980)); // The server has finished; its last events are on the way.
    pair.command(Command::Cancel);
    pair.run(MS(500));
    assert_eq!(pair.double.ledger().errors, ["response_cancel_not_active"]);
    assert!(pair.complaints().is_empty());
}

#[test]
fn what_was_never_heard_is_deleted_and_what_was_all_heard_is_left_alone() {
    let length = MediaTime::from_ms(4_000);
    for (heard_ms, deletions, truncations) in [(0, 1, 0), (3_999, 0, 1), (4_000, 0, 0), (9_999, 0, 0)] {
        let mut pair = Pair::new(config(), Format::PCMU, script());
        pair.run(MS(100));
        ask(&mut pair);
        pair.run(MS(5_000));
        pair.command(cut(heard_ms, length));
        pair.command(cut(heard_ms, length));
        pair.run(MS(100));
        let ledger = pair.double.ledger();
        assert_eq!(
            (ledger.deletions.len(), ledger.truncations.len()),
            (deletions, truncations),
            "{heard_ms}"
        );
        assert!(ledger.errors.is_empty(), "{:?}", ledger.errors);
    }
}

#[test]
fn several_audio_items_of_one_answer_are_several_utterances() {
    let turns = vec![Turn::Say(vec![Say::buzz("first", 600), Say::buzz("second", 900)])];
    let mut pair = Pair::new(config(), Format::PCMU, Script { turns, ..script() });
    pair.run(MS(100));
    ask(&mut pair);
    pair.run(MS(3_000));
    assert_eq!(pair.spoken(UtteranceId(0)), MediaTime::from_ms(600));
    assert_eq!(pair.spoken(UtteranceId(1)), MediaTime::from_ms(900));
    assert!(pair.ended(UtteranceId(0)) && pair.ended(UtteranceId(1)));
    pair.command(Command::Truncate(Cut {
        utterance: UtteranceId(1),
        heard: MediaTime::from_ms(300),
        sent: MediaTime::from_ms(300),
        received: MediaTime::from_ms(900),
    }));
    pair.run(MS(100));
    assert_eq!(pair.double.ledger().truncations[0].sent, MediaTime::from_ms(900));
}

#[test]
fn a_second_request_waits_for_the_answer_in_progress() {
    let mut pair = Pair::new(config(), Format::PCMU, script());
    pair.run(MS(100));
    for _ in 0..3 {
        ask(&mut pair);
        pair.run(MS(50));
    }
    pair.run(MS(8_000));
    assert_eq!(pair.double.ledger().responses.len(), 2, "exactly one is deferred");
    assert!(pair.double.ledger().errors.is_empty());
}

#[test]
fn a_request_that_meets_the_servers_own_answer_is_asked_again_after_it() {
    let mut pair = Pair::new(config(), Format::PCMU, Script { latency_ms: 80, think_ms: 10, ..script() });
    pair.run(MS(300));
    pair.talk(CALLER);
    while pair.double.ledger().responses.is_empty() {
        pair.quiet(MS(20));
    }
    ask(&mut pair);
    pair.quiet(MS(8_000));
    assert_eq!(pair.double.ledger().errors, ["conversation_already_has_active_response"]);
    assert_eq!(pair.double.ledger().responses.len(), 2);
    assert!(pair.complaints().is_empty());
}

#[test]
fn speech_over_an_answer_stops_it_on_both_sides() {
    let turns = says(&[("a long answer that goes on and on", 20_000), ("yes", 500)]);
    let pace = Pace::REAL_TIME;
    let mut pair = Pair::new(config(), Format::PCMU, Script { turns, pace, ..script() });
    pair.cancels_on_speech = true;
    pair.run(MS(100));
    ask(&mut pair);
    pair.quiet(MS(2_000));
    pair.talk(CALLER);
    pair.quiet(MS(3_000));
    let responses = &pair.double.ledger().responses;
    assert_eq!(responses.iter().map(|r| r.status).collect::<Vec<_>>(), ["cancelled", "completed"]);
    assert!(pair.spoken(UtteranceId(0)) < MediaTime::from_ms(3_000));
    assert_eq!(pair.spoken(UtteranceId(1)), MediaTime::from_ms(500));
    assert!(pair.complaints().is_empty());
}

#[test]
fn without_a_detector_the_turn_is_committed_by_the_request() {
    let config = Config { turn_detection: TurnDetection::None, ..config() };
    let mut pair = Pair::new(config, Format::PCMU, Script { turns: vec![Turn::Echo], ..script() });
    pair.run(MS(100));
    pair.talk(CALLER);
    ask(&mut pair);
    pair.run(MS(5_000));
    assert_eq!((pair.double.ledger().commits, pair.double.ledger().errors.len()), (1, 0));
    assert_eq!(pair.spoken(UtteranceId(0)), Format::PCMU.duration_of(pair.played.len()).unwrap());
    assert!(!pair.events.contains(&Event::SpeechStarted));
}

#[test]
fn a_refused_configuration_is_the_tenants_fault_and_fatal() {
    let bad = Config { voice: Some("nova".into()), ..config() };
    let mut pair = Pair::new(bad, Format::PCMU, script());
    pair.run(MS(100));
    let down = Down::Fatal { fault: Fault::TenantConfig, code: "invalid_value".into() };
    assert_eq!(pair.down(), Some(&down));
    assert!(pair.leg.successor().is_none());
}

#[test]
fn a_provider_that_never_confirms_is_lost_after_three_seconds() {
    let stall = fault(Point::SessionCreated, Trouble::Stall { ms: None });
    let mut pair = Pair::new(config(), Format::PCMU, Script { faults: vec![stall], ..script() });
    pair.run(MS(2_900));
    assert_eq!(pair.down(), None);
    pair.run(MS(200));
    assert_eq!(pair.down(), Some(&Down::Lost { code: 1006 }));
}

#[test]
fn an_answer_that_does_not_begin_is_nudged_once_then_the_provider_is_lost() {
    let stall = fault(Point::SessionUpdated, Trouble::Stall { ms: None });
    let mut pair = Pair::new(config(), Format::PCMU, Script { faults: vec![stall], ..script() });
    // The update is confirmed by hand: the double is silent from there.
    pair.run(MS(100));
    ask(&mut pair);
    pair.run(MS(3_900));
    assert_eq!(pair.sent("response.create"), 1);
    pair.run(MS(200));
    assert_eq!((pair.sent("response.create"), pair.sent("response.cancel")), (2, 1));
    pair.run(MS(4_000));
    assert_eq!(pair.down(), Some(&Down::Lost { code: 1006 }));
}

#[test]
fn an_answer_that_stops_in_the_middle_is_lost_after_ten_seconds() {
    let stall = fault(Point::MidDeltas, Trouble::Stall { ms: None });
    let mut pair = Pair::new(config(), Format::PCMU, Script { faults: vec![stall], ..script() });
    pair.run(MS(100));
    ask(&mut pair);
    pair.run(MS(10_000));
    assert_eq!(pair.down(), None);
    pair.run(MS(1_500));
    assert_eq!(pair.down(), Some(&Down::Lost { code: 1006 }));
}

#[test]
fn a_rate_limited_answer_is_asked_for_once_more() {
    let turns =
        vec![Turn::Fail("inference_rate_limit_exceeded".into()), Turn::Say(vec![Say::buzz("here", 300)])];
    let mut pair = Pair::new(config(), Format::PCMU, Script { turns, ..script() });
    pair.run(MS(100));
    ask(&mut pair);
    pair.run(MS(3_000));
    assert_eq!(pair.spoken(UtteranceId(0)), MediaTime::from_ms(300));
    let asked: Vec<_> = pair.double.ledger().responses.iter().map(|r| r.instructions.clone()).collect();
    assert_eq!(asked, vec![Some("Greet the caller.".to_owned()); 2]);

    let turns = vec![Turn::Fail("inference_rate_limit_exceeded".into())];
    let mut pair = Pair::new(config(), Format::PCMU, Script { turns, ..script() });
    pair.run(MS(100));
    ask(&mut pair);
    pair.run(MS(5_000));
    assert_eq!(pair.down(), Some(&Down::Refused { retry_after: None }));
    assert_eq!(pair.double.ledger().responses.len(), 2, "bounded");
}

#[test]
fn a_quota_that_is_gone_is_fatal_whichever_way_it_is_said() {
    let fatal = Down::Fatal { fault: Fault::TenantConfig, code: "insufficient_quota".into() };
    let turns = vec![Turn::Fail("insufficient_quota".into())];
    let by_response = Script { turns, ..script() };
    let error = Trouble::Error { kind: "insufficient_quota".into(), code: "insufficient_quota".into() };
    let by_error = Script { faults: vec![fault(Point::ResponseCreated, error)], ..script() };
    for script in [by_response, by_error] {
        let mut pair = Pair::new(config(), Format::PCMU, script);
        pair.run(MS(100));
        ask(&mut pair);
        pair.run(MS(2_000));
        assert_eq!(pair.down(), Some(&fatal));
    }
}

#[test]
fn the_cap_on_a_session_is_an_expiry_and_no_failure() {
    let mut pair = Pair::new(config(), Format::PCMU, Script { session_cap_ms: Some(2_000), ..script() });
    pair.quiet(MS(3_000));
    assert_eq!(pair.down(), Some(&Down::Expired));
}

#[test]
fn an_error_that_is_neither_benign_nor_fatal_is_a_complaint() {
    let error = Trouble::Error { kind: "invalid_request_error".into(), code: "odd_thing".into() };
    let faults = vec![fault(Point::FirstDelta, error)];
    let mut pair = Pair::new(config(), Format::PCMU, Script { faults, ..script() });
    pair.run(MS(100));
    ask(&mut pair);
    pair.run(MS(5_000));
    assert_eq!(pair.complaints(), ["odd_thing"]);
    assert_eq!(pair.spoken(UtteranceId(0)), MediaTime::from_ms(4_000));
}

/// A leg whose connection was lost, and its successor on a new one.
fn lost_at(point: Point, code: u16, speaks: bool) -> Pair {
    let trouble = Trouble::Close { code, reason: String::new() };
    let faults = vec![fault(point, trouble)];
    let mut pair = Pair::new(config(), Format::PCMU, Script { faults, ..script() });
    pair.run(MS(100));
    if pair.down().is_none() && speaks {
        pair.talk(CALLER);
        pair.quiet(MS(4_000));
    }
    pair
}

#[test]
fn lost_at_any_of_twelve_points_the_turn_is_answered_on_the_next_connection() {
    for point in Point::ALL {
        for code in [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014] {
            let mut pair = lost_at(point, code, true);
            let down = pair.down().unwrap_or_else(|| panic!("{point:?} {code}")).clone();
            assert!(matches!(down, Down::Lost { .. } | Down::Expired), "{point:?} {code}: {down:?}");
            let was_asked = pair.at(|e| *e == Event::SpeechStarted).is_some();
            let was_answered =
                pair.events.iter().any(|e| matches!(e, Event::ResponseEnded { completed: true }));
            pair.redial();
            pair.quiet(MS(8_000));
            assert_eq!(pair.events[0], Event::LegUp, "{point:?} {code}");
            assert_eq!(pair.down(), None, "{point:?} {code}");
            assert!(pair.complaints().is_empty(), "{point:?}: {:?}", pair.complaints());
            let answers = pair.double.ledger().responses.len();
            let expected = usize::from(was_asked && !was_answered);
            assert_eq!(answers, expected, "{point:?} {code}: {:?}", pair.double.ledger().items);
        }
    }
}

#[test]
fn fatal_close_codes_are_not_tried_again() {
    for code in [1002, 1003, 1007, 1008, 1009, 1010, 4000, 4999] {
        let pair = lost_at(Point::SessionUpdated, code, false);
        assert!(matches!(pair.down(), Some(Down::Fatal { .. })), "{code}");
        assert!(pair.leg.successor().is_none());
    }
}

#[test]
fn an_unanswered_greeting_is_asked_again() {
    let faults = vec![fault(Point::ResponseCreated, Trouble::Close { code: 1011, reason: String::new() })];
    let mut pair = Pair::new(config(), Format::PCMU, Script { faults, ..script() });
    pair.run(MS(50));
    ask(&mut pair);
    pair.run(MS(1_000));
    assert_eq!(pair.down(), Some(&Down::Lost { code: 1011 }));
    pair.redial();
    pair.run(MS(3_000));
    let responses = &pair.double.ledger().responses;
    assert_eq!(responses.len(), 1);
    assert_eq!(responses[0].instructions.as_deref(), Some("Greet the caller."));
    assert!(pair.double.ledger().items.iter().all(|i| i.role != "system"), "nothing was said: no anchor");
}

#[test]
fn the_next_connection_is_told_what_was_said_and_heard() {
    let mut pair = Pair::new(config(), Format::PCMU, script());
    pair.run(MS(100));
    pair.talk(CALLER);
    pair.quiet(MS(3_000));
    pair.command(cut(2_000, MediaTime::from_ms(4_000)));
    assert_eq!(pair.transcript(Role::Model).last(), Some(&"one two three four"));
    pair.redial();
    pair.run(MS(200));
    let items: Vec<_> = pair.double.ledger().items.iter().map(|i| (&*i.role, &*i.text)).collect();
    assert_eq!(
        items[..2],
        [("user", "What time do you close on Sundays?"), ("assistant", "one two three four")]
    );
    assert_eq!(items[2].0, "system");
    assert_eq!(items.len(), 3);
    assert!(pair.double.ledger().errors.is_empty());
    assert!(pair.double.ledger().responses.is_empty(), "nothing is owed");
    // And the numbers of utterances go on.
    ask(&mut pair);
    pair.run(MS(3_000));
    assert_eq!(pair.spoken(UtteranceId(1)), MediaTime::from_ms(4_000));
}

#[test]
fn what_the_caller_was_saying_is_heard_again() {
    let mut pair = Pair::new(config(), Format::PCMU, script());
    pair.run(MS(100));
    let half = 44 + (CALLER.len() - 44) / 640 * 320;
    pair.talk(&CALLER[..half]);
    let said = pair.played.clone();
    pair.redial();
    let again = pair.double.ledger().appended.clone();
    assert!(said.ends_with(&again) && again.len() > 8 * 900, "{} of {} bytes", again.len(), said.len());
    // The caller goes on; one whole turn is heard and answered.
    pair.talk(&[&CALLER[..44], &CALLER[half..]].concat());
    pair.quiet(MS(3_000));
    assert_eq!((pair.double.ledger().commits, pair.double.ledger().responses.len()), (1, 1));
}

#[test]
fn speech_of_the_old_connection_that_is_cut_later_is_told_again_shorter() {
    for (heard_ms, told) in [(2_000, vec!["one two three four"]), (0, vec![])] {
        let mut pair = Pair::new(config(), Format::PCMU, script());
        pair.run(MS(100));
        pair.talk(CALLER);
        pair.quiet(MS(3_000));
        pair.redial();
        pair.run(MS(200));
        pair.command(cut(heard_ms, MediaTime::from_ms(4_000)));
        pair.run(MS(200));
        let ledger = pair.double.ledger();
        let roles: Vec<_> = ledger.items.iter().map(|i| &*i.role).collect();
        let of_model: Vec<_> =
            ledger.items.iter().filter(|i| i.role == "assistant").map(|i| &*i.text).collect();
        assert_eq!(of_model, told);
        assert_eq!((roles[0], roles[roles.len() - 1]), ("user", "system"), "in its place");
        assert!(ledger.errors.is_empty(), "{:?}", ledger.errors);
        assert!(ledger.truncations.is_empty());
    }
}
