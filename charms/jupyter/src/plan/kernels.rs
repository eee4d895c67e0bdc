//! PySpark kernels: their specs and the configuration of their drivers, as files. Owns when they are offered.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;
use stoker_charm::java as attached;
use stoker_charm::observation::{Java, Observation};
use stoker_charm::plan::{File, Plan, Secret};
use stoker_charm::site;
use stoker_charm::status::{State, Status};

use super::cluster::Cluster;
use super::{CLUSTERS, OFFERED, USER, base, literal, server};
use crate::options::{Options, Profile};

/// The folder of files that Jupyter looks for kernels in; it has a fixed path.
pub(super) const SHARE: &str = "share";

/// Adds the kernels, or says what they wait for.
pub(super) fn offer(
    seen: &Observation,
    options: &Options,
    cluster: &Cluster,
    python: &str,
    out: &mut Plan,
) -> Result<(), Status> {
    held(seen, options, cluster, out);
    out.trees.insert("spark".into(), base(&cluster.build));
    linked(seen, cluster, python, out)?;
    let java = java(seen, cluster, out)?;
    if let Some((build, _)) = &cluster.jars {
        out.trees.insert("jars".into(), base(build));
    }
    drivers(seen, options, cluster, "jars", out);
    for profile in &options.profiles {
        let conf = folder(&format!("conf-{}", cluster.tag()), profile);
        let spec = spec(options, cluster, profile, &java, &conf);
        let name = format!("{SHARE}/kernels/{}/kernel.json", folder("pyspark", profile));
        out.files.insert(name, File { text: spec, live: true, user: Some(USER.into()), ..File::default() });
    }
    Ok(())
}

/// The configuration of a cluster's drivers, in folders that are named after its key: a kernel finds its own for as long
/// as it lives.
fn drivers(seen: &Observation, options: &Options, cluster: &Cluster, jars: &str, out: &mut Plan) {
    if let Some(id) = &cluster.auth {
        out.secrets.insert("spark".into(), Secret { from: Some(id.clone()), ..Secret::default() });
    }
    let tag = cluster.tag();
    let sites = [
        ("core-site", over(&cluster.sites.core_site, &options.core_site)),
        ("hdfs-site", over(&cluster.sites.hdfs_site, &options.hdfs_site)),
    ];
    for (name, pairs) in sites {
        file(out, &format!("hadoop-{tag}/{name}.xml"), literal(&site::xml(&pairs)));
    }
    for profile in &options.profiles {
        let conf = folder(&format!("conf-{tag}"), profile);
        file(out, &format!("{conf}/spark-defaults.conf"), defaults(seen, options, cluster, profile, jars));
        file(out, &format!("{conf}/log4j2.properties"), log4j(&options.log4j));
    }
}

