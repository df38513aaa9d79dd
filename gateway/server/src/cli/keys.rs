//! `patchbay keys`: what personal data and secrets are sealed with.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use patchbay_store::{MasterKey, StoreError, open, rotate_master};

use super::{ConfigArgs, wrong_use};
use crate::config::Storage;

const EXAMPLE: &str = "Examples:\n  PATCHBAY_NEW_MASTER_KEY=$(openssl rand -base64 32) patchbay keys rotate\n  \
patchbay keys rotate --tenant acme\n\n\
Without --tenant, the master key is changed: stop the gateway first, and start it with the new key.\n\
With it, the tenant gets a new key and its rows are sealed again; the gateway may go on.";

/// The variable that holds the new master key.
const NEW: &str = "PATCHBAY_NEW_MASTER_KEY";

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Changes the master key, or one tenant's.
    #[command(after_help = EXAMPLE)]
    Rotate(RotateArgs),
}

/// Arguments of `keys rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Whose key; else the master key.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

/// Runs the command.
pub async fn run(command: KeysCommand) -> ExitCode {
    let KeysCommand::Rotate(args) = command;
    let config = match args.config.parse() {
        Ok(config) => config,
        Err(faults) => return wrong_use(&faults),
    };
    if config.storage.url.is_none() {
        return wrong_use("there is no database: set storage.url or DATABASE_URL");
    }
    let rotated = match &args.tenant {
        Some(tenant) => tenants(&config.storage, tenant).await,
        None => masters(&config.storage).await,
    };
    match rotated {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn tenants(storage: &Storage, tenant: &str) -> Result<String, StoreError> {
    let store = open(storage.address(), &storage.master()?).await?;
    let count = store.rotate_tenant(tenant).await?;
    Ok(format!("tenant {tenant} has a new key; {count} values were sealed again"))
}

async fn masters(storage: &Storage) -> Result<String, StoreError> {
    let spill = storage.spill().map(|spill| spill.folder);
    if spill.as_deref().is_some_and(holds_entries) {
        return Err(StoreError::Key {
            what: "the spill holds entries that the present master key sealed".to_owned(),
            advice: "start the gateway once, so that they are written to the database, and stop it",
        });
    }
    let beside =
        storage.url.as_ref().and_then(|url| url.sqlite_path()).filter(|_| storage.master_key.is_none());
    let new = match (std::env::var(NEW), beside) {
        (Ok(text), _) => MasterKey::parse(&text)?,
        (Err(_), Some(_)) => MasterKey::random()?,
        (Err(_), None) => {
            return Err(StoreError::Key {
                what: format!("{NEW} is not set"),
                advice: "set it to the new key, as `openssl rand -base64 32` makes one",
            });
        }
    };
    let old = storage.master()?;
    // The new key is on disk before anything is wrapped with it.
    let staged = beside.map(|database| new.stage_beside(database)).transpose()?;
    let count = rotate_master(storage.address(), &old, &new).await?;
    if let Some(staged) = staged {
        staged.put_in_place()?;
    }
    let next =
        if beside.is_some() { "the key file was replaced" } else { "set PATCHBAY_MASTER_KEY to the new key" };
    Ok(format!("{count} keys were wrapped with the new master key; {next}"))
}

/// Whether there is any segment of a spill in `folder`.
fn holds_entries(folder: &std::path::Path) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.map(|file| file.path()).any(|path| path.extension().is_some_and(|extension| extension == "spill"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use patchbay_store::Retention;

    use super::*;
    use crate::config::{Config, Sources};
    use crate::secret::Secret;

    /// The storage of a SQLite database in `folder`.
    fn storage(folder: &Path) -> Storage {
        let mut sources = Sources::default();
        sources.set("PATCHBAY__PROVIDERS__PARROT__KIND", "parrot");
        sources.set("DATABASE_URL", &format!("sqlite://{}/p.db", folder.display()));
        let config = Config::parse(&sources).unwrap();
        assert_eq!(config.storage.retention, Retention::default());
        config.storage
    }

    #[tokio::test]
    async fn rotating_the_master_key_replaces_the_key_file_and_keeps_every_secret() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(folder.path());
        let store = open(storage.address(), &storage.master().unwrap()).await.unwrap();
        store.put_secret("t", "openai", &Secret::new("sk-1".into(), "a test")).await.unwrap();
        drop(store);
        let file = folder.path().join("p.db.key");
        let before = std::fs::read(&file).unwrap();

        std::fs::create_dir_all(folder.path().join("p.db.spill")).unwrap();
        std::fs::write(folder.path().join("p.db.spill/000000000000.spill"), "x").unwrap();
        let refused = masters(&storage).await.unwrap_err().to_string();
        assert!(refused.contains("start the gateway once"), "{refused}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
        std::fs::remove_dir_all(folder.path().join("p.db.spill")).unwrap();

        let said = masters(&storage).await.unwrap();
        assert!(said.starts_with("3 keys"), "{said}");
        assert_ne!(std::fs::read(&file).unwrap(), before);
        let store = open(storage.address(), &storage.master().unwrap()).await.unwrap();
        assert_eq!(store.secret("t", "openai").await.unwrap().unwrap().expose(), "sk-1");
        assert!(tenants(&storage, "t").await.unwrap().ends_with("1 values were sealed again"));
    }
}
