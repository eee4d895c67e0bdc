//! The services: master, worker, history server. They are started by plain `java`, which saves the launcher's JVM
//! and shell; what `spark-class` would set (class path, Scala's version) is set here.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stoker_charm::plan::{Limits, Service, Stop, Task};
use stoker_charm::probe::{Op, Probe};
use stoker_charm::warm;

use super::defaults::mebibytes;
use super::generation::nth;
use super::{SECRET, Scene, USER};

/// Daemons live long and compute little: a small compiler and collector start fastest and take the least.
const DAEMON_FLAGS: [&str; 3] =
    ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"];

/// From this heap on pointers are not what they are in the JVM's own archive.
const HUGE_HEAP: u64 = 31 << 30;
const MASTER: &str = "org.apache.spark.deploy.master.Master";

/// All services of the unit.
pub(super) fn services(scene: &Scene<'_>) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    // What runs programs has to know the HDFS from its start; the master does not care.
    if scene.configured() {
        let workers = (0..scene.own.workers.len()).map(|at| (nth("worker", at), worker(scene, at)));
        services.extend(workers);
    }
    if scene.cluster.master_here() {
        services.insert("master".to_owned(), Service { generation: true, ..master(scene) });
        // Its folder has to be there before it starts.
        if scene.own_folders() {
            services.insert("history".to_owned(), history(scene));
        }
    }
    services
}

fn master(scene: &Scene<'_>) -> Service {
    let mut service = daemon(
        scene,
        "daemon",
        scene.config.daemon_memory,
        &scene.config.jvm.master,
        &[
            MASTER,
            "--host",
            "${address:default}",
            "--port",
            "${port:master}",
            "--webui-port",
            "${port:master-ui}",
        ],
    );
    let page = "http://${address:default}:${port:master-ui}/json/";
    service.ports = names(&["master", "master-ui"]);
    service.dirs = names(&["home"]);
    service.ready = vec![answer(page, "/status", Op::Eq, json!("ALIVE"))];
    service.busy = BTreeMap::from([("applications".to_owned(), each(page, "/activeapps", "/id"))]);
    service
}

fn worker(scene: &Scene<'_>, at: usize) -> Service {
    let size = scene.own.workers.get(at).copied().unwrap_or_default();
    let (cores, memory) = (size.cores.to_string(), mebibytes(size.memory));
    let (work, local) = (format!("${{dir:{}}}", nth("work", at)), format!("${{dir:{}}}", nth("local", at)));
    let port = |name: &str| format!("${{port:{}}}", nth(name, at));
    let mut service = daemon(
        scene,
        "daemon",
        scene.config.daemon_memory,
        &scene.config.jvm.worker,
        &[
            "org.apache.spark.deploy.worker.Worker",
            "--host",
            "${address:default}",
            "--port",
            &port("worker"),
            "--webui-port",
            &port("worker-ui"),
            "-c",
            &cores,
            "-m",
            &memory,
            "-d",
            &work,
            &scene.cluster.url,
        ],
    );
    let page = &format!("http://${{address:default}}:{}/json/", port("worker-ui"));
    service.generation = true;
    service.env.insert("SPARK_WORKER_DIR".to_owned(), work);
    service.env.insert("SPARK_LOCAL_DIRS".to_owned(), local);
    service.env.insert("HADOOP_CONF_DIR".to_owned(), "${file:hadoop}".to_owned());
    // Executors are started with the Java below this; the worker itself runs what its command says.
    service.env.insert("JAVA_HOME".to_owned(), "${file:executor}".to_owned());
    service.files.extend(names(&["hadoop", "executor"]));
    service.dirs = vec!["home".to_owned(), nth("work", at), nth("local", at)];
    service.ports = vec![nth("worker", at), nth("worker-ui", at)];
    // Executors run the Python of the notebook that they work for; a new notebook is no reason to stop them.
    let pythons = scene.notebooks.iter().filter(|n| n.python.is_some());
    service.follows.extend(pythons.map(|n| format!("tree:{}", n.tree())));
    if scene.seen.resources.contains_key("python") {
        service.follows.push("tree:python".to_owned());
    }
    if scene.jars.is_some() {
        // Drivers name them to executors; others are for later ones.
        service.follows.push(format!("tree:{}", super::jars::TREE));
    }
    // A worker that finds no master tries again only seconds later.
    if scene.cluster.master_here() {
        service.needs = names(&["master"]);
    }
    service.ready = vec![answer(page, "/masterurl", Op::Ne, json!(""))];
    service.busy = BTreeMap::from([("applications".to_owned(), each(page, "/executors", "/appid"))]);
    "always".clone_into(&mut service.restart.on);
    service
}

fn history(scene: &Scene<'_>) -> Service {
    let mut service = daemon(
        scene,
        "history",
        scene.cluster.history_memory,
        &scene.config.jvm.history,
        &["org.apache.spark.deploy.history.HistoryServer"],
    );
    service.env.insert("HADOOP_CONF_DIR".to_owned(), "${file:hadoop}".to_owned());
    service.files.push("hadoop".to_owned());
    service.dirs = names(&["home", "history"]);
    service.dirs.extend(names(scene.local_data()));
    service.ports = names(&["history"]);
    // Nobody waits for it: what is on the way to a first result goes first.
    service.needs = names(&["worker"]);
    service.ready = vec![Probe {
        http: Some("http://${address:default}:${port:history}/api/v1/applications?limit=1".to_owned()),
        ..Probe::default()
    }];
    service
}

