//! Facts of a Hadoop build: versions, the Java that its classes need, layouts, what is in it. Reads jars only;
//! must not run anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use stoker_charm::Facts;
use stoker_charm::jars::{self, Jar};
use stoker_charm::serde_json::{Value, json};

use crate::layout;

/// The product that this charm knows.
pub(crate) const PRODUCT: &str = "hadoop";

const VERSION_INFO: &str = "common-version-info.properties";
const FLOOR_CLASS: &str = "org/apache/hadoop/fs/FileSystem.class";
const NAMENODE_FEATURES: &str = "org/apache/hadoop/hdfs/server/namenode/NameNodeLayoutVersion$Feature.class";
const DATANODE_FEATURES: &str = "org/apache/hadoop/hdfs/server/datanode/DataNodeLayoutVersion$Feature.class";
const NAMENODE: &str = "org/apache/hadoop/hdfs/server/namenode/NameNode.class";

/// The facts of a tree, or none where it is no Hadoop and none was asked for.
pub(crate) fn inspect(product: &str, tree: &Path) -> anyhow::Result<Option<Facts>> {
    if product != PRODUCT && product != "-" {
        return Ok(None);
    }
    let common = plain(&tree.join("share/hadoop/common"), "hadoop-common-");
    let client = plain(&tree.join("share/hadoop/client"), "hadoop-client-api-");
    let (jar, shape) = match (common.as_slice(), client.as_slice()) {
        ([jar], _) => (jar, "full"),
        ([], [jar]) => (jar, "client"),
        ([], []) if product == "-" => return Ok(None),
        ([], []) => bail!(
            "no Hadoop: neither share/hadoop/common/hadoop-common-VERSION.jar nor share/hadoop/client/hadoop-client-api-VERSION.jar is there"
        ),
        (several, _) => bail!("two Hadoops in one tree: {}", names(several)),
    };
    facts(tree, jar, shape).map(Some)
}

fn facts(tree: &Path, jar: &Path, shape: &str) -> anyhow::Result<Facts> {
    let shown = jar.display();
    let mut opened = Jar::open(jar)?;
    let info = opened.read(VERSION_INFO)?.with_context(|| format!("`{shown}` has no {VERSION_INFO}"))?;
    let info = jars::properties(&String::from_utf8_lossy(&info));
    let version = info.get("version").filter(|v| !v.is_empty() && !v.contains("${"));
    let version = version.with_context(|| format!("`{shown}`: {VERSION_INFO} names no version"))?.clone();
    let mut requires = BTreeMap::new();
    if let Some(major) = opened.class_major(FLOOR_CLASS)? {
        requires.insert("java".to_owned(), json!(format!(">={}", jars::java_of(major))));
    }
    let mut provides = BTreeMap::from([("hadoop".to_owned(), json!(version))]);
    let mut details: BTreeMap<String, Value> = ["revision", "branch", "protocVersion"]
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), json!(info.get(*key)?))))
        .collect();
    let clients = client_jars(tree, &version);
    if clients.len() == 2 {
        provides.insert("hadoop-client".to_owned(), json!(version));
        details.insert("client-jars".to_owned(), json!(clients));
    }
    let hdfs = tree.join(format!("share/hadoop/hdfs/hadoop-hdfs-{version}.jar"));
    if shape == "full" && hdfs.is_file() {
        let mut opened = Jar::open(&hdfs)?;
        if opened.class_major(NAMENODE)?.is_some() {
            provides.insert("hdfs".to_owned(), json!(version));
        }
        for (name, class) in [("layout-namenode", NAMENODE_FEATURES), ("layout-datanode", DATANODE_FEATURES)]
        {
            if let Some(layout) = opened.read(class)?.as_deref().and_then(layout::lowest) {
                provides.insert(name.to_owned(), json!(layout));
            }
        }
    }
    for (what, path) in [
        ("yarn", format!("share/hadoop/yarn/hadoop-yarn-server-resourcemanager-{version}.jar")),
        ("mapreduce", format!("share/hadoop/mapreduce/hadoop-mapreduce-client-core-{version}.jar")),
        ("web-pages", "share/hadoop/hdfs/webapps/hdfs".to_owned()),
    ] {
        provides.insert(what.to_owned(), json!(tree.join(path).exists()));
    }
    Ok(Facts { product: PRODUCT.into(), version, shape: Some(shape.into()), requires, provides, details })
}

/// Paths of the two jars that a client is aligned with.
fn client_jars(tree: &Path, version: &str) -> Vec<String> {
    ["api", "runtime"]
        .iter()
        .map(|part| format!("share/hadoop/client/hadoop-client-{part}-{version}.jar"))
        .filter(|path| tree.join(path).is_file())
        .collect()
}

/// Jars of this prefix and a version, without those for tests and sources.
fn plain(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let is_plain = |jar: &PathBuf| {
        let name = jar.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let rest = name.strip_prefix(prefix).unwrap_or_default();
        rest.starts_with(|c: char| c.is_ascii_digit())
            && !["-tests.jar", "-sources.jar", "-test-sources.jar"].iter().any(|end| rest.ends_with(end))
    };
    jars::find(dir, prefix).into_iter().filter(is_plain).collect()
}

fn names(jars: &[PathBuf]) -> String {
    let names: Vec<_> =
        jars.iter().filter_map(|jar| jar.file_name()).map(|name| name.to_string_lossy()).collect();
    names.join(", ")
}
