//! What a call leaves behind: its record, its metrics, and, if asked for, the recording of its inputs.
//!
//! The media path only writes here: into memory, or into a bounded queue. Nothing waits.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use patchbay_core::{
    Cut, Effect, Event, Fact, Input, Instant, LegId, Outcome, Output, PromptKind, Recorded, Role, Usage,
    Wire, is_recorded,
};
use serde::Serialize;

use crate::cashier::Cashier;
use crate::meter::Metered;
use crate::metrics::Metrics;
use crate::overload::{Level, Overload};
use crate::pauses::{Pause, Pauses};
use crate::recorder::Recorder;
use crate::recording::Recording;
use crate::recording::airing::Airing;
use crate::scribe::Scribe;

/// Transcript items kept for one call.
const TRANSCRIPT_MAX: usize = 500;
/// Cuts kept for one call.
const CUTS_MAX: usize = 500;
/// Answers that a record lists.
const ANSWERS_MAX: usize = 500;

/// Reports of use that a record lists; its cost is of all.
const USAGE_MAX: usize = 1000;

/// What is known of one call, while it runs and after.
#[derive(Clone, Debug, Serialize)]
pub struct CallRecord {
    /// `call_…`
    pub id: Box<str>,
    /// Whose call.
    pub tenant: Box<str>,
    /// By which route.
    pub route: Box<str>,
    /// Seconds since 1970.
    pub started_at: u64,
    /// Milliseconds; so far, or in all.
    pub duration_ms: u64,
    /// `waiting`, `live` or `ended`.
    pub state: &'static str,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What was said, in order. Personal data.
    pub transcript: Vec<Said>,
    /// Milliseconds from when each answer was owed to its first audio.
    pub answered_after_ms: Vec<u64>,
    /// What was interrupted.
    pub cuts: Vec<CutRecord>,
    /// Use as the provider reported it.
    pub usage: Vec<Usage>,
    /// Millionths of a US dollar by the price list, so far.
    pub cost_micro_usd: i64,
    /// Times the provider was dialled again.
    pub redials: u32,
    /// Keys that were pressed.
    pub dtmf: String,
    /// Name of the file with its sound, if it is recorded; `.part` is added to it until the file is complete.
    pub recording: Option<Box<str>>,
}

/// One item of a transcript.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// Who.
    pub role: Role,
    /// Milliseconds into the call.
    pub at_ms: u64,
    /// What.
    pub text: Box<str>,
}

/// How much of an utterance was heard.
#[derive(Clone, Debug, Serialize)]
pub struct CutRecord {
    /// Milliseconds into the call.
    pub at_ms: u64,
    /// Milliseconds that the caller heard.
    pub heard_ms: u64,
    /// Milliseconds that went out.
    pub sent_ms: u64,
    /// Milliseconds that the provider sent.
    pub received_ms: u64,
}

impl CallRecord {
    /// Of a call that begins now.
    #[must_use]
    pub fn new(id: &str, tenant: &str, route: &str) -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            id: id.into(),
            tenant: tenant.into(),
            route: route.into(),
            started_at: since_1970.as_secs(),
            duration_ms: 0,
            state: "waiting",
            outcome: None,
            transcript: Vec::new(),
            answered_after_ms: Vec::new(),
            cuts: Vec::new(),
            usage: Vec::new(),
            cost_micro_usd: 0,
            redials: 0,
            dtmf: String::new(),
            recording: None,
        }
    }

    /// Counts `usage`, and answers what the call cost so far.
    fn used(&mut self, usage: &Usage, metered: Metered) -> i64 {
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(metered.micro_usd);
        let is_same = |known: &Usage| known.kind == usage.kind && known.key == usage.key;
        match self.usage.iter().position(is_same).filter(|_| metered.replaces) {
            Some(estimate) => self.usage[estimate] = usage.clone(),
            None if self.usage.len() < USAGE_MAX => self.usage.push(usage.clone()),
            None => {}
        }
        self.cost_micro_usd
    }
}

