//! What is known of the filesystem: where its NameNode is, who it is, whether it was formatted. Owns the memory that
//! forbids a second format, and of which layout the data are.

use std::collections::BTreeMap;

use stoker_charm::observation::{Bag, Facts, Observation, ServiceState, Task, TaskState};
use stoker_charm::serde_json::Value;

use super::upgrade::{Layouts, tasks};
use super::{MEMBERS, Stuck};

/// `state.app`: the unit of the NameNode.
pub(super) const NAMENODE: &str = "namenode";
/// `state.app`, once formatted or found: never formatted again.
pub(super) const CLUSTER_ID: &str = "cluster-id";
/// `state.app`: the name in `hdfs://NAME`.
pub(super) const NAMESERVICE: &str = "nameservice";
/// `state.app`, and `state.unit` of the NameNode's unit: the layout of the NameNode's data.
pub(super) const LAYOUT: &str = "layout";
/// `state.app`: the filesystem could be written to once.
pub(super) const READY: &str = "ready";
/// `state.app`: the Hadoop that the data were last used with.
pub(super) const VERSION: &str = "version";
/// `state.unit`: the layout of the DataNode's data.
pub(super) const LAYOUT_DATANODE: &str = "layout-datanode";

/// What only a person can decide about the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) says: String,
    pub(crate) fix: String,
}

/// The filesystem as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// The NameNode's unit.
    pub(crate) namenode: String,
    /// It is this one.
    pub(crate) here: bool,
    /// Its id; of a filesystem that is not formatted yet, the one that it will get.
    pub(crate) id: Option<String>,
    /// Its name.
    pub(crate) nameservice: Option<String>,
    /// It exists.
    pub(crate) formatted: bool,
    /// The application's memory knows that it exists.
    pub(crate) recorded: bool,
    /// Could be written to once.
    pub(crate) ready: bool,
    /// Address of the NameNode's RPC.
    pub(crate) rpc: Option<String>,
    /// Address of its HTTP.
    pub(crate) http: Option<String>,
    /// The layout of the NameNode's data.
    pub(crate) layout: Option<i64>,
    /// What is wrong with the data.
    pub(crate) problem: Option<Problem>,
    /// The application's memory, brought up to date.
    pub(crate) state: BTreeMap<String, String>,
}

impl Cluster {
    /// What memory, tasks and the other units say.
    pub(super) fn of(seen: &Observation) -> Result<Self, Stuck> {
        let state = &seen.state.app;
        let namenode = match state.get(NAMENODE) {
            Some(unit) => unit.clone(),
            None if seen.leader => seen.unit.clone(),
            None => return Err(Stuck::waiting("the leader has not chosen the NameNode's unit yet")),
        };
        let here = namenode == seen.unit;
        if !here && !seen.units.contains(&namenode) {
            return Err(Stuck::blocked(
                format!("{namenode}, which had the NameNode, is gone"),
                "deploy anew with --reuse-data (stoker kept list)".to_owned(),
            ));
        }
        let told = told(seen, here, &namenode);
        let known =
            |key: &str| state.get(key).or_else(|| told.get(key)).filter(|value| !value.is_empty()).cloned();
        let recorded = state.contains_key(CLUSTER_ID);
        let formatted = recorded || told.get("formatted").is_some_and(|formatted| formatted == "true");
        let ready = state.contains_key(READY) || told.get(READY).is_some_and(|ready| ready == "true");
        let problem = ["identify", "format"].iter().find_map(|name| problem(seen.tasks.get(*name)?));
        let address = |port: &str| here.then(|| format!("${{address:default}}:${{port:{port}}}"));
        // What was found or made last, then what was remembered for all.
        let found = found(seen, LAYOUT).filter(|_| here).or_else(|| {
            let own = seen.state.unit.get(LAYOUT).filter(|_| here);
            own.or_else(|| told.get(LAYOUT).filter(|_| !here))?.parse().ok()
        });
        let layout = found.or_else(|| known(LAYOUT)?.parse().ok());
        Ok(Self {
            here,
            id: known(CLUSTER_ID),
            nameservice: known(NAMESERVICE),
            formatted,
            recorded,
            ready: ready && formatted,
            rpc: address("namenode").or_else(|| known("rpc")),
            http: address("namenode-http").or_else(|| known("http")),
            layout,
            problem,
            state: state.clone(),
            namenode,
        })
    }

