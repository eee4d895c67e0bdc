//! Facts of a folder of jars: which, for what Scala, and the Java that they need at least.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::json;

use crate::Facts;
use crate::jars::{Jar, java_of};
use crate::shelf::{self, Shelf};

/// Files that may lie beside jars.
const BESIDE: [&str; 6] = ["pom", "txt", "md", "asc", "sha1", "sha512"];
/// What hosts of such jars have themselves, and a class that tells it.
const CARRIED: [(&str, &str); 3] = [
    ("Scala's library", "scala/Predef.class"),
    ("a Hadoop client", "org/apache/hadoop/fs/FileSystem.class"),
    ("Spark itself", "org/apache/spark/SparkContext.class"),
];
/// How many classes of one jar are looked at, spread over it.
const CLASSES: usize = 64;

pub(super) fn facts(tree: &Path) -> anyhow::Result<Option<Facts>> {
    let Some((folder, jars)) = folder(tree) else { return Ok(None) };
    let mut names = Vec::new();
    let mut coordinates = BTreeMap::new();
    let mut scala: Option<String> = None;
    let (mut java, mut version) = (0, String::new());
    for path in &jars {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let own = own(&name, &shelf::coordinates(path)?);
        let asks = own.as_ref().and_then(|own| scala_of(&own.artefact)).or_else(|| scala_of(&name));
        match (&scala, asks) {
            (Some(known), Some(other)) if *known != other => {
                bail!(
                    "cannot use these jars together: some are for Scala {known}, `{name}` is for Scala {other}"
                );
            }
            (None, found @ Some(_)) => scala = found,
            _ => {}
        }
        java = java.max(floor(path)?);
        own.as_ref()
            .map_or_else(|| version_of(&name).unwrap_or_default(), |own| &own.version)
            .clone_into(&mut version);
        if let Some(own) = own {
            coordinates.insert(name.clone(), format!("{}:{}:{}", own.group, own.artefact, own.version));
        }
        names.push(name);
    }
    if names.len() != 1 {
        version.clear();
    }
    let mut facts = Facts { product: "jars".into(), version, ..Facts::default() };
    if let Some(scala) = scala {
        facts.requires.insert("scala".into(), json!(scala));
    }
    if java > 0 {
        facts.requires.insert("java".into(), json!(format!(">={java}")));
    }
    facts.details.insert("jars".into(), json!(names));
    facts.details.insert("folder".into(), json!(folder));
    let marks: Vec<&'static str> = CARRIED.iter().map(|(_, class)| *class).collect();
    let shelf = Shelf::of(&tree.join(folder), &marks)?;
    let carried: Vec<&str> =
        CARRIED.iter().filter(|(_, class)| !shelf.with(class).is_empty()).map(|(name, _)| *name).collect();
    if !carried.is_empty() {
        facts.details.insert("carries".into(), json!(carried));
    }
    if !coordinates.is_empty() {
        facts.details.insert("coordinates".into(), json!(coordinates));
    }
    Ok(Some(facts))
}

/// Who a jar is to Maven.
struct Own {
    group: String,
    artefact: String,
    version: String,
}

/// The one of what was built into a jar that the jar itself is: all there is, else whose name the file has.
fn own(name: &str, built: &BTreeMap<String, String>) -> Option<Own> {
    let named = |id: &str| {
        let artefact = id.rsplit_once('/').map_or(id, |(_, artefact)| artefact);
        name == artefact || name.strip_prefix(artefact).is_some_and(|rest| rest.starts_with('-'))
    };
    let mut fits = built.iter().filter(|(id, _)| built.len() == 1 || named(id));
    let (id, version) = fits.next()?;
    let (group, artefact) = id.split_once('/')?;
    Some(Own { group: group.to_owned(), artefact: artefact.to_owned(), version: version.clone() })
}

/// The jars of a tree that holds nothing else of weight, at its root or in `jars/`, sorted; and which of both.
fn folder(tree: &Path) -> Option<(&'static str, Vec<PathBuf>)> {
    let mut jars = Vec::new();
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(tree).ok()?.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        match extension.as_str() {
            _ if path.is_dir() => folders.push(name),
            "jar" => jars.push(path),
            extension if BESIDE.contains(&extension) => {}
            _ if ["LICENSE", "NOTICE", "README", "DEPENDENCIES"].contains(&name.as_str()) => {}
            _ => return None,
        }
    }
    let mut place = "";
    if jars.is_empty() && folders == ["jars"] {
        place = "jars";
        jars = crate::jars::find(&tree.join("jars"), "");
        folders.clear();
    }
    jars.sort_unstable();
    (folders.is_empty() && !jars.is_empty()).then_some((place, jars))
}

/// `2.12` of `name_2.12-1.0`.
fn scala_of(name: &str) -> Option<String> {
    let at = name
        .rmatch_indices('_')
        .map(|(at, _)| &name[at + 1..])
        .find(|rest| rest.starts_with("2.1") || rest.starts_with("3-") || *rest == "3")?;
    Some(at.split('-').next().unwrap_or(at).to_owned())
}

