//! Moving data to another layout: asked for by an action, done in phases, kept or taken back by another action. Owns
//! the phases, what ends each, and which build serves in each; pure.
//!
//! The cursor is remembered by the NameNode's unit and told to the others. Each step follows from the cursor that was
//! committed and from results of tasks that stay in the plan until the next cursor is committed, so that the same step
//! is found again whatever happened in between. Nothing is stopped before the namespace was saved.

mod layouts;
pub(super) mod tasks;
#[cfg(test)]
mod tests;
mod words;

use serde::{Deserialize, Serialize};
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Facts, Observation, Resource, TaskState};
use stoker_charm::serde_json::{self, Value};

pub(super) use self::layouts::{Difference, Layouts};
pub(super) use self::words::refusal;
use super::MEMBERS;
use super::cluster::{Cluster, result};

/// `state.unit` of the NameNode's unit, and its bag on `members`: the cursor.
pub(super) const UPGRADE: &str = "upgrade";
/// `state.unit`, and the NameNode's unit's bag: the build that the services are planned from.
pub(super) const RUNS: &str = "runs";
/// `state.unit`: the number of the last request that was taken up.
pub(super) const TAKEN: &str = "upgrade-nr";
/// A unit's bag on `members`: its daemons are stopped for the request of this number.
pub(super) const STOPPED: &str = "upgrade-stopped";

/// A build with its facts: planned from memory or from what is attached, a plan is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) build: Digest,
    pub(crate) facts: Facts,
}

impl Build {
    /// The attached one.
    pub(super) fn of(resource: &Resource) -> Self {
        Self { build: resource.build.clone(), facts: resource.facts.clone() }
    }

    /// As it is remembered.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// To be remembered.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn version(&self) -> &str {
        &self.facts.version
    }
}

/// How far it is. Those with `Back` take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// All serves as before, in safe mode in the end; the namespace is saved and copied.
    Prepare,
    /// It was called off before anything stopped: safe mode is left.
    Release,
    /// Called off; the cursor goes next.
    Released,
    /// Every daemon stops.
    Stop,
    /// The NameNode's metadata are converted, with the old ones kept beside.
    Convert,
    /// The new build starts; DataNodes keep their old blocks beside by links.
    Start,
    /// Serves, and may still be taken back.
    Open,
    /// What was kept beside is let go.
    Finalize,
    /// Done; the cursor goes next.
    Final,
    /// Serves, and is about to be stopped whatever is written.
    BackAsk,
    /// Every daemon stops.
    BackStop,
    /// The metadata that were kept are put back.
    Restore,
    /// The old build starts, its DataNodes put their blocks back.
    BackStart,
    /// The DataNodes have put their blocks back, and start as ever.
    BackSettle,
    /// Done; the cursor goes next.
    Back,
}

/// What an action asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Upgrade,
    Finalize,
    Rollback,
}

impl Verb {
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "upgrade" => Self::Upgrade,
            "finalize" => Self::Finalize,
            "rollback" => Self::Rollback,
            _ => return None,
        })
    }
}

/// A request as the task found it beside the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    nr: u64,
    verb: Verb,
    now: bool,
}

impl Request {
    fn seen(seen: &Observation, taken: u64) -> Option<Self> {
        let asked = result(seen, tasks::ASKED)?;
        let verb = Verb::of(asked["verb"].as_str()?)?;
        let nr = asked["nr"].as_u64()?;
        (nr > taken).then_some(Self { nr, verb, now: asked["now"] == true })
    }
}

/// An upgrade under way: the cursor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Upgrade {
    /// The number of the request that it is at.
    pub(crate) nr: u64,
    pub(crate) phase: Phase,
    pub(crate) from: Build,
    pub(crate) to: Build,
    /// What is being written does not hold it up.
    #[serde(default)]
    pub(crate) now: bool,
}

