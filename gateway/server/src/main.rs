//! The `patchbay` binary.

use std::process::ExitCode;

use clap::Parser;
use patchbay::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => {
            eprintln!("patchbay: no threads to run on: {error}");
            ExitCode::FAILURE
        }
    }
}
