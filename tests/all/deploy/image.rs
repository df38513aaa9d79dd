//! `deploy/Dockerfile` and `.dockerignore`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::claims::{Claims, Listener};
use super::{assert_found, span, with};
use crate::house;

/// A Dockerfile as its last stage leaves it, and how it came about.
pub(super) struct Image {
    /// Instruction and argument, of all stages, in order.
    lines: Vec<(String, String)>,
    /// Where the last stage begins.
    last: usize,
}

impl Image {
    pub(super) fn read() -> Self {
        Self::parse(&house::text("deploy/Dockerfile"))
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let whole = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        let instruction = |line: &str| {
            line.trim().split_once(' ').map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        };
        let lines: Vec<_> = whole.lines().filter_map(instruction).collect();
        let last = lines.iter().rposition(|(word, _)| word == "FROM").expect("an image comes from another");
        Self { lines, last }
    }

    /// The arguments of an instruction in the last stage.
    fn of_last<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines[self.last..].iter().filter(move |(found, _)| found == word).map(|(_, rest)| rest.as_str())
    }

    /// What runs when nothing else is said.
    pub(super) fn command(&self) -> Vec<String> {
        let cmd = self.of_last("CMD").last().unwrap_or_default();
        serde_json::from_str(cmd).unwrap_or_default()
    }

    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let pairs = self.of_last("ENV").flat_map(str::split_whitespace);
        pairs
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    /// The user, when it is a number and not root's.
    pub(super) fn user(&self) -> Option<u32> {
        let user = self.of_last("USER").last()?;
        user.split(':').next()?.parse().ok().filter(|user| *user != 0)
    }

    /// The folder in which `.env` and `patchbay.toml` are looked for.
    pub(super) fn folder(&self) -> &str {
        self.of_last("WORKDIR").last().unwrap_or("/")
    }

    /// What the image says of the binary. Docker kills after 10 s unless told otherwise: whoever runs it tells it.
    pub(super) fn claims(&self) -> Result<Claims, String> {
        let mut variables = self.variables();
        for (name, value) in
            [("PATCHBAY__SERVER__PUBLIC_URL", "https://voice.example.com"), ("OPENAI_API_KEY", "sample")]
        {
            variables.insert(name.into(), value.into());
        }
        let exposed = self.of_last("EXPOSE").flat_map(str::split_whitespace).map(str::parse);
        let exposed: Vec<u16> = exposed.collect::<Result<_, _>>().map_err(|_| "EXPOSE takes ports")?;
        let [public, admin] = exposed[..] else {
            return Err(format!("two listeners, but EXPOSE {exposed:?}"));
        };
        Ok(Claims {
            commands: vec![self.command()],
            variables,
            ports: vec![(Listener::Public, public), (Listener::Admin, admin)],
            comes_from_outside: true,
            asked: Vec::new(),
            stop_signal: self.of_last("STOPSIGNAL").last().unwrap_or("nothing").to_owned(),
            stop_within: span("1h")?,
        })
    }

    /// What is wrong with how it is made.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.user().is_none() {
            faults.push("the user is root, or has no number that a cluster can check".into());
        }
        let given =
            self.of_last("COPY").any(|copy| copy == "--from=build --chown=65532:65532 /out/lib/ /var/lib/");
        let variables = self.variables();
        let spill = variables
            .get("PATCHBAY__STORAGE__SPILL")
            .is_some_and(|path| path.starts_with("/var/lib/patchbay/"));
        if !given || !spill || self.folder() != "/var/lib/patchbay" {
            faults.push("it works where it cannot write".into());
        }
        if self.of_last("ENTRYPOINT").next().is_some() {
            faults.push("with an ENTRYPOINT, Fly.io's release command is appended to it".into());
        }
        if self.of_last("RUN").next().is_some() {
            faults.push("the last stage runs something: its base has no shell".into());
        }
        let builds = self.lines.iter().find(|(word, rest)| word == "RUN" && rest.contains("cargo build"));
        let flags = builds.map_or("", |(_, rest)| rest);
        for flag in ["--release", "--locked", "--package patchbay", "type=cache"] {
            if !flags.contains(flag) {
                faults.push(format!("the build lacks {flag}"));
            }
        }
        let has_page = self.lines.iter().any(|(word, rest)| {
            word == "COPY" && rest.starts_with("--from=web") && rest.ends_with("gateway/web/dist")
        });
        if !has_page {
            faults.push("the voice page is not in the program".into());
        }
        if !self.of_last("COPY").any(|copy| copy == "--from=build /out/bin/ /usr/local/bin/") {
            faults.push("the program is not copied to where PATH finds it".into());
        }
        if self.rust() < self.rust_needed() {
            faults.push(format!("Rust 1.{:?} is older than the workspace needs", self.rust()));
        }
        faults
    }

    /// The minor version of Rust that builds.
    fn rust(&self) -> Option<u32> {
        let mut bases = self.lines.iter().filter(|(word, _)| word == "FROM").map(|(_, rest)| rest);
        bases.find_map(|base| base.strip_prefix("rust:1."))?.split('-').next()?.parse().ok()
    }

    fn rust_needed(&self) -> Option<u32> {
        let workspace = house::text("Cargo.toml");
        let version = workspace.split("rust-version = \"1.").nth(1)?;
        version.split('"').next()?.parse().ok()
    }
}

