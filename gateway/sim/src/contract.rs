//! The contract that every leg keeps, as a test that any crate can call: see `patchbay_core::Leg`.
//!
//! A round is a random life of one leg, made from its seed alone: whole, mutated and random wires, commands in any
//! order, time that passes. Each promise is looked at after every call.

mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use patchbay_core::{
    Caps, Codec, Command, Cut, Event, Frame, Instant, Leg, MarkId, MediaTime, Outbox, Packet, Payload,
    Refusal, Told, UtteranceId, Wire,
};

use self::mutate::{Random, mutated};

/// Calls in one life.
const CALLS: u64 = 80;
/// A leg may say goodbye before it closes, but not for longer.
const CLOSES_WITHIN: Duration = Duration::from_secs(10);

/// What is lost at once is filled with audio: it must not be an hour.
const LOST_MAX: MediaTime = MediaTime::from_ms(10_000);

/// What the suite has to know about a leg.
pub struct Subject<'a> {
    /// Makes a fresh leg.
    pub make: &'a dyn Fn() -> Box<dyn Leg>,
    /// What brings it up: ingress in order, from `Wire::Opened`.
    pub opening: &'a [Wire],
    /// Valid ingress of every kind, whole or to be mutated.
    pub samples: &'a [Wire],
    /// Whether an egress wire carries audio for the peer to play.
    pub is_media: fn(&Wire) -> bool,
}

impl Subject<'_> {
    /// Lives `rounds` lives.
    ///
    /// # Errors
    /// The first promise that was broken, with the seed of its round; [`round`](Self::round) repeats it.
    pub fn check(&self, rounds: u64) -> Result<(), String> {
        self.comes_up()?;
        (0..rounds).try_for_each(|seed| self.round(seed))
    }

    /// Lives the life of one seed, twice, since a leg is deterministic.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn round(&self, seed: u64) -> Result<(), String> {
        let live = || catch_unwind(AssertUnwindSafe(|| self.live(seed)));
        let told = |broken: &str| format!("seed {seed}: {broken}");
        let first = live().map_err(|_| told("it panicked"))?.map_err(|broken| told(&broken))?;
        match live() {
            Ok(Ok(second)) if second == first => Ok(()),
            _ => Err(told("the same input gave another output")),
        }
    }

    fn comes_up(&self) -> Result<(), String> {
        let mut life = Life::new((self.make)(), self.is_media);
        self.opening.iter().try_for_each(|wire| life.on_wire(wire.clone()))?;
        if life.caps_at_up.is_some() { Ok(()) } else { Err("the opening does not bring it up".into()) }
    }

    fn live(&self, seed: u64) -> Result<Lived, String> {
        let random = &mut Random::new(seed);
        let mut life = Life::new((self.make)(), self.is_media);
        for wire in self.opening {
            match random.below(40) {
                0 => {}
                1 => life.on_wire(mutated(self.opening, random))?,
                _ => life.on_wire(wire.clone())?,
            }
        }
        for _ in 0..CALLS {
            match random.below(10) {
                0..=4 => life.on_wire(self.wire(random))?,
                5..=7 => life.on_command(command(life.leg.caps(), random))?,
                _ => life.pass(Duration::from_millis(random.below(700).into()))?,
            }
        }
        let successor = life.leg.successor().is_some();
        life.hang_up()?;
        Ok((life.wires, life.events, successor))
    }

    fn wire(&self, random: &mut Random) -> Wire {
        match random.below(100) {
            0 => Wire::Opened,
            1 => Wire::Refused(Refusal::Status { status: random.below(1000), retry_after: None }),
            2 => Wire::Close { code: random.below(5000), reason: "".into() },
            3..=9 => Wire::Binary(random.bytes(300).into()),
            10 => Wire::Packet(packet(random)),
            11..=14 => Wire::Text(String::from_utf8_lossy(&random.bytes(300)).into_owned().into()),
            15..=44 => random.pick(self.samples).cloned().unwrap_or(Wire::Opened),
            _ => mutated(self.samples, random),
        }
    }
}

/// A packet from anywhere, in place and in time.
fn packet(random: &mut Random) -> Packet {
    let far = |random: &mut Random| [0, 1, 1_000, u64::MAX / 2, u64::MAX][usize::from(random.below(5))];
    Packet {
        codec: [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::L16][usize::from(random.below(4))],
        seq: far(random).saturating_add(random.below(100).into()),
        time: far(random).saturating_add(u64::from(random.below(100)) * 160),
        marker: random.below(2) == 0,
        payload: random.bytes(300).into(),
    }
}

