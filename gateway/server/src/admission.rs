//! The one place where a call is let in or refused: before anything is allocated for it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use patchbay_core::Format;
use patchbay_store::UnixMs;

use crate::config::{AudioChoice, Limits, Tenant};
use crate::overload::{Level, Overload};
use crate::spend::{Reservation, Spend, Spent};

/// Users whose rate is remembered at once; then those who are idle are forgotten.
const USERS_MAX: usize = 10_000;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// Whose call it would be.
    pub tenant: &'a Tenant,
    /// The caller's number or the user's name; `None` when withheld. Only its keyed hash is kept.
    pub user: Option<&'a str>,
    /// What its transcoding costs: [`units`].
    pub units: u32,
}

/// What transcoding costs a call, in units of 100 µs of CPU a second of the call (reference/performance.md): nothing is
/// transcoded when the provider takes what the telephone sends.
#[must_use]
pub fn units(audio: AudioChoice) -> u32 {
    match audio {
        AudioChoice::Auto => 0,
        AudioChoice::Pcm => 3,
    }
}

/// As [`units`], of a call whose two ends have these formats.
#[must_use]
pub fn units_between(one: Format, other: Format) -> u32 {
    units(if one == other { AudioChoice::Auto } else { AudioChoice::Pcm })
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The machine is full.
    #[error("this machine takes no more calls")]
    Machine,
    /// Too many begin at once.
    #[error("too many calls begin at once")]
    StartRate,
    /// The tenant's quota of calls.
    #[error("the tenant has its quota of calls")]
    Tenant,
    /// The tenant's quota of starts.
    #[error("the tenant has begun its quota of calls")]
    TenantRate,
    /// The user's quota of calls.
    #[error("the user has its quota of calls")]
    User,
    /// The user's quota of starts.
    #[error("the user has begun its quota of calls")]
    UserRate,
    /// The tenant's money.
    #[error("the tenant has spent its limit")]
    Spend {
        /// Until it may spend again.
        again: Duration,
    },
    /// No CPU is left for transcoding.
    #[error("this machine transcodes no more calls")]
    Transcoding,
    /// The tenant's quota of transcoding.
    #[error("the tenant has its quota of transcoding")]
    TenantTranscoding,
    /// The machine is late already.
    #[error("this machine is overloaded")]
    Overload,
    /// The gateway is going down.
    #[error("the gateway is going down")]
    Draining,
}

impl Refused {
    /// Stable name for metrics, logs and errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine_full",
            Self::StartRate => "start_rate",
            Self::Tenant => "tenant_full",
            Self::TenantRate => "tenant_rate",
            Self::User => "user_full",
            Self::UserRate => "user_rate",
            Self::Spend { .. } => "spend_limit_reached",
            Self::Transcoding => "transcoding_full",
            Self::TenantTranscoding => "tenant_transcoding_full",
            Self::Overload => "overload",
            Self::Draining => "draining",
        }
    }

    /// When to ask again.
    #[must_use]
    pub fn retry_after(self) -> Duration {
        match self {
            Self::StartRate => Duration::from_secs(1),
            Self::Machine
            | Self::Tenant
            | Self::User
            | Self::Transcoding
            | Self::TenantTranscoding
            | Self::Overload
            | Self::Draining => Duration::from_secs(5),
            Self::TenantRate | Self::UserRate => Duration::from_secs(60),
            Self::Spend { again } => again,
        }
    }
}

/// Proof of admission: holds the slots of one call, and gives them back when dropped.
#[derive(Debug)]
pub struct Ticket {
    admission: Arc<Admission>,
    tenant: String,
    user: Option<u64>,
    units: u32,
    reservation: Option<Reservation>,
}

impl Ticket {
    /// The money that was set aside for the call, for its meter to hold. Once.
    pub fn take_reservation(&mut self) -> Option<Reservation> {
        self.reservation.take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.release(&self.tenant, self.user, self.units);
    }
}

/// Slots and rates of this machine. The lock protects the counters, for the time of one admission or release.
#[derive(Debug)]
pub struct Admission {
    books: Mutex<Books>,
    hasher: RandomState,
    spend: Arc<Spend>,
    overload: Arc<Overload>,
}

