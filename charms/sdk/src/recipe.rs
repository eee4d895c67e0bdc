//! What recipes need: progress on descriptor 3, child processes that end with the recipe, and cancelling by SIGTERM.
//! Owns how a recipe's children are run and ended; must not know what is made.
//!
//! SIGTERM ends the running child's process group (SIGTERM, then SIGKILL), makes [`run`] return an error, and after
//! a few seconds ends the recipe itself. The waiting is one thread's.

pub mod environment;
pub(crate) mod java;
pub mod libraries;
pub mod pip;

use std::borrow::BorrowMut;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde_json::json;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

/// Set by SIGTERM.
static CANCELLED: AtomicBool = AtomicBool::new(false);
/// The running child's process group; 0 = none.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// How long a child may take to end by itself.
const CHILD_GRACE: Duration = Duration::from_secs(5);
/// How long the recipe may take to end after its child.
const GRACE: Duration = Duration::from_secs(5);
/// How many of a child's last lines are told when it fails.
const TAIL: usize = 20;
/// The least time between two lines about one step.
const PACE: Duration = Duration::from_millis(100);

/// Tells how far a recipe is: JSON lines `{"step":…,"done":…,"total":…}` on descriptor 3, if that is open for writing.
#[derive(Debug, Default)]
pub struct Progress {
    out: Option<File>,
    step: String,
    last: Option<Instant>,
}

impl Progress {
    /// Writes to the descriptor 3 that this process was started with.
    pub(crate) fn inherited() -> Self {
        // A descriptor that is open only for reading belongs to somebody else.
        let writable = std::fs::read_to_string("/proc/self/fdinfo/3").ok().and_then(|info| {
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            Some(u32::from_str_radix(flags.trim(), 8).ok()? & 0o3 != 0)
        });
        let out = if writable == Some(true) { duplicate() } else { None };
        Self { out, ..Self::default() }
    }

    /// Writes nowhere: for calling a recipe's parts in tests.
    pub fn silent() -> Self {
        Self::default()
    }

    /// `done` of `total` (in the step's own unit, bytes or pieces; 0 = not known) of a step are done.
    pub fn step(&mut self, step: &str, done: u64, total: u64) {
        let Some(out) = &mut self.out else { return };
        let now = Instant::now();
        let ends = self.step != step || (done >= total && total > 0);
        if !ends && self.last.is_some_and(|last| now - last < PACE) {
            return;
        }
        self.last = Some(now);
        step.clone_into(&mut self.step);
        let line = format!("{}\n", json!({"step": step, "done": done, "total": total}));
        if out.write_all(line.as_bytes()).is_err() {
            // Nobody listens any more; the build is worth finishing all the same.
            self.out = None;
        }
    }
}

/// Descriptor 3 again, close-on-exec. By a call, since opening its path asks for rights on what may be another user's
/// pipe; where that call is filtered, by path.
fn duplicate() -> Option<File> {
    let own = pidfd_open(getpid(), PidfdFlags::empty());
    let third = own.and_then(|own| pidfd_getfd(own, 3, PidfdGetfdFlags::empty())).map(File::from);
    third.ok().or_else(|| OpenOptions::new().append(true).open("/proc/self/fd/3").ok())
}

/// Runs a command to its end in a process group of its own. Its output goes nowhere but, when it fails, into the error.
pub fn run(command: impl BorrowMut<Command>) -> anyhow::Result<()> {
    run_lines(command, |_| {})
}

/// Runs a command as [`run`] does and returns what it printed on standard output.
pub fn output(command: impl BorrowMut<Command>) -> anyhow::Result<String> {
    let mut printed = String::new();
    run_lines(command, |line| {
        printed.push_str(line);
        printed.push('\n');
    })?;
    Ok(printed)
}

/// Runs a command as [`run`] does and gives each line of its standard output to `each`, as it comes.
pub fn run_lines(mut command: impl BorrowMut<Command>, mut each: impl FnMut(&str)) -> anyhow::Result<()> {
    let command = command.borrow_mut();
    let name = command.get_program().to_string_lossy().into_owned();
    check_cancelled()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
    let group = i32::try_from(child.id()).unwrap_or(0);
    CHILD.store(group, Ordering::SeqCst);
    if CANCELLED.load(Ordering::SeqCst) {
        // The signal came between the check and the store.
        end(group, Signal::SIGTERM);
    }
    let said = child.stderr.take().map(|stderr| thread::spawn(move || tail(stderr, |_| {})));
    let printed = child.stdout.take().map_or_else(VecDeque::new, |stdout| tail(stdout, &mut each));
    let said = said.and_then(|reader| reader.join().ok()).unwrap_or_default();
    let status = child.wait();
    CHILD.store(0, Ordering::SeqCst);
    check_cancelled()?;
    let status = status.with_context(|| format!("cannot wait for `{name}`"))?;
    if status.success() {
        return Ok(());
    }
    // Some programs tell their errors on standard output.
    let lines = if said.is_empty() { printed } else { said };
    let mut told = format!("cannot run `{name}`: {status}");
    for line in lines {
        told.push_str("\n  ");
        told.push_str(&line);
    }
    bail!(told)
}

/// Whether SIGTERM asked the recipe to end, as an error: for loops that run no commands.
pub fn check_cancelled() -> anyhow::Result<()> {
    if CANCELLED.load(Ordering::SeqCst) {
        bail!("cancelled");
    }
    Ok(())
}

/// Starts the thread that waits for SIGTERM. By a handler and not by blocking the signal: children would inherit that.
pub(crate) fn watch_for_cancel() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM]).context("cannot wait for SIGTERM")?;
    let wait = move || {
        if signals.forever().next().is_some() {
            cancel();
        }
    };
    thread::Builder::new().name("cancel".into()).spawn(wait).context("cannot start the cancelling thread")?;
    Ok(())
}

#[allow(clippy::exit, reason = "a recipe that does not stop by itself must end all the same")]
fn cancel() {
    CANCELLED.store(true, Ordering::SeqCst);
    end(CHILD.load(Ordering::SeqCst), Signal::SIGTERM);
    let ended = |limit: Duration| {
        let start = Instant::now();
        while CHILD.load(Ordering::SeqCst) != 0 && start.elapsed() < limit {
            thread::sleep(Duration::from_millis(20));
        }
    };
    ended(CHILD_GRACE);
    end(CHILD.load(Ordering::SeqCst), Signal::SIGKILL);
    thread::sleep(GRACE);
    crate::roles::say("cancelled");
    std::process::exit(1);
}

fn end(group: i32, signal: Signal) {
    if group > 0 {
        // Gone already is as good.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

/// Reads lines to the end and keeps the last ones.
fn tail(from: impl Read, mut each: impl FnMut(&str)) -> VecDeque<String> {
    let mut last = VecDeque::with_capacity(TAIL);
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        each(text);
        if last.len() == TAIL {
            last.pop_front();
        }
        last.push_back(text.to_owned());
        line.clear();
    }
    last
}