/// What came of a life, to be compared.
type Lived = (Vec<Wire>, Vec<Event>, bool);

fn command(caps: Caps, random: &mut Random) -> Command {
    let utterance = UtteranceId(random.below(4).into());
    let span = |random: &mut Random| MediaTime::from_ms(random.below(2_000).into());
    match random.below(64) {
        0..=24 => Command::Play(frame(caps, random)),
        25..=34 => {
            Command::Mark(MarkId { generation: random.below(3).into(), seq: random.below(100).into() })
        }
        35..=44 => Command::Flush,
        45..=49 => Command::Cancel,
        50..=54 => {
            let (heard, sent, received) = (span(random), span(random), span(random));
            Command::Truncate(Cut {
                utterance,
                heard: heard.min(sent).min(received),
                sent: sent.min(received),
                received,
            })
        }
        55..=56 => Command::Tell(told(random)),
        57..=58 => {
            Command::Respond { instructions: (random.below(2) == 0).then(|| "Be \"brief\".\n".into()) }
        }
        59..=61 => Command::EchoMark { mark: random.below(6).into(), played: random.below(2) == 0 },
        62 => Command::Press(char::from(random.byte() & 0x7F)),
        _ => Command::Hangup { code: 1000 },
    }
}

/// What the other side may say, whole or mutated: of both kinds, as a leg may meet the wrong one.
const TOLD: [&str; 14] = [
    r#"{"type":"session.update","event_id":"c1","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}"#,
    r#"{"type":"session.update","session":{"instructions":"Be brief.","tools":[],"audio":{"output":{"voice":"marin"}}}}"#,
    r#"{"type":"response.create","event_id":"c2","response":{"instructions":"Go on."}}"#,
    r#"{"type":"response.create","response":{"conversation":"none","output_modalities":["text"]}}"#,
    r#"{"type":"response.cancel"}"#,
    r#"{"type":"input_audio_buffer.commit","event_id":"c3"}"#,
    r#"{"type":"input_audio_buffer.clear"}"#,
    r#"{"type":"conversation.item.create","item":{"id":"u1","type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}}"#,
    r#"{"type":"conversation.item.delete","event_id":"c4","item_id":"item_1"}"#,
    r#"{"type":"conversation.item.retrieve","item_id":"item_1"}"#,
    r#"{"type":"response.output_audio.delta","event_id":"e1","response_id":"resp_1","item_id":"item_1","output_index":0,"content_index":0}"#,
    r#"{"type":"response.output_audio.done","event_id":"e2","response_id":"resp_1","item_id":"item_1","output_index":0,"content_index":0}"#,
    r#"{"type":"session.updated","event_id":"e3","session":{"type":"realtime","model":"m","audio":{"input":{"format":{"type":"audio/pcmu"}}}}}"#,
    r#"{"type":"error","event_id":"e4","error":{"type":"invalid_request_error","code":"x","message":"y","event_id":"c1"}}"#,
];

fn told(random: &mut Random) -> Told {
    let texts = TOLD.map(|event| Wire::Text(event.into()));
    let wire = match random.below(3) {
        0 => mutated(&texts, random),
        _ => random.pick(&texts).cloned().unwrap_or(Wire::Opened),
    };
    let event = match wire {
        Wire::Text(text) | Wire::Binary(text) => text,
        _ => "{}".into(),
    };
    Told { utterance: (random.below(2) == 0).then(|| UtteranceId(random.below(4).into())), event }
}

fn frame(caps: Caps, random: &mut Random) -> Frame {
    let frames = 1 + random.below(5);
    let bytes = caps.egress.bytes_for(MediaTime::from_ms(u64::from(frames) * 20)).unwrap_or(80);
    let payload = Payload::Raw(vec![random.byte(); bytes].into());
    if random.below(2) == 0 {
        return Frame::live(caps.egress, payload, MediaTime::ZERO);
    }
    Frame::speech(caps.egress, payload, MediaTime::ZERO, UtteranceId(random.below(4).into()))
}

/// A leg, and what it has to keep from here on.
struct Life {
    leg: Box<dyn Leg>,
    is_media: fn(&Wire) -> bool,
    now: Instant,
    out: Outbox,
    caps_at_up: Option<Caps>,
    is_down: bool,
    is_silenced: bool,
    has_closed: bool,
    wires: Vec<Wire>,
    events: Vec<Event>,
}

