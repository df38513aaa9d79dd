//! Lays the sources over each other and reads the result.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::fault::{Fault, Faults, Place};
use super::prices::Prices;
use super::provider::{Provider, ProviderKind};
use super::section::{Reading, Section};
use super::sources::{Sources, TenantText};
use super::storage::Storage;
use super::tenant::Tenant;
use super::tree::{self, Entry, Node, Table, Value, merge, put, take_table};
use super::webrtc::WebRtc;
use super::{Config, CredentialSettings, Limits, PageSettings, Server};
use crate::credential::api_key::KeyTable;

/// `config/patchbay.toml`: every default.
const DEFAULTS: &str = include_str!("../../../../config/patchbay.toml");

/// The prefix of a variable that names a key.
const PREFIX: &str = "PATCHBAY__";

pub(super) fn parse(sources: &Sources) -> Result<Config, Faults> {
    let mut notices = Vec::new();
    let said = said(sources, &mut notices).map_err(|fault| Faults(vec![fault]))?;
    let Said { table, favourite } = said;
    let table = over_defaults(table);
    let reading = Reading {
        variables: &sources.variables,
        sealed: &sources.kept.sealed,
        faults: RefCell::new(Vec::new()),
        files: RefCell::new(Vec::new()),
    };
    let mut root = Section::new(&reading, "", Place::Whole, table);
    let server = read(&mut root, "server", Server::read);
    let limits = read(&mut root, "limits", Limits::read);
    let credentials = read(&mut root, "credentials", CredentialSettings::read);
    let storage = read(&mut root, "storage", Storage::read);
    let page = read(&mut root, "page", PageSettings::read);
    let webrtc = read(&mut root, "webrtc", WebRtc::read);
    let providers = read_providers(&mut root);
    let tenants = read_tenants(&mut root, &providers, favourite);
    let prices = Prices::read(&mut root, &everybodys(&providers, &tenants), None);
    let api_keys = keys_of(&tenants, &root);
    root.finish();
    let faults = reading.faults.into_inner();
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let mut files: Vec<_> = sources.file.iter().map(|(path, _)| path.clone()).collect();
    files.extend(sources.env_files.iter().cloned());
    files.extend(reading.files.into_inner());
    let config = Config {
        server,
        limits,
        credentials,
        page,
        api_keys,
        storage,
        webrtc,
        providers,
        tenants,
        prices,
        notices,
        files,
    };
    Ok(noticed(config))
}

fn read<T>(root: &mut Section<'_>, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
    let mut section = root.section(key);
    let value = read(&mut section);
    section.finish();
    value
}

fn read_providers(root: &mut Section<'_>) -> BTreeMap<String, Arc<Provider>> {
    let before = root.fault_count();
    let providers = super::tenant::read_providers(root);
    if providers.is_empty() && root.fault_count() == before {
        let advice = "set OPENAI_API_KEY in .env, or add [providers.NAME] (kind = \"parrot\" needs no key)";
        root.fault(root.place(), "there is no provider", advice);
    }
    providers
}

/// The gateway's providers and those that tenants brought: prices are for all of them.
fn everybodys(
    providers: &BTreeMap<String, Arc<Provider>>,
    tenants: &BTreeMap<String, Arc<Tenant>>,
) -> BTreeMap<String, Arc<Provider>> {
    let mut all: BTreeMap<_, _> = tenants.values().flat_map(|tenant| tenant.providers.clone()).collect();
    all.extend(providers.clone());
    all
}

fn read_tenants(
    root: &mut Section<'_>,
    providers: &BTreeMap<String, Arc<Provider>>,
    favourite: Option<&str>,
) -> BTreeMap<String, Arc<Tenant>> {
    let mut tenants = BTreeMap::new();
    for (name, mut section) in root.named("tenants") {
        let tenant = Tenant::read(&name, &mut section, providers, favourite);
        section.finish();
        tenants.insert(name, Arc::new(tenant));
    }
    tenants
}

