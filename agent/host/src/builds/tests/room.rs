//! A disk that is full. Needs the right to mount a small file system; without it there is nothing to test.

use super::*;

/// A file system of a few MiB.
struct Small {
    temp: tempfile::TempDir,
}

impl Small {
    fn mount(options: &std::ffi::CStr) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        rustix::mount::mount("tmpfs", temp.path(), "tmpfs", rustix::mount::MountFlags::empty(), Some(options))
            .ok()
            .map(|()| Self { temp })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.temp.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_leaves_nothing_and_heals() {
    for options in [c"size=4m", c"size=64m,nr_inodes=300"] {
        let Some(small) = Small::mount(options) else {
            eprintln!("skipped: mounting is not allowed here");
            return;
        };
        let builds = Builds::open(&small.temp.path().join("builds")).unwrap();
        let outside = tempfile::tempdir().unwrap();
        let large = outside.path().join("large.tar");
        std::fs::write(&large, tar_of(&[file("d/a", &noise(1, 66 << 20))])).unwrap();
        let error = builds.ingest(Source::File(&large), &()).unwrap_err();
        assert!(error.to_string().contains("are needed"), "{error}");
        let fits = outside.path().join("fits.tar");
        std::fs::write(&fits, tar_of(&[file("d/a", &noise(9, 1000))])).unwrap();
        let before = builds.ingest(Source::File(&fits), &()).unwrap();
        let cases = [
            (0..40).map(|n| file(&format!("d/{n}"), &noise(n + 20, 200_000))).collect::<Vec<_>>(),
            vec![file("d/large", &noise(1, 6 << 20))],
            (0..600).map(|n| file(&format!("d/{n}"), &noise(n + 100, 20))).collect(),
        ];
        let mut full = 0;
        for members in cases {
            for bytes in [tar_of(&members), gz(&tar_of(&members)), zip_of(&members)] {
                let path = outside.path().join("a");
                std::fs::write(&path, bytes).unwrap();
                match builds.ingest(Source::File(&path), &()) {
                    Err(BuildError::NoSpace { .. }) => full += 1,
                    Err(other) => panic!("{other}"),
                    // Either the bytes or the names are short, not both.
                    Ok(_) => continue,
                }
                assert_eq!(std::fs::read_dir(small.temp.path().join("builds/incoming")).unwrap().count(), 0);
            }
        }
        assert!(full >= 3, "{full} times full with {options:?}");
        assert_eq!(builds.ingest(Source::File(&fits), &()).unwrap().digest, before.digest);
        builds.tree(&before.digest).unwrap();
        assert_eq!(builds.verify().unwrap(), vec![]);
    }
}
