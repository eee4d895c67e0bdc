//! What the end-to-end tests stand on: an [`Agent`] in a folder of its own, driven through the real programs as
//! separate processes. Owns how programs are found, started, asked and ended. It must know nothing of the agent's
//! insides: what a user can type, send or see on the machine is all it uses.
//!
//! The programs come from `STOKER_BIN_DIR`, else from `debug` in the target folder; build them first:
//! `cargo build -p stoker -p stoker-host -p stoker-hooks`.

mod agent;
mod archive;
pub mod checker;
mod lab;
mod machine;
mod output;
mod until;
mod wire;

pub use agent::{Agent, Folder, program, stoker};
pub use archive::{payload_folder, tar};
pub use lab::Lab;
pub use machine::{Process, alive, command_line, environment, processes_below, stranger_on};
pub use output::Output;
pub use until::{LONG, until, until_seen, until_some};
pub use wire::Answer;

use std::path::PathBuf;

/// The charms for tests.
pub fn charms() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/charms")
}

/// Whether tests run as root: only then have services users of their own.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
