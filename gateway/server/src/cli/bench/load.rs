//! [`Load`]: N telephone callers and N model ends in one loop, each sending 50 messages a second, evenly spread.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use patchbay_core::Format;
use tokio_rustls::rustls::{ServerConfig, ServerConnection};

use super::end::End;
use super::flow::{Flow, ULAW_FRAME, noise, number};
use super::message::{encode, field, mark, switching};
use super::tally::{Latency, Tally};
use crate::cli::speech::speech;

/// What a message carries.
const FRAME: Duration = Duration::from_millis(20);
const MODEL_LISTENER: Token = Token(0);
const RELAY_LISTENER: Token = Token(1);
const FIRST_END: usize = 2;

/// Which of the two calls of a pair of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Through {
    Gateway,
    Relay,
}

/// What the load is told.
pub(super) enum Order {
    /// A caller whose stream is open, for the model end that was reported last.
    Caller { socket: std::net::TcpStream, call: usize, sid: String },
    /// Whoever calls there is played by somebody else.
    Elsewhere(usize),
    /// Let the callers and models of these calls speak, or nobody.
    Speak(Option<Through>),
    /// Measure latency of these from now on.
    Measure(Through),
    /// Tell what was measured.
    Report(Through, Sender<Heard>),
    /// Hang up, and end.
    Stop,
}

/// What was measured of one of the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) up: Latency,
    pub(super) down: Latency,
    /// How late 1 of 100 messages left here, in milliseconds: what the load itself adds.
    pub(super) late_ms: f64,
}

/// Bytes of 20 ms as the model end takes and gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelFrame {
    Ulaw,
    Pcm24,
    /// PCM of somebody who speaks.
    Speech24,
}

impl ModelFrame {
    fn bytes(self) -> usize {
        match self {
            Self::Ulaw => ULAW_FRAME,
            Self::Pcm24 | Self::Speech24 => 960,
        }
    }

    /// What is said over and over: whole frames.
    fn sound(self) -> Vec<u8> {
        match self {
            Self::Ulaw | Self::Pcm24 => noise(self.bytes()),
            Self::Speech24 => {
                let mut sound = speech(Format::L16_24K);
                sound.truncate(sound.len() / self.bytes() * self.bytes());
                sound
            }
        }
    }
}

struct Call {
    through: Through,
    model: End,
    caller: Option<End>,
    /// The call has a caller, here or elsewhere.
    is_joined: bool,
    stage: Stage,
    sid: String,
    marks: Vec<Vec<u8>>,
    sequence: u64,
    up: Flow,
    down: Flow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    AwaitsUpgrade,
    AwaitsUpdate,
    Up,
    Answering,
}

pub(super) struct Load {
    poll: Poll,
    listeners: [TcpListener; 2],
    tls: Option<Arc<ServerConfig>>,
    model_frame: ModelFrame,
    calls: Vec<Call>,
    /// Tells which model end is ready for its caller.
    ready: Sender<usize>,
    orders: Receiver<Order>,
    speaking: Option<Through>,
    /// Up, down, and how late we are.
    tallies: HashMap<Through, [Tally; 3]>,
    epoch: Instant,
    model_audio: Vec<u8>,
    caller_audio: Vec<u8>,
    scratch: Vec<u8>,
    message: Vec<u8>,
    text: Vec<u8>,
}

impl Load {
    /// Binds the model's and the relay's far listener.
    pub(super) fn new(
        model_frame: ModelFrame,
        tls: Option<Arc<ServerConfig>>,
        ready: Sender<usize>,
        orders: Receiver<Order>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listeners = [TcpListener::bind(any)?, TcpListener::bind(any)?];
        for (listener, token) in listeners.iter_mut().zip([MODEL_LISTENER, RELAY_LISTENER]) {
            poll.registry().register(listener, token, Interest::READABLE)?;
        }
        let tallies =
            HashMap::from([Through::Gateway, Through::Relay].map(|through| (through, Default::default())));
        Ok(Self {
            poll,
            listeners,
            tls,
            model_frame,
            calls: Vec::new(),
            ready,
            orders,
            speaking: None,
            tallies,
            epoch: Instant::now(),
            model_audio: model_frame.sound(),
            caller_audio: noise(ULAW_FRAME),
            scratch: vec![0; 64 * 1024],
            message: Vec::new(),
            text: Vec::new(),
        })
    }

