//! The [`Store`] trait and the values it deals in. Must not: hold anything of one back end.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Committed, StoreError, Txn, Watch};

/// Counts the store's committed transactions; 0 is the empty store.
pub type Revision = u64;

/// Names a lease. Never used twice by one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The revision that made the key (again, after a deletion).
    pub created: Revision,
    /// The revision that last wrote it.
    pub modified: Revision,
}

/// What became of one key in one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision.
    pub revision: Revision,
    /// The key.
    pub key: String,
    /// The value written; `None`: the key was deleted.
    pub value: Option<Vec<u8>>,
}

/// All entries below a prefix at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The entries, sorted by key.
    pub entries: Vec<Entry>,
    /// The store's revision at that moment: watch after it to miss nothing.
    pub revision: Revision,
}

/// A small, linearizable key-value store with compare-and-swap transactions, watches and leases.
///
/// Keys are ordered by their bytes. Every future is safe to drop: a call has happened wholly or not at all.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The entry of `key`, if there is one.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// All entries whose keys begin with `prefix` (empty: all), and the revision they are of.
    async fn range(&self, prefix: &str) -> Result<Range, StoreError>;

    /// Does all operations if all compares hold, else none. Durable when it returns.
    ///
    /// The revision grows by one, also where a value is written again unchanged; a transaction that changes nothing
    /// (no operation, or only deletions of what is not there) commits at the revision the store already has.
    /// Errors: a limit exceeded, an unknown lease, or the back end failed; nothing was written then.
    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError>;

    /// The events below `prefix` of all revisions greater than `after`, past ones first.
    ///
    /// Errors: [`StoreError::Compacted`] when the history no longer reaches back to `after`,
    /// [`StoreError::Ahead`] when the store has not reached it.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// Makes a lease that expires `ttl` after it was last kept alive (at most [`MAX_TTL`](crate::MAX_TTL)).
    /// Expiry deletes the keys put under it. A restart of the store gives every lease its whole `ttl` again.
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Gives the lease its whole time to live again. Error: [`StoreError::NoLease`].
    async fn keep_alive(&self, id: LeaseId) -> Result<(), StoreError>;

    /// Ends the lease now and deletes its keys. Error: [`StoreError::NoLease`].
    async fn revoke(&self, id: LeaseId) -> Result<(), StoreError>;

    /// The revision of the newest committed transaction.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
