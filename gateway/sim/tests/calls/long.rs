//! An hour in a second.

use patchbay_core::{EndReason, Limits};
use patchbay_sim::realtime::{Fault, Point, Trouble};

use super::*;

fn chatty(minutes: u64) -> Vec<Step> {
    let turn = || {
        [
            Step::WaitForAudio { at_most_ms: 8000 },
            Step::WaitForSilence { ms: 1500, at_most_ms: 20_000 },
            Step::Wait(40_000),
            Step::Say(voice(900)),
        ]
    };
    (0..minutes).flat_map(|_| turn()).chain([Step::Wait(3000), Step::HangUp]).collect()
}

#[test]
fn the_connection_is_renewed_at_fifty_minutes_in_a_quiet_moment() {
    let mut script = provider(&[2000]);
    script.session_cap_ms = Some(60 * 60 * 1000);
    let mut world = call(script, chatty(120));
    world.run(secs(75 * 60));
    let rotated = world.facts.iter().filter(|(_, f)| *f == Fact::Rotated).count();
    assert_eq!(rotated, 1);
    let redialled = world.facts.iter().filter(|(_, f)| matches!(f, Fact::Redialled { .. })).count();
    assert_eq!(redialled, 0, "the cap was never met");
    assert!(world.caller().log().missed.is_empty());
    assert!(world.models[0].1.is_over() && !world.model().is_over());
    assert!(!world.model().ledger().items.is_empty(), "the history went along");
}

#[test]
fn a_session_that_expires_without_warning_is_renewed() {
    let mut script = provider(&[2000]);
    script.session_cap_ms = Some(90_000);
    let mut world = call(script, chatty(4));
    world.run(secs(5 * 60));
    assert!(world.models.len() >= 2);
    assert!(world.caller().log().missed.is_empty());
    assert_ne!(world.outcome.as_ref().map(|(_, o)| o.reason), Some(EndReason::CalleeLost));
}

#[test]
fn a_renewal_that_fails_is_tried_again_and_nobody_notices() {
    let mut script = provider(&[2000]);
    let trouble = Trouble::Close { code: 1011, reason: String::new() };
    script.faults = vec![Fault { at: Point::SessionCreated, turn: 0, dial: Some(1), trouble }];
    let limits = Limits { rotate_after: secs(60), rotate_by: secs(120), ..Limits::default() };
    let config = patchbay_core::CallConfig { limits, ..greeting() };
    let setup = Setup { call: config, script, streams: vec![vec![Step::Wait(200_000)]], ..Setup::default() };
    let mut world = World::new(setup);
    world.run(secs(110));
    assert_eq!(world.facts.iter().filter(|(_, f)| *f == Fact::Rotated).count(), 1);
    assert_eq!(world.dials, 3, "the first, the failed renewal, the renewal");
}

#[test]
fn the_longest_call_has_an_end() {
    let limits = Limits { call_max: secs(60), ..Limits::default() };
    let config = patchbay_core::CallConfig { limits, ..greeting() };
    let setup = Setup {
        call: config,
        script: provider(&[500]),
        streams: vec![vec![Step::Wait(200_000)]],
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(70));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::Limit);
}
