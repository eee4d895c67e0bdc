//! What one host remembers of one unit (its journal's record): the newest plan, what is applied, the operation
//! in flight. Owns which combinations can be; the pairs that cannot are refused on read and on write.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::generation::{Frozen, MOST};
use crate::ids::{Digest, UnitId};
use crate::plan::Plan;
use crate::resolve::{Applied, Ports};

/// The format of this record; a newer one is refused. Since 2 it has generations.
pub const FORMAT: u32 = 2;

/// A journal record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Not JSON of this shape.
    #[error("cannot read the journal's record of `{unit}`")]
    Unreadable {
        /// The unit.
        unit: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a newer stoker.
    #[error("cannot use the journal's record of `{unit}`: its format is {found}, this stoker knows {FORMAT}")]
    Newer {
        /// The unit.
        unit: String,
        /// Its format.
        found: u32,
    },
    /// A combination that cannot be.
    #[error("cannot use the journal's record of `{unit}`: {why}")]
    Impossible {
        /// The unit.
        unit: String,
        /// What does not hold.
        why: &'static str,
    },
}

/// The operation in flight. Each step is durable before the next begins. A run of the charm is none: it is pure, so
/// one that was cut off is as one that never was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Services of the applied plan are being stopped so that `to` can be applied.
    Move {
        /// What will be applied.
        to: Box<Applied>,
        /// Services to stop.
        stop: BTreeSet<String>,
        /// How far it is.
        step: MoveStep,
    },
    /// The services of this frozen generation are being stopped, since it ends.
    End(u64),
    /// The unit is being taken down.
    Remove(RemoveStep),
}

/// Steps of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveStep {
    /// Stops may have begun.
    Stopping,
    /// All stops are confirmed; the store may or may not know.
    Stopped,
}

/// Steps of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoveStep {
    /// Services are being stopped.
    Stopping,
    /// Data is being put aside or destroyed.
    Keeping,
    /// Only the records are left.
    Forgetting,
}

/// A run of the charm that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The observation that it failed for.
    pub observation: Digest,
    /// How often in a row.
    pub count: u32,
    /// A stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What was seen: the end of its output.
    pub evidence: String,
}

/// A folder that was made for the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where it is.
    pub path: String,
    /// Data: it outlives the plan and the unit.
    pub keep: bool,
    /// The filesystem's id when it was made, for `keep`.
    pub filesystem: Option<String>,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Local {
    /// [`FORMAT`].
    pub format: u32,
    /// The unit.
    pub unit: UnitId,
    /// The operation in flight.
    pub op: Option<Op>,
    /// The digest of the observation that `plan` answers.
    pub answered: Option<Digest>,
    /// The newest valid plan.
    pub plan: Option<Plan>,
    /// The release that `plan` was made for.
    pub planned_release: u64,
    /// The newest plan as resolved: what the unit moves to.
    pub candidate: Option<Applied>,
    /// What is on the host.
    pub applied: Option<Applied>,
    /// Ports allotted, also those of earlier plans: remembered, never moved in silence.
    pub ports: Ports,
    /// Folders made, by name.
    pub dirs: BTreeMap<String, Folder>,
    /// Kept data was taken back.
    pub reused: bool,
    /// The newest `now` that a move has used up.
    pub now_seen: u64,
    /// The last run's failure, if it failed.
    pub failure: Option<Failure>,
    /// Runs in a row whose only cause was the unit's own last output, newest last: the fields that differed.
    pub echoes: Vec<String>,
    /// Restarts that were asked for and done, by service.
    pub restarted: BTreeMap<String, u64>,
    /// Frozen generations, oldest first.
    #[serde(default)]
    pub generations: Vec<Frozen>,
    /// The numbers of the generations that ports and folders were made for, by key.
    #[serde(default)]
    pub numbers: BTreeMap<String, u64>,
    /// The last number given to a generation.
    #[serde(default)]
    pub numbered: u64,
}

impl Local {
    /// The record of a unit that was never seen here.
    pub fn new(unit: UnitId) -> Self {
        Self {
            format: FORMAT,
            unit,
            op: None,
            answered: None,
            plan: None,
            planned_release: 0,
            candidate: None,
            applied: None,
            ports: Ports::new(),
            dirs: BTreeMap::new(),
            reused: false,
            now_seen: 0,
            failure: None,
            echoes: Vec::new(),
            restarted: BTreeMap::new(),
            generations: Vec::new(),
            numbers: BTreeMap::new(),
            numbered: 0,
        }
    }

    /// Reads a record and checks it.
    pub fn read(unit: &UnitId, bytes: &[u8]) -> Result<Self, LocalError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let unreadable = |source| LocalError::Unreadable { unit: unit.to_string(), source };
        let head: Head = serde_json::from_slice(bytes).map_err(unreadable)?;
        if head.format > FORMAT {
            return Err(LocalError::Newer { unit: unit.to_string(), found: head.format });
        }
        let mut local: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        local.format = FORMAT;
        local.check()?;
        Ok(local)
    }

    /// Checks and writes the record.
    pub fn write(&self) -> Result<Vec<u8>, LocalError> {
        self.check()?;
        serde_json::to_vec(self)
            .map_err(|source| LocalError::Unreadable { unit: self.unit.to_string(), source })
    }

    fn check(&self) -> Result<(), LocalError> {
        let impossible = |why| Err(LocalError::Impossible { unit: self.unit.to_string(), why });
        if self.plan.is_some() && self.answered.is_none() {
            return impossible("a plan that answers no observation");
        }
        match &self.op {
            Some(Op::Move { stop, .. }) if !stop.is_empty() && self.applied.is_none() => {
                impossible("a move that stops services though none were applied")
            }
            Some(Op::Move { .. }) if self.plan.is_none() => impossible("a move without a plan"),
            Some(Op::End(n)) if self.generations.iter().all(|frozen| frozen.generation.n != *n) => {
                impossible("the end of a generation that is not frozen")
            }
            _ if self.generations.len() > MOST => impossible("more generations than may drain"),
            _ => {
                let mut numbers = BTreeSet::new();
                let living = self.living().filter_map(|applied| applied.bindings.generation.as_ref());
                if living.into_iter().all(|generation| numbers.insert(generation.n)) {
                    Ok(())
                } else {
                    impossible("a generation that is there twice")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_and_refuses_what_cannot_be() {
        let unit = UnitId::new("web", 0);
        let mut local = Local::new(unit.clone());
        assert_eq!(Local::read(&unit, &local.write().unwrap()).unwrap(), local);
        local.plan = Some(Plan::default());
        assert!(matches!(local.write(), Err(LocalError::Impossible { .. })));
        let newer = br#"{"format": 99}"#;
        assert!(matches!(Local::read(&unit, newer), Err(LocalError::Newer { found: 99, .. })));
        assert!(matches!(Local::read(&unit, b"{"), Err(LocalError::Unreadable { .. })));
    }

    #[test]
    fn reads_records_from_before_generations() {
        let unit = UnitId::new("web", 0);
        let mut old = serde_json::to_value(Local::new(unit.clone())).unwrap();
        old["format"] = 1.into();
        for later in ["generations", "numbers", "numbered"] {
            old.as_object_mut().unwrap().remove(later);
        }
        let read = Local::read(&unit, old.to_string().as_bytes()).unwrap();
        assert_eq!(read, Local::new(unit));
    }
}