#[derive(Debug, Default)]
struct Books {
    calls: u32,
    units: u32,
    tenant_units: HashMap<String, u32>,
    tenants: HashMap<String, u32>,
    users: HashMap<u64, u32>,
    starts: Option<Rate>,
    tenant_starts: HashMap<String, Rate>,
    user_starts: HashMap<u64, Rate>,
}

/// A rate with the quota it was made for, so that a reloaded configuration makes a new one.
#[derive(Debug)]
struct Rate {
    quota: Quota,
    limiter: DefaultDirectRateLimiter,
}

impl Rate {
    fn new(quota: Quota) -> Self {
        Self { quota, limiter: RateLimiter::direct(quota) }
    }

    fn passes(&self) -> bool {
        self.limiter.check().is_ok()
    }

    /// Whether it would let its whole burst pass: nothing is lost by forgetting it.
    fn is_idle(&self) -> bool {
        let full = self.quota.burst_size();
        self.limiter.check_n(full).is_ok_and(|outcome| outcome.is_ok())
    }
}

impl Admission {
    /// Everything is free, as far as `spend` has the money and `overload` the time.
    #[must_use]
    pub fn new(spend: Arc<Spend>, overload: Arc<Overload>) -> Arc<Self> {
        Arc::new(Self { books: Mutex::default(), hasher: RandomState::new(), spend, overload })
    }

    /// Lets a call in, or says why not.
    ///
    /// # Errors
    /// The first quota that is used up.
    pub fn admit(self: &Arc<Self>, applicant: Applicant<'_>, limits: &Limits) -> Result<Ticket, Refused> {
        if self.overload.level() >= Level::Refusing {
            return Err(Refused::Overload);
        }
        let Applicant { tenant, units, .. } = applicant;
        let user = applicant.user.map(|user| self.hasher.hash_one((&tenant.name, user)));
        let mut books = self.books.lock().expect("nobody panics while holding the books");
        books.check_slots(tenant, user, limits)?;
        books.check_units(tenant, units, limits)?;
        books.check_rates(tenant, user, limits)?;
        let reserved = self.spend.reserve(&tenant.name, &tenant.spend, UnixMs::now());
        let reservation = Some(reserved.map_err(|Spent { again }| Refused::Spend { again })?);
        books.take(&tenant.name, user, units);
        Ok(Ticket { admission: self.clone(), tenant: tenant.name.clone(), user, units, reservation })
    }

    fn release(&self, tenant: &str, user: Option<u64>, units: u32) {
        self.books.lock().expect("nobody panics while holding the books").give_back(tenant, user, units);
    }

    /// Calls that hold a ticket.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.books.lock().expect("nobody panics while holding the books").calls
    }
}

impl Books {
    fn check_slots(&self, tenant: &Tenant, user: Option<u64>, limits: &Limits) -> Result<(), Refused> {
        if self.calls >= limits.calls_max {
            return Err(Refused::Machine);
        }
        if self.tenants.get(&tenant.name).is_some_and(|calls| *calls >= tenant.limits.calls_max) {
            return Err(Refused::Tenant);
        }
        let calls = user.and_then(|user| self.users.get(&user));
        if calls.is_some_and(|calls| *calls >= limits.connections_per_user_max) {
            return Err(Refused::User);
        }
        Ok(())
    }

    fn check_units(&self, tenant: &Tenant, units: u32, limits: &Limits) -> Result<(), Refused> {
        if units == 0 {
            return Ok(());
        }
        if self.units + units > limits.transcoding_units_max {
            return Err(Refused::Transcoding);
        }
        let of_tenant = self.tenant_units.get(&tenant.name).copied().unwrap_or_default();
        let fits = of_tenant + units <= tenant.limits.transcoding_units_max;
        fits.then_some(()).ok_or(Refused::TenantTranscoding)
    }

    /// The narrowest first, so that one user's excess is not charged to all.
    fn check_rates(&mut self, tenant: &Tenant, user: Option<u64>, limits: &Limits) -> Result<(), Refused> {
        if let Some(user) = user {
            self.forget_idle_users();
            let quota = Quota::per_minute(at_least_one(limits.requests_per_minute_max));
            if !rate_of(&mut self.user_starts, user, quota).passes() {
                return Err(Refused::UserRate);
            }
        }
        let quota = Quota::per_minute(at_least_one(tenant.limits.starts_per_minute_max));
        if !rate_of(&mut self.tenant_starts, tenant.name.clone(), quota).passes() {
            return Err(Refused::TenantRate);
        }
        let quota = Quota::per_second(at_least_one(limits.calls_started_per_second_max));
        if self.starts.as_ref().is_none_or(|rate| rate.quota != quota) {
            self.starts = None;
        }
        if self.starts.get_or_insert_with(|| Rate::new(quota)).passes() {
            Ok(())
        } else {
            Err(Refused::StartRate)
        }
    }

