//! Facts of a Spark build, read from its jars. Must not run anything of the build.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stoker_charm::jars;
use stoker_charm::observation::Facts;

use crate::java;

const HADOOP_VERSION: &str = "common-version-info.properties";
const SPARK_VERSION: &str = "spark-version-info.properties";

/// Reads a tree's facts; none where it is no Spark at all and the caller asked for any product.
pub(crate) fn inspect(product: &str, tree: &Path) -> Result<Option<Facts>> {
    if product != "spark" && product != "-" {
        return Ok(None);
    }
    let folder = tree.join("jars");
    let core = jars::find(&folder, "spark-core_");
    let Some(core) = core.first() else {
        if product == "-" {
            return Ok(None);
        }
        bail!("cannot find `jars/spark-core_*.jar`: not a Spark home; {}", seen(tree));
    };
    for path in ["bin/spark-class", "bin/spark-submit"] {
        if !tree.join(path).is_file() {
            bail!("cannot find `{path}` beside `jars/spark-core_*.jar`: the Spark home is not whole");
        }
    }
    let (binary, _) = scala_of(core).with_context(|| format!("cannot read the name `{}`", core.display()))?;
    let version = spark_version(&folder, core)?;
    let client = client(&folder)?;
    let floor = java_floor(&folder)?.with_context(|| {
        "cannot find a Java class to read the class file version from in `jars/spark-launcher_*.jar`"
            .to_owned()
    })?;
    let range = java::of_spark(&version, floor);
    let mut requires = BTreeMap::from([("java".to_owned(), json!(format!(">={}", range.supported.start())))]);
    let mut provides =
        BTreeMap::from([("scala".to_owned(), json!(scala_library(&folder).unwrap_or(binary.clone())))]);
    let mut details = BTreeMap::from([
        ("layout".to_owned(), json!(if tree.join("RELEASE").is_file() { "tarball" } else { "pypi" })),
        ("scala-binary".to_owned(), json!(binary)),
        ("java-floor".to_owned(), json!(floor)),
        ("java".to_owned(), json!(range.words())),
        ("yarn".to_owned(), json!(!jars::find(&folder, "spark-yarn_").is_empty())),
        ("log4j".to_owned(), json!(if jars::find(&folder, "log4j-core-").is_empty() { 1 } else { 2 })),
        ("client-jars".to_owned(), json!(client.jars)),
    ]);
    if let Some(version) = client.version {
        provides.insert("hadoop-client".to_owned(), json!(version));
    }
    if let Some(version) = suffix(&folder, "hadoop-aws-") {
        details.insert("hadoop-aws".to_owned(), json!(version));
    }
    if let Some(version) = suffix(&folder, "zookeeper-") {
        details.insert("zookeeper".to_owned(), json!(version));
    }
    if let Some(version) = py4j(tree) {
        provides.insert("py4j".to_owned(), json!(version));
    }
    let python = python(tree);
    if let Some(needs) = python.requires {
        requires.insert("python".to_owned(), json!(needs));
    }
    if !python.tested.is_empty() {
        details.insert("python".to_owned(), json!(python.tested));
    }
    Ok(Some(Facts {
        product: "spark".to_owned(),
        version,
        shape: Some(client.shape.to_owned()),
        requires,
        provides,
        details,
    }))
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

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).unwrap_or_default()
}

/// `spark-core_2.12-3.5.9.jar` → (`2.12`, `3.5.9`).
fn scala_of(core: &Path) -> Option<(String, String)> {
    let rest = file_name(core).strip_prefix("spark-core_")?.strip_suffix(".jar")?;
    let (scala, version) = rest.split_once('-')?;
    Some((scala.to_owned(), version.to_owned()))
}

/// From 3.5 the version file lies in common-utils, before in core; else the manifest, else the name.
fn spark_version(folder: &Path, core: &Path) -> Result<String> {
    let candidates = jars::find(folder, "spark-common-utils_").into_iter().chain([core.to_path_buf()]);
    for jar in candidates {
        if let Some(version) = property(&jar, SPARK_VERSION)? {
            return Ok(version);
        }
    }
    if let Some(version) = jars::manifest(core).remove("Implementation-Version") {
        return Ok(version);
    }
    scala_of(core)
        .map(|(_, version)| version)
        .with_context(|| format!("cannot find Spark's version in `{SPARK_VERSION}` or `{}`", core.display()))
}