/// The number of the last request that was taken up.
pub(super) fn taken(seen: &Observation) -> u64 {
    seen.state.unit.get(TAKEN).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The cursor as it was committed: this unit's, or what the NameNode's unit tells.
pub(super) fn committed(seen: &Observation, cluster: &Cluster) -> Option<Upgrade> {
    let text = if cluster.here { seen.state.unit.get(UPGRADE) } else { told(seen, cluster, UPGRADE) };
    text.and_then(|text| serde_json::from_str(text).ok())
}

/// A value from the bag of the NameNode's unit.
pub(super) fn told<'a>(seen: &'a Observation, cluster: &Cluster, key: &str) -> Option<&'a String> {
    let mut members = seen.relations.iter().filter(|relation| relation.endpoint == MEMBERS);
    members.find_map(|relation| relation.units.get(&cluster.namenode))?.get(key)
}

/// The cursor that follows, and the number of the last request taken up. `wanted` is the build that the data could be
/// upgraded to, with the one that runs.
pub(super) fn step(
    seen: &Observation,
    cluster: &Cluster,
    wanted: Option<(&Build, &Build)>,
) -> (Option<Upgrade>, u64) {
    let taken = taken(seen);
    let at = committed(seen, cluster);
    if !cluster.here {
        return (at, taken);
    }
    let request = Request::seen(seen, taken);
    let taken = request.map_or(taken, |request| request.nr);
    let next = match at {
        None => request.filter(|request| request.verb == Verb::Upgrade).zip(wanted).map(
            |(request, (from, to))| Upgrade {
                nr: request.nr,
                phase: Phase::Prepare,
                from: from.clone(),
                to: to.clone(),
                now: request.now,
            },
        ),
        Some(at) => match request.and_then(|request| at.asked(request)) {
            Some(turned) => Some(turned),
            None => at.goes_on(seen, cluster),
        },
    };
    (next, taken)
}

impl Upgrade {
    /// Where a request leads; none where it asks for what cannot be now.
    fn asked(&self, request: Request) -> Option<Self> {
        let phase = self.phase.after(request.verb)?;
        Some(Self { nr: request.nr, phase, ..self.clone() })
    }

    /// The next phase where this one has ended.
    fn goes_on(self, seen: &Observation, cluster: &Cluster) -> Option<Self> {
        let done = |task: &str| self.is_done(seen, task);
        let phase = match self.phase {
            Phase::Prepare if done(tasks::PREPARE) => Phase::Stop,
            Phase::Release if done(tasks::RELEASE) => Phase::Released,
            Phase::Stop if self.all_stopped(seen, cluster) => Phase::Convert,
            Phase::Convert if done(tasks::CONVERT) => Phase::Start,
            Phase::Start if done(tasks::VERIFY) => Phase::Open,
            Phase::Finalize if done(tasks::FINALIZE) => Phase::Final,
            Phase::BackAsk => Phase::BackStop,
            Phase::BackStop if self.all_stopped(seen, cluster) => Phase::Restore,
            Phase::Restore if done(tasks::RESTORE) => Phase::BackStart,
            Phase::BackStart if done(tasks::VERIFY) => Phase::BackSettle,
            Phase::BackSettle if done(tasks::SETTLE) => Phase::Back,
            Phase::Final | Phase::Back | Phase::Released => return None,
            stays => stays,
        };
        Some(Self { phase, ..self })
    }

    /// Whether a task of this request is done, and not one of an earlier.
    fn is_done(&self, seen: &Observation, task: &str) -> bool {
        result(seen, task).is_some_and(|result| result["nr"] == self.nr)
    }

    /// No daemon of the application runs. (What is seen are the services of what was applied.)
    fn all_stopped(&self, seen: &Observation, cluster: &Cluster) -> bool {
        seen.services.is_empty() && self.not_stopped(seen, cluster).next().is_none()
    }

