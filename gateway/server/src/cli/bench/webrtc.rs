//! `bench --profile webrtc`: browsers that speak Opus with a model that speaks 24 kHz PCM, beside what libopus alone costs for
//! the same audio in the same run.

use std::io;
use std::sync::mpsc::channel;
use std::time::Duration;

use indicatif::ProgressBar;
use patchbay_codec::transcoder;
use patchbay_core::{Format, MediaTime};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::child::Cpu;
use super::gateway::{Callers, GatewayPlan};
use super::load::{Load, ModelFrame, Order, Through};
use super::{BenchArgs, READY_WITHIN, WARM_UP, bar, wait};
use crate::cli::folder::Folder;
use crate::cli::peer::{PeerPlan, PeerReport, talk};
use crate::cli::speech::speech;

/// How much audio libopus is measured with.
const FLOOR: Duration = Duration::from_secs(20);
/// Packets of a peer in a second.
const PACKETS_PER_SECOND: f64 = 50.0;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct WebRtcBench {
    /// Calls at once.
    pub(super) calls: u16,
    /// Seconds that were measured.
    pub(super) seconds: u16,
    /// CPU time of a call-second in the gateway, in microseconds.
    pub(super) cpu_us: f64,
    /// Of that, in user space.
    pub(super) user_us: f64,
    /// Of that, in the kernel.
    pub(super) system_us: f64,
    /// What libopus takes to encode and to decode a second, in microseconds.
    pub(super) libopus_us: f64,
    /// CPU of the gateway, of libopus.
    pub(super) cpu_ratio: f64,
    /// User space beyond libopus for a packet that comes and the one that leaves with it, in microseconds.
    pub(super) packet_us: f64,
    /// Packets that the browsers heard, of those that they should have.
    pub(super) heard_share: f64,
    /// Resident memory of a call over an idle gateway.
    pub(super) call_rss_kib: f64,
}

/// Measures. Blocks its thread; the browsers live in `runtime`.
///
/// # Errors
/// What could not be started, and browsers that do not connect.
pub(super) fn measure(args: &BenchArgs, runtime: &Handle) -> io::Result<WebRtcBench> {
    let folder = Folder::new("bench")?;
    let (sent_ready, ready) = channel();
    let (orders, taken_orders) = channel();
    let load = Load::new(ModelFrame::Speech24, None, sent_ready, taken_orders)?;
    let [model_port, _] = load.ports()?;
    let load = std::thread::spawn(move || load.run());
    let callers = Callers::Browsers;
    let plan = GatewayPlan { calls: args.calls.into(), model_port, ca: None, is_pcm: true, callers };
    let gateway = plan.start(folder.path())?;
    let idle = gateway.child.memory()?;
    let bar = bar(args);
    bar.set_message("placing calls");
    let span = Duration::from_secs(args.seconds.into());
    let mut browsers = JoinSet::new();
    let says = speech(Format::L16_48K);
    // Whoever came first waits for the others.
    let listens = WARM_UP + span + Duration::from_millis(300) * args.calls.into() + Duration::from_secs(5);
    for _ in 0..args.calls {
        let plan = PeerPlan::new(gateway.address, says.repeat(whole(listens, says.len())).into(), listens);
        let plan = PeerPlan { key: Some(gateway.caller_key.clone()), ..plan };
        browsers.spawn_on(async move { talk(&plan).await }, runtime);
        let call = ready.recv_timeout(READY_WITHIN).map_err(io::Error::other)?;
        orders.send(Order::Elsewhere(call)).map_err(io::Error::other)?;
        bar.inc(1);
    }
    orders.send(Order::Speak(Some(Through::Gateway))).map_err(io::Error::other)?;
    bar.set_message("measuring the gateway");
    wait(WARM_UP, &bar);
    let before = gateway.child.cpu()?;
    wait(span, &bar);
    let cpu = gateway.child.cpu()? - before;
    let busy = gateway.child.memory()?;
    orders.send(Order::Speak(None)).map_err(io::Error::other)?;
    let reports = runtime.block_on(browsers.join_all());
    orders.send(Order::Stop).map_err(io::Error::other)?;
    load.join().map_err(|_| io::Error::other("the load ended by a bug"))??;
    let libopus_us = libopus(&bar)?;
    bar.finish_and_clear();
    let reports = reports.into_iter().collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let kib = busy.anonymous_kib.saturating_sub(idle.anonymous_kib) as f64 / f64::from(args.calls);
    Ok(figures(args, cpu, libopus_us, heard_share(&reports, span), kib))
}

