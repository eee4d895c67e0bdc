//! Builds on this host: distributions taken in once, stored by content, linked as trees.
//!
//! Owns the folder given to [`Builds::open`]: `blobs/` (content by digest), `trees/` (folders of hard links to
//! blobs), `records/` (where builds came from), `archives/` (which archives were seen) and `incoming/` (what is
//! not ready, gone at the next start). It must not know what is in a build: products, versions and layouts are
//! the charms'.

mod blobs;
mod compare;
mod derive;
mod download;
mod durable;
mod error;
mod feed;
mod folder;
mod gc;
mod inflate;
mod ingest;
mod known;
mod layout;
mod lease;
mod likely;
mod manifest;
mod members;
mod mend;
mod name;
mod records;
mod repair;
mod tar;
#[cfg(test)]
mod tests;
pub mod transfer;
mod tree;
mod usage;
mod verify;
mod zip;

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use stoker_model::ids::Digest;

use self::blobs::{Blobs, Staging};
use self::durable::Settler;
use self::ingest::{Sink, Watch};
use self::known::{Archives, Known};
use self::lease::Leases;
use self::likely::Likely;
use self::records::Records;
use self::tree::Trees;
use crate::fs::Dir;
use crate::fs::failpoint::hit;

pub use self::derive::{Derive, Take};
pub use self::download::Download;
pub use self::error::{BuildError, DeriveFault, Fault};
pub use self::gc::{Collect, Collected, Gone, Roots};
pub use self::layout::Layout;
pub use self::lease::Hold;
pub use self::manifest::{Manifest, ManifestError, Node};
pub use self::records::{Archive, Record};
pub use self::usage::{Share, Usage};
pub use self::verify::{Check, Checked, Damage};

/// Builds whose large files are worth guessing from.
const GUESS_FROM: usize = 16;

/// What a source may at most have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Members, with the folders their names imply.
    pub entries: u64,
    /// Bytes of all files, unpacked.
    pub bytes: u64,
    /// Bytes of one name.
    pub path_bytes: usize,
    /// Bytes of all names and link targets: they are held in memory.
    pub name_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 200_000, bytes: 20 << 30, path_bytes: 4096, name_bytes: 12 << 20 }
    }
}

/// Where a build comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// An archive: tar, tar.gz, tar.zst or zip, told by its content. A lone top folder is taken off.
    File(&'a Path),
    /// A folder, taken in as it is.
    Folder(&'a Path),
}

impl<'a> Source<'a> {
    fn path(self) -> &'a Path {
        match self {
            Self::File(path) | Self::Folder(path) => path,
        }
    }
}

/// Hears of an ingest's progress.
pub trait Progress {
    /// So many bytes of the source are read, of so many if that is known.
    fn step(&self, done_bytes: u64, total_bytes: Option<u64>);
    /// Whether to stop; asked often.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Nobody listens.
impl Progress for () {
    fn step(&self, _done_bytes: u64, _total_bytes: Option<u64>) {}
}

/// What became of a source.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ingested {
    /// The tree's digest.
    pub digest: Digest,
    /// Files in it.
    pub files: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// Bytes that were not there before.
    pub new_bytes: u64,
    /// The archive's sha256 in hexadecimal.
    pub archive_sha256: Option<String>,
    /// The very same build was there already.
    pub known: bool,
}

/// A derived tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    /// Its digest.
    pub digest: Digest,
    /// Its folder.
    pub path: PathBuf,
}

/// The builds of this host. All methods block; all may be called from several threads.
#[derive(Debug)]
pub struct Builds {
    root: PathBuf,
    incoming: PathBuf,
    limits: Limits,
    blobs: Arc<Blobs>,
    trees: Arc<Trees>,
    records: Records,
    archives: Archives,
    /// Sizes of the archives that are being taken in: the same one waits for the first.
    busy: Mutex<HashMap<u64, Arc<AtomicU64>>>,
    freed: Condvar,
    leases: Arc<Leases>,
    settler: Settler,
    /// Held by whoever takes things away: one at a time.
    taking_away: Mutex<()>,
    /// Blobs that an unclean stop left half written, by their digest and whether they can be run.
    lost: Vec<(Digest, bool)>,
}

