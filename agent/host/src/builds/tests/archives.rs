//! Every kind of source becomes the same tree.

use super::*;

#[test]
fn every_form_of_one_distribution_is_one_tree() {
    let place = place();
    let members = distribution();
    let tar = tar_of(&members);
    let first = place.add("a.tar", &tar).unwrap();
    assert_eq!((first.files, first.known), (6, false));
    assert_eq!(first.bytes, 300_000 + 5 * 3 + 10);
    assert_eq!(place.add("a.tar.gz", &gz(&tar)).unwrap().digest, first.digest);
    let zst = zstd::stream::encode_all(&*tar, 3).unwrap();
    assert_eq!(place.add("a.tar.zst", &zst).unwrap().digest, first.digest);
    // A zip has no hard links: a second copy is the same tree.
    let copied: Vec<Member> = members
        .iter()
        .map(|m| if m.kind == b'1' { file("dist-1.0/lib", "small") } else { m.clone() })
        .collect();
    let zip = place.add("a.zip", &zip_of(&copied)).unwrap();
    assert_eq!((zip.digest.clone(), zip.new_bytes, zip.known), (first.digest.clone(), 0, true));
    // The tree taken in as a folder is itself.
    let tree = place.builds.tree(&first.digest).unwrap();
    let again = place.builds.ingest(Source::Folder(&tree), &()).unwrap();
    assert_eq!((again.digest, again.new_bytes, again.archive_sha256), (first.digest, 0, None));
    assert_clean(&place.builds);
}

#[test]
fn a_tree_is_read_only_linked_and_of_one_time() {
    let place = place();
    let ingested = place.add("a.tar", &tar_of(&distribution())).unwrap();
    let tree = place.builds.tree(&ingested.digest).unwrap();
    assert_eq!(tree.file_name().unwrap().to_str().unwrap(), ingested.digest.hex());
    for (path, mode) in [
        ("", 0o555),
        ("jars", 0o555),
        ("logs", 0o555),
        ("jars/a-1.0.jar", 0o444),
        // setuid and setgid are gone.
        ("bin/run", 0o555),
        ("empty", 0o444),
    ] {
        assert_eq!(mode_and_time(&tree.join(path)), (mode, 946_684_800), "{path}");
    }
    assert_eq!(std::fs::read_to_string(tree.join("jars/a-1.0.jar")).unwrap(), noise(1, 300_000));
    assert_eq!(std::fs::read_link(tree.join("jars/latest.jar")).unwrap(), Path::new("a-1.0.jar"));
    let ino = |path: &str| std::fs::metadata(tree.join(path)).unwrap().ino();
    assert_eq!(ino("jars/b-1.0.jar"), ino("jars/b-copy.jar"));
    assert_eq!(ino("jars/b-1.0.jar"), ino("lib"));
    assert_eq!(place.builds.tree(&ingested.digest).unwrap(), tree, "a second time is the same");
}

#[test]
fn order_and_times_of_members_do_not_matter() {
    let place = place();
    let members = [file("top/b", "2"), file("top/a", "1"), folder("top/c/")];
    let mut reversed = members.to_vec();
    reversed.reverse();
    let first = place.add("a.tar", &tar_of(&members)).unwrap();
    assert_eq!(place.add("b.tar", &tar_of(&reversed)).unwrap().digest, first.digest);
    let without = place.add("c.tar", &tar_of(&members[..2])).unwrap();
    assert_ne!(without.digest, first.digest, "an empty folder counts");
}

#[test]
fn a_gzip_file_of_several_members_is_one_stream() {
    let place = place();
    let tar = tar_of(&distribution());
    let whole = place.add("a.tar", &tar).unwrap();
    let (left, right) = tar.split_at(1000);
    let parts = [gz(left), gz(right)].concat();
    assert_eq!(place.add("b.tar.gz", &parts).unwrap().digest, whole.digest);
}

#[test]
fn long_names_are_read_in_both_forms() {
    let long = format!("top/{}/{}", "d".repeat(200), "f".repeat(100));
    let gnu = [
        block(&Member { kind: b'L', data: format!("{long}\0").into(), ..file("././@LongLink", "") }),
        block(&file(&long[..100], "x")),
        block(&file("top/y", "y")),
        vec![0; 1024],
    ]
    .concat();
    let pax = |key: &str, value: &str| {
        let bare = format!(" {key}={value}\n");
        let mut len = bare.len() + 1;
        while format!("{len}{bare}").len() != len {
            len += 1;
        }
        format!("{len}{bare}")
    };
    let posix = [
        block(&Member { kind: b'g', data: pax("comment", "0123").into(), ..file("pax_global_header", "") }),
        block(&Member {
            kind: b'x',
            data: (pax("mtime", "1.5") + &pax("path", &long)).into(),
            ..file("x", "")
        }),
        block(&file("short", "x")),
        block(&file("top/y", "y")),
        vec![0; 1024],
    ]
    .concat();
    let place = place();
    let first = place.add("gnu.tar", &gnu).unwrap();
    assert!(place.builds.manifest(&first.digest).unwrap().get(&long[4..]).is_some());
    assert_eq!(place.add("posix.tar", &posix).unwrap().digest, first.digest);
}

