//! The live calls of this machine: starts each as one task, finds it by id, and remembers how the last ones ended.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use patchbay_core::{CallConfig, EndReason, Leg, Prompts};
use patchbay_legs::{ConfigError, Media};
use tokio::sync::{mpsc, watch};

use crate::archive::Archive;
use crate::cashier::Cashier;
use crate::driver::{Control, Driver, Opener};
use crate::journal::{CallRecord, Desks, Journal, SharedRecord};
use crate::meter::{Bill, Till};
use crate::metrics::Metrics;
use crate::overload::Overload;
use crate::recorder::{Header, LegPlan, Recorder};
use crate::recording::airing::Airing;
use crate::recording::{self, Order, Recording};
use crate::scribe::{Beginning, Parties, Scribe};
use crate::transport::Carrier;

/// Requests that may wait for a busy call.
const CONTROL_MAX: usize = 16;
/// Ended calls that are remembered.
const ENDED_MAX: usize = 1000;
/// Version of recordings.
const RECORDING: u32 = 1;

/// All that is needed to start a call.
pub struct CallPlan {
    /// `call_…`, unguessable.
    pub id: Box<str>,
    /// Whose call.
    pub tenant: Box<str>,
    /// By which route.
    pub route: Box<str>,
    /// What the call is told.
    pub config: CallConfig,
    /// Who comes to us.
    pub caller: LegPlan,
    /// Who answers.
    pub callee: LegPlan,
    /// Who may come to steer from aside, if anybody.
    pub aside: Option<LegPlan>,
    /// How the callee is reached.
    pub opener: Opener,
    /// Who pays what for it.
    pub bill: Bill,
    /// Who talks to whom.
    pub parties: Parties,
    /// Whether words are kept.
    pub keeps_words: bool,
    /// Whether its sound is recorded.
    pub recording: Option<Order>,
    /// Held until the call is over, then dropped: the proof of admission.
    pub ticket: Box<dyn Send>,
}

/// A call as the outside sees it.
#[derive(Clone)]
pub struct CallHandle {
    control: mpsc::Sender<Control>,
    record: SharedRecord,
    airing: Option<Airing>,
}

impl CallHandle {
    /// Hands over the caller's transport. Gives it back when the call is over, or too busy.
    ///
    /// # Errors
    /// The port, for the shell to close.
    pub fn attach(&self, port: Carrier) -> Result<(), Carrier> {
        self.control.try_send(Control::Attach(port)).map_err(|refused| match refused.into_inner() {
            Control::Attach(port) => port,
            _ => unreachable!("an attach was sent"),
        })
    }

    /// Hands over the transport of somebody who steers. Gives it back when the call is over, or too busy.
    ///
    /// # Errors
    /// The port, for the shell to close.
    pub fn steer(&self, port: Carrier) -> Result<(), Carrier> {
        self.control.try_send(Control::Steer(port)).map_err(|refused| match refused.into_inner() {
            Control::Steer(port) => port,
            _ => unreachable!("a steer was sent"),
        })
    }

    /// Asks the call to end. False when it is over already.
    #[must_use]
    pub fn end(&self, reason: EndReason) -> bool {
        self.control.try_send(Control::End(reason)).is_ok()
    }

    /// A copy of what is known of it.
    #[must_use]
    pub fn record(&self) -> CallRecord {
        self.record.lock().expect("no holder of a record panics").clone()
    }
}

/// The calls of this machine. The lock protects the two tables, for the time of one look-up or change; no call waits
/// for it while audio flows.
pub struct Calls {
    tables: Mutex<Tables>,
    live: watch::Sender<usize>,
    metrics: Arc<Metrics>,
    prompts: Prompts,
    recordings: Option<PathBuf>,
    till: Till,
    archive: Archive,
    overload: Arc<Overload>,
}

/// What all calls share.
pub struct Shared {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is said without a provider.
    pub prompts: Prompts,
    /// The folder for replayable recordings, if they are wanted.
    pub recordings: Option<PathBuf>,
    /// What calls cost.
    pub till: Till,
    /// What is kept.
    pub archive: Archive,
    /// How late we are.
    pub overload: Arc<Overload>,
}

#[derive(Default)]
struct Tables {
    live: BTreeMap<Box<str>, CallHandle>,
    ended: VecDeque<SharedRecord>,
}