    fn forget_idle_users(&mut self) {
        if self.user_starts.len() >= USERS_MAX {
            self.user_starts.retain(|_, rate| !rate.is_idle());
        }
        if self.user_starts.len() >= USERS_MAX {
            // A flood of numbers that never call twice: the machine's and the tenant's rates still hold.
            self.user_starts.clear();
        }
    }

    fn take(&mut self, tenant: &str, user: Option<u64>, units: u32) {
        self.calls += 1;
        self.units += units;
        if units > 0 {
            *self.tenant_units.entry(tenant.to_owned()).or_default() += units;
        }
        *self.tenants.entry(tenant.to_owned()).or_default() += 1;
        if let Some(user) = user {
            *self.users.entry(user).or_default() += 1;
        }
    }

    fn give_back(&mut self, tenant: &str, user: Option<u64>, units: u32) {
        self.calls -= 1;
        self.units -= units;
        give_back(&mut self.tenants, tenant, 1);
        give_back(&mut self.tenant_units, tenant, units);
        if let Some(user) = user {
            give_back(&mut self.users, &user, 1);
        }
    }
}

fn give_back<K, Q>(held: &mut HashMap<K, u32>, key: &Q, share: u32)
where
    K: std::borrow::Borrow<Q> + Eq + std::hash::Hash,
    Q: Eq + std::hash::Hash + ?Sized,
{
    if let Some(count) = held.get_mut(key) {
        *count -= share;
        if *count == 0 {
            held.remove(key);
        }
    }
}

fn rate_of<K: Eq + std::hash::Hash>(rates: &mut HashMap<K, Rate>, key: K, quota: Quota) -> &Rate {
    let rate = rates.entry(key).or_insert_with(|| Rate::new(quota));
    if rate.quota != quota {
        *rate = Rate::new(quota);
    }
    rate
}

