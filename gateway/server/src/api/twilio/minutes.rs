//! Minutes of phone calls whose status callback never comes: estimated by how long our call lasted, then set right by
//! asking Twilio (<https://www.twilio.com/docs/voice/api/call-resource>, 2026-11).

use std::sync::Arc;
use std::time::{Duration, Instant};

use patchbay_store::{Quality, UnixMs};

use crate::app::App;
use crate::meter::{Due, PhoneBill, PhoneCall};

/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Sees to it, for ever. The caller owns the task.
pub async fn keep_settled(app: Arc<App>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        look(&app, Instant::now()).await;
    }
}

/// Does what is due at `now`.
pub(super) async fn look(app: &App, now: Instant) {
    let lasted = |id: &str| match app.calls.record(id) {
        Some(record) if record.state == "ended" => Some(record.duration_ms.div_ceil(1000)),
        Some(_) => None,
        // It ended so long ago that this machine has forgotten it.
        None => Some(0),
    };
    for due in app.till.telephone.due(now, lasted) {
        match due {
            Due::Estimate(call, seconds) => bill(app, &call, seconds, Quality::Estimated),
            Due::Ask(call) => ask(app, &call).await,
        }
    }
}

async fn ask(app: &App, call: &PhoneCall) {
    let config = app.config();
    let Some(tenant) = config.tenants.get(&call.tenant) else { return };
    if tenant.twilio.rest_credential().is_none() {
        return;
    }
    match app.twilio.lasted(&tenant.twilio, &call.call_sid).await {
        Ok(Some(seconds)) => bill(app, call, seconds, Quality::Reconciled),
        // It goes on, with somebody else.
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(call = call.call, %error, "Twilio was asked how long a phone call lasted; once more later");
        }
    }
}

fn bill(app: &App, call: &PhoneCall, seconds: u64, quality: Quality) {
    let config = app.config();
    let Some(tenant) = config.tenants.get(&call.tenant) else { return };
    let bill = PhoneBill {
        call_sid: &call.call_sid,
        tenant: &call.tenant,
        route: &call.route,
        call: &call.call,
        direction: call.direction,
        called: call.called.reveal(),
        seconds,
        quality,
    };
    app.till.telephone.take(&bill, &config.prices_of(tenant), &tenant.spend, UnixMs::now());
}
