//! Several at once, and what an unclean stop leaves.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use crate::place::{Place, spoil};
use crate::{tried, turn};

#[test]
fn attaches_that_meet_do_the_work_once_and_a_collection_beside_them_spoils_nothing() {
    let _turn = turn();
    let mut place = Place::new();
    let archives: Vec<String> =
        (0..3).map(|_| place.archive().to_str().expect("a path").to_owned()).collect();
    let place = &place;
    for archive in &archives {
        let (added, collected) = std::thread::scope(|scope| {
            let adds: Vec<_> =
                (0..3).map(|_| scope.spawn(|| place.json(&["builds", "add", archive]))).collect();
            let collector = scope.spawn(|| {
                let mut rounds = 0;
                while !adds.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                    place.ok(&["builds", "gc", "--yes"]);
                    rounds += 1;
                }
                (adds, rounds)
            });
            let (adds, rounds) = collector.join().expect("the collector");
            (adds.into_iter().map(|add| add.join().expect("an add")).collect::<Vec<Value>>(), rounds)
        });
        assert!(added.iter().all(|build| build["digest"] == added[0]["digest"]), "{added:?}");
        tried(
            "three adds of one archive, gc",
            &format!("{collected} collections meanwhile"),
            "one build, verified",
        );
        place.check("adds and collections at once");
    }
    // Without a collection, what one writes the others know.
    place.ok(&["builds", "gc", "--yes"]);
    let archive = &archives[0];
    let added: Vec<Value> = std::thread::scope(|scope| {
        let adds: Vec<_> = (0..2).map(|_| scope.spawn(|| place.json(&["builds", "add", archive]))).collect();
        adds.into_iter().map(|add| add.join().expect("an add")).collect()
    });
    let new: Vec<u64> = added.iter().filter_map(|build| build["new_bytes"].as_u64()).collect();
    assert!(new.contains(&0) && new.iter().any(|bytes| *bytes > 700_000), "{added:?}");
    tried("two adds of one archive", "at once", "written once, verified");
    place.check("two adds");
}

#[test]
fn what_runs_and_what_is_kept_is_never_collected_and_what_is_in_use_is_not_removed() {
    let _turn = turn();
    let mut place = Place::new();
    let first = place.recorded();
    let second = place.archive();
    let resource = format!("payload={}", second.display());
    place.ok(&["attach-resource", "echo", &resource, "--wait", "--timeout", "60s"]);
    let unused = place.archive();
    let unused = place.json(&["builds", "add", unused.to_str().expect("a path")]);
    let dry = place.json(&["builds", "gc"]);
    assert_eq!((&dry["applied"], dry["removed"].as_array().map(Vec::len)), (&false.into(), Some(1)));
    assert_eq!(dry["removed"][0]["digest"], unused["digest"]);
    let freed = dry["bytes"].as_u64().expect("bytes");
    assert!(freed >= 700_000, "{dry}");
    let why = dry["kept"].to_string();
    for reason in
        ["release 1 of echo", "release 2 of echo", "unit echo/0", "service stoker-default-echo-0-echo"]
    {
        assert!(why.contains(reason), "{reason}: {why}");
    }
    let refused = place.victim.cli(&["builds", "remove", &first[0]]);
    assert!(!refused.ok && refused.text.contains("release 1 of echo"), "{}", refused.text);
    let disk = |place: &Place| place.json(&["builds", "list"]);
    let before = disk(&place).to_string();
    place.ok(&["builds", "remove", unused["digest"].as_str().expect("a digest")]);
    assert_ne!(disk(&place).to_string(), before);
    assert_eq!(place.recorded().len(), 2);
    place.check("a removal");
    place.ok(&["rollback", "echo", "--wait", "--timeout", "60s"]);
    place.ok(&["builds", "gc", "--yes"]);
    assert_eq!(place.recorded().len(), 2, "both are within the window");
    // Beyond the window a release keeps nothing, and there is no way back to it.
    fs::write(
        place.victim.dir().join("stoker.toml.d/gc.toml"),
        "[gc]\nkeep-unused = \"0s\"\nkeep-releases = 2\n",
    )
    .expect("settings");
    place.again();
    for _ in 0..2 {
        let next = format!("payload={}", place.archive().display());
        place.ok(&["attach-resource", "echo", &next, "--wait", "--timeout", "60s"]);
        place.check("an upgrade");
    }
    place.ok(&["builds", "gc", "--yes"]);
    assert_eq!(place.recorded().len(), 2, "those of the last two releases");
    let back = place.victim.cli(&["rollback", "echo", "--to", "1"]);
    assert!(!back.ok && back.text.contains("attach the build again"), "{}", back.text);
    place.check("a rollback that was refused");
    tried("gc beside a running unit", "kept: releases, unit, service", "nothing in use went");
}

