//! An unclean stop with blobs that were not durable yet, and attaches that meet.

use super::*;

/// Builds as a process leaves them that is killed between publishing and the disk: the folder that names the blobs
/// is still there.
fn killed(place: &Place, ingested: &Ingested) -> Vec<(Digest, bool)> {
    let root = place.temp.path().join("builds");
    let folder = root.join("incoming/1-2-3");
    std::fs::create_dir(&folder).unwrap();
    let manifest = place.builds.manifest(&ingested.digest).unwrap();
    let mut blobs: Vec<(Digest, bool)> =
        manifest.files().map(|(_, blob, exec)| (blob.clone(), exec)).collect();
    blobs.push((ingested.digest.clone(), false));
    blobs.sort();
    blobs.dedup();
    for (blob, exec) in &blobs {
        let name = super::super::blobs::file_name(blob, *exec);
        std::fs::hard_link(root.join(format!("blobs/{}/{name}", &name[..2])), folder.join(&name)).unwrap();
    }
    blobs
}

#[test]
fn what_was_not_durable_is_hashed_and_only_what_is_not_whole_is_dropped() {
    let place = place();
    let ingested = place.add("a.tar", &tar_of(&distribution())).unwrap();
    place.record(&ingested);
    let root = place.temp.path().join("builds");
    killed(&place, &ingested);
    let small = Digest::of(b"small").hex();
    let large = Digest::of(noise(1, 300_000).as_bytes()).hex();
    // One truncated, as a power cut leaves it; one with other content.
    super::repaired::spoil(&root.join(format!("blobs/{}/{small}", &small[..2])), "");
    super::repaired::spoil(&root.join(format!("blobs/{}/{large}", &large[..2])), "zeros");
    let builds = Builds::open(&root).unwrap();
    assert_eq!(builds.lost().len(), 2, "{:?}", builds.lost());
    assert_eq!(std::fs::read_dir(root.join("incoming")).unwrap().count(), 0);
    assert_eq!(builds.shares().unwrap()[&ingested.digest].missing, 2);
    assert!(matches!(builds.tree(&ingested.digest), Err(BuildError::Damaged { .. })));
    let only = vec![ingested.digest.clone()];
    let checked = builds.check(&Check { only, repair: true }, &()).unwrap();
    assert!(checked.damage.iter().all(|damage| damage.repaired.is_some()), "{checked:?}");
    assert_clean(&builds);
    builds.tree(&ingested.digest).unwrap();
    assert!(Builds::open(&root).unwrap().lost().is_empty());
}

#[test]
fn blobs_that_were_durable_are_not_read_again() {
    let place = place();
    let ingested = place.add("a.tar", &tar_of(&distribution())).unwrap();
    let root = place.temp.path().join("builds");
    let small = Digest::of(b"small").hex();
    // Damage that came later is for a verify to find, not for each start.
    super::repaired::spoil(&root.join(format!("blobs/{}/{small}", &small[..2])), "smalL");
    let builds = Builds::open(&root).unwrap();
    assert!(builds.lost().is_empty());
    assert_eq!(builds.verify().unwrap().len(), 1);
    assert!(builds.manifest(&ingested.digest).is_ok());
}

/// Hears what a second attach is told while it waits.
#[derive(Default)]
struct Heard(Mutex<Vec<(u64, Option<u64>)>>);

impl Progress for &Heard {
    fn step(&self, done: u64, total: Option<u64>) {
        self.0.lock().unwrap().push((done, total));
    }
}

/// Lets the first attach wait until the second has been told how far the first is.
struct Slow<'a>(&'a Heard);

impl Progress for Slow<'_> {
    fn step(&self, done: u64, _total: Option<u64>) {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while done > 0 && self.0.0.lock().unwrap().is_empty() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_second_attach_of_one_archive_waits_for_the_first_and_is_told_how_far_it_is() {
    let place = place();
    let path = place.write("a.tar", &tar_of(&[file("d/x", &noise(1, 8 << 20))]));
    let heard = Heard::default();
    let begun = std::sync::Barrier::new(2);
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let slow = Slow(&heard);
            let turn = place.builds.turn(&path, 1, &()).unwrap();
            begun.wait();
            drop(turn);
            place.builds.ingest(Source::File(&path), &slow).unwrap()
        });
        let second = scope.spawn(|| {
            begun.wait();
            let size = std::fs::metadata(&path).unwrap().len();
            while !place.builds.busy.lock().unwrap().contains_key(&size)
                && place.builds.usage().unwrap().blobs == 0
            {
                std::thread::yield_now();
            }
            place.builds.ingest(Source::File(&path), &&heard).unwrap()
        });
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(first.digest, second.digest);
    assert!(second.known && second.new_bytes == 0, "{second:?}");
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(heard.0.lock().unwrap().iter().all(|(_, total)| *total == Some(size)));
    assert!(!heard.0.lock().unwrap().is_empty());
}
