//! Records kept in the store, one JSON document a key. Owns their shapes; [`crate::keys`] owns where they are.
//! Times are milliseconds since 1970, given by whoever writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::generation::Numbered;
use crate::ids::{Digest, UnitId};
use crate::observation::{Bag, Facts, Generation, Grant, Life, Memory, Service, TaskState};
use crate::plan::Verdict;
use crate::rollout::Rollout;
use crate::status::Status;

/// The format of everything below `/stoker/1`; a newer one is refused.
pub const FORMAT: u32 = 1;

/// The model itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// [`FORMAT`].
    pub format: u32,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: String,
    /// The last change's number.
    pub changes: u64,
    /// The last relation's number.
    pub relations: u64,
    /// The last action's number.
    pub actions: u64,
}

/// A user-visible change: what was asked, by whom, when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its number, from 1.
    pub n: u64,
    /// When it was made.
    pub time: u64,
    /// Who (a user name from peer credentials).
    pub by: String,
    /// The command as typed, without values that could be secret.
    pub command: String,
    /// Applications that it wrote to.
    pub apps: Vec<String>,
    /// Who was at the other end; records of before this was kept have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where a request came from, as the kernel says of the socket's other end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The user's number.
    pub uid: u32,
    /// The process that connected; none where it is not of this host's processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What that process called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The user who logged in, where that is another one (`sudo`, `su`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// How a move may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Move {
    /// Whether busy services are disturbed.
    pub mode: MoveMode,
    /// When `when-idle` becomes `now`, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<u64>,
}

/// Whether busy services are disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveMode {
    /// Wait until nothing that the move would stop is busy.
    #[default]
    WhenIdle,
    /// Do not wait.
    Now,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its name.
    pub name: String,
    /// Its identity, never reused.
    pub uuid: String,
    /// Whether it is to stay.
    pub life: Life,
    /// The next unit's number.
    pub next_unit: u32,
    /// The newest release's number.
    pub release: u64,
    /// Which unit leads.
    pub leader: Option<UnitId>,
    /// The change that last said `now`: moves pending then do not wait for busy services.
    pub now: u64,
    /// When its move stops waiting by itself, and for which change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now_at: Option<(u64, u64)>,
    /// The last release's change.
    pub change: u64,
    /// How its units go to the newest release, while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Generations that end everywhere, by key: those that were frozen at or before the revision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended: BTreeMap<String, u64>,
    /// Other hosts may reach its services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed: Option<crate::exposure::Exposure>,
}

/// A release: charm, config and resources of an application, numbered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its number, from 1.
    pub n: u64,
    /// The charm's build.
    pub charm: Digest,
    /// The charm's name, for tables.
    pub charm_name: String,
    /// The charm's own description, so that reading a release needs no disk. Releases by the same charm share one.
    pub description: Arc<crate::charm::Charm>,
    /// Options that were set, checked.
    pub config: BTreeMap<String, Value>,
    /// Resources by name: the revision.
    pub resources: BTreeMap<String, u64>,
    /// Resources that stay at their revision, whatever is attached.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pins: BTreeSet<String>,
    /// The change that made it.
    pub change: u64,
    /// When.
    pub time: u64,
    /// Who.
    pub by: String,
    /// The command as typed.
    pub command: String,
    /// How its move may go.
    #[serde(rename = "move")]
    pub moving: Move,
}

/// A revision of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number, from 1.
    pub revision: u64,
    /// The build.
    pub build: Digest,
    /// What was read from it.
    pub facts: Facts,
    /// Where it came from, as typed.
    pub source: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was attached.
    pub time: u64,
    /// The change that attached it.
    pub change: u64,
}

/// A unit, as desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Which.
    pub id: UnitId,
    /// The host that it is on.
    pub host: String,
    /// Whether it is to stay.
    pub life: Life,
    /// The release that it is to be at.
    pub release: u64,
    /// What placement reserved for it.
    #[serde(default)]
    pub grant: Grant,
    /// Dying: go without waiting for the plan's `gone`.
    #[serde(default)]
    pub force: bool,
    /// Dying: its data goes too.
    #[serde(default)]
    pub destroy_data: bool,
    /// Data of a removed unit that it takes back (an id of `kept`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuse: Option<String>,
    /// Services that a user stopped; `*` = all.
    #[serde(default)]
    pub stopped: Vec<String>,
    /// Services (or tasks, as `task:NAME`) that a user wants started anew: the change that said so.
    #[serde(default)]
    pub restart: BTreeMap<String, u64>,
}

