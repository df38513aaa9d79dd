//! `deploy/systemd/`.

use std::collections::BTreeMap;

use patchbay::cli::WRONG_USE;
use patchbay::config::{Config, Sources};

use super::claims::{Claims, Listener};
use super::{assert_found, example, span, with};
use crate::house;

/// A unit: its settings in order.
struct Unit(Vec<(String, String)>);

impl Unit {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty());
        Self(
            lines
                .filter_map(|line| line.split_once('='))
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }

    fn all(&self, key: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// The last value of `key`, which counts.
    fn last(&self, key: &'static str) -> &str {
        self.all(key).last().unwrap_or_default()
    }

    /// What it says of the binary. `variables` is the text of the example.
    fn claims(&self, variables: &str) -> Result<Claims, String> {
        let mut known: BTreeMap<_, _> = self
            .all("Environment")
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        known.extend(example::variables(variables));
        Ok(Claims {
            commands: self
                .all("ExecStart")
                .map(|line| line.split(' ').map(str::to_owned).collect())
                .collect(),
            variables: known,
            ports: vec![(Listener::Public, 8080), (Listener::Admin, 9090)],
            comes_from_outside: false,
            asked: Vec::new(),
            stop_signal: self.last("KillSignal").to_owned(),
            stop_within: span(self.last("TimeoutStopSec"))?,
        })
    }

    /// What is wrong beside what systemd-analyze finds.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        must(
            self.last("RestartPreventExitStatus") == WRONG_USE.to_string(),
            "a bad configuration is tried for ever",
        );
        must(self.last("ExecReload").contains("-HUP"), "SIGHUP reloads");
        let database = self.all("Environment").find_map(|pair| pair.strip_prefix("DATABASE_URL=sqlite://"));
        let state = format!("/var/lib/{}/", self.last("StateDirectory"));
        must(
            database.is_some_and(|path| path.starts_with(&state)),
            "the database lies where nothing can be written",
        );
        let inside = |path: &str| format!("{path}/").starts_with(&state);
        must(inside(self.last("WorkingDirectory")), "it works where it cannot write");
        let folder = format!("/etc/{}/", self.last("ConfigurationDirectory"));
        must(self.last("EnvironmentFile").starts_with(&folder), "the variables lie elsewhere");
        must(self.last("Type") == "exec", "the gateway does not speak sd_notify");
        let compiles = house::text("Cargo.lock").contains("name = \"wasmtime\"");
        must(self.last("MemoryDenyWriteExecute") == "yes" || compiles, "nothing is compiled at run time");
        must(self.last("MemoryDenyWriteExecute") != "yes" || !compiles, "plugins are compiled at run time");
        faults
    }
}

pub(super) const FILE: &str = "deploy/systemd/patchbay.service";
const EXAMPLE: &str = "deploy/systemd/patchbay.env.example";

pub(super) fn claims() -> Result<Claims, String> {
    Unit::parse(&house::text(FILE)).claims(&house::text(EXAMPLE))
}

#[test]
fn the_unit_fits_the_binary() {
    let (text, variables) = (house::text(FILE), house::text(EXAMPLE));
    let faults = Unit::parse(&text).faults();
    assert!(faults.is_empty(), "{faults:#?}");
    for (from, to, found) in [
        ("RestartPreventExitStatus=2", "RestartPreventExitStatus=1", "for ever"),
        ("sqlite:///var/lib/patchbay/", "sqlite:///srv/", "the database lies"),
        ("WorkingDirectory=/var/lib/patchbay", "WorkingDirectory=/etc/patchbay", "works where"),
        ("MemoryDenyWriteExecute=yes", "MemoryDenyWriteExecute=no", "compiled"),
    ] {
        assert_found(&Unit::parse(&with(&text, from, to)).faults(), found, to);
    }
    for (from, to, found) in [
        ("patchbay serve", "patchbay run", "no subcommand"),
        ("patchbay serve", "patchbay serve --config", "--config"),
        ("KillSignal=SIGTERM", "KillSignal=SIGQUIT", "does not drain"),
        ("TimeoutStopSec=310", "TimeoutStopSec=90", "is killed after 90 s"),
        ("Environment=DATABASE_URL", "Environment=DB_URL", "nothing reads it"),
    ] {
        assert_found(&Unit::parse(&with(&text, from, to)).claims(&variables).unwrap().faults(), found, to);
    }
    let wrong = with(&variables, "PATCHBAY__SERVER__PUBLIC_URL", "PATCHBAY__SERVER__URL");
    assert_found(&Unit::parse(&text).claims(&wrong).unwrap().faults(), "unknown key", "SERVER__URL");
}

#[test]
fn what_the_examples_leave_out_is_taken_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("openai"), "sk-sample").unwrap();
    let unit = house::text(FILE);
    let line =
        unit.lines().find_map(|line| line.strip_prefix("#Environment=")).expect("the key as a credential");
    let (name, path) = line.split_once('=').unwrap();
    let mut sources = Sources::default();
    sources.set(name, &path.replace("%d", folder.path().to_str().unwrap()));
    let config = Config::parse(&sources).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.providers["openai"].key.as_ref().unwrap().expose(), "sk-sample");
    let commented = house::text(EXAMPLE)
        .replace("\n#DATABASE_URL", "\nDATABASE_URL")
        .replace("\n#PATCHBAY", "\nPATCHBAY");
    assert_ne!(commented, house::text(EXAMPLE));
    let faults = Unit::parse(&unit).claims(&commented).unwrap().faults();
    assert!(faults.is_empty(), "{faults:#?}");
}
