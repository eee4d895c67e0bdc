//! The plan from observations: what comes first, what stays, what forbids. A small world plays agent: it runs what
//! plans ask for in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stoker_charm::ids::Digest;
use stoker_charm::observation::{
    Java, Life, Observation, Ours, Relation, Resource, Service, ServiceState, Task, TaskState,
};
use stoker_charm::plan::Plan;
use stoker_charm::serde_json::{self, Value, json};
use stoker_charm::status::State;

use super::plan;

const DIRS: &str = r#"[{"path":"/spark-logs","owner":"stoker-spark","group":"stoker-spark","mode":"1777"}]"#;

fn facts(version: &str, namenode: i64) -> Value {
    json!({"product": "hadoop", "version": version, "shape": "full", "requires": {"java": ">=8"},
           "provides": {"hdfs": version, "hadoop-client": version, "layout-namenode": namenode, "layout-datanode": -57}})
}

pub(super) fn resource(version: &str, namenode: i64) -> Resource {
    Resource {
        revision: 1,
        build: Digest::of(version.as_bytes()),
        facts: serde_json::from_value(facts(version, namenode)).unwrap(),
    }
}

fn relation(id: u64, endpoint: &str, remote: &str) -> Relation {
    Relation {
        id,
        endpoint: endpoint.into(),
        interface: endpoint.into(),
        remote: remote.into(),
        ..Relation::default()
    }
}

/// A unit as first seen.
pub(super) fn unit(name: &str, units: &[&str], leader: bool) -> Observation {
    let mut seen = Observation {
        format: 1,
        app: "hadoop".into(),
        app_uuid: "u1".into(),
        unit: name.into(),
        units: units.iter().map(|unit| (*unit).to_owned()).collect(),
        leader,
        charm: Digest::of(b"charm").to_string(),
        users: [("hdfs".to_owned(), "stoker-hdfs".to_owned())].into(),
        resources: [("hadoop".to_owned(), resource("3.4.1", -67))].into(),
        relations: vec![relation(1, "members", "hadoop"), relation(4, "hdfs", "spark")],
        ..Observation::default()
    };
    seen.host.java =
        vec![Java { home: "/j25".into(), version: 25 }, Java { home: "/j17".into(), version: 17 }];
    seen.host.grant.memory = 2 << 30;
    seen.relations[1].app.insert("dirs".into(), DIRS.into());
    seen
}

pub(super) fn planned(seen: &Observation) -> Plan {
    let answer = plan(seen).unwrap();
    // The agent's own check.
    stoker_model::plan::parse(&serde_json::to_vec(&answer).unwrap(), seen).unwrap();
    answer
}

/// What a plan leaves behind in the next observation.
fn commit(seen: &mut Observation, plan: &Plan) {
    seen.state = plan.state.clone();
    for relation in &mut seen.relations {
        if let Some(ours) = plan.relations.get(&relation.id.to_string()) {
            relation.ours = Ours { app: ours.app.clone(), unit: ours.unit.clone() };
        }
    }
    for name in plan.tasks.keys() {
        seen.tasks.entry(name.clone()).or_default();
    }
    seen.tasks.retain(|name, _| plan.tasks.contains_key(name));
    if plan.hold.is_none() {
        for name in plan.services.keys() {
            seen.services.entry(name.clone()).or_default();
        }
        seen.services.retain(|name, _| plan.services.contains_key(name));
    }
}

pub(super) fn done(result: Value) -> Task {
    Task { state: TaskState::Done, exit: Some(0), result, ..Task::default() }
}

fn fresh() -> Value {
    json!({"cluster-id": "CID-u1", "nameservice": "hadoop", "layout": null, "fresh": true, "layout-datanode": null})
}

fn formatted() -> Value {
    json!({"cluster-id": "CID-u1", "nameservice": "hadoop", "layout": -67, "fresh": false, "formatted": true, "layout-datanode": null})
}

/// What a task answers once what it needs holds.
fn answer(seen: &Observation, name: &str) -> Option<Value> {
    let ready = |service: &str| seen.services.get(service).is_some_and(|s| s.state == ServiceState::Ready);
    let up = seen.services.get("namenode").is_some_and(|s| s.state != ServiceState::Stopped);
    match name {
        "identify" => Some(fresh()),
        "format" => Some(formatted()),
        "namenode-up" => up.then(|| json!({"loaded": true})),
        "checkpoint" => ready("namenode").then(|| json!({"due": true})),
        "folders-4" => ready("namenode").then(|| json!({"made": Digest::of(DIRS.as_bytes()).to_string()})),
        _ => ready("namenode").then(|| json!({})),
    }
}

