//! `patchbay replay`: runs a recorded call again, and finds the first output that differs.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use patchbay_core::{Call, Recorded, replay};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::wrong_use;
use crate::prompts;
use crate::recorder::Header;

pub(super) const EXAMPLE: &str = "Example:\n  patchbay replay recordings/call_5f0c….jsonl\n\n\
Calls are recorded when server.recordings names a folder. Exit code 1 with the first output that differs.";

/// What to replay.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The recording: one JSON value a line.
    recording: PathBuf,
    /// Build the call as the first line of this other recording says, to see what a change of configuration changes.
    #[arg(long, value_name = "RECORDING")]
    against: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Replays, and tells.
pub fn run(args: &ReplayArgs) -> ExitCode {
    match replayed(args) {
        Ok(verdict) => verdict.print(args.json),
        Err(fault) => wrong_use(&fault),
    }
}

struct Verdict {
    inputs: usize,
    outputs: usize,
    difference: Option<Box<patchbay_core::Difference>>,
}

impl Verdict {
    fn print(&self, as_json: bool) -> ExitCode {
        let Self { inputs, outputs, difference } = self;
        match difference {
            None if as_json => println!("{}", json!({ "same": true, "inputs": inputs, "outputs": outputs })),
            None => println!("the same: {inputs} inputs gave {outputs} outputs, bit for bit"),
            Some(d) if as_json => println!(
                "{}",
                json!({ "same": false, "line": d.line, "recorded": d.recorded, "replayed": d.replayed })
            ),
            Some(difference) => println!("{difference}"),
        }
        if difference.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn replayed(args: &ReplayArgs) -> Result<Verdict, String> {
    let mut lines = read(&args.recording)?;
    let own: Header = parse(&args.recording, 1, &lines.next().unwrap_or_else(|| Ok(String::new()))?)?;
    let header = match &args.against {
        None => own,
        Some(path) => parse(path, 1, &read(path)?.next().unwrap_or_else(|| Ok(String::new()))?)?,
    };
    let mut recorded = Vec::new();
    for (index, line) in lines.enumerate() {
        recorded.push(parse::<Recorded>(&args.recording, index + 2, &line?)?);
    }
    let inputs = recorded.iter().filter(|line| matches!(line, Recorded::In { .. })).count();
    let outputs = recorded.len() - inputs;
    let difference = replay(&mut build(&header)?, recorded, 2).err();
    Ok(Verdict { inputs, outputs, difference })
}

fn build(header: &Header) -> Result<Call, String> {
    header.call(prompts::english()).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<impl Iterator<Item = Result<String, String>>, String> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    Ok(BufReader::new(file).lines().map(move |line| line.map_err(|error| format!("{name}: {error}"))))
}

fn parse<T: DeserializeOwned>(path: &Path, number: usize, line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| {
        format!("{}:{number}:{}: this is not a line of a recording: {error}", path.display(), error.column())
    })
}
