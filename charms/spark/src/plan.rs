//! From an observation to the plan of a unit. Owns what the plan is made of; each part is a module's below.
//! Must be pure: no clock, no files, no network.

mod actions;
mod alignment;
mod asked;
mod build;
mod cluster;
mod defaults;
mod files;
mod generation;
mod hdfs;
mod jars;
mod notebooks;
mod python;
mod services;
mod stuck;

use std::collections::BTreeMap;

use anyhow::Result;
use stoker_charm::java as attached;
use stoker_charm::observation::{Life, Memory, Observation};
use stoker_charm::plan::{Dir, Generation, Plan, Port, Published, Secret, Tree};
use stoker_charm::status::{State, Status};
use stoker_charm::warm;

use self::alignment::{Alignment, Ground};
use self::build::Spark;
use self::cluster::Cluster;
use self::generation::{Own, nth};
use self::hdfs::Hdfs;
use self::jars::Jars;
use self::notebooks::Notebook;
use self::python::Python;
use self::stuck::Stuck;
use crate::config::Config;

pub(crate) use self::asked::{Asked, Judged, judge};
pub(crate) use self::services::logs_by;

/// The charm's user.
const USER: &str = "spark";
/// The secret of the cluster.
const SECRET: &str = "auth";
/// How many drivers of submitted programs may run on a unit at once.
const DRIVERS: u16 = 16;

/// All that was read and decided before anything is written down.
struct Scene<'a> {
    seen: &'a Observation,
    config: Config,
    spark: Spark,
    cluster: Cluster,
    hdfs: Option<Hdfs<'a>>,
    alignment: Alignment,
    java: Java,
    jars: Option<Jars>,
    notebooks: Vec<Notebook<'a>>,
    python: Option<Python>,
    own: Own,
}

/// The Java that runs everything.
struct Java {
    home: String,
    version: u32,
}

/// The plan for an observation.
#[allow(clippy::unnecessary_wraps, reason = "the charm's signature; what stands in the way becomes a status")]
pub(crate) fn plan(seen: &Observation) -> Result<Plan> {
    let chosen = attached::choose(seen);
    let mut plan = with(&chosen);
    attached::link(seen, &mut plan);
    Ok(plan)
}

/// The plan with the Java that there is to choose from.
fn with(seen: &Observation) -> Plan {
    let mut plan = match Scene::read(seen) {
        Ok(scene) => scene.plan(),
        Err(stuck) => stuck.plan(seen),
    };
    if let Some(action) = &seen.action {
        plan.action = Some(actions::task(action, seen, &plan));
        plan.remember = actions::remembered(action, seen);
    }
    plan
}

impl<'a> Scene<'a> {
    fn read(seen: &'a Observation) -> Result<Self, Stuck> {
        let config = Config::read(seen).map_err(|bad| {
            let fix = format!("stoker config {} {}=…", seen.app, bad.option);
            Stuck::blocked(bad.to_string(), fix)
        })?;
        let spark = Spark::read(seen)?;
        let hdfs = Hdfs::of(seen)?;
        let notebooks = notebooks::of(seen);
        let python = python::choose(seen, &spark, &notebooks);
        let cluster = Cluster::read(seen, &config)?;
        let ground =
            Ground { seen, config: &config, spark: &spark, python: python::unfit(&spark, python.as_ref()) };
        let alignment = alignment::align(&ground, hdfs.as_ref())?;
        if let Some(why) = attached::unusable(seen) {
            return Err(Stuck::blocked(why, format!("stoker attach-resource {} java=recipe:17", seen.app)));
        }
        let range = spark.java.with_client(&alignment.client_version);
        let java =
            range.pick(&seen.host.java).ok_or_else(|| no_java(seen, &spark, &alignment, &range.words()))?;
        let java = Java { home: java.home.clone(), version: java.version };
        let jars = Jars::read(seen, &spark, java.version)?;
        if let Some(stuck) = alignment.torn(seen, &spark) {
            return Err(stuck);
        }
        let own = Own::default();
        let mut scene =
            Self { seen, config, spark, cluster, hdfs, alignment, java, jars, notebooks, python, own };
        scene.own = Own::of(&scene);
        scene.cluster.follow(&scene.own.key)?;
        Ok(scene)
    }

