//! Observations in, plans out.

use proptest::prelude::*;
use stoker_charm::serde_json::json;

use super::*;

fn digest(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

fn alone(namenode: &str) -> Value {
    json!({"format": 1, "app": "hdfs", "unit": "hdfs/0", "units": ["hdfs/0"], "leader": true, "release": 1,
        "charm": digest("charm"), "users": {"hdfs-external": "stoker-hdfs-external"},
        "config": {"namenode": namenode, "folder": "/apps/stoker", "folders": "make"},
        "relations": [{"id": 3, "endpoint": "hdfs", "interface": "hdfs", "remote": "spark", "life": "alive"}]})
}

/// The NameNode's answer to what the plan asks.
fn answered(seen: &mut Value, answer: Value) {
    let key = planned(seen).tasks["ask"].key.clone().unwrap();
    let done = answer["ready"] == true;
    let state = if done { "done" } else { "retry" };
    seen["tasks"]["ask"] =
        json!({"key": key, "state": state, "exit": if done { 0 } else { 75 }, "result": answer});
}

fn good() -> Value {
    json!({"version": "3.1.1.7.1.8.0-801", "cluster": "CID-9", "page": "nn:9870", "ready": true})
}

fn planned(seen: &Value) -> Plan {
    let seen: Observation = serde_json::from_value(seen.clone()).unwrap();
    let plan = plan(&seen).unwrap();
    let text = serde_json::to_vec(&plan).unwrap();
    stoker_charm::plan::parse(&text, &seen).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn what_the_namenode_says_is_told() {
    let mut seen = alone("hdfs://nn:8020");
    let first = planned(&seen);
    assert_eq!((first.status.state, first.tasks.len()), (State::Waiting, 1));
    assert!(!first.relations["3"].app.contains_key("version"), "nobody plans from half of it");
    answered(&mut seen, good());
    let plan = planned(&seen);
    let told = &plan.relations["3"].app;
    for (key, value) in [
        ("version", "3.1.1.7.1.8.0-801"),
        ("build", "none"),
        ("default-fs", "hdfs://nn:8020"),
        ("cluster-id", "CID-9"),
        ("folder", "/apps/stoker"),
        ("ready", "true"),
        ("namenode-http", "nn:9870"),
    ] {
        assert_eq!(told.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(told["config"].contains("/apps/stoker/user"), "homes are below the folder");
    assert_eq!((plan.status.state, plan.version.as_str()), (State::Active, "3.1.1.7.1.8.0-801"));
    // It is away, or between versions: what was told stays.
    seen["state"] = json!({"app": plan.state.app});
    answered(&mut seen, json!({"ready": false, "why": "no NameNode answers", "tried": ["x"]}));
    assert_eq!(planned(&seen).relations["3"].app, *told);
    let mut rolling = good();
    (rolling["version"], rolling["between"]) = (json!("3.4.1"), json!(true));
    answered(&mut seen, rolling.clone());
    assert_eq!(planned(&seen).relations["3"].app["version"], "3.1.1.7.1.8.0-801");
    rolling["between"] = json!(false);
    answered(&mut seen, rolling);
    assert_eq!(planned(&seen).relations["3"].app["version"], "3.4.1");
    // Another HDFS is another.
    seen["config"]["namenode"] = json!("hdfs://other");
    seen["tasks"] = json!({});
    assert!(!planned(&seen).relations["3"].app.contains_key("version"));
}

#[test]
fn a_version_that_nobody_tells_is_asked_for() {
    let mut seen = alone("hdfs://nn:8020");
    answered(
        &mut seen,
        json!({"ready": true, "tried": ["http://nn:9870/jmx: refused", "nn:8020: it is there"]}),
    );
    let plan = planned(&seen);
    assert_eq!(plan.status.state, State::Blocked);
    assert!(
        plan.status.message.contains("http://nn:9870/jmx: refused") && plan.status.fix.contains("version="),
        "{:?}",
        plan.status
    );
    seen["config"]["version"] = json!("2.7.3.2.6.5.0-292");
    let plan = planned(&seen);
    assert_eq!(
        (plan.status.state, plan.relations["3"].app["version"].as_str()),
        (State::Active, "2.7.3.2.6.5.0-292")
    );
    let mut nowhere = alone("");
    nowhere["relations"][0]["ours"] = json!({"app": {"version": "3.4.1", "x": "${y}"}});
    let stuck = planned(&nowhere);
    assert_eq!((stuck.status.state, stuck.relations["3"].app["x"].as_str()), (State::Blocked, "$${y}"));
}

#[test]
fn a_client_that_is_attached_is_offered() {
    let mut seen = alone("hdfs://nn:8020");
    answered(&mut seen, good());
    let facts = json!({"product": "hadoop-client", "version": "3.1.1.7.1.8.0-801", "details": {"client-jars": ["a.jar", "b.jar"]}});
    seen["resources"] = json!({"client": {"revision": 1, "build": digest("client"), "facts": facts}});
    let told = planned(&seen).relations["3"].app.clone();
    assert_eq!(
        (told["build"].clone(), told["client-jars"].as_str()),
        (digest("client"), "[\"a.jar\",\"b.jar\"]")
    );
}

#[test]
fn folders_are_made_below_the_one_only() {
    let mut seen = alone("hdfs://nn:8020");
    answered(&mut seen, good());
    let dirs =
        json!([{"path": "/apps/stoker/spark-logs", "owner": "stoker-spark", "mode": "1777"}]).to_string();
    seen["relations"][0]["app"] = json!({"dirs": dirs});
    let plan = planned(&seen);
    let task = &plan.tasks["folders-3"];
    assert!(
        task.command[2].contains("/apps/stoker/spark-logs") && !plan.relations["3"].app.contains_key("made")
    );
    let key = task.key.clone();
    seen["tasks"]["folders-3"] = json!({"key": key, "state": "bad", "exit": 1, "reason": "x", "result": {"reason": "Permission denied"}});
    let bad = planned(&seen);
    assert!(
        bad.status.state == State::Blocked
            && bad.status.message.contains("Permission denied")
            && bad.status.fix.contains("chmod"),
        "{:?}",
        bad.status
    );
    seen["tasks"]["folders-3"] =
        json!({"key": key, "state": "done", "exit": 0, "result": {"made": digest(&dirs)}});
    let done = planned(&seen);
    assert_eq!((done.relations["3"].app["made"].clone(), done.status.state), (digest(&dirs), State::Active));
    seen["tasks"].as_object_mut().unwrap().remove("folders-3");
    seen["config"]["folders"] = json!("made");
    let by_hand = planned(&seen);
    assert_eq!((by_hand.relations["3"].app["made"].clone(), by_hand.tasks.len()), (digest(&dirs), 1));
    seen["config"]["folder"] = json!("/else");
    let outside = planned(&seen);
    assert!(
        outside.status.state == State::Blocked && outside.status.message.contains("not below `/else`"),
        "{:?}",
        outside.status
    );
    assert!(!outside.tasks.contains_key("folders-3"));
}

#[test]
fn the_charms_description_is_valid() {
    let text = include_str!("../../charm.toml");
    let charm = stoker_model::charm::parse(text).unwrap();
    assert_eq!(charm.name, "hdfs-external");
}

proptest! {
    #[test]
    fn any_answer_and_any_folders_give_a_valid_plan(dirs in "[\\[\\]{}a-z\":,/$]{0,40}", namenode in "(hdfs://)?[a-z:/$]{0,12}", result in "[a-z]{0,4}") {
        let mut seen = alone(&namenode);
        seen["relations"][0]["app"] = json!({"dirs": dirs});
        seen["tasks"] = json!({"ask": {"key": "k", "state": "done", "exit": 0, "result": {"ready": true, "version": result, "page": "a:1"}}});
        let _ = planned(&seen);
    }
}
