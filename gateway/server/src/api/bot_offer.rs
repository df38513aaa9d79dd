//! How a call that a bot answers finds its bot.

use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use patchbay_core::{Format, Refusal};
use patchbay_legs::bot::FORMATS;

use crate::app::App;
use crate::bots::{Bots, From, Human, Offer, Transport};
use crate::calls::CallPlan;
use crate::driver::{Accepted, Finder, Opener, Seeking};

/// Asks the directory, each time anew.
struct Asking {
    bots: Arc<Bots>,
    offer: Offer,
}

impl Finder for Asking {
    fn call(&self) -> BoxFuture<'static, Result<Accepted, Refusal>> {
        let (bots, offer) = (Arc::clone(&self.bots), self.offer.clone());
        // Whoever had the call before has lost it.
        bots.ended(&offer.call_id, "lost");
        Box::pin(async move {
            let accepted = bots.call(offer).await?;
            Ok(Accepted { receive: accepted.receive, send: accepted.send })
        })
    }

    fn ended(&self, reason: &'static str) {
        self.bots.ended(&self.offer.call_id, reason);
    }
}

/// The bot that made the call is on it already.
struct There(Accepted);

impl Finder for There {
    fn call(&self) -> BoxFuture<'static, Result<Accepted, Refusal>> {
        Box::pin(ready(Ok(self.0)))
    }

    fn ended(&self, _reason: &'static str) {}
}

impl App {
    /// Has a call that a bot is to answer look for it; any other call stays as it is.
    pub(crate) fn seek_bot(&self, plan: &mut CallPlan, human: Human) {
        if *plan.callee.kind != *"bot" {
            return;
        }
        let bot = plan.bill.party.provider.as_str();
        let usual = Accepted { receive: plan.callee.egress, send: plan.callee.ingress };
        let finder: Arc<dyn Finder> = if self.joins.claim(&plan.id) {
            Arc::new(There(usual))
        } else {
            let (from, transport) = match &*plan.caller.kind {
                "twilio" => (From::Phone, Transport::Twilio),
                "webrtc" => (From::Browser, Transport::WebRtc),
                "bot" => (From::Bot, Transport::Bot),
                _ => (From::Browser, Transport::WebSocket),
            };
            let offer = Offer {
                tenant: plan.tenant.to_string(),
                bot: bot.to_owned(),
                call_id: plan.id.to_string(),
                from,
                transport,
                codecs: codecs(plan.caller.ingress),
                human,
            };
            Arc::new(Asking { bots: Arc::clone(&self.bots), offer })
        };
        plan.opener = Opener::Bot(Seeking {
            finder,
            meetings: Arc::clone(&self.meetings),
            call: plan.id.clone(),
            tenant: plan.tenant.clone(),
            bot: bot.into(),
        });
    }
}

/// What a bot may hear and speak: first of all what the caller has, so that nothing need be transcoded.
fn codecs(caller: Format) -> Vec<Format> {
    let others = FORMATS.iter().copied().filter(|format| *format != caller);
    FORMATS.iter().copied().filter(|format| *format == caller).chain(others).collect()
}
