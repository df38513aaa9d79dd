//! Who reads along and steers a call from aside, as a server does whose browser or telephone talks with a model: what the
//! callee says is told there too, and what is said there goes to the callee as if the caller had said it. No audio does.
//!
//! The leg is there from the beginning, so that it knows how things stand when somebody comes. One transport after another
//! may: each gets a successor of the leg. What happens to it never ends the call.

use super::{CALLER, Call, Output};
use crate::leg::{Command, Event, Leg, LegError, Outbox, Wire};
use crate::{Instant, LegId, Told};

/// The place aside of a call.
pub(super) struct Aside {
    id: LegId,
    leg: Box<dyn Leg>,
}

impl Call {
    /// Lets somebody steer the call from aside, by a leg that has no audio.
    #[must_use]
    pub fn with_aside(mut self, leg: Box<dyn Leg>) -> Self {
        self.aside = Some(Aside { id: self.new_leg_id(), leg });
        self
    }

    /// Whose transport the next is that comes to steer. `None` when this call cannot be steered, or is over.
    #[must_use]
    pub fn aside(&self) -> Option<LegId> {
        self.aside.as_ref().map(|aside| aside.id)
    }

    pub(super) fn on_aside_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Output>) {
        let Some(aside) = &mut self.aside else { return };
        let mut outbox = Outbox::default();
        let result = aside.leg.on_wire(wire, now, &mut outbox);
        self.absorb_aside(outbox, result, now, out);
    }

    pub(super) fn tell_aside(&mut self, told: &Told, now: Instant, out: &mut Vec<Output>) {
        let Some(aside) = &mut self.aside else { return };
        let mut outbox = Outbox::default();
        let result = aside.leg.on_command(Command::Tell(told.clone()), now, &mut outbox);
        self.absorb_aside(outbox, result, now, out);
    }

    pub(super) fn hang_up_aside(&mut self, code: u16, now: Instant, out: &mut Vec<Output>) {
        let Some(mut aside) = self.aside.take() else { return };
        let mut outbox = Outbox::default();
        drop(aside.leg.on_command(Command::Hangup { code }, now, &mut outbox));
        out.extend(outbox.wires.into_iter().map(|wire| Output::Wire { leg: aside.id, wire }));
    }

    fn absorb_aside(
        &mut self,
        outbox: Outbox,
        result: Result<(), LegError>,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let Some(leg) = self.aside() else { return };
        out.extend(outbox.wires.into_iter().map(|wire| Output::Wire { leg, wire }));
        let mut is_down = false;
        for event in outbox.events {
            match event {
                Event::Told(told) => self.tell(CALLER, told, now, out),
                Event::Interrupted if !self.is_announcing(now) => self.interrupt(CALLER, now, out),
                Event::LegDown(_) => is_down = true,
                event @ Event::MessageDropped { .. } => out.push(Output::Event { leg, event }),
                // What a client says of its own playing: nothing plays there.
                _ => {}
            }
        }
        if let Err(error) = result {
            let close = Wire::Close { code: error.fault.close_code(), reason: error.what.into() };
            out.push(Output::Wire { leg, wire: close });
            is_down = true;
        }
        if is_down {
            self.make_room_aside();
        }
    }

    /// Whoever was there has left: the next may come.
    fn make_room_aside(&mut self) {
        let id = self.new_leg_id();
        self.aside = self.aside.take().and_then(|aside| Some(Aside { id, leg: aside.leg.successor()? }));
    }
}
