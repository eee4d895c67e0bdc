//! Observations in, plans out.

use proptest::prelude::*;
use serde_json::{Value, json};
use stoker_charm::ids::Digest;

mod follow;
mod warm;

use super::*;

mod clients;

fn digest(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

/// A unit that leads, on a host with Java 17 and 25.
fn alone() -> Value {
    json!({
        "format": 1, "app": "spark", "unit": "spark/0", "units": ["spark/0"], "leader": true, "release": 1,
        "charm": digest("charm"), "users": {"spark": "stoker-spark"}, "config": {},
        "host": {"cores": 8, "memory": 64_u64 << 30, "grant": {"cores": 4, "memory": 8_u64 << 30},
            "addresses": {"default": "10.0.0.5"}, "java": [{"home": "/jdk25", "version": 25}, {"home": "/jdk17", "version": 17}],
            "python": [{"path": "/opt/python3.13", "version": "3.13"}, {"path": "/usr/bin/python3", "version": "3.11"}]},
        "resources": {"spark": {"revision": 1, "build": digest("spark"), "facts": {
            "product": "spark", "version": "3.5.9", "shape": "shaded",
            "requires": {"java": ">=8", "python": ">=3.8"}, "provides": {"hadoop-client": "3.3.4", "scala": "2.12.18"},
            "details": {"java-floor": 8, "scala-binary": "2.12", "log4j": 2, "python": ["3.8", "3.11"], "yarn": true,
                "client-jars": ["jars/hadoop-client-api-3.3.4.jar", "jars/hadoop-client-runtime-3.3.4.jar"]}}}},
        "relations": [], "secrets": {"auth": "secret:abc"}
    })
}

/// Related to an HDFS of this version that is ready.
fn related(version: &str) -> Value {
    let mut seen = alone();
    let config = json!({"core-site": {"fs.defaultFS": "hdfs://ns"}, "hdfs-site": {"dfs.nameservices": "ns"}});
    seen["relations"] = json!([{"id": 4, "endpoint": "hdfs", "interface": "hdfs", "remote": "hadoop", "life": "alive",
        "app": {"version": version, "build": digest(version), "default-fs": "hdfs://ns", "cluster-id": "CID-1",
            "config": config.to_string(), "ready": "true"}}]);
    answer_dirs(&mut seen);
    seen
}

/// The HDFS makes the folders that it is asked for.
fn answer_dirs(seen: &mut Value) {
    let dirs = planned(seen).relations["4"].app["dirs"].clone();
    seen["relations"][0]["app"]["made"] = json!(digest(&dirs));
}

fn notebook(id: u64) -> Value {
    json!({"id": id, "endpoint": "spark", "interface": "spark", "remote": "jupyter", "life": "alive",
        "app": {"python": digest("python"), "user": "stoker-jupyter"}})
}

/// The plan, checked as the agent checks it.
fn planned(seen: &Value) -> Plan {
    let seen: Observation = serde_json::from_value(seen.clone()).unwrap();
    let plan = plan(&seen).unwrap();
    let text = serde_json::to_vec(&plan).unwrap();
    stoker_charm::plan::parse(&text, &seen).unwrap_or_else(|e| panic!("{e}"))
}

fn text<'a>(plan: &'a Plan, file: &str) -> &'a str {
    &plan.files[file].text
}

#[test]
fn a_cluster_of_its_own() {
    let plan = planned(&alone());
    assert_eq!(plan.status.state, State::Active, "{:?}", plan.status);
    assert_eq!(plan.services.keys().collect::<Vec<_>>(), ["history", "master", "worker"]);
    assert_eq!(plan.services["worker"].needs, ["master"]);
    assert!(plan.services["history"].command[0].starts_with("/jdk17/"), "25 is not for Spark 3.5");
    assert!(plan.trees["spark"].take.is_empty() && plan.verdicts.is_empty());
    assert_eq!(plan.tasks.keys().collect::<Vec<_>>(), ["warm"]);
    assert_eq!(plan.state.app["master"], "spark/0");
    // 8 GiB less a tenth, two daemons of 512 MiB and a history server of 1 GiB.
    let worker = plan.services["worker"].command.join(" ");
    assert!(worker.contains("-c 4 -m 5324m"), "{worker}");
    assert!(text(&plan, "driver/spark-defaults.conf").contains("spark.cores.max 2\n"));
    assert!(text(&plan, "history/spark-defaults.conf").contains("logDirectory file://${dir:events}"));
    assert!(plan.dirs["events"].keep && plan.services["history"].dirs.contains(&"events".to_owned()));
    assert!(
        !planned(&related("3.4.1")).dirs.values().any(|dir| dir.keep),
        "with an HDFS there is nothing to keep here"
    );
}

#[test]
fn others_may_look_at_its_pages_and_end_nothing() {
    let ends = |seen: &Value| {
        let plan = planned(seen);
        let services: Vec<_> =
            plan.files.iter().filter(|(_, file)| file.text.contains("rest.enabled false")).collect();
        assert!(!services.is_empty());
        services.iter().all(|(_, file)| !file.text.contains("spark.ui.killEnabled false"))
    };
    let mut seen = alone();
    assert!(ends(&seen));
    seen["exposed"] = json!({"to": []});
    assert!(!ends(&seen));
}

