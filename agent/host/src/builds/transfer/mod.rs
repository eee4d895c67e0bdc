//! Builds on their way between hosts: a stream of a manifest and the contents that the other side lacks, whole or as
//! patches against contents that it has.
//!
//! Owns the stream's form ([`frame`]), what is sent and against what ([`plan`]), patches ([`patch`]), and both ends
//! ([`Builds::export`], [`Builds::import`]). Works over any `Write` and `Read`, so that files, pipes and peers are the
//! same to it. It must not know where a stream comes from, nor believe anything in it: content counts once its digest
//! is the one that a checked manifest names.
//!
//! A stream of version 1: `stoker move\n`, the version, then frames of a kind (one byte), a length (eight, little end
//! first) and a payload: the head (JSON), the manifest (zstd, perhaps against the base's), contents in the manifest's
//! order, and the end mark: the BLAKE3 of everything before it.

mod error;
mod export;
mod frame;
mod import;
mod patch;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};
use stoker_model::ids::Digest;

pub use self::error::TransferError;
use super::{BuildError, Builds, Progress};

/// A content: its digest, and whether it can be run.
pub type Content = (Digest, bool);

/// What the other side has already.
#[derive(Debug, Clone, Default)]
pub struct Have {
    /// A build that it has whole: its contents are not sent, and others are sent as patches against them.
    pub base: Option<Digest>,
    /// Further contents that it has.
    pub contents: HashSet<Content>,
}

/// What is known of a build where it comes from. The receiver reads facts itself; nothing may rest on this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Where it came from there.
    pub source: String,
    /// Its facts there.
    pub facts: serde_json::Value,
    /// When it was added there.
    pub added: String,
}

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The build.
    pub digest: Digest,
    /// The build that it is told against.
    pub base: Option<Digest>,
    /// Bytes of the stream.
    pub stream_bytes: u64,
    /// Contents sent, of whatever form.
    pub contents: u64,
    /// Those sent as patches.
    pub patches: u64,
    /// Bytes of the contents sent, unpacked.
    pub content_bytes: u64,
}

/// What was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// The build.
    pub digest: Digest,
    /// The build that it was told against.
    pub base: Option<Digest>,
    /// Files in it.
    pub files: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// Bytes that were not there before.
    pub new_bytes: u64,
    /// Contents in the stream.
    pub contents: u64,
    /// Those of them that were there already, and passed over.
    pub passed: u64,
    /// Bytes of the stream.
    pub stream_bytes: u64,
    /// What the sender says of the build.
    pub origin: Option<Origin>,
}

/// How a stream is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeping {
    /// Verified contents are made durable and visible each so many bytes, so that an import that is cut off goes on
    /// where it was.
    pub every_bytes: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { every_bytes: 256 << 20 }
    }
}

/// The first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    build: Digest,
    base: Option<Digest>,
    /// Bytes of the manifest's text.
    manifest_bytes: u64,
    origin: Option<Origin>,
}

impl Builds {
    /// Writes a build as a stream, without what the other side has. Memory: at most four times [`plan::PATCHED`], a
    /// fraction of it for most builds.
    pub fn export(
        &self,
        digest: &Digest,
        have: &Have,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<Exported, TransferError> {
        export::export(self, digest, have, out, progress)
    }

    /// Takes a stream in. Nothing of the build is visible before all of it is there and verified; contents that
    /// were verified before a stream was cut off stay, and are passed over the next time. A stream of a build that is
    /// here already is read and changes nothing.
    pub fn import(
        &self,
        from: &mut dyn Read,
        keeping: &Keeping,
        progress: &dyn Progress,
    ) -> Result<Imported, TransferError> {
        import::import(self, from, keeping, progress)
    }

    /// The contents of a build that are not here: what a peer is to be asked for.
    pub fn missing(&self, manifest: &super::Manifest) -> Result<Vec<Content>, BuildError> {
        let mut missing = Vec::new();
        for (blob, exec) in plan::contents(manifest) {
            if !self.has_content(blob, exec)? {
                missing.push((blob.clone(), exec));
            }
        }
        Ok(missing)
    }

    fn has_content(&self, blob: &Digest, exec: bool) -> Result<bool, BuildError> {
        self.blobs.has(blob, exec).map_err(|e| BuildError::io("look into", self.blobs.path(), e))
    }
}
