//! The deadlines of leases: which is next, which are over. Must not: delete keys or run a timer (`local.rs` does).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::{LeaseId, StoreError};

/// Deadlines live in memory only: keeping a lease alive writes nothing, and after a restart each begins anew.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    leases: BTreeMap<LeaseId, Lease>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

impl Deadlines {
    pub(crate) fn add(&mut self, id: LeaseId, ttl: Duration, now: Instant) {
        self.leases.insert(id, Lease { ttl, ends: now + ttl });
    }

    pub(crate) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<(), StoreError> {
        let lease = self.leases.get_mut(&id).ok_or(StoreError::NoLease { id })?;
        lease.ends = now + lease.ttl;
        Ok(())
    }

    /// Lets a lease whose end could not be written live until `until`.
    pub(crate) fn postpone(&mut self, id: LeaseId, until: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.ends = until;
        }
    }

    pub(crate) fn remove(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.ends).min()
    }

    pub(crate) fn over(&self, now: Instant) -> Vec<LeaseId> {
        self.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_lease_is_not_over() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut leases = Deadlines::default();
        leases.add(LeaseId(1), second, start);
        leases.add(LeaseId(2), second * 5, start);
        assert_eq!(leases.next(), Some(start + second));
        leases.renew(LeaseId(1), start + second / 2).unwrap();
        assert_eq!(leases.over(start + second), vec![]);
        assert_eq!(leases.over(start + second * 2), vec![LeaseId(1)]);
        leases.remove(LeaseId(1));
        assert!(matches!(leases.renew(LeaseId(1), start), Err(StoreError::NoLease { id: LeaseId(1) })));
        assert_eq!(leases.next(), Some(start + second * 5));
    }
}