/// A record that the API may read while the call writes it. The lock protects one record, for the time of one field's
/// change or of one copy; the call takes it at events, never for audio.
pub type SharedRecord = Arc<Mutex<CallRecord>>;

/// The journal of one call.
pub struct Journal {
    record: SharedRecord,
    metrics: Arc<Metrics>,
    recorder: Option<Recorder>,
    cashier: Cashier,
    scribe: Option<Scribe>,
    overload: Arc<Overload>,
    recording: Option<Recording>,
    airing: Option<Airing>,
    dialled_at: Option<Instant>,
    pauses: Pauses,
}

/// Where a journal writes to.
pub struct Desks {
    /// What the API reads.
    pub record: SharedRecord,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The inputs, for a replay.
    pub recorder: Option<Recorder>,
    /// What was used.
    pub cashier: Cashier,
    /// What is kept.
    pub scribe: Option<Scribe>,
    /// How late timers were.
    pub overload: Arc<Overload>,
}

impl Journal {
    /// A journal of a call that begins.
    #[must_use]
    pub fn new(desks: Desks) -> Self {
        let Desks { record, metrics, recorder, cashier, scribe, overload } = desks;
        Self {
            record,
            metrics,
            recorder,
            cashier,
            scribe,
            overload,
            recording: None,
            airing: None,
            dialled_at: None,
            pauses: Pauses::default(),
        }
    }

    /// The call's sound is recorded, too.
    #[must_use]
    pub fn with_recording(mut self, recording: Recording) -> Self {
        self.recording = Some(recording);
        self
    }

    /// Operators may listen in, if there is an airing.
    #[must_use]
    pub fn with_airing(mut self, airing: Option<Airing>) -> Self {
        self.airing = airing;
        self
    }

    /// An input, before the call sees it.
    pub fn input(&mut self, now: Instant, input: &Input) {
        if let Some(recorder) = &mut self.recorder {
            recorder.write(Recorded::In { at: now, input: input.clone() });
        }
        self.cashier.look(now);
    }

    /// An output, before it is performed. Audio on its way takes the first branch.
    pub fn output(&mut self, now: Instant, output: &Output) {
        if let Some(recorder) = &mut self.recorder
            && is_recorded(output)
        {
            recorder.write(Recorded::Out { output: output.clone() });
        }
        match output {
            Output::Wire { wire: Wire::Text(_) | Wire::Binary(_) | Wire::Packet(_), .. } => {}
            Output::Event { leg, event } => self.event(now, *leg, event),
            Output::Fact(fact) => self.fact(now, fact),
            Output::Tap(tap) => {
                let spares = self.overload.level() >= Level::Sparing;
                if let Some(airing) = self.airing.as_ref().filter(|_| !spares) {
                    airing.tap(tap);
                }
                match &mut self.recording {
                    Some(recording) if spares => recording.tap_without_sound(tap),
                    Some(recording) => recording.tap(tap),
                    None => {}
                }
            }
            Output::Effect(Effect::Open { leg, callee }) => self.opened(now, *leg, *callee),
            Output::Effect(Effect::Ended(outcome)) => self.ended(now, outcome),
            Output::Wire { .. } => {}
        }
    }

    /// The call was woken this much after the deadline it had asked for.
    pub fn woke_late(&self, late: Duration) {
        self.metrics.tick_lateness(late);
        self.overload.late(late);
    }

    fn opened(&mut self, now: Instant, leg: LegId, is_callee: bool) {
        if is_callee {
            self.dialled_at = Some(now);
        }
        if let Some(scribe) = &mut self.scribe {
            scribe.opened(leg, is_callee);
        }
    }