    /// Brings the memory up to date; `runs` is the version that the data are used with, where one is.
    pub(super) fn remember(&mut self, runs: Option<&str>) {
        let mut pairs = vec![(NAMENODE, Some(self.namenode.clone()))];
        if self.formatted {
            pairs.extend([(CLUSTER_ID, self.id.clone()), (NAMESERVICE, self.nameservice.clone())]);
            if let Some(layout) = self.layout {
                self.state.insert(LAYOUT.to_owned(), layout.to_string());
            }
        }
        if self.ready {
            pairs.push((READY, Some("true".to_owned())));
        }
        for (key, value) in pairs {
            if let Some(value) = value {
                self.state.entry(key.to_owned()).or_insert(value);
            }
        }
        if let Some(version) = runs.filter(|_| self.formatted) {
            self.state.insert(VERSION.to_owned(), version.to_owned());
        }
    }

    /// The layouts of the data as this unit knows them.
    pub(super) fn layouts(&self, seen: &Observation) -> Layouts {
        Layouts { namenode: self.layout, datanode: datanode_layout(seen) }
    }
}

/// A layout version among a build's facts.
pub(super) fn layout_of(facts: &Facts, key: &str) -> Option<i64> {
    facts.provides.get(key).and_then(Value::as_i64)
}

/// The layout of this unit's blocks, as found or remembered.
pub(super) fn datanode_layout(seen: &Observation) -> Option<i64> {
    let remembered = || seen.state.unit.get(LAYOUT_DATANODE).and_then(|text| text.parse().ok());
    found(seen, LAYOUT_DATANODE)
        .or_else(remembered)
        .or_else(|| result(seen, "identify")?.get(LAYOUT_DATANODE)?.as_i64())
}

/// What the folders held against all memory, as the comparison before a move found.
fn found(seen: &Observation, what: &str) -> Option<i64> {
    seen.tasks.get(tasks::LAYOUT).filter(|task| task.state == TaskState::Bad)?.result.get(what)?.as_i64()
}

/// A task's result, once it is done.
pub(super) fn result<'a>(seen: &'a Observation, task: &str) -> Option<&'a Value> {
    seen.tasks.get(task).filter(|task| task.state == TaskState::Done).map(|task| &task.result)
}

fn problem(task: &Task) -> Option<Problem> {
    let says = task.result.get("problem").and_then(|_| task.result["says"].as_str())?;
    let waits = !matches!(task.state, TaskState::Done);
    waits.then(|| Problem {
        says: says.to_owned(),
        fix: task.result["fix"].as_str().unwrap_or_default().to_owned(),
    })
}

/// What the NameNode's unit says: by its tasks where it is this one, else in its bag.
fn told(seen: &Observation, here: bool, namenode: &str) -> Bag {
    if !here {
        let mut members = seen.relations.iter().filter(|relation| relation.endpoint == MEMBERS);
        return members.find_map(|relation| relation.units.get(namenode)).cloned().unwrap_or_default();
    }
    let mut out = Bag::new();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    for task in ["identify", "format"] {
        let Some(found) = result(seen, task).and_then(Value::as_object) else { continue };
        for key in [CLUSTER_ID, NAMESERVICE, LAYOUT] {
            if let Some(value) = found.get(key).map(text).filter(|value| !value.is_empty()) {
                out.insert(key.to_owned(), value);
            }
        }
        if found.get("fresh") == Some(&Value::Bool(false)) {
            out.insert("formatted".to_owned(), "true".to_owned());
        }
    }
    let ready = seen.services.get("namenode").is_some_and(|service| service.state == ServiceState::Ready);
    if ready {
        out.insert(READY.to_owned(), "true".to_owned());
    }
    out
}
