//! Blobs on disk and those on their way there. Owns `blobs/` and one folder of `incoming/` per ingest: a blob
//! appears whole, as a second link to the staged file. It must not know whose file a blob is.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use stoker_model::ids::Digest;

use super::durable::Published;
use super::error::BuildError;
use super::lease::Lease;
use super::manifest::Manifest;
use crate::fs::failpoint::hit;
use crate::fs::{Dir, free_bytes, unique};

/// The one time every file and folder of a build has: 2000-01-01, in seconds since 1970.
pub(super) const TIME: i64 = 946_684_800;
/// Smaller files are held in memory until it is known whether they are new.
pub(super) const SMALL: u64 = 256 * 1024;

/// The blobs' folder, its 256 sub-folders opened as they are needed.
#[derive(Debug)]
pub(super) struct Blobs {
    path: PathBuf,
    dir: Dir,
    shards: Vec<OnceLock<Dir>>,
    /// Links a file may have, where a test wants fewer than the file system gives.
    #[cfg(test)]
    pub(super) most_links: std::sync::atomic::AtomicU64,
}

/// A blob's file name: its digest, and `x` where it can be run (the mode belongs to the inode).
pub(super) fn file_name(blob: &Digest, exec: bool) -> String {
    let mut name = blob.hex();
    if exec {
        name.push('x');
    }
    name
}

/// Reads a blob's file name back.
pub(super) fn parse_name(name: &str) -> Option<(Digest, bool)> {
    let (hex, exec) = name.strip_suffix('x').map_or((name, false), |hex| (hex, true));
    let blob = Digest::from_hex(hex).ok()?;
    (file_name(&blob, exec) == name).then_some((blob, exec))
}

