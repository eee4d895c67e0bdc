//! `stoker`: the CLI and the agent in one binary.
fn main() {}
