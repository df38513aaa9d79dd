//! The governor's promises.

use proptest::prelude::*;

use super::*;
use crate::calendar::{DAY_MS, Date};
use crate::config::Period;

const USD: i64 = 1_000_000;

fn limit(policy: Policy) -> SpendLimit {
    SpendLimit {
        limit: 10 * USD,
        period: Period::Day,
        reserve: USD,
        policy,
        warn_at: 800_000,
        transfer_to: None,
    }
}

fn spend() -> Arc<Spend> {
    Spend::new(Arc::new(Metrics::new()))
}

const NOON: UnixMs = UnixMs(20_000 * DAY_MS + DAY_MS / 2);

fn later(ms: i64) -> UnixMs {
    UnixMs(NOON.0 + ms)
}

#[test]
fn without_a_limit_nothing_is_refused_and_everything_is_summed() {
    let (spend, none) = (spend(), SpendLimit { limit: 0, ..limit(Policy::HangUp) });
    let mut call = spend.reserve("t", &none, NOON).unwrap();
    assert_eq!(call.charge(1_000 * USD, NOON), Verdict::Fine);
    assert_eq!(spend.spent("t"), 1_000 * USD);
    assert!(spend.reserve("t", &none, NOON).is_ok());
}

#[test]
fn slices_are_set_aside_and_come_back() {
    let (spend, limit) = (spend(), limit(Policy::HangUp));
    let held: Vec<_> = (0..10).map(|_| spend.reserve("t", &limit, NOON).unwrap()).collect();
    let refused = spend.reserve("t", &limit, NOON).unwrap_err();
    assert_eq!(refused.again, Duration::from_secs(12 * 3600), "until midnight");
    assert!(spend.reserve("another", &limit, NOON).is_ok(), "one tenant's money is not another's");
    drop(held);
    assert!(spend.reserve("t", &limit, NOON).is_ok());
}

#[test]
fn a_call_fills_its_slice_up_until_nothing_is_left_and_then_uses_it_up() {
    let (spend, limit) = (spend(), limit(Policy::HangUp));
    let mut call = spend.reserve("t", &limit, NOON).unwrap();
    for paid in 1..=9 {
        let near = if paid == 8 { Verdict::Warn } else { Verdict::Fine };
        assert_eq!(call.charge(USD, NOON), near, "after {paid} USD");
    }
    assert_eq!(call.charge(USD / 2, NOON), Verdict::Fine, "half of the last slice is left");
    assert_eq!(call.charge(USD / 2, NOON), Verdict::Over(Policy::HangUp));
    assert_eq!(call.charge(USD, NOON), Verdict::Fine, "over is told once");
    drop(call);
    assert!(spend.reserve("t", &limit, NOON).is_err());
}

#[test]
fn a_correction_gives_money_back() {
    let (spend, limit) = (spend(), limit(Policy::HangUp));
    let mut call = spend.reserve("t", &limit, NOON).unwrap();
    assert_eq!(call.charge(11 * USD, NOON), Verdict::Over(Policy::HangUp));
    assert_eq!(call.charge(-3 * USD, NOON), Verdict::Warn, "the estimate was too high");
    assert_eq!(spend.spent("t"), 8 * USD);
}

#[test]
fn with_the_policy_to_warn_calls_begin_and_go_on() {
    let (spend, limit) = (spend(), limit(Policy::Warn));
    let mut call = spend.reserve("t", &limit, NOON).unwrap();
    assert_eq!(call.charge(50 * USD, NOON), Verdict::Over(Policy::Warn));
    assert!(spend.reserve("t", &limit, NOON).is_ok());
}

#[test]
fn the_next_period_begins_with_nothing_spent_even_for_a_call_that_runs() {
    let (spend, limit) = (spend(), limit(Policy::Say));
    let mut call = spend.reserve("t", &limit, NOON).unwrap();
    assert_eq!(call.charge(10 * USD, NOON), Verdict::Over(Policy::Say));
    assert_eq!(call.check(later(DAY_MS / 2 - 1)), Verdict::Fine, "told already");
    assert_eq!(call.check(later(DAY_MS / 2)), Verdict::Fine);
    assert_eq!(spend.spent("t"), 0);
    assert!(spend.reserve("t", &limit, later(DAY_MS / 2)).is_ok());
    assert_eq!(
        call.charge(10 * USD, later(DAY_MS)),
        Verdict::Over(Policy::Say),
        "told again in a new period"
    );
}

