//! Trees: folders of hard links to blobs. Owns `trees/`; a tree appears by rename when it is whole. It must not
//! change a blob.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::FileType;
use stoker_model::ids::Digest;

use super::blobs::{Blobs, TIME, file_name};
use super::error::BuildError;
use super::manifest::{Manifest, Node};
use super::name;
use crate::fs::failpoint::hit;
use crate::fs::{Dir, unique};

/// Permission bits of every folder of a tree.
pub(super) const FOLDER: u32 = 0o555;

#[derive(Debug)]
pub(super) struct Trees {
    folder: PathBuf,
    incoming: PathBuf,
    dir: Dir,
    /// Linked by this process, or held against their manifests by it.
    checked: Mutex<HashSet<Digest>>,
}

impl Trees {
    pub(super) fn open(folder: &Path, incoming: &Path) -> io::Result<Self> {
        let dir = Dir::create(folder)?;
        dir.set_mode(0o755)?;
        dir.spread();
        Ok(Self { folder: folder.to_owned(), incoming: incoming.to_owned(), dir, checked: Mutex::default() })
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The digests of the trees there are.
    pub(super) fn all(&self) -> io::Result<Vec<Digest>> {
        let entries = self.dir.entries()?;
        let mut found: Vec<Digest> =
            entries.iter().filter_map(|e| Digest::from_hex(e.name.to_str()?).ok()).collect();
        found.sort();
        Ok(found)
    }

    /// Whether the tree is there; a top folder left open by a crash is closed.
    pub(super) fn has(&self, digest: &Digest) -> Result<bool, BuildError> {
        let name = digest.hex();
        let fail = |error| BuildError::io("look at tree", &self.path(digest), error);
        let Some(stat) = self.dir.try_stat(&name).map_err(fail)? else { return Ok(false) };
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(BuildError::damaged(format!("trees/{name}"), "it is not a folder"));
        }
        if stat.st_mode & 0o7777 != FOLDER {
            self.dir.sub(&name).and_then(|top| top.set_mode(FOLDER)).map_err(fail)?;
        }
        Ok(true)
    }

    fn known(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the tree is there and this process has linked it or looked at all of it.
    pub(super) fn is_checked(&self, digest: &Digest) -> Result<bool, BuildError> {
        Ok(self.known().contains(digest) && self.has(digest)?)
    }

    /// All of the tree was looked at.
    pub(super) fn checked(&self, digest: &Digest) {
        self.known().insert(digest.clone());
    }

    /// Links the tree of a manifest; one that is there is left as it is. Nothing waits for the disk: a tree that a
    /// power cut leaves half there is mended before it is handed out.
    pub(super) fn link(
        &self,
        digest: &Digest,
        manifest: &Manifest,
        blobs: &Blobs,
    ) -> Result<PathBuf, BuildError> {
        let path = self.path(digest);
        if self.has(digest)? {
            return Ok(path);
        }
        let fail = |error| BuildError::io("link tree", &path, error);
        let incoming = Dir::open(&self.incoming).map_err(fail)?;
        let staged = Staged { name: unique(), parent: &incoming };
        // Writable until it has its place: renaming a folder into another needs that of all but root.
        let top = incoming.make_dir(&staged.name, 0o755).map_err(fail)?;
        fill(&top, manifest, blobs, digest, &path)?;
        hit("builds.tree.before-rename");
        match incoming.rename_new(&staged.name, &self.dir, digest.hex()) {
            // Another was first: the same tree.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(path),
            other => other.map_err(fail)?,
        }
        hit("builds.tree.renamed");
        top.set_mode(FOLDER).map_err(fail)?;
        self.checked(digest);
        Ok(path)
    }

    /// Removes a tree: out of sight first, then for good. The blobs stay.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), BuildError> {
        let fail = |error| BuildError::io("remove tree", &self.path(digest), error);
        let name = digest.hex();
        if self.dir.try_stat(&name).map_err(fail)?.is_none() {
            return Ok(());
        }
        let incoming = Dir::open(&self.incoming).map_err(fail)?;
        let gone = Staged { name: unique(), parent: &incoming };
        self.known().remove(digest);
        self.dir.sub(&name).and_then(|top| top.set_mode(0o755)).map_err(fail)?;
        self.dir.rename(&name, &incoming, &gone.name).map_err(fail)?;
        hit("builds.remove.renamed");
        incoming.remove_tree(&gone.name).map_err(fail)
    }
}