type Step = Box<dyn Fn(&mut Observation)>;

/// One thing that the world can do next, by number.
fn step(seen: &mut Observation, plan: &Plan, choice: usize) {
    let mut can: Vec<Step> = Vec::new();
    let task_done =
        |seen: &Observation, name: &str| seen.tasks.get(name).is_some_and(|t| t.state == TaskState::Done);
    let holds = |seen: &Observation, needs: &[String]| {
        needs.iter().all(|need| match need.strip_prefix("task:") {
            Some(task) => task_done(seen, task),
            None => seen.services.get(need).is_some_and(|s| s.state == ServiceState::Ready),
        })
    };
    for (name, service) in &plan.services {
        let state = seen.services.get(name).map(|s| s.state).unwrap_or_default();
        let next = match (state, name.as_str()) {
            (ServiceState::Stopped, _) if holds(seen, &service.needs) => ServiceState::Starting,
            // Ready needs the other daemon.
            (ServiceState::Starting, "namenode")
                if seen.services["datanode"].state != ServiceState::Stopped =>
            {
                ServiceState::Ready
            }
            (ServiceState::Starting, "datanode" | "secondary") => ServiceState::Ready,
            _ => continue,
        };
        let name = name.clone();
        can.push(Box::new(move |seen| {
            seen.services.insert(name.clone(), Service { state: next, ..Service::default() });
        }));
    }
    for (name, task) in &plan.tasks {
        if !task_done(seen, name)
            && holds(seen, &task.needs)
            && let Some(result) = answer(seen, name)
        {
            let name = name.clone();
            can.push(Box::new(move |seen| {
                seen.tasks.insert(name.clone(), done(result.clone()));
            }));
        }
    }
    if !can.is_empty() {
        let at = choice % can.len();
        can[at](seen);
    }
}

/// Runs the world until nothing happens any more; services that ran must never change.
pub(super) fn settle(seen: &mut Observation, choices: &[usize]) -> Plan {
    let mut specs = BTreeMap::new();
    let mut last = planned(seen);
    for turn in 0..200 {
        commit(seen, &last);
        let before = seen.clone();
        step(seen, &last, choices.get(turn % choices.len().max(1)).copied().unwrap_or(0));
        let next = planned(seen);
        for (name, service) in &next.services {
            let spec = specs.entry(name.clone()).or_insert_with(|| service.clone());
            assert_eq!(spec, service, "{name} would be restarted");
        }
        if *seen == before && next == last {
            return last;
        }
        last = next;
    }
    panic!("does not settle");
}

pub(super) fn bag<'a>(plan: &'a Plan, relation: &str, key: &str) -> Option<&'a str> {
    plan.relations.get(relation)?.app.get(key).map(String::as_str)
}

#[test]
fn the_first_plan_reads_and_says_its_version() {
    let first = planned(&unit("hadoop/0", &["hadoop/0"], true));
    assert_eq!(first.status.state, State::Waiting);
    assert!(first.services.is_empty() && first.tasks.contains_key("identify"));
    assert_eq!((bag(&first, "4", "version"), bag(&first, "4", "config")), (Some("3.4.1"), None));
    assert_eq!(first.state.app["namenode"], "hadoop/0");
    assert!(!first.state.app.contains_key("cluster-id"), "nothing was formatted yet");
}

#[test]
fn configuration_is_known_before_the_format_ends() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let first = planned(&seen);
    commit(&mut seen, &first);
    seen.tasks.insert("identify".into(), done(fresh()));
    let next = planned(&seen);
    assert_eq!(bag(&next, "4", "default-fs"), Some("hdfs://hadoop"));
    assert_eq!(next.services["namenode"].needs, ["task:format"]);
    assert!(!next.state.app.contains_key("cluster-id"));
    let config: Value = serde_json::from_str(bag(&next, "4", "config").unwrap()).unwrap();
    assert_eq!(config["hdfs-site"]["dfs.ha.namenodes.hadoop"], "nn1");
    assert_eq!(config["hdfs-site"]["dfs.replication"], "1");
    assert!(config["hdfs-site"].get("dfs.datanode.data.dir").is_none());
}

