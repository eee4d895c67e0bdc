//! The services: NameNode, DataNode, SecondaryNameNode. Owns their command lines and when each counts as ready.
//!
//! A service's spec does not depend on what its tasks are doing: anything that differed between two runs would restart
//! it. A DataNode never needs the NameNode ready, since the NameNode is ready only with a live DataNode; it needs it up.

use std::collections::BTreeMap;

use stoker_charm::observation::Java;
use stoker_charm::plan::{Limits, Restart, Service, Stop};
use stoker_charm::probe::{Op, Probe};
use stoker_charm::serde_json::{Value, json};
use stoker_charm::warm;

use super::upgrade::Phase;
use super::{SECONDARY, Scene, USER, site, tasks};
use crate::config::Jvm;

/// Up to this heap a daemon is small: cheap to start, its peak speed does not matter.
const SMALL_HEAP: u64 = 1 << 30;
/// From this heap on pointers are not what they are in the JVM's own archive.
const HUGE_HEAP: u64 = 31 << 30;
const SERVER: &str = "org.apache.hadoop.hdfs.server";

/// Services of this unit.
pub(super) fn all(scene: &Scene<'_>) -> BTreeMap<String, Service> {
    let phase = scene.upgrade.as_ref().map(|upgrade| upgrade.phase);
    if phase.is_some_and(|phase| !phase.serves()) {
        return BTreeMap::new();
    }
    let mut out = BTreeMap::from([("datanode".to_owned(), datanode(scene))]);
    if scene.cluster.here {
        out.insert("namenode".to_owned(), namenode(scene));
        // What it keeps of checkpoints is of one layout, and is not to be of the other.
        let one_layout = phase.is_none_or(Phase::is_before);
        let due = scene.seen.state.unit.contains_key(SECONDARY) || tasks::checkpoint_due(scene.seen);
        if one_layout && due {
            out.insert("secondary".to_owned(), secondary(scene));
        }
    }
    if phase.is_some_and(Phase::disturbs) {
        for service in out.values_mut() {
            service.busy.clear();
        }
    }
    out
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn namenode(scene: &Scene<'_>) -> Service {
    let mut dirs = names(&["name", "tmp"]);
    dirs.extend(scene.further_name_dirs().into_iter().map(|(name, _)| name));
    let writable = vec![
        jmx("namenode-http", "Hadoop:service=NameNode,name=NameNodeInfo", "Safemode", Op::Eq, json!("")),
        jmx(
            "namenode-http",
            "Hadoop:service=NameNode,name=FSNamesystemState",
            "NumLiveDataNodes",
            Op::Ge,
            json!(1),
        ),
    ];
    Service {
        dirs,
        ports: names(&["namenode", "namenode-http"]),
        needs: names(&["task:format"]),
        ready: writable.clone(),
        live: writable,
        busy: BTreeMap::from([("open files".to_owned(), writers(scene, "NumFilesUnderConstruction"))]),
        ..daemon(scene, "namenode", &format!("{SERVER}.namenode.NameNode"), &scene.options.namenode)
    }
}

fn datanode(scene: &Scene<'_>) -> Service {
    let mut dirs = names(&["tmp"]);
    dirs.extend(scene.volumes().into_iter().map(|(name, _)| name));
    // Where a block is on one DataNode alone, a writer cannot go on with another.
    let alone = scene.options.replication < 2 && scene.cluster.http.is_some();
    let busy = alone.then(|| ("writing clients".to_owned(), writers(scene, "NumActiveClients")));
    let back = scene.upgrade.as_ref().is_some_and(|upgrade| upgrade.phase == Phase::BackStart);
    let known =
        jmx("datanode-http", "Hadoop:service=DataNode,name=DataNodeInfo", "ClusterId", Op::Ne, json!(""));
    let mut out = Service {
        dirs,
        ports: names(&["datanode", "datanode-http", "datanode-ipc"]),
        needs: names(&["task:namenode-up"]),
        ready: vec![known],
        busy: busy.into_iter().collect(),
        ..daemon(scene, "datanode", &format!("{SERVER}.datanode.DataNode"), &scene.options.datanode)
    };
    if back {
        // Puts back the blocks that it kept beside; where it kept none it starts as ever.
        out.command.push("-rollback".to_owned());
    }
    out
}

fn secondary(scene: &Scene<'_>) -> Service {
    // No probe: a minute after all is well nothing should seem to be missing.
    Service {
        dirs: names(&["checkpoint", "tmp"]),
        ports: names(&["secondary-http"]),
        needs: names(&["namenode"]),
        ..daemon(
            scene,
            "secondary",
            &format!("{SERVER}.namenode.SecondaryNameNode"),
            &scene.options.secondary,
        )
    }
}

/// What is being written to HDFS, as its NameNode counts it. Readers wait while the NameNode restarts; writers are told
/// that it is in safe mode, and fail.
fn writers(scene: &Scene<'_>, attribute: &str) -> Probe {
    let namenode = scene.cluster.http.as_deref().unwrap_or("${address:default}:${port:namenode-http}");
    Probe {
        http: Some(format!(
            "http://{namenode}/jmx?get=Hadoop:service=NameNode,name=FSNamesystem::{attribute}"
        )),
        pointer: Some(format!("/beans/0/{attribute}")),
        ..Probe::default()
    }
}

fn jmx(port: &str, bean: &str, attribute: &str, op: Op, value: Value) -> Probe {
    Probe {
        // One attribute alone: some of the others are dear, or throw while the daemon starts.
        http: Some(format!("http://${{address:default}}:${{port:{port}}}/jmx?get={bean}::{attribute}")),
        pointer: Some(format!("/beans/0/{attribute}")),
        op: Some(op),
        value: Some(value),
        ..Probe::default()
    }
}

fn daemon(scene: &Scene<'_>, role: &str, class: &str, jvm: &Jvm) -> Service {
    let mut command = vec![java(scene)];
    command.extend(jvm_options(scene, jvm));
    let warms = warms(scene) && jvm.heap < HUGE_HEAP;
    // Where a jar has configuration of its own, ours has to come before it.
    let classpath = if warms { format!("{}:${{file:{role}}}", warm_jars()) } else { classpath(role) };
    command.extend(["-cp".to_owned(), classpath, class.to_owned()]);
    let follows = if role == "secondary" { Vec::new() } else { vec![format!("file:{}", site::LIVE)] };
    let mut service = Service {
        command,
        env: environment(scene, role),
        user: Some(USER.to_owned()),
        trees: names(&["hadoop"]),
        files: names(&[role]),
        follows,
        stop: Stop { grace: "120s".to_owned(), ..Stop::default() },
        success: vec![0, 143],
        restart: Restart {
            on: "failure".to_owned(),
            backoff: ["1s", "5s", "30s", "60s"].map(str::to_owned).to_vec(),
        },
        limits: Limits { nofile: 65_536, ..Limits::default() },
        ..Service::default()
    };
    if warms {
        // The SecondaryNameNode has most of the NameNode's classes.
        let archive = if role == "datanode" { role } else { "namenode" };
        warm::started(&mut service, "${tree:charm}/bin/hadoop", archive);
    }
    service
}

/// Whether daemons start with class-data archives, once there are some.
pub(super) fn warms(scene: &Scene<'_>) -> bool {
    let plain = scene.facts.details.get("sites-in-jars") == Some(&Value::Bool(false));
    plain && scene.java.version >= warm::SINCE && !scene.seen.charm.is_empty()
}

/// HDFS's jars as archives are made of them: the folder of its pages after the last class.
pub(super) fn warm_jars() -> String {
    ["common/*", "common/lib/*", "hdfs/*", "hdfs/lib/*", "hdfs"]
        .map(|part| format!("${{tree:hadoop}}/share/hadoop/{part}"))
        .join(":")
}

/// The Java executable.
pub(super) fn java(scene: &Scene<'_>) -> String {
    format!("{}/bin/java", scene.java.home)
}

/// The environment of a JVM with a role's configuration.
pub(super) fn environment(scene: &Scene<'_>, role: &str) -> BTreeMap<String, String> {
    [
        ("JAVA_HOME", scene.java.home.clone()),
        ("HADOOP_HOME", "${tree:hadoop}".to_owned()),
        ("HADOOP_CONF_DIR", format!("${{file:{role}}}")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// HDFS's class path, a role's configuration first.
pub(super) fn classpath(role: &str) -> String {
    format!("${{file:{role}}}:{}", jars())
}

/// HDFS's jars.
pub(super) fn jars() -> String {
    jars_of("hadoop")
}

/// HDFS's jars in a tree of the plan.
pub(super) fn jars_of(tree: &str) -> String {
    ["common/*", "common/lib/*", "hdfs", "hdfs/*", "hdfs/lib/*"]
        .map(|part| format!("${{tree:{tree}}}/share/hadoop/{part}"))
        .join(":")
}

/// JVM options that every Hadoop of ours gets.
pub(super) fn common_options(java: &Java) -> Vec<String> {
    let mut out = Vec::new();
    if java.version >= 9 {
        // Without it WebHDFS answers 500 on 16 and newer.
        out.push("--add-opens=java.base/java.lang=ALL-UNNAMED".to_owned());
    }
    out.extend(["-XX:-UsePerfData".to_owned(), "-Djava.io.tmpdir=${dir:tmp}".to_owned()]);
    out
}

/// Options for what starts often or stays small.
pub(super) fn quick_options(scene: &Scene<'_>) -> Vec<String> {
    let mut out = common_options(scene.java);
    out.extend(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"].map(str::to_owned));
    out
}

fn jvm_options(scene: &Scene<'_>, jvm: &Jvm) -> Vec<String> {
    let mut out = if jvm.heap <= SMALL_HEAP { quick_options(scene) } else { common_options(scene.java) };
    out.push(format!("-Xmx{}m", jvm.heap >> 20));
    // An exhausted heap leaves a daemon half alive; a restart does not.
    out.extend([
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        "-XX:ErrorFile=${dir:tmp}/hs_err_%p.log".to_owned(),
    ]);
    out.extend(jvm.options.iter().cloned());
    out
}

#[cfg(test)]
mod tests {
    use stoker_charm::observation::Observation;
    use stoker_charm::plan::Plan;

    use super::super::tests::{done, unit};
    use super::*;

    fn planned(sites: Value, change: impl FnOnce(&mut Observation)) -> Plan {
        let mut seen = unit("hadoop/0", &["hadoop/0"], true);
        let facts = &mut seen.resources.get_mut("hadoop").unwrap().facts;
        facts.details.insert("sites-in-jars".into(), sites);
        seen.ports = [("namenode", 8020), ("namenode-http", 9870)].map(|(n, p)| (n.to_owned(), p)).into();
        let said = json!({"cluster-id": "CID-u1", "nameservice": "hadoop", "layout": null, "fresh": true,
            "layout-datanode": null});
        seen.tasks.insert("identify".into(), done(said));
        change(&mut seen);
        let plan = super::super::plan(&seen).unwrap();
        stoker_charm::plan::parse(&stoker_charm::serde_json::to_vec(&plan).unwrap(), &seen).unwrap();
        plan
    }

    #[test]
    fn jars_come_first_where_daemons_start_by_archives() {
        let plan = planned(json!(false), |_| {});
        let namenode = &plan.services["namenode"];
        let command = namenode.command.join(" ");
        let start = "${tree:charm}/bin/hadoop start-jvm ${dir:warm} namenode /j17/bin/java ";
        assert!(command.starts_with(start), "{command}");
        assert!(
            command.contains("/hdfs/lib/*:${tree:hadoop}/share/hadoop/hdfs:${file:namenode} "),
            "{command}"
        );
        assert!(!namenode.trees.contains(&"charm".to_owned()), "another charm restarts nothing");
        assert_eq!(plan.dirs["warm"].tree.as_deref(), Some("hadoop"));
        let task = &plan.tasks["warm"];
        assert!(task.idle && task.needs == ["namenode", "datanode"], "{task:?}");
        let without = planned(json!(false), |seen| drop(seen.config.insert("warm".into(), json!(false))));
        assert!(!without.tasks.contains_key("warm") && without.services == plan.services);
    }

    #[test]
    fn configuration_comes_first_where_jars_have_their_own() {
        for (sites, java) in [(json!(true), 17), (Value::Null, 17), (json!(false), 11)] {
            let plan = planned(sites, |seen| seen.host.java.iter_mut().for_each(|j| j.version = java));
            let command = plan.services["namenode"].command.join(" ");
            assert!(
                !command.contains("start-jvm") && command.contains(" -cp ${file:namenode}:"),
                "{command}"
            );
            assert!(!plan.tasks.contains_key("warm") && !plan.dirs.contains_key("warm"));
        }
    }
}
