//! Reads the configuration again when it changes, on SIGHUP or because a file did.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Config, Sources};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The owner of the configuration in use. [`Reload::run`] keeps it current.
#[derive(Debug)]
pub struct Reload {
    path: Option<PathBuf>,
    current: watch::Sender<Arc<Config>>,
}

/// Shares `config`; the receiver sees every later one. `path` is the file of the command line.
#[must_use]
pub fn watch(config: Config, path: Option<PathBuf>) -> (Reload, watch::Receiver<Arc<Config>>) {
    let (current, receiver) = watch::channel(Arc::new(config));
    (Reload { path, current }, receiver)
}

impl Reload {
    /// Reads the sources again. A bad configuration changes nothing and is logged with its faults.
    pub fn reload(&self) -> bool {
        let read = Sources::read(self.path.as_deref()).map_err(|error| error.to_string());
        let parsed = read.and_then(|sources| Config::parse(&sources).map_err(|faults| faults.to_string()));
        self.take(parsed.and_then(|config| crate::plan::check(&config).map(|()| config)))
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
    pub async fn run(self) -> std::io::Result<()> {
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
        let (reload, receiver) = watch(with_key("first"), None);
        assert!(reload.take(Ok(with_key("second"))));
        assert_eq!(key_in_use(&receiver), "second");
        assert!(!reload.take(Err("patchbay.toml:1:1: bad".into())));
        assert_eq!(key_in_use(&receiver), "second");
    }
}
