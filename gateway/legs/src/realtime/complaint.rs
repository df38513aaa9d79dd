//! What follows from an error event of the provider's.

use patchbay_core::{Down, Event, Fault, Instant, Outbox};

use super::fault::Severity;
use super::wire::PeerError;
use super::{Phase, Realtime, dialect, fault};

impl Realtime {
    pub(super) fn on_error(&mut self, error: &PeerError, now: Instant, out: &mut Outbox) {
        let ours = error.event_id.as_deref().and_then(dialect::event_number);
        let is_clients = ours.is_some_and(|number| self.relay.is_clients(number));
        let code = fault::code_of(error);
        match fault::severity(error) {
            Severity::Fatal => return self.end(fault::fatal(Fault::TenantConfig, &code), 1000, out),
            Severity::Expired => return self.end(Down::Expired, 1000, out),
            Severity::Busy => {
                self.answering.busy(ours, now);
                return self.ask_deferred(now, out);
            }
            Severity::Benign => {}
            Severity::Complaint => out.event(Event::PeerComplained { code }),
        }
        match self.phase {
            // A refused update is never followed by `session.updated`.
            Phase::Updating { event, .. } if ours.is_none() || ours == Some(event) => {
                self.end(fault::down_by_rejection(error), 1000, out);
            }
            _ if ours.is_some() && ours == self.answering.requested() => {
                self.request_refused(is_clients, now, out);
            }
            _ => {}
        }
    }
}
