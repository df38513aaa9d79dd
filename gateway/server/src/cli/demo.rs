//! `patchbay demo`: the gateway with the built-in AI, and one simulated phone call through it. No key, no service.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use patchbay_core::Format;

use super::call::{CallPlan, place, show_progress, table};
use super::folder::Folder;
use super::speech::speech;
use crate::config::{Config, Origin, Sources};
use crate::gateway::Gateway;
use crate::log;

pub(super) const EXAMPLE: &str = "Examples:\n  patchbay demo\n  PATCHBAY_DEMO_EXIT=1 patchbay demo\n\n\
With PATCHBAY_DEMO_EXIT=1 it ends after the call: exit code 0 only if speech came back.";

/// Where people expect a page.
const PORT: u16 = 8080;

/// Where the demo listens.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Port on loopback; 0 takes any that is free.
    #[arg(long, default_value_t = PORT, value_name = "PORT")]
    port: u16,
}

/// Serves, calls, and stays unless told to exit.
pub async fn run(args: DemoArgs) -> ExitCode {
    // The database of the demo is gone with it.
    let folder = match Folder::new("demo") {
        Ok(folder) => folder,
        Err(error) => return failed(&error),
    };
    let sources = sources(args.port, &folder.path().join("patchbay.db"));
    let config = match Config::parse(&sources) {
        Ok(config) => config,
        Err(faults) => return failed(&faults),
    };
    log::start(&config.server);
    let gateway = match Gateway::build(config, Origin::Given(Box::new(sources))).await {
        Ok(gateway) => gateway,
        Err(error) => return failed(&error),
    };
    let Some(webhook) = gateway.webhooks().into_iter().next() else { return failed(&"no route to call") };
    let (page, drain) = (gateway.public_url().http("/"), gateway.drain());
    println!(
        "Patchbay is at {page} with its built-in AI: it greets, listens, and says back what it heard.\n"
    );
    let serving = tokio::spawn(gateway.run());
    let spoke = call(&webhook).await;
    if std::env::var_os("PATCHBAY_DEMO_EXIT").is_some_and(|value| value != "0" && !value.is_empty()) {
        drain.signal();
        drain.signal();
    } else {
        println!(
            "\nLeft open: {page}   Call it yourself: patchbay call {webhook} --wav FILE\nCtrl-C ends it."
        );
        let ear = drain.clone();
        tokio::spawn(async move { ear.listen().await });
    }
    match serving.await {
        Ok(()) if spoke => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// One tenant, one route, the parrot, a database; on loopback, nothing read from the environment.
fn sources(port: u16, database: &Path) -> Sources {
    let mut sources = Sources::default();
    sources.set("PATCHBAY__STORAGE__URL", &format!("sqlite://{}", database.display()));
    for (key, value) in [
        ("PATCHBAY__SERVER__LISTEN", SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string().as_str()),
        ("PATCHBAY__SERVER__ADMIN_LISTEN", "127.0.0.1:0"),
        ("PATCHBAY__SERVER__LOG_LEVEL", "error"),
        ("PATCHBAY__PAGE__OPEN", "true"),
        ("PATCHBAY__PROVIDERS__PARROT__KIND", "parrot"),
        ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__PROVIDER", "parrot"),
        ("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__GREETING", "Greet the caller."),
    ] {
        sources.set(key, value);
    }
    sources
}

/// Places the call and prints what was heard and when. True if speech came back.
async fn call(webhook: &str) -> bool {
    println!("A phone call, simulated: POST {webhook}");
    let plan = CallPlan::new(webhook, speech(Format::PCMU).into());
    let bar = super::call::bar(&plan, !std::io::stderr().is_terminal());
    let placed = place(&plan, |caller| show_progress(&bar, caller)).await;
    bar.finish_and_clear();
    match placed {
        Ok(report) => {
            print!("{}", table(&report));
            report.speech_came_back
        }
        Err(error) => {
            eprintln!("patchbay demo: {error}");
            false
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("patchbay demo: {error}");
    ExitCode::FAILURE
}
