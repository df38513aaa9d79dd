//! [`Meeting`]: between a call and the requests of its bot. Every queue in it is bounded, and nobody waits for the other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use patchbay_core::{Format, Wire};
use patchbay_legs::bot::{Kind, Message, Nonsense};
use tokio::sync::watch;
use tokio::time::Instant;

use super::place::{Place, WIRES_MAX};
use super::request::{Listening, Presence, Reading, Speaking};
use super::ring::Ring;

/// Which call it is, and who takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// `call_…`
    pub call: Box<str>,
    /// Whose.
    pub tenant: Box<str>,
    /// The bot's name.
    pub bot: Box<str>,
    /// What the bot receives, until it asks for something else.
    pub receive: Format,
    /// What the bot sends, until it sends something else.
    pub send: Format,
}

/// A call and the requests of its bot.
#[derive(Debug)]
pub struct Meeting {
    occasion: Occasion,
    /// All that both sides change, each time for one packet or one look.
    place: Mutex<Place>,
    /// A bot of which no request is there for so long is gone.
    gone_after: Duration,
    changed: watch::Sender<()>,
}

/// What the driver is told.
pub(super) enum Polled {
    Wire(Wire),
    /// Nothing came, and somebody is there.
    There,
    /// Nobody is there; at this time the bot is gone.
    AwayUntil(Instant),
}

/// How far the bot's audio has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The number of the packet that is expected next.
    pub next_seq: u64,
    /// What the caller has still to hear, by the clock, in milliseconds.
    pub buffered_ms: u64,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uptake {
    /// On its way.
    New,
    /// Its number was there before.
    Known,
}

/// Why a packet was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsaid {
    /// The bot is too far ahead: this long it should wait.
    Ahead(Duration),
    /// Another request speaks now.
    Replaced,
    /// The call is over, for this reason.
    Over(Box<str>),
}

/// Why an event was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untold {
    /// It is none.
    Nonsense(Nonsense),
    /// The call takes no more at the moment.
    Busy,
    /// The call is over.
    Over,
}

impl Meeting {
    pub(super) fn new(occasion: Occasion, gone_after: Duration) -> Arc<Self> {
        let now = Instant::now();
        let (receive, send) = (occasion.receive, occasion.send);
        let place = Place {
            receive,
            send,
            wires: [agreed(Some(receive), Some(send))].into_iter().flatten().collect(),
            driver: None,
            ring: Ring::default(),
            events: VecDeque::new(),
            next_event: 1,
            reader: 0,
            writer: 0,
            present: 0,
            away_since: now,
            has_come: false,
            has_hung_up: false,
            next_seq: None,
            plays_until: now,
            end: None,
        };
        Arc::new(Self { occasion, place: Mutex::new(place), gone_after, changed: watch::Sender::new(()) })
    }

    /// Which call, which bot.
    #[must_use]
    pub fn occasion(&self) -> &Occasion {
        &self.occasion
    }

    /// Begins to hear, in `format`, from packet `from` on or live. Whoever heard before is done.
    #[must_use]
    pub fn listen(self: &Arc<Self>, from: Option<u64>, format: Format) -> Listening {
        let mut place = self.place();
        if place.receive != format {
            place.receive = format;
            place.ring.clear();
            place.wires.extend(agreed(Some(format), None));
        }
        place.reader += 1;
        let (next, missed) = place.ring.place(from);
        let generation = place.reader;
        let presence = self.enter(&mut place);
        drop(place);
        self.wake();
        Listening { presence, generation, next, missed, changed: self.changed.subscribe() }
    }

    /// Begins to speak, in `format`. Whoever spoke before is done.
    #[must_use]
    pub fn speak(self: &Arc<Self>, format: Format) -> Speaking {
        let mut place = self.place();
        if place.send != format {
            place.send = format;
            place.wires.extend(agreed(None, Some(format)));
        }
        place.writer += 1;
        let generation = place.writer;
        let presence = self.enter(&mut place);
        drop(place);
        self.wake();
        Speaking { presence, generation, changed: self.changed.subscribe() }
    }

