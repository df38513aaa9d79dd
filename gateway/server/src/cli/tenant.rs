//! `patchbay tenant`: tenants, their keys and secrets, in a running gateway.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::http::Method;
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::operator::{AdminArgs, cell, part, table};
use super::wrong_use;

/// Manages tenants of a running gateway that has a database.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  patchbay tenant put acme acme.toml\n  \
printf %s \"$KEY\" | patchbay tenant secret acme openai\n  \
patchbay tenant key acme --name website --scopes secrets:create\n  patchbay tenant list\n\n\
acme.toml holds what would stand below [tenants.acme]; a key in it may be { sealed = \"openai\" }.")]
pub struct TenantArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every tenant, of the configuration and of the database.
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// One tenant: what is in effect, secrets redacted.
    Show {
        /// Its name.
        tenant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Adds or replaces a tenant.
    Put {
        /// Its name.
        tenant: String,
        /// What would stand below [tenants.NAME]; `-` reads standard input.
        file: PathBuf,
        /// Refuse if somebody else changed it since this revision.
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Deletes a tenant of the database.
    Delete {
        /// Its name.
        tenant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Seals a secret, read from standard input, for { sealed = "NAME" }.
    Secret {
        /// Whose.
        tenant: String,
        /// Its name.
        name: String,
        /// Deletes it instead.
        #[arg(long)]
        delete: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Makes a gateway key and shows it, this once.
    Key {
        /// Whose.
        tenant: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        name: String,
        /// What it may do; everything when not given.
        #[arg(long, value_delimiter = ',', value_name = "SCOPE,…")]
        scopes: Vec<String>,
        /// When it ends by itself.
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Lists a tenant's keys.
    Keys {
        /// Whose.
        tenant: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Takes a key back.
    Revoke {
        /// Whose.
        tenant: String,
        /// Its id: the part between the first and the second underscore.
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

const JSON: &str = "application/json";

/// Runs the command.
pub async fn run(args: TenantArgs) -> ExitCode {
    match args.what {
        What::List { admin } => {
            let answer = admin.get("/admin/tenants").await;
            admin.tell(answer, |value| listed(value, &["name", "source", "revision"]))
        }
        What::Show { tenant, admin } => {
            let answer = admin.get(&path(&tenant, "")).await;
            admin.tell(answer, pretty)
        }
        What::Put { tenant, file, revision, admin } => put(&tenant, &file, revision, &admin).await,
        What::Delete { tenant, admin } => {
            let answer = admin.ask(Method::DELETE, &path(&tenant, ""), Bytes::new(), JSON).await;
            admin
                .tell(answer, |_| format!("{tenant} is deleted; its calls and usage stay until their time\n"))
        }
        What::Secret { tenant, name, delete, admin } => secret(&tenant, &name, delete, &admin).await,
        What::Key { tenant, name, scopes, expires_in_days, admin } => {
            let scopes = (!scopes.is_empty()).then_some(scopes);
            let wanted = json!({ "name": name, "scopes": scopes, "expires_in_days": expires_in_days });
            let body = wanted.to_string().into();
            let answer = admin.ask(Method::POST, &path(&tenant, "/keys"), body, JSON).await;
            admin.tell(answer, |key| format!("{}\n", cell(&key["key"])))
        }
        What::Keys { tenant, admin } => {
            let answer = admin.get(&path(&tenant, "/keys")).await;
            admin.tell(answer, |value| listed(value, &["id", "name", "scopes", "created_at", "revoked_at"]))
        }
        What::Revoke { tenant, id, admin } => {
            let path = path(&tenant, &format!("/keys/{}", part(&id)));
            let answer = admin.ask(Method::DELETE, &path, Bytes::new(), JSON).await;
            admin.tell(answer, |_| format!("{id} opens nothing any more\n"))
        }
    }
}

fn path(tenant: &str, rest: &str) -> String {
    format!("/admin/tenants/{}{rest}", part(tenant))
}

async fn put(tenant: &str, file: &Path, revision: Option<u64>, admin: &AdminArgs) -> ExitCode {
    let text = match read(file) {
        Ok(text) => text,
        Err(error) => return wrong_use(&format!("patchbay: {}: {error}", file.display())),
    };
    let query = revision.map_or_else(String::new, |revision| format!("?revision={revision}"));
    let answer = admin.ask(Method::PUT, &path(tenant, &query), text.into(), "application/toml").await;
    admin.tell(answer, |value| format!("{tenant} is in use, revision {}\n", cell(&value["revision"])))
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        return std::io::read_to_string(std::io::stdin());
    }
    std::fs::read_to_string(file)
}

async fn secret(tenant: &str, name: &str, delete: bool, admin: &AdminArgs) -> ExitCode {
    let path = path(tenant, &format!("/secrets/{}", part(name)));
    if delete {
        let answer = admin.ask(Method::DELETE, &path, Bytes::new(), JSON).await;
        return admin.tell(answer, |_| format!("{name} is deleted\n"));
    }
    let mut secret = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut secret) {
        return wrong_use(&format!("patchbay: standard input: {error}"));
    }
    let answer = admin.ask(Method::PUT, &path, secret.into(), "text/plain").await;
    admin.tell(answer, |_| format!("{name} is sealed; name it as {{ sealed = \"{name}\" }}\n"))
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default())
}

fn listed(value: &Value, columns: &[&str]) -> String {
    let rows = value["data"].as_array().into_iter().flatten();
    let rows: Vec<_> = rows.map(|row| columns.iter().map(|column| cell(&row[*column])).collect()).collect();
    table(columns, &rows)
}