fn at_least_one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn config(list: &[(&str, &str)]) -> Config {
        let mut sources = Sources::default();
        sources.set("OPENAI_API_KEY", "sk-x");
        for (name, value) in list {
            sources.set(name, value);
        }
        Config::parse(&sources).unwrap()
    }

    fn admission() -> Arc<Admission> {
        Admission::new(Spend::new(Arc::new(crate::metrics::Metrics::new())), Arc::default())
    }

    fn ask<'a>(config: &'a Config, user: Option<&'a str>) -> Applicant<'a> {
        Applicant { tenant: &config.tenants["default"], user, units: 0 }
    }

    #[test]
    fn a_ticket_gives_its_slots_back_when_dropped() {
        let config = config(&[("PATCHBAY__LIMITS__CALLS_MAX", "1")]);
        let admission = admission();
        let ticket = admission.admit(ask(&config, None), &config.limits).unwrap();
        let refused = admission.admit(ask(&config, None), &config.limits);
        assert_eq!(refused.unwrap_err(), Refused::Machine);
        drop(ticket);
        assert_eq!(admission.calls(), 0);
        assert!(admission.admit(ask(&config, None), &config.limits).is_ok());
    }

    #[test]
    fn one_caller_cannot_take_every_line() {
        let config = config(&[]);
        let admission = admission();
        let held: Vec<_> =
            (0..3).map(|_| admission.admit(ask(&config, Some("+491")), &config.limits).unwrap()).collect();
        assert_eq!(admission.admit(ask(&config, Some("+491")), &config.limits).unwrap_err(), Refused::User);
        assert!(admission.admit(ask(&config, Some("+492")), &config.limits).is_ok());
        assert!(
            admission.admit(ask(&config, None), &config.limits).is_ok(),
            "withheld numbers share no quota"
        );
        drop(held);
        assert!(admission.admit(ask(&config, Some("+491")), &config.limits).is_ok());
    }

    #[test]
    fn rates_are_per_user_per_tenant_and_per_machine() {
        let table = [
            ("MAX_REQUESTS_PER_MINUTE", Refused::UserRate),
            ("PATCHBAY__TENANTS__DEFAULT__LIMITS__STARTS_PER_MINUTE_MAX", Refused::TenantRate),
            ("PATCHBAY__LIMITS__CALLS_STARTED_PER_SECOND_MAX", Refused::StartRate),
        ];
        for (variable, expected) in table {
            let config = config(&[(variable, "2")]);
            let admission = admission();
            for _ in 0..2 {
                drop(admission.admit(ask(&config, Some("+491")), &config.limits).unwrap());
            }
            assert_eq!(admission.admit(ask(&config, Some("+491")), &config.limits).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_tenants_quota_holds() {
        let config = config(&[("PATCHBAY__TENANTS__DEFAULT__LIMITS__CALLS_MAX", "1")]);
        let admission = admission();
        let _held = admission.admit(ask(&config, None), &config.limits).unwrap();
        assert_eq!(admission.admit(ask(&config, None), &config.limits).unwrap_err(), Refused::Tenant);
    }

    #[test]
    fn a_tenant_whose_money_is_set_aside_is_refused_until_a_call_ends() {
        let config = config(&[
            ("PATCHBAY__TENANTS__DEFAULT__SPEND__LIMIT_USD", "1"),
            ("PATCHBAY__TENANTS__DEFAULT__SPEND__RESERVE_USD", "0.6"),
        ]);
        let admission = admission();
        let ticket = admission.admit(ask(&config, None), &config.limits).unwrap();
        let refused = admission.admit(ask(&config, None), &config.limits).unwrap_err();
        assert_eq!(refused.as_str(), "spend_limit_reached");
        assert!(refused.retry_after() <= Duration::from_secs(31 * 86_400));
        assert_eq!(admission.calls(), 1, "a refused call holds no slot");
        drop(ticket);
        assert!(admission.admit(ask(&config, None), &config.limits).is_ok());
    }

    #[test]
    fn transcoding_has_a_quota_of_its_own_and_what_passes_through_is_not_charged() {
        let config = config(&[("PATCHBAY__LIMITS__TRANSCODING_UNITS_MAX", "7")]);
        let admission = admission();
        let transcoded = Applicant { units: units(AudioChoice::Pcm), ..ask(&config, None) };
        let held: Vec<_> = (0..2).map(|_| admission.admit(transcoded, &config.limits).unwrap()).collect();
        assert_eq!(admission.admit(transcoded, &config.limits).unwrap_err(), Refused::Transcoding);
        assert!(admission.admit(ask(&config, None), &config.limits).is_ok(), "passed through");
        drop(held);
        assert!(admission.admit(transcoded, &config.limits).is_ok());
    }

    #[test]
    fn an_overloaded_machine_takes_no_call_and_a_merely_unready_one_does() {
        let config = config(&[]);
        let overload = Arc::new(Overload::default());
        let spend = Spend::new(Arc::new(crate::metrics::Metrics::new()));
        let admission = Admission::new(spend, overload.clone());
        overload.set(Level::Unready);
        assert!(admission.admit(ask(&config, None), &config.limits).is_ok());
        overload.set(Level::Refusing);
        assert_eq!(admission.admit(ask(&config, None), &config.limits).unwrap_err(), Refused::Overload);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn an_attempt_costs_less_than_fifty_microseconds_admitted_or_refused() {
        let config = config(&[("PATCHBAY__LIMITS__CALLS_STARTED_PER_SECOND_MAX", "10000")]);
        let admission = admission();
        // The best of many short runs: what it costs when nobody else has the processor.
        let cost = |user: &dyn Fn(u32) -> String| {
            let run = || {
                let users: Vec<_> = (0..100).map(user).collect();
                let begun = std::time::Instant::now();
                for user in &users {
                    let _ = admission.admit(ask(&config, Some(user)), &config.limits);
                }
                begun.elapsed() / 100
            };
            (0..50).map(|_| run()).min().unwrap_or_default()
        };
        let strangers = cost(&|n| format!("+49{n}"));
        let one_who_insists = cost(&|_| "+491".to_owned());
        let bound = Duration::from_micros(50);
        assert!(strangers < bound && one_who_insists < bound, "{strangers:?} {one_who_insists:?}");
    }
}
