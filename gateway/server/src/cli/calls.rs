//! `patchbay call`: one simulated phone call, or the calls of a running gateway.

use std::process::ExitCode;

use axum::http::Method;
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::call::{self, CallArgs};
use super::operator::{AdminArgs, cell, part, table};
use super::wrong_use;

/// Calls a voice webhook as Twilio would; or lists, shows and ends the calls of a running gateway.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  patchbay call http://127.0.0.1:8080/twilio/voice/default/default \\\n      \
--wav fixtures/audio/caller-order.wav --out heard.wav --barge-in 800\n  \
patchbay call list --tenant default\n  patchbay call show call_… --tenant default\n  patchbay call end call_…"
)]
pub struct CallCommand {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    place: Option<CallArgs>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The latest calls, with what they cost.
    List {
        /// Of one tenant only.
        #[arg(long)]
        tenant: Option<String>,
        /// Most calls.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Where the page before ended.
        #[arg(long)]
        after: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// One call: its words, latencies, cuts, usage and cost.
    Show {
        /// `call_…`
        id: String,
        /// Whose call.
        #[arg(long, default_value = "default")]
        tenant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Ends a call that runs on that machine.
    End {
        /// `call_…`
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Runs the command.
pub async fn run(command: CallCommand) -> ExitCode {
    match (command.what, command.place) {
        (Some(what), _) => on(what).await,
        (None, Some(place)) => call::run(place).await,
        (None, None) => wrong_use("patchbay call: give a URL and --wav, or one of list, show, end"),
    }
}

async fn on(what: What) -> ExitCode {
    match what {
        What::List { tenant, limit, after, admin } => {
            let query = [("tenant", tenant), ("after", after), ("limit", Some(limit.to_string()))];
            let query =
                query.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", part(&value?))));
            let query: Vec<_> = query.collect();
            let answer = admin.get(&format!("/admin/calls?{}", query.join("&"))).await;
            admin.tell(answer, listed)
        }
        What::Show { id, tenant, admin } => {
            let path = format!("/admin/calls/{}?tenant={}", part(&id), part(&tenant));
            let answer = admin.get(&path).await;
            admin.tell(answer, shown)
        }
        What::End { id, admin } => {
            let path = format!("/admin/calls/{}/end", part(&id));
            let answer = admin.ask(Method::POST, &path, Bytes::new(), "application/json").await;
            admin.tell(answer, |_| format!("{id} is ending\n"))
        }
    }
}

fn listed(value: &Value) -> String {
    let rows = value["data"].as_array().into_iter().flatten();
    let rows: Vec<_> = rows
        .map(|call| {
            vec![
                cell(&call["id"]),
                cell(&call["tenant"]),
                cell(&call["route"]),
                cell(&call["state"]),
                seconds(&call["duration_ms"]),
                dollars(&call["cost_micro_usd"]),
                cell(&call["outcome"]["reason"]),
            ]
        })
        .collect();
    let mut text = table(&["call", "tenant", "route", "state", "lasted", "cost", "ended by"], &rows);
    if let Some(next) = value["next"].as_str() {
        text.push_str(&format!("more: --after {next}\n"));
    }
    text
}

fn shown(call: &Value) -> String {
    let mut text = format!(
        "{} of {}/{}, {}, {} long, {}\n",
        cell(&call["id"]),
        cell(&call["tenant"]),
        cell(&call["route"]),
        cell(&call["state"]),
        seconds(&call["duration_ms"]),
        dollars(&call["cost_micro_usd"]),
    );
    for said in call["transcript"].as_array().into_iter().flatten() {
        let heard = said["heard_ms"].as_u64().map_or(String::new(), |ms| format!("  [cut: {ms} ms heard]"));
        let at = seconds(&said["at_ms"]);
        text.push_str(&format!("  {at:>9}  {:<7}{}{heard}\n", cell(&said["role"]), cell(&said["text"])));
    }
    for row in call["usage"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  {} {} {}: {} {}\n",
            cell(&row["provider"]),
            cell(&row["model"]),
            cell(&row["kind"]),
            dollars(&row["cost_micro_usd"]),
            cell(&row["quality"]),
        ));
    }
    text
}

fn seconds(ms: &Value) -> String {
    ms.as_u64().map_or_else(|| "-".to_owned(), |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100))
}

/// Millionths of a dollar as dollars, to the hundredth of a cent.
fn dollars(micro: &Value) -> String {
    micro.as_i64().map_or_else(
        || "-".to_owned(),
        |micro| format!("${}.{:04}", micro / 1_000_000, micro % 1_000_000 / 100),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_shown_with_its_words_its_cuts_and_its_cost() {
        let text = shown(&json!({
            "id": "call_1", "tenant": "t", "route": "r", "state": "ended", "duration_ms": 61_250,
            "cost_micro_usd": 1_234_567,
            "transcript": [
                { "role": "caller", "text": "Hello?", "at_ms": 1_000, "heard_ms": null },
                { "role": "model", "text": "Good day", "at_ms": 2_500, "heard_ms": 340 },
            ],
            "usage": [{ "provider": "openai", "model": "m", "kind": "response", "cost_micro_usd": 34, "quality": "exact" }],
        }));
        assert_eq!(
            text,
            "call_1 of t/r, ended, 61.2 s long, $1.2345\n      \
             1.0 s  caller Hello?\n      2.5 s  model  Good day  [cut: 340 ms heard]\n  \
             openai m response: $0.0000 exact\n"
        );
    }
}