impl Builds {
    /// Opens the builds below `root`, making what is missing. What an earlier process did not finish is removed, and
    /// what it did not come to make durable is hashed and removed where it is not whole: only one process may have
    /// them open.
    pub fn open(root: &Path) -> Result<Self, BuildError> {
        Self::open_as(root, true)
    }

    /// Opens builds that are there, to look at them beside whoever has them open: nothing is removed or mended.
    pub fn look(root: &Path) -> Result<Self, BuildError> {
        for name in ["incoming", "blobs", "trees", "records", "archives"] {
            let folder = root.join(name);
            std::fs::read_dir(&folder).map_err(|error| BuildError::io("open builds", &folder, error))?;
        }
        Self::open_as(root, false)
    }

    fn open_as(root: &Path, own: bool) -> Result<Self, BuildError> {
        let fail = |error| BuildError::io("open builds", root, error);
        let root = &crate::fs::absolute(root).map_err(fail)?;
        let top = Dir::create(root).map_err(fail)?;
        let incoming = root.join("incoming");
        let staging = Dir::create(&incoming).map_err(fail)?;
        if own {
            // Service users pass through it, whatever the umask.
            top.set_mode(0o755).map_err(fail)?;
            top.spread();
            staging.set_mode(0o700).map_err(fail)?;
            staging.spread();
        }
        let blobs = Arc::new(Blobs::open(&root.join("blobs")).map_err(fail)?);
        let lost = if own { durable::recover(&staging, &blobs).map_err(fail)? } else { Vec::new() };
        let leases = Arc::new(Leases::default());
        let trees = Arc::new(Trees::open(&root.join("trees"), &incoming).map_err(fail)?);
        Ok(Self {
            settler: Settler::new(staging, Arc::clone(&blobs), Arc::clone(&trees), Arc::clone(&leases)),
            leases,
            lost,
            taking_away: Mutex::new(()),
            blobs,
            trees,
            records: Records::open(&root.join("records")).map_err(fail)?,
            archives: Archives::open(&root.join("archives")).map_err(fail)?,
            limits: Limits::default(),
            busy: Mutex::default(),
            freed: Condvar::new(),
            root: root.clone(),
            incoming,
        })
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes a source in.
    pub fn ingest(&self, source: Source<'_>, progress: &dyn Progress) -> Result<Ingested, BuildError> {
        self.ingest_with_layouts(source, &[], progress)
    }

    /// Takes a source in; the first of the layouts that fits is applied, none that does not.
    pub fn ingest_with_layouts(
        &self,
        source: Source<'_>,
        layouts: &[Layout],
        progress: &dyn Progress,
    ) -> Result<Ingested, BuildError> {
        match source {
            Source::File(path) => self.ingest_file(path, layouts, progress),
            Source::Folder(path) => {
                let fail = |error| BuildError::io("read folder", path, error);
                let full = path.canonicalize().map_err(fail)?;
                if self.root.canonicalize().is_ok_and(|root| root.starts_with(&full)) {
                    return Err(fail(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "the builds are inside it",
                    )));
                }
                let done = AtomicU64::new(0);
                let told = Cell::new(0);
                let watch = Watch::new(path, progress, &done, None, &told);
                self.take_in(source, layouts, watch, |sink| folder::read(path, sink).map(|()| None))
            }
        }
    }

    fn ingest_file(
        &self,
        path: &Path,
        layouts: &[Layout],
        progress: &dyn Progress,
    ) -> Result<Ingested, BuildError> {
        let fail = |error| BuildError::io("open", path, error);
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if !meta.is_file() {
            return Err(BuildError::NotArchive {
                source_path: path.to_owned(),
                found: ", found no regular file",
            });
        }
        let size = meta.len();
        let turn = self.turn(path, size, progress)?;
        if self.archives.worth_hashing(size, layouts)
            && let Some(known) = self.find_known(&file, path, size, layouts, progress)?
        {
            return Ok(known);
        }
        self.check_room(path, size)?;
        let told = Cell::new(0);
        let watch = Watch::new(path, progress, &turn.done, Some(size), &told);
        let ingested = self.take_in(Source::File(path), layouts, watch, |sink| {
            ingest::read_archive(&file, sink, &turn.done).map(Some)
        })?;
        let after = file.metadata().map_err(fail)?;
        if (after.len(), after.mtime(), after.mtime_nsec()) != (size, meta.mtime(), meta.mtime_nsec()) {
            return Err(BuildError::Changed { source_path: path.to_owned() });
        }
        if let Some(sha256) = &ingested.archive_sha256 {
            let known = Known {
                digest: ingested.digest.clone(),
                files: ingested.files,
                bytes: ingested.bytes,
                layouts: layouts.to_vec(),
                path: crate::fs::absolute(path).ok(),
            };
            self.archives.remember(size, sha256, layouts, &known);
        }
        progress.step(size, Some(size));
        Ok(ingested)
    }

