//! Transactions: compares, operations, and a builder. Must not: check limits (`limits.rs`) or run anything.

use crate::{LeaseId, Revision};

/// A condition on one key, looked at before any operation is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists.
    Exists(String),
    /// The key exists and was last written by exactly this revision.
    Modified(String, Revision),
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a key; without a lease it is also freed from the one it had.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease whose end deletes the key.
        lease: Option<LeaseId>,
    },
    /// Deletes a key; nothing if it does not exist.
    Delete {
        /// The key.
        key: String,
    },
    /// Deletes every key that begins with the prefix: one operation, one event per key.
    DeletePrefix {
        /// The prefix; empty means all keys.
        prefix: String,
    },
}

/// Compares and the operations done if all of them hold. No key may be put twice, or both put and deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done in this order.
    pub ops: Vec<Op>,
}

impl Txn {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if `key` does not exist.
    pub fn absent(mut self, key: impl Into<String>) -> Self {
        self.compares.push(Compare::Absent(key.into()));
        self
    }

    /// Only if `key` exists.
    pub fn exists(mut self, key: impl Into<String>) -> Self {
        self.compares.push(Compare::Exists(key.into()));
        self
    }

    /// Only if `key` exists and was last written at `revision`.
    pub fn modified(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.compares.push(Compare::Modified(key.into(), revision));
        self
    }

    /// Writes `key`.
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Writes `key` under a lease.
    pub fn put_leased(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>, lease: LeaseId) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Deletes `key`.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    /// Deletes all keys that begin with `prefix`.
    pub fn delete_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.ops.push(Op::DeletePrefix { prefix: prefix.into() });
        self
    }

    /// Whether there is no operation in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a compare may have failed, and nothing was written then"]
pub enum Committed {
    /// All compares held; the operations are durable at this revision.
    Yes(Revision),
    /// A compare failed; nothing was written.
    No,
}

impl Committed {
    /// The revision, if it was committed.
    pub fn revision(self) -> Option<Revision> {
        match self {
            Self::Yes(revision) => Some(revision),
            Self::No => None,
        }
    }
}