#[test]
fn an_hdfs_of_another_minor_swaps_the_two_client_jars() {
    let plan = planned(&related("3.4.1"));
    let tree = &plan.trees["spark"];
    assert_eq!(tree.drop, ["jars/hadoop-client-api-3.3.4.jar", "jars/hadoop-client-runtime-3.3.4.jar"]);
    let taken: Vec<_> =
        tree.take.iter().map(|t| (t.path.as_str(), t.to.as_str(), t.from.to_string())).collect();
    assert_eq!(
        taken,
        [
            (
                "share/hadoop/client/hadoop-client-api-3.4.1.jar",
                "jars/hadoop-client-api-3.4.1.jar",
                digest("3.4.1")
            ),
            (
                "share/hadoop/client/hadoop-client-runtime-3.4.1.jar",
                "jars/hadoop-client-runtime-3.4.1.jar",
                digest("3.4.1")
            ),
        ]
    );
    let canary = &plan.tasks["canary"];
    assert_eq!((canary.when.as_deref(), canary.once.as_deref()), (Some("before-move"), Some("app")));
    assert_eq!(canary.command.last().unwrap(), "/user/stoker-spark/.stoker-canary");
    assert_eq!((plan.verdicts[0].level.as_str(), plan.verdicts[0].relation), ("exact", Some(4)));
    assert_eq!(plan.state.app["client-version"], "3.4.1");
    assert_eq!(plan.relations["4"].unit["client"], "3.4.1");
    assert!(text(&plan, "driver/spark-defaults.conf").contains("spark.eventLog.dir hdfs://ns/spark-logs\n"));
    assert!(text(&plan, "hadoop/core-site.xml").contains("hdfs://ns"));
    assert!(
        !plan.services["master"].files.contains(&"hadoop".to_owned()),
        "the master does not depend on the HDFS"
    );
}

#[test]
fn a_done_canary_is_evidence_and_is_remembered() {
    let mut seen = related("3.4.1");
    let first = planned(&seen);
    assert_eq!(first.verdicts[0].works["text"].by, "read");
    let key = first.tasks["canary"].key.clone().unwrap();
    seen["tasks"] = json!({"canary": {"key": key, "state": "done", "exit": 0, "result": {"ok": true}}});
    let proven = planned(&seen);
    assert_eq!(proven.verdicts[0].works["text"].by, "run");
    seen["state"] = json!({"app": proven.state.app});
    seen["tasks"] = json!({});
    seen["relations"][0]["app"]["ready"] = json!("false");
    let later = planned(&seen);
    assert_eq!(
        (&later.tasks, &later.verdicts),
        (&proven.tasks, &proven.verdicts),
        "an HDFS that restarts changes nothing"
    );
}

#[test]
fn a_bad_canary_keeps_the_shipped_client_under_auto_and_blocks_under_exact() {
    let mut seen = related("3.4.1");
    // The agent may show the beginning of the key's digest in its place.
    let key = planned(&seen).tasks["canary"].key.clone().unwrap();
    let key = stoker_charm::digest::of_document(&key).unwrap().hex()[..32].to_owned();
    seen["tasks"] = json!({"canary": {"key": key, "state": "bad", "exit": 1, "result": {"reason": "IllegalAccessError: x"}}});
    let kept = planned(&seen);
    assert!(kept.trees["spark"].take.is_empty());
    assert_eq!((kept.status.state, kept.verdicts[0].level.as_str()), (State::Active, "older-client"));
    assert!(
        kept.status.message.contains("IllegalAccessError: x") && kept.status.fix.contains("exact"),
        "{:?}",
        kept.status
    );
    // Until the refusal is remembered the task stays, for it is the evidence; it holds nothing back.
    let evidence = &kept.tasks["canary"];
    assert_eq!(
        (evidence.key.as_ref(), evidence.when.as_deref()),
        (planned(&related("3.4.1")).tasks["canary"].key.as_ref(), None)
    );
    assert_eq!(kept.trees["failed"].take.len(), 2);
    // Then what is kept is tried as well.
    seen["state"] = json!({"app": kept.state.app});
    seen["tasks"] = json!({});
    let again = planned(&seen);
    assert_eq!(
        (&again.trees["spark"], &again.verdicts, &again.state),
        (&kept.trees["spark"], &kept.verdicts, &kept.state)
    );
    assert!(!again.trees.contains_key("failed"));
    assert_eq!(again.tasks["canary"].when, None);
    // A client that failed after it was taken (nothing ran, so nothing waited) goes as well.
    let mut taken = seen.clone();
    taken["state"]["app"]["client-version"] = json!("3.4.1");
    taken["state"]["app"]["client-build"] = json!(digest("3.4.1"));
    assert_eq!(
        (&planned(&taken).trees["spark"], &planned(&taken).state),
        (&kept.trees["spark"], &kept.state)
    );
    // Another Spark build, another try.
    seen["resources"]["spark"]["build"] = json!(digest("spark 2"));
    assert_eq!(planned(&seen).trees["spark"].take.len(), 2);
    seen["resources"]["spark"]["build"] = json!(digest("spark"));
    seen["config"] = json!({"hadoop-alignment": "exact"});
    assert_eq!(
        planned(&seen).trees["spark"].take.len(),
        2,
        "exact still wants it: the agent shows the canary's evidence"
    );
}

/// With this result of the link check.
fn linked(seen: &mut Value, result: &Value) {
    let key = planned(seen).tasks["link"].key.clone().unwrap();
    seen["tasks"]["link"] = json!({"key": key, "state": "done", "exit": 0, "result": result});
}