impl Calls {
    /// No calls yet.
    #[must_use]
    pub fn new(shared: Shared) -> Arc<Self> {
        let Shared { metrics, prompts, recordings, till, archive, overload } = shared;
        let (tables, live) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { tables, live, metrics, prompts, recordings, till, archive, overload })
    }

    /// Starts a call: its callee is dialled at once, its caller may come later.
    ///
    /// # Errors
    /// [`ConfigError`] when a leg refuses its configuration.
    pub fn start(self: &Arc<Self>, plan: CallPlan) -> Result<CallHandle, ConfigError> {
        let header = Header {
            patchbay_recording: RECORDING,
            call: plan.config.clone(),
            caller: plan.caller.clone(),
            callee: plan.callee.clone(),
            aside: plan.aside,
        };
        let call = header.call(self.prompts.clone())?;
        let record: SharedRecord = Arc::new(Mutex::new(CallRecord::new(&plan.id, &plan.tenant, &plan.route)));
        let scribe = Scribe::new(
            self.archive.writer.clone(),
            Beginning {
                party: &plan.bill.party,
                parties: plan.parties,
                caller: &plan.caller,
                callee: &plan.callee,
                keeps_words: plan.keeps_words,
                recording: plan.recording.as_ref().map(|order| order.path(&plan.id)),
            },
        );
        let airing = plan.config.records.then(Airing::new);
        let recorder = self.recordings.as_ref().map(|folder| Recorder::start(folder, &plan.id, header));
        let (control, requests) = mpsc::channel(CONTROL_MAX);
        let cashier = Cashier::new(self.till.meter(plan.bill), control.clone());
        let mut journal = Journal::new(Desks {
            record: Arc::clone(&record),
            metrics: Arc::clone(&self.metrics),
            recorder,
            cashier,
            scribe: Some(scribe),
            overload: Arc::clone(&self.overload),
        });
        let mut writing = None;
        if let Some(order) = plan.recording {
            let (recording, task) = Recording::start(order, &plan.id, &self.metrics);
            record.lock().expect("no holder of a record panics").recording =
                Some(recording::file_name(&plan.id).into());
            (journal, writing) = (journal.with_recording(recording), Some(task));
        }
        let journal = journal.with_airing(airing.clone());
        let handle = CallHandle { control, record, airing };
        self.enter(&plan.id, handle.clone());
        let driver = Driver::new(call, plan.opener, journal, requests);
        let (calls, id, ticket) = (Arc::clone(self), plan.id, plan.ticket);
        tokio::spawn(async move {
            // A panic ends one call, and is counted.
            if AssertUnwindSafe(driver).catch_unwind().await.is_err() {
                calls.metrics.ended("panic");
                tracing::error!(call = %id, "a call ended by a bug of ours");
            }
            drop(ticket);
            if let Some(writing) = writing {
                writing.finished().await;
            }
            calls.leave(&id);
        });
        Ok(handle)
    }

    /// The live call of that id.
    #[must_use]
    pub fn live(&self, id: &str) -> Option<CallHandle> {
        self.tables().live.get(id).cloned()
    }

    /// What is known of a call, live or lately ended.
    #[must_use]
    pub fn record(&self, id: &str) -> Option<CallRecord> {
        let tables = self.tables();
        let ended =
            || tables.ended.iter().rev().find(|record| *record.lock().expect("no holder panics").id == *id);
        let record = tables.live.get(id).map(|handle| &handle.record).or_else(ended)?;
        let copy = record.lock().expect("no holder of a record panics").clone();
        Some(copy)
    }

    /// Every call that is known, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<CallRecord> {
        let tables = self.tables();
        let records = tables.live.values().map(|handle| &handle.record).chain(&tables.ended);
        let mut all: Vec<_> =
            records.map(|r| r.lock().expect("no holder of a record panics").clone()).collect();
        all.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
        all
    }

    /// The live calls that can be heard.
    #[must_use]
    pub fn on_air(&self) -> Vec<(Box<str>, Airing)> {
        let tables = self.tables();
        tables.live.iter().filter_map(|(id, call)| Some((id.clone(), call.airing.clone()?))).collect()
    }

    /// How many are live.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.live.borrow()
    }

    /// Resolves when no call is live.
    pub async fn drained(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.live.subscribe().wait_for(|live| *live == 0).await;
    }

    /// Ends all.
    pub fn end_all(&self, reason: EndReason) {
        for handle in self.tables().live.values() {
            let _ = handle.end(reason);
        }
    }

    /// Ends the newest, so many of them: those who lose least by it.
    pub fn end_newest(&self, count: usize, reason: EndReason) {
        let tables = self.tables();
        let began = |handle: &CallHandle| handle.record.lock().expect("no holder panics").started_at;
        let mut live: Vec<_> = tables.live.values().map(|handle| (began(handle), handle)).collect();
        live.sort_by_key(|(began, _)| std::cmp::Reverse(*began));
        for (_, handle) in live.into_iter().take(count) {
            let _ = handle.end(reason);
        }
    }

    /// Forgets the calls that ended.
    pub fn drop_ended(&self) {
        self.tables().ended.clear();
    }

    fn enter(&self, id: &str, handle: CallHandle) {
        self.tables().live.insert(id.into(), handle);
        self.metrics.started();
        self.live.send_modify(|live| *live += 1);
    }

    fn leave(&self, id: &str) {
        let mut tables = self.tables();
        if let Some(handle) = tables.live.remove(id) {
            tables.ended.push_back(handle.record);
            if tables.ended.len() > ENDED_MAX {
                tables.ended.pop_front();
            }
        }
        drop(tables);
        self.live.send_modify(|live| *live -= 1);
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().expect("no holder of the tables panics")
    }
}

/// Makes the leg of a plan.
///
/// # Errors
/// [`ConfigError`] for an unknown kind, or a configuration that the endpoint refuses.
pub fn open(plan: &LegPlan) -> Result<Box<dyn Leg>, ConfigError> {
    let Some(endpoint) = patchbay_legs::endpoint(&plan.kind) else {
        return Err(ConfigError {
            kind: "unknown",
            reason: format!("no endpoint is called {:?}", plan.kind),
        });
    };
    (endpoint.open)(&plan.config, Media { ingress: plan.ingress, egress: plan.egress })
}
