//! The command line. Exit codes: 0 done, 1 failed, 2 wrong use.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Sources};
use crate::plan;

pub mod bench;
pub mod bot;
pub mod call;
pub mod calls;
pub mod check;
pub mod demo;
pub mod folder;
pub mod forget;
pub mod keys;
pub mod migrate;
pub mod operator;
pub mod peer;
pub mod replay;
pub mod serve;
pub mod signature;
pub mod sim;
pub mod speech;
pub mod stage;
pub mod tenant;
pub mod wav;

/// Wrong use: bad arguments, or a bad configuration.
pub const WRONG_USE: u8 = 2;

/// A self-hosted media gateway for voice AI: point a Twilio webhook at it, and callers talk to a realtime model.
#[derive(Debug, Parser)]
#[command(
    name = "patchbay",
    version,
    after_help = "Examples:\n  OPENAI_API_KEY=sk-… patchbay serve\n  patchbay check --config patchbay.toml\n\n\
                  Exit codes: 0 done, 1 failed, 2 wrong use."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway.
    #[command(after_help = serve::EXAMPLE)]
    Serve(ConfigArgs),
    /// Checks the configuration and prints what is in effect, secrets redacted. Binds nothing.
    #[command(after_help = check::EXAMPLE)]
    Check(ConfigArgs),
    /// Serves with the built-in AI and places one simulated phone call. Needs no key and no service.
    #[command(after_help = demo::EXAMPLE)]
    Demo(demo::DemoArgs),
    /// Calls a voice webhook as Twilio would, and measures what is heard; or lists, shows and ends calls.
    Call(calls::CallCommand),
    /// Manages tenants, their keys and secrets, in a running gateway.
    Tenant(tenant::TenantArgs),
    /// Manages bots and their keys, at a running gateway; makes tokens for them.
    Bot(bot::BotArgs),
    /// Deletes everything that is kept of one person.
    Forget(forget::ForgetArgs),
    /// Serves a scripted provider: OpenAI's realtime API and Azure's paths.
    Sim(sim::SimArgs),
    /// Measures what a call costs, beside a plain relay of bytes.
    Bench(bench::BenchArgs),
    /// The relay of `bench`.
    #[command(name = "bench-relay", hide = true)]
    Relay(bench::relay::RelayArgs),
    /// Runs a recorded call again and finds the first output that differs.
    #[command(after_help = replay::EXAMPLE)]
    Replay(replay::ReplayArgs),
    /// Brings the database to this version's schema. SQLite is backed up before.
    #[command(after_help = migrate::EXAMPLE)]
    Migrate(migrate::MigrateArgs),
    /// Changes the keys that personal data and secrets are sealed with.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Signs requests as Twilio does, for tests.
    #[command(hide = true, after_help = signature::EXAMPLE)]
    Signature(signature::SignatureArgs),
}

impl Cli {
    /// Runs the command.
    pub async fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Check(args) => check::run(&args),
            Command::Demo(args) => demo::run(args).await,
            Command::Call(args) => calls::run(args).await,
            Command::Tenant(args) => tenant::run(args).await,
            Command::Bot(args) => bot::run(args).await,
            Command::Forget(args) => forget::run(args).await,
            Command::Sim(args) => sim::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Relay(args) => bench::relay::run(args).await,
            Command::Replay(args) => replay::run(&args),
            Command::Migrate(args) => migrate::run(&args).await,
            Command::Keys(command) => keys::run(command).await,
            Command::Signature(args) => signature::run(&args),
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration; else ./patchbay.toml or ./config/patchbay.toml, if there is one.
    #[arg(long, value_name = "FILE", env = "PATCHBAY_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Reads and understands the configuration, or says what is wrong with it.
    fn parse(&self) -> Result<Config, String> {
        let sources = Sources::read(self.config.as_deref()).map_err(|error| error.to_string())?;
        let config = Config::parse(&sources).map_err(|faults| faults.to_string())?;
        plan::check(&config)?;
        Ok(config)
    }
}

fn wrong_use(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(WRONG_USE)
}
