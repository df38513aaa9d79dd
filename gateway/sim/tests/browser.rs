//! Conversations of a client of the realtime API in virtual time: the real call and the real legs between a client as the SDKs
//! are and an OpenAI double.

use std::time::Duration;

use patchbay_core::{CallConfig, EndReason, Fact, Format, Input, MediaTime, Patience, Wire};
use patchbay_legs::{Media, endpoint};
use patchbay_sim::browser::{Config, Step};
use patchbay_sim::contract::Subject;
use patchbay_sim::realtime::{Detector, Fault, Point, Say, Script, Trouble, Turn};
use patchbay_sim::world::{Setup, World};
use serde_json::{Value, json};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A loud voice-like buzz of that length.
fn voice(format: Format, ms: u64) -> bytes::Bytes {
    let samples = (0..ms * 24).map(|n| {
        let phase = i16::try_from(n % 192).expect("below 192");
        ((phase - 96) * 130).to_le_bytes()
    });
    let pcm: Vec<u8> = samples.flatten().collect();
    if format == Format::L16_24K {
        return pcm.into();
    }
    let mut out = Vec::new();
    let mut codec = patchbay_codec::transcoder(Format::L16_24K, format).expect("a pair that exists");
    codec.push(&pcm, &mut out).expect("PCM16 is never refused");
    codec.finish(&mut out);
    out.into()
}

/// A provider that answers with `turns`, each so many milliseconds long.
fn provider(turns: &[u64]) -> Script {
    let turns = turns.iter().map(|ms| Turn::Say(vec![Say::buzz("one two three four five six", *ms)]));
    Script { turns: turns.collect(), detector: Detector::Level, ..Script::default() }
}

fn never() -> Patience {
    Patience { filler: secs(999), notice: secs(999), give_up: secs(999) }
}

fn setup(script: Script, client: Config, steps: Vec<Step>) -> Setup {
    Setup {
        call: CallConfig { patience: never(), ..CallConfig::default() },
        model: json!({ "model": "gpt-realtime-2.1", "transcription_model": "gpt-live-transcribe", "relays": true,
            "instructions": "The secret of the route." }),
        format: Format::L16_24K,
        script,
        client: Some((client, steps)),
        client_leg: json!({ "session": { "id": "sess_ours", "model": "gpt-realtime-2.1", "instructions": "The secret of the route." } }),
        answer_after: Duration::from_millis(20),
        ..Setup::default()
    }
}

fn talk(script: Script, client: Config, steps: Vec<Step>) -> World {
    World::new(setup(script, client, steps))
}

fn names(world: &World) -> Vec<&str> {
    world.browser().events().iter().filter_map(|(_, event)| event["type"].as_str()).collect()
}

fn assert_faultless(world: &World) {
    assert_eq!(world.browser().faults(), Vec::<String>::new(), "{:#?}", names(world));
    // Both sides stop an answer when the person speaks: whoever comes second is told so, and it is no fault.
    let errors = world
        .models
        .iter()
        .flat_map(|(_, m)| &m.ledger().errors)
        .filter(|e| *e != "response_cancel_not_active");
    assert_eq!(errors.collect::<Vec<_>>(), [] as [&String; 0]);
}

#[test]
fn a_client_talks_and_is_answered_in_the_order_of_the_protocol() {
    let format = Format::L16_24K;
    let steps =
        vec![Step::Wait(secs(1)), Step::Say(voice(format, 800)), Step::Answered(1), Step::Close(1000)];
    let mut world = talk(provider(&[3_000]), Config::default(), steps);
    world.run(secs(20));
    assert_faultless(&world);
    let browser = world.browser();
    let [(item, speech)] = browser.items() else { panic!("{:?}", browser.items().len()) };
    let heard = format.duration_of(speech.audio.len()).unwrap();
    assert_eq!(heard.as_ms(), 3_000, "all of it, and nothing else");
    assert!(speech.is_done);
    let order = [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ];
    let seen = names(&world);
    let mut at = 0;
    for name in order {
        let found = seen[at..].iter().position(|seen| *seen == name);
        at += found.unwrap_or_else(|| panic!("no {name} behind {:?}", &seen[..at])) + 1;
    }
    let done = browser.of("response.output_audio.done").next().unwrap();
    assert_eq!(done["item_id"], item.as_str());
    let (_, outcome) = world.outcome.as_ref().expect("the call ends with its client");
    assert_eq!(outcome.reason, EndReason::CallerHungUp);
    assert!(world.model().is_over(), "the provider is released");
}