/// A folder below `incoming/` that goes away again if it is still there.
struct Staged<'a> {
    name: String,
    parent: &'a Dir,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the builds are opened next.
        let _ = self.parent.remove_tree(&self.name);
    }
}

/// Makes the folders, then the files, then the links: nothing is ever reached through one.
fn fill(
    top: &Dir,
    manifest: &Manifest,
    blobs: &Blobs,
    digest: &Digest,
    path: &Path,
) -> Result<(), BuildError> {
    let fail = |error| BuildError::io("link tree", path, error);
    let mut folders: HashMap<&str, Dir> = HashMap::new();
    let mut open: Vec<&str> = Vec::new();
    let mut links = Vec::new();
    let mut linked = false;
    for (at, node) in manifest.iter() {
        let parent = name::parent(at);
        // Sorted order visits a folder's content in one run but for names such as `a-b` between `a` and `a/x`:
        // few folders are open at once, and any can be opened again.
        while let Some(last) = open.last().copied() {
            if open.len() < 64 || parent.is_some_and(|p| name::within(p, last)) {
                break;
            }
            folders.remove(last);
            open.pop();
        }
        if let Some(parent) = parent
            && !folders.contains_key(parent)
        {
            folders.insert(parent, top.sub(parent).map_err(fail)?);
            open.push(parent);
        }
        let dir = parent.and_then(|p| folders.get(p)).unwrap_or(top);
        let last = at.rsplit_once('/').map_or(at, |(_, last)| last);
        match node {
            Node::Folder => {
                folders.insert(at, dir.make_dir(last, 0o755).map_err(fail)?);
                open.push(at);
            }
            Node::File { blob, exec } => {
                link_blob(dir, last, blobs, blob, *exec, digest).map_err(|error| match error {
                    Linked::Io(error) => fail(error),
                    Linked::Missing(what) => BuildError::damaged(what, "it is missing"),
                })?;
                if !linked {
                    linked = true;
                    hit("builds.tree.half-linked");
                }
            }
            Node::Link(target) => links.push((at, target)),
        }
    }
    for (at, target) in links {
        let (parent, last) = at.rsplit_once('/').map_or((None, at), |(p, l)| (Some(p), l));
        match parent {
            Some(parent) => top.sub(parent).and_then(|dir| dir.symlink(target, last)).map_err(fail)?,
            None => top.symlink(target, last).map_err(fail)?,
        }
    }
    close(top, manifest, folders).map_err(fail)
}

/// Makes the folders read-only and gives them their time, the inner ones first.
fn close<'a>(top: &Dir, manifest: &'a Manifest, mut open: HashMap<&'a str, Dir>) -> io::Result<()> {
    let folders: Vec<&str> =
        manifest.iter().filter(|(_, node)| **node == Node::Folder).map(|(path, _)| path).collect();
    for path in folders.iter().rev() {
        let dir = match open.remove(path) {
            Some(dir) => dir,
            None => top.sub(path)?,
        };
        dir.set_mode(FOLDER)?;
        dir.set_time(TIME)?;
    }
    top.set_time(TIME)
}

/// Why a blob is not linked.
pub(super) enum Linked {
    Io(io::Error),
    Missing(String),
}

impl From<io::Error> for Linked {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Links a blob as `last` in `dir`, or copies it where it has all the links that the file system gives.
pub(super) fn link_blob(
    dir: &Dir,
    last: &str,
    blobs: &Blobs,
    blob: &Digest,
    exec: bool,
    of: &Digest,
) -> Result<(), Linked> {
    match blobs.link(blob, exec, dir, last) {
        Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {
            tracing::debug!(tree = %of, blob = %blob, "the file system's link limit is reached: copied");
            Ok(copy_blob(dir, last, &blobs.open_blob(blob, exec)?, exec)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = file_name(blob, exec);
            Err(Linked::Missing(format!("blobs/{}/{name}", &name[..2])))
        }
        other => Ok(other?),
    }
}

fn copy_blob(dir: &Dir, last: &str, from: &File, exec: bool) -> io::Result<()> {
    let mode = if exec { 0o555 } else { 0o444 };
    let mut to = dir.create_new(last, mode)?;
    // Sharing the data where the file system can; the inode is another one all the same.
    if rustix::fs::ioctl_ficlone(&to, from).is_err() {
        io::copy(&mut &*from, &mut to)?;
    }
    to.set_permissions(std::fs::Permissions::from_mode(mode))?;
    rustix::fs::futimens(&to, &crate::fs::dir::times(TIME))?;
    to.sync_data()
}
