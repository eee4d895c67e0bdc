//! What is taken in, all readers list alike: archives made from random choices, most of them odd in some way, are
//! given to us, to Python, to GNU tar and to bsdtar. Where we take one in, the others must find the very same tree;
//! what they read in two ways we must refuse.
//!
//! `STOKER_FUZZ_SECONDS` says how long each test goes on (4). Archives that once were read in two ways are in
//! `tests/fixtures/corpus` and are tried first. A failure names a file with the archive.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "this crate starts processes; here it is the test itself")]

mod choices;
mod readers;
mod tars;
mod zips;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::choices::Choices;
use self::readers::{Bench, Form, Outcome};

fn seconds() -> Duration {
    let said = std::env::var("STOKER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(said.unwrap_or(4))
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/corpus")
}

/// The archives of the corpus whose name begins so.
fn kept(begin: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in ["accepted", "refused"] {
        for entry in std::fs::read_dir(corpus().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with(begin) {
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn differ(form: Form, kept: Vec<(String, Vec<u8>)>, make: fn(&mut Choices<'_>) -> Vec<u8>) {
    let bench = Mutex::new(Bench::new());
    let (tried, agreed) = (AtomicU64::new(0), AtomicU64::new(0));
    let compare = |bytes: &[u8]| {
        let mut bench = bench.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tried.fetch_add(1, Ordering::Relaxed);
        if matches!(bench.compare(form, bytes), Outcome::Agreed) {
            agreed.fetch_add(1, Ordering::Relaxed);
        }
    };
    for (_, bytes) in kept {
        compare(&bytes);
    }
    bolero::check!()
        .with_test_time(seconds())
        .with_shrink_time(Duration::from_secs(20))
        .with_max_len(400)
        .for_each(|input: &[u8]| compare(&make(&mut Choices::new(input))));
    let (tried, agreed) = (tried.into_inner(), agreed.into_inner());
    println!("{form:?}: {tried} archives, {agreed} taken in and read alike by all");
    assert!(agreed > 0, "none of {tried} was taken in: nothing was compared");
}

#[test]
fn tars_are_read_alike_or_refused() {
    differ(Form::Tar, kept("tar-"), tars::make);
}

#[test]
fn zips_are_read_alike_or_refused() {
    differ(Form::Zip, kept("zip-"), zips::make);
}
