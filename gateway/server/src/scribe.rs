//! The scribe of one call: what of it is kept. Writes to the store's queue, which never waits.

use std::collections::HashMap;
use std::path::PathBuf;

use patchbay_core::{Cut, Down, Event, Fact, Instant, LegId, Outcome, Role, UtteranceId};
use patchbay_store::{CallRow, CutRow, Entry, LegRow, Private, TranscriptRow, UnixMs, Writer};

use crate::meter::Party;
use crate::recorder::LegPlan;

/// Items of a transcript that one call keeps: more than an hour of talk.
const ITEMS_MAX: u32 = 5_000;
/// Cuts and answers that a call's row lists.
const LISTED_MAX: usize = 500;
/// Utterances whose item is remembered: a cut comes within seconds of its utterance.
const UTTERANCES_MAX: usize = 64;

/// Who talks to whom.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    /// `inbound`, `outbound`, `browser`, `bot`.
    pub direction: &'static str,
    /// The number that called.
    pub caller: Option<Private<String>>,
    /// The number that was called.
    pub called: Option<Private<String>>,
    /// What the caller's network calls it: a `CallSid`.
    pub external_id: Option<String>,
}

/// What a scribe is told of a call at its beginning.
pub struct Beginning<'a> {
    /// Who uses what.
    pub party: &'a Party,
    /// Who talks to whom.
    pub parties: Parties,
    /// The caller's leg.
    pub caller: &'a LegPlan,
    /// The callee's leg.
    pub callee: &'a LegPlan,
    /// Whether words are kept.
    pub keeps_words: bool,
    /// The file that its sound goes to.
    pub recording: Option<PathBuf>,
}

/// Writes one call down.
pub struct Scribe {
    writer: Writer,
    call: CallRow,
    legs: HashMap<LegId, LegRow>,
    /// Kind and format of the caller's leg, and of the callee's.
    plans: [(String, String); 2],
    external_id: Option<String>,
    keeps_words: bool,
    items: u32,
    /// Where an item stands, and what was said in it: a cut comes later.
    said: HashMap<Box<str>, TranscriptRow>,
    /// How much of an item was heard, whose words have not come yet.
    heard: HashMap<Box<str>, u64>,
    /// Which legs were the caller's.
    callers: Vec<LegId>,
    utterances: HashMap<UtteranceId, Box<str>>,
}

impl Scribe {
    /// A call that begins now.
    #[must_use]
    pub fn new(writer: Writer, beginning: Beginning<'_>) -> Self {
        let Beginning { party, parties, caller, callee, keeps_words, recording } = beginning;
        let call = CallRow {
            id: party.call.clone(),
            tenant: party.tenant.clone(),
            route: party.route.clone(),
            user: party.user.clone(),
            direction: parties.direction.to_owned(),
            caller: parties.caller,
            called: parties.called,
            started_at: UnixMs::now(),
            provider: Some(party.provider.clone()),
            model: Some(party.model.clone()),
            recording: recording.map(|path| path.to_string_lossy().into_owned()),
            ..CallRow::default()
        };
        let mut scribe = Self {
            writer,
            call,
            legs: HashMap::new(),
            plans: [caller, callee].map(|plan| (plan.kind.clone(), plan.ingress.to_string())),
            external_id: parties.external_id,
            keeps_words,
            items: 0,
            said: HashMap::new(),
            heard: HashMap::new(),
            callers: Vec::new(),
            utterances: HashMap::new(),
        };
        scribe.write_call();
        scribe
    }

    /// A leg is about to come.
    pub fn opened(&mut self, leg: LegId, is_callee: bool) {
        if !is_callee {
            self.callers.push(leg);
        }
    }

    /// A leg said something.
    pub fn event(&mut self, now: Instant, leg: LegId, event: &Event) {
        match event {
            Event::LegUp => self.leg_up(now, leg),
            Event::LegDown(down) => self.leg_down(now, leg, down),
            Event::UtteranceStarted { utterance, item } => {
                if self.utterances.len() >= UTTERANCES_MAX {
                    self.utterances.clear();
                }
                self.utterances.insert(*utterance, item.clone());
            }
            Event::TranscriptReceived { role, item, text, is_final: true } => {
                self.said(now, *role, item, text);
            }
            Event::UsageReported(usage) if !usage.connection.is_empty() => {
                if let Some(row) = self.legs.get_mut(&leg) {
                    row.external_id.get_or_insert_with(|| usage.connection.to_string());
                }
            }
            Event::DtmfReceived(key) => {
                let pressed = format!("{}{key}", self.call.dtmf.reveal());
                self.call.dtmf = Private::new(pressed);
            }
            _ => {}
        }
    }

