//! Services below the real `stoker-shim`: started, watched, stopped, lost and found again.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test, of the crate where processes are started"
)]

mod apart;
mod endings;
mod lost;
mod place;
mod run;
mod running;
