//! `stoker`: the CLI and the agent in one binary. Owns the process's beginning and end; the verbs are in [`cli`].

mod api;
mod cli;
#[path = "core_stub.rs"]
mod core;
mod problem;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