#[test]
fn a_client_sees_its_own_session_and_nothing_of_the_routes_secrets() {
    let update = json!({ "type": "realtime", "model": "gpt-4o", "instructions": "Obey.", "tools": [{"type": "function", "name": "f"}],
        "audio": { "input": { "transcription": {"language": "de"} }, "output": { "voice": "cedar" } } });
    let mut world = talk(provider(&[500]), Config { update: Some(update), ..Config::default() }, vec![]);
    world.run(secs(3));
    assert_faultless(&world);
    let updated: Vec<_> = world.browser().of("session.updated").collect();
    let [updated] = updated[..] else { panic!("{updated:?}") };
    let session = &updated["session"];
    assert_eq!(session["id"], "sess_ours");
    assert_eq!(session["model"], "gpt-realtime-2.1", "a hint is no error");
    assert_eq!(session["audio"]["output"]["voice"], "cedar");
    assert_eq!(session["audio"]["input"]["transcription"]["language"], "de");
    assert_eq!(session["audio"]["input"]["transcription"]["model"], "gpt-live-transcribe", "the route's");
    assert_eq!(session["audio"]["input"]["format"], json!({"type": "audio/pcm", "rate": 24_000}));
    assert_eq!(session["patchbay"]["not_applied"], json!(["instructions", "tools"]));
    let all: String = world.browser().events().iter().map(|(_, event)| event.to_string()).collect();
    assert!(!all.contains("secret of the route") && !all.contains("Obey"), "{all}");
}

#[test]
fn an_interruption_is_truncated_once_at_what_the_client_played() {
    let format = Format::L16_24K;
    let steps = vec![
        Step::Wait(secs(1)),
        Step::Say(voice(format, 600)),
        Step::Heard(MediaTime::from_ms(1_500)),
        Step::Say(voice(format, 600)),
        Step::Answered(2),
    ];
    let mut world = talk(provider(&[9_000, 400]), Config::default(), steps);
    world.run(secs(15));
    assert_faultless(&world);
    let browser = world.browser();
    let played = browser.items()[0].1.cut_ms.expect("the client stopped by itself");
    assert!((1_500..2_500).contains(&played), "{played}");
    let truncations = &world.model().ledger().truncations;
    let told: Vec<_> = truncations.iter().map(|cut| (cut.audio_end_ms, cut.accepted)).collect();
    assert_eq!(told, [(played, true)], "once, and what the listener says");
    let cuts: Vec<_> = world
        .facts
        .iter()
        .filter_map(|(_, f)| if let Fact::Cut(cut) = f { Some(*cut) } else { None })
        .collect();
    assert_eq!(cuts.iter().map(|cut| cut.heard.as_ms()).collect::<Vec<_>>(), [played]);
    assert_eq!(browser.of("conversation.item.truncated").count(), 1);
}

#[test]
fn a_client_that_says_nothing_of_its_playing_is_truncated_once_by_the_clock() {
    let format = Format::L16_24K;
    let steps = vec![
        Step::Wait(secs(1)),
        Step::Say(voice(format, 600)),
        Step::Heard(MediaTime::from_ms(1_500)),
        Step::Say(voice(format, 600)),
        Step::Answered(2),
    ];
    let client = Config { truncates: false, ..Config::default() };
    let mut world = talk(provider(&[9_000, 400]), client, steps);
    world.run(secs(15));
    assert_faultless(&world);
    let truncations = &world.model().ledger().truncations;
    let [cut] = &truncations[..] else { panic!("{truncations:?}") };
    assert!(cut.accepted && (1_500..2_700).contains(&cut.audio_end_ms), "{cut:?}");
    assert!(world.browser().of("output_audio_buffer.cleared").count() == 1, "our own page clears by this");
}

#[test]
fn what_is_written_is_answered_and_a_request_too_many_is_an_error_that_names_it() {
    let item =
        json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]});
    let steps = vec![
        Step::Wait(secs(1)),
        Step::Send(json!({"type": "conversation.item.create", "event_id": "c1", "item": item})),
        Step::Send(json!({"type": "response.create", "event_id": "c2"})),
        Step::Send(json!({"type": "response.create", "event_id": "c3"})),
        Step::Answered(1),
        Step::Send(json!({"type": "response.cancel", "event_id": "c4"})),
        Step::Wait(secs(1)),
    ];
    let mut world = talk(provider(&[1_000]), Config { talks: false, ..Config::default() }, steps);
    world.run(secs(10));
    assert_faultless(&world);
    let browser = world.browser();
    let errors: Vec<_> = browser
        .of("error")
        .map(|event| (event["error"]["event_id"].clone(), event["error"]["code"].clone()))
        .collect();
    let expected = [
        (json!("c3"), json!("conversation_already_has_active_response")),
        (json!("c4"), json!("response_cancel_not_active")),
    ];
    assert_eq!(errors, expected);
    assert_eq!(browser.of("response.done").count(), 1);
    let added =
        browser.of("conversation.item.added").next().expect("what was written is in the conversation");
    assert_eq!(added["item"]["content"][0]["text"], "hello");
    let said = world.events.iter().any(|(_, _, event)| {
        matches!(event, patchbay_core::Event::TranscriptReceived { role: patchbay_core::Role::Caller, text, .. } if &**text == "hello")
    });
    assert!(said, "the transcript has what was written");
}

#[test]
fn a_client_may_speak_g711() {
    for format in [Format::PCMU, Format::PCMA] {
        let steps = vec![Step::Wait(secs(1)), Step::Say(voice(format, 800)), Step::Answered(1)];
        let mut world = talk(provider(&[1_000]), Config { format, ..Config::default() }, steps);
        world.run(secs(10));
        assert_faultless(&world);
        let (_, speech) = &world.browser().items()[0];
        let heard = format.duration_of(speech.audio.len()).unwrap().as_ms();
        assert!(heard.abs_diff(1_000) <= 5, "{format}: {heard} ms");
        assert_eq!(world.model().input_format(), Format::L16_24K, "the model's format is not the client's");
    }
}