    /// Begins to read events behind number `after`, or from the oldest that is kept.
    #[must_use]
    pub fn read(self: &Arc<Self>, after: u64) -> Reading {
        let presence = self.enter(&mut self.place());
        Reading { presence, after, changed: self.changed.subscribe() }
    }

    /// Takes an event of the bot's, as JSON.
    ///
    /// # Errors
    /// [`Untold`]
    pub fn tell(self: &Arc<Self>, text: Bytes) -> Result<(), Untold> {
        let message = Message::parse(&text).map_err(Untold::Nonsense)?;
        let mut place = self.place();
        match message {
            // Formats are what requests say they are.
            Message::Audio { .. } => return Err(Untold::Nonsense(Nonsense("malformed_event"))),
            Message::Clear { next_seq } => {
                place.plays_until = Instant::now();
                // A stream that was abandoned may still be on its way: what is in it was taken back.
                place.next_seq = place.next_seq.max(next_seq);
            }
            Message::SpeechStarted => place.plays_until = Instant::now(),
            Message::Mark { .. } | Message::Dtmf { .. } | Message::Transcript { .. } => {}
        }
        if place.end.is_some() {
            return Err(Untold::Over);
        }
        if place.wires.len() >= WIRES_MAX {
            return Err(Untold::Busy);
        }
        let presence = self.enter(&mut place);
        place.push(Wire::Text(text));
        drop(place);
        drop(presence);
        Ok(())
    }

    /// The bot hangs up.
    pub fn hang_up(&self) {
        let mut place = self.place();
        place.has_hung_up = true;
        place.wake_driver();
    }

    /// How far the bot's audio has come.
    #[must_use]
    pub fn acknowledged(&self) -> Acknowledged {
        self.place().acknowledged()
    }

    /// A request comes. It goes when its presence is dropped, which must not be while the place is held.
    fn enter(self: &Arc<Self>, place: &mut Place) -> Presence {
        place.present += 1;
        if !std::mem::replace(&mut place.has_come, true) {
            place.wires.push_back(Wire::Opened);
        }
        place.wake_driver();
        Presence(Arc::clone(self))
    }

    /// A request goes.
    pub(super) fn leave(&self) {
        let mut place = self.place();
        place.present -= 1;
        place.away_since = Instant::now();
        place.wake_driver();
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Polled {
        let mut place = self.place();
        if let Some(wire) = place.wires.pop_front() {
            return Polled::Wire(wire);
        }
        if place.has_hung_up {
            return Polled::Wire(Wire::Close { code: 1000, reason: "".into() });
        }
        if place.driver.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            place.driver = Some(cx.waker().clone());
        }
        if place.present > 0 { Polled::There } else { Polled::AwayUntil(place.away_since + self.gone_after) }
    }

    pub(super) fn is_away_since(&self, deadline: Instant) -> bool {
        let place = self.place();
        place.present == 0 && place.away_since + self.gone_after <= deadline && place.wires.is_empty()
    }

    pub(super) fn send(&self, wire: Wire) {
        let mut place = self.place();
        match wire {
            Wire::Packet(packet) => {
                let format = place.receive;
                // What was on its way when the format changed.
                if packet.codec == format.codec {
                    place.ring.push(packet, format);
                }
            }
            Wire::Text(text) => place.event(text),
            _ => {}
        }
    }

    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// The call is over: everybody is told, once.
    pub(super) fn end(&self, reason: &str) {
        let mut place = self.place();
        if place.end.is_none() {
            place.end = Some(reason.into());
            place.event(serde_json::json!({ "type": "call.ended", "reason": reason }).to_string().into());
            drop(place);
            self.wake();
        }
    }

    pub(super) fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().expect("nobody panics while holding the place")
    }
}

/// What tells the leg of formats.
fn agreed(receive: Option<Format>, send: Option<Format>) -> Option<Wire> {
    let mut event = serde_json::json!({ "type": "audio" });
    for (key, format) in [("receive", receive), ("send", send)] {
        if let Some(format) = format {
            event[key] = Kind::of(format)?.as_str().into();
        }
    }
    Some(Wire::Text(event.to_string().into()))
}
