//! [`Attempts`]: how often one source may fail to identify itself.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Sources that are remembered at once; the rest share one rate.
const SOURCES_MAX: usize = 10_000;

/// Where a request comes from, as far as one peer can choose it: an IPv4 address, or the /64 of an IPv6 address, of which
/// everybody has 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Of a peer's address.
    #[must_use]
    pub fn of(peer: IpAddr) -> Self {
        Self(match peer.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// Failures by source. Only failures count, and only failures are held up: whoever shows a good credential is let in from
/// any address, so that nobody can lock a tenant out by failing behind the same proxy. The lock protects the table for one
/// look-up.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// One for all: to make one costs thirty times as much as to read it.
    clock: DefaultClock,
    per_minute: Option<NonZeroU32>,
    sources: HashMap<Source, DefaultDirectRateLimiter>,
    others: Option<DefaultDirectRateLimiter>,
    /// Failures of those beyond the bound.
    beyond: usize,
}

impl Attempts {
    /// Counts a failure of `source`, of which there may be `per_minute`.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub fn fail(&self, source: Source, per_minute: NonZeroU32) -> Result<(), Duration> {
        let mut table = self.0.lock().expect("nobody panics while holding the table");
        table.use_quota(per_minute);
        let now = table.clock.now();
        table.limiter(source, per_minute).check().map_err(|until| until.wait_time_from(now))
    }
}

impl Table {
    /// A reloaded configuration begins anew.
    fn use_quota(&mut self, per_minute: NonZeroU32) {
        if self.per_minute != Some(per_minute) {
            *self = Self { per_minute: Some(per_minute), clock: self.clock.clone(), ..Self::default() };
        }
    }

    fn limiter(&mut self, source: Source, per_minute: NonZeroU32) -> &DefaultDirectRateLimiter {
        let clock = &self.clock;
        let fresh = || RateLimiter::direct_with_clock(Quota::per_minute(per_minute), clock.clone());
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            // A look at all of them, once for as many failures as there are of them.
            self.beyond += 1;
            if self.beyond % SOURCES_MAX != 1 {
                return self.others.get_or_insert_with(fresh);
            }
            // Whose whole burst is free again loses nothing by being forgotten.
            let is_idle =
                |limiter: &DefaultDirectRateLimiter| limiter.check_n(per_minute).is_ok_and(|all| all.is_ok());
            self.sources.retain(|_, limiter| !is_idle(limiter));
            if self.sources.len() >= SOURCES_MAX {
                return self.others.get_or_insert_with(fresh);
            }
        }
        self.sources.entry(source).or_insert_with(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: NonZeroU32 = NonZeroU32::new(3).unwrap();

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn a_source_that_fails_too_often_is_told_when_to_come_back() {
        let attempts = Attempts::default();
        for _ in 0..3 {
            assert_eq!(attempts.fail(source("192.0.2.1"), THREE), Ok(()));
        }
        let wait = attempts.fail(source("192.0.2.1"), THREE).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(attempts.fail(source("192.0.2.2"), THREE), Ok(()), "another source is not held up");
    }

    #[test]
    fn a_network_of_version_6_is_one_source() {
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
    }

    #[test]
    fn the_table_of_sources_is_bounded_and_its_overflow_shares_one_rate() {
        let attempts = Attempts::default();
        let nth = |n: u32| Source(IpAddr::V4(n.into()));
        for n in 0..u32::try_from(SOURCES_MAX).unwrap() {
            assert_eq!(attempts.fail(nth(n), THREE), Ok(()));
        }
        let beyond = (0..100).filter(|n| attempts.fail(nth(1_000_000 + n), THREE).is_ok()).count();
        assert_eq!(beyond, 3);
        assert_eq!(attempts.0.lock().unwrap().sources.len(), SOURCES_MAX);
        assert_eq!(attempts.fail(nth(1), THREE), Ok(()), "those that are known keep their own");
    }
}
