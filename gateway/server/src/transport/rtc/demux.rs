//! Which call a datagram is for: by the ufrag of a check, then by the address it came from. One look-up, bounded tables.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::net::Protocol;
use tokio::sync::{mpsc, oneshot};

use super::offer::{Answer, OfferError};
use super::stream::Link;

/// Datagrams that wait for a busy call: some seconds of audio. What comes when it is full is lost, as on any network.
const WAITING_MAX: usize = 256;
/// Addresses of one peer: its interfaces, and what a NAT makes of them.
const ADDRESSES_MAX: usize = 8;
/// An address that was heard from this lately stays with its call, whatever another call says.
const FRESH: Duration = Duration::from_secs(10);

/// Where a peer sends from.
pub(super) type From = (Protocol, SocketAddr);

/// What a call's transport is handed.
#[derive(Debug)]
pub(super) enum Inbound {
    /// One datagram, or one frame of a stream.
    Datagram {
        from: From,
        bytes: Bytes,
        /// When it came.
        at: Instant,
    },
    /// A stream over which the peer may be answered.
    Link(Link),
    /// A new offer for the same connection: an ICE restart.
    Offer { sdp: String, reply: oneshot::Sender<Result<Answer, OfferError>> },
}

/// The tables. The lock protects them, for the time of one look-up or change.
#[derive(Debug, Default)]
pub(super) struct Demux {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    by_ufrag: HashMap<Box<str>, Arc<Mailbox>>,
    by_address: HashMap<From, Known>,
    by_call: HashMap<Box<str>, Arc<Mailbox>>,
}

#[derive(Debug)]
struct Known {
    mailbox: Arc<Mailbox>,
    heard_at: Instant,
}

/// The way to one call's transport.
#[derive(Debug)]
struct Mailbox {
    call: Box<str>,
    inbound: mpsc::Sender<Inbound>,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// A call has it.
    Taken,
    /// It is for no call of ours.
    Nobody,
    /// Its call is too busy.
    Full,
}

impl Demux {
    /// A seat for the call of that id, which is found by `ufrag`. A seat of that id that there is already is replaced.
    pub(super) fn seat(self: &Arc<Self>, call: &str, ufrag: &str) -> (Seat, mpsc::Receiver<Inbound>) {
        let (inbound, waiting) = mpsc::channel(WAITING_MAX);
        let mailbox = Arc::new(Mailbox { call: call.into(), inbound });
        let mut tables = self.tables();
        tables.by_call.insert(call.into(), Arc::clone(&mailbox));
        tables.by_ufrag.insert(ufrag.into(), Arc::clone(&mailbox));
        drop(tables);
        let seat =
            Seat { demux: Arc::clone(self), mailbox, ufrags: vec![ufrag.into()], addresses: Vec::new() };
        (seat, waiting)
    }

    /// Hands over what came for the call with that ufrag.
    pub(super) fn check(&self, ufrag: &str, inbound: impl FnOnce() -> Inbound) -> Delivery {
        let mailbox = self.tables().by_ufrag.get(ufrag).cloned();
        mailbox.map_or(Delivery::Nobody, |mailbox| mailbox.deliver(inbound()))
    }

    /// Hands over what came from an address that a call knows.
    pub(super) fn media(&self, from: From, now: Instant, inbound: impl FnOnce() -> Inbound) -> Delivery {
        let mut tables = self.tables();
        let Some(known) = tables.by_address.get_mut(&from) else { return Delivery::Nobody };
        known.heard_at = now;
        let mailbox = Arc::clone(&known.mailbox);
        drop(tables);
        mailbox.deliver(inbound())
    }

    /// Asks the call of that id for the answer to a new offer; `None` when there is no such call, or it is too busy.
    pub(super) fn offer(
        &self,
        call: &str,
        sdp: String,
    ) -> Option<oneshot::Receiver<Result<Answer, OfferError>>> {
        let (reply, answer) = oneshot::channel();
        let tables = self.tables();
        let mailbox = tables.by_call.get(call)?;
        (mailbox.deliver(Inbound::Offer { sdp, reply }) == Delivery::Taken).then_some(answer)
    }

    /// Calls that have a seat.
    pub(super) fn calls(&self) -> usize {
        self.tables().by_call.len()
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().expect("nobody panics while holding the tables")
    }
}

impl Mailbox {
    fn deliver(&self, inbound: Inbound) -> Delivery {
        match self.inbound.try_send(inbound) {
            Ok(()) => Delivery::Taken,
            Err(mpsc::error::TrySendError::Full(_)) => Delivery::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Delivery::Nobody,
        }
    }
}

/// A call's place in the tables, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    demux: Arc<Demux>,
    mailbox: Arc<Mailbox>,
    ufrags: Vec<Box<str>>,
    addresses: Vec<From>,
}

impl Seat {
    /// After an ICE restart: the old ufrag stays good for what is still under way.
    pub(super) fn add_ufrag(&mut self, ufrag: &str) {
        let mut tables = self.demux.tables();
        if self.ufrags.iter().any(|known| **known == *ufrag) {
            return;
        }
        if self.ufrags.len() >= 2 {
            tables.by_ufrag.remove(&self.ufrags.remove(0));
        }
        tables.by_ufrag.insert(ufrag.into(), Arc::clone(&self.mailbox));
        self.ufrags.push(ufrag.into());
    }

