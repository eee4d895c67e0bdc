//! An HDFS that changes: followed by itself, or when asked for.

use super::*;

/// What comes after a plan: it is remembered, its canary passed, its services run.
fn later(seen: &mut Value, plan: &Plan) {
    seen["state"] = json!({"app": plan.state.app, "unit": plan.state.unit});
    seen["tasks"] = json!({});
    if let Some(key) = plan.tasks.get("canary").and_then(|task| task.key.clone()) {
        seen["tasks"]["canary"] = json!({"key": key, "state": "done", "exit": 0, "result": {"ok": true}});
    }
}

fn settled(seen: &mut Value) -> Plan {
    let first = planned(seen);
    later(seen, &first);
    let next = planned(seen);
    later(seen, &next);
    planned(seen)
}

fn hdfs_is(seen: &mut Value, version: &str) {
    seen["relations"][0]["app"]["version"] = json!(version);
    seen["relations"][0]["app"]["build"] = json!(digest(version));
}

#[test]
fn a_changed_hdfs_is_followed_when_asked_for() {
    let mut seen = related("3.4.1");
    seen["config"] = json!({"alignment-follow": "ask"});
    let before = settled(&mut seen);
    assert_eq!(before.verdicts[0].level, "exact", "the first HDFS needs no question");

    hdfs_is(&mut seen, "3.5.0");
    let waits = settled(&mut seen);
    assert_eq!(waits.trees["spark"], before.trees["spark"]);
    assert_eq!((waits.status.state, waits.verdicts[0].level.as_str()), (State::Active, "older-client"));
    assert_eq!(waits.status.fix, "stoker run spark/leader follow");
    assert!(waits.status.message.contains("when asked for"), "{:?}", waits.status);

    let mut asks = seen.clone();
    asks["action"] = json!({"name": "follow", "params": {}});
    let asked = planned(&asks);
    assert!(asked.action.unwrap().command[1].contains("3.5.0"));
    seen["state"]["app"]
        .as_object_mut()
        .unwrap()
        .extend(serde_json::to_value(&asked.remember.app).unwrap().as_object().unwrap().clone());
    let follows = settled(&mut seen);
    assert_eq!((follows.verdicts[0].level.as_str(), follows.status.fix.as_str()), ("exact", ""));
    assert_ne!(follows.trees["spark"], before.trees["spark"]);

    // Once is once: the way back is asked for as well.
    hdfs_is(&mut seen, "3.4.1");
    assert_eq!(settled(&mut seen).trees["spark"], follows.trees["spark"]);
    seen["config"] = json!({});
    assert_eq!(settled(&mut seen).trees["spark"], before.trees["spark"], "new-work follows by itself");
}

#[test]
fn a_canary_proves_for_the_hdfs_as_it_is() {
    let mut seen = related("3.4.1");
    let before = settled(&mut seen);
    assert_eq!(before.verdicts[0].works["text"].by, "run");
    // Within the minor line the client stays, but nobody has run it there yet.
    hdfs_is(&mut seen, "3.4.2");
    let changed = planned(&seen);
    assert_eq!(changed.trees["spark"], before.trees["spark"]);
    assert_ne!(changed.tasks["canary"].key, before.tasks["canary"].key);
    assert_ne!(changed.verdicts[0].works["text"].by, "run");
    assert_eq!(settled(&mut seen).verdicts[0].works["text"].by, "run");
}

#[test]
fn another_spark_waits_until_it_can_be_proven() {
    let mut seen = related("3.4.1");
    let before = settled(&mut seen);
    seen["services"] = json!({"master": {"state": "ready"}});
    seen["relations"][0]["app"]["ready"] = json!("false");
    assert_eq!(planned(&seen).hold, None, "what was proven goes on while the HDFS restarts");
    seen["resources"]["spark"]["build"] = json!(digest("spark 2"));
    let held = planned(&seen);
    assert!(held.hold.is_some_and(|why| why.contains("prove Spark 3.5.9")), "{:?}", held.status);
    assert_eq!(held.state.app, before.state.app);
    seen["relations"][0]["app"]["ready"] = json!("true");
    let asks = planned(&seen);
    assert_eq!((asks.hold, asks.tasks["canary"].when.as_deref()), (None, Some("before-move")));
}
