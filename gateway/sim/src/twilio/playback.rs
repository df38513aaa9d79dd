//! What the caller hears: Twilio's playback buffer with a play head of its own, and the log of what became of it.

use std::collections::VecDeque;

use bytes::Bytes;
use patchbay_core::{Format, MediaTime};
use serde::Serialize;

/// Silence up to this between two pieces of audio is a gap in continuous speech; more is a pause between two speeches.
const PAUSE: MediaTime = MediaTime::from_ms(1_000);

/// All that happened to the audio of one stream. Times are since the stream was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Each `media` message, in order of arrival.
    pub media: Vec<Heard>,
    /// Each `clear`.
    pub clears: Vec<Clear>,
    /// Each echoed mark, in order of the echo.
    pub marks: Vec<Echo>,
    /// Silence of more than 20 ms and at most a second between two pieces of speech, if no `clear` made it.
    pub gaps: Vec<Span>,
    /// What the caller said.
    pub said: Vec<Span>,
    /// When the first audio began to play.
    pub first_audio: Option<MediaTime>,
    /// Error and warning codes that Twilio would log: 31951 once a stream, 31924, 31921.
    pub warnings: Vec<u32>,
    /// Messages of ours that Twilio drops.
    pub invalid: u64,
    /// Audio played, in bytes.
    pub played_bytes: u64,
    /// Ordinals, from 0, of the script's steps that waited in vain.
    pub missed: Vec<usize>,
    /// How the stream ended.
    pub ending: Option<(MediaTime, Ending)>,
}

/// What became of one `media` message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// When it came.
    pub arrived: MediaTime,
    /// Its audio.
    pub bytes: usize,
    /// When it began to play, if it did.
    pub from: Option<MediaTime>,
    /// When it ended, or as far as it played.
    pub to: MediaTime,
    /// What of it was discarded by a `clear`.
    pub discarded_bytes: usize,
}

/// One `clear`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clear {
    /// When it came.
    pub at: MediaTime,
    /// Audio that will not be heard.
    pub discarded_bytes: usize,
    /// Audio of the speech in progress that had been heard: the true point of truncation.
    pub heard: MediaTime,
}

/// One echoed mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Echo {
    /// As it was sent.
    pub name: Box<str>,
    /// When it was echoed.
    pub at: MediaTime,
    /// Whether a `clear` was the reason, so that the echo says nothing about playback.
    pub because_of_clear: bool,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Its begin.
    pub from: MediaTime,
    /// Its end.
    pub to: MediaTime,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The caller hung up.
    HungUp,
    /// The script broke the connection.
    Reset,
    /// The gateway closed the socket, or it was lost.
    Closed {
        /// Close code.
        code: u16,
    },
    /// The gateway did not accept the stream.
    Refused,
}

enum Queued {
    Audio { bytes: Bytes, media: usize },
    Mark(Box<str>),
}

/// The FIFO buffer and its play head.
pub(super) struct Playback {
    format: Format,
    queue: VecDeque<Queued>,
    /// Time up to which everything has been played.
    head: MediaTime,
    /// Where the last audio ended; speech goes on if more comes within `PAUSE`.
    quiet_since: Option<MediaTime>,
    /// Audio played of the speech in progress.
    spoken: MediaTime,
    /// Audio as it sounded, silence included, from the opening of the stream; `None` when it is not recorded.
    timeline: Option<Vec<u8>>,
}

impl Playback {
    pub(super) fn new(format: Format, records: bool) -> Self {
        Self {
            format,
            queue: VecDeque::new(),
            head: MediaTime::ZERO,
            quiet_since: None,
            spoken: MediaTime::ZERO,
            timeline: records.then(Vec::new),
        }
    }

    pub(super) fn timeline(&self) -> &[u8] {
        self.timeline.as_deref().unwrap_or_default()
    }

    /// Audio played of the speech in progress; zero once it has been over for a second.
    pub(super) fn spoken(&self) -> MediaTime {
        if self.is_pause() { MediaTime::ZERO } else { self.spoken }
    }

    /// Since when nothing plays; `None` while something does, or before anything did.
    pub(super) fn quiet_since(&self) -> Option<MediaTime> {
        if self.is_playing() { None } else { self.quiet_since }
    }

