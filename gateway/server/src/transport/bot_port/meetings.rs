//! [`Meetings`]: where the requests of a bot find their call.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::BotPort;
use super::meeting::{Meeting, Occasion};

/// The meetings of this machine by call. The lock protects the table, for one look-up or change.
#[derive(Debug)]
pub struct Meetings {
    table: Mutex<Table>,
    gone_after: Duration,
}

/// A bot of which no request is there for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(5);

impl Default for Meetings {
    fn default() -> Self {
        Self::with_patience(GONE_AFTER)
    }
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<Box<str>, Arc<Meeting>>,
    /// Calls whose bot is being asked: it may be here before its call knows.
    expected: HashSet<Box<str>>,
}

impl Meetings {
    /// No meetings yet, of bots that are gone when nobody was there for so long.
    #[must_use]
    pub fn with_patience(gone_after: Duration) -> Self {
        Self { table: Mutex::default(), gone_after }
    }

    /// Opens the meeting of a call with the bot that took it. An older one of the same call ends.
    #[must_use]
    pub fn open(self: &Arc<Self>, occasion: Occasion) -> BotPort {
        let call = occasion.call.clone();
        let meeting = Meeting::new(occasion, self.gone_after);
        if let Some(older) = self.table().open.insert(call, Arc::clone(&meeting)) {
            older.end("reassigned");
        }
        BotPort::new(meeting, Arc::clone(self))
    }

    /// The meeting of a call.
    #[must_use]
    pub fn find(&self, call: &str) -> Option<Arc<Meeting>> {
        self.table().open.get(call).cloned()
    }

    /// A bot is asked to take the call.
    pub fn expect(&self, call: &str) {
        self.table().expected.insert(call.into());
    }

    /// The bot was found, or nobody is asked any more.
    pub fn expect_no_more(&self, call: &str) {
        self.table().expected.remove(call);
    }

    /// Whether a meeting may open any moment.
    #[must_use]
    pub fn expects(&self, call: &str) -> bool {
        self.table().expected.contains(call)
    }

    pub(super) fn close(&self, meeting: &Arc<Meeting>) {
        let mut table = self.table();
        let call = &meeting.occasion().call;
        if table.open.get(call).is_some_and(|known| Arc::ptr_eq(known, meeting)) {
            table.open.remove(call);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding the table")
    }
}
