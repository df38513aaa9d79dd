//! The section as a tenant's operator meets it.

use std::path::PathBuf;

use super::*;
use crate::config::{Config, Sources};

fn parsed(jwt: &str) -> Result<Config, String> {
    let text = format!("[providers.parrot]\n[tenants.t.jwt]\n{jwt}\n");
    let mut sources = Sources { file: Some((PathBuf::from("p.toml"), text)), ..Sources::default() };
    sources.set("SECRET", "a secret of thirty-two bytes or more");
    sources.set("SHORT", "too short");
    Config::parse(&sources).map_err(|faults| faults.to_string())
}

const USUAL: &str = "issuer = \"https://i.example/\"\naudience = \"a\"\n";

#[test]
fn an_issuer_is_read_with_its_defaults() {
    let url = "https://i.example/jwks.json";
    let config = parsed(&format!("{USUAL}algorithm = \"ES256\"\njwks_url = \"{url}\"")).unwrap();
    let jwt = config.tenants["t"].jwt.as_ref().unwrap();
    assert_eq!(
        (jwt.algorithm, jwt.leeway, jwt.user_claim.as_str()),
        (Algorithm::Es256, Duration::from_secs(30), "sub")
    );
    assert!(matches!(&jwt.keys, JwtKeys::Url(read) if *read == url), "{:?}", jwt.keys);
    let more =
        "algorithm = \"HS256\"\nsecret = { env = \"SECRET\" }\nleeway_seconds = 0\nuser_claim = \"email\"";
    let config = parsed(&format!("{USUAL}{more}\nscopes_claim = \"scope\"")).unwrap();
    let jwt = config.tenants["t"].jwt.as_ref().unwrap();
    assert_eq!(
        (jwt.leeway, jwt.user_claim.as_str(), jwt.scopes_claim.as_deref()),
        (Duration::ZERO, "email", Some("scope"))
    );
    assert!(!config.to_toml().contains("thirty-two"), "{}", config.to_toml());
    assert!(parsed("").unwrap().tenants["t"].jwt.is_none());
}

#[test]
fn a_faulty_issuer_is_refused_at_its_line_with_advice() {
    let table = [
        (
            "algorithm = \"none\"\njwks_url = \"https://i.example\"",
            "p.toml:5:13: `tenants.t.jwt.algorithm` takes \"RS256\" or",
        ),
        ("algorithm = \"PS256\"\njwks_url = \"https://i.example\"", "write algorithm = \"RS256\""),
        ("jwks_url = \"https://i.example\"", "p.toml:2:12: `tenants.t.jwt.algorithm` is missing"),
        ("algorithm = \"RS256\"", "takes one of jwks_url, public_key and secret"),
        (
            "algorithm = \"RS256\"\njwks_url = \"http://i.example/jwks\"",
            "p.toml:6:12: `tenants.t.jwt.jwks_url` would fetch keys in clear",
        ),
        ("algorithm = \"RS256\"\njwks_url = \"file:///etc/passwd\"", "`tenants.t.jwt.jwks_url`"),
        ("algorithm = \"RS256\"\njwks_url = \"https://u:p@i.example\"", "without user"),
        ("algorithm = \"HS256\"\njwks_url = \"https://i.example\"", "publishes keys, and HS256 has a secret"),
        (
            "algorithm = \"RS256\"\nsecret = { env = \"SECRET\" }",
            "p.toml:6:10: `tenants.t.jwt.secret` is for HS256",
        ),
        ("algorithm = \"HS256\"\nsecret = { env = \"SHORT\" }", "is shorter than 32 bytes"),
        ("algorithm = \"RS256\"\npublic_key = { env = \"SECRET\" }", "is not a public key in PEM"),
        (
            "algorithm = \"HS256\"\nsecret = \"written here\"",
            "is a secret, and a secret is never written here",
        ),
        (
            "algorithm = \"RS256\"\njwks_url = \"https://i.example\"\npublic_key = { env = \"SECRET\" }",
            "takes one of jwks_url",
        ),
        (
            "algorithm = \"RS256\"\njwks_url = \"https://i.example\"\nleeway_seconds = 301",
            "a whole number from 0 to 300",
        ),
        (
            "algorithm = \"RS256\"\njwks_url = \"https://i.example\"\nleway_seconds = 3",
            "write leeway_seconds instead",
        ),
    ];
    for (text, expected) in table {
        let faults = parsed(&format!("{USUAL}{text}")).unwrap_err();
        assert!(faults.contains(expected), "{text}\n{faults}");
        assert!(!faults.contains("thirty-two") && !faults.contains("too short"), "{faults}");
    }
    for (missing, rest) in [("issuer", "audience = \"a\""), ("audience", "issuer = \"i\"")] {
        let faults =
            parsed(&format!("{rest}\nalgorithm = \"RS256\"\njwks_url = \"https://i.example\"")).unwrap_err();
        assert!(faults.contains(&format!("`tenants.t.jwt.{missing}` is missing")), "{faults}");
    }
    assert!(
        parsed(&format!("{USUAL}algorithm = \"RS256\"\njwks_url = \"http://127.0.0.1:1/jwks\"")).is_ok(),
        "loopback"
    );
}

