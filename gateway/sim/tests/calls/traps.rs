//! DESIGN §6, row by row.

use patchbay_core::{
    BargeIn, CallConfig, Command, EndReason, Event, Fact, Fault, Format, Hook, Input, LegId, Verdict,
};
use patchbay_sim::realtime::{Fault as Planned, Point};
use patchbay_sim::realtime::{Refused, Trouble};

use super::*;

#[test]
fn an_interruption_truncates_at_what_was_heard_not_at_what_was_sent() {
    for delay in [5, 40, 150] {
        let steps =
            vec![Step::BargeIn { after_ms_of_model_speech: 1500, audio: voice(900) }, Step::Wait(4000)];
        let setup = Setup {
            call: greeting(),
            script: provider(&[8000, 1000]),
            streams: vec![steps],
            delay: ms(delay),
            ..Setup::default()
        };
        let mut world = World::new(setup);
        world.run(secs(10));
        let clear = &world.caller().log().clears[0];
        let ledger = world.model().ledger();
        let truncation = &ledger.truncations[0];
        assert!(truncation.accepted, "never beyond what the provider sent: {truncation:?}");
        let heard = MediaTime::from_ms(truncation.audio_end_ms);
        // The clear needs one way to arrive, and the caller hears that much more.
        assert!(apart(heard + MediaTime::from_ms(delay), clear.heard) <= 60 + delay, "{heard:?} {clear:?}");
        assert!(heard <= clear.heard, "never more than the caller heard");
        assert!(truncation.sent.as_ms() > truncation.audio_end_ms + 2000, "the model had sent far more");
    }
}