#[test]
fn settles_ready_with_folders_and_checkpoints() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let end = settle(&mut seen, &[0]);
    assert_eq!(
        (end.status.state, end.status.message.as_str()),
        (State::Active, "namenode on hadoop/0, 1 datanode")
    );
    let asked = |service: &str| {
        end.services[service].busy.values().filter_map(|probe| probe.http.clone()).collect::<String>()
    };
    assert!(asked("namenode").contains("/jmx?get=") && asked("datanode").contains("/jmx?get="));
    assert_eq!(bag(&end, "4", "ready"), Some("true"));
    assert_eq!(bag(&end, "4", "made"), Some(Digest::of(DIRS.as_bytes()).to_string().as_str()));
    assert_eq!(end.state.app["cluster-id"], "CID-u1");
    assert!(end.services.contains_key("secondary") && !end.tasks.contains_key("checkpoint"));
    let command = end.services["namenode"].command.join(" ");
    assert!(command.starts_with("/j17/bin/java --add-opens=java.base/java.lang=ALL-UNNAMED"), "{command}");
    assert!(command.contains("-Xmx256m") && command.contains("-XX:+UseSerialGC"), "{command}");
}

#[test]
fn it_says_where_names_are_trusted() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    settle(&mut seen, &[0]);
    assert!(!planned(&seen).status.message.contains("trusts"));
    seen.exposed = Some(serde_json::from_value(json!({"to": ["10.0.0.0/8"]})).unwrap());
    let status = planned(&seen).status;
    assert!(status.state == State::Active && status.message.contains("trusts whatever name"), "{status:?}");
}

#[test]
fn once_formatted_never_again() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let end = settle(&mut seen, &[0]);
    for task in ["identify", "format"] {
        let command = end.tasks[task].command.join(" ");
        assert!(command.contains("--expect CID-u1") && !command.contains("--format"), "{command}");
    }
    // Its data vanish: looked at again, told, and tried until they are back.
    seen.services.get_mut("namenode").unwrap().state = ServiceState::Failed;
    let again = planned(&seen);
    assert_ne!(again.tasks["identify"].key, end.tasks["identify"].key);
    let problem = json!({"problem": "missing", "says": "data of cluster CID-u1 is missing in /n, refusing to format", "fix": "mount it"});
    seen.tasks.insert(
        "identify".into(),
        Task { state: TaskState::Retry, exit: Some(75), result: problem, ..Task::default() },
    );
    let blocked = planned(&seen);
    assert_eq!((blocked.status.state, blocked.status.fix.as_str()), (State::Blocked, "mount it"));
    assert!(blocked.status.message.contains("refusing to format"));
    assert_eq!(blocked.services, end.services);
}

#[test]
fn another_layout_changes_nothing_and_blocks() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let end = settle(&mut seen, &[0]);
    seen.resources.insert("hadoop".into(), resource("3.3.6", -66));
    let kept = planned(&seen);
    assert_eq!(kept.status.state, State::Blocked);
    assert!(
        kept.status.message.contains("NameNode layout -66, the data have -67"),
        "{}",
        kept.status.message
    );
    assert!(kept.status.fix.contains("recipe:3.4.1"), "{}", kept.status.fix);
    assert!(kept.hold.is_none() && kept.version == "3.4.1");
    assert_eq!((&kept.services, &kept.files, &kept.trees), (&end.services, &end.files, &end.trees));
    // What runs is what is told.
    assert_eq!(bag(&kept, "4", "version"), Some("3.4.1"));
    assert_eq!(bag(&kept, "4", "build"), bag(&end, "4", "build"));
    commit(&mut seen, &kept);
    seen.resources.insert("hadoop".into(), resource("3.4.2", -67));
    let moved = planned(&seen);
    assert!(moved.hold.is_none() && bag(&moved, "4", "version") == Some("3.4.2"));
    // What the folders hold is compared before anything stops.
    let check = &moved.tasks["layout"];
    assert_eq!(check.when.as_deref(), Some("before-move"));
    assert!(check.command.join(" ").contains("--namenode -67 --datanode -57"), "{:?}", check.command);
    // They hold something else than is remembered: what runs goes on, and that is remembered now.
    let reason = json!({"reason": "other", "layout": -68, "layout-datanode": -57});
    commit(&mut seen, &moved);
    seen.state = kept.state.clone();
    seen.tasks.insert(
        "layout".into(),
        Task { state: TaskState::Bad, exit: Some(1), result: reason, ..Task::default() },
    );
    let found = planned(&seen);
    assert!(found.status.message.contains("the data have -68"), "{}", found.status.message);
    assert_eq!(found.state.app["layout"], "-68");
}

