//! The observation: all that a function charm may know when it plans (format 1). Owns the document's shape;
//! it holds no events, clock, counters or randomness, so that equal worlds give equal documents.
//! Charms ignore unknown keys here; the agent writes every key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::generation::Numbered;
use crate::ids::Digest;

/// The observation's format number.
pub const FORMAT: u32 = 1;

/// Whether something is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// It stays.
    #[default]
    Alive,
    /// It was removed and is being taken down.
    Dying,
}

/// What one run of a charm sees.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// [`FORMAT`].
    pub format: u32,
    /// The model's name.
    pub model: String,
    /// The application's name.
    pub app: String,
    /// The application's identity, stable over its life, different after a removal and a new deployment.
    pub app_uuid: String,
    /// This unit, `app/n`.
    pub unit: String,
    /// All units of the application that are alive, by number.
    pub units: Vec<String>,
    /// Whether this unit is to stay.
    pub life: Life,
    /// Whether this unit leads its application.
    pub leader: bool,
    /// The release that the unit is at (or moves to).
    pub release: u64,
    /// The charm's own build: a plan that names it as a tree can run the charm's programs in tasks.
    pub charm: String,
    /// System user names by the charm's user names (all the agent's own where it is not root).
    pub users: BTreeMap<String, String>,
    /// Every option of the charm with its value: set or default; sizes in bytes, durations as text.
    pub config: BTreeMap<String, Value>,
    /// This host.
    pub host: Host,
    /// Attached resources by name.
    pub resources: BTreeMap<String, Resource>,
    /// Relations by rising id.
    pub relations: Vec<Relation>,
    /// Other hosts may reach the services; null where none may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed: Option<crate::exposure::Exposure>,
    /// Ports allotted so far, by the plan's names (the first of a range).
    pub ports: BTreeMap<String, u16>,
    /// Secrets by the plan's names: their ids, `secret:ID`, never their values.
    pub secrets: BTreeMap<String, String>,
    /// What earlier plans remembered.
    pub state: Memory,
    /// Services of the applied plan by name.
    pub services: BTreeMap<String, Service>,
    /// The generation that `services` and `ports` are of; null where nothing of one is applied.
    pub generation: Option<Numbered>,
    /// Frozen generations, oldest first.
    pub generations: Vec<Generation>,
    /// Tasks of the newest plan by name.
    pub tasks: BTreeMap<String, Task>,
    /// An action to plan, in a run of its own.
    pub action: Option<Action>,
}

/// The host that the unit is on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// CPU architecture as the kernel names it (`x86_64`).
    pub arch: String,
    /// Cores of the whole host.
    pub cores: u64,
    /// Bytes of memory of the whole host.
    pub memory: u64,
    /// What placement reserved for this unit: size from it, never from the totals.
    pub grant: Grant,
    /// Addresses by binding; `default` is always there.
    pub addresses: BTreeMap<String, String>,
    /// Java installations of the host, newest first.
    pub java: Vec<Java>,
    /// Python interpreters of the host, newest first.
    pub python: Vec<Python>,
}

/// Cores and bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Grant {
    /// Whole cores.
    pub cores: u64,
    /// Bytes.
    pub memory: u64,
}

/// A Java installation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Java {
    /// Its home folder (`JAVA_HOME`).
    pub home: String,
    /// Its feature version: 8, 11, 17.
    pub version: u32,
}

/// A Python interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Python {
    /// The executable.
    pub path: String,
    /// Major and minor version: `3.11`.
    pub version: String,
}

/// An attached resource, seen through the unit's release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Revision, rising from 1 per application and resource.
    pub revision: u64,
    /// The build.
    pub build: Digest,
    /// What was read from it.
    pub facts: Facts,
}

/// What a charm's `inspect` read from a build. Only charms read `details`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What kind of build it is (`java`, `python`, …).
    pub product: String,
    /// Its full version.
    pub version: String,
    /// How it carries its dependencies, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// What it needs (`java`: `">=17"`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requires: BTreeMap<String, Value>,
    /// What it brings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provides: BTreeMap<String, Value>,
    /// Anything else, for charms.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

/// String-to-string data of a relation's side.
pub type Bag = BTreeMap<String, String>;

/// A relation of the application.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Relation {
    /// The relation's number within the model.
    pub id: u64,
    /// Our endpoint.
    pub endpoint: String,
    /// The interface.
    pub interface: String,
    /// The remote application; our own in a peer relation.
    pub remote: String,
    /// Whether the relation is to stay.
    pub life: Life,
    /// The remote application's data.
    pub app: Bag,
    /// The remote units' data by unit (in a peer relation: the other units').
    pub units: BTreeMap<String, Bag>,
    /// What we have published.
    pub ours: Ours,
}

/// Our side of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ours {
    /// The application's data.
    pub app: Bag,
    /// This unit's data.
    pub unit: Bag,
}

/// What plans remember, string to string.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// The application's, written by the leader.
    pub app: BTreeMap<String, String>,
    /// This unit's.
    pub unit: BTreeMap<String, String>,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Not running, and not failed.
    #[default]
    Stopped,
    /// Started, not ready for the first time.
    Starting,
    /// Its readiness probes pass.
    Ready,
    /// Was ready, is not now.
    Unready,
    /// Ended and will not be started again by itself soon.
    Failed,
}

/// A service as observed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its condition.
    pub state: ServiceState,
    /// Why it is not ready; empty when it is.
    pub reason: String,
    /// Answers of the busy probes by name; empty until they are asked.
    pub busy: BTreeMap<String, Value>,
}

/// A frozen generation as observed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Its number.
    pub n: u64,
    /// Its key.
    pub key: String,
    /// The release that it was applied for.
    pub release: u64,
    /// The newest one was ready once, so that nobody needs to be sent here any more.
    pub draining: bool,
    /// Its ports, by the plan's names (the first of a range).
    pub ports: BTreeMap<String, u16>,
    /// Its services, by the plan's names.
    pub services: BTreeMap<String, Service>,
}

/// How a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Not started: its needs do not hold, or another unit runs it.
    #[default]
    Waiting,
    /// Runs.
    Running,
    /// Failed in a way that may pass; will be tried again.
    Retry,
    /// Done.
    Done,
    /// Failed for good.
    Bad,
}

/// A task as observed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    /// The key that it ran (or runs) for.
    pub key: String,
    /// Its condition.
    pub state: TaskState,
    /// Exit status of the last run that ended.
    pub exit: Option<i32>,
    /// The last stdout line of that run when it was JSON, else null.
    pub result: Value,
    /// Why it is not done.
    pub reason: String,
}

/// An action asked of the unit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Action {
    /// The action's name.
    pub name: String,
    /// Its parameters; a file parameter is a read-only path.
    pub params: BTreeMap<String, Value>,
}
