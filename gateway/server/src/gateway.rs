//! The gateway as a whole: built (bound, nothing started), then run until drained.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::EndReason;
use patchbay_store::{StoreError, UnixMs};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api;
use crate::app::{App, AppParts};
use crate::archive::Archive;
use crate::bots;
use crate::calls::{Calls, Shared};
use crate::config::{self, Config, Origin, PublicUrl, Reload};
use crate::drain::{Drain, Phase};
use crate::meter::Till;
use crate::metrics::Metrics;
use crate::overload::{self, Overload};
use crate::prompts;
use crate::registry::{ChangeError, Registry};
use crate::transport::{Gate, ListenLimits, Listener};

/// How long calls may say goodbye once time is up.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long the journal may take to reach the database at the end.
const JOURNAL: Duration = Duration::from_secs(5);

/// What cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An address that cannot be bound.
    #[error("cannot listen on {address} ({reason}); choose another {key} in the configuration")]
    Listen {
        /// Of which key.
        key: &'static str,
        /// Which.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database's tenants cannot be used.
    #[error(transparent)]
    Tenants(#[from] ChangeError),
}

/// Everything, bound and not yet started.
pub struct Gateway {
    public: Listener,
    admin: Listener,
    public_addr: SocketAddr,
    admin_addr: SocketAddr,
    app: Arc<App>,
    calls: Arc<Calls>,
    reload: Arc<Reload>,
}

impl Gateway {
    /// Binds both listeners. `origin` is what `config` was made from, and what a reload reads.
    ///
    /// # Errors
    /// [`BuildError`]
    pub async fn build(config: Config, origin: Origin) -> Result<Self, BuildError> {
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        let limits = listen_limits(&config.limits);
        let (public, public_addr) = bind("server.listen", config.server.listen, limits).await?;
        let (admin, admin_addr) = bind("server.admin_listen", config.server.admin_listen, limits).await?;
        let (reload, config) = config::watch(config, origin);
        let (reload, in_use) = (Arc::new(reload), config.borrow().clone());
        let archive = Archive::open(&in_use.storage, in_use.server.recordings.clone()).await?;
        let registry =
            archive.is_durable.then(|| Arc::new(Registry::new(archive.store.clone(), reload.clone())));
        let (metrics, overload) = (Arc::new(Metrics::new()), Arc::new(Overload::default()));
        let gate = gate(&in_use, public_addr, &metrics).await?;
        let till = Till::new(Arc::new(archive.writer.clone()), archive.store.clone(), metrics.clone());
        let calls = Calls::new(Shared {
            metrics: metrics.clone(),
            prompts: prompts::english(),
            recordings: in_use.server.recordings.clone(),
            till: till.clone(),
            archive: archive.clone(),
            overload: overload.clone(),
        });
        let app = App::new(AppParts {
            config,
            bound: public_addr,
            calls: Box::new(calls.clone()),
            metrics,
            drain: Drain::default(),
            till,
            archive,
            registry,
            overload,
            gate,
        });
        begin_with_the_store(&app).await?;
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

    /// The ports of WebRTC, if it is on.
    #[must_use]
    pub fn gate(&self) -> Option<&Gate> {
        self.app.gate.as_deref()
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

    /// What is given up when the machine is too busy.
    #[must_use]
    pub fn overload(&self) -> &Overload {
        &self.app.overload
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
        aides.spawn(overload::watch(app.clone(), calls.clone()));
        if let Some(gate) = app.gate.clone() {
            aides.spawn(gate.run());
        }
        let (archive, config, known) = (app.archive.clone(), app.config.clone(), calls.clone());
        aides.spawn(async move { archive.keep_swept(config, || known.drop_ended()).await });
        if let Some(registry) = app.registry.clone() {
            let app = app.clone();
            aides.spawn(async move { registry.follow(&app).await });
        }
        let bots = app.bots.clone();
        aides.spawn(async move { bots.keep_time().await });
        let known = app.clone();
        aides.spawn(async move { bots::keys::follow(&known).await });
        aides.spawn(api::twilio::minutes::keep_settled(app.clone()));
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
        if !app.archive.writer.close(JOURNAL).await {
            tracing::warn!(
                "the database did not take everything; the rest is in the spill, for the next start"
            );
        }
        tracing::info!("drained");
    }
}

/// The ports of WebRTC, as far as the configuration says where peers reach them.
async fn gate(
    config: &Config,
    public: SocketAddr,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Gate>>, BuildError> {
    let Some(spec) = config.webrtc.spec(public) else {
        if config.webrtc.enabled {
            tracing::warn!(
                "WebRTC is off: webrtc.public_ips says by which addresses browsers reach this machine"
            );
        }
        return Ok(None);
    };
    let address = SocketAddr::new(spec.bind.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()), spec.udp_port);
    let gate = Gate::bind(&spec, metrics.clone()).await;
    let wrong = |reason| BuildError::Listen { key: "webrtc.udp_port or tcp_port", address, reason };
    gate.map(Some).map_err(wrong)
}

/// What the store knows and we need: tenants, their keys, and what they spent.
async fn begin_with_the_store(app: &App) -> Result<(), BuildError> {
    if let Some(registry) = &app.registry {
        registry.load(&app.credentials).await?;
    }
    let config = app.config();
    app.till.restore(&config, UnixMs::now()).await?;
    bots::keys::load(app).await?;
    Ok(())
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
    let wrong = |reason| BuildError::Listen { key, address, reason };
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
