//! What the directory promises, over chosen and over random schedules.

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

fn bot(name: &str) -> BotId {
    BotId::new("t", name).unwrap()
}

fn registration(name: &str, instance: &str, capacity: u16) -> Registration {
    Registration {
        bot: bot(name),
        instance: instance.into(),
        capabilities: "echo en".into(),
        formats: [Format::OPUS].into(),
        capacity,
        ttl: Duration::from_secs(60),
        is_draining: false,
    }
}

/// A directory whose notices are gathered.
#[derive(Default)]
struct House {
    directory: Directory,
    notices: Vec<Notice>,
}

impl House {
    fn register(&mut self, instance: &str, capacity: u16, now: Instant) -> LeaseId {
        let fresh = LeaseId(instance.bytes().fold(1, |sum, b| sum * 256 + u128::from(b)));
        let registration = registration("b", instance, capacity);
        let leased = self.directory.register(registration, fresh, now, &mut self.notices).unwrap();
        self.directory.set_listening(leased.lease, true);
        leased.lease
    }

    fn offer(&mut self, call: &str, now: Instant) -> Result<(), NotOffered> {
        self.directory.offer("t/b", call.into(), now, &mut self.notices)
    }

    /// To whom the call was offered last.
    fn holder(&self, call: &str) -> Option<LeaseId> {
        self.notices.iter().rev().find_map(|notice| match notice {
            Notice::Offered { call: offered, lease, .. } if **offered == *call => Some(*lease),
            _ => None,
        })
    }

    fn pass(&mut self, now: Instant) {
        self.directory.handle_timeout(now, &mut self.notices);
    }
}

#[test]
fn the_least_loaded_instance_gets_the_call_in_proportion_to_its_capacity() {
    let mut house = House::default();
    let (small, large) = (house.register("small", 1, at(0)), house.register("large", 3, at(0)));
    let mut holders = Vec::new();
    for n in 0..4_u64 {
        let call = format!("call_{n}");
        house.offer(&call, at(n)).unwrap();
        holders.push(house.holder(&call).unwrap());
        house.directory.accept(&call, holders[holders.len() - 1], at(n)).unwrap();
    }
    assert_eq!(holders.iter().filter(|holder| **holder == small).count(), 1);
    assert_eq!(holders.iter().filter(|holder| **holder == large).count(), 3);
    assert_eq!(house.offer("call_4", at(9)), Err(NotOffered::Busy));
    assert_eq!(house.directory.release("call_0"), Some(holders[0]));
    house.offer("call_5", at(10)).unwrap();
    assert_eq!(house.holder("call_5"), Some(holders[0]), "its place is free again");
}

#[test]
fn an_offer_that_lapses_goes_to_another_instance_and_its_first_holder_is_tried_last_from_then_on() {
    let mut house = House::default();
    let instances = [house.register("a", 9, at(0)), house.register("b", 9, at(0))];
    house.offer("call_1", at(100)).unwrap();
    let first = house.holder("call_1").unwrap();
    assert_eq!(house.directory.poll_timeout(), Some(at(5100)));
    house.pass(at(5099));
    assert_eq!(house.holder("call_1"), Some(first), "not a moment too early");
    house.pass(at(5100));
    let second = house.holder("call_1").unwrap();
    assert_ne!(first, second);
    assert!(house.notices.contains(&Notice::Withdrawn {
        call: "call_1".into(),
        lease: first,
        why: Withdrawal::Lapsed
    }));
    assert_eq!(house.directory.accept("call_1", first, at(5101)), Err(NotAccepted::Expired));
    assert_eq!(&*house.directory.accept("call_1", second, at(5102)).unwrap().bot, "t/b");
    assert_eq!(house.directory.accept("call_1", first, at(5103)), Err(NotAccepted::Taken));
    // The second one is busier now, and still first.
    for n in 0..3_u64 {
        let call = format!("next_{n}");
        house.offer(&call, at(6000)).unwrap();
        assert_eq!(house.holder(&call), Some(second));
        house.directory.accept(&call, second, at(6001)).unwrap();
    }
    assert_eq!(instances.len(), 2);
}

