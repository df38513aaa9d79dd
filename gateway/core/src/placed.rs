//! Marks that one who speaks puts behind what it has said, until its listener is there.

use std::collections::VecDeque;

use crate::MediaTime;

/// Marks under way to one listener; beyond it the oldest is given up.
const PLACED_MAX: usize = 1024;

/// Marks of one speaker in the stream to one listener, in order, and those that nobody will reach any more.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    marks: VecDeque<(u32, MediaTime)>,
    voided: VecDeque<u32>,
}

impl Placed {
    /// `mark` stands at `position`.
    pub(crate) fn place(&mut self, mark: u32, position: MediaTime) {
        if self.marks.len() + self.voided.len() >= PLACED_MAX {
            self.voided.pop_front().or_else(|| self.reach());
        }
        self.marks.push_back((mark, position));
    }

    /// Where the next one stands.
    pub(crate) fn next(&self) -> Option<MediaTime> {
        self.marks.front().map(|(_, position)| *position)
    }

    /// Whether one stands beyond `from`, and not beyond `to`.
    pub(crate) fn is_one_within(&self, from: MediaTime, to: MediaTime) -> bool {
        self.marks.iter().map(|(_, position)| *position).take_while(|at| *at <= to).any(|at| at > from)
    }

    /// The listener is at the next one.
    pub(crate) fn reach(&mut self) -> Option<u32> {
        self.marks.pop_front().map(|(mark, _)| mark)
    }

    /// What stands before them will not be heard.
    pub(crate) fn void(&mut self) {
        self.voided.extend(self.marks.drain(..).map(|(mark, _)| mark));
    }

    /// One that was voided, once.
    pub(crate) fn take_voided(&mut self) -> Option<u32> {
        self.voided.pop_front()
    }

    /// `span` of what has still to leave, behind `sent`, will not.
    pub(crate) fn shorten(&mut self, sent: MediaTime, span: MediaTime) {
        for (_, position) in self.marks.iter_mut().filter(|(_, position)| *position > sent) {
            *position = position.saturating_sub(span).max(sent);
        }
    }
}
