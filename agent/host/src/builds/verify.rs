//! Checking builds against their names. Owns finding damage, in bounded memory and behind everybody else; must not
//! mend it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Advice, FileType};
use serde::Serialize;
use stoker_model::ids::Digest;

use super::blobs::{file_name, parse_name};
use super::compare::{Look, compare};
use super::error::BuildError;
use super::manifest::Manifest;
use super::{Builds, Progress};

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// Only these builds and trees; all when empty.
    pub only: Vec<Digest>,
    /// Mend what can be mended from what is on this host.
    pub repair: bool,
}

/// What was checked, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Trees that were compared.
    pub trees: u64,
    /// Builds with a record that were looked through.
    pub builds: u64,
    /// What is not what its name says; after a repair also what is again.
    pub damage: Vec<Damage>,
}

/// Something that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// A path below the builds' folder.
    pub path: String,
    /// What was found.
    pub detail: String,
    /// The blob that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<Digest>,
    /// The tree that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Digest>,
    /// Builds with a record that are not whole because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builds: Vec<Digest>,
    /// How it was mended, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired: Option<String>,
    /// What would help, where a repair was asked for and could not help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What kind of thing it is.
    #[serde(skip)]
    pub(super) kind: Kind,
}

/// Kinds of damage: what a repair does differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A blob's content is wrong or cannot be read.
    Content { exec: bool },
    /// A blob is not there.
    Gone { exec: bool },
    /// A blob's mode.
    Mode { exec: bool },
    /// Something that is no blob lies among them.
    Stray,
    /// A record cannot be read.
    Record,
    /// A tree differs from its manifest.
    Tree,
}

impl Damage {
    pub(super) fn new(path: impl Into<String>, detail: impl Into<String>, kind: Kind) -> Self {
        let (path, detail) = (path.into(), detail.into());
        let (blob, tree, builds) = (None, None, Vec::new());
        Self { path, detail, blob, tree, builds, repaired: None, remedy: None, kind }
    }

    fn of_blob(self, blob: &Digest) -> Self {
        Self { blob: Some(blob.clone()), ..self }
    }

    fn of_tree(self, tree: &Digest) -> Self {
        Self { tree: Some(tree.clone()), ..self }
    }

    /// The blob that is needed where this is one that is wrong or gone.
    pub(super) fn needs(&self) -> Option<(Digest, bool)> {
        match self.kind {
            Kind::Content { exec } | Kind::Gone { exec } => Some((self.blob.clone()?, exec)),
            _ => None,
        }
    }
}

/// Hashes every blob, then holds every tree and record against them. Runs on a thread that gives way to others.
pub(super) fn check(
    builds: &Builds,
    what: &Check,
    progress: &(dyn Progress + Sync),
) -> Result<Checked, BuildError> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // Of this thread alone; where it may not be said it runs as the others do.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
            all(builds, what, progress)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn all(builds: &Builds, what: &Check, progress: &(dyn Progress + Sync)) -> Result<Checked, BuildError> {
    let mut checked = Checked::default();
    let mut records = builds.records.digests()?;
    let mut trees = builds.trees.all().map_err(|e| BuildError::io("list", &builds.root.join("trees"), e))?;
    let mut only = None;
    if !what.only.is_empty() {
        records.retain(|digest| what.only.contains(digest));
        trees.retain(|digest| what.only.contains(digest));
        let mut names = HashSet::new();
        for digest in &what.only {
            names.insert(file_name(digest, false));
            if let Ok(manifest) = builds.manifest(digest) {
                names.extend(manifest.files().map(|(_, blob, exec)| file_name(blob, exec)));
            }
        }
        only = Some(names);
    }
    blobs(builds, only.as_ref(), progress, &mut checked)?;
    let mut gone = HashSet::new();
    for digest in trees {
        tree(builds, &digest, &mut gone, &mut checked)?;
    }
    for digest in records {
        checked.builds += 1;
        match builds.record(&digest) {
            Ok(_) => whole(builds, &digest, "records", &mut gone, &mut checked)?,
            Err(BuildError::Damaged { what, detail }) => {
                checked.damage.push(Damage::new(what, detail, Kind::Record).of_tree(&digest));
            }
            Err(error) => return Err(error),
        }
    }
    owners(builds, &mut checked)?;
    Ok(checked)
}

/// Which builds each damaged blob belongs to.
fn owners(builds: &Builds, checked: &mut Checked) -> Result<(), BuildError> {
    if checked.damage.is_empty() {
        return Ok(());
    }
    let mut of: HashMap<Digest, Vec<Digest>> =
        checked.damage.iter().filter_map(|damage| Some((damage.blob.clone()?, Vec::new()))).collect();
    for digest in builds.records.digests()? {
        if let Some(owners) = of.get_mut(&digest) {
            owners.push(digest.clone());
        }
        let Ok(manifest) = builds.manifest(&digest) else { continue };
        for (_, blob, _) in manifest.files() {
            if let Some(owners) = of.get_mut(blob)
                && owners.last() != Some(&digest)
            {
                owners.push(digest.clone());
            }
        }
    }
    for damage in &mut checked.damage {
        if let Some(owners) = damage.blob.as_ref().and_then(|blob| of.get(blob)) {
            damage.builds.clone_from(owners);
        }
    }
    Ok(())
}

