//! [`Bot`]: the instances of one bot.

use std::collections::BTreeSet;

use super::seat::{Lease, Seat};
use super::{LeaseId, Presence, Status};
use crate::Instant;

/// A bot that has a lease, or a call that outlives one. Its instances are few, and lie side by side: to look at all of them
/// costs less than to keep them in order.
#[derive(Debug, Default)]
pub(super) struct Bot {
    pub(super) seats: Vec<Seat>,
}

impl Bot {
    pub(super) fn named(&self, instance: &str) -> Option<&Seat> {
        self.seats.iter().find(|seat| *seat.instance == *instance)
    }

    /// The seat of that instance, made if need be.
    pub(super) fn seat(&mut self, instance: Box<str>) -> &mut Seat {
        let known = self.seats.iter().position(|seat| *seat.instance == *instance);
        let index = known.unwrap_or_else(|| {
            if self.seats.len() < 4 {
                // Most bots have one instance, and there may be very many bots.
                self.seats.reserve_exact(1);
            }
            self.seats.push(Seat::new(instance));
            self.seats.len() - 1
        });
        &mut self.seats[index]
    }

    pub(super) fn seat_of(&mut self, lease: LeaseId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.lease.as_ref().is_some_and(|held| held.id == lease))
    }

    pub(super) fn leased(&mut self, lease: LeaseId) -> Option<&mut Lease> {
        self.seats.iter_mut().filter_map(|seat| seat.lease.as_mut()).find(|held| held.id == lease)
    }

    /// Takes a lease away. The instance stays while it has calls.
    pub(super) fn end(&mut self, lease: LeaseId) -> Option<Lease> {
        let over = self.seat_of(lease)?.lease.take();
        self.seats.retain(|seat| !seat.is_empty());
        over
    }

    /// A call of that instance is over.
    pub(super) fn release(&mut self, instance: &str) {
        if let Some(seat) = self.seats.iter_mut().find(|seat| *seat.instance == *instance) {
            seat.calls = seat.calls.saturating_sub(1);
        }
        self.seats.retain(|seat| !seat.is_empty());
    }

    /// Who gets the next call, but for those that had it already, and those whose lease ends at this very moment.
    pub(super) fn next(&self, tried: &[LeaseId], now: Instant) -> Option<LeaseId> {
        let leased = self.seats.iter().filter_map(|seat| Some((seat, seat.lease.as_ref()?)));
        let holding = leased.filter(|(_, lease)| lease.expires_at > now);
        let ranked = holding.filter_map(|(seat, lease)| Some((seat.rank()?, lease.id)));
        ranked.filter(|(_, lease)| !tried.contains(lease)).min().map(|(_, lease)| lease)
    }

    pub(super) fn status(&self) -> Status {
        let leases = self.seats.iter().filter_map(|seat| seat.lease.as_ref());
        let statuses = leases.map(|lease| if lease.is_draining { Status::Draining } else { Status::Online });
        statuses.max().unwrap_or(Status::Offline)
    }

    pub(super) fn presence(&self) -> Option<Presence<'_>> {
        let leases = || self.seats.iter().filter_map(|seat| seat.lease.as_ref());
        let presence = Presence {
            status: self.status(),
            capabilities: leases()
                .flat_map(|lease| lease.capabilities.split(' '))
                .filter(|word| !word.is_empty())
                .collect(),
            formats: leases().flat_map(|lease| lease.formats.iter().copied()).collect::<BTreeSet<_>>(),
            instances: leases().count(),
        };
        (presence.instances > 0).then_some(presence)
    }
}
