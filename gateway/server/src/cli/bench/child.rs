//! [`Child`]: a process that is measured, on a core of its own, and what the kernel says about it.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::ops::{Add, Sub};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

/// Ticks of `/proc/PID/stat` in a second; Linux shows 100 to user space on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// What callers show who must show something: it opens a gateway that lives as long as one bench, on loopback.
pub(super) const CALLER_KEY: &str = "pbk_bench_bench_bench_bench_bench_bench";

/// A process that ends with this value.
pub(super) struct Child {
    child: std::process::Child,
}

impl Child {
    /// Starts this very binary with `arguments`, on the first core if `taskset` is there, with one worker thread.
    pub(super) fn start<A: AsRef<OsStr>>(arguments: &[A], log: &Path) -> io::Result<Self> {
        let binary = std::env::current_exe()?;
        let has_taskset = Path::new("/usr/bin/taskset").exists();
        let mut command =
            Command::new(if has_taskset { OsStr::new("/usr/bin/taskset") } else { binary.as_os_str() });
        if has_taskset {
            command.args(["-c", "0"]).arg(&binary);
        }
        // What the user has configured is not what is measured.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["PATCHBAY", "OPENAI", "AZURE", "TWILIO", "SERVER_"].iter().any(|own| text.starts_with(own)) {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .env("TOKIO_WORKER_THREADS", "1")
            .env("BENCH_KEY", "bench")
            .env("BENCH_CALLER_KEY", CALLER_KEY)
            .current_dir(log.parent().unwrap_or(log));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(log)?);
        Ok(Self { child: command.spawn()? })
    }

    /// The first line that it prints.
    pub(super) fn first_line(&mut self) -> io::Result<String> {
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Reads and forgets what it prints, so that it never waits for us.
    pub(super) fn ignore_output(&mut self) {
        if let Some(mut stdout) = self.child.stdout.take() {
            std::thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
        }
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> io::Result<Cpu> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        Cpu::parse(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Memory now.
    pub(super) fn memory(&self) -> io::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        Memory::parse(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) resident_kib: u64,
    /// Of that, what the process wrote: without the pages of the program's file, which the first call reads in and which
    /// belong to no call.
    pub(super) anonymous_kib: u64,
}

impl Memory {
    /// From proc(5)'s `status`.
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").trim().parse().ok()
        };
        Some(Self { resident_kib: field("VmRSS:")?, anonymous_kib: field("RssAnon:")? })
    }
}

/// Processor time, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Cpu {
    pub(super) user_us: u64,
    pub(super) system_us: u64,
}

impl Cpu {
    /// Fields 14 and 15 of proc(5)'s `stat`, counted from behind the name, which may contain anything.
    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut time =
            || fields.next()?.parse::<u64>().ok().map(|ticks| ticks * 1_000_000 / TICKS_PER_SECOND);
        Some(Self { user_us: time()?, system_us: time()? })
    }
}

impl Cpu {
    /// As if the measurement had taken `stretch` times as long.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positive microseconds of a bench"
    )]
    pub(super) fn scaled(self, stretch: f64) -> Self {
        let scaled = |us: u64| (us as f64 * stretch) as u64;
        Self { user_us: scaled(self.user_us), system_us: scaled(self.system_us) }
    }
}

impl Add for Cpu {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { user_us: self.user_us + other.user_us, system_us: self.system_us + other.system_us }
    }
}

impl Sub for Cpu {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(earlier.user_us),
            system_us: self.system_us.saturating_sub(earlier.system_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1";
        assert_eq!(Cpu::parse(stat), Some(Cpu { user_us: 1_500_000, system_us: 500_000 }));
    }
}
