//! Damage of every kind, and what a repair makes of it.

use super::*;

/// Replaces a file's content whatever its mode: the same inode, as a bit that flips or a hand that writes through.
pub(super) fn spoil(path: &Path, text: &str) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
}

fn blob_path(place: &Place, blob: &Digest) -> PathBuf {
    let hex = blob.hex();
    place.temp.path().join(format!("builds/blobs/{}/{hex}", &hex[..2]))
}

fn repair(place: &Place) -> Checked {
    place.builds.check(&Check { only: vec![], repair: true }, &()).unwrap()
}

/// A recorded build whose tree is linked and whose archive stays where it is.
fn recorded(place: &Place) -> Ingested {
    let ingested = place.add("a.tar.gz", &gz(&tar_of(&distribution()))).unwrap();
    place.record(&ingested);
    place.builds.tree(&ingested.digest).unwrap();
    ingested
}

fn assert_mended(place: &Place, ingested: &Ingested) {
    assert_clean(&place.builds);
    let tree = place.builds.tree(&ingested.digest).unwrap();
    assert_eq!(std::fs::read_to_string(tree.join("jars/b-1.0.jar")).unwrap(), "small");
    assert_eq!(std::fs::read_to_string(tree.join("jars/a-1.0.jar")).unwrap(), noise(1, 300_000));
    assert_eq!(std::fs::read_to_string(tree.join("bin/run")).unwrap(), "#!/bin/sh\n");
}

#[test]
fn a_flipped_bit_is_found_and_its_content_taken_again_from_the_archive() {
    for (content, large) in [("small".to_owned(), false), (noise(1, 300_000), true)] {
        let place = place();
        let ingested = recorded(&place);
        let open = std::fs::File::open(place.builds.tree(&ingested.digest).unwrap().join(if large {
            "jars/a-1.0.jar"
        } else {
            "jars/b-1.0.jar"
        }))
        .unwrap();
        let mut bytes = content.clone().into_bytes();
        bytes[3] ^= 1;
        spoil(&blob_path(&place, &Digest::of(content.as_bytes())), std::str::from_utf8(&bytes).unwrap());
        let found = place.builds.verify().unwrap();
        assert_eq!((found.len(), &found[0].builds), (1, &vec![ingested.digest.clone()]), "{found:?}");
        let checked = repair(&place);
        assert!(checked.damage.iter().all(|damage| damage.repaired.is_some()), "{checked:?}");
        let how = checked.damage[0].repaired.as_ref().unwrap();
        assert!(how.contains("a.tar.gz"), "{how}");
        assert!(checked.damage.iter().any(|damage| damage.path.starts_with("trees/")), "{checked:?}");
        assert_mended(&place, &ingested);
        // Who had it open goes on with what it had.
        assert_eq!(open.metadata().unwrap().len(), content.len() as u64);
        assert!(place.left().iter().any(|path| path.starts_with("quarantine/")));
    }
}

#[test]
fn what_is_missing_is_taken_from_trees_twins_and_folders() {
    // From the tree, which still has the link.
    let place = place();
    let ingested = recorded(&place);
    std::fs::remove_file(place.temp.path().join("a.tar.gz")).unwrap();
    let small = Digest::of(b"small");
    std::fs::remove_file(blob_path(&place, &small)).unwrap();
    assert_eq!(place.builds.verify().unwrap().len(), 1);
    let checked = repair(&place);
    assert!(checked.damage[0].repaired.as_ref().unwrap().contains("a tree"), "{checked:?}");
    assert_mended(&place, &ingested);
    // The manifest too: its tree says what it was.
    std::fs::remove_file(blob_path(&place, &ingested.digest)).unwrap();
    assert!(repair(&place).damage.iter().all(|damage| damage.repaired.is_some()));
    assert_mended(&place, &ingested);

    // From the twin with the other mode.
    let place = super::place();
    let twins = place.add("t.tar", &tar_of(&[file("d/a", "same"), program("d/b", "same")])).unwrap();
    place.record(&twins);
    std::fs::remove_file(place.temp.path().join("t.tar")).unwrap();
    std::fs::remove_file(blob_path(&place, &Digest::of(b"same"))).unwrap();
    let checked = repair(&place);
    assert!(checked.damage[0].repaired.as_ref().unwrap().contains("another mode"), "{checked:?}");
    assert_clean(&place.builds);

    // From the folder that it was taken in from.
    let place = super::place();
    let folder = place.temp.path().join("from");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("x"), "in a folder").unwrap();
    let taken = place.builds.ingest(Source::Folder(&folder), &()).unwrap();
    place.record(&taken);
    let mut record = place.builds.record(&taken.digest).unwrap().unwrap();
    record.source = folder.display().to_string();
    place.builds.put_record(&record).unwrap();
    spoil(&blob_path(&place, &Digest::of(b"in a folder")), "IN a folder");
    let checked = repair(&place);
    assert!(checked.damage[0].repaired.as_ref().unwrap().contains("from"), "{checked:?}");
    assert_clean(&place.builds);
}

#[test]
fn a_manifest_comes_back_from_the_archive_with_its_layouts() {
    let place = place();
    let path = place
        .write("a.tar", &tar_of(&[file("p/deep/VERSION", "1"), file("p/deep/x", "x"), file("p/meta", "m")]));
    let layout = Layout {
        when: vec!["deep/VERSION".into()],
        moves: [("deep".into(), String::new())].into(),
        drop: vec!["meta".into()],
    };
    let ingested = place.builds.ingest_with_layouts(Source::File(&path), &[layout], &()).unwrap();
    place.record(&ingested);
    spoil(&blob_path(&place, &ingested.digest), "stoker tree 1\nf\tx\t00\n");
    let checked = repair(&place);
    assert!(checked.damage.iter().all(|damage| damage.repaired.is_some()), "{checked:?}");
    assert_clean(&place.builds);
    assert!(place.builds.manifest(&ingested.digest).unwrap().get("VERSION").is_some());
}

