//! The plan: all that a unit should be (format 1). Owns the document's shape; [`check`] owns what a valid plan is.
//! Unknown keys are errors.

mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::check::{PlanError, parse};
use crate::ids::Digest;
use crate::observation::Memory;
use crate::probe::Probe;
use crate::status::Status;

/// The plan's format number.
pub const FORMAT: u32 = 1;

/// What a charm wants its unit to be. What is absent is removed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The workload's version, for `status`.
    pub version: String,
    /// The unit's status.
    pub status: Status,
    /// The application's status; only the leader's counts.
    pub app_status: Option<Status>,
    /// How well this application's builds fit those of others.
    pub verdicts: Vec<Verdict>,
    /// Trees by name.
    pub trees: BTreeMap<String, Tree>,
    /// Names what must be alike everywhere
    pub generation: Option<Generation>,
    /// A reason to wait for others: services, files and trees stay as applied.
    pub hold: Option<String>,
    /// Place in a rollout: lower goes first.
    pub order: i64,
    /// What this move changes that cannot go back.
    pub one_way: Vec<String>,
    /// Folders by name.
    pub dirs: BTreeMap<String, Dir>,
    /// Ports by name.
    pub ports: BTreeMap<String, Port>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Files by name; `a/b` is file `b` of the folder of files `a`.
    pub files: BTreeMap<String, File>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Tasks by name.
    pub tasks: BTreeMap<String, Task>,
    /// Our data by relation id.
    pub relations: BTreeMap<String, Published>,
    /// What to remember. Replaces what was remembered.
    pub state: Memory,
    /// In an action's run: the task that does it.
    pub action: Option<Task>,
    /// In an action's run: what is remembered beside the rest once its task is done; an empty value forgets a key.
    pub remember: Memory,
    /// How many units the application should have; only the leader's counts.
    pub scale: Option<u32>,
    /// A dying unit has drained and may go.
    pub gone: bool,
}

/// How one build fits another.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verdict {
    /// What is judged (a resource's name).
    pub subject: String,
    /// The relation it is judged for.
    pub relation: Option<u64>,
    /// The level (`exact`, `same-minor`, …).
    pub level: String,
    /// One sentence.
    pub says: String,
    /// What mends it, or empty.
    pub fix: String,
    /// Workload by workload.
    pub works: BTreeMap<String, Work>,
}

/// Whether one workload works, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Work {
    /// Works.
    pub ok: bool,
    /// Evidence: `read`, `linked` or `run`.
    pub by: String,
    /// Why not, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A tree: a base build with paths dropped and files taken from other builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The base build.
    pub base: Digest,
    /// Paths of the base that are left out.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Files from other builds.
    #[serde(default)]
    pub take: Vec<Take>,
}

/// A file taken from another build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// The other build.
    pub from: Digest,
    /// The path there.
    pub path: String,
    /// The path here.
    pub to: String,
}

/// A generation's name
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Generation {
    /// What must be alike everywhere.
    pub key: String,
    /// Keys still in use: they do not end.
    pub keep: Vec<String>,
    /// How long an old one may drain (`8h`); for ever when absent.
    pub deadline: Option<String>,
}

/// A folder of the unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dir {
    /// The charm's user that owns it; the agent's own when absent.
    pub user: Option<String>,
    /// Octal mode; 0750 when absent.
    pub mode: Option<String>,
    /// Data: never removed by absence, kept when the unit goes, marked against a missing mount.
    pub keep: bool,
    /// An absolute place of its own (a data disk) instead of one in the unit's folder; only with `keep`.
    pub path: Option<String>,
    /// The plan's tree that it goes with: one folder for all units of the host that name that tree for this user. What
    /// is in it can be made again.
    pub tree: Option<String>,
    /// Belongs to the generation
    pub generation: bool,
}

/// A port asked for by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Port {
    /// The preferred number (of the first); 0 = any.
    pub prefer: u16,
    /// How many, contiguous.
    pub count: u16,
    /// Belongs to the generation
    pub generation: bool,
}

impl Default for Port {
    fn default() -> Self {
        Self { prefer: 0, count: 1, generation: false }
    }
}

/// A secret: made by the agent, or one that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secret {
    /// How to make it: `hexN` or `base64N` with N random bytes.
    pub generate: Option<String>,
    /// Who shares it: `app` (default) or `unit`.
    pub scope: Option<String>,
    /// Relation ids that may read it; only the leader's plan grants.
    pub grant: Vec<u64>,
    /// A granted secret, `secret:ID`.
    pub from: Option<String>,
    /// Which value of it; `value` when absent.
    pub key: Option<String>,
}

