//! Mending a tree in place: services that run from it keep their paths and what they have open. Owns `quarantine/`,
//! where what is taken away goes, and the order of the steps; must not invent content: all of it is the blobs'.

use std::io;
use std::path::Path;

use stoker_model::ids::Digest;

use super::Builds;
use super::blobs::TIME;
pub(super) use super::compare::Look;
use super::compare::{Difference, Wrong, compare};
use super::error::BuildError;
use super::manifest::{Manifest, Node};
use super::tree::{FOLDER, Linked, link_blob};
use crate::fs::failpoint::hit;
use crate::fs::{Dir, unique};

/// The folder of what was found wrong and taken away, below the builds' folder.
pub(super) const QUARANTINE: &str = "quarantine";

/// Opens the folder of what was taken away, making it.
pub(super) fn quarantine(builds: &Builds) -> io::Result<Dir> {
    let dir = Dir::create(&builds.root.join(QUARANTINE))?;
    dir.set_mode(0o700)?;
    Ok(dir)
}

/// A name there that tells where it came from.
pub(super) fn aside(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let short: String = last.chars().take(80).collect();
    format!("{}.{short}", unique())
}

/// Compares a tree with its manifest and mends it; an error where a blob that it needs is not there.
pub(super) fn tree(
    builds: &Builds,
    digest: &Digest,
    manifest: &Manifest,
    look: Look,
) -> Result<Vec<Difference>, BuildError> {
    let fail = |error| BuildError::io("mend tree", &builds.trees.path(digest), error);
    let top = builds.trees.dir().sub(digest.hex()).map_err(fail)?;
    let differences = compare(top, manifest, &builds.blobs, look).map_err(fail)?;
    if differences.is_empty() {
        return Ok(differences);
    }
    let top = builds.trees.dir().sub(digest.hex()).map_err(fail)?;
    for difference in &differences {
        tracing::warn!(
            tree = %digest,
            path = difference.path,
            "a tree is not what its manifest says ({}): mended",
            difference.detail
        );
        one(builds, digest, &top, manifest, difference)?;
    }
    Ok(differences)
}

fn one(
    builds: &Builds,
    digest: &Digest,
    top: &Dir,
    manifest: &Manifest,
    difference: &Difference,
) -> Result<(), BuildError> {
    let path = builds.trees.path(digest).join(&difference.path);
    let fail = |error| BuildError::io("mend", &path, error);
    let (parent, last) = match difference.path.rsplit_once('/') {
        Some((parent, last)) => match top.sub(parent) {
            Ok(dir) => (Some(dir), last),
            // It lay in something that was taken away with all in it.
            Err(error) if difference.wrong == Wrong::Stray && error.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error) => return Err(fail(error)),
        },
        None => (None, difference.path.as_str()),
    };
    let dir = parent.as_ref().unwrap_or(top);
    // Of all but root a folder asks to be writable.
    dir.set_mode(0o755).map_err(fail)?;
    let mended =
        put_right(builds, digest, dir, last, manifest.get(&difference.path), &difference.wrong, &path);
    dir.set_mode(FOLDER).and_then(|()| dir.set_time(TIME)).map_err(fail)?;
    hit("builds.mend.path-mended");
    mended
}

fn put_right(
    builds: &Builds,
    digest: &Digest,
    dir: &Dir,
    last: &str,
    node: Option<&Node>,
    wrong: &Wrong,
    path: &Path,
) -> Result<(), BuildError> {
    let fail = |error| BuildError::io("mend", path, error);
    let (Some(node), false) = (node, *wrong == Wrong::Stray) else {
        return take_away(builds, dir, last).map_err(fail);
    };
    match node {
        Node::Folder => {
            if *wrong == Wrong::Other {
                take_away(builds, dir, last).map_err(fail)?;
            }
            if *wrong != Wrong::FolderMode {
                dir.make_dir(last, FOLDER).map_err(fail)?;
            }
            dir.sub(last).and_then(|sub| sub.set_mode(FOLDER)).map_err(fail)
        }
        Node::File { blob, exec } => {
            let fresh = format!(".{}", unique());
            link_blob(dir, &fresh, &builds.blobs, blob, *exec, digest).map_err(|error| match error {
                Linked::Io(error) => fail(error),
                Linked::Missing(what) => BuildError::damaged(what, "it is missing"),
            })?;
            replace(builds, dir, &fresh, last).map_err(fail)
        }
        Node::Link(target) => {
            let fresh = format!(".{}", unique());
            dir.symlink(target, &fresh).and_then(|()| replace(builds, dir, &fresh, last)).map_err(fail)
        }
    }
}

/// Puts `fresh` in the place of `last`, at once where both are files. What was there is kept aside.
fn replace(builds: &Builds, dir: &Dir, fresh: &str, last: &str) -> io::Result<()> {
    match dir.try_stat(last)? {
        Some(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() => {
            // A second name aside, so that the path is never without a file.
            let _ = quarantine(builds)?.link(aside(last), dir, last);
        }
        Some(_) => take_away(builds, dir, last)?,
        None => {}
    }
    dir.rename(fresh, dir, last)
}

fn take_away(builds: &Builds, dir: &Dir, last: &str) -> io::Result<()> {
    // A folder that moves into another must be writable, of all but root.
    if let Ok(sub) = dir.sub(last) {
        sub.set_mode(0o755)?;
    }
    match dir.rename(last, &quarantine(builds)?, aside(last)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
