//! `patchbay call`: a telephone call without a telephone. It does what Twilio would do with the webhook's address, says
//! what is in a WAV file, listens, and tells what it heard and when.

mod place;
mod report;
#[cfg(test)]
mod tests;
mod twiml;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use patchbay_core::MediaTime;
use patchbay_sim::twilio::TwilioDouble;
use secrecy::SecretString;

pub use self::place::{CallError, CallPlan, place};
pub use self::report::{Gap, Report};
pub use self::twiml::BadTwiml;
pub(super) use self::twiml::{Verb, verbs};
use super::wav::{WavError, read_ulaw, write_ulaw};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;

/// Calls a voice webhook as Twilio would, says a WAV, and tells what came back and when.
///
/// Exit code 0: speech came back. 1: it did not. 2: wrong use.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  patchbay call http://127.0.0.1:8080/twilio/voice/default/default \\\n      \
--wav fixtures/audio/caller-order.wav --out heard.wav --barge-in 800"
)]
pub struct CallArgs {
    /// The voice webhook, as it would stand in Twilio's console.
    url: String,
    /// What the caller says: a WAV, mono or stereo, any rate.
    #[arg(long, value_name = "IN")]
    wav: PathBuf,
    /// Writes what was heard to this WAV.
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
    /// Prints the measurements as JSON.
    #[arg(long)]
    json: bool,
    /// Interrupts the answer after that many milliseconds of it.
    #[arg(long, value_name = "MS")]
    barge_in: Option<u64>,
    /// What the caller interrupts with; the same WAV unless given.
    #[arg(long, value_name = "IN", requires = "barge_in")]
    barge_in_wav: Option<PathBuf>,
    /// How long a greeting is waited for before the caller speaks, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    greeting: u64,
    /// How long an answer is waited for, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 15_000)]
    answer: u64,
    /// Signs as Twilio does, with the auth token in this variable.
    #[arg(long, value_name = "NAME")]
    auth_token_env: Option<String>,
    /// The caller's number.
    #[arg(long, value_name = "NUMBER", default_value = "+15005550006")]
    from: String,
    /// The number called.
    #[arg(long, value_name = "NUMBER", default_value = "+15005550001")]
    to: String,
}

/// What the user got wrong.
#[derive(Debug, thiserror::Error)]
enum WrongUse {
    #[error("{}: {error}", path.display())]
    Wav { path: PathBuf, error: WavError },
    #[error("the variable {0} is not set")]
    NoToken(String),
}

impl CallArgs {
    fn plan(&self) -> Result<CallPlan, WrongUse> {
        let speech = read(&self.wav)?;
        let interruption = self.barge_in_wav.as_deref().map_or_else(|| Ok(speech.clone()), read)?;
        let token = |name: &String| std::env::var(name).map_err(|_| WrongUse::NoToken(name.clone()));
        Ok(CallPlan {
            barge_in: self.barge_in.map(|after_ms| (after_ms, interruption)),
            greeting_ms: self.greeting,
            answer_ms: self.answer,
            auth_token: self.auth_token_env.as_ref().map(token).transpose()?.map(SecretString::from),
            from: self.from.clone(),
            to: self.to.clone(),
            ..CallPlan::new(&self.url, speech)
        })
    }
}

fn read(path: &Path) -> Result<Bytes, WrongUse> {
    read_ulaw(path).map_err(|error| WrongUse::Wav { path: path.to_owned(), error })
}

/// Runs the command.
pub async fn run(args: CallArgs) -> ExitCode {
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(error) => return fail(&error, WRONG_USE),
    };
    let bar = bar(&plan, args.json);
    let placed = place(&plan, |caller| show_progress(&bar, caller)).await;
    bar.finish_and_clear();
    let report = match placed {
        Ok(report) => report,
        Err(error) if error.is_wrong_use() => return fail(&error, WRONG_USE),
        Err(error) => return fail(&error, FAILED),
    };
    if let Some(path) = &args.out
        && let Err(error) = write_ulaw(path, &report.heard)
    {
        return fail(&WrongUse::Wav { path: path.clone(), error }, WRONG_USE);
    }
    let text = if args.json { json(&report) } else { table(&report) };
    // A closed pipe is the reader's choice.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::from(if report.speech_came_back { DONE } else { FAILED })
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "patchbay call: {error}");
    ExitCode::from(code)
}

/// A bar that fills with what the caller says; hidden when quiet or away from a terminal.
pub fn bar(plan: &CallPlan, is_quiet: bool) -> ProgressBar {
    if is_quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{elapsed_precise} {bar:30} {msg}").expect("a constant template");
    ProgressBar::new(plan.speech.len() as u64 / 8).with_style(style).with_message("ringing")
}

/// Moves the bar to where the caller is. For [`place`]'s `watch`.
pub fn show_progress(bar: &ProgressBar, caller: &TwilioDouble) {
    let log = caller.log();
    let said =
        log.said.iter().map(|said| said.to.saturating_sub(said.from)).fold(MediaTime::ZERO, |a, b| a + b);
    bar.set_position(said.as_ms());
    let said = said.as_ms() / 1_000;
    bar.set_message(format!("said {said} s, heard {} s", log.played_bytes / 8_000));
}

fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).expect("numbers and strings are JSON") + "\n"
}

/// The measurements for a person to read.
#[must_use]
pub fn table(report: &Report) -> String {
    let or_dash = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
    let mut rows = vec![
        ("webhook answered", format!("{} ms", report.webhook_ms)),
        ("stream open", format!("{} ms", report.setup_ms)),
        ("first audio", format!("{} after that", or_dash(report.first_audio_ms))),
        ("answer", format!("{} after the caller's last word", or_dash(report.answer_ms))),
    ];
    if let Some(ms) = report.barge_in_ms {
        let heard = or_dash(report.barge_in_heard_ms);
        rows.push(("interruption", format!("{ms} ms to silence, {heard} had been heard")));
    }
    rows.push(("heard", format!("{} ms", report.heard_ms)));
    rows.push(("gaps", format!("{}, longest {} ms", report.gaps.len(), report.gap_ms_max)));
    rows.push(("marks", format!("{} played, {} cleared", report.marks, report.marks_cleared)));
    if report.invalid > 0 || !report.warnings.is_empty() {
        rows.push((
            "Twilio would complain",
            format!("{} messages, warnings {:?}", report.invalid, report.warnings),
        ));
    }
    let verdict = if report.speech_came_back { "yes" } else { "NO" };
    rows.push(("speech came back", verdict.to_owned()));
    rows.iter().fold(String::new(), |text, (name, value)| text + &format!("  {name:<22}{value}\n"))
}