#[test]
fn a_call_that_nobody_takes_is_refused_after_each_was_asked_once() {
    let mut house = House::default();
    let all = [house.register("a", 1, at(0)), house.register("b", 1, at(0))];
    house.offer("call_1", at(0)).unwrap();
    house.directory.reject("call_1", house.holder("call_1").unwrap(), at(10), &mut house.notices).unwrap();
    let last = house.holder("call_1").unwrap();
    house.pass(at(5010));
    assert_eq!(house.notices.last(), Some(&Notice::Refused { call: "call_1".into(), was_rejected: true }));
    let offers = house.notices.iter().filter(|notice| matches!(notice, Notice::Offered { .. })).count();
    assert_eq!(offers, all.len());
    assert_eq!(house.directory.accept("call_1", last, at(5011)), Err(NotAccepted::Expired));
    assert_eq!(house.directory.accept("call_2", last, at(5011)), Err(NotAccepted::Unknown));
}

#[test]
fn who_does_not_listen_is_tried_after_those_who_do() {
    let mut house = House::default();
    let (there, gone) = (house.register("there", 5, at(0)), house.register("gone", 5, at(0)));
    house.directory.set_listening(gone, false);
    for n in 0..4_u64 {
        let call = format!("call_{n}");
        house.offer(&call, at(n)).unwrap();
        assert_eq!(house.holder(&call), Some(there), "{n}");
    }
}

#[test]
fn a_lease_that_is_not_renewed_ends_and_its_offer_goes_on() {
    let mut house = House::default();
    let old = house.register("old", 5, at(0));
    house.offer("call_1", at(59_000)).unwrap();
    let new = house.register("new", 5, at(59_500));
    assert_eq!(house.directory.lookup("t/b").unwrap().instances, 2);
    house.pass(at(60_000));
    assert_eq!(house.holder("call_1"), Some(new));
    assert_eq!(house.directory.accept("call_1", old, at(60_001)), Err(NotAccepted::Unknown));
    assert!(house.notices.contains(&Notice::Ended { lease: old }));
    assert_eq!(house.directory.lookup("t/b").unwrap().instances, 1);
    assert!(house.directory.renew(old, at(60_001)).is_none());
    assert_eq!(house.directory.renew(new, at(100_000)), Some(at(160_000)));
    house.pass(at(159_999));
    assert_eq!(house.directory.status("t/b"), Status::Online);
    house.pass(at(160_000));
    assert_eq!(house.directory.status("t/b"), Status::Offline);
    assert_eq!(house.notices.last(), Some(&Notice::Is { bot: bot("b"), status: Status::Offline }));
    assert_eq!(house.directory.poll_timeout(), None);
}

#[test]
fn the_same_instance_renews_its_lease_and_says_anew_what_it_can() {
    let mut house = House::default();
    let lease = house.register("a", 1, at(0));
    let changed = Registration { capabilities: "echo de".into(), capacity: 7, ..registration("b", "a", 1) };
    let again = house.directory.register(changed, LeaseId(99), at(1000), &mut house.notices).unwrap();
    assert_eq!(again, Leased { lease, is_renewed: true, expires_at: at(61_000) });
    let known = house.directory.lookup("t/b").unwrap();
    assert_eq!(
        (known.instances, known.capabilities.into_iter().collect::<Vec<_>>()),
        (1, vec!["de", "echo"])
    );
    let long = Registration { ttl: Duration::from_secs(9999), ..registration("b", "a", 1) };
    let long = house.directory.register(long, LeaseId(99), at(1000), &mut house.notices).unwrap();
    assert_eq!(long.expires_at, at(301_000), "never longer than five minutes");
}

#[test]
fn a_draining_instance_keeps_its_calls_and_gets_no_new_one() {
    let mut house = House::default();
    let lease = house.register("a", 5, at(0));
    house.offer("call_1", at(0)).unwrap();
    house.directory.accept("call_1", lease, at(1)).unwrap();
    assert!(house.directory.set_draining(lease, true, &mut house.notices));
    assert_eq!(house.directory.status("t/b"), Status::Draining);
    assert_eq!(house.offer("call_2", at(2)), Err(NotOffered::Busy));
    assert!(house.directory.has("t/b", "call_1") && !house.directory.has("t/c", "call_1"));
}

