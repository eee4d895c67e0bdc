//! The tasks: reading and formatting the data folders, making folders in HDFS, and when checkpoints may begin.
//! Owns their keys: what must not run again keeps its key.

use std::collections::BTreeMap;

use stoker_charm::ids::Digest;
use stoker_charm::java as attached;
use stoker_charm::observation::{Life, Observation, Relation, ServiceState};
use stoker_charm::plan::{Service, Task};
use stoker_charm::serde_json::{Value, json};
use stoker_charm::warm;
use stoker_charm::webhdfs::Folder;

use super::cluster::result;
use super::{HDFS, SECONDARY, Scene, USER, daemons, site, upgrade};

/// How often it is asked whether checkpoints may begin.
const ASK_EVERY: &str = "60s";

/// The unit's tasks.
pub(super) fn all(scene: &Scene<'_>) -> BTreeMap<String, Task> {
    let mut out = BTreeMap::new();
    let cluster = &scene.cluster;
    if !scene.seen.charm.is_empty() && (cluster.here || cluster.id.is_some()) {
        out.insert("identify".to_owned(), storage(scene, "identify"));
        if cluster.nameservice.is_some() && cluster.http.is_some() {
            out.insert("namenode-up".to_owned(), up(scene));
        }
        if cluster.here {
            out.insert("format".to_owned(), storage(scene, "format"));
            if cluster.nameservice.is_some() {
                folders(scene, &mut out);
                if !scene.seen.state.unit.contains_key(SECONDARY) && !checkpoint_due(scene.seen) {
                    out.insert("checkpoint".to_owned(), checkpoint());
                }
            }
        }
        if scene.moves() {
            out.insert(upgrade::tasks::LAYOUT.to_owned(), upgrade::tasks::layout(scene));
        }
        out.extend(upgrade::tasks::all(scene));
    }
    if scene.upgrade.as_ref().is_some_and(|upgrade| !upgrade.phase.serves()) {
        // What needs a daemon waits with it.
        out.retain(|_, task| task.needs.iter().all(|need| need.starts_with("task:")));
    }
    out
}

/// Makes class-data archives once the daemons run, and again where they have come to fit no longer.
pub(super) fn archives(scene: &Scene<'_>, services: &BTreeMap<String, Service>) -> Option<Task> {
    let needs: Vec<String> = ["namenode", "datanode"]
        .map(str::to_owned)
        .into_iter()
        .filter(|name| services.contains_key(name))
        .collect();
    let wanted = scene.options.warm && daemons::warms(scene) && !needs.is_empty();
    wanted.then(|| Task {
        idle: true,
        every: Some("12h".to_owned()),
        command: own(
            warm::MAKE,
            &[
                ("folder", format!("${{dir:{}}}", warm::FOLDER)),
                ("java", daemons::java(scene)),
                ("classpath", daemons::warm_jars()),
            ],
        ),
        user: Some(USER.to_owned()),
        trees: vec!["charm".to_owned(), "hadoop".to_owned()],
        dirs: vec![warm::FOLDER.to_owned()],
        needs,
        timeout: Some("30m".to_owned()),
        retry: 1,
        ..Task::default()
    })
}

/// A call of one of the charm's own programs.
pub(super) fn own(program: &str, arguments: &[(&str, String)]) -> Vec<String> {
    let mut out = vec!["${tree:charm}/bin/hadoop".to_owned(), program.to_owned()];
    for (name, value) in arguments {
        out.extend([format!("--{name}"), value.clone()]);
    }
    out
}

fn storage(scene: &Scene<'_>, name: &str) -> Task {
    let (seen, cluster) = (scene.seen, &scene.cluster);
    let volumes = scene.volumes();
    let mut arguments: Vec<(&str, String)> =
        volumes.iter().map(|(folder, _)| ("data", format!("${{dir:{folder}}}"))).collect();
    let mut dirs: Vec<String> = volumes.iter().map(|(folder, _)| folder.clone()).collect();
    if cluster.here {
        arguments.push(("name", "${dir:name}".to_owned()));
        arguments.push(("nameservice", scene.options.nameservice.clone()));
        dirs.push("name".to_owned());
    }
    match (&cluster.id, cluster.recorded || !cluster.here) {
        (Some(id), true) => arguments.push(("expect", id.clone())),
        _ => arguments.push(("format", format!("CID-{}", seen.app_uuid))),
    }
    let mut trees = vec!["charm".to_owned()];
    if name == "format" {
        arguments.extend([("java", daemons::java(scene)), ("classpath", daemons::jars())]);
        arguments.extend(daemons::quick_options(scene).into_iter().map(|option| ("option", option)));
        dirs.push("tmp".to_owned());
        trees.push("hadoop".to_owned());
    }
    // A NameNode that fails may do so because its data are gone: then they are looked at again.
    let failed = seen.services.get("namenode").is_some_and(|service| service.state == ServiceState::Failed);
    let again = if failed { "again-" } else { "" };
    let shape = Digest::of(format!("{volumes:?}").as_bytes()).short();
    Task {
        key: Some(format!("{name}-{again}{}-{shape}", seen.app_uuid)),
        command: own(if name == "format" { "storage" } else { "identify" }, &arguments),
        user: Some(USER.to_owned()),
        trees,
        dirs,
        timeout: Some("5m".to_owned()),
        retry: 2,
        ..Task::default()
    }
}

