//! What one way to deploy says of the binary, and whether it is so.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use patchbay::cli::Cli;
use patchbay::config::{Config, Sources};
use patchbay_sim::realtime::Script;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{compose, fly, image, unit};
use crate::house;
use crate::stage::Stage;

/// From the end of `server.drain_deadline_s` to the exit: goodbyes, answers in progress.
const WIND_UP: Duration = Duration::from_secs(5);

/// Variables that something else than the configuration reads, and where.
const READ_ELSEWHERE: [(&str, &str); 1] = [("PATCHBAY_CONFIG", "gateway/server/src/cli.rs")];

/// A listener of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    Public,
    Admin,
}

/// A request that the platform makes, and that must be answered with 200.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) listener: Listener,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

/// What one way to deploy says of the binary.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    /// Program and arguments, as they are executed.
    pub(super) commands: Vec<Vec<String>>,
    /// Everything in the environment or in `.env`, secrets with samples.
    pub(super) variables: BTreeMap<String, String>,
    /// Ports that lead to each listener.
    pub(super) ports: Vec<(Listener, u16)>,
    /// Whether requests come from elsewhere than this machine.
    pub(super) comes_from_outside: bool,
    pub(super) asked: Vec<Asked>,
    pub(super) stop_signal: String,
    /// From the signal to SIGKILL.
    pub(super) stop_within: Duration,
}

impl Claims {
    /// Everything that is not so, but for what a running gateway must be asked.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self.commands.iter().filter_map(|command| refused(command)).collect();
        if !["SIGTERM", "SIGINT"].contains(&self.stop_signal.as_str()) {
            faults.push(format!("{} does not drain", self.stop_signal));
        }
        match self.config(&self.variables) {
            Ok(config) => {
                faults.extend(self.unread());
                faults.extend(self.faults_beside(&config));
            }
            Err(refusal) => faults.push(refusal),
        }
        faults
    }

    fn unread(&self) -> impl Iterator<Item = String> {
        let unread = self.variables.keys().filter(|name| !self.is_read(name));
        unread.map(|name| format!("{name} is set, and nothing reads it"))
    }

    fn config(&self, variables: &BTreeMap<String, String>) -> Result<Config, String> {
        let sources = Sources { variables: variables.clone(), ..Sources::default() };
        Config::parse(&sources).map_err(|faults| faults.to_string())
    }

    fn faults_beside(&self, config: &Config) -> Vec<String> {
        let mut faults = Vec::new();
        let server = &config.server;
        for (listener, port) in &self.ports {
            let address = match listener {
                Listener::Public => server.listen,
                Listener::Admin => server.admin_listen,
            };
            if address.port() != *port {
                faults.push(format!("port {port} is said to be {listener:?}, which listens on {address}"));
            }
            if self.comes_from_outside && address.ip().is_loopback() {
                faults.push(format!("{listener:?} listens on {address}, where nobody can reach it"));
            }
        }
        if server.drain_deadline + WIND_UP > self.stop_within {
            let deadline = server.drain_deadline.as_secs();
            faults.push(format!(
                "drains for {deadline} s, but is killed after {} s",
                self.stop_within.as_secs()
            ));
        }
        faults
    }

    /// Whether the binary takes notice of a variable: without it, something is different.
    fn is_read(&self, name: &str) -> bool {
        if READ_ELSEWHERE.iter().any(|(known, path)| *known == name && house::text(path).contains(name)) {
            return true;
        }
        let mut without = self.variables.clone();
        without.remove(name);
        self.effect(&without) != self.effect(&self.variables)
            // It may say what is the default anyway: then saying something else must make a difference.
            || self.effect(&self.with(name, "?")) != self.effect(&self.variables)
    }

    fn with(&self, name: &str, value: &str) -> BTreeMap<String, String> {
        let mut variables = self.variables.clone();
        variables.insert(name.to_owned(), value.to_owned());
        variables
    }

    /// What the configuration comes to; faults without what they say of `?`.
    fn effect(&self, variables: &BTreeMap<String, String>) -> String {
        match self.config(variables) {
            Ok(config) => format!("{}\n{}", config.to_toml(), config.notices.join("\n")),
            Err(refusal) => refusal,
        }
    }
}

