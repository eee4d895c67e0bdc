//! Relation data: what clients get on `hdfs`, and what the NameNode's unit tells the others on `members`.

use std::collections::BTreeMap;

use stoker_charm::observation::{Bag, Observation, Relation};
use stoker_charm::plan::Published;
use stoker_charm::serde_json::{self, Value, json};
use stoker_charm::status::{State, Status};

use super::cluster::{CLUSTER_ID, LAYOUT, NAMESERVICE, READY, result};
use super::upgrade::{self, Upgrade};
use super::{HDFS, MEMBERS, Scene, site, tasks};

/// Our data of every relation.
pub(super) fn all(scene: &Scene<'_>) -> BTreeMap<String, Published> {
    let bags = scene.seen.relations.iter().filter_map(|relation| {
        let published = match relation.endpoint.as_str() {
            HDFS => Published { app: client(scene, relation), unit: Bag::new() },
            MEMBERS => Published { app: Bag::new(), unit: member(scene) },
            _ => return None,
        };
        Some((relation.id.to_string(), published))
    });
    bags.collect()
}

fn client(scene: &Scene<'_>, relation: &Relation) -> Bag {
    let cluster = &scene.cluster;
    // A build whose layout does not fit the data is not what runs.
    let running = if scene.stays { relation.ours.app.clone() } else { Bag::new() };
    let (facts, build) = match &scene.upgrade {
        Some(upgrade) => (&upgrade.published().facts, &upgrade.published().build),
        None => (&scene.facts, &scene.build),
    };
    let mut out =
        Bag::from([("version".to_owned(), facts.version.clone()), ("build".to_owned(), build.to_string())]);
    if let Some(companions) = facts.details.get("companion-jars") {
        out.insert("companions".to_owned(), companions.to_string());
    }
    for key in ["version", "build", "companions"] {
        out.extend(running.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    if let (Some(name), Some(id), Some(http)) = (&cluster.nameservice, &cluster.id, &cluster.http) {
        let (core, hdfs) = site::published(scene);
        out.extend([
            ("nameservice".to_owned(), name.clone()),
            ("default-fs".to_owned(), format!("hdfs://{name}")),
            ("cluster-id".to_owned(), id.clone()),
            ("namenode-http".to_owned(), http.clone()),
            ("config".to_owned(), json!({"core-site": core, "hdfs-site": hdfs}).to_string()),
        ]);
    }
    if cluster.ready {
        out.insert("ready".to_owned(), "true".to_owned());
    }
    // While they are made anew for another reason, folders that were made are there.
    let made = made(scene, relation.id).or_else(|| relation.ours.app.get("made").cloned());
    out.extend(made.map(|made| ("made".to_owned(), made)));
    out
}

/// The digest of the folders that were made for a relation.
fn made(scene: &Scene<'_>, relation: u64) -> Option<String> {
    let here = scene.cluster.here;
    if let Some(found) = result(scene.seen, &tasks::folders_task(relation)).filter(|_| here) {
        return found["made"].as_str().map(str::to_owned);
    }
    // While the task is away or runs anew, what was said before holds: it names the folders that were made.
    let mut bags = scene.seen.relations.iter().filter(|relation| relation.endpoint == MEMBERS);
    let bag = bags.find_map(|members| {
        if here { Some(&members.ours.unit) } else { members.units.get(&scene.cluster.namenode) }
    })?;
    let all: Value = serde_json::from_str(bag.get("made")?).ok()?;
    all[relation.to_string()].as_str().map(str::to_owned)
}

fn member(scene: &Scene<'_>) -> Bag {
    let cluster = &scene.cluster;
    let mut out = Bag::from([
        ("datanode".to_owned(), "${address:default}:${port:datanode}".to_owned()),
        ("datanode-ipc".to_owned(), "${address:default}:${port:datanode-ipc}".to_owned()),
    ]);
    let stopped = scene.upgrade.as_ref().and_then(|upgrade| upgrade.stopped(scene.seen));
    out.extend(stopped.map(|nr| (upgrade::STOPPED.to_owned(), nr)));
    if !cluster.here {
        return out;
    }
    let told = [
        ("rpc", cluster.rpc.clone()),
        ("http", cluster.http.clone()),
        (CLUSTER_ID, cluster.id.clone()),
        (NAMESERVICE, cluster.nameservice.clone()),
        (LAYOUT, scene.layouts().namenode.map(|layout| layout.to_string())),
        (upgrade::UPGRADE, scene.upgrade.as_ref().map(Upgrade::text)),
        (upgrade::RUNS, scene.runs().map(|runs| runs.text())),
        ("formatted", cluster.formatted.then(|| "true".to_owned())),
        (READY, cluster.ready.then(|| "true".to_owned())),
    ];
    out.extend(told.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let made: BTreeMap<String, String> = tasks::askers(scene.seen)
        .filter_map(|(relation, _)| Some((relation.id.to_string(), made(scene, relation.id)?)))
        .collect();
    if !made.is_empty() {
        out.insert("made".to_owned(), json!(made).to_string());
    }
    out
}

/// Requests that are refused, as statuses.
pub(super) fn refused(seen: &Observation) -> Vec<Status> {
    tasks::askers(seen)
        .filter_map(|(relation, dirs)| {
            let wrong = tasks::checked(dirs).err()?;
            let message = format!("{} asks for folders that cannot be made: {wrong}", relation.remote);
            Some(
                Status::new(State::Blocked, message)
                    .fix(format!("correct the configuration of {}", relation.remote)),
            )
        })
        .collect()
}
