//! The supervisor without a service manager: each service below a `stoker-shim` of its own.
//!
//! Owns the records' folder, writes specs, starts keepers and asks them to stop. It never signals a service itself: the
//! keeper does, or a sweep in the keeper's place once it is dead. What is true is read from the record each time, so
//! nothing is lost with the agent.

#![allow(clippy::disallowed_methods, reason = "keepers are started and records removed here")]

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::identity::{Identity, boot_id};
use super::record::{EXIT_LOCKED, Phase, Record, State};
use super::spec::{ServiceSpec, check_name};
use super::watch::{Watch, died, open_pidfd};
use super::{Observed, ServiceError, Supervisor};

/// How long a keeper may take beyond the service's own grace, to come up or to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// Services below shims, their records in one folder.
pub struct ShimSupervisor {
    dir: PathBuf,
    shim: PathBuf,
    boot_id: String,
    watch: Watch,
    /// One operation per service at a time.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl ShimSupervisor {
    /// Opens the folder of records (made if absent, mode 0700) and follows the keepers that live; each known service is
    /// reported once by [`Supervisor::changed`]. Needs a running tokio runtime.
    pub fn new(dir: &Path, shim: &Path) -> Result<Self, ServiceError> {
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| ServiceError::Record { verb, path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
        // Keepers change into their folder: it must mean the same from there.
        let dir = std::fs::canonicalize(dir).map_err(failed("open", dir))?;
        let boot_id = boot_id().map_err(failed("read", Path::new("/proc/sys/kernel/random/boot_id")))?;
        let watch = Watch::new(&dir).map_err(failed("listen in", &dir))?;
        let this = Self { dir, shim: shim.to_owned(), boot_id, watch, turns: Mutex::default() };
        for name in this.names()? {
            match this.keeper(&this.record(&name)) {
                Some(keeper) => this.watch.follow(&name, keeper),
                None => this.watch.push(&name),
            }
            this.watch.push(&name);
        }
        Ok(this)
    }

    fn record(&self, name: &str) -> Record {
        Record::new(self.dir.join(name))
    }

    fn names(&self) -> Result<Vec<String>, ServiceError> {
        let failed = |source| ServiceError::Record { verb: "list", path: self.dir.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !entry.file_type().map_err(failed)?.is_dir() {
                continue;
            }
            names.extend(entry.file_name().into_string().ok().filter(|name| check_name(name).is_ok()));
        }
        names.sort();
        Ok(names)
    }

    async fn turn(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// The living keeper of the record.
    fn keeper(&self, record: &Record) -> Option<Identity> {
        let state = record.state().ok().flatten()?;
        self.living(&state)
    }

    fn living(&self, state: &State) -> Option<Identity> {
        let keeper = Identity { pid: state.shim_pid, start_ticks: state.shim_start_ticks };
        (state.boot_id == self.boot_id && keeper.is_alive()).then_some(keeper)
    }

    fn look(&self, name: &str) -> Result<Observed, ServiceError> {
        let record = self.record(name);
        let failed = |path: PathBuf| move |source| ServiceError::Record { verb: "read", path, source };
        let Some(spec) = record.spec().map_err(failed(record.spec_path()))? else {
            return Ok(Observed::absent(name));
        };
        let mut observed = Observed { digest: spec.digest, mark: spec.mark, ..Observed::absent(name) };
        observed.phase = Phase::Stopped;
        let state = match record.state() {
            Ok(Some(state)) => state,
            // Never started: the agent ended between the spec and the keeper.
            Ok(None) => return Ok(observed),
            Err(error) => {
                // A power cut may leave any bytes. Whatever ran is found by its mark on the next start or stop.
                tracing::warn!(service = name, %error, "cannot read the state of a service; it counts as stopped");
                observed.lost = true;
                return Ok(observed);
            }
        };
        let living = self.living(&state).is_some();
        observed.restarts = state.restarts;
        observed.exit = state.exit;
        observed.unenforced = state.unenforced;
        observed.log_from = state.log_from;
        observed.reason = state.reason;
        observed.started_ms = state.started;
        observed.phase = match state.phase {
            phase if phase.is_final() || living => phase,
            _ if state.boot_id != self.boot_id => Phase::Stopped,
            _ => {
                observed.lost = true;
                Phase::Failed
            }
        };
        if let (true, Some(pid), Some(start_ticks)) = (state.boot_id == self.boot_id, state.pid, state.start_ticks) {
            observed.pid = Identity { pid, start_ticks }.is_alive().then_some(pid);
        }
        Ok(observed)
    }

    async fn start_now(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        let record = self.record(&spec.name);
        let failed = |verb, path: PathBuf| move |source| ServiceError::Record { verb, path, source };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(record.dir())
            .map_err(failed("create", record.dir().to_owned()))?;
        record.write_spec(spec).map_err(failed("write", record.spec_path()))?;
        // What a keeper finds and must end first has its grace.
        let patience = spec.stop.grace.saturating_add(PATIENCE);
        let said = self.call("keep", &record, patience).await.map_err(|error| ServiceError::Start {
            name: spec.name.clone(),
            reason: error.to_string(),
        })?;
        if let Some(keeper) = self.keeper(&record) {
            self.watch.follow(&spec.name, keeper);
        }
        match said.as_str() {
            "ready" => Ok(()),
            reason => Err(ServiceError::Start { name: spec.name.clone(), reason: reason.to_owned() }),
        }
    }

    /// Starts the shim in one of its modes and returns what it says before it closes its stdout. It is no child that
    /// dies with the agent: it makes its own session first of all, and is only reaped here.
    async fn call(&self, mode: &str, record: &Record, patience: Duration) -> io::Result<String> {
        let mut child = Command::new(&self.shim)
            .arg(mode)
            .arg(record.dir())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
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
            return Ok(said.to_owned());
        }
        // It said nothing and closed: it has ended.
        match reaped.await.map_err(io::Error::other)??.code() {
            Some(code) if code == i32::from(EXIT_LOCKED) => Ok("another keeper holds its lock".to_owned()),
            Some(code) => Ok(format!("its keeper ended with code {code}")),
            None => Ok("its keeper was killed".to_owned()),
        }
    }

    async fn stop_now(&self, name: &str) -> Result<(), ServiceError> {
        let record = self.record(name);
        if !record.dir().exists() {
            return Ok(());
        }
        let stuck = |reason: String| ServiceError::Stop { name: name.to_owned(), reason };
        let grace = record.spec().ok().flatten().map_or(PATIENCE, |spec| spec.stop.grace);
        let patience = grace.saturating_add(PATIENCE);
        if let Some(keeper) = self.keeper(&record) {
            let pidfd = open_pidfd(keeper).map_err(|error| stuck(error.to_string()))?;
            if let Some(pidfd) = pidfd {
                match rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::TERM) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(stuck(error.to_string())),
                }
                match timeout(patience, died(pidfd)).await {
                    Ok(result) => result.map_err(|error| stuck(error.to_string()))?,
                    Err(_) => return Err(stuck("its processes do not end, even killed".into())),
                }
            }
        }
        self.watch.unfollow(name);
        // A final phase is written once every process is gone. Anything else: the keeper died without a word, or never was.
        let settled = match record.state() {
            Ok(Some(state)) => state.phase.is_final() || state.boot_id != self.boot_id,
            Ok(None) | Err(_) => false,
        };
        if settled {
            return Ok(());
        }
        match self.call("sweep", &record, patience).await {
            Ok(said) if said == "swept" => Ok(()),
            Ok(said) => Err(stuck(said)),
            Err(error) => Err(stuck(error.to_string())),
        }
    }
}