    /// Ports of the model's and the relay's far listener.
    pub(super) fn ports(&self) -> io::Result<[u16; 2]> {
        let [model, relay] = &self.listeners;
        Ok([model.local_addr()?.port(), relay.local_addr()?.port()])
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut next = 0_u64;
        loop {
            while let Ok(order) = self.orders.try_recv() {
                if matches!(order, Order::Stop) {
                    return self.hang_up();
                }
                let begins = matches!(order, Order::Speak(Some(_)));
                self.obey(order)?;
                if begins {
                    next = self.slot_at(self.epoch.elapsed());
                }
            }
            let idle = self.speak_until(self.epoch.elapsed(), &mut next);
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            let is_quiet = events.is_empty();
            for event in &events {
                self.serve(event.token())?;
            }
            if is_quiet {
                // A poll's own timeout is no finer than a millisecond, which would bunch the messages.
                std::thread::sleep(idle.min(Duration::from_micros(100)));
            }
        }
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        match order {
            Order::Caller { socket, call, sid } => self.join(call, socket, sid),
            Order::Elsewhere(call) => {
                self.calls[call].is_joined = true;
                Ok(())
            }
            Order::Speak(through) => {
                self.speaking = through;
                Ok(())
            }
            Order::Measure(through) => {
                self.tallies.entry(through).or_default().iter_mut().for_each(Tally::forget_latencies);
                Ok(())
            }
            Order::Report(through, answer) => {
                let [up, down, late] = &self.tallies[&through];
                let heard = Heard { up: up.latency(), down: down.latency(), late_ms: late.p99_ms() };
                let _ = answer.send(heard);
                Ok(())
            }
            Order::Stop => Ok(()),
        }
    }