/// Its key is that of what restarts the NameNode: a DataNode that restarts with it waits again.
fn up(scene: &Scene<'_>) -> Task {
    let namenode: Vec<_> =
        site::files(scene).into_iter().filter(|(name, _)| name.starts_with("namenode/")).collect();
    let with = format!(
        "{} {}{} {:?} {:?} {namenode:?}",
        scene.build,
        scene.java.home,
        attached::attached(scene.seen).map(|java| java.build.to_string()).unwrap_or_default(),
        scene.cluster.id,
        scene.options.namenode
    );
    let url = format!("http://{}", scene.cluster.http.as_deref().unwrap_or_default());
    Task {
        key: Some(format!("up-{}", Digest::of(with.as_bytes()).short())),
        command: own("namenode-up", &[("namenode", url)]),
        user: Some(USER.to_owned()),
        trees: vec!["charm".to_owned()],
        timeout: Some("5m".to_owned()),
        ..Task::default()
    }
}

/// Relations whose folders are made.
pub(super) fn askers(seen: &Observation) -> impl Iterator<Item = (&Relation, &str)> {
    seen.relations
        .iter()
        .filter(|relation| relation.endpoint == HDFS && relation.life == Life::Alive)
        .filter_map(|relation| {
            Some((relation, relation.app.get("dirs").map(String::as_str).filter(|dirs| !dirs.is_empty())?))
        })
}

/// The digest that answers a relation's `dirs`.
pub(super) fn made(dirs: &str) -> String {
    Digest::of(dirs.as_bytes()).to_string()
}

/// The name of a relation's task.
pub(super) fn folders_task(relation: u64) -> String {
    format!("folders-{relation}")
}

fn folders(scene: &Scene<'_>, out: &mut BTreeMap<String, Task>) {
    let user = system_user(scene.seen);
    let own = json!([
        {"path": "/tmp", "owner": user, "mode": "1777"},
        {"path": "/user", "owner": user, "mode": "0755"},
        {"path": format!("/user/{user}"), "owner": user, "mode": "0700"},
    ]);
    out.insert("folders".to_owned(), make(scene, &own.to_string()));
    for (relation, dirs) in askers(scene.seen) {
        // What is refused is told in the status.
        if checked(dirs).is_ok() {
            out.insert(folders_task(relation.id), make(scene, dirs));
        }
    }
}

/// A relation's folders, or what is wrong with them.
pub(super) fn checked(dirs: &str) -> Result<Vec<Folder>, String> {
    let value: Value =
        stoker_charm::serde_json::from_str(dirs).map_err(|error| format!("`dirs` is no JSON: {error}"))?;
    Folder::all(&value)
}

fn make(scene: &Scene<'_>, dirs: &str) -> Task {
    let user = system_user(scene.seen);
    let url = format!("http://{}", scene.cluster.http.as_deref().unwrap_or_default());
    let made = made(dirs);
    let key = json!([scene.cluster.id, user, made]).to_string();
    Task {
        key: Some(format!("folders-{}", Digest::of(key.as_bytes()).short())),
        // Their text is data: nothing in it is a placeholder.
        command: own(
            "folders",
            &[("namenode", url), ("user", user), ("dirs", dirs.replace("${", "$${")), ("made", made)],
        ),
        user: Some(USER.to_owned()),
        trees: vec!["charm".to_owned()],
        needs: vec!["namenode".to_owned()],
        timeout: Some("60s".to_owned()),
        retry: 3,
        ..Task::default()
    }
}

/// The system user that HDFS runs as: its superuser.
pub(super) fn system_user(seen: &Observation) -> String {
    seen.users.get(USER).map_or(USER, String::as_str).to_owned()
}

fn checkpoint() -> Task {
    let url = "http://${address:default}:${port:namenode-http}".to_owned();
    Task {
        every: Some(ASK_EVERY.to_owned()),
        command: own("checkpoint-due", &[("namenode", url)]),
        user: Some(USER.to_owned()),
        trees: vec!["charm".to_owned()],
        needs: vec!["namenode".to_owned()],
        timeout: Some("30s".to_owned()),
        ..Task::default()
    }
}

/// The NameNode has been up long enough for the SecondaryNameNode to start.
pub(super) fn checkpoint_due(seen: &Observation) -> bool {
    result(seen, "checkpoint").is_some_and(|result| result["due"] == true)
}
