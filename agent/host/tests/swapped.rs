//! Somebody swaps a folder for a link to elsewhere, again and again, while it is written to, read and removed.
//! Nothing outside may be touched or taken in, at whatever moment the swap falls.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use stoker_host::builds::{Builds, Source};
use stoker_host::fs::Dir;

/// Swaps that a test sees at least.
const SWAPS: u64 = 20_000;
/// What is outside and must neither change nor be read.
const SECRET: &str = "what is outside";

struct Scene {
    _temp: tempfile::TempDir,
    /// Where the work is done: `d` is a folder, `l` a link to `outside`, and they change places.
    base: PathBuf,
    outside: PathBuf,
}

fn scene() -> Scene {
    let temp = tempfile::tempdir().unwrap();
    let (base, outside) = (temp.path().join("base"), temp.path().join("outside"));
    for folder in [&base, &base.join("d"), &outside, &outside.join("below")] {
        std::fs::create_dir(folder).unwrap();
    }
    std::fs::write(outside.join("f"), SECRET).unwrap();
    std::fs::write(outside.join("below/f"), SECRET).unwrap();
    std::fs::write(base.join("d/f"), "inside").unwrap();
    std::os::unix::fs::symlink(&outside, base.join("l")).unwrap();
    Scene { _temp: temp, base, outside }
}

impl Scene {
    /// Does `work` over and over until `d` and `l` have changed places often enough while it was done.
    fn swapping(&self, mut work: impl FnMut(u64)) {
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let (one, other) = (self.base.join("d"), self.base.join("l"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let stopped = Stop(&stop);
            let mut round = 0;
            while swaps.load(Ordering::Relaxed) < SWAPS {
                work(round);
                round += 1;
            }
            drop(stopped);
        });
        self.untouched();
    }

    fn untouched(&self) {
        let names = |folder: &Path| {
            let mut found: Vec<_> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            found.sort();
            found
        };
        assert_eq!(names(&self.outside), ["below", "f"]);
        assert_eq!(names(&self.outside.join("below")), ["f"]);
        for file in ["f", "below/f"] {
            assert_eq!(std::fs::read_to_string(self.outside.join(file)).unwrap(), SECRET);
        }
    }
}

/// Ends the swapping, also when the work panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_written_or_read_outside() {
    let scene = scene();
    let base = Dir::open(&scene.base).unwrap();
    let (mut inside, mut refused) = (0u64, 0u64);
    scene.swapping(|round| {
        let made = base.sub("d").and_then(|dir| {
            dir.set_mode(0o755)?;
            dir.make_dir(format!("m{round}"), 0o755)?;
            dir.create_new(format!("n{round}"), 0o644)
        });
        match made {
            Ok(_) => inside += 1,
            Err(_) => refused += 1,
        }
        if let Ok(mut file) = base.open_file("d/f") {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut file, &mut text).unwrap();
            assert_eq!(text, "inside");
        }
    });
    // Both were met, else nothing was tested.
    assert!(inside > 0 && refused > 0, "{inside} inside, {refused} refused");
}

#[test]
fn nothing_is_removed_outside() {
    let scene = scene();
    let base = Dir::open(&scene.base).unwrap();
    let inner = scene.base.join("in");
    std::fs::create_dir(&inner).unwrap();
    let inner = Dir::open(&inner).unwrap();
    scene.swapping(|round| {
        // What is removed has the two that change places within it; the one name `d` is removed as it is met.
        let name = format!("x{round}");
        let dir = inner.make_dir(&name, 0o755).unwrap();
        std::os::unix::fs::symlink(&scene.outside, scene.base.join("in").join(&name).join("link")).unwrap();
        dir.make_dir("below", 0o755).unwrap().create_new("f", 0o644).unwrap();
        inner.remove_tree(&name).unwrap();
        // A folder's content goes, a link's target never.
        if let Ok(dir) = base.sub("d") {
            let _ = dir.clear();
        }
    });
}

#[test]
fn nothing_outside_is_taken_in() {
    let scene = scene();
    let place = tempfile::tempdir().unwrap();
    let builds = Builds::open(&place.path().join("builds")).unwrap();
    let mut taken = 0u64;
    scene.swapping(|_| {
        // The link leaves the folder: where it is met as one the folder is refused. Nothing else may come of it.
        if let Ok(ingested) = builds.ingest(Source::Folder(&scene.base), &()) {
            taken += 1;
            let manifest = builds.manifest(&ingested.digest).unwrap();
            let text = String::from_utf8(manifest.text()).unwrap();
            assert!(!text.contains(&stoker_model::ids::Digest::of(SECRET.as_bytes()).hex()), "{text}");
        }
    });
    assert_eq!(taken, 0, "the link that leaves was not seen");
}
