//! The provider goes away at every point of a turn, in every way: the call goes on.

use patchbay_sim::realtime::{Fault, Point, Trouble};

use super::*;

/// The codes after which another connection is worth a try (`reference/realtime.md` §5.8; a 1000 that we did not ask for
/// is a loss too).
const CODES: [u16; 8] = [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014];

fn conversation() -> Vec<Step> {
    vec![
        Step::WaitForAudio { at_most_ms: 12_000 },
        Step::WaitForSilence { ms: 900, at_most_ms: 15_000 },
        Step::Say(voice(1200)),
        Step::WaitForAudio { at_most_ms: 12_000 },
        Step::WaitForSilence { ms: 2500, at_most_ms: 15_000 },
        Step::Say(voice(1200)),
        Step::WaitForAudio { at_most_ms: 12_000 },
        Step::WaitForSilence { ms: 1500, at_most_ms: 15_000 },
        Step::HangUp,
    ]
}

#[test]
fn a_close_at_twelve_points_of_a_turn_with_eight_codes_never_ends_the_call() {
    for point in Point::ALL {
        for code in CODES {
            let mut script = provider(&[2000, 1500, 1500, 1500, 1500]);
            let turn = u32::from(point > Point::SessionUpdated);
            let trouble = Trouble::Close { code, reason: String::new() };
            script.faults = vec![Fault { at: point, turn, dial: Some(0), trouble }];
            let mut world = call(script, conversation());
            world.run(secs(90));
            let case = format!("{point:?}, code {code}");
            let outcome = &world.outcome.as_ref().unwrap_or_else(|| panic!("{case}: the call did not end")).1;
            assert_eq!(outcome.reason, patchbay_core::EndReason::CallerHungUp, "{case}: {outcome:?}");
            assert_eq!(world.dials, 2, "{case}");
            let log = world.caller().log();
            assert!(log.missed.is_empty(), "{case}: the caller always got an answer");
            assert!(!apologised(&world), "{case}: no apology was needed");
            let silence = longest_silence_owed(&world);
            assert!(silence <= 1300, "{case}: {silence} ms of dead air");
        }
    }
}

/// The longest time, in milliseconds, from a turn's end (or the beginning) to anything audible.
fn longest_silence_owed(world: &World) -> u64 {
    let log = world.caller().log();
    let ends = log.said.iter().map(|said| said.to.as_ms());
    let next =
        |end: u64| log.media.iter().filter_map(|m| m.from).map(MediaTime::as_ms).find(|from| *from >= end);
    // The model's detector takes 500 ms to see that the turn has ended, and the network its way.
    ends.filter_map(|end| next(end).map(|from| (from - end).saturating_sub(700))).max().unwrap_or(0)
}

#[test]
fn what_was_said_before_the_loss_is_told_to_the_new_connection() {
    let mut script = provider(&[1500, 1500, 1500]);
    script.transcripts = vec!["I would like two tickets".into()];
    let trouble = Trouble::Close { code: 1006, reason: String::new() };
    script.faults = vec![Fault { at: Point::Idle, turn: 2, dial: Some(0), trouble }];
    let steps = vec![
        Step::WaitForAudio { at_most_ms: 5000 },
        Step::WaitForSilence { ms: 900, at_most_ms: 15_000 },
        Step::Say(voice(1200)),
        Step::WaitForAudio { at_most_ms: 5000 },
        Step::WaitForSilence { ms: 900, at_most_ms: 15_000 },
        Step::Wait(8000),
    ];
    let mut world = call(script, steps);
    world.run(secs(20));
    assert_eq!(world.models.len(), 2);
    let items = &world.model().ledger().items;
    assert!(items.iter().any(|i| i.role == "user" && i.text.contains("two tickets")), "{items:?}");
    assert!(items.iter().any(|i| i.role == "assistant" && i.text.contains("one two")), "{items:?}");
    assert!(items.iter().any(|i| i.role == "system"), "and that it is a renewal");
}

#[test]
fn speech_during_the_loss_reaches_the_new_connection() {
    let mut script = provider(&[600, 1500]);
    let trouble = Trouble::Close { code: 1011, reason: String::new() };
    script.faults = vec![Fault { at: Point::SpeechStarted, turn: 1, dial: Some(0), trouble }];
    let steps = vec![
        Step::WaitForAudio { at_most_ms: 5000 },
        Step::WaitForSilence { ms: 500, at_most_ms: 15_000 },
        Step::Say(voice(3000)),
        Step::WaitForAudio { at_most_ms: 8000 },
        Step::Wait(3000),
    ];
    let mut world = call(script, steps);
    world.run(secs(14));
    assert_eq!(world.models.len(), 2);
    let loud = world.model().ledger().appended.iter().filter(|b| !matches!(**b, 0xFF | 0x7F)).count();
    assert!(loud >= 8 * 2700, "of 3 s that were said, the new connection got {} ms", loud / 8);
}

#[test]
fn a_stalled_provider_does_not_leave_the_caller_in_silence() {
    for point in [Point::SpeechStopped, Point::Committed, Point::ResponseCreated, Point::MidDeltas] {
        let mut script = provider(&[600, 4000, 1000]);
        script.faults =
            vec![Fault { at: point, turn: 1, dial: Some(0), trouble: Trouble::Stall { ms: None } }];
        let steps = vec![
            Step::WaitForAudio { at_most_ms: 5000 },
            Step::WaitForSilence { ms: 500, at_most_ms: 15_000 },
            Step::Say(voice(1000)),
            Step::Wait(30_000),
        ];
        let mut world = call(script, steps);
        world.run(secs(40));
        let prompted = world.facts.iter().any(|(_, f)| matches!(f, Fact::Prompted(_)));
        assert!(prompted, "{point:?}: a filler was heard");
        let silence = longest_silence_owed(&world);
        assert!(silence <= 1300, "{point:?}: {silence} ms");
        let resumed = world.models.len() > 1 || world.outcome.is_some();
        assert!(resumed, "{point:?}: it is dialled again, or the call ends with an apology");
    }
}