    fn plan(&self) -> Plan {
        let seen = self.seen;
        let mut plan = Plan {
            format: stoker_charm::plan::FORMAT,
            version: self.spark.version.clone(),
            status: self.status(),
            app_status: None,
            verdicts: self.alignment.verdict.clone().into_iter().collect(),
            trees: self.trees(),
            generation: Some(Generation {
                key: self.own.key.clone(),
                keep: generation::held(seen),
                deadline: self.config.drain_deadline.clone(),
            }),
            order: i64::from(!self.cluster.master_here()),
            dirs: self.dirs(),
            ports: self.ports(),
            secrets: BTreeMap::from([(
                SECRET.to_owned(),
                Secret {
                    generate: Some("hex32".to_owned()),
                    scope: Some("app".to_owned()),
                    grant: self.notebooks.iter().map(|n| n.relation.id).collect(),
                    ..Secret::default()
                },
            )]),
            files: files::files(self),
            services: services::services(self),
            tasks: self.alignment.tasks(self),
            relations: self.relations(),
            state: self.state(),
            ..Plan::default()
        };
        let archives = services::archives(self, &plan.services);
        plan.tasks.extend(archives.map(|task| (warm::MAKE.to_owned(), task)));
        if let Some(why) = &self.alignment.hold {
            plan.hold = Some(why.clone());
            plan.status = Status::new(State::Waiting, why.clone());
            plan.state = seen.state.clone();
        }
        if seen.life == Life::Dying {
            plan.gone = !busy(seen);
            if !plan.gone {
                plan.status = Status::new(State::Waiting, "goes when its applications have ended");
            }
        }
        plan
    }

    fn trees(&self) -> BTreeMap<String, Tree> {
        let plain = |base: &stoker_charm::ids::Digest| Tree {
            base: base.clone(),
            drop: Vec::new(),
            take: Vec::new(),
        };
        let mut trees = self.alignment.trees(&self.spark);
        if let Ok(charm) = self.seen.charm.parse() {
            trees.insert("charm".to_owned(), plain(&charm));
        }
        if let Some(jars) = &self.jars {
            trees.insert(jars::TREE.to_owned(), plain(&jars.build));
        }
        if let Some(resource) = self.seen.resources.get("python") {
            trees.insert("python".to_owned(), plain(&resource.build));
        }
        for notebook in &self.notebooks {
            if let Some(base) = &notebook.python {
                trees.insert(notebook.tree(), plain(base));
            }
        }
        trees
    }

    fn dirs(&self) -> BTreeMap<String, Dir> {
        let mut names = vec!["home", "ivy", "jobs"];
        names.extend(self.local_data());
        if self.cluster.master_here() {
            names.push("history");
        }
        let dir = |name: &str, generation: bool| Dir {
            user: Some(USER.to_owned()),
            mode: Some("0750".to_owned()),
            // What programs have left behind where there is no HDFS is data.
            keep: matches!(name, "warehouse" | "events"),
            generation,
            ..Dir::default()
        };
        let workers = (0..self.own.workers.len()).flat_map(|at| ["work", "local"].map(|name| nth(name, at)));
        let workers = workers.map(|name| (name.clone(), dir(&name, true)));
        // Where Spark takes its client from another tree, archives go with its own all the same.
        let warm = services::warms(self).then(|| (warm::FOLDER.to_owned(), warm::folder("spark", USER)));
        let names = names.into_iter().map(|name| (name.to_owned(), dir(name, false)));
        names.chain(workers).chain(warm).collect()
    }