#[test]
fn a_provider_that_is_lost_is_dialled_again_with_what_the_client_chose_and_the_client_sees_one_session() {
    let format = Format::L16_24K;
    let fault = Fault {
        at: Point::MidDeltas,
        turn: 0,
        dial: Some(0),
        trouble: Trouble::Close { code: 1011, reason: String::new() },
    };
    let steps = vec![
        Step::Wait(secs(1)),
        Step::Send(json!({"type": "session.update", "session": {"audio": {"output": {"voice": "cedar"}}}})),
        Step::Wait(secs(1)),
        Step::Say(voice(format, 800)),
        Step::Answered(1),
    ];
    let script = Script { faults: vec![fault], ..provider(&[3_000]) };
    let mut world = talk(script, Config::default(), steps);
    world.run(secs(20));
    assert!(world.models.len() == 2, "{}", world.models.len());
    assert_eq!(world.browser().faults(), Vec::<String>::new());
    assert_eq!(world.browser().of("session.created").count(), 1);
    let sent = world.model().ledger();
    assert!(sent.responses.iter().any(|response| response.status == "completed"), "{:?}", sent.responses);
    assert!(sent.errors.is_empty(), "{:?}", sent.errors);
    let ours =
        world.browser().events().iter().filter(|(_, event)| event.to_string().contains("pb_past")).count();
    assert_eq!(ours, 0, "what the gateway tells the new connection is not the client's");
}

#[test]
fn a_model_that_cannot_be_reached_is_told_in_words_and_by_the_close() {
    let refused = patchbay_sim::realtime::Refused { status: 401, retry_after_s: None };
    let script = Script { refusals: vec![refused; 9], ..provider(&[1_000]) };
    let mut world = talk(script, Config::default(), vec![]);
    world.run(secs(30));
    let browser = world.browser();
    let error = browser.of("error").next().expect("an error is told");
    assert_eq!(error["error"]["code"], "model_unreachable");
    assert_eq!(browser.closed_with(), Some(1011));
}

#[test]
fn a_gateway_that_goes_down_closes_so_that_sdks_come_again() {
    let mut world = talk(provider(&[1_000]), Config { talks: false, ..Config::default() }, vec![]);
    world.run(secs(2));
    world.feed(Input::End { reason: EndReason::Shutdown });
    world.run(secs(5));
    assert_eq!(world.browser().closed_with(), Some(1001));
}

/// Everything that a client may send, and that a model may say.
fn samples() -> Vec<Wire> {
    let audio = "AAAA".repeat(160);
    let events = [
        json!({"type": "input_audio_buffer.append", "audio": audio}),
        json!({"type": "input_audio_buffer.append", "event_id": "e", "audio": "AAAAAAA="}),
        json!({"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}}),
        json!({"type": "session.update", "session": {"audio": {"output": {"format": {"type": "audio/pcma"}, "voice": "ash"}}}}),
        json!({"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 100}),
        json!({"type": "conversation.item.create", "item": {"type": "message", "role": "system", "content": []}}),
        json!({"type": "response.create", "response": {"instructions": "x", "metadata": {}}}),
        json!({"type": "output_audio_buffer.clear"}),
        json!({"type": "output_audio_buffer.played", "item_id": "item_1", "audio_ms": 50}),
        json!({"type": "response.cancel", "response_id": "resp_1"}),
        json!({"type": "nothing"}),
    ];
    events.iter().map(|event| Wire::Text(event.to_string().into())).collect()
}

#[test]
fn the_leg_of_a_client_keeps_the_contract() {
    let media = Media { ingress: Format::L16_24K, egress: Format::L16_24K };
    let is_media = |wire: &Wire| {
        let Wire::Text(text) = wire else { return false };
        let event: Value = serde_json::from_slice(text).expect("the leg writes JSON");
        event.get("delta").is_some()
            && event["type"].as_str().is_some_and(|kind| kind.ends_with("audio.delta"))
    };
    for config in [
        json!({}),
        json!({"policy": "all", "session": {"id": "s", "tools": []}}),
        json!({"is_flat": true, "policy": {"these": ["voice", "instructions"]}}),
    ] {
        let make = || (endpoint("browser_ws").unwrap().open)(&config, media).unwrap();
        let subject = Subject { make: &make, opening: &[Wire::Opened], samples: &samples(), is_media };
        assert_eq!(subject.check(400), Ok(()), "{config}");
    }
}

#[test]
fn the_leg_of_a_server_that_steers_keeps_the_contract() {
    let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
    let config = json!({"policy": "all", "session": {"id": "s", "tools": []}});
    let make = || (endpoint("sideband").unwrap().open)(&config, media).unwrap();
    let is_media = |_: &Wire| false;
    let subject = Subject { make: &make, opening: &[Wire::Opened], samples: &samples(), is_media };
    assert_eq!(subject.check(400), Ok(()));
}
