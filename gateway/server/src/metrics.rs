//! Counters and histograms in Prometheus' text form. Prefix `patchbay_`, base units, no unbounded labels.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use patchbay_core::Down;
use patchbay_store::{Counters, Quality, UsageRow};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

mod label;
mod rtc;

use self::label::{Code, KNOWN_CODES, Kind, Limit, Provider, Reason, Request, Tokens};
use crate::overload::Level;

type FloatCounter = Counter<f64, AtomicU64>;

/// Every metric of the gateway.
pub struct Metrics {
    registry: Registry,
    calls_active: Gauge,
    calls_started: Counter,
    calls_ended: Family<Reason, Counter>,
    calls_refused: Family<Reason, Counter>,
    http_requests: Family<Request, Counter>,
    setup: Histogram,
    first_audio: Histogram,
    barge_in: Histogram,
    dead_air: Histogram,
    provider_connect: Histogram,
    provider_errors: Family<Code, Counter>,
    provider_reconnects: Counter,
    provider_rotations: Counter,
    barge_ins: Counter,
    prompts: Family<Kind, Counter>,
    messages_dropped: Family<Reason, Counter>,
    audio_dropped: FloatCounter,
    tokens: Family<Tokens, Counter>,
    cost: Family<Provider, FloatCounter>,
    usage_estimated: Counter,
    usage_unpriced: Counter,
    usage_inconsistent: Counter,
    usage_repeated: Counter,
    budget_refusals: Counter,
    budget_warnings: Counter,
    limit_hits: Family<Limit, Counter>,
    signature_failures: Counter,
    auth_failures: Family<Kind, Counter>,
    tick_lateness: Histogram,
    journal_pending: Gauge,
    journal_spilled: Gauge,
    journal_away: Gauge,
    recording_frames_lost: Counter,
    recordings_failed: Counter,
    draining: Gauge,
    overload: Gauge,
    rtc: rtc::RtcMetrics,
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("patchbay"),
            calls_active: Gauge::default(),
            calls_started: Counter::default(),
            calls_ended: Family::default(),
            calls_refused: Family::default(),
            http_requests: Family::default(),
            setup: voice_histogram(),
            first_audio: voice_histogram(),
            barge_in: voice_histogram(),
            dead_air: voice_histogram(),
            provider_connect: voice_histogram(),
            provider_errors: Family::default(),
            provider_reconnects: Counter::default(),
            provider_rotations: Counter::default(),
            barge_ins: Counter::default(),
            prompts: Family::default(),
            messages_dropped: Family::default(),
            audio_dropped: FloatCounter::default(),
            tokens: Family::default(),
            cost: Family::default(),
            usage_estimated: Counter::default(),
            usage_unpriced: Counter::default(),
            usage_inconsistent: Counter::default(),
            usage_repeated: Counter::default(),
            budget_refusals: Counter::default(),
            budget_warnings: Counter::default(),
            limit_hits: Family::default(),
            signature_failures: Counter::default(),
            auth_failures: Family::default(),
            tick_lateness: Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5]),
            journal_pending: Gauge::default(),
            journal_spilled: Gauge::default(),
            journal_away: Gauge::default(),
            recording_frames_lost: Counter::default(),
            recordings_failed: Counter::default(),
            draining: Gauge::default(),
            overload: Gauge::default(),
            rtc: rtc::RtcMetrics::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("calls_active", "Calls in progress", self.calls_active.clone());
        r.register("calls_started", "Calls admitted", self.calls_started.clone());
        r.register("calls_ended", "Calls ended, by reason", self.calls_ended.clone());
        r.register("calls_refused", "Calls refused, by reason", self.calls_refused.clone());
        r.register("http_requests", "Requests, by route template and status", self.http_requests.clone());
        let seconds = || Unit::Seconds;
        r.register_with_unit("call_setup", "Webhook to media stream", seconds(), self.setup.clone());
        r.register_with_unit(
            "barge_in",
            "From the start of the caller's speech to the end of what it interrupts",
            Unit::Seconds,
            self.barge_in.clone(),
        );
        r.register_with_unit(
            "dead_air",
            "What a caller who stopped speaking heard of nothing at all",
            Unit::Seconds,
            self.dead_air.clone(),
        );
        r.register_with_unit(
            "first_audio",
            "From when an answer is owed to its first audio",
            seconds(),
            self.first_audio.clone(),
        );
        r.register_with_unit(
            "provider_connect",
            "From dialling a provider to its being ready",
            seconds(),
            self.provider_connect.clone(),
        );
        r.register("provider_errors", "Errors of providers, by code", self.provider_errors.clone());
        r.register("provider_reconnects", "Providers dialled again", self.provider_reconnects.clone());
        r.register(
            "provider_rotations",
            "Connections renewed before their cap",
            self.provider_rotations.clone(),
        );
        r.register("barge_ins", "Utterances interrupted", self.barge_ins.clone());
        r.register("prompts", "Prompts played because an answer was late", self.prompts.clone());
        r.register("messages_dropped", "Wire messages dropped, by reason", self.messages_dropped.clone());
        r.register_with_unit(
            "audio_dropped",
            "Live audio dropped because its receiver was slow",
            seconds(),
            self.audio_dropped.clone(),
        );
        self.rtc.register(&mut self.registry);
        self.register_money();
        let r = &mut self.registry;
        r.register("twilio_signature_failures", "Refused signatures", self.signature_failures.clone());
        r.register("auth_failures", "Refused credentials, by kind", self.auth_failures.clone());
        r.register_with_unit(
            "media_tick_lateness",
            "How much later than asked a call was woken",
            seconds(),
            self.tick_lateness.clone(),
        );
        r.register(
            "usage_records_pending",
            "Entries of the journal that wait in memory",
            self.journal_pending.clone(),
        );
        r.register_with_unit(
            "spill",
            "What waits on the disk for the database",
            Unit::Bytes,
            self.journal_spilled.clone(),
        );
        r.register("store_away", "1 while the database cannot be written", self.journal_away.clone());
        r.register("overload_level", "0 normal to 4 handing calls off", self.overload.clone());
        r.register(
            "recording_frames_lost",
            "Frames missing from recordings because the disk was slow",
            self.recording_frames_lost.clone(),
        );
        r.register("recordings_failed", "Recordings that ended early", self.recordings_failed.clone());
        r.register("draining", "1 while the gateway is going down", self.draining.clone());
    }

    fn register_money(&mut self) {
        let r = &mut self.registry;
        r.register("tokens", "Tokens as reported by providers, by model and kind", self.tokens.clone());
        r.register("cost_usd", "What calls cost by the price list, by provider", self.cost.clone());
        r.register("usage_estimated", "Usage that the provider never reported", self.usage_estimated.clone());
        r.register("usage_unpriced", "Usage that no price is known for", self.usage_unpriced.clone());
        r.register(
            "usage_inconsistent",
            "Reports with more cached than in all",
            self.usage_inconsistent.clone(),
        );
        r.register("usage_repeated", "Usage that was reported again", self.usage_repeated.clone());
        r.register("budget_refusals", "Calls refused for want of money", self.budget_refusals.clone());
        r.register("budget_warnings", "Spend limits that came near", self.budget_warnings.clone());
        r.register("limit_hits", "Limits that were reached, by limit", self.limit_hits.clone());
    }

    /// The text exposition (Prometheus 0.0.4 / OpenMetrics).
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    /// A call was admitted.
    pub fn started(&self) {
        self.calls_started.inc();
        self.calls_active.inc();
    }

    /// A call is over.
    pub fn ended(&self, reason: &str) {
        self.calls_active.dec();
        self.calls_ended.get_or_create(&Reason { reason: reason.into() }).inc();
    }

    /// A call was refused.
    pub fn refused(&self, reason: &str) {
        self.calls_refused.get_or_create(&Reason { reason: reason.into() }).inc();
    }

    /// An HTTP request was answered. `route` is the template, never the path.
    pub fn request(&self, route: &str, code: u16) {
        self.http_requests.get_or_create(&Request { route: route.into(), code }).inc();
    }

    /// The caller's stream came this long after the webhook.
    pub fn set_up(&self, after: Duration) {
        self.setup.observe(after.as_secs_f64());
    }

    /// First audio of an answer, this long after it was owed.
    pub fn answered(&self, after: Duration) {
        self.first_audio.observe(after.as_secs_f64());
    }

    /// The caller's speech ended what it interrupted, this long after it began.
    pub fn barged_in(&self, after: Duration) {
        self.barge_in.observe(after.as_secs_f64());
    }

    /// A caller who had stopped speaking heard nothing for this long.
    pub fn dead_air(&self, span: Duration) {
        self.dead_air.observe(span.as_secs_f64());
    }

    /// A provider is ready, this long after it was dialled.
    pub fn provider_connected(&self, after: Duration) {
        self.provider_connect.observe(after.as_secs_f64());
    }

    /// A provider reported an error. Codes that are not known count as `other`.
    pub fn provider_error(&self, code: &str) {
        let code = if KNOWN_CODES.contains(&code) { code } else { "other" };
        self.provider_errors.get_or_create(&Code { code: code.into() }).inc();
    }

    /// A leg went down.
    pub fn leg_down(&self, down: &Down) {
        match down {
            Down::HungUp => {}
            Down::Lost { .. } => self.provider_error("lost"),
            Down::Expired => self.provider_error("expired"),
            Down::Refused { .. } => self.provider_error("refused"),
            Down::Fatal { code, .. } => self.provider_error(code),
        }
    }

    /// A provider is dialled again.
    pub fn redialled(&self) {
        self.provider_reconnects.inc();
    }

    /// A connection was renewed.
    pub fn rotated(&self) {
        self.provider_rotations.inc();
    }

    /// An utterance was interrupted.
    pub fn cut(&self) {
        self.barge_ins.inc();
    }

    /// A prompt was played.
    pub fn prompted(&self, kind: &str) {
        self.prompts.get_or_create(&Kind { kind: kind.into() }).inc();
    }

    /// A wire message was dropped. `reason` is one of a fixed set.
    pub fn message_dropped(&self, reason: &str) {
        self.messages_dropped.get_or_create(&Reason { reason: reason.into() }).inc();
    }

    /// Live audio was dropped.
    pub fn audio_dropped(&self, span: Duration) {
        self.audio_dropped.inc_by(span.as_secs_f64());
    }

    /// A provider metered something, which adds so much to the cost; `replaces`: its tokens were counted as an estimate.
    pub fn usage(&self, row: &UsageRow, micro_usd: i64, replaces: bool) {
        let provider = || row.provider.clone();
        #[expect(clippy::cast_precision_loss, reason = "a metric of dollars, far below 2^53 micro-USD")]
        let usd = micro_usd.max(0) as f64 / 1e6;
        self.cost.get_or_create(&Provider { provider: provider() }).inc_by(usd);
        if row.price_version.is_none() {
            self.usage_unpriced.inc();
        }
        if row.quality == Quality::Estimated {
            self.usage_estimated.inc();
        }
        let kinds = [
            ("text_in", row.tokens.text_in),
            ("text_cached_in", row.tokens.text_in_cached),
            ("audio_in", row.tokens.audio_in),
            ("audio_cached_in", row.tokens.audio_in_cached),
            ("text_out", row.tokens.text_out),
            ("audio_out", row.tokens.audio_out),
        ];
        for (kind, count) in kinds {
            if count > 0 && !replaces {
                let labels = Tokens { provider: provider(), model: row.model.clone(), kind };
                self.tokens.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// A report had more cached than it had in all.
    pub fn usage_inconsistent(&self) {
        self.usage_inconsistent.inc();
    }

    /// Something was reported again, and not counted.
    pub fn usage_repeated(&self) {
        self.usage_repeated.inc();
    }

    /// A call was refused for want of money.
    pub fn budget_refused(&self) {
        self.budget_refusals.inc();
    }

    /// A spend limit came near.
    pub fn budget_warned(&self) {
        self.budget_warnings.inc();
    }

    /// A limit was reached. `limit` is one of a fixed set.
    pub fn limit_hit(&self, limit: &'static str) {
        self.limit_hits.get_or_create(&Limit { limit }).inc();
    }

    /// A Twilio signature was refused.
    pub fn signature_refused(&self) {
        self.signature_failures.inc();
    }

    /// A credential was refused.
    pub fn auth_refused(&self, kind: &str) {
        self.auth_failures.get_or_create(&Kind { kind: kind.into() }).inc();
    }

    /// A call was woken this much after it had asked.
    pub fn tick_lateness(&self, late: Duration) {
        self.tick_lateness.observe(late.as_secs_f64());
    }

    /// How the journal stands.
    pub fn set_journal(&self, counters: &Counters) {
        let read = |counter: &AtomicU64| i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        self.journal_pending.set(read(&counters.pending));
        self.journal_spilled.set(read(&counters.spilled_bytes));
        self.journal_away.set(counters.away.load(Ordering::Relaxed).into());
    }

    /// What is given up for the calls that run.
    pub fn set_overload(&self, level: Level) {
        self.overload.set(level as i64);
    }

    /// The disk was too slow for a frame of a recording.
    pub fn recording_frame_lost(&self) {
        self.recording_frames_lost.inc();
    }

    /// A recording ended early.
    pub fn recording_failed(&self) {
        self.recordings_failed.inc();
    }

    /// The gateway is going down, or not.
    pub fn set_draining(&self, draining: bool) {
        self.draining.set(draining.into());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The buckets of voice: 20 ms to 8 s.
fn voice_histogram() -> Histogram {
    Histogram::new([0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 4.0, 8.0])
}
