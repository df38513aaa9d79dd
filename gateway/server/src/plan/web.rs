//! A call that a browser opens over WebRTC: its audio beside its events.

use patchbay_core::Format;
use serde_json::json;

use super::client::{Client, Conversation, Legs, conversation, model_format, plan};
use super::{PlanError, Target};
use crate::admission::units_between;
use crate::calls::CallPlan;
use crate::config::{AudioChoice, Config, ProviderKind};
use crate::recorder::LegPlan;

/// Transcoding Opus both ways, in units of 100 µs of CPU a second: 10 to 15 ms a second were measured for the encoder and 2.5 for
/// the decoder (reference/performance.md).
const OPUS_UNITS: u32 = 150;

/// What a browser's call costs at admission: nothing where the model takes what it sends.
#[must_use]
pub fn web_units(target: Target<'_>, format: Format) -> u32 {
    // A bot is offered what the browser sends.
    if format == Format::OPUS && target.provider.kind != ProviderKind::Bot {
        OPUS_UNITS
    } else {
        units_between(format, towards_model(target, format))
    }
}

/// Plans a call of `client` whose media is in `format`. `ticket` is held until the call is over.
///
/// # Errors
/// [`PlanError`] for an address, a key, an authority or settings that cannot be used.
pub fn web_call(
    id: &str,
    target: Target<'_>,
    (client, format): (Client<'_>, Format),
    config: &Config,
    ticket: Box<dyn Send>,
) -> Result<CallPlan, PlanError> {
    let Conversation { client: events, callee, aside, .. } =
        conversation(id, target, client, towards_model(target, format))?;
    let caller = LegPlan {
        kind: "webrtc".into(),
        config: json!({ "events": serde_json::to_value(events).expect("settings are JSON") }),
        ingress: format,
        egress: format,
    };
    plan(id, target, client, config, Legs { caller, callee, aside }, ticket)
}

/// A voice in Opus is wide: it stays so towards a model that takes more than the telephone has.
fn towards_model(target: Target<'_>, format: Format) -> Format {
    if target.provider.kind == ProviderKind::Bot {
        return format;
    }
    let is_narrow = format == Format::PCMU && target.route.audio == AudioChoice::Auto;
    if is_narrow { Format::PCMU } else { model_format(target) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn opus_costs_units_and_what_passes_through_costs_none() {
        let units = |audio: &str, format| {
            let mut sources = Sources::default();
            sources.set("OPENAI_API_KEY", "sk-x");
            sources.set("PATCHBAY__TENANTS__DEFAULT__ROUTES__DEFAULT__AUDIO", audio);
            let config = Config::parse(&sources).unwrap();
            let (tenant, route, provider) = config.route("default", "default").unwrap();
            web_units(Target { tenant: &tenant, route: &route, provider: &provider }, format)
        };
        assert_eq!(units("auto", Format::OPUS), OPUS_UNITS);
        assert_eq!(units("auto", Format::PCMU), 0, "the model takes what the browser sends");
        assert!((1..OPUS_UNITS).contains(&units("pcm", Format::PCMU)));
    }
}
