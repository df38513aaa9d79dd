//! `deploy/compose.yml` and the file of variables that it mounts.

use std::path::Path;

use serde_json::Value;

use super::claims::{Claims, Listener};
use super::image::Image;
use super::{assert_found, example, span, with};
use crate::house;

/// A Compose file.
struct Compose(Value);

impl Compose {
    fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map(Self).map_err(|error| error.to_string())
    }

    fn at(&self, path: &str) -> &Value {
        self.0.pointer(path).unwrap_or(&Value::Null)
    }

    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }

    /// What it says of the binary. `variables` is the text of the example.
    fn claims(&self, variables: &str) -> Result<Claims, String> {
        let image = Image::read();
        let mut known = image.variables();
        known.extend(example::variables(variables));
        let ports = self.at("/services/gateway/ports").as_array().ok_or("no ports are published")?;
        let inside = |port: &Value| port.as_str()?.rsplit(':').next()?.parse().ok();
        let ports: Vec<u16> = ports.iter().filter_map(inside).collect();
        let [public, admin] = ports[..] else { return Err(format!("two listeners, but ports {ports:?}")) };
        Ok(Claims {
            commands: vec![self.command(&image)],
            variables: known,
            ports: vec![(Listener::Public, public), (Listener::Admin, admin)],
            comes_from_outside: true,
            asked: Vec::new(),
            stop_signal: self.text("/services/gateway/stop_signal").to_owned(),
            stop_within: span(self.text("/services/gateway/stop_grace_period"))?,
        })
    }

    /// What the gateway's container runs. An argument that looks like a number is text all the same.
    fn command(&self, image: &Image) -> Vec<String> {
        let as_text = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
        match self.at("/services/gateway/command") {
            Value::Null => image.command(),
            Value::Array(parts) => parts.iter().map(as_text).collect(),
            line => as_text(line).split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// What is wrong with how the two are run.
    fn faults(&self, variables: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        for service in ["gateway", "db"] {
            let of = |key: &str| self.at(&format!("/services/{service}/{key}"));
            must(*of("read_only") == Value::Bool(true), "a root file system can be written");
            must(of("cap_drop/0") == "ALL", "capabilities are kept");
            must(of("security_opt/0") == "no-new-privileges:true", "privileges can be gained");
        }
        let published = self.at("/services/gateway/ports").as_array().into_iter().flatten();
        must(
            published.filter_map(Value::as_str).all(|port| port.starts_with("127.0.0.1:")),
            "a port is open to the world",
        );
        must(self.at("/services/db/ports").is_null(), "the database is published");
        must(
            *self.at("/networks/inside/internal") == Value::Bool(true),
            "the database's network leads outside",
        );
        must(
            self.text("/services/gateway/depends_on/db/condition") == "service_healthy",
            "the gateway does not wait",
        );
        must(self.at("/services/db/healthcheck/test/0") == "CMD", "nobody looks whether the database is up");
        must(self.at("/services/gateway/ulimits/nofile").as_u64() >= Some(65_536), "too few descriptors");
        let postgres =
            self.text("/services/db/image").strip_prefix("postgres:").and_then(|tag| tag.split('-').next());
        let postgres: u32 = postgres.and_then(|tag| tag.parse().ok()).unwrap_or_default();
        must((15..18).contains(&postgres), "PostgreSQL is to be 15 to 17, whose data folder this is");
        self.add_faults_of_build(&mut faults);
        self.add_faults_of_secrets(variables, &mut faults);
        faults
    }

    fn add_faults_of_build(&self, faults: &mut Vec<String>) {
        let context = Path::new("deploy").join(self.text("/services/gateway/build/context"));
        let dockerfile = house::root().join(context).join(self.text("/services/gateway/build/dockerfile"));
        if !dockerfile.is_file() {
            faults.push("there is no such Dockerfile".into());
        }
        if self.text("/services/gateway/volumes/0") != "state:/var/lib/patchbay" {
            faults.push("the folder that the image gives its user has no volume".into());
        }
    }

    /// No secret stands in an environment, and the two agree on the database.
    fn add_faults_of_secrets(&self, variables: &str, faults: &mut Vec<String>) {
        let image = Image::read();
        let target = self.text("/services/gateway/secrets/0/target");
        if Path::new(target).parent() != Some(Path::new(image.folder())) || !target.ends_with("/.env") {
            faults.push(format!("{target} is not the .env of the image's working directory"));
        }
        if !self.at("/services/gateway/environment").is_null()
            || !self.at("/services/gateway/env_file").is_null()
        {
            faults.push("the gateway is told something in its environment, where every tool shows it".into());
        }
        let of_db = |key: &str| self.text(&format!("/services/db/environment/{key}"));
        let (user, name) = (of_db("POSTGRES_USER"), of_db("POSTGRES_DB"));
        let url = format!("postgres://{user}:PASSWORD@db:5432/{name}");
        if example::variables(variables).get("DATABASE_URL") != Some(&url) {
            faults.push(format!("DATABASE_URL is not {url}"));
        }
        let check = self.at("/services/db/healthcheck/test").to_string();
        if !check.contains(&format!("--username={user}")) || !check.contains(&format!("--dbname={name}")) {
            faults.push("the health check asks for another database".into());
        }
        if of_db("POSTGRES_PASSWORD_FILE") != "/run/secrets/db_password" {
            faults.push("the password is not a file".into());
        }
        let files: Vec<_> =
            ["patchbay_env", "db_password"].map(|name| self.text(&format!("/secrets/{name}/file"))).into();
        if files.iter().any(|file| !file.starts_with("./secrets/")) {
            faults.push("a secret lies where git would take it".into());
        }
    }
}

const FILE: &str = "deploy/compose.yml";
const EXAMPLE: &str = "deploy/compose.env.example";

pub(super) fn claims() -> Result<Claims, String> {
    Compose::parse(&house::text(FILE))?.claims(&house::text(EXAMPLE))
}

#[test]
fn compose_keeps_both_in_their_place() {
    let (text, variables) = (house::text(FILE), house::text(EXAMPLE));
    let faults = Compose::parse(&text).unwrap().faults(&variables);
    assert!(faults.is_empty(), "{faults:#?}");
    for (from, to, found) in [
        ("127.0.0.1:9090:9090", "9090:9090", "open to the world"),
        ("internal: true", "internal: false", "leads outside"),
        ("postgres:17", "postgres:14", "15 to 17"),
        ("/var/lib/patchbay/.env", "/run/secrets/env", "not the .env"),
        ("--dbname=patchbay", "--dbname=postgres", "another database"),
        ("POSTGRES_DB: patchbay", "POSTGRES_DB: other", "DATABASE_URL"),
        ("deploy/Dockerfile", "Dockerfile", "no such Dockerfile"),
        ("service_healthy", "service_started", "does not wait"),
        ("nofile: 65536", "nofile: 1024", "descriptors"),
        ("./secrets/db_password", "./db_password", "git would take it"),
        ("    pids_limit", "    environment: {OPENAI_API_KEY: x}\n    pids_limit", "in its environment"),
    ] {
        assert_found(&Compose::parse(&with(&text, from, to)).unwrap().faults(&variables), found, to);
    }
    let ignored = house::text(".gitignore");
    assert!(ignored.lines().any(|line| line == "/deploy/secrets"), "git would take the secrets");
}

#[test]
fn what_compose_says_wrongly_of_the_binary_is_found() {
    let (text, variables) = (house::text(FILE), house::text(EXAMPLE));
    let claims =
        |text: &str, variables: &str| Compose::parse(text).and_then(|file| file.claims(variables)).unwrap();
    for (from, to, found) in [
        ("127.0.0.1:8080:8080", "127.0.0.1:8080:80", "port 80 "),
        ("stop_grace_period: 310s", "stop_grace_period: 300s", "is killed after 300 s"),
        ("    pids_limit", "    command: [patchbay, serve, --port, 8080]\n    pids_limit", "--port"),
    ] {
        assert_found(&claims(&with(&text, from, to), &variables).faults(), found, to);
    }
    for (from, to, found) in [
        ("PATCHBAY__SERVER__PUBLIC_URL", "PATCHBAY__PUBLIC_URL", "unknown key"),
        ("PATCHBAY_MASTER_KEY", "MASTER_KEY", "nothing reads it"),
        ("TWILIO_AUTH_TOKEN", "TWILIO_TOKEN", "nothing reads it"),
        ("DATABASE_URL", "POSTGRES_URL", "nothing reads it"),
    ] {
        assert_found(&claims(&text, &with(&variables, from, to)).faults(), found, to);
    }
}