    /// Folders of what would otherwise be on the HDFS.
    fn local_data(&self) -> &'static [&'static str] {
        if self.hdfs.is_none() { &["warehouse", "events"] } else { &[] }
    }

    fn ports(&self) -> BTreeMap<String, Port> {
        let mut ports = BTreeMap::new();
        let mut add = |name: &str, prefer: u16, count: u16| {
            let generation = ["master", "worker"].iter().any(|of| name.starts_with(of));
            ports.insert(name.to_owned(), Port { prefer, count, generation });
        };
        let single: &[&str] =
            if self.cluster.master_here() { &["master", "master-ui", "history"] } else { &[] };
        for name in single {
            add(name, self.config.port(name), 1);
        }
        for name in
            (0..self.own.workers.len()).flat_map(|at| ["worker", "worker-ui"].map(|name| nth(name, at)))
        {
            add(&name, self.config.port(&name), 1);
        }
        let driver = self.config.port("driver").min(u16::MAX - 3 * DRIVERS);
        add("driver", driver, DRIVERS);
        add("driver-block", driver + DRIVERS, DRIVERS);
        add("driver-ui", driver + 2 * DRIVERS, DRIVERS);
        ports
    }

    fn relations(&self) -> BTreeMap<String, Published> {
        let mut all = BTreeMap::new();
        for relation in &self.seen.relations {
            let published = match relation.endpoint.as_str() {
                "hdfs" => self.hdfs.as_ref().map(|hdfs| hdfs.publish(self)),
                "members" => Some(self.cluster.publish(self.seen, &self.own.key)),
                "spark" if !self.configured() || self.alignment.hold.is_some() => {
                    Some(stuck::published(relation))
                }
                "spark" => {
                    self.notebooks.iter().find(|n| n.relation.id == relation.id).map(|n| n.publish(self))
                }
                _ => None,
            };
            all.insert(relation.id.to_string(), published.unwrap_or_default());
        }
        all
    }

    fn state(&self) -> Memory {
        let mut app = self.seen.state.app.clone();
        if self.seen.leader {
            app = self.alignment.memory.clone();
            app.insert(cluster::MASTER.to_owned(), self.cluster.master.clone());
        }
        Memory { app, unit: BTreeMap::from([self.own.memory()]) }
    }

    fn status(&self) -> Status {
        let client = &self.alignment.client_version;
        match &self.hdfs {
            None => Status::new(State::Active, "standalone, not related to an HDFS"),
            Some(hdfs) if !hdfs.ready => {
                Status::new(State::Waiting, format!("waiting for {} to be writable", hdfs.relation.remote))
            }
            Some(hdfs) if !hdfs.made => {
                Status::new(State::Waiting, format!("waiting for {} to make folders", hdfs.relation.remote))
            }
            Some(_) => match &self.alignment.verdict {
                Some(verdict) if !verdict.fix.is_empty() => {
                    Status::new(State::Active, verdict.says.clone()).fix(verdict.fix.clone())
                }
                Some(verdict) => Status::new(
                    State::Active,
                    format!("Hadoop client {client}, {} with {}", verdict.level, self.hdfs_name()),
                ),
                None => Status::new(State::Active, format!("Hadoop client {client}")),
            },
        }
    }

    fn hdfs_name(&self) -> &str {
        self.hdfs.as_ref().map_or("", |hdfs| hdfs.relation.remote.as_str())
    }

    /// The system user that services run as.
    fn system_user(&self) -> &str {
        self.seen.users.get(USER).map_or(USER, String::as_str)
    }

    /// Whether it is known which filesystem programs work on.
    fn configured(&self) -> bool {
        self.hdfs.as_ref().is_none_or(|hdfs| hdfs.configured)
    }

    /// Whether Spark's own folders are there, so that event logs can be written and read. Once they are, they stay,
    /// whatever the HDFS does meanwhile.
    fn own_folders(&self) -> bool {
        self.hdfs.as_ref().is_none_or(|hdfs| hdfs.own_made)
    }

    /// Whether the folders of everybody are there and can be written to.
    fn folders_ready(&self) -> bool {
        self.hdfs.as_ref().is_none_or(|hdfs| hdfs.ready && hdfs.made)
    }
}

/// Whether something runs on this unit that its end would break, as far as was asked.
fn busy(seen: &Observation) -> bool {
    let older = seen.generations.iter().flat_map(|generation| generation.services.values());
    older.chain(seen.services.values()).flat_map(|s| s.busy.values()).any(stoker_charm::probe::is_busy)
}

fn no_java(seen: &Observation, spark: &Spark, alignment: &Alignment, range: &str) -> Stuck {
    let found = if seen.host.java.is_empty() {
        "none was found".to_owned()
    } else {
        let versions: Vec<String> = seen.host.java.iter().map(|j| j.version.to_string()).collect();
        format!("found {}", versions.join(", "))
    };
    Stuck::blocked(
        format!(
            "cannot run Spark {} with Hadoop client {}: it needs Java {range}, {found}",
            spark.version, alignment.client_version
        ),
        match attached::attached(seen) {
            Some(_) => {
                format!("stoker attach-resource {} java=recipe:{}", seen.app, spark.java.supported.end())
            }
            None => format!("apt install openjdk-{}-jre-headless", spark.java.supported.end()),
        },
    )
    .judged(alignment.verdict.clone())
}

#[cfg(test)]
mod tests;