#[test]
fn calls_that_outlive_a_lease_count_when_the_instance_comes_back() {
    let mut house = House::default();
    let lease = house.register("a", 1, at(0));
    house.offer("call_1", at(0)).unwrap();
    house.directory.accept("call_1", lease, at(1)).unwrap();
    house.directory.end(lease, at(2), &mut house.notices);
    assert_eq!(house.offer("call_2", at(3)), Err(NotOffered::Offline));
    house.register("a", 1, at(4));
    assert_eq!(house.offer("call_2", at(5)), Err(NotOffered::Busy));
    house.directory.release("call_1");
    assert_eq!(house.offer("call_2", at(6)), Ok(()));
}

#[test]
fn a_caller_who_goes_takes_the_offer_back() {
    let mut house = House::default();
    let lease = house.register("a", 1, at(0));
    house.offer("call_1", at(0)).unwrap();
    assert_eq!(house.offer("call_1", at(0)), Err(NotOffered::Twice));
    house.directory.cancel("call_1", &mut house.notices);
    let why = Withdrawal::Canceled;
    assert_eq!(house.notices.last(), Some(&Notice::Withdrawn { call: "call_1".into(), lease, why }));
    assert_eq!(house.directory.accept("call_1", lease, at(1)), Err(NotAccepted::Expired));
    assert_eq!(house.offer("call_2", at(1)), Ok(()), "its place is free");
}

#[test]
fn accepting_twice_is_accepting_once() {
    let mut house = House::default();
    let (a, b) = (house.register("a", 1, at(0)), house.register("b", 1, at(0)));
    house.offer("call_1", at(0)).unwrap();
    let holder = house.holder("call_1").unwrap();
    let other = if holder == a { b } else { a };
    assert_eq!(house.directory.accept("call_1", other, at(1)), Err(NotAccepted::Taken));
    let first = house.directory.accept("call_1", holder, at(1)).unwrap();
    assert_eq!(house.directory.accept("call_1", holder, at(9000)), Ok(first), "an answer that was lost");
    assert_eq!(house.directory.reject("call_1", holder, at(2), &mut house.notices), Err(NotAccepted::Taken));
    let stranger = Registration { bot: bot("c"), ..registration("c", "c", 1) };
    let stranger = house.directory.register(stranger, LeaseId(7), at(2), &mut house.notices).unwrap().lease;
    assert_eq!(house.directory.accept("call_1", stranger, at(3)), Err(NotAccepted::Unknown));
}

#[test]
fn the_directory_is_bounded_in_all_and_for_each_tenant_and_bot() {
    let limits = DirectoryLimits {
        leases_max: 4,
        tenant_leases_max: 3,
        instances_max: 2,
        offers_max: 1,
        ..DirectoryLimits::default()
    };
    let (mut directory, mut out) = (Directory::new(limits), Vec::new());
    let mut register = |directory: &mut Directory, tenant: &str, name: &str, instance: &str, n| {
        let id = BotId::new(tenant, name).unwrap();
        let registration = Registration { bot: id, ..registration(name, instance, 1) };
        directory.register(registration, LeaseId(n), at(0), &mut out).map(|leased| leased.is_renewed)
    };
    assert_eq!(register(&mut directory, "t", "b", "1", 1), Ok(false));
    assert_eq!(register(&mut directory, "t", "b", "2", 2), Ok(false));
    assert_eq!(register(&mut directory, "t", "b", "3", 3), Err(DirectoryFull::Bot));
    assert_eq!(register(&mut directory, "t", "c", "1", 3), Ok(false));
    assert_eq!(register(&mut directory, "t", "d", "1", 4), Err(DirectoryFull::Tenant));
    assert_eq!(register(&mut directory, "u", "b", "1", 4), Ok(false));
    assert_eq!(register(&mut directory, "u", "c", "1", 5), Err(DirectoryFull::Machine));
    assert_eq!(register(&mut directory, "t", "b", "2", 9), Ok(true), "who is there may stay");
    directory.offer("t/b", "call_1".into(), at(0), &mut out).unwrap();
    assert_eq!(directory.offer("t/c", "call_2".into(), at(0), &mut out), Err(NotOffered::Full));
    for n in [1, 2, 3, 4] {
        assert!(directory.end(LeaseId(n), at(1), &mut out));
    }
    assert!(directory.is_empty() && directory.bots.is_empty() && directory.tenants.is_empty());
    assert!(
        directory.expiries.is_empty() && directory.deadlines.is_empty() && directory.offerings.is_empty()
    );
}

