//! The money of calls over real sockets: counted, capped, told.

use patchbay::cli::call::{CallError, Report, place};

use crate::speech;
use crate::stage::{Stage, model_that_says};

/// Less than one answer of the model costs, and all of it set aside for one call.
fn cap(policy: &str) -> String {
    format!("[tenants.default.spend]\nlimit_usd = 0.004\nreserve_usd = 0.004\npolicy = \"{policy}\"\n")
}

/// Whether the caller heard that the budget is used up.
fn was_told(report: &Report) -> bool {
    let prompt = speech::samples(include_bytes!("../../gateway/server/prompts/en/budget.ulaw"));
    speech::find(&prompt, &speech::samples(&report.heard)).fit > 0.95
}

#[tokio::test]
async fn a_call_whose_budget_is_used_up_is_told_so_and_ended_and_the_next_caller_gets_the_fallback() {
    let stage = Stage::set(model_that_says("model-answer.wav"), &cap("hang_up")).await;
    let report = place(&stage.caller("caller-short.wav"), |_| ()).await.unwrap();
    assert!(was_told(&report), "{report:?}");
    let answer = speech::find(&speech::fixture("model-answer.wav"), &speech::samples(&report.heard));
    assert!(answer.fit > 0.95, "what was paid for is heard: {answer:?}");
    let refused = place(&stage.caller("caller-short.wav"), |_| ()).await;
    assert!(matches!(refused, Err(CallError::NoStream)), "the fallback opens no stream: {refused:?}");
    let metrics = stage.admin("/metrics").await;
    for line in [
        "patchbay_budget_refusals_total 1",
        "patchbay_calls_refused_total{reason=\"spend_limit_reached\"} 1",
        "patchbay_calls_ended_total{reason=\"spend_limit\"} 1",
        "patchbay_limit_hits_total{limit=\"spend\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
    let usage = stage.admin("/admin/usage?group_by=tenant,model").await;
    assert!(usage.contains("\"model\":\"gpt-realtime-2.1\""), "{usage}");
    assert!(!usage.contains("\"cost_usd\":\"0.000000\""), "{usage}");
    stage.clear().await;
}

#[tokio::test]
async fn with_the_policy_to_say_the_caller_is_told_and_the_call_goes_on() {
    let stage = Stage::set(model_that_says("model-answer.wav"), &cap("say")).await;
    let report = place(&stage.caller("caller-short.wav"), |_| ()).await.unwrap();
    assert!(was_told(&report), "{report:?}");
    assert!(report.speech_came_back, "the model answered all the same: {report:?}");
    stage.clear().await;
}

#[tokio::test]
async fn what_a_call_cost_is_what_the_provider_metered() {
    let stage = Stage::set(model_that_says("model-answer.wav"), "").await;
    let report = place(&stage.caller("caller-short.wav"), |_| ()).await.unwrap();
    assert!(report.speech_came_back, "{report:?}");
    let usage = stage.admin("/admin/usage?format=csv").await;
    let ledgers = stage.clear().await;
    let (head, line) = usage.split_once("\r\n\r\n").unwrap().1.trim().split_once("\r\n").unwrap();
    let column = |name: &str| {
        let at = head.split(',').position(|column| column == name).unwrap();
        line.split(',').nth(at).unwrap().parse::<u64>().unwrap()
    };
    let theirs = ledgers[0].usage;
    let ours = [column("text_in"), column("audio_in"), column("text_out"), column("audio_out")];
    assert_eq!(ours, [theirs.text_in, theirs.audio_in, theirs.text_out, theirs.audio_out], "{usage}");
    assert_eq!(column("estimated_rows"), 0);
}
