//! Facts of what is attached: a client configuration, or the client that belongs to the HDFS; and the recipe of the latter.
//! Both are told by what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;
use stoker_charm::observation::Facts;
use stoker_charm::recipe::libraries;
use stoker_charm::shelf::Shelf;
use stoker_charm::{Progress, jars, site};

/// The product of the resource `configuration`.
pub(crate) const CONFIGURATION: &str = "hadoop-configuration";
/// That of the resource `client`.
pub(crate) const CLIENT: &str = "hadoop-client";
/// The two files, as facts name them.
pub(crate) const SITES: [&str; 2] = ["core-site", "hdfs-site"];

const HADOOP_VERSION: &str = "common-version-info.properties";
/// In a shaded client the API has the client of HDFS; its libraries lie under Hadoop's own names in the other jar.
const API: &str = "org/apache/hadoop/hdfs/DistributedFileSystem.class";
const FILE_SYSTEM: &str = "org/apache/hadoop/fs/FileSystem.class";
const RUNTIME: &str = "org/apache/hadoop/shaded/org/apache/commons/configuration2/Configuration.class";
/// Where a whole Hadoop has its client.
const SHARE: &str = "share/hadoop/client";
/// How deep a configuration may lie: vendors pack a folder or two around it.
const DEEPEST: usize = 4;

/// Facts of a tree.
pub(crate) fn inspect(product: &str, tree: &Path) -> Result<Option<Facts>> {
    match product {
        CONFIGURATION => configuration(tree).map(Some),
        CLIENT => client(tree).map(Some),
        _ => Ok(None),
    }
}

/// The recipe: the two jars of a version of Apache's client.
pub(crate) fn make(version: &str, out: &Path, progress: &mut Progress) -> Result<()> {
    let wanted = ["api", "runtime"].map(|part| format!("org.apache.hadoop:hadoop-client-{part}:{version}"));
    libraries::make(&wanted.join(","), out, progress)
}

fn client(tree: &Path) -> Result<Facts> {
    for folder in [SHARE, "", "jars"] {
        let shelf = Shelf::of(&tree.join(folder), &[HADOOP_VERSION, API, FILE_SYSTEM, RUNTIME])?;
        let api = shelf.with(API).into_iter().find(|jar| shelf.has(jar, FILE_SYSTEM));
        let runtime = shelf.with(RUNTIME).into_iter().find(|jar| Some(*jar) != api);
        let (Some(api), Some(runtime)) = (api, runtime) else { continue };
        let bytes = jars::read_entry(api, HADOOP_VERSION)?.unwrap_or_default();
        let version = jars::properties(&String::from_utf8_lossy(&bytes)).remove("version");
        let version = version.filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
        let version = version
            .with_context(|| format!("cannot find a version in `{HADOOP_VERSION}` of `{}`", api.display()))?;
        let path =
            |jar: &Path| -> String { jar.strip_prefix(tree).unwrap_or(jar).to_string_lossy().into_owned() };
        let details = BTreeMap::from([("client-jars".to_owned(), json!([path(api), path(runtime)]))]);
        let shape = Some("shaded".to_owned());
        return Ok(Facts { product: CLIENT.to_owned(), version, shape, details, ..Facts::default() });
    }
    bail!(
        "cannot find the two jars of a shaded Hadoop client (hadoop-client-api, hadoop-client-runtime): looked in `{SHARE}`, at \
         the top and in `jars`"
    )
}

