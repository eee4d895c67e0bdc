//! The rows of a model store and their checksums. Must not: begin or end transactions.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::rowsum::sum;
use crate::sqlite::Fault;
use crate::{Entry, Event, LeaseId, Revision};

/// The one row of `meta`. It is first written by the first change, so that an empty store has none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meta {
    pub(super) revision: i64,
    pub(super) compacted: i64,
    pub(super) last_lease: i64,
    pub(super) entries_sum: i64,
}

impl Meta {
    fn sum(&self) -> i64 {
        let fields = [self.revision, self.compacted, self.last_lease, self.entries_sum].map(i64::to_le_bytes);
        sum(&[&fields[0], &fields[1], &fields[2], &fields[3]])
    }

    pub(super) fn read(conn: &Connection) -> Result<Self, Fault> {
        let row = conn
            .prepare_cached(
                "SELECT revision, compacted, last_lease, entries_sum, sum FROM meta WHERE id = 1",
            )?
            .query_row([], |row| {
                let meta = Self {
                    revision: row.get(0)?,
                    compacted: row.get(1)?,
                    last_lease: row.get(2)?,
                    entries_sum: row.get(3)?,
                };
                Ok((meta, row.get::<_, i64>(4)?))
            })
            .optional()?;
        match row {
            None => Ok(Self::default()),
            Some((meta, stored)) if stored == meta.sum() => Ok(meta),
            Some(_) => Err(Fault::Rows("the row of counters does not have its checksum".into())),
        }
    }

    pub(super) fn write(&self, conn: &Connection) -> Result<(), Fault> {
        conn.prepare_cached(
            "INSERT OR REPLACE INTO meta (id, revision, compacted, last_lease, entries_sum, sum)
             VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            self.revision,
            self.compacted,
            self.last_lease,
            self.entries_sum,
            self.sum()
        ])?;
        Ok(())
    }
}

/// The columns [`entry`] reads.
pub(super) const ENTRY: &str = "key, value, created, modified, lease, sum";

/// A row of `entries`.
pub(super) struct Stored {
    pub(super) entry: Entry,
    pub(super) lease: Option<i64>,
    pub(super) sum: i64,
}

impl Stored {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let entry = Entry {
            key: row.get(0)?,
            value: row.get(1)?,
            created: row.get::<_, i64>(2)? as Revision,
            modified: row.get::<_, i64>(3)? as Revision,
        };
        Ok(Self { entry, lease: row.get(4)?, sum: row.get(5)? })
    }

    pub(super) fn checked(self) -> Result<Entry, Fault> {
        let entry = self.entry;
        let expected =
            entry_sum(&entry.key, &entry.value, entry.created as i64, entry.modified as i64, self.lease);
        if self.sum == expected { Ok(entry) } else { Err(bad_sum(&entry.key)) }
    }
}

pub(super) fn entry_sum(key: &str, value: &[u8], created: i64, modified: i64, lease: Option<i64>) -> i64 {
    let (created, modified) = (created.to_le_bytes(), modified.to_le_bytes());
    let lease = lease.map(i64::to_le_bytes);
    let lease: &[u8] = lease.as_ref().map_or(&[], |bytes| bytes);
    sum(&[key.as_bytes(), value, &created, &modified, lease])
}

/// The columns [`event`] reads.
pub(super) const EVENT: &str = "revision, key, value, sum";

/// A row of `history`, its checksum yet to be compared.
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<(Event, i64)> {
    let event = Event { revision: row.get::<_, i64>(0)? as Revision, key: row.get(1)?, value: row.get(2)? };
    Ok((event, row.get(3)?))
}

pub(super) fn checked_event((event, stored): (Event, i64)) -> Result<Event, Fault> {
    let expected = event_sum(event.revision as i64, &event.key, event.value.as_deref());
    if stored == expected { Ok(event) } else { Err(bad_sum(&event.key)) }
}

pub(super) fn event_sum(revision: i64, key: &str, value: Option<&[u8]>) -> i64 {
    let kind: &[u8] = if value.is_some() { b"put" } else { b"delete" };
    sum(&[&revision.to_le_bytes(), key.as_bytes(), kind, value.unwrap_or_default()])
}

pub(super) fn lease_sum(id: i64, ttl_ms: i64) -> i64 {
    sum(&[&id.to_le_bytes(), &ttl_ms.to_le_bytes()])
}

/// All leases, and whether every entry's lease is among them.
pub(super) fn leases(conn: &Connection) -> Result<Vec<(LeaseId, Duration)>, Fault> {
    let mut leases = Vec::new();
    let mut statement = conn.prepare("SELECT id, ttl_ms, sum FROM leases ORDER BY id")?;
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))? {
        let (id, ttl_ms, stored) = row?;
        if lease_sum(id, ttl_ms) != stored {
            return Err(Fault::Rows(format!("the row of lease {id} does not have its checksum")));
        }
        leases.push((LeaseId(id), Duration::from_millis(ttl_ms as u64)));
    }
    let orphan = "SELECT 1 FROM entries WHERE lease IS NOT NULL AND lease NOT IN (SELECT id FROM leases)";
    if conn.prepare(orphan)?.exists([])? {
        return Err(Fault::Rows("a lease is missing that a key was put under".into()));
    }
    Ok(leases)
}

fn bad_sum(key: &str) -> Fault {
    Fault::Rows(format!("the row of key `{}` does not have its checksum", key.escape_debug()))
}
