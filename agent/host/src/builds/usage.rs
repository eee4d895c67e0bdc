//! What builds take on the disk. Owns counting; must not remove anything.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rustix::fs::FileType;
use serde::Serialize;
use stoker_model::ids::Digest;

use super::Builds;
use super::blobs::{Blobs, file_name};
use super::error::BuildError;
use super::lease::{Key, key};
use super::manifest::Manifest;
use crate::fs::Dir;

/// What is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Builds with a record.
    pub builds: u64,
    /// Trees that are linked.
    pub trees: u64,
    /// Blobs, manifests among them.
    pub blobs: u64,
    /// Bytes of all blobs, each counted once.
    pub bytes: u64,
    /// Bytes the disk gives for them.
    pub disk_bytes: u64,
    /// Bytes of what is being taken in and not yet visible.
    pub incoming_bytes: u64,
    /// Bytes the disk gives for everything below the builds' folder, each file counted once: blobs, the folders of
    /// trees, records, what was put aside. What `du` says.
    pub total_disk_bytes: u64,
}

/// What one build takes on the disk, beside the others that have a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Bytes the disk gives for files that no other build has: what removing it frees.
    pub unique: u64,
    /// Bytes the disk gives for files that others have too.
    pub shared: u64,
    /// Files that are missing: the build cannot be used whole.
    pub missing: u64,
}

pub(super) fn usage(builds: &Builds) -> Result<Usage, BuildError> {
    let fail = |error| BuildError::io("count", &builds.root, error);
    let mut usage = Usage {
        builds: builds.records.digests()?.len() as u64,
        trees: builds.trees.all().map_err(fail)?.len() as u64,
        ..Usage::default()
    };
    for (_, shard) in builds.blobs.folders().map_err(fail)? {
        for entry in shard.each_entry() {
            // One that goes away meanwhile takes nothing.
            if let Some(stat) = shard.try_stat(&entry.map_err(fail)?.name).map_err(fail)? {
                usage.blobs += 1;
                usage.bytes += stat.st_size as u64;
                usage.disk_bytes += stat.st_blocks as u64 * 512;
            }
        }
    }
    let incoming = Dir::open(&builds.incoming).map_err(fail)?;
    for entry in incoming.entries().map_err(fail)? {
        let Ok(staged) = incoming.sub(&entry.name) else { continue };
        for file in staged.entries().map_err(fail)? {
            let stat = staged.try_stat(&file.name).map_err(fail)?;
            // With a second link it is a blob already.
            if let Some(stat) = stat.filter(|stat| stat.st_nlink == 1) {
                usage.incoming_bytes += stat.st_size as u64;
            }
        }
    }
    usage.total_disk_bytes = disk_bytes(&builds.root)?;
    Ok(usage)
}

/// Bytes the disk gives for a folder and all in it, each file counted once. What goes away meanwhile takes nothing.
fn disk_bytes(root: &Path) -> Result<u64, BuildError> {
    let fail = |error| BuildError::io("count", root, error);
    let top = Dir::open(root).map_err(fail)?;
    let of_folder = |dir: &Dir| rustix::fs::fstat(dir).map(|stat| stat.st_blocks as u64 * 512);
    let mut total = of_folder(&top).map_err(|error| fail(error.into()))?;
    let mut seen = HashSet::new();
    let mut stack = vec![top];
    while let Some(dir) = stack.pop() {
        for entry in dir.entries().map_err(fail)? {
            if entry.kind == FileType::Directory {
                if let Ok(sub) = dir.sub(&entry.name) {
                    total += of_folder(&sub).unwrap_or(0);
                    stack.push(sub);
                }
            } else if let Some(stat) = dir.try_stat(&entry.name).map_err(fail)?
                && (stat.st_nlink == 1 || seen.insert(stat.st_ino))
            {
                total += stat.st_blocks as u64 * 512;
            }
        }
    }
    Ok(total)
}

/// The blobs of a build, each once, its manifest among them.
pub(super) fn blobs_of<'a>(
    digest: &'a Digest,
    manifest: &'a Manifest,
) -> HashMap<(Key, bool), (&'a Digest, bool)> {
    let mut found: HashMap<(Key, bool), (&Digest, bool)> =
        manifest.files().map(|(_, blob, exec)| ((key(blob), exec), (blob, exec))).collect();
    found.insert((key(digest), false), (digest, false));
    found
}

/// What each build with a record takes, by digest. Builds whose manifest cannot be read are left out.
pub(super) fn shares(builds: &Builds) -> Result<HashMap<Digest, Share>, BuildError> {
    let mut owners: HashMap<(Key, bool), u32> = HashMap::new();
    let mut sizes: HashMap<(Key, bool), Option<u64>> = HashMap::new();
    let digests = builds.records.digests()?;
    for digest in &digests {
        let Ok(manifest) = builds.manifest(digest) else { continue };
        for (name, (blob, exec)) in blobs_of(digest, &manifest) {
            *owners.entry(name).or_default() += 1;
            if let std::collections::hash_map::Entry::Vacant(slot) = sizes.entry(name) {
                slot.insert(disk_size(&builds.blobs, blob, exec)?);
            }
        }
    }
    let mut shares = HashMap::new();
    for digest in digests {
        let Ok(manifest) = builds.manifest(&digest) else { continue };
        let mut share = Share::default();
        for name in blobs_of(&digest, &manifest).into_keys() {
            match sizes.get(&name) {
                Some(Some(bytes)) if owners.get(&name) == Some(&1) => share.unique += bytes,
                Some(Some(bytes)) => share.shared += bytes,
                Some(None) | None => share.missing += 1,
            }
        }
        shares.insert(digest, share);
    }
    Ok(shares)
}

pub(super) fn disk_size(blobs: &Blobs, blob: &Digest, exec: bool) -> Result<Option<u64>, BuildError> {
    let stat = blobs
        .stat(blob, exec)
        .map_err(|error| BuildError::io("look at", &blobs.path().join(file_name(blob, exec)), error))?;
    Ok(stat.map(|stat| stat.st_blocks as u64 * 512))
}