impl Life {
    fn new(leg: Box<dyn Leg>, is_media: fn(&Wire) -> bool) -> Self {
        Self {
            leg,
            is_media,
            now: Instant::from_micros(1_000_000_000),
            out: Outbox::default(),
            caps_at_up: None,
            is_down: false,
            is_silenced: false,
            has_closed: false,
            wires: Vec::new(),
            events: Vec::new(),
        }
    }

    fn on_wire(&mut self, wire: Wire) -> Result<(), String> {
        let result = self.leg.on_wire(wire, self.now, &mut self.out);
        self.look(result.is_err(), false)
    }

    fn on_command(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Play(_) => self.is_silenced = false,
            Command::Flush => self.is_silenced = true,
            _ => {}
        }
        let result = self.leg.on_command(command, self.now, &mut self.out);
        self.look(result.is_err(), false)
    }

    /// Lets time pass, and wakes the leg whenever it wants.
    fn pass(&mut self, span: Duration) -> Result<(), String> {
        let end = self.now + span;
        while let Some(due) = self.leg.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            let result = self.leg.on_timeout(due, &mut self.out);
            self.look(result.is_err(), true)?;
        }
        self.now = end;
        Ok(())
    }

    fn hang_up(&mut self) -> Result<(), String> {
        let was_down = self.is_down;
        self.on_command(Command::Hangup { code: 1000 })?;
        if !was_down && !self.has_closed && !self.is_down {
            self.pass(CLOSES_WITHIN)?;
        }
        ensure(was_down || self.has_closed || self.is_down, "a hang-up does not close")
    }

    /// Looks at every promise after one call.
    fn look(&mut self, has_failed: bool, was_timeout: bool) -> Result<(), String> {
        let (wires, events) = (std::mem::take(&mut self.out.wires), std::mem::take(&mut self.out.events));
        let is_quiet = wires.is_empty() && events.is_empty();
        ensure(!self.is_down || is_quiet, "something came after LegDown or an error")?;
        self.look_at_time(was_timeout)?;
        wires.iter().try_for_each(|wire| self.look_at_wire(wire))?;
        events.iter().try_for_each(|event| self.look_at_event(event))?;
        ensure(!has_failed || !matches!(events.last(), Some(Event::LegDown(_))), "it went down and failed")?;
        self.is_down |= has_failed;
        self.look_at_caps()?;
        self.wires.extend(wires);
        self.events.extend(events);
        Ok(())
    }

    fn look_at_time(&self, was_timeout: bool) -> Result<(), String> {
        let Some(due) = self.leg.poll_timeout() else { return Ok(()) };
        ensure(due >= self.now, "poll_timeout is in the past")?;
        ensure(!was_timeout || due > self.now, "poll_timeout does not move on")
    }

    fn look_at_wire(&mut self, wire: &Wire) -> Result<(), String> {
        ensure(!(self.is_silenced && (self.is_media)(wire)), "audio after Flush and before Play")?;
        match wire {
            Wire::Text(text) => ensure(std::str::from_utf8(text).is_ok(), "a text message is not UTF-8"),
            Wire::Binary(_) | Wire::Packet(_) => Ok(()),
            Wire::Close { reason, .. } => {
                self.has_closed = true;
                ensure(reason.len() <= 123, "a close reason is too long")
            }
            Wire::Opened | Wire::Refused(_) | Wire::Quality(_) => {
                Err("it sends what only a transport says".into())
            }
        }
    }

    fn look_at_event(&mut self, event: &Event) -> Result<(), String> {
        ensure(!self.is_down, "an event after LegDown")?;
        match event {
            Event::LegUp => {
                ensure(self.caps_at_up.is_none(), "it came up twice")?;
                self.caps_at_up = Some(self.leg.caps());
            }
            Event::Renegotiated => self.caps_at_up = self.caps_at_up.map(|_| self.leg.caps()),
            Event::AudioReceived(frame) => {
                let is_of_caps = frame.format == self.leg.caps().ingress;
                ensure(is_of_caps, "audio is not of the format that caps tells")?;
                ensure(!frame.payload.is_empty(), "a frame without audio")?;
            }
            Event::AudioLost { span, .. } => {
                let is_bounded = !span.is_zero() && *span <= LOST_MAX;
                ensure(is_bounded, "it lost nothing, or more than can be")?;
            }
            Event::LegDown(_) => self.is_down = true,
            _ => {}
        }
        Ok(())
    }

    fn look_at_caps(&self) -> Result<(), String> {
        let is_same = self.caps_at_up.is_none_or(|caps| self.is_down || caps == self.leg.caps());
        ensure(is_same, "caps changed after LegUp")
    }
}

