//! A Twilio that calls: the client side of Media Streams as a state machine without IO, with a scripted caller.
//!
//! <https://www.twilio.com/docs/voice/media-streams/websocket-messages>, read 2026-11, and captured calls: strings and
//! numbers as on the wire, a first timestamp that is not zero, one sequence over all messages, marks echoed at playback
//! and all of them on `clear`, and no word of warning about what it drops. Delay, jitter and loss of the network are the
//! harness's.

mod playback;
mod script;
mod wire;

use std::collections::VecDeque;

use bytes::Bytes;
use patchbay_core::{Instant, MediaTime, Payload, Wire};
use patchbay_legs::bot_twilio::{Saying, Start};

use self::playback::Playback;
pub use self::playback::{Clear, Echo, Ending, Heard, Log, Span};
pub use self::script::{Config, Silence, Step};
use self::wire::{Said, echo, parse, text};

/// A barge-in waits at most this for the speech that it interrupts.
const BARGE_IN_WITHIN: MediaTime = MediaTime::from_ms(30_000);

/// The double. Feed it wires and time; it writes the wires of Twilio's side.
pub struct TwilioDouble {
    config: Config,
    saying: Saying,
    script: VecDeque<Step>,
    /// Ordinal of the script's first step that is left, when it began, and whether its audio is being said.
    step: usize,
    step_began: MediaTime,
    is_saying: bool,
    phase: Phase,
    /// Frames of 20 ms that have passed since the opening, sent or not.
    frames: u64,
    mouth: Bytes,
    playback: Playback,
    log: Log,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Streaming { opened_at: Instant },
    Over,
}

impl TwilioDouble {
    /// A caller who follows `script` and then stays on the line.
    #[must_use]
    pub fn new(config: Config, script: impl IntoIterator<Item = Step>) -> Self {
        Self {
            saying: Saying::new(&config.stream_sid),
            script: script.into_iter().collect(),
            step: 0,
            step_began: MediaTime::ZERO,
            is_saying: false,
            phase: Phase::Idle,
            frames: 0,
            mouth: Bytes::new(),
            playback: Playback::new(config.format, config.records),
            log: Log::default(),
            config,
        }
    }

    /// Adds a step to the end of the script.
    pub fn push(&mut self, step: Step) {
        self.script.push_back(step);
    }

    /// Whether every step of the script is done.
    #[must_use]
    pub fn is_script_done(&self) -> bool {
        self.script.is_empty()
    }

    /// Whether the stream has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// What happened so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What the caller heard from the opening of the stream on, in the stream's format, silence where nothing played.
    /// It ends with the last audio. Empty when `records` is off.
    #[must_use]
    pub fn heard(&self) -> &[u8] {
        self.playback.timeline()
    }

    /// Audio heard of the speech in progress: the play head that a truncation is to match.
    #[must_use]
    pub fn spoken(&self) -> MediaTime {
        self.playback.spoken()
    }

    /// Time since the stream was opened.
    #[must_use]
    pub fn stream_time(&self, now: Instant) -> MediaTime {
        match self.phase {
            Phase::Streaming { opened_at } => MediaTime::from_duration(now.saturating_since(opened_at)),
            Phase::Idle | Phase::Over => MediaTime::ZERO,
        }
    }

    /// Takes what came from the gateway.
    pub fn on_wire(&mut self, wire: Wire, now: Instant, out: &mut Vec<Wire>) {
        if self.phase == Phase::Over {
            return;
        }
        self.on_timeout(now, out);
        match wire {
            Wire::Opened => self.open(now, out),
            Wire::Text(text) => self.on_text(&text, now, out),
            Wire::Binary(_) => self.reject(31924),
            Wire::Packet(_) | Wire::Quality(_) => {}
            Wire::Close { code, .. } => {
                self.warn(31921);
                self.end(Ending::Closed { code }, self.stream_time(now));
            }
            Wire::Refused(_) => self.end(Ending::Refused, MediaTime::ZERO),
        }
    }