    /// The call said something.
    pub fn fact(&mut self, now: Instant, fact: &Fact) {
        match fact {
            Fact::Answered { after_us } if self.call.answered_after_ms.len() < LISTED_MAX => {
                let after_ms = u32::try_from(after_us / 1000).unwrap_or(u32::MAX);
                self.call.answered_after_ms.push(after_ms);
                self.write_call();
            }
            Fact::Cut(cut) => self.cut(now, cut),
            Fact::Redialled { attempt } if *attempt > 0 => self.call.redials += 1,
            _ => {}
        }
    }

    /// It cost so much in all, so far.
    pub fn cost(&mut self, micro_usd: i64) {
        self.call.cost_micro_usd = micro_usd;
    }

    /// It is over.
    pub fn ended(&mut self, now: Instant, outcome: &Outcome) {
        self.call.ended_at = Some(self.at(now));
        self.call.outcome = Some(outcome.reason.as_str().to_owned());
        self.call.outcome_detail = outcome.code.as_deref().map(str::to_owned);
        for leg in self.legs.values_mut().filter(|leg| leg.ended_at.is_none()) {
            leg.ended_at = self.call.ended_at;
            self.writer.push(Entry::Leg(leg.clone()));
        }
        self.write_call();
    }

    fn at(&self, now: Instant) -> UnixMs {
        let ms = i64::try_from(now.as_micros() / 1000).unwrap_or(i64::MAX);
        UnixMs(self.call.started_at.0.saturating_add(ms))
    }

    fn write_call(&mut self) {
        self.call.revision += 1;
        self.writer.push(Entry::Call(self.call.clone()));
    }

    fn leg_up(&mut self, now: Instant, leg: LegId) {
        let is_caller = self.callers.contains(&leg);
        let (kind, format) = self.plans[usize::from(!is_caller)].clone();
        let row = LegRow {
            tenant: self.call.tenant.clone(),
            call: self.call.id.clone(),
            leg: leg.0.try_into().unwrap_or(u8::MAX),
            kind,
            external_id: self.external_id.clone().filter(|_| is_caller),
            format: Some(format),
            started_at: self.at(now),
            ..LegRow::default()
        };
        self.writer.push(Entry::Leg(row.clone()));
        self.legs.insert(leg, row);
    }

    fn leg_down(&mut self, now: Instant, leg: LegId, down: &Down) {
        let at = self.at(now);
        let Some(row) = self.legs.get_mut(&leg) else { return };
        row.ended_at = Some(at);
        row.close_code = match down {
            Down::Lost { code } => Some(*code),
            _ => None,
        };
        self.writer.push(Entry::Leg(row.clone()));
    }

    fn said(&mut self, now: Instant, role: Role, item: &str, text: &str) {
        if !self.keeps_words || self.items >= ITEMS_MAX {
            return;
        }
        self.items += 1;
        let row = TranscriptRow {
            tenant: self.call.tenant.clone(),
            call: self.call.id.clone(),
            seq: self.items,
            item: Some(item.to_owned()),
            role: match role {
                Role::Caller => "caller".to_owned(),
                Role::Model => "model".to_owned(),
            },
            at_ms: now.as_micros() / 1000,
            text: Private::new(text.to_owned()),
            heard_ms: self.heard.remove(item),
        };
        self.writer.push(Entry::Transcript(row.clone()));
        if self.said.len() >= UTTERANCES_MAX {
            self.said.clear();
        }
        self.said.insert(item.into(), row);
    }

    fn cut(&mut self, now: Instant, cut: &Cut) {
        let item = self.utterances.get(&cut.utterance).cloned();
        if let Some(row) = item.as_ref().and_then(|item| self.said.get_mut(item)) {
            row.heard_ms = Some(cut.heard.as_ms());
            self.writer.push(Entry::Transcript(row.clone()));
        } else if let Some(item) = &item
            && self.heard.len() < UTTERANCES_MAX
        {
            self.heard.insert(item.clone(), cut.heard.as_ms());
        }
        if self.call.cuts.len() < LISTED_MAX {
            self.call.cuts.push(CutRow {
                at_ms: now.as_micros() / 1000,
                item: item.map(String::from),
                heard_ms: cut.heard.as_ms(),
                sent_ms: cut.sent.as_ms(),
                received_ms: cut.received.as_ms(),
            });
        }
        self.write_call();
    }
}