    /// Refuses early what cannot fit: where no other build can share its blobs, an archive needs its own size.
    fn check_room(&self, path: &Path, size: u64) -> Result<(), BuildError> {
        let free = crate::fs::free_bytes(&self.root).map_err(|e| BuildError::io("look at", &self.root, e))?;
        if free >= size || !self.blobs.is_empty().unwrap_or(false) {
            return Ok(());
        }
        Err(BuildError::NoSpace {
            source_path: path.to_owned(),
            folder: self.root.clone(),
            needed: format!("at least {size} bytes are needed, {free} free"),
        })
    }

    /// An archive that was taken in before and is still whole.
    fn find_known(
        &self,
        file: &File,
        path: &Path,
        size: u64,
        layouts: &[Layout],
        progress: &dyn Progress,
    ) -> Result<Option<Ingested>, BuildError> {
        let sha = match ingest::hash_file(file, || !progress.cancelled()) {
            Ok(sha) => hex::encode(sha),
            Err(_) if progress.cancelled() => {
                return Err(BuildError::Cancelled { source_path: path.to_owned() });
            }
            Err(error) => return Err(BuildError::io("read", path, error)),
        };
        let Some(known) = self.archives.find(size, &sha, layouts) else { return Ok(None) };
        let Ok(manifest) = self.manifest(&known.digest) else { return Ok(None) };
        for (_, blob, exec) in manifest.files() {
            if !self.blobs.has(blob, exec).unwrap_or(false) {
                return Ok(None);
            }
        }
        progress.step(size, Some(size));
        Ok(Some(Ingested {
            digest: known.digest,
            files: known.files,
            bytes: known.bytes,
            new_bytes: 0,
            archive_sha256: Some(sha),
            known: true,
        }))
    }