impl Blobs {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let dir = Dir::create(path)?;
        dir.spread();
        let shards = (0..256).map(|_| OnceLock::new()).collect();
        Ok(Self {
            path: path.to_owned(),
            dir,
            shards,
            #[cfg(test)]
            most_links: u64::MAX.into(),
        })
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder a blob is in, if it is there.
    fn shard(&self, blob: &Digest) -> io::Result<Option<&Dir>> {
        let slot = &self.shards[usize::from(blob.bytes()[0])];
        if let Some(dir) = slot.get() {
            return Ok(Some(dir));
        }
        match self.dir.sub(&blob.hex()[..2]) {
            Ok(dir) => Ok(Some(slot.get_or_init(|| dir))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The folder a blob is to be put in.
    fn make_shard(&self, blob: &Digest) -> io::Result<&Dir> {
        match self.dir.make_dir(&blob.hex()[..2], 0o755) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.shard(blob)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A blob's inode, if it is there.
    pub(super) fn stat(&self, blob: &Digest, exec: bool) -> io::Result<Option<rustix::fs::Stat>> {
        match self.shard(blob)? {
            Some(dir) => dir.try_stat(file_name(blob, exec)),
            None => Ok(None),
        }
    }

    /// Size of a blob, if it is there.
    pub(super) fn size(&self, blob: &Digest, exec: bool) -> io::Result<Option<u64>> {
        Ok(self.stat(blob, exec)?.map(|stat| stat.st_size as u64))
    }

    pub(super) fn has(&self, blob: &Digest, exec: bool) -> io::Result<bool> {
        Ok(self.stat(blob, exec)?.is_some())
    }

    pub(super) fn open_blob(&self, blob: &Digest, exec: bool) -> io::Result<File> {
        let dir = self.shard(blob)?.ok_or(io::ErrorKind::NotFound)?;
        dir.open_file(file_name(blob, exec))
    }

    /// Links a blob as `name` in `dir`.
    pub(super) fn link(&self, blob: &Digest, exec: bool, dir: &Dir, name: &str) -> io::Result<()> {
        let from = self.shard(blob)?.ok_or(io::ErrorKind::NotFound)?;
        #[cfg(test)]
        if from.stat(file_name(blob, exec))?.st_nlink
            >= self.most_links.load(std::sync::atomic::Ordering::Relaxed)
        {
            return Err(io::ErrorKind::TooManyLinks.into());
        }
        dir.link(name, from, file_name(blob, exec))
    }

    /// Publishes `name` of `dir` as a blob: a second link to the same file. False where the blob is there.
    pub(super) fn publish(&self, blob: &Digest, exec: bool, dir: &Dir, name: &str) -> io::Result<bool> {
        let to = match self.shard(blob)? {
            Some(to) => to,
            None => self.make_shard(blob)?,
        };
        match to.link(file_name(blob, exec), dir, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Moves a blob to `name` in `to`; false where it is not there.
    pub(super) fn move_out(&self, blob: &Digest, exec: bool, to: &Dir, name: &str) -> io::Result<bool> {
        let Some(from) = self.shard(blob)? else { return Ok(false) };
        match from.rename(file_name(blob, exec), to, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Removes a blob; none there is no error.
    pub(super) fn unlink(&self, blob: &Digest, exec: bool) -> io::Result<()> {
        let Some(from) = self.shard(blob)? else { return Ok(()) };
        match from.unlink(file_name(blob, exec)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether there never was a blob.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        Ok(self.dir.each_entry().next().transpose()?.is_none())
    }

    /// The sub-folders there are, by name.
    pub(super) fn folders(&self) -> io::Result<Vec<(String, Dir)>> {
        let mut found = Vec::new();
        for entry in self.dir.entries()? {
            let Some(name) = entry.name.to_str() else { continue };
            if name.len() == 2 {
                found.push((name.to_owned(), self.dir.sub(name)?));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }
}

/// Where an ingest writes before anything is visible. Dropped, it is gone with all in it.
#[derive(Debug)]
pub(super) struct Staging<'a> {
    blobs: &'a Blobs,
    parent: Dir,
    folder: PathBuf,
    name: String,
    dir: Dir,
    source: PathBuf,
    small: Vec<u8>,
    new_bytes: u64,
    new_files: u64,
    last: Option<Digest>,
    build: Option<Digest>,
    lease: Option<Lease>,
    /// Only these are taken in, where it is said which.
    wanted: Option<HashSet<(Digest, bool)>>,
}

/// What came of one file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) blob: Digest,
    /// The content was only hashed, in the belief that it is there, and it is not: it must be read again.
    pub(super) missed: bool,
}

/// A file's content as it comes, in pieces; an empty piece is the end.
pub(super) trait Body {
    fn piece(&mut self) -> Result<&[u8], BuildError>;
    fn done(&mut self, n: usize);
}

impl<'a> Staging<'a> {
    /// A folder of its own below `incoming`; `source` is what errors name.
    pub(super) fn new(
        blobs: &'a Blobs,
        incoming: &Path,
        source: &Path,
        lease: Lease,
    ) -> Result<Self, BuildError> {
        let fail = |error| BuildError::io("write below", incoming, error);
        let parent = Dir::open(incoming).map_err(fail)?;
        let name = unique();
        let dir = parent.make_dir(&name, 0o700).map_err(fail)?;
        Ok(Self {
            blobs,
            parent,
            folder: incoming.to_owned(),
            name,
            dir,
            source: source.to_owned(),
            small: Vec::new(),
            new_bytes: 0,
            new_files: 0,
            last: None,
            build: None,
            lease: Some(lease),
            wanted: None,
        })
    }

    /// From now on only these blobs are taken in.
    pub(super) fn want(&mut self, wanted: HashSet<(Digest, bool)>) {
        self.wanted = Some(wanted);
    }

    fn unwanted(&self, blob: &Digest, exec: bool) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&(blob.clone(), exec)))
    }

    /// The build that this is going to be: it stays as long as the ingest's lease does.
    pub(super) fn lease(&mut self, build: &Digest) {
        if let Some(lease) = &self.lease {
            lease.build(build);
        }
        self.build = Some(build.clone());
    }

    /// Bytes of blobs that were not there before.
    pub(super) fn new_bytes(&self) -> u64 {
        self.new_bytes
    }

    /// Stores one file's content. `size` is what the source promises and only steers how; `expected` is a blob
    /// that is there and probably the same.
    pub(super) fn store(
        &mut self,
        size: u64,
        exec: bool,
        expected: Option<&Digest>,
        body: &mut dyn Body,
    ) -> Result<Stored, BuildError> {
        if expected.is_some() {
            // Believed to be there; looked for all the same, since it may just have been collected.
            let blob = drain(body, |_| Ok(()))?;
            let missed = !self.known(&blob, exec)? && !self.unwanted(&blob, exec);
            return Ok(Stored { blob, missed });
        }
        let blob =
            if size < SMALL { self.store_small(exec, body)? } else { self.store_large(size, exec, body)? };
        hit("builds.ingest.blob-written");
        Ok(Stored { blob, missed: false })
    }

    /// Whether the blob is there already or staged here.
    pub(super) fn known(&self, blob: &Digest, exec: bool) -> Result<bool, BuildError> {
        // First, so that a collection that goes on leaves it if it is there.
        if let Some(lease) = &self.lease {
            lease.blob(blob);
        }
        let staged = || Ok(self.dir.try_stat(file_name(blob, exec))?.is_some());
        self.blobs
            .has(blob, exec)
            .and_then(|there| if there { Ok(true) } else { staged() })
            .map_err(|error| BuildError::io("look into", self.blobs.path(), error))
    }

    fn store_small(&mut self, exec: bool, body: &mut dyn Body) -> Result<Digest, BuildError> {
        let mut small = std::mem::take(&mut self.small);
        small.clear();
        let blob = drain(body, |piece| {
            small.extend_from_slice(piece);
            Ok(())
        })?;
        // Looked up first: a file made and removed again slows down every one after it on ext4.
        if !self.known(&blob, exec)? && !self.unwanted(&blob, exec) {
            let written = self.create(&file_name(&blob, exec), exec).and_then(|mut file| {
                file.write_all(&small)?;
                seal(&file)
            });
            written.map_err(|error| self.full(error))?;
            self.added(small.len() as u64);
        }
        self.small = small;
        Ok(blob)
    }

    fn store_large(&mut self, size: u64, exec: bool, body: &mut dyn Body) -> Result<Digest, BuildError> {
        const TEMPORARY: &str = "large";
        let mut file = self.create(TEMPORARY, exec).map_err(|error| self.full(error))?;
        // Only a hint, but for a full disk: not every file system can.
        let room = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, size);
        if room == Err(rustix::io::Errno::NOSPC) {
            return Err(self.full(rustix::io::Errno::NOSPC.into()));
        }
        let mut written = 0u64;
        let blob = drain(body, |piece| {
            written += piece.len() as u64;
            file.write_all(piece).map_err(|error| self.full(error))
        })?;
        seal(&file).map_err(|error| self.full(error))?;
        // Starts writing back now what the sync at the end would otherwise wait for.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        if self.known(&blob, exec)? || self.unwanted(&blob, exec) {
            self.dir.unlink(TEMPORARY).map_err(|error| self.full(error))?;
        } else {
            self.dir
                .rename(TEMPORARY, &self.dir, file_name(&blob, exec))
                .map_err(|error| self.full(error))?;
            self.added(written);
        }
        Ok(blob)
    }

    fn create(&self, name: &str, exec: bool) -> io::Result<File> {
        let mode = if exec { 0o555 } else { 0o444 };
        let file = self.dir.create_new(name, mode)?;
        // Whatever the umask.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        Ok(file)
    }

    fn added(&mut self, bytes: u64) {
        self.new_bytes += bytes;
        self.new_files += 1;
    }

    /// Bytes of a tree's files, staged here or there already.
    pub(super) fn size_of(&self, manifest: &Manifest) -> Result<u64, BuildError> {
        let mut bytes = 0;
        for (_, blob, exec) in manifest.files() {
            let there = match self.dir.try_stat(file_name(blob, exec)) {
                Ok(Some(stat)) => Ok(Some(stat.st_size as u64)),
                Ok(None) => self.blobs.size(blob, exec),
                Err(error) => Err(error),
            };
            let size = there.map_err(|error| BuildError::io("look into", self.blobs.path(), error))?;
            bytes +=
                size.ok_or_else(|| BuildError::damaged(format!("blobs/{}", blob.hex()), "it is missing"))?;
        }
        Ok(bytes)
    }

    /// Stores a tree's manifest, which becomes visible after everything else. Whether it was there already is
    /// the second result.
    pub(super) fn store_manifest(&mut self, manifest: &Manifest) -> Result<(Digest, bool), BuildError> {
        // Written twice, to a hash and to the file: it may be far larger than what should be held in memory.
        let mut hasher = blake3::Hasher::new();
        manifest.write(&mut hasher).map_err(|error| self.full(error))?;
        let digest = Digest::new(*hasher.finalize().as_bytes());
        if self.known(&digest, false)? {
            return Ok((digest, true));
        }
        let name = file_name(&digest, false);
        let written = self.create(&name, false).and_then(|file| {
            let mut out = BufWriter::new(&file);
            manifest.write(&mut out)?;
            out.flush()?;
            seal(&file)?;
            file.metadata().map(|meta| meta.len())
        });
        let bytes = written.map_err(|error| self.full(error))?;
        self.added(bytes);
        self.last = Some(digest.clone());
        Ok((digest, false))
    }

    /// Makes everything staged visible, the manifest last. What comes back is to be made durable: until it is, the
    /// folder here names what might not be.
    pub(super) fn publish(mut self) -> Result<Option<Published>, BuildError> {
        hit("builds.ingest.before-publish");
        let mut some = false;
        for entry in self.dir.entries().map_err(|error| self.full(error))? {
            let Some((blob, exec)) = entry.name.to_str().and_then(parse_name) else { continue };
            if !exec && self.last.as_ref() == Some(&blob) {
                continue;
            }
            self.reveal(&blob, exec)?;
            if !some {
                some = true;
                hit("builds.ingest.half-published");
            }
        }
        if let Some(last) = self.last.clone() {
            self.reveal(&last, false)?;
            some = true;
        }
        hit("builds.ingest.published");
        let Some(lease) = self.lease.take().filter(|_| some) else { return Ok(None) };
        Ok(Some(Published {
            folder: std::mem::take(&mut self.name),
            bytes: self.new_bytes,
            build: self.build.take(),
            lease,
        }))
    }

    fn reveal(&self, blob: &Digest, exec: bool) -> Result<(), BuildError> {
        // Where another ingest was first it is the same content.
        let published = self.blobs.publish(blob, exec, &self.dir, &file_name(blob, exec));
        published.map(drop).map_err(|error| self.full(error))
    }

    fn full(&self, error: io::Error) -> BuildError {
        if BuildError::is_no_space(&error) {
            let free =
                free_bytes(&self.folder).map_or_else(|_| "unknown".into(), |free| format!("{free} bytes"));
            return BuildError::NoSpace {
                source_path: self.source.clone(),
                folder: self.folder.clone(),
                needed: format!("{} bytes were written, {free} free", self.new_bytes),
            };
        }
        BuildError::io("write below", &self.folder, error)
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // Published, its folder is another's. What cannot be removed now is when the builds are opened next.
        if !self.name.is_empty() {
            let _ = self.parent.remove_tree(&self.name);
        }
    }
}

/// Hands each piece to `each` and hashes them all.
fn drain(
    body: &mut dyn Body,
    mut each: impl FnMut(&[u8]) -> Result<(), BuildError>,
) -> Result<Digest, BuildError> {
    let mut hasher = blake3::Hasher::new();
    loop {
        let piece = body.piece()?;
        if piece.is_empty() {
            return Ok(Digest::new(*hasher.finalize().as_bytes()));
        }
        hasher.update(piece);
        each(piece)?;
        let n = piece.len();
        body.done(n);
    }
}

/// The last touch of a blob's file.
fn seal(file: &File) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &crate::fs::dir::times(TIME))?)
}

/// The digest of a file's content, read from its beginning in small pieces.
pub(super) fn hash_blob(file: &File) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut &*file, &mut hasher)?;
    Ok(Digest::new(*hasher.finalize().as_bytes()))
}
