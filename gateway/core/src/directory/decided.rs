//! [`Decided`]: calls that were offered to a bot lately and no longer are, for whoever answers too late.

use std::collections::{BTreeMap, VecDeque};

use super::{BotId, CallName};

/// How many are remembered.
const REMEMBERED_MAX: usize = 4096;

/// The latest of them, the oldest dropped first.
#[derive(Debug, Default)]
pub(super) struct Decided {
    bots: BTreeMap<CallName, BotId>,
    by_age: VecDeque<CallName>,
}

impl Decided {
    pub(super) fn remember(&mut self, call: CallName, bot: BotId) {
        if self.bots.insert(call.clone(), bot).is_some() {
            return;
        }
        self.by_age.push_back(call);
        if self.by_age.len() > REMEMBERED_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.bots.remove(&oldest);
        }
    }

    pub(super) fn was_offered_to(&self, call: &str, bot: &str) -> bool {
        self.bots.get(call).is_some_and(|known| **known == *bot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_are_remembered() {
        let (mut decided, bot) = (Decided::default(), BotId::new("t", "b").unwrap());
        for n in 0..REMEMBERED_MAX + 10 {
            decided.remember(format!("call_{n}").into(), bot.clone());
        }
        assert!(!decided.was_offered_to("call_9", "t/b") && decided.was_offered_to("call_10", "t/b"));
        assert!(!decided.was_offered_to("call_10", "t/c"), "not to another bot");
        assert_eq!((decided.bots.len(), decided.by_age.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }
}