#[test]
fn a_source_distribution_is_laid_out() {
    let place = place();
    let members = [
        program("pkg-1.0/deps/bin/run", "r"),
        file("pkg-1.0/deps/jars/a.jar", "a"),
        file("pkg-1.0/lib/p.zip", "z"),
        file("pkg-1.0/pkg/__init__.py", ""),
        file("pkg-1.0/pkg.egg-info/x", "e"),
        file("pkg-1.0/setup.py", "s"),
    ];
    let path = place.write("pkg-1.0.tar.gz", &gz(&tar_of(&members)));
    let own = |text: &str| text.to_owned();
    let other = Layout { when: vec![own("elsewhere")], drop: vec![own("deps")], ..Layout::default() };
    let fitting = Layout {
        when: vec![own("deps/jars"), own("deps/bin")],
        moves: vec![
            (own("deps/"), own("")),
            (own("lib/"), own("python/lib/")),
            (own("pkg/"), own("python/pkg/")),
        ],
        drop: vec![own("pkg.egg-info"), own("setup.py")],
    };
    let layouts = [other, fitting];
    let ingested = place.builds.ingest_with_layouts(Source::File(&path), &layouts, &()).unwrap();
    let manifest = place.builds.manifest(&ingested.digest).unwrap();
    let files: Vec<&str> = manifest.files().map(|(path, ..)| path).collect();
    assert_eq!(files, ["bin/run", "jars/a.jar", "python/lib/p.zip", "python/pkg/__init__.py"]);
    assert_eq!(ingested.files, 4);
    // The same archive without a layout is another build, also when its digest is known.
    assert_ne!(place.builds.ingest(Source::File(&path), &()).unwrap().digest, ingested.digest);
    let again = place.builds.ingest_with_layouts(Source::File(&path), &layouts, &()).unwrap();
    assert_eq!((again.digest, again.known, again.files), (ingested.digest, true, 4));
}

#[test]
fn a_known_archive_is_recognised_and_mended_when_a_blob_is_gone() {
    let place = place();
    let bytes = gz(&tar_of(&distribution()));
    let first = place.add("a.tgz", &bytes).unwrap();
    let again = place.add("b.tgz", &bytes).unwrap();
    assert_eq!((&again.digest, again.known, again.new_bytes), (&first.digest, true, 0));
    assert_eq!(again.archive_sha256, first.archive_sha256);
    assert_eq!(
        place.builds.known_archive(first.archive_sha256.as_deref().unwrap()).unwrap(),
        None,
        "no record yet"
    );
    place.record(&first);
    let found = place.builds.known_archive(first.archive_sha256.as_deref().unwrap()).unwrap();
    assert_eq!(found, Some(first.digest.clone()));
    let blob = Digest::of(b"small").hex();
    std::fs::remove_file(place.temp.path().join("builds/blobs").join(&blob[..2]).join(&blob)).unwrap();
    assert_eq!(place.builds.verify().unwrap().len(), 1, "three paths of the build have it, it is said once");
    let third = place.add("c.tgz", &bytes).unwrap();
    assert_eq!((third.digest, third.known, third.new_bytes), (first.digest, false, 5));
    assert_clean(&place.builds);
}

#[test]
fn an_archive_taken_in_at_once_by_several_is_written_once() {
    let place = place();
    let path = place.write("a.tgz", &gz(&tar_of(&distribution())));
    let done: Vec<Ingested> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..6).map(|_| scope.spawn(|| place.builds.ingest(Source::File(&path), &()).unwrap())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|ingested| !ingested.known).count(), 1);
    assert!(done.iter().all(|ingested| ingested.digest == done[0].digest));
    let tree = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..6).map(|_| scope.spawn(|| place.builds.tree(&done[0].digest).unwrap())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<HashSet<_>>()
    });
    assert_eq!(tree.len(), 1);
    assert!(!place.left().iter().any(|path| path.starts_with("incoming")));
    assert_clean(&place.builds);
}