    pub(super) fn is_playing(&self) -> bool {
        self.queue.iter().any(|queued| matches!(queued, Queued::Audio { .. }))
    }

    /// When the next mark will be reached, if nothing changes.
    pub(super) fn next_mark(&self) -> Option<MediaTime> {
        let mut at = self.head;
        for queued in &self.queue {
            match queued {
                Queued::Audio { bytes, .. } => at += self.span(bytes.len()),
                Queued::Mark(_) => return Some(at),
            }
        }
        None
    }

    /// Adds audio behind all that is queued. Call [`advance`](Self::advance) first.
    pub(super) fn enqueue(&mut self, bytes: Bytes, now: MediaTime, log: &mut Log) {
        let media = log.media.len();
        if self.timeline.is_some() {
            let bytes = bytes.len();
            log.media.push(Heard { arrived: now, bytes, from: None, to: now, discarded_bytes: 0 });
        }
        self.queue.push_back(Queued::Audio { bytes, media });
    }

    /// Adds a mark behind all that is queued. Call [`advance`](Self::advance) after.
    pub(super) fn mark(&mut self, name: Box<str>) {
        self.queue.push_back(Queued::Mark(name));
    }

    /// Drops what is queued and echoes every mark in it.
    pub(super) fn clear(&mut self, now: MediaTime, log: &mut Log, echo: &mut impl FnMut(&str)) {
        let heard = self.spoken();
        let mut discarded_bytes = 0;
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Audio { bytes, media } => {
                    discarded_bytes += bytes.len();
                    if let Some(heard) = log.media.get_mut(media) {
                        heard.discarded_bytes = bytes.len();
                    }
                }
                Queued::Mark(name) => {
                    echo(&name);
                    log.marks.push(Echo { name, at: now, because_of_clear: true });
                }
            }
        }
        log.clears.push(Clear { at: now, discarded_bytes, heard });
        self.quiet_since = None;
        self.spoken = MediaTime::ZERO;
    }

    /// Plays up to `now`, echoing the marks that are reached.
    pub(super) fn advance(&mut self, now: MediaTime, log: &mut Log, echo: &mut impl FnMut(&str)) {
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::Mark(name) => {
                    echo(&name);
                    log.marks.push(Echo { name, at: self.head, because_of_clear: false });
                }
                Queued::Audio { mut bytes, media } => {
                    let room = self.format.bytes_for(now.saturating_sub(self.head)).unwrap_or(0);
                    let played = bytes.split_to(room.min(bytes.len()));
                    self.play(&played, media, log);
                    if !bytes.is_empty() {
                        return self.queue.push_front(Queued::Audio { bytes, media });
                    }
                }
            }
        }
        self.head = now;
    }

    fn play(&mut self, bytes: &[u8], media: usize, log: &mut Log) {
        if bytes.is_empty() {
            return;
        }
        self.note_silence_before(log);
        let from = self.head;
        self.head += self.span(bytes.len());
        self.spoken += self.span(bytes.len());
        self.quiet_since = Some(self.head);
        log.first_audio.get_or_insert(from);
        log.played_bytes += bytes.len() as u64;
        if let Some(heard) = log.media.get_mut(media) {
            heard.from.get_or_insert(from);
            heard.to = self.head;
        }
        if let Some(timeline) = &mut self.timeline {
            let start = self.format.bytes_for(from).unwrap_or(0).max(timeline.len());
            timeline.resize(start, self.format.silence());
            timeline.extend_from_slice(bytes);
        }
    }

    fn note_silence_before(&mut self, log: &mut Log) {
        let Some(quiet_since) = self.quiet_since else { return };
        if self.is_pause() {
            self.spoken = MediaTime::ZERO;
        } else if self.head.saturating_sub(quiet_since) > MediaTime::FRAME {
            log.gaps.push(Span { from: quiet_since, to: self.head });
        }
    }

    fn is_pause(&self) -> bool {
        self.quiet_since.is_some_and(|since| self.head.saturating_sub(since) > PAUSE)
    }

    fn span(&self, bytes: usize) -> MediaTime {
        self.format.duration_of(bytes).unwrap_or(MediaTime::ZERO)
    }
}
