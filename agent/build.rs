//! What the program is linked with: the words of `STOKER_LINK`, which packaging/stage sets for releases. They concern this one
//! link alone, where RUSTFLAGS would have all crates built anew.

#![allow(clippy::print_stdout, reason = "that is how a build script talks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../packaging/at-rest.ld");
    println!("cargo::rerun-if-env-changed=STOKER_LINK");
    for word in std::env::var("STOKER_LINK").unwrap_or_default().split_whitespace() {
        println!("cargo::rustc-link-arg-bins={word}");
    }
}
