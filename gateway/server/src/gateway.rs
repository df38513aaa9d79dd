//! The gateway as a whole: built (bound, nothing started), then run until drained.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::EndReason;
use patchbay_store::UnixMs;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api;
use crate::app::App;
use crate::calls::Calls;
use crate::config::{self, Config, PublicUrl, Reload};
use crate::drain::{Drain, Phase};
use crate::meter::Till;
use crate::metrics::Metrics;
use crate::prompts;
use crate::transport::{ListenLimits, Listener};

/// How long calls may say goodbye once time is up.
const GOODBYE: Duration = Duration::from_secs(2);

/// What cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({reason}); choose another {key} in the configuration")]
pub struct BuildError {
    key: &'static str,
    address: SocketAddr,
    reason: io::Error,
}

/// Everything, bound and not yet started.
pub struct Gateway {
    public: Listener,
    admin: Listener,
    public_addr: SocketAddr,
    admin_addr: SocketAddr,
    app: Arc<App>,
    calls: Arc<Calls>,
    reload: Reload,
}

impl Gateway {
    /// Binds both listeners. `path` is the file that a reload reads.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub async fn build(config: Config, path: Option<PathBuf>) -> Result<Self, BuildError> {
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        let limits = listen_limits(&config.limits);
        let (public, public_addr) = bind("server.listen", config.server.listen, limits).await?;
        let (admin, admin_addr) = bind("server.admin_listen", config.server.admin_listen, limits).await?;
        let (reload, config) = config::watch(config, path);
        let metrics = Arc::new(Metrics::new());
        let recordings = config.borrow().server.recordings.clone();
        let till = Till::in_memory(metrics.clone());
        let in_use = config.borrow().clone();
        if let Err(error) = till.restore(&in_use, UnixMs::now()).await {
            tracing::error!(%error, "what tenants spent before cannot be read: their limits begin anew");
        }
        let calls = Calls::new(metrics.clone(), prompts::english(), recordings, till.clone());
        let app = App::new(config, public_addr, Box::new(calls.clone()), metrics, Drain::default(), till);
        Ok(Self { public, admin, public_addr, admin_addr, app, calls, reload })
    }

    /// Where the public listener is.
    #[must_use]
    pub fn public_addr(&self) -> SocketAddr {
        self.public_addr
    }

    /// Where the admin listener is.
    #[must_use]
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// How the outside reaches us.
    #[must_use]
    pub fn public_url(&self) -> &PublicUrl {
        &self.app.public_url
    }

    /// The voice webhook of every route.
    #[must_use]
    pub fn webhooks(&self) -> Vec<String> {
        let config = self.app.config();
        let of =
            |tenant: &str, route: &str| self.app.public_url.http(&format!("/twilio/voice/{tenant}/{route}"));
        let routes = config
            .tenants
            .values()
            .flat_map(|tenant| tenant.routes.keys().map(|route| of(&tenant.name, route)).collect::<Vec<_>>());
        routes.collect()
    }

    /// What signals advance.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.app.drain.clone()
    }

    /// Serves until drained. Webhooks and health are answered to the end, so that callers who lose their stream are told
    /// what comes next.
    pub async fn run(self) {
        let Self { public, admin, app, calls, reload, .. } = self;
        let drain = app.drain.clone();
        let server = app.config().server.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(public.serve(api::public(&app), ended(drain.clone(), calls.clone())));
        tasks.spawn(admin.serve(api::admin(&app), ended(drain.clone(), calls.clone())));
        let mut aides = JoinSet::new();
        aides.spawn(async move {
            if let Err(error) = reload.run().await {
                tracing::error!(%error, "the configuration cannot be reloaded");
            }
        });
        let clock = drain.clone();
        aides.spawn(async move { clock.run_clock(server.drain_handoff, server.drain_deadline).await });
        let (handing, leaving) = (drain.clone(), calls.clone());
        aides.spawn(async move {
            handing.reached(Phase::HandOff).await;
            leaving.end_all(EndReason::Shutdown);
        });
        drain.reached(Phase::Draining).await;
        tracing::info!(calls = calls.count(), "draining: no new calls");
        while tasks.join_next().await.is_some() {}
        tracing::info!("drained");
    }
}

/// Resolves when draining and no call is left, or when time is up and the calls have said goodbye.
async fn ended(drain: Drain, calls: Arc<Calls>) {
    drain.reached(Phase::Draining).await;
    tokio::select! {
        () = calls.drained() => {}
        () = drain.reached(Phase::Done) => {}
    }
    calls.end_all(EndReason::Shutdown);
    let _ = timeout(GOODBYE, calls.drained()).await;
}

async fn bind(
    key: &'static str,
    address: SocketAddr,
    limits: ListenLimits,
) -> Result<(Listener, SocketAddr), BuildError> {
    let wrong = |reason| BuildError { key, address, reason };
    let listener = Listener::bind(address, limits).await.map_err(wrong)?;
    let bound = listener.local_addr().map_err(wrong)?;
    Ok((listener, bound))
}

fn listen_limits(limits: &config::Limits) -> ListenLimits {
    ListenLimits {
        connections_max: limits.sockets_max,
        header_within: limits.header_timeout,
        header_bytes_max: limits.header_bytes_max,
        headers_max: limits.headers_max,
        drain_within: GOODBYE,
    }
}