fn found(before: Value, after: Value) -> Value {
    json!({"checker": crate::align::CHECKER, "classes": 9, "references": 9, "before": before, "after": after,
        "aws": null, "sdks": [], "gaps": [], "more": 0})
}

#[test]
fn a_client_that_does_not_link_is_not_taken() {
    let mut seen = related("3.4.1");
    let first = planned(&seen);
    let link = &first.tasks["link"];
    assert_eq!((link.when.as_deref(), link.once.as_deref()), (Some("before-move"), Some("app")));
    assert_eq!(
        link.command,
        [
            "${tree:charm}/bin/spark",
            "link",
            "${tree:link}",
            "jars/hadoop-client-api-3.3.4.jar,jars/hadoop-client-runtime-3.3.4.jar"
        ]
    );
    let (shipped, candidate) = (&first.trees["link"].drop, &first.trees["link"].take);
    assert_eq!((shipped.len(), candidate[1].to.as_str()), (0, "candidate/hadoop-client-runtime-3.4.1.jar"));
    linked(&mut seen, &found(json!({}), json!({})));
    let clean = planned(&seen);
    assert_eq!((&clean.trees, clean.verdicts[0].works["parquet"].by.as_str()), (&first.trees, "linked"));
    linked(&mut seen, &found(json!({}), json!({"parquet": "parquet.jar: a.B uses c.D"})));
    let kept = planned(&seen);
    assert!(kept.trees["spark"].take.is_empty());
    assert_eq!(
        (kept.verdicts[0].level.as_str(), kept.verdicts[0].works["parquet"].ok),
        ("older-client", true)
    );
    assert!(kept.verdicts[0].says.contains("a.B uses c.D"), "{:?}", kept.verdicts);
    // It says so as long as the check's result is there, and needs no memory for it.
    seen["state"] = json!({"app": kept.state.app});
    assert_eq!((&planned(&seen).trees, &planned(&seen).state), (&kept.trees, &kept.state));
    // Whoever says exact gets it, with what is lost.
    seen["config"] = json!({"hadoop-alignment": "exact"});
    let exact = planned(&seen);
    assert_eq!((exact.trees["spark"].take.len(), exact.verdicts[0].works["parquet"].ok), (2, false));
    // What runs on the cluster itself does not use YARN: that alone keeps nothing.
    let mut seen = related("3.4.1");
    linked(&mut seen, &found(json!({}), json!({"yarn": "x"})));
    let swapped = planned(&seen);
    assert_eq!((swapped.trees["spark"].take.len(), swapped.verdicts[0].works["yarn"].ok), (2, false));
}

#[test]
fn companions_of_a_version_keep_its_client_or_ask_for_it() {
    let aws = |seen: &mut Value, version: &str| {
        let details = &mut seen["resources"]["spark"]["facts"]["details"];
        (details["hadoop-aws"], details["aws-sdk-1"], details["aws-sdk-2"]) =
            (json!(version), json!(""), json!(""));
    };
    let mut seen = related("3.4.1");
    aws(&mut seen, "3.3.4");
    let kept = planned(&seen);
    assert!(kept.trees["spark"].take.is_empty() && kept.verdicts[0].works["s3a"].ok, "{:?}", kept.verdicts);
    aws(&mut seen, "3.4.1");
    let swapped = planned(&seen);
    assert!(swapped.trees["spark"].take.len() == 2 && swapped.verdicts[0].works["s3a"].ok);
    // Where the HDFS's build has them too, they go together.
    let mut both = related("3.4.1");
    aws(&mut both, "3.3.4");
    both["resources"]["spark"]["facts"]["details"]["companion-jars"] = json!({"hadoop-aws": "jars/hadoop-aws-3.3.4.jar", "aws-sdk-1": "jars/sdk-1.jar", "web-proxy": "jars/proxy.jar"});
    both["relations"][0]["app"]["companions"] = json!(
        json!({"hadoop-aws": "share/hadoop/tools/lib/hadoop-aws-3.4.1.jar",
        "aws-sdk-2": "share/hadoop/tools/lib/bundle-2.jar", "web-proxy": "share/hadoop/yarn/proxy-3.4.1.jar"})
        .to_string()
    );
    let plan = planned(&both);
    let tree = &plan.trees["spark"];
    assert_eq!(tree.drop[2..], ["jars/proxy.jar", "jars/hadoop-aws-3.3.4.jar"]);
    let taken: Vec<&str> = tree.take[2..].iter().map(|take| take.to.as_str()).collect();
    assert_eq!(taken, ["jars/proxy-3.4.1.jar", "jars/hadoop-aws-3.4.1.jar", "jars/bundle-2.jar"]);
    assert!(plan.verdicts[0].works["s3a"].ok, "{:?}", plan.verdicts);
    assert_eq!(plan.trees["link"].drop, tree.drop[2..]);
    both["state"] = json!({"app": plan.state.app});
    both["relations"][0]["app"]["companions"] = json!("");
    both["relations"][0]["app"]["version"] = json!("3.4.3");
    assert_eq!(&planned(&both).trees["spark"], tree, "what is in use stays as it is");
    // In one's own minor line the shipped client stays, unless something works with the other alone.
    let mut near = related("3.3.6");
    assert!(planned(&near).trees["spark"].take.is_empty());
    near["resources"]["jars"] = jars("2.12");
    linked(&mut near, &found(json!({"user_jars": "x"}), json!({})));
    let asked = planned(&near);
    assert_eq!(asked.tasks["link"].command[4], "${tree:jars}");
    assert!(asked.trees["spark"].take.len() == 2 && asked.verdicts[0].works["user_jars"].ok);
}

