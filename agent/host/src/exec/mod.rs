//! Short children: run to their end, with an environment built from nothing, a deadline and a cap on what they say.
//!
//! Owns their process group and their pipes. What they may touch is applied by the stage (`stoker-shim exec`), which
//! a plain child of the agent's own user does without. Services are not started here.

#![allow(clippy::disallowed_methods, reason = "this is where short children are started")]

mod again;
mod pipes;
pub mod stage;
mod strays;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

pub use again::with_small_memory;
pub(crate) use pipes::Lines;
pub use stage::Sandbox;
use stage::{Stage, Stdin};
pub use strays::end_strays;

use crate::services::descendants;

/// One short child.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    /// What to run.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, whole.
    pub env: BTreeMap<String, String>,
    /// Where it runs; `None` is `/`.
    pub cwd: Option<PathBuf>,
    /// The user to run as; `None` is the agent's own.
    pub user: Option<String>,
    /// That user's ids where they are known already; it has no further groups then.
    pub ids: Option<(u32, u32)>,
    /// When it is killed with its whole group; zero is never.
    pub deadline: Duration,
    /// What it reads; `None` is nothing.
    pub stdin: Option<Vec<u8>>,
    /// What it may write and reach; `None` is all that its user may.
    pub sandbox: Option<Sandbox>,
    /// How many bytes of stdout and of stderr are kept; the rest is read and dropped. 0 is 1 MiB.
    pub output_cap: usize,
    /// Kill what it left in its group when it ends by itself.
    pub kill_leftovers: bool,
    /// The `stoker-shim` program; `None` looks beside the running one.
    pub shim: Option<PathBuf>,
}

/// How a child ended and what it said.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its stdout, from the beginning.
    pub stdout: Vec<u8>,
    /// Its stderr, from the beginning.
    pub stderr: Vec<u8>,
    /// It said more than was kept.
    pub truncated: bool,
    /// It was killed since its time was over.
    pub timed_out: bool,
}

impl Output {
    /// Whether it ended by itself with code 0.
    pub fn is_success(&self) -> bool {
        self.status == Some(0) && !self.timed_out
    }
}

