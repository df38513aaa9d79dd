//! What the bot says: one piece of speech after the other, as far as its messages tell them apart.
//!
//! Twilio's protocol has no word for the end of an answer. A bot sends faster than real time, or just in time; so a piece
//! has ended when it would have been played, and no more of it came for a moment.

use std::time::Duration;

use patchbay_core::{Event, Format, Frame, Instant, MediaTime, Outbox, Payload, UtteranceId};

use crate::words::Words;

/// How long after it ran dry a piece of speech may still go on.
const PAUSE: Duration = Duration::from_millis(200);
/// Speech that does not fill its last 20 ms ends a little before it runs dry, unless more just came: what is left over then
/// leaves with the rest of it, and not a pause later.
const ODD_END: Duration = Duration::from_millis(60);

/// The bot's side of the talk.
#[derive(Debug)]
pub(super) struct Speech {
    /// The number of the next piece.
    next: u32,
    current: Option<Piece>,
    /// What clients of the realtime API are told.
    words: Option<Words>,
}

#[derive(Debug)]
struct Piece {
    utterance: UtteranceId,
    /// Where the next audio of it begins.
    pts: MediaTime,
    /// When all that came of it will have been played.
    dry_at: Instant,
    /// When more of it came last.
    came_at: Instant,
    /// The listener will hear no more of it.
    is_cut: bool,
}

impl Piece {
    fn ends_at(&self) -> Instant {
        if self.is_cut || self.pts.ticks().is_multiple_of(MediaTime::FRAME.ticks()) {
            return self.dry_at + PAUSE;
        }
        (self.came_at + ODD_END).max(self.dry_at.saturating_sub(ODD_END))
    }
}

impl Speech {
    pub(super) fn new(relays: bool) -> Self {
        Self { next: 0, current: None, words: relays.then(|| Words::of("bot")) }
    }

    /// More audio has come.
    pub(super) fn take(&mut self, payload: Payload, now: Instant, out: &mut Outbox) {
        if self.current.is_none() {
            self.begin(now, out);
        }
        let Some(piece) = &mut self.current else { return };
        let frame = Frame::speech(Format::PCMU, payload, piece.pts, piece.utterance);
        piece.pts = frame.end();
        piece.dry_at = piece.dry_at.max(now) + frame.duration;
        piece.came_at = now;
        out.event(Event::AudioReceived(frame));
    }

    fn begin(&mut self, now: Instant, out: &mut Outbox) {
        let utterance = UtteranceId(self.next);
        self.next = self.next.wrapping_add(1);
        self.current = Some(Piece { utterance, pts: MediaTime::ZERO, dry_at: now, came_at: now, is_cut: false });
        let item = Words::of("bot").item_of(utterance).into();
        out.event(Event::ResponseStarted);
        out.event(Event::UtteranceStarted { utterance, item });
        self.tell(|words, out| words.begun(utterance, "", out), out);
    }

    /// The piece in progress is complete, or is not to be heard to its end.
    pub(super) fn end(&mut self, completed: bool, out: &mut Outbox) {
        if let Some(Piece { utterance, .. }) = self.current.take() {
            out.event(Event::UtteranceEnded { utterance });
            out.event(Event::ResponseEnded { completed });
            let status = if completed { "completed" } else { "cancelled" };
            self.tell(|words, out| words.ended(status, out), out);
        }
    }

    /// The listener will hear no more of what came: the piece goes on only as long as more comes of it without a pause.
    pub(super) fn cut(&mut self, now: Instant) {
        if let Some(piece) = &mut self.current {
            (piece.dry_at, piece.is_cut) = (piece.dry_at.min(now), true);
        }
    }

    /// The caller has the floor: clients stop playing by that word.
    pub(super) fn interrupted(&mut self, at: MediaTime, out: &mut Outbox) {
        self.tell(
            |words, out| {
                words.speech_started(at, out);
                words.speech_stopped(at, out);
            },
            out,
        );
    }

    pub(super) fn tell(&mut self, say: impl FnOnce(&mut Words, &mut Outbox), out: &mut Outbox) {
        if let Some(words) = &mut self.words {
            say(words, out);
        }
    }

    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.end(true, out);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.current.as_ref().map(Piece::ends_at)
    }
}