    /// Waits while an archive of the same size, probably the same one, is taken in; its progress is shown meanwhile.
    fn turn(&self, path: &Path, size: u64, progress: &dyn Progress) -> Result<Turn<'_>, BuildError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = busy.get(&size).map(Arc::clone) {
            let waited = self.freed.wait_timeout(busy, Duration::from_millis(200));
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            progress.step(first.load(Ordering::Relaxed), Some(size));
            if progress.cancelled() {
                return Err(BuildError::Cancelled { source_path: path.to_owned() });
            }
            busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        }
        let done = Arc::new(AtomicU64::new(0));
        busy.insert(size, Arc::clone(&done));
        Ok(Turn { builds: self, size, done })
    }

    fn take_in(
        &self,
        source: Source<'_>,
        layouts: &[Layout],
        watch: Watch<'_>,
        read: impl FnMut(&mut Sink<'_>) -> Result<Option<String>, BuildError>,
    ) -> Result<Ingested, BuildError> {
        let path = source.path();
        let likely = self.likely();
        let lease = self.leases.take(format!("`{}` is taken in", path.display()));
        let staging = Staging::new(&self.blobs, &self.incoming, path, lease)?;
        hit("builds.ingest.opened");
        let mut sink = Sink::new(watch, &self.limits, staging, &likely);
        let archive_sha256 = ingest::read_source(&mut sink, read)?;
        let (members, mut staging) = sink.into_parts();
        let archive = matches!(source, Source::File(_));
        let manifest = members.finish(archive, layouts)?;
        let (files, bytes) = (manifest.files().count() as u64, staging.size_of(&manifest)?);
        let (digest, there) = staging.store_manifest(&manifest)?;
        let new_bytes = staging.new_bytes();
        // Not needed any more, and it may be large.
        drop(manifest);
        staging.lease(&digest);
        self.publish(staging)?;
        let known = there && new_bytes == 0;
        Ok(Ingested { digest, files, bytes, new_bytes, archive_sha256, known })
    }

    fn publish(&self, staging: Staging<'_>) -> Result<(), BuildError> {
        if let Some(published) = staging.publish()? {
            self.settler.queue(published);
        }
        Ok(())
    }

    /// Waits until a build that was taken in or derived is durable. What is visible is whole, but a power cut would
    /// take it away until then.
    pub fn settle(&self, digest: &Digest) -> Result<(), BuildError> {
        self.settler
            .wait(Some(digest))
            .map_err(|error| BuildError::io("make durable what is below", &self.root, error))
    }

    /// While it lives, whatever is taken in, derived, linked or read stays, whoever collects.
    pub fn hold(&self, what: &str) -> Hold {
        self.leases.hold(what)
    }

    /// Says that somebody is about to use a build; it stays as long as there is a [`Hold`].
    pub fn mark_used(&self, digest: &Digest) {
        self.leases.take("it is about to be used").build(digest);
    }

    /// What an unclean stop of an earlier process left half written, now removed: `(blob, can be run)`.
    pub fn lost(&self) -> &[(Digest, bool)] {
        &self.lost
    }

    fn likely(&self) -> Likely {
        let mut likely = Likely::default();
        // Guesses only: whatever cannot be read is left out.
        for digest in self.records.latest(GUESS_FROM) {
            if let Ok(manifest) = self.manifest(&digest) {
                likely.learn(&manifest, &self.blobs);
            }
        }
        likely
    }

    /// A build's manifest, checked against its digest.
    pub fn manifest(&self, digest: &Digest) -> Result<Manifest, BuildError> {
        self.mark_used(digest);
        self.read_manifest(digest)
    }

    fn read_manifest(&self, digest: &Digest) -> Result<Manifest, BuildError> {
        let what = || format!("blobs/{}/{}", &digest.hex()[..2], digest.hex());
        let fail = |error| BuildError::io("read manifest", &self.root.join(what()), error);
        let file = match self.blobs.open_blob(digest, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BuildError::Unknown(digest.clone()));
            }
            other => other.map_err(fail)?,
        };
        let (manifest, found) =
            Manifest::read(io::BufReader::with_capacity(64 * 1024, file)).map_err(fail)?;
        if found != *digest {
            return Err(BuildError::damaged(what(), format!("its content is {found}")));
        }
        manifest.map_err(|error| BuildError::damaged(what(), error.to_string()))
    }

    /// The folder of a build's tree, linked if it is not there yet.
    pub fn tree(&self, digest: &Digest) -> Result<PathBuf, BuildError> {
        self.mark_used(digest);
        if self.trees.is_checked(digest)? {
            return Ok(self.trees.path(digest));
        }
        self.link(digest, &self.manifest(digest)?)
    }

    /// Whether a tree that was linked is still there; it stays as long as there is a [`Hold`].
    pub fn reuse_tree(&self, digest: &Digest) -> bool {
        self.mark_used(digest);
        self.trees.is_checked(digest).unwrap_or(false)
    }

    /// Links a tree, or holds the one that is there against its manifest and mends what differs.
    fn link(&self, digest: &Digest, manifest: &Manifest) -> Result<PathBuf, BuildError> {
        let path = self.trees.link(digest, manifest, &self.blobs)?;
        // What could not be made durable was taken back meanwhile: its tree goes too.
        if !self.blobs.has(digest, false).map_err(|e| BuildError::io("look into", self.blobs.path(), e))? {
            self.trees.remove(digest)?;
            return Err(BuildError::Unknown(digest.clone()));
        }
        if !self.trees.is_checked(digest)? {
            mend::tree(self, digest, manifest, mend::Look::Links)?;
            self.trees.checked(digest);
        }
        Ok(path)
    }

    /// Derives a tree and links it; no content is written, and equal results are the same tree.
    pub fn derive(&self, spec: &Derive) -> Result<Derived, BuildError> {
        let lease = self.leases.take("a tree is derived from it");
        lease.build(&spec.base);
        spec.take.iter().for_each(|take| lease.build(&take.from));
        let manifest = derive::derive(spec, |digest| self.manifest(digest))?;
        hit("builds.derive.before-manifest");
        let mut staging = Staging::new(&self.blobs, &self.incoming, &self.root, lease)?;
        let (digest, _) = staging.store_manifest(&manifest)?;
        staging.lease(&digest);
        self.publish(staging)?;
        hit("builds.derive.after-manifest");
        self.mark_used(&digest);
        let path = self.link(&digest, &manifest)?;
        Ok(Derived { digest, path })
    }

    /// The digest that a derived tree would have; nothing is written or linked.
    pub fn derived_digest(&self, spec: &Derive) -> Result<Digest, BuildError> {
        Ok(derive::derive(spec, |digest| self.manifest(digest))?.digest())
    }

    /// All records, by digest.
    pub fn records(&self) -> Result<Vec<Record>, BuildError> {
        self.records.all()
    }

    /// One build's record.
    pub fn record(&self, digest: &Digest) -> Result<Option<Record>, BuildError> {
        self.records.get(digest)
    }

    /// Writes a record, durably, over the one that was there; the build itself is durable before.
    pub fn put_record(&self, record: &Record) -> Result<(), BuildError> {
        self.settle(&record.digest)?;
        self.records.put(record)
    }

    /// Removes a record; none there is no error.
    pub fn remove_record(&self, digest: &Digest) -> Result<(), BuildError> {
        self.records.remove(digest)
    }

    /// The build that a recorded archive became.
    pub fn known_archive(&self, sha256: &str) -> Result<Option<Digest>, BuildError> {
        let found = self.records.all()?.into_iter().find(|record| {
            record.archive.as_ref().is_some_and(|archive| archive.sha256.eq_ignore_ascii_case(sha256))
        });
        Ok(found.map(|record| record.digest))
    }

    /// Reads everything and says what is not what its name says. Takes as long as reading all blobs.
    pub fn verify(&self) -> Result<Vec<Damage>, BuildError> {
        Ok(self.check(&Check::default(), &())?.damage)
    }

    /// Reads everything, or some builds, and says what is not what its name says; mends it where that is asked for.
    /// Holds a fixed amount of memory beside one manifest, and gives way to others.
    pub fn check(&self, what: &Check, progress: &(dyn Progress + Sync)) -> Result<Checked, BuildError> {
        let mut checked = verify::check(self, what, progress)?;
        if what.repair && !checked.damage.is_empty() {
            repair::repair(self, what, &mut checked, progress)?;
        }
        Ok(checked)
    }

    /// Collects what nothing refers to: see [`Collect`]. `roots` says what is referred to; it is asked once the
    /// collection has begun, so that what is committed before is in it and what is used from then on stays.
    pub fn collect<E: From<BuildError>>(
        &self,
        what: &Collect,
        roots: impl FnOnce() -> Result<Roots, E>,
    ) -> Result<Collected, E> {
        gc::collect(self, what, roots)
    }

    /// Builds with a record of which something is missing.
    pub fn broken(&self) -> Result<Vec<Digest>, BuildError> {
        let shares = self.shares()?;
        let mut broken = self.records.digests()?;
        broken.retain(|digest| shares.get(digest).is_none_or(|share| share.missing > 0));
        Ok(broken)
    }

    fn alone(&self) -> std::sync::MutexGuard<'_, ()> {
        self.taking_away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a tree's folder; its blobs and its record stay. None there is no error.
    pub fn remove_tree(&self, digest: &Digest) -> Result<(), BuildError> {
        self.trees.remove(digest)
    }

    /// What the builds take on the disk, each blob counted once.
    pub fn usage(&self) -> Result<Usage, BuildError> {
        usage::usage(self)
    }

    /// What each build with a record takes, alone and with others. One whose manifest is damaged is left out.
    pub fn shares(&self) -> Result<HashMap<Digest, Share>, BuildError> {
        usage::shares(self)
    }
}

/// The right to take in an archive of this size.
struct Turn<'a> {
    builds: &'a Builds,
    size: u64,
    done: Arc<AtomicU64>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.builds.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.size);
        self.builds.freed.notify_all();
    }
}
