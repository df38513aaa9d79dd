//! What the provider meters, in our words.

use std::time::Duration;

use patchbay_core::{Tokens, Usage};

use super::wire::{ResponseUsage, TranscriptionUsage};

/// The kind of a response's usage.
pub(super) const RESPONSE: &str = "response";

/// Usage of one response; cached counts are a subset of the input counts.
pub(super) fn of_response(id: &str, usage: &ResponseUsage) -> Usage {
    let input = usage.input_token_details.as_ref();
    let cached = input.and_then(|i| i.cached_tokens_details.as_ref());
    let output = usage.output_token_details.as_ref();
    Usage {
        kind: RESPONSE.into(),
        key: id.into(),
        tokens: Tokens {
            text_in: input.and_then(|i| i.text_tokens).unwrap_or(0),
            audio_in: input.and_then(|i| i.audio_tokens).unwrap_or(0),
            text_in_cached: cached.and_then(|c| c.text_tokens).unwrap_or(0),
            audio_in_cached: cached.and_then(|c| c.audio_tokens).unwrap_or(0),
            text_out: output.and_then(|o| o.text_tokens).unwrap_or(0),
            audio_out: output.and_then(|o| o.audio_tokens).unwrap_or(0),
        },
        ..Usage::default()
    }
}

/// Usage of writing down what the caller said: one account for each audio part of an item.
pub(super) fn of_transcription(item: &str, part: u32, usage: &TranscriptionUsage) -> Usage {
    let input = usage.input_token_details.as_ref();
    let seconds = usage.seconds.filter(|s| s.is_finite()).unwrap_or(0.0).clamp(0.0, 86_400.0);
    Usage {
        kind: "transcription".into(),
        key: if part == 0 { item.into() } else { format!("{item}:{part}").into() },
        tokens: Tokens {
            text_in: input.and_then(|i| i.text_tokens).unwrap_or(0),
            audio_in: input.and_then(|i| i.audio_tokens).unwrap_or(0),
            text_out: usage.output_tokens.unwrap_or(0),
            ..Tokens::default()
        },
        duration_ms: u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap_or(0),
        ..Usage::default()
    }
}
