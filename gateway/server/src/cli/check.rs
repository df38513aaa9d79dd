//! `patchbay check`: is this configuration good, and what is in effect?

use std::io::Write;
use std::process::ExitCode;

use super::{ConfigArgs, wrong_use};

pub(super) const EXAMPLE: &str = "Example:\n  patchbay check --config /etc/patchbay/patchbay.toml\n\n\
A fault is told as file:line:column with what to write instead; exit code 2.";

/// Prints the effective configuration as TOML; notices go to standard error.
pub fn run(args: &ConfigArgs) -> ExitCode {
    let config = match args.parse() {
        Ok(config) => config,
        Err(faults) => return wrong_use(&faults),
    };
    for notice in &config.notices {
        eprintln!("note: {notice}");
    }
    // Whoever closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(config.to_toml().as_bytes());
    ExitCode::SUCCESS
}