/// What opens which tenant. Two tenants that one credential opens could not be told apart.
fn keys_of(tenants: &BTreeMap<String, Arc<Tenant>>, root: &Section<'_>) -> KeyTable {
    let mut keys = KeyTable::default();
    let mut issuers = BTreeMap::new();
    for tenant in tenants.values() {
        let added = tenant.api_key.as_ref().map_or(Ok(()), |secret| keys.add_chosen(&tenant.name, secret));
        if let Err(other) = added {
            let what = format!("tenants `{other}` and `{}` have the same api_key", tenant.name);
            root.fault(root.place(), what, "give each its own: openssl rand -hex 32");
        }
        let Some(jwt) = &tenant.jwt else { continue };
        if let Some(other) = issuers.insert((&jwt.issuer, &jwt.audience), &tenant.name) {
            let what =
                format!("tenants `{other}` and `{}` have the same jwt issuer and audience", tenant.name);
            root.fault(root.place(), what, "give each its own audience");
        }
    }
    keys
}

/// What the user said, in all places.
struct Said {
    table: Table,
    /// The provider of a route that names none, when the plain variables made two.
    favourite: Option<&'static str>,
}

fn said(sources: &Sources, notices: &mut Vec<String>) -> Result<Said, Fault> {
    let mut explicit = match &sources.file {
        Some((path, text)) => tree::parse(&name_of(path), text)?,
        None => Table::new(),
    };
    let prefixed = prefixed(&sources.variables);
    let mut declared = explicit.clone();
    merge(&mut declared, prefixed.clone());
    let server = plain_server(&sources.variables, written_listen(&explicit));
    merge(&mut explicit, server);
    merge(&mut explicit, plain_storage(&sources.variables));
    merge(&mut explicit, prefixed);
    let mut table = Table::new();
    let favourite = plain_providers(&sources.variables, &declared, &mut table, notices);
    plain_twilio(&sources.variables, &declared, &mut table);
    merge(&mut table, explicit);
    add_tenants(&sources.kept.tenants, &mut table)?;
    if variable(&sources.variables, "REDIS_URL").is_some() {
        notices.push("REDIS_URL is set, but this version does not use Redis yet".to_owned());
    }
    Ok(Said { table, favourite })
}

/// Adds the tenants of the store. Each has one owner: the files, or the store.
fn add_tenants(texts: &[TenantText], table: &mut Table) -> Result<(), Fault> {
    if texts.is_empty() {
        return Ok(());
    }
    let mut tenants = take_table(table, "tenants");
    // Who had no tenant of their own was served as `default`, and still is.
    if tenants.is_empty() && texts.iter().all(|text| text.name != "default") {
        tenants.insert("default".to_owned(), entry(Table::new()));
    }
    for TenantText { name, text } in texts {
        let place: Arc<str> = format!("tenant {name}").into();
        if let Some(written) = tenants.get(name) {
            let what = format!("tenant `{name}` is in the configuration and in the database");
            let advice = format!("take it out here, or run `patchbay tenant delete {name}`");
            return Err(Fault { place: written.key.clone(), what, advice });
        }
        let said = tree::parse(&place, text)?;
        let key = Place::in_text(&place, text, 0);
        let node = Node { place: key.clone(), value: Value::Table(said) };
        tenants.insert(name.clone(), Entry { key, node });
    }
    table.insert("tenants".into(), entry(tenants));
    Ok(())
}

fn name_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

/// A variable that is set to something.
fn variable<'v>(variables: &'v BTreeMap<String, String>, name: &str) -> Option<&'v str> {
    variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

fn prefixed(variables: &BTreeMap<String, String>) -> Table {
    let mut table = Table::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let lower = rest.to_lowercase();
        let path: Vec<&str> = lower.split("__").collect();
        put(&mut table, &path, name, Value::Loose(value.clone()));
    }
    table
}

/// `server.listen` as the file has it.
fn written_listen(table: &Table) -> Option<&str> {
    let Value::Table(server) = &table.get("server")?.node.value else { return None };
    match &server.get("listen")?.node.value {
        Value::Text(listen) => Some(listen),
        _ => None,
    }
}

