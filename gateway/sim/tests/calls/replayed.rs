//! A call is deterministic: a recording replays to the same outputs, and a change is found.

use patchbay_core::{Recorded, replay};

use super::*;

fn recorded() -> (Setup, Vec<Recorded>) {
    let setup = || Setup {
        call: greeting(),
        script: provider(&[3000, 1000]),
        streams: vec![vec![
            Step::BargeIn { after_ms_of_model_speech: 700, audio: voice(900) },
            Step::Wait(2000),
            Step::HangUp,
        ]],
        records: true,
        ..Setup::default()
    };
    let mut world = World::new(setup());
    world.run(secs(10));
    assert!(world.outcome.is_some() && cuts(&world).len() == 1);
    (setup(), world.recording)
}

#[test]
fn a_recording_replays_bit_for_bit_also_through_json() {
    let (setup, recording) = recorded();
    let lines: Vec<String> = recording.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    let back: Vec<Recorded> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(back, recording);
    assert_eq!(replay(&mut setup.build(), back, 1), Ok(()));
}

#[test]
fn the_first_differing_output_is_named() {
    let (mut setup, recording) = recorded();
    setup.call.greeting = Some("Say something else.".into());
    let difference = replay(&mut setup.build(), recording, 2).unwrap_err();
    assert!(difference.line > 2);
    assert_ne!(difference.recorded, difference.replayed);
}
