//! The tables of a model store, format 1. Must not: change without a new version, a migration and a fixture.

use crate::sqlite::Format;

/// Format 1.
///
/// `meta` has one row: the revision, the newest revision whose history is gone, the last lease's id, and the sum of
/// all `entries.sum` (so that a row lost or come back shows). Every row carries a checksum of its other fields.
pub(crate) const FORMAT: Format = Format {
    what: "a model store",
    application_id: 0x5374_6B4D, // "StkM"
    version: 1,
    schema: "
        CREATE TABLE meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            revision INTEGER NOT NULL,
            compacted INTEGER NOT NULL,
            last_lease INTEGER NOT NULL,
            entries_sum INTEGER NOT NULL,
            sum INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE entries (
            key TEXT NOT NULL UNIQUE,
            value BLOB NOT NULL,
            created INTEGER NOT NULL,
            modified INTEGER NOT NULL,
            lease INTEGER,
            sum INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX entries_by_lease ON entries (lease) WHERE lease IS NOT NULL;
        CREATE TABLE history (
            id INTEGER PRIMARY KEY,
            revision INTEGER NOT NULL,
            key TEXT NOT NULL,
            value BLOB,
            sum INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX history_by_revision ON history (revision, key);
        CREATE TABLE leases (
            id INTEGER PRIMARY KEY,
            ttl_ms INTEGER NOT NULL,
            sum INTEGER NOT NULL
        ) STRICT;
    ",
};