#[test]
fn jars_are_linked_where_nothing_is_swapped() {
    let mut seen = related("3.3.4");
    let tasks = planned(&seen).tasks;
    assert_eq!(tasks.keys().collect::<Vec<_>>(), ["warm"], "the same version: there is nothing to prove");
    seen["resources"]["jars"] = jars("2.12");
    let plan = planned(&seen);
    assert_eq!(
        (plan.tasks["link"].when.as_deref(), plan.tasks["link"].command[2].as_str()),
        (None, "${tree:spark}")
    );
    linked(&mut seen, &found(json!({"user_jars": "x.jar: …"}), json!({"user_jars": "x.jar: …"})));
    let works = planned(&seen).verdicts.remove(0).works;
    assert_eq!((works["user_jars"].ok, works["user_jars"].by.as_str()), (false, "linked"));
    assert_eq!(works["parquet"].by, "read");
}

#[test]
fn java_and_python_are_axes_of_their_own() {
    let mut seen = related("3.4.1");
    seen["host"]["java"] = json!([{"home": "/jdk25", "version": 25}]);
    let stuck = planned(&seen);
    let verdict = &stuck.verdicts[0];
    assert_eq!((verdict.level.as_str(), stuck.status.state), ("java-blocked", State::Blocked));
    assert!(
        verdict.says.contains("needs Java 8 to 17") && verdict.works.values().all(|work| !work.ok),
        "{verdict:?}"
    );
    let mut seen = related("3.4.1");
    seen["resources"]["spark"]["facts"]["version"] = json!("3.3.4");
    seen["resources"]["spark"]["facts"]["details"]["python"] = json!(["3.7", "3.10"]);
    seen["host"]["python"] = json!([{"path": "/usr/bin/python3", "version": "3.11"}]);
    let plan = planned(&seen);
    let verdict = &plan.verdicts[0];
    assert_eq!((verdict.level.as_str(), plan.status.state), ("python-blocked", State::Active));
    assert!(!verdict.works["python_udf"].ok && verdict.works["text"].ok, "{verdict:?}");
    seen["host"]["python"] = json!([{"path": "/usr/bin/python3", "version": "3.10"}]);
    assert_eq!(planned(&seen).verdicts[0].level, "exact");
}

#[test]
fn the_client_follows_the_hdfs_only_while_it_can_be_proven() {
    let mut seen = related("3.4.1");
    seen["state"] = json!({"app": planned(&seen).state.app});
    seen["services"] = json!({"master": {"state": "ready"}, "worker": {"state": "ready"}});
    let mut next = related("3.5.0");
    for key in ["state", "services"] {
        next[key] = seen[key].clone();
    }
    assert_eq!(planned(&next).state.app["client-version"], "3.5.0");
    next["relations"][0]["app"]["ready"] = json!("false");
    let waits = planned(&next);
    assert!(waits.hold.is_some() && waits.state.app["client-version"] == "3.4.1", "{:?}", waits.status);
    // A new relation: its folders have to be asked for although nothing moves.
    next["relations"][0]["app"]["ready"] = json!("true");
    next["relations"][0]["app"]["made"] = json!("");
    let asks = planned(&next);
    assert!(
        asks.hold.is_some()
            && !asks.tasks.contains_key("canary")
            && asks.relations["4"].app.contains_key("dirs")
    );
    // Within the minor line the client in use stays.
    let mut near = related("3.4.3");
    near["state"] = seen["state"].clone();
    let near = planned(&near);
    assert_eq!(
        (near.trees["spark"].take[0].from.to_string(), near.verdicts[0].level.as_str()),
        (digest("3.4.1"), "same-minor")
    );
    // Without the HDFS, the shipped client.
    seen["relations"] = json!([]);
    let plain = planned(&seen);
    assert!(plain.trees["spark"].take.is_empty() && !plain.state.app.contains_key("client-version"));
}

#[test]
fn a_swap_needs_a_java_for_both() {
    let mut seen = related("3.5.0");
    seen["host"]["java"] = json!([{"home": "/jdk11", "version": 11}]);
    let plan = planned(&seen);
    assert!(
        plan.trees["spark"].take.is_empty() && plan.verdicts[0].says.contains("no Java"),
        "{:?}",
        plan.verdicts
    );
    seen["host"]["java"] = json!([{"home": "/jdk25", "version": 25}]);
    let stuck = planned(&seen);
    assert_eq!((stuck.status.state, stuck.hold.is_some()), (State::Blocked, true));
    assert!(
        stuck.status.message.contains("found 25") && stuck.status.fix.contains("openjdk-17"),
        "{:?}",
        stuck.status
    );
}

#[test]
fn the_master_starts_before_the_hdfs_is_configured() {
    let mut seen = related("3.4.1");
    seen["relations"][0]["app"] = json!({});
    assert!(planned(&seen).hold.is_some(), "nothing is decided without the version");
    seen["relations"][0]["app"] = json!({"version": "3.4.1", "build": digest("3.4.1")});
    let plan = planned(&seen);
    assert_eq!(plan.services.keys().collect::<Vec<_>>(), ["master"]);
    assert_eq!((plan.trees["spark"].take.len(), plan.status.state), (2, State::Waiting));
    let whole = planned(&related("3.4.1"));
    assert_eq!(plan.services["master"], whole.services["master"], "so that it is not restarted");
}