#[test]
fn another_archive_with_the_same_content_at_the_same_time_is_no_conflict() {
    let place = place();
    let tar = tar_of(&distribution());
    let paths = [place.write("a.tar", &tar), place.write("a.tgz", &gz(&tar))];
    let digests: HashSet<Digest> = std::thread::scope(|scope| {
        let workers: Vec<_> = paths
            .iter()
            .cycle()
            .take(8)
            .map(|path| scope.spawn(|| place.builds.ingest(Source::File(path), &()).unwrap().digest))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(digests.len(), 1);
    assert_clean(&place.builds);
}

#[test]
fn a_next_version_writes_what_is_new_and_a_wrong_guess_is_noticed() {
    let place = place();
    let large = |seed| noise(seed, 400_000);
    let old = [file("d-1/same.jar", &large(1)), file("d-1/changed.jar", &large(2)), file("d-1/v", "1")];
    let new = [file("d-2/same.jar", &large(1)), file("d-2/changed.jar", &large(3)), file("d-2/v", "2")];
    for (name, pack) in [("tgz", gz as fn(&[u8]) -> Vec<u8>), ("tar", <[u8]>::to_vec)] {
        let place = super::place();
        let first = place.add(&format!("1.{name}"), &pack(&tar_of(&old))).unwrap();
        place.record(&first);
        let second = place.add(&format!("2.{name}"), &pack(&tar_of(&new))).unwrap();
        let manifest = place.builds.manifest(&second.digest).unwrap();
        let text = manifest.text().len() as u64;
        assert_eq!(second.new_bytes, 400_000 + 1 + text, "{name}");
        assert_clean(&place.builds);
        let tree = place.builds.tree(&second.digest).unwrap();
        assert_eq!(std::fs::read_to_string(tree.join("changed.jar")).unwrap(), large(3));
    }
    let first = place.add("1.zip", &zip_of(&old)).unwrap();
    place.record(&first);
    let second = place.add("2.zip", &zip_of(&new)).unwrap();
    place.builds.tree(&second.digest).unwrap();
    assert_clean(&place.builds);
}

#[test]
fn a_wrong_guess_about_a_folder_is_noticed() {
    let place = place();
    let folder = place.temp.path().join("src");
    std::fs::create_dir(&folder).unwrap();
    for seed in [1, 2] {
        std::fs::write(folder.join("large"), noise(seed, 300_000)).unwrap();
        let ingested = place.builds.ingest(Source::Folder(&folder), &()).unwrap();
        place.record(&ingested);
        let tree = place.builds.tree(&ingested.digest).unwrap();
        assert_eq!(std::fs::read_to_string(tree.join("large")).unwrap(), noise(seed, 300_000));
    }
    assert_clean(&place.builds);
}

#[test]
fn a_folder_is_taken_in_as_it_is() {
    let place = place();
    let folder = place.temp.path().join("src");
    std::fs::create_dir_all(folder.join("only/deep")).unwrap();
    std::fs::write(folder.join("only/deep/f"), "x").unwrap();
    std::fs::write(folder.join("only/deep/F"), "X").unwrap();
    std::os::unix::fs::symlink("deep/f", folder.join("only/l")).unwrap();
    let ingested = place.builds.ingest(Source::Folder(&folder), &()).unwrap();
    let manifest = place.builds.manifest(&ingested.digest).unwrap();
    let paths: Vec<&str> = manifest.iter().map(|(path, _)| path).collect();
    // No top folder is taken off, and this disk tells f from F.
    assert_eq!(paths, ["only", "only/deep", "only/deep/F", "only/deep/f", "only/l"]);
}

#[test]
fn progress_is_told_and_a_cancel_is_heard() {
    struct Heard {
        last: Cell<(u64, Option<u64>)>,
        stop_after: u64,
    }
    impl Progress for Heard {
        fn step(&self, done: u64, total: Option<u64>) {
            assert!(done >= self.last.get().0);
            self.last.set((done, total));
        }
        fn cancelled(&self) -> bool {
            self.last.get().0 >= self.stop_after
        }
    }
    let place = place();
    let members: Vec<Member> = (0..20).map(|n| file(&format!("d/{n}"), &noise(n + 1, 500_000))).collect();
    let path = place.write("a.tar", &tar_of(&members));
    let size = std::fs::metadata(&path).unwrap().len();
    let stopping = Heard { last: Cell::new((0, None)), stop_after: 3_000_000 };
    let error = place.builds.ingest(Source::File(&path), &stopping).unwrap_err();
    assert!(matches!(error, BuildError::Cancelled { .. }), "{error}");
    place.assert_nothing_left("cancelled");
    let all = Heard { last: Cell::new((0, None)), stop_after: u64::MAX };
    place.builds.ingest(Source::File(&path), &all).unwrap();
    assert_eq!(all.last.get(), (size, Some(size)));
}