/// Why a child could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It could not be started.
    #[error("cannot run `{}`", program.display())]
    Start {
        /// What was to run.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its output or its end could not be read.
    #[error("cannot follow `{}`", program.display())]
    Follow {
        /// What runs.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the child to its end.
pub async fn run(cmd: &Exec) -> Result<Output, ExecError> {
    execute(cmd, None::<fn(String)>).await
}

/// Runs the child to its end and hands over each line that it writes to descriptor 3, as it comes. Such a child has no
/// stdin.
pub async fn run_with_progress(cmd: &Exec, on_line: impl FnMut(String)) -> Result<Output, ExecError> {
    execute(cmd, Some(on_line)).await
}

/// The `stoker-shim` program: beside the running one, or as it is installed, in `PREFIX/lib/stoker` of `PREFIX/bin`.
pub fn shim_beside_me() -> PathBuf {
    let me = std::env::current_exe().ok();
    let Some(folder) = me.as_deref().and_then(Path::parent) else { return PathBuf::from("stoker-shim") };
    let beside = folder.join("stoker-shim");
    let installed = folder.parent().map(|prefix| prefix.join("lib/stoker/stoker-shim"));
    if beside.exists() { beside } else { installed.filter(|path| path.exists()).unwrap_or(beside) }
}

async fn execute(cmd: &Exec, on_line: Option<impl FnMut(String)>) -> Result<Output, ExecError> {
    let failed = |source| ExecError::Start { program: cmd.program.clone(), source };
    let progress = if on_line.is_some() { Some(std::io::pipe().map_err(failed)?) } else { None };
    let mut command = command(cmd, progress.is_some());
    let progress = if let Some((read, write)) = progress {
        command.stdin(Stdio::from(OwnedFd::from(write)));
        Some(Receiver::from_owned_fd(OwnedFd::from(read)).map_err(failed)?)
    } else {
        command.stdin(if cmd.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        None
    };
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds the write end of the progress pipe: only without it does the reader see the end.
    drop(command);
    let group = Group { pid: child.id().unwrap_or(0) };
    let followed = follow(cmd, &mut child, progress, on_line, &group).await;
    match &followed {
        Err(_) => group.kill(),
        // The child is gone, and what it left has other parents now: only its group still tells it.
        Ok(_) if cmd.kill_leftovers => group.kill_members(),
        Ok(_) => {}
    }
    group.done();
    followed.map_err(|source| ExecError::Follow { program: cmd.program.clone(), source })
}

fn command(cmd: &Exec, progress: bool) -> Command {
    let staged = progress || cmd.sandbox.is_some() || cmd.user.is_some();
    let root = Path::new("/");
    let mut command = if staged {
        let stage = Stage {
            stdin: if progress { Stdin::Progress } else { Stdin::Keep },
            cwd: Some(cmd.cwd.clone().unwrap_or_else(|| root.to_owned())),
            sandbox: cmd.sandbox.clone(),
            user: cmd.user.clone(),
            ids: cmd.ids,
            ..Stage::default()
        };
        let mut command = Command::new(cmd.shim.clone().unwrap_or_else(shim_beside_me));
        // Its fields are strings, numbers and paths; a path that is no UTF-8 cannot be said, and the stage refuses it.
        command
            .arg("exec")
            .arg(serde_json::to_string(&stage).unwrap_or_default())
            .arg("--")
            .arg(&cmd.program);
        command
    } else {
        let mut command = Command::new(&cmd.program);
        command.current_dir(cmd.cwd.as_deref().unwrap_or(root));
        command
    };
    command.args(&cmd.args).env_clear().envs(&cmd.env);
    command
}

/// Kills the group of a child whose future is dropped half-way.
struct Group {
    pid: u32,
}

impl Group {
    /// Ends the group and what went out of it but is still below the child.
    fn kill(&self) {
        use nix::sys::signal::{Signal, kill};
        let below = descendants(self.pid);
        self.kill_members();
        for one in below.into_iter().filter(crate::services::Identity::is_alive) {
            let _ = kill(nix::unistd::Pid::from_raw(one.pid as i32), Signal::SIGKILL);
        }
    }

    /// Ends those that are in the group.
    fn kill_members(&self) {
        use nix::sys::signal::{Signal, killpg};
        if let Ok(pid @ 1..) = i32::try_from(self.pid) {
            // Already gone is what was wanted.
            let _ = killpg(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn follow(
    cmd: &Exec,
    child: &mut Child,
    progress: Option<Receiver>,
    on_line: Option<impl FnMut(String)>,
    group: &Group,
) -> std::io::Result<Output> {
    let cap = if cmd.output_cap == 0 { 1 << 20 } else { cmd.output_cap };
    let mut out = pipes::Capture::new(child.stdout.take(), cap);
    let mut err = pipes::Capture::new(child.stderr.take(), cap);
    let mut lines = pipes::Lines::new(progress, on_line);
    let mut input = child.stdin.take().zip(cmd.stdin.as_deref());
    let feed = async {
        if let Some((pipe, bytes)) = &mut input {
            // A child that does not read its input is not wrong.
            let _ = pipe.write_all(bytes).await;
        }
        drop(input.take());
        std::future::pending::<()>().await;
    };
    let time = async {
        if cmd.deadline.is_zero() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(cmd.deadline).await;
    };
    let mut timed_out = false;
    let status: ExitStatus = {
        tokio::pin!(feed, time);
        loop {
            tokio::select! {
                status = child.wait() => break status?,
                () = &mut time, if !timed_out => {
                    timed_out = true;
                    group.kill();
                }
                () = &mut feed => {}
                () = out.more() => {}
                () = err.more() => {}
                () = lines.more() => {}
            }
        }
    };
    // What it left behind may hold the pipes for ever: take what is there and go.
    out.rest();
    err.rest();
    lines.rest();
    use std::os::unix::process::ExitStatusExt as _;
    Ok(Output {
        status: status.code(),
        signal: status.signal(),
        truncated: out.truncated || err.truncated,
        stdout: out.bytes,
        stderr: err.bytes,
        timed_out,
    })
}
