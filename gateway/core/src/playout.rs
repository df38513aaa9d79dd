//! Egress queue of one listener, and its ledger. Two disciplines: *Live* drops its oldest, *Speech* drops nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::placed::Placed;
use crate::play_head::PlayHead;
use crate::{Cut, Frame, Instant, MarkId, MediaTime, Pacing, UtteranceId};

/// How often a listener that echoes marks is asked where it is.
const MARK_EVERY: MediaTime = MediaTime::from_ms(200);

/// How long after the end of playback an echo may still come.
const ECHO_GRACE: Duration = Duration::from_secs(1);

/// How late a listener that echoes no marks may still say how much it played.
const REPORT_MAX: Duration = Duration::from_secs(30);

/// Beyond a *Speech* queue's bound the source is not read, but what it had sent already still arrives.
const OVERRUN: MediaTime = MediaTime::from_ms(60_000);

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unqueued {
    /// Its utterance was cut: it is late.
    #[error("utterance was cut")]
    Tombstoned,
    /// The source sent a minute more than the bound, though it was not read.
    #[error("queue is full")]
    Full,
}

/// Egress queue of one listener: orders, paces, and knows what was received, sent and heard.
#[derive(Debug)]
pub struct Playout {
    pacing: Pacing,
    echoes_marks: bool,
    queue: VecDeque<Frame>,
    queued: MediaTime,
    dropped: MediaTime,
    head: PlayHead,
    ledger: Ledger,
    /// Marks sent and not echoed, with their positions.
    marks: VecDeque<(MarkId, MediaTime)>,
    next_mark: MarkId,
    /// Position of the last mark asked for.
    marked: MediaTime,
    /// The speaker's own marks.
    placed: Placed,
    /// Every utterance up to this one was cut.
    tombstone: Option<UtteranceId>,
    newest: Option<UtteranceId>,
    /// The newest utterance has not ended.
    speaking: bool,
}

impl Playout {
    /// An empty queue. `echoes_marks`: the listener confirms positions.
    #[must_use]
    pub fn new(pacing: Pacing, echoes_marks: bool) -> Self {
        Self {
            pacing,
            echoes_marks,
            queue: VecDeque::new(),
            queued: MediaTime::ZERO,
            dropped: MediaTime::ZERO,
            head: PlayHead::default(),
            ledger: Ledger::default(),
            marks: VecDeque::new(),
            next_mark: MarkId { generation: 0, seq: 0 },
            marked: MediaTime::ZERO,
            placed: Placed::default(),
            tombstone: None,
            newest: None,
            speaking: false,
        }
    }

    /// The listener was replaced by another: nothing that was sent counts as still playing.
    pub fn relisten(&mut self, pacing: Pacing, echoes_marks: bool, now: Instant) {
        (self.pacing, self.echoes_marks) = (pacing, echoes_marks);
        self.void_marks();
        self.head.clear(now);
    }

    /// Drops the oldest of a *Live* queue past `latency_max`, counted in [`take_dropped`](Self::take_dropped); *Speech*
    /// is not touched. Call it when all that may leave has left: a hole's silence and the speech behind it come at once,
    /// and are late only if they have to stay.
    pub fn drop_late(&mut self, latency_max: MediaTime) {
        if !matches!(self.pacing, Pacing::Live { .. }) {
            return;
        }
        while self.queued > latency_max && self.queue.len() > 1 {
            let oldest = self.pop().expect("two frames are queued");
            self.dropped += oldest.duration;
        }
    }

    /// Queues a frame. A *Live* queue is bounded by [`drop_late`](Self::drop_late).
    ///
    /// # Errors
    /// [`Unqueued`]: the frame is gone.
    pub fn enqueue(&mut self, frame: Frame) -> Result<(), Unqueued> {
        if let Some(utterance) = frame.utterance {
            if self.tombstone.is_some_and(|dead| utterance <= dead) {
                return Err(Unqueued::Tombstoned);
            }
            self.newest = self.newest.max(Some(utterance));
        }
        self.speaking = frame.utterance.is_some();
        match self.pacing {
            Pacing::Live { .. } => self.push(frame),
            Pacing::Speech { queue_max, .. } => {
                if self.queued > queue_max + OVERRUN {
                    return Err(Unqueued::Full);
                }
                if let Some(utterance) = frame.utterance {
                    self.ledger.received(utterance, frame.duration);
                }
                self.push(frame);
            }
        }
        Ok(())
    }

