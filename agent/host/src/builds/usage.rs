//! What builds take on the disk. Owns counting; must not remove anything.

use serde::Serialize;

use super::Builds;
use super::error::BuildError;
use crate::fs::Dir;

/// What is on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Builds with a record.
    pub builds: u64,
    /// Trees that are linked.
    pub trees: u64,
    /// Blobs, manifests among them.
    pub blobs: u64,
    /// Bytes of all blobs, each counted once.
    pub bytes: u64,
    /// Bytes the disk gives for them.
    pub disk_bytes: u64,
    /// Bytes of what is being taken in.
    pub incoming_bytes: u64,
}

pub(super) fn usage(builds: &Builds) -> Result<Usage, BuildError> {
    let fail = |error| BuildError::io("count", &builds.root, error);
    let mut usage = Usage {
        builds: builds.records.digests()?.len() as u64,
        trees: builds.trees.all().map_err(fail)?.len() as u64,
        ..Usage::default()
    };
    for (_, shard) in builds.blobs.folders().map_err(fail)? {
        for entry in shard.entries().map_err(fail)? {
            // One that goes away meanwhile takes nothing.
            if let Some(stat) = shard.try_stat(&entry.name).map_err(fail)? {
                usage.blobs += 1;
                usage.bytes += stat.st_size as u64;
                usage.disk_bytes += stat.st_blocks as u64 * 512;
            }
        }
    }
    let incoming = Dir::open(&builds.incoming).map_err(fail)?;
    for entry in incoming.entries().map_err(fail)? {
        let Ok(staged) = incoming.sub(&entry.name) else { continue };
        for file in staged.entries().map_err(fail)? {
            if let Some(stat) = staged.try_stat(&file.name).map_err(fail)? {
                usage.incoming_bytes += stat.st_size as u64;
            }
        }
    }
    Ok(usage)
}