/// What is wrong with a command, if anything.
pub(super) fn refused(command: &[String]) -> Option<String> {
    let shown = command.join(" ");
    let program = command.first().and_then(|path| path.rsplit('/').next());
    if program != Some("patchbay") {
        return Some(format!("`{shown}` does not run patchbay"));
    }
    let subcommand = command.get(1).map_or("", String::as_str);
    if !is_subcommand(subcommand) {
        return Some(format!("`{shown}`: there is no subcommand {subcommand:?}"));
    }
    let refusal = Cli::try_parse_from(command).err()?;
    Some(format!("`{shown}`: {}", refusal.to_string().lines().next().unwrap_or_default()))
}

fn is_subcommand(name: &str) -> bool {
    Cli::command().find_subcommand(name).is_some()
}

/// Asks a running gateway; what was not answered with 200.
pub(super) async fn unanswered(asked: &[Asked]) -> Vec<String> {
    let stage = Stage::set(Script::default(), "").await;
    let (public, admin) = (stage.public(), stage.admin_addr());
    let mut faults = Vec::new();
    for request in asked {
        let address = match request.listener {
            Listener::Public => public,
            Listener::Admin => admin,
        };
        let answer = get(address, request).await;
        if !answer.starts_with("HTTP/1.1 200 ") {
            let status = answer.lines().next().unwrap_or("nothing");
            faults.push(format!("GET {} of {:?}: {status}", request.path, request.listener));
        }
    }
    stage.clear().await;
    faults
}

async fn get(address: SocketAddr, request: &Asked) -> String {
    let mut text = format!("GET {} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n", request.path);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_is_deployed_is_what_the_binary_takes() {
    let ways = [
        ("image", image::claims()),
        ("fly", fly::claims()),
        ("compose", compose::claims()),
        ("systemd", unit::claims()),
    ];
    for (name, claims) in ways {
        let claims = claims.unwrap_or_else(|fault| panic!("deploy, {name}: {fault}"));
        assert!(!claims.commands.is_empty(), "{name}: no command was found");
        let faults = claims.faults();
        assert!(faults.is_empty(), "deploy, {name}: {faults:#?}");
    }
}

#[tokio::test]
async fn every_path_that_a_platform_asks_for_is_answered() {
    let asked = fly::claims().unwrap().asked;
    assert!(asked.iter().any(|request| request.listener == Listener::Public), "no check was found");
    assert!(asked.iter().any(|request| request.listener == Listener::Admin), "no metrics were found");
    assert_eq!(unanswered(&asked).await, Vec::<String>::new());
    let elsewhere = |listener, path: &str| Asked { listener, path: path.into(), headers: Vec::new() };
    let wrong = [elsewhere(Listener::Public, "/ready"), elsewhere(Listener::Public, "/metrics")];
    assert_eq!(unanswered(&wrong).await.len(), 2, "a wrong path, and one of the other listener, are found");
}

#[test]
fn every_command_that_a_page_quotes_is_one() {
    let pages =
        house::files("md").into_iter().filter(|path| path == "README.md" || path.starts_with("deploy/"));
    let mut found = 0;
    for path in pages {
        let text = house::text(&path);
        let quoted =
            text.split('`').filter(|quoted| quoted.starts_with("patchbay ") && !quoted.contains('…'));
        let commands = quoted.map(|quoted| quoted.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        // Two words name a command, more are one to type.
        let wrong = |command: Vec<String>| match command.as_slice() {
            [_, name] => (!is_subcommand(name)).then(|| format!("there is no `patchbay {name}`")),
            typed => refused(typed),
        };
        let faults: Vec<_> = commands.inspect(|_| found += 1).filter_map(wrong).collect();
        assert!(faults.is_empty(), "{path}: {faults:#?}");
    }
    assert!(found > 3, "only {found} commands are quoted: has the form of the pages changed?");
}

#[test]
fn a_command_that_the_binary_does_not_know_is_found() {
    let split = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(refused(&split("/usr/local/bin/patchbay serve --config x.toml")), None);
    for wrong in ["patchbay", "patchbay run", "patchbay serve --conf x", "patchbay serve x", "gateway serve"]
    {
        assert!(refused(&split(wrong)).is_some(), "{wrong}");
    }
}
