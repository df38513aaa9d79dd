//! `patchbay bot`: bots of a tenant, their keys and tokens, at a running gateway.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::http::{HeaderValue, Method, Uri, header};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::operator::{cell, part, table};
use super::wrong_use;
use crate::secret::Secret;
use crate::transport::{Dialer, FetchSpec};

mod key;

use key::SecretKey;

/// Manages bots at a running gateway, by a tenant's key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  patchbay bot add echo --new-key echo.pem\n  patchbay bot list\n  \
curl -H \"Authorization: Bearer $(patchbay bot token echo --key echo.pem)\" http://127.0.0.1:8080/v1/lookup/echo\n  \
patchbay bot remove echo\n\nThe tenant's key is read from PATCHBAY_API_KEY; a token needs none.")]
pub struct BotArgs {
    #[command(subcommand)]
    what: What,
}

/// Where the gateway is.
#[derive(Clone, Debug, Args)]
struct GatewayArgs {
    /// The gateway's public address: its public_url.
    #[arg(long, value_name = "URL", env = "PATCHBAY_GATEWAY", default_value = "http://127.0.0.1:8080")]
    gateway: String,
    /// The variable that holds the tenant's key.
    #[arg(long, value_name = "NAME", default_value = "PATCHBAY_API_KEY")]
    api_key_env: String,
    /// Prints what the gateway answered, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Makes a bot known, or adds a key to it.
    Add {
        /// Its id: up to 64 of a-z, 0-9, - and _.
        bot: String,
        /// What people call it.
        #[arg(long)]
        name: Option<String>,
        /// Makes a key and writes it there, for its owner's eyes only.
        #[arg(long, value_name = "FILE", conflicts_with = "key", required_unless_present = "key")]
        new_key: Option<PathBuf>,
        /// The bot's key: PKCS #8 in PEM, or a private JWK. Only its public half is sent.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        #[command(flatten)]
        gateway: GatewayArgs,
    },
    /// The tenant's bots.
    List {
        #[command(flatten)]
        gateway: GatewayArgs,
    },
    /// Takes a bot back with all of its keys, or one key.
    Remove {
        /// Its id.
        bot: String,
        /// Only the key of this thumbprint.
        #[arg(long)]
        kid: Option<String>,
        #[command(flatten)]
        gateway: GatewayArgs,
    },
    /// Prints a token of the bot, good for five minutes.
    Token {
        /// Its id.
        bot: String,
        /// The bot's key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Whom it is for: the gateway's public_url.
        #[arg(long, value_name = "URL", env = "PATCHBAY_GATEWAY", default_value = "http://127.0.0.1:8080")]
        gateway: String,
    },
}

/// Runs the command.
pub async fn run(args: BotArgs) -> ExitCode {
    match args.what {
        What::Add { bot, name, new_key, key, gateway } => {
            let read = match (&new_key, &key) {
                (Some(path), _) => SecretKey::make(path),
                (None, Some(path)) => SecretKey::read(path),
                (None, None) => return wrong_use("say --new-key FILE or --key FILE"),
            };
            let key = match read {
                Ok(key) => key,
                Err(error) => return wrong_use(&error),
            };
            let mut body = json!({ "id": bot, "jwk": key.jwk() });
            if let Some(name) = name {
                body["name"] = name.into();
            }
            let answer = gateway.ask(Method::POST, "/v1/bots", body.to_string().into()).await;
            gateway
                .tell(answer, |answer| format!("bot {bot} is known, with the key {}\n", cell(&answer["kid"])))
        }
        What::List { gateway } => {
            let answer = gateway.ask(Method::GET, "/v1/bots?limit=100", Bytes::new()).await;
            gateway.tell(answer, listed)
        }
        What::Remove { bot, kid, gateway } => {
            let query = kid.map(|kid| format!("?kid={}", part(&kid))).unwrap_or_default();
            let path = format!("/v1/bots/{}{query}", part(&bot));
            let answer = gateway.ask(Method::DELETE, &path, Bytes::new()).await;
            gateway.tell(answer, |_| format!("taken back: {bot}\n"))
        }
        What::Token { bot, key, gateway } => token(&bot, &key, &gateway),
    }
}

fn token(bot: &str, key: &Path, gateway: &str) -> ExitCode {
    match SecretKey::read(key) {
        Ok(key) => {
            println!("{}", key.token(bot, gateway.trim_end_matches('/')));
            ExitCode::SUCCESS
        }
        Err(error) => wrong_use(&error),
    }
}

fn listed(answer: &Value) -> String {
    let empty = Vec::new();
    let row = |bot: &Value| {
        let keys = bot["keys"].as_array().map_or(0, Vec::len).to_string();
        vec![cell(&bot["id"]), cell(&bot["name"]), cell(&bot["online"]), keys]
    };
    let rows: Vec<_> = answer["data"].as_array().unwrap_or(&empty).iter().map(row).collect();
    table(&["BOT", "NAME", "ONLINE", "KEYS"], &rows)
}

impl GatewayArgs {
    /// Asks once. `Null` when the answer is empty.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, String> {
        let address = format!("{}{path}", self.gateway.trim_end_matches('/'));
        let uri: Option<Uri> = address.parse().ok();
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let uri = uri.ok_or_else(|| format!("{:?} is not an http:// or https:// address", self.gateway))?;
        let key = std::env::var(&self.api_key_env).ok().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| format!("set {} to a key of the tenant (pbk_…)", self.api_key_env))?;
        let key = Secret::new(key, &self.api_key_env);
        let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()));
        let mut bearer = bearer.map_err(|_| format!("{} cannot stand in a header", self.api_key_env))?;
        bearer.set_sensitive(true);
        let mut spec = FetchSpec { method, body, ..FetchSpec::get(uri) };
        spec.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        spec.headers.insert(header::AUTHORIZATION, bearer);
        let answer = Dialer::new().fetch(spec).await;
        let answer = answer.map_err(|_| format!("no gateway answers at {}", self.gateway))?;
        let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        if answer.status.is_success() {
            return Ok(value);
        }
        let said = value["error"]["message"].as_str().map(str::to_owned);
        Err(said.unwrap_or_else(|| format!("the gateway answered {}", answer.status)))
    }

    fn tell(&self, answer: Result<Value, String>, human: impl FnOnce(&Value) -> String) -> ExitCode {
        match answer {
            Ok(value) => {
                let json = || format!("{}\n", serde_json::to_string_pretty(&value).unwrap_or_default());
                let text = if self.json { json() } else { human(&value) };
                let _ = std::io::stdout().write_all(text.as_bytes());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("patchbay: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
