//! The engine of [`Embedded`](super::Embedded): one connection, one writer. Must not: wait for anything but SQLite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::Options;
use super::rows::{self, Meta, Stored};
use super::schema::FORMAT;
use crate::local::{Engine, Events};
use crate::sqlite::{self, Fault, upper_value};
use crate::{Committed, Compare, Entry, HistoryBound, LeaseId, Op, Range, Revision, StoreError, Txn};

pub(super) struct Sqlite {
    conn: Connection,
    path: PathBuf,
    bound: HistoryBound,
    /// Bytes of keys and values in `history`; counted at open, kept up to date by each commit.
    history_bytes: u64,
}

impl Sqlite {
    /// Also returns the leases found in the file.
    pub(super) fn open(
        path: &Path,
        options: Options,
    ) -> Result<(Self, Vec<(LeaseId, Duration)>), StoreError> {
        let conn = sqlite::open(path, &FORMAT, options.busy_timeout)?;
        let (history_bytes, leases) = check_rows(&conn).map_err(|fault| fault.at("open", path))?;
        Ok((Self { conn, path: path.to_owned(), bound: options.history, history_bytes }, leases))
    }

    fn begin(&mut self) -> Result<Change<'_>, Fault> {
        let bound = self.bound;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let meta = Meta::read(&tx)?;
        Ok(Change {
            revision: meta.revision + 1,
            meta,
            events: 0,
            history_bytes: self.history_bytes,
            bound,
            tx,
        })
    }

    fn try_commit(&mut self, txn: &Txn) -> Result<Committed, Fault> {
        let mut change = self.begin()?;
        for compare in &txn.compares {
            if !change.holds(compare)? {
                return Ok(Committed::No);
            }
        }
        for op in &txn.ops {
            match op {
                Op::Put { key, value, lease } => change.put(key, value, *lease)?,
                Op::Delete { key } => change.delete("key = ?1", params![key])?,
                Op::DeletePrefix { prefix } => {
                    change.delete("key >= ?1 AND key < ?2", params![prefix, upper_value(prefix)])?;
                }
            }
        }
        let (revision, history_bytes) = change.finish(false)?;
        self.history_bytes = history_bytes;
        Ok(Committed::Yes(revision))
    }

    fn try_range(&self, prefix: &str) -> Result<Range, Fault> {
        let tx = self.conn.unchecked_transaction()?;
        let revision = Meta::read(&tx)?.revision as Revision;
        let sql = format!("SELECT {} FROM entries WHERE key >= ?1 AND key < ?2 ORDER BY key", rows::ENTRY);
        let mut statement = tx.prepare_cached(&sql)?;
        let mut entries = Vec::new();
        for stored in statement.query_map(params![prefix, upper_value(prefix)], Stored::read)? {
            entries.push(stored?.checked()?);
        }
        Ok(Range { entries, revision })
    }

    fn try_get(&self, key: &str) -> Result<Option<Entry>, Fault> {
        let sql = format!("SELECT {} FROM entries WHERE key = ?1", rows::ENTRY);
        let stored = self.conn.prepare_cached(&sql)?.query_row([key], Stored::read).optional()?;
        stored.map(Stored::checked).transpose()
    }

    fn try_events(&self, prefix: &str, after: Revision) -> Result<Events, Fault> {
        let tx = self.conn.unchecked_transaction()?;
        let meta = Meta::read(&tx)?;
        Events::reachable(after, meta.compacted as Revision, meta.revision as Revision)?;
        let end = upper_value(prefix);
        let found: Option<i64> = tx
            .prepare_cached(
                "SELECT revision FROM history WHERE revision > ?1 AND key >= ?2 AND key < ?3
                 ORDER BY revision LIMIT 1",
            )?
            .query_row(params![after as i64, prefix, end], |row| row.get(0))
            .optional()?;
        let Some(found) = found else {
            return Ok(Events { events: Vec::new(), through: meta.revision as Revision });
        };
        let sql = format!(
            "SELECT {} FROM history WHERE revision = ?1 AND key >= ?2 AND key < ?3 ORDER BY id",
            rows::EVENT
        );
        let mut statement = tx.prepare_cached(&sql)?;
        let mut events = Vec::new();
        for row in statement.query_map(params![found, prefix, end], rows::event)? {
            events.push(rows::checked_event(row?)?);
        }
        Ok(Events { events, through: found as Revision })
    }

    fn try_grant(&mut self, ttl: Duration) -> Result<LeaseId, Fault> {
        let mut change = self.begin()?;
        change.meta.last_lease += 1;
        let id = change.meta.last_lease;
        let ttl_ms = ttl.as_millis() as i64;
        change
            .tx
            .prepare_cached("INSERT INTO leases (id, ttl_ms, sum) VALUES (?1, ?2, ?3)")?
            .execute(params![id, ttl_ms, rows::lease_sum(id, ttl_ms)])?;
        change.finish(true)?;
        Ok(LeaseId(id))
    }

    fn try_revoke(&mut self, id: LeaseId) -> Result<Revision, Fault> {
        let mut change = self.begin()?;
        if change.tx.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([id.0])? == 0 {
            return Err(StoreError::NoLease { id }.into());
        }
        change.delete("lease = ?1", params![id.0])?;
        let (revision, history_bytes) = change.finish(true)?;
        self.history_bytes = history_bytes;
        Ok(revision)
    }
}

