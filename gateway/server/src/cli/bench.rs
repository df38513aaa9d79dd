//! `patchbay bench`: what a call costs, beside a relay of bytes in the same run.
//!
//! Three processes: the gateway and the relay, each on the first core with one worker thread, and this one, which plays
//! all callers and all models. The relay carries the same messages. It is measured before and after the gateway, so
//! that a machine that changes its pace shows in both.

mod child;
mod end;
mod flow;
mod gateway;
mod load;
mod message;
pub mod relay;
mod tally;
#[cfg(test)]
mod tests;
mod webrtc;

use std::io::{self, IsTerminal, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use self::child::{Child, Cpu};
use self::gateway::{Callers, Gateway, GatewayPlan};
use self::load::{Heard, Load, ModelFrame, Order, Through};
pub use self::tally::Latency;
use super::folder::Folder;

/// Before a measurement, so that queues and caches are as they will stay.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long what is under way may take to arrive.
const SETTLE: Duration = Duration::from_millis(500);
/// Above this the load itself is overloaded, in milliseconds.
const LATE_MS_MAX: f64 = 5.0;
/// How long the model end of a call may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Measures what a call costs: N simulated calls against a gateway that it starts itself, beside a plain relay of bytes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  patchbay bench --calls 500 --seconds 20 --profile ulaw")]
pub struct BenchArgs {
    /// Calls at once.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=8_000))]
    calls: u16,
    /// Seconds of measurement of the gateway; the relay is measured as long.
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u16).range(2..=3_600))]
    seconds: u16,
    /// How the model is reached.
    #[arg(long, value_enum, default_value_t = Profile::Ulaw)]
    profile: Profile,
    /// Prints the measurements as JSON.
    #[arg(long)]
    json: bool,
}

/// How the model is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// µ-law end to end, plain sockets.
    Ulaw,
    /// µ-law end to end, TLS to the model.
    Tls,
    /// µ-law to 24 kHz PCM and back, plain sockets.
    Pcm,
    /// Opus in browsers to 24 kHz PCM and back, beside libopus alone.
    Webrtc,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Bench {
    /// How the model was reached.
    pub profile: Profile,
    /// Calls at once.
    pub calls: u16,
    /// Seconds that were measured.
    pub seconds: u16,
    /// The gateway.
    pub gateway: Side,
    /// The relay.
    pub relay: Side,
    /// CPU of the gateway, of the relay's.
    pub cpu_ratio: f64,
    /// Resident memory of the gateway without a call.
    pub idle_rss_kib: u64,
    /// Resident memory of a call over that, without the pages of the program's file.
    pub call_rss_kib: f64,
}

/// One of the two.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Side {
    /// CPU time of a call-second, in microseconds.
    pub cpu_us: f64,
    /// Of that, in user space.
    pub user_us: f64,
    /// Of that, in the kernel.
    pub system_us: f64,
    /// From caller to model.
    pub up: Latency,
    /// From model to caller.
    pub down: Latency,
    /// How late 1 of 100 messages left the load: its own part of every latency.
    pub load_late_ms: f64,
}

