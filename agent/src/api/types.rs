//! The API's documents: what goes over the socket and what `--format json` prints. Owns their shapes; the
//! OpenAPI document is made from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A write: one document, one change record. POST `/v1/models/{model}/changes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteRequest {
    /// What to do.
    pub what: Write,
    /// The command as typed, kept with the change (no secret values).
    #[serde(default)]
    pub command: String,
    /// Compute what would change, and change nothing.
    #[serde(default)]
    pub preview: bool,
    /// Apply only if this is exactly what the preview with this token showed.
    #[serde(default)]
    pub if_token: Option<String>,
    /// How moves may go: `when-idle` (default) or `now`.
    #[serde(default)]
    pub mode: Option<String>,
    /// With `when-idle`: milliseconds after which it becomes `now`.
    #[serde(default)]
    pub patience: Option<u64>,
}

/// The verbs that write.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Write {
    /// Deploys an application.
    Deploy {
        /// A charm's name, or a folder (starting with `./`, `../` or `/`; the CLI makes it absolute).
        charm: String,
        /// The application's name; the charm's when absent.
        #[serde(default)]
        app: Option<String>,
        /// How many units; 1 when absent.
        #[serde(default)]
        units: Option<u32>,
        /// Options.
        #[serde(default)]
        config: BTreeMap<String, Value>,
        /// Resources: SOURCE by name.
        #[serde(default)]
        resources: BTreeMap<String, String>,
        /// Kept data to take back, in the order of units.
        #[serde(default)]
        reuse_data: Vec<String>,
    },
    /// Relates two applications, `APP[:ENDPOINT]` each.
    Integrate {
        /// One side.
        a: String,
        /// The other side.
        b: String,
    },
    /// Removes a relation.
    RemoveRelation {
        /// One side, or the relation's number alone.
        a: String,
        /// The other side.
        #[serde(default)]
        b: Option<String>,
    },
    /// Attaches a resource's new revision.
    AttachResource {
        /// The application.
        app: String,
        /// The resource.
        resource: String,
        /// Where it comes from.
        source: String,
    },
    /// Stays on a resource's revision: the one in use where none is named.
    PinResource {
        /// The application.
        app: String,
        /// The resource.
        resource: String,
        /// The revision.
        #[serde(default)]
        revision: Option<u64>,
    },
    /// Goes to a resource's newest revision, now and from now on.
    UnpinResource {
        /// The application.
        app: String,
        /// The resource.
        resource: String,
    },
    /// Forgets a resource's revision.
    RemoveResource {
        /// The application.
        app: String,
        /// The resource.
        resource: String,
        /// The revision.
        revision: u64,
        /// Though earlier releases could then no longer be gone back to.
        #[serde(default)]
        force: bool,
    },
    /// Takes a charm's newest contents.
    Refresh {
        /// The application.
        app: String,
        /// The charm's folder; searched by name when absent.
        #[serde(default)]
        path: Option<String>,
    },
    /// Sets and resets options.
    Config {
        /// The application.
        app: String,
        /// Options to set.
        #[serde(default)]
        set: BTreeMap<String, Value>,
        /// Options to put back to their defaults.
        #[serde(default)]
        reset: Vec<String>,
    },
    /// Adds units.
    AddUnit {
        /// The application.
        app: String,
        /// How many; 1 when absent.
        #[serde(default)]
        count: Option<u32>,
        /// Kept data to take back.
        #[serde(default)]
        reuse_data: Vec<String>,
    },
    /// Removes a unit.
    RemoveUnit {
        /// The unit.
        unit: String,
        /// Without waiting for it to drain.
        #[serde(default)]
        force: bool,
        /// Its data goes too.
        #[serde(default)]
        destroy_data: bool,
    },
    /// Removes an application.
    RemoveApplication {
        /// The application.
        app: String,
        /// Without waiting for units to drain.
        #[serde(default)]
        force: bool,
        /// Its data goes too.
        #[serde(default)]
        destroy_data: bool,
    },
    /// Lets moves of an application that wait for busy services go now.
    RolloutNow {
        /// The application.
        app: String,
    },
    /// Begins no further units of a rollout.
    RolloutPause {
        /// The application.
        app: String,
    },
    /// Takes a paused rollout on.
    RolloutResume {
        /// The application.
        app: String,
    },
    /// Gives a rollout up: what all units were at before it is made the newest release.
    RolloutAbort {
        /// The application.
        app: String,
    },
    /// Makes an earlier release the newest again.
    Rollback {
        /// The application.
        app: String,
        /// To which release; the one before when absent.
        #[serde(default)]
        to: Option<u64>,
    },
    /// Lets other hosts reach an application's services.
    Expose {
        /// The application.
        app: String,
        /// Networks that may; everybody where there are none.
        #[serde(default)]
        to: Vec<String>,
    },
    /// Lets no other host reach them any more.
    Unexpose {
        /// The application.
        app: String,
    },
    /// Runs an action on units.
    Run {
        /// Units, `APP/N` or `APP/leader`.
        units: Vec<String>,
        /// The action.
        action: String,
        /// Parameters; a file parameter is an absolute path.
        #[serde(default)]
        params: BTreeMap<String, Value>,
    },
    /// Stops services until they are started again.
    Stop {
        /// `UNIT` or `UNIT/SERVICE`.
        target: String,
    },
    /// Starts stopped services.
    Start {
        /// `UNIT` or `UNIT/SERVICE`.
        target: String,
    },
    /// Restarts services, or runs a bad task again.
    Restart {
        /// `UNIT`, `UNIT/SERVICE` or `UNIT/TASK`.
        target: String,
    },
    /// Destroys kept data.
    DestroyKept {
        /// Its id.
        id: String,
    },
}

