//! What can go wrong with a store or the journal, as one enum. Must not: decide what to do about it.

use std::path::PathBuf;

use crate::{LeaseId, Revision};

/// The error below a [`StoreError`]: SQLite's or the file system's own.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store or journal could not do what was asked. Nothing was written when one is returned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A value exceeds [`MAX_VALUE`](crate::MAX_VALUE).
    #[error("cannot store `{key}`: its value has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The key it was meant for.
        key: String,
        /// Bytes of the value.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A transaction has more operations than [`MAX_OPS`](crate::MAX_OPS).
    #[error("cannot commit a transaction of {count} operations: the limit is {limit}")]
    TooManyOps {
        /// Operations in the transaction.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A transaction has more compares than [`MAX_COMPARES`](crate::MAX_COMPARES).
    #[error("cannot commit a transaction of {count} compares: the limit is {limit}")]
    TooManyCompares {
        /// Compares in the transaction.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A key that no back end takes.
    #[error("cannot use the key `{}`: {reason}", key.escape_debug())]
    BadKey {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key is put twice, or put and deleted, in one transaction: back ends would differ in the result.
    #[error("cannot commit a transaction that writes `{key}` more than once")]
    WrittenTwice {
        /// The key.
        key: String,
    },
    /// The lease does not exist: never granted, revoked or expired.
    #[error("cannot use lease {id}: it does not exist or has expired")]
    NoLease {
        /// The lease.
        id: LeaseId,
    },
    /// The events after `after` are partly gone: range again and watch from the range's revision.
    #[error("cannot watch from revision {after}: the history begins after revision {compacted}")]
    Compacted {
        /// The revision asked for.
        after: Revision,
        /// The lowest revision that can be watched from.
        compacted: Revision,
    },
    /// A watch from a revision that this store has not reached: the caller's state is of another store.
    #[error("cannot watch from revision {after}: the store is at revision {revision}")]
    Ahead {
        /// The revision asked for.
        after: Revision,
        /// The store's revision.
        revision: Revision,
    },
    /// The file was written by a newer version of this program. It is left as it is.
    #[error("cannot open `{}`: it has format {found}, this version knows formats up to {known}", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The file's format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The file is damaged or is not ours. It is left as it is.
    #[error("cannot use `{}`: {reason}", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong, for people.
        reason: String,
        /// SQLite's own error, where there is one.
        #[source]
        source: Option<Cause>,
    },
    /// Another process holds the database's lock for longer than the busy timeout.
    #[error("cannot {verb} `{}`: another process keeps it locked", path.display())]
    Busy {
        /// What was tried.
        verb: &'static str,
        /// The database file.
        path: PathBuf,
    },
    /// The disk (or quota) is full; what was stored before is intact.
    #[error("cannot {verb} `{}`: no space is left on its disk", path.display())]
    Full {
        /// What was tried.
        verb: &'static str,
        /// The database file.
        path: PathBuf,
    },
    /// Any other failure of the back end.
    #[error("cannot {verb} `{}`", path.display())]
    Backend {
        /// What was tried.
        verb: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Cause,
    },
}

impl StoreError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Newer { .. } => Some("install the newer version again, or restore a copy made by this one"),
            Self::Corrupt { .. } => Some(
                "the file is never repaired or replaced by itself: restore a copy, or move it away to start empty",
            ),
            Self::Busy { .. } => Some("close the other program that has the database open"),
            Self::Full { .. } => Some("free some space on that disk, then try again"),
            _ => None,
        }
    }
}