fn figures(args: &BenchArgs, cpu: Cpu, libopus_us: f64, heard_share: f64, call_rss_kib: f64) -> WebRtcBench {
    let share = |us: u64| us as f64 / f64::from(args.calls) / f64::from(args.seconds);
    let (user_us, system_us) = (share(cpu.user_us), share(cpu.system_us));
    WebRtcBench {
        calls: args.calls,
        seconds: args.seconds,
        cpu_us: user_us + system_us,
        user_us,
        system_us,
        libopus_us,
        cpu_ratio: (user_us + system_us) / libopus_us,
        packet_us: (user_us - libopus_us) / PACKETS_PER_SECOND,
        heard_share,
        call_rss_kib,
    }
}

/// Of the packets of `span`, how many a browser heard, in the middle.
fn heard_share(reports: &[PeerReport], span: Duration) -> f64 {
    let packets = reports.iter().map(|report| report.packets).sum::<u64>() as f64;
    (packets / reports.len().max(1) as f64 / (span.as_secs_f64() * PACKETS_PER_SECOND)).min(1.0)
}

/// How often a sound of so many bytes of PCM16 at 48 kHz is said within `listens`.
fn whole(listens: Duration, bytes: usize) -> usize {
    let wanted = listens.as_millis() * 96;
    usize::try_from(wanted).unwrap_or(usize::MAX).div_ceil(bytes.max(1))
}

/// CPU time to encode and decode a second of the same speech, by the same settings and nothing around it.
fn libopus(bar: &ProgressBar) -> io::Result<f64> {
    bar.set_message("measuring libopus");
    let sound = speech(Format::L16_48K);
    let codec = |from, to| transcoder(from, to).ok_or_else(|| io::Error::other("libopus is not there"));
    let mut encoder = codec(Format::L16_48K, Format::OPUS)?;
    let mut decoder = codec(Format::OPUS, Format::L16_48K)?;
    let frame = Format::L16_48K.bytes_for(MediaTime::from_ms(20)).unwrap_or(1);
    let frames = usize::try_from(FLOOR.as_millis() / 20).unwrap_or(usize::MAX);
    let (mut packet, mut heard) = (Vec::new(), Vec::new());
    let began = thread_cpu()?;
    for frame in sound.chunks_exact(frame).cycle().take(frames) {
        packet.clear();
        heard.clear();
        encoder.push(frame, &mut packet).map_err(io::Error::other)?;
        decoder.push(&packet, &mut heard).map_err(io::Error::other)?;
    }
    let took = thread_cpu()?.saturating_sub(began);
    Ok(took.as_secs_f64() * 1e6 / FLOOR.as_secs_f64())
}

/// What this thread has used of a processor, from `/proc/thread-self/schedstat` (nanoseconds).
fn thread_cpu() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().and_then(|text| text.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// As a person reads it.
pub(super) fn table(bench: &WebRtcBench) -> String {
    format!(
        "{} calls, {} s, Opus in browsers, 24 kHz PCM at the model; 50 packets a second each way\n\n\
         {:<28}{:>10}{:>10}{:>9}\n\
         {:<28}{:>10.0}{:>10.0}{:>9.2}\n  {:<26}{:>10.0}\n  {:<26}{:>10.0}\n\n\
         {:<28}{:>10.1} µs of user space beyond libopus\n\
         {:<28}{:>10.1} KiB\n\
         {:<28}{:>10.1} % of the packets\n",
        bench.calls,
        bench.seconds,
        "",
        "gateway",
        "libopus",
        "ratio",
        "CPU µs per call-second",
        bench.cpu_us,
        bench.libopus_us,
        bench.cpu_ratio,
        "user",
        bench.user_us,
        "system",
        bench.system_us,
        "a packet in and one out",
        bench.packet_us,
        "memory per call",
        bench.call_rss_kib,
        "heard",
        bench.heard_share * 100.0,
    )
}