#[test]
fn what_cannot_be_repaired_is_named_with_what_helps_and_a_new_attach_mends_it() {
    let place = place();
    let ingested = recorded(&place);
    let archive = place.temp.path().join("a.tar.gz");
    let mut record = place.builds.record(&ingested.digest).unwrap().unwrap();
    record.source = archive.display().to_string();
    place.builds.put_record(&record).unwrap();
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::remove_file(&archive).unwrap();
    spoil(&blob_path(&place, &Digest::of(b"small")), "smalL");
    let checked = repair(&place);
    let damage = &checked.damage[0];
    assert_eq!(damage.repaired, None);
    let remedy = damage.remedy.as_ref().unwrap();
    assert!(remedy.contains("is not there any more") && remedy.contains("verify --repair"), "{remedy}");
    // Nothing new is linked to what is wrong.
    place.builds.remove_tree(&ingested.digest).unwrap();
    assert!(matches!(place.builds.tree(&ingested.digest), Err(BuildError::Damaged { .. })));
    // The same archive from elsewhere is not taken for known.
    let again = place.write("elsewhere", &bytes);
    let back = place.builds.ingest(Source::File(&again), &()).unwrap();
    assert_eq!((&back.digest, back.known), (&ingested.digest, false));
    assert_mended(&place, &ingested);
}

#[test]
fn trees_modes_strays_and_records_are_put_right() {
    let place = place();
    let ingested = recorded(&place);
    let tree = place.builds.tree(&ingested.digest).unwrap();
    let jars = tree.join("jars");
    std::fs::set_permissions(&jars, std::fs::Permissions::from_mode(0o775)).unwrap();
    std::fs::remove_file(jars.join("b-1.0.jar")).unwrap();
    std::fs::write(jars.join("b-1.0.jar"), "another").unwrap();
    std::fs::remove_file(jars.join("b-copy.jar")).unwrap();
    std::fs::create_dir(jars.join("b-copy.jar")).unwrap();
    std::fs::write(jars.join("extra"), "x").unwrap();
    std::fs::remove_file(jars.join("latest.jar")).unwrap();
    std::fs::remove_dir(tree.join("logs")).unwrap();
    let blob = blob_path(&place, &Digest::of(b""));
    std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o4777)).unwrap();
    std::fs::write(blob.with_file_name("notes.txt"), "x").unwrap();
    let record = place.temp.path().join(format!("builds/records/{}.json", ingested.digest.hex()));
    std::fs::write(record, "{").unwrap();
    let found = place.builds.verify().unwrap();
    assert_eq!(found.len(), 9, "{found:#?}");
    let checked = repair(&place);
    assert!(checked.damage.iter().all(|damage| damage.repaired.is_some()), "{checked:#?}");
    assert_mended(&place, &ingested);
    assert_eq!(mode_and_time(&blob).0, 0o444);
    assert_eq!(place.builds.record(&ingested.digest).unwrap().unwrap().files, 6);
    // Without a repair the next process that uses a tree mends what can be seen without hashing.
    std::fs::set_permissions(&jars, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::remove_file(jars.join("b-1.0.jar")).unwrap();
    let other = Builds::open(&place.temp.path().join("builds")).unwrap();
    other.tree(&ingested.digest).unwrap();
    assert_mended(&place, &ingested);
}

#[test]
fn only_what_is_named_is_read() {
    let place = place();
    let one = recorded(&place);
    let two = place.add("b.tar", &tar_of(&[file("d/x", "other")])).unwrap();
    place.record(&two);
    spoil(&blob_path(&place, &Digest::of(b"other")), "othEr");
    let check =
        |only: &Digest| place.builds.check(&Check { only: vec![only.clone()], repair: false }, &()).unwrap();
    let (first, second) = (check(&one.digest), check(&two.digest));
    assert_eq!((first.damage.len(), first.builds, first.trees), (0, 1, 1));
    assert_eq!((second.damage.len(), second.blobs, second.trees), (1, 2, 0));
}

#[test]
fn at_the_link_limit_trees_have_copies_and_all_holds() {
    let place = place();
    place.builds.blobs.most_links.store(3, Ordering::Relaxed);
    let ingested = recorded(&place);
    let tree = place.builds.tree(&ingested.digest).unwrap();
    let inode = |name: &str| std::fs::metadata(tree.join(name)).unwrap().ino();
    // One link is the blob's own, two are taken: the third file is another.
    assert_eq!(inode("jars/b-1.0.jar"), inode("jars/b-copy.jar"));
    assert_ne!(inode("jars/b-1.0.jar"), inode("lib"));
    assert_eq!(mode_and_time(&tree.join("lib")), mode_and_time(&tree.join("jars/b-1.0.jar")));
    assert_clean(&place.builds);
    assert_eq!(std::fs::read_to_string(tree.join("lib")).unwrap(), "small");
    // A copy is a source like any other, and damage in it is found by its content.
    std::fs::remove_file(place.temp.path().join("a.tar.gz")).unwrap();
    spoil(&blob_path(&place, &Digest::of(b"small")), "smalL");
    assert!(repair(&place).damage.iter().all(|damage| damage.repaired.is_some()));
    spoil(&tree.join("lib"), "smalL");
    assert_eq!(place.builds.verify().unwrap().len(), 1);
    assert!(repair(&place).damage.iter().all(|damage| damage.repaired.is_some()));
    assert_clean(&place.builds);
}
