//! Facts of a Hadoop build: versions, the Java that its classes need, layouts, what is in it. Reads what is in the
//! jars and never their names, which packagers change; must not run anything.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use stoker_charm::Facts;
use stoker_charm::jars::{self, Jar};
use stoker_charm::serde_json::{Value, json};
use stoker_charm::shelf::Shelf;

use crate::layout;

/// The product that this charm knows.
pub(crate) const PRODUCT: &str = "hadoop";

const VERSION_INFO: &str = "common-version-info.properties";
const FLOOR_CLASS: &str = "org/apache/hadoop/fs/FileSystem.class";
/// Beside [`FLOOR_CLASS`] in a shaded client's API, and only there.
const HDFS_CLIENT: &str = "org/apache/hadoop/hdfs/DistributedFileSystem.class";
/// Libraries under Hadoop's own names: a shaded client's runtime.
const RUNTIME: &str = "org/apache/hadoop/shaded/org/apache/commons/configuration2/Configuration.class";
/// Configuration that a jar has no business with; those of tests have it.
const SITES: [&str; 4] = ["core-site.xml", "hdfs-site.xml", "hadoop-policy.xml", "log4j.properties"];
const NAMENODE_FEATURES: &str = "org/apache/hadoop/hdfs/server/namenode/NameNodeLayoutVersion$Feature.class";
const DATANODE_FEATURES: &str = "org/apache/hadoop/hdfs/server/datanode/DataNodeLayoutVersion$Feature.class";
const NAMENODE: &str = "org/apache/hadoop/hdfs/server/namenode/NameNode.class";
const RESOURCE_MANAGER: &str = "org/apache/hadoop/yarn/server/resourcemanager/ResourceManager.class";
const MAPREDUCE: &str = "org/apache/hadoop/mapreduce/Job.class";
const ZOOKEEPER: &str = "org/apache/zookeeper/ZooKeeper.class";
const SHUFFLE: &str = "org/apache/spark/network/yarn/YarnShuffleService.class";
/// Where the NameNode's pages are: in its folder, or in a jar beside.
const PAGES: [&str; 2] = ["webapps/hdfs/dfshealth.html", "webapps/hdfs/index.html"];
/// Where the first SDK says its version; builds of it by other hands have no Maven properties.
const AWS_VERSION: &str = "com/amazonaws/sdk/versionInfo.properties";
/// A fact's name, a class that only this has, whom Maven takes it for.
const COMPANIONS: [(&str, &str, &[&str]); 5] = [
    ("hadoop-aws", "org/apache/hadoop/fs/s3a/S3AFileSystem.class", &["org.apache.hadoop/hadoop-aws"]),
    (
        "hadoop-azure",
        "org/apache/hadoop/fs/azurebfs/AzureBlobFileSystem.class",
        &["org.apache.hadoop/hadoop-azure"],
    ),
    (
        "aws-sdk-1",
        "com/amazonaws/services/s3/AmazonS3.class",
        &["com.amazonaws/aws-java-sdk-bundle", "com.amazonaws/aws-java-sdk-s3", AWS_VERSION],
    ),
    (
        "aws-sdk-2",
        "software/amazon/awssdk/services/s3/S3Client.class",
        &["software.amazon.awssdk/bundle", "software.amazon.awssdk/s3"],
    ),
    (
        "web-proxy",
        "org/apache/hadoop/yarn/server/webproxy/amfilter/AmIpFilter.class",
        &["org.apache.hadoop/hadoop-yarn-server-web-proxy"],
    ),
];

/// The facts of a tree, or none where it is no Hadoop and none was asked for.
pub(crate) fn inspect(product: &str, tree: &Path) -> anyhow::Result<Option<Facts>> {
    if product != PRODUCT && product != "-" {
        return Ok(None);
    }
    let folder = |name: &str| tree.join("share/hadoop").join(name);
    let common = Shelf::of(&folder("common"), &[FLOOR_CLASS])?;
    let client = Shelf::of(&folder("client"), &[FLOOR_CLASS, HDFS_CLIENT, RUNTIME])?;
    let (jar, shape) = match (common.with(FLOOR_CLASS).as_slice(), client.with(HDFS_CLIENT).as_slice()) {
        ([jar], _) => (*jar, "full"),
        ([], [jar]) => (*jar, "client"),
        ([], []) if product == "-" => return Ok(None),
        ([], []) => bail!(
            "no Hadoop: no jar of `share/hadoop/common` or `share/hadoop/client` has `{FLOOR_CLASS}`; {}",
            seen(tree)
        ),
        ([], several) | (several, _) => bail!("two Hadoops in one tree: {}", names(several)),
    };
    facts(tree, jar, shape, &client).map(Some)
}

