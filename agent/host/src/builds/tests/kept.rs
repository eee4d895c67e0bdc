//! Deriving, recording, checking and removing.

use super::*;

fn take(from: &Digest, path: &str, to: &str) -> Take {
    Take { from: from.clone(), path: path.into(), to: to.into() }
}

#[test]
fn a_derived_tree_is_the_tree_of_its_content() {
    let place = place();
    let base = place
        .add(
            "b.tar",
            &tar_of(&[file("b/jars/c-1.jar", "old"), file("b/jars/other.jar", "o"), program("b/run", "r")]),
        )
        .unwrap();
    let other =
        place.add("o.tar", &tar_of(&[file("o/x/c-2.jar", "new"), file("o/x/more/deep", "d")])).unwrap();
    let wanted = place
        .add(
            "w.tar",
            &tar_of(&[
                file("w/jars/c-2.jar", "new"),
                file("w/jars/other.jar", "o"),
                file("w/lib/more/deep", "d"),
                program("w/run", "r"),
            ]),
        )
        .unwrap();
    let spec = Derive {
        base: base.digest.clone(),
        drop: vec!["jars/c-1.jar".into()],
        take: vec![
            take(&other.digest, "x/c-2.jar", "jars/c-2.jar"),
            take(&other.digest, "x/more", "lib/more"),
        ],
    };
    let blobs = place.builds.usage().unwrap().blobs;
    let derived = place.builds.derive(&spec).unwrap();
    assert_eq!(derived.digest, wanted.digest);
    assert_eq!(place.builds.derive(&spec).unwrap(), derived);
    assert_eq!(place.builds.usage().unwrap().blobs, blobs, "nothing is written");
    assert_eq!(std::fs::read(derived.path.join("jars/c-2.jar")).unwrap(), b"new");
    assert!(!derived.path.join("jars/c-1.jar").exists());
    assert_eq!(mode_and_time(&derived.path.join("run")).0, 0o555);
    assert_clean(&place.builds);
    // The way there does not matter: from the derived one back to the base.
    let back = Derive {
        base: derived.digest.clone(),
        drop: vec!["jars/c-2.jar".into(), "lib".into()],
        take: vec![take(&base.digest, "jars/c-1.jar", "jars/c-1.jar")],
    };
    assert_eq!(place.builds.derive(&back).unwrap().digest, base.digest);
}

#[test]
fn what_does_not_fit_is_said() {
    let place = place();
    let base = place.add("b.tar", &tar_of(&[file("b/a/f", "1"), file("b/g", "2")])).unwrap().digest;
    let linked =
        place.add("l.tar", &tar_of(&[file("l/f", "1"), folder("l/d/"), link("l/d/up", "../f")])).unwrap();
    let spec = |drop: &[&str], takes: &[Take]| Derive {
        base: base.clone(),
        drop: drop.iter().map(|s| (*s).to_owned()).collect(),
        take: takes.to_vec(),
    };
    let missing = DeriveFault::TakeMissing { from: base.clone(), path: "no".into() };
    for (spec, expected) in [
        (spec(&["no"], &[]), Some(DeriveFault::DropMissing("no".into()))),
        (spec(&["a", "a/f", "a/no"], &[]), Some(DeriveFault::DropMissing("a/no".into()))),
        (spec(&[], &[take(&base, "no", "x")]), Some(missing)),
        (spec(&[], &[take(&base, "g", "a/f")]), Some(DeriveFault::Collision("a/f".into()))),
        (
            spec(&[], &[take(&base, "g", "x"), take(&base, "g", "x")]),
            Some(DeriveFault::Collision("x".into())),
        ),
        (spec(&[], &[take(&base, "g", "a")]), Some(DeriveFault::Collision("a".into()))),
        (spec(&[], &[take(&base, "g", "g/x")]), None),
        (spec(&[], &[take(&base, "g", "../x")]), None),
        (spec(&[], &[take(&base, "g", "/x")]), None),
        (spec(&["a", "g"], &[]), None),
        // The link was inside where it came from.
        (spec(&[], &[take(&linked.digest, "d/up", "up")]), None),
    ] {
        match (place.builds.derive(&spec), expected) {
            (Err(BuildError::Derive { fault, .. }), Some(expected)) => assert_eq!(fault, expected),
            (Err(BuildError::Derive { .. }), None) => {}
            (other, _) => panic!("{spec:?}: {other:?}"),
        }
    }
    let unknown = Derive { base: Digest::of(b"none"), drop: vec![], take: vec![] };
    assert!(matches!(place.builds.derive(&unknown), Err(BuildError::Unknown(_))));
    assert_eq!(place.builds.usage().unwrap().trees, 0);
}

#[test]
fn records_are_kept_by_digest_and_a_newer_one_is_refused() {
    let place = place();
    let ingested = place.add("a.tar", &tar_of(&distribution())).unwrap();
    assert_eq!(place.builds.record(&ingested.digest).unwrap(), None);
    place.record(&ingested);
    let record = place.builds.record(&ingested.digest).unwrap().unwrap();
    assert_eq!((&record.digest, record.files), (&ingested.digest, 6));
    assert_eq!(place.builds.records().unwrap(), vec![record]);
    let path = place.temp.path().join(format!("builds/records/{}.json", ingested.digest.hex()));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(matches!(place.builds.record(&ingested.digest), Err(BuildError::Newer { found: 2, .. })));
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(place.builds.record(&ingested.digest), Err(BuildError::Damaged { .. })));
    place.builds.remove_record(&ingested.digest).unwrap();
    assert_eq!(place.builds.records().unwrap(), vec![]);
}