    /// All of `utterance` has been queued.
    pub fn utterance_ended(&mut self, utterance: UtteranceId) {
        self.ledger.ended(utterance);
        self.speaking &= self.newest != Some(utterance);
    }

    /// The next frame that may leave now.
    pub fn poll_frame(&mut self, now: Instant) -> Option<Frame> {
        if self.due_at()? > now {
            return None;
        }
        let frame = self.pop()?;
        if let Pacing::Speech { .. } = self.pacing {
            if !self.echoes_marks {
                self.ledger.settle(self.head.position(now.saturating_sub(REPORT_MAX)));
            }
            let position = self.head.sent();
            self.head.send(frame.duration, now);
            if let Some(utterance) = frame.utterance {
                self.ledger.sent(utterance, position, frame.duration);
            }
        }
        Some(frame)
    }

    /// A mark to send after the frames polled so far, when one is due: about every 200 ms, at the end of speech, and where
    /// the speaker put one of its own.
    pub fn poll_mark(&mut self) -> Option<MarkId> {
        let since = self.head.sent().saturating_sub(self.marked);
        let at_end = self.queue.is_empty() && !self.speaking && !since.is_zero();
        let at_placed = self.placed.is_one_within(self.marked, self.head.sent());
        if !self.echoes_marks || !(since >= MARK_EVERY || at_end || at_placed) {
            return None;
        }
        let mark = self.next_mark;
        self.next_mark.seq = self.next_mark.seq.wrapping_add(1);
        self.marked = self.head.sent();
        self.marks.push_back((mark, self.marked));
        Some(mark)
    }

