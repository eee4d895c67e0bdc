//! `stoker fsck`: silent on what is sound, beside an agent and without one; finds what was damaged, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use stoker_tests::{Agent, Folder, Output, stoker};

/// Every file below a folder with its length, time and inode.
fn seen(folder: &Path, found: &mut BTreeMap<PathBuf, (u64, i64, i64, u64)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            seen(&path, found);
        } else if path.extension().is_none_or(|end| end != "db-shm") {
            // What SQLite's readers share in memory has the form of a file.
            found.insert(path, (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()));
        }
    }
}

fn found(done: &Output) -> Vec<String> {
    let findings = done.json()["findings"].as_array().cloned().unwrap_or_default();
    let word =
        |finding: &serde_json::Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    for finding in &findings {
        assert!(!word(finding, "fix").is_empty(), "{finding}");
    }
    findings.iter().map(|finding| format!("{}: {}", word(finding, "of"), word(finding, "found"))).collect()
}

#[test]
fn a_sound_folder_is_sound_and_left_alone() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    let said = agent.ok("fsck --contents --format json").json();
    assert_eq!((&said["sound"], &said["agent"]), (&true.into(), &agent.pid().into()), "{said}");
    assert!(agent.ok("fsck --strict --patience 30s").stdout.contains("is sound"));
    // Services that run on, and no agent.
    agent.term();
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    seen(agent.dir(), &mut before);
    let said = agent.ok("fsck --contents --strict --format json").json();
    assert_eq!((&said["sound"], &said["agent"]), (&true.into(), &serde_json::Value::Null), "{said}");
    seen(agent.dir(), &mut after);
    let differ = |(path, what): &(&PathBuf, &(u64, i64, i64, u64))| before.get(*path) != Some(what);
    assert_eq!((after.iter().find(differ), after.len()), (None, before.len()), "it changes nothing");
    // No services either.
    agent.resume();
    agent.ok("down");
    stoker_tests::until("the agent is gone", || agent.ended());
    agent.ok("fsck --contents");
    let empty = Folder::new();
    let empty = empty.path().display().to_string();
    stoker(["--dir", &empty, "fsck"]).exits(5).is_problem();
}

#[test]
fn each_kind_of_damage_is_found() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo --resource payload=recipe:1.0");
    agent.term();
    let dir = agent.dir().to_owned();
    let fsck = || agent.cli("fsck --contents --format json").exits(1).is_problem().says(&["ST0034"]);

    // A content behind its name.
    let mut blobs = BTreeMap::new();
    seen(&dir.join("builds/blobs"), &mut blobs);
    let (blob, _) = blobs.iter().find(|(_, (length, ..))| *length > 0).unwrap();
    let right = fs::read(blob).unwrap();
    let open = |mode| fs::set_permissions(blob, fs::Permissions::from_mode(mode)).unwrap();
    let mode = fs::metadata(blob).unwrap().permissions().mode();
    let mut wrong = right.clone();
    wrong[0] ^= 1;
    open(0o644);
    fs::write(blob, &wrong).unwrap();
    open(mode);
    let all = found(&fsck());
    assert!(all.iter().any(|text| text.starts_with("builds: builds/blobs/")), "{all:?}");
    open(0o644);
    fs::write(blob, &right).unwrap();
    open(mode);

    // A file that no plan has written so.
    let mut files = BTreeMap::new();
    seen(&dir.join("models/default/units/echo-0/files"), &mut files);
    let (file, _) = files.iter().next().expect("a file of the unit");
    let right = fs::read(file).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(file, b"edited").unwrap();
    let all = found(&fsck());
    assert!(all.len() == 1 && all[0].starts_with("files: echo-0: "), "{all:?}");
    fs::write(file, right).unwrap();

    // A byte of a record, and a database that is cut off.
    let journal = dir.join("agent.db");
    let whole = fs::read(&journal).unwrap();
    let mut bent = whole.clone();
    let records: Vec<usize> =
        (0..whole.len() - 8).filter(|&at| whole[at..].starts_with(b"\"format\"")).collect();
    assert!(!records.is_empty(), "a record");
    for at in records {
        bent[at + 1] = b'g';
    }
    fs::write(&journal, &bent).unwrap();
    let all = found(&fsck());
    assert!(all.iter().any(|text| text.starts_with("journal: ")), "{all:?}");
    fs::write(&journal, &whole[..whole.len() / 2]).unwrap();
    assert!(found(&fsck()).iter().any(|text| text.starts_with("journal: ")));
    fs::write(&journal, &whole).unwrap();
    agent.ok("fsck --contents");
    agent.resume();
}
