//! Services: what keeps them running, and how they are asked how they are.
//!
//! Owns the [`Supervisor`] trait, which a service manager and the shims fit alike, and the documents around it. It
//! must not decide which services should run.

pub mod apart;
mod identity;
pub mod journal;
pub mod probe;
pub mod record;
mod shims;
pub mod spec;
pub mod systemd;
mod turns;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;

pub(crate) use identity::pids;
pub use identity::{Identity, boot_id, descendants, marked, start_ticks};
pub use record::{Exit, Phase};
pub use shims::ShimSupervisor;
pub use spec::{Limits, OneShot, Restart, RestartOn, ServiceSpec, Stop};
pub use systemd::SystemdSupervisor;
pub use systemd::held::killed_for_memory;

/// What a supervisor says about one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Its name.
    pub name: String,
    /// The digest of the spec it was started with; empty when absent.
    pub digest: String,
    /// What it does.
    pub phase: Phase,
    /// Its main process, while there is one.
    pub pid: Option<u32>,
    /// When that process was started, in milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// How often it was started again since [`Supervisor::start`].
    pub restarts: u32,
    /// How it last ended.
    pub exit: Option<Exit>,
    /// Limits that were asked for and do not hold here: `memory`, `cores`, `nofile`, `deny-write`.
    pub unenforced: Vec<String>,
    /// The file in which the kernel counts which of its processes it killed for want of memory, where it does: for
    /// [`killed_for_memory`].
    pub memory_events: Option<PathBuf>,
    /// Where in its log its newest run begins: in bytes of the current file, or in microseconds since 1970.
    pub log_from: u64,
    /// Why it cannot run, where that is known: a program that is not there, a user that cannot be had.
    pub reason: Option<String>,
    /// Its keeper died without a word; processes of it may remain until the next start or stop.
    pub lost: bool,
    /// Whose it is.
    pub mark: BTreeMap<String, String>,
}

impl Observed {
    /// A service nobody knows.
    pub fn absent(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            digest: String::new(),
            phase: Phase::Absent,
            pid: None,
            started_ms: None,
            restarts: 0,
            exit: None,
            unenforced: Vec::new(),
            memory_events: None,
            log_from: 0,
            reason: None,
            lost: false,
            mark: BTreeMap::new(),
        }
    }
}

/// Where a service's output is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// A file; older output is in `log.1` and so on beside it.
    File(PathBuf),
    /// The journal, under the unit of this name.
    Journal(String),
}

/// Why a service could not be started, stopped or asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The spec cannot be run by anyone.
    #[error("cannot start service `{name}`: it {reason}")]
    BadSpec {
        /// The service.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// No spec is kept under the name.
    #[error("cannot find service `{name}`")]
    Unknown {
        /// The service.
        name: String,
    },
    /// A file of the record cannot be read or written.
    #[error("cannot {verb} `{}`", path.display())]
    Record {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The keeper did not come up.
    #[error("cannot start service `{name}`: {reason}")]
    Start {
        /// The service.
        name: String,
        /// What the keeper said.
        reason: String,
    },
    /// Processes of the service are still there.
    #[error("cannot stop service `{name}`: {reason}")]
    Stop {
        /// The service.
        name: String,
        /// What remains.
        reason: String,
    },
    /// A unit file cannot be written or removed.
    #[error("cannot {verb} the unit `{unit}`")]
    UnitFile {
        /// What was tried.
        verb: &'static str,
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// systemd does not answer, or refuses.
    #[error("cannot have systemd do its part")]
    Systemd(#[source] systemd::BusError),
}

/// What keeps services running, whether or not the agent is there.
#[async_trait]
pub trait Supervisor: Send + Sync {
    /// Starts the service and returns when its keeper has it. The same digest already running is left alone; another
    /// digest is stopped first. A service or task that has ended runs again.
    async fn start(&self, spec: &ServiceSpec) -> Result<(), ServiceError>;

    /// Stops the service and returns when every process of it is gone. One that is unknown or ended is no error.
    async fn stop(&self, name: &str) -> Result<(), ServiceError>;

    /// Stops the service and starts it again with the spec it has.
    async fn restart(&self, name: &str) -> Result<(), ServiceError>;

    /// What the service does now.
    async fn observe(&self, name: &str) -> Result<Observed, ServiceError>;

    /// The names of all services that are known here, running or not, that begin with `prefix`, sorted: for adoption and
    /// for orphans. Only files are read, so that each of many units may look for what is its own.
    fn names(&self, prefix: &str) -> Result<Vec<String>, ServiceError>;

    /// What each of them does.
    async fn list(&self) -> Result<Vec<Observed>, ServiceError> {
        let mut all = Vec::new();
        for name in self.names("")? {
            let observed = self.observe(&name).await?;
            all.extend((observed.phase != Phase::Absent).then_some(observed));
        }
        Ok(all)
    }

    /// Removes the record, log and output of a service, which is stopped first if it runs.
    async fn forget(&self, name: &str) -> Result<(), ServiceError>;

    /// The name of a service that changed since it was last returned here; waits for one. One caller at a time gets
    /// each name; several changes of one service may come as one.
    async fn changed(&self) -> String;

    /// Whether what it starts is not below this process, but the service manager's.
    fn is_beside(&self) -> bool {
        false
    }

    /// Where its output goes.
    fn output(&self, name: &str) -> Output;

    /// The file a task's stdout goes to.
    fn stdout_path(&self, name: &str) -> PathBuf;

    /// The last `bytes` of the log, from the beginning of a line, as text.
    async fn log_tail(&self, name: &str, bytes: u64) -> Result<String, ServiceError>;
}
