//! Checking builds against their names. Owns finding damage; must not mend it.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use rustix::fs::FileType;
use serde::Serialize;
use stoker_model::ids::Digest;

use super::Builds;
use super::blobs::{file_name, parse_name};
use super::error::BuildError;
use super::manifest::{Manifest, Node};
use crate::fs::Dir;

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
}

/// Hashes every blob, then holds every tree and record against them.
pub(super) fn verify(builds: &Builds) -> Result<Vec<Damage>, BuildError> {
    let mut found = Vec::new();
    blobs(builds, &mut found)?;
    for digest in builds.trees.all().map_err(|e| BuildError::io("list", &builds.root.join("trees"), e))? {
        tree(builds, &digest, &mut found)?;
    }
    for digest in builds.records.digests()? {
        match builds.record(&digest) {
            Ok(_) => whole(builds, &digest, &mut found)?,
            Err(BuildError::Damaged { what, detail }) => {
                found.push(Damage { path: what, detail, blob: None, tree: Some(digest) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn blobs(builds: &Builds, found: &mut Vec<Damage>) -> Result<(), BuildError> {
    let root = builds.blobs.path();
    let fail = |error| BuildError::io("read", root, error);
    let mut buffer = vec![0; 256 * 1024];
    for (shard, dir) in builds.blobs.folders().map_err(fail)? {
        for entry in dir.entries().map_err(fail)? {
            let name = entry.name.to_string_lossy().into_owned();
            let path = format!("blobs/{shard}/{name}");
            let Some((blob, exec)) = parse_name(&name) else {
                found.push(Damage { path, detail: "no blob has such a name".into(), blob: None, tree: None });
                continue;
            };
            let mut report = |detail: String| {
                found.push(Damage { path: path.clone(), detail, blob: Some(blob.clone()), tree: None });
            };
            if !name.starts_with(&shard) || entry.kind != FileType::RegularFile {
                report("it is in the wrong place or not a file".into());
                continue;
            }
            let mut file = dir.open_file(&entry.name).map_err(fail)?;
            let mode = file.metadata().map_err(fail)?.mode() & 0o7777;
            if mode != if exec { 0o555 } else { 0o444 } {
                report(format!("its mode is {mode:o}"));
            }
            let mut hasher = blake3::Hasher::new();
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => {
                        hasher.update(&buffer[..n]);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        report(format!("it cannot be read: {error}"));
                        break;
                    }
                }
            }
            let digest = Digest::new(*hasher.finalize().as_bytes());
            if digest != blob {
                report(format!("its content is {digest}"));
            }
        }
    }
    Ok(())
}

/// A build whose manifest or one of whose blobs is gone.
fn whole(builds: &Builds, digest: &Digest, found: &mut Vec<Damage>) -> Result<(), BuildError> {
    let Some(manifest) = manifest(builds, digest, "records", found)? else { return Ok(()) };
    for (path, blob, exec) in manifest.files() {
        let name = file_name(blob, exec);
        if !builds.blobs.has(blob, exec).map_err(|e| BuildError::io("look into", builds.blobs.path(), e))? {
            found.push(Damage {
                path: format!("blobs/{}/{name}", &name[..2]),
                detail: format!("it is missing: `{path}` of build {digest}"),
                blob: Some(blob.clone()),
                tree: Some(digest.clone()),
            });
        }
    }
    Ok(())
}

fn manifest(
    builds: &Builds,
    digest: &Digest,
    folder: &str,
    found: &mut Vec<Damage>,
) -> Result<Option<Manifest>, BuildError> {
    match builds.manifest(digest) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error @ (BuildError::Unknown(_) | BuildError::Damaged { .. })) => {
            let path = format!("{folder}/{}", digest.hex());
            found.push(Damage { path, detail: error.to_string(), blob: None, tree: Some(digest.clone()) });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn tree(builds: &Builds, digest: &Digest, found: &mut Vec<Damage>) -> Result<(), BuildError> {
    let Some(manifest) = manifest(builds, digest, "trees", found)? else { return Ok(()) };
    let hex = digest.hex();
    let fail = |error| BuildError::io("read tree", &builds.trees.path(digest), error);
    let top = builds.trees.dir().sub(&hex).map_err(fail)?;
    let mut expected: HashMap<&str, &Node> = manifest.iter().collect();
    let mut stack = vec![(String::new(), top)];
    while let Some((below, dir)) = stack.pop() {
        for entry in dir.entries().map_err(fail)? {
            let path = format!("{below}{}", entry.name.to_string_lossy());
            let detail = match (expected.remove(path.as_str()), entry.kind) {
                (Some(Node::Folder), FileType::Directory) => {
                    stack.push((format!("{path}/"), dir.sub(&entry.name).map_err(fail)?));
                    None
                }
                (Some(Node::Link(target)), FileType::Symlink) => {
                    let there = dir.read_link(&entry.name).map_err(fail)?;
                    (there != target.as_bytes()).then(|| "the link points elsewhere".to_owned())
                }
                (Some(Node::File { blob, exec }), FileType::RegularFile) => {
                    file(builds, &dir, &entry.name, blob, *exec).map_err(fail)?
                }
                (Some(_), _) => Some("it is something else than it should be".to_owned()),
                (None, _) => Some("it should not be there".to_owned()),
            };
            if let Some(detail) = detail {
                let path = format!("trees/{hex}/{path}");
                found.push(Damage { path, detail, blob: None, tree: Some(digest.clone()) });
            }
        }
    }
    let mut gone: Vec<&str> = expected.into_keys().collect();
    gone.sort_unstable();
    found.extend(gone.into_iter().map(|path| Damage {
        path: format!("trees/{hex}/{path}"),
        detail: "it is missing".into(),
        blob: None,
        tree: Some(digest.clone()),
    }));
    Ok(())
}

/// A tree's file: the blob itself, or (at the link limit) a copy of it.
fn file(
    builds: &Builds,
    dir: &Dir,
    name: &std::ffi::OsStr,
    blob: &Digest,
    exec: bool,
) -> std::io::Result<Option<String>> {
    let here = dir.stat(name)?;
    let there = builds.blobs.stat(blob, exec)?;
    if there.is_some_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)) {
        // Its content was hashed as the blob's.
        return Ok(None);
    }
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut dir.open_file(name)?, &mut hasher)?;
    let found = Digest::new(*hasher.finalize().as_bytes());
    if found != *blob {
        return Ok(Some(format!("its content is {found} instead of {blob}")));
    }
    let mode = here.st_mode & 0o7777;
    Ok((mode != if exec { 0o555 } else { 0o444 }).then(|| format!("its mode is {mode:o}")))
}