    /// The peer proved that it sends from there: its media is ours from now on. Not while another call hears from there, so
    /// that nobody takes an address by forging it.
    pub(super) fn add_address(&mut self, from: From, now: Instant) {
        if self.addresses.contains(&from) {
            return;
        }
        let mut tables = self.demux.tables();
        let is_taken = |known: &Known| {
            let is_alive = !known.mailbox.inbound.is_closed();
            is_alive && now.saturating_duration_since(known.heard_at) < FRESH
        };
        if tables.by_address.get(&from).is_some_and(is_taken) {
            return;
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            let oldest = self.addresses.remove(0);
            forget(&mut tables, &oldest, &self.mailbox);
        }
        tables.by_address.insert(from, Known { mailbox: Arc::clone(&self.mailbox), heard_at: now });
        self.addresses.push(from);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut tables = self.demux.tables();
        for ufrag in &self.ufrags {
            tables.by_ufrag.remove(ufrag);
        }
        for from in &self.addresses {
            forget(&mut tables, from, &self.mailbox);
        }
        let is_ours = |mailbox: &Arc<Mailbox>| Arc::ptr_eq(mailbox, &self.mailbox);
        if tables.by_call.get(&self.mailbox.call).is_some_and(is_ours) {
            tables.by_call.remove(&self.mailbox.call);
        }
    }
}

/// Unless another call has the address by now.
fn forget(tables: &mut Tables, from: &From, mailbox: &Arc<Mailbox>) {
    if tables.by_address.get(from).is_some_and(|known| Arc::ptr_eq(&known.mailbox, mailbox)) {
        tables.by_address.remove(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(from: From) -> Inbound {
        Inbound::Datagram { from, bytes: Bytes::from_static(b"x"), at: Instant::now() }
    }

    fn udp(port: u16) -> From {
        (Protocol::Udp, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[test]
    fn a_call_is_found_by_its_ufrag_and_then_by_the_address_it_proved() {
        let (demux, now) = (Arc::new(Demux::default()), Instant::now());
        let (mut seat, mut waiting) = demux.seat("rtc_1", "abc");
        assert_eq!(demux.media(udp(1), now, || datagram(udp(1))), Delivery::Nobody);
        assert_eq!(demux.check("abc", || datagram(udp(1))), Delivery::Taken);
        assert_eq!(demux.check("abd", || datagram(udp(1))), Delivery::Nobody);
        seat.add_address(udp(1), now);
        assert_eq!(demux.media(udp(1), now, || datagram(udp(1))), Delivery::Taken);
        assert!(waiting.try_recv().is_ok() && waiting.try_recv().is_ok());
        drop(seat);
        assert_eq!(demux.media(udp(1), now, || datagram(udp(1))), Delivery::Nobody);
        assert_eq!(demux.check("abc", || datagram(udp(1))), Delivery::Nobody);
        let tables = demux.tables();
        assert_eq!((tables.by_ufrag.len(), tables.by_address.len(), tables.by_call.len()), (0, 0, 0));
    }

    #[test]
    fn nobody_takes_an_address_that_another_call_hears_from() {
        let (demux, now) = (Arc::new(Demux::default()), Instant::now());
        let (mut first, mut of_first) = demux.seat("rtc_1", "a");
        let (mut second, mut of_second) = demux.seat("rtc_2", "b");
        first.add_address(udp(1), now);
        second.add_address(udp(1), now + Duration::from_secs(5));
        assert_eq!(demux.media(udp(1), now + Duration::from_secs(6), || datagram(udp(1))), Delivery::Taken);
        assert!(of_first.try_recv().is_ok() && of_second.try_recv().is_err());
        // A NAT may give a port anew: when the old call is silent, it is the new one's.
        second.add_address(udp(1), now + Duration::from_secs(17));
        assert_eq!(demux.media(udp(1), now + Duration::from_secs(17), || datagram(udp(1))), Delivery::Taken);
        assert!(of_second.try_recv().is_ok());
        drop(first);
        assert_eq!(demux.media(udp(1), now + Duration::from_secs(18), || datagram(udp(1))), Delivery::Taken);
    }

    #[test]
    fn a_busy_call_loses_what_does_not_fit() {
        let demux = Arc::new(Demux::default());
        let (_seat, _waiting) = demux.seat("rtc_1", "a");
        for _ in 0..WAITING_MAX {
            assert_eq!(demux.check("a", || datagram(udp(1))), Delivery::Taken);
        }
        assert_eq!(demux.check("a", || datagram(udp(1))), Delivery::Full);
    }

    #[test]
    fn addresses_and_ufrags_of_one_call_are_bounded() {
        let (demux, now) = (Arc::new(Demux::default()), Instant::now());
        let (mut seat, _waiting) = demux.seat("rtc_1", "u0");
        for n in 1..100 {
            seat.add_address(udp(n), now);
            seat.add_ufrag(&format!("u{n}"));
        }
        let tables = demux.tables();
        assert_eq!((tables.by_ufrag.len(), tables.by_address.len()), (2, ADDRESSES_MAX));
    }
}
