//! Ending what a lost keeper left: found by what its record says and by the marks in the processes' environments.
//!
//! A process is signalled through a descriptor that was checked after it was opened, so never a stranger that was
//! given the same PID.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use stoker_host::services::record::{EXIT_LOCKED, FORMAT, Phase, Record, State};
use stoker_host::services::spec::ServiceSpec;
use stoker_host::services::{Identity, boot_id, descendants, marked};

use crate::complain;
use crate::keep::{Fault, enter, lock, timespec};

/// `sweep DIR`: takes the keeper's place for as long as it takes to end what is left.
pub(crate) fn sweep(dir: &Path) -> ExitCode {
    let swept = || -> Result<(), Fault> {
        let record = enter(dir)?;
        let Some(_lock) = lock(&record)? else { return Err(Fault::Locked) };
        let spec = record.spec()?;
        let boot_id = boot_id()?;
        let old = record.state();
        clear(&record, spec.as_ref(), &old, &boot_id)?;
        let stopped = State {
            phase: Phase::Stopped,
            pid: None,
            start_ticks: None,
            ..begin(old.ok().flatten(), boot_id)
        };
        // On a full disk the record goes on saying that it was lost, which is true and harmless.
        let _ = record.write_state(&stopped);
        Ok(())
    };
    match swept() {
        Ok(()) => {
            let _ = io::stdout().write_all(b"swept\n");
            ExitCode::SUCCESS
        }
        Err(Fault::Locked | Fault::Outrun) => ExitCode::from(EXIT_LOCKED),
        Err(Fault::Io(error)) => {
            let _ = writeln!(io::stdout(), "{error}");
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// A state that says this process is the keeper and that all else is as `old` has it.
pub(crate) fn begin(old: Option<State>, boot_id: String) -> State {
    let me = std::process::id();
    let mut state = old.unwrap_or(State {
        format: FORMAT,
        digest: String::new(),
        boot_id: String::new(),
        shim_pid: 0,
        shim_start_ticks: 0,
        pid: None,
        start_ticks: None,
        started: None,
        restarts: 0,
        phase: Phase::Stopped,
        exit: None,
        unenforced: Vec::new(),
        log_from: 0,
        reason: None,
    });
    if state.boot_id != boot_id {
        (state.pid, state.start_ticks) = (None, None);
    }
    state.boot_id = boot_id;
    state.shim_pid = me;
    state.shim_start_ticks = stoker_host::services::start_ticks(me).unwrap_or(0);
    state
}

/// Ends all processes of the service that an earlier keeper left. The caller holds the lock.
pub(crate) fn clear(
    record: &Record,
    spec: Option<&ServiceSpec>,
    old: &io::Result<Option<State>>,
    boot_id: &str,
) -> io::Result<()> {
    let main = match old {
        Ok(Some(state)) if state.phase.is_final() || state.boot_id != boot_id => return Ok(()),
        Ok(Some(state)) => {
            state.pid.zip(state.start_ticks).map(|(pid, start_ticks)| Identity { pid, start_ticks })
        }
        Ok(None) | Err(_) => None,
    };
    let Some(spec) = spec else { return Ok(()) };
    let find = || {
        let mut found = marked(&spec.name, record.dir());
        if let Some(main) = main.filter(Identity::is_alive) {
            found.push(main);
            found.extend(descendants(main.pid));
        }
        found.retain(|one| one.pid != std::process::id());
        found
    };
    let mut signal = spec.stop.number().and_then(Signal::from_named_raw).unwrap_or(Signal::TERM);
    let until = Instant::now() + spec.stop.grace;
    loop {
        let found = find();
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            signal = Signal::KILL;
        }
        let open: Vec<OwnedFd> = found.iter().filter_map(|one| signal_one(*one, signal)).collect();
        let patience = if signal == Signal::KILL { Duration::from_secs(1) } else { until - Instant::now() };
        wait_for_end(open, Instant::now() + patience);
    }
}

fn signal_one(process: Identity, signal: Signal) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(process.pid as i32)?, PidfdFlags::empty()).ok()?;
    if !process.is_alive() {
        return None;
    }
    pidfd_send_signal(&pidfd, signal).ok()?;
    Some(pidfd)
}

/// Waits until all have ended or the time is over.
fn wait_for_end(mut open: Vec<OwnedFd>, until: Instant) {
    while !open.is_empty() {
        let Some(left) = until.checked_duration_since(Instant::now()) else { return };
        let mut fds: Vec<PollFd<'_>> = open.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        if !matches!(poll(&mut fds, Some(&timespec(left))), Ok(1..)) {
            continue;
        }
        let ended: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut at = 0;
        open.retain(|_| {
            at += 1;
            !ended[at - 1]
        });
    }
}