#[test]
fn the_caller_is_silenced_before_the_model_is_told() {
    let steps = vec![Step::BargeIn { after_ms_of_model_speech: 600, audio: voice(900) }, Step::Wait(3000)];
    let setup = Setup {
        call: greeting(),
        script: provider(&[8000, 500]),
        streams: vec![steps],
        records: true,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(6));
    let texts: Vec<String> = world
        .recording
        .iter()
        .filter_map(|line| match line {
            patchbay_core::Recorded::Out {
                output: patchbay_core::Output::Wire { wire: patchbay_core::Wire::Text(text), .. },
            } => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        })
        .collect();
    let at = |word: &str| texts.iter().position(|t| t.contains(word)).unwrap_or_else(|| panic!("no {word}"));
    assert!(at(r#""clear""#) < at("conversation.item.truncate"));
}

#[test]
fn marks_echoed_because_of_a_clear_are_not_heard() {
    let steps = vec![
        Step::BargeIn { after_ms_of_model_speech: 500, audio: voice(700) },
        Step::BargeIn { after_ms_of_model_speech: 500, audio: voice(700) },
        Step::Wait(3000),
    ];
    let mut world = call(provider(&[6000, 6000, 500]), steps);
    world.run(secs(12));
    let log = world.caller().log();
    assert!(
        log.marks.iter().any(|echo| echo.because_of_clear),
        "the double echoes on a clear, as Twilio does"
    );
    let cuts = cuts(&world);
    assert_eq!(cuts.len(), 2);
    for (cut, clear) in cuts.iter().zip(&log.clears) {
        assert!(cut.heard <= clear.heard && apart(cut.heard, clear.heard) <= 80, "{cut:?} {clear:?}");
    }
}

#[test]
fn what_was_never_heard_is_deleted_not_truncated() {
    // Two items in one answer; the caller interrupts within the first.
    let mut script = provider(&[500]);
    script.turns = vec![
        Turn::Say(vec![Say::buzz("first", 3000), Say::buzz("second", 3000)]),
        Turn::Say(vec![Say::buzz("next", 500)]),
    ];
    let steps = vec![Step::BargeIn { after_ms_of_model_speech: 1000, audio: voice(700) }, Step::Wait(3000)];
    let mut world = call(script, steps);
    world.run(secs(8));
    let ledger = world.model().ledger();
    assert_eq!(ledger.truncations.len(), 1, "the item that was heard in part");
    assert_eq!(ledger.deletions.len(), 1, "the item that was not heard at all");
    assert!(ledger.errors.iter().all(|code| code == "response_cancel_not_active"), "{:?}", ledger.errors);
}

#[test]
fn nothing_is_cancelled_when_nothing_is_active() {
    let steps = vec![
        Step::WaitForAudio { at_most_ms: 3000 },
        Step::WaitForSilence { ms: 800, at_most_ms: 9000 },
        Step::Say(voice(800)),
        Step::Wait(4000),
    ];
    let mut world = call(provider(&[1000, 1000]), steps);
    world.run(secs(10));
    let ledger = world.model().ledger();
    assert_eq!((ledger.cancels, ledger.truncations.len(), ledger.deletions.len()), (0, 0, 0));
    assert_eq!(world.caller().log().clears, []);
}

#[test]
fn late_deltas_of_a_cancelled_response_are_not_played() {
    let mut script = provider(&[9000, 400]);
    script.late_deltas = 5;
    let steps = vec![Step::BargeIn { after_ms_of_model_speech: 400, audio: voice(2500) }, Step::Wait(500)];
    let mut world = call(script, steps);
    world.run(secs(4));
    let clear_at = world.caller().log().clears[0].at;
    let after = world.caller().log().media.iter().filter(|m| m.arrived > clear_at).count();
    assert_eq!(after, 0, "while the caller speaks, nothing of the old answer arrives");
}

#[test]
fn a_mutant_that_would_play_late_deltas_is_seen_by_this_double() {
    // Guards the test above: the double really sends deltas after the cancel.
    let mut script = provider(&[9000, 400]);
    script.late_deltas = 5;
    let steps = vec![Step::BargeIn { after_ms_of_model_speech: 400, audio: voice(2500) }, Step::Wait(500)];
    let mut world = call(script, steps);
    world.run(secs(4));
    let late =
        world.events.iter().any(|(_, _, e)| matches!(e, Event::MessageDropped { reason: "late_delta" }));
    assert!(late, "late deltas came, and were dropped");
}

#[test]
fn both_legs_are_opened_at_the_start_so_that_the_stream_finds_the_model_ready() {
    let mut world = World::new(Setup {
        call: greeting(),
        script: provider(&[1000]),
        answer_after: secs(1),
        streams: vec![vec![Step::Wait(3000)]],
        ..Setup::default()
    });
    world.run(ms(900));
    assert!(world.callers.is_empty() && world.models.len() == 1);
    assert!(world.events.iter().any(|(_, leg, e)| *leg == LegId(1) && *e == Event::LegUp));
    world.run(secs(3));
    let first = world.caller().log().first_audio.unwrap();
    assert!(first.as_ms() < 600, "the greeting does not wait for a dial: {first:?}");
}

#[test]
fn a_stalled_model_drops_its_oldest_audio_and_the_caller_is_still_read() {
    let mut world = call(provider(&[500]), vec![Step::Say(voice(5000)), Step::Wait(2000)]);
    world.run(secs(2));
    let model = world.models[0].0;
    world.feed(Input::Stalled { leg: model, stalled: true });
    world.run(ms(100)); // what was on its way arrives
    let before = world.model().ledger().appends;
    world.run(secs(2));
    assert_eq!(world.model().ledger().appends, before);
    let dropped = world.facts.iter().any(|(_, f)| matches!(f, Fact::AudioDropped { .. }));
    assert!(dropped, "and it is counted");
    world.feed(Input::Stalled { leg: model, stalled: false });
    world.run(ms(100));
    let burst = world.model().ledger().appends - before;
    assert!((10..=16).contains(&burst), "the newest 200 ms were kept, and the present flows: {burst}");
}

#[test]
fn a_quota_that_is_gone_is_told_once_and_not_dialled_for_ever() {
    let mut script = provider(&[500]);
    script.turns = vec![Turn::Fail("insufficient_quota".into())];
    let mut world = call(script, vec![Step::Wait(20_000)]);
    world.run(secs(20));
    assert_eq!(world.dials, 1);
    let (at, outcome) = world.outcome.clone().expect("the call ends");
    assert_eq!((outcome.reason, outcome.fault), (EndReason::CalleeLost, Some(Fault::TenantConfig)));
    assert!(at.as_micros() < 6_000_000, "no dead air: {at:?}");
    assert!(apologised(&world));
}

#[test]
fn connections_that_never_speak_spend_the_budget_even_though_they_connect() {
    // The socket opens and dies, again and again: a connect is not a success.
    let mut script = provider(&[500]);
    script.faults = vec![Planned {
        at: Point::SessionUpdated,
        turn: 0,
        dial: None,
        trouble: Trouble::Close { code: 1011, reason: String::new() },
    }];
    let mut world = call(script, vec![Step::Wait(30_000)]);
    world.run(secs(30));
    assert!(world.dials <= 4, "{} dials", world.dials);
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::CalleeLost);
}

#[test]
fn a_refused_key_ends_in_an_apology_without_another_dial() {
    for status in [401, 403, 404] {
        let mut script = provider(&[500]);
        script.refusals = vec![Refused { status, retry_after_s: None }; 9];
        let mut world = call(script, vec![Step::Wait(10_000)]);
        world.run(secs(10));
        assert_eq!(world.dials, 1, "{status}");
        assert!(apologised(&world), "{status}: the caller hears why");
    }
}

#[test]
fn a_busy_provider_is_dialled_again_when_it_says() {
    for (status, retry_after_s) in [(429, Some(1)), (500, None), (503, None)] {
        let mut script = provider(&[1000]);
        script.refusals = vec![Refused { status, retry_after_s }];
        let mut world = call(script, vec![Step::Wait(6000)]);
        world.run(secs(6));
        assert_eq!(world.dials, 2, "{status}");
        assert!(world.outcome.is_none() || world.caller().log().first_audio.is_some(), "{status}");
        assert!(
            world.facts.iter().any(|(_, f)| matches!(f, Fact::Answered { .. })),
            "{status}: the greeting came"
        );
    }
}

#[test]
fn transcoding_does_not_move_the_point_of_truncation() {
    let steps = vec![Step::BargeIn { after_ms_of_model_speech: 1200, audio: voice(900) }, Step::Wait(3000)];
    let setup = Setup {
        call: greeting(),
        script: provider(&[8000, 500]),
        streams: vec![steps],
        format: Format::L16_24K,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(8));
    let clear = &world.caller().log().clears[0];
    let truncation = &world.model().ledger().truncations[0];
    assert!(truncation.accepted);
    assert!(truncation.audio_end_ms.abs_diff(clear.heard.as_ms()) <= 60, "{truncation:?} {clear:?}");
}

#[test]
fn a_key_interrupts_where_speech_may_not() {
    let config = CallConfig { barge_in: BargeIn::Dtmf, ..greeting() };
    let steps =
        vec![Step::WaitForAudio { at_most_ms: 3000 }, Step::Wait(500), Step::Dtmf('5'), Step::Wait(1000)];
    let setup = Setup { call: config, script: provider(&[8000]), streams: vec![steps], ..Setup::default() };
    let mut world = World::new(setup);
    world.run(secs(4));
    assert_eq!(world.caller().log().clears.len(), 1);
    assert!(world.events.iter().any(|(_, _, e)| *e == Event::DtmfReceived('5')));
}

#[test]
fn holes_in_the_callers_stream_become_silence_so_that_the_turn_ends() {
    let stream = patchbay_sim::twilio::Config {
        silence: patchbay_sim::twilio::Silence::Holes,
        ..patchbay_sim::twilio::Config::default()
    };
    let steps = vec![
        Step::WaitForAudio { at_most_ms: 3000 },
        Step::WaitForSilence { ms: 300, at_most_ms: 5000 },
        Step::Say(voice(1000)),
        Step::Wait(4000),
    ];
    let setup = Setup {
        call: greeting(),
        script: provider(&[500, 700]),
        streams: vec![steps],
        stream,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(9));
    assert_eq!(world.model().ledger().responses.len(), 2, "the greeting and the answer");
}

/// Legal text may not be interrupted.
struct Firm;

impl Hook for Firm {
    fn on_event(&mut self, _: LegId, event: &Event, _: &mut Vec<(LegId, Command)>) -> Verdict {
        if *event == Event::SpeechStarted { Verdict::Suppress } else { Verdict::Pass }
    }
}

#[test]
fn a_hook_may_suppress_an_interruption() {
    let steps = vec![Step::BargeIn { after_ms_of_model_speech: 500, audio: voice(600) }, Step::Wait(1000)];
    let mut model = serde_json::json!({ "model": "gpt-realtime-2.1" });
    model["turn_detection"] =
        serde_json::json!({ "type": "server_vad", "interrupt_response": false, "create_response": false });
    let setup = Setup {
        call: greeting(),
        model,
        script: provider(&[4000]),
        streams: vec![steps],
        hook: Some(|| Box::new(Firm)),
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(4));
    assert!(world.events.iter().any(|(_, _, e)| *e == Event::SpeechStarted), "the caller was noticed");
    assert!(world.caller().log().clears.is_empty() && cuts(&world).is_empty());
}

#[test]
fn a_short_hole_reaches_the_model_at_its_full_length() {
    let stream = patchbay_sim::twilio::Config {
        silence: patchbay_sim::twilio::Silence::Holes,
        ..patchbay_sim::twilio::Config::default()
    };
    let steps = vec![
        Step::WaitForAudio { at_most_ms: 3000 },
        Step::WaitForSilence { ms: 300, at_most_ms: 5000 },
        Step::Say(voice(500)),
        Step::Wait(280),
        Step::Say(voice(500)),
        Step::Wait(4000),
    ];
    let setup = Setup {
        call: greeting(),
        script: provider(&[500, 700]),
        streams: vec![steps],
        stream,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(9));
    let dropped = world.facts.iter().find(|(_, fact)| matches!(fact, Fact::AudioDropped { .. }));
    assert_eq!(dropped, None);
}

#[test]
fn an_answer_at_the_pace_of_speech_begins_once() {
    let mut script = provider(&[3000]);
    script.pace = patchbay_sim::realtime::Pace::REAL_TIME;
    let mut world = call(script, vec![Step::Wait(4000)]);
    world.run(secs(4));
    let answered = world.facts.iter().filter(|(_, f)| matches!(f, Fact::Answered { .. })).count();
    assert_eq!(answered, 1);
    assert!(!world.facts.iter().any(|(_, f)| matches!(f, Fact::Prompted(_))));
}