/// The answer to a write.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct WriteReply {
    /// The change's number; absent for a preview and where nothing changed.
    pub change: Option<u64>,
    /// Whether anything changed.
    pub changed: bool,
    /// One line for people, e.g. `deployed web with 3 units`.
    pub says: String,
    /// Warnings for people.
    pub warnings: Vec<String>,
    /// What would change (previews only).
    pub preview: Option<Preview>,
    /// Actions that were enqueued.
    pub actions: Vec<u64>,
}

/// What a change would do, with its price.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Preview {
    /// Give this to `--if` to apply exactly this.
    pub token: String,
    /// Whether anything would change.
    pub changes: bool,
    /// Unit by unit.
    pub units: Vec<UnitPreview>,
    /// Services that would be stopped or restarted while running.
    pub restarts: u64,
    /// Bytes that would be written anew to the builds (ingested already) and rendered.
    pub bytes: u64,
    /// What is busy in services that would stop: `UNIT/SERVICE: PROBE: NAMES`.
    pub touched: Vec<String>,
    /// What cannot go back.
    pub one_way: Vec<String>,
    /// Refusals and errors that would come up.
    pub problems: Vec<String>,
}

/// What a change would do to a unit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct UnitPreview {
    /// The unit.
    pub unit: String,
    /// `add`, `remove`, `change` or `keep`.
    pub effect: String,
    /// Services that would start.
    pub start: Vec<String>,
    /// Services of a new generation that would start beside the present one, which goes on until nobody needs it.
    pub beside: Vec<String>,
    /// Services of an earlier generation that runs still, and would be the newest again.
    pub thaw: Vec<String>,
    /// Services that would be restarted.
    pub restart: Vec<String>,
    /// Services that would stop.
    pub stop: Vec<String>,
    /// Tasks that would run.
    pub tasks: Vec<String>,
    /// Differences of the plan: JSON pointer, before, after (secrets are never in a plan).
    pub differences: Vec<Difference>,
    /// The status that would be shown, where the plan says one.
    pub status: String,
}

/// One difference.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Difference {
    /// JSON pointer into the plan.
    pub at: String,
    /// Before; null when absent.
    pub before: Value,
    /// After; null when absent.
    pub after: Value,
}

/// A refusal or failure, as `application/problem+json` (RFC 9457) and as the CLI prints it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// `https`-free stable type: the code as a URN, `urn:stoker:ST0123`.
    #[serde(rename = "type")]
    pub kind: String,
    /// *cannot X: because Y*.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Evidence: what was seen; may have several lines.
    #[serde(default)]
    pub detail: String,
    /// What to do.
    #[serde(default)]
    pub fix: String,
    /// The stable code, `ST0123`.
    pub code: String,
}