    /// Call at or after [`poll_timeout`](Self::poll_timeout).
    pub fn on_timeout(&mut self, now: Instant, out: &mut Vec<Wire>) {
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= now) {
            let time = self.stream_time(tick);
            self.play_until(time, out);
            self.speak(out);
            self.run_script(time, out);
        }
        if let Phase::Streaming { .. } = self.phase {
            self.play_until(self.stream_time(now), out);
        }
    }

    /// When the double next wants [`on_timeout`](Self::on_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Phase::Streaming { opened_at } = self.phase else { return None };
        let mark = self.playback.next_mark().map(|at| opened_at + at);
        self.next_tick().into_iter().chain(mark).min()
    }

    fn next_tick(&self) -> Option<Instant> {
        let Phase::Streaming { opened_at } = self.phase else { return None };
        Some(opened_at + MediaTime::from_ms((self.frames + 1) * 20))
    }

    fn open(&mut self, now: Instant, out: &mut Vec<Wire>) {
        if self.phase != Phase::Idle {
            return;
        }
        self.phase = Phase::Streaming { opened_at: now };
        out.push(Wire::Text(Saying::CONNECTED.into()));
        let Config { account_sid, call_sid, format, custom_parameters: parameters, .. } = &self.config;
        let start = Start { account_sid, call_sid, format: *format, parameters };
        out.push(text(|text| self.saying.start(&start, text)));
        self.run_script(MediaTime::ZERO, out);
    }

    /// The next 20 ms of the caller.
    fn speak(&mut self, out: &mut Vec<Wire>) {
        let timestamp = self.config.first_timestamp_ms + self.frames * 20;
        self.frames += 1;
        if self.mouth.is_empty() && self.config.silence == Silence::Holes {
            return;
        }
        let bytes = self.config.format.bytes_for(MediaTime::FRAME).unwrap_or(0);
        let mut frame = self.mouth.split_to(bytes.min(self.mouth.len())).to_vec();
        frame.resize(bytes, self.config.format.silence());
        let payload = Payload::Raw(frame.into());
        out.push(text(|text| self.saying.media(timestamp, &payload, text)));
    }

    fn on_text(&mut self, text: &[u8], now: Instant, out: &mut Vec<Wire>) {
        let Phase::Streaming { .. } = self.phase else { return };
        let time = self.stream_time(now);
        match parse(text, &self.config.stream_sid) {
            Some(Said::Media(audio)) => self.playback.enqueue(audio, time, &mut self.log),
            Some(Said::Mark(name)) => self.playback.mark(name),
            Some(Said::Clear) => {
                let saying = &mut self.saying;
                self.playback.clear(time, &mut self.log, &mut |name| echo(name, saying, out));
            }
            None => self.reject(31951),
        }
        self.play_until(time, out);
    }

    fn play_until(&mut self, time: MediaTime, out: &mut Vec<Wire>) {
        let saying = &mut self.saying;
        self.playback.advance(time, &mut self.log, &mut |name| echo(name, saying, out));
    }

    fn reject(&mut self, code: u32) {
        self.log.invalid += 1;
        self.warn(code);
    }

    /// Twilio reports a kind of fault once a stream.
    fn warn(&mut self, code: u32) {
        if !self.log.warnings.contains(&code) {
            self.log.warnings.push(code);
        }
    }

    fn end(&mut self, ending: Ending, at: MediaTime) {
        self.phase = Phase::Over;
        self.log.ending = Some((at, ending));
    }

    /// Does the steps that are due.
    fn run_script(&mut self, now: MediaTime, out: &mut Vec<Wire>) {
        while self.phase != Phase::Over {
            let Some(step) = self.script.front().cloned() else { return };
            if !self.is_done(step, now, out) {
                return;
            }
            self.script.pop_front();
            self.step += 1;
            self.step_began = now;
            self.is_saying = false;
        }
    }

    fn is_done(&mut self, step: Step, now: MediaTime, out: &mut Vec<Wire>) -> bool {
        let waited = now.saturating_sub(self.step_began);
        match step {
            Step::Wait(ms) => waited >= MediaTime::from_ms(ms),
            Step::Say(audio) => self.say(audio, now),
            Step::WaitForAudio { at_most_ms } => {
                let has_played = self.playback.quiet_since().is_some_and(|since| since > self.step_began);
                let is_met = has_played || self.playback.is_playing();
                self.is_met(is_met, MediaTime::from_ms(at_most_ms), now)
            }
            Step::WaitForSilence { ms, at_most_ms } => {
                let since = self.playback.quiet_since().unwrap_or(self.step_began).max(self.step_began);
                let is_quiet = now.saturating_sub(since) >= MediaTime::from_ms(ms);
                let is_met = is_quiet && !self.playback.is_playing();
                self.is_met(is_met, MediaTime::from_ms(at_most_ms), now)
            }
            Step::BargeIn { after_ms_of_model_speech, audio } => {
                let is_met = self.playback.spoken() >= MediaTime::from_ms(after_ms_of_model_speech);
                (self.is_saying || self.is_met(is_met, BARGE_IN_WITHIN, now)) && self.say(audio, now)
            }
            Step::Dtmf(key) => {
                out.push(text(|text| self.saying.dtmf(key, text)));
                true
            }
            Step::Send(fault) => {
                out.push(Wire::Text(fault.into()));
                true
            }
            Step::HangUp => {
                let Config { account_sid, call_sid, .. } = &self.config;
                out.push(text(|text| self.saying.stop(account_sid, call_sid, text)));
                out.push(Wire::Close { code: 1000, reason: "".into() });
                self.end(Ending::HungUp, now);
                true
            }
            Step::Reset => {
                out.push(Wire::Close { code: 1006, reason: "".into() });
                self.end(Ending::Reset, now);
                true
            }
        }
    }

    /// Begins to say `audio`, or looks whether it has been said.
    fn say(&mut self, audio: Bytes, now: MediaTime) -> bool {
        if !self.is_saying {
            self.is_saying = true;
            self.mouth = audio;
            self.log.said.push(Span { from: now, to: now });
        }
        if let Some(said) = self.log.said.last_mut() {
            said.to = now;
        }
        self.mouth.is_empty()
    }

    /// Whether a wait is over: met, or in vain.
    fn is_met(&mut self, is_met: bool, at_most: MediaTime, now: MediaTime) -> bool {
        let is_in_vain = !is_met && now.saturating_sub(self.step_began) >= at_most;
        if is_in_vain {
            self.log.missed.push(self.step);
        }
        is_met || is_in_vain
    }
}