fn blobs(
    builds: &Builds,
    only: Option<&HashSet<String>>,
    progress: &(dyn Progress + Sync),
    checked: &mut Checked,
) -> Result<(), BuildError> {
    let root = builds.blobs.path();
    let fail = |error| BuildError::io("read", root, error);
    let asked = |name: &str| only.is_none_or(|only| only.contains(name));
    let mut total = 0;
    for (_, dir) in builds.blobs.folders().map_err(fail)? {
        for entry in dir.entries().map_err(fail)?.iter().filter(|entry| asked(&entry.name.to_string_lossy()))
        {
            total += dir.try_stat(&entry.name).map_err(fail)?.map_or(0, |stat| stat.st_size as u64);
        }
    }
    let mut buffer = vec![0; 256 * 1024];
    for (shard, dir) in builds.blobs.folders().map_err(fail)? {
        for entry in dir.entries().map_err(fail)? {
            let name = entry.name.to_string_lossy().into_owned();
            if !asked(&name) {
                continue;
            }
            let path = format!("blobs/{shard}/{name}");
            let Some((blob, exec)) = parse_name(&name) else {
                checked.damage.push(Damage::new(path, "no blob has such a name", Kind::Stray));
                continue;
            };
            if !name.starts_with(&shard) || entry.kind != FileType::RegularFile {
                let detail = "it is in the wrong place or not a file";
                checked.damage.push(Damage::new(path, detail, Kind::Stray).of_blob(&blob));
                continue;
            }
            let file = match dir.open_file(&entry.name) {
                // Collected since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(fail)?,
            };
            let meta = file.metadata().map_err(fail)?;
            let mode = meta.mode() & 0o7777;
            if mode != if exec { 0o555 } else { 0o444 } {
                let damage = Damage::new(&path, format!("its mode is {mode:o}"), Kind::Mode { exec });
                checked.damage.push(damage.of_blob(&blob));
            }
            let wrong = match hash(&file, &mut buffer, |n| {
                checked.bytes += n;
                progress.step(checked.bytes, Some(total));
                !progress.cancelled()
            }) {
                Ok(found) if found == blob => None,
                Ok(found) => Some(format!("its content is {found}")),
                Err(_) if progress.cancelled() => {
                    return Err(BuildError::Cancelled { source_path: root.to_owned() });
                }
                Err(error) => Some(format!("it cannot be read: {error}")),
            };
            checked.blobs += 1;
            if let Some(detail) = wrong {
                checked.damage.push(Damage::new(path, detail, Kind::Content { exec }).of_blob(&blob));
            }
        }
    }
    Ok(())
}

/// The digest of what is on the disk, as long as `go_on` says so.
fn hash(mut file: &File, buffer: &mut [u8], mut go_on: impl FnMut(u64) -> bool) -> io::Result<Digest> {
    // What is cached may be right where the disk is not.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(Digest::new(*hasher.finalize().as_bytes())),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                if !go_on(n as u64) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A build or tree whose manifest or one of whose blobs is gone.
fn whole(
    builds: &Builds,
    digest: &Digest,
    folder: &str,
    gone: &mut HashSet<String>,
    checked: &mut Checked,
) -> Result<(), BuildError> {
    let Some(manifest) = manifest(builds, digest, folder, checked)? else { return Ok(()) };
    missing(builds, digest, &manifest, gone, checked)
}

/// Says each blob that is gone once.
fn missing(
    builds: &Builds,
    digest: &Digest,
    manifest: &Manifest,
    gone: &mut HashSet<String>,
    checked: &mut Checked,
) -> Result<(), BuildError> {
    for (path, blob, exec) in manifest.files() {
        let name = file_name(blob, exec);
        let there = builds.blobs.has(blob, exec);
        if !there.map_err(|e| BuildError::io("look into", builds.blobs.path(), e))?
            && gone.insert(name.clone())
        {
            let detail = format!("it is missing: `{path}` of build {digest}");
            let damage = Damage::new(format!("blobs/{}/{name}", &name[..2]), detail, Kind::Gone { exec });
            checked.damage.push(damage.of_blob(blob).of_tree(digest));
        }
    }
    Ok(())
}

fn manifest(
    builds: &Builds,
    digest: &Digest,
    folder: &str,
    checked: &mut Checked,
) -> Result<Option<Manifest>, BuildError> {
    match builds.manifest(digest) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error @ (BuildError::Unknown(_) | BuildError::Damaged { .. })) => {
            let path = format!("{folder}/{}", digest.hex());
            // A manifest that is there and wrong is found as a blob.
            let kind = match error {
                BuildError::Unknown(_) => Kind::Gone { exec: false },
                _ => Kind::Content { exec: false },
            };
            checked.damage.push(Damage::new(path, error.to_string(), kind).of_blob(digest).of_tree(digest));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn tree(
    builds: &Builds,
    digest: &Digest,
    gone: &mut HashSet<String>,
    checked: &mut Checked,
) -> Result<(), BuildError> {
    checked.trees += 1;
    let Some(manifest) = manifest(builds, digest, "trees", checked)? else { return Ok(()) };
    missing(builds, digest, &manifest, gone, checked)?;
    let fail = |error| BuildError::io("read tree", &builds.trees.path(digest), error);
    let top = match builds.trees.dir().sub(digest.hex()) {
        // Collected since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(fail)?,
    };
    for difference in compare(top, &manifest, &builds.blobs, Look::Content).map_err(fail)? {
        let path = format!("trees/{}/{}", digest.hex(), difference.path);
        checked.damage.push(Damage::new(path, difference.detail, Kind::Tree).of_tree(digest));
    }
    Ok(())
}