/// Where a change stands. GET `/v1/models/{model}/changes/{n}` (add `?wait=MILLISECONDS` to wait until it settles).
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ChangeStatus {
    /// Its number.
    pub change: u64,
    /// When, milliseconds since 1970.
    pub time: u64,
    /// Who.
    pub by: String,
    /// The command.
    pub command: String,
    /// All its effects have settled.
    pub settled: bool,
    /// What it waits for, a line each (`web/0: starting: service web`).
    pub pending: Vec<String>,
    /// Moves that were deferred for busy services, a line each.
    pub deferred: Vec<String>,
    /// Units in status error, a line each.
    pub errors: Vec<String>,
    /// Units in status blocked, a line each.
    pub blocked: Vec<String>,
}

/// A build. GET `/v1/builds`, `/v1/builds/{digest}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Build {
    /// Its digest.
    pub digest: String,
    /// Facts, null where nobody could read any.
    pub facts: Value,
    /// Where it came from, as typed.
    pub source: String,
    /// Files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that were not there before (answer to an add only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_bytes: Option<u64>,
    /// Seconds that the add took (answer to an add only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// When it was added, RFC 3339.
    pub added: String,
    /// Bytes on the disk of files that no other build has: what its removal frees.
    #[serde(default)]
    pub unique_bytes: u64,
    /// Bytes on the disk of files that other builds have too.
    #[serde(default)]
    pub shared_bytes: u64,
    /// Files of it are missing: `stoker builds verify --repair`.
    #[serde(default)]
    pub damaged: bool,
    /// Applications and resources that refer to it, `APP/RESOURCE@REVISION`.
    pub used_by: Vec<String>,
}

/// A line of the stream that POST `/v1/builds` answers with (`application/jsonl`): progress, then one `done` or `problem`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    /// A step with how far it is.
    Step {
        /// What.
        step: String,
        /// Units done (bytes mostly).
        done: u64,
        /// Of how many, where known.
        total: Option<u64>,
    },
    /// The build.
    Done(Box<Build>),
    /// What a verification found.
    Verified(Box<super::stock::VerifiedBuilds>),
    /// How a build fits.
    Aligned(Box<super::align::Alignment>),
    /// The answer of a write that had to make a build first.
    Reply(Box<WriteReply>),
    /// It failed.
    Problem(Box<Problem>),
}

/// What POST `/v1/builds` takes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddBuild {
    /// SOURCE: absolute file, absolute folder, `recipe:VERSION`, `recipe:` and an absolute path, `build:DIGEST`.
    pub source: String,
    /// The charm whose layouts, inspect and recipe are used; all known ones are tried when absent.
    #[serde(default)]
    pub charm: Option<String>,
}

/// A resource that a charm's recipe makes. GET `/v1/recipes`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct RecipeDoc {
    /// The charm.
    pub charm: String,
    /// Its resource.
    pub resource: String,
    /// What is made.
    pub product: String,
    /// What is written after `recipe:`, in words.
    pub takes: String,
    /// The SOURCE that is used when the user names none; empty = none.
    pub default: String,
}

/// A release. GET `/v1/models/{model}/applications/{app}/releases`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReleaseDoc {
    /// Number.
    pub release: u64,
    /// When, RFC 3339.
    pub time: String,
    /// Who.
    pub by: String,
    /// The command as typed.
    pub command: String,
    /// The charm's digest.
    pub charm: String,
    /// Resources: revision and version by name.
    pub resources: BTreeMap<String, String>,
    /// Options that were set.
    pub config: BTreeMap<String, Value>,
    /// What differs from the one before.
    pub difference: Vec<String>,
    /// Units at it.
    pub units: Vec<String>,
}

/// A resource. GET `/v1/models/{model}/applications/{app}/resources`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ResourceDoc {
    /// Name.
    pub name: String,
    /// Product.
    pub product: String,
    /// Must be attached.
    pub required: bool,
    /// Summary from the charm.
    pub summary: String,
    /// The newest release's revision, 0 = none.
    pub revision: u64,
    /// It stays at that, whatever is attached.
    pub pinned: bool,
    /// Version from its facts.
    pub version: String,
    /// All revisions, newest first.
    pub revisions: Vec<RevisionDoc>,
    /// What each unit uses: revision by unit.
    pub units: BTreeMap<String, u64>,
}

