//! What comes from the peer: put in order, holes told, silence kept in step with the clock.
//!
//! A model is not isochronous, so there is no jitter buffer: what is there in order goes on at once, however late. Only a hole
//! is waited for, and briefly (reference/browser.md §1.8).

use std::collections::BTreeMap;
use std::time::Duration;

use patchbay_core::{Event, Format, Frame, Instant, MediaTime, Outbox, Packet, Payload};

use super::{clock_hz, span_of};

/// How long a missing packet is waited for, once a later one is there.
const HOLD: Duration = Duration::from_millis(50);
/// Later packets that prove a packet lost; no more ever wait.
const LATER_MAX: usize = 3;
/// A jump this far is another stream (RFC 3550 §A.1).
const JUMP: u64 = 1_000;
/// So many late packets in a row are a stream that began anew.
const LATE_MAX: u32 = 25;
/// The longest hole that is told of; a longer one is none of the audio's.
const GAP_MAX: MediaTime = MediaTime::from_ms(5_000);
/// Silence of the peer (DTX, a track taken away) after which time is told to go on; a late network is not that late.
const IDLE: Duration = Duration::from_millis(120);
/// By how much a late network may stretch the timeline before what comes late is dropped.
const STRETCH_MAX: MediaTime = MediaTime::from_ms(1_000);

/// The peer's stream.
pub(super) struct Ingress {
    format: Format,
    place: Option<Place>,
    waiting: BTreeMap<u64, Packet>,
    waiting_since: Option<Instant>,
    /// When the next frame of silence is due if nothing comes.
    fill_at: Option<Instant>,
    late: u32,
}

/// Where the stream is.
struct Place {
    /// The next sequence number.
    next: u64,
    /// Our time of its next sample.
    pts: MediaTime,
    /// Our time less the peer's, in ticks.
    shift: i128,
    stretched: MediaTime,
}

impl Ingress {
    pub(super) fn new(format: Format) -> Self {
        Self { format, place: None, waiting: BTreeMap::new(), waiting_since: None, fill_at: None, late: 0 }
    }

    /// Takes one packet, and gives what is in order.
    pub(super) fn take(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        if packet.codec != self.format.codec {
            return dropped("codec", out);
        }
        let Some(span) = span_of(self.format, &packet.payload) else { return dropped("bad_packet", out) };
        let ticks = self.ticks(packet.time);
        match &mut self.place {
            None => self.begin(packet.seq, ticks),
            Some(place) if packet.seq < place.next => {
                self.late += 1;
                let is_anew = place.next - packet.seq > JUMP || self.late > LATE_MAX;
                if !is_anew {
                    return dropped("late", out);
                }
                self.begin(packet.seq, ticks);
            }
            Some(place) if packet.seq - place.next > JUMP => self.begin(packet.seq, ticks),
            Some(_) => {}
        }
        self.late = 0;
        self.place_in_order(packet, span, now, out);
    }

    /// The usual packet is the next one, and nothing waits: it is given without a detour.
    fn place_in_order(&mut self, packet: Packet, span: MediaTime, now: Instant, out: &mut Outbox) {
        let is_next = self.place.as_ref().is_some_and(|place| place.next == packet.seq);
        if is_next {
            self.give(packet, span, now, out);
        } else {
            self.waiting.insert(packet.seq, packet);
            self.waiting_since.get_or_insert(now);
        }
        if !self.waiting.is_empty() {
            self.give_waiting(now, false, out);
        }
    }

    /// Gives what is in order; past a hole if it is too old or three later packets are there.
    fn give_waiting(&mut self, now: Instant, is_due: bool, out: &mut Outbox) {
        let mut is_due = is_due;
        while let Some(place) = &self.place
            && let Some((&first, _)) = self.waiting.first_key_value()
        {
            let gives_up = std::mem::take(&mut is_due) || self.waiting.len() >= LATER_MAX;
            if first != place.next && !gives_up {
                break;
            }
            let packet = self.waiting.remove(&first).expect("the first key is there");
            let Some(span) = span_of(self.format, &packet.payload) else { continue };
            self.give(packet, span, now, out);
            self.waiting_since = (!self.waiting.is_empty()).then_some(now);
        }
    }

    /// A stream begins, or begins anew where ours is.
    fn begin(&mut self, seq: u64, ticks: i128) {
        let pts = self.place.as_ref().map_or(MediaTime::ZERO, |place| place.pts);
        let shift = i128::from(pts.ticks()) - ticks;
        self.place = Some(Place { next: seq, pts, shift, stretched: MediaTime::ZERO });
        self.waiting.clear();
        self.waiting_since = None;
    }

    fn give(&mut self, packet: Packet, span: MediaTime, now: Instant, out: &mut Outbox) {
        let ticks = self.ticks(packet.time);
        let Some(place) = &mut self.place else { return };
        place.next = packet.seq.saturating_add(1);
        self.fill_at = Some(now + IDLE);
        let gap = ticks + place.shift - i128::from(place.pts.ticks());
        if gap < 0 {
            // It was replaced by silence already. Speech is worth more than the clock, up to a point.
            let behind = MediaTime::from_ticks(u64::try_from(-gap).unwrap_or(u64::MAX));
            if place.stretched + behind > STRETCH_MAX {
                return dropped("late", out);
            }
            place.stretched += behind;
            place.shift -= gap;
        } else if gap > i128::from(GAP_MAX.ticks()) {
            place.shift -= gap;
        } else if gap > 0 {
            let span = MediaTime::from_ticks(u64::try_from(gap).unwrap_or_default());
            place.pts += span;
            out.event(Event::AudioLost { span, next: Some(packet.payload.clone()) });
        }
        let frame = Frame::live(self.format, Payload::Raw(packet.payload), place.pts);
        place.pts += span;
        out.event(Event::AudioReceived(frame));
    }

    /// Gives up what is overdue, and lets time go on where nothing comes.
    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if self.waiting_since.is_some_and(|since| since + HOLD <= now) {
            self.give_waiting(now, true, out);
        }
        while let Some(due) = self.fill_at.filter(|due| *due <= now) {
            let Some(place) = &mut self.place else { break };
            // A machine that slept does not owe an hour of silence.
            let (span, next) = (MediaTime::FRAME, due.max(now.saturating_sub(IDLE)) + MediaTime::FRAME);
            place.pts += span;
            self.fill_at = Some(next);
            out.event(Event::AudioLost { span, next: None });
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let gives_up = self.waiting_since.map(|since| since + HOLD);
        gives_up.into_iter().chain(self.fill_at).min()
    }

    /// The peer's timestamp in our ticks.
    fn ticks(&self, time: u64) -> i128 {
        let scale = MediaTime::TICKS_PER_SECOND / u64::from(clock_hz(self.format.codec));
        i128::from(time) * i128::from(scale)
    }
}

fn dropped(reason: &'static str, out: &mut Outbox) {
    out.event(Event::MessageDropped { reason });
}

#[cfg(test)]
impl Ingress {
    /// Packets that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
