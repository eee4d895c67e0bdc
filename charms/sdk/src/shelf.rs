//! Jars told by what is in them: names of jars are their packagers' and are never asked. Owns the one pass over a
//! folder's jars, and where a jar says its own version; must not know any product. Reads only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::jars::{Jar, attributes, properties};

const MANIFEST: &str = "META-INF/MANIFEST.MF";

/// The jars of a folder, each with which of some entries it has.
#[derive(Debug, Default)]
pub struct Shelf(Vec<Shelved>);

#[derive(Debug)]
struct Shelved {
    jar: PathBuf,
    has: Vec<&'static str>,
}

impl Shelf {
    /// Reads the directory of every jar in a folder, once. An entry that ends with `*` stands for all that begin so.
    /// A folder that is not there has no jars; a jar that cannot be read is an error that names it.
    pub fn of(folder: &Path, entries: &[&'static str]) -> io::Result<Self> {
        let mut all = Vec::new();
        for jar in crate::jars::find(folder, "") {
            let has = held(&jar, entries).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot read `{}`: {error}", jar.display()))
            })?;
            all.push(Shelved { jar, has });
        }
        Ok(Self(all))
    }

    /// All jars, sorted by path.
    pub fn jars(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|shelved| shelved.jar.as_path())
    }

    /// Jars that have an entry (as it was asked for), sorted by path.
    pub fn with(&self, entry: &str) -> Vec<&Path> {
        self.0.iter().filter(|s| s.has.contains(&entry)).map(|s| s.jar.as_path()).collect()
    }

    /// Whether a jar has an entry.
    pub fn has(&self, jar: &Path, entry: &str) -> bool {
        self.0.iter().any(|s| s.jar == jar && s.has.contains(&entry))
    }

    /// What the first jar with `entry` says of its own version, as one of these `GROUP/ARTEFACT` of Maven.
    pub fn version(&self, entry: &str, artefacts: &[&str]) -> io::Result<Option<String>> {
        match self.with(entry).first() {
            Some(jar) => version_of(jar, artefacts),
            None => Ok(None),
        }
    }
}

fn held(jar: &Path, entries: &[&'static str]) -> io::Result<Vec<&'static str>> {
    let archive = ZipArchive::new(BufReader::new(File::open(jar)?)).map_err(io::Error::from)?;
    let mut has = Vec::new();
    for entry in entries {
        let there = match entry.strip_suffix('*') {
            Some(prefix) => archive.file_names().any(|name| name.is_ok_and(|name| name.starts_with(prefix))),
            None => archive.index_for_name(entry).is_some(),
        };
        if there {
            has.push(*entry);
        }
    }
    Ok(has)
}

/// What a jar says of its own version: Maven's properties of the first `GROUP/ARTEFACT` that it has (or an entry that
/// ends with `.properties`), else its manifest's.
pub fn version_of(jar: &Path, artefacts: &[&str]) -> io::Result<Option<String>> {
    let mut opened = Jar::open(jar)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    for artefact in artefacts {
        let properties_of = if artefact.ends_with(".properties") {
            (*artefact).to_owned()
        } else {
            format!("META-INF/maven/{artefact}/pom.properties")
        };
        let pom = opened.read(&properties_of)?;
        let said = pom.and_then(|bytes| properties(&text(bytes)).remove("version"));
        if let Some(version) = said.filter(|version| real(version)) {
            return Ok(Some(version));
        }
    }
    let manifest = opened.read(MANIFEST)?.map(|bytes| attributes(&text(bytes))).unwrap_or_default();
    // A bundle's version has nothing but the version; the other may end with a revision.
    let said = |key: &str| manifest.get(key).filter(|version| real(version)).cloned();
    Ok(said("Bundle-Version").or_else(|| said("Implementation-Version")))
}

/// All that was built into a jar by Maven: `GROUP/ARTEFACT` and version.
pub fn coordinates(jar: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut opened = Jar::open(jar)?;
    let mut out = BTreeMap::new();
    for name in opened.names()? {
        let Some(path) =
            name.strip_prefix("META-INF/maven/").and_then(|rest| rest.strip_suffix("/pom.properties"))
        else {
            continue;
        };
        if let Some(bytes) = opened.read(&name)? {
            let said = properties(&String::from_utf8_lossy(&bytes));
            let version = said.get("version").cloned().unwrap_or_default();
            out.insert(path.to_owned(), version);
        }
    }
    Ok(out)
}

/// The text of an entry of a zip file that need be no jar; none when there is no such entry.
pub fn text_of(zip: &Path, entry: &str) -> io::Result<Option<String>> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(zip)?)).map_err(io::Error::from)?;
    let Some(at) = archive.index_for_name(entry) else { return Ok(None) };
    let mut text = String::new();
    archive.by_index(at).map_err(io::Error::from)?.take(1 << 20).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Whether it is a version and not what was to be replaced by one.
fn real(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn jar(path: &Path, entries: &[(&str, &str)]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (name, text) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn jars_are_told_by_their_entries() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        jar(&at("one.jar"), &[("x/Y.class", ""), ("META-INF/maven/g/a/pom.properties", "version=1.2\n")]);
        jar(
            &at("two.jar"),
            &[
                ("META-INF/maven/g/b/pom.properties", "version=${project.version}\n"),
                (MANIFEST, "Implementation-Version: 3.4.6-99\nBundle-Version: 3.4.6\n"),
            ],
        );
        let shelf = Shelf::of(folder.path(), &["x/Y.class", "META-INF/maven/g/*", "absent"]).unwrap();
        assert_eq!(shelf.with("x/Y.class"), [at("one.jar")]);
        assert_eq!(shelf.with("META-INF/maven/g/*").len(), 2);
        assert!(shelf.with("absent").is_empty() && shelf.has(&at("one.jar"), "x/Y.class"));
        assert_eq!(shelf.version("x/Y.class", &["g/other", "g/a"]).unwrap().as_deref(), Some("1.2"));
        assert_eq!(version_of(&at("two.jar"), &["g/b"]).unwrap().as_deref(), Some("3.4.6"));
        assert_eq!(version_of(&at("one.jar"), &["g/other"]).unwrap(), None);
        assert_eq!(
            coordinates(&at("one.jar")).unwrap(),
            BTreeMap::from([("g/a".to_owned(), "1.2".to_owned())])
        );
        assert_eq!(text_of(&at("two.jar"), "nothing").unwrap(), None);
    }

    #[test]
    fn a_broken_jar_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("torn.jar"), "PK").unwrap();
        assert!(Shelf::of(folder.path(), &[]).unwrap_err().to_string().contains("torn.jar"));
        assert_eq!(Shelf::of(&folder.path().join("absent"), &[]).unwrap().jars().count(), 0);
    }
}