/// A rendered file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Its text, with placeholders.
    pub text: String,
    /// Octal mode; 0644 when absent, 0600 where it holds a secret.
    pub mode: Option<String>,
    /// The charm's user that may read it; by default the user of the services that name it.
    pub user: Option<String>,
    /// At a fixed path, replaced by rename, restarts nothing.
    pub live: bool,
}

/// A service: a process that stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Program and arguments, with placeholders; never through a shell.
    pub command: Vec<String>,
    /// The whole environment but for PATH, LANG and the agent's mark.
    pub env: BTreeMap<String, String>,
    /// The charm's user that runs it.
    pub user: Option<String>,
    /// Trees that it sees and whose change restarts it.
    pub trees: Vec<String>,
    /// Files (or folders of files) likewise.
    pub files: Vec<String>,
    /// Folders that it may write.
    pub dirs: Vec<String>,
    /// Ports that it listens on.
    pub ports: Vec<String>,
    /// Visible to it, but no part of its digest: `tree:NAME`, `file:NAME`.
    pub follows: Vec<String>,
    /// What must hold before its first start: `SERVICE` (ready) or `task:NAME` (done).
    pub needs: Vec<String>,
    /// All must pass for it to be ready; with none it is ready when it runs.
    pub ready: Vec<Probe>,
    /// All must pass for it to stay ready.
    pub live: Vec<Probe>,
    /// Probes whose answers tell what would be disturbed.
    pub busy: BTreeMap<String, Probe>,
    /// How it is stopped.
    pub stop: Stop,
    /// Exit statuses that are no failure; 0 and 143 when empty.
    pub success: Vec<i32>,
    /// When it is started again.
    pub restart: Restart,
    /// Limits.
    pub limits: Limits,
    /// Belongs to the generation
    pub generation: bool,
}

/// How a service is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// The signal's name without SIG.
    pub signal: String,
    /// How long it may take before it is killed.
    pub grace: String,
    /// A task of the plan to run before.
    pub drain: Option<String>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: "TERM".into(), grace: "60s".into(), drain: None }
    }
}

/// When a service is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// `failure`, `always` or `never`.
    pub on: String,
    /// Waits before the restarts; the last repeats.
    pub backoff: Vec<String>,
}

impl Default for Restart {
    fn default() -> Self {
        Self { on: "failure".into(), backoff: vec!["1s".into(), "5s".into(), "60s".into()] }
    }
}

/// Limits; 0 = none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Cores.
    pub cores: u64,
    /// Open files.
    pub nofile: u64,
}

/// A one-shot service: the only way a charm touches the world.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Task {
    /// `before-move`, or absent: when its needs hold.
    pub when: Option<String>,
    /// `app`: one unit runs it for all. Absent: each unit for itself.
    pub once: Option<String>,
    /// Runs once per key; by default the digest of its spec, named files and trees.
    pub key: Option<String>,
    /// Runs again after this long; only a different result is observed.
    pub every: Option<String>,
    /// Nobody waits for it: no part of the unit's status, nor of what is pending.
    pub idle: bool,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment, as a service's.
    pub env: BTreeMap<String, String>,
    /// The charm's user that runs it.
    pub user: Option<String>,
    /// Trees that it sees.
    pub trees: Vec<String>,
    /// Files that it sees.
    pub files: Vec<String>,
    /// Folders that it may write.
    pub dirs: Vec<String>,
    /// Ports that it listens on.
    pub ports: Vec<String>,
    /// What must hold before it starts.
    pub needs: Vec<String>,
    /// How long one run may take; 60 s when absent.
    pub timeout: Option<String>,
    /// How often it is tried again after a bad exit.
    pub retry: u32,
    /// Limits.
    pub limits: Limits,
}

/// Our data of one relation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// The application's data; only the leader's is written.
    pub app: BTreeMap<String, String>,
    /// This unit's data.
    pub unit: BTreeMap<String, String>,
}

/// Placeholders in JSON of any shape are resolved only in strings; this tells whether a value holds text at all.
pub(crate) fn strings_of(value: &Value, each: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter().for_each(|item| strings_of(item, each)),
        Value::Object(map) => map.values().for_each(|item| strings_of(item, each)),
        _ => {}
    }
}