#[test]
fn reused_data_keep_their_name_and_layout() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    seen.app = "other".into();
    let first = planned(&seen);
    commit(&mut seen, &first);
    let found = json!({"cluster-id": "CID-old", "nameservice": "lake", "layout": -66, "fresh": false, "layout-datanode": -57});
    seen.tasks.insert("identify".into(), done(found));
    let held = planned(&seen);
    assert_eq!((held.status.state, held.hold.is_some()), (State::Blocked, true));
    seen.resources.insert("hadoop".into(), resource("3.3.6", -66));
    let fits = planned(&seen);
    assert_eq!(bag(&fits, "4", "default-fs"), Some("hdfs://lake"));
    assert_eq!(fits.state.app["cluster-id"], "CID-old");
}

#[test]
fn blocked_with_a_fix_and_everything_stays() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let end = settle(&mut seen, &[0]);
    seen.host.java = vec![Java { home: "/j25".into(), version: 25 }];
    let stuck = planned(&seen);
    assert!(
        stuck.status.message.contains("needs Java 8 to 23, this host has 25"),
        "{}",
        stuck.status.message
    );
    assert!(stuck.status.fix.contains("openjdk-17") && stuck.hold.is_some());
    assert_eq!((&stuck.state, bag(&stuck, "4", "ready")), (&end.state, Some("true")));
    seen.host.java.push(Java { home: "/j17".into(), version: 17 });
    seen.config.insert("replication".into(), json!(0));
    let stuck = planned(&seen);
    assert_eq!(stuck.status.fix, "stoker config hadoop replication=VALUE");
    seen.config.clear();
    seen.relations[1].app.insert("dirs".into(), r#"[{"path":"/","owner":"x"}]"#.into());
    assert!(
        planned(&seen).status.message.contains("spark asks for folders"),
        "{}",
        planned(&seen).status.message
    );
    seen.resources.clear();
    assert!(planned(&seen).status.fix.contains("attach-resource"));
}

#[test]
fn other_units_get_a_datanode_of_the_same_filesystem() {
    let units = ["hadoop/0", "hadoop/1"];
    let mut zero = unit("hadoop/0", &units, true);
    let end = settle(&mut zero, &[0]);
    let mut one = unit("hadoop/1", &units, false);
    assert_eq!(planned(&one).hold.as_deref(), Some("the leader has not chosen the NameNode's unit yet"));
    one.state.app.clone_from(&end.state.app);
    assert!(planned(&one).hold.is_some());
    let mut told = end.relations["1"].unit.clone();
    told.insert("rpc".into(), "10.0.0.1:8020".into());
    told.insert("http".into(), "10.0.0.1:9870".into());
    one.relations[0].units.insert("hadoop/0".into(), told);
    let joined = planned(&one);
    assert_eq!(joined.services.keys().collect::<Vec<_>>(), ["datanode"]);
    assert!(joined.files["datanode/hdfs-site.xml"].text.contains("10.0.0.1:8020"));
    assert!(!joined.dirs.contains_key("name") && !joined.tasks.contains_key("format"));
    // As the leader after the first is gone it knows the same, and never chooses another place.
    one.leader = true;
    assert_eq!(bag(&planned(&one), "4", "made"), bag(&end, "4", "made"));
    one.units.remove(0);
    assert!(planned(&one).status.message.contains("is gone"));
}

#[test]
fn another_unit_restarts_nothing() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let end = settle(&mut seen, &[0]);
    seen.units.push("hadoop/1".into());
    let mut grown = planned(&seen);
    assert!(grown.services["datanode"].busy.is_empty(), "a writer goes on with the other DataNode");
    // How a service is asked is no part of what it is.
    grown.services.get_mut("datanode").unwrap().busy = end.services["datanode"].busy.clone();
    assert_eq!(grown.services, end.services);
    for (name, file) in &grown.files {
        assert!(file.live || name.starts_with("client/") || end.files[name] == *file, "{name} differs");
    }
    assert!(grown.files["replication.xml"].live && grown.files["replication.xml"].text.contains(">2<"));
}

