//! `patchbay sim`: a provider that costs nothing. It serves OpenAI's and Azure's realtime paths with scripted doubles.

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use clap::Args;
use patchbay_core::{Instant, Wire};
use patchbay_sim::realtime::{Accepted, RealtimeDouble, Refused, Script, accept};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::stage::{Double, Stage};
use super::wav::{WavError, read_l16_24k};
use crate::transport::{ListenLimits, Listener, PortLimits, PortPending, UpgradeRefused, WsUpgrade};

/// Upgrades that wait for their task.
const WAITING_MAX: usize = 256;

/// Serves a realtime provider's double: OpenAI's and Azure's paths, scripted turns and faults, no key needed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  patchbay sim --listen 127.0.0.1:8090 &\n  OPENAI_API_KEY=none \
OPENAI_BASE_URL=http://127.0.0.1:8090/v1 patchbay serve")]
pub struct SimArgs {
    /// Where to listen; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// What the double says and does, as JSON; without it, it says back what it heard.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

/// A script that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The script.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not a script.
    #[error("{}:{error}", path.display())]
    Malformed {
        /// The script.
        path: PathBuf,
        /// Where and why.
        error: serde_json::Error,
    },
    /// A WAV that it names cannot be used.
    #[error("{}: {error}", path.display())]
    Wav {
        /// The WAV.
        path: PathBuf,
        /// Why.
        error: WavError,
    },
}

/// Reads a script; WAVs that it names are looked for beside it.
///
/// # Errors
/// [`ScriptError`].
pub fn read_script(path: &Path) -> Result<Script, ScriptError> {
    let own = || path.to_owned();
    let text = std::fs::read(path).map_err(|error| ScriptError::Unreadable { path: own(), error })?;
    let script = serde_json::from_slice::<Script>(&text);
    let mut script = script.map_err(|error| ScriptError::Malformed { path: own(), error })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    script.resolve(|wav| {
        let path = folder.join(wav);
        read_l16_24k(&path).map_err(|error| ScriptError::Wav { path, error })
    })?;
    Ok(script)
}

impl Double for RealtimeDouble {
    fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>) {
        Self::on_wire(self, wire, now, out);
    }

    fn on_timeout(&mut self, now: Instant, out: &mut Vec<Wire>) {
        Self::on_timeout(self, now, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self)
    }

    /// What is still on its way, delayed, has to leave first.
    fn is_over(&self) -> bool {
        Self::is_over(self) && Self::poll_timeout(self).is_none()
    }
}

/// A provider's double that is bound and not yet serving.
#[derive(Debug)]
pub struct Sim {
    listener: Listener,
    script: Arc<Script>,
}

impl Sim {
    /// Binds.
    ///
    /// # Errors
    /// The address is taken, not ours, or needs privileges.
    pub async fn bind(address: SocketAddr, script: Script) -> io::Result<Self> {
        let listener = Listener::bind(address, ListenLimits::default()).await?;
        Ok(Self { listener, script: Arc::new(script) })
    }

    /// What to configure as the provider's base URL.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn base_url(&self) -> io::Result<String> {
        Ok(format!("http://{}/v1", self.listener.local_addr()?))
    }

    /// Serves until `stop` is ready. `ended` sees each double when its socket has ended.
    pub async fn serve(self, stop: impl Future<Output = ()>, ended: impl FnMut(&RealtimeDouble)) {
        let (upgrades, taken) = mpsc::channel(WAITING_MAX);
        let desk = Desk { script: self.script, dials: Arc::default(), upgrades };
        let router = Router::new().fallback(open).with_state(desk);
        // The router, and with it the last sender, is gone when the listener has stopped: then `play_all` ends too.
        tokio::join!(self.listener.serve(router, stop), play_all(taken, ended));
    }
}

#[derive(Clone)]
struct Desk {
    script: Arc<Script>,
    /// Upgrades so far: scripts speak of the first, the second …
    dials: Arc<AtomicUsize>,
    upgrades: mpsc::Sender<Admitted>,
}

struct Admitted {
    pending: PortPending,
    double: RealtimeDouble,
}

async fn open(State(desk): State<Desk>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let headers = parts.headers.clone();
    let upgrade: Result<WsUpgrade, UpgradeRefused> = WsUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let dial = desk.dials.fetch_add(1, Ordering::Relaxed);
    match accept(&desk.script, dial, &path, &headers) {
        Ok(accepted) => admit(&desk, upgrade, accepted, dial).await,
        Err(refused) => refuse(refused),
    }
}

async fn admit(desk: &Desk, upgrade: WsUpgrade, accepted: Accepted, dial: usize) -> Response {
    let (response, pending) = upgrade.with_protocol("realtime").accept(PortLimits::PROVIDER);
    let double = RealtimeDouble::new(Arc::clone(&desk.script), accepted, dial);
    match desk.upgrades.send(Admitted { pending, double }).await {
        Ok(()) => response,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn refuse(refused: Refused) -> Response {
    let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = serde_json::json!({ "error": {
        "type": "invalid_request_error", "code": null, "message": status.canonical_reason(), "param": null
    }});
    let mut response = (status, axum::Json(error)).into_response();
    if let Some(seconds) = refused.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// One task a socket, all owned here. Ends when no upgrade can come any more and every socket has ended; dropped, it
/// ends them.
async fn play_all(mut admitted: mpsc::Receiver<Admitted>, mut ended: impl FnMut(&RealtimeDouble)) {
    let mut stages = JoinSet::new();
    let mut is_open = true;
    while is_open || !stages.is_empty() {
        tokio::select! {
            next = admitted.recv(), if is_open => match next {
                Some(Admitted { pending, double }) => drop(stages.spawn(play(pending, double))),
                None => {
                    is_open = false;
                    stages.abort_all();
                }
            },
            Some(done) = stages.join_next() => {
                if let Ok(Some(double)) = done {
                    ended(&double);
                }
            }
        }
    }
}

async fn play(pending: PortPending, double: RealtimeDouble) -> Option<RealtimeDouble> {
    Some(Stage::new(double, pending.port().await?).play(|_| ()).await)
}

/// Runs the command until it is interrupted.
pub async fn run(args: SimArgs) -> ExitCode {
    let script = match args.script.as_deref().map_or_else(|| Ok(Script::default()), read_script) {
        Ok(script) => script,
        Err(error) => return fail(&error, 2),
    };
    let sim = match Sim::bind(args.listen, script).await {
        Ok(sim) => sim,
        Err(error) => return fail(&error, 1),
    };
    say(&format!("OPENAI_BASE_URL={}", sim.base_url().unwrap_or_default()));
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    sim.serve(stop, |double| say(&summary(double))).await;
    ExitCode::SUCCESS
}

fn summary(double: &RealtimeDouble) -> String {
    let ledger = double.ledger();
    let sent: u64 = ledger.responses.iter().map(|response| response.sent.as_ms()).sum();
    format!(
        "socket ended: {} responses of {sent} ms in all, {} appends, {} cancels, {} truncations, errors {:?}",
        ledger.responses.len(),
        ledger.appends,
        ledger.cancels,
        ledger.truncations.len(),
        ledger.errors
    )
}

fn say(line: &str) {
    // A closed pipe is the reader's choice.
    let _ = writeln!(io::stdout(), "{line}");
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "patchbay sim: {error}");
    ExitCode::from(code)
}
