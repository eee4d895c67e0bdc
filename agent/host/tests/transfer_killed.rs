//! Killed at every step of taking in what another host sent, and started again. Runs only with the feature
//! `failpoints`.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "this crate starts processes; here it is the test itself")]

use std::path::Path;
use std::process::Command;

use stoker_host::builds::transfer::{Have, Keeping};
use stoker_host::builds::{Builds, Source};
use stoker_host::fs::failpoint;
use stoker_model::ids::Digest;

/// Tells a child of the test what to do and where.
const PLACE: &str = "STOKER_TEST_PLACE";

/// Two versions as streams, the second against the first.
fn prepare(place: &Path) -> Vec<(Digest, Vec<u8>)> {
    let builds = Builds::open(&place.join("sender")).unwrap();
    let mut sent: Vec<(Digest, Vec<u8>)> = Vec::new();
    for (version, text) in [("1.0", "one "), ("1.1", "two ")] {
        let folder = place.join(version);
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        let mut large: Vec<u8> =
            (0..400_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        large.extend_from_slice(text.as_bytes());
        std::fs::write(folder.join(format!("lib/large-{version}.jar")), large).unwrap();
        std::fs::write(folder.join("lib/small"), text.repeat(100)).unwrap();
        let digest = builds.ingest(Source::Folder(&folder), &()).unwrap().digest;
        let have = Have { base: sent.first().map(|(first, _)| first.clone()), ..Have::default() };
        let mut stream = Vec::new();
        builds.export(&digest, &have, &mut stream, &()).unwrap();
        std::fs::write(place.join(format!("stream-{version}")), &stream).unwrap();
        sent.push((digest, stream));
    }
    sent
}

/// Takes both in, from nothing or from wherever an earlier try stopped.
fn work(place: &Path) {
    let builds = Builds::open(&place.join("receiver")).unwrap();
    for version in ["1.0", "1.1"] {
        let stream = std::fs::read(place.join(format!("stream-{version}"))).unwrap();
        let got = builds.import(&mut &stream[..], &Keeping { every_bytes: 1000 }, &()).unwrap();
        builds.settle(&got.digest).unwrap();
        builds.tree(&got.digest).unwrap();
    }
}

/// What a child does; nothing when the test itself is run.
#[test]
fn child() {
    if let Some(place) = std::env::var_os(PLACE) {
        work(Path::new(&place));
    }
}

fn run(place: &Path, failpoint: Option<&str>, log: &Path) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--test-threads", "1"])
        .env(PLACE, place)
        .env("STOKER_FAILPOINT_LOG", log);
    if let Some(aim) = failpoint {
        command.env("STOKER_FAILPOINT", aim);
    }
    command.output().unwrap().status.success()
}

#[test]
fn every_step_of_an_import_survives_a_kill() {
    let temp = tempfile::tempdir().unwrap();
    let place = temp.path();
    let sent = prepare(place);
    let log = place.join("log");
    assert!(run(place, None, &log));
    let hits = std::fs::read_to_string(&log).unwrap();
    let all = failpoint::ALL.iter().filter(|name| name.starts_with("builds.import."));
    for name in all.chain(&["builds.ingest.half-published", "builds.ingest.before-sync"]) {
        let count = hits.lines().filter(|hit| hit == name).count();
        assert!(count > 0, "`{name}` is never reached");
        // How often things are made durable behind an import's back is not its own.
        let most = if name.starts_with("builds.import.") { count } else { 1 };
        for nth in 1..=most {
            stoker_host::fs::remove_tree(&place.join("receiver")).unwrap();
            let aim = format!("{name}=abort@{nth}");
            assert!(!run(place, Some(&aim), &log), "`{aim}` did not kill");
            let builds = Builds::open(&place.join("receiver")).unwrap();
            assert_eq!(builds.verify().unwrap(), vec![], "after {aim}");
            assert_eq!(builds.usage().unwrap().incoming_bytes, 0, "after {aim}");
            for (digest, _) in &sent {
                // Either there with all its contents, or not at all.
                if let Ok(manifest) = builds.manifest(digest) {
                    assert_eq!(builds.missing(&manifest).unwrap(), vec![], "after {aim}");
                }
            }
            drop(builds);
            // And once more on the way back.
            run(place, Some(&format!("{name}=abort@1")), &log);
            work(place);
            let builds = Builds::open(&place.join("receiver")).unwrap();
            assert_eq!(builds.verify().unwrap(), vec![], "after {aim}");
            for (digest, _) in &sent {
                assert!(builds.missing(&builds.manifest(digest).unwrap()).unwrap().is_empty(), "after {aim}");
            }
        }
    }
}
