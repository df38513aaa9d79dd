//! What a call tells its recording, and what it tells the caller about it.

use patchbay_core::{Tap, replay};

use super::*;

/// The announcement of these worlds: a second of one byte that no speech has a run of.
const ANNOUNCEMENT: [u8; 8_000] = [0xB0; 8_000];

fn recorded(announces: bool) -> CallConfig {
    CallConfig { records: true, announces, ..greeting() }
}

/// Milliseconds of stream time at which the announcement was heard whole.
fn announcements(heard: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + ANNOUNCEMENT.len() <= heard.len() {
        if heard[at..].starts_with(&ANNOUNCEMENT) {
            found.push(at / 8);
            at += ANNOUNCEMENT.len();
        }
        at += 1;
    }
    found
}

#[test]
fn a_call_that_is_not_recorded_tells_nothing_of_its_sound() {
    let mut world = call(provider(&[2000]), vec![Step::Say(voice(1000))]);
    world.run(secs(8));
    assert!(world.caller().log().played_bytes > 0);
    assert_eq!(world.taps, []);
}

#[test]
fn the_announcement_is_heard_whole_and_first_even_if_the_caller_speaks() {
    let steps = vec![Step::Wait(300), Step::Say(voice(900)), Step::Wait(4000), Step::HangUp];
    let setup =
        Setup { call: recorded(true), script: provider(&[2000]), streams: vec![steps], ..Setup::default() };
    let mut world = World::new(setup);
    world.run(secs(12));
    let heard = world.caller().heard();
    let announced = announcements(heard);
    assert_eq!(announced.len(), 1, "{announced:?}");
    let first = heard.iter().position(|byte| *byte != 0xFF).unwrap();
    assert_eq!(heard[first], 0xB0, "something else was heard before it");
    assert!(heard[first + ANNOUNCEMENT.len()..].iter().any(|byte| *byte != 0xFF), "an answer follows");
}

#[test]
fn a_caller_whose_line_breaks_during_the_announcement_hears_it_whole_when_they_return() {
    let streams = vec![vec![Step::Wait(500), Step::Reset], vec![Step::Wait(6000), Step::HangUp]];
    let setup = Setup { call: recorded(true), script: provider(&[2000]), streams, ..Setup::default() };
    let mut world = World::new(setup);
    world.run(secs(12));
    let (first, second) = (&world.callers[0].1, &world.callers[1].1);
    assert_eq!(announcements(first.heard()).len(), 0, "the line broke too late for this test");
    assert_eq!(announcements(second.heard()).len(), 1);
}

#[test]
fn a_call_that_is_recorded_replays_bit_for_bit() {
    let steps = vec![Step::BargeIn { after_ms_of_model_speech: 1_700, audio: voice(900) }, Step::Wait(3000)];
    let setup = || Setup {
        call: recorded(true),
        script: provider(&[3000, 1000]),
        streams: vec![steps.clone()],
        records: true,
        ..Setup::default()
    };
    let mut world = World::new(setup());
    world.run(secs(12));
    assert!(world.taps.iter().any(|tap| matches!(tap, Tap::Cut { .. })), "nothing was cut");
    assert_eq!(replay(&mut setup().build(), world.recording, 1), Ok(()));
}
