//! Tests of the configuration as a user meets it.

use std::path::PathBuf;

use super::*;
use crate::secret::Secret;

/// A file, with variables that a test may refer to.
fn sources(text: &str) -> Sources {
    let mut sources =
        Sources { file: Some((PathBuf::from("p.toml"), text.to_owned())), ..Sources::default() };
    sources.set("KEY", "sk-from-the-environment");
    sources
}

fn variables(list: &[(&str, &str)]) -> Sources {
    let mut sources = Sources::default();
    for (name, value) in list {
        sources.set(name, value);
    }
    sources
}

fn faults(sources: &Sources) -> String {
    Config::parse(sources).map(|_| ()).expect_err("this configuration is bad").to_string()
}

const PARROT: &str = "[providers.parrot]\n";

#[test]
fn a_bad_file_is_refused_at_its_line_and_column_with_advice() {
    // Text of the file (a provider is put behind it), and what is answered.
    let table: &[(&str, &str)] = &[
        ("[server]\nlistn = \"127.0.0.1:1\"", "p.toml:2:1: unknown key `server.listn`; write listen instead"),
        ("[sever]\n", "p.toml:1:2: unknown key `sever`; write server instead"),
        (
            "[turn]\nurls = []",
            "p.toml:1:2: unknown key `turn`; remove it: this version does not use that section yet",
        ),
        ("server = 3", "p.toml:1:10: `server` is a section; write [server] and its keys below"),
        (
            "[server]\nlisten = 8080",
            "p.toml:2:10: `server.listen` takes text; write listen = \"127.0.0.1:8080\"",
        ),
        (
            "[server]\n  listen = \"example.com:80\"",
            "p.toml:2:12: `server.listen` takes an IP address and a port (a host name only if it is localhost); \
             write listen = \"127.0.0.1:8080\"",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:8080\"",
            "p.toml:2:10: `server.listen` is 0.0.0.0:8080, which others can reach, and `server.public_url` is \
             missing; write public_url = \"https://YOUR.HOST\", or listen = \"127.0.0.1:8080\"",
        ),
        (
            "[server]\npublic_url = \"wss://a.example\"",
            "p.toml:2:14: `server.public_url` takes the https:// address, stream addresses are made from it; \
             write public_url = \"https://voice.example.com\"",
        ),
        (
            "[server]\npublic_url = \"http://a.example/\"",
            "p.toml:2:14: `server.public_url` would be in clear: http:// is for loopback only; \
             write public_url = \"https://a.example\"",
        ),
        (
            "[tenants.a.twilio]\nnumbers = [\"030 123456\"]",
            "p.toml:2:12: `tenants.a.twilio.numbers` takes numbers of + and 7 to 15 digits; \
             write numbers = [\"+4930123456\"]",
        ),
        (
            "[server]\npublic_url = \"https://a.example?b\"",
            "p.toml:2:14: `server.public_url` has no query and no fragment; \
             write public_url = \"https://voice.example.com\"",
        ),
        (
            "[server]\ndrain_handoff_s = 400",
            "p.toml:2:19: `server.drain_handoff_s` is not before `server.drain_deadline_s`; \
             write drain_handoff_s = 255",
        ),
        (
            "[tenants.a.routes.b]\nrecording = { enabled = true, folder = \"\" }",
            "p.toml:2:40: `tenants.a.routes.b.recording` records to no folder; write folder = \"recordings\"",
        ),
        (
            "[tenants.a.routes.b]\nrecording = { enabled = true, format = \"mp3\" }",
            "p.toml:2:40: `tenants.a.routes.b.recording.format` takes \"wav\"; write format = \"wav\"",
        ),
        (
            "[server]\nlog_level = \"loud\"",
            "p.toml:2:13: `server.log_level` takes a log level; write log_level = \"info\"",
        ),
        (
            "[server]\nlog_format = \"jsn\"",
            "p.toml:2:14: `server.log_format` takes \"auto\" or \"json\" or \"text\"; write log_format = \"json\"",
        ),
        (
            "[limits]\ncalls_max = 0",
            "p.toml:2:13: `limits.calls_max` takes a whole number from 1 to 100000; write calls_max = 1",
        ),
        (
            "[limits]\ncalls_max = \"many\"",
            "p.toml:2:13: `limits.calls_max` takes a whole number from 1 to 100000; write calls_max = 1",
        ),
        (
            "[limits]\nmessage_bytes_max = 99_999_999",
            "p.toml:2:21: `limits.message_bytes_max` takes a whole number from 4096 to 1048576; \
             write message_bytes_max = 1048576",
        ),
        (
            "[limits]\ndead_after_s = 10",
            "p.toml:2:16: `limits.dead_after_s` is not longer than `limits.ping_interval_s`; write dead_after_s = 35",
        ),
        (
            "[tenants.a.spend]\nlimit_usd = \"ten\"",
            "p.toml:2:13: `tenants.a.spend.limit_usd` takes a number from 0 to 1000000000; write limit_usd = 0",
        ),
        (
            "[tenants.a.spend]\nlimit_usd = 5\nreserve_usd = 6",
            "p.toml:3:15: `tenants.a.spend.reserve_usd` is nothing, or more than the limit; \
             write reserve_usd = 0.5, a tenth of limit_usd",
        ),
        (
            "[tenants.a.spend]\npolicy = \"hangup\"",
            "p.toml:2:10: `tenants.a.spend.policy` takes \"warn\" or \"say\" or \"hang_up\" or \"transfer\"; \
             write policy = \"hang_up\"",
        ),
        (
            "[tenants.a.spend]\ntransfer_to = \"sip:me@x\"",
            "p.toml:2:15: `tenants.a.spend.transfer_to` takes a number such as +4930123456; \
             write transfer_to = \"+4930123456\"",
        ),
        (
            "[prices.mine]\nproviders = [\"openai\"]\nmodels = [\"m\"]\ntext_in = 1",
            "p.toml:1:9: `prices.mine` lacks the day from which it holds; write from = \"2026-11-01\"",
        ),
        (
            "[prices.mine]\nproviders = [\"openai\"]\nmodels = [\"m\"]\nfrom = \"2026-11-31\"\ntext_in = 1",
            "p.toml:4:8: `prices.mine.from` takes a day; write from = \"2026-11-01\"",
        ),
        (
            "[prices.mine]\nproviders = [\"openai\"]\nmodels = []\nfrom = \"2026-11-01\"\ntext_in = 1",
            "p.toml:3:10: `prices.mine.models` names nothing; write models = [\"gpt-realtime-2.1\"]",
        ),
        (
            "[prices.mine]\nproviders = [\"openai\"]\nmodels = [\"m\"]\nfrom = \"2026-11-01\"",
            "p.toml:1:9: `prices.mine` charges nothing; \
             write text_in = 4.00 (USD for a million tokens), or per_minute = 0.05",
        ),
        (
            "[prices.mine]\nproviders = [\"parrot\"]\nmodels = [\"m\"]\nfrom = \"2026-11-01\"\ntext_in = 1\n\
             [prices.twin]\nproviders = [\"parrot\"]\nmodels = [\"m\"]\nfrom = \"2026-11-01\"\ntext_in = 2",
            "p.toml:6:9: `prices.twin` and the price mine@2026-11-01 hold for the same from the same day; \
             write another day, or remove one",
        ),
        (
            "[limits\ncalls_max = 1",
            "p.toml:1:8: not TOML (unclosed table, expected); write TOML, one `key = value` a line",
        ),
        (
            "a = \"sk-secret",
            "p.toml:1:15: not TOML (invalid basic string, expected); write TOML, one `key = value` a line",
        ),
        (
            "[limits]\ncalls_max = 1\ncalls_max = 2",
            "p.toml:3:1: not TOML (duplicate key); write TOML, one `key = value` a line",
        ),
        (
            "[providers.openai]\nkey = \"sk-this-must-not-be-echoed\"",
            "p.toml:2:7: `providers.openai.key` is a secret, and a secret is never written here; \
             write key = { env = \"OPENAI_API_KEY\" } or { file = \"PATH\" }",
        ),
        (
            "[providers.openai]\nkey = { env = \"sk-this-must-not-be-echoed\" }",
            "p.toml:2:15: `providers.openai.key.env` takes the name of a variable; \
             write key = { env = \"OPENAI_API_KEY\" } or { file = \"PATH\" }",
        ),
        (
            "[providers.openai]\nkey = { env = \"NOT_SET\" }",
            "p.toml:2:15: the variable NOT_SET for `providers.openai.key` is not set; \
             set NOT_SET in the environment or in .env",
        ),
        (
            "[providers.openai]\nkey = { file = \"/nonexistent/key\" }",
            "p.toml:2:16: the file for `providers.openai.key` cannot be read (entity not found); \
             check its path and its permissions",
        ),
        (
            "[providers.openai]\nkey = { env = \"KEY\", file = \"k\" }",
            "p.toml:2:7: `providers.openai.key` takes one of `env`, `file` and `sealed`; \
             write key = { env = \"OPENAI_API_KEY\" } or { file = \"PATH\" }",
        ),
        (
            "[providers.openai]\nkey = { value = \"sk-x\" }",
            "p.toml:2:9: `providers.openai.key` takes `env`, `file` or `sealed` only; \
             write key = { env = \"OPENAI_API_KEY\" } or { file = \"PATH\" }",
        ),
        (
            "[providers.openai]\n",
            "p.toml:1:12: `providers.openai` lacks its key; write key = { env = \"OPENAI_API_KEY\" }",
        ),
        (
            "[providers.mine]\nkey = { env = \"KEY\" }",
            "p.toml:1:12: `providers.mine` lacks its kind; write kind = \"openai\" or \"azure\" or \"azure_preview\" \
             or \"openai-compatible\" or \"parrot\"",
        ),
        (
            "[providers.mine]\nkind = \"opnai\"\nkey = { env = \"KEY\" }",
            "p.toml:2:8: `providers.mine.kind` takes \"openai\" or \"azure\" or \"azure_preview\" or \
             \"openai-compatible\" or \"parrot\"; write kind = \"openai\"",
        ),
        (
            "[providers.azure]\nkey = { env = \"KEY\" }\nmodel = \"m\"",
            "p.toml:1:12: `providers.azure` lacks its base_url; write base_url = \"https://RESOURCE.openai.azure.com\"",
        ),
        (
            "[providers.azure]\nkey = { env = \"KEY\" }\nbase_url = \"https://r.openai.azure.com\"",
            "p.toml:1:12: `providers.azure` lacks its model (at Azure: the name of the deployment); write model = \"NAME\"",
        ),
        (
            "[providers.azure_preview]\nkey = { env = \"KEY\" }\nbase_url = \"https://r.openai.azure.com\"\nmodel = \"d\"",
            "p.toml:1:12: `providers.azure_preview` lacks its api_version; \
             write api_version = \"2025-04-01-preview\", or kind = \"azure\"",
        ),
        (
            "[providers.openai]\nkey = { env = \"KEY\" }\napi_version = \"2025-04-01-preview\"",
            "p.toml:1:12: `providers.openai` takes api_version only as azure_preview; \
             remove it, or write kind = \"azure_preview\"",
        ),
        (
            "[providers.openai]\nkey = { env = \"KEY\" }\nbase_url = \"http://models.example\"",
            "p.toml:3:12: `providers.openai.base_url` would send the key in clear; \
             write https://, or cleartext = true if that network is yours alone",
        ),
        (
            "[providers.openai]\nkey = { env = \"KEY\" }\nconnect_timeout_ms = 60000",
            "p.toml:3:22: `providers.openai.connect_timeout_ms` takes a whole number from 100 to 10000; \
             write connect_timeout_ms = 10000",
        ),
        (
            "[tenants.Acme]\n",
            "p.toml:1:10: a name below `tenants` has up to 64 of a-z, 0-9, `-` and `_`; write [tenants.acme]",
        ),
        (
            "[tenants.acme.twilio]\nauth_tokens = [\"0123456789abcdef\"]",
            "p.toml:2:16: `tenants.acme.twilio.auth_tokens` is a secret, and a secret is never written here; \
             write auth_tokens = { env = \"TWILIO_AUTH_TOKEN\" } or { file = \"PATH\" }",
        ),
        (
            "[tenants.acme.twilio]\naccount_sid = \"AC12\"",
            "p.toml:2:15: `tenants.acme.twilio.account_sid` takes AC and 32 hexadecimal digits; \
             write account_sid = \"AC00000000000000000000000000000000\" with your digits",
        ),
        (
            "[tenants.acme.twilio]\napi_base_url = \"http://twilio.example\"",
            "p.toml:2:16: `tenants.acme.twilio.api_base_url` would send the account's token in clear; \
             write api_base_url = \"https://api.twilio.com\"",
        ),
        (
            "[tenants.acme.twilio]\napi_key_sid = \"SK00000000000000000000000000000000\"",
            "p.toml:1:15: `tenants.acme.twilio` has half of an API key; write both api_key_sid and api_key_secret",
        ),
        (
            "[tenants.acme.routes.main]\nprovider = \"parot\"",
            "p.toml:2:12: `tenants.acme.routes.main.provider` names no provider; \
             write provider = \"parrot\", or add [providers.NAME]",
        ),
        (
            "[tenants.acme.routes.main]\nvoce = \"marin\"",
            "p.toml:2:1: unknown key `tenants.acme.routes.main.voce`; write voice instead",
        ),
        (
            "[tenants.acme.routes.main]\nbarge_in = true",
            "p.toml:2:12: `tenants.acme.routes.main.barge_in` takes text; write barge_in = \"speech\"",
        ),
        (
            "[tenants.acme.routes.main]\nfallback_twiml = \"<Response><Say>A & B</Say></Response>\"",
            "p.toml:2:18: `tenants.acme.routes.main.fallback_twiml` is not TwiML (there is a bare &; write &amp;); \
             write fallback_twiml = \"<Response><Say>Please call again.</Say><Hangup/></Response>\"",
        ),
        (
            "[tenants.acme.routes.main]\nallow_outbound = true",
            "p.toml:1:22: `tenants.acme.routes.main` allows outbound calls to no number; \
             write outbound_prefixes = [\"+4930\"]",
        ),
        (
            "[tenants.acme.routes.main]\nallow_outbound = true\noutbound_prefixes = [\"+4930\", \"030\"]",
            "p.toml:3:31: `tenants.acme.routes.main.outbound_prefixes` takes + and 1 to 15 digits, the first not 0; \
             write outbound_prefixes = [\"+4930\"]",
        ),
        (
            "[tenants.acme.routes.main.turn_detection]\nthreshold = 2",
            "p.toml:2:13: `tenants.acme.routes.main.turn_detection.threshold` takes a number from 0 to 1; \
             write threshold = 0",
        ),
        (
            "[tenants.acme.routes.main.turn_detection]\ntype = \"vad\"",
            "p.toml:2:8: `tenants.acme.routes.main.turn_detection.type` takes \"server_vad\" or \"semantic_vad\"; \
             write type = \"server_vad\" or \"semantic_vad\"",
        ),
        (
            "[tenants]\nacme = 1",
            "p.toml:2:1: `tenants.acme` is a section; write [tenants.acme] and its keys below",
        ),
        (
            "[tenants.acme.limits]\ncall_minutes_max = 1e3",
            "p.toml:2:20: `tenants.acme.limits.call_minutes_max` takes a whole number from 1 to 240; write call_minutes_max = 1",
        ),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let with_provider =
            if text.contains("[providers") { (*text).to_owned() } else { format!("{text}\n{PARROT}") };
        let got = faults(&sources(&with_provider));
        if got != *expected {
            wrong.push(format!("{text}\n  expected {expected}\n  got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_bad_variable_is_refused_by_its_name() {
    let key = ("OPENAI_API_KEY", "sk-x");
    let table: &[(&[(&str, &str)], &str)] = &[
        (
            &[],
            "configuration: there is no provider; \
             set OPENAI_API_KEY in .env, or add [providers.NAME] (kind = \"parrot\" needs no key)",
        ),
        (
            &[key, ("PATCHBAY__SERVER__LISTN", "127.0.0.1:1")],
            "PATCHBAY__SERVER__LISTN: unknown key `server.listn`; write PATCHBAY__SERVER__LISTEN instead",
        ),
        (
            &[key, ("SERVER_PORT", "eighty")],
            "SERVER_PORT: `server.listen` takes an IP address and a port (a host name only if it is localhost); \
             write listen = \"127.0.0.1:8080\"",
        ),
        (
            &[key, ("MAX_CONNECTIONS_PER_USER", "0")],
            "MAX_CONNECTIONS_PER_USER: `limits.connections_per_user_max` takes a whole number from 1 to 100000; \
             write connections_per_user_max = 1",
        ),
        (
            &[("AZURE_API_KEY", "k"), ("AZURE_DEPLOYMENT", "d")],
            "AZURE_API_KEY: `providers.azure` lacks its base_url; set AZURE_ENDPOINT, \
             or write base_url = \"https://RESOURCE.openai.azure.com\"",
        ),
        (
            &[key, ("PATCHBAY__TENANTS__DEFAULT__TWILIO__REQUIRE_STREAM_SIGNATURE", "perhaps")],
            "PATCHBAY__TENANTS__DEFAULT__TWILIO__REQUIRE_STREAM_SIGNATURE: \
             `tenants.default.twilio.require_stream_signature` takes true or false; \
             write require_stream_signature = true",
        ),
    ];
    for (given, expected) in table {
        assert_eq!(faults(&variables(given)), *expected);
    }
}

#[test]
fn every_fault_is_told_at_once() {
    let text = "[server]\nlistn = 1\n[limits]\ncalls_max = 0\n[providers.parrot]\nvoice = 1\n";
    assert_eq!(faults(&sources(text)).lines().count(), 3);
}

#[test]
fn one_key_is_a_complete_configuration() {
    let config = Config::parse(&variables(&[("OPENAI_API_KEY", "sk-x")])).unwrap();
    let (tenant, route, provider) = config.route("default", "default").unwrap();
    assert_eq!((tenant.name.as_str(), route.name.as_str()), ("default", "default"));
    assert_eq!(
        (provider.base_url.as_str(), route.model.as_str()),
        ("https://api.openai.com/v1", "gpt-realtime-2.1")
    );
    assert_eq!((provider.auth, provider.key.as_ref().unwrap().expose()), (Auth::Bearer, "sk-x"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url(config.server.listen).ws("/x"), "ws://127.0.0.1:8080/x");
    assert_eq!(route.transcription_model.as_deref(), Some("gpt-transcribe"));
    assert_eq!((config.limits.connections_per_user_max, config.limits.requests_per_minute_max), (3, 60));
}

#[test]
fn azures_variables_are_a_complete_configuration_current_or_dated() {
    let mut given = vec![
        ("AZURE_ENDPOINT", "https://res.openai.azure.com/openai/v1/"),
        ("AZURE_API_KEY", "k"),
        ("AZURE_DEPLOYMENT", "my deployment"),
        ("OPENAI_API_KEY", ""),
    ];
    let found = |given: &[(&str, &str)]| {
        let config = Config::parse(&variables(given)).unwrap();
        let (_, route, provider) = config.route("default", "default").unwrap();
        assert_eq!(
            route.transcription_model, None,
            "a transcription model is a deployment, which we cannot know"
        );
        assert_eq!((provider.auth, route.model.as_str()), (Auth::ApiKey, "my deployment"));
        assert_eq!(provider.base_url, "https://res.openai.azure.com");
        provider.kind
    };
    assert_eq!(found(&given), ProviderKind::Azure);
    given.push(("API_VERSION", "2025-04-01-preview"));
    assert_eq!(found(&given), ProviderKind::AzurePreview);
}

#[test]
fn plain_variables_reach_their_keys() {
    let config = Config::parse(&variables(&[
        ("OPENAI_API_KEY", "sk-x"),
        ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"),
        ("SERVER_HOST", "::1"),
        ("SERVER_PORT", "0"),
        ("MAX_CONNECTIONS_PER_USER", "7"),
        ("TWILIO_AUTH_TOKEN", "one, two"),
        ("TWILIO_ACCOUNT_SID", "AC00000000000000000000000000000001"),
        ("DATABASE_URL", "sqlite://x"),
        ("REDIS_URL", "redis://x"),
        ("PATCHBAY__TENANTS__DEFAULT__API_KEY", "pbk_secret"),
        ("PATCHBAY__PROVIDERS__OPENAI__MODEL", "other"),
    ]))
    .unwrap();
    let (tenant, route, provider) = config.route("default", "default").unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:0");
    assert_eq!(config.limits.connections_per_user_max, 7);
    assert_eq!((provider.base_url.as_str(), route.model.as_str()), ("http://127.0.0.1:9/v1", "other"));
    let tokens: Vec<&str> = tenant.twilio.auth_tokens.iter().map(|token| token.expose()).collect();
    assert_eq!(tokens, ["one", "two"]);
    assert_eq!(tenant.twilio.rest_credential().unwrap().0, "AC00000000000000000000000000000001");
    assert_eq!(tenant.api_key.as_ref().unwrap().expose(), "pbk_secret");
    assert_eq!(config.notices.iter().filter(|notice| notice.contains("does not use")).count(), 1);
}

#[test]
fn both_keys_give_openai_and_say_so() {
    let given = [
        ("OPENAI_API_KEY", "a"),
        ("AZURE_API_KEY", "b"),
        ("AZURE_ENDPOINT", "https://r.openai.azure.com"),
        ("AZURE_DEPLOYMENT", "d"),
    ];
    let config = Config::parse(&variables(&given)).unwrap();
    assert_eq!(config.route("default", "default").unwrap().2.name, "openai");
    assert!(config.notices.iter().any(|notice| notice.contains("use openai")), "{:?}", config.notices);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let mut sources = sources(
        "[server]\nlisten = \"127.0.0.1:1\"\n[limits]\ncalls_max = 5\nping_interval_s = 9\n[providers.parrot]\n",
    );
    sources.set("SERVER_PORT", "2");
    sources.set("PATCHBAY__LIMITS__CALLS_MAX", "6");
    let config = Config::parse(&sources).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.limits.calls_max, 6);
    assert_eq!(config.limits.ping_interval, Duration::from_secs(9));
    assert_eq!(config.limits.dead_after, Duration::from_secs(35));
}

#[test]
fn declared_providers_are_not_joined_by_plain_variables() {
    let mut sources = sources("[providers.main]\nkind = \"openai\"\nkey = { env = \"KEY\" }\n");
    sources.set("OPENAI_API_KEY", "sk-other");
    let config = Config::parse(&sources).unwrap();
    assert_eq!(config.providers.len(), 1);
    assert_eq!(config.providers["main"].key.as_ref().unwrap().expose(), "sk-from-the-environment");
}

#[test]
fn every_tenant_and_every_route_begins_as_the_default_one() {
    let text = "[tenants.acme]\n[tenants.acme.routes.sales]\nvoice = \"cedar\"\n[tenants.acme.routes.help]\n\
                [tenants.bare]\n[providers.parrot]\n";
    let config = Config::parse(&sources(text)).unwrap();
    assert_eq!(config.tenants.keys().collect::<Vec<_>>(), ["acme", "bare"]);
    let acme = &config.tenants["acme"];
    assert_eq!(acme.routes.keys().collect::<Vec<_>>(), ["help", "sales"]);
    assert_eq!((acme.routes["sales"].voice.as_str(), acme.routes["help"].voice.as_str()), ("cedar", "marin"));
    assert_eq!(acme.limits.call_duration_max, Duration::from_secs(3600));
    assert!(config.route("bare", "default").is_some());
}

#[test]
fn the_effective_configuration_holds_no_secret_and_is_toml() {
    let given = [
        ("OPENAI_API_KEY", "sk-secret-1"),
        ("TWILIO_AUTH_TOKEN", "secret-2"),
        ("PATCHBAY__TENANTS__DEFAULT__API_KEY", "pbk_secret-3"),
    ];
    let config = Config::parse(&variables(&given)).unwrap();
    let shown = config.to_toml();
    assert!(!shown.contains("secret-"), "{shown}");
    assert!(!format!("{config:?}").contains("secret-"));
    assert!(shown.contains("[redacted: env OPENAI_API_KEY]"), "{shown}");
    assert!(toml::from_str::<toml::Table>(&shown).is_ok());
}

#[test]
fn the_shipped_file_is_the_defaults_and_its_examples_work() {
    let shipped = include_str!("../../../../config/patchbay.toml");
    let mut plain = sources(shipped);
    plain.set("OPENAI_API_KEY", "sk-x");
    let defaults = Config::parse(&variables(&[("OPENAI_API_KEY", "sk-x")])).unwrap();
    assert_eq!(Config::parse(&plain).unwrap().to_toml(), defaults.to_toml());
    let uncommented: String = shipped
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.contains("/run/secrets") && !line.contains("house-ca.pem"))
        .collect();
    let uncommented = uncommented.replace("my-deployment\"", "my-deployment\"\nkey = { env = \"KEY\" }");
    let mut all = sources(&uncommented);
    for name in [
        "OPENAI_API_KEY",
        "HOUSE_KEY",
        "PATCHBAY_API_KEY",
        "TWILIO_AUTH_TOKEN",
        "TWILIO_API_KEY_SECRET",
        "BOT_AUTH_TOKEN",
    ] {
        all.set(name, "x");
    }
    all.set("PATCHBAY_ADMIN_KEY", "x");
    all.set("PATCHBAY_SIGNING_KEY", &"x".repeat(32));
    let sealed = (("default".to_owned(), "openai".to_owned()), Secret::new("x".to_owned(), "sealed openai"));
    all.kept.sealed.extend([sealed]);
    all.set("PATCHBAY_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    let config = Config::parse(&all).unwrap();
    assert_eq!(config.providers.len(), 4);
    let default = Config::parse(&variables(&[("OPENAI_API_KEY", "x")])).unwrap();
    let parts = |config: &Config| {
        let provider = &config.providers["openai"];
        (provider.base_url.clone(), provider.model.clone(), provider.connect_timeout, provider.auth)
    };
    assert_eq!(parts(&config), parts(&default), "the examples show the defaults of a kind");
}

#[test]
fn a_bad_bot_is_refused_with_place_and_advice_and_a_good_one_takes_the_providers_place() {
    let bot = "[tenants.default.bots.desk]\n";
    let table = [
        (
            format!("{bot}url = \"wss://a.example/m\""),
            "p.toml:1:23: `tenants.default.bots.desk` lacks its protocol; write protocol = \"twilio\"",
        ),
        (
            format!("{bot}protocol = \"twillio\"\nurl = \"wss://a.example\""),
            "p.toml:2:12: `tenants.default.bots.desk.protocol` takes \"twilio\"; write protocol = \"twilio\"",
        ),
        (
            format!("{bot}protocol = \"twilio\""),
            "p.toml:1:23: `tenants.default.bots.desk` lacks its url; write url = \"wss://bot.example.com/media\"",
        ),
        (
            format!("{bot}protocol = \"twilio\"\nurl = \"https://a.example\""),
            "p.toml:3:7: `tenants.default.bots.desk.url` begins with wss://; write url = \"wss://bot.example.com/media\"",
        ),
        (
            format!("{bot}protocol = \"twilio\"\nurl = \"ws://a.example/m\""),
            "p.toml:3:7: `tenants.default.bots.desk.url` would send the call in clear; write wss://, or cleartext = true if that network is yours alone",
        ),
        (
            format!("{bot}protocol = \"twilio\"\nurl = \"wss://u@a.example/m\""),
            "p.toml:3:7: `tenants.default.bots.desk.url` takes a host and a path, without user or fragment; write url = \"wss://bot.example.com/media\"",
        ),
        (
            format!("{bot}protocol = \"twilio\"\nurl = \"wss://a.example/m\"\nparameters = 3"),
            "p.toml:4:14: `tenants.default.bots.desk.parameters` takes texts by their names; write parameters = { name = \"value\" }",
        ),
        (
            "[tenants.default.routes.default]\nbot = \"desk\"\nprovider = \"parrot\"".to_owned(),
            "p.toml:3:12: `tenants.default.routes.default` has a bot and a provider; write one of them: who is to answer?",
        ),
        (
            "[tenants.default.routes.default]\nbot = \"The Desk\"".to_owned(),
            "p.toml:2:7: `tenants.default.routes.default.bot` takes up to 64 of a-z, 0-9, `-` and `_`; write bot = \"receptionist\"",
        ),
    ];
    for (text, expected) in &table {
        let found = faults(&sources(&format!("{text}\n{PARROT}")));
        assert!(found.contains(expected), "{text}\nexpected {expected}\nfound    {found}");
    }
    for url in [
        "wss://bot.example.com/media",
        "ws://127.0.0.1:8000/media",
        "ws://[::1]:8000",
        "wss://a.example:443/m?x=1",
    ] {
        let text = format!(
            "{bot}protocol = \"twilio\"\nurl = \"{url}\"\n[tenants.default.routes.default]\nbot = \"desk\"\n{PARROT}"
        );
        let config = Config::parse(&sources(&text)).unwrap();
        let (_, route, bot) = config.route("default", "default").unwrap();
        assert_eq!(
            (route.provider.as_str(), bot.kind, bot.base_url.as_str()),
            ("", ProviderKind::TwilioBot, url)
        );
        assert!(toml::from_str::<toml::Table>(&config.to_toml()).is_ok());
    }
}

#[test]
fn the_shipped_env_file_is_good() {
    let pairs: Vec<(String, String)> =
        dotenvy::from_read_iter(&include_bytes!("../../../../config/.env.example")[..])
            .collect::<Result<_, _>>()
            .unwrap();
    let mut sources = Sources::default();
    sources.variables.extend(pairs);
    assert!(faults(&sources).contains("there is no provider"));
    sources.set("OPENAI_API_KEY", "sk-x");
    assert_eq!(Config::parse(&sources).unwrap().server.listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn a_secret_can_be_in_a_file() {
    let path = std::env::temp_dir().join(format!("patchbay-secret-{}", std::process::id()));
    std::fs::write(&path, "sk-from-a-file\n").unwrap();
    let text = format!("[providers.openai]\nkey = {{ file = {:?} }}\n", path.to_str().unwrap());
    let config = Config::parse(&sources(&text)).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(config.providers["openai"].key.as_ref().unwrap().expose(), "sk-from-a-file");
    assert!(config.files.contains(&path), "the file is watched");
}

#[test]
fn the_default_prices_are_those_of_the_providers_lists() {
    let config = Config::parse(&variables(&[("OPENAI_API_KEY", "sk-x")])).unwrap();
    let now = 20_778 * crate::calendar::DAY_MS;
    let million = |kind: &str, change: fn(&mut patchbay_core::Usage)| {
        let mut usage = patchbay_core::Usage { kind: kind.into(), ..Default::default() };
        change(&mut usage);
        usage
    };
    let response = |change| million("response", change);
    // Reference: reference/realtime.md, price table. USD for a million tokens, or for a minute, in micro-USD.
    let table = [
        ("gpt-realtime-2.1", response(|u| u.tokens.audio_in = 1_000_000), Some(32_000_000)),
        ("gpt-realtime-2.1", response(|u| u.tokens.audio_out = 1_000_000), Some(64_000_000)),
        ("gpt-realtime-2.1", response(|u| u.tokens.text_out = 1_000_000), Some(24_000_000)),
        ("gpt-realtime-2.1-mini", response(|u| u.tokens.audio_in = 1_000_000), Some(10_000_000)),
        ("gpt-realtime-2.1-mini", response(|u| u.tokens.text_in = 1_000_000), Some(600_000)),
        ("gpt-realtime-2025-08-28", response(|u| u.tokens.text_out = 1_000_000), Some(16_000_000)),
        ("gpt-realtime-mini-2025-10-06", response(|u| u.tokens.audio_out = 1_000_000), Some(20_000_000)),
        ("gpt-4o-mini-realtime-preview", response(|u| u.tokens.text_out = 1_000_000), Some(2_400_000)),
        ("gpt-live-1", response(|u| u.duration_ms = 60_000), Some(50_000)),
        ("gpt-live-transcribe", million("transcription", |u| u.duration_ms = 60_000), Some(17_000)),
        ("gpt-transcribe", million("transcription", |u| u.duration_ms = 60_000), None),
        ("a-model-of-tomorrow", response(|u| u.tokens.audio_out = 1_000_000), None),
    ];
    for (model, usage, expected) in table {
        let cost = config.prices.list.cost("openai", model, &usage, now);
        assert_eq!(cost.map(|cost| cost.micro_usd), expected, "{model}");
    }
}

/// A response that spoke so many tokens.
fn response_of(audio_out: u64) -> patchbay_core::Usage {
    let tokens = patchbay_core::Tokens { audio_out, ..Default::default() };
    patchbay_core::Usage { kind: "response".into(), tokens, ..Default::default() }
}

#[test]
fn a_price_of_ones_own_holds_from_its_day_and_names_its_provider_or_its_kind() {
    let text = "[providers.house]\nkind = \"openai-compatible\"\nbase_url = \"https://h.example\"\nmodel = \"m\"\n\
                key = { env = \"KEY\" }\n[prices.house-2026]\nproviders = [\"house\"]\nmodels = [\"m\"]\n\
                from = \"2026-11-01\"\naudio_out = 1.5\n[prices.house-2027]\nproviders = [\"openai-compatible\"]\n\
                models = [\"m\"]\nfrom = \"2027-01-01\"\naudio_out = 1.25\n";
    let config = Config::parse(&sources(text)).unwrap();
    let usage = response_of(1_000_000);
    let at = |day: &str| {
        let ms = crate::calendar::Date::parse(day).unwrap().days() * crate::calendar::DAY_MS;
        config
            .prices
            .list
            .cost("house", "m", &usage, ms)
            .map(|cost| (cost.micro_usd, cost.version.to_string()))
    };
    assert_eq!(at("2026-10-31"), None);
    assert_eq!(at("2026-11-01"), Some((1_500_000, "house-2026@2026-11-01".into())));
    assert_eq!(at("2027-06-01"), Some((1_250_000, "house-2027@2027-01-01".into())));
}

#[test]
fn a_tenants_own_prices_go_before_everybodys_for_its_calls_alone() {
    let text = "[providers.openai]\nkind = \"openai\"\nkey = { env = \"KEY\" }\n[tenants.acme.prices.deal]\n\
         providers = [\"openai\"]\nmodels = [\"gpt-realtime*\"]\nfrom = \"2026-11-01\"\naudio_out = 1.5\n\
         [tenants.other]\n";
    let config = Config::parse(&sources(text)).unwrap();
    let usage = response_of(1_000_000);
    let cost = |tenant: &str, model: &str| {
        let at = crate::calendar::Date::parse("2026-11-21").unwrap().days() * crate::calendar::DAY_MS;
        let cost = config.prices_of(&config.tenants[tenant]).cost("openai", model, &usage, at);
        cost.map(|cost| (cost.micro_usd, cost.version.starts_with("acme/deal@")))
    };
    assert_eq!(cost("acme", "gpt-realtime-2.1"), Some((1_500_000, true)), "though everybody's is narrower");
    assert_eq!(cost("acme", "gpt-4o-mini-realtime-preview").map(|(_, own)| own), Some(false));
    assert_eq!(cost("other", "gpt-realtime-2.1"), Some((64_000_000, false)));
    assert!(config.to_toml().contains("[tenants.acme.prices.deal]"));
}

#[test]
fn what_has_no_price_is_told_and_a_spend_limit_that_cannot_see_it_too() {
    let mut sources =
        variables(&[("OPENAI_API_KEY", "sk-x"), ("PATCHBAY__TENANTS__DEFAULT__SPEND__LIMIT_USD", "10")]);
    sources.set("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__MODEL", "a-model-of-tomorrow");
    let notices = Config::parse(&sources).unwrap().notices;
    let wanted = "[prices] has none for responses of a-model-of-tomorrow at openai: its cost is told as 0, and the \
                  spend limit does not see it";
    assert!(notices.iter().any(|notice| notice == wanted), "{notices:?}");
}

#[test]
fn the_operators_key_is_taken_from_its_plain_variable_and_printed_nowhere() {
    let config =
        Config::parse(&variables(&[("OPENAI_API_KEY", "x"), ("PATCHBAY_ADMIN_KEY", "canary")])).unwrap();
    assert_eq!(config.credentials.admin_key.as_ref().map(|key| key.expose()), Some("canary"));
    assert!(!config.to_toml().contains("canary"));
}

#[test]
fn without_a_database_nothing_is_kept_and_a_notice_says_so() {
    let config = Config::parse(&sources(PARROT)).unwrap();
    assert_eq!((config.storage.address(), config.storage.spill().is_none()), ("memory:", true));
    assert!(config.notices.iter().any(|notice| notice.contains("nothing is kept")));
    let kept = sources(&format!("{PARROT}[storage]\nurl = \"sqlite:///tmp/p.db\""));
    let config = Config::parse(&kept).unwrap();
    assert!(!config.notices.iter().any(|notice| notice.contains("nothing is kept")));
    assert_eq!(config.storage.spill().unwrap().folder, PathBuf::from("/tmp/p.db.spill"));
    let days = config.storage.retention;
    assert_eq!((days.transcripts_days, days.calls_days, days.usage_days), (30, 395, 2_555));
}

#[test]
fn a_databases_password_is_taken_from_a_variable_and_printed_nowhere() {
    let written = sources(&format!("{PARROT}[storage]\nurl = \"postgres://me:s3cret@db/x\""));
    let fault = faults(&written);
    assert!(
        fault.starts_with("p.toml:3:7: `storage.url` holds a password") && !fault.contains("s3cret"),
        "{fault}"
    );
    let mut given = sources(PARROT);
    given.set("DATABASE_URL", "postgres://me:s3cret@db/x?password=s3cret");
    given.set("PATCHBAY_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    let config = Config::parse(&given).unwrap();
    assert_eq!(config.storage.address(), "postgres://me:s3cret@db/x?password=s3cret");
    let printed = format!("{config:?} {}", config.to_toml());
    assert!(!printed.contains("s3cret") && !printed.contains("BwcHBw"), "{printed}");
    assert!(printed.contains("postgres://me:[redacted]@db/x"), "{printed}");
}

#[test]
fn a_bad_master_key_or_address_is_refused_without_printing_it() {
    for (text, said) in [
        ("url = \"mysql://x\"", "`storage.url` is the address of no database that is known"),
        ("master_key = \"literal\"", "`storage.master_key` is a secret"),
        ("master_key = { env = \"KEY\" }", "the master key is not 32 bytes in base64"),
    ] {
        let fault = faults(&sources(&format!("{PARROT}[storage]\n{text}")));
        assert!(fault.contains(said) && !fault.contains("sk-from-the-environment"), "{fault}");
    }
}