#[test]
fn a_worker_elsewhere_follows() {
    let mut seen = related("3.4.1");
    let app = planned(&seen).state.app;
    seen["leader"] = json!(false);
    seen["unit"] = json!("spark/1");
    seen["units"] = json!(["spark/0", "spark/1"]);
    assert!(planned(&seen).hold.unwrap().contains("leader"));
    seen["state"] = json!({"app": app});
    assert!(planned(&seen).hold.unwrap().contains("spark/0"));
    seen["relations"].as_array_mut().unwrap().push(json!({"id": 1, "endpoint": "members", "interface": "spark-members",
        "remote": "spark", "life": "alive", "units": {"spark/0": {"master": "spark://10.0.0.4:7077", "ui": "http://10.0.0.4:8080",
            "history": "http://10.0.0.4:18080", "cores": "12"}}}));
    let plan = planned(&seen);
    assert_eq!(plan.services.keys().collect::<Vec<_>>(), ["worker"]);
    assert_eq!(plan.services["worker"].command.last().unwrap(), "spark://10.0.0.4:7077");
    assert!(text(&plan, "driver/spark-defaults.conf").contains("spark.cores.max 8\n"), "half of 12 + 4");
    assert_eq!(plan.trees["spark"].take.len(), 2);
    assert_eq!(plan.tasks.keys().collect::<Vec<_>>(), ["warm"]);
    assert_eq!(plan.tasks["warm"].needs, ["worker"]);
    // The master's unit is gone: the leader chooses anew.
    seen["units"] = json!(["spark/1"]);
    seen["leader"] = json!(true);
    assert_eq!(planned(&seen).state.app["master"], "spark/1");
}

#[test]
fn a_notebook_gets_all_that_its_drivers_need() {
    let mut seen = related("3.4.1");
    seen["relations"].as_array_mut().unwrap().push(notebook(7));
    let plan = planned(&seen);
    let told = &plan.relations["7"];
    assert_eq!((told.app["auth"].as_str(), told.app["build"].as_str()), ("secret:abc", "${tree:spark}"));
    assert_eq!((told.app["hadoop"].as_str(), told.app["java"].as_str()), ("3.4.1", "17"));
    let defaults: Value = serde_json::from_str(&told.app["defaults"]).unwrap();
    assert_eq!(
        (&defaults["spark.cores.max"], &defaults["spark.authenticate"]),
        (&json!("2"), &json!("true"))
    );
    assert_eq!(defaults.get("spark.authenticate.secret"), None);
    assert_eq!(told.unit["python-ready"], "${tree:python-n7}");
    assert_eq!(plan.trees["python-n7"].base.to_string(), digest("python"));
    assert!(plan.services["worker"].follows.contains(&"tree:python-n7".to_owned()));
    assert_eq!(plan.secrets["auth"].grant, [7]);
    assert!(plan.relations["4"].app["dirs"].contains("/user/stoker-jupyter"));
    // New folders were asked for, so drivers have to wait until they are made.
    assert_eq!(told.app["ready"], "false");
    assert!(plan.services.contains_key("history"), "what was made before is still there");
    let without = planned(&related("3.4.1"));
    let changed = |plan: &Plan| {
        let mut worker = plan.services["worker"].clone();
        worker.follows.clear();
        worker
    };
    assert_eq!(changed(&plan), changed(&without), "a notebook restarts no worker");
    assert_eq!(plan.services["master"], without.services["master"]);
}

#[test]
fn secrets_are_in_no_command_and_no_readable_file() {
    let mut seen = related("3.4.1");
    seen["action"] = json!({"name": "submit", "params": {"app": "/blob"}});
    let plan = planned(&seen);
    let commands = plan.services.values().map(|s| &s.command).chain(plan.action.iter().map(|a| &a.command));
    assert!(!commands.flatten().any(|word| word.contains("${secret:")));
    for (name, file) in &plan.files {
        assert!(!file.text.contains("${secret:") || file.mode.as_deref() == Some("0600"), "{name}");
    }
    assert!(text(&plan, "driver/spark-defaults.conf").contains("spark.authenticate.secret ${secret:auth}"));
    assert_eq!(plan.services["master"].env["_SPARK_AUTH_SECRET"], "${secret:auth}");
}

#[test]
fn overrides_come_last_and_stay_text() {
    let mut seen = related("3.4.1");
    seen["config"] = json!({"spark-defaults": "spark.cores.max=7\nspark.x=${port:none}", "core-site": "fs.defaultFS=hdfs://other",
        "log4j": "rootLogger.level=warn", "worker-options": "-Dw=1", "executor-options": "-De=1", "prefer-ports": ["master=7177"]});
    let plan = planned(&seen);
    let driver = text(&plan, "driver/spark-defaults.conf");
    assert!(driver.contains("spark.cores.max 7\n") && driver.contains("spark.x $${port:none}\n"), "{driver}");
    assert!(driver.contains("spark.executor.extraJavaOptions -De=1\n"));
    assert!(text(&plan, "hadoop/core-site.xml").contains("hdfs://other"));
    assert!(text(&plan, "daemon/log4j2.properties").contains("rootLogger.level=warn\n"));
    assert!(plan.services["worker"].command.contains(&"-Dw=1".to_owned()));
    assert_eq!(plan.ports["master"].prefer, 7177);
    seen["config"] = json!({"spark-defaults": "nonsense"});
    let stuck = planned(&seen);
    assert!(stuck.hold.is_some() && stuck.status.message.contains("spark-defaults"), "{:?}", stuck.status);
}

