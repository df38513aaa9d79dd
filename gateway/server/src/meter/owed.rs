//! Phone calls whose minutes Twilio has still to tell: when to estimate them, and when to ask.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::secret::Private;

/// How long after the end of our call the status callback is waited for. Twilio sends it within seconds, and repeats
/// what was not answered.
const GRACE: Duration = Duration::from_secs(60);
/// When Twilio is asked, counted from the estimate: the phone call may go on with somebody else after ours.
const ASKED_AFTER: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(24 * 3600),
];
/// Phone calls that are waited for. What comes beyond is told by its callback, or not at all.
const OWED_MAX: usize = 20_000;

/// A phone call that was begun.
#[derive(Clone, Debug)]
pub struct PhoneCall {
    /// `CA…`
    pub call_sid: String,
    /// Who pays.
    pub tenant: String,
    /// By which route.
    pub route: String,
    /// Our id of the call.
    pub call: String,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// The number that was called.
    pub called: Private<String>,
}

/// What is to be done now.
#[derive(Clone, Debug)]
pub enum Due {
    /// Its minutes are so many seconds, as far as we know.
    Estimate(PhoneCall, u64),
    /// Twilio is to be asked.
    Ask(PhoneCall),
}

/// Phone calls whose minutes were not told, by `CallSid`. No clock of its own.
#[derive(Debug, Default)]
pub(super) struct Owed(BTreeMap<String, (PhoneCall, Stage)>);

#[derive(Clone, Copy, Debug)]
enum Stage {
    Running,
    /// Our call was seen to be over; it lasted so many seconds.
    Over {
        since: Instant,
        seconds: u64,
    },
    /// The estimate was made then, and Twilio asked so many times since.
    Estimated {
        at: Instant,
        asked: usize,
    },
}

impl Owed {
    /// A phone call begins.
    pub(super) fn begin(&mut self, call: PhoneCall) {
        if self.0.len() < OWED_MAX {
            self.0.insert(call.call_sid.clone(), (call, Stage::Running));
        }
    }

    /// Twilio told its minutes.
    pub(super) fn settle(&mut self, call_sid: &str) {
        self.0.remove(call_sid);
    }

    /// What is due. `lasted` answers the seconds of a call of ours that is over.
    pub(super) fn look(&mut self, now: Instant, lasted: impl Fn(&str) -> Option<u64>) -> Vec<Due> {
        let mut due = Vec::new();
        self.0.retain(|_, (call, stage)| {
            *stage = match *stage {
                Stage::Running => match lasted(&call.call) {
                    Some(seconds) => Stage::Over { since: now, seconds },
                    None => Stage::Running,
                },
                Stage::Over { since, seconds } if now.duration_since(since) >= GRACE => {
                    due.push(Due::Estimate(call.clone(), seconds));
                    Stage::Estimated { at: now, asked: 0 }
                }
                stage => stage,
            };
            let Stage::Estimated { at, asked } = stage else { return true };
            if now.duration_since(*at) >= ASKED_AFTER[*asked] {
                due.push(Due::Ask(call.clone()));
                *asked += 1;
            }
            *asked < ASKED_AFTER.len()
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> PhoneCall {
        PhoneCall {
            call_sid: "CA1".into(),
            tenant: "t".into(),
            route: "r".into(),
            call: "call_1".into(),
            direction: "inbound",
            called: Private::new("+4930".into()),
        }
    }

    #[test]
    fn nothing_is_due_while_the_call_runs_or_the_callback_may_come() {
        let (mut owed, begin) = (Owed::default(), Instant::now());
        owed.begin(call());
        assert!(owed.look(begin + Duration::from_secs(7200), |_| None).is_empty());
        let over = begin + Duration::from_secs(7201);
        assert!(owed.look(over, |_| Some(7200)).is_empty());
        assert!(owed.look(over + GRACE - Duration::from_secs(1), |_| Some(7200)).is_empty());
        owed.settle("CA1");
        assert!(owed.look(over + GRACE, |_| Some(7200)).is_empty(), "the callback came");
    }

    #[test]
    fn it_is_estimated_once_and_asked_for_with_patience_and_not_for_ever() {
        let (mut owed, over) = (Owed::default(), Instant::now());
        owed.begin(call());
        owed.look(over, |_| Some(61));
        let (mut estimates, mut asked) = (Vec::new(), Vec::new());
        for minute in 1..=2 * 24 * 60 {
            for due in owed.look(over + Duration::from_secs(60 * minute), |_| Some(61)) {
                match due {
                    Due::Estimate(_, seconds) => estimates.push(seconds),
                    Due::Ask(_) => asked.push(minute - 1),
                }
            }
        }
        assert_eq!((estimates, asked), (vec![61], vec![0, 5, 30, 120, 1440]));
        assert!(owed.0.is_empty());
    }
}
