//! The supervisor where systemd is PID 1: a unit per service, so that services come up at boot and go on without us.
//!
//! Owns which unit a service is and what its states mean. What runs is asked of systemd each time; what systemd forgets
//! is in the record, written by the unit's own last step. A service whose record is lost is known by its unit file.

mod bus;
pub mod ended;
mod files;
pub(super) mod held;
mod moves;
mod quote;
mod state;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

pub use bus::BusError;
use bus::{Bus, Event};
use ended::Ended;
use files::{Files, unit_name};

use super::identity::{Identity, boot_id};
use super::record::Record;
use super::spec::{RestartOn, ServiceSpec, check_name};
use super::turns::Turns;
use super::watch::Queue;
use super::{Observed, Output, ServiceError, Supervisor, journal};
use crate::fs::failpoint::hit;

/// The beginning of the name of a record that is on its way out.
const GONE: &str = ".gone-";
/// In a record: its service was stopped on request.
const HALTED: &str = "halted";

/// Whether PID 1 is systemd.
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The services in `records` that have a unit of systemd.
pub fn units_of(records: &Path) -> io::Result<Vec<String>> {
    let records = std::fs::canonicalize(records)?;
    Ok(Files::default().all(&records, "")?.into_keys().collect())
}

/// Services as units of systemd, their records in one folder.
pub struct SystemdSupervisor {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    shim: PathBuf,
    version: u32,
    files: Files,
    bus: Arc<Bus>,
    queue: Arc<Queue>,
    /// One operation per service at a time.
    turns: Turns,
    /// Services that systemd gave up: how often in a row, and whether one waits now to be started again.
    given_up: Mutex<BTreeMap<String, (u32, bool)>>,
    boot_id: String,
}

