//! A whole call in virtual time: the real [`Call`] with real legs, a Twilio double on one side, realtime doubles on the
//! other, and a network with delay between them. Stepped to its next event, it reads no clock and never sleeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::{
    Call, CallConfig, Effect, Event, Fact, Format, Hook, Input, Instant, Leg, LegId, Outcome, Output,
    Prompts, Recorded, Refusal, Tap, Wire, is_recorded,
};
use patchbay_legs::{Media, endpoint};
use serde_json::{Value, json};

use crate::browser::{self, BrowserDouble};
use crate::realtime::{Accepted, RealtimeDouble, Script, Shape};
use crate::twilio::{self, TwilioDouble};

/// How a world begins.
pub struct Setup {
    /// What the call is told.
    pub call: CallConfig,
    /// The model leg's configuration.
    pub model: Value,
    /// The format between us and the model.
    pub format: Format,
    /// What the provider does.
    pub script: Script,
    /// What the caller does, on the first stream and on each that follows a break.
    pub streams: Vec<Vec<twilio::Step>>,
    /// What the caller's stream is like.
    pub stream: twilio::Config,
    /// A client of the realtime API instead of a phone: what it is like, and what it does.
    pub client: Option<(browser::Config, Vec<browser::Step>)>,
    /// What that client may choose, as its leg's configuration.
    pub client_leg: Value,
    /// From the start of the call to the caller's stream.
    pub answer_after: Duration,
    /// One way, each side.
    pub delay: Duration,
    /// Whether outputs are kept for a replay.
    pub records: bool,
    /// Makes the plugin's instance, if there is a plugin.
    pub hook: Option<fn() -> Box<dyn Hook>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            call: CallConfig::default(),
            model: json!({ "model": "gpt-realtime-2.1", "transcription_model": "gpt-live-transcribe" }),
            format: Format::PCMU,
            script: Script::default(),
            streams: vec![Vec::new()],
            stream: twilio::Config::default(),
            client: None,
            client_leg: json!({}),
            answer_after: Duration::from_millis(300),
            delay: Duration::from_millis(20),
            records: false,
            hook: None,
        }
    }
}

impl Setup {
    /// The call as its parts say, before its first input.
    #[must_use]
    pub fn build(&self) -> Call {
        let leg = |kind: &str, config: &Value, format| -> Box<dyn Leg> {
            let endpoint = endpoint(kind).expect("an endpoint of this build");
            (endpoint.open)(config, Media { ingress: format, egress: format }).expect("a valid configuration")
        };
        let prompts = Prompts {
            filler: vec![0xF0; 8 * 300].into(),
            notice: vec![0xE0; 8 * 1000].into(),
            apology: vec![0xD0; 8 * 2000].into(),
            budget: vec![0xC0; 8 * 1500].into(),
            recorded: vec![0xB0; 8 * 1000].into(),
        };
        let caller = match &self.client {
            None => leg("twilio", &json!({}), Format::PCMU),
            Some(_) => leg("browser_ws", &self.client_leg, Format::L16_24K),
        };
        let callee = leg("realtime", &self.model, self.format);
        let call = Call::new(self.call.clone(), prompts, patchbay_codec::transcoder, caller, callee);
        match self.hook {
            Some(make) => call.with_hook(make()),
            None => call,
        }
    }
}

/// A call and everything around it.
pub struct World {
    /// The call.
    pub call: Call,
    /// Virtual now.
    pub now: Instant,
    /// The caller's streams, the newest last.
    pub callers: Vec<(LegId, TwilioDouble)>,
    /// The client of the realtime API, once it has come.
    pub client: Option<(LegId, BrowserDouble)>,
    /// The provider's connections, the newest last.
    pub models: Vec<(LegId, RealtimeDouble)>,
    /// What the call told, with times.
    pub facts: Vec<(Instant, Fact)>,
    /// What the legs told, with times; no transcripts' pieces.
    pub events: Vec<(Instant, LegId, Event)>,
    /// What was said and heard, if the call records.
    pub taps: Vec<Tap>,
    /// How the call ended.
    pub outcome: Option<(Instant, Outcome)>,
    /// The recording, if it was asked for.
    pub recording: Vec<Recorded>,
    /// Upgrades that the provider saw.
    pub dials: usize,
    setup: Setup,
    in_flight: BTreeMap<(Instant, u64), Packet>,
    packets: u64,
}

