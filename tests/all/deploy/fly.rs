//! `deploy/fly/`.

use std::collections::BTreeMap;
use std::time::Duration;

use patchbay::config::{Config, Sources};
use patchbay::metrics::Metrics;
use serde::Deserialize;

use super::claims::{Asked, Claims, Listener};
use super::image::Image;
use super::{assert_found, example, span, with};
use crate::house;

/// A `fly.toml`, with the keys of Fly's reference that we use and no other: a slip of the fingers is an error
/// (superfly/docs reference/configuration, 2026-08).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fly {
    app: String,
    primary_region: String,
    kill_signal: String,
    kill_timeout: u64,
    build: Build,
    deploy: Deploy,
    env: BTreeMap<String, String>,
    http_service: HttpService,
    restart: Vec<Restart>,
    metrics: MetricsPort,
    vm: Vec<Machine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    dockerfile: String,
    ignorefile: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deploy {
    strategy: String,
    max_unavailable: u32,
    wait_timeout: String,
    release_command: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpService {
    internal_port: u16,
    force_https: bool,
    auto_stop_machines: String,
    auto_start_machines: bool,
    concurrency: Concurrency,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Concurrency {
    r#type: String,
    soft_limit: u32,
    hard_limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    method: String,
    path: String,
    interval: String,
    timeout: String,
    grace_period: String,
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Restart {
    policy: String,
    retries: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricsPort {
    port: u16,
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Machine {
    cpu_kind: String,
    cpus: u32,
    memory: String,
}

/// The most that Fly grants between the signal and the kill.
const KILL_TIMEOUT_MAX: u64 = 300;

impl Fly {
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// What it says of the binary. `page` tells which secrets are set.
    fn claims(&self, page: &str) -> Result<Claims, String> {
        let image = Image::read();
        let mut variables = image.variables();
        variables.extend(self.env.clone());
        variables.extend(secrets(page));
        let mut asked =
            vec![Asked { listener: Listener::Admin, path: self.metrics.path.clone(), headers: Vec::new() }];
        asked.extend(self.http_service.checks.iter().map(|check| Asked {
            listener: Listener::Public,
            path: check.path.clone(),
            headers: check.headers.clone().into_iter().collect(),
        }));
        let release = self.deploy.release_command.split_whitespace().map(str::to_owned).collect();
        Ok(Claims {
            commands: vec![image.command(), release],
            variables,
            ports: vec![
                (Listener::Public, self.http_service.internal_port),
                (Listener::Admin, self.metrics.port),
            ],
            comes_from_outside: true,
            asked,
            stop_signal: self.kill_signal.clone(),
            stop_within: Duration::from_secs(self.kill_timeout),
        })
    }

    /// What is wrong with how Fly is told to treat machines (reference/reliability.md §4.1).
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(what.to_owned());
            }
        };
        let (service, deploy) = (&self.http_service, &self.deploy);
        must(self.kill_signal == "SIGTERM", "kill_signal is to be the one that drains");
        must(self.kill_timeout == KILL_TIMEOUT_MAX, "kill_timeout is to be what Fly grants at most");
        must(service.auto_stop_machines == "off", "autostop stops machines that carry calls");
        must(service.auto_start_machines, "autostart is to be on");
        must(service.force_https, "Twilio and browsers are to come by TLS");
        must(service.concurrency.r#type == "connections", "a call is a connection, not a request");
        must(
            deploy.strategy == "rolling" && deploy.max_unavailable == 1,
            "machines are to be replaced one by one",
        );
        let wait = span(&deploy.wait_timeout).unwrap_or_default();
        must(wait.as_secs() > 2 * self.kill_timeout, "wait_timeout is to outlast a machine that drains");
        must(
            deploy.release_command.ends_with("--expand-only"),
            "the version that serves must bear the new schema",
        );
        let ready = service.checks.iter().find(|check| check.path == "/readyz");
        must(ready.is_some(), "/readyz is to steer calls");
        for check in &service.checks {
            let https = check.headers.get("X-Forwarded-Proto").is_some_and(|proto| proto == "https");
            must(https, "a check without X-Forwarded-Proto may be redirected");
            must(check.method == "GET", "a check is a GET");
            let spans = [&check.interval, &check.timeout, &check.grace_period].map(|text| span(text));
            must(
                matches!(&spans, [Ok(interval), Ok(timeout), Ok(_)] if timeout < interval),
                "a check ends before the next",
            );
        }
        must(
            self.restart.iter().all(|r| r.policy == "on-failure" && r.retries > 0),
            "exit 0 after a drain is to keep a machine down",
        );
        must(
            self.vm.iter().all(|vm| vm.cpu_kind == "performance" && vm.cpus >= 2),
            "shared CPUs are throttled",
        );
        must(self.vm.iter().all(|vm| vm.memory.ends_with("gb")), "memory is given in gb");
        must(self.primary_region.len() == 3, "a region has three letters");
        for path in [&self.build.dockerfile, &self.build.ignorefile] {
            must(
                house::root().join("deploy/fly").join(path).is_file(),
                "a file of [build] is not there, seen from fly.toml",
            );
        }
        self.add_faults_of_limits(&mut faults);
        faults
    }

    /// The proxy's limits beside the gateway's own.
    fn add_faults_of_limits(&self, faults: &mut Vec<String>) {
        let mut sources = Sources { variables: self.env.clone(), ..Sources::default() };
        sources.set("OPENAI_API_KEY", "sample");
        let config = match Config::parse(&sources) {
            Ok(config) => config,
            Err(refusal) => return faults.push(refusal.to_string()),
        };
        let (soft, hard) =
            (self.http_service.concurrency.soft_limit, self.http_service.concurrency.hard_limit);
        let (calls, sockets) = (config.limits.calls_max, config.limits.sockets_max);
        let in_order = soft < calls && calls < hard && usize::try_from(hard).is_ok_and(|hard| hard < sockets);
        if !in_order {
            faults
                .push(format!("out of order: soft {soft} < calls {calls} < hard {hard} < sockets {sockets}"));
        }
        let https = config
            .server
            .public_url
            .as_ref()
            .is_some_and(|url| url.http("/") == format!("https://{}.fly.dev/", self.app));
        if !https {
            faults.push("the public address is not the app's".into());
        }
    }
}

/// What the page sets as secrets of the gateway's app.
fn secrets(page: &str) -> BTreeMap<String, String> {
    let set =
        example::code(page).into_iter().filter_map(|line| line.strip_prefix("fly secrets set --stage "));
    let pairs = set.flat_map(str::split_whitespace).filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| example::filled(name, value)).collect()
}

fn page() -> String {
    house::text("deploy/fly/README.md")
}

pub(super) fn claims() -> Result<Claims, String> {
    Fly::parse(&house::text("deploy/fly/fly.toml"))?.claims(&page())
}

#[test]
fn fly_treats_machines_as_a_gateway_needs_it() {
    let text = house::text("deploy/fly/fly.toml");
    let faults = Fly::parse(&text).unwrap().faults();
    assert!(faults.is_empty(), "{faults:#?}");
    for (from, to, found) in [
        ("auto_stop_machines = \"off\"", "auto_stop_machines = \"suspend\"", "autostop"),
        ("auto_start_machines = true", "auto_start_machines = false", "autostart"),
        ("type = \"connections\"", "type = \"requests\"", "connection"),
        ("soft_limit = 200", "soft_limit = 260", "out of order"),
        ("path = \"/readyz\"", "path = \"/livez\"", "/readyz"),
        ("X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Proto"),
        ("kill_timeout = 300", "kill_timeout = 5", "kill_timeout"),
        ("max_unavailable = 1 ", "max_unavailable = 8 ", "one by one"),
        ("wait_timeout = \"15m\"", "wait_timeout = \"5m\"", "wait_timeout"),
        (" --expand-only", "", "schema"),
        ("policy = \"on-failure\"", "policy = \"always\"", "exit 0"),
        ("\"performance\"", "\"shared\"", "throttled"),
        ("\"../Dockerfile\"", "\"Dockerfile\"", "[build]"),
        ("app = \"patchbay\"", "app = \"other\"", "the app's"),
    ] {
        assert_found(&Fly::parse(&with(&text, from, to)).unwrap().faults(), found, to);
    }
    assert!(Fly::parse(&with(&text, "auto_stop_machines", "autostop_machines")).is_err(), "no key of Fly's");
}

#[test]
fn what_fly_says_wrongly_of_the_binary_is_found() {
    let (text, page) = (house::text("deploy/fly/fly.toml"), page());
    let claims = |text: &str, page: &str| Fly::parse(text).and_then(|fly| fly.claims(page)).unwrap();
    for (from, to, found) in [
        ("internal_port = 8080", "internal_port = 8000", "port 8000"),
        ("  port = 9090", "  port = 9091", "port 9091"),
        ("\"[::]:9090\"", "\"127.0.0.1:9090\"", "nobody can reach it"),
        ("\"patchbay migrate", "\"patchbay migrations", "no subcommand"),
        ("\"patchbay migrate", "\"gateway migrate", "does not run patchbay"),
        ("DRAIN_DEADLINE_S = \"290\"", "DRAIN_DEADLINE_S = \"299\"", "is killed after 300 s"),
        ("DRAIN_HANDOFF_S = \"245\"", "DRAIN_HANDOFF_S = \"295\"", "drain_handoff_s"),
        ("SERVER__PUBLIC_URL", "SERVER__PUBLIC_BASE_URL", "unknown key"),
        ("PATCHBAY__SERVER__LOG_FORMAT", "LOG_FORMAT", "nothing reads it"),
        ("\"SIGTERM\"", "\"SIGUSR1\"", "does not drain"),
    ] {
        assert_found(&claims(&with(&text, from, to), &page).faults(), found, to);
    }
    for (from, to) in [("OPENAI_API_KEY=", "OPENAI_KEY="), ("TWILIO_AUTH_TOKEN=", "TWILIO_TOKEN=")] {
        assert!(!claims(&text, &with(&page, from, to)).faults().is_empty(), "{to}");
    }
}

#[tokio::test]
async fn a_check_of_a_path_that_is_not_there_is_found() {
    let text = with(&house::text("deploy/fly/fly.toml"), "path = \"/readyz\"", "path = \"/ready\"");
    let asked = Fly::parse(&text).unwrap().claims(&page()).unwrap().asked;
    assert_found(&super::claims::unanswered(&asked).await, "/ready", "/ready");
}

/// Names of metrics in a text.
fn metrics_in(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("patchbay_")).collect()
}

/// Those that the gateway does not have.
fn unknown_metrics(text: &str) -> Vec<&str> {
    let metrics = Metrics::new();
    metrics.started();
    metrics.ended("test");
    metrics.refused("test");
    let exposed = metrics.text();
    let has = |name: &str| exposed.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
    metrics_in(text).into_iter().filter(|name| !has(name)).collect()
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let autoscaler = house::text("deploy/fly/autoscaler.toml");
    for text in [&autoscaler, &page()] {
        assert!(!metrics_in(text).is_empty());
        assert_eq!(unknown_metrics(text), Vec::<&str>::new());
    }
    let wrong = with(&autoscaler, "patchbay_calls_refused_total", "patchbay_refused_total");
    assert_eq!(unknown_metrics(&wrong), ["patchbay_refused_total"]);
}

#[test]
fn the_autoscaler_only_ever_starts_machines() {
    #[derive(Deserialize)]
    struct Autoscaler {
        env: BTreeMap<String, String>,
    }
    let text = house::text("deploy/fly/autoscaler.toml");
    let Autoscaler { env } = toml::from_str(&text).unwrap();
    let fly = Fly::parse(&house::text("deploy/fly/fly.toml")).unwrap();
    assert_eq!(env["FAS_APP_NAME"], fly.app);
    let counts: Vec<_> = env.keys().filter(|name| name.contains("MACHINE_COUNT")).collect();
    assert_eq!(counts, ["FAS_MIN_STARTED_MACHINE_COUNT"], "any other stops machines, whatever they carry");
    let soft = fly.http_service.concurrency.soft_limit;
    let (metric, wanted) = (&env["FAS_PROMETHEUS_METRIC_NAME"], &env["FAS_MIN_STARTED_MACHINE_COUNT"]);
    assert_eq!(*wanted, format!("min(20, max(2, ceil(({metric} + {soft}) / {soft})))"));
}
