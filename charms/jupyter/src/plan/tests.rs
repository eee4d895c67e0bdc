//! Observations in, plans out.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use stoker_charm::observation::Observation;
use stoker_charm::plan::Plan;
use stoker_charm::status::State;

use super::{literal, plan};

fn digest(letter: char) -> String {
    format!("b3:{}", letter.to_string().repeat(64))
}

fn observation(change: impl FnOnce(&mut Value)) -> Observation {
    let mut seen = json!({
        "format": 1, "model": "default", "app": "jupyter", "app_uuid": "u", "unit": "jupyter/0",
        "units": ["jupyter/0"], "leader": true, "release": 1, "charm": digest('c'),
        "users": {"jupyter": "stoker-jupyter"},
        "config": {"port": 8888, "max-kernels": 4, "profiles": [], "cores": "auto", "executor-memory": "auto",
            "driver-memory": 1_073_741_824_u64, "cull-idle": "0s", "cull-connected": false},
        "host": {"name": "h", "arch": "x86_64", "cores": 4, "memory": 8_000_000_000_u64,
            "addresses": {"default": "10.0.0.5"}, "java": [{"home": "/jdk/25", "version": 25},
            {"home": "/jdk/17", "version": 17}], "python": [{"path": "/usr/bin/python3", "version": "3.11"}]},
        "resources": {"python": {"revision": 1, "build": digest('a'), "facts": {"product": "python",
            "version": "3.11.2", "requires": {"base": "CPython 3.11 at /usr"},
            "details": {"packages": {"jupyterlab": "4.6.6"}}}}},
        "relations": []
    });
    change(&mut seen);
    serde_json::from_value(seen).unwrap()
}

