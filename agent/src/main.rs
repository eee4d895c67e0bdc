//! `stoker`: the CLI and the agent in one binary. Owns the process's beginning and end; the verbs are in [`cli`].

mod api;
mod change;
mod cli;
mod core;
mod duty;
#[cfg(test)]
mod failpoints;
mod hooks;
mod problem;
mod settings;
mod unit;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
