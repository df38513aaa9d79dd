//! Calls in virtual time: the real call and the real legs between a Twilio double and an OpenAI double.
//!
//! The tests of `traps` are the rows of DESIGN §6: where this field goes wrong, and what must happen here.

mod closes;
mod endings;
mod long;
mod money;
mod random;
mod recorded;
mod replayed;
mod traps;

use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{CallConfig, Fact, Format, MediaTime};
use patchbay_sim::realtime::{Detector, Say, Script, Turn};
use patchbay_sim::twilio::Step;
use patchbay_sim::world::{Setup, World};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A loud voice-like buzz of that length, as the telephone sends it.
fn voice(ms: u64) -> Bytes {
    let samples = (0..ms * 8).map(|n| {
        let phase = (n % 64) as i16;
        ((phase - 32) * 400).to_le_bytes()
    });
    let pcm: Vec<u8> = samples.flatten().collect();
    let mut ulaw = Vec::new();
    let mut codec = patchbay_codec::transcoder(Format::L16_8K, Format::PCMU).expect("a pair that exists");
    codec.push(&pcm, &mut ulaw).expect("PCM16 is never refused");
    codec.finish(&mut ulaw);
    ulaw.into()
}

/// A provider that greets and answers with `turns`, each so many milliseconds long.
fn provider(turns: &[u64]) -> Script {
    let turns =
        turns.iter().map(|ms| Turn::Say(vec![Say::buzz("one two three four five six seven eight", *ms)]));
    Script { turns: turns.collect(), detector: Detector::Level, ..Script::default() }
}

fn greeting() -> CallConfig {
    CallConfig { greets: true, ..CallConfig::default() }
}

/// A call that greets, with one stream on which the caller does `steps`.
fn call(script: Script, steps: Vec<Step>) -> World {
    World::new(Setup { call: greeting(), script, streams: vec![steps], ..Setup::default() })
}

fn cuts(world: &World) -> Vec<patchbay_core::Cut> {
    let cut = |fact: &Fact| if let Fact::Cut(cut) = fact { Some(*cut) } else { None };
    world.facts.iter().filter_map(|(_, fact)| cut(fact)).collect()
}

fn apart(a: MediaTime, b: MediaTime) -> u64 {
    a.as_ms().abs_diff(b.as_ms())
}

/// Whether the caller heard the apology: the prompt of these worlds is a run of one byte that no speech has.
fn apologised(world: &World) -> bool {
    world.caller().heard().windows(800).any(|run| run.iter().all(|byte| *byte == 0xD0))
}
