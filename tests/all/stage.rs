//! The whole gateway on loopback, between a provider that is a double and callers that are doubles too.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use patchbay::cli::call::CallPlan;
use patchbay::cli::sim::Sim;
use patchbay::cli::wav;
use patchbay::config::{Config, Sources};
use patchbay::drain::Drain;
use patchbay::gateway::Gateway;
use patchbay_sim::realtime::{Ledger, Say, Script, Turn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::house;

/// A fixture of `fixtures/audio`.
pub(crate) fn wav_path(name: &str) -> PathBuf {
    house::root().join("fixtures/audio").join(name)
}

/// A fixture as the phone sends it.
pub(crate) fn ulaw(name: &str) -> bytes::Bytes {
    wav::read_ulaw(&wav_path(name)).expect("a fixture is a WAV")
}

/// A model that says the fixture each time, and keeps what it hears.
pub(crate) fn model_that_says(name: &str) -> Script {
    let pcm = wav::read_l16_24k(&wav_path(name)).expect("a fixture is a WAV");
    Script { turns: vec![Turn::Say(vec![Say::audio(name, pcm)])], ..Script::default() }
}

/// Gateway and provider, running.
pub(crate) struct Stage {
    webhook: String,
    admin: SocketAddr,
    drain: Drain,
    gateway: JoinHandle<()>,
    provider_stops: oneshot::Sender<()>,
    ledgers: mpsc::Receiver<Ledger>,
}

impl Stage {
    /// Starts both. `file` is configuration besides the address of the provider and the listeners.
    pub(crate) async fn set(script: Script, file: &str) -> Self {
        let sim = Sim::bind((Ipv4Addr::LOCALHOST, 0).into(), script).await.unwrap();
        let mut sources = Sources::default();
        sources.set("OPENAI_API_KEY", "sk-of-the-test");
        sources.set("OPENAI_BASE_URL", &sim.base_url().unwrap());
        sources.set("PATCHBAY__SERVER__LISTEN", "127.0.0.1:0");
        sources.set("PATCHBAY__SERVER__ADMIN_LISTEN", "127.0.0.1:0");
        sources.file = Some((PathBuf::from("test.toml"), file.to_owned()));
        let (ended, ledgers) = mpsc::channel(64);
        let (provider_stops, stop) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let stop = async move { drop(stop.await) };
            sim.serve(stop, |double| {
                ended.try_send(double.ledger().clone()).expect("a test has few sockets")
            })
            .await;
        });
        let config = Config::parse(&sources).unwrap_or_else(|faults| panic!("{faults}"));
        let gateway = Gateway::build(config, None).await.unwrap();
        let webhook = gateway.webhooks().first().expect("one route is there without asking").clone();
        let (drain, admin) = (gateway.drain(), gateway.admin_addr());
        Self { webhook, admin, drain, gateway: tokio::spawn(gateway.run()), provider_stops, ledgers }
    }

    /// A caller of the default route, who says the fixture.
    pub(crate) fn caller(&self, says: &str) -> CallPlan {
        CallPlan::new(&self.webhook, ulaw(says))
    }

    /// What the admin listener answers to `GET path`, its head included.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(self.admin).await.expect("the admin listener is there");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("a request fits into a socket");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("the answer is text");
        answer
    }

    /// What signals advance.
    pub(crate) fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Stops everything, in order; answers the provider's account of each connection, as they ended.
    pub(crate) async fn clear(mut self) -> Vec<Ledger> {
        if self.drain.is_serving() {
            self.drain.signal();
        }
        self.gateway.await.expect("the gateway ends without a panic");
        drop(self.provider_stops);
        let mut ledgers = Vec::new();
        while let Some(ledger) = self.ledgers.recv().await {
            ledgers.push(ledger);
        }
        ledgers
    }
}
