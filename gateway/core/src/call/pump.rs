//! What is due leaves: audio towards each side as its pacing says, with the marks and the words behind it.

use super::{CALLEE, CALLER, Call, Fact, Output, Phase};
use crate::Instant;
use crate::leg::Command;
use crate::side::State;

impl Call {
    /// Everything that is due leaves.
    pub(super) fn pump(&mut self, now: Instant, out: &mut Vec<Output>) {
        for index in [CALLER, CALLEE] {
            self.pump_towards(index, now, out);
            self.bound_live_queue(index, out);
            self.echo_marks(index, now, out);
        }
        self.watch_dryness(now);
        self.finish_ending(now, out);
    }

    pub(super) fn pump_towards(&mut self, index: usize, now: Instant, out: &mut Vec<Output>) {
        while self.sides[index].takes_audio() {
            let Some(frame) = self.sides[index].playout.poll_frame(now) else { break };
            self.play(index, frame, now, out);
            if let Some(mark) = self.sides[index].playout.poll_mark() {
                self.command(index, Command::Mark(mark), now, out);
            }
        }
        if self.sides[index].takes_audio()
            && let Some(mark) = self.sides[index].playout.poll_mark()
        {
            self.command(index, Command::Mark(mark), now, out);
        }
        self.tell_what_waited(index, now, out);
    }

    /// A callee that is up gets fresh audio or none; one that is being dialled gets all that was said meanwhile.
    fn bound_live_queue(&mut self, index: usize, out: &mut Vec<Output>) {
        let limits = &self.config.limits;
        let side = &mut self.sides[index];
        side.playout.drop_late(if side.state == State::Up { limits.live_max } else { limits.held_max });
        let span = side.playout.take_dropped();
        if !span.is_zero() {
            out.push(Output::Fact(Fact::AudioDropped { leg: side.id, span }));
        }
    }

    /// An answer in progress that stops coming is owed from when the caller has heard what there was.
    fn watch_dryness(&mut self, now: Instant) {
        let playout = &self.sides[CALLER].playout;
        if self.turn.owes_answer() && playout.queued().is_zero() && self.phase == Phase::Live {
            self.dead_air.owe_more(playout.dry_at().max(now));
        }
    }
}
