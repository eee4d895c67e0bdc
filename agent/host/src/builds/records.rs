//! Records of builds: where each came from and what is known of it. Owns `records/`; must not judge the facts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stoker_model::ids::Digest;

use super::error::BuildError;
use crate::fs::failpoint::hit;
use crate::fs::{atomic_write, sync_folder};

/// The form of a record's file.
const FORMAT: u32 = 1;

/// A build on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The tree.
    pub digest: Digest,
    /// Where it came from, in the user's words.
    pub source: String,
    /// The archive, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// What was read from it.
    #[serde(default)]
    pub facts: serde_json::Value,
    /// Files in it.
    pub files: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// When it was added, as the caller writes times.
    pub added: String,
}

/// An archive file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Its sha256 in hexadecimal.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    #[serde(flatten)]
    record: Record,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(super) fn open(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.json", digest.hex()))
    }

    pub(super) fn put(&self, record: &Record) -> Result<(), BuildError> {
        let path = self.path(&record.digest);
        let fail = |error| BuildError::io("write record", &path, error);
        let text = serde_json::to_vec_pretty(&File { format: FORMAT, record: record.clone() })
            .map_err(|error| fail(error.into()))?;
        hit("builds.record.before");
        atomic_write(&path, &text, 0o644, None).map_err(fail)?;
        hit("builds.record.after");
        Ok(())
    }

    pub(super) fn get(&self, digest: &Digest) -> Result<Option<Record>, BuildError> {
        let path = self.path(digest);
        match std::fs::read(&path) {
            Ok(text) => parse(digest, &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BuildError::io("read record", &path, error)),
        }
    }

    /// All records, by digest.
    pub(super) fn all(&self) -> Result<Vec<Record>, BuildError> {
        let mut found = Vec::new();
        for digest in self.digests()? {
            // Removed since it was listed: not there.
            found.extend(self.get(&digest)?);
        }
        Ok(found)
    }

    pub(super) fn digests(&self) -> Result<Vec<Digest>, BuildError> {
        let fail = |error| BuildError::io("list", &self.folder, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let digest = name.to_str().and_then(|name| Digest::from_hex(name.strip_suffix(".json")?).ok());
            found.extend(digest);
        }
        found.sort();
        Ok(found)
    }

    /// The builds recorded last, at most `most`.
    pub(super) fn latest(&self, most: usize) -> Vec<Digest> {
        let written =
            |digest: &Digest| std::fs::metadata(self.path(digest)).and_then(|meta| meta.modified()).ok();
        let mut digests = self.digests().unwrap_or_default();
        digests.sort_by_cached_key(|digest| std::cmp::Reverse(written(digest)));
        digests.truncate(most);
        digests
    }

    pub(super) fn remove(&self, digest: &Digest) -> Result<(), BuildError> {
        self.remove_all(std::slice::from_ref(digest))
    }

    /// Removes records, durably; one that is not there is no error.
    pub(super) fn remove_all(&self, digests: &[Digest]) -> Result<(), BuildError> {
        for digest in digests {
            let path = self.path(digest);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(BuildError::io("remove record", &path, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        if digests.is_empty() {
            return Ok(());
        }
        sync_folder(&self.folder).map_err(|error| BuildError::io("remove records in", &self.folder, error))
    }

    /// Moves a record that cannot be read out of the way.
    pub(super) fn put_aside(&self, digest: &Digest, to: &Path) -> Result<(), BuildError> {
        let path = self.path(digest);
        std::fs::rename(&path, to).map_err(|error| BuildError::io("put aside", &path, error))
    }
}

fn parse(digest: &Digest, text: &[u8]) -> Result<Record, BuildError> {
    let what = format!("records/{}.json", digest.hex());
    let damaged = |error: serde_json::Error| BuildError::damaged(&what, error.to_string());
    let head: Head = serde_json::from_slice(text).map_err(damaged)?;
    if head.format > FORMAT {
        return Err(BuildError::Newer { what, found: head.format, known: FORMAT });
    }
    let file: File = serde_json::from_slice(text).map_err(damaged)?;
    if file.record.digest != *digest {
        return Err(BuildError::damaged(what, format!("it is of build {}", file.record.digest)));
    }
    Ok(file.record)
}
