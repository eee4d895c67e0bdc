//! [`Journal`]: what this host must remember by itself (`agent.db`). Must not: know what a key or a value means.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::StoreError;
use crate::rowsum::sum;
use crate::sqlite::{self, Fault, Format, upper_value};

/// Format 1: pairs, each with a checksum, and one row with the sum of them all.
pub(crate) const FORMAT: Format = Format {
    what: "a journal",
    application_id: 0x5374_6B4A, // "StkJ"
    version: 1,
    schema: "
        CREATE TABLE pairs (
            key TEXT NOT NULL UNIQUE,
            value BLOB NOT NULL,
            sum INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE total (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            pairs_sum INTEGER NOT NULL
        ) STRICT;
        INSERT INTO total (id, pairs_sum) VALUES (1, 0);
    ",
};

/// A small durable map on this host's disk. Every write is on the disk when the call returns; calls from several
/// threads take turns and are short, so they may be made right from async code.
pub struct Journal {
    conn: Mutex<Connection>,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal at `path`, made empty if there is none; its folder must exist.
    ///
    /// Errors: [`StoreError::Newer`], [`StoreError::Corrupt`] (an empty or cut file too; it is left as it is),
    /// [`StoreError::Busy`], or the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let conn = sqlite::open(path, &FORMAT, sqlite::BUSY_TIMEOUT)?;
        check_rows(&conn).map_err(|fault| fault.at("open", path))?;
        Ok(Self { conn: Mutex::new(conn), path: path.to_owned() })
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = |conn: &Connection| -> Result<Option<Vec<u8>>, Fault> {
            let row = conn
                .prepare_cached("SELECT value, sum FROM pairs WHERE key = ?1")?
                .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            row.map(|(value, sum)| checked(key, value, sum)).transpose()
        };
        read(&self.lock()).map_err(|fault| fault.at("read", &self.path))
    }

    /// Writes one pair.
    pub fn put(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.change([(key, value)].into_iter(), std::iter::empty())
    }

    /// Deletes one key; nothing if it does not exist.
    pub fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.change(std::iter::empty(), [key].into_iter())
    }

    /// All pairs whose keys begin with `prefix` (empty: all), sorted by key.
    pub fn range(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let read = |conn: &Connection| -> Result<Vec<(String, Vec<u8>)>, Fault> {
            let mut statement = conn.prepare_cached(
                "SELECT key, value, sum FROM pairs WHERE key >= ?1 AND key < ?2 ORDER BY key",
            )?;
            let rows = statement.query_map(params![prefix, upper_value(prefix)], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
            })?;
            let mut pairs = Vec::new();
            for row in rows {
                let (key, value, sum) = row?;
                let value = checked(&key, value, sum)?;
                pairs.push((key, value));
            }
            Ok(pairs)
        };
        read(&self.lock()).map_err(|fault| fault.at("read", &self.path))
    }

    /// Deletes and then writes, all in one durable transaction: after a crash all of it is there or nothing.
    pub fn apply(&self, puts: &[(String, Vec<u8>)], deletes: &[String]) -> Result<(), StoreError> {
        let puts = puts.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.change(puts, deletes.iter().map(String::as_str))
    }

    fn change<'a>(
        &self,
        puts: impl Iterator<Item = (&'a str, &'a [u8])>,
        deletes: impl Iterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        write(&mut self.lock(), puts, deletes).map_err(|fault| fault.at("write to", &self.path))
    }

    /// A panic while the lock is held leaves nothing half done: SQLite rolls back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write<'a>(
    conn: &mut Connection,
    puts: impl Iterator<Item = (&'a str, &'a [u8])>,
    deletes: impl Iterator<Item = &'a str>,
) -> Result<(), Fault> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut total: i64 =
        tx.prepare_cached("SELECT pairs_sum FROM total WHERE id = 1")?.query_row([], |row| row.get(0))?;
    let old_sum = |key: &str| -> Result<Option<i64>, Fault> {
        let mut statement = tx.prepare_cached("SELECT sum FROM pairs WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    };
    let mut changed = false;
    for key in deletes {
        if let Some(old) = old_sum(key)? {
            tx.prepare_cached("DELETE FROM pairs WHERE key = ?1")?.execute([key])?;
            total = total.wrapping_sub(old);
            changed = true;
        }
    }
    for (key, value) in puts {
        let new = pair_sum(key, value);
        total = total.wrapping_sub(old_sum(key)?.unwrap_or(0)).wrapping_add(new);
        tx.prepare_cached(
            "INSERT INTO pairs (key, value, sum) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET value = ?2, sum = ?3",
        )?
        .execute(params![key, value, new])?;
        changed = true;
    }
    if changed {
        tx.prepare_cached("UPDATE total SET pairs_sum = ?1 WHERE id = 1")?.execute([total])?;
        tx.commit()?;
    }
    Ok(())
}

fn pair_sum(key: &str, value: &[u8]) -> i64 {
    sum(&[key.as_bytes(), value])
}

fn checked(key: &str, value: Vec<u8>, stored: i64) -> Result<Vec<u8>, Fault> {
    if stored == pair_sum(key, &value) {
        return Ok(value);
    }
    Err(Fault::Rows(format!("the row of key `{}` does not have its checksum", key.escape_debug())))
}

pub(crate) fn check_rows(conn: &Connection) -> Result<(), Fault> {
    let mut total = 0_i64;
    let mut statement = conn.prepare("SELECT key, value, sum FROM pairs ORDER BY key")?;
    for row in statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))? {
        let (key, value, sum) = row?;
        checked(&key, value, sum)?;
        total = total.wrapping_add(sum);
    }
    let stored: i64 = conn.query_row("SELECT pairs_sum FROM total WHERE id = 1", [], |row| row.get(0))?;
    if total == stored {
        return Ok(());
    }
    Err(Fault::Rows("pairs are missing or too many: their checksums do not add up".into()))
}