    /// When [`poll_frame`](Self::poll_frame) next has something.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        let front = self.queue.front()?;
        match self.pacing {
            Pacing::Live { .. } => Some(Instant::ZERO),
            Pacing::Speech { lead, .. } => {
                // Due when the listener has at most `lead` ahead, this frame included; a longer frame when it is dry.
                let room = lead.saturating_sub(front.duration);
                Some(self.head.dry_at().saturating_sub(room.to_duration()))
            }
        }
    }

    /// The listener echoed `mark`. One that a cut voided, or that we never sent, proves nothing and gives `false`.
    pub fn mark_reached(&mut self, mark: MarkId, now: Instant) -> bool {
        let Some(index) = self.marks.iter().position(|(sent, _)| *sent == mark) else { return false };
        let position = self.marks[index].1;
        self.marks.drain(..=index);
        self.head.confirm(position, now);
        // An echo that comes too early proves no more than the clock allows.
        self.ledger.settle(position.min(self.head.position(now)));
        true
    }

    /// The speaker puts a mark of its own behind all that it has said so far.
    pub fn place_mark(&mut self, mark: u32) {
        self.placed.place(mark, self.head.sent() + self.queued);
    }

    /// The next of the speaker's marks that is over, and whether the listener heard all before it.
    pub fn poll_placed(&mut self, now: Instant) -> Option<(u32, bool)> {
        if let Some(mark) = self.placed.take_voided() {
            return Some((mark, false));
        }
        self.placed_at().filter(|at| *at <= now)?;
        self.placed.reach().map(|mark| (mark, true))
    }

    /// When the listener is at the speaker's next mark: once its own echo from there has come, or a second after the clock
    /// says so. Nothing while what stands before the mark has still to leave.
    #[must_use]
    pub fn placed_at(&self) -> Option<Instant> {
        let position = self.placed.next()?;
        if let Pacing::Live { .. } = self.pacing {
            return self.queue.is_empty().then_some(Instant::ZERO);
        }
        if position > self.head.sent() {
            return None;
        }
        let played = self.head.played_at(position) + self.head.delay();
        let is_unconfirmed = self.marks.front().is_some_and(|(_, unconfirmed)| *unconfirmed <= position);
        Some(if is_unconfirmed { played + ECHO_GRACE } else { played })
    }

    /// The listener says that it has played `so_far` of `utterance`. Like an echo, it moves the head downward only.
    pub fn played(&mut self, utterance: UtteranceId, so_far: MediaTime, now: Instant) {
        if let Some(position) = self.ledger.position_of(utterance, so_far) {
            self.head.confirm(position, now);
        }
    }

    /// Like [`cut`](Self::cut), by the listener itself, who says that it had played `heard` of `utterance`. That can only be
    /// less than we believe.
    pub fn cut_by_listener(&mut self, utterance: UtteranceId, heard: MediaTime, now: Instant) -> Vec<Cut> {
        let standing = self.ledger.standing(utterance);
        let mut cuts = self.cut(now);
        match (cuts.iter_mut().find(|cut| cut.utterance == utterance), standing) {
            (Some(cut), _) => cut.heard = cut.heard.min(heard),
            // By the clock it was wholly heard.
            (None, Some((sent, received))) if heard < received => {
                cuts.insert(0, Cut { utterance, heard: heard.min(sent), sent, received });
            }
            (None, _) => {}
        }
        cuts
    }

    /// Interrupts: drops the queue, tombstones every utterance so far, voids the marks. Returns what was not wholly
    /// heard. The caller must now silence the listener.
    pub fn cut(&mut self, now: Instant) -> Vec<Cut> {
        let cuts = self.ledger.cut(self.heard(now));
        self.queue.clear();
        self.queued = MediaTime::ZERO;
        self.placed.void();
        self.tombstone = self.newest;
        self.speaking = false;
        self.void_marks();
        self.head.clear(now);
        cuts
    }

    /// Drops queued frames that belong to no utterance (prompts): real speech has come.
    pub fn drop_prompts(&mut self) {
        let before = self.queued;
        self.queue.retain(|f| f.utterance.is_some());
        self.queued = self.queue.iter().fold(MediaTime::ZERO, |sum, f| sum + f.duration);
        self.placed.shorten(self.head.sent(), before.saturating_sub(self.queued));
    }

    /// Whether the listener has, or will get, something to play. One that does not echo its marks is believed to be
    /// done a second after the clock says so.
    #[must_use]
    pub fn is_playing(&self, now: Instant) -> bool {
        let unconfirmed = !self.marks.is_empty() && now < self.head.dry_at() + ECHO_GRACE;
        !self.queue.is_empty() || unconfirmed || !self.head.ahead(now).is_zero()
    }

    /// When all that was sent will have been played, by the clock.
    #[must_use]
    pub fn dry_at(&self) -> Instant {
        self.head.dry_at()
    }

    /// When the ideal listener, who has audio as soon as it is sent, begins to play the last `span` that was sent.
    #[must_use]
    pub fn plays_at(&self, span: MediaTime, now: Instant) -> Instant {
        match self.pacing {
            Pacing::Live { .. } => now,
            Pacing::Speech { .. } => self.head.plays_at(self.head.sent().saturating_sub(span)),
        }
    }

    /// When the ideal listener had played what the real one has certainly heard.
    #[must_use]
    pub fn heard_until(&self, now: Instant) -> Instant {
        match self.pacing {
            Pacing::Live { .. } => now,
            Pacing::Speech { .. } => self.head.plays_at(self.heard(now)),
        }
    }

    /// How much later than the ideal listener the real one plays, as last measured.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.head.delay()
    }

    /// Whether the source should not be read for now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.pacing, Pacing::Speech { queue_max, .. } if self.queued > queue_max)
    }

    /// Whether the listener keeps what it has not played, as much as there is: then nothing need wait here.
    #[must_use]
    pub fn is_kept_by_listener(&self) -> bool {
        matches!(self.pacing, Pacing::Speech { lead, queue_max } if lead >= queue_max)
    }

    /// Queued audio.
    #[must_use]
    pub fn queued(&self) -> MediaTime {
        self.queued
    }

    /// Live audio dropped since the last question.
    pub fn take_dropped(&mut self) -> MediaTime {
        std::mem::take(&mut self.dropped)
    }

    /// What the listener has certainly heard: the head's estimate, but not past a mark that was not echoed.
    fn heard(&self, now: Instant) -> MediaTime {
        let head = self.head.position(now);
        self.marks.front().map_or(head, |(_, unconfirmed)| head.min(*unconfirmed))
    }

    fn void_marks(&mut self) {
        self.marks.clear();
        self.next_mark = MarkId { generation: self.next_mark.generation.wrapping_add(1), seq: 0 };
        self.marked = self.head.sent();
    }

    fn push(&mut self, frame: Frame) {
        self.queued += frame.duration;
        self.queue.push_back(frame);
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.queue.pop_front()?;
        self.queued = self.queued.saturating_sub(frame.duration);
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;
    use bytes::Bytes;
    use proptest::prelude::*;

    const LEAD: MediaTime = MediaTime::from_ms(300);
    const SPEECH: Pacing = Pacing::Speech { lead: LEAD, queue_max: MediaTime::from_ms(120_000) };

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }
    const fn ms(ms: u64) -> MediaTime {
        MediaTime::from_ms(ms)
    }
    fn frame(utterance: u32, span_ms: usize) -> Frame {
        let audio = crate::Payload::Raw(Bytes::from(vec![0xFF; span_ms * 8]));
        Frame::speech(Format::PCMU, audio, MediaTime::ZERO, UtteranceId(utterance))
    }
    fn live(span_ms: usize) -> Frame {
        Frame { utterance: None, ..frame(0, span_ms) }
    }
    fn drain(playout: &mut Playout, now: Instant) -> MediaTime {
        std::iter::from_fn(|| playout.poll_frame(now)).fold(MediaTime::ZERO, |sum, f| sum + f.duration)
    }

    #[test]
    fn live_audio_drops_its_oldest() {
        let mut playout = Playout::new(Pacing::Live { latency_max: ms(200) }, false);
        for n in 0..15 {
            playout.enqueue(Frame { pts: ms(n * 20), ..live(20) }).unwrap();
        }
        playout.drop_late(ms(200));
        assert_eq!(playout.queued(), ms(200));
        assert_eq!(playout.take_dropped(), ms(100));
        assert_eq!(playout.poll_frame(at(0)).unwrap().pts, ms(100));
    }

    #[test]
    fn speech_leaves_at_most_the_lead_ahead_and_drops_nothing() {
        let mut playout = Playout::new(SPEECH, true);
        for _ in 0..100 {
            playout.enqueue(frame(1, 100)).unwrap();
        }
        assert_eq!(drain(&mut playout, at(0)), LEAD);
        assert_eq!(playout.due_at(), Some(at(100)));
        for step in 1..=10 {
            assert_eq!(drain(&mut playout, at(step * 100)), ms(100));
        }
        assert_eq!(playout.queued(), ms(10_000 - 1300));
    }

    #[test]
    fn a_mark_is_asked_for_every_200_ms_and_at_the_end() {
        let mut playout = Playout::new(SPEECH, true);
        let mut marks = 0;
        for _ in 0..5 {
            playout.enqueue(frame(1, 50)).unwrap();
            playout.poll_frame(at(0)).unwrap();
            marks += u32::from(playout.poll_mark().is_some());
        }
        assert_eq!(marks, 1, "200 of 250 ms");
        playout.utterance_ended(UtteranceId(1));
        assert!(playout.poll_mark().is_some(), "the end");
        assert!(playout.poll_mark().is_none());
    }

    #[test]
    fn late_frames_of_a_cut_utterance_fall_on_its_tombstone() {
        let mut playout = Playout::new(SPEECH, true);
        playout.enqueue(frame(1, 100)).unwrap();
        playout.enqueue(frame(2, 100)).unwrap();
        playout.cut(at(0));
        assert_eq!(playout.enqueue(frame(1, 100)), Err(Unqueued::Tombstoned));
        assert_eq!(playout.enqueue(frame(2, 100)), Err(Unqueued::Tombstoned));
        assert_eq!(playout.enqueue(frame(3, 100)), Ok(()));
    }

    #[test]
    fn marks_echoed_because_of_a_clear_are_not_heard() {
        let mut playout = Playout::new(SPEECH, true);
        playout.enqueue(frame(1, 300)).unwrap();
        playout.poll_frame(at(0)).unwrap();
        let mark = playout.poll_mark().unwrap();
        assert_eq!(playout.cut(at(100))[0].heard, ms(100));
        assert!(!playout.mark_reached(mark, at(110)), "voided at the cut");
        playout.enqueue(frame(2, 300)).unwrap();
        playout.poll_frame(at(200)).unwrap();
        assert_ne!(playout.poll_mark(), Some(mark));
        assert!(!playout.mark_reached(mark, at(210)), "it is not the first mark of the new generation");
        assert_eq!(playout.cut(at(250))[0].heard, ms(50));
    }

    #[test]
    fn nothing_counts_as_heard_past_a_mark_that_was_not_echoed() {
        let mut playout = Playout::new(SPEECH, true);
        for _ in 0..3 {
            playout.enqueue(frame(1, 100)).unwrap();
            playout.poll_frame(at(0));
            playout.poll_mark();
        }
        assert_eq!(
            playout.cut(at(5000))[0].heard,
            ms(200),
            "the line is frozen: the mark at 200 ms never came"
        );
    }

    /// A listener that keeps what it has not played.
    const KEPT: Pacing = Pacing::Speech { lead: ms(120_000), queue_max: ms(120_000) };

    #[test]
    fn what_a_listener_says_of_its_own_cut_lowers_what_it_heard_and_never_raises_it() {
        for (reported, heard) in [(ms(200), ms(200)), (ms(9_000), ms(400))] {
            let mut playout = Playout::new(KEPT, false);
            playout.enqueue(frame(1, 1_000)).unwrap();
            drain(&mut playout, at(0));
            let cuts = playout.cut_by_listener(UtteranceId(1), reported, at(400));
            assert_eq!(
                cuts,
                [Cut { utterance: UtteranceId(1), heard, sent: ms(1_000), received: ms(1_000) }]
            );
            assert_eq!(playout.cut_by_listener(UtteranceId(1), ms(1), at(400)), [], "once");
        }
    }

    #[test]
    fn a_listener_that_lags_may_cut_what_the_clock_says_it_heard() {
        let mut playout = Playout::new(KEPT, false);
        playout.enqueue(frame(1, 500)).unwrap();
        playout.utterance_ended(UtteranceId(1));
        drain(&mut playout, at(0));
        let cuts = playout.cut_by_listener(UtteranceId(1), ms(300), at(700));
        assert_eq!(cuts.first().map(|cut| cut.heard), Some(ms(300)));
    }

    #[test]
    fn a_report_of_what_was_played_holds_the_head_back() {
        let mut playout = Playout::new(KEPT, false);
        playout.enqueue(frame(1, 1_000)).unwrap();
        drain(&mut playout, at(0));
        playout.played(UtteranceId(1), ms(100), at(300));
        assert_eq!(playout.cut(at(500))[0].heard, ms(300));
    }

    #[test]
    fn accounts_of_a_listener_without_marks_are_closed_in_time() {
        let mut playout = Playout::new(KEPT, false);
        for n in 0..100 {
            playout.enqueue(frame(n, 100)).unwrap();
            playout.utterance_ended(UtteranceId(n));
            drain(&mut playout, at(u64::from(n) * 1_000));
        }
        let cuts = playout.cut_by_listener(UtteranceId(50), ms(50), at(100_000));
        assert_eq!(cuts, [], "of half a minute ago");
    }

    fn placed(playout: &mut Playout, now: Instant) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| playout.poll_placed(now)).collect()
    }

    #[test]
    fn a_speakers_mark_is_over_when_all_before_it_has_played() {
        let mut playout = Playout::new(KEPT, false);
        playout.place_mark(1);
        assert_eq!(placed(&mut playout, at(0)), [(1, true)], "nothing stands before it");
        playout.enqueue(frame(1, 500)).unwrap();
        playout.place_mark(2);
        playout.enqueue(frame(1, 500)).unwrap();
        playout.place_mark(3);
        assert_eq!(playout.placed_at(), None, "nothing has left");
        drain(&mut playout, at(100));
        assert_eq!(playout.placed_at(), Some(at(600)));
        assert_eq!(placed(&mut playout, at(599)), []);
        assert_eq!(placed(&mut playout, at(600)), [(2, true)]);
        playout.played(UtteranceId(1), ms(600), at(900));
        assert_eq!(playout.placed_at(), Some(at(1_300)), "the listener is 200 ms late");
    }

    #[test]
    fn a_speakers_mark_waits_for_the_echo_of_a_listener_that_echoes_but_not_for_ever() {
        let mut playout = Playout::new(SPEECH, true);
        playout.enqueue(frame(1, 60)).unwrap();
        playout.place_mark(7);
        playout.poll_frame(at(0)).unwrap();
        let mark = playout.poll_mark().expect("one of ours stands there too");
        assert_eq!(placed(&mut playout, at(200)), []);
        assert_eq!(playout.placed_at(), Some(at(1_060)));
        assert!(playout.mark_reached(mark, at(210)));
        assert_eq!(placed(&mut playout, at(210)), [(7, true)]);
    }

    #[test]
    fn speakers_marks_beyond_a_cut_are_void_and_one_behind_a_dropped_prompt_is_not_late() {
        let mut playout = Playout::new(SPEECH, false);
        playout.enqueue(live(1_000)).unwrap();
        playout.place_mark(1);
        playout.drop_prompts();
        assert_eq!(placed(&mut playout, at(0)), [(1, true)]);
        playout.enqueue(frame(1, 100)).unwrap();
        playout.place_mark(2);
        playout.cut(at(10));
        assert_eq!(placed(&mut playout, at(10)), [(2, false)]);
    }

    #[test]
    fn a_full_queue_asks_for_the_source_not_to_be_read() {
        let mut playout = Playout::new(Pacing::Speech { lead: LEAD, queue_max: ms(1000) }, true);
        for _ in 0..11 {
            playout.enqueue(frame(1, 100)).unwrap();
        }
        assert!(playout.is_full());
        drain(&mut playout, at(0));
        assert!(!playout.is_full());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Receive { new: bool, frames: usize },
        Wait(u64),
        Echo,
        EchoAll,
        Foreign(u32),
        End,
        Cut,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<bool>(), 1..40_usize).prop_map(|(new, frames)| Step::Receive { new, frames }),
            5 => (0..900_u64).prop_map(Step::Wait),
            3 => Just(Step::Echo),
            1 => Just(Step::EchoAll),
            1 => (0..50_u32).prop_map(Step::Foreign),
            1 => Just(Step::End),
            1 => Just(Step::Cut),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Whatever comes in whatever order: `heard ≤ sent ≤ received`, heard is never more than time allows, and
        /// nothing of a cut utterance leaves after the cut.
        #[test]
        fn two_thousand_schedules_keep_the_ledger(steps in prop::collection::vec(step(), 1..60)) {
            let mut playout = Playout::new(SPEECH, true);
            let (mut now, mut current, mut dead) = (at(1), 1_u32, 0_u32);
            let mut first_sent: std::collections::BTreeMap<u32, (Instant, MediaTime)> = Default::default();
            let mut marks = Vec::new();
            for step in steps {
                match step {
                    Step::Receive { new, frames } => {
                        current += u32::from(new || current <= dead);
                        for _ in 0..frames {
                            prop_assert!(playout.enqueue(frame(current, 20)).is_ok());
                        }
                    }
                    Step::Wait(ms) => now = now + std::time::Duration::from_millis(ms),
                    Step::Echo => if !marks.is_empty() { playout.mark_reached(marks.remove(0), now); },
                    Step::EchoAll => for mark in marks.drain(..) { playout.mark_reached(mark, now); },
                    Step::Foreign(seq) => { playout.mark_reached(MarkId { generation: 9999, seq }, now); }
                    Step::End => playout.utterance_ended(UtteranceId(current)),
                    Step::Cut => {
                        for cut in playout.cut(now) {
                            prop_assert!(cut.heard <= cut.sent && cut.sent <= cut.received, "{cut:?}");
                            let (since, _) = first_sent.get(&cut.utterance.0).copied().unwrap_or((now, MediaTime::ZERO));
                            let possible = MediaTime::from_duration(now.saturating_since(since));
                            prop_assert!(cut.heard <= possible, "heard {cut:?} in {possible:?}");
                        }
                        dead = current;
                    }
                }
                while let Some(sent) = playout.poll_frame(now) {
                    let utterance = sent.utterance.unwrap().0;
                    prop_assert!(utterance > dead, "an utterance that was cut left after the cut");
                    first_sent.entry(utterance).or_insert((now, MediaTime::ZERO)).1 += sent.duration;
                    marks.extend(playout.poll_mark());
                }
                prop_assert!(playout.due_at().is_none_or(|due| due > now), "a frame that is due has left");
            }
        }
    }
}
