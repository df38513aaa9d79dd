//! How calls end.

use patchbay_core::{EndReason, Fault as Blame, Input, Limits};

use super::*;

#[test]
fn the_caller_hangs_up_and_the_provider_is_released_at_once() {
    let mut world = call(provider(&[5000]), vec![Step::Wait(2000), Step::HangUp]);
    world.run(secs(4));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::CallerHungUp);
    assert!(world.model().is_over(), "no provider second is paid after the call");
}

#[test]
fn a_stream_that_never_comes_ends_the_call_after_a_minute() {
    let setup = Setup { script: provider(&[500]), answer_after: secs(3600), ..Setup::default() };
    let mut world = World::new(setup);
    world.run(secs(61));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::CallerLost);
    assert!(world.model().is_over());
}

#[test]
fn a_broken_stream_may_come_back_and_the_conversation_goes_on() {
    let first = vec![Step::WaitForAudio { at_most_ms: 3000 }, Step::Wait(500), Step::Reset];
    let second = vec![Step::WaitForAudio { at_most_ms: 4000 }, Step::Wait(2000), Step::HangUp];
    let setup = Setup {
        call: greeting(),
        script: provider(&[6000, 1000]),
        streams: vec![first, second],
        answer_after: secs(2),
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(20));
    assert_eq!(world.callers.len(), 2);
    assert_eq!(world.models.len(), 1, "the provider was kept");
    assert!(world.caller().log().missed.is_empty(), "the caller heard that it goes on");
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::CallerHungUp);
    assert!(cuts(&world)[0].heard.as_ms() < 1000, "what nobody heard was cut");
}

#[test]
fn a_stream_that_does_not_come_back_ends_the_call_after_thirty_seconds() {
    let limits = Limits { detached_max: secs(30), ..Limits::default() };
    let setup = Setup {
        call: patchbay_core::CallConfig { limits, ..greeting() },
        script: provider(&[1000]),
        streams: vec![vec![Step::Wait(1000), Step::Reset]],
        answer_after: secs(1),
        ..Setup::default()
    };
    let mut world = World::new(setup);
    world.run(secs(3));
    assert!(world.outcome.is_none());
    // The second stream comes after a second, and does nothing; it is the third that never comes.
    world.run(secs(2));
    assert_eq!(world.callers.len(), 2);
}

#[test]
fn too_much_nonsense_from_the_caller_ends_the_call_with_whose_fault_it_was() {
    let mut steps = vec![Step::Wait(500)];
    steps.extend((0..400).map(|n| Step::Send(format!("{{nonsense {n}"))));
    steps.push(Step::Wait(2000));
    let mut world = call(provider(&[500]), steps);
    world.run(secs(30));
    let outcome = &world.outcome.as_ref().expect("a bound was passed").1;
    assert_eq!((outcome.reason, outcome.fault), (EndReason::Misbehaved, Some(Blame::PeerMisbehaved)));
}

#[test]
fn a_little_nonsense_does_not_end_a_call_that_could_go_on() {
    let mut steps: Vec<Step> = (0..50).map(|n| Step::Send(format!("{{nonsense {n}"))).collect();
    steps.extend([Step::WaitForAudio { at_most_ms: 3000 }, Step::Wait(1500), Step::HangUp]);
    let mut world = call(provider(&[1000]), steps);
    world.run(secs(10));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::CallerHungUp);
    assert!(world.caller().log().missed.is_empty());
}

#[test]
fn an_operator_may_end_it() {
    let mut world = call(provider(&[5000]), vec![Step::Wait(60_000)]);
    world.run(secs(2));
    world.feed(Input::End { reason: EndReason::Requested });
    world.run(secs(1));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::Requested);
    assert!(world.caller().is_over() && world.model().is_over());
}

#[test]
fn a_shutdown_leaves_in_a_quiet_moment_and_a_second_one_does_not_wait() {
    let begin = || {
        let mut world = call(provider(&[3000]), vec![Step::Wait(60_000)]);
        world.run(secs(2));
        world.feed(Input::End { reason: EndReason::Shutdown });
        world
    };
    let mut patient = begin();
    patient.run(secs(6));
    let (at, outcome) = patient.outcome.clone().expect("it left");
    assert_eq!(outcome.reason, EndReason::Shutdown);
    assert!(at.as_micros() > 4_300_000, "the greeting was heard to its end: {at:?}");
    assert!(cuts(&patient).is_empty());
    let mut forced = begin();
    forced.feed(Input::End { reason: EndReason::Shutdown });
    assert!(forced.outcome.is_some());
}
