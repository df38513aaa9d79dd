//! What a call costs, and what happens when the money is spent.

use patchbay_core::{EndReason, Event, Input, PromptKind, Usage};
use patchbay_sim::realtime::{Fault, Point, Trouble};

use super::*;

fn usage(world: &World) -> Vec<&Usage> {
    let usage = world.events.iter().filter_map(|(_, _, event)| match event {
        Event::UsageReported(usage) => Some(usage),
        _ => None,
    });
    usage.collect()
}

/// Whether the caller heard that the budget is used up: a run of one byte that no speech has.
fn told(world: &World) -> bool {
    world.caller().heard().windows(800).any(|run| run.iter().all(|byte| *byte == 0xC0))
}

#[test]
fn a_caller_whose_budget_is_used_up_is_told_so_after_the_answer_and_the_call_ends() {
    let mut world = call(provider(&[3000]), vec![]);
    assert!(world.run_until_true(secs(5), |world| !usage(world).is_empty()));
    world.feed(Input::End { reason: EndReason::Spend });
    world.run(secs(10));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::Spend);
    assert!(told(&world) && !apologised(&world));
    assert!(world.caller().heard().len() >= (3000 + 1500) * 8, "what was paid for is heard to its end");
    assert!(world.model().is_over());
}

#[test]
fn a_caller_who_comes_after_the_budget_is_used_up_is_told_so() {
    let mut world = call(provider(&[3000]), vec![]);
    world.feed(Input::End { reason: EndReason::Spend });
    world.run(secs(10));
    assert!(told(&world));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::Spend);
}

#[test]
fn a_word_about_the_budget_does_not_end_the_call() {
    let steps = vec![Step::Wait(6000), Step::Say(voice(1000)), Step::Wait(6000), Step::HangUp];
    let mut world = call(provider(&[2000, 1000]), steps);
    assert!(world.run_until_true(secs(5), |world| !usage(world).is_empty()));
    world.feed(Input::Say { prompt: PromptKind::Budget });
    world.run(secs(30));
    assert!(told(&world));
    assert_eq!(world.outcome.as_ref().unwrap().1.reason, EndReason::CallerHungUp);
    assert_eq!(world.model().ledger().responses.len(), 2, "the model answered after that");
}

#[test]
fn every_account_names_its_connection_and_its_answer() {
    let mut world = call(provider(&[500]), vec![]);
    world.run(secs(5));
    let usage = usage(&world);
    assert_eq!((&*usage[0].connection, &*usage[0].kind), ("sess_double_0", "response"));
    assert_eq!(*usage[0].key, *world.model().ledger().responses[0].id);
    assert!(!usage[0].estimated);
}

/// One estimate, of the answer that the first connection owed an account of.
fn assert_estimated(world: &World) {
    let usage = usage(world);
    let estimates: Vec<_> = usage.iter().filter(|usage| usage.estimated).collect();
    let response = world.models[0].1.ledger().responses.last().expect("the model answered");
    assert_eq!(estimates.len(), 1, "{usage:?}");
    assert_eq!(*estimates[0].key, *response.id);
    assert_eq!(&*estimates[0].connection, "sess_double_0");
    assert!(estimates[0].tokens.audio_out > 0, "{estimates:?}");
    assert!(
        estimates[0].tokens.audio_out <= response.sent.as_ms() / 50 + 1,
        "{estimates:?}, sent {:?}",
        response.sent
    );
}

#[test]
fn an_answer_that_we_hang_up_on_before_its_account_is_estimated_once() {
    let mut world = call(provider(&[20_000]), vec![Step::Wait(900), Step::HangUp]);
    world.run(secs(5));
    assert_estimated(&world);
}

#[test]
fn an_answer_whose_connection_is_lost_before_its_account_is_estimated_once() {
    let steps = vec![
        Step::WaitForAudio { at_most_ms: 12_000 },
        Step::WaitForSilence { ms: 900, at_most_ms: 15_000 },
        Step::Say(voice(1200)),
        Step::Wait(20_000),
        Step::HangUp,
    ];
    let mut script = provider(&[2000, 3000]);
    let trouble = Trouble::Close { code: 1011, reason: String::new() };
    script.faults = vec![Fault { at: Point::MidDeltas, turn: 1, dial: Some(0), trouble }];
    let mut world = call(script, steps);
    world.run(secs(40));
    assert_eq!(world.dials, 2, "the call went on");
    assert_estimated(&world);
}