    fn join(&mut self, call: usize, socket: std::net::TcpStream, sid: String) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        self.poll.registry().register(&mut socket, Token(FIRST_END + 2 * call + 1), Interest::READABLE)?;
        let joined = &mut self.calls[call];
        joined.caller = Some(End::new(socket, None, true));
        joined.is_joined = true;
        joined.sid = sid;
        Ok(())
    }

    // --- speaking ---

    /// Each call has two slots in 20 ms: the caller's and the model's, half a frame apart.
    fn slots(&self) -> u64 {
        2 * self.calls.len().max(1) as u64
    }

    fn slot_at(&self, time: Duration) -> u64 {
        let frames = time.as_nanos() * u128::from(self.slots()) / FRAME.as_nanos();
        u64::try_from(frames).unwrap_or(u64::MAX)
    }

    fn time_of(&self, slot: u64) -> Duration {
        let nanos = u128::from(slot) * FRAME.as_nanos() / u128::from(self.slots());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Sends what is due; tells how long nothing is.
    fn speak_until(&mut self, now: Duration, next: &mut u64) -> Duration {
        let Some(through) = self.speaking else { return Duration::from_millis(1) };
        while self.time_of(*next) <= now {
            let late = now.saturating_sub(self.time_of(*next)).as_micros();
            self.tallies.entry(through).or_default()[2].add(u32::try_from(late).unwrap_or(u32::MAX));
            let slot = *next % self.slots();
            let calls = self.calls.len();
            let at = usize::try_from(slot / 2).unwrap_or(0);
            *next += 1;
            // Consecutive slots belong to a caller and to the model of a call half the list away.
            let call = if slot.is_multiple_of(2) { at } else { (at + calls / 2) % calls };
            if self.calls[call].through == through && self.calls[call].is_joined {
                if slot.is_multiple_of(2) { self.speak_as_caller(call) } else { self.speak_as_model(call) }
            }
        }
        self.time_of(*next).saturating_sub(now)
    }

    fn speak_as_caller(&mut self, call: usize) {
        let now_us = self.now_us();
        let call = &mut self.calls[call];
        let Some(caller) = &mut call.caller else { return };
        for mark in call.marks.drain(..) {
            caller.queue_text(&mark);
        }
        let nth = call.up.leave(now_us);
        number(&mut self.caller_audio, nth);
        call.sequence += 1;
        self.text.clear();
        let (sequence, timestamp, sid) = (call.sequence + 1, nth * 20, &call.sid);
        let _ = write!(
            self.text,
            r#"{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"inbound","chunk":"{}","timestamp":"{timestamp}","payload":""#,
            nth + 1,
        );
        encode(&self.caller_audio, &mut self.text);
        let _ = write!(self.text, r#""}},"streamSid":"{sid}"}}"#);
        caller.queue_text(&self.text);
        let _ = caller.flush();
        self.tallies.entry(call.through).or_default()[0].sent += 1;
    }

    fn speak_as_model(&mut self, call: usize) {
        let now_us = self.now_us();
        let call = &mut self.calls[call];
        if call.stage == Stage::Up && call.through == Through::Gateway {
            call.stage = Stage::Answering;
            call.model.queue_text(br#"{"type":"response.created","event_id":"event_1","response":{"id":"resp_1","object":"realtime.response","status":"in_progress"}}"#);
            call.model.queue_text(br#"{"type":"response.output_item.added","event_id":"event_2","response_id":"resp_1","output_index":0,"item":{"id":"item_1","object":"realtime.item","type":"message","role":"assistant","status":"in_progress","content":[]}}"#);
        }
        let nth = call.down.leave(now_us);
        if self.model_frame == ModelFrame::Ulaw || call.through == Through::Relay {
            number(&mut self.model_audio, nth);
        }
        self.text.clear();
        let _ = write!(
            self.text,
            r#"{{"type":"response.output_audio.delta","event_id":"event_{nth}","response_id":"resp_1","item_id":"item_1","output_index":0,"content_index":0,"delta":""#
        );
        let bytes = self.model_frame.bytes();
        let at = nth as usize * bytes % self.model_audio.len();
        encode(&self.model_audio[at..at + bytes], &mut self.text);
        self.text.extend_from_slice(b"\"}");
        call.model.queue_text(&self.text);
        let _ = call.model.flush();
        self.tallies.entry(call.through).or_default()[1].sent += 1;
    }

    // --- hearing ---

    fn serve(&mut self, token: Token) -> io::Result<()> {
        match token {
            MODEL_LISTENER => self.accept(Through::Gateway),
            RELAY_LISTENER => self.accept(Through::Relay),
            Token(end) if (end - FIRST_END).is_multiple_of(2) => self.hear_as_model((end - FIRST_END) / 2),
            Token(end) => self.hear_as_caller((end - FIRST_END) / 2),
        }
    }

    fn accept(&mut self, through: Through) -> io::Result<()> {
        let listener = usize::from(through == Through::Relay);
        while let Ok((mut socket, _)) = self.listeners[listener].accept() {
            socket.set_nodelay(true)?;
            let call = self.calls.len();
            self.poll.registry().register(&mut socket, Token(FIRST_END + 2 * call), Interest::READABLE)?;
            let tls = match (&self.tls, through) {
                (Some(tls), Through::Gateway) => {
                    Some(ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?)
                }
                _ => None,
            };
            let stage = if through == Through::Relay { Stage::Up } else { Stage::AwaitsUpgrade };
            self.calls.push(Call {
                through,
                model: End::new(socket, tls, false),
                caller: None,
                is_joined: false,
                stage,
                sid: String::new(),
                marks: Vec::new(),
                sequence: 0,
                up: Flow::new(),
                down: Flow::new(),
            });
            if stage == Stage::Up {
                let _ = self.ready.send(call);
            }
            // What came with the connection is not announced again.
            self.hear_as_model(call)?;
        }
        Ok(())
    }

    fn hear_as_model(&mut self, index: usize) -> io::Result<()> {
        let call = &mut self.calls[index];
        if !call.model.fill(&mut self.scratch).unwrap_or(false) {
            let _ = self.poll.registry().deregister(&mut self.calls[index].model.socket);
            return Ok(());
        }
        if call.stage == Stage::AwaitsUpgrade {
            let Some(head) = call.model.take_head() else { return Ok(()) };
            call.stage = Stage::AwaitsUpdate;
            call.model.queue(switching(&head).as_bytes());
            call.model.queue_text(br#"{"type":"session.created","event_id":"event_0","session":{"type":"realtime","object":"realtime.session","id":"sess_1"}}"#);
        }
        let now_us = self.now_us();
        let call = &mut self.calls[index];
        let tally = &mut self.tallies.entry(call.through).or_default()[0];
        while call.model.take_text(&mut self.message) {
            let key: &[u8] = if call.through == Through::Relay { b"\"payload\":\"" } else { b"\"audio\":\"" };
            if let Some(audio) = field(&self.message, key) {
                let frame_bytes =
                    if call.through == Through::Relay { ULAW_FRAME } else { self.model_frame.bytes() };
                call.up.hear(audio, frame_bytes, now_us, tally);
            } else if call.stage == Stage::AwaitsUpdate
                && memchr::memmem::find(&self.message, b"\"session.update\"").is_some()
            {
                call.stage = Stage::Up;
                call.model.queue_text(br#"{"type":"session.updated","event_id":"event_0","session":{"type":"realtime","object":"realtime.session","id":"sess_1"}}"#);
                let _ = self.ready.send(index);
            }
        }
        let _ = call.model.flush();
        Ok(())
    }

    fn hear_as_caller(&mut self, index: usize) -> io::Result<()> {
        let now_us = self.now_us();
        let call = &mut self.calls[index];
        let Some(caller) = &mut call.caller else { return Ok(()) };
        if !caller.fill(&mut self.scratch).unwrap_or(false) {
            let _ = self.poll.registry().deregister(&mut caller.socket);
            return Ok(());
        }
        let tally = &mut self.tallies.entry(call.through).or_default()[1];
        while caller.take_text(&mut self.message) {
            let key: &[u8] = if call.through == Through::Relay { b"\"delta\":\"" } else { b"\"payload\":\"" };
            if let Some(audio) = field(&self.message, key) {
                let frame_bytes =
                    if call.through == Through::Relay { self.model_frame.bytes() } else { ULAW_FRAME };
                call.down.hear(audio, frame_bytes, now_us, tally);
            } else if let Some(name) = field(&self.message, b"\"name\":\"") {
                // Echoed with the next frame, when it would have been played.
                call.marks.push(mark(name, &call.sid, call.sequence));
            }
        }
        let _ = caller.flush();
        Ok(())
    }

    fn hang_up(mut self) -> io::Result<()> {
        for call in &mut self.calls {
            if let Some(caller) = &mut call.caller {
                caller.queue_close();
                let _ = caller.flush();
            }
        }
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "only differences of a few seconds are taken, wrapping"
    )]
    fn now_us(&self) -> u32 {
        self.epoch.elapsed().as_micros() as u32
    }
}
