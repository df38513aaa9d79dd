//! From str0m's counts to what a leg is told about once a second.

use std::time::Duration;

use patchbay_core::{Codec, Format, Quality};
use str0m::stats::{MediaEgressStats, MediaIngressStats, PeerStats};

/// The reports of one second, put together.
pub(super) struct Reports {
    clock_hz: u32,
    quality: Quality,
}

impl Reports {
    pub(super) fn new(format: Format) -> Self {
        let clock_hz = if format.codec == Codec::Opus { 48_000 } else { 8_000 };
        Self { clock_hz, quality: Quality::default() }
    }

    /// The first report of a second: what the second before had, if it had anything.
    pub(super) fn peer(&mut self, stats: &PeerStats) -> Option<Quality> {
        let quality = std::mem::take(&mut self.quality);
        if let Some(pair) = &stats.selected_candidate_pair {
            self.quality.round_trip = pair.current_round_trip_time;
        }
        self.quality.round_trip = stats.rtt.or(self.quality.round_trip);
        (quality != Quality::default()).then_some(quality)
    }

    /// What the peer sends.
    pub(super) fn ingress(&mut self, stats: &MediaIngressStats) {
        self.quality.ingress_loss_permille = stats.loss.and_then(permille);
        self.quality.ingress_jitter = Some(self.span(stats.jitter));
    }

    /// What we send.
    pub(super) fn egress(&mut self, stats: &MediaEgressStats) {
        self.quality.egress_loss_permille = stats.loss.and_then(permille);
        self.quality.egress_jitter = stats.remote.as_ref().map(|remote| self.span(remote.jitter));
        self.quality.round_trip = stats.rtt.or(self.quality.round_trip);
    }

    fn span(&self, jitter: u32) -> Duration {
        Duration::from_micros(u64::from(jitter) * 1_000_000 / u64::from(self.clock_hz))
    }
}

/// Of a fraction; nothing of what is none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction, clamped")]
fn permille(fraction: f32) -> Option<u16> {
    fraction.is_finite().then(|| (fraction.clamp(0.0, 1.0) * 1_000.0).round() as u16)
}
