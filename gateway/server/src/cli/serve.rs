//! `patchbay serve`: parse → build → run → drain.

use std::io::Write;
use std::process::ExitCode;

use super::{ConfigArgs, wrong_use};
use crate::config::Origin;
use crate::gateway::Gateway;
use crate::log;

pub(super) const EXAMPLE: &str = "Examples:\n  OPENAI_API_KEY=sk-… patchbay serve\n  \
patchbay serve --config /etc/patchbay/patchbay.toml\n\n\
SIGHUP or a changed file reloads. SIGTERM or SIGINT drains; a second one forces.";

/// Serves until drained.
pub async fn run(args: ConfigArgs) -> ExitCode {
    let config = match args.parse() {
        Ok(config) => config,
        Err(faults) => return wrong_use(&faults),
    };
    log::start(&config.server);
    let gateway = match Gateway::build(config, Origin::Files(args.config)).await {
        Ok(gateway) => gateway,
        Err(error) => {
            eprintln!("patchbay: {error}");
            return ExitCode::FAILURE;
        }
    };
    announce(&gateway);
    let drain = gateway.drain();
    let signals = tokio::spawn(async move { drain.listen().await });
    gateway.run().await;
    signals.abort();
    ExitCode::SUCCESS
}

/// Tells people and scripts where we are; the ports may have been the system's choice.
fn announce(gateway: &Gateway) {
    let mut text = format!("public   {}\nadmin    http://{}\n", gateway.public_url(), gateway.admin_addr());
    if let Some(gate) = gateway.gate() {
        let over_tcp = gate.tcp_addr().map(|address| format!(", tcp {address}")).unwrap_or_default();
        text.push_str(&format!("webrtc   udp {}{over_tcp}\n", gate.udp_addr()));
    }
    for webhook in gateway.webhooks() {
        text.push_str(&format!("webhook  POST {webhook}\n"));
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}