/// What the daemons have in common.
fn daemon(scene: &Scene<'_>, conf: &str, heap: u64, options: &[String], main: &[&str]) -> Service {
    let mut command = vec![java(scene), format!("-Xmx{}", mebibytes(heap))];
    command.extend(DAEMON_FLAGS.map(ToOwned::to_owned));
    let warms = conf == "daemon" && warms(scene) && heap < HUGE_HEAP;
    if warms {
        // A jar that comes before our configuration may have one of its own.
        command.push(logs_by(&format!("${{file:{conf}}}"), scene.spark.log4j));
    }
    command.extend(options.iter().map(|option| super::defaults::escaped(option)));
    let classpath = if warms { format!("{}:${{file:{conf}}}", jars(scene)) } else { classpath(scene, conf) };
    command.extend(["-cp".to_owned(), classpath]);
    command.extend(main.iter().map(|word| (*word).to_owned()));
    let mut service = Service {
        command,
        env: environment(scene, conf),
        user: Some(USER.to_owned()),
        trees: scene.alignment.tree_names(),
        files: vec![conf.to_owned()],
        success: vec![0, 143],
        stop: Stop { grace: "60s".to_owned(), ..Stop::default() },
        limits: Limits { nofile: 65_536, ..Limits::default() },
        ..Service::default()
    };
    if warms {
        let archive = if main.first().is_some_and(|class| *class == MASTER) { "master" } else { "worker" };
        warm::started(&mut service, "${tree:charm}/bin/spark", archive);
    }
    service
}

/// Whether master and workers start with class-data archives, once there are some. Executors and drivers do not: their
/// class paths are Spark's launcher's to make, configuration first.
pub(super) fn warms(scene: &Scene<'_>) -> bool {
    scene.java.version >= warm::SINCE && !scene.seen.charm.is_empty()
}

/// Makes those archives once the daemons run, and again where they have come to fit no longer.
pub(super) fn archives(scene: &Scene<'_>, services: &BTreeMap<String, Service>) -> Option<Task> {
    let needs: Vec<String> = ["master", "worker"]
        .map(ToOwned::to_owned)
        .into_iter()
        .filter(|name| services.contains_key(name))
        .collect();
    let mut trees = scene.alignment.tree_names();
    trees.push("charm".to_owned());
    (scene.config.warm && warms(scene) && !needs.is_empty()).then(|| Task {
        idle: true,
        every: Some("12h".to_owned()),
        command: vec![
            "${tree:charm}/bin/spark".to_owned(),
            warm::MAKE.to_owned(),
            format!("${{dir:{}}}", warm::FOLDER),
            java(scene),
            jars(scene),
            scene.spark.log4j.to_string(),
        ],
        env: [("SPARK_HOME", "${tree:spark}"), ("SPARK_SCALA_VERSION", scene.spark.scala.as_str())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        user: Some(USER.to_owned()),
        trees,
        dirs: names(&[warm::FOLDER]),
        needs,
        timeout: Some("30m".to_owned()),
        retry: 1,
        ..Task::default()
    })
}

fn java(scene: &Scene<'_>) -> String {
    format!("{}/bin/java", scene.java.home)
}

/// Jars alone, as archives are made of them.
fn jars(scene: &Scene<'_>) -> String {
    let spark = "${tree:spark}/jars/*".to_owned();
    std::iter::once(spark).chain(scene.alignment.provided_classpath()).collect::<Vec<_>>().join(":")
}

/// The option that names the log's configuration, which a folder has under its usual name.
pub(crate) fn logs_by(folder: &str, log4j: u64) -> String {
    if log4j >= 2 {
        format!("-Dlog4j2.configurationFile=file:{folder}/log4j2.properties")
    } else {
        format!("-Dlog4j.configuration=file:{folder}/log4j.properties")
    }
}

/// The class path of everything that runs Spark's classes: its configuration, its jars, Hadoop's configuration.
pub(super) fn classpath(scene: &Scene<'_>, conf: &str) -> String {
    let mut parts = vec![format!("${{file:{conf}}}"), "${tree:spark}/jars/*".to_owned()];
    if conf != "daemon" {
        parts.push("${file:hadoop}".to_owned());
    }
    parts.extend(scene.alignment.provided_classpath());
    parts.join(":")
}

/// The environment that Spark's scripts would make.
pub(super) fn environment(scene: &Scene<'_>, conf: &str) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = [
        ("HOME", "${dir:home}"),
        ("JAVA_HOME", scene.java.home.as_str()),
        ("SPARK_HOME", "${tree:spark}"),
        ("SPARK_SCALA_VERSION", scene.spark.scala.as_str()),
        ("SPARK_LOCAL_IP", "${address:default}"),
        ("SPARK_PUBLIC_DNS", "${address:default}"),
        ("SPARK_NO_DAEMONIZE", "1"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    env.insert("SPARK_CONF_DIR".to_owned(), format!("${{file:{conf}}}"));
    // Drivers take it from their properties only; the history server talks to nobody of the cluster.
    if conf == "daemon" {
        env.insert("_SPARK_AUTH_SECRET".to_owned(), format!("${{secret:{SECRET}}}"));
    }
    if let Some(classpath) = scene.alignment.provided_classpath() {
        env.insert("SPARK_DIST_CLASSPATH".to_owned(), classpath);
    }
    env
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn answer(http: &str, pointer: &str, op: Op, value: Value) -> Probe {
    Probe {
        http: Some(http.to_owned()),
        pointer: Some(pointer.to_owned()),
        op: Some(op),
        value: Some(value),
        ..Probe::default()
    }
}

fn each(http: &str, pointer: &str, each: &str) -> Probe {
    Probe {
        http: Some(http.to_owned()),
        pointer: Some(pointer.to_owned()),
        each: Some(each.to_owned()),
        ..Probe::default()
    }
}