    fn event(&mut self, now: Instant, leg: LegId, event: &Event) {
        if let Some(scribe) = &mut self.scribe {
            scribe.event(now, leg, event);
        }
        let pause = self.pauses.event(now, event);
        self.paused(pause);
        match event {
            Event::LegUp if leg == LegId(0) => {
                self.metrics.set_up(now.saturating_since(Instant::ZERO));
                self.write(|record| record.state = "live");
            }
            Event::LegUp => {
                if let Some(at) = self.dialled_at.take() {
                    self.metrics.provider_connected(now.saturating_since(at));
                }
            }
            Event::TranscriptReceived { role, text, is_final: true, .. } => {
                let said = Said { role: *role, at_ms: ms(now), text: text.clone() };
                self.write(|record| {
                    if record.transcript.len() < TRANSCRIPT_MAX {
                        record.transcript.push(said);
                    }
                });
            }
            Event::UsageReported(usage) => {
                if let Some(metered) = self.cashier.take(leg, usage) {
                    let cost = self.write(|record| record.used(usage, metered));
                    if let Some(scribe) = &mut self.scribe {
                        scribe.cost(cost);
                    }
                }
            }
            Event::DtmfReceived(key) => self.write(|record| record.dtmf.push(*key)),
            Event::MessageDropped { reason } => self.metrics.message_dropped(reason),
            Event::AudioLost { span, .. } => self.metrics.rtc_concealed(span.to_duration()),
            Event::QualityReported(quality) => self.metrics.rtc_quality(quality),
            Event::PeerComplained { code } => self.metrics.provider_error(code),
            Event::LegDown(down) => self.metrics.leg_down(down),
            _ => {}
        }
    }

    fn fact(&mut self, now: Instant, fact: &Fact) {
        if let Some(scribe) = &mut self.scribe {
            scribe.fact(now, fact);
        }
        let pause = self.pauses.fact(now, fact);
        self.paused(pause);
        match fact {
            Fact::Answered { after_us } => {
                self.metrics.answered(Duration::from_micros(*after_us));
                self.write(|record| {
                    if record.answered_after_ms.len() < ANSWERS_MAX {
                        record.answered_after_ms.push(after_us / 1000);
                    }
                });
            }
            Fact::Cut(cut) => {
                self.metrics.cut();
                let cut = cut_record(now, cut);
                self.write(|record| {
                    if record.cuts.len() < CUTS_MAX {
                        record.cuts.push(cut);
                    }
                });
            }
            Fact::Redialled { attempt } => {
                if *attempt > 0 {
                    self.metrics.redialled();
                    self.write(|record| record.redials += 1);
                }
            }
            Fact::Rotated => self.metrics.rotated(),
            Fact::Prompted(kind) => self.metrics.prompted(match kind {
                PromptKind::Filler => "filler",
                PromptKind::Notice => "notice",
                PromptKind::Apology => "apology",
                PromptKind::Budget => "budget",
                PromptKind::Recorded => "recorded",
            }),
            Fact::AudioDropped { span, .. } => self.metrics.audio_dropped(span.to_duration()),
            Fact::FrameLost { .. } => self.metrics.message_dropped("frame_lost"),
            Fact::CallerDetached | Fact::CallerReturned => {}
        }
    }

    fn paused(&self, pause: Option<Pause>) {
        match pause {
            Some(Pause::BargeIn(after)) => self.metrics.barged_in(after),
            Some(Pause::DeadAir(span)) => self.metrics.dead_air(span),
            None => {}
        }
    }

    fn ended(&mut self, now: Instant, outcome: &Outcome) {
        self.metrics.ended(outcome.reason.as_str());
        self.write(|record| {
            record.state = "ended";
            record.duration_ms = ms(now);
            record.outcome = Some(outcome.clone());
        });
        if let Some(scribe) = &mut self.scribe {
            scribe.ended(now, outcome);
        }
    }

    fn write<T>(&self, change: impl FnOnce(&mut CallRecord) -> T) -> T {
        change(&mut self.record.lock().expect("no holder of a record panics"))
    }
}

fn ms(now: Instant) -> u64 {
    now.as_micros() / 1000
}

fn cut_record(now: Instant, cut: &Cut) -> CutRecord {
    CutRecord {
        at_ms: ms(now),
        heard_ms: cut.heard.as_ms(),
        sent_ms: cut.sent.as_ms(),
        received_ms: cut.received.as_ms(),
    }
}
