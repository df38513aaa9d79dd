//! The playout ledger: what of each utterance was received, sent and heard. `heard ≤ sent ≤ received`, always.

use std::collections::VecDeque;

use crate::{Cut, MediaTime, UtteranceId};

/// Accounts of the utterances on their way to one listener. Positions are the [`PlayHead`](crate::PlayHead)'s.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: VecDeque<Account>,
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
struct Account {
    utterance: UtteranceId,
    received: MediaTime,
    sent: MediaTime,
    /// Of segments that are settled, and so forgotten.
    heard: MediaTime,
    ended: bool,
}

/// A contiguous piece of one utterance in the listener's stream.
#[derive(Debug)]
struct Segment {
    utterance: UtteranceId,
    start: MediaTime,
    span: MediaTime,
}

impl Segment {
    fn heard(&self, head: MediaTime) -> MediaTime {
        head.saturating_sub(self.start).min(self.span)
    }
}

impl Ledger {
    /// More of `utterance` came from its source.
    pub fn received(&mut self, utterance: UtteranceId, span: MediaTime) {
        match self.account(utterance) {
            Some(account) => account.received += span,
            None => self.accounts.push_back(Account {
                utterance,
                received: span,
                sent: MediaTime::ZERO,
                heard: MediaTime::ZERO,
                ended: false,
            }),
        }
    }

    /// All of `utterance` has come.
    pub fn ended(&mut self, utterance: UtteranceId) {
        if let Some(account) = self.account(utterance) {
            account.ended = true;
        }
    }

    /// More of `utterance` went out, starting at `position` of the listener's stream.
    pub fn sent(&mut self, utterance: UtteranceId, position: MediaTime, span: MediaTime) {
        let account = self.account(utterance).expect("what is sent was received before");
        account.sent += span;
        assert!(account.sent <= account.received, "sent more of an utterance than was received");
        match self.segments.back_mut() {
            Some(last) if last.utterance == utterance && last.start + last.span == position => {
                last.span += span
            }
            _ => self.segments.push_back(Segment { utterance, start: position, span }),
        }
    }

    /// Closes the accounts of what was wholly heard; `head` must be a position that is certain not to move down.
    pub fn settle(&mut self, head: MediaTime) {
        while let Some(first) = self.segments.front().filter(|s| s.start + s.span <= head) {
            let (utterance, span) = (first.utterance, first.span);
            self.segments.pop_front();
            self.account(utterance).expect("an account outlives its segments").heard += span;
        }
        self.accounts.retain(|a| !(a.ended && a.heard == a.received));
    }

    /// Ends every utterance that was not wholly heard, in the order in which they were received, and forgets all.
    pub fn cut(&mut self, head: MediaTime) -> Vec<Cut> {
        let segments = std::mem::take(&mut self.segments);
        let accounts = std::mem::take(&mut self.accounts);
        accounts
            .into_iter()
            .filter_map(|account| {
                let of_this = segments.iter().filter(|s| s.utterance == account.utterance);
                let heard = of_this.fold(account.heard, |sum, s| sum + s.heard(head));
                assert!(heard <= account.sent && account.sent <= account.received, "heard ≤ sent ≤ received");
                let whole = account.ended && heard == account.received;
                (!whole).then_some(Cut {
                    utterance: account.utterance,
                    heard,
                    sent: account.sent,
                    received: account.received,
                })
            })
            .collect()
    }

    /// Where in the listener's stream `offset` of `utterance` lies, of what was sent and is not settled.
    #[must_use]
    pub fn position_of(&self, utterance: UtteranceId, offset: MediaTime) -> Option<MediaTime> {
        let account = self.accounts.iter().find(|a| a.utterance == utterance)?;
        let mut left = offset.saturating_sub(account.heard);
        let mut end = None;
        for segment in self.segments.iter().filter(|s| s.utterance == utterance) {
            if left <= segment.span {
                return Some(segment.start + left);
            }
            left = left.saturating_sub(segment.span);
            end = Some(segment.start + segment.span);
        }
        end
    }

    /// What of `utterance` was sent and received, while its account is open.
    #[must_use]
    pub fn standing(&self, utterance: UtteranceId) -> Option<(MediaTime, MediaTime)> {
        let account = self.accounts.iter().find(|a| a.utterance == utterance)?;
        Some((account.sent, account.received))
    }

    /// Whether any utterance is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Few are open at any time, the newest is asked for most.
    fn account(&mut self, utterance: UtteranceId) -> Option<&mut Account> {
        self.accounts.iter_mut().rev().find(|a| a.utterance == utterance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: UtteranceId = UtteranceId(1);
    const B: UtteranceId = UtteranceId(2);
    const fn ms(ms: u64) -> MediaTime {
        MediaTime::from_ms(ms)
    }

    #[test]
    fn interleaved_utterances_are_accounted_apart() {
        let mut ledger = Ledger::default();
        ledger.received(A, ms(200));
        ledger.received(B, ms(300));
        ledger.sent(A, ms(0), ms(100));
        ledger.sent(B, ms(100), ms(100));
        ledger.sent(A, ms(200), ms(100));
        let cuts = ledger.cut(ms(250));
        assert_eq!(
            cuts,
            [
                Cut { utterance: A, heard: ms(150), sent: ms(200), received: ms(200) },
                Cut { utterance: B, heard: ms(100), sent: ms(100), received: ms(300) },
            ]
        );
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_was_wholly_heard_is_not_cut() {
        let mut ledger = Ledger::default();
        ledger.received(A, ms(100));
        ledger.ended(A);
        ledger.sent(A, ms(0), ms(100));
        assert_eq!(ledger.cut(ms(100)), []);
    }

    #[test]
    fn an_utterance_that_has_not_ended_is_cut_even_if_all_of_it_was_heard() {
        let mut ledger = Ledger::default();
        ledger.received(A, ms(100));
        ledger.sent(A, ms(0), ms(100));
        assert_eq!(ledger.cut(ms(100))[0].heard, ms(100));
    }

    #[test]
    fn what_plays_between_two_pieces_is_not_heard_of_the_utterance() {
        let mut ledger = Ledger::default();
        ledger.received(A, ms(200));
        ledger.sent(A, ms(0), ms(100));
        ledger.sent(A, ms(300), ms(100)); // a prompt took 200 ms of the stream
        assert_eq!(ledger.cut(ms(250))[0].heard, ms(100));
    }

    #[test]
    fn settled_segments_still_count() {
        let mut ledger = Ledger::default();
        ledger.received(A, ms(300));
        ledger.sent(A, ms(0), ms(100));
        ledger.settle(ms(100));
        ledger.sent(A, ms(500), ms(100)); // after a pause of the stream
        assert_eq!(ledger.cut(ms(550))[0].heard, ms(150));
    }

    #[test]
    fn an_offset_of_an_utterance_has_its_place_in_the_stream_over_pauses_and_settled_pieces() {
        let mut ledger = Ledger::default();
        ledger.received(A, ms(400));
        ledger.sent(A, ms(0), ms(100));
        ledger.settle(ms(100));
        ledger.sent(A, ms(500), ms(100));
        ledger.sent(A, ms(900), ms(100));
        assert_eq!(ledger.position_of(A, ms(150)), Some(ms(550)));
        assert_eq!(ledger.position_of(A, ms(250)), Some(ms(950)));
        assert_eq!(ledger.position_of(A, ms(9000)), Some(ms(1000)), "never past what was sent");
        assert_eq!(ledger.position_of(B, ms(0)), None);
    }
}
