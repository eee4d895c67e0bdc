//! A tree held against its manifest. Owns finding what differs; must not change anything.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;

use rustix::fs::FileType;
use stoker_model::ids::Digest;

use super::blobs::{Blobs, TIME, hash_blob};
use super::manifest::{Manifest, Node};
use super::tree::FOLDER;
use crate::fs::Dir;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// At names, inodes, sizes and times: thousands of files in some milliseconds.
    Links,
    /// At every byte of what is not a blob's own file (those are hashed as blobs).
    Content,
}

/// What is wrong at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Something is there that the manifest does not have.
    Stray,
    /// Nothing is there.
    Missing,
    /// A folder's mode.
    FolderMode,
    /// Another file, link or kind of thing.
    Other,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// The path in the tree.
    pub(super) path: String,
    pub(super) wrong: Wrong,
    /// What was found, for people.
    pub(super) detail: String,
}

/// Everything that differs, by path.
pub(super) fn compare(
    top: Dir,
    manifest: &Manifest,
    blobs: &Blobs,
    look: Look,
) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut expected: HashMap<&str, &Node> = manifest.iter().collect();
    let mut stack = vec![(String::new(), top)];
    while let Some((below, dir)) = stack.pop() {
        for entry in dir.entries()? {
            let path = format!("{below}{}", entry.name.to_string_lossy());
            let mut differs = |wrong, detail: String| {
                found.push(Difference { path: path.clone(), wrong, detail });
            };
            match (expected.remove(path.as_str()), entry.kind) {
                (Some(Node::Folder), FileType::Directory) => {
                    let sub = dir.sub(&entry.name)?;
                    let mode = rustix::fs::fstat(&sub)?.st_mode & 0o7777;
                    if mode != FOLDER {
                        differs(Wrong::FolderMode, format!("its mode is {mode:o}"));
                    }
                    stack.push((format!("{path}/"), sub));
                }
                (Some(Node::Link(target)), FileType::Symlink) => {
                    if dir.read_link(&entry.name)? != target.as_bytes() {
                        differs(Wrong::Other, "the link points elsewhere".into());
                    }
                }
                (Some(Node::File { blob, exec }), FileType::RegularFile) => {
                    if let Some(detail) = file(blobs, &dir, &entry.name, blob, *exec, look)? {
                        differs(Wrong::Other, detail);
                    }
                }
                (Some(_), _) => differs(Wrong::Other, "it is something else than it should be".into()),
                (None, _) => differs(Wrong::Stray, "it should not be there".into()),
            }
        }
    }
    let missing = expected.into_keys().map(|path| Difference {
        path: path.to_owned(),
        wrong: Wrong::Missing,
        detail: "it is missing".into(),
    });
    found.extend(missing);
    // A folder comes before what is in it.
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// A tree's file: the blob itself, or (at the link limit) a copy of it.
fn file(
    blobs: &Blobs,
    dir: &Dir,
    name: &OsStr,
    blob: &Digest,
    exec: bool,
    look: Look,
) -> io::Result<Option<String>> {
    let here = dir.stat(name)?;
    let there = blobs.stat(blob, exec)?;
    let mode = here.st_mode & 0o7777;
    let itself = there.is_some_and(|there| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino));
    if look == Look::Content && !itself {
        let found = hash_blob(&dir.open_file(name)?)?;
        if found != *blob {
            return Ok(Some(format!("its content is {found} instead of {blob}")));
        }
    }
    if look == Look::Links {
        if !itself && there.is_none_or(|there| there.st_size != here.st_size) {
            return Ok(Some("it is another file than its blob".into()));
        }
        if here.st_mtime != TIME {
            return Ok(Some("it was written to".into()));
        }
    }
    // The blob's own mode is looked at as the blob's.
    Ok((!itself && mode != if exec { 0o555 } else { 0o444 }).then(|| format!("its mode is {mode:o}")))
}
