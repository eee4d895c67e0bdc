//! Facts of a Spark build, read from what is in its jars and never from their names, which packagers change. Must not
//! run anything of the build.

mod client;
mod companions;
mod python;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use stoker_charm::jars;
use stoker_charm::observation::Facts;
use stoker_charm::shelf::Shelf;

use crate::java;

pub(crate) use self::client::client_in;

const CORE: &str = "org/apache/spark/SparkContext.class";
const SPARK_VERSION: &str = "spark-version-info.properties";
const SCALA: &str = "scala/Predef.class";
const SCALA_PROPERTIES: &str = "library.properties";
const ZOOKEEPER: &str = "org/apache/zookeeper/ZooKeeper.class";
const LOG4J_1: &str = "org/apache/log4j/Logger.class";
const LOG4J_2: &str = "org/apache/logging/log4j/core/LoggerContext.class";
const PY4J: &str = "py4j/GatewayServer.class";
const YARN: &str = "org/apache/spark/deploy/yarn/Client.class";
const KUBERNETES: &str = "org/apache/spark/deploy/k8s/submit/KubernetesClientApplication.class";
const HIVE: &str = "org/apache/spark/sql/hive/HiveExternalCatalog.class";
const CONNECT: &str = "org/apache/spark/sql/connect/service/SparkConnectService.class";
/// Classes that were compiled from Java: those from Scala name an older Java than they need.
const JAVA_CLASSES: [&str; 2] =
    ["org/apache/spark/launcher/SparkLauncher.class", "org/apache/spark/network/TransportContext.class"];

/// What is looked for in the jars of `jars/`, in one pass.
fn marks() -> Vec<&'static str> {
    let mut marks =
        vec![CORE, SPARK_VERSION, SCALA, ZOOKEEPER, LOG4J_1, LOG4J_2, PY4J, YARN, KUBERNETES, HIVE, CONNECT];
    marks.extend(JAVA_CLASSES);
    marks.extend(client::MARKS);
    marks.extend(companions::marks());
    marks
}

/// Reads a tree's facts; none where it is no Spark at all and the caller asked for any product.
pub(crate) fn inspect(product: &str, tree: &Path) -> Result<Option<Facts>> {
    if product != "spark" && product != "-" {
        return Ok(None);
    }
    let shelf = Shelf::of(&tree.join("jars"), &marks())?;
    let Some(core) = shelf.with(CORE).first().copied() else {
        if python::is_client_alone(tree) {
            bail!(
                "cannot use this as a Spark: it is PySpark's Python code alone (a Spark Connect client), without the jars of a \
                 Spark home; attach the package `pyspark` of that version"
            );
        }
        if product == "-" {
            return Ok(None);
        }
        bail!("cannot find `{CORE}` in any jar of `jars/`: not a Spark home; {}", seen(tree));
    };
    for path in ["bin/spark-class", "bin/spark-submit"] {
        if !tree.join(path).is_file() {
            bail!("cannot find `{path}` beside `jars/`: the Spark home is not whole");
        }
    }
    facts(tree, &shelf, core).map(Some)
}

