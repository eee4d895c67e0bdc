//! `exec STAGE -- COMMAND…`: this process takes on user, limits and restrictions, and becomes the command.
//!
//! Everything is applied to the process itself, which has one thread. What cannot be had is reported where the starter
//! listens; a user that cannot be taken on, or a sandbox that cannot be held, is an error: the command does not begin.

#![allow(clippy::disallowed_methods, reason = "this process becomes the command")]

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::unistd::{Gid, Uid, User, initgroups, setgid, setgroups, setuid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stoker_host::exec::stage::{Report, Stage, Stdin};

use crate::{complain, restrict};

/// Applies the stage and becomes the command; returns only where that failed.
pub(crate) fn become_command(stage: &str, command: &[OsString]) -> ExitCode {
    let mut report = Report::default();
    let (pipe, failure) = match apply(stage, &mut report) {
        Ok(mut pipe) => {
            if let Some(pipe) = pipe.as_mut().filter(|_| !report.unenforced.is_empty()) {
                tell(pipe, &report);
            }
            let failure = Command::new(&command[0]).args(&command[1..]).exec();
            (
                pipe,
                io::Error::new(failure.kind(), format!("cannot run `{}`: {failure}", command[0].display())),
            )
        }
        Err((pipe, failure)) => (pipe, failure),
    };
    complain(&failure.to_string());
    if let Some(mut pipe) = pipe {
        // A second document where what does not hold was told already; together they are the report.
        tell(&mut pipe, &Report { error: Some(failure.to_string()), ..Report::default() });
    }
    ExitCode::from(if failure.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

fn tell(pipe: &mut File, report: &Report) {
    if let Ok(text) = serde_json::to_vec(report) {
        // Who started this may be gone.
        let _ = pipe.write_all(&text);
    }
}

type Failed = (Option<File>, io::Error);

fn apply(stage: &str, report: &mut Report) -> Result<Option<File>, Failed> {
    let stage: Stage = serde_json::from_str(stage).map_err(|error| (None, error.into()))?;
    let pipe = take_stdin(stage.stdin).map_err(|error| (None, error))?;
    if let Some(path) = &stage.progress {
        let what = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot open `{}`: {error}", path.display()))
        };
        let opened = File::options().write(true).open(path).and_then(|file| give_third(file.into()));
        opened.map_err(|error| (None, what(error)))?;
    }
    match apply_to_self(&stage, report) {
        Ok(()) => Ok(pipe),
        Err(error) => Err((pipe, error)),
    }
}

/// Takes the pipe out of stdin's place, which becomes empty.
fn take_stdin(stdin: Stdin) -> io::Result<Option<File>> {
    if stdin == Stdin::Keep {
        return Ok(None);
    }
    let pipe: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    if stdin == Stdin::Report {
        return Ok(Some(pipe.into()));
    }
    give_third(pipe)?;
    Ok(None)
}

/// Leaves it to the command, which expects it as descriptor 3.
fn give_third(pipe: OwnedFd) -> io::Result<()> {
    if pipe.as_raw_fd() != 3 {
        return Err(io::Error::other("cannot give the command descriptor 3, which is taken"));
    }
    rustix::io::fcntl_setfd(&pipe, rustix::io::FdFlags::empty())?;
    // Left open for the command.
    let _ = pipe.into_raw_fd();
    Ok(())
}

fn apply_to_self(stage: &Stage, report: &mut Report) -> io::Result<()> {
    let what = |what: String| {
        move |error: io::Error| io::Error::new(error.kind(), format!("cannot {what}: {error}"))
    };
    // A keeper is spared when memory runs out, its service is not. Raising is always allowed.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // The keeper reads its signals where it waits, so it holds them back; the command must hear them.
    nix::sys::signal::SigSet::empty().thread_set_mask()?;
    limit_files(stage.nofile, report);
    if !stage.deny_write.is_empty() && !restrict::deny_write(&stage.deny_write) {
        report.unenforced.push("deny-write".into());
    }
    // Before the user changes: root may pass folders that the user may not.
    if let Some(cwd) = &stage.cwd {
        std::env::set_current_dir(cwd).map_err(what(format!("enter `{}`", cwd.display())))?;
    }
    if let Some(sandbox) = &stage.sandbox {
        restrict::sandbox(sandbox).map_err(what("hold the command in its sandbox".into()))?;
    }
    if let Some(user) = &stage.user {
        match stage.ids {
            Some((uid, gid)) => become_ids(Uid::from_raw(uid), Gid::from_raw(gid)),
            None => become_user(user),
        }
        .map_err(what(format!("become user `{user}`")))?;
    }
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

fn limit_files(wanted: u64, report: &mut Report) {
    if wanted == 0 {
        return;
    }
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(wanted), maximum: Some(hard.max(wanted)) };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return;
    }
    if wanted > hard {
        report.unenforced.push("nofile".into());
    }
    let capped = Rlimit { current: Some(wanted.min(hard)), maximum: now.maximum };
    if setrlimit(Resource::Nofile, capped).is_err() && wanted <= hard {
        report.unenforced.push("nofile".into());
    }
}

/// Without a look-up, which reads half a dozen files and would be most of a short child's time.
fn become_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    if uid == Uid::current() {
        return Ok(());
    }
    setgroups(&[gid])?;
    setgid(gid)?;
    setuid(uid)?;
    Ok(())
}

fn become_user(name: &str) -> io::Result<()> {
    let user = User::from_name(name)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such user"))?;
    if user.uid == Uid::current() {
        return Ok(());
    }
    initgroups(&CString::new(name)?, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}
