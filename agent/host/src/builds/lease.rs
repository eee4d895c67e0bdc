//! Who uses which build at this moment. Owns the book of it: what an operation reads or takes in stays until the
//! operation has ended, and as long as somebody has a [`Hold`], until that has ended too. It must not know what
//! the model refers to: that is said to the collection by its caller.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stoker_model::ids::Digest;

/// The beginning of a blob's digest: enough to tell blobs apart, and two that are alike are only kept longer.
pub(super) type Key = [u8; 16];

/// A blob's key.
pub(super) fn key(blob: &Digest) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&blob.bytes()[..16]);
    key
}

/// What one operation uses.
#[derive(Debug, Default)]
struct Used {
    what: String,
    builds: BTreeSet<Digest>,
    blobs: HashSet<Key>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    used: BTreeMap<u64, Used>,
    /// Live holds, by what they are for.
    holds: BTreeMap<u64, String>,
    /// Whether a collection goes on.
    collecting: bool,
    /// Builds of operations that have ended while a hold or a collection lived.
    lingering: BTreeMap<Digest, String>,
}

impl Book {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn forget(&mut self) {
        if self.holds.is_empty() && !self.collecting {
            self.lingering.clear();
        }
    }
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Leases {
    book: Mutex<Book>,
}

impl Leases {
    fn book(&self) -> MutexGuard<'_, Book> {
        // No panic leaves an entry half written.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation begins.
    pub(super) fn take(self: &Arc<Self>, what: impl Into<String>) -> Lease {
        let mut book = self.book();
        let id = book.number();
        book.used.insert(id, Used { what: what.into(), ..Used::default() });
        Lease { leases: Arc::clone(self), id }
    }

    /// A piece of work begins whose operations' builds are all to stay until it has ended.
    pub(super) fn hold(self: &Arc<Self>, what: impl Into<String>) -> Hold {
        let mut book = self.book();
        let id = book.number();
        book.holds.insert(id, what.into());
        Hold { leases: Arc::clone(self), id }
    }

    /// A collection begins: from now on nothing that is used is forgotten until it has ended.
    pub(super) fn collect(self: &Arc<Self>) -> Collecting {
        self.book().collecting = true;
        Collecting { leases: Arc::clone(self) }
    }

    /// Whether an operation other than this one counts on the blob.
    pub(super) fn used_by_others(&self, lease: &Lease, blob: &Digest) -> bool {
        let key = key(blob);
        self.book().used.iter().any(|(id, used)| *id != lease.id && used.blobs.contains(&key))
    }

    /// Shows `look` what is used, while nothing new can begin to be.
    pub(super) fn look<T>(
        &self,
        look: impl FnOnce(&BTreeMap<Digest, String>, &dyn Fn(&Key) -> bool) -> T,
    ) -> T {
        let book = self.book();
        let mut builds = book.lingering.clone();
        for used in book.used.values() {
            builds.extend(used.builds.iter().map(|digest| (digest.clone(), used.what.clone())));
        }
        look(&builds, &|key| book.used.values().any(|used| used.blobs.contains(key)))
    }
}

/// One operation's entry, gone with it.
#[derive(Debug)]
pub(super) struct Lease {
    leases: Arc<Leases>,
    id: u64,
}

impl Lease {
    /// The operation uses this build.
    pub(super) fn build(&self, digest: &Digest) {
        if let Some(used) = self.leases.book().used.get_mut(&self.id) {
            used.builds.insert(digest.clone());
        }
    }

    /// The operation counts on this blob. Said before it is looked for: what is found then is not collected.
    pub(super) fn blob(&self, blob: &Digest) {
        if let Some(used) = self.leases.book().used.get_mut(&self.id) {
            used.blobs.insert(key(blob));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut book = self.leases.book();
        if let Some(used) = book.used.remove(&self.id)
            && (book.collecting || !book.holds.is_empty())
        {
            book.lingering.extend(used.builds.into_iter().map(|digest| (digest, used.what.clone())));
        }
    }
}

/// While it lives, what any operation used since it began is not collected: between taking a build in and
/// committing what refers to it, or between linking a tree and starting a service on it.
#[derive(Debug)]
pub struct Hold {
    leases: Arc<Leases>,
    id: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut book = self.leases.book();
        book.holds.remove(&self.id);
        book.forget();
    }
}

/// A collection, as long as it goes on.
#[derive(Debug)]
pub(super) struct Collecting {
    leases: Arc<Leases>,
}

impl Drop for Collecting {
    fn drop(&mut self) {
        let mut book = self.leases.book();
        book.collecting = false;
        book.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builds(leases: &Leases) -> Vec<Digest> {
        leases.look(|builds, _| builds.keys().cloned().collect())
    }

    #[test]
    fn what_is_used_stays_until_the_last_hold_is_gone() {
        let leases = Arc::new(Leases::default());
        let digest = Digest::of(b"one");
        let lease = leases.take("a reader");
        lease.build(&digest);
        lease.blob(&digest);
        assert_eq!(builds(&leases), vec![digest.clone()]);
        assert!(leases.look(|_, has| has(&key(&digest))));
        drop(lease);
        assert!(builds(&leases).is_empty(), "nobody holds it");
        let (outer, inner) = (leases.hold("a change"), leases.hold("a pass"));
        leases.take("a reader").build(&digest);
        drop(outer);
        assert_eq!(builds(&leases), vec![digest.clone()]);
        assert!(!leases.look(|_, has| has(&key(&digest))), "blobs are only the operation's own");
        drop(inner);
        assert!(builds(&leases).is_empty());
    }

    #[test]
    fn a_collection_hears_of_what_ended_while_it_went_on() {
        let leases = Arc::new(Leases::default());
        let collecting = leases.collect();
        leases.take("a reader").build(&Digest::of(b"one"));
        assert_eq!(builds(&leases).len(), 1);
        drop(collecting);
        assert!(builds(&leases).is_empty());
    }
}
