//! [`Joins`]: calls to bots that were asked for, and that their caller has still to join.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::config::{Config, Found};

/// How long a call waits to be joined.
const WITHIN: Duration = Duration::from_secs(60);
/// A telephone rings no longer than this: Twilio's own limit (600 s), and a minute.
const RINGS_MAX: Duration = Duration::from_secs(660);
/// Calls that wait at once.
const WAITING_MAX: usize = 10_000;

/// A call that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Whose.
    pub tenant: String,
    /// Which bot is to answer.
    pub bot: String,
    /// By which route's rules.
    pub route: String,
    until: Instant,
}

impl Join {
    /// The route with all that it needs, its bot instead of its own choice.
    #[must_use]
    pub fn target(&self, config: &Config) -> Option<Found> {
        config.route_to_bot(&self.tenant, &self.route, &self.bot)
    }
}

/// The calls that wait. Each lock protects its table, for one look-up or change.
#[derive(Debug, Default)]
pub struct Joins {
    table: Mutex<HashMap<String, Join>>,
    /// Phone calls that bots make, until they are answered.
    made: Mutex<HashMap<String, Instant>>,
}

impl Joins {
    /// Promises a call, which is to be joined within a minute under the id that is answered. `None` when too many wait.
    #[must_use]
    pub fn promise(&self, tenant: &str, bot: &str, route: &str, now: Instant) -> Option<String> {
        let mut table = self.table();
        if table.len() >= WAITING_MAX {
            table.retain(|_, join| join.until > now);
        }
        if table.len() >= WAITING_MAX {
            return None;
        }
        let id = crate::id::fresh("call_");
        let (tenant, bot, route) = (tenant.to_owned(), bot.to_owned(), route.to_owned());
        table.insert(id.clone(), Join { tenant, bot, route, until: now + WITHIN });
        Some(id)
    }

    /// Whether the call waits to be joined.
    #[must_use]
    pub fn waits(&self, id: &str, tenant: &str, now: Instant) -> bool {
        self.table().get(id).is_some_and(|join| join.tenant == tenant && join.until > now)
    }

    /// The call is joined: once, unless it is [put back](Self::put_back).
    #[must_use]
    pub fn take(&self, id: &str, tenant: &str, now: Instant) -> Option<Join> {
        let mut table = self.table();
        let is_theirs = table.get(id).is_some_and(|join| join.tenant == tenant);
        let join = is_theirs.then(|| table.remove(id)).flatten()?;
        (join.until > now).then_some(join)
    }

    /// Joining failed, and may be tried again.
    pub fn put_back(&self, id: &str, join: Join) {
        self.table().insert(id.to_owned(), join);
    }

    /// A bot makes this phone call, and is on it when it is answered.
    pub fn make(&self, id: &str, now: Instant) {
        let mut made = self.made.lock().expect("nobody panics while holding the table");
        made.retain(|_, until| *until > now);
        made.insert(id.to_owned(), now + RINGS_MAX);
    }

    /// Whether a bot made this call. Once.
    #[must_use]
    pub fn claim(&self, id: &str) -> bool {
        self.made.lock().expect("nobody panics while holding the table").remove(id).is_some()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Join>> {
        self.table.lock().expect("nobody panics while holding the table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_joined_once_in_time_and_by_its_own_tenant() {
        let (joins, now) = (Joins::default(), Instant::now());
        let id = joins.promise("one", "echo", "default", now).unwrap();
        assert!(joins.waits(&id, "one", now) && !joins.waits(&id, "two", now));
        assert_eq!(joins.take(&id, "two", now), None);
        let join = joins.take(&id, "one", now).unwrap();
        assert_eq!((&*join.bot, joins.take(&id, "one", now)), ("echo", None));
        joins.put_back(&id, join);
        assert_eq!(joins.take(&id, "one", now + WITHIN), None);
    }

    #[test]
    fn who_asks_and_never_comes_fills_no_memory() {
        let (joins, now) = (Joins::default(), Instant::now());
        let asked = (0..WAITING_MAX + 5).filter(|_| joins.promise("one", "echo", "default", now).is_some());
        assert_eq!(asked.count(), WAITING_MAX);
        assert!(joins.promise("one", "echo", "default", now + WITHIN).is_some());
    }
}
