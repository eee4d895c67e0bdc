//! `stoker-hook`: the multi-call hook tool binary.
fn main() {}
