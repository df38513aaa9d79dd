//! Calls as the store keeps them, in the shape of those that run.

use std::path::Path;

use patchbay_store::{CallPage, CallRow, LegRow, TranscriptRow, UnixMs, UsageRow};
use serde_json::{Value, json};

use crate::journal::CallRecord;

/// A call without an end that began longer ago than this has lost its machine: no call lasts so long.
const LASTS_MAX_MS: i64 = 5 * 3_600_000;

/// One line of a list: a call without its words.
pub(super) fn line(call: &CallRow, now: UnixMs) -> Value {
    let state = match call.ended_at {
        Some(_) => "ended",
        None if now.0 - call.started_at.0 > LASTS_MAX_MS => "lost",
        None => "live",
    };
    let until = call.ended_at.unwrap_or(now);
    json!({
        "id": call.id,
        "tenant": call.tenant,
        "route": call.route,
        "user": call.user.as_ref().map(|user| user.reveal()),
        "direction": call.direction,
        "from": call.caller.as_ref().map(|number| number.reveal()),
        "to": call.called.as_ref().map(|number| number.reveal()),
        "provider": call.provider,
        "model": call.model,
        "started_at": call.started_at.0 / 1000,
        "duration_ms": if state == "lost" { Value::Null } else { (until.0 - call.started_at.0).into() },
        "state": state,
        "outcome": call.outcome.as_ref().map(|reason| json!({ "reason": reason, "code": call.outcome_detail })),
        "answered_after_ms": call.answered_after_ms,
        "cuts": call.cuts,
        "redials": call.redials,
        "cost_micro_usd": call.cost_micro_usd,
        "recording": call.recording.as_deref().and_then(|path| Path::new(path).file_name()?.to_str()),
    })
}

/// A call that the store has not heard of yet.
pub(super) fn fresh(record: &CallRecord) -> Value {
    let mut line = serde_json::to_value(record).expect("a record has a JSON form");
    if let Some(line) = line.as_object_mut() {
        for of_the_whole in ["transcript", "usage", "dtmf"] {
            line.remove(of_the_whole);
        }
    }
    line
}

/// A call with all that is kept of it. Its cost is the sum of its usage, telephone minutes that came after it included.
pub(super) fn whole(page: &CallPage, now: UnixMs) -> Value {
    let mut call = line(&page.call, now);
    call["dtmf"] = page.call.dtmf.reveal().as_str().into();
    call["legs"] = page.legs.iter().map(leg).collect();
    call["transcript"] = page.transcript.iter().map(item).collect();
    call["usage"] = page.usage.iter().map(usage).collect();
    call["cost_micro_usd"] = page.usage.iter().map(|row| row.cost_micro_usd).sum::<i64>().into();
    call
}

fn leg(row: &LegRow) -> Value {
    json!({
        "leg": row.leg,
        "kind": row.kind,
        "external_id": row.external_id,
        "format": row.format,
        "started_at": row.started_at.0 / 1000,
        "ended_at": row.ended_at.map(|at| at.0 / 1000),
        "close_code": row.close_code,
    })
}

fn item(row: &TranscriptRow) -> Value {
    json!({
        "item": row.item,
        "role": row.role,
        "at_ms": row.at_ms,
        "text": row.text.reveal(),
        "heard_ms": row.heard_ms,
    })
}

fn usage(row: &UsageRow) -> Value {
    json!({
        "provider": row.provider,
        "model": row.model,
        "kind": row.kind,
        "key": row.source,
        "text_in": row.tokens.text_in,
        "text_in_cached": row.tokens.text_in_cached,
        "audio_in": row.tokens.audio_in,
        "audio_in_cached": row.tokens.audio_in_cached,
        "text_out": row.tokens.text_out,
        "audio_out": row.tokens.audio_out,
        "duration_ms": row.duration_ms,
        "cost_micro_usd": row.cost_micro_usd,
        "price_version": row.price_version,
        "quality": row.quality,
    })
}