/// Plain variables of the server: the environment wins over the file, each half of the address by itself.
fn plain_server(variables: &BTreeMap<String, String>, written: Option<&str>) -> Table {
    let mut table = Table::new();
    let limits = [
        ("MAX_CONNECTIONS_PER_USER", "connections_per_user_max"),
        ("MAX_REQUESTS_PER_MINUTE", "requests_per_minute_max"),
    ];
    for (name, key) in limits {
        if let Some(value) = variable(variables, name) {
            put(&mut table, &["limits", key], name, Value::Loose(value.into()));
        }
    }
    let keys = [("PATCHBAY_SIGNING_KEY", "signing_keys"), ("PATCHBAY_ADMIN_KEY", "admin_key")];
    for (name, key) in keys {
        if let Some(value) = variable(variables, name) {
            put(&mut table, &["credentials", key], name, Value::Loose(value.into()));
        }
    }
    let (host, port) = (variable(variables, "SERVER_HOST"), variable(variables, "SERVER_PORT"));
    let name = match (host, port) {
        (None, None) => return table,
        (Some(_), _) => "SERVER_HOST",
        (None, Some(_)) => "SERVER_PORT",
    };
    let (written_host, written_port) =
        written.and_then(|listen| listen.rsplit_once(':')).unwrap_or(DEFAULT_LISTEN);
    let (host, port) = (host.unwrap_or(written_host), port.unwrap_or(written_port));
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let listen = if bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    put(&mut table, &["server", "listen"], name, Value::Loose(listen));
    table
}

/// Plain variables of the store: the environment wins over the file.
fn plain_storage(variables: &BTreeMap<String, String>) -> Table {
    let mut table = Table::new();
    for (name, key) in [("DATABASE_URL", "url"), ("PATCHBAY_MASTER_KEY", "master_key")] {
        if let Some(value) = variable(variables, name) {
            put(&mut table, &["storage", key], name, Value::Loose(value.into()));
        }
    }
    table
}

/// The halves of `server.listen` in the defaults, which a test compares.
const DEFAULT_LISTEN: (&str, &str) = ("127.0.0.1", "8080");

/// Plain variables of providers: they make `openai` and `azure` unless the user declared providers of other names.
fn plain_providers(
    variables: &BTreeMap<String, String>,
    declared: &Table,
    table: &mut Table,
    notices: &mut Vec<String>,
) -> Option<&'static str> {
    let named = take_table(&mut declared.clone(), "providers");
    let wanted = |name: &str| named.is_empty() || named.contains_key(name);
    let mut set = |name: &str, key: &str, from: &str| {
        if let Some(value) = variable(variables, from) {
            put(table, &["providers", name, key], from, Value::Loose(value.into()));
        }
    };
    let openai = variable(variables, "OPENAI_API_KEY").is_some() && wanted("openai");
    if openai {
        set("openai", "key", "OPENAI_API_KEY");
        set("openai", "base_url", "OPENAI_BASE_URL");
    }
    let azure = variable(variables, "AZURE_API_KEY").is_some() && wanted("azure");
    if azure {
        set("azure", "key", "AZURE_API_KEY");
        set("azure", "base_url", "AZURE_ENDPOINT");
        set("azure", "model", "AZURE_DEPLOYMENT");
        if variable(variables, "API_VERSION").is_some_and(|version| version != "v1") {
            set("azure", "api_version", "API_VERSION");
            put(table, &["providers", "azure", "kind"], "API_VERSION", Value::Loose("azure_preview".into()));
        }
    }
    if openai && azure && named.is_empty() {
        let notice = "both OpenAI's and Azure's key are set: routes that name no provider use openai";
        notices.push(notice.into());
        return Some("openai");
    }
    None
}

/// Twilio's plain variables fill in for tenant `default` what the user did not declare.
fn plain_twilio(variables: &BTreeMap<String, String>, declared: &Table, table: &mut Table) {
    let tenants = take_table(&mut declared.clone(), "tenants");
    if !tenants.is_empty() && !tenants.contains_key("default") {
        return;
    }
    for (name, key) in [("TWILIO_AUTH_TOKEN", "auth_tokens"), ("TWILIO_ACCOUNT_SID", "account_sid")] {
        if let Some(value) = variable(variables, name) {
            put(table, &["tenants", "default", "twilio", key], name, Value::Loose(value.into()));
        }
    }
}

