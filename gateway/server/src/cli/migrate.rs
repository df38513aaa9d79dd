//! `patchbay migrate`: the database gets this version's schema.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, wrong_use};

pub(super) const EXAMPLE: &str = "Examples:\n  patchbay migrate --config /etc/patchbay/patchbay.toml\n  \
patchbay migrate --expand-only     while the previous version still serves, as in a release command\n\n\
A newer schema is refused. A SQLite database with rows is copied to PATH.before-N first.";

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only what the previous version can live with.
    #[arg(long)]
    expand_only: bool,
}

/// Migrates, and prints the schema's version.
pub async fn run(args: &MigrateArgs) -> ExitCode {
    let config = match args.config.parse() {
        Ok(config) => config,
        Err(faults) => return wrong_use(&faults),
    };
    if config.storage.url.is_none() {
        return wrong_use("there is no database: set storage.url or DATABASE_URL");
    }
    match patchbay_store::migrate(config.storage.address(), args.expand_only).await {
        Ok(version) => {
            println!("the database has schema {version}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
