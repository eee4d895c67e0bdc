//! A disk that is full, at one write after the other. Needs the right to mount; without it the test says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::Place;
use crate::victim::Victim;
use crate::{tried, turn};

/// A file system of a few MiB, in memory.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, options: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    /// Fills it but for so many bytes, or names of files.
    fn fill(&self, but: Room) -> PathBuf {
        let filler = self.0.join("filler");
        let stat = nix::sys::statvfs::statvfs(&self.0).expect("the file system");
        fs::create_dir(&filler).expect("a folder");
        match but {
            Room::Bytes(but) => {
                let bytes = (stat.blocks_available() * stat.fragment_size()).saturating_sub(but);
                let file = File::create(filler.join("bytes")).expect("a file");
                nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, bytes as i64)
                    .expect("room");
            }
            Room::Names(but) => {
                for n in 0..stat.files_available().saturating_sub(but + 1) {
                    File::create(filler.join(n.to_string())).expect("a file");
                }
            }
        }
        filler
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// What is left.
#[derive(Debug, Clone, Copy)]
enum Room {
    Bytes(u64),
    Names(u64),
}

#[test]
fn a_full_disk_stops_an_add_at_any_write_and_nothing_of_it_stays() {
    let _turn = turn();
    // 700 kB of content and some kB of small files, a manifest and a record: the last levels leave room for some of it.
    let bytes = [0, 200, 688, 696, 700, 704, 708, 712, 716, 760].map(|kib| Room::Bytes(kib << 10));
    let names = [0, 1, 3, 6, 8, 10, 16, 24, 40].map(Room::Names);
    for (options, levels) in
        [("size=8m,mode=755", &bytes[..]), ("size=16m,nr_inodes=900,mode=755", &names[..])]
    {
        let victim = Victim::new();
        let builds = victim.dir().join("builds");
        fs::create_dir(&builds).expect("a folder");
        let Some(small) = Small::mount(&builds, options) else {
            eprintln!("not tried: a small file system cannot be mounted here");
            return;
        };
        let mut place = Place::on(victim);
        let mut refused = 0;
        for room in levels {
            let archive = place.archive();
            let archive = archive.to_str().expect("a path");
            let filler = small.fill(*room);
            let said = place.victim.cli(&["builds", "add", archive]);
            // What only reads answers all the same.
            place.ok(&["builds", "list"]);
            place.ok(&["status"]);
            let outcome = if said.ok { "fitted" } else { "refused, nothing stayed" };
            refused += u32::from(!said.ok);
            assert!(said.ok || said.text.contains("ST00"), "{room:?}: {}", said.text);
            let full = said.text.contains("ST0018") || said.text.contains("o space left");
            assert!(said.ok || full, "{room:?}: {}", said.text);
            fs::remove_dir_all(filler).expect("room again");
            place.check(&format!("{room:?}"));
            // With room again there is nothing in the way, and no restart is needed.
            place.ok(&["builds", "add", archive]);
            place.ok(&["builds", "gc", "--yes"]);
            assert_eq!(place.recorded().len(), 1, "{room:?}");
            tried("a full disk at an add", &format!("{room:?} left"), outcome);
        }
        place.check("in the end");
        assert!(refused >= 5, "{refused} times full");
        // The folder can be removed once nothing is mounted in it.
        drop(small);
        drop(place);
    }
}
