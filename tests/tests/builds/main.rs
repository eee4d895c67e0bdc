//! The builds on disk under faults, with the real agent: killed at every step of taking in, deriving, repairing and
//! collecting; stopped with blobs that are not durable; errors of the disk; a disk that is full; several at once.
//! Afterwards all builds verify and the model and the services are as they were. Owns the table of what was tried.

#[path = "../crash/victim.rs"]
#[allow(dead_code, reason = "it is the crash test's, which uses more of it")]
mod victim;

mod errors;
mod full;
mod killed;
mod meeting;
mod place;

use std::sync::{Mutex, PoisonError};

/// One test at a time: each drives agents of its own, and a machine may have two cores.
pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One line of the table.
pub(crate) fn tried(what: &str, when: &str, outcome: &str) {
    eprintln!("{what:34} {when:44} {outcome}");
}