fn ensure(is_kept: bool, promise: &str) -> Result<(), String> {
    if is_kept { Ok(()) } else { Err(promise.into()) }
}

#[cfg(test)]
mod tests {
    use patchbay_core::{Down, Format, LegError, Pacing};

    use super::*;

    /// A leg that keeps the contract, but for one promise.
    #[derive(Clone, Copy, PartialEq)]
    enum Sin {
        None,
        Panics,
        SpeaksAfterDown,
        PlaysAfterFlush,
        StaysOpen,
        WakesInThePast,
        ChangesCaps,
    }

    struct Sinner {
        sin: Sin,
        caps: Caps,
        is_down: bool,
        due: Option<Instant>,
    }

    impl Leg for Sinner {
        fn caps(&self) -> Caps {
            self.caps
        }

        fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Outbox) -> Result<(), LegError> {
            if self.is_down && self.sin != Sin::SpeaksAfterDown {
                return Ok(());
            }
            match wire {
                Wire::Opened if self.due.is_none() => {
                    self.due = Some(now);
                    out.event(Event::LegUp);
                }
                Wire::Close { code, .. } => {
                    self.is_down = true;
                    out.event(Event::LegDown(Down::Lost { code }));
                }
                Wire::Text(text) => {
                    assert!(self.sin != Sin::Panics || text.len() != 40, "forty");
                    if self.sin == Sin::ChangesCaps {
                        self.caps.ingress = Format::PCMA;
                    }
                    out.event(Event::MessageDropped { reason: "any" });
                }
                _ => {}
            }
            if self.sin != Sin::WakesInThePast {
                self.due = self.due.map(|_| now);
            }
            Ok(())
        }

        fn on_command(&mut self, command: Command, _now: Instant, out: &mut Outbox) -> Result<(), LegError> {
            match command {
                _ if self.is_down => {}
                Command::Play(_) => out.wire(Wire::Binary(vec![1].into())),
                Command::Mark(_) if self.sin == Sin::PlaysAfterFlush => {
                    out.wire(Wire::Binary(vec![1].into()))
                }
                Command::Hangup { code } if self.sin != Sin::StaysOpen => {
                    self.is_down = true;
                    out.close(code, "");
                    out.event(Event::LegDown(Down::HungUp));
                }
                _ => {}
            }
            Ok(())
        }

        fn poll_timeout(&self) -> Option<Instant> {
            self.due.filter(|_| self.sin == Sin::WakesInThePast)
        }
    }

    fn verdict(sin: Sin) -> Result<(), String> {
        let pacing = Pacing::Live { latency_max: MediaTime::FRAME };
        let caps = Caps {
            ingress: Format::PCMU,
            egress: Format::PCMU,
            pacing,
            multiple: MediaTime::FRAME,
            can_clear: true,
            echoes_marks: false,
            echoes_marks_on_clear: false,
            reports_speech: false,
            can_cancel: false,
            can_truncate: false,
            answers: false,
            reports_heard: false,
        };
        let make = || Box::new(Sinner { sin, caps, is_down: false, due: None }) as Box<dyn Leg>;
        let samples =
            [Wire::Text(r#"{"number":17,"text":["a","b"]}"#.into()), Wire::Binary(vec![0; 40].into())];
        let is_media = |wire: &Wire| matches!(wire, Wire::Binary(_));
        Subject { make: &make, opening: &[Wire::Opened], samples: &samples, is_media }.check(200)
    }

    #[test]
    fn a_leg_that_keeps_the_contract_passes() {
        assert_eq!(verdict(Sin::None), Ok(()));
    }

    #[test]
    fn a_leg_that_breaks_one_promise_is_caught() {
        let sins = [
            (Sin::Panics, "panicked"),
            (Sin::SpeaksAfterDown, "after LegDown"),
            (Sin::PlaysAfterFlush, "after Flush"),
            (Sin::StaysOpen, "does not close"),
            (Sin::WakesInThePast, "poll_timeout"),
            (Sin::ChangesCaps, "caps changed"),
        ];
        for (sin, words) in sins {
            let broken = verdict(sin).unwrap_err();
            assert!(broken.contains(words), "{broken}");
        }
    }
}