#[test]
fn a_month_ends_with_its_last_day() {
    for (day, ends) in
        [("2026-02-28", "2026-03-01"), ("2028-02-28", "2028-03-01"), ("2026-12-31", "2027-01-01")]
    {
        let ms = |day: &str| Date::parse(day).unwrap().days() * DAY_MS;
        assert_eq!(book::span(Period::Month, ms(day) + 5).end, ms(ends), "{day}");
        assert_eq!(book::span(Period::Month, ms(ends)).start, ms(ends));
    }
}

#[test]
fn what_was_spent_before_this_process_began_counts() {
    let (spend, limit) = (spend(), limit(Policy::HangUp));
    spend.load("t", &limit, 9 * USD + 1, NOON);
    assert!(spend.reserve("t", &limit, NOON).is_err());
}

#[test]
fn a_reloaded_limit_holds_from_the_next_call_on() {
    let (spend, low) = (spend(), limit(Policy::HangUp));
    let mut call = spend.reserve("t", &low, NOON).unwrap();
    assert_eq!(call.charge(10 * USD, NOON), Verdict::Over(Policy::HangUp));
    let high = SpendLimit { limit: 20 * USD, ..low };
    assert!(spend.reserve("t", &high, NOON).is_ok());
    assert_eq!(call.check(NOON), Verdict::Fine, "and the call that runs may go on");
}

/// What happens in a schedule.
#[derive(Clone, Debug)]
enum Step {
    Start,
    Charge { call: usize, micro_usd: i64 },
    Hangup { call: usize },
    Check { call: usize },
}

fn steps(answer_max: i64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Start),
        6 => (0..32usize, 0..=answer_max).prop_map(|(call, micro_usd)| Step::Charge { call, micro_usd }),
        1 => (0..32usize).prop_map(|call| Step::Hangup { call }),
        1 => (0..32usize).prop_map(|call| Step::Check { call }),
    ];
    prop::collection::vec(step, 1..400)
}

/// Runs a schedule. A call that is over ends, and an answer that is under way then is charged still.
fn overspend(steps: &[Step], limit: &SpendLimit, last_answer: i64) -> (i64, usize) {
    let (spend, mut calls, mut most) = (spend(), Vec::new(), 0);
    for step in steps {
        let verdict = match step {
            Step::Start => {
                calls.extend(spend.reserve("t", limit, NOON));
                most = most.max(calls.len());
                continue;
            }
            _ if calls.is_empty() => continue,
            Step::Charge { call, micro_usd } => {
                let at = call % calls.len();
                (at, calls[at].charge(*micro_usd, NOON))
            }
            Step::Check { call } => {
                let at = call % calls.len();
                (at, calls[at].check(NOON))
            }
            Step::Hangup { call } => {
                drop(calls.swap_remove(call % calls.len()));
                continue;
            }
        };
        if let (at, Verdict::Over(_)) = verdict {
            let mut ended: Reservation = calls.swap_remove(at);
            ended.charge(last_answer, NOON);
        }
    }
    (spend.spent("t") - limit.limit, most)
}

proptest! {
    #[test]
    fn overspend_is_at_most_a_slice_for_each_call_that_runs(
        steps in steps(USD / 2),
        last_answer in 0..=USD / 2,
    ) {
        let (over, calls) = overspend(&steps, &limit(Policy::HangUp), last_answer);
        let calls = i64::try_from(calls).unwrap();
        prop_assert!(over <= calls * USD, "{over} micro-USD over, with at most {calls} calls at once");
    }

    #[test]
    fn the_books_balance_when_every_call_is_over(steps in steps(3 * USD)) {
        let (spend, limit) = (spend(), limit(Policy::Warn));
        let mut calls: Vec<Reservation> = Vec::new();
        let mut paid = 0;
        for step in &steps {
            match step {
                Step::Start => calls.extend(spend.reserve("t", &limit, NOON)),
                Step::Charge { call, micro_usd } if !calls.is_empty() => {
                    let at = call % calls.len();
                    calls[at].charge(*micro_usd, NOON);
                    paid += micro_usd;
                }
                Step::Hangup { call } if !calls.is_empty() => drop(calls.swap_remove(call % calls.len())),
                _ => {}
            }
        }
        drop(calls);
        prop_assert_eq!(spend.spent("t"), paid);
        // Everything that is not spent can be set aside again.
        let strict = SpendLimit { policy: Policy::HangUp, ..limit };
        let slices: Vec<_> = std::iter::from_fn(|| spend.reserve("t", &strict, NOON).ok()).collect();
        prop_assert_eq!(i64::try_from(slices.len()).unwrap(), ((10 * USD - paid) / USD).max(0));
    }
}
