//! What the bot says: from packets, as they come, to utterances.

use bytes::Bytes;
use patchbay_core::{Event, Format, Frame, Instant, MediaTime, Outbox, Payload, UtteranceId, opus_duration};

use super::{MUTED, PAUSE};

/// The bot's side of the conversation.
pub(super) struct Speech {
    format: Format,
    /// The number of the next utterance.
    next: u32,
    current: Option<Utterance>,
    newest: Option<UtteranceId>,
    muted: Option<Muted>,
    /// The bot itself broke off: nothing of what comes next is muted.
    withdrawn: bool,
    /// A frame that was taken, and not given yet.
    taken: Option<Frame>,
}

/// The utterance in progress.
struct Utterance {
    id: UtteranceId,
    /// Where its next audio begins.
    pts: MediaTime,
    last_at: Instant,
    /// When all of it will have played, if it began at once.
    dry_at: Instant,
}

impl Utterance {
    fn ends_at(&self) -> Instant {
        (self.last_at + PAUSE).max(self.dry_at)
    }
}

/// The rest of an utterance that was cut.
#[derive(Clone, Copy)]
struct Muted {
    until: Instant,
    /// A pause up to here ends it too.
    quiet_at: Instant,
}

/// The name of an utterance.
pub(super) fn item_of(utterance: UtteranceId) -> Box<str> {
    format!("utterance_{}", utterance.0).into()
}

impl Speech {
    pub(super) fn new(format: Format, next: u32) -> Self {
        Self { format, next, current: None, newest: None, muted: None, withdrawn: false, taken: None }
    }

    /// Another format from here on; the utterance before has ended.
    pub(super) fn renegotiate(&mut self, format: Format) {
        self.format = format;
    }

    /// Takes audio, which is to be given with [`give`](Self::give). The utterance that it begins, if it begins one.
    pub(super) fn take(&mut self, audio: Bytes, now: Instant, out: &mut Outbox) -> Option<UtteranceId> {
        let Some(span) = span_of(self.format, &audio) else {
            out.event(Event::MessageDropped { reason: "bad_audio" });
            return None;
        };
        self.withdrawn = false;
        if self.is_muted(now) {
            return None;
        }
        let begun = self.current.is_none().then(|| self.begin(now, out));
        let utterance = self.current.as_mut()?;
        let frame = Frame::speech(self.format, Payload::Raw(audio), utterance.pts, utterance.id);
        utterance.pts += span;
        utterance.last_at = now;
        utterance.dry_at = utterance.dry_at.max(now) + span;
        self.taken = Some(frame);
        begun
    }

    pub(super) fn give(&mut self, out: &mut Outbox) {
        if let Some(frame) = self.taken.take() {
            out.event(Event::AudioReceived(frame));
        }
    }

    fn begin(&mut self, now: Instant, out: &mut Outbox) -> UtteranceId {
        let id = UtteranceId(self.next);
        self.next = self.next.wrapping_add(1);
        self.newest = Some(id);
        self.current = Some(Utterance { id, pts: MediaTime::ZERO, last_at: now, dry_at: now });
        out.event(Event::ResponseStarted);
        out.event(Event::UtteranceStarted { utterance: id, item: item_of(id) });
        id
    }

    fn is_muted(&mut self, now: Instant) -> bool {
        self.muted = self.muted.filter(|muted| now < muted.until && now < muted.quiet_at);
        if let Some(muted) = &mut self.muted {
            muted.quiet_at = now + PAUSE;
        }
        self.muted.is_some()
    }

    /// Ends the utterance in progress. False when there was none.
    pub(super) fn end(&mut self, is_whole: bool, out: &mut Outbox) -> bool {
        let Some(utterance) = self.current.take() else { return false };
        if is_whole {
            out.event(Event::UtteranceEnded { utterance: utterance.id });
        }
        out.event(Event::ResponseEnded { completed: is_whole });
        true
    }

    /// The bot breaks off.
    pub(super) fn withdraw(&mut self, out: &mut Outbox) {
        self.end(false, out);
        (self.withdrawn, self.muted) = (true, None);
    }

    /// Somebody else cut what is being said. False when nothing was.
    pub(super) fn cut(&mut self, now: Instant, out: &mut Outbox) -> bool {
        let Some(last_at) = self.current.as_ref().map(|utterance| utterance.last_at) else { return false };
        self.end(false, out);
        if !self.withdrawn {
            self.muted = Some(Muted { until: now + MUTED, quiet_at: last_at + PAUSE });
        }
        true
    }

    pub(super) fn is_speaking(&self) -> bool {
        self.current.is_some()
    }

    /// Whether `utterance` is the one in progress.
    pub(super) fn is_of(&self, utterance: UtteranceId) -> bool {
        self.current.as_ref().is_some_and(|current| current.id == utterance)
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.ends_at().is_some_and(|at| at <= now)
    }

    /// When the utterance in progress ends if nothing more comes.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.current.as_ref().map(Utterance::ends_at)
    }

    /// The last utterance that began.
    pub(super) fn newest(&self) -> Option<UtteranceId> {
        self.newest
    }

    /// The number of the next utterance.
    pub(super) fn next(&self) -> u32 {
        self.next
    }
}

/// How long audio plays; `None` for what is none: an Opus packet that cannot be, half a sample.
pub(super) fn span_of(format: Format, audio: &Bytes) -> Option<MediaTime> {
    match format.sample_bytes() {
        None => opus_duration(audio),
        Some(sample) => format.duration_of(audio.len()).filter(|_| !audio.is_empty() && audio.len().is_multiple_of(sample)),
    }
}
