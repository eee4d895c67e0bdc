//! The supervisor without a service manager: each service below a `stoker-shim` of its own.
//!
//! Owns the records' folder, writes specs, starts keepers and asks them to stop. It never signals a service itself: the
//! keeper does, or a sweep in the keeper's place once it is dead. What is true is read from the record each time, so
//! nothing is lost with the agent.

#![allow(clippy::disallowed_methods, reason = "keepers are started and records removed here")]

mod keepers;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;

use super::identity::{Identity, boot_id};
use super::record::{Phase, Record, State};
use super::spec::{ServiceSpec, check_name};
use super::turns::Turns;
use super::watch::Watch;
use super::{Observed, Output, ServiceError, Supervisor};
use crate::fs::failpoint::hit;

/// The beginning of the name of a record that is on its way out.
const GONE: &str = ".gone-";

/// Services below shims, their records in one folder.
pub struct ShimSupervisor {
    dir: PathBuf,
    shim: PathBuf,
    boot_id: String,
    watch: Watch,
    /// How many keepers were started: part of their tickets.
    started: AtomicU64,
    /// One operation per service at a time.
    turns: Turns,
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
        for entry in std::fs::read_dir(&dir).map_err(failed("list", &dir))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(GONE) {
                remove(&entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        let watch = Watch::new(&dir).map_err(failed("listen in", &dir))?;
        let this = Self {
            dir,
            shim: shim.to_owned(),
            boot_id,
            watch,
            started: AtomicU64::new(0),
            turns: Turns::default(),
        };
        for name in this.names("")? {
            hit("services.adopt");
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
        // What was asked for last; what runs is said by the state.
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
        observed.digest = state.digest;
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
        if let (true, Some(pid), Some(start_ticks)) =
            (state.boot_id == self.boot_id, state.pid, state.start_ticks)
        {
            observed.pid = Identity { pid, start_ticks }.is_alive().then_some(pid);
        }
        Ok(observed)
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[async_trait]
impl Supervisor for ShimSupervisor {
    async fn start(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        spec.check().map_err(|reason| ServiceError::BadSpec { name: spec.name.clone(), reason })?;
        let _turn = self.turns.take(&spec.name).await;
        self.start_now(spec).await
    }

    async fn stop(&self, name: &str) -> Result<(), ServiceError> {
        if check_name(name).is_err() {
            return Ok(());
        }
        let _turn = self.turns.take(name).await;
        self.stop_now(name).await
    }

    async fn restart(&self, name: &str) -> Result<(), ServiceError> {
        check_name(name).map_err(|_| ServiceError::Unknown { name: name.to_owned() })?;
        let _turn = self.turns.take(name).await;
        let record = self.record(name);
        let failed = |source| ServiceError::Record { verb: "read", path: record.spec_path(), source };
        let spec =
            record.spec().map_err(failed)?.ok_or_else(|| ServiceError::Unknown { name: name.to_owned() })?;
        self.stop_now(name).await?;
        self.start_now(&spec).await
    }

    async fn observe(&self, name: &str) -> Result<Observed, ServiceError> {
        if check_name(name).is_err() {
            return Ok(Observed::absent(name));
        }
        self.look(name)
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, ServiceError> {
        let failed = |source| ServiceError::Record { verb: "list", path: self.dir.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if name.starts_with(prefix)
                && check_name(&name).is_ok()
                && entry.file_type().map_err(failed)?.is_dir()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    async fn forget(&self, name: &str) -> Result<(), ServiceError> {
        if check_name(name).is_err() {
            return Ok(());
        }
        let _turn = self.turns.take(name).await;
        self.stop_now(name).await?;
        hit("services.forget.before");
        let (dir, gone) = (self.record(name).dir().to_owned(), self.dir.join(format!("{GONE}{name}")));
        // At once, so that no half of a record is ever looked at.
        let removed = remove(&gone).and_then(|()| match std::fs::rename(&dir, &gone) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        hit("services.forget.renamed");
        removed.and_then(|()| remove(&gone)).map_err(|source| ServiceError::Record {
            verb: "remove",
            path: dir,
            source,
        })
    }

    async fn changed(&self) -> String {
        self.watch.next().await
    }

    fn output(&self, name: &str) -> Output {
        Output::File(self.record(name).log())
    }

    fn stdout_path(&self, name: &str) -> PathBuf {
        self.record(name).stdout()
    }

    async fn log_tail(&self, name: &str, bytes: u64) -> Result<String, ServiceError> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let path = self.record(name).log();
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
            other => {
                other.map_err(|source| ServiceError::Record { verb: "read", path: path.clone(), source })
            }
        }
    }
}