fn property(jar: &Path, entry: &str) -> Result<Option<String>> {
    let bytes = jars::read_entry(jar, entry).with_context(|| format!("cannot read `{}`", jar.display()))?;
    Ok(bytes
        .and_then(|bytes| jars::properties(&String::from_utf8_lossy(&bytes)).remove("version"))
        .filter(|version| !version.is_empty()))
}

struct Client {
    shape: &'static str,
    version: Option<String>,
    /// The jars that a swap exchanges, as paths in the tree.
    jars: Vec<String>,
}

fn client(folder: &Path) -> Result<Client> {
    let api = jars::find(folder, "hadoop-client-api-");
    let runtime = jars::find(folder, "hadoop-client-runtime-");
    let common = jars::find(folder, "hadoop-common-");
    let (shape, source) = match (api.as_slice(), runtime.as_slice(), common.as_slice()) {
        ([api], [_], _) => ("shaded", Some(api)),
        ([], [], [common, ..]) => ("unshaded", Some(common)),
        ([], [], []) => ("provided", None),
        _ => bail!(
            "cannot tell the Hadoop client: looked for one `hadoop-client-api` and one `hadoop-client-runtime`, or for \
             `hadoop-common`, found {} and {} and {}",
            api.len(),
            runtime.len(),
            common.len()
        ),
    };
    let version = match source {
        Some(jar) => Some(
            property(jar, HADOOP_VERSION)?
                .with_context(|| format!("cannot find `{HADOOP_VERSION}` in `{}`", jar.display()))?,
        ),
        None => None,
    };
    let paths = |found: Vec<PathBuf>| found.into_iter().map(|jar| format!("jars/{}", file_name(&jar)));
    Ok(Client { shape, version, jars: paths(api).chain(paths(runtime)).collect() })
}

/// The Java version that a class compiled from Java asks for (Scala's classes name an older one).
fn java_floor(folder: &Path) -> Result<Option<u32>> {
    let classes = [
        ("spark-launcher_", "org/apache/spark/launcher/SparkLauncher.class"),
        ("spark-network-common_", "org/apache/spark/network/TransportContext.class"),
    ];
    for (prefix, class) in classes {
        for jar in jars::find(folder, prefix) {
            let major =
                jars::class_major(&jar, class).with_context(|| format!("cannot read `{}`", jar.display()))?;
            if let Some(major) = major {
                return Ok(Some(jars::java_of(major)));
            }
        }
    }
    Ok(None)
}

fn scala_library(folder: &Path) -> Option<String> {
    suffix(folder, "scala-library-")
}

/// The version in the name of the first jar with this prefix.
fn suffix(folder: &Path, prefix: &str) -> Option<String> {
    let jar = jars::find(folder, prefix).into_iter().find(|jar| {
        file_name(jar).strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })?;
    file_name(&jar).strip_prefix(prefix)?.strip_suffix(".jar").map(ToOwned::to_owned)
}

fn py4j(tree: &Path) -> Option<String> {
    let names =
        fs::read_dir(tree.join("python/lib")).ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names.filter_map(|n| Some(n.strip_prefix("py4j-")?.strip_suffix("-src.zip")?.to_owned())).max()
}

#[derive(Default)]
struct Python {
    requires: Option<String>,
    tested: Vec<Value>,
}

/// What the package's metadata says of Python; tarballs have none.
fn python(tree: &Path) -> Python {
    let metadata = fs::read_dir(tree)
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| file_name(p).ends_with(".dist-info"))
        .map(|p| p.join("METADATA"));
    let Some(text) =
        [tree.join("PKG-INFO")].into_iter().chain(metadata).find_map(|p| fs::read_to_string(p).ok())
    else {
        return Python::default();
    };
    let mut found = Python::default();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if let Some(needs) = line.strip_prefix("Requires-Python:") {
            found.requires = Some(needs.trim().to_owned());
        }
        if let Some(version) = line.strip_prefix("Classifier: Programming Language :: Python :: 3.") {
            found.tested.push(json!(format!("3.{}", version.trim())));
        }
    }
    found
}

#[cfg(test)]
mod tests;