/// A resource's revision.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct RevisionDoc {
    /// Number.
    pub revision: u64,
    /// Build digest.
    pub build: String,
    /// Source as typed.
    pub source: String,
    /// When, RFC 3339.
    pub time: String,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Facts.
    pub facts: Value,
}

/// An option of an application. GET `/v1/models/{model}/applications/{app}/config`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct OptionDoc {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Current value.
    pub value: Value,
    /// Default.
    pub default: Value,
    /// `default` or `user`.
    pub source: String,
    /// Summary.
    pub description: String,
}

/// An action that was asked for. GET `/v1/models/{model}/actions/{id}` (`?wait=MILLISECONDS`).
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ActionDoc {
    /// Number.
    pub id: u64,
    /// Unit.
    pub unit: String,
    /// Action.
    pub action: String,
    /// `pending`, `running`, `completed`, `failed`.
    pub status: String,
    /// Exit status.
    pub exit: Option<i32>,
    /// JSON result.
    pub results: Value,
    /// Why it failed.
    pub message: String,
    /// The end of its output.
    pub output: String,
    /// `enqueued`, `started`, `completed`: RFC 3339.
    pub timing: BTreeMap<String, String>,
}

/// A unit in full. GET `/v1/models/{model}/units/{app}/{n}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct UnitDoc {
    /// Unit.
    pub unit: String,
    /// Charm digest.
    pub charm: String,
    /// Leads its application.
    pub leader: bool,
    /// Host.
    pub machine: String,
    /// Address.
    #[serde(rename = "public-address")]
    pub public_address: String,
    /// `PORT/tcp` or `A-B/tcp`.
    #[serde(rename = "opened-ports")]
    pub opened_ports: Vec<String>,
    /// Workload version.
    #[serde(rename = "workload-version")]
    pub workload_version: String,
    /// Status.
    pub status: Value,
    /// Release that is applied, and the one it is to be at.
    pub release: BTreeMap<String, u64>,
    /// Services by name: state, reason, pid, restarts, processes killed for want of memory, unenforced limits.
    pub services: BTreeMap<String, Value>,
    /// Earlier generations that still run, oldest first: number, key, release, services with what they are busy with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Value>,
    /// Tasks by name.
    pub tasks: BTreeMap<String, Value>,
    /// Trees by name: digest.
    pub trees: BTreeMap<String, String>,
    /// Verdicts.
    pub verdicts: Vec<Value>,
    /// What is remembered.
    pub state: Value,
    /// Relations with data, Juju's shape.
    #[serde(rename = "relation-info")]
    pub relation_info: Vec<Value>,
}

/// A link of the chain that `why` prints.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Why {
    /// What is asked about.
    pub subject: String,
    /// Condition: status and sentence.
    pub status: String,
    /// Causes, the nearest first.
    pub causes: Vec<Cause>,
}

/// A cause with its evidence and fix.
#[allow(clippy::struct_field_names, reason = "the documents' names are the API's")]
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Cause {
    /// *because …*
    pub cause: String,
    /// What was seen: log lines, exit status, probe answers.
    pub evidence: Vec<String>,
    /// What to do.
    pub fix: String,
    /// Stable code.
    pub code: String,
}

/// Kept data of a removed unit. GET `/v1/models/{model}/kept`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Kept {
    /// Its id, for `deploy --reuse-data`.
    pub id: String,
    /// The unit that had it.
    pub unit: String,
    /// The charm's name.
    pub charm: String,
    /// When it was removed, RFC 3339.
    pub removed: String,
    /// Folders.
    pub dirs: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

/// GET `/v1/version`.
#[allow(clippy::struct_field_names, reason = "the documents' names are the API's")]
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Version {
    /// The agent's version.
    pub version: String,
    /// The API's version.
    pub api: String,
    /// The agent's process id.
    pub pid: u32,
    /// The agent's folder.
    pub dir: String,
    /// The store's back end.
    pub store: String,
}
