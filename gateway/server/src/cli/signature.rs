//! `patchbay signature`: signs as Twilio does. Hidden: for comparing us with Twilio's own libraries.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::wrong_use;
use crate::api::twilio::signature::sign;

pub(super) const EXAMPLE: &str = "Examples:\n  \
echo '[[\"From\",\"+1\"]]' | patchbay signature --token-env TWILIO_AUTH_TOKEN --url https://voice.example.com/x\n  \
echo '{\"token\":\"12345\",\"url\":\"https://a.example/\",\"params\":[]}' | patchbay signature";

/// With `--url`: standard input is one JSON list of [name, value]. Without: one JSON object with token, url and params a
/// line, and one signature a line comes out.
#[derive(Debug, Args)]
pub struct SignatureArgs {
    /// The variable that holds the auth token.
    #[arg(long, value_name = "NAME", requires = "url")]
    token_env: Option<String>,
    /// The address that is called.
    #[arg(long, value_name = "URL", requires = "token_env")]
    url: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    token: String,
    url: String,
    params: Vec<(String, String)>,
}

/// Signs what standard input asks for.
pub fn run(args: &SignatureArgs) -> ExitCode {
    let signed = match (&args.token_env, &args.url) {
        (Some(variable), Some(url)) => one(variable, url),
        _ => each_line(),
    };
    match signed {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => wrong_use(&message),
    }
}

fn one(variable: &str, url: &str) -> Result<(), String> {
    let token = std::env::var(variable).map_err(|_| format!("the variable {variable} is not set"))?;
    let params: Vec<(String, String)> = serde_json::from_reader(std::io::stdin().lock())
        .map_err(|_| "write [[\"name\", \"value\"], …]".to_owned())?;
    print(&sign(&token, url, &params))
}

fn each_line() -> Result<(), String> {
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.map_err(|error| format!("line {}: {error}", number + 1))?;
        let wrong = |_| format!("line {}: write {{\"token\", \"url\", \"params\"}}", number + 1);
        let line: Line = serde_json::from_str(&line).map_err(wrong)?;
        print(&sign(&line.token, &line.url, &line.params))?;
    }
    Ok(())
}

fn print(signature: &str) -> Result<(), String> {
    writeln!(std::io::stdout(), "{signature}").map_err(|error| error.to_string())
}
