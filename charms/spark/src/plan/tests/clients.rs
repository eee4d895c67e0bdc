//! Hadoop clients that are not as a release has them: half exchanged, or of an HDFS that is nobody's here.

use super::*;

#[test]
fn a_torn_client_is_named_and_nothing_moves() {
    let mut seen = related("3.3.4");
    let torn = "a.jar and b.jar are of different Hadoops: x.Y uses z.Z, which is not there";
    seen["resources"]["spark"]["facts"]["details"]["client-torn"] = json!(torn);
    let plan = planned(&seen);
    assert_eq!((plan.status.state, plan.hold.is_some()), (State::Blocked, true));
    assert!(plan.status.message.contains(torn), "{:?}", plan.status);
    assert!(plan.status.fix.contains("attach-resource spark spark=recipe:3.5.9"), "{:?}", plan.status);
    let verdict = &plan.verdicts[0];
    assert_eq!((verdict.level.as_str(), verdict.fix.as_str()), ("shape-blocked", plan.status.fix.as_str()));
    assert!(verdict.works.values().all(|work| !work.ok && work.by == "linked" && work.why == torn));

    // Both jars of another client heal it; where there is no HDFS nothing asks for one.
    let mut other = related("3.4.1");
    other["resources"] = seen["resources"].clone();
    let healed = planned(&other);
    assert_eq!((healed.verdicts[0].level.as_str(), healed.trees["spark"].drop.len()), ("exact", 2));
    let mut lone = alone();
    lone["resources"] = seen["resources"].clone();
    assert_eq!(planned(&lone).status.state, State::Active);
}

#[test]
fn an_hdfs_without_a_build_keeps_the_shipped_client() {
    let mut seen = related("3.4.1");
    seen["relations"][0]["app"]["build"] = json!("none");
    seen["relations"][0]["app"]["folder"] = json!("/apps/stoker");
    let plan = planned(&seen);
    assert!(plan.trees["spark"].take.is_empty() && !plan.trees.contains_key("link"), "{:?}", plan.trees);
    let verdict = &plan.verdicts[0];
    assert_eq!(verdict.level, "older-client");
    assert!(verdict.says.contains("offers no build") && verdict.fix.contains("`client`"), "{verdict:?}");
    // Nothing is written outside of the folder.
    let dirs: Value = serde_json::from_str(&plan.relations["4"].app["dirs"]).unwrap();
    let dirs = dirs.as_array().unwrap();
    assert!(dirs.iter().all(|dir| dir["path"].as_str().unwrap().starts_with("/apps/stoker/")), "{dirs:?}");
    answer_dirs(&mut seen);
    let plan = planned(&seen);
    assert_eq!(plan.tasks["canary"].command.last().unwrap(), "/apps/stoker/user/stoker-spark/.stoker-canary");
    let driver = text(&plan, "driver/spark-defaults.conf");
    assert!(driver.contains("spark.eventLog.dir hdfs://ns/apps/stoker/spark-logs\n"), "{driver}");
    assert!(driver.contains("spark.sql.warehouse.dir hdfs://ns/apps/stoker/spark-warehouse\n"), "{driver}");
    let mut provided = seen;
    provided["resources"]["spark"]["facts"]["shape"] = json!("provided");
    assert_eq!(planned(&provided).status.state, State::Blocked);
}

#[test]
fn a_vendors_client_is_taken_from_where_it_is() {
    let mut seen = related("3.4.1.7.3.0.0-12");
    seen["relations"][0]["app"]["client-jars"] = json!("[\"x/api.jar\",\"x/runtime.jar\"]");
    let plan = planned(&seen);
    let taken: Vec<_> = plan.trees["spark"].take.iter().map(|t| (t.path.as_str(), t.to.as_str())).collect();
    assert_eq!(taken, [("x/api.jar", "jars/api.jar"), ("x/runtime.jar", "jars/runtime.jar")]);
    assert_eq!(plan.verdicts[0].level, "exact");
    // Those that follow have it from what the leader remembers.
    seen["leader"] = json!(false);
    seen["unit"] = json!("spark/1");
    seen["units"] = json!(["spark/0", "spark/1"]);
    seen["state"] = json!({"app": plan.state.app});
    seen["relations"].as_array_mut().unwrap().push(json!({"id": 9, "endpoint": "members", "interface": "spark-members",
        "remote": "spark", "life": "alive", "units": {"spark/0": {"cores": "2", "memory": "1", "master": "spark://a:7077", "ui": "http://a:1", "history": "http://a:2"}}}));
    assert_eq!(planned(&seen).trees["spark"], plan.trees["spark"]);
}