fn facts(tree: &Path, shelf: &Shelf, core: &Path) -> Result<Facts> {
    let version = spark_version(shelf, core)?;
    let client = client::of(shelf)?;
    let scala = scala(shelf)?;
    let binary = scala.rsplit_once('.').map_or(scala.as_str(), |(binary, _)| binary).to_owned();
    let floor = java_floor(shelf)?;
    let range = java::of_spark(&version, floor);
    let needs = client.java.map_or(floor, |client| client.max(floor));
    let mut requires = BTreeMap::from([("java".to_owned(), json!(format!(">={needs}")))]);
    let mut provides = BTreeMap::from([("scala".to_owned(), json!(scala))]);
    let mut details = BTreeMap::from([
        ("layout".to_owned(), json!(if tree.join("RELEASE").is_file() { "tarball" } else { "pypi" })),
        ("scala-binary".to_owned(), json!(binary)),
        ("java-floor".to_owned(), json!(floor)),
        ("java".to_owned(), json!(range.words())),
        ("yarn".to_owned(), json!(!shelf.with(YARN).is_empty())),
        ("kubernetes".to_owned(), json!(!shelf.with(KUBERNETES).is_empty())),
        ("hive".to_owned(), json!(!shelf.with(HIVE).is_empty())),
        ("connect-server".to_owned(), json!(!shelf.with(CONNECT).is_empty())),
        ("connect-default".to_owned(), json!(connects_by_default(tree))),
        ("client-jars".to_owned(), json!(client.swapped)),
        ("hadoop-jars".to_owned(), json!(client.jars)),
        ("hdfs-server-classes".to_owned(), json!(client.server)),
    ]);
    if let Some(version) = client.version {
        provides.insert("hadoop-client".to_owned(), json!(version));
    }
    if let Some(why) = client.torn {
        details.insert("client-torn".to_owned(), json!(why));
    }
    if let Some(floor) = client.java {
        details.insert("hadoop-java-floor".to_owned(), json!(floor));
    }
    let (log4j, log4j_version) = if shelf.with(LOG4J_2).is_empty() {
        (1, shelf.version(LOG4J_1, &["log4j/log4j", "ch.qos.reload4j/reload4j"])?)
    } else {
        (2, shelf.version(LOG4J_2, &["org.apache.logging.log4j/log4j-core"])?)
    };
    details.insert("log4j".to_owned(), json!(log4j));
    let versions = [
        ("log4j-version", log4j_version),
        ("zookeeper", shelf.version(ZOOKEEPER, &["org.apache.zookeeper/zookeeper"])?),
        ("py4j-jar", shelf.version(PY4J, &["net.sf.py4j/py4j"])?),
    ];
    for (name, version) in versions {
        if let Some(version) = version {
            details.insert(name.to_owned(), json!(version));
        }
    }
    details.extend(companions::of(tree, shelf)?);
    let python = python::of(tree)?;
    if let Some(version) = python.py4j {
        provides.insert("py4j".to_owned(), json!(version));
    }
    if let Some(needs) = python.requires {
        requires.insert("python".to_owned(), json!(needs));
    }
    if !python.tested.is_empty() {
        details.insert("python".to_owned(), json!(python.tested));
    }
    let shape = Some(client.shape.to_owned());
    Ok(Facts { product: "spark".to_owned(), version, shape, requires, provides, details })
}

/// What lies at the top of the tree, for an error.
fn seen(tree: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(tree)
        .map(|all| all.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort();
    names.truncate(12);
    if names.is_empty() { "the tree is empty".to_owned() } else { format!("at its top: {}", names.join(" ")) }
}

/// From 3.5 the version file lies in common-utils, before in core; where it is nowhere, core's manifest has it.
fn spark_version(shelf: &Shelf, core: &Path) -> Result<String> {
    for jar in shelf.with(SPARK_VERSION) {
        if let Some(version) = property(jar, SPARK_VERSION, "version")? {
            return Ok(version);
        }
    }
    let manifest =
        jars::manifest(core).remove("Implementation-Version").filter(|version| !version.is_empty());
    manifest.with_context(|| {
        format!(
            "cannot find Spark's version: neither `{SPARK_VERSION}` in a jar nor the manifest of `{}` has it",
            core.display()
        )
    })
}

/// A value of a properties entry; none where it is absent, empty or was never filled in.
fn property(jar: &Path, entry: &str, key: &str) -> Result<Option<String>> {
    let bytes = jars::read_entry(jar, entry).with_context(|| format!("cannot read `{}`", jar.display()))?;
    Ok(bytes
        .and_then(|bytes| jars::properties(&String::from_utf8_lossy(&bytes)).remove(key))
        .filter(|value| !value.is_empty() && !value.contains("${")))
}

/// Scala's full version, as its library says.
fn scala(shelf: &Shelf) -> Result<String> {
    for jar in shelf.with(SCALA) {
        if let Some(version) = property(jar, SCALA_PROPERTIES, "version.number")? {
            return Ok(version);
        }
    }
    bail!(
        "cannot find Scala's version: no jar of `jars/` has `{SCALA}` and says its version in `{SCALA_PROPERTIES}`"
    )
}

/// The Java version that Spark's own classes ask for.
fn java_floor(shelf: &Shelf) -> Result<u32> {
    for class in JAVA_CLASSES {
        for jar in shelf.with(class) {
            let major =
                jars::class_major(jar, class).with_context(|| format!("cannot read `{}`", jar.display()))?;
            if let Some(major) = major {
                return Ok(jars::java_of(major));
            }
        }
    }
    bail!(
        "cannot find a Java class to read the class file version from: no jar of `jars/` has `{}`",
        JAVA_CLASSES.join("` or `")
    )
}

/// Whether its commands use Spark Connect unless they are told otherwise, as in the builds that are named after it.
fn connects_by_default(tree: &Path) -> bool {
    fs::read_to_string(tree.join("bin/spark-submit")).is_ok_and(|text| text.contains("SPARK_CONNECT_MODE:-1"))
}

#[cfg(test)]
mod tests;
