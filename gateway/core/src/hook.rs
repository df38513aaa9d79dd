//! The seam to a tenant's plugin: its instance in one call.

use crate::{Command, Event, LegId};

/// What a hook says to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carry on.
    Pass,
    /// The event does not interrupt.
    Suppress,
}

/// A plugin bound to one call: synchronous, bounded, without effects; it returns commands and a verdict. It sees every
/// event but audio, and what one end only tells the other.
pub trait Hook: Send {
    /// Sees `event` of `leg` before the turn policy does.
    fn on_event(&mut self, leg: LegId, event: &Event, out: &mut Vec<(LegId, Command)>) -> Verdict;
}