#[test]
fn actions_run_or_say_why_not() {
    let command = |seen: &Value| planned(seen).action.unwrap().command.join(" ");
    let mut seen = related("3.4.1");
    seen["action"] = json!({"name": "run-pi", "params": {"n": "3"}});
    assert!(command(&seen).ends_with("org.apache.spark.deploy.SparkSubmit ${tree:charm}/lib/pi.py 3"));
    seen["action"] = json!({"name": "submit", "params": {"app": "/blob", "args": ["a b", "${port:x}"],
        "conf": ["spark.driver.memory=3g", "spark.cores.max=1"], "class": "a.B"}});
    let said = command(&seen);
    assert!(
        said.starts_with("${tree:charm}/bin/spark launch ${dir:jobs} /blob -- /jdk17/bin/java"),
        "{said}"
    );
    assert!(said.contains(" -Xmx3g ") && said.contains("--conf spark.cores.max=1"), "{said}");
    assert!(said.ends_with("--class a.B {app} a b $${port:x}"), "{said}");
    seen["action"]["params"]["conf"] = json!(["spark.cores.max"]);
    assert!(command(&seen).contains("refuse parameter `conf`"), "{}", command(&seen));
    seen["action"] = json!({"name": "run-pi", "params": {"n": 0}});
    assert!(command(&seen).contains("refuse parameter `n`"));
    seen["relations"][0]["app"]["ready"] = json!("false");
    assert!(command(&seen).contains("refuse waiting for hadoop"));
    seen["resources"] = json!({});
    assert!(command(&seen).contains("attach a Spark build"));
}

#[test]
fn the_python_of_submitted_programs() {
    let python = |seen: &Value| {
        let mut seen = seen.clone();
        seen["action"] = json!({"name": "run-pi", "params": {}});
        planned(&seen).action.unwrap().env["PYSPARK_PYTHON"].clone()
    };
    let mut seen = alone();
    assert_eq!(python(&seen), "/usr/bin/python3", "3.13 is newer, but 3.5 was not released for it");
    seen["relations"] = json!([notebook(7)]);
    assert_eq!(python(&seen), "${tree:python-n7}/bin/python3");
    seen["resources"]["python"] =
        json!({"revision": 1, "build": digest("own"), "facts": {"product": "python", "version": "3.11.2"}});
    assert_eq!(python(&seen), "${tree:python}/bin/python3");
}

#[test]
fn a_build_without_a_client_takes_the_hdfs_s() {
    let mut seen = alone();
    seen["resources"]["spark"]["facts"]["shape"] = json!("provided");
    seen["resources"]["spark"]["facts"]["provides"] = json!({"scala": "2.12.18"});
    assert_eq!(planned(&seen).status.state, State::Blocked);
    let mut with = related("3.4.1");
    with["resources"] = seen["resources"].clone();
    let plan = planned(&with);
    assert_eq!(plan.trees["hadoop"].base.to_string(), digest("3.4.1"));
    assert!(
        plan.services["worker"].env["SPARK_DIST_CLASSPATH"].contains("${tree:hadoop}/share/hadoop/hdfs/*")
    );
    assert_eq!(plan.services["worker"].trees, ["spark", "hadoop"]);
}

#[test]
fn a_dying_unit_goes_when_its_applications_have_ended() {
    let mut seen = alone();
    seen["life"] = json!("dying");
    assert!(planned(&seen).gone);
    seen["services"] = json!({"master": {"state": "ready", "busy": {"applications": ["app-1"]}}});
    let plan = planned(&seen);
    assert_eq!((plan.gone, plan.status.state), (false, State::Waiting));
    seen["services"] = json!({});
    seen["generations"] =
        json!([{"n": 1, "services": {"master": {"state": "ready", "busy": {"applications": ["app-1"]}}}}]);
    assert!(!planned(&seen).gone, "nor do those of an earlier generation end with it");
}

#[test]
fn the_charms_description_is_valid() {
    let charm = stoker_charm::charm::parse(include_str!("../../charm.toml")).unwrap();
    assert_eq!(charm.resources["spark"].default.as_deref(), Some("recipe:3.5.9"));
    assert_eq!(charm.layouts.len(), 3);
}

proptest! {
    /// Whatever came first, equal worlds get equal plans: relations may stand in any order.
    #[test]
    fn the_order_of_relations_does_not_matter(order in Just(vec![4, 7, 9]).prop_shuffle()) {
        let mut seen = related("3.4.1");
        let relations = seen["relations"].as_array_mut().unwrap();
        relations.extend([notebook(7), notebook(9)]);
        let sorted = planned(&seen);
        let all = seen["relations"].as_array().unwrap().clone();
        let mut shuffled = seen.clone();
        shuffled["relations"] = order.iter().map(|id| all.iter().find(|r| r["id"] == *id).unwrap().clone()).collect();
        prop_assert_eq!(planned(&shuffled), sorted);
    }

    /// No observation of this shape makes it panic, and every plan is valid.
    #[test]
    fn any_relation_data_give_a_valid_plan(
        version in "[0-9a-z.$:{}]{0,8}", ready in any::<bool>(), config in "[{}\":a-z]{0,12}", python in "[a-z0-9:]{0,8}",
        user in "[a-z/. ]{0,8}", grant in 0_u64..(1 << 40), leader in any::<bool>(),
    ) {
        let mut seen = related("3.4.1");
        seen["relations"][0]["app"]["version"] = json!(version);
        seen["relations"][0]["app"]["ready"] = json!(ready.to_string());
        if !config.is_empty() {
            seen["relations"][0]["app"]["config"] = json!(config);
        }
        let mut notebook = notebook(7);
        notebook["app"] = json!({"python": python, "user": user});
        seen["relations"].as_array_mut().unwrap().push(notebook);
        seen["host"]["grant"] = json!({"cores": grant % 64, "memory": grant});
        seen["leader"] = json!(leader);
        planned(&seen);
    }
}