/// What happens to a directory. Numbers choose among few bots, instances and calls, so that they meet.
#[derive(Clone, Debug)]
enum Act {
    Register {
        bot: u8,
        instance: u8,
        capacity: u16,
        ttl_s: u64,
        draining: bool,
    },
    Renew(u8),
    End(u8),
    Listen(u8, bool),
    Offer {
        bot: u8,
        call: u8,
    },
    /// By whoever holds the offer, or by somebody else.
    Accept {
        call: u8,
        by: Option<u8>,
    },
    Reject {
        call: u8,
        by: Option<u8>,
    },
    Cancel(u8),
    Release(u8),
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let by = || prop::option::weighted(0.3, 0..6_u8);
    let act = prop_oneof![
        4 => (0..2_u8, 0..3_u8, 1..4_u16, 1..60_u64, prop::bool::weighted(0.1)).prop_map(|(bot, instance, capacity, ttl_s, draining)| Act::Register { bot, instance, capacity, ttl_s, draining }),
        1 => (0..6_u8).prop_map(Act::Renew),
        1 => (0..6_u8).prop_map(Act::End),
        1 => (0..6_u8, any::<bool>()).prop_map(|(lease, is)| Act::Listen(lease, is)),
        6 => (0..2_u8, 0..8_u8).prop_map(|(bot, call)| Act::Offer { bot, call }),
        4 => (0..8_u8, by()).prop_map(|(call, by)| Act::Accept { call, by }),
        2 => (0..8_u8, by()).prop_map(|(call, by)| Act::Reject { call, by }),
        1 => (0..8_u8).prop_map(Act::Cancel),
        2 => (0..8_u8).prop_map(Act::Release),
        4 => (0..7000_u64).prop_map(Act::Wait),
    ];
    prop::collection::vec(act, 1..80)
}

/// What an outsider knows from notices and answers alone.
#[derive(Default)]
struct Witness {
    /// Who may accept which call, until when.
    offered: BTreeMap<CallName, (LeaseId, Instant)>,
    /// Since when calls have waited.
    waiting: BTreeMap<CallName, Instant>,
    accepted: BTreeMap<CallName, LeaseId>,
    /// Leases with their end and capacity.
    leases: BTreeMap<LeaseId, (Instant, u16)>,
}

impl Witness {
    fn hear(&mut self, notices: &mut Vec<Notice>, now: Instant) {
        for notice in notices.drain(..) {
            match notice {
                Notice::Offered { call, lease, until } => {
                    let (ends, capacity) =
                        self.leases.get(&lease).copied().expect("only a lease gets an offer");
                    assert!(ends > now, "an expired lease got an offer");
                    assert!(until > now && until <= now + Duration::from_secs(5));
                    assert_eq!(
                        self.offered.insert(call.clone(), (lease, until)),
                        None,
                        "{call} is at two instances"
                    );
                    assert!(!self.accepted.contains_key(&call), "an accepted call was offered");
                    let load = self.offered.values().filter(|(holder, _)| *holder == lease).count()
                        + self.accepted.values().filter(|holder| **holder == lease).count();
                    assert!(load <= usize::from(capacity), "{load} calls at a capacity of {capacity}");
                }
                Notice::Withdrawn { call, lease, .. } => {
                    let (holder, _) = self.offered.remove(&call).expect("what is withdrawn was offered");
                    assert_eq!(holder, lease);
                }
                Notice::Refused { call, .. } => {
                    assert!(!self.offered.contains_key(&call));
                    self.waiting.remove(&call).expect("a call is refused once");
                }
                Notice::Ended { lease } => {
                    self.leases.remove(&lease).expect("a lease ends once");
                    self.offered.retain(|_, (holder, _)| *holder != lease);
                }
                Notice::Is { .. } => {}
            }
        }
        assert!(
            self.offered.values().all(|(_, until)| *until > now),
            "an offer was not decided by its deadline"
        );
        let longest = Duration::from_secs(5) * 5;
        assert!(
            self.waiting.values().all(|since| now.saturating_since(*since) <= longest),
            "a call waits for ever"
        );
        assert!(self.waiting.keys().all(|call| self.offered.contains_key(call)), "a call waits for nobody");
    }
}

