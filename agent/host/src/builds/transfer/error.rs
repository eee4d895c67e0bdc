//! What can go wrong between hosts. Owns the errors and their words.

use std::io;

use stoker_model::ids::Digest;

use crate::builds::BuildError;

/// Why a build was not exported or imported. No part of the build is visible after any of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The builds on this host.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The stream cannot be written.
    #[error("cannot write the export of build `{build}`")]
    Write {
        /// The build.
        build: Digest,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The stream cannot be read.
    #[error("cannot read the stream to import")]
    Read(#[source] io::Error),
    /// The stream is something else.
    #[error("cannot import: this is no export of a build")]
    Foreign,
    /// The stream is of a later release.
    #[error("cannot import: the stream's version {found} is newer than {known}, which this release knows")]
    Newer {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The stream ends too early.
    #[error("cannot import: the stream ends after {at} bytes, before its end mark")]
    Cut {
        /// Bytes read.
        at: u64,
    },
    /// The stream is damaged or made up.
    #[error("cannot import: the stream is damaged near byte {at}: {detail}")]
    Corrupt {
        /// Bytes read.
        at: u64,
        /// What is wrong.
        detail: String,
    },
    /// The stream asks for more than is allowed.
    #[error("cannot import: the stream exceeds the limit of {limit} {unit}")]
    Limit {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The stream builds on another build.
    #[error(
        "cannot import build `{build}`: the stream builds on build `{base}`, which is not whole on this host"
    )]
    NoBase {
        /// The build.
        build: Digest,
        /// What is needed first.
        base: Digest,
    },
    /// The stream left out contents that are not here.
    #[error(
        "cannot import build `{build}`: {missing} of its contents are neither in the stream nor on this host"
    )]
    Missing {
        /// The build.
        build: Digest,
        /// How many.
        missing: u64,
    },
    /// The caller asked to stop.
    #[error("cannot move build: cancelled")]
    Cancelled,
}
