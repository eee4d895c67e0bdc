//! What there is to know of an archive: which JVM it is of, which files it is, and what is in them. Owns the judgement
//! whether it can be used, and the order in which one is published.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ids::Digest;

const FORMAT: u32 = 1;
/// The archive of Java's own classes that a JVM brings, beside its library.
const OWN: &str = "classes.jsa";

/// A JVM: its library as it lies on the disk. An update in place is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    library: PathBuf,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    /// The JVM of a `HOME/bin/java`.
    pub(super) fn of(java: &Path) -> io::Result<Self> {
        let home = java.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        let library = fs::canonicalize(home.join("lib/server/libjvm.so"))?;
        let found = fs::metadata(&library)?;
        Ok(Self { library, size: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
    }

    /// The archive of Java's own classes that it brings, where it does.
    pub(super) fn own_archive(&self) -> Option<PathBuf> {
        Some(self.library.with_file_name(OWN)).filter(|path| path.is_file())
    }

    /// What names of files begin with that are of an archive for it.
    fn stem(&self, name: &str) -> String {
        let key = Digest::of(self.library.as_os_str().as_encoded_bytes()).hex();
        format!("{name}-{}", &key[..8])
    }
}

/// A file of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    file: String,
    size: u64,
    digest: Digest,
}

impl Part {
    fn is_whole(&self, folder: &Path) -> bool {
        let whole = || -> io::Result<bool> {
            let mut file = File::open(folder.join(&self.file))?;
            Ok(file.metadata()?.len() == self.size && digest(&mut file)? == self.digest)
        };
        whole().unwrap_or(false)
    }
}

fn digest(from: &mut impl Read) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(Digest::new(*hasher.finalize().as_bytes())),
            n => hasher.update(&buffer[..n]),
        };
    }
}

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    format: u32,
    jvm: Identity,
    /// The archive of Java's own classes below it: the JVM's own, or a part of ours.
    base: Option<PathBuf>,
    /// Base (where it is ours) and archive.
    parts: Vec<Part>,
}

impl Record {
    fn read(folder: &Path, stem: &str) -> Option<Self> {
        let text = fs::read(folder.join(format!("{stem}.json"))).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|record| record.format == FORMAT)
    }

    /// Its files, as the JVM takes them.
    fn files(&self, folder: &Path) -> Option<OsString> {
        let own = self.parts.iter().map(|part| folder.join(&part.file));
        let all: Vec<PathBuf> = self.base.iter().cloned().chain(own).collect();
        // A base that is not there any more takes the archive with it.
        let [base, top] = all.as_slice() else { return None };
        base.is_file().then(|| [base.as_os_str(), top.as_os_str()].join(&OsString::from(":")))
    }
}

/// The archive `name` of a JVM, as the JVM takes it: base and top. None where there is none, or none that is whole.
pub(super) fn usable(folder: &Path, name: &str, java: &Path) -> Option<OsString> {
    let jvm = Identity::of(java).ok()?;
    let record = Record::read(folder, &jvm.stem(name)).filter(|record| record.jvm == jvm)?;
    record.parts.iter().all(|part| part.is_whole(folder)).then(|| record.files(folder))?
}

/// Puts an archive in its place: its files first, each by its content's name and durable, then the record that names
/// them, in one step. What it takes the place of is removed.
pub(super) fn publish(
    folder: &Path,
    name: &str,
    jvm: &Identity,
    base: &Path,
    archive: &Path,
) -> io::Result<()> {
    let stem = jvm.stem(name);
    let mut parts = Vec::new();
    let ours = !base.starts_with(jvm.library.parent().unwrap_or(Path::new("/")));
    for (kind, path) in [("base", base), ("top", archive)].into_iter().skip(usize::from(!ours)) {
        let mut file = File::open(path)?;
        let (size, digest) = (file.metadata()?.len(), digest(&mut file)?);
        file.sync_all()?;
        let named = format!("{stem}-{kind}-{}.jsa", &digest.hex()[..16]);
        let to = folder.join(&named);
        // A base may serve several archives of this making.
        let _ = fs::remove_file(&to);
        fs::hard_link(path, &to)?;
        parts.push(Part { file: named, size, digest });
    }
    let record = Record { format: FORMAT, jvm: jvm.clone(), base: (!ours).then(|| base.to_owned()), parts };
    let fresh = archive.with_extension("json");
    fs::write(&fresh, serde_json::to_vec(&record)?)?;
    File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, folder.join(format!("{stem}.json")))?;
    File::open(folder)?.sync_all()?;
    let prefix = format!("{stem}-");
    for entry in fs::read_dir(folder)?.flatten() {
        let known = |part: &Part| entry.file_name().to_str() == Some(part.file.as_str());
        let same = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix));
        if same && !record.parts.iter().any(known) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes archives of JVMs that are not there any more, or not as they were.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        let lives = |record: &Record| {
            let now = fs::metadata(&record.jvm.library);
            now.is_ok_and(|now| {
                (now.len(), (now.mtime(), now.mtime_nsec())) == (record.jvm.size, record.jvm.modified)
            })
        };
        let record = Record::read(folder, stem);
        if record.as_ref().is_some_and(lives) {
            continue;
        }
        fs::remove_file(entry.path())?;
        for part in record.into_iter().flat_map(|record| record.parts) {
            let _ = fs::remove_file(folder.join(part.file));
        }
    }
    Ok(())
}