#[test]
fn two_tenants_that_one_credential_would_open_are_a_fault() {
    let issuer =
        "algorithm = \"RS256\"\njwks_url = \"https://i.example\"\nissuer = \"i\"\naudience = \"a\"\n";
    let keys = "api_key = { env = \"K\" }\n";
    let text = |one: &str, two: &str| {
        let text = format!("[providers.parrot]\n[tenants.a]\n{one}[tenants.b]\n{two}");
        let mut sources = Sources { file: Some((PathBuf::from("p.toml"), text)), ..Sources::default() };
        sources.set("K", "the same");
        Config::parse(&sources).map(|_| ()).unwrap_err().to_string()
    };
    let faults = text(keys, keys);
    assert!(faults.contains("tenants `a` and `b` have the same api_key"), "{faults}");
    assert!(!faults.contains("the same\""), "{faults}");
    let (one, two) = (format!("[tenants.a.jwt]\n{issuer}"), format!("[tenants.b.jwt]\n{issuer}"));
    assert!(text(&one, &two).contains("the same jwt issuer and audience"));
}

#[test]
fn origins_and_signing_keys_are_checked_where_they_are_written() {
    let faults = |text: &str| {
        let text = format!("[providers.parrot]\n{text}");
        let mut sources = Sources { file: Some((PathBuf::from("p.toml"), text)), ..Sources::default() };
        sources.set("SHORT", "short");
        sources.set("LONG", &"x".repeat(32));
        Config::parse(&sources).map(|_| ()).map_err(|faults| faults.to_string()).err().unwrap_or_default()
    };
    let origins = |list: &str| faults(&format!("[tenants.t]\nallowed_origins = {list}\n"));
    assert!(origins("[\"https://App.example:443\"]").contains("p.toml:3:20: an origin of `tenants.t.allowed_origins` is not in the form that browsers send; write \"https://app.example\""));
    assert!(origins("[\"null\"]").contains("sandboxed"));
    assert!(
        origins("[\"*\", \"https://a.example\"]").contains("wildcard")
            || !origins("[\"*\", \"https://a.example\"]").is_empty()
    );
    assert_eq!(origins("[\"*\"]"), "");
    assert_eq!(origins("[\"https://a.example\", \"http://localhost:3000\"]"), "");
    let keys = |list: &str| faults(&format!("[credentials]\nsigning_keys = {list}\n"));
    assert!(keys("[{ env = \"SHORT\" }]").contains("less than 32 characters"));
    assert!(
        keys("[{ env = \"LONG\" }, { env = \"LONG\" }, { env = \"LONG\" }]").contains("more than 2 keys")
    );
    assert_eq!(keys("[{ env = \"LONG\" }, { env = \"LONG\" }]"), "");
}
