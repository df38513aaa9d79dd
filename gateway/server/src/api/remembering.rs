//! A table of calls for tests of the API: it starts none, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use patchbay_core::EndReason;
use patchbay_legs::ConfigError;

use crate::app::CallTable;
use crate::calls::CallPlan;
use crate::journal::CallRecord;
use crate::transport::PortPending;

/// Remembers what it was asked.
#[derive(Clone, Default)]
pub(super) struct Remembering(pub(super) Arc<Mutex<Remembered>>);

#[derive(Default)]
pub(super) struct Remembered {
    pub(super) plans: Vec<CallPlan>,
    pub(super) records: BTreeMap<String, CallRecord>,
    pub(super) attached: Vec<String>,
    pub(super) ended: Vec<String>,
    pub(super) pending: Vec<PortPending>,
}

impl CallTable for Remembering {
    fn start(&self, plan: CallPlan) -> Result<(), ConfigError> {
        let mut memory = self.0.lock().unwrap();
        memory.records.insert(plan.id.to_string(), CallRecord::new(&plan.id, &plan.tenant, &plan.route));
        memory.plans.push(plan);
        Ok(())
    }

    fn attach(&self, id: &str, pending: PortPending) {
        let mut memory = self.0.lock().unwrap();
        memory.attached.push(id.to_owned());
        memory.pending.push(pending);
    }

    fn end(&self, id: &str, _reason: EndReason) -> bool {
        self.0.lock().unwrap().ended.push(id.to_owned());
        true
    }

    fn record(&self, id: &str) -> Option<CallRecord> {
        self.0.lock().unwrap().records.get(id).cloned()
    }

    fn list(&self) -> Vec<CallRecord> {
        self.0.lock().unwrap().records.values().cloned().collect()
    }

    fn drop_ended(&self) {}
}
