//! What is visible and not durable yet. A blob is published by a second link to the file in its ingest's folder
//! below `incoming/`; that folder goes away only when the disk has everything. So after a stop at any moment the
//! folders that are left name exactly the blobs that must be hashed again.
//!
//! Owns the thread that makes things durable, few flushes for many files, and the look at what an unclean stop
//! left. It must not write a blob's content.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::FileType;
use stoker_model::ids::Digest;

use super::blobs::{Blobs, hash_blob, parse_name};
use super::lease::{Lease, Leases};
use super::tree::Trees;
use crate::fs::Dir;
use crate::fs::failpoint::hit;

/// Foreign unwritten data from which waiting for all of it costs more than syncing each of our files.
const FOREIGN_DIRTY: u64 = 2 << 30;
/// Threads that sync files: the disk merges their flushes.
const SYNCERS: usize = 4;

/// An ingest's folder whose files are visible.
#[derive(Debug)]
pub(super) struct Published {
    /// Its name below `incoming/`.
    pub(super) folder: String,
    /// Bytes in it.
    pub(super) bytes: u64,
    /// The build that it is, if it is one.
    pub(super) build: Option<Digest>,
    /// What the ingest counts on.
    pub(super) lease: Lease,
}

#[derive(Debug, Default)]
struct State {
    queued: Vec<Published>,
    /// How many were ever queued, and how many are done with.
    begun: u64,
    ended: u64,
    stop: bool,
    /// What could not be made durable, by the build.
    failed: HashMap<Option<Digest>, (io::ErrorKind, String)>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    incoming: Dir,
    blobs: Arc<Blobs>,
    trees: Arc<Trees>,
    leases: Arc<Leases>,
}

/// Makes what is published durable, behind everybody's back.
#[derive(Debug)]
pub(super) struct Settler {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Settler {
    pub(super) fn new(incoming: Dir, blobs: Arc<Blobs>, trees: Arc<Trees>, leases: Arc<Leases>) -> Self {
        let shared =
            Shared { state: Mutex::default(), changed: Condvar::new(), incoming, blobs, trees, leases };
        Self { shared: Arc::new(shared), thread: Mutex::new(None) }
    }

    /// Takes over a published folder.
    pub(super) fn queue(&self, published: Published) {
        let mut state = self.shared.state();
        state.failed.remove(&published.build);
        state.queued.push(published);
        state.begun += 1;
        drop(state);
        self.shared.changed.notify_all();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            match std::thread::Builder::new().name("builds-settle".into()).spawn(move || shared.run()) {
                Ok(started) => *thread = Some(started),
                // Without a thread the caller waits for the disk.
                Err(_) => self.shared.batch(),
            }
        }
    }

