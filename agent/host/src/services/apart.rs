//! Short children as units of their own: what takes long and runs code of others is run by the service manager, below
//! itself and with its limits, so that the agent's own unit need not allow what such a child needs.
//!
//! Owns the child's spec and its way from start to end. What an agent left when it was killed is found by its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::sync::Notify;

use super::spec::{Limits, OneShot, ServiceSpec, Stop};
use super::{Observed, ServiceError, Supervisor};
use crate::exec::stage::Stage;
use crate::exec::{Exec, Lines, Output, shim_beside_me};

/// How the names of all such children begin.
pub const PREFIX: &str = "stoker-apart-";
/// How often its state is looked at where nobody tells of it.
const LOOK: Duration = Duration::from_secs(2);
/// How long it may take to end when it is cancelled.
const GRACE: Duration = Duration::from_secs(5);
/// How much of its log is its stderr, in bytes.
const TAIL: u64 = 64 << 10;

/// A child that is run by a supervisor.
pub struct Apart<'a> {
    /// The child; its sandbox and stdin are not used.
    pub cmd: &'a Exec,
    /// What makes its name one of its own: letters and digits.
    pub id: &'a str,
    /// What the service manager and the journal call it.
    pub title: &'a str,
    /// Folders that it may write, and nothing else.
    pub write: Vec<PathBuf>,
    /// One of these, for the pipe of its progress.
    pub scratch: &'a Path,
    /// Bytes of memory that it may take; 0 is no limit.
    pub memory: u64,
}

/// Runs the child to its end; `woken` is told when something that is run apart changes. Dropped half-way it is stopped
/// behind the caller's back.
pub async fn run_apart(
    supervisor: &Arc<dyn Supervisor>,
    apart: Apart<'_>,
    woken: &Notify,
    on_line: impl FnMut(String),
) -> Result<Output, ServiceError> {
    let name = format!("{PREFIX}{}", apart.id);
    let pipe = apart.scratch.join("progress");
    let failed = |source| ServiceError::Record { verb: "create", path: pipe.clone(), source };
    let mut lines =
        Lines::new(Some(make_pipe(&pipe, apart.cmd.user.as_deref()).map_err(failed)?), Some(on_line));
    let spec = spec(&name, &apart, &pipe);
    let guard = Guard { supervisor: Arc::clone(supervisor), name: name.clone(), over: false };
    supervisor.start(&spec).await?;
    let ended = loop {
        let seen = supervisor.observe(&name).await?;
        if seen.phase.is_final() {
            break seen;
        }
        let wait = tokio::time::sleep(LOOK);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = lines.more() => {}
                () = woken.notified() => break,
                () = &mut wait => break,
            }
        }
    };
    lines.rest();
    let output = output(supervisor.as_ref(), &name, &ended, apart.cmd).await?;
    guard.end().await?;
    Ok(output)
}

/// Stops what an earlier agent ran apart: nobody waits for it any more.
pub async fn end_apart(supervisor: &dyn Supervisor) -> Result<usize, ServiceError> {
    let names = supervisor.names(PREFIX)?;
    for name in &names {
        supervisor.forget(name).await?;
    }
    Ok(names.len())
}

fn spec(name: &str, apart: &Apart<'_>, pipe: &Path) -> ServiceSpec {
    let cmd = apart.cmd;
    let shim = cmd.shim.clone().unwrap_or_else(shim_beside_me);
    let stage = Stage { progress: Some(pipe.to_owned()), ..Stage::default() };
    let mut command = vec![
        shim.display().to_string(),
        "exec".to_owned(),
        serde_json::to_string(&stage).unwrap_or_default(),
        "--".to_owned(),
        cmd.program.display().to_string(),
    ];
    command.extend(cmd.args.iter().cloned());
    let mark = [("unit", "run apart"), ("task", apart.title)];
    ServiceSpec {
        env: cmd.env.clone(),
        user: cmd.user.clone(),
        cwd: cmd.cwd.clone(),
        stop: Stop { grace: GRACE, ..Stop::default() },
        success: vec![0],
        limits: Limits { memory: apart.memory, ..Limits::default() },
        write: apart.write.clone(),
        oneshot: Some(OneShot { timeout: cmd.deadline }),
        mark: mark.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..ServiceSpec::new(name, name, command)
    }
}

/// A pipe with a name, that only its user may write. Held open for writing here too, so that it never is at its end.
fn make_pipe(path: &Path, user: Option<&str>) -> std::io::Result<Receiver> {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    let pipe = OpenOptions::new().read_write(true).open_receiver(path)?;
    let account = user.map(crate::users::lookup).transpose().map_err(std::io::Error::other)?.flatten();
    if let Some(account) = account {
        std::os::unix::fs::fchown(&pipe, Some(account.uid), Some(account.gid))?;
    }
    Ok(pipe)
}

async fn output(
    supervisor: &dyn Supervisor,
    name: &str,
    ended: &Observed,
    cmd: &Exec,
) -> Result<Output, ServiceError> {
    let exit = ended.exit.unwrap_or_default();
    let path = supervisor.stdout_path(name);
    let mut stdout = Vec::new();
    let cap = if cmd.output_cap == 0 { 1 << 20 } else { cmd.output_cap };
    if let Ok(file) = tokio::fs::File::open(&path).await {
        let read = file.take(cap as u64 + 1).read_to_end(&mut stdout).await;
        read.map_err(|source| ServiceError::Record { verb: "read", path, source })?;
    }
    let truncated = stdout.len() > cap;
    stdout.truncate(cap);
    let stderr = supervisor.log_tail(name, TAIL).await.unwrap_or_default().into_bytes();
    Ok(Output { status: exit.code, signal: exit.signal, stdout, stderr, truncated, timed_out: exit.deadline })
}

/// Stops and forgets the child, however its run is left.
struct Guard {
    supervisor: Arc<dyn Supervisor>,
    name: String,
    over: bool,
}

impl Guard {
    async fn end(mut self) -> Result<(), ServiceError> {
        let done = self.supervisor.forget(&self.name).await;
        self.over = done.is_ok();
        done
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (supervisor, name) = (Arc::clone(&self.supervisor), std::mem::take(&mut self.name));
        tokio::spawn(async move {
            if let Err(error) = supervisor.forget(&name).await {
                tracing::warn!(service = name, %error, "cannot stop what was run apart");
            }
        });
    }
}