fn facts(tree: &Path, jar: &Path, shape: &str, client: &Shelf) -> anyhow::Result<Facts> {
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
    let pair = (
        client.with(HDFS_CLIENT),
        client.with(RUNTIME).into_iter().find(|jar| !client.has(jar, HDFS_CLIENT)),
    );
    if let (&[api], Some(runtime)) = (&pair.0.as_slice(), pair.1) {
        // Its own version: in a tree of parts it need not be the servers'.
        let own = jars::read_entry(api, VERSION_INFO)?
            .and_then(|text| jars::properties(&String::from_utf8_lossy(&text)).remove("version"))
            .unwrap_or_else(|| version.clone());
        provides.insert("hadoop-client".to_owned(), json!(own));
        details.insert("client-jars".to_owned(), json!([below(tree, api), below(tree, runtime)]));
    }
    let share = |name: &str| tree.join("share/hadoop").join(name);
    if shape == "full" {
        let hdfs =
            Shelf::of(&share("hdfs"), &[NAMENODE, NAMENODE_FEATURES, DATANODE_FEATURES, PAGES[0], PAGES[1]])?;
        if !hdfs.with(NAMENODE).is_empty() {
            provides.insert("hdfs".to_owned(), json!(version));
        }
        for (name, class) in [("layout-namenode", NAMENODE_FEATURES), ("layout-datanode", DATANODE_FEATURES)]
        {
            let Some(jar) = hdfs.with(class).first().copied() else { continue };
            if let Some(layout) = jars::read_entry(jar, class)?.as_deref().and_then(layout::lowest) {
                provides.insert(name.to_owned(), json!(layout));
            }
        }
        let pages =
            PAGES.iter().any(|page| share("hdfs").join(page).is_file() || !hdfs.with(page).is_empty());
        provides.insert("web-pages".to_owned(), json!(pages));
        beside(tree, &mut provides, &mut details)?;
        let mut sites = false;
        for folder in ["common", "common/lib", "hdfs", "hdfs/lib"] {
            let shelf = Shelf::of(&share(folder), &SITES)?;
            sites |= SITES.iter().any(|site| !shelf.with(site).is_empty());
        }
        details.insert("sites-in-jars".to_owned(), json!(sites));
    }
    let native = tree.join("lib/native/libhadoop.so").exists();
    details.insert("native".to_owned(), json!(native));
    Ok(Facts { product: PRODUCT.into(), version, shape: Some(shape.into()), requires, provides, details })
}

/// What else a whole build has.
fn beside(
    tree: &Path,
    provides: &mut BTreeMap<String, Value>,
    details: &mut BTreeMap<String, Value>,
) -> anyhow::Result<()> {
    let folders = |names: &[&str], mark: &'static str| -> anyhow::Result<Option<Shelf>> {
        for name in names {
            let shelf = Shelf::of(&tree.join("share/hadoop").join(name), &[mark])?;
            if !shelf.with(mark).is_empty() {
                return Ok(Some(shelf));
            }
        }
        Ok(None)
    };
    provides.insert("yarn".to_owned(), json!(folders(&["yarn"], RESOURCE_MANAGER)?.is_some()));
    let mapreduce = folders(&["mapreduce"], MAPREDUCE)?;
    provides.insert("mapreduce".to_owned(), json!(mapreduce.is_some()));
    let lib = ["common/lib", "hdfs/lib"];
    if let Some(shelf) = folders(&lib, ZOOKEEPER)?
        && let Some(version) = shelf.version(ZOOKEEPER, &["org.apache.zookeeper/zookeeper"])?
    {
        details.insert("zookeeper".to_owned(), json!(version));
    }
    let mut jars = BTreeMap::new();
    for (name, class, artefacts) in COMPANIONS {
        if let Some(shelf) = folders(&["tools/lib", "common/lib", "common", "yarn"], class)? {
            let version = shelf.version(class, artefacts)?.unwrap_or_default();
            details.insert(name.to_owned(), json!(version));
            jars.extend(shelf.with(class).first().map(|jar| (name, below(tree, jar))));
        }
    }
    if !jars.is_empty() {
        details.insert("companion-jars".to_owned(), json!(jars));
    }
    if let Some(shelf) = folders(&["yarn", "yarn/lib"], SHUFFLE)?
        && let Some(jar) = shelf.with(SHUFFLE).first()
    {
        details.insert("yarn-shuffle".to_owned(), json!(below(tree, jar)));
    }
    Ok(())
}

/// A path as the tree has it.
fn below(tree: &Path, path: &Path) -> String {
    path.strip_prefix(tree).unwrap_or(path).display().to_string()
}

/// What lies at the top of the tree, for an error.
fn seen(tree: &Path) -> String {
    let entries = std::fs::read_dir(tree).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.truncate(12);
    if names.is_empty() { "the tree is empty".to_owned() } else { format!("at its top: {}", names.join(" ")) }
}

fn names(jars: &[&Path]) -> String {
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
        let api = [info(), (FLOOR_CLASS, class(1)), (HDFS_CLIENT, class(1))];
        jar(&share.join("client/hadoop-client-api-3.4.1.jar"), &api);
        jar(&share.join("client/hadoop-client-runtime-3.4.1.jar"), &[(RUNTIME, class(1))]);
        jar(&share.join("client/hadoop-client-minicluster-3.4.1.jar"), &[]);
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
        assert!(wrong.contains("`share/hadoop/common`") && wrong.contains(FLOOR_CLASS), "{wrong}");
        whole(dir.path());
        let common = dir.path().join("share/hadoop/common");
        fs::copy(common.join("hadoop-common-3.4.1.jar"), common.join("hadoop-common-3.3.6.jar")).unwrap();
        assert!(inspect("-", dir.path()).unwrap_err().to_string().starts_with("two Hadoops"));
        fs::remove_file(common.join("hadoop-common-3.3.6.jar")).unwrap();
        let path = common.join("hadoop-common-3.4.1.jar");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(format!("{:#}", inspect("-", dir.path()).unwrap_err()).contains("hadoop-common-3.4.1.jar"));
        jar(&path, &[(VERSION_INFO, b"version=${pom.version}\n".to_vec()), (FLOOR_CLASS, vec![])]);
        assert!(inspect("-", dir.path()).unwrap_err().to_string().contains("names no version"));
    }
}
