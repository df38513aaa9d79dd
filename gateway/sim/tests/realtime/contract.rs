//! The contract suite for the realtime leg and the parrot. The leg's samples are what the double says.

use patchbay_core::{Command, Format, Wire};
use patchbay_legs::{Media, endpoint};
use patchbay_sim::contract::Subject;
use patchbay_sim::realtime::{Point, Script, Trouble};
use serde_json::{Value, json};

use super::pair::{CALLER, Pair};
use super::{MS, config, fault, script};

const PHONE: Media = Media { ingress: Format::PCMU, egress: Format::PCMU };

/// A whole conversation, as the provider tells it: a greeting, a turn, an interruption, an error, an expiry.
fn conversation(flat: bool) -> Vec<Wire> {
    let mut config = config();
    if flat {
        config.dialect = patchbay_legs::realtime::Dialect::AzurePreview;
    }
    let odd = Trouble::Error { kind: "invalid_request_error".into(), code: "odd_thing".into() };
    let faults = vec![fault(Point::FirstDelta, odd)];
    let script = Script { faults, late_deltas: 2, session_cap_ms: Some(12_000), ..script() };
    let mut pair = Pair::new(config, Format::PCMU, script);
    pair.run(MS(100));
    pair.command(Command::Respond { instructions: None });
    pair.quiet(MS(400));
    pair.command(Command::Cancel);
    pair.talk(CALLER);
    pair.quiet(MS(10_000));
    pair.received
}

fn is_append(wire: &Wire) -> bool {
    let Wire::Text(text) = wire else { return false };
    serde_json::from_slice::<Value>(text).expect("the leg writes JSON")["type"] == "input_audio_buffer.append"
}

#[test]
fn the_realtime_leg_keeps_the_contract() {
    for (dialect, flat) in [("openai", false), ("azure", false), ("azure_preview", true)] {
        let samples = conversation(flat);
        assert!(samples.len() > 60, "{}", samples.len());
        let up = samples.iter().position(|wire| match wire {
            Wire::Text(text) => text.windows(17).any(|w| w == b"\"session.updated\""),
            _ => false,
        });
        let mut opening = vec![Wire::Opened];
        opening.extend_from_slice(&samples[..=up.expect("the session is updated")]);
        let config = json!({"dialect": dialect, "model": "m", "transcription_model": "t", "relays": true});
        let make = || (endpoint("realtime").unwrap().open)(&config, PHONE).unwrap();
        let subject = Subject { make: &make, opening: &opening, samples: &samples, is_media: is_append };
        assert_eq!(subject.check(300), Ok(()), "{dialect}");
    }
}

#[test]
fn the_parrot_keeps_the_contract() {
    let make = || (endpoint("parrot").unwrap().open)(&json!({"relays": true}), PHONE).unwrap();
    let is_media = |_: &Wire| false;
    let subject = Subject { make: &make, opening: &[Wire::Opened], samples: &[Wire::Opened], is_media };
    assert_eq!(subject.check(300), Ok(()));
}