#[async_trait]
impl Supervisor for ShimSupervisor {
    async fn start(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        spec.check().map_err(|reason| ServiceError::BadSpec { name: spec.name.clone(), reason })?;
        let _turn = self.turn(&spec.name).await;
        if self.keeper(&self.record(&spec.name)).is_some() {
            let now = self.look(&spec.name)?;
            if now.digest == spec.digest && !now.phase.is_final() {
                return Ok(());
            }
            self.stop_now(&spec.name).await?;
        }
        self.start_now(spec).await
    }

    async fn stop(&self, name: &str) -> Result<(), ServiceError> {
        if check_name(name).is_err() {
            return Ok(());
        }
        let _turn = self.turn(name).await;
        self.stop_now(name).await
    }

    async fn restart(&self, name: &str) -> Result<(), ServiceError> {
        check_name(name).map_err(|_| ServiceError::Unknown { name: name.to_owned() })?;
        let _turn = self.turn(name).await;
        let record = self.record(name);
        let failed = |source| ServiceError::Record { verb: "read", path: record.spec_path(), source };
        let spec = record.spec().map_err(failed)?.ok_or_else(|| ServiceError::Unknown { name: name.to_owned() })?;
        self.stop_now(name).await?;
        self.start_now(&spec).await
    }

    async fn observe(&self, name: &str) -> Result<Observed, ServiceError> {
        if check_name(name).is_err() {
            return Ok(Observed::absent(name));
        }
        self.look(name)
    }

    async fn list(&self) -> Result<Vec<Observed>, ServiceError> {
        self.names()?.iter().map(|name| self.look(name)).collect()
    }

    async fn forget(&self, name: &str) -> Result<(), ServiceError> {
        if check_name(name).is_err() {
            return Ok(());
        }
        let _turn = self.turn(name).await;
        self.stop_now(name).await?;
        let dir = self.record(name).dir().to_owned();
        match std::fs::remove_dir_all(&dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ServiceError::Record { verb: "remove", path: dir, source })
            }
            _ => Ok(()),
        }
    }

    async fn changed(&self) -> String {
        self.watch.next().await
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.record(name).log()
    }

    fn stdout_path(&self, name: &str) -> PathBuf {
        self.record(name).stdout()
    }

    async fn log_tail(&self, name: &str, bytes: u64) -> Result<String, ServiceError> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let path = self.log_path(name);
        let tail = || -> io::Result<String> {
            let mut file = std::fs::File::open(&path)?;
            let from = file.metadata()?.len().saturating_sub(bytes);
            file.seek(SeekFrom::Start(from))?;
            let mut text = Vec::new();
            file.take(bytes).read_to_end(&mut text)?;
            let text = String::from_utf8_lossy(&text);
            let begin = if from == 0 { 0 } else { text.find('\n').map_or(0, |at| at + 1) };
            Ok(text[begin..].to_owned())
        };
        match tail() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|source| ServiceError::Record { verb: "read", path: path.clone(), source }),
        }
    }
}