#[test]
fn blobs_that_were_not_durable_are_looked_at_after_an_unclean_stop() {
    let _turn = turn();
    let mut place = Place::new();
    let tree = place.tree();
    let archive = place.archive();
    let resource = format!("payload={}", archive.display());
    place.ok(&["attach-resource", "echo", &resource, "--wait", "--timeout", "60s"]);
    let newest = place.tree();
    for (what, whole) in [("truncated", false), ("other content", true)] {
        // Killed between publishing and the disk: the ingest's folder still names the blobs.
        place.victim.kill();
        let folder = place.builds().join("incoming/1-1-1");
        fs::create_dir(&folder).expect("a folder");
        for (from, bytes) in [(&tree, Vec::new()), (&newest, b"not what it was".to_vec())] {
            let large = from.join("data/large");
            let inode = fs::metadata(&large).expect("a file").ino();
            let blob = blob_of(&place, inode);
            fs::hard_link(&blob, folder.join(blob.file_name().expect("a name"))).expect("a link");
            let bytes = if whole { [bytes, vec![0; 700_000]].concat() } else { bytes };
            spoil(&large, &bytes);
        }
        place.again();
        place.check(what);
        assert_eq!(fs::metadata(newest.join("data/large")).expect("a file").len(), 700_000);
        tried("unclean stop, blobs not durable", what, "dropped, taken again from the archives");
    }
    // Where the archive is gone the build is said to be damaged, with what helps; the service goes on.
    place.victim.kill();
    let blob = blob_of(&place, fs::metadata(newest.join("data/large")).expect("a file").ino());
    let folder = place.builds().join("incoming/1-1-1");
    fs::create_dir(&folder).expect("a folder");
    fs::hard_link(&blob, folder.join(blob.file_name().expect("a name"))).expect("a link");
    spoil(&newest.join("data/large"), b"");
    let aside = archive.with_extension("aside");
    fs::rename(&archive, &aside).expect("moved");
    place.again();
    let listed = place.json(&["builds", "list"]);
    assert!(listed.as_array().expect("a list").iter().any(|build| build["damaged"] == true), "{listed}");
    let said = place.victim.cli(&["builds", "verify", "--repair"]);
    assert!(!said.ok && said.text.contains("is not there any more"), "{}", said.text);
    fs::rename(&aside, &archive).expect("moved back");
    place.ok(&["builds", "verify", "--repair"]);
    place.check("the archive is back");
    tried("unclean stop, archive gone", "truncated", "said with the remedy; repaired when it was back");
}

/// The blob that is this file.
fn blob_of(place: &Place, inode: u64) -> std::path::PathBuf {
    let shards = fs::read_dir(place.builds().join("blobs")).expect("blobs").flatten();
    shards
        .flat_map(|shard| fs::read_dir(shard.path()).expect("a folder").flatten())
        .find(|entry| entry.metadata().is_ok_and(|meta| meta.ino() == inode))
        .expect("the blob of a file in a tree")
        .path()
}
