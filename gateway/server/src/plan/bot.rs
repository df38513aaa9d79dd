//! A bot that answers: what it is told of the call, and how it is dialled.

use axum::http::{HeaderName, HeaderValue};
use patchbay_core::Format;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Phone, PlanError, Target, dialer};
use crate::api::twilio::signature::sign;
use crate::config::Provider;
use crate::driver::Opener;
use crate::recorder::LegPlan;
use crate::transport::{DialSpec, PortLimits};

/// Longest message of a bot: a minute and a half of µ-law in base64.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What a call goes by towards a bot that was written for Twilio.
pub(super) struct CallIds {
    call_sid: String,
    account_sid: String,
}

impl CallIds {
    /// Twilio's own: the bot can ask Twilio about the call.
    pub(super) fn of_phone(phone: Phone<'_>) -> Self {
        Self { call_sid: phone.call_sid.to_owned(), account_sid: phone.account_sid.to_owned() }
    }

    /// In Twilio's shape, from the call's own id and the tenant.
    pub(super) fn of_client(id: &str, target: Target<'_>) -> Self {
        let hex = id.rsplit('_').next().unwrap_or_default();
        let account = target.tenant.twilio.account_sid.clone();
        let made = || format!("AC{}", crate::id::hex(&Sha256::digest(target.tenant.name.as_bytes())[..16]));
        Self { call_sid: format!("CA{hex}"), account_sid: account.unwrap_or_else(made) }
    }
}

/// The leg in which we are Twilio. `relays`: whether the caller wants to be told what happens in the realtime API's words.
pub(super) fn twilio(target: Target<'_>, ids: &CallIds, relays: bool) -> LegPlan {
    let config = json!({
        "stream_sid": crate::id::fresh("MZ"),
        "call_sid": ids.call_sid,
        "account_sid": ids.account_sid,
        "parameters": target.provider.parameters,
        "relays": relays,
    });
    LegPlan { kind: "bot_twilio".into(), config, ingress: Format::PCMU, egress: Format::PCMU }
}

/// Dials as Twilio does: with a signature over the address as it is written, if the bot has a token to check it with.
pub(super) fn dial_as_twilio(bot: &Provider) -> Result<Opener, PlanError> {
    let mut spec = DialSpec::new(&bot.base_url).map_err(|_| PlanError("the bot's url is no address"))?;
    if let Some(token) = &bot.key {
        let signature = HeaderValue::try_from(sign(token.expose(), &bot.base_url, &[]));
        let signature = signature.map_err(|_| PlanError("a header cannot be sent"))?;
        spec = spec.secret(HeaderName::from_static("x-twilio-signature"), signature);
    }
    spec.within = bot.connect_timeout;
    spec.limits = PortLimits { message_max: MESSAGE_BYTES_MAX, ..PortLimits::PROVIDER };
    Ok(Opener::Dial { dialer: dialer(bot)?, spec: Box::new(spec) })
}
