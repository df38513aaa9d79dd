//! Phone calls over real sockets, in real time: a Twilio that calls, the gateway, and a provider that answers.

mod recorded;

use std::time::Duration;

use patchbay::cli::call::{Report, place};
use patchbay_codec::transcoder;
use patchbay_core::Format;
use patchbay_sim::realtime::{Fault, Ledger, Point, Refused, Script, Trouble};

use crate::speech::{self, Match};
use crate::stage::{Stage, model_that_says, ulaw};

/// What the caller of a report heard of a fixture.
fn heard(fixture: &str, report: &Report) -> Match {
    speech::find(&speech::fixture(fixture), &speech::samples(&report.heard))
}

/// What the model heard, as the phone would have said it.
fn as_ulaw(format: Format, ledger: &Ledger) -> Vec<u8> {
    let mut ulaw = Vec::new();
    transcoder(format, Format::PCMU).unwrap().push(&ledger.appended, &mut ulaw).unwrap();
    ulaw
}

fn assert_clean(report: &Report) {
    assert!(report.speech_came_back, "{report:?}");
    assert_eq!((report.invalid, report.warnings.as_slice()), (0, [].as_slice()), "Twilio would complain");
    assert!(report.gap_ms_max <= 60, "speech with holes: {:?}", report.gaps);
}

#[tokio::test]
async fn speech_reaches_the_model_and_its_answer_the_caller_untouched() {
    let stage = Stage::set(model_that_says("model-answer.wav"), "").await;
    let report = place(&stage.caller("caller-order.wav"), |_| ()).await.unwrap();
    assert_clean(&report);
    assert!(heard("model-answer.wav", &report).fit > 0.95, "{:?}", heard("model-answer.wav", &report));
    let ledgers = stage.clear().await;
    let said = ulaw("caller-order.wav");
    let is_whole = ledgers[0].appended.windows(said.len()).any(|window| window == said);
    assert!(is_whole, "the model got other bytes than the phone sent");
}

#[tokio::test]
async fn speech_reaches_the_model_and_its_answer_the_caller_transcoded() {
    let stage =
        Stage::set(model_that_says("model-answer.wav"), "[tenants.default.routes.default]\naudio = \"pcm\"")
            .await;
    let report = place(&stage.caller("caller-order.wav"), |_| ()).await.unwrap();
    assert_clean(&report);
    assert!(heard("model-answer.wav", &report).fit > 0.95, "{:?}", heard("model-answer.wav", &report));
    let ledgers = stage.clear().await;
    let reached = speech::samples(&as_ulaw(Format::L16_24K, &ledgers[0]));
    let found = speech::find(&speech::fixture("caller-order.wav"), &reached);
    assert!(found.fit > 0.95, "{found:?}");
}

#[tokio::test]
async fn an_interruption_silences_the_phone_and_the_model_learns_what_was_heard() {
    let stage = Stage::set(Script { late_deltas: 3, ..model_that_says("model-long.wav") }, "").await;
    let mut caller = stage.caller("caller-short.wav");
    caller.barge_in = Some((3_000, ulaw("caller-barge-in.wav")));
    let report = place(&caller, |_| ()).await.unwrap();
    assert_clean(&report);
    let heard_ms = report.barge_in_heard_ms.expect("the phone was silenced");
    assert!(heard_ms >= 3_000, "interrupted before its time: {report:?}");
    let ledgers = stage.clear().await;
    let truncation = ledgers[0].truncations.last().expect("the model was told");
    assert!(truncation.accepted, "{truncation:?}");
    assert!(
        truncation.audio_end_ms.abs_diff(heard_ms) <= 60,
        "{truncation:?}, and the phone played {heard_ms} ms"
    );
    assert_eq!(ledgers[0].errors, Vec::<String>::new());
}

#[tokio::test]
async fn a_provider_that_closes_in_an_answer_is_dialled_again_and_the_call_goes_on() {
    let trouble = Trouble::Close { code: 1011, reason: String::new() };
    let fault = Fault { at: Point::MidDeltas, turn: 1, dial: Some(0), trouble };
    let stage = Stage::set(Script { faults: vec![fault], ..model_that_says("model-answer.wav") }, "").await;
    let report = place(&stage.caller("caller-short.wav"), |_| ()).await.unwrap();
    assert!(report.speech_came_back, "{report:?}");
    assert_eq!(report.streams, 1, "the phone keeps its stream");
    assert!(stage.clear().await.len() >= 2, "a second connection was made");
}

#[tokio::test]
async fn a_provider_that_refuses_the_key_is_apologised_for() {
    let refusals = vec![Refused { status: 401, retry_after_s: None }; 50];
    let stage = Stage::set(Script { refusals, ..Script::default() }, "").await;
    let report = place(&stage.caller("caller-short.wav"), |_| ()).await.unwrap();
    let apology = speech::samples(include_bytes!("../../gateway/server/prompts/en/apology.ulaw"));
    let found = speech::find(&apology, &speech::samples(&report.heard));
    assert!(found.fit > 0.95, "no apology was heard: {found:?} {report:?}");
    stage.clear().await;
}

#[tokio::test]
async fn a_gateway_that_goes_down_lets_a_call_end_and_takes_no_other() {
    let stage = Stage::set(model_that_says("model-answer.wav"), "").await;
    let caller = stage.caller("caller-short.wav");
    let late = stage.caller("caller-short.wav");
    let drain = stage.drain().clone();
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    drain.signal();
    let refused = place(&late, |_| ()).await;
    assert!(refused.is_err() || !refused.unwrap().speech_came_back, "a call was taken on the way down");
    assert_clean(&call.await.unwrap().unwrap());
    stage.clear().await;
}
