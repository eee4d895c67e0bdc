//! `keep DIR`: one service, from its first start to its last end, with or without the agent.
//!
//! Owns the state machine: starting → running → (backoff → starting …) → stopped | failed | exited. Everything waits in
//! one `poll`; without a deadline to keep it wakes for nothing.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stoker_host::services::record::{EXIT_LOCKED, EXIT_OUTRUN, Exit, NOTIFY, Phase, Record, State};
use stoker_host::services::spec::{RestartOn, ServiceSpec};
use stoker_host::services::{boot_id, start_ticks};

use crate::child::{Ending, Reaped, Run, kill_all, oom_kills, reap};
use crate::complain;
use crate::log::{Capture, Log};
use crate::sweep::{begin, clear};

/// A run this long forgets the failures before it.
const SETTLED: Duration = Duration::from_mins(1);
/// How often, a second apart, a last state is tried to be written on a full disk.
const LAST_TRIES: u32 = 10;

/// Why the keeper cannot begin.
pub(crate) enum Fault {
    /// Another one holds the lock.
    Locked,
    /// Its ticket is no longer the record's.
    Outrun,
    /// Anything else.
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

/// Keeps the service of the record in `dir`, if the ticket is still the record's.
pub(crate) fn keep(dir: &Path, ticket: &str) -> ExitCode {
    match begin_keeping(dir, ticket) {
        Ok(mut keeper) => {
            keeper.run();
            ExitCode::SUCCESS
        }
        Err(Fault::Locked) => ExitCode::from(EXIT_LOCKED),
        Err(Fault::Outrun) => ExitCode::from(EXIT_OUTRUN),
        Err(Fault::Io(error)) => {
            let _ = writeln!(io::stdout(), "{error}");
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Leaves the agent's session and folder: nothing that happens to it reaches this process.
pub(crate) fn enter(dir: &Path) -> io::Result<Record> {
    // Refused where this process leads a group already, which is as good.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    std::env::set_current_dir(dir)?;
    Ok(Record::new(std::env::current_dir()?))
}

/// The record's lock, held as long as the file is open; `None` where another process has it.
pub(crate) fn lock(record: &Record) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(record.lock())?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    // Rounded up: woken a moment early, the loop would spin until the moment has come.
    let duration = duration + Duration::from_millis(1);
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}

fn begin_keeping(dir: &Path, ticket: &str) -> Result<Keeper, Fault> {
    let record = enter(dir)?;
    let mut mask = SigSet::empty();
    for signal in
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD, Signal::SIGUSR1, Signal::SIGUSR2]
    {
        mask.add(signal);
    }
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    // The kernel should take a service before its keeper. Only root may ask.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    let Some(lock) = lock(&record)? else { return Err(Fault::Locked) };
    // Looked at with the lock in hand: who removes the ticket and then finds the lock free knows that none begins.
    if record.ticket()?.as_deref() != Some(ticket) {
        return Err(Fault::Outrun);
    }
    let spec = record.spec()?.ok_or_else(|| io::Error::other("there is no spec"))?;
    let boot_id = boot_id()?;
    let old = record.state();
    let mut state = begin(old.as_ref().ok().cloned().flatten(), boot_id.clone());
    state.phase = Phase::Starting;
    state.digest.clone_from(&spec.digest);
    // What is left is named in the state until it is gone.
    record.write_state(&state)?;
    clear(&record, Some(&spec), &old, &boot_id)?;
    let log = Log::open(&record.log());
    let capture = if spec.oneshot.is_some() { Some(Capture::create(&record.stdout())?) } else { None };
    state = State { restarts: 0, exit: None, reason: None, log_from: log.position(), ..state };
    let unenforced = unenforced(&spec);
    Ok(Keeper {
        record,
        spec,
        state,
        log,
        capture,
        signals,
        unenforced,
        run: None,
        failures: 0,
        next_start: Some(Instant::now()),
        stopping: None,
        announced: false,
        _lock: lock,
    })
}

/// Limits that only a control group could hold.
fn unenforced(spec: &ServiceSpec) -> Vec<String> {
    let limits = [("memory", spec.limits.memory), ("cores", spec.limits.cores)];
    limits.into_iter().filter(|(_, limit)| *limit > 0).map(|(name, _)| name.to_owned()).collect()
}

struct Keeper {
    record: Record,
    spec: ServiceSpec,
    state: State,
    log: Log,
    capture: Option<Capture>,
    signals: SignalFd,
    /// What does not hold here whatever the stage can do.
    unenforced: Vec<String>,
    run: Option<Run>,
    /// Endings in a row that came too soon.
    failures: u32,
    next_start: Option<Instant>,
    stopping: Option<Stopping>,
    announced: bool,
    _lock: File,
}

/// A run that was asked to end.
struct Stopping {
    /// When it is killed.
    until: Instant,
    /// Its time was over, nobody stopped it.
    deadline: bool,
}

impl Keeper {
    fn run(&mut self) {
        while !self.state.phase.is_final() {
            let now = Instant::now();
            if self.next_start.is_some_and(|at| at <= now) {
                self.start();
            }
            if self.run.is_some() && self.stopping.as_ref().is_some_and(|stopping| stopping.until <= now) {
                self.end_run();
            } else if self.deadline().is_some_and(|at| at <= now) && self.stopping.is_none() {
                self.log.note("its time is over");
                self.stop(true);
            }
            if self.state.phase.is_final() {
                break;
            }
            self.wait();
            self.take_signals();
            self.pump();
        }
        self.announce();
    }

    /// When a task's time is over.
    fn deadline(&self) -> Option<Instant> {
        Some(self.run.as_ref()?.since + self.spec.oneshot?.timeout)
    }

    /// Waits for a signal, output or the next deadline.
    fn wait(&self) {
        let stopping = self.stopping.as_ref().filter(|_| self.run.is_some()).map(|stopping| stopping.until);
        let deadline = if stopping.is_none() { self.deadline() } else { stopping };
        let next = [self.next_start, deadline].into_iter().flatten().min();
        let timeout = next.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(run) = &self.run {
            let pipes = [&run.report, &run.log, &run.stdout];
            fds.extend(pipes.into_iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        }
        // Interrupted or not, all is looked at again.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn start(&mut self) {
        self.next_start = None;
        self.state.log_from = self.log.position();
        self.state.unenforced.clone_from(&self.unenforced);
        match Run::start(&self.spec, &self.record) {
            Ok(run) => {
                let pid = run.pid.as_raw() as u32;
                self.state.phase = Phase::Starting;
                self.state.pid = Some(pid);
                self.state.start_ticks = start_ticks(pid);
                self.state.started =
                    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_millis() as u64);
                self.run = Some(run);
                self.save();
            }
            Err(error) => {
                self.state.reason = Some(format!("cannot start a process: {error}"));
                self.conclude((Some(127), None), false);
            }
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo == Signal::SIGTERM as u32 && self.stopping.is_none() {
                self.stop(false);
            }
        }
        // One SIGCHLD may stand for many children, so they are asked for whatever the signals were.
        let main = self.run.as_ref().map(|run| run.pid);
        let mut nobody = false;
        loop {
            match reap(false) {
                Reaped::Child(pid, ending) => {
                    if let Some(run) = self.run.as_mut().filter(|_| Some(pid) == main) {
                        run.ended = Some(ending);
                    }
                }
                Reaped::NoneYet => break,
                Reaped::Nobody => {
                    nobody = true;
                    break;
                }
            }
        }
        let Some(run) = &self.run else { return };
        // A service that is being stopped may still tidy up in its other processes; one that ended by itself may not.
        if run.ended.is_some() && (nobody || self.stopping.is_none()) {
            self.end_run();
        }
    }

    /// Asks the service to end.
    fn stop(&mut self, deadline: bool) {
        let Some(run) = &self.run else {
            self.next_start = None;
            self.finish(Phase::Stopped);
            return;
        };
        self.stopping = Some(Stopping { until: Instant::now() + self.spec.stop.grace, deadline });
        let signal = self.spec.stop.number().and_then(|number| Signal::try_from(number).ok());
        run.signal(signal.unwrap_or(Signal::SIGTERM));
        // A process that was paused cannot hear it.
        run.signal(Signal::SIGCONT);
    }

    /// Kills whatever is left of the run and goes on to what comes after it.
    fn end_run(&mut self) {
        let Some(pid) = self.run.as_ref().map(|run| run.pid) else { return };
        let killed = kill_all(pid);
        self.pump();
        if let Some(run) = self.run.take() {
            let ending = run.ended.or(killed).unwrap_or((None, Some(Signal::SIGKILL as i32)));
            if run.since.elapsed() >= SETTLED {
                self.failures = 0;
            }
            let killed = ending.1 == Some(Signal::SIGKILL as i32) && self.stopping.is_none();
            self.conclude(ending, killed && oom_kills() > run.oom_kills);
        }
    }

    fn conclude(&mut self, (code, signal): Ending, out_of_memory: bool) {
        let stopping = self.stopping.take();
        let deadline = stopping.as_ref().is_some_and(|stopping| stopping.deadline);
        let mut exit = Exit { code, signal, deadline, out_of_memory, success: false };
        exit.success = !deadline && self.spec.success.contains(&exit.as_code());
        self.state.exit = Some(exit);
        (self.state.pid, self.state.start_ticks) = (None, None);
        let said = match (code, signal) {
            (Some(code), _) => format!("ended with code {code}"),
            (None, _) if out_of_memory => "was killed, probably since the host's memory ran out".to_owned(),
            (None, signal) => format!("ended by signal {}", signal.unwrap_or(0)),
        };
        if stopping.is_some() && !deadline {
            self.log.note(&format!("{said}, as asked"));
            return self.finish(Phase::Stopped);
        }
        let again = self.spec.oneshot.is_none()
            && match self.spec.restart.on {
                RestartOn::Always => true,
                RestartOn::Failure => !exit.success,
                RestartOn::Never => false,
            };
        if !again {
            self.log.note(&said);
            return self.finish(if exit.success { Phase::Exited } else { Phase::Failed });
        }
        let delay = self.spec.restart.delay(self.failures);
        self.log.note(&format!("{said}; starts again in {} ms", delay.as_millis()));
        self.failures = self.failures.saturating_add(1);
        self.state.restarts = self.state.restarts.saturating_add(1);
        self.state.phase = Phase::Backoff;
        self.next_start = Some(Instant::now() + delay);
        self.save();
        self.announce();
    }

    /// Writes the last state so that nothing loses it.
    fn finish(&mut self, phase: Phase) {
        self.state.phase = phase;
        for _ in 0..LAST_TRIES {
            if self.save() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Moves what the service says to where it goes.
    fn pump(&mut self) {
        let Some(run) = &mut self.run else { return };
        let mut rotated = false;
        let (log, capture) = (&mut self.log, &mut self.capture);
        drain(&mut run.log, |bytes| rotated |= log.write(bytes));
        drain(&mut run.stdout, |bytes| {
            rotated |= log.write(bytes);
            if let Some(capture) = capture {
                capture.write(bytes);
            }
        });
        let report = run.read_report();
        if rotated {
            self.state.log_from = 0;
            self.save();
        }
        let Some(report) = report else { return };
        self.state.unenforced.extend(report.unenforced);
        self.state.reason = report.error;
        if let Some(reason) = &self.state.reason {
            // Its end is on the way and says the rest.
            self.log.note(reason);
            return;
        }
        self.state.phase = Phase::Running;
        self.save();
        self.announce();
    }

    /// Writes the state and tells the agent, if there is one.
    fn save(&self) -> bool {
        let written = self.record.write_state(&self.state).is_ok();
        // Relative to the record's folder: an address holds 108 bytes only.
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.set_nonblocking(true);
            let _ = socket.send_to(self.spec.name.as_bytes(), format!("../{NOTIFY}"));
        }
        written
    }

    /// Tells the one who started this keeper that it has the service, once, and lets go of its pipes.
    fn announce(&mut self) {
        if std::mem::replace(&mut self.announced, true) {
            return;
        }
        let _ = io::stdout().write_all(b"ready\n");
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(&null);
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
    }
}

/// Reads what is there, a bounded piece at a time so that a flood does not keep signals waiting, and closes the pipe at
/// its end.
fn drain(pipe: &mut Option<PipeReader>, mut to: impl FnMut(&[u8])) {
    let Some(reader) = pipe else { return };
    let mut buffer = [0; 16 * 1024];
    for _ in 0..64 {
        match reader.read(&mut buffer) {
            Ok(0) => {
                *pipe = None;
                return;
            }
            Ok(count) => to(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