fn relate(seen: &mut Value) {
    let app = json!({"master": "spark://10.0.0.5:7077", "version": "3.5.9", "build": digest('b'), "java": "17",
        "hadoop": "3.4.1", "auth": "secret:s1", "ready": "true",
        "defaults": r#"{"spark.cores.max":"2","spark.eventLog.dir":"hdfs://ns/spark-logs"}"#,
        "config": r#"{"core-site":{"fs.defaultFS":"hdfs://ns"},"hdfs-site":{"dfs.nameservices":"ns"}}"#});
    seen["relations"] = json!([{"id": 6, "endpoint": "spark", "interface": "spark", "remote": "spark", "app": app,
        "units": {"spark/0": {"python-ready": digest('a')}}}]);
}

/// The plan, valid as the agent judges it.
fn planned(seen: &Observation) -> Plan {
    let mut made = plan(seen).unwrap();
    made.format = stoker_charm::plan::FORMAT;
    stoker_charm::plan::parse(&serde_json::to_vec(&made).unwrap(), seen).unwrap()
}

/// A file of the related cluster's drivers: folders are named after its key, here its build.
fn conf_file(folder: &str, file: &str) -> String {
    format!("{folder}-{}/{file}", &stoker_charm::ids::Digest::of(digest('b').as_bytes()).hex()[..8])
}

fn kernels(plan: &Plan) -> BTreeSet<&str> {
    plan.files.keys().filter_map(|f| f.strip_prefix("share/kernels/")?.strip_suffix("/kernel.json")).collect()
}

/// What a service is but for how it is asked.
fn inputs(plan: &Plan) -> Value {
    let lab = &plan.services["lab"];
    json!([lab.command, lab.env, lab.trees, lab.files, lab.dirs, lab.ports, lab.user])
}

#[test]
fn without_a_cluster_there_is_a_server() {
    let plan = planned(&observation(|_| {}));
    assert_eq!((plan.status.state, plan.version.as_str()), (State::Active, "4.6.6"));
    assert!(kernels(&plan).is_empty() && plan.relations.is_empty());
    let lab = &plan.services["lab"];
    assert_eq!(lab.env["JUPYTER_TOKEN"], "${secret:token}");
    assert!(!lab.command.iter().any(|word| word.contains("secret")), "{:?}", lab.command);
    assert_eq!(lab.busy["kernels"].each.as_deref(), Some("/id"));
    assert!(plan.dirs["work"].keep && !plan.dirs["home"].keep);
    assert_eq!(plan.ports["driver"].count, 12);
}

#[test]
fn without_an_environment_it_says_what_to_attach() {
    let plan = planned(&observation(|seen| seen["resources"] = json!({})));
    assert_eq!(plan.status.state, State::Blocked);
    assert!(plan.status.fix.starts_with("stoker attach-resource jupyter python="));
    assert!(plan.services.is_empty() && plan.dirs["work"].keep);
}

#[test]
fn a_cluster_becomes_a_kernel() {
    let seen = observation(relate);
    let plan = planned(&seen);
    assert_eq!((plan.status.state, plan.status.message.as_str()), (State::Active, "PySpark 3.5.9 on spark"));
    assert_eq!(kernels(&plan), ["pyspark"].into());
    let file = &plan.files["share/kernels/pyspark/kernel.json"];
    assert!(file.live);
    let spec: Value = serde_json::from_str(&file.text).unwrap();
    assert_eq!(spec["display_name"], "PySpark (spark, 3.5.9)");
    assert_eq!(
        (&spec["env"]["JAVA_HOME"], &spec["env"]["HADOOP_VERSION"]),
        (&json!("/jdk/17"), &json!("3.4.1"))
    );
    assert_eq!(spec["env"]["PYSPARK_PYTHON"], "${tree:python}/bin/python");
    assert_eq!(plan.trees["spark"].base.to_string(), digest('b'));
    assert_eq!(plan.secrets["spark"].from.as_deref(), Some("secret:s1"));
    let conf = &plan.files[&conf_file("conf", "spark-defaults.conf")].text;
    for line in [
        "spark.master spark://10.0.0.5:7077",
        "spark.cores.max 2",
        "spark.eventLog.dir hdfs://ns/spark-logs",
        "spark.driver.host ${address:default}",
        "spark.authenticate.secret ${secret:spark}",
        "spark.port.maxRetries 0",
    ] {
        assert!(conf.lines().any(|l| l == line), "{line}\n{conf}");
    }
    assert!(plan.files[&conf_file("hadoop", "core-site.xml")].text.contains("<value>hdfs://ns</value>"));
    let bag = &plan.relations["6"].app;
    assert_eq!((bag["python"].as_str(), bag["user"].as_str()), ("${tree:python}", "stoker-jupyter"));
}

#[test]
fn the_server_does_not_notice_its_cluster() {
    let alone = planned(&observation(|_| {}));
    let related = planned(&observation(relate));
    let moved = planned(&observation(|seen| {
        relate(seen);
        seen["relations"][0]["app"]["build"] = json!(digest('d'));
        seen["relations"][0]["app"]["version"] = json!("3.5.8");
    }));
    assert_eq!(inputs(&alone), inputs(&related));
    assert_eq!(inputs(&related), inputs(&moved));
    let follows = &related.services["lab"].follows;
    for name in ["tree:spark", "tree:charm", "file:share", "file:conf-", "file:hadoop-"] {
        assert!(follows.iter().any(|f| f.starts_with(name)), "{name}: {follows:?}");
    }
    assert!(!related.services["lab"].trees.contains(&"charm".to_owned()));
}

#[test]
fn kernels_wait_for_what_they_need_and_then_stay() {
    let gone = |what: &'static str| {
        observation(|seen| {
            relate(seen);
            seen["relations"][0]["app"].as_object_mut().unwrap().remove(what);
        })
    };
    for key in ["master", "version", "build", "java", "ready"] {
        let plan = planned(&gone(key));
        assert_eq!(plan.status.state, State::Waiting, "{key}");
        assert!(kernels(&plan).is_empty() && plan.services.contains_key("lab"), "{key}");
        // Told first, since the cluster waits for it.
        assert!(plan.relations["6"].app.contains_key("python"), "{key}");
    }
    let second = |seen: &mut Value| {
        relate(seen);
        seen["relations"][0]["units"]["spark/1"] = json!({});
    };
    let plan = planned(&observation(second));
    assert_eq!(plan.status.message, "spark/1 has not linked the Python environment yet");
    assert!(kernels(&plan).is_empty());
    // A unit that comes later takes nothing away.
    let mut seen = observation(second);
    seen.state = planned(&observation(relate)).state;
    assert_eq!(kernels(&planned(&seen)), ["pyspark"].into());
}

#[test]
fn without_the_clusters_java_there_is_no_kernel() {
    let plan = planned(&observation(|seen| {
        relate(seen);
        seen["host"]["java"] = json!([{"home": "/jdk/25", "version": 25}]);
    }));
    assert_eq!(
        (plan.status.state, plan.status.fix.as_str()),
        (State::Blocked, "apt install openjdk-17-jre-headless")
    );
    assert!(plan.services.contains_key("lab") && kernels(&plan).is_empty());
}

#[test]
fn what_the_user_sets_comes_last() {
    let plan = planned(&observation(|seen| {
        relate(seen);
        let config = seen["config"].as_object_mut().unwrap();
        config.insert("profiles".into(), json!(["large:8:4g"]));
        config.insert("spark-defaults".into(), json!("spark.cores.max=5\nspark.x=${port:lab} \\d"));
        config.insert("hdfs-site".into(), json!("dfs.replication=2"));
        config.insert("server-options".into(), json!("ServerApp.quit_button=False"));
        config.insert("log4j".into(), json!("rootLogger.level=info"));
        config.insert("cull-idle".into(), json!("2h"));
    }));
    assert_eq!(kernels(&plan), ["pyspark", "pyspark-large"].into());
    let conf = &plan.files[&conf_file("conf", "spark-defaults.conf").replace('/', "-large/")].text;
    assert!(conf.contains("spark.cores.max 5\n") && conf.contains("spark.executor.memory 4096m\n"), "{conf}");
    assert!(conf.contains("spark.x $${port:lab} \\\\d\n"), "{conf}");
    assert!(plan.files[&conf_file("hadoop", "hdfs-site.xml")].text.contains("dfs.replication"));
    assert!(plan.files[&conf_file("conf", "log4j2.properties")].text.contains("rootLogger.level=info\n"));
    let command = &plan.services["lab"].command;
    for word in ["--ServerApp.quit_button=False", "--MappingKernelManager.cull_idle_timeout=7200"] {
        assert!(command.iter().any(|w| w == word), "{word}: {command:?}");
    }
}

#[test]
fn a_wrong_option_changes_nothing_that_runs() {
    let plan = planned(&observation(|seen| seen["config"]["profiles"] = json!(["a:b"])));
    assert_eq!(plan.status.state, State::Blocked);
    assert!(plan.hold.as_deref().is_some_and(|why| why.contains("profiles")));
    assert!(plan.services.contains_key("lab"));
}

#[test]
fn an_environment_of_another_python_is_refused() {
    let plan = planned(&observation(|seen| {
        seen["host"]["python"] = json!([{"path": "/usr/bin/python3", "version": "3.13"}]);
    }));
    assert_eq!(plan.status.state, State::Blocked);
    assert!(plan.status.message.contains("CPython 3.11 at /usr") && plan.hold.is_some());
}

#[test]
fn broken_data_of_the_cluster_are_named() {
    for (key, value) in [("build", "b3:zz"), ("java", "new"), ("defaults", "[]"), ("config", "{")] {
        let plan = planned(&observation(|seen| {
            relate(seen);
            seen["relations"][0]["app"][key] = json!(value);
        }));
        assert_eq!(plan.status.state, State::Blocked, "{key}");
        assert!(plan.status.message.contains(&format!("`{key}` of spark")), "{}", plan.status.message);
        assert!(plan.services.contains_key("lab"));
    }
}

#[test]
fn the_action_url_gets_the_token_by_environment() {
    let plan = planned(&observation(|seen| seen["action"] = json!({"name": "url", "params": {}})));
    let task = plan.action.unwrap();
    assert_eq!(task.env["JUPYTER_TOKEN"], "${secret:token}");
    assert!(task.trees.contains(&"charm".to_owned()));
}

#[test]
fn a_dying_unit_goes() {
    assert!(planned(&observation(|seen| seen["life"] = json!("dying"))).gone);
}

proptest! {
    /// Nothing of others' texts is taken for a placeholder, whatever it is.
    #[test]
    fn any_text_of_others_makes_a_valid_plan(text in "[a-z${}:\\\\=,\n\"<& -]{0,24}", key in "[a-z.]{1,8}") {
        let seen = observation(|seen| {
            relate(seen);
            seen["relations"][0]["app"]["defaults"] = json!(json!({key.clone(): text.clone()}).to_string());
            seen["relations"][0]["app"]["version"] = json!(format!("v{text}"));
            seen["config"]["driver-java-options"] = json!(text.clone());
            seen["config"]["spark-defaults"] = json!(format!("{key}={text}"));
        });
        planned(&seen);
        let back = stoker_charm::placeholder::fill::<()>(&literal(&text), |_, _| Err(()));
        prop_assert_eq!(back, Ok(text));
    }

    /// Data that come bit by bit, in any order, end in the same plan.
    #[test]
    fn any_order_of_data_ends_the_same(order in Just(vec!["master", "version", "build", "java", "ready", "auth", "defaults"]).prop_shuffle()) {
        let whole = observation(relate);
        let mut seen = whole.clone();
        seen.relations[0].app.clear();
        for key in order {
            let value = whole.relations[0].app[key].clone();
            seen.relations[0].app.insert(key.to_owned(), value);
            seen.state = planned(&seen).state;
        }
        seen.relations[0].app = whole.relations[0].app.clone();
        let (one, mut other) = (planned(&whole), planned(&seen));
        other.state = one.state.clone();
        prop_assert_eq!(one, other);
        prop_assert_eq!(&digest('a'), &planned(&seen).state.unit["offered"]);
    }
}

#[test]
fn drivers_run_on_the_clusters_java_and_jars() {
    let spec = |plan: &Plan| plan.files["share/kernels/pyspark/kernel.json"].text.clone();
    let plan = planned(&observation(|seen| {
        relate(seen);
        seen["relations"][0]["app"]["java-build"] = json!(digest('d'));
        seen["relations"][0]["app"]["jars"] = json!(digest('e'));
        seen["relations"][0]["app"]["jars-folder"] = json!("jars");
    }));
    assert!(spec(&plan).contains(r#""JAVA_HOME": "${tree:java}""#), "{}", spec(&plan));
    assert_eq!(
        (plan.trees["java"].base.to_string(), plan.trees["jars"].base.to_string()),
        (digest('d'), digest('e'))
    );
    let conf = &plan.files[&conf_file("conf", "spark-defaults.conf")].text;
    assert!(conf.contains("spark.executor.extraClassPath ${tree:jars}/jars/*\n"), "{conf}");
    let follows = &plan.services["lab"].follows;
    assert!(
        ["tree:java", "tree:jars"].iter().all(|tree| follows.iter().any(|what| what == tree)),
        "{follows:?}"
    );

    let attached = |version: u32| {
        planned(&observation(|seen| {
            relate(seen);
            seen["resources"]["java"] = json!({"revision": 1, "build": digest('f'), "facts": {"product": "java",
                "version": format!("{version}.0.1"), "provides": {"java": version}}});
        }))
    };
    let plan = attached(17);
    assert!(spec(&plan).contains("${tree:java}") && plan.trees["java"].base.to_string() == digest('f'));
    let blocked = attached(21).status;
    assert!(blocked.message.contains("the attached Java is not Java 17"), "{blocked:?}");
}

#[test]
fn what_kernels_hold_stays_as_it_was() {
    let mut seen = observation(|seen| {
        relate(seen);
        seen["relations"][0]["app"]["key"] = json!("k1");
    });
    let first = planned(&seen);
    let spec = &first.files["share/kernels/pyspark/kernel.json"].text;
    assert!(spec.contains(r#""--key""#) && spec.contains(r#""k1""#), "{spec}");
    assert_eq!(first.tasks["holds"].every.as_deref(), Some("15s"));
    assert!(!first.relations["6"].app.contains_key("holds"));

    // Another generation, while a kernel of the first lives.
    seen.state = first.state.clone();
    let app = &mut seen.relations[0].app;
    app.insert("key".into(), "k2".into());
    app.insert("build".into(), digest('d'));
    app.insert("master".into(), "spark://10.0.0.5:7079".into());
    let task = json!({"key": "t", "state": "done", "exit": 0, "result": {"holds": ["k1"]}});
    seen.tasks.insert("holds".into(), serde_json::from_value(task).unwrap());
    let second = planned(&seen);
    assert_eq!(second.relations["6"].app["holds"], r#"["k1"]"#);
    let of_first: Vec<&String> =
        first.files.keys().filter(|name| name.starts_with("conf-") || name.starts_with("hadoop-")).collect();
    assert_eq!(of_first.len(), 4);
    assert!(
        of_first.iter().all(|name| first.files[*name] == second.files[*name]),
        "{:?}",
        second.files.keys()
    );
    assert!(
        second
            .trees
            .iter()
            .any(|(name, tree)| name.starts_with("spark-") && tree.base.to_string() == digest('b'))
    );
    assert!(second.files["share/kernels/pyspark/kernel.json"].text.contains(r#""k2""#));
    assert_eq!(inputs(&first), inputs(&second));

    // The kernel has ended.
    seen.state = second.state.clone();
    seen.tasks.get_mut("holds").unwrap().result = json!({"holds": []});
    let third = planned(&seen);
    assert!(of_first.iter().all(|name| !third.files.contains_key(*name)));
    assert!(!third.state.unit["clusters"].contains("k1"));
}