/// Runs the command.
pub async fn run(args: BenchArgs) -> ExitCode {
    let is_json = args.json;
    if args.profile == Profile::Webrtc {
        return run_webrtc(args).await;
    }
    let measured = tokio::task::spawn_blocking(move || measure(&args)).await;
    match measured.map_err(io::Error::other).flatten() {
        Ok(bench) => {
            if bench.gateway.load_late_ms > LATE_MS_MAX {
                let _ = writeln!(
                    io::stderr(),
                    "patchbay bench: this machine is too busy to make the load; latency says little"
                );
            }
            let text = if is_json { json(&bench) } else { table(&bench) };
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "patchbay bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run_webrtc(args: BenchArgs) -> ExitCode {
    let (is_json, runtime) = (args.json, tokio::runtime::Handle::current());
    let measured = tokio::task::spawn_blocking(move || webrtc::measure(&args, &runtime)).await;
    match measured.map_err(io::Error::other).flatten() {
        Ok(bench) => {
            let text = if is_json { json(&bench) } else { webrtc::table(&bench) };
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "patchbay bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &BenchArgs) -> io::Result<Bench> {
    let folder = Folder::new("bench")?;
    let stage = Stage::set(args, folder.path())?;
    let idle = stage.gateway.child.memory()?;
    let bar = bar(args);
    stage.call_all(args.calls, &bar)?;
    let half = Duration::from_secs(u64::from(args.seconds)) / 2;
    let before = stage.measure(Through::Relay, half, &bar)?;
    let gateway = stage.measure(Through::Gateway, half * 2, &bar)?;
    let busy = stage.gateway.child.memory()?;
    let after = stage.measure(Through::Relay, half, &bar)?;
    bar.finish_and_clear();
    let calls = f64::from(args.calls);
    let side = |cpu: Cpu, through| -> io::Result<Side> {
        let share = |us: u64| us as f64 / calls / f64::from(args.seconds);
        let Heard { up, down, late_ms } = stage.report(through)?;
        let (user_us, system_us) = (share(cpu.user_us), share(cpu.system_us));
        Ok(Side { cpu_us: user_us + system_us, user_us, system_us, up, down, load_late_ms: late_ms })
    };
    let (gateway, relay) = (side(gateway, Through::Gateway)?, side(before + after, Through::Relay)?);
    Ok(Bench {
        profile: args.profile,
        calls: args.calls,
        seconds: args.seconds,
        cpu_ratio: gateway.cpu_us / relay.cpu_us,
        gateway,
        relay,
        idle_rss_kib: idle.resident_kib,
        call_rss_kib: busy.anonymous_kib.saturating_sub(idle.anonymous_kib) as f64 / calls,
    })
}

/// The three processes, and how they talk.
struct Stage {
    gateway: Gateway,
    relay: Child,
    relay_port: u16,
    orders: Sender<Order>,
    ready: Receiver<usize>,
    load: Option<JoinHandle<io::Result<()>>>,
}

impl Stage {
    fn set(args: &BenchArgs, folder: &Path) -> io::Result<Self> {
        let (sent_ready, ready) = channel();
        let (orders, taken_orders) = channel();
        let ca = folder.join("ca.pem");
        let tls = (args.profile == Profile::Tls).then(|| authority(&ca)).transpose()?;
        let is_pcm = args.profile == Profile::Pcm;
        let frame = if is_pcm { ModelFrame::Pcm24 } else { ModelFrame::Ulaw };
        let load = Load::new(frame, tls, sent_ready, taken_orders)?;
        let [model_port, far_port] = load.ports()?;
        let load = std::thread::spawn(move || load.run());
        let far = format!("127.0.0.1:{far_port}");
        let mut relay = Child::start(&["bench-relay", "--to", &far], &folder.join("relay.log"))?;
        let relay_port = relay.first_line()?.parse().map_err(io::Error::other)?;
        let ca = (args.profile == Profile::Tls).then_some(ca);
        let plan = GatewayPlan {
            calls: args.calls.into(),
            model_port,
            ca: ca.as_deref(),
            is_pcm,
            callers: Callers::Phones,
        };
        let gateway = plan.start(folder)?;
        Ok(Self { gateway, relay, relay_port, orders, ready, load: Some(load) })
    }

    /// One after the other, so that the model end that gets ready is the caller's.
    fn call_all(&self, calls: u16, bar: &ProgressBar) -> io::Result<()> {
        bar.set_message("placing calls");
        for nth in 0..calls {
            let (socket, sid) = self.gateway.call(nth.into())?;
            self.join(socket, sid)?;
            let socket = TcpStream::connect(("127.0.0.1", self.relay_port))?;
            socket.set_nodelay(true)?;
            self.join(socket, format!("MZ{nth:032x}"))?;
            bar.inc(1);
        }
        Ok(())
    }

    fn join(&self, socket: TcpStream, sid: String) -> io::Result<()> {
        let call = self.ready.recv_timeout(READY_WITHIN).map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "the gateway did not bring a call to its model")
        })?;
        self.order(Order::Caller { socket, call, sid })
    }

    fn order(&self, order: Order) -> io::Result<()> {
        self.orders.send(order).map_err(|_| io::Error::other("the load has ended"))
    }

    /// CPU time of `through` while its calls speak.
    fn measure(&self, through: Through, span: Duration, bar: &ProgressBar) -> io::Result<Cpu> {
        let (child, name) = match through {
            Through::Gateway => (&self.gateway.child, "gateway"),
            Through::Relay => (&self.relay, "relay"),
        };
        bar.set_message(format!("measuring the {name}"));
        self.order(Order::Speak(Some(through)))?;
        wait(WARM_UP, bar);
        if through == Through::Gateway {
            self.order(Order::Measure(through))?;
        }
        let (before, began) = (child.cpu()?, Instant::now());
        wait(span, bar);
        let cpu = child.cpu()? - before;
        let stretch = span.as_secs_f64() / began.elapsed().as_secs_f64();
        self.order(Order::Speak(None))?;
        std::thread::sleep(SETTLE);
        Ok(cpu.scaled(stretch))
    }

    fn report(&self, through: Through) -> io::Result<Heard> {
        let (answer, answered) = channel();
        self.order(Order::Report(through, answer))?;
        answered.recv().map_err(io::Error::other)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.order(Order::Stop);
        if let Some(load) = self.load.take() {
            let _ = load.join();
        }
    }
}

/// An authority for `localhost` made for this run; its certificate goes to `ca`.
fn authority(ca: &Path) -> io::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    std::fs::write(ca, made.cert.pem())?;
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

fn bar(args: &BenchArgs) -> ProgressBar {
    if args.json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {percent:>3} % {msg}")
        .expect("a constant template");
    let seconds = 2 * u64::from(args.seconds) + 3 * WARM_UP.as_secs();
    ProgressBar::new(u64::from(args.calls) + seconds * 10).with_style(style)
}

fn wait(span: Duration, bar: &ProgressBar) {
    let began = Instant::now();
    while began.elapsed() < span {
        std::thread::sleep(Duration::from_millis(100).min(span));
        bar.inc(1);
    }
}

fn json(bench: &impl Serialize) -> String {
    serde_json::to_string_pretty(bench).expect("numbers are JSON") + "\n"
}

fn table(bench: &Bench) -> String {
    let Bench { gateway, relay, .. } = bench;
    let name = match bench.profile {
        Profile::Ulaw => "µ-law end to end",
        Profile::Tls => "µ-law end to end, TLS to the model",
        Profile::Pcm | Profile::Webrtc => "µ-law to 24 kHz PCM and back",
    };
    let number = |gateway: f64, relay: f64| format!("{gateway:>10.0}{relay:>10.0}{:>9.2}", gateway / relay);
    let latency = |of: Latency| format!("{:>6.2} / {:>6.2} / {:>6.2} ms", of.p50_ms, of.p99_ms, of.p999_ms);
    let lost =
        |side: &Side| format!("{} of {}", side.up.lost + side.down.lost, side.up.sent + side.down.sent);
    format!(
        "{} calls, {} s, {name}; 50 messages a second each way\n\n\
         {:<28}{:>10}{:>10}{:>9}\n\
         {:<28}{}\n  {:<26}{}\n  {:<26}{}\n\n\
         {:<28}{:>10.1} KiB over {:.1} MiB idle\n\n\
         {:<28}{}   relay {}\n{:<28}{}   relay {}\n\
         {:<28}{}   relay {}\n\
         {:<28}{:.2} ms   relay {:.2} ms\n",
        bench.calls,
        bench.seconds,
        "",
        "gateway",
        "relay",
        "ratio",
        "CPU µs per call-second",
        number(gateway.cpu_us, relay.cpu_us),
        "user",
        number(gateway.user_us, relay.user_us),
        "system",
        number(gateway.system_us, relay.system_us),
        "memory per call",
        bench.call_rss_kib,
        bench.idle_rss_kib as f64 / 1024.0,
        "to the model p50/p99/p99.9",
        latency(gateway.up),
        latency(relay.up),
        "to the caller p50/p99/p99.9",
        latency(gateway.down),
        latency(relay.down),
        "frames lost",
        lost(gateway),
        lost(relay),
        "load late by (p99)",
        gateway.load_late_ms,
        relay.load_late_ms,
    )
}