fn java(version: u32) -> Value {
    json!({"revision": 1, "build": digest("java"), "facts": {"product": "java", "version": format!("{version}.0.9"),
        "provides": {"java": version}}})
}

fn jars(scala: &str) -> Value {
    json!({"revision": 1, "build": digest("jars"), "facts": {"product": "jars", "version": "",
        "requires": {"scala": scala, "java": ">=8"}, "details": {"folder": ""}}})
}

#[test]
fn an_attached_java_runs_everything() {
    let mut seen = alone();
    seen["resources"]["java"] = java(11);
    seen["relations"] = json!([notebook(7)]);
    seen["action"] = json!({"name": "run-pi", "params": {}});
    let plan = planned(&seen);
    for (name, service) in &plan.services {
        assert_eq!(service.command[0], "${tree:java}/bin/java", "{name}");
        let home = if name == "worker" { "${file:executor}" } else { "${tree:java}" };
        assert_eq!(service.env["JAVA_HOME"], home, "{name}");
        assert!(service.trees.iter().any(|tree| tree == "java"), "{name}");
    }
    let wrapper = &plan.files["executor/bin/java"];
    assert!(
        wrapper.text.contains("JAVA_HOME='${tree:java}'\n") && wrapper.mode.as_deref() == Some("0750"),
        "{wrapper:?}"
    );
    assert!(plan.action.unwrap().trees.iter().any(|tree| tree == "java"));
    assert_eq!(plan.trees["java"].base.to_string(), digest("java"));
    let told = &plan.relations["7"].app;
    assert_eq!((told["java"].as_str(), told["java-build"].as_str()), ("11", "${tree:java}"));
    // The host has 17; what is attached counts all the same.
    seen["resources"]["java"] = java(25);
    let plan = planned(&seen);
    assert_eq!(plan.status.state, State::Blocked);
    assert!(plan.status.message.contains("needs Java 8 to 17, found 25"), "{}", plan.status.message);
    seen["resources"]["java"]["facts"]["details"] = json!({"modules": ["java.base"]});
    assert!(planned(&seen).status.message.contains("lacks modules"));
}

#[test]
fn jars_are_on_the_class_path_of_drivers_and_executors() {
    let mut seen = alone();
    seen["relations"] = json!([notebook(7)]);
    let before = planned(&seen);
    seen["resources"]["jars"] = jars("2.12");
    let plan = planned(&seen);
    for who in ["driver", "executor"] {
        let line = format!("spark.{who}.extraClassPath ${{tree:jars}}/*\n");
        assert!(text(&plan, "driver/spark-defaults.conf").contains(&line), "{who}");
    }
    // No worker restarts for them.
    assert!(plan.services["worker"].follows.iter().any(|what| what == "tree:jars"));
    assert_eq!(plan.services["worker"].trees, before.services["worker"].trees);
    assert_eq!(text(&plan, "daemon/spark-defaults.conf"), text(&before, "daemon/spark-defaults.conf"));
    assert_eq!(plan.relations["7"].app["jars"], "${tree:jars}");
    seen["resources"]["jars"]["facts"]["details"]["folder"] = json!("jars");
    assert!(text(&planned(&seen), "driver/spark-defaults.conf").contains("${tree:jars}/jars/*"));
    for (change, says) in [
        (json!({"requires": {"scala": "2.13"}}), "for Scala 2.13"),
        (json!({"requires": {"java": ">=21"}}), "need Java >=21"),
        (json!({"details": {"carries": ["Scala's library"]}}), "carry Scala's library"),
    ] {
        seen["resources"]["jars"] = jars("2.12");
        for (key, value) in change.as_object().unwrap() {
            seen["resources"]["jars"]["facts"][key] = value.clone();
        }
        let plan = planned(&seen);
        assert!(
            plan.status.state == State::Blocked && plan.status.message.contains(says),
            "{:?}",
            plan.status
        );
    }
}

/// The world after a plan was applied: what it remembers, its generation, its ports.
fn applied(seen: &mut Value, plan: &Plan, n: u64, port: u16) {
    seen["state"] = serde_json::to_value(&plan.state).unwrap();
    seen["generation"] = json!({"n": n, "key": plan.generation.as_ref().unwrap().key});
    seen["ports"] = json!({"master": port});
}

fn worker_words(plan: &Plan, name: &str) -> String {
    plan.services[name].command.join(" ")
}

