//! What is counted of WebRTC: names as in reference/browser.md §1.8.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use patchbay_core::Quality;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, Reason, voice_histogram};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    dir: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pair {
    proto: &'static str,
}

/// The metrics of every WebRTC call.
pub(super) struct RtcMetrics {
    round_trip: Histogram,
    loss: Family<Direction, Histogram>,
    jitter: Family<Direction, Histogram>,
    concealed: Counter<f64, AtomicU64>,
    pairs: Family<Pair, Counter>,
    setup: Histogram,
    lost: Family<Reason, Counter>,
}

impl Default for RtcMetrics {
    fn default() -> Self {
        let loss = || Histogram::new([0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]);
        let jitter = || Histogram::new([0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32]);
        Self {
            round_trip: voice_histogram(),
            loss: Family::new_with_constructor(loss),
            jitter: Family::new_with_constructor(jitter),
            concealed: Counter::default(),
            pairs: Family::default(),
            setup: voice_histogram(),
            lost: Family::default(),
        }
    }
}

impl RtcMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        let seconds = || Unit::Seconds;
        r.register_with_unit(
            "rtc_rtt",
            "Round trips, a sample a second and call",
            seconds(),
            self.round_trip.clone(),
        );
        r.register("rtc_loss_ratio", "Packets lost, a sample a second and call", self.loss.clone());
        r.register_with_unit(
            "rtc_jitter",
            "Jitter, a sample a second and call",
            seconds(),
            self.jitter.clone(),
        );
        let concealed = "Audio from browsers that did not come and was made good";
        r.register_with_unit("rtc_concealed", concealed, seconds(), self.concealed.clone());
        r.register("rtc_pair", "Calls connected, by protocol", self.pairs.clone());
        r.register_with_unit("rtc_setup", "From the offer to the connection", seconds(), self.setup.clone());
        r.register(
            "rtc_lost",
            "Datagrams that no call got or the network did not take, by reason",
            self.lost.clone(),
        );
    }
}

impl Metrics {
    /// A datagram was lost here: it came and was for nobody, or could not leave.
    pub fn rtc_lost(&self, reason: &'static str) {
        self.rtc.lost.get_or_create(&Reason { reason: reason.into() }).inc();
    }

    /// A call is connected over `udp` or `tcp`, so long after its offer.
    pub fn rtc_connected(&self, proto: &'static str, after: Duration) {
        self.rtc.pairs.get_or_create(&Pair { proto }).inc();
        self.rtc.setup.observe(after.as_secs_f64());
    }

    /// A browser's audio that will not come.
    pub fn rtc_concealed(&self, span: Duration) {
        self.rtc.concealed.inc_by(span.as_secs_f64());
    }

    /// What a second of a call was like.
    pub fn rtc_quality(&self, quality: &Quality) {
        if let Some(round_trip) = quality.round_trip {
            self.rtc.round_trip.observe(round_trip.as_secs_f64());
        }
        let sides = [
            ("in", quality.ingress_loss_permille, quality.ingress_jitter),
            ("out", quality.egress_loss_permille, quality.egress_jitter),
        ];
        for (dir, loss, jitter) in sides {
            if let Some(permille) = loss {
                self.rtc.loss.get_or_create(&Direction { dir }).observe(f64::from(permille) / 1_000.0);
            }
            if let Some(jitter) = jitter {
                self.rtc.jitter.get_or_create(&Direction { dir }).observe(jitter.as_secs_f64());
            }
        }
    }
}