    /// Other units that have not said that their daemons are stopped.
    fn not_stopped<'a>(
        &self,
        seen: &'a Observation,
        cluster: &'a Cluster,
    ) -> impl Iterator<Item = &'a String> + use<'a> {
        let nr = self.nr.to_string();
        let others = seen.units.iter().filter(|unit| **unit != seen.unit && **unit != cluster.namenode);
        others.filter(move |unit| {
            let mut members = seen.relations.iter().filter(|relation| relation.endpoint == MEMBERS);
            !members.any(|relation| relation.units.get(*unit).and_then(|bag| bag.get(STOPPED)) == Some(&nr))
        })
    }

    /// What this unit tells once its daemons are stopped.
    pub(super) fn stopped(&self, seen: &Observation) -> Option<String> {
        (!self.phase.serves() && seen.services.is_empty()).then(|| self.nr.to_string())
    }

    /// The build whose daemons are planned.
    pub(super) fn serving(&self) -> &Build {
        match self.phase {
            Phase::Start | Phase::Open | Phase::Finalize | Phase::Final | Phase::BackAsk => &self.to,
            _ => &self.from,
        }
    }

    /// The build that clients are told of.
    pub(super) fn published(&self) -> &Build {
        match self.phase {
            Phase::Open | Phase::Finalize | Phase::Final => &self.to,
            _ => &self.from,
        }
    }

    /// The layouts that the data have from this phase on, where it knows.
    pub(super) fn layouts(&self) -> Option<Layouts> {
        match self.phase {
            Phase::Prepare | Phase::Release | Phase::Released | Phase::Stop | Phase::Convert => None,
            Phase::Start | Phase::Open | Phase::Finalize | Phase::Final | Phase::BackAsk => {
                Some(Layouts::of(&self.to.facts))
            }
            Phase::BackStop | Phase::Restore | Phase::BackStart | Phase::BackSettle | Phase::Back => {
                Some(Layouts::of(&self.from.facts))
            }
        }
    }

    /// To be remembered and told.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The task that this phase waits for, where it failed for good: its reason.
    pub(super) fn failed<'a>(&self, seen: &'a Observation) -> Option<(&'static str, &'a str)> {
        let task = self.phase.waits_for()?;
        let at = seen.tasks.get(task).filter(|at| at.state == TaskState::Bad)?;
        let said = at.result.get("reason").and_then(Value::as_str);
        Some((task, said.unwrap_or(&at.reason)))
    }
}

impl Phase {
    /// Daemons run.
    pub(super) fn serves(self) -> bool {
        !matches!(self, Self::Stop | Self::Convert | Self::BackStop | Self::Restore)
    }

    /// Nothing was stopped yet, or will be.
    pub(super) fn is_before(self) -> bool {
        matches!(self, Self::Prepare | Self::Release | Self::Released)
    }

    /// What is being written was looked at, or does not matter any more.
    pub(super) fn disturbs(self) -> bool {
        matches!(self, Self::Prepare | Self::Start | Self::BackAsk | Self::BackStart | Self::BackSettle)
    }

    /// Where a request leads from here.
    pub(super) fn after(self, verb: Verb) -> Option<Self> {
        match (verb, self) {
            (Verb::Finalize, Self::Open) => Some(Self::Finalize),
            (Verb::Rollback, Self::Open) => Some(Self::BackAsk),
            (Verb::Rollback, Self::Prepare) => Some(Self::Release),
            (Verb::Rollback, Self::Stop | Self::Convert | Self::Start) => Some(Self::BackStop),
            _ => None,
        }
    }

    /// The task that it waits for.
    fn waits_for(self) -> Option<&'static str> {
        match self {
            Self::Prepare => Some(tasks::PREPARE),
            Self::Release => Some(tasks::RELEASE),
            Self::Convert => Some(tasks::CONVERT),
            Self::Start | Self::BackStart => Some(tasks::VERIFY),
            Self::BackSettle => Some(tasks::SETTLE),
            Self::Finalize => Some(tasks::FINALIZE),
            Self::Restore => Some(tasks::RESTORE),
            _ => None,
        }
    }

    /// The tasks of the plan: its own, and the one whose result led here.
    fn tasks(self) -> &'static [&'static str] {
        match self {
            Self::Prepare | Self::Stop => &[tasks::PREPARE],
            Self::Release | Self::Released => &[tasks::RELEASE],
            Self::Convert => &[tasks::CONVERT],
            Self::Start => &[tasks::CONVERT, tasks::VERIFY],
            Self::Open => &[tasks::VERIFY],
            Self::Finalize | Self::Final => &[tasks::FINALIZE],
            Self::BackAsk | Self::BackStop => &[],
            Self::Restore => &[tasks::RESTORE],
            Self::BackStart => &[tasks::RESTORE, tasks::VERIFY],
            Self::BackSettle => &[tasks::VERIFY, tasks::SETTLE],
            Self::Back => &[tasks::SETTLE],
        }
    }
}