enum Packet {
    ToCall(LegId, Wire),
    ToPeer(LegId, Wire),
    Dial(LegId),
    Stream(LegId),
}

impl World {
    /// A world whose call has begun.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut world = Self {
            call: setup.build(),
            now: Instant::from_micros(1_000_000),
            callers: Vec::new(),
            client: None,
            models: Vec::new(),
            facts: Vec::new(),
            events: Vec::new(),
            taps: Vec::new(),
            outcome: None,
            recording: Vec::new(),
            dials: 0,
            setup,
            in_flight: BTreeMap::new(),
            packets: 0,
        };
        world.feed(Input::Start);
        world
    }

    /// The caller's newest stream.
    #[must_use]
    pub fn caller(&self) -> &TwilioDouble {
        &self.callers.last().expect("the caller has come").1
    }

    /// The client of the realtime API.
    #[must_use]
    pub fn browser(&self) -> &BrowserDouble {
        &self.client.as_ref().expect("the client has come").1
    }

    /// The provider's newest connection.
    #[must_use]
    pub fn model(&self) -> &RealtimeDouble {
        &self.models.last().expect("the provider was dialled").1
    }

    /// Hands an input to the call.
    pub fn feed(&mut self, input: Input) {
        if self.setup.records {
            self.recording.push(Recorded::In { at: self.now, input: input.clone() });
        }
        let mut outputs = Vec::new();
        self.call.handle(input, self.now, &mut outputs);
        assert!(self.call.poll_timeout().is_none_or(|at| at > self.now), "a deadline was left in the past");
        for output in outputs {
            if self.setup.records && is_recorded(&output) {
                self.recording.push(Recorded::Out { output: output.clone() });
            }
            self.take(output);
        }
    }

    /// Runs until `span` has passed, or the call and everybody in it is done.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
    }

    /// Runs until `done`, at most for `span`. Tells whether it was done.
    pub fn run_until_true(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + span;
        self.run_until(end, &done);
        done(self)
    }

    fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            match self.next_event() {
                Some(at) if at <= end => self.step(at),
                _ => {
                    self.now = end.max(self.now);
                    return;
                }
            }
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let callers = self.callers.iter().filter_map(|(_, double)| double.poll_timeout());
        let models = self.models.iter().filter_map(|(_, double)| double.poll_timeout());
        let flight = self.in_flight.keys().next().map(|(at, _)| *at);
        let client = self.client.iter().filter_map(|(_, double)| double.poll_timeout());
        callers.chain(client).chain(models).chain(flight).chain(self.call.poll_timeout()).min()
    }

    fn step(&mut self, at: Instant) {
        self.now = self.now.max(at);
        while let Some(entry) = self.in_flight.first_entry().filter(|e| e.key().0 <= self.now) {
            let packet = entry.remove();
            self.deliver(packet);
        }
        let mut sent = Vec::new();
        let mut wires = Vec::new();
        for (leg, double) in &mut self.callers {
            if double.poll_timeout().is_some_and(|at| at <= self.now) {
                double.on_timeout(self.now, &mut wires);
                sent.extend(wires.drain(..).map(|wire| (*leg, wire)));
            }
        }
        if let Some((leg, double)) = &mut self.client
            && double.poll_timeout().is_some_and(|at| at <= self.now)
        {
            double.on_timeout(self.now, &mut wires);
            sent.extend(wires.drain(..).map(|wire| (*leg, wire)));
        }
        for (leg, double) in &mut self.models {
            if double.poll_timeout().is_some_and(|at| at <= self.now) {
                double.on_timeout(self.now, &mut wires);
                sent.extend(wires.drain(..).map(|wire| (*leg, wire)));
            }
        }
        for (leg, wire) in sent {
            self.post(Packet::ToCall(leg, wire));
        }
        if self.call.poll_timeout().is_some_and(|at| at <= self.now) {
            self.feed(Input::Timeout);
        }
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::ToCall(leg, wire) => self.feed(Input::Wire { leg, wire }),
            Packet::ToPeer(leg, wire) => self.deliver_to_peer(leg, wire),
            Packet::Dial(leg) => self.dial(leg),
            Packet::Stream(leg) if self.setup.client.is_some() => {
                let (config, steps) = self.setup.client.clone().expect("it was looked at");
                self.client = Some((leg, BrowserDouble::new(config, steps)));
                self.feed(Input::Wire { leg, wire: Wire::Opened });
                self.deliver_to_peer(leg, Wire::Opened);
            }
            Packet::Stream(leg) => {
                let steps = self.setup.streams.get(self.callers.len()).cloned().unwrap_or_default();
                let double = TwilioDouble::new(self.setup.stream.clone(), steps);
                self.callers.push((leg, double));
                self.feed(Input::Wire { leg, wire: Wire::Opened });
                self.deliver_to_peer(leg, Wire::Opened);
            }
        }
    }

    fn dial(&mut self, leg: LegId) {
        let dial = self.dials;
        self.dials += 1;
        if let Some(refused) = self.setup.script.refusals.get(dial) {
            let retry_after = refused.retry_after_s.map(Duration::from_secs);
            let wire = Wire::Refused(Refusal::Status { status: refused.status, retry_after });
            return self.post(Packet::ToCall(leg, wire));
        }
        let accepted = Accepted { shape: Shape::Nested, model: "gpt-realtime-2.1".into() };
        let double = RealtimeDouble::new(Arc::new(self.setup.script.clone()), accepted, dial);
        self.models.push((leg, double));
        self.feed(Input::Wire { leg, wire: Wire::Opened });
        self.deliver_to_peer(leg, Wire::Opened);
    }

    fn deliver_to_peer(&mut self, leg: LegId, wire: Wire) {
        let mut wires = Vec::new();
        if let Some((_, double)) = self.callers.iter_mut().find(|(id, _)| *id == leg) {
            double.on_wire(wire, self.now, &mut wires);
        } else if let Some((_, double)) = self.client.as_mut().filter(|(id, _)| *id == leg) {
            double.on_wire(wire, self.now, &mut wires);
        } else if let Some((_, double)) = self.models.iter_mut().find(|(id, _)| *id == leg) {
            double.on_wire(wire, self.now, &mut wires);
        }
        for wire in wires {
            self.post(Packet::ToCall(leg, wire));
        }
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Wire { leg, wire } => self.post(Packet::ToPeer(leg, wire)),
            Output::Effect(Effect::Open { leg, callee: true }) => self.post(Packet::Dial(leg)),
            Output::Effect(Effect::Open { leg, callee: false }) => {
                let at = self.now + self.setup.answer_after;
                self.post_at(at, Packet::Stream(leg));
            }
            Output::Effect(Effect::Ended(outcome)) => {
                assert!(self.outcome.is_none(), "a call ends once");
                self.outcome = Some((self.now, outcome));
            }
            Output::Event { leg, event } => self.events.push((self.now, leg, event)),
            Output::Fact(fact) => self.facts.push((self.now, fact)),
            Output::Tap(tap) => self.taps.push(tap),
        }
    }

    fn post(&mut self, packet: Packet) {
        self.post_at(self.now + self.setup.delay, packet);
    }

    /// Packets that are due at the same instant keep their order.
    fn post_at(&mut self, at: Instant, packet: Packet) {
        self.packets += 1;
        self.in_flight.insert((at, self.packets), packet);
    }
}
