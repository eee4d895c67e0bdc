//! The tasks of an upgrade. Owns their keys: one run for each request, whose result stays true.

use std::collections::BTreeMap;

use stoker_charm::observation::Observation;
use stoker_charm::plan::Task;

use super::{Build, Layouts, Phase, Upgrade};
use crate::java;
use crate::plan::tasks::own;
use crate::plan::{MEMBERS, Scene, USER, daemons};

/// Looks for requests.
pub(crate) const ASKED: &str = "upgrade-asked";
/// Saves the namespace, and a copy of it.
pub(super) const PREPARE: &str = "upgrade-prepare";
/// Leaves safe mode where it was called off.
pub(super) const RELEASE: &str = "upgrade-release";
/// Converts the metadata.
pub(super) const CONVERT: &str = "upgrade-convert";
/// Waits until all is there again.
pub(super) const VERIFY: &str = "upgrade-verify";
/// The same, once the DataNode runs as ever after a rollback.
pub(super) const SETTLE: &str = "upgrade-settle";
/// Lets go of what was kept.
pub(super) const FINALIZE: &str = "upgrade-finalize";
/// Puts the metadata back.
pub(super) const RESTORE: &str = "upgrade-restore";
/// Compares layouts before a move to another build.
pub(crate) const LAYOUT: &str = "layout";

/// How often it is looked for requests.
const LOOK_EVERY: &str = "5s";
/// A large namespace takes its time.
const LONG: &str = "12h";

/// The key of a task for a request.
pub(super) fn key(seen: &Observation, task: &str, nr: u64) -> String {
    format!("{task}-{}-{nr}", seen.app_uuid)
}

/// The tasks of an upgrade, or of a difference that one could be asked for.
pub(crate) fn all(scene: &Scene<'_>) -> BTreeMap<String, Task> {
    let mut out = BTreeMap::new();
    if !scene.cluster.here || scene.seen.charm.is_empty() {
        return out;
    }
    if scene.upgrade.is_some() || scene.difference.is_some_and(|difference| difference.up) {
        let about = [("name", "${dir:name}".to_owned()), ("for", scene.seen.app_uuid.clone())];
        out.insert(
            ASKED.to_owned(),
            Task {
                key: Some(format!("{ASKED}-{}", scene.seen.app_uuid)),
                every: Some(LOOK_EVERY.to_owned()),
                ..plain(ASKED, &about)
            },
        );
    }
    let Some(upgrade) = &scene.upgrade else { return out };
    for name in upgrade.phase.tasks() {
        let made = match *name {
            PREPARE => prepare(scene, upgrade),
            CONVERT => convert(scene, upgrade),
            VERIFY => verify(scene, upgrade, outcome(upgrade)),
            // The NameNode still counts a DataNode that is starting anew.
            SETTLE => Task {
                needs: vec!["namenode".to_owned(), "datanode".to_owned()],
                ..verify(scene, upgrade, "rolled-back")
            },
            FINALIZE => finalize(scene, upgrade),
            RELEASE => with_tools(scene, RELEASE, about(upgrade)),
            _ => restore(scene, upgrade),
        };
        let key = Some(key(scene.seen, name, upgrade.nr));
        out.insert((*name).to_owned(), Task { key, ..made });
    }
    out
}

/// Compares what the folders hold with the build that is moved to, while the one before still runs.
pub(crate) fn layout(scene: &Scene<'_>) -> Task {
    let layouts = Layouts::of(&scene.facts);
    let mut about: Vec<(&str, String)> = Vec::new();
    let mut dirs = Vec::new();
    if scene.cluster.here {
        dirs.extend(scene.name_dirs());
    }
    about.extend(dirs.iter().map(|dir| ("name", format!("${{dir:{dir}}}"))));
    for (volume, _) in scene.volumes() {
        about.push(("data", format!("${{dir:{volume}}}")));
        dirs.push(volume);
    }
    let number = |layout: Option<i64>| layout.map(|layout| layout.to_string()).unwrap_or_default();
    about.push(("namenode", number(layouts.namenode)));
    about.push(("datanode", number(layouts.datanode)));
    Task {
        when: Some("before-move".to_owned()),
        key: Some(format!("{LAYOUT}-{}-{}", scene.seen.app_uuid, scene.build.short())),
        dirs,
        ..plain("layouts", &about)
    }
}

fn plain(program: &str, arguments: &[(&str, String)]) -> Task {
    Task {
        command: own(program, arguments),
        user: Some(USER.to_owned()),
        trees: vec!["charm".to_owned()],
        dirs: vec!["name".to_owned()],
        timeout: Some("60s".to_owned()),
        ..Task::default()
    }
}

/// What every step of a request is told.
fn about(upgrade: &Upgrade) -> Vec<(&'static str, String)> {
    vec![("name", "${dir:name}".to_owned()), ("nr", upgrade.nr.to_string())]
}

fn namenode(scene: &Scene<'_>) -> String {
    format!("http://{}", scene.cluster.http.as_deref().unwrap_or_default())
}

