//! [`Memory`]: the store for tests, gone with the process. Must not: differ from the others in what callers see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::local::{Engine, Events, Local, delegate_store};
use crate::prefix::upper_bound;
use crate::{Committed, Compare, Entry, Event, HistoryBound, LeaseId, Op, Range, Revision, StoreError, Txn};

/// A store in memory. Clones share it.
#[derive(Clone)]
pub struct Memory {
    local: Arc<Local<Maps>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_history(HistoryBound::default())
    }

    /// An empty store that keeps this much history.
    pub fn with_history(bound: HistoryBound) -> Self {
        let maps = Maps { bound, ..Maps::default() };
        match Local::new(maps, Vec::new()) {
            Ok(local) => Self { local },
            Err(_) => unreachable!("reading the revision of an empty map does not fail"),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

delegate_store!(Memory);

#[derive(Default)]
struct Maps {
    bound: HistoryBound,
    revision: Revision,
    compacted: Revision,
    entries: BTreeMap<String, Row>,
    /// One element per revision, the newest last.
    history: VecDeque<Vec<Event>>,
    history_bytes: u64,
    leases: BTreeSet<LeaseId>,
    last_lease: i64,
}

struct Row {
    value: Vec<u8>,
    created: Revision,
    modified: Revision,
    lease: Option<LeaseId>,
}

impl Row {
    fn entry(&self, key: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            value: self.value.clone(),
            created: self.created,
            modified: self.modified,
        }
    }
}

impl Maps {
    fn below(&self, prefix: &str) -> impl Iterator<Item = (&String, &Row)> {
        let end = upper_bound(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((Bound::Included(prefix.to_owned()), end))
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => !self.entries.contains_key(key),
            Compare::Exists(key) => self.entries.contains_key(key),
            Compare::Modified(key, revision) => {
                self.entries.get(key).is_some_and(|row| row.modified == *revision)
            }
        }
    }

    fn put(&mut self, key: &str, value: &[u8], lease: Option<LeaseId>, events: &mut Vec<Event>) {
        let revision = self.revision + 1;
        let created = self.entries.get(key).map_or(revision, |row| row.created);
        let row = Row { value: value.to_vec(), created, modified: revision, lease };
        self.entries.insert(key.to_owned(), row);
        events.push(Event { revision, key: key.to_owned(), value: Some(value.to_vec()) });
    }

    fn delete(&mut self, keys: Vec<String>, events: &mut Vec<Event>) {
        for key in keys {
            if self.entries.remove(&key).is_some() {
                events.push(Event { revision: self.revision + 1, key, value: None });
            }
        }
    }

    /// Ends a change: its events make the next revision, unless there are none.
    fn record(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        self.revision += 1;
        self.history_bytes += bytes(&events);
        self.history.push_back(events);
        while self.history.len() > 1
            && (self.history.len() as u64 > self.bound.revisions || self.history_bytes > self.bound.bytes)
        {
            if let Some(oldest) = self.history.pop_front() {
                self.history_bytes -= bytes(&oldest);
                self.compacted += 1;
            }
        }
    }
}

fn bytes(events: &[Event]) -> u64 {
    events.iter().map(|event| (event.key.len() + event.value.as_ref().map_or(0, Vec::len)) as u64).sum()
}

impl Engine for Maps {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries.get(key).map(|row| row.entry(key)))
    }

    fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        let entries = self.below(prefix).map(|(key, row)| row.entry(key)).collect();
        Ok(Range { entries, revision: self.revision })
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.revision)
    }

    fn commit(&mut self, txn: &Txn) -> Result<Committed, StoreError> {
        if !txn.compares.iter().all(|compare| self.holds(compare)) {
            return Ok(Committed::No);
        }
        for op in &txn.ops {
            if let Op::Put { lease: Some(id), .. } = op
                && !self.leases.contains(id)
            {
                return Err(StoreError::NoLease { id: *id });
            }
        }
        let mut events = Vec::new();
        for op in &txn.ops {
            match op {
                Op::Put { key, value, lease } => self.put(key, value, *lease, &mut events),
                Op::Delete { key } => self.delete(vec![key.clone()], &mut events),
                Op::DeletePrefix { prefix } => {
                    let keys = self.below(prefix).map(|(key, _)| key.clone()).collect();
                    self.delete(keys, &mut events);
                }
            }
        }
        self.record(events);
        Ok(Committed::Yes(self.revision))
    }

    fn events(&self, prefix: &str, after: Revision) -> Result<Events, StoreError> {
        Events::reachable(after, self.compacted, self.revision)?;
        for events in self.history.iter().skip((after - self.compacted) as usize) {
            let events: Vec<Event> =
                events.iter().filter(|event| event.key.starts_with(prefix)).cloned().collect();
            if let Some(first) = events.first() {
                return Ok(Events { through: first.revision, events });
            }
        }
        Ok(Events { events: Vec::new(), through: self.revision })
    }

    fn grant(&mut self, _: Duration) -> Result<LeaseId, StoreError> {
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.leases.insert(id);
        Ok(id)
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Revision, StoreError> {
        if !self.leases.remove(&id) {
            return Err(StoreError::NoLease { id });
        }
        let held = |(key, row): (&String, &Row)| (row.lease == Some(id)).then(|| key.clone());
        let keys = self.entries.iter().filter_map(held).collect();
        let mut events = Vec::new();
        self.delete(keys, &mut events);
        self.record(events);
        Ok(self.revision)
    }
}
