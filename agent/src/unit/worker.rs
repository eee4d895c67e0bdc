//! A unit's worker: its loop and its memory. Owns when a pass begins; a pass itself is in `pass`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stoker_host::fs::failpoint::hit;
use stoker_model::ids::{Digest, UnitId};
use stoker_model::local::Local;
use tokio::sync::Notify;

use super::generations::Asked;
use super::services::Services;
use super::trouble::Trouble;
use crate::core::Core;

/// The journal's key of a unit's record.
pub(super) fn journal_key(unit: &UnitId) -> String {
    format!("unit/{}/{}", crate::core::MODEL, unit.dashed())
}

/// The worker cannot begin.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    /// The journal.
    #[error("cannot read the journal")]
    Journal(#[from] stoker_store::StoreError),
    /// The unit's record in it.
    #[error(transparent)]
    Record(#[from] stoker_model::local::LocalError),
}

/// What a pass leads to.
pub(super) enum Pass {
    /// Look again at once.
    Again,
    /// Wait for an event, or for this long.
    Wait(Option<Duration>),
    /// The unit is gone.
    Gone,
}

/// A worker's memory between passes. What must outlive the agent is in `local`, written before it is acted on.
pub(super) struct Worker {
    pub core: Arc<Core>,
    pub id: UnitId,
    pub local: Local,
    pub services: Services,
    /// `local` has a plan (or a charm's failure) that the journal has not: it goes there with what follows from it.
    pub unsaved: bool,
    /// The last observation that the charm ran for, as canonical JSON, to tell what differed.
    pub last_seen: Option<Vec<u8>>,
    /// Observations since something last came from outside, to tell those that come back.
    pub streak: BTreeSet<Digest>,
    /// When a task may be tried again, by the supervisor's name.
    pub task_waits: BTreeMap<String, Instant>,
    /// Tasks that run again though their result stands.
    pub repeating: BTreeSet<String>,
    /// When the charm may be run again after a failure.
    pub plan_wait: Option<Instant>,
    /// What is in the way, as last reported.
    pub trouble: Option<Trouble>,
    /// What busy probes answered, while a move waits.
    pub busy: Option<Vec<String>>,
    /// What a move would freeze was asked what it is busy with.
    pub asked: bool,
    /// What is known of frozen generations that drain, by number.
    pub drains: BTreeMap<u64, Asked>,
    /// Trees linked, by their spec, so that a pass asks the disk only once.
    pub trees: BTreeMap<String, (Digest, String)>,
    /// The tasks whose records are kept, by the supervisor's short names; others were looked for.
    pub known_tasks: Option<BTreeSet<String>>,
    /// Orphans of an earlier life were looked for.
    pub adopted: bool,
}

/// Starts the worker of a unit.
pub(crate) fn spawn(core: Arc<Core>, id: UnitId, wake: Arc<Notify>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let unit = id.clone();
        if let Err(error) = run(core, id, wake).await {
            tracing::error!(%unit, error = %crate::problem::chain(&error), "the unit's worker ended");
        }
    })
}

async fn run(core: Arc<Core>, id: UnitId, wake: Arc<Notify>) -> Result<(), WorkerError> {
    let local = match core.journal.get(&journal_key(&id))? {
        Some(bytes) => Local::read(&id, &bytes)?,
        None => Local::new(id.clone()),
    };
    hit("agent.worker.begun");
    core.set_ports(&id, Some(local.ports.clone()));
    let services = Services::new(Arc::clone(&core), id.clone(), Arc::clone(&wake));
    let mut worker = Worker {
        core: Arc::clone(&core),
        id,
        local,
        services,
        unsaved: false,
        last_seen: None,
        streak: BTreeSet::new(),
        task_waits: BTreeMap::new(),
        repeating: BTreeSet::new(),
        plan_wait: None,
        trouble: None,
        busy: None,
        asked: false,
        drains: BTreeMap::new(),
        trees: BTreeMap::new(),
        known_tasks: None,
        adopted: false,
    };
    let mut follow = core.follow();
    let mut rest = core.rest.subscribe();
    loop {
        follow.mark_unchanged();
        if *rest.borrow() {
            return Ok(());
        }
        // What a pass needs is not held while the unit rests.
        let wait = match Box::pin(worker.pass()).await {
            Pass::Again => continue,
            Pass::Gone => {
                core.gone(&worker.id);
                return Ok(());
            }
            Pass::Wait(wait) => wait,
        };
        let until = wait.map(|wait| tokio::time::Instant::now() + wait);
        let looked = core.seen.of(&worker.id).map(|seen| seen.revision);
        loop {
            let timer = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            // Every arm may be dropped half-way: none holds anything but a position that is read again.
            tokio::select! {
                changed = follow.changed() => {
                    // What concerns others only is no reason to look: with many units most revisions do.
                    let concerned = follow.borrow_and_update().concerns(&worker.id);
                    if changed.is_ok() && looked.is_some_and(|looked| concerned <= looked) {
                        continue;
                    }
                }
                () = wake.notified() => {}
                () = timer => {}
                _ = rest.changed() => {}
            }
            break;
        }
    }
}

impl Worker {
    /// Writes the record, durably, before anything that it speaks of is done.
    pub(super) fn save(&mut self) -> Result<(), Trouble> {
        let bytes = self.local.write()?;
        hit("agent.journal.before-write");
        self.core.journal.put(&journal_key(&self.id), &bytes)?;
        self.unsaved = false;
        hit("agent.journal.written");
        Ok(())
    }

    /// Writes a plan that nothing has followed from yet.
    pub(super) fn save_plan(&mut self) -> Result<(), Trouble> {
        if self.unsaved { self.save() } else { Ok(()) }
    }
}
