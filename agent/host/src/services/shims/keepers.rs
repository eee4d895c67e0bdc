//! Starting keepers and confirming their end.
//!
//! Every keeper is started with a ticket, and gives up when its ticket is no longer the record's: so one that an earlier
//! agent started, and that has not come to its lock yet, can be outrun by a stop or by another start.

#![allow(clippy::disallowed_methods, reason = "keepers are started here")]

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::ShimSupervisor;
use crate::fs::failpoint::hit;
use crate::services::ServiceError;
use crate::services::identity::{Identity, start_ticks};
use crate::services::record::{EXIT_LOCKED, EXIT_OUTRUN, Record};
use crate::services::spec::ServiceSpec;
use crate::services::watch::{died, open_pidfd};

/// How long a keeper may take beyond the service's own grace, to come up or to go.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a keeper of an earlier agent may get in the way.
const ATTEMPTS: u32 = 5;
/// How long to wait before looking again whether a keeper that holds the lock has said who it is: it does so first of
/// all.
const MOMENT: Duration = Duration::from_millis(2);

/// What came of starting the shim.
enum Said {
    /// What it wrote before it closed its stdout.
    Text(String),
    /// Another keeper was there before it.
    InTheWay,
}

impl ShimSupervisor {
    /// Starts the service; the caller has its turn.
    pub(super) async fn start_now(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        let record = self.record(&spec.name);
        let failed = |reason: String| ServiceError::Start { name: spec.name.clone(), reason };
        for _ in 0..ATTEMPTS {
            if let Some(keeper) = self.keeper(&record) {
                let now = self.look(&spec.name)?;
                if now.digest == spec.digest && !now.phase.is_final() {
                    self.watch.follow(&spec.name, keeper);
                    return Ok(());
                }
                self.stop_now(&spec.name).await?;
            }
            match self.start_keeper(&record, spec).await? {
                Said::Text(said) if said == "ready" => return Ok(()),
                Said::Text(reason) => return Err(failed(reason)),
                Said::InTheWay => {
                    self.wait_for_holder(&record).await.map_err(|error| failed(error.to_string()))?;
                }
            }
        }
        Err(failed("other keepers of it come up again and again".into()))
    }

    async fn start_keeper(&self, record: &Record, spec: &ServiceSpec) -> Result<Said, ServiceError> {
        let failed = |verb, path: PathBuf| move |source| ServiceError::Record { verb, path, source };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(record.dir())
            .map_err(failed("create", record.dir().to_owned()))?;
        hit("services.start.before-spec");
        record.write_spec(spec).map_err(failed("write", record.spec_path()))?;
        let me = std::process::id();
        let count = self.started.fetch_add(1, Ordering::Relaxed);
        let ticket = format!("{me}-{}-{count}", start_ticks(me).unwrap_or(0));
        record.write_ticket(&ticket).map_err(failed("write", record.ticket_path()))?;
        hit("services.start.after-spec");
        // What a keeper finds and must end first has its grace.
        let patience = spec.stop.grace.saturating_add(PATIENCE);
        let said = self
            .call("keep", record, Some(&ticket), patience)
            .await
            .map_err(|error| ServiceError::Start { name: spec.name.clone(), reason: error.to_string() })?;
        if let Some(keeper) = self.keeper(record) {
            self.watch.follow(&spec.name, keeper);
        }
        hit("services.start.ready");
        Ok(said)
    }

    /// Waits until the keeper that holds the lock has said who it is, or is gone.
    async fn wait_for_holder(&self, record: &Record) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.keeper(record).is_none() && is_locked(record)? {
            if Instant::now() > end {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a process that is no keeper holds its lock",
                ));
            }
            tokio::time::sleep(MOMENT).await;
        }
        Ok(())
    }

    /// Starts the shim in one of its modes and returns what it says before it closes its stdout. It is no child that
    /// dies with the agent: it makes its own session first of all, and is only reaped here.
    async fn call(
        &self,
        mode: &str,
        record: &Record,
        ticket: Option<&str>,
        patience: Duration,
    ) -> io::Result<Said> {
        let mut child = Command::new(&self.shim)
            .arg(mode)
            .arg(record.dir())
            .args(ticket)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if mode == "keep" {
            hit("services.start.spawned");
        }
        let stdout = child.stdout.take();
        let reaped = tokio::spawn(async move { child.wait().await });
        let mut said = String::new();
        if let Some(stdout) = stdout {
            timeout(patience, stdout.take(64 * 1024).read_to_string(&mut said))
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "its keeper does not answer"))??;
        }
        let said = said.trim();
        if !said.is_empty() {
            return Ok(Said::Text(said.to_owned()));
        }
        // It said nothing and closed: it has ended.
        match reaped.await.map_err(io::Error::other)??.code() {
            Some(code) if [EXIT_LOCKED, EXIT_OUTRUN].map(i32::from).contains(&code) => Ok(Said::InTheWay),
            Some(code) => Ok(Said::Text(format!("its keeper ended with code {code}"))),
            None => Ok(Said::Text("its keeper was killed".to_owned())),
        }
    }

    /// Stops the service; the caller has its turn.
    pub(super) async fn stop_now(&self, name: &str) -> Result<(), ServiceError> {
        let record = self.record(name);
        if !record.dir().exists() {
            return Ok(());
        }
        let stuck = |reason: String| ServiceError::Stop { name: name.to_owned(), reason };
        let grace = record.spec().ok().flatten().map_or(PATIENCE, |spec| spec.stop.grace);
        let patience = grace.saturating_add(PATIENCE);
        // From here on no keeper begins; one that has begun holds the lock.
        record.remove_ticket().map_err(|error| stuck(error.to_string()))?;
        for _ in 0..ATTEMPTS {
            self.wait_for_holder(&record).await.map_err(|error| stuck(error.to_string()))?;
            if let Some(keeper) = self.keeper(&record) {
                self.end_keeper(keeper, patience).await.map_err(|error| stuck(error.to_string()))?;
            }
            hit("services.stop.confirmed");
            self.watch.unfollow(name);
            // A final phase is written once every process is gone. Anything else: the keeper died without a word.
            let settled = match record.state() {
                Ok(Some(state)) => state.phase.is_final() || state.boot_id != self.boot_id,
                Ok(None) | Err(_) => false,
            };
            if settled {
                return Ok(());
            }
            match self.call("sweep", &record, None, patience).await {
                Ok(Said::Text(said)) if said == "swept" => return Ok(()),
                Ok(Said::Text(said)) => return Err(stuck(said)),
                Ok(Said::InTheWay) => {}
                Err(error) => return Err(stuck(error.to_string())),
            }
        }
        Err(stuck("other keepers of it come up again and again".into()))
    }

    /// Asks the keeper to stop its service, and waits until it has gone.
    async fn end_keeper(&self, keeper: Identity, patience: Duration) -> io::Result<()> {
        let Some(pidfd) = open_pidfd(keeper)? else { return Ok(()) };
        match pidfd_send_signal(&pidfd, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        hit("services.stop.signalled");
        let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "its processes do not end, even killed");
        timeout(patience, died(pidfd)).await.map_err(slow)?
    }
}

/// Whether a keeper holds the record's lock.
fn is_locked(record: &Record) -> io::Result<bool> {
    let file = match File::open(record.lock()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}
