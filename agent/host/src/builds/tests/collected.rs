//! Collecting: what nobody refers to goes, all of it and nothing else.

#![allow(clippy::disallowed_methods, reason = "`du` is what the counts are held against")]

use super::*;

/// An error that a caller's own question about roots may have.
#[derive(Debug)]
enum Asked {
    Build(BuildError),
}

impl From<BuildError> for Asked {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

fn roots(digests: &[&Digest]) -> Roots {
    digests.iter().map(|digest| ((*digest).clone(), vec!["a test".to_owned()])).collect()
}

fn collect(builds: &Builds, apply: bool, digests: &[&Digest]) -> Collected {
    let what = Collect { only: None, apply };
    builds.collect::<Asked>(&what, || Ok(roots(digests))).unwrap()
}

/// Two builds that share a file, both recorded and linked; each has a file of its own.
fn two(place: &Place) -> (Ingested, Ingested) {
    let shared = noise(1, 300_000);
    let one =
        place.add("1.tar", &tar_of(&[file("d/shared", &shared), file("d/own", &noise(2, 90_000))])).unwrap();
    let two =
        place.add("2.tar", &tar_of(&[file("d/shared", &shared), file("d/own", &noise(3, 50_000))])).unwrap();
    for build in [&one, &two] {
        place.record(build);
        place.builds.tree(&build.digest).unwrap();
    }
    (one, two)
}

fn du(place: &Place) -> u64 {
    let done = std::process::Command::new("du")
        .args(["--summarize", "--block-size=1"])
        .arg(place.temp.path().join("builds"))
        .output()
        .unwrap();
    String::from_utf8(done.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_dry_run_says_what_the_run_then_does() {
    let place = place();
    let (one, two) = two(&place);
    let before = du(&place);
    let said = collect(&place.builds, false, &[&two.digest]);
    assert_eq!(said.builds.iter().map(|gone| &gone.digest).collect::<Vec<_>>(), [&one.digest]);
    assert_eq!(said.kept, roots(&[&two.digest]));
    // Its own file and its manifest.
    assert_eq!((said.trees, said.blobs), (1, 2));
    assert_eq!(said.builds[0].bytes, said.bytes);
    assert_eq!(du(&place), before, "a dry run changes nothing");
    assert_eq!(collect(&place.builds, true, &[&two.digest]), said);
    // The folders of the tree go as well.
    assert!(before - du(&place) >= said.bytes, "{} {}", before - du(&place), said.bytes);
    assert!(place.builds.record(&one.digest).unwrap().is_none());
    assert!(matches!(place.builds.manifest(&one.digest), Err(BuildError::Unknown(_))));
    assert!(!place.temp.path().join("builds/trees").join(one.digest.hex()).exists());
    assert_clean(&place.builds);
    assert_eq!(std::fs::read(place.builds.tree(&two.digest).unwrap().join("own")).unwrap().len(), 50_000);
    let again = collect(&place.builds, true, &[&two.digest]);
    assert_eq!((again.builds.len(), again.trees, again.blobs, again.bytes), (0, 0, 0, 0));
    // What went comes back whole, also where its archive is remembered.
    let back = place.builds.ingest(Source::File(&place.temp.path().join("1.tar")), &()).unwrap();
    assert_eq!((back.digest, back.known), (one.digest, false));
    assert!(back.new_bytes >= 90_000);
}

#[test]
fn one_build_goes_alone_and_garbage_of_others_stays() {
    let place = place();
    let (one, two) = two(&place);
    let orphan = place.add("3.tar", &tar_of(&[file("d/x", "no record")])).unwrap();
    let what = Collect { only: Some(one.digest.clone()), apply: true };
    let done = place.builds.collect::<Asked>(&what, || Ok(Roots::new())).unwrap();
    assert_eq!((done.builds.len(), done.trees, done.blobs), (1, 1, 2));
    assert!(place.builds.manifest(&orphan.digest).is_ok());
    assert!(place.builds.record(&two.digest).unwrap().is_some());
    assert_clean(&place.builds);
    // One that is referred to is only said to be.
    let what = Collect { only: Some(two.digest.clone()), apply: true };
    let done = place.builds.collect::<Asked>(&what, || Ok(roots(&[&two.digest]))).unwrap();
    assert_eq!((done.builds.len(), done.blobs, &done.kept), (0, 0, &roots(&[&two.digest])));
}

#[test]
fn what_is_used_while_it_goes_on_stays() {
    let place = place();
    let (one, two) = two(&place);
    let hold = place.builds.hold("a change");
    // Before it: used, and the user has ended, but not what it is for.
    place.builds.manifest(&one.digest).unwrap();
    let done = collect(&place.builds, true, &[]);
    assert_eq!(done.builds.iter().map(|gone| &gone.digest).collect::<Vec<_>>(), [&two.digest]);
    assert!(done.kept.contains_key(&one.digest), "{done:?}");
    drop(hold);
    // During it: from the moment that the roots are asked for.
    let what = Collect { only: None, apply: true };
    let done = place
        .builds
        .collect::<Asked>(&what, || {
            place.builds.tree(&one.digest)?;
            Ok(Roots::new())
        })
        .unwrap();
    assert_eq!(done.builds, vec![]);
    assert_clean(&place.builds);
    assert_eq!(collect(&place.builds, true, &[]).builds.len(), 1);
    let usage = place.builds.usage().unwrap();
    assert_eq!((usage.builds, usage.trees, usage.blobs, usage.bytes), (0, 0, 0, 0));
    assert_eq!(place.left(), Vec::<String>::new(), "not even a note about an archive");
}

#[test]
fn collecting_all_the_time_spoils_nothing_that_is_taken_in() {
    let place = place();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut rounds = 0u64;
            while !stop.load(Ordering::Relaxed) {
                collect(&place.builds, true, &[]);
                rounds += 1;
            }
            rounds
        });
        let workers: Vec<_> = (0..2u64)
            .map(|n| {
                let place = &place;
                scope.spawn(move || {
                    for round in 0..15 {
                        let hold = place.builds.hold("a change");
                        // Half of it is the same each time: there, or just going.
                        let bytes = tar_of(&[
                            file("d/same", &noise(7, 300_000)),
                            file("d/small", "small"),
                            file("d/new", &noise(100 + n * 100 + round, 1000)),
                        ]);
                        let ingested = place.add(&format!("{n}.tar"), &bytes).unwrap();
                        let path = place.builds.tree(&ingested.digest).unwrap();
                        assert_eq!(std::fs::metadata(path.join("same")).unwrap().len(), 300_000);
                        for (_, blob, exec) in place.builds.manifest(&ingested.digest).unwrap().files() {
                            assert!(place.builds.blobs.has(blob, exec).unwrap());
                        }
                        drop(hold);
                    }
                })
            })
            .collect();
        let done: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        for worker in done {
            worker.unwrap();
        }
        collector.join().unwrap()
    });
    assert!(rounds > 1);
    assert_clean(&place.builds);
}