    /// Waits until all that is published by now is durable; an error is that of this build.
    pub(super) fn wait(&self, build: Option<&Digest>) -> io::Result<()> {
        let mut state = self.shared.state();
        let until = state.begun;
        while state.ended < until {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.failed.get(&build.cloned()) {
            Some((kind, says)) => Err(io::Error::new(*kind, says.clone())),
            None => Ok(()),
        }
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and lists: no panic leaves them half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut state = self.state();
            while state.queued.is_empty() && !state.stop {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.queued.is_empty() {
                return;
            }
            drop(state);
            self.batch();
        }
    }

    /// Everything queued by now, with one flush of the file system.
    fn batch(&self) {
        let batch = std::mem::take(&mut self.state().queued);
        hit("builds.ingest.before-sync");
        let synced = self.sync(&batch);
        hit("builds.ingest.synced");
        let mut failed = Vec::new();
        for published in &batch {
            match &synced {
                // What cannot be removed now is looked at and removed when the builds are opened next.
                Ok(()) => drop(self.incoming.remove_tree(&published.folder)),
                Err(error) => {
                    tracing::error!(%error, folder = published.folder, "builds could not be made durable");
                    self.withdraw(published);
                    failed.push((published.build.clone(), (error.kind(), error.to_string())));
                }
            }
        }
        hit("builds.ingest.settled");
        let mut state = self.state();
        state.failed.extend(failed);
        state.ended += batch.len() as u64;
        drop(state);
        self.changed.notify_all();
    }

    fn sync(&self, batch: &[Published]) -> io::Result<()> {
        let ours: u64 = batch.iter().map(|published| published.bytes).sum();
        if foreign_dirty(ours) < FOREIGN_DIRTY {
            return self.incoming.sync_file_system();
        }
        for published in batch {
            let dir = self.incoming.sub(&published.folder)?;
            let entries = dir.entries()?;
            std::thread::scope(|scope| {
                let workers: Vec<_> = entries
                    .chunks(entries.len().div_ceil(SYNCERS).max(1))
                    .map(|part| {
                        scope.spawn(|| {
                            part.iter().try_for_each(|entry| dir.open_file(&entry.name)?.sync_data())
                        })
                    })
                    .collect();
                workers.into_iter().try_for_each(|worker| {
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            })?;
        }
        for (_, shard) in self.blobs.folders()? {
            shard.sync()?;
        }
        self.blobs.dir().sync()
    }

    /// A flush that failed says nothing of what is on the disk, and the next one would say that all is well: what
    /// was published is taken back, so that another try writes it anew. What others count on already stays, and so
    /// does the folder then: it is looked at when the builds are opened next.
    fn withdraw(&self, published: &Published) {
        let Ok(dir) = self.incoming.sub(&published.folder) else { return };
        let mut kept = false;
        for entry in dir.entries().unwrap_or_default() {
            let Some((blob, exec)) = entry.name.to_str().and_then(parse_name) else { continue };
            if self.leases.used_by_others(&published.lease, &blob) {
                kept = true;
            } else if same_file(&dir, &entry.name, &self.blobs, &blob, exec) {
                let _ = self.blobs.unlink(&blob, exec);
            }
        }
        // A tree that was linked meanwhile has no manifest any more.
        if let Some(build) = &published.build
            && !self.blobs.has(build, false).unwrap_or(true)
        {
            let _ = self.trees.remove(build);
        }
        if !kept {
            let _ = self.incoming.remove_tree(&published.folder);
        }
    }
}

/// Whether a name in an ingest's folder is the published blob itself.
fn same_file(dir: &Dir, name: &std::ffi::OsStr, blobs: &Blobs, blob: &Digest, exec: bool) -> bool {
    match (dir.try_stat(name), blobs.stat(blob, exec)) {
        (Ok(Some(here)), Ok(Some(there))) => (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino),
        _ => false,
    }
}

/// What an earlier process did not come to: blobs that were published and perhaps not durable are hashed, those
/// that are not whole are removed and returned, the others are made durable; then all of it is cleared away.
pub(super) fn recover(incoming: &Dir, blobs: &Blobs) -> io::Result<Vec<(Digest, bool)>> {
    let (mut lost, mut suspects) = (Vec::new(), 0u64);
    for folder in incoming.entries()? {
        if folder.kind != FileType::Directory {
            continue;
        }
        let Ok(dir) = incoming.sub(&folder.name) else { continue };
        for entry in dir.entries()? {
            let Some((blob, exec)) = entry.name.to_str().and_then(parse_name) else { continue };
            if entry.kind != FileType::RegularFile || !same_file(&dir, &entry.name, blobs, &blob, exec) {
                continue;
            }
            suspects += 1;
            if hash_blob(&dir.open_file(&entry.name)?).ok().as_ref() != Some(&blob) {
                tracing::warn!(blob = %blob, "an unclean stop left a blob that is not whole: dropped");
                blobs.unlink(&blob, exec)?;
                lost.push((blob, exec));
            }
        }
    }
    if suspects > 0 {
        tracing::info!(suspects, lost = lost.len(), "hashed what was not yet durable when the agent ended");
        incoming.sync_file_system()?;
    }
    hit("builds.open.recovered");
    incoming.clear()?;
    Ok(lost)
}

/// Bytes that others wrote and the kernel still holds, as far as it says.
fn foreign_dirty(ours: u64) -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    ((field("Dirty:") + field("Writeback:")) * 1024).saturating_sub(ours)
}
