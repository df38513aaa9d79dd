//! Reads the configuration again when it changes, on SIGHUP or because a file did.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Config, Kept, Origin};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The owner of the configuration in use. [`Reload::run`] keeps it current.
#[derive(Debug)]
pub struct Reload {
    origin: Origin,
    current: watch::Sender<Arc<Config>>,
    /// What the store kept when it was last read. The lock is held while a new configuration is made and swapped in, so
    /// that two changes do not undo each other.
    kept: Mutex<Kept>,
}

/// Shares `config`, which was made from `origin`; the receiver sees every later one.
#[must_use]
pub fn watch(config: Config, origin: Origin) -> (Reload, watch::Receiver<Arc<Config>>) {
    let (current, receiver) = watch::channel(Arc::new(config));
    (Reload { origin, current, kept: Mutex::default() }, receiver)
}

impl Reload {
    /// Reads the sources again. A bad configuration changes nothing and is logged with its faults.
    pub fn reload(&self) -> bool {
        let kept = self.kept.lock().expect("parsing does not panic");
        self.take(self.parse_with(&kept))
    }

    /// Uses what the store keeps now.
    ///
    /// # Errors
    /// The faults, when no configuration can be made of it; then the old one stays in use.
    pub fn keep(&self, kept: Kept) -> Result<(), String> {
        let mut known = self.kept.lock().expect("parsing does not panic");
        let config = self.parse_with(&kept)?;
        *known = kept;
        self.take(Ok(config));
        Ok(())
    }

    /// Names of the tenants in use.
    #[must_use]
    pub fn tenants(&self) -> Vec<String> {
        self.current.borrow().tenants.keys().cloned().collect()
    }

    /// What the configuration would be.
    ///
    /// # Errors
    /// The faults.
    pub fn parse_with(&self, kept: &Kept) -> Result<Config, String> {
        let mut sources = self.origin.read().map_err(|error| error.to_string())?;
        sources.kept = kept.clone();
        let config = Config::parse(&sources).map_err(|faults| faults.to_string())?;
        crate::plan::check(&config).map(|()| config)
    }

    fn take(&self, parsed: Result<Config, String>) -> bool {
        match parsed {
            Ok(config) => {
                if config.server != self.current.borrow().server {
                    tracing::warn!("`server` changed: restart to use it; everything else is in use now");
                }
                self.current.send_replace(Arc::new(config));
                tracing::info!("configuration reloaded");
                true
            }
            Err(faults) => {
                tracing::error!(%faults, "the new configuration is bad, the old one stays in use");
                false
            }
        }
    }

    /// Reloads on SIGHUP and when a file changes, for ever. The caller owns the task.
    ///
    /// # Errors
    /// When SIGHUP cannot be listened to.
    pub async fn run(&self) -> std::io::Result<()> {
        let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
        let mut seen = self.stamps();
        loop {
            let asked = tokio::time::timeout(LOOK_EVERY, hangup.recv()).await.is_ok();
            let now = self.stamps();
            if asked || now != seen {
                self.reload();
                seen = self.stamps();
            }
        }
    }

    /// Time and size of each file; a file that is missing counts too.
    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        self.current.borrow().files.iter().map(stamp).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn with_key(key: &str) -> Config {
        let mut sources = Sources::default();
        sources.set("OPENAI_API_KEY", key);
        Config::parse(&sources).unwrap()
    }

    fn key_in_use(receiver: &watch::Receiver<Arc<Config>>) -> String {
        receiver.borrow().providers["openai"].key.as_ref().unwrap().expose().to_owned()
    }

    #[test]
    fn a_good_configuration_replaces_and_a_bad_one_changes_nothing() {
        let (reload, receiver) = watch(with_key("first"), Origin::Files(None));
        assert!(reload.take(Ok(with_key("second"))));
        assert_eq!(key_in_use(&receiver), "second");
        assert!(!reload.take(Err("patchbay.toml:1:1: bad".into())));
        assert_eq!(key_in_use(&receiver), "second");
    }
}