impl SystemdSupervisor {
    /// Opens the folder of records (made if absent, mode 0700) and connects to systemd; each known service is reported
    /// once by [`Supervisor::changed`]. Needs root and a running tokio runtime.
    pub async fn new(dir: &Path, shim: &Path) -> Result<Self, ServiceError> {
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| ServiceError::Record { verb, path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
        let dir = std::fs::canonicalize(dir).map_err(failed("open", dir))?;
        let shim = std::fs::canonicalize(shim).map_err(failed("find", shim))?;
        for entry in std::fs::read_dir(&dir).map_err(failed("list", &dir))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(GONE) {
                crate::fs::remove_tree(&entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        let boot = boot_id().map_err(failed("read the boot id of", &dir))?;
        for entry in std::fs::read_dir(&dir).map_err(failed("list", &dir))?.flatten() {
            // A keeper that lives would go on beside the unit.
            let state = Record::new(entry.path()).state().ok().flatten();
            let keeper = state.filter(|state| state.boot_id == boot);
            let keeper =
                keeper.map(|state| Identity { pid: state.shim_pid, start_ticks: state.shim_start_ticks });
            if keeper.is_some_and(|keeper| keeper.is_alive()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let reason =
                    "it runs below a shim: stop it with the setting `supervisor = \"process\"` first".into();
                return Err(ServiceError::Start { name, reason });
            }
        }
        let bus = Bus::open().await.map_err(ServiceError::Systemd)?;
        let version = bus.version().await.map_err(ServiceError::Systemd)?;
        let inner = Arc::new(Inner {
            dir,
            shim,
            version,
            files: Files::default(),
            bus,
            queue: Arc::default(),
            turns: Turns::default(),
            given_up: Mutex::default(),
            boot_id: boot,
        });
        // Before the first look, so that nothing is missed between the two.
        tokio::spawn(hear(Arc::downgrade(&inner), inner.bus.events()));
        for name in inner.names("")? {
            hit("services.adopt");
            inner.queue.push(name);
        }
        Ok(Self { inner })
    }
}

/// Puts the names of services that systemd tells of into the queue.
async fn hear(inner: std::sync::Weak<Inner>, mut events: tokio::sync::broadcast::Receiver<Event>) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        let event = events.recv().await;
        let Some(inner) = inner.upgrade() else { return };
        match event {
            Ok(Event::Unit(unit)) => {
                if let Some(name) = unit.strip_suffix(".service").filter(|name| check_name(name).is_ok()) {
                    inner.queue.push(name.to_owned());
                }
            }
            Ok(Event::Job(..)) => {}
            Ok(Event::Missed) | Err(RecvError::Lagged(_)) => {
                inner.names("").unwrap_or_default().into_iter().for_each(|name| inner.queue.push(name));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

impl Inner {
    fn record(&self, name: &str) -> Record {
        Record::new(self.dir.join(name))
    }

    /// Everything that has a record or a unit file of ours, and begins so.
    fn names(&self, prefix: &str) -> Result<BTreeSet<String>, ServiceError> {
        let failed = |source| ServiceError::Record { verb: "list", path: self.dir.clone(), source };
        let mut names: BTreeSet<String> =
            self.files.all(&self.dir, prefix).map_err(failed)?.into_keys().collect();
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if name.starts_with(prefix) && entry.file_type().map_err(failed)?.is_dir() {
                names.insert(name);
            }
        }
        names.retain(|name| check_name(name).is_ok());
        Ok(names)
    }

    /// The service's unit file, if it is one of this agent's.
    fn own(&self, name: &str) -> Result<Option<(unit::Own, String)>, ServiceError> {
        let failed =
            |source| ServiceError::Record { verb: "read the unit file of", path: name.into(), source };
        let found = self.files.read(name).map_err(failed)?;
        if let Some((own, _)) = found.as_ref().filter(|(own, _)| own.record != self.record(name).dir()) {
            let reason = format!("its unit belongs to the agent of `{}`", own.record.display());
            return Err(ServiceError::Start { name: name.to_owned(), reason });
        }
        Ok(found)
    }

    fn spec(&self, name: &str) -> Result<Option<ServiceSpec>, ServiceError> {
        let record = self.record(name);
        record.spec().map_err(|source| ServiceError::Record {
            verb: "read",
            path: record.spec_path(),
            source,
        })
    }

    async fn look(self: &Arc<Self>, name: &str) -> Result<Observed, ServiceError> {
        let record = self.record(name);
        let own = match self.files.read(name) {
            Ok(own) => own.map(|(own, _)| own).filter(|own| own.record == record.dir()),
            // Another's under the same name: no service of ours.
            Err(_) => None,
        };
        let spec = self.spec(name)?;
        if own.is_none() && spec.is_none() {
            return Ok(Observed::absent(name));
        }
        let seen = self.bus.look(&unit_name(name)).await.map_err(ServiceError::Systemd)?;
        let oneshot = own
            .as_ref()
            .map_or_else(|| spec.as_ref().is_some_and(|s| s.oneshot.is_some()), |own| own.oneshot);
        let (restarts, halted) = (spec.as_ref().is_some_and(restarts), self.is_halted(name));
        if state::given_up(&seen, restarts, halted) {
            self.start_later(name, spec.as_ref());
        }
        // A service begins anew with each boot; what a task came to does not change by that.
        let ended = Ended::read(record.dir()).filter(|ended| oneshot || ended.boot_id == self.boot_id);
        let known = state::Known {
            digest: own
                .as_ref()
                .map(|own| own.digest.clone())
                .or(spec.as_ref().map(|spec| spec.digest.clone())),
            mark: own.map(|own| own.mark).or(spec.as_ref().map(|spec| spec.mark.clone())),
            limits: spec.map(|spec| spec.limits),
            halted,
            restarts,
            ended,
        };
        Ok(state::observed(name, &seen, known))
    }

    fn is_halted(&self, name: &str) -> bool {
        self.record(name).dir().join(HALTED).exists()
    }
}

#[async_trait]
impl Supervisor for SystemdSupervisor {
    async fn start(&self, spec: &ServiceSpec) -> Result<(), ServiceError> {
        spec.check().map_err(|reason| ServiceError::BadSpec { name: spec.name.clone(), reason })?;
        let _turn = self.inner.turns.take(&spec.name).await;
        self.inner.start_now(spec).await
    }

    async fn stop(&self, name: &str) -> Result<(), ServiceError> {
        if check_name(name).is_err() {
            return Ok(());
        }
        let _turn = self.inner.turns.take(name).await;
        self.inner.stop_now(name).await
    }

    async fn restart(&self, name: &str) -> Result<(), ServiceError> {
        check_name(name).map_err(|_| ServiceError::Unknown { name: name.to_owned() })?;
        let _turn = self.inner.turns.take(name).await;
        let spec = self.inner.spec(name)?.ok_or_else(|| ServiceError::Unknown { name: name.to_owned() })?;
        self.inner.stop_now(name).await?;
        self.inner.start_now(&spec).await
    }

    async fn observe(&self, name: &str) -> Result<Observed, ServiceError> {
        if check_name(name).is_err() {
            return Ok(Observed::absent(name));
        }
        self.inner.look(name).await
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, ServiceError> {
        Ok(self.inner.names(prefix)?.into_iter().collect())
    }

    async fn forget(&self, name: &str) -> Result<(), ServiceError> {
        if check_name(name).is_err() {
            return Ok(());
        }
        let _turn = self.inner.turns.take(name).await;
        self.inner.forget_now(name).await
    }

    async fn changed(&self) -> String {
        self.inner.queue.next().await
    }

    fn is_beside(&self) -> bool {
        true
    }

    fn output(&self, name: &str) -> Output {
        Output::Journal(unit_name(name))
    }

    fn stdout_path(&self, name: &str) -> PathBuf {
        self.inner.record(name).stdout()
    }

    async fn log_tail(&self, name: &str, bytes: u64) -> Result<String, ServiceError> {
        // Of what runs once only this run is meant; of others, what led to the last end too.
        let spec = self.inner.spec(name)?;
        let run = if spec.is_some_and(|spec| spec.oneshot.is_some()) {
            let ended = Ended::read(self.inner.record(name).dir()).map(|ended| ended.invocation);
            match ended {
                Some(run) => Some(run),
                None => Some(
                    self.inner.bus.look(&unit_name(name)).await.map_err(ServiceError::Systemd)?.invocation,
                ),
            }
        } else {
            None
        };
        journal::tail(&unit_name(name), run.filter(|run| !run.is_empty()).as_deref(), bytes)
            .await
            .map_err(|source| ServiceError::Record { verb: "read the journal of", path: name.into(), source })
    }
}

/// Whether systemd starts the service again when it fails.
fn restarts(spec: &ServiceSpec) -> bool {
    spec.oneshot.is_none() && spec.restart.on != RestartOn::Never
}

fn make_folder(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}
