//! From observation to plan: NameNode on one unit, a DataNode on each, checkpoints. Pure. Owns the order of what has
//! to be known before what; the parts are in the submodules.
//!
//! What the data say comes first: a task reads the folders (`identify`), since the nameservice is kept with the data.
//! With its answer the configuration is known, is published, and DataNodes start, while another task (`format`) makes
//! the filesystem where there is none. The NameNode needs that one.

mod action;
mod cluster;
mod daemons;
mod log;
mod publish;
mod site;
mod stuck;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use stoker_charm::ids::Digest;
use stoker_charm::java as attached;
use stoker_charm::observation::{Facts, Java, Life, Observation};
use stoker_charm::plan::{self, Dir, Plan, Port, Tree};
use stoker_charm::status::{State, Status};

use self::cluster::Cluster;
use self::stuck::Stuck;
use crate::config::Options;
use crate::java;

/// The charm's user.
pub(crate) const USER: &str = "hdfs";
/// The endpoint for clients.
pub(crate) const HDFS: &str = "hdfs";
/// The endpoint among units.
pub(crate) const MEMBERS: &str = "members";

/// All that a plan is made from.
pub(crate) struct Scene<'a> {
    pub(crate) seen: &'a Observation,
    pub(crate) options: Options,
    pub(crate) facts: &'a Facts,
    pub(crate) build: Digest,
    pub(crate) java: &'a Java,
    pub(crate) cluster: Cluster,
    /// This unit has blocks in a folder of its own, beside the disks that are named.
    pub(crate) own_volume: bool,
}

/// Makes the plan.
pub(crate) fn plan(seen: &Observation) -> anyhow::Result<Plan> {
    let mut plan = with(&attached::choose(seen))?;
    attached::link(seen, &mut plan);
    Ok(plan)
}

/// The plan with the Java that there is to choose from.
fn with(seen: &Observation) -> anyhow::Result<Plan> {
    let mut plan = match Scene::of(seen) {
        Ok(scene) if seen.action.is_some() => return action::plan(&scene),
        Ok(scene) => scene.plan(),
        Err(stuck) if seen.action.is_some() => {
            anyhow::bail!("cannot run the action: {}", stuck.status.message)
        }
        Err(stuck) => stuck.plan(seen),
    };
    if seen.life == Life::Dying {
        leave(seen, &mut plan);
    }
    if seen.leader {
        plan.app_status = Some(plan.status.clone());
    }
    Ok(plan)
}

/// A dying unit goes at once, but not with the NameNode while others need it.
fn leave(seen: &Observation, plan: &mut Plan) {
    let holds_namenode = seen.state.app.get(cluster::NAMENODE).is_some_and(|unit| *unit == seen.unit);
    let others = seen.units.iter().filter(|unit| **unit != seen.unit).count();
    plan.gone = !(holds_namenode && others > 0);
    plan.status = if plan.gone {
        Status::new(State::Maintenance, "leaving")
    } else {
        Status::new(State::Blocked, format!("the NameNode is here and {others} more units need it"))
            .fix(format!("stoker remove-application {}, or remove the unit with --force", seen.app))
    };
}

impl<'a> Scene<'a> {
    fn of(seen: &'a Observation) -> Result<Self, Stuck> {
        let Some(resource) = seen.resources.get("hadoop") else {
            let fix = format!("stoker attach-resource {} hadoop=recipe:3.4.1", seen.app);
            return Err(Stuck::blocked("no Hadoop build is attached", fix));
        };
        let facts = &resource.facts;
        if !facts.provides.contains_key("hdfs") {
            let what = facts.shape.as_deref().unwrap_or("incomplete");
            return Err(Stuck::blocked(
                format!("Hadoop {} is a {what} build without HDFS's servers", facts.version),
                format!("stoker attach-resource {} hadoop=recipe:{}", seen.app, facts.version),
            ));
        }
        let options = Options::read(seen).map_err(|wrong| Stuck::option(&seen.app, &wrong))?;
        if let Some(why) = attached::unusable(seen) {
            return Err(Stuck::blocked(why, format!("stoker attach-resource {} java=recipe:17", seen.app)));
        }
        let range = java::range(facts);
        let java = java::choose(&seen.host, range).ok_or_else(|| Stuck::java(facts, range, seen))?;
        let cluster = Cluster::of(seen, facts)?;
        let own_volume = options.volumes.iter().any(|volume| volume.path.is_empty())
            || seen.state.unit.contains_key(OWN_VOLUME);
        Ok(Self { seen, options, facts, build: resource.build.clone(), java, cluster, own_volume })
    }

    fn plan(&self) -> Plan {
        let mut plan = self.frame();
        plan.tasks = tasks::all(self);
        if self.cluster.nameservice.is_some() && (self.cluster.here || self.cluster.rpc.is_some()) {
            plan.files = site::files(self);
            plan.services = daemons::all(self);
        }
        plan.relations = publish::all(self);
        plan.state.unit = self.remembered();
        plan.state.app.clone_from(&self.cluster.state);
        plan.status = self.status();
        if let Some(stuck) = self.cluster.mismatch(self) {
            if let Some(running) = plan.state.app.get(cluster::VERSION) {
                plan.version.clone_from(running);
            }
            plan.status = stuck.status;
            plan.hold = Some(plan.status.message.clone());
        } else if !self.cluster.here && plan.services.is_empty() {
            plan.hold = Some(plan.status.message.clone());
        }
        plan
    }

