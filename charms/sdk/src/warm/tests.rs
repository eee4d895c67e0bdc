use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

/// A JVM's home with its own archive; its library is what a JVM is told by.
fn home(folder: &Path) -> PathBuf {
    let server = folder.join("java/lib/server");
    fs::create_dir_all(&server).unwrap();
    fs::create_dir_all(folder.join("java/bin")).unwrap();
    fs::write(server.join("libjvm.so"), "a JVM").unwrap();
    fs::write(server.join("classes.jsa"), "its own").unwrap();
    let java = folder.join("java/bin/java");
    fs::write(&java, "#!/bin/sh\necho \"$@\"\n").unwrap();
    fs::set_permissions(&java, fs::Permissions::from_mode(0o755)).unwrap();
    java
}

fn published(folder: &Path, java: &Path, content: &[u8]) -> PathBuf {
    let archives = folder.join("archives");
    let scratch = archives.join("making");
    fs::create_dir_all(&scratch).unwrap();
    let archive = scratch.join("master.jsa");
    fs::write(&archive, content).unwrap();
    let jvm = record::Identity::of(java).unwrap();
    record::publish(&archives, "master", &jvm, &jvm.own_archive().unwrap(), &archive).unwrap();
    fs::remove_file(&archive).unwrap();
    fs::remove_dir(&scratch).unwrap();
    archives
}

fn files(archives: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(archives).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn only_what_is_whole_and_of_this_jvm_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let java = home(dir.path());
    assert!(flags(&dir.path().join("none"), "master", &java).is_empty(), "nothing was made");
    let archives = published(dir.path(), &java, b"classes");
    let [top, json] = files(&archives).try_into().unwrap();
    let told = flags(&archives, "master", &java);
    let own = dir.path().join("java/lib/server/classes.jsa");
    let expected =
        format!("-XX:SharedArchiveFile={}:{}", fs::canonicalize(&own).unwrap().display(), top.display());
    assert_eq!((told[0].to_str(), told.len()), (Some(expected.as_str()), 4));
    assert!(flags(&archives, "worker", &java).is_empty(), "another daemon's");
    for wrong in [&b"class"[..], b"", b"classes and more", b"clasSes"] {
        fs::write(&top, wrong).unwrap();
        assert!(flags(&archives, "master", &java).is_empty(), "{wrong:?}");
    }
    fs::write(&top, b"classes").unwrap();
    assert!(!flags(&archives, "master", &java).is_empty());
    fs::remove_file(&own).unwrap();
    assert!(flags(&archives, "master", &java).is_empty(), "its base is gone");
    fs::write(&own, "its own").unwrap();
    fs::write(dir.path().join("java/lib/server/libjvm.so"), "an update").unwrap();
    assert!(flags(&archives, "master", &java).is_empty(), "the JVM is another one");
    record::sweep(&archives).unwrap();
    assert!(files(&archives).is_empty(), "{json:?} and what it names went");
}

#[test]
fn a_new_one_takes_the_place_of_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let java = home(dir.path());
    published(dir.path(), &java, b"one");
    let archives = published(dir.path(), &java, b"two");
    assert_eq!(files(&archives).len(), 2);
    assert_eq!(fs::read(&files(&archives)[0]).unwrap(), b"two");
}

#[test]
fn a_jvm_without_archives_brings_ours() {
    let dir = tempfile::tempdir().unwrap();
    let java = home(dir.path());
    fs::remove_file(dir.path().join("java/lib/server/classes.jsa")).unwrap();
    let archives = dir.path().join("archives");
    fs::create_dir_all(&archives).unwrap();
    let (base, top) = (dir.path().join("base.jsa"), dir.path().join("m.jsa"));
    fs::write(&base, "base").unwrap();
    fs::write(&top, "top").unwrap();
    let jvm = record::Identity::of(&java).unwrap();
    record::publish(&archives, "m", &jvm, &base, &top).unwrap();
    let [base, top, _] = files(&archives).try_into().unwrap();
    let told = flags(&archives, "m", &java);
    assert_eq!(
        told[0].to_str().unwrap(),
        format!("-XX:SharedArchiveFile={}:{}", base.display(), top.display())
    );
    fs::write(base, "bas").unwrap();
    assert!(flags(&archives, "m", &java).is_empty());
}

#[test]
fn a_maker_removes_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let java = home(dir.path());
    let left = dir.path().join(".making");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("half.jsa"), "half").unwrap();
    let maker = Maker::open(dir.path().to_str().unwrap(), java.to_str().unwrap()).unwrap();
    assert!(!left.exists() && maker.lacks(&["master"]));
}

proptest! {
    /// Whatever a record says, starting never fails for it, and nothing but what it digests is used.
    #[test]
    fn any_record_is_read(text in "\\PC{0,200}", cut in 0_usize..400) {
        let dir = tempfile::tempdir().unwrap();
        let java = home(dir.path());
        let archives = published(dir.path(), &java, b"classes");
        let json = files(&archives).into_iter().find(|path| path.extension().is_some_and(|e| e == "json")).unwrap();
        let whole = fs::read(&json).unwrap();
        fs::write(&json, &whole[..cut.min(whole.len() - 1)]).unwrap();
        prop_assert!(flags(&archives, "master", &java).is_empty());
        fs::write(&json, text).unwrap();
        prop_assert!(flags(&archives, "master", &java).is_empty());
    }
}
