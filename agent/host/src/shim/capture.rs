//! `capture -- COMMAND…`: runs a task below systemd. Its stdout goes to ours, which is a file, and to stderr, which is
//! the log; it ends as the command ends.
//!
//! Of a long stdout only the end is kept in the file. Signals are the command's: they reach it in the same group.

#![allow(clippy::disallowed_methods, reason = "the captured command is started here")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::complain;

/// Above this size, in bytes, the file is begun anew with its end.
const SIZE: usize = 1 << 20;
/// What is kept of it: more than the longest result, in bytes.
const KEPT: usize = 128 << 10;

/// Runs the command to its end and ends like it.
pub(crate) fn capture(command: &[OsString]) -> ExitCode {
    match run(command) {
        Ok(status) => end_like(status),
        Err(error) => {
            complain(&format!("cannot run `{}`: {error}", command[0].display()));
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

fn run(command: &[OsString]) -> io::Result<ExitStatus> {
    let (mut pipe, end) = io::pipe()?;
    // The builder is dropped at once, and with it this process's end of the pipe.
    let mut child = Command::new(&command[0]).args(&command[1..]).stdout(Stdio::from(end)).spawn()?;
    // A stop is for the command; this process goes on until that has ended. Only now, since the command would inherit it.
    SigSet::all().thread_block()?;
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let pid = Pid::from_raw(child.id() as i32).ok_or_else(|| io::Error::other("it has no PID"))?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let mut file = Kept::new(File::from(rustix::io::dup(io::stdout())?));
    let mut open = true;
    loop {
        let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(&pipe, PollFlags::IN));
        }
        // Interrupted or not, all is looked at again.
        let _ = poll(&mut fds, None);
        let is_over = !fds[0].revents().is_empty();
        open = open && pump(&mut pipe, &mut file);
        if is_over {
            return child.wait();
        }
    }
}

/// Hands on what is there; false at the end.
fn pump(pipe: &mut io::PipeReader, file: &mut Kept) -> bool {
    let mut buffer = [0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                file.write(&buffer[..count]);
                // Nobody may be reading the log; that is no reason for a task to fail.
                let _ = io::stderr().write_all(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Ends this process as the command ended.
fn end_like(status: ExitStatus) -> ExitCode {
    let Some(signal) = status.signal() else {
        return ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
    };
    if let Ok(signal) = Signal::try_from(signal) {
        let mut only = SigSet::empty();
        only.add(signal);
        let _ = nix::sys::signal::raise(signal);
        let _ = only.thread_unblock();
    }
    // One that this process ignores.
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(255))
}

/// A file of which the end is kept.
struct Kept {
    file: File,
    size: usize,
    end: Vec<u8>,
}

impl Kept {
    fn new(file: File) -> Self {
        Self { file, size: 0, end: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.end.extend_from_slice(bytes);
        if self.end.len() > 2 * KEPT {
            self.end.drain(..self.end.len() - KEPT);
        }
        self.size += bytes.len();
        if self.size <= SIZE {
            // On a full disk output is dropped: a task must not wait for it.
            let _ = self.file.write_all(bytes);
            return;
        }
        use std::io::Seek as _;
        let kept = &self.end[self.end.len().saturating_sub(KEPT)..];
        self.size = kept.len();
        // In place: the file is the one that systemd opened.
        let _ =
            self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| self.file.write_all(kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_stdout_the_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let mut kept = Kept::new(File::create(&path).unwrap());
        for n in 0..200_000 {
            kept.write(format!("line {n}\n").as_bytes());
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() <= SIZE && text.len() >= KEPT, "{}", text.len());
        assert!(text.ends_with("line 199998\nline 199999\n"));
    }
}
