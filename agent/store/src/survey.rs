//! Looking at database files without opening them for writing, beside whoever has them open. Owns what a check of one
//! reads; it must not change a byte, nor know what a value means.

use std::path::Path;

use crate::sqlite::{self, Fault};
use crate::{StoreError, embedded, journal};

/// All that a database says, every row of it checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Keys and values, by key.
    pub pairs: Vec<(String, Vec<u8>)>,
    /// The revision of a store; 0 for a journal.
    pub revision: u64,
}

impl Survey {
    /// Looks at a model store.
    ///
    /// Errors: as [`Embedded::open`](crate::Embedded::open), and where there is no file.
    pub fn of_store(path: &Path) -> Result<Self, StoreError> {
        let conn = sqlite::look(path, &embedded::FORMAT)?;
        let read = || -> Result<Self, Fault> {
            embedded::check_rows(&conn)?;
            let tx = conn.unchecked_transaction()?;
            let revision: i64 =
                tx.query_row("SELECT coalesce(max(revision), 0) FROM meta", [], |row| row.get(0))?;
            let pairs = pairs(&tx, "SELECT key, value FROM entries ORDER BY key")?;
            Ok(Self { pairs, revision: u64::try_from(revision).unwrap_or_default() })
        };
        read().map_err(|fault| fault.at("read", path))
    }

    /// Looks at a journal.
    ///
    /// Errors: as [`Journal::open`](crate::Journal::open), and where there is no file.
    pub fn of_journal(path: &Path) -> Result<Self, StoreError> {
        let conn = sqlite::look(path, &journal::FORMAT)?;
        let read = || -> Result<Self, Fault> {
            let tx = conn.unchecked_transaction()?;
            journal::check_rows(&tx)?;
            Ok(Self { pairs: pairs(&tx, "SELECT key, value FROM pairs ORDER BY key")?, revision: 0 })
        };
        read().map_err(|fault| fault.at("read", path))
    }
}

fn pairs(conn: &rusqlite::Connection, query: &str) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let mut statement = conn.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Embedded, Journal, Store as _, Txn};

    #[tokio::test]
    async fn what_is_open_elsewhere_is_read_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.db");
        assert!(Survey::of_store(&path).is_err() && !path.exists(), "nothing is made");
        let store = Embedded::open(&path).unwrap();
        assert_eq!(Survey::of_store(&path).unwrap(), Survey::default());
        let _ = store.commit(Txn::new().put("/a".to_owned(), b"1".to_vec())).await.unwrap();
        let seen = Survey::of_store(&path).unwrap();
        assert_eq!((seen.pairs, seen.revision), (vec![("/a".to_owned(), b"1".to_vec())], 1));

        let path = folder.path().join("agent.db");
        let journal = Journal::open(&path).unwrap();
        journal.put("k", b"v").unwrap();
        assert_eq!(Survey::of_journal(&path).unwrap().pairs, [("k".to_owned(), b"v".to_vec())]);
        assert!(Survey::of_store(&path).is_err(), "a journal is no store");
    }

    #[test]
    fn a_row_that_was_changed_behind_its_checksum_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.db");
        Journal::open(&path).unwrap().put("k", b"v").unwrap();
        rusqlite::Connection::open(&path).unwrap().execute("UPDATE pairs SET value = x'00'", []).unwrap();
        assert!(matches!(Survey::of_journal(&path), Err(StoreError::Corrupt { .. })));
    }
}