#[test]
fn a_damaged_manifest_stops_it_and_a_failed_question_changes_nothing() {
    let place = place();
    let (one, two) = two(&place);
    let failed = place.builds.collect::<Asked>(&Collect { only: None, apply: true }, || {
        Err(BuildError::Unknown(one.digest.clone()).into())
    });
    assert!(matches!(failed, Err(Asked::Build(BuildError::Unknown(_)))));
    let hex = one.digest.hex();
    super::repaired::spoil(&place.temp.path().join(format!("builds/blobs/{}/{hex}", &hex[..2])), "x");
    let refused = place
        .builds
        .collect::<Asked>(&Collect { only: None, apply: true }, || Ok(roots(&[&one.digest, &two.digest])));
    assert!(matches!(refused, Err(Asked::Build(BuildError::Damaged { .. }))), "{refused:?}");
    assert!(place.builds.record(&one.digest).unwrap().is_some());
    // Nobody needs it: it goes, damaged or not.
    assert_eq!(collect(&place.builds, true, &[&two.digest]).builds.len(), 1);
    assert_clean(&place.builds);
}

#[test]
fn usage_is_what_du_says_and_shares_add_up() {
    let place = place();
    let (one, two) = two(&place);
    place.builds.settle(&one.digest).unwrap();
    assert_eq!(place.builds.usage().unwrap().total_disk_bytes, du(&place));
    let shares = place.builds.shares().unwrap();
    let (one, two) = (&shares[&one.digest], &shares[&two.digest]);
    assert_eq!((one.shared, one.missing), (two.shared, 0));
    assert!(one.shared >= 300_000 && one.unique >= 90_000 && two.unique >= 50_000 && two.unique < 90_000);
    let usage = place.builds.usage().unwrap();
    assert_eq!(usage.disk_bytes, one.unique + two.unique + one.shared);
}
