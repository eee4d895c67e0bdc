//! Database files: made whole or not at all, opened with the same settings, checked, never repaired.
//! Must not: know a table; what a file holds is its [`Format`].

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::StoreError;
use crate::error::Cause;
use crate::prefix::upper_bound;

/// How long a call waits for another process's lock before it fails.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a kind of database file looks like.
pub(crate) struct Format {
    /// For messages: "a model store".
    pub(crate) what: &'static str,
    /// SQLite's application id, which tells our files from others and from each other.
    pub(crate) application_id: i32,
    /// The newest version known; older ones would be migrated at open.
    pub(crate) version: i64,
    /// Makes the tables and first rows.
    pub(crate) schema: &'static str,
}

/// Opens the database at `path`; makes it if neither it nor its log exist.
pub(crate) fn open(path: &Path, format: &Format, busy: Duration) -> Result<Connection, StoreError> {
    let there = path.try_exists().map_err(|e| backend("open", path, e.into()))?;
    if !there {
        if with_suffix(path, "-wal").exists() {
            return Err(corrupt(path, "the database is missing, but its log (`-wal`) is there".into()));
        }
        create(path, format)?;
    }
    let length = fs::metadata(path).map_err(|e| backend("open", path, e.into()))?.len();
    if length == 0 {
        // Files are made under another name, so this is never one that was just being made.
        return Err(corrupt(path, "the file is empty, it was cut or overwritten".into()));
    }
    let conn = connect(path, busy).map_err(|e| classify("open", path, e))?;
    // Before any setting: what is not ours, or newer, is not changed in any way.
    identify(&conn, path, format)?;
    configure(&conn).map_err(|e| classify("open", path, e))?;
    check(&conn, path)?;
    Ok(conn)
}

/// Opens the database at `path`, which must be there, for reading alone.
pub(crate) fn look(path: &Path, format: &Format) -> Result<Connection, StoreError> {
    let found = fs::metadata(path).map_err(|e| backend("open", path, e.into()))?;
    if found.len() == 0 {
        return Err(corrupt(path, "the file is empty, it was cut or overwritten".into()));
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    // A reader makes a log where there is none, unless it is told that nobody writes. With none there is no writer.
    let alone = if with_suffix(path, "-wal").exists() { "" } else { "?immutable=1" };
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    let conn = Connection::open_with_flags(uri + alone, flags).map_err(|e| classify("open", path, e))?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(|e| classify("open", path, e))?;
    identify(&conn, path, format)?;
    check(&conn, path)?;
    Ok(conn)
}

/// Builds the new file beside its place and moves it there complete, so that a crash leaves no half of one.
fn create(path: &Path, format: &Format) -> Result<(), StoreError> {
    let failed = |e: std::io::Error| backend("create", path, e.into());
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Readable by the owner only, and so are the log files SQLite makes beside it.
    let new = tempfile::Builder::new().prefix(".new-").suffix(".db").tempfile_in(dir).map_err(failed)?;
    let fill = || -> rusqlite::Result<()> {
        let conn = connect(new.path(), BUSY_TIMEOUT)?;
        configure(&conn)?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        conn.execute_batch(format.schema)?;
        conn.pragma_update(None, "application_id", format.application_id)?;
        conn.pragma_update(None, "user_version", format.version)?;
        conn.execute_batch("COMMIT")?;
        conn.close().map_err(|(_, e)| e)
    };
    fill().map_err(|e| classify("create", path, e))?;
    new.as_file().sync_all().map_err(failed)?;
    match new.persist_noclobber(path) {
        Ok(_) => File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed),
        // Someone else made it meanwhile: theirs is as good.
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(failed(e.error)),
    }
}

fn connect(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(busy)?;
    Ok(conn)
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // 256 KiB of pages: the agent is small, and the kernel caches the file anyway.
    conn.pragma_update(None, "cache_size", -256)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // The log goes into the database at every 256 pages (1 MiB) and is cut down again after a burst.
    conn.pragma_update(None, "wal_autocheckpoint", 256)?;
    conn.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn number(conn: &Connection, path: &Path, name: &str) -> Result<i64, StoreError> {
    conn.pragma_query_value(None, name, |row| row.get(0)).map_err(|e| classify("open", path, e))
}

/// Whether the file is of this kind and of a known version.
fn identify(conn: &Connection, path: &Path, format: &Format) -> Result<(), StoreError> {
    if number(conn, path, "application_id")? != i64::from(format.application_id) {
        return Err(corrupt(path, format!("it is a database, but not {}", format.what)));
    }
    let found = number(conn, path, "user_version")?;
    if found > format.version {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: format.version });
    }
    if found < 1 {
        return Err(corrupt(path, format!("its format number is {found}, they begin with 1")));
    }
    Ok(())
}

/// SQLite's own check of its pages, and of the file's length, which it does not look at.
fn check(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let verdict: String = conn
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| classify("open", path, e))?;
    if verdict != "ok" {
        return Err(corrupt(path, format!("SQLite's check of the file found: {verdict}")));
    }
    let pages = number(conn, path, "page_count")? * number(conn, path, "page_size")?;
    let length = fs::metadata(path).map_err(|e| backend("open", path, e.into()))?.len();
    // What the log holds may not have reached the file yet; without a log the file is all there is.
    let logged = fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() > 0);
    if length > pages as u64 || (length < pages as u64 && !logged) {
        return Err(corrupt(path, format!("the file has {length} bytes, its database {pages}")));
    }
    Ok(())
}

/// `path` with `suffix` after its last component, as SQLite names its companions.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(crate) fn corrupt(path: &Path, reason: String) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), reason, source: None }
}

fn backend(verb: &'static str, path: &Path, source: Cause) -> StoreError {
    StoreError::Backend { verb, path: path.to_owned(), source }
}

/// SQLite's error as ours.
pub(crate) fn classify(verb: &'static str, path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Corrupt {
            path,
            reason: "the file is not a database, or its beginning was overwritten".into(),
            source: Some(error.into()),
        },
        Some(ErrorCode::DatabaseCorrupt) => {
            StoreError::Corrupt { path, reason: "the database is damaged".into(), source: Some(error.into()) }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { verb, path },
        Some(ErrorCode::DiskFull) => StoreError::Full { verb, path },
        // SQL that does not fit the file: a table or column is missing.
        Some(ErrorCode::Unknown) => StoreError::Corrupt {
            path,
            reason: "its tables are not those of its format".into(),
            source: Some(error.into()),
        },
        // Not SQLite's: a column that does not convert, so bytes that this program never wrote.
        None => StoreError::Corrupt {
            path,
            reason: "a row has not the expected form".into(),
            source: Some(error.into()),
        },
        _ => backend(verb, &path, error.into()),
    }
}

/// Why a step inside a transaction stopped, before the file's name is added.
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    /// The stored rows contradict themselves.
    Rows(String),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    pub(crate) fn at(self, verb: &'static str, path: &Path) -> StoreError {
        match self {
            Self::Sql(error) => classify(verb, path, error),
            Self::Rows(reason) => corrupt(path, reason),
            Self::Store(error) => error,
        }
    }
}

/// The end of a prefix's range as a parameter for `key < ?`. SQLite sorts every blob after every text, so the empty
/// blob stands for "no end".
pub(crate) fn upper_value(prefix: &str) -> Value {
    upper_bound(prefix).map_or(Value::Blob(Vec::new()), Value::Text)
}
