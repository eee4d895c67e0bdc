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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn jar(path: &Path, entries: &[(&str, Vec<u8>)]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut jar = ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in entries {
            jar.start_file(*name, SimpleFileOptions::default()).unwrap();
            jar.write_all(bytes).unwrap();
        }
        jar.finish().unwrap();
    }

    fn info() -> (&'static str, Vec<u8>) {
        (VERSION_INFO, b"version=3.4.1\nrevision=4d78\nbranch=b\n".to_vec())
    }

    /// A tree as Apache's archives have it, with what they carry beside.
    fn whole(tree: &Path) {
        let share = tree.join("share/hadoop");
        let class = |layout: u8| crate::layout::tests::class(&[0x10, layout, 0xb1], -1);
        jar(&share.join("common/hadoop-common-3.4.1.jar"), &[info(), (FLOOR_CLASS, class(1))]);
        jar(&share.join("common/hadoop-common-3.4.1-tests.jar"), &[]);
        let features =
            [(NAMENODE_FEATURES, class(0xbd)), (DATANODE_FEATURES, class(0xc7)), (NAMENODE, class(1))];
        jar(&share.join("hdfs/hadoop-hdfs-3.4.1.jar"), &features);
        jar(&share.join("hdfs/hadoop-hdfs-client-3.4.1.jar"), &[]);
        for part in ["api", "runtime", "minicluster"] {
            jar(&share.join(format!("client/hadoop-client-{part}-3.4.1.jar")), &[info()]);
        }
    }

    #[test]
    fn a_whole_build() {
        let dir = tempfile::tempdir().unwrap();
        whole(dir.path());
        let facts = inspect("-", dir.path()).unwrap().unwrap();
        assert_eq!(
            (facts.product.as_str(), facts.version.as_str(), facts.shape.as_deref()),
            ("hadoop", "3.4.1", Some("full"))
        );
        assert_eq!(facts.requires["java"], ">=8");
        assert_eq!(
            (&facts.provides["layout-namenode"], &facts.provides["layout-datanode"]),
            (&json!(-67), &json!(-57))
        );
        assert_eq!(
            (&facts.provides["hadoop-client"], &facts.provides["yarn"]),
            (&json!("3.4.1"), &json!(false))
        );
        assert_eq!(facts.details["client-jars"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_client_alone() {
        let dir = tempfile::tempdir().unwrap();
        whole(dir.path());
        fs::remove_file(dir.path().join("share/hadoop/common/hadoop-common-3.4.1.jar")).unwrap();
        let facts = inspect(PRODUCT, dir.path()).unwrap().unwrap();
        assert_eq!((facts.shape.as_deref(), facts.provides.contains_key("hdfs")), (Some("client"), false));
    }

    #[test]
    fn what_is_no_hadoop_says_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(inspect("-", dir.path()).unwrap(), None);
        assert_eq!(inspect("spark", dir.path()).unwrap(), None);
        let wrong = inspect(PRODUCT, dir.path()).unwrap_err().to_string();
        assert!(wrong.contains("share/hadoop/common/hadoop-common-VERSION.jar"), "{wrong}");
        whole(dir.path());
        let common = dir.path().join("share/hadoop/common");
        fs::copy(common.join("hadoop-common-3.4.1.jar"), common.join("hadoop-common-3.3.6.jar")).unwrap();
        assert!(inspect("-", dir.path()).unwrap_err().to_string().starts_with("two Hadoops"));
        fs::remove_file(common.join("hadoop-common-3.3.6.jar")).unwrap();
        let path = common.join("hadoop-common-3.4.1.jar");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(format!("{:#}", inspect("-", dir.path()).unwrap_err()).contains("hadoop-common-3.4.1.jar"));
        jar(&path, &[(VERSION_INFO, b"version=${pom.version}\n".to_vec())]);
        assert!(inspect("-", dir.path()).unwrap_err().to_string().contains("names no version"));
    }
}