fn configuration(tree: &Path) -> Result<Facts> {
    let mut found = Vec::new();
    folders(tree, DEEPEST, &mut found)?;
    let folder = match found.as_slice() {
        [only] => only,
        [] => bail!("cannot find `core-site.xml`: it is no client configuration of Hadoop"),
        several => {
            let shown = |folder: &PathBuf| folder.strip_prefix(tree).unwrap_or(folder).display().to_string();
            let several: Vec<String> = several.iter().map(shown).collect();
            bail!("cannot tell which configuration is meant: `core-site.xml` is in {}", several.join(", "))
        }
    };
    let (mut details, mut left_out) = (BTreeMap::new(), Vec::new());
    for name in SITES {
        let path = folder.join(format!("{name}.xml"));
        if !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let mut site = site::read(&text).with_context(|| format!("cannot read `{name}.xml`"))?;
        // Facts are shown to whoever asks.
        site.retain(|key, _| {
            let secret = is_secret(key);
            if secret {
                left_out.push(key.clone());
            }
            !secret
        });
        details.insert(name.to_owned(), json!(site));
    }
    if !left_out.is_empty() {
        details.insert("left-out".to_owned(), json!(left_out));
    }
    Ok(Facts { product: CONFIGURATION.to_owned(), details, ..Facts::default() })
}

/// Folders with a `core-site.xml`.
fn folders(at: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if at.join("core-site.xml").is_file() {
        found.push(at.to_owned());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(at).with_context(|| format!("cannot read `{}`", at.display()))?;
    let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    inside.sort();
    for path in inside.iter().filter(|path| path.is_dir() && !path.is_symlink()) {
        folders(path, depth - 1, found)?;
    }
    Ok(())
}

/// Whether a property's value is for nobody's eyes, by its name.
fn is_secret(key: &str) -> bool {
    ["password", "secret", "access.key", "account.key", "token"].iter().any(|word| key.contains(word))
        && !["provider", "token-service", "token.service", "delegation.token"]
            .iter()
            .any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn jar(path: &Path, entries: &[(&str, &str)]) {
        let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
        for (name, text) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn a_vendors_client_is_told_by_its_contents() {
        let tree = tempfile::tempdir().unwrap();
        let said = format!("{:#}", inspect(CLIENT, tree.path()).unwrap_err());
        assert!(said.contains("looked in `share/hadoop/client`"), "{said}");
        let version = (HADOOP_VERSION, "version=3.1.1.7.1.8.0-801\n");
        jar(&tree.path().join("one.jar"), &[(API, ""), (FILE_SYSTEM, ""), version]);
        jar(&tree.path().join("two.jar"), &[(RUNTIME, "")]);
        let facts = inspect(CLIENT, tree.path()).unwrap().unwrap();
        assert_eq!(facts.version, "3.1.1.7.1.8.0-801");
        assert_eq!(facts.details["client-jars"], json!(["one.jar", "two.jar"]));
        assert_eq!(inspect("spark", tree.path()).unwrap(), None);
    }

    #[test]
    fn a_configuration_is_read_wherever_it_lies_and_without_its_secrets() {
        let tree = tempfile::tempdir().unwrap();
        assert!(inspect(CONFIGURATION, tree.path()).is_err());
        let folder = tree.path().join("etc/hadoop-conf");
        fs::create_dir_all(&folder).unwrap();
        let core = BTreeMap::from([
            ("fs.defaultFS".to_owned(), "hdfs://ns".to_owned()),
            ("fs.s3a.secret.key".to_owned(), "hush".to_owned()),
        ]);
        fs::write(folder.join("core-site.xml"), site::xml(&core)).unwrap();
        let facts = inspect(CONFIGURATION, tree.path()).unwrap().unwrap();
        assert_eq!(facts.details["core-site"], json!({"fs.defaultFS": "hdfs://ns"}));
        assert_eq!(facts.details["left-out"], json!(["fs.s3a.secret.key"]));
        assert_eq!(facts.details.get("hdfs-site"), None);
        fs::write(folder.join("hdfs-site.xml"), "<html/>").unwrap();
        let said = format!("{:#}", inspect(CONFIGURATION, tree.path()).unwrap_err());
        assert!(said.contains("hdfs-site.xml") && said.contains("no <configuration>"), "{said}");
        fs::remove_file(folder.join("hdfs-site.xml")).unwrap();
        fs::create_dir(tree.path().join("other")).unwrap();
        fs::write(tree.path().join("other/core-site.xml"), site::xml(&core)).unwrap();
        let said = format!("{:#}", inspect(CONFIGURATION, tree.path()).unwrap_err());
        assert!(said.contains("etc/hadoop-conf, other"), "{said}");
    }
}