/// A write transaction under way. Dropped without [`finish`](Change::finish), it is rolled back.
struct Change<'a> {
    tx: Transaction<'a>,
    meta: Meta,
    /// What this change will be.
    revision: i64,
    events: usize,
    history_bytes: u64,
    bound: HistoryBound,
}

impl Change<'_> {
    fn holds(&self, compare: &Compare) -> Result<bool, Fault> {
        let modified = |key: &str| -> Result<Option<i64>, Fault> {
            let mut statement = self.tx.prepare_cached("SELECT modified FROM entries WHERE key = ?1")?;
            Ok(statement.query_row([key], |row| row.get(0)).optional()?)
        };
        Ok(match compare {
            Compare::Absent(key) => modified(key)?.is_none(),
            Compare::Exists(key) => modified(key)?.is_some(),
            Compare::Modified(key, revision) => {
                modified(key)?.is_some_and(|found| found as Revision == *revision)
            }
        })
    }

    fn put(&mut self, key: &str, value: &[u8], lease: Option<LeaseId>) -> Result<(), Fault> {
        if let Some(id) = lease
            && !self.tx.prepare_cached("SELECT 1 FROM leases WHERE id = ?1")?.exists([id.0])?
        {
            return Err(StoreError::NoLease { id }.into());
        }
        let old: Option<(i64, i64)> = self
            .tx
            .prepare_cached("SELECT created, sum FROM entries WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (created, old_sum) = old.unwrap_or((self.revision, 0));
        let lease = lease.map(|id| id.0);
        let sum = rows::entry_sum(key, value, created, self.revision, lease);
        self.tx
            .prepare_cached(
                "INSERT INTO entries (key, value, created, modified, lease, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (key) DO UPDATE SET value = ?2, modified = ?4, lease = ?5, sum = ?6",
            )?
            .execute(params![key, value, created, self.revision, lease, sum])?;
        self.meta.entries_sum = self.meta.entries_sum.wrapping_sub(old_sum).wrapping_add(sum);
        self.record(key, Some(value))
    }

    /// Deletes the entries that `condition` (of this file, never of a caller) selects.
    fn delete(&mut self, condition: &str, params: &[&dyn rusqlite::ToSql]) -> Result<(), Fault> {
        let found: Vec<(String, i64)> = self
            .tx
            .prepare_cached(&format!("SELECT key, sum FROM entries WHERE {condition} ORDER BY key"))?
            .query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (key, sum) in found {
            self.tx.prepare_cached("DELETE FROM entries WHERE key = ?1")?.execute([&key])?;
            self.meta.entries_sum = self.meta.entries_sum.wrapping_sub(sum);
            self.record(&key, None)?;
        }
        Ok(())
    }

    fn record(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), Fault> {
        let sum = rows::event_sum(self.revision, key, value);
        self.tx
            .prepare_cached("INSERT INTO history (revision, key, value, sum) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.revision, key, value, sum])?;
        self.events += 1;
        self.history_bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
        Ok(())
    }

    /// Drops what exceeds the history's bound: as a rule the one oldest revision, so each commit pays a little.
    fn compact(&mut self) -> Result<(), Fault> {
        while self.meta.compacted < self.meta.revision - 1 {
            let kept = (self.meta.revision - self.meta.compacted) as Revision;
            if kept <= self.bound.revisions && self.history_bytes <= self.bound.bytes {
                break;
            }
            self.meta.compacted += 1;
            let freed: i64 = self
                .tx
                .prepare_cached(
                    "SELECT coalesce(sum(octet_length(key) + coalesce(length(value), 0)), 0)
                     FROM history WHERE revision = ?1",
                )?
                .query_row([self.meta.compacted], |row| row.get(0))?;
            self.tx
                .prepare_cached("DELETE FROM history WHERE revision = ?1")?
                .execute([self.meta.compacted])?;
            self.history_bytes = self.history_bytes.saturating_sub(freed as u64);
        }
        Ok(())
    }

    /// Commits durably. `more`: something that makes no event was written too.
    /// Returns the store's revision and the bytes of its history.
    fn finish(mut self, more: bool) -> Result<(Revision, u64), Fault> {
        if self.events > 0 {
            self.meta.revision = self.revision;
            self.compact()?;
        } else if !more {
            return Ok((self.meta.revision as Revision, self.history_bytes));
        }
        self.meta.write(&self.tx)?;
        self.tx.commit()?;
        Ok((self.meta.revision as Revision, self.history_bytes))
    }
}

/// Looks at what SQLite's own check cannot know; returns the bytes of the history, and the leases.
pub(crate) fn check_rows(conn: &Connection) -> Result<(u64, Vec<(LeaseId, Duration)>), Fault> {
    let tx = conn.unchecked_transaction()?;
    let meta = Meta::read(&tx)?;
    let mut total = 0_i64;
    let sql = format!("SELECT {} FROM entries ORDER BY key", rows::ENTRY);
    for stored in tx.prepare(&sql)?.query_map([], Stored::read)? {
        let stored = stored?;
        total = total.wrapping_add(stored.sum);
        let entry = stored.checked()?;
        if entry.modified > meta.revision as Revision {
            return Err(Fault::Rows(format!("key `{}` is newer than the store", entry.key.escape_debug())));
        }
    }
    if total != meta.entries_sum {
        return Err(Fault::Rows("entries are missing or too many: their checksums do not add up".into()));
    }
    let (newest, bytes): (i64, i64) = tx.query_row(
        "SELECT coalesce(max(revision), 0), coalesce(sum(octet_length(key) + coalesce(length(value), 0)), 0)
         FROM history",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if newest != meta.revision {
        return Err(Fault::Rows(format!("its history ends at {newest}, the store at {}", meta.revision)));
    }
    Ok((bytes as u64, rows::leases(&tx)?))
}

impl Engine for Sqlite {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.try_get(key).map_err(|fault| fault.at("read", &self.path))
    }

    fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        self.try_range(prefix).map_err(|fault| fault.at("read", &self.path))
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        let meta = Meta::read(&self.conn).map_err(|fault| fault.at("read", &self.path))?;
        Ok(meta.revision as Revision)
    }

    fn commit(&mut self, txn: &Txn) -> Result<Committed, StoreError> {
        self.try_commit(txn).map_err(|fault| fault.at("write to", &self.path))
    }

    fn events(&self, prefix: &str, after: Revision) -> Result<Events, StoreError> {
        self.try_events(prefix, after).map_err(|fault| fault.at("read", &self.path))
    }

    fn grant(&mut self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.try_grant(ttl).map_err(|fault| fault.at("write to", &self.path))
    }

    fn revoke(&mut self, id: LeaseId) -> Result<Revision, StoreError> {
        self.try_revoke(id).map_err(|fault| fault.at("write to", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error_that_loses_nothing_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.db");
        let (mut store, _) = Sqlite::open(&path, Options::default()).unwrap();
        assert_eq!(store.commit(&Txn::new().put("kept", "1")).unwrap(), Committed::Yes(1));
        let (bytes, pages): (u64, i64) = (
            store.history_bytes,
            store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap(),
        );

        store.conn.pragma_update(None, "max_page_count", pages).unwrap();
        let big = Txn::new().put("kept", "2").put("big", vec![7; 100_000]);
        assert!(matches!(store.commit(&big), Err(StoreError::Full { .. })));
        assert_eq!(store.range("").unwrap().entries.len(), 1);
        assert_eq!(store.get("kept").unwrap().unwrap().value, b"1");
        assert_eq!((store.revision().unwrap(), store.history_bytes), (1, bytes));

        store.conn.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        assert_eq!(store.commit(&big).unwrap(), Committed::Yes(2));
    }

    #[test]
    fn the_history_is_counted_as_it_is_found_at_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.db");
        let bound = HistoryBound { revisions: 3, bytes: 1000 };
        let options = Options { history: bound, ..Options::default() };
        let (mut store, _) = Sqlite::open(&path, options).unwrap();
        for i in 0..20 {
            let _ = store.commit(&Txn::new().put(format!("ключ{}", i % 4), vec![0; i * 20])).unwrap();
            let _ = store.commit(&Txn::new().delete(format!("ключ{}", i % 3))).unwrap();
            let counted = store.history_bytes;
            assert!(counted <= 1000, "{counted}");
            drop(store);
            (store, _) = Sqlite::open(&path, options).unwrap();
            assert_eq!(store.history_bytes, counted);
        }
        let rows: i64 = store
            .conn
            .query_row("SELECT count(DISTINCT revision) FROM history", [], |row| row.get(0))
            .unwrap();
        assert!((1..=3).contains(&rows), "{rows}");
    }

    #[test]
    fn every_commit_is_synced() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Sqlite::open(&dir.path().join("model.db"), Options::default()).unwrap();
        let mode: String = store.conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let synchronous: i64 = store.conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }
}
