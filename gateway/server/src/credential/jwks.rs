//! [`Jwks`]: an issuer's keys by URL, fetched when needed, kept, and renewed behind the requests that use them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::strict_json;
use super::verifying_key::{Algorithm, VerifyingKey};
use crate::transport::{Dialer, FetchSpec};

/// For one fetch, from the name look-up to the last byte.
const FETCH_WITHIN: Duration = Duration::from_secs(3);
/// Longest document, in bytes.
const DOCUMENT_MAX: usize = 64 * 1024;
/// Keys of one document; more are not looked at.
const KEYS_MAX: usize = 64;
/// Between two fetches of one URL, whatever asks for them: unknown `kid`s cost the issuer no more than that.
const FETCH_EVERY: Duration = Duration::from_secs(10);
/// How long keys are fresh when the issuer does not say, and within which bounds it may say so.
const FRESH: Duration = Duration::from_secs(600);
const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_MAX: Duration = Duration::from_secs(3600);
/// How long keys serve while their issuer cannot be reached.
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// URLs at once; those of former configurations go.
const URLS_MAX: usize = 1024;

/// The keys of every issuer that is configured by URL. The lock protects the map for one look-up.
#[derive(Debug)]
pub struct Jwks {
    dialer: Dialer,
    issuers: Mutex<HashMap<(String, Algorithm), Arc<KeySource>>>,
}

impl Jwks {
    /// Nothing is fetched yet.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, issuers: Mutex::default() }
    }

    /// The key that `kid` names at `url`, fetched if need be. Without a `kid`, the only key there is.
    pub async fn key(
        &self,
        url: &Uri,
        algorithm: Algorithm,
        kid: Option<&str>,
        now: Instant,
    ) -> Option<VerifyingKey> {
        let source = self.source(url, algorithm);
        source.key(kid, now).await
    }

    fn source(&self, url: &Uri, algorithm: Algorithm) -> Arc<KeySource> {
        let mut issuers = self.issuers.lock().expect("nobody panics while holding the map");
        if issuers.len() >= URLS_MAX {
            issuers.clear();
        }
        let fresh = || Arc::new(KeySource::new(url.clone(), algorithm, self.dialer.clone()));
        issuers.entry((url.to_string(), algorithm)).or_insert_with(fresh).clone()
    }
}

/// One URL.
#[derive(Debug)]
struct KeySource {
    url: Uri,
    algorithm: Algorithm,
    dialer: Dialer,
    /// For one look-up.
    state: Mutex<State>,
    /// How many fetches have ended: what requests wait for.
    ended: watch::Sender<u64>,
    /// Owns the fetch under way, at most one. A request that asked for it and went away does not end it, so that nobody
    /// keeps others from their keys by hanging up.
    fetches: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct State {
    keys: KeySet,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
    fresh_for: Duration,
    is_fetching: bool,
}

impl State {
    fn find(&self, kid: Option<&str>, now: Instant) -> Option<VerifyingKey> {
        let age = now.saturating_duration_since(self.fetched_at?);
        (age < STALE_MAX).then(|| self.keys.find(kid)).flatten()
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.fetched_at.is_none_or(|at| now.saturating_duration_since(at) >= self.fresh_for)
    }

    /// Takes the right to fetch, if it is time.
    fn begin(&mut self, now: Instant) -> bool {
        let is_time = self.tried_at.is_none_or(|at| now.saturating_duration_since(at) >= FETCH_EVERY);
        let begins = is_time && !self.is_fetching;
        if begins {
            self.is_fetching = true;
            self.tried_at = Some(now);
        }
        begins
    }
}

impl KeySource {
    fn new(url: Uri, algorithm: Algorithm, dialer: Dialer) -> Self {
        let ended = watch::Sender::new(0);
        Self { url, algorithm, dialer, state: Mutex::default(), ended, fetches: Mutex::default() }
    }

    async fn key(self: &Arc<Self>, kid: Option<&str>, now: Instant) -> Option<VerifyingKey> {
        let mut ended = self.ended.subscribe();
        let (known, is_stale) = {
            let state = self.state();
            (state.find(kid, now), state.is_stale(now))
        };
        if known.is_some() {
            if is_stale {
                self.fetch_behind(now);
            }
            return known;
        }
        if self.fetch_behind(now) {
            // A fetch is bounded by itself; the second deadline is for a broken one.
            let _ = timeout(FETCH_WITHIN * 2, ended.changed()).await;
        }
        self.state().find(kid, now)
    }

    /// Whether a fetch is under way, begun now if it is time.
    fn fetch_behind(self: &Arc<Self>, now: Instant) -> bool {
        let begins = self.state().begin(now);
        if begins {
            let mut fetches = self.fetches.lock().expect("nobody panics while holding it");
            while fetches.try_join_next().is_some() {}
            let source = Arc::clone(self);
            fetches.spawn(async move { source.fetch(now).await });
        }
        begins || self.state().is_fetching
    }

    /// Replaces the keys, or keeps what there is when the issuer fails.
    async fn fetch(&self, now: Instant) {
        let read = self.ask().await;
        let mut state = self.state();
        state.is_fetching = false;
        match read {
            Some((keys, fresh_for)) => {
                state.keys = keys;
                state.fetched_at = Some(now);
                state.fresh_for = fresh_for;
            }
            None => tracing::warn!(url = %self.url, "the keys of an issuer cannot be fetched"),
        }
        drop(state);
        self.ended.send_modify(|count| *count += 1);
    }

    async fn ask(&self) -> Option<(KeySet, Duration)> {
        let within = FETCH_WITHIN;
        let spec = FetchSpec { within, answer_max: DOCUMENT_MAX, ..FetchSpec::get(self.url.clone()) };
        let answer = self.dialer.fetch(spec).await.ok().filter(|answer| answer.status == StatusCode::OK)?;
        Some((KeySet::read(&answer.body, self.algorithm)?, fresh_for(&answer.headers)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the state")
    }
}

/// RFC 9111 §5.2.2.1, within our bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let control =
        headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let age = control.split(',').find_map(|word| word.trim().strip_prefix("max-age=")?.parse().ok());
    age.map_or(FRESH, |seconds| Duration::from_secs(seconds).clamp(FRESH_MIN, FRESH_MAX))
}

/// The keys of a document that fit the algorithm, each with its `kid`.
#[derive(Debug, Default)]
struct KeySet(Vec<(Option<String>, VerifyingKey)>);

impl KeySet {
    /// RFC 7517 §5. A key that does not fit is passed over, as §5 asks; a document that is none is `None`.
    fn read(body: &[u8], algorithm: Algorithm) -> Option<Self> {
        let mut document = strict_json::object(body)?;
        let Some(Value::Array(keys)) = document.remove("keys") else { return None };
        let read = |key: &Value| {
            let key = key.as_object()?;
            let kid = match key.get("kid") {
                None => None,
                Some(kid) => Some(kid.as_str()?.to_owned()),
            };
            Some((kid, VerifyingKey::of_jwk(algorithm, key)?))
        };
        Some(Self(keys.iter().take(KEYS_MAX).filter_map(read).collect()))
    }

    fn find(&self, kid: Option<&str>) -> Option<VerifyingKey> {
        match (kid, self.0.as_slice()) {
            (None, [(_, only)]) => Some(only.clone()),
            (None, _) => None,
            (Some(_), keys) => {
                let mut named = keys.iter().filter(|(name, _)| name.as_deref() == kid);
                // Two keys of one name: nobody knows which is meant.
                match (named.next(), named.next()) {
                    (Some((_, key)), None) => Some(key.clone()),
                    _ => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