#[test]
fn options_reach_the_files_last() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    settle(&mut seen, &[0]);
    seen.config = serde_json::from_value(json!({
        "core-site": "fs.trash.interval=5\nio.file.buffer.size=4096", "hdfs-site": "dfs.replication=2",
        "log4j": "log4j.rootLogger=DEBUG,console", "namenode-options": "-Xlog:gc -Xss1m", "data-dirs": ["[SSD]/d1", "/d2"],
    }))
    .unwrap();
    let set = planned(&seen);
    let namenode = &set.files["namenode/core-site.xml"].text;
    assert!(namenode.contains("<name>fs.trash.interval</name><value>5</value>"), "{namenode}");
    assert!(!set.files["datanode/hdfs-site.xml"].text.contains("XInclude"));
    assert!(set.files["datanode/log4j.properties"].text.contains("rootLogger=DEBUG"));
    let command = &set.services["namenode"].command;
    assert!(command.windows(2).any(|pair| pair == ["-Xlog:gc", "-Xss1m"]));
    let config: Value = serde_json::from_str(bag(&set, "4", "config").unwrap()).unwrap();
    assert_eq!(
        (&config["hdfs-site"]["dfs.replication"], &config["core-site"]["io.file.buffer.size"]),
        (&json!("2"), &json!("4096"))
    );
    // The folder of the unit's own has blocks already and stays a volume.
    let volumes = &set.files["datanode/hdfs-site.xml"].text;
    assert!(volumes.contains("file://${dir:data},[SSD]file://${dir:data-"), "{volumes}");
    assert_eq!(set.dirs.values().filter(|dir| dir.path.is_some()).count(), 2);
}

#[test]
fn leaving() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    settle(&mut seen, &[0]);
    seen.life = Life::Dying;
    seen.units.clear();
    assert!(planned(&seen).gone);
    seen.units = vec!["hadoop/1".into()];
    let stays = planned(&seen);
    assert!(!stays.gone && stays.status.state == State::Blocked);
}

#[test]
fn actions_are_tasks() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let ask = |seen: &mut Observation, name: &str, params: Value| {
        seen.action = serde_json::from_value(json!({"name": name, "params": params})).unwrap();
        plan(seen)
    };
    assert!(ask(&mut seen, "report", json!({})).is_err());
    seen.action = None;
    settle(&mut seen, &[0]);
    for (name, params, word) in [
        ("report", json!({}), "http://${address:default}:${port:namenode-http}"),
        ("safemode", json!({"action": "enter"}), "enter"),
        ("fsck", json!({"path": "/a${dir:name}"}), "/a$${dir:name}"),
    ] {
        let task = ask(&mut seen, name, params).unwrap().action.unwrap();
        assert!(task.command.iter().any(|part| part == word), "{:?}", task.command);
        planned(&seen);
    }
    assert!(ask(&mut seen, "dance", json!({})).is_err());
}

#[test]
fn the_description_is_valid() {
    let charm = stoker_charm::charm::parse(include_str!("../../charm.toml")).unwrap();
    for (_, option, _) in crate::config::PORTS {
        assert!(charm.config.contains_key(option), "{option}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever comes first, the end is the same, and no service is restarted on the way.
    #[test]
    fn any_order_converges(choices in proptest::collection::vec(0usize..12, 1..40), late in any::<bool>()) {
        let mut calm = unit("hadoop/0", &["hadoop/0"], true);
        let expected = settle(&mut calm, &[0]);
        let mut seen = unit("hadoop/0", &["hadoop/0"], true);
        if late {
            // The relation comes when all else is done.
            let spark = seen.relations.pop().unwrap();
            settle(&mut seen, &choices);
            seen.relations.push(spark);
        }
        prop_assert_eq!(settle(&mut seen, &choices), expected);
    }
}

#[test]
fn an_attached_java_runs_every_daemon() {
    let mut seen = unit("hadoop/0", &["hadoop/0"], true);
    let facts = stoker_charm::Facts {
        product: "java".into(),
        version: "21.0.8".into(),
        provides: [("java".to_owned(), json!(21))].into(),
        ..stoker_charm::Facts::default()
    };
    let java = Resource { revision: 1, build: Digest::of(b"java"), facts };
    seen.resources.insert("java".into(), java.clone());
    let made = settle(&mut seen, &[]);
    assert!(!made.services.is_empty());
    for (name, service) in &made.services {
        assert_eq!(service.command[0], "${tree:java}/bin/java", "{name}");
        assert_eq!(service.env["JAVA_HOME"], "${tree:java}", "{name}");
        assert!(service.trees.iter().any(|tree| tree == "java"), "{name}");
    }
    assert_eq!(made.trees["java"].base, Digest::of(b"java"));
    let other = stoker_charm::Facts { provides: [("java".to_owned(), json!(25))].into(), ..java.facts };
    seen.resources.insert("java".into(), Resource { facts: other, ..java });
    let blocked = planned(&seen).status;
    assert!(blocked.message.contains("the attached one is 25"), "{blocked:?}");
}
