//! One side of a call: a leg, what it is to hear, and how audio gets there from the other side.

use std::collections::VecDeque;

use crate::playout::Playout;
use crate::route::Route;
use crate::{
    Caps, Command, Format, Frame, Instant, Leg, LegError, LegId, MediaTime, Outbox, Quality, Told,
    TranscoderFactory, Wire,
};

/// Whether a side can be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its transport is being opened, or its protocol is not ready.
    Opening,
    /// Audio flows.
    Up,
    /// Gone for good.
    Gone,
}

/// A leg with its playout and the route that leads to it.
pub(crate) struct Side {
    pub(crate) id: LegId,
    pub(crate) leg: Box<dyn Leg>,
    pub(crate) state: State,
    pub(crate) caps: Caps,
    /// What this side is to hear.
    pub(crate) playout: Playout,
    /// From the other side to here; made when the first frame tells the format.
    pub(crate) route: Option<Route>,
    /// The transport takes nothing for now.
    pub(crate) stalled: bool,
    pub(crate) up_since: Option<Instant>,
    /// What is to be told to this side when it is up.
    pub(crate) untold: VecDeque<Told>,
}

impl Side {
    pub(crate) fn new(id: LegId, leg: Box<dyn Leg>) -> Self {
        let caps = leg.caps();
        let playout = Playout::new(caps.pacing, caps.echoes_marks);
        Self {
            id,
            leg,
            state: State::Opening,
            caps,
            playout,
            route: None,
            stalled: false,
            up_since: None,
            untold: VecDeque::new(),
        }
    }

    /// Puts `leg` in the place of one that is gone. What is queued stays; what was sent to the old one is not heard.
    pub(crate) fn replace(&mut self, id: LegId, leg: Box<dyn Leg>, now: Instant) {
        (self.id, self.leg, self.state, self.stalled, self.up_since) = (id, leg, State::Opening, false, None);
        self.refresh_caps(now);
        self.playout.relisten(self.caps.pacing, self.caps.echoes_marks, now);
    }

    /// The leg says that it is ready: its formats are final.
    pub(crate) fn up(&mut self, now: Instant) {
        self.state = State::Up;
        self.up_since = Some(now);
        self.refresh_caps(now);
    }

    /// Whether frames may leave.
    pub(crate) fn takes_audio(&self) -> bool {
        self.state == State::Up && !self.stalled
    }

    /// Queues a frame from the other side, converted to what this side takes. Returns false when it could not be:
    /// there is no transcoder, the queue is full, or the packet was bad. A late frame of a cut utterance is no failure.
    pub(crate) fn carry(&mut self, frame: Frame, factory: TranscoderFactory) -> bool {
        self.lead_from(frame.format, factory);
        let Some(route) = &mut self.route else { return false };
        let mut queued = true;
        let carried = route.push(frame, |f| {
            queued &= !matches!(self.playout.enqueue(f), Err(crate::playout::Unqueued::Full));
        });
        queued && carried.is_ok()
    }

    /// Queues what stands in for live audio in `source` that will not come. `next` is the packet behind the gap.
    pub(crate) fn conceal(
        &mut self,
        (source, span): (Format, MediaTime),
        next: Option<&[u8]>,
        factory: TranscoderFactory,
    ) {
        self.lead_from(source, factory);
        if let Some(route) = &mut self.route {
            route.conceal(span, next, |f| _ = self.playout.enqueue(f));
        }
    }

    /// A route from `source` to here, if there can be one.
    fn lead_from(&mut self, source: Format, factory: TranscoderFactory) {
        if self.route.as_ref().is_none_or(|r| r.source() != source || r.sink() != self.caps.egress) {
            self.route = Route::new(source, &self.caps, factory).ok();
        }
    }

    /// So much of what this side is sent gets lost.
    pub(crate) fn expect_loss(&mut self, quality: &Quality) {
        if let (Some(route), Some(permille)) = (&mut self.route, quality.egress_loss_permille) {
            route.expect_loss(permille);
        }
    }

    /// Queues what the route still holds.
    pub(crate) fn finish_route(&mut self) {
        if let Some(route) = &mut self.route {
            // A tail of an utterance that was cut meanwhile falls on its tombstone.
            route.finish(|f| _ = self.playout.enqueue(f));
        }
    }

    pub(crate) fn reset_route(&mut self) {
        if let Some(route) = &mut self.route {
            route.reset();
        }
    }

    pub(crate) fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
        self.leg.on_wire(wire, now, out)
    }

    pub(crate) fn command(
        &mut self,
        command: Command,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), LegError> {
        self.leg.on_command(command, now, out)
    }

    pub(crate) fn refresh_caps(&mut self, now: Instant) {
        let caps = self.leg.caps();
        if caps.pacing != self.caps.pacing || caps.echoes_marks != self.caps.echoes_marks {
            self.playout.relisten(caps.pacing, caps.echoes_marks, now);
        }
        self.caps = caps;
    }
}