#[test]
fn another_build_is_a_generation_beside() {
    let mut seen = alone();
    seen["relations"] = json!([notebook(7)]);
    let first = planned(&seen);
    let key = first.generation.clone().unwrap().key;
    assert!(key.starts_with("3.5.9+3.3.4+java17+"), "{key}");
    let marked: Vec<&String> =
        first.services.iter().filter(|(_, s)| s.generation).map(|(name, _)| name).collect();
    assert_eq!(marked, ["master", "worker"], "the history server is of none");
    assert!(
        first.dirs["work"].generation
            && first.ports["master-ui"].generation
            && !first.dirs["home"].generation
    );
    assert!(!first.ports["driver"].generation && !first.ports["history"].generation);

    // Another build: what runs is taken to be in use until it was asked.
    applied(&mut seen, &first, 1, 7077);
    assert_eq!(planned(&seen).generation.unwrap().key, key, "nothing changes by itself");
    seen["relations"][0]["ours"] = json!({"app": {"master": "spark://10.0.0.5:7077", "version": "3.5.9"}});
    seen["resources"]["spark"]["build"] = json!(digest("spark 2"));
    seen["resources"]["spark"]["facts"]["version"] = json!("3.5.8");
    seen["services"] = json!({"master": {"state": "ready"}, "worker": {"state": "ready"}});
    let careful = planned(&seen);
    assert_ne!(careful.generation.as_ref().unwrap().key, key);
    assert!(
        worker_words(&careful, "worker").contains("-c 1 -m 512m"),
        "{}",
        worker_words(&careful, "worker")
    );
    // Asked, and idle: it uses nothing.
    seen["services"]["worker"]["busy"] = json!({"applications": []});
    let second = planned(&seen);
    assert!(worker_words(&second, "worker").contains("-c 4 -m 5324m"), "{}", worker_words(&second, "worker"));
    // Busy.
    seen["services"]["worker"]["busy"] = json!({"applications": ["app-1"]});
    let second = planned(&seen);
    assert!(worker_words(&second, "worker").contains("-m 512m"));
    let app = &second.relations["7"].app;
    assert_eq!(
        (app["master"].as_str(), app["version"].as_str()),
        ("spark://10.0.0.5:7077", "3.5.9"),
        "not ready yet"
    );
    let mut action = seen.clone();
    action["action"] = json!({"name": "run-pi", "params": {}});
    assert!(planned(&action).action.unwrap().command.join(" ").contains("moves to Spark 3.5.8"));

    // It moved: the first goes on beside it; sizes stay.
    applied(&mut seen, &second, 2, 7079);
    let frozen = json!({"n": 1, "key": key, "release": 1, "draining": false, "ports": {"master": 7077},
        "services": {"worker": {"state": "ready", "busy": {"applications": ["app-1"]}}}});
    seen["generations"] = json!([frozen]);
    seen["services"] = json!({});
    let starts = planned(&seen);
    assert_eq!(starts.services["worker"], second.services["worker"], "a running one is never resized");
    assert_eq!(starts.relations["7"].app["version"], "3.5.9");
    seen["generations"][0]["draining"] = json!(true);
    let drains = planned(&seen);
    assert_eq!(drains.relations["7"].app["version"], "3.5.8");
    assert!(!drains.services.contains_key("worker-2"));
    // The notebook's kernels hold it.
    seen["relations"][0]["app"]["holds"] = json!(json!([key, "no key of ours"]).to_string());
    assert_eq!(planned(&seen).generation.unwrap().keep, std::slice::from_ref(&key));

    // The first has ended: what it had goes to a further worker.
    seen["generations"] = json!([]);
    let alone = planned(&seen);
    assert_eq!(alone.services["worker"], second.services["worker"]);
    let more = worker_words(&alone, "worker-2");
    assert!(
        more.contains("-c 3 -m 4812m") && more.contains("${dir:work-2}") && more.contains("${port:worker-2}"),
        "{more}"
    );
    assert!(text(&alone, "driver/spark-defaults.conf").contains("spark.executor.memory 2406m"));
    assert_eq!(alone.files["daemon/spark-defaults.conf"], second.files["daemon/spark-defaults.conf"]);

    // Back while the first drains: it is planned as it was.
    seen["generations"] = json!([frozen]);
    seen["resources"]["spark"]["build"] = json!(digest("spark"));
    seen["resources"]["spark"]["facts"]["version"] = json!("3.5.9");
    let back = planned(&seen);
    assert_eq!(
        (&back.services["worker"], &back.services["master"]),
        (&first.services["worker"], &first.services["master"])
    );
}

#[test]
fn a_worker_takes_the_master_of_its_own_generation() {
    let mut seen = alone();
    let key = planned(&seen).generation.unwrap().key;
    seen["unit"] = json!("spark/1");
    seen["units"] = json!(["spark/0", "spark/1"]);
    seen["leader"] = json!(false);
    seen["state"] = json!({"app": {"master": "spark/0"}});
    let masters =
        |of: &str| json!({of: "spark://10.0.0.4:7079", "other": "spark://10.0.0.4:7077"}).to_string();
    seen["relations"] = json!([{"id": 1, "endpoint": "members", "interface": "spark-members", "remote": "spark",
        "life": "alive", "units": {"spark/0": {"master": "spark://10.0.0.4:7077", "ui": "http://10.0.0.4:8080",
            "history": "http://10.0.0.4:18080", "masters": masters("another")}}}]);
    assert!(planned(&seen).hold.unwrap().contains(&key));
    seen["relations"][0]["units"]["spark/0"]["masters"] = json!(masters(&key));
    assert_eq!(planned(&seen).services["worker"].command.last().unwrap(), "spark://10.0.0.4:7079");
}
