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
mod upgrade;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use stoker_charm::ids::Digest;
use stoker_charm::java as attached;
use stoker_charm::observation::{Facts, Java, Life, Observation};
use stoker_charm::plan::{self, Dir, Plan, Port, Tree};
use stoker_charm::status::{State, Status};
use stoker_charm::warm;

use self::cluster::Cluster;
use self::stuck::Stuck;
use self::upgrade::{Build, Difference, Layouts, Upgrade};
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
    /// Of the build that is planned for: the attached one, unless an upgrade or another layout says otherwise.
    pub(crate) facts: Facts,
    pub(crate) build: Digest,
    /// The attached build.
    pub(crate) attached: Build,
    /// How the attached build's layouts differ from the data's, where no upgrade deals with that.
    pub(crate) difference: Option<Difference>,
    /// It differs, and the build that fits is not known: all stays as it is.
    pub(crate) stays: bool,
    /// The upgrade under way.
    pub(crate) upgrade: Option<Upgrade>,
    /// The number of the last request for one that was taken up.
    pub(crate) taken: u64,
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
    if several_wait(seen, &plan) {
        plan.status.state = State::Active;
    }
    Ok(plan)
}

/// Several units wait for an upgrade to be asked for: the application is blocked, its units are not. A rollout that
/// found one blocked would go back, and there would be nothing to upgrade to.
fn several_wait(seen: &Observation, plan: &Plan) -> bool {
    let waits = plan.status.fix.ends_with("/leader upgrade") && plan.hold.is_none();
    waits && seen.units.len() > 1 && seen.life == Life::Alive
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
        let mut cluster = Cluster::of(seen)?;
        let attached = Build::of(resource);
        let had = cluster.layouts(seen);
        let runs = runs(seen, &cluster).filter(|runs| had.against(&runs.facts).is_none());
        let difference = had.against(facts);
        let wanted = difference.filter(|differs| differs.up).and(runs.as_ref()).map(|runs| (runs, &attached));
        let (upgrade, taken) = upgrade::step(seen, &cluster, wanted);
        let difference = difference.filter(|_| upgrade.is_none());
        let planned = match (&upgrade, difference) {
            (Some(upgrade), _) => upgrade.serving().clone(),
            (None, None) => attached.clone(),
            (None, Some(_)) => runs.clone().unwrap_or_else(|| attached.clone()),
        };
        let stays = difference.is_some() && runs.is_none();
        let range = java::range(&planned.facts);
        let java = java::choose(&seen.host, range).ok_or_else(|| Stuck::java(&planned.facts, range, seen))?;
        let layouts = upgrade.as_ref().and_then(Upgrade::layouts);
        cluster.layout = layouts.map_or(cluster.layout, |layouts| layouts.namenode);
        cluster.remember((!stays).then_some(planned.facts.version.as_str()));
        let own_volume = options.volumes.iter().any(|volume| volume.path.is_empty())
            || seen.state.unit.contains_key(OWN_VOLUME);
        let Build { build, facts } = planned;
        Ok(Self {
            seen,
            options,
            facts,
            build,
            attached,
            difference,
            stays,
            upgrade,
            taken,
            java,
            cluster,
            own_volume,
        })
    }

    fn plan(&self) -> Plan {
        let mut plan = self.frame();
        plan.tasks = tasks::all(self);
        if self.cluster.nameservice.is_some() && (self.cluster.here || self.cluster.rpc.is_some()) {
            plan.files = site::files(self);
            plan.services = daemons::all(self);
            let archives = tasks::archives(self, &plan.services);
            plan.tasks.extend(archives.map(|task| (warm::MAKE.to_owned(), task)));
        }
        plan.relations = publish::all(self);
        plan.state.unit = self.remembered();
        plan.state.app.clone_from(&self.cluster.state);
        plan.status = self.status();
        if let Some(Upgrade { phase: upgrade::Phase::Finalize | upgrade::Phase::Final, from, to, .. }) =
            &self.upgrade
        {
            plan.one_way = vec![format!("HDFS {} to {}, finalized", from.facts.version, to.facts.version)];
        }
        if self.stays {
            if let Some(running) = plan.state.app.get(cluster::VERSION) {
                plan.version.clone_from(running);
            }
            plan.hold = Some(plan.status.message.clone());
        } else if !self.cluster.here && plan.services.is_empty() && self.upgrade.is_none() {
            plan.hold = Some(plan.status.message.clone());
        }
        plan
    }

    /// Trees, folders and ports, which everything else refers to.
    fn frame(&self) -> Plan {
        let tree = |base: Digest| Tree { base, drop: Vec::new(), take: Vec::new() };
        let mut trees = BTreeMap::from([("hadoop".to_owned(), tree(self.build.clone()))]);
        if let Some(to) = self.upgrade.as_ref().and_then(upgrade::tasks::tree) {
            trees.insert("upgrade".to_owned(), tree(to.build.clone()));
        }
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
            ..Dir::default()
        };
        let mut dirs = BTreeMap::from([("tmp".to_owned(), dir(false, None))]);
        for (name, path) in self.volumes() {
            dirs.insert(name, dir(true, path));
        }
        if daemons::warms(self) {
            dirs.insert(warm::FOLDER.to_owned(), warm::folder("hadoop", USER));
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

    /// The folders of the metadata by name, the one of the unit's own first.
    fn name_dirs(&self) -> Vec<String> {
        let further = self.further_name_dirs().into_iter().map(|(name, _)| name);
        std::iter::once("name".to_owned()).chain(further).collect()
    }

    /// The build that is planned for, where it fits the data.
    fn runs(&self) -> Option<Build> {
        let known = self.cluster.formatted && !self.stays;
        known.then(|| Build { build: self.build.clone(), facts: self.facts.clone() })
    }

    /// Another build than so far is planned for, and no upgrade.
    fn moves(&self) -> bool {
        let before = self.seen.state.unit.get(upgrade::RUNS).and_then(|text| Build::read(text));
        self.upgrade.is_none() && !self.stays && before.is_some_and(|before| before.build != self.build)
    }

    /// The layouts of the data, as this plan leaves them.
    fn layouts(&self) -> Layouts {
        let known = self.cluster.layouts(self.seen);
        self.upgrade.as_ref().and_then(Upgrade::layouts).unwrap_or(known)
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
        let mut keep = |key: &str, value: Option<String>| match value {
            Some(value) => drop(unit.insert(key.to_owned(), value)),
            None => drop(unit.remove(key)),
        };
        let text = |layout: i64| layout.to_string();
        let layouts = self.layouts();
        if self.cluster.nameservice.is_some() {
            // What the DataNode writes from its first start on.
            let datanode = layouts.datanode.or_else(|| cluster::layout_of(&self.facts, "layout-datanode"));
            keep(cluster::LAYOUT_DATANODE, datanode.map(text));
        }
        if let Some(runs) = self.runs() {
            keep(upgrade::RUNS, Some(runs.text()));
        }
        if self.cluster.here {
            keep(cluster::LAYOUT, layouts.namenode.filter(|_| self.cluster.formatted).map(text));
            keep(upgrade::TAKEN, (self.taken > 0).then(|| self.taken.to_string()));
            keep(upgrade::UPGRADE, self.upgrade.as_ref().map(Upgrade::text));
        }
        unit
    }

    /// What there is when all is well.
    fn serves(&self) -> String {
        let nodes = self.seen.units.len().max(1);
        let plural = if nodes == 1 { "" } else { "s" };
        format!("namenode on {}, {nodes} datanode{plural}", self.cluster.namenode)
    }

    fn status(&self) -> Status {
        if let Some(problem) = &self.cluster.problem {
            return Status::new(State::Blocked, problem.says.clone()).fix(problem.fix.clone());
        }
        if let Some(upgrade) = &self.upgrade {
            return upgrade.status(self.seen, &self.cluster, &self.attached, &self.serves());
        }
        if let Some(difference) = &self.difference {
            let runs = self.runs();
            return difference.status(&self.seen.app, &self.attached, runs.as_ref());
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
                let mut message = self.serves();
                if *name != self.options.nameservice {
                    let _ = write!(message, ", nameservice stays {name}");
                }
                if self.seen.exposed.is_some() {
                    message.push_str("; trusts whatever name a client gives, and is exposed");
                }
                Status::new(State::Active, message)
            }
        }
    }
}

/// The build that the services were planned from so far: this unit's own memory, else what the NameNode's unit tells.
fn runs(seen: &Observation, cluster: &Cluster) -> Option<Build> {
    let own = seen.state.unit.get(upgrade::RUNS);
    own.or_else(|| upgrade::told(seen, cluster, upgrade::RUNS)).and_then(|text| Build::read(text))
}

/// Remembered: blocks are in the unit's own folder, so it stays a volume when disks are named later.
const OWN_VOLUME: &str = "own-volume";
/// Remembered: the SecondaryNameNode was due once.
const SECONDARY: &str = "secondary";

/// A folder's name from its path, the same whatever is listed before it.
fn disk_name(stem: &str, path: &str) -> String {
    format!("{stem}-{}", &Digest::of(path.as_bytes()).hex()[..8])
}
