//! Archives from the web on their way to being builds. Owns that a file is fetched to where nobody sees it, and that
//! one whose digest is known is not fetched at all; must not connect itself.

use std::path::{Path, PathBuf};

use stoker_model::ids::Digest;

use super::known::Known;
use super::layout::Layout;
use super::{Builds, Ingested, Progress};
use crate::fetch::{Checksum, FetchError, Fetcher, Link};

/// A fetched file, what its link promised. Dropped, it is gone.
#[derive(Debug)]
pub struct Download {
    path: PathBuf,
    bytes: u64,
}

impl Download {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the builds are opened next.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Builds {
    /// Fetches a file to below `incoming/`.
    pub fn download(
        &self,
        fetcher: &Fetcher,
        link: &Link,
        progress: &(dyn Progress + Sync),
    ) -> Result<Download, FetchError> {
        let path = self.incoming.join(format!("download-{}", crate::fs::unique()));
        let bytes = fetcher.fetch(link, &path, progress)?;
        Ok(Download { path, bytes })
    }

    /// The build that a file with this digest became with these layouts, if all of it is still here.
    pub fn known_download(&self, checksum: &Checksum, layouts: &[Layout]) -> Option<Digest> {
        let known = self.archives.find_sum(checksum.algorithm(), &checksum.hex(), layouts)?;
        self.mark_used(&known.digest);
        let manifest = self.manifest(&known.digest).ok()?;
        let whole = self.missing(&manifest).is_ok_and(|missing| missing.is_empty());
        whole.then_some(known.digest)
    }

    /// Remembers what a file became.
    pub fn remember_download(&self, checksum: &Checksum, layouts: &[Layout], ingested: &Ingested) {
        let known = Known {
            digest: ingested.digest.clone(),
            files: ingested.files,
            bytes: ingested.bytes,
            layouts: layouts.to_vec(),
            path: None,
        };
        self.archives.remember_sum(checksum.algorithm(), &checksum.hex(), layouts, &known);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;
    use crate::fetch::Rules;

    fn link(hex: &str) -> Link {
        Link::parse(&format!("https://127.0.0.1:9/x#sha256={hex}")).unwrap()
    }

    #[test]
    fn what_is_known_is_found_as_long_as_all_of_it_is_here() {
        let temp = tempfile::tempdir().unwrap();
        let builds = Builds::open(&temp.path().join("builds")).unwrap();
        std::fs::create_dir(temp.path().join("one")).unwrap();
        std::fs::write(temp.path().join("one/a"), "some").unwrap();
        let taken = builds.ingest(Source::Folder(&temp.path().join("one")), &()).unwrap();
        let (known, other) = (link(&"ab".repeat(32)), link(&"cd".repeat(32)));
        let layout = Layout { when: vec!["a".into()], ..Layout::default() };
        assert_eq!(builds.known_download(known.checksum(), &[]), None);
        builds.remember_download(known.checksum(), &[], &taken);
        assert_eq!(builds.known_download(known.checksum(), &[]), Some(taken.digest.clone()));
        assert_eq!(builds.known_download(other.checksum(), &[]), None);
        assert_eq!(
            builds.known_download(known.checksum(), &[layout]),
            None,
            "with other layouts it is another build"
        );
        let blob = Digest::of(b"some").hex();
        std::fs::remove_file(temp.path().join("builds/blobs").join(&blob[..2]).join(&blob)).unwrap();
        assert_eq!(builds.known_download(known.checksum(), &[]), None);
    }

    #[test]
    fn a_refused_download_leaves_nothing_and_a_killed_one_is_cleared_away() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("builds");
        let builds = Builds::open(&root).unwrap();
        let count = || std::fs::read_dir(root.join("incoming")).unwrap().count();
        let fetcher = Fetcher::new(Rules::default()).unwrap();
        let said = builds.download(&fetcher, &link(&"ab".repeat(32)), &()).unwrap_err();
        assert!(matches!(said, FetchError::Private { .. }), "{said}");
        assert_eq!(count(), 0);
        std::fs::write(root.join("incoming/download-1-2-3"), "half").unwrap();
        drop(builds);
        Builds::open(&root).unwrap();
        assert_eq!(count(), 0);
    }
}