    /// Trees, folders and ports, which everything else refers to.
    fn frame(&self) -> Plan {
        let tree = |base: Digest| Tree { base, drop: Vec::new(), take: Vec::new() };
        let mut trees = BTreeMap::from([("hadoop".to_owned(), tree(self.build.clone()))]);
        if let Ok(charm) = self.seen.charm.parse() {
            trees.insert("charm".to_owned(), tree(charm));
        }
        Plan {
            format: plan::FORMAT,
            version: self.facts.version.clone(),
            trees,
            dirs: self.dirs(),
            ports: self.ports(),
            ..Plan::default()
        }
    }

    fn dirs(&self) -> BTreeMap<String, Dir> {
        let dir = |keep: bool, path: Option<String>| Dir {
            user: Some(USER.to_owned()),
            mode: Some("0700".to_owned()),
            keep,
            path,
            generation: false,
        };
        let mut dirs = BTreeMap::from([("tmp".to_owned(), dir(false, None))]);
        for (name, path) in self.volumes() {
            dirs.insert(name, dir(true, path));
        }
        if self.cluster.here {
            dirs.insert("name".to_owned(), dir(true, None));
            for (name, path) in self.further_name_dirs() {
                dirs.insert(name, dir(true, Some(path)));
            }
            dirs.insert("checkpoint".to_owned(), dir(false, None));
        }
        dirs
    }

    /// Folders for blocks by name, with the path where it is not in the unit's folder.
    fn volumes(&self) -> Vec<(String, Option<String>)> {
        let own = self.own_volume.then(|| ("data".to_owned(), None));
        let named = self.options.volumes.iter().filter(|volume| !volume.path.is_empty());
        own.into_iter()
            .chain(named.map(|volume| (disk_name("data", &volume.path), Some(volume.path.clone()))))
            .collect()
    }

    /// Folders for further copies of the metadata.
    fn further_name_dirs(&self) -> Vec<(String, String)> {
        self.options.name_dirs.iter().map(|path| (disk_name("name", path), path.clone())).collect()
    }

    fn ports(&self) -> BTreeMap<String, Port> {
        let mine = |name: &str| self.cluster.here || name.starts_with("datanode");
        let wanted = self.options.ports.iter().filter(|(name, _)| mine(name));
        wanted
            .map(|(name, prefer)| ((*name).to_owned(), Port { prefer: *prefer, ..Port::default() }))
            .collect()
    }

    fn remembered(&self) -> BTreeMap<String, String> {
        let mut unit = self.seen.state.unit.clone();
        if self.own_volume {
            unit.insert(OWN_VOLUME.to_owned(), "true".to_owned());
        }
        if self.cluster.here && tasks::checkpoint_due(self.seen) {
            unit.insert(SECONDARY.to_owned(), "true".to_owned());
        }
        // What the DataNode writes from its first start on.
        let layout =
            cluster::datanode_layout(self.seen).or_else(|| cluster::layout_of(self.facts, "layout-datanode"));
        if let (Some(layout), true) = (layout, self.cluster.nameservice.is_some()) {
            unit.entry(cluster::LAYOUT_DATANODE.to_owned()).or_insert_with(|| layout.to_string());
        }
        unit
    }

    fn status(&self) -> Status {
        if let Some(problem) = &self.cluster.problem {
            return Status::new(State::Blocked, problem.says.clone()).fix(problem.fix.clone());
        }
        if let Some(wrong) = publish::refused(self.seen).into_iter().next() {
            return wrong;
        }
        let cluster = &self.cluster;
        match (&cluster.nameservice, cluster.here, cluster.formatted, cluster.ready) {
            (None, true, ..) => Status::new(State::Waiting, "reading the data folders"),
            (Some(_), true, false, _) => Status::new(State::Waiting, "formatting a new filesystem"),
            (None, false, ..) => {
                Status::new(State::Waiting, format!("the NameNode on {} is not known yet", cluster.namenode))
            }
            (Some(_), .., false) => {
                Status::new(State::Waiting, format!("starting, namenode on {}", cluster.namenode))
            }
            (Some(name), .., true) => {
                let nodes = self.seen.units.len().max(1);
                let plural = if nodes == 1 { "" } else { "s" };
                let mut message = format!("namenode on {}, {nodes} datanode{plural}", cluster.namenode);
                if *name != self.options.nameservice {
                    let _ = write!(message, ", nameservice stays {name}");
                }
                Status::new(State::Active, message)
            }
        }
    }
}

/// Remembered: blocks are in the unit's own folder, so it stays a volume when disks are named later.
const OWN_VOLUME: &str = "own-volume";
/// Remembered: the SecondaryNameNode was due once.
const SECONDARY: &str = "secondary";

/// A folder's name from its path, the same whatever is listed before it.
fn disk_name(stem: &str, path: &str) -> String {
    format!("{stem}-{}", &Digest::of(path.as_bytes()).hex()[..8])
}