/// Replaces a file whatever its mode.
fn spoil(path: &Path, text: &str) {
    let folder = path.parent().unwrap();
    let mode = std::fs::metadata(folder).unwrap().permissions();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
    std::fs::set_permissions(folder, mode).unwrap();
}

#[test]
fn damage_is_found_where_it_is() {
    let damage = |spoil: &dyn Fn(&Path, &Digest)| {
        let place = place();
        let ingested = place.add("a.tar", &tar_of(&distribution())).unwrap();
        place.record(&ingested);
        place.builds.tree(&ingested.digest).unwrap();
        assert_clean(&place.builds);
        spoil(&place.temp.path().join("builds"), &ingested.digest);
        place.builds.verify().unwrap()
    };
    let hex = Digest::of(b"small").hex();
    let blob = format!("blobs/{}/{hex}", &hex[..2]);
    let found = damage(&|root, _| spoil(&root.join(&blob), "smalL"));
    assert_eq!((found.len(), found[0].path.as_str()), (1, blob.as_str()));
    let found = damage(&|root, tree| spoil(&root.join(format!("trees/{}/jars/b-1.0.jar", tree.hex())), "x"));
    assert_eq!(found[0].path, blob, "a tree's file is the blob itself");
    let found = damage(&|root, tree| {
        let jars = root.join(format!("trees/{}/jars", tree.hex()));
        std::fs::set_permissions(&jars, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::remove_file(jars.join("b-1.0.jar")).unwrap();
        std::fs::write(jars.join("extra"), "x").unwrap();
        std::fs::remove_file(jars.join("latest.jar")).unwrap();
        std::os::unix::fs::symlink("b-copy.jar", jars.join("latest.jar")).unwrap();
    });
    let mut details: Vec<&str> = found.iter().map(|d| d.detail.as_str()).collect();
    details.sort_unstable();
    assert_eq!(
        details,
        ["it is missing", "it should not be there", "its mode is 755", "the link points elsewhere"]
    );
    let found = damage(&|root, tree| {
        let hex = tree.hex();
        std::fs::remove_file(root.join(format!("blobs/{}/{hex}", &hex[..2]))).unwrap();
    });
    assert_eq!(found.len(), 2, "the tree's and the record's manifest is gone: {found:?}");
    let found =
        damage(&|root, tree| spoil(&root.join(format!("blobs/{}/{}", &tree.hex()[..2], tree.hex())), "x"));
    assert!(found.iter().any(|d| d.path.starts_with("blobs/")), "{found:?}");
}

#[test]
fn a_removed_tree_comes_back_and_usage_counts_blobs_once() {
    let place = place();
    let first = place.add("a.tar", &tar_of(&distribution())).unwrap();
    let second =
        place.add("b.tar", &tar_of(&[file("d/x", &noise(1, 300_000)), file("d/y", "other")])).unwrap();
    let usage = place.builds.usage().unwrap();
    assert!(usage.bytes < 310_000, "{usage:?}");
    assert_eq!((usage.builds, usage.trees, usage.incoming_bytes), (0, 0, 0));
    let path = place.builds.tree(&first.digest).unwrap();
    place.builds.tree(&second.digest).unwrap();
    assert_eq!(place.builds.usage().unwrap().trees, 2);
    place.builds.remove_tree(&first.digest).unwrap();
    place.builds.remove_tree(&first.digest).unwrap();
    assert!(!path.exists());
    assert_eq!(place.builds.tree(&first.digest).unwrap(), path);
    assert_clean(&place.builds);
}

#[test]
fn a_tree_without_its_blob_is_not_made() {
    let place = place();
    let ingested = place.add("a.tar", &tar_of(&distribution())).unwrap();
    let hex = Digest::of(b"small").hex();
    std::fs::remove_file(place.temp.path().join(format!("builds/blobs/{}/{hex}", &hex[..2]))).unwrap();
    let error = place.builds.tree(&ingested.digest).unwrap_err();
    assert!(matches!(error, BuildError::Damaged { .. }), "{error}");
    assert_eq!(place.builds.usage().unwrap().trees, 0);
    assert!(!place.left().iter().any(|path| path.starts_with("incoming")));
}

#[test]
fn what_was_not_finished_is_gone_at_the_next_start() {
    let place = place();
    let root = place.temp.path().join("builds");
    std::fs::create_dir_all(root.join("incoming/old/deep")).unwrap();
    std::fs::write(root.join("incoming/old/deep/f"), "x").unwrap();
    std::fs::set_permissions(root.join("incoming/old/deep"), std::fs::Permissions::from_mode(0o555)).unwrap();
    Builds::open(&root).unwrap();
    assert_eq!(std::fs::read_dir(root.join("incoming")).unwrap().count(), 0);
}