/// What kernels of earlier generations still use stays as it was: their trees and their configuration. The cluster's
/// data are remembered for that, those of the present one and of each that is held.
fn held(seen: &Observation, options: &Options, cluster: &Cluster, out: &mut Plan) {
    let relation = seen.relations.iter().find(|relation| relation.id == cluster.relation);
    let mut memory: BTreeMap<String, BTreeMap<String, String>> =
        seen.state.unit.get(CLUSTERS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let holds = super::holds(seen);
    memory.retain(|key, _| *key != cluster.key && holds.as_ref().is_none_or(|holds| holds.contains(key)));
    for app in memory.values() {
        let Some(old) = super::cluster::remembered(cluster, app.clone()) else { continue };
        let tag = old.tag();
        out.trees.insert(format!("spark-{tag}"), base(&old.build));
        out.trees.extend(old.java_build.iter().map(|build| (format!("java-{tag}"), base(build))));
        let jars = format!("jars-{tag}");
        out.trees.extend(old.jars.iter().map(|(build, _)| (jars.clone(), base(build))));
        // One secret serves all of a cluster's generations.
        if old.auth == cluster.auth {
            drivers(seen, options, &old, &jars, out);
        }
    }
    memory.extend(relation.map(|relation| (cluster.key.clone(), relation.app.clone())));
    out.state.unit.insert(CLUSTERS.into(), serde_json::to_string(&memory).unwrap_or_default());
}

/// Executors use the notebook's environment, so it must be on their hosts before a kernel is offered, and drivers
/// need their folders. Once offered, kernels stay while further units link it.
fn linked(seen: &Observation, cluster: &Cluster, python: &str, out: &mut Plan) -> Result<(), Status> {
    let linked = |digest: &String| digest == python;
    let missing = cluster.linked.iter().find(|(_, digest)| !linked(digest)).map(|(unit, _)| unit);
    let before = seen.state.unit.get(OFFERED).is_some_and(linked);
    let some = cluster.linked.values().any(linked);
    if some && (before || (missing.is_none() && cluster.ready)) {
        out.state.unit.insert(OFFERED.into(), python.to_owned());
        return Ok(());
    }
    out.state.unit.remove(OFFERED);
    if some && missing.is_none() {
        return Err(Status::new(State::Waiting, format!("{} is not ready for drivers yet", cluster.app)));
    }
    let who = missing.map_or_else(|| cluster.app.as_str(), String::as_str);
    Err(Status::new(State::Waiting, format!("{who} has not linked the Python environment yet")))
}

/// The Java of drivers: one that is attached here, the cluster's, the host's. It is the version that executors run on.
fn java(seen: &Observation, cluster: &Cluster, out: &mut Plan) -> Result<Java, Status> {
    if let Some(why) = attached::unusable(seen) {
        return Err(Status::new(State::Blocked, why));
    }
    let chosen = attached::choose(seen);
    let own = attached::attached(seen);
    if let Some(build) = own.map(|own| &own.build).or(cluster.java_build.as_ref()) {
        out.trees.insert("java".into(), base(build));
    }
    if let (None, Some(_)) = (own, &cluster.java_build) {
        return Ok(Java { home: "${tree:java}".into(), version: cluster.java });
    }
    let fits = chosen.host.java.iter().find(|java| java.version == cluster.java);
    fits.cloned().ok_or_else(|| {
        let (what, fix) = if own.is_some() {
            (
                "the attached Java is not",
                format!("stoker attach-resource {} java=recipe:{}", seen.app, cluster.java),
            )
        } else {
            ("this host has no", format!("apt install openjdk-{}-jre-headless", cluster.java))
        };
        let says = format!("{what} Java {}, which {} runs on", cluster.java, cluster.app);
        Status::new(State::Blocked, says).fix(fix)
    })
}

fn folder(prefix: &str, profile: &Profile) -> String {
    if profile.name.is_empty() { prefix.to_owned() } else { format!("{prefix}-{}", profile.name) }
}

fn file(out: &mut Plan, name: &str, text: String) {
    out.files.insert(name.to_owned(), File { text, user: Some(USER.into()), ..File::default() });
}

/// One configuration over another.
fn over(base: &BTreeMap<String, String>, set: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut out = base.clone();
    out.extend(set.clone());
    out
}

/// spark-defaults.conf of a driver: what it must have, the cluster's, the profile's, the user's; last the secret,
/// which must be in the configuration itself (Spark asks for it there) and goes to no command line from here.
fn defaults(
    seen: &Observation,
    options: &Options,
    cluster: &Cluster,
    profile: &Profile,
    jars: &str,
) -> String {
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |key: &str, value: String| keys.insert(key.to_owned(), value);
    set("spark.app.name", format!("notebook on {}", seen.unit));
    // One set of ports for each kernel, so that none is ever tried that is another's.
    set("spark.port.maxRetries", "0".into());
    set("spark.driver.memory", mebibytes(options.driver_memory));
    if !options.jvm.is_empty() {
        set("spark.driver.extraJavaOptions", literal(&options.jvm));
    }
    if let Some((_, folder)) = &cluster.jars {
        let slash = if folder.is_empty() { "" } else { "/" };
        for who in ["driver", "executor"] {
            set(
                &format!("spark.{who}.extraClassPath"),
                format!("${{tree:{jars}}}{slash}{}/*", literal(folder)),
            );
        }
    }
    keys.extend(cluster.defaults.iter().map(|(key, value)| (key.clone(), literal(value))));
    let mut set = |key: &str, value: String| keys.insert(key.to_owned(), value);
    set("spark.master", literal(&cluster.master));
    // Executors call the driver back there.
    set("spark.driver.host", "${address:default}".into());
    set("spark.driver.bindAddress", "${address:default}".into());
    set("spark.pyspark.python", server::PYTHON.into());
    set("spark.pyspark.driver.python", server::PYTHON.into());
    set("spark.jars.ivy", "${dir:home}/.ivy2".into());
    if let Some(cores) = profile.cores {
        set("spark.cores.max", cores.to_string());
    }
    if let Some(memory) = profile.memory {
        set("spark.executor.memory", mebibytes(memory));
    }
    keys.extend(options.spark_defaults.iter().map(|(key, value)| (key.clone(), literal(value))));
    let mut out = String::new();
    for (key, value) in &keys {
        line(&mut out, key, ' ', value);
    }
    if cluster.auth.is_some() {
        out.push_str("spark.authenticate true\nspark.authenticate.secret ${secret:spark}\n");
    }
    out
}

fn log4j(set: &BTreeMap<String, String>) -> String {
    let base = [
        ("rootLogger.level", "warn"),
        ("rootLogger.appenderRef.stderr.ref", "stderr"),
        ("appender.stderr.type", "Console"),
        ("appender.stderr.name", "stderr"),
        ("appender.stderr.target", "SYSTEM_ERR"),
        ("appender.stderr.layout.type", "PatternLayout"),
        ("appender.stderr.layout.pattern", "%d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex"),
    ];
    let base = base.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut out = String::new();
    for (key, value) in over(&base, set) {
        line(&mut out, &key, '=', &literal(&value));
    }
    out
}

/// A line of a Java properties file.
fn line(out: &mut String, key: &str, between: char, value: &str) {
    out.push_str(key);
    out.push(between);
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('\n');
}

fn mebibytes(bytes: u64) -> String {
    format!("{}m", bytes >> 20)
}

/// A kernel.json: the launcher, which gives the driver its ports and becomes the kernel.
fn spec(options: &Options, cluster: &Cluster, profile: &Profile, java: &Java, conf: &str) -> String {
    let mut name = String::from("PySpark");
    if !profile.name.is_empty() {
        let _ = write!(name, " {}", profile.name);
    }
    let _ = write!(name, " ({}, {})", cluster.app, cluster.version);
    let launcher = [
        "${tree:charm}/bin/jupyter",
        "kernel-launch",
        "--slots",
        "${dir:home}/slots",
        "--address",
        "${address:default}",
        "--first",
        "${port:driver}",
        "--count",
        &options.max_kernels.to_string(),
        "--spark",
        "${tree:spark}",
        "--key",
        &literal(&cluster.key),
        "--",
        server::PYTHON,
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
    ]
    .map(str::to_owned);
    let spec = json!({
        "argv": launcher,
        "display_name": literal(&name),
        "language": "python",
        "metadata": {"debugger": true, "supported_encryption": ["curve"]},
        "env": {
            "SPARK_HOME": "${tree:spark}",
            "SPARK_CONF_DIR": format!("${{file:{conf}}}"),
            "HADOOP_CONF_DIR": format!("${{file:hadoop-{}}}", cluster.tag()),
            "SPARK_LOCAL_IP": "${address:default}",
            "SPARK_LOCAL_DIRS": "${dir:local}",
            "JAVA_HOME": java.home,
            "PYSPARK_PYTHON": server::PYTHON,
            "PYSPARK_DRIVER_PYTHON": server::PYTHON,
            "APACHE_SPARK_VERSION": literal(&cluster.version),
            "HADOOP_VERSION": literal(&cluster.hadoop),
        },
    });
    serde_json::to_string_pretty(&spec).unwrap_or_default()
}