/// A unit, as its host last reported it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitReport {
    /// The status shown: the worst of the plan's, its services' and its tasks'.
    pub status: Status,
    /// Since when.
    pub since: u64,
    /// What the agent does: `idle`, `executing`, `waiting`, `error`.
    pub agent: String,
    /// The workload's version.
    pub version: String,
    /// The release whose plan is applied.
    pub release: u64,
    /// Verdicts of the plan.
    pub verdicts: Vec<Verdict>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Ports by name: the first and how many.
    pub ports: BTreeMap<String, (u16, u16)>,
    /// The address that services bind.
    pub address: String,
    /// The application's status as this unit's plan has it.
    pub app_status: Option<Status>,
    /// Tree digests by name, as applied.
    pub trees: BTreeMap<String, Digest>,
    /// A move that waits, and for what.
    pub deferred: Option<String>,
    /// Its place among the application's units when a release is rolled out.
    #[serde(skip_serializing_if = "is_zero")]
    pub order: i64,
    /// The generation that is applied, where services are of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Numbered>,
    /// Generations before it that still run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Generation>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(order: &i64) -> bool {
    *order == 0
}

/// One side of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The application.
    pub app: String,
    /// Its endpoint.
    pub endpoint: String,
    /// The endpoint's role.
    pub role: crate::charm::Role,
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its number.
    pub id: u64,
    /// The interface.
    pub interface: String,
    /// Whether it is to stay.
    pub life: Life,
    /// Two ends, or one for a peer relation.
    pub ends: Vec<End>,
}

impl Relation {
    /// Our end and the other one (our own again in a peer relation), if we take part.
    pub fn seen_by(&self, app: &str) -> Option<(&End, &End)> {
        match self.ends.as_slice() {
            [only] if only.app == app => Some((only, only)),
            [a, b] if a.app == app => Some((a, b)),
            [a, b] if b.app == app => Some((b, a)),
            _ => None,
        }
    }

    /// Whether it is among the units of one application.
    pub fn is_peer(&self) -> bool {
        self.ends.len() == 1
    }
}

/// The result of a task, by key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskResult {
    /// Done or bad, or where it stands.
    pub state: TaskState,
    /// Exit status of the last run.
    pub exit: Option<i32>,
    /// Its last stdout line when that was JSON.
    pub result: Value,
    /// Why it is not done.
    pub reason: String,
    /// The unit that ran (or claimed) it.
    pub unit: Option<UnitId>,
    /// Runs so far.
    pub runs: u32,
    /// Bad exits so far.
    pub bad: u32,
}

/// A secret that the agent made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its id, without `secret:`.
    pub id: String,
    /// The owning application.
    pub app: String,
    /// The owning unit where its scope is `unit`.
    pub unit: Option<UnitId>,
    /// The plan's name for it.
    pub name: String,
    /// Values by key, sealed: base64 of nonce and ciphertext.
    pub sealed: BTreeMap<String, String>,
    /// Relations whose other side may read it.
    pub grants: Vec<u64>,
}

/// Where an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionState {
    /// Not begun.
    #[default]
    Pending,
    /// Its task runs.
    Running,
    /// Exit 0.
    Completed,
    /// Anything else.
    Failed,
}

/// An action that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Its number.
    pub id: u64,
    /// The unit.
    pub unit: UnitId,
    /// The action's name.
    pub name: String,
    /// Parameters, checked, defaults filled in; files are read-only paths.
    pub params: BTreeMap<String, Value>,
    /// Where it stands.
    pub state: ActionState,
    /// Exit status.
    #[serde(default)]
    pub exit: Option<i32>,
    /// The last stdout line when it was JSON.
    #[serde(default)]
    pub result: Value,
    /// Why it failed.
    #[serde(default)]
    pub message: String,
    /// The end of its output.
    #[serde(default)]
    pub output: String,
    /// When it was asked for, began and ended.
    pub enqueued: u64,
    /// When its task began.
    #[serde(default)]
    pub started: Option<u64>,
    /// When it ended.
    #[serde(default)]
    pub completed: Option<u64>,
    /// How long it may take, in milliseconds.
    pub timeout: u64,
    /// The change that asked for it.
    pub change: u64,
    /// The key of the generation that it was begun on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// What is remembered beside the rest once it is done; an empty value forgets a key.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub remember: Memory,
}

fn is_nothing(memory: &Memory) -> bool {
    *memory == Memory::default()
}

/// Relation data of one side: an application's or a unit's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(pub Bag);