fn number(layout: Option<i64>) -> String {
    layout.map(|layout| layout.to_string()).unwrap_or_default()
}

/// A step that calls Hadoop's own tools as a client of the NameNode.
fn with_tools(scene: &Scene<'_>, program: &str, mut about: Vec<(&'static str, String)>) -> Task {
    about.extend([("java", daemons::java(scene)), ("classpath", daemons::classpath("client"))]);
    about.extend(daemons::quick_options(scene).into_iter().map(|option| ("option", option)));
    Task {
        env: daemons::environment(scene, "client"),
        trees: vec!["charm".to_owned(), "hadoop".to_owned()],
        files: vec!["client".to_owned()],
        dirs: vec!["name".to_owned(), "tmp".to_owned()],
        timeout: Some(LONG.to_owned()),
        ..plain(program, &about)
    }
}

fn prepare(scene: &Scene<'_>, upgrade: &Upgrade) -> Task {
    let mut about = about(upgrade);
    about.extend([
        ("namenode", namenode(scene)),
        ("units", scene.seen.units.len().max(1).to_string()),
        ("now", upgrade.now.to_string()),
    ]);
    with_tools(scene, PREPARE, about)
}

fn finalize(scene: &Scene<'_>, upgrade: &Upgrade) -> Task {
    let mut about = about(upgrade);
    about.push(("namenode", namenode(scene)));
    about.push(("datanode", "${address:default}:${port:datanode-ipc}".to_owned()));
    let members = scene.seen.relations.iter().filter(|relation| relation.endpoint == MEMBERS);
    let others = members.flat_map(|relation| relation.units.values());
    about.extend(others.filter_map(|bag| Some(("datanode", bag.get("datanode-ipc")?.clone()))));
    let volumes = scene.volumes();
    about.extend(volumes.iter().map(|(name, _)| ("data", format!("${{dir:{name}}}"))));
    let mut task = with_tools(scene, FINALIZE, about);
    task.dirs.extend(volumes.into_iter().map(|(name, _)| name));
    task
}

fn convert(scene: &Scene<'_>, upgrade: &Upgrade) -> Task {
    let mut about = about(upgrade);
    let rest = scene.name_dirs().into_iter().skip(1);
    about.extend(rest.map(|dir| ("name", format!("${{dir:{dir}}}"))));
    let java = java::choose(&scene.seen.host, java::range(&upgrade.to.facts)).unwrap_or(scene.java);
    about.extend([
        ("from", number(Layouts::of(&upgrade.from.facts).namenode)),
        ("to", number(Layouts::of(&upgrade.to.facts).namenode)),
        ("nameservice", scene.cluster.nameservice.clone().unwrap_or_default()),
        ("java", format!("{}/bin/java", java.home)),
        ("classpath", format!("${{file:namenode}}:{}", daemons::jars_of("upgrade"))),
    ]);
    about.push(("option", format!("-Xmx{}m", scene.options.namenode.heap >> 20)));
    about.extend(daemons::common_options(java).into_iter().map(|option| ("option", option)));
    let mut dirs = scene.name_dirs();
    dirs.push("tmp".to_owned());
    let mut env = daemons::environment(scene, "namenode");
    env.insert("JAVA_HOME".to_owned(), java.home.clone());
    env.insert("HADOOP_HOME".to_owned(), "${tree:upgrade}".to_owned());
    Task {
        env,
        trees: vec!["charm".to_owned(), "upgrade".to_owned()],
        files: vec!["namenode".to_owned()],
        dirs,
        timeout: Some(LONG.to_owned()),
        ..plain(CONVERT, &about)
    }
}

fn restore(scene: &Scene<'_>, upgrade: &Upgrade) -> Task {
    let mut about = about(upgrade);
    about.extend(scene.name_dirs().into_iter().skip(1).map(|dir| ("name", format!("${{dir:{dir}}}"))));
    about.push(("from", number(Layouts::of(&upgrade.from.facts).namenode)));
    Task { dirs: scene.name_dirs(), timeout: Some(LONG.to_owned()), ..plain(RESTORE, &about) }
}

/// What has come about once all is there; nothing where more is to come.
fn outcome(upgrade: &Upgrade) -> &'static str {
    if matches!(upgrade.phase, Phase::Start | Phase::Open) { "upgraded" } else { "" }
}

fn verify(scene: &Scene<'_>, upgrade: &Upgrade, outcome: &str) -> Task {
    let mut about = about(upgrade);
    about.extend([
        ("namenode", namenode(scene)),
        ("units", scene.seen.units.len().max(1).to_string()),
        ("outcome", outcome.to_owned()),
        ("version", upgrade.serving().facts.version.clone()),
    ]);
    Task { timeout: Some("10m".to_owned()), ..plain("upgrade-verify", &about) }
}

/// The tree of the build that metadata are converted by, where a task of the plan names it.
pub(crate) fn tree(upgrade: &Upgrade) -> Option<&Build> {
    upgrade.phase.tasks().contains(&CONVERT).then_some(&upgrade.to)
}
