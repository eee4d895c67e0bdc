//! The model store behind one trait, and this host's journal.
//!
//! Owns: the [`Store`] trait with its back ends ([`Embedded`] on SQLite, [`Memory`] for tests), the limits every
//! back end holds, and the [`Journal`] (`agent.db`). Must not: know what a key or a value means, touch anything
//! on the machine but its own database files, or depend on another crate of this project.
//!
//! Tasks: a store with at least one lease runs one timer task, which ends with the last lease; there is no other.
//! Channels: one `tokio::sync::watch` per store carries the newest revision and wakes the [`Watch`]es, which then
//! read the history; an event is never queued in memory.

mod embedded;
mod error;
mod journal;
mod lease;
mod limits;
mod local;
mod memory;
mod prefix;
mod rowsum;
mod sqlite;
mod store;
mod survey;
mod txn;
mod watch;

pub use embedded::{Embedded, Options};
pub use error::StoreError;
pub use journal::Journal;
pub use limits::{HistoryBound, MAX_COMPARES, MAX_KEY, MAX_OPS, MAX_TTL, MAX_VALUE};
pub use memory::Memory;
pub use store::{Entry, Event, LeaseId, Range, Revision, Store};
pub use survey::Survey;
pub use txn::{Committed, Compare, Op, Txn};
pub use watch::{EventSource, Watch};
