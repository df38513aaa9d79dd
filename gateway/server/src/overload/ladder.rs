//! [`Ladder`]: from a load to a level, with hysteresis. No clock of its own.

use std::time::Duration;

use patchbay_core::Instant;

/// What the gateway gives up. Each level includes those below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    #[default]
    Normal,
    /// Not ready: the load balancer sends new work elsewhere; what comes is served.
    Unready,
    /// New calls are refused.
    Refusing,
    /// Optional work stops: recordings.
    Sparing,
    /// The newest calls are handed to other machines.
    HandingOff,
}

impl Level {
    const ALL: [Self; 5] = [Self::Normal, Self::Unready, Self::Refusing, Self::Sparing, Self::HandingOff];

    /// Stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Unready => "unready",
            Self::Refusing => "refusing",
            Self::Sparing => "sparing",
            Self::HandingOff => "handing_off",
        }
    }

    pub(super) fn from_u8(level: u8) -> Self {
        Self::ALL[usize::from(level).min(Self::ALL.len() - 1)]
    }
}

/// What was measured in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// 99 of 100 timers fired no later than this after their deadline.
    pub late: Duration,
    /// Memory in use, as a share of what we may have.
    pub memory: f64,
    /// Calls, as a share of the most.
    pub calls: f64,
}

/// When a level is entered and left.
struct Step {
    level: Level,
    enter: Load,
    leave: Load,
    /// How long the load must last.
    within: Duration,
}

/// A share that no load reaches.
const NEVER: f64 = f64::INFINITY;

const fn load(late_ms: u64, memory: f64, calls: f64) -> Load {
    Load { late: Duration::from_millis(late_ms), memory, calls }
}

const STEPS: [Step; 4] = [
    Step {
        level: Level::Unready,
        enter: load(5, 0.75, 0.8),
        leave: load(3, 0.70, 0.7),
        within: Duration::from_secs(1),
    },
    Step {
        level: Level::Refusing,
        enter: load(10, 0.85, NEVER),
        leave: load(5, 0.80, NEVER),
        within: Duration::from_secs(1),
    },
    Step {
        level: Level::Sparing,
        enter: load(20, 0.92, NEVER),
        leave: load(10, 0.87, NEVER),
        within: Duration::from_secs(1),
    },
    Step {
        level: Level::HandingOff,
        enter: load(60, 0.96, NEVER),
        leave: load(20, 0.91, NEVER),
        within: Duration::from_secs(4),
    },
];

/// A level is left when the load was low for this long.
const CALM: Duration = Duration::from_secs(10);

impl Load {
    fn exceeds(&self, bound: &Self) -> bool {
        self.late > bound.late || self.memory > bound.memory || self.calls > bound.calls
    }
}

/// Climbs when a load lasts (two looks a second apart; five for the highest step), and comes down one step at a time
/// after ten calm seconds.
#[derive(Debug, Default)]
pub struct Ladder {
    level: Level,
    /// Since when each step's bound is exceeded without a break.
    exceeded: [Option<Instant>; 4],
    calm: Option<Instant>,
}

impl Ladder {
    /// Where we are.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Takes one second's load.
    pub fn look(&mut self, load: Load, now: Instant) -> Level {
        for (step, since) in STEPS.iter().zip(&mut self.exceeded) {
            if !load.exceeds(&step.enter) {
                *since = None;
            } else if now.saturating_since(*since.get_or_insert(now)) >= step.within {
                self.level = self.level.max(step.level);
            }
        }
        self.come_down(load, now);
        self.level
    }

    fn come_down(&mut self, load: Load, now: Instant) {
        let Some(step) = STEPS.iter().find(|step| step.level == self.level) else { return };
        if load.exceeds(&step.leave) {
            self.calm = None;
        } else if now.saturating_since(*self.calm.get_or_insert(now)) >= CALM {
            self.level = Level::from_u8(self.level as u8 - 1);
            self.calm = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(ms: u64) -> Load {
        load(ms, 0.1, 0.1)
    }

    /// The levels after each second of `loads`.
    fn climb(ladder: &mut Ladder, from: u64, loads: &[Load]) -> Vec<Level> {
        let at = |n: usize| Instant::from_micros((from + n as u64) * 1_000_000);
        loads.iter().enumerate().map(|(n, load)| ladder.look(*load, at(n))).collect()
    }

    #[test]
    fn one_bad_second_changes_nothing_and_two_do() {
        let mut ladder = Ladder::default();
        let levels = climb(&mut ladder, 0, &[late(30), late(0), late(6), late(6)]);
        assert_eq!(levels, [Level::Normal, Level::Normal, Level::Normal, Level::Unready]);
    }

    #[test]
    fn the_higher_the_lateness_the_more_is_given_up() {
        for (ms, level) in
            [(4, Level::Normal), (6, Level::Unready), (11, Level::Refusing), (21, Level::Sparing)]
        {
            assert_eq!(climb(&mut Ladder::default(), 0, &[late(ms); 5]).last(), Some(&level), "{ms} ms");
        }
        let levels = climb(&mut Ladder::default(), 0, &[late(61); 5]);
        assert_eq!(levels[3..], [Level::Sparing, Level::HandingOff], "only after five seconds");
    }

    #[test]
    fn memory_and_calls_count_as_lateness_does() {
        assert_eq!(climb(&mut Ladder::default(), 0, &[load(0, 0.93, 0.0); 2])[1], Level::Sparing);
        assert_eq!(climb(&mut Ladder::default(), 0, &[load(0, 0.0, 1.0); 2])[1], Level::Unready);
    }

    #[test]
    fn it_comes_down_one_step_at_a_time_after_ten_calm_seconds() {
        let mut ladder = Ladder::default();
        climb(&mut ladder, 0, &[late(15); 3]);
        let levels = climb(&mut ladder, 3, &[late(0); 25]);
        assert_eq!(levels[9], Level::Refusing);
        assert_eq!(levels[10], Level::Unready);
        assert_eq!(levels[19], Level::Unready);
        assert_eq!(levels[20], Level::Normal);
    }

    #[test]
    fn between_leaving_and_entering_it_stays() {
        let mut ladder = Ladder::default();
        climb(&mut ladder, 0, &[late(6); 2]);
        assert!(climb(&mut ladder, 2, &[late(4); 60]).iter().all(|level| *level == Level::Unready));
    }
}
