//! The cluster that is related: what its data say, and what is missing in them. Must not plan anything.

use std::collections::BTreeMap;

use serde::Deserialize;
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Life, Observation, Relation};
use stoker_charm::status::{State, Status};

/// A cluster whose data are complete.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cluster {
    pub(super) relation: u64,
    pub(super) app: String,
    pub(super) master: String,
    /// What its drivers stay with for as long as they run.
    pub(super) key: String,
    pub(super) version: String,
    /// The Spark tree that executors run.
    pub(super) build: Digest,
    /// Version of its Hadoop client; may be empty.
    pub(super) hadoop: String,
    /// The Java that executors run on.
    pub(super) java: u32,
    /// The build of that Java, where it is not the host's.
    pub(super) java_build: Option<Digest>,
    /// The jars of all drivers and executors, and their folder in that tree.
    pub(super) jars: Option<(Digest, String)>,
    /// `secret:ID` of the shared secret, where the cluster authenticates.
    pub(super) auth: Option<String>,
    /// spark-defaults for drivers.
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) sites: Sites,
    /// Whether the folders that drivers need are there.
    pub(super) ready: bool,
    /// Which environment each of its units has linked.
    pub(super) linked: BTreeMap<String, String>,
}

/// Hadoop's client configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Sites {
    pub(super) core_site: BTreeMap<String, String>,
    pub(super) hdfs_site: BTreeMap<String, String>,
}

/// A relation whose data do not suffice (yet).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gap {
    pub(super) relation: u64,
    pub(super) status: Status,
}

/// The related cluster, none where none is related.
pub(super) fn find(seen: &Observation) -> Result<Option<Cluster>, Gap> {
    let related = seen.relations.iter().filter(|r| r.endpoint == "spark" && r.life == Life::Alive);
    related.min_by_key(|r| r.id).map(read).transpose()
}

/// A cluster as it was when its data were this.
pub(super) fn remembered(of: &Cluster, app: BTreeMap<String, String>) -> Option<Cluster> {
    let relation = Relation { id: of.relation, remote: of.app.clone(), app, ..Relation::default() };
    read(&relation).ok()
}

impl Cluster {
    /// A short name for its key.
    pub(super) fn tag(&self) -> String {
        Digest::of(self.key.as_bytes()).hex()[..8].to_owned()
    }
}

fn read(relation: &Relation) -> Result<Cluster, Gap> {
    let gap = |status: Status| Gap { relation: relation.id, status };
    let need = |key: &str| match relation.app.get(key).map(|value| value.trim()) {
        Some(value) if !value.is_empty() => Ok(value.to_owned()),
        _ => {
            Err(gap(Status::new(State::Waiting, format!("{} has not told its `{key}` yet", relation.remote))))
        }
    };
    let wrong = |key: &str, why: String| {
        gap(Status::new(State::Blocked, format!("cannot use `{key}` of {}: {why}", relation.remote)))
    };
    let build = need("build")?;
    let java = need("java")?;
    let optional = |key: &str| relation.app.get(key).map(String::as_str).filter(|value| !value.is_empty());
    Ok(Cluster {
        relation: relation.id,
        app: relation.remote.clone(),
        master: need("master")?,
        key: optional("key").unwrap_or(&build).to_owned(),
        version: need("version")?,
        build: build.parse().map_err(|_| wrong("build", format!("`{build}` is no digest")))?,
        hadoop: optional("hadoop").unwrap_or_default().to_owned(),
        java: java.parse().map_err(|_| wrong("java", format!("`{java}` is no version")))?,
        java_build: optional("java-build").and_then(|digest| digest.parse().ok()),
        jars: optional("jars")
            .and_then(|digest| digest.parse().ok())
            .map(|digest| (digest, optional("jars-folder").unwrap_or_default().to_owned())),
        auth: optional("auth").map(ToOwned::to_owned),
        defaults: json(optional("defaults")).map_err(|why| wrong("defaults", why))?,
        sites: json(optional("config")).map_err(|why| wrong("config", why))?,
        ready: optional("ready") == Some("true"),
        linked: relation
            .units
            .iter()
            .map(|(unit, bag)| (unit.clone(), bag.get("python-ready").cloned().unwrap_or_default()))
            .collect(),
    })
}

fn json<T: Default + for<'a> Deserialize<'a>>(text: Option<&str>) -> Result<T, String> {
    text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(text).map_err(|e| e.to_string()))
}
