//! Killed at every step of taking a build in, and started again. Runs only with the feature `failpoints`.
#![cfg(feature = "failpoints")]
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "this crate starts processes; here it is the test itself")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stoker_host::builds::{
    BuildError, Builds, Check, Collect, Derive, Ingested, Record, Roots, Source, Take,
};
use stoker_host::fs::failpoint;
use stoker_model::ids::Digest;

/// Tells a child of the test what to do and where.
const PLACE: &str = "STOKER_TEST_PLACE";

/// All that is done to builds, from nothing or from wherever an earlier try stopped.
fn work(place: &Path) -> Vec<String> {
    let builds = Builds::open(&place.join("builds")).unwrap();
    let (one, two) = (place.join("one"), place.join("two"));
    let mut digests = Vec::new();
    for source in [&one, &two] {
        let ingested = builds.ingest(Source::Folder(source), &()).unwrap();
        record(&builds, source, &ingested);
        builds.tree(&ingested.digest).unwrap();
        digests.push(ingested.digest);
    }
    let take = Take { from: digests[1].clone(), path: "b".into(), to: "b2".into() };
    let derive = Derive { base: digests[0].clone(), drop: vec!["b".into()], take: vec![take] };
    let derived = builds.derive(&derive).unwrap();
    builds.remove_tree(&digests[0]).unwrap();
    drop(builds);
    // Something that no manifest has, as a hand might leave it; noticed by the next process that uses the tree.
    let stray = place.join("builds/trees").join(digests[1].hex()).join("stray");
    std::fs::write(&stray, "x").unwrap();
    let builds = Builds::open(&place.join("builds")).unwrap();
    builds.tree(&digests[1]).unwrap();
    assert!(!stray.exists());
    builds.settle(&derived.digest).unwrap();
    repair(place, &builds, &digests[0]);
    collect(place, &builds, [&digests[0], &digests[1], &derived.digest]);
    digests.push(derived.digest);
    assert_eq!(builds.verify().unwrap(), vec![]);
    digests.iter().map(ToString::to_string).collect()
}

/// Where it is noted that there is damage which is not the kill's.
fn spoiled(place: &Path) -> PathBuf {
    place.join("spoiled")
}

/// A blob gets other content, is found, put aside and taken again from where the build came from.
fn repair(place: &Path, builds: &Builds, digest: &Digest) {
    builds.tree(digest).unwrap();
    std::fs::write(spoiled(place), "").unwrap();
    let hex = Digest::of(b"1").hex();
    let blob = place.join(format!("builds/blobs/{}/{hex}", &hex[..2]));
    std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&blob, "x").unwrap();
    let checked = builds.check(&Check { only: vec![], repair: true }, &()).unwrap();
    assert!(checked.damage.iter().all(|damage| damage.repaired.is_some()), "{checked:?}");
    assert!(checked.damage.len() >= 2, "{checked:?}");
    std::fs::remove_file(spoiled(place)).unwrap();
}

/// A build that nobody needs is taken in and collected.
fn collect(place: &Path, builds: &Builds, keep: [&Digest; 3]) {
    let third = builds.ingest(Source::Folder(&place.join("three")), &()).unwrap();
    record(builds, &place.join("three"), &third);
    builds.tree(&third.digest).unwrap();
    let roots: Roots = keep.into_iter().map(|digest| (digest.clone(), Vec::new())).collect();
    let what = Collect { only: None, apply: true };
    let collected = builds.collect::<BuildError>(&what, || Ok(roots)).unwrap();
    assert!(collected.builds.len() == 1 && collected.blobs >= 2 && collected.trees >= 1, "{collected:?}");
}

fn record(builds: &Builds, source: &Path, ingested: &Ingested) {
    let record = Record {
        digest: ingested.digest.clone(),
        source: source.display().to_string(),
        archive: None,
        facts: serde_json::Value::Null,
        files: ingested.files,
        bytes: ingested.bytes,
        added: String::new(),
    };
    builds.put_record(&record).unwrap();
}

fn prepare(place: &Path) {
    for (name, text) in [("one", "1"), ("two", "2"), ("three", "3")] {
        std::fs::create_dir_all(place.join(name).join("deep")).unwrap();
        std::fs::write(place.join(name).join("b"), text).unwrap();
        std::fs::write(place.join(name).join("deep/large"), text.repeat(300_000)).unwrap();
    }
}

/// What a child does; nothing when the test itself is run.
#[test]
fn child() {
    if let Some(place) = std::env::var_os(PLACE) {
        work(Path::new(&place));
    }
}

/// Runs a child; whether it came to its end, and what it said.
fn run(place: &Path, failpoint: Option<&str>, log: &Path) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--test-threads", "1"])
        .env(PLACE, place)
        .env("STOKER_FAILPOINT_LOG", log);
    if let Some(aim) = failpoint {
        command.env("STOKER_FAILPOINT", aim);
    }
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_step_survives_a_kill() {
    let temp = tempfile::tempdir().unwrap();
    let clean = temp.path().join("clean");
    prepare(&clean);
    let log = temp.path().join("log");
    let (ended, said) = run(&clean, None, &log);
    assert!(ended, "{said}");
    let hits = std::fs::read_to_string(&log).unwrap();
    let expected = work(&clean);
    // An import has a test of its own.
    let own = |name: &&&str| name.starts_with("builds.") && !name.starts_with("builds.import.");
    for name in failpoint::ALL.iter().filter(|name| own(name) || name.starts_with("fs.")) {
        let count = hits.lines().filter(|hit| hit == name).count();
        assert!(count > 0, "`{name}` is never reached");
        for nth in 1..=count {
            let place = temp.path().join(format!("{name}-{nth}"));
            prepare(&place);
            let aim = format!("{name}=abort@{nth}");
            assert!(!run(&place, Some(&aim), &log).0, "`{aim}` did not kill");
            let builds = Builds::open(&place.join("builds")).unwrap();
            let mut damage = builds.verify().unwrap();
            // Put there by the test; gone once the tree is used.
            damage.retain(|damage| !damage.path.ends_with("/stray"));
            if spoiled(&place).exists() {
                // Nor is this the kill's; what a repair cut short leaves is what a repair can mend.
                let checked = builds.check(&Check { only: vec![], repair: true }, &()).unwrap();
                assert!(checked.damage.iter().all(|damage| damage.repaired.is_some()), "{checked:?}");
                damage = builds.verify().unwrap();
            }
            assert_eq!(damage, vec![], "after {aim}");
            assert_eq!(builds.usage().unwrap().incoming_bytes, 0, "after {aim}");
            drop(builds);
            // And once more on the way back.
            run(&place, Some(&format!("{name}=abort@1")), &log);
            assert_eq!(work(&place), expected, "after {aim}");
        }
    }
}
