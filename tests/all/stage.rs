//! The whole gateway on loopback, between a provider that is a double and callers that are doubles too.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use axum::http::{HeaderName, HeaderValue};
use patchbay::cli::call::CallPlan;
use patchbay::cli::sim::Sim;
use patchbay::cli::stage::Stage as Peer;
use patchbay::cli::wav;
use patchbay::config::{Config, Origin, Sources};
use patchbay::drain::Drain;
use patchbay::gateway::Gateway;
use patchbay::overload::Level;
use patchbay::transport::{DialSpec, Dialer};
use patchbay_core::Refusal;
use patchbay_sim::browser::BrowserDouble;
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
    provider: String,
    public: SocketAddr,
    admin: SocketAddr,
    drain: Drain,
    gateway: JoinHandle<()>,
    provider_stops: oneshot::Sender<()>,
    ledgers: mpsc::Receiver<Ledger>,
}

impl Stage {
    /// Starts both. `file` is configuration besides the address of the provider and the listeners.
    pub(crate) async fn set(script: Script, file: &str) -> Self {
        Self::set_with(script, file, &[]).await
    }

    /// As [`set`](Self::set), with variables.
    pub(crate) async fn set_with(script: Script, file: &str, variables: &[(&str, &str)]) -> Self {
        let sim = Sim::bind((Ipv4Addr::LOCALHOST, 0).into(), script).await.unwrap();
        let mut sources = Sources::default();
        sources.set("OPENAI_API_KEY", "sk-of-the-test");
        let provider = sim.base_url().unwrap();
        sources.set("OPENAI_BASE_URL", &provider);
        for (name, value) in variables {
            sources.set(name, value);
        }
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
        let gateway = Gateway::build(config, Origin::Given(Box::new(sources))).await.unwrap();
        // Tests run beside each other and beside compilers: what is measured says nothing of the gateway.
        gateway.overload().hold(Level::Normal);
        let webhook = gateway.webhooks().first().expect("one route is there without asking").clone();
        let (drain, public, admin) = (gateway.drain(), gateway.public_addr(), gateway.admin_addr());
        Self {
            webhook,
            provider,
            public,
            admin,
            drain,
            gateway: tokio::spawn(gateway.run()),
            provider_stops,
            ledgers,
        }
    }

    /// A caller of the default route, who says the fixture.
    pub(crate) fn caller(&self, says: &str) -> CallPlan {
        CallPlan::new(&self.webhook, ulaw(says))
    }

    /// A caller of another route.
    pub(crate) fn caller_of(&self, tenant: &str, route: &str, says: &str) -> CallPlan {
        let url = format!("http://{}/twilio/voice/{tenant}/{route}", self.public);
        CallPlan::new(&url, ulaw(says))
    }

    /// Where the public listener is.
    pub(crate) fn public(&self) -> SocketAddr {
        self.public
    }

    /// Where the admin listener is.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Where the provider is.
    pub(crate) fn provider(&self) -> &str {
        &self.provider
    }

    /// What the admin listener answers to `GET path`, its head included.
    pub(crate) async fn admin(&self, path: &str) -> String {
        ask(self.admin, &format!("GET {path} HTTP/1.1\r\n"), "").await
    }

    /// What the admin listener answers to `line` (method and path) with `body`, its head included.
    pub(crate) async fn order(&self, line: &str, kind: &str, body: &str) -> String {
        ask(self.admin, &format!("{line} HTTP/1.1\r\ncontent-type: {kind}\r\n"), body).await
    }

    /// What the public listener answers to `GET path` with a key, its head included.
    pub(crate) async fn get(&self, path: &str, key: &str) -> String {
        ask(self.public, &format!("GET {path} HTTP/1.1\r\nauthorization: Bearer {key}\r\n"), "").await
    }

    /// What the public listener answers to a request whose head begins so, its head included.
    pub(crate) async fn ask_public(&self, head: &str) -> String {
        ask(self.public, &format!("{head}\r\n"), "").await
    }

    /// What signals advance.
    pub(crate) fn drain(&self) -> &Drain {
        &self.drain
    }

    /// What the public listener answers to `line` (method and path) with these headers and `body`, its head included.
    pub(crate) async fn post(&self, line: &str, headers: &[(&str, &str)], body: &str) -> String {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        ask(self.public, &format!("{line} HTTP/1.1\r\ncontent-type: application/json\r\n{headers}"), body)
            .await
    }

    /// A client of the realtime API on `path`, which shows these headers; it plays until it or the gateway closes.
    pub(crate) async fn converse(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        double: BrowserDouble,
    ) -> Result<BrowserDouble, Refusal> {
        Self::converse_at(self.public, path, headers, double).await
    }

    /// As [`converse`](Self::converse), with whatever stands before the gateway.
    pub(crate) async fn converse_at(
        at: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
        double: BrowserDouble,
    ) -> Result<BrowserDouble, Refusal> {
        let mut spec = DialSpec::new(&format!("ws://{at}{path}")).expect("an address");
        for (name, value) in headers {
            spec =
                spec.header(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"));
        }
        let port = Dialer::new().dial(&spec).await?;
        Ok(Peer::new(double, port).play(|_| ()).await)
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

/// One request, one answer.
async fn ask(to: SocketAddr, head: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(to).await.expect("the listener is there");
    let length = body.len();
    let request =
        format!("{head}host: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).await.expect("a request fits into a socket");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("the answer is text");
    answer
}

/// The JSON of an answer.
pub(crate) fn json(answer: &str) -> serde_json::Value {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"))
}

/// Every byte of every file below `folder`.
pub(crate) fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let bytes = if path.is_dir() { bytes_below(&path) } else { std::fs::read(&path).expect("a file") };
        all.extend(bytes);
    }
    all
}
