//! [`Embedded`]: the store of one host, in one SQLite file. Must not: guard against a second agent (its lock does);
//! a second opener only gets an error instead of a hang.

mod engine;
mod rows;
mod schema;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::local::{Local, delegate_store};
use crate::{HistoryBound, StoreError, sqlite};

use engine::Sqlite;
pub(crate) use engine::check_rows;
pub(crate) use schema::FORMAT;

/// A store in a SQLite file. Clones share it; the file is closed with the last one.
#[derive(Clone)]
pub struct Embedded {
    local: Arc<Local<Sqlite>>,
}

/// What can be set when opening an [`Embedded`] store.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How much history is kept for watches that resume.
    pub history: HistoryBound,
    /// How long a call waits for another process's lock before [`StoreError::Busy`].
    pub busy_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: HistoryBound::default(), busy_timeout: sqlite::BUSY_TIMEOUT }
    }
}

impl Embedded {
    /// Opens the store at `path`, made empty if there is none; its folder must exist.
    ///
    /// Errors: [`StoreError::Newer`], [`StoreError::Corrupt`] (an empty or cut file too; it is left as it is),
    /// [`StoreError::Busy`], or the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Options::default())
    }

    /// [`open`](Self::open) with options.
    pub fn open_with(path: &Path, options: Options) -> Result<Self, StoreError> {
        let (engine, leases) = Sqlite::open(path, options)?;
        Ok(Self { local: Local::new(engine, leases)? })
    }
}

delegate_store!(Embedded);
