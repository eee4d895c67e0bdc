//! How far each unit's worker has come: what it last looked at and what it still waits for. Owns the table behind
//! `--wait`; it is in memory only, since a worker says everything again after a restart.

use std::collections::BTreeMap;
use std::sync::Mutex;

use stoker_model::generation::Standing;
use stoker_model::ids::UnitId;
use tokio::sync::watch;

use super::lock;

/// What a worker's last pass left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The revision that the pass looked at.
    pub revision: u64,
    /// Operations, tasks or starting services that will go on by themselves.
    pub pending: Vec<String>,
    /// A move that waits for busy services.
    pub deferred: Option<String>,
    /// How it stands with its generations; `None` where the pass did not come to that.
    pub standing: Option<Standing>,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Seen {
    units: Mutex<BTreeMap<UnitId, Outcome>>,
    ticks: watch::Sender<u64>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { units: Mutex::default(), ticks: watch::Sender::new(0) }
    }
}

impl Seen {
    /// Notes a pass; waiters look again where it differs from the last one.
    pub(crate) fn note(&self, unit: &UnitId, outcome: Outcome) {
        let mut units = lock(&self.units);
        if units.get(unit) != Some(&outcome) {
            units.insert(unit.clone(), outcome);
            drop(units);
            self.ticks.send_modify(|tick| *tick += 1);
        }
    }

    /// Forgets a unit that is gone.
    pub(crate) fn forget(&self, unit: &UnitId) {
        lock(&self.units).remove(unit);
        self.ticks.send_modify(|tick| *tick += 1);
    }

    /// A unit's last pass.
    pub(crate) fn of(&self, unit: &UnitId) -> Option<Outcome> {
        lock(&self.units).get(unit).cloned()
    }

    /// Wakes at every difference.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.ticks.subscribe()
    }
}
