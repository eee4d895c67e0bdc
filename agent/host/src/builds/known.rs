//! Which archives were taken in before, so that the same one is only hashed. Owns `archives/`: one small file for
//! an archive and the layouts it was taken in with. Losing one only costs time.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stoker_model::ids::Digest;

use super::layout::Layout;

/// What an archive became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) digest: Digest,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The layouts that it was taken in with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) layouts: Vec<Layout>,
    /// Where it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Archives {
    folder: PathBuf,
}

impl Archives {
    pub(super) fn open(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Whether an archive of this size was taken in with these layouts: then it is worth hashing it first.
    pub(super) fn worth_hashing(&self, size: u64, layouts: &[Layout]) -> bool {
        let (start, end) = (format!("{size}-"), format!("-{}", key(layouts)));
        std::fs::read_dir(&self.folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| name.starts_with(&start) && name.ends_with(&end))
            })
        })
    }

    pub(super) fn find(&self, size: u64, sha256: &str, layouts: &[Layout]) -> Option<Known> {
        let text = std::fs::read(self.folder.join(file_name(size, sha256, layouts))).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// What a file with this digest, of whatever kind, became.
    pub(super) fn find_sum(&self, kind: &str, hex: &str, layouts: &[Layout]) -> Option<Known> {
        let text = std::fs::read(self.folder.join(sum_name(kind, hex, layouts))).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Remembers what a file with this digest became.
    pub(super) fn remember_sum(&self, kind: &str, hex: &str, layouts: &[Layout], known: &Known) {
        self.write(&sum_name(kind, hex, layouts), known);
    }

    /// All that are remembered. What cannot be read is passed over.
    pub(super) fn all(&self) -> Vec<Known> {
        self.files().into_iter().map(|(_, known)| known).collect()
    }

    fn files(&self) -> Vec<(PathBuf, Known)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let read = |entry: std::fs::DirEntry| {
            let known = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
            Some((entry.path(), known))
        };
        entries.filter_map(read).collect()
    }

    /// Forgets the archives whose build is not `there` any more. What cannot be removed now is the next time.
    pub(super) fn forget(&self, there: impl Fn(&Digest) -> bool) {
        for (path, known) in self.files() {
            if !there(&known.digest) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// Remembers an archive. Not being able to is no error: it is only slower next time.
    pub(super) fn remember(&self, size: u64, sha256: &str, layouts: &[Layout], known: &Known) {
        self.write(&file_name(size, sha256, layouts), known);
    }

    fn write(&self, name: &str, known: &Known) {
        let fresh = self.folder.join(format!(".{name}.{}", crate::fs::unique()));
        let written = serde_json::to_vec(known)
            .map_err(std::io::Error::other)
            .and_then(|text| std::fs::write(&fresh, text))
            .and_then(|()| std::fs::rename(&fresh, self.folder.join(name)));
        if let Err(error) = written {
            tracing::debug!(%error, "an archive's digest was not remembered");
            let _ = std::fs::remove_file(fresh);
        }
    }
}

fn file_name(size: u64, sha256: &str, layouts: &[Layout]) -> String {
    format!("{size}-{sha256}-{}", key(layouts))
}

fn sum_name(kind: &str, hex: &str, layouts: &[Layout]) -> String {
    format!("{kind}-{hex}-{}", key(layouts))
}

fn key(layouts: &[Layout]) -> String {
    // Layouts are plain text: they always have a form.
    Digest::of(&serde_json::to_vec(layouts).unwrap_or_default()).hex()[..16].to_owned()
}