/// `1.0` of `name-1.0`, `1.0-x` of `name-1.0-x`: what follows the first hyphen before a digit.
fn version_of(name: &str) -> Option<&str> {
    let at = name
        .match_indices('-')
        .map(|(at, _)| at + 1)
        .find(|at| name[*at..].starts_with(|c: char| c.is_ascii_digit()));
    at.map(|at| &name[at..])
}

/// The Java feature version that a jar's classes need; 0 when it has none. Classes for newer Javas in a
/// multi-release jar, and module descriptors, do not count.
fn floor(path: &Path) -> anyhow::Result<u32> {
    let mut jar = Jar::open(path)?;
    let counts = |name: &String| {
        let is_class = name.strip_suffix(".class").is_some();
        is_class && !name.starts_with("META-INF/") && !name.ends_with("module-info.class")
    };
    let classes: Vec<String> = jar.names()?.into_iter().filter(counts).collect();
    let mut highest = 0;
    for class in classes.iter().step_by(classes.len().div_ceil(CLASSES).max(1)) {
        highest = highest.max(jar.class_major(class)?.unwrap_or(0));
    }
    Ok(java_of(highest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn jar(path: &Path, classes: &[(&str, u8)]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (name, major) in classes {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(&[0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, *major]).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn reads_jars() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path();
        assert_eq!(facts(path).unwrap(), None);
        let newer = [("a/A.class", 52), ("META-INF/versions/11/a/A.class", 55), ("module-info.class", 53)];
        jar(&path.join("delta-core_2.12-2.4.0.jar"), &newer);
        let found = facts(path).unwrap().unwrap();
        assert_eq!(found.version, "2.4.0");
        assert_eq!((&found.requires["scala"], &found.requires["java"]), (&json!("2.12"), &json!(">=8")));

        jar(&path.join("delta-storage-2.4.0.jar"), &[("b/B.class", 55)]);
        fs::write(path.join("LICENSE"), "").unwrap();
        let found = facts(path).unwrap().unwrap();
        assert_eq!((found.version.as_str(), &found.requires["java"]), ("", &json!(">=11")));
        assert_eq!(found.details["jars"], json!(["delta-core_2.12-2.4.0", "delta-storage-2.4.0"]));

        assert_eq!(found.details.get("carries"), None);

        jar(&path.join("all.jar"), &[("scala/Predef.class", 52)]);
        assert_eq!(facts(path).unwrap().unwrap().details["carries"], json!(["Scala's library"]));
        jar(&path.join("other_2.13-1.jar"), &[]);
        assert!(facts(path).unwrap_err().to_string().contains("Scala 2.13"));
        fs::write(path.join("program.py"), "").unwrap();
        assert_eq!(facts(path).unwrap(), None);
    }

    #[test]
    fn mavens_word_counts_before_the_name() {
        let tree = tempfile::tempdir().unwrap();
        let mut zip = ZipWriter::new(File::create(tree.path().join("renamed.jar")).unwrap());
        zip.start_file(
            "META-INF/maven/io.delta/delta-core_2.13/pom.properties",
            SimpleFileOptions::default(),
        )
        .unwrap();
        zip.write_all(b"version=2.4.0\n").unwrap();
        zip.finish().unwrap();
        let found = facts(tree.path()).unwrap().unwrap();
        assert_eq!((found.version.as_str(), &found.requires["scala"]), ("2.4.0", &json!("2.13")));
        assert_eq!(found.details["coordinates"], json!({"renamed": "io.delta:delta-core_2.13:2.4.0"}));
        let built = ["org.x/name", "org.y/other"].map(|id| (id.to_owned(), "1".to_owned())).into();
        assert_eq!(own("name-1.2", &built).unwrap().group, "org.x");
        assert!(own("shaded", &built).is_none());
    }

    #[test]
    fn reads_a_folder_named_jars() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("jars")).unwrap();
        jar(&tree.path().join("jars/x-1.jar"), &[("a/A.class", 61)]);
        let found = facts(tree.path()).unwrap().unwrap();
        assert_eq!((&found.requires["java"], &found.details["folder"]), (&json!(">=17"), &json!("jars")));
        fs::create_dir(tree.path().join("bin")).unwrap();
        assert_eq!(facts(tree.path()).unwrap(), None);
    }

    #[test]
    fn names() {
        assert_eq!(scala_of("spark-avro_2.12-3.5.1").as_deref(), Some("2.12"));
        assert_eq!(scala_of("x_3-1.0").as_deref(), Some("3"));
        assert_eq!(scala_of("snake_case-2.1"), None);
        assert_eq!(version_of("hadoop-aws-3.3.4"), Some("3.3.4"));
        assert_eq!(version_of("plain"), None);
    }
}
