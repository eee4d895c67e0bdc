//! One run of the command: its process, its pipes and its descendants.
//!
//! Owns starting, signalling and reaping it. When it is started again is decided in `keep`.

#![allow(clippy::disallowed_methods, reason = "the kept command is started here")]

use std::io::{self, PipeReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use stoker_host::exec::stage::{Report, Stage, Stdin};
use stoker_host::services::record::{ENV_RECORD, ENV_SERVICE, Record};
use stoker_host::services::spec::ServiceSpec;
use stoker_host::services::{Identity, descendants};

/// How a process ended: its code, or the signal.
pub(crate) type Ending = (Option<i32>, Option<i32>);

/// One run.
pub(crate) struct Run {
    pub(crate) pid: Pid,
    pub(crate) since: Instant,
    /// How many processes this host had killed for want of memory when it began.
    pub(crate) oom_kills: Option<u64>,
    /// Closes when the command begins.
    pub(crate) report: Option<PipeReader>,
    /// What the stage said there.
    pub(crate) said: Vec<u8>,
    /// stdout and stderr of a service, stderr of a task.
    pub(crate) log: Option<PipeReader>,
    /// stdout of a task.
    pub(crate) stdout: Option<PipeReader>,
    /// How the main process ended.
    pub(crate) ended: Option<Ending>,
}

impl Run {
    /// Starts the command, through the stage, in a group of its own.
    pub(crate) fn start(spec: &ServiceSpec, record: &Record) -> io::Result<Self> {
        let stage = Stage {
            stdin: Stdin::Report,
            progress: None,
            nofile: spec.limits.nofile,
            cwd: Some(spec.cwd.clone().unwrap_or_else(|| "/".into())),
            deny_write: spec.deny_write.clone(),
            sandbox: None,
            user: spec.user.clone(),
            ids: None,
        };
        let (report, report_end) = pipe()?;
        let (log, log_end) = pipe()?;
        // The very program that runs, also after its file was replaced by an upgrade.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("stoker-shim")
            .arg("exec")
            .arg(serde_json::to_string(&stage)?)
            .arg("--")
            .args(&spec.command);
        command.env_clear().envs(&spec.env).envs(&spec.secret_env);
        command.env(ENV_SERVICE, &spec.name).env(ENV_RECORD, record.dir());
        command.stdin(Stdio::from(report_end)).stderr(Stdio::from(log_end.try_clone()?)).process_group(0);
        let stdout = if spec.oneshot.is_some() {
            let (stdout, stdout_end) = pipe()?;
            command.stdout(Stdio::from(stdout_end));
            Some(stdout)
        } else {
            command.stdout(Stdio::from(log_end));
            None
        };
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id() as i32);
        Ok(Self {
            pid,
            since: Instant::now(),
            oom_kills: oom_kills(),
            report: Some(report),
            said: Vec::new(),
            log: Some(log),
            stdout,
            ended: None,
        })
    }

    /// Reads what the stage says, and returns it once it is whole.
    pub(crate) fn read_report(&mut self) -> Option<Report> {
        let pipe = self.report.as_mut()?;
        let mut buffer = [0; 1024];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) if self.said.len() < 64 * 1024 => self.said.extend_from_slice(&buffer[..count]),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => break,
            }
        }
        self.report = None;
        let told = serde_json::Deserializer::from_slice(&self.said).into_iter::<Report>();
        Some(told.map_while(Result::ok).fold(Report::default(), |mut whole, part| {
            whole.unenforced.extend(part.unenforced);
            whole.error = whole.error.or(part.error);
            whole
        }))
    }

    /// Signals the main process's group and whatever went out of it.
    pub(crate) fn signal(&self, signal: Signal) {
        // Already gone is what is wanted.
        let _ = killpg(self.pid, signal);
        for one in descendants(std::process::id()) {
            let pid = Pid::from_raw(one.pid as i32);
            let outside = nix::unistd::getpgid(Some(pid)).is_ok_and(|group| group != self.pid);
            if outside && one.is_alive() {
                let _ = kill(pid, signal);
            }
        }
    }
}

/// What there is to reap.
pub(crate) enum Reaped {
    /// A child that ended.
    Child(Pid, Ending),
    /// Nothing now, but there are children.
    NoneYet,
    /// There are no children.
    Nobody,
}

/// Reaps one child if one has ended; as the subreaper, also orphans of the service.
pub(crate) fn reap(wait: bool) -> Reaped {
    loop {
        match waitpid(None, if wait { None } else { Some(WaitPidFlag::WNOHANG) }) {
            Ok(WaitStatus::Exited(pid, code)) => return Reaped::Child(pid, (Some(code), None)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Reaped::Child(pid, (None, Some(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) => return Reaped::NoneYet,
            Err(Errno::ECHILD) => return Reaped::Nobody,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Kills everything below this process and reaps it; returns how the process `main` ended, if it is among it.
pub(crate) fn kill_all(main: Pid) -> Option<Ending> {
    let mut ended = None;
    loop {
        for one in descendants(std::process::id()).iter().filter(|one| Identity::is_alive(one)) {
            let _ = kill(Pid::from_raw(one.pid as i32), Signal::SIGKILL);
        }
        match reap(true) {
            Reaped::Child(pid, ending) if pid == main => ended = Some(ending),
            Reaped::Child(..) | Reaped::NoneYet => {}
            Reaped::Nobody => return ended,
        }
    }
}

/// How many processes this host has killed for want of memory since it is up.
pub(crate) fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

fn pipe() -> io::Result<(PipeReader, std::io::PipeWriter)> {
    let (read, write) = io::pipe()?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}
