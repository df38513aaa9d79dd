//! Rows to write.

use patchbay_core::Tokens;
use patchbay_store::{CallRow, CutRow, LegRow, Private, TranscriptRow, UnixMs, UsageRow};

pub(crate) fn private(text: &str) -> Private<String> {
    Private::new(text.to_owned())
}

/// A call with every field set.
pub(crate) fn call(tenant: &str, id: &str) -> CallRow {
    CallRow {
        id: id.into(),
        tenant: tenant.into(),
        route: "front".into(),
        user: Some(private("user-1")),
        direction: "inbound".into(),
        caller: Some(private("+49 30 1234")),
        called: Some(private("+1 555 0100")),
        started_at: UnixMs(1_700_000_000_000),
        ended_at: Some(UnixMs(1_700_000_060_000)),
        outcome: Some("caller_hung_up".into()),
        outcome_detail: Some("the caller hung up".into()),
        provider: Some("openai".into()),
        model: Some("gpt-realtime".into()),
        answered_after_ms: vec![310, 290],
        cuts: vec![CutRow {
            at_ms: 5_000,
            item: Some("item_1".into()),
            heard_ms: 900,
            sent_ms: 1_100,
            received_ms: 4_000,
        }],
        redials: 1,
        dtmf: private("12#"),
        cost_micro_usd: 41_500,
        recording: Some(format!("/srv/{tenant}/{id}.wav")),
        revision: 3,
    }
}

pub(crate) fn leg(tenant: &str, call: &str, leg: u8) -> LegRow {
    LegRow {
        tenant: tenant.into(),
        call: call.into(),
        leg,
        kind: "twilio".into(),
        external_id: Some("CA00000000000000000000000000000000".into()),
        format: Some("PCMU/8000".into()),
        started_at: UnixMs(1_700_000_000_000),
        ended_at: Some(UnixMs(1_700_000_060_000)),
        close_code: Some(1000),
        bytes_in: Some(480_000),
        bytes_out: None,
    }
}

pub(crate) fn said(tenant: &str, call: &str, seq: u32, text: &str) -> TranscriptRow {
    TranscriptRow {
        tenant: tenant.into(),
        call: call.into(),
        seq,
        item: Some(format!("item_{seq}")),
        role: if seq.is_multiple_of(2) { "user".into() } else { "assistant".into() },
        at_ms: u64::from(seq) * 1_000,
        text: private(text),
        heard_ms: (seq == 1).then_some(900),
    }
}

/// A usage row with every field set; `source` is its key.
pub(crate) fn used(tenant: &str, call: &str, source: &str) -> UsageRow {
    UsageRow {
        tokens: Tokens {
            text_in: 100,
            text_in_cached: 64,
            audio_in: 200,
            audio_in_cached: 128,
            text_out: 30,
            audio_out: 400,
        },
        provider: "openai".into(),
        provider_session: "sess_1".into(),
        kind: "response".into(),
        source: source.into(),
        tenant: tenant.into(),
        user: Some(private("user-1")),
        route: "front".into(),
        call: call.into(),
        model: "gpt-realtime".into(),
        at: UnixMs(1_700_000_010_000),
        duration_ms: 0,
        price_version: Some("2026-11".into()),
        cost_micro_usd: 1_000,
        quality: patchbay_store::Quality::Exact,
    }
}
