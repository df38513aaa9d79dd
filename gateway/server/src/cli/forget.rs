//! `patchbay forget`: everything about one person, in every table and file.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;
use serde_json::json;

use super::operator::{AdminArgs, cell, part};

/// Deletes what is kept of one person: calls, transcripts, recordings. Usage stays, without a name.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  patchbay forget default --number +4930123456\n  patchbay forget acme --user u_17"
)]
#[group(id = "whom", required = true, multiple = false, args = ["number", "user"])]
pub struct ForgetArgs {
    /// Whose records.
    tenant: String,
    /// The number that called or was called.
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// The user that a credential named.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub async fn run(args: ForgetArgs) -> ExitCode {
    let ForgetArgs { tenant, number, user, admin } = args;
    let body = json!({ "number": number, "user": user }).to_string();
    let path = format!("/admin/tenants/{}/forget", part(&tenant));
    let answer = admin.ask(Method::POST, &path, body.into(), "application/json").await;
    admin.tell(answer, |done| {
        format!(
            "forgotten: {} calls, {} legs, {} items of transcripts, {} files; {} usage rows name nobody now\n",
            cell(&done["calls"]),
            cell(&done["legs"]),
            cell(&done["transcripts"]),
            cell(&done["files"]),
            cell(&done["usage"]),
        )
    })
}
