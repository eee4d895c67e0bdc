//! The committed canary is what its source compiles to. Skipped, with a word, where there is no javac.
#![allow(clippy::disallowed_methods, reason = "compiles the canary")]

use std::path::Path;
use std::process::Command;

#[test]
fn the_class_is_that_of_the_source() {
    let charm = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = std::fs::read(charm.join("lib/canary/StokerCanary.class")).unwrap();
    assert_eq!(committed[..4], [0xCA, 0xFE, 0xBA, 0xBE]);
    assert_eq!(u16::from_be_bytes([committed[6], committed[7]]), 52, "it has to run on Java 8");
    let out = tempfile::tempdir().unwrap();
    let compiled = Command::new("javac")
        .args(["--release", "8", "-g:none", "-Xlint:-options", "-d"])
        .arg(out.path())
        .arg(charm.join("java/StokerCanary.java"))
        .output();
    let Ok(compiled) = compiled else {
        println!("skipped: no javac");
        return;
    };
    let said = String::from_utf8_lossy(&compiled.stderr);
    if said.contains("release version 8 not supported") {
        println!("skipped: this javac cannot make Java 8 classes");
        return;
    }
    assert!(compiled.status.success(), "{said}");
    let made: Vec<_> = std::fs::read_dir(out.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(
        made,
        ["StokerCanary.class"],
        "one class serves; inner classes would have to be committed too"
    );
    let fresh = std::fs::read(out.path().join("StokerCanary.class")).unwrap();
    // Compilers order constants differently; names and texts in the class do not depend on that.
    assert_eq!(
        texts(&fresh),
        texts(&committed),
        "run: javac --release 8 -g:none -d lib/canary java/StokerCanary.java"
    );
}

/// The printable runs of a class file, sorted.
fn texts(class: &[u8]) -> Vec<String> {
    let mut runs: Vec<String> = class
        .split(|b| !(0x20..0x7f).contains(b))
        .filter(|run| run.len() > 5)
        .map(|run| String::from_utf8_lossy(run).into_owned())
        .collect();
    runs.sort();
    runs
}