/// Lays what was said over the defaults. Tenant `default` of the defaults is how every tenant begins, its route
/// `default` how every route begins.
fn over_defaults(mut said: Table) -> Table {
    let mut table = tree::parse_defaults(DEFAULTS);
    let mut tenant = take_table(&mut take_table(&mut table, "tenants"), "default");
    let route = take_table(&mut take_table(&mut tenant, "routes"), "default");
    let tenants = said.remove("tenants");
    merge(&mut table, said);
    let tenants = match tenants {
        Some(Entry { node: Node { value: Value::Table(tenants), .. }, .. }) => tenants,
        Some(odd) => {
            table.insert("tenants".into(), odd);
            return table;
        }
        None => Table::new(),
    };
    let tenants = each_over(tenants, &|said| tenant_over(said, &tenant, &route));
    table.insert("tenants".into(), entry(tenants));
    table
}

fn tenant_over(mut said: Table, tenant: &Table, route: &Table) -> Table {
    let routes = said.remove("routes");
    let mut over = tenant.clone();
    merge(&mut over, said);
    let routes = match routes {
        Some(Entry { node: Node { value: Value::Table(routes), .. }, .. }) => routes,
        Some(odd) => {
            over.insert("routes".into(), odd);
            return over;
        }
        None => Table::new(),
    };
    let routes = each_over(routes, &|said| {
        let mut over = route.clone();
        merge(&mut over, said);
        over
    });
    over.insert("routes".into(), entry(routes));
    over
}

/// Applies `over` to each named table; without any, there is one, `default`.
fn each_over(mut named: Table, over: &dyn Fn(Table) -> Table) -> Table {
    if named.is_empty() {
        named.insert("default".into(), entry(Table::new()));
    }
    for entry in named.values_mut() {
        if let Value::Table(said) = &mut entry.node.value {
            *said = over(std::mem::take(said));
        }
    }
    named
}

fn entry(table: Table) -> Entry {
    Entry { key: Place::Whole, node: Node { place: Place::Whole, value: Value::Table(table) } }
}

/// Adds what the operator should know.
fn noticed(mut config: Config) -> Config {
    if config.credentials.signing_keys.is_empty() && !config.api_keys.is_empty() {
        let notice =
            "no PATCHBAY_SIGNING_KEY: client secrets are good on this machine only, and until it restarts";
        config.notices.push(notice.into());
    }
    if config.storage.url.is_none() {
        let notice =
            "no storage.url or DATABASE_URL: calls, usage and keys are in memory, and nothing is kept";
        config.notices.push(notice.to_owned());
        for route in config.tenants.values().flat_map(|tenant| tenant.routes.values()) {
            if route.recording.enabled {
                config.notices.push(format!(
                    "route {} records, but without storage.url nobody knows after a restart whose recordings these are: \
                     they are never removed by themselves, and `patchbay forget` does not find them",
                    route.name
                ));
            }
        }
    }
    for tenant in config.tenants.values() {
        if tenant.twilio.auth_tokens.is_empty() {
            config.notices.push(format!(
                "tenant {}: no Twilio auth token, so its webhooks are answered on loopback only",
                tenant.name
            ));
        }
    }
    let unpriced = unpriced(&config);
    config.notices.extend(unpriced);
    config
}

/// What will be used and has no price: it would seem to cost nothing.
fn unpriced(config: &Config) -> BTreeSet<String> {
    let mut notices = BTreeSet::new();
    for (tenant, route) in config.tenants.values().flat_map(|t| t.routes.values().map(move |r| (t, r))) {
        if config.providers.get(&route.provider).is_none_or(|provider| provider.kind == ProviderKind::Parrot)
        {
            continue;
        }
        let used = [("response", Some(&route.model)), ("transcription", route.transcription_model.as_ref())];
        for (kind, model) in used {
            let prices = config.prices_of(tenant);
            let is_unknown = |model: &&String| prices.find(&route.provider, model, kind, i64::MAX).is_none();
            let Some(model) = model.filter(is_unknown) else { continue };
            let blind = if tenant.spend.is_limited() { ", and the spend limit does not see it" } else { "" };
            notices.insert(format!(
                "[prices] has none for {kind}s of {model} at {}: its cost is told as 0{blind}",
                route.provider
            ));
        }
    }
    notices
}