fn lease_of(number: u8) -> LeaseId {
    LeaseId(u128::from(number) + 1)
}

fn perform(directory: &mut Directory, witness: &mut Witness, act: Act, now: Instant, out: &mut Vec<Notice>) {
    let name = |call: u8| -> CallName { format!("call_{call}").into() };
    let holder = |witness: &Witness, call: &CallName, by: Option<u8>| {
        by.map(lease_of).or_else(|| witness.offered.get(call).map(|(holder, _)| *holder))
    };
    match act {
        Act::Register { bot, instance, capacity, ttl_s, draining } => {
            let registration = Registration {
                bot: super::tests::bot(&bot.to_string()),
                ttl: Duration::from_secs(ttl_s),
                is_draining: draining,
                ..registration("x", &instance.to_string(), capacity)
            };
            let leased = directory.register(registration, lease_of(bot * 3 + instance), now, out).unwrap();
            witness.leases.insert(leased.lease, (leased.expires_at, capacity));
        }
        Act::Renew(lease) => {
            if let Some(ends) = directory.renew(lease_of(lease), now) {
                witness.leases.get_mut(&lease_of(lease)).expect("it is there").0 = ends;
            }
        }
        Act::End(lease) => drop(directory.end(lease_of(lease), now, out)),
        Act::Listen(lease, is) => directory.set_listening(lease_of(lease), is),
        Act::Offer { bot, call } => {
            let was_known =
                witness.offered.contains_key(&name(call)) || witness.accepted.contains_key(&name(call));
            let offered = directory.offer(&format!("t/{bot}"), name(call), now, out);
            assert_eq!(offered == Err(NotOffered::Twice), was_known);
            if offered.is_ok() {
                witness.waiting.insert(name(call), now);
            }
        }
        Act::Accept { call, by } => {
            let Some(lease) = holder(witness, &name(call), by) else { return };
            let is_right = witness.offered.get(&name(call)).is_some_and(|(holder, _)| *holder == lease)
                || witness.accepted.get(&name(call)) == Some(&lease);
            assert_eq!(directory.accept(&name(call), lease, now).is_ok(), is_right);
            if is_right {
                witness.offered.remove(&name(call));
                witness.waiting.remove(&name(call));
                witness.accepted.insert(name(call), lease);
            }
        }
        Act::Reject { call, by } => {
            let Some(lease) = holder(witness, &name(call), by) else { return };
            let is_right = witness.offered.get(&name(call)).is_some_and(|(holder, _)| *holder == lease);
            let rejected = directory.reject(&name(call), lease, now, out);
            assert_eq!(rejected.is_ok(), is_right);
            if is_right {
                witness.offered.remove(&name(call));
            }
        }
        Act::Cancel(call) => {
            directory.cancel(&name(call), out);
            witness.waiting.remove(&name(call));
        }
        Act::Release(call) => {
            let was_held = witness.accepted.remove(&name(call)).is_some();
            assert_eq!(directory.release(&name(call)).is_some(), was_held);
        }
        Act::Wait(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_call_is_at_two_instances_no_offer_outlives_its_deadline_and_no_load_exceeds_capacity(acts in acts()) {
        let (mut directory, mut witness) = (Directory::default(), Witness::default());
        let (mut now, mut out) = (at(0), Vec::new());
        for act in acts {
            let until = if let Act::Wait(ms) = act { now + Duration::from_millis(ms) } else { now };
            // As the shell does: woken at each moment that was asked for, never later.
            while let Some(next) = directory.poll_timeout().filter(|next| *next <= until) {
                prop_assert!(next >= now, "a deadline in the past");
                now = next;
                directory.handle_timeout(now, &mut out);
                witness.hear(&mut out, now);
            }
            now = until;
            perform(&mut directory, &mut witness, act, now, &mut out);
            witness.hear(&mut out, now);
            prop_assert_eq!(directory.len(), witness.leases.len());
        }
    }
}
