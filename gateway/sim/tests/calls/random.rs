//! Random schedules through the whole call: what must hold whatever happens.

use patchbay_core::Event;
use patchbay_sim::realtime::{Fault, Pace, Point, Trouble};
use proptest::prelude::*;

use super::*;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (100..2500_u64).prop_map(Step::Wait),
        3 => (200..1500_u64).prop_map(|ms| Step::Say(voice(ms))),
        3 => (0..2000_u64, 300..1200_u64).prop_map(|(after, ms)| Step::BargeIn {
            after_ms_of_model_speech: after, audio: voice(ms)
        }),
        1 => Just(Step::Dtmf('1')),
        1 => Just(Step::Send("{}".into())),
    ]
}

fn trouble() -> impl Strategy<Value = Option<Fault>> {
    let point = prop::sample::select(Point::ALL.to_vec());
    let code = prop::sample::select(vec![1000_u16, 1006, 1011]);
    prop::option::weighted(
        0.3,
        (point, 0..3_u32, code).prop_map(|(at, turn, code)| Fault {
            at,
            turn,
            dial: Some(0),
            trouble: Trouble::Close { code, reason: String::new() },
        }),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_ledger_holds_and_nothing_of_a_cut_utterance_is_heard(
        steps in prop::collection::vec(step(), 2..9),
        fault in trouble(),
        answers in prop::collection::vec(200..7000_u64, 1..4),
        delay in 1..160_u64,
        jitter in 0..80_u64,
        late in 0..4_u32,
        delta in prop::sample::select(vec![20_u64, 55, 137, 200, 400]),
        pcm in any::<bool>(),
    ) {
        let script = Script {
            faults: fault.into_iter().collect(),
            jitter_ms: jitter,
            late_deltas: late,
            pace: Pace { delta_ms: delta, every_ms: delta / 5 + 1 },
            records: false,
            ..provider(&answers)
        };
        let format = if pcm { Format::L16_24K } else { Format::PCMU };
        let setup =
            Setup { call: greeting(), script, streams: vec![steps], format, delay: ms(delay), ..Setup::default() };
        let mut world = World::new(setup);
        world.run(secs(25));
        for cut in cuts(&world) {
            prop_assert!(cut.heard <= cut.sent && cut.sent <= cut.received, "{cut:?}");
        }
        for (_, model) in &world.models {
            for truncation in &model.ledger().truncations {
                prop_assert!(truncation.accepted, "refused by the provider: {truncation:?}");
            }
        }
        let log = world.caller().log();
        prop_assert_eq!(&log.warnings.iter().filter(|w| **w == 31951).count(), &0, "Twilio found fault with us");
        prop_assert_eq!(log.invalid, 0);
        let lost = world.events.iter().any(|(_, _, e)| matches!(e, Event::LegDown(_)));
        prop_assert!(world.outcome.is_none() || lost);
        // Cut points agree with the listener's own play head: never more than it heard, and near it.
        let heard: Vec<_> = cuts(&world).iter().map(|c| c.heard).filter(|h| !h.is_zero()).collect();
        let clears: Vec<_> = log.clears.iter().map(|c| c.heard).collect();
        if heard.len() == clears.len() && world.models.len() == 1 {
            for (ours, theirs) in heard.iter().zip(&clears) {
                // The double counts whole samples.
                prop_assert!(*ours <= *theirs + MediaTime::from_samples(1, 8000), "claimed {ours:?}, heard {theirs:?}");
            }
        }
    }
}