pub(super) fn claims() -> Result<Claims, String> {
    Image::read().claims()
}

#[test]
fn the_image_is_small_and_runs_as_nobody() {
    let text = house::text("deploy/Dockerfile");
    let faults = Image::parse(&text).faults();
    assert!(faults.is_empty(), "{faults:#?}");
    for (from, to, found) in [
        ("USER 65532:65532", "USER root", "root"),
        ("USER 65532:65532", "USER 0:0", "root"),
        ("COPY --from=web", "# COPY --from=web", "voice page"),
        ("WORKDIR /var/lib/patchbay", "WORKDIR /", "cannot write"),
        ("SPILL=/var/lib/patchbay/", "SPILL=/srv/", "cannot write"),
        ("CMD [", "ENTRYPOINT [\"patchbay\"]\nCMD [", "ENTRYPOINT"),
        ("--release --locked", "--release", "--locked"),
        ("rust:1.95", "rust:1.80", "older"),
        ("/out/bin/ /usr/local/bin/", "/out/bin/ /srv/", "PATH"),
    ] {
        assert_found(&Image::parse(&with(&text, from, to)).faults(), found, to);
    }
}

#[test]
fn what_the_image_says_wrongly_is_found() {
    let text = house::text("deploy/Dockerfile");
    for (from, to, found) in [
        ("EXPOSE 8080 9090", "EXPOSE 8081 9090", "port 8081"),
        ("EXPOSE 8080 9090", "EXPOSE 9090 8080", "port 9090 is said to be Public"),
        ("\"serve\"]", "\"run\"]", "no subcommand \"run\""),
        ("\"serve\"]", "\"serve\", \"--conf\"]", "--conf"),
        (
            "PATCHBAY__SERVER__ADMIN_LISTEN=0.0.0.0",
            "PATCHBAY__SERVER__ADMIN_LISTEN=127.0.0.1",
            "nobody can reach it",
        ),
        ("PATCHBAY__SERVER__LISTEN", "PATCHBAY__SERVER__BIND", "unknown key"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGQUIT", "SIGQUIT"),
    ] {
        assert_found(&Image::parse(&with(&text, from, to)).claims().unwrap().faults(), found, to);
    }
}

#[test]
fn nothing_that_the_build_reads_is_kept_out_of_its_context() {
    let ignored = house::text(".dockerignore");
    let let_in = |top: &str| ignored.lines().any(|line| line == format!("!{top}"));
    assert!(ignored.lines().any(|line| line == "*"), "what is not named is kept out");
    let mut read: Vec<String> = ["Cargo.toml", "Cargo.lock", "LICENSE", "tests"].map(str::to_owned).into();
    for path in house::files("rs").iter().filter(|path| path.starts_with("gateway/")) {
        let folder = Path::new(path).parent().expect("a file lies in a folder").to_owned();
        let text = house::text(path);
        let included = text.split("include_").skip(1).filter_map(|rest| rest.split('"').nth(1));
        read.extend(included.filter_map(|file| top_of(&folder.join(file))));
    }
    read.sort();
    read.dedup();
    assert!(
        read.contains(&"config".to_owned()),
        "the defaults are built in: has `include_str!` changed its form?"
    );
    let missing: Vec<_> = read.iter().filter(|top| !let_in(top)).collect();
    assert!(missing.is_empty(), ".dockerignore keeps out {missing:?}");
    assert!(!let_in("deploy"), "deploy/secrets would go into the image's layers");
}

/// The first folder of a path from the top, once its `..` are gone.
fn top_of(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.first()?.as_os_str().to_str().map(str::to_owned)
}
