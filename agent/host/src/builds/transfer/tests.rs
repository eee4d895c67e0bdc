//! Streams as their two ends see them: whole, cut, damaged, made up.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use proptest::prelude::*;
use stoker_model::ids::Digest;

use super::frame::{Kind, Writer};
use super::*;
use crate::builds::{Limits, Record, Source};

struct Place {
    temp: tempfile::TempDir,
    builds: Builds,
}

fn place() -> Place {
    let temp = tempfile::tempdir().unwrap();
    let builds = Builds::open(&temp.path().join("builds")).unwrap();
    Place { temp, builds }
}

/// Bytes that do not pack.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 24) as u8
        })
        .collect()
}

impl Place {
    /// A build of these files; those whose name ends in `!` can be run.
    fn build(&self, name: &str, files: &[(&str, Vec<u8>)]) -> Digest {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.temp.path().join(name);
        for (path, bytes) in files {
            let path = folder.join(path.trim_end_matches('!'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        for (path, _) in files.iter().filter(|(path, _)| path.ends_with('!')) {
            let path = folder.join(path.trim_end_matches('!'));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink("jars", folder.join("link")).unwrap();
        self.builds.ingest(Source::Folder(&folder), &()).unwrap().digest
    }

    fn export(&self, digest: &Digest, base: Option<&Digest>) -> (Vec<u8>, Exported) {
        let have = Have { base: base.cloned(), ..Have::default() };
        let mut stream = Vec::new();
        let sent = self.builds.export(digest, &have, &mut stream, &()).unwrap();
        assert_eq!(sent.stream_bytes, stream.len() as u64);
        (stream, sent)
    }

    fn import(&self, mut stream: &[u8]) -> Result<Imported, TransferError> {
        self.builds.import(&mut stream, &Keeping::default(), &())
    }

    fn contents(&self) -> usize {
        walk(&self.temp.path().join("builds/blobs"))
    }

    fn assert_clean(&self, why: &str) {
        assert_eq!(self.builds.verify().unwrap(), vec![], "{why}");
    }
}

fn walk(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|e| if e.path().is_dir() { walk(&e.path()) } else { 1 })
        .sum()
}

fn first() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("jars/a_2.12-1.0.jar", noise(1, 600_000)),
        ("jars/b-1.0.jar", noise(2, 400_000)),
        ("jars/c-3.jar", noise(3, 30_000)),
        ("bin/run!", b"#!/bin/sh\nexec true\n".repeat(20)),
        ("empty", vec![]),
        ("text", b"some words ".repeat(2000)),
    ]
}

/// The next version: one jar hardly changed, one new through and through, one the same.
fn second() -> Vec<(&'static str, Vec<u8>)> {
    let mut a = noise(1, 600_000);
    a[300_000] ^= 0xff;
    a.extend_from_slice(b"more");
    vec![
        ("jars/a_2.12-1.1.jar", a),
        ("jars/b-1.1.jar", noise(20, 400_000)),
        ("jars/c-3.jar", noise(3, 30_000)),
        ("bin/run!", b"#!/bin/sh\nexec false\n".repeat(20)),
        ("empty", vec![]),
        ("text", b"some words ".repeat(2000)),
    ]
}

#[test]
fn a_build_arrives_whole_and_a_second_time_changes_nothing() {
    let (from, to) = (place(), place());
    let digest = from.build("one", &first());
    let record = Record {
        digest: digest.clone(),
        source: "a test".into(),
        archive: None,
        facts: serde_json::json!({"product": "x"}),
        files: 6,
        bytes: 1,
        added: "2026-01-01T00:00:00Z".into(),
    };
    from.builds.put_record(&record).unwrap();
    let (stream, sent) = from.export(&digest, None);
    assert_eq!((sent.contents, sent.patches), (6, 0));
    let got = to.import(&stream).unwrap();
    assert_eq!((&got.digest, got.files, got.passed, got.base.as_ref()), (&digest, 6, 0, None));
    assert_eq!(got.origin.as_ref().unwrap().facts, record.facts);
    assert!(got.new_bytes > 1_030_000, "{got:?}");
    assert_eq!(to.builds.manifest(&digest).unwrap(), from.builds.manifest(&digest).unwrap());
    let tree = to.builds.tree(&digest).unwrap();
    assert_eq!(std::fs::read(tree.join("jars/c-3.jar")).unwrap(), noise(3, 30_000));
    // The receiver reads facts itself: no record comes with it.
    assert_eq!(to.builds.record(&digest).unwrap(), None);
    let there = to.contents();
    let again = to.import(&stream).unwrap();
    assert_eq!((again.new_bytes, again.passed, to.contents()), (0, 6, there));
    to.assert_clean("imported twice");
}

#[test]
fn a_second_version_is_patches_and_what_is_not_worth_one() {
    let (from, to) = (place(), place());
    let (one, two) = (from.build("one", &first()), from.build("two", &second()));
    let (stream, sent) = from.export(&two, Some(&one));
    assert_eq!((sent.contents, sent.patches), (3, 2), "{sent:?}");
    assert!(stream.len() < 405_000, "{}", stream.len());
    match to.import(&stream) {
        Err(TransferError::NoBase { build, base }) => assert_eq!((build, base), (two.clone(), one.clone())),
        other => panic!("{other:?}"),
    }
    assert_eq!(to.contents(), 0);
    to.import(&from.export(&one, None).0).unwrap();
    let got = to.import(&stream).unwrap();
    assert_eq!((got.digest, got.base, got.passed), (two.clone(), Some(one.clone()), 0));
    to.assert_clean("patched");
    // Of a build that is here, not even the base is needed.
    let other = place();
    other.import(&from.export(&two, None).0).unwrap();
    assert_eq!(other.import(&stream).unwrap().new_bytes, 0);
    // Against itself nothing is sent but the names.
    let (stream, sent) = from.export(&two, Some(&two));
    assert_eq!((sent.base, sent.contents), (None, 6));
    assert!(to.import(&stream).is_ok());
}

#[test]
fn a_base_whose_content_is_gone_is_named() {
    let (from, to) = (place(), place());
    let (one, two) = (from.build("one", &first()), from.build("two", &second()));
    to.import(&from.export(&one, None).0).unwrap();
    let blob = Digest::of(&noise(1, 600_000)).hex();
    let path = to.temp.path().join("builds/blobs").join(&blob[..2]).join(&blob);
    let (stream, _) = from.export(&two, Some(&one));
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(to.import(&stream), Err(TransferError::NoBase { base, .. }) if base == one));
    // A damaged one is said to be that, not the stream.
    std::fs::write(&path, noise(9, whole.len())).unwrap();
    assert!(matches!(to.import(&stream), Err(TransferError::Build(BuildError::Damaged { .. }))));
    assert!(matches!(to.builds.manifest(&two), Err(BuildError::Unknown(_))));
}

#[test]
fn only_what_a_peer_lacks_is_sent() {
    let (from, to) = (place(), place());
    let one = from.build("one", &first());
    to.build("part", &first()[..3]);
    let manifest = from.builds.manifest(&one).unwrap();
    let missing = to.builds.missing(&manifest).unwrap();
    assert_eq!(missing.len(), 3);
    let contents = plan::contents(&manifest)
        .map(|(blob, exec)| (blob.clone(), exec))
        .filter(|content| !missing.contains(content))
        .collect();
    let have = Have { base: None, contents };
    let mut stream = Vec::new();
    let sent = from.builds.export(&one, &have, &mut stream, &()).unwrap();
    assert_eq!(sent.contents, 3);
    assert_eq!(to.import(&stream).unwrap().passed, 0);
    to.assert_clean("the rest");
    match place().import(&stream) {
        Err(TransferError::Missing { missing, .. }) => assert_eq!(missing, 3),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_cut_is_one_and_leaves_nothing_of_the_build() {
    let from = place();
    let digest = from.build("one", &first());
    let (stream, _) = from.export(&digest, None);
    let to = place();
    let mut cuts: Vec<usize> = (0..200).collect();
    cuts.extend((0..100).map(|part| stream.len() * part / 100));
    cuts.extend(stream.len() - 60..stream.len());
    for cut in cuts {
        match to.import(&stream[..cut]) {
            Err(TransferError::Cut { at }) => assert_eq!(at, cut as u64),
            Err(TransferError::Foreign) if cut < 12 => {}
            other => panic!("cut at {cut}: {other:?}"),
        }
        assert!(matches!(to.builds.manifest(&digest), Err(BuildError::Unknown(_))), "cut at {cut}");
    }
    to.assert_clean("cut");
    // What was verified before a cut is not received twice.
    let got = to.import(&stream).unwrap();
    assert_eq!((got.contents, got.passed), (6, 6));
    to.assert_clean("went on");
}

#[test]
fn what_is_verified_is_kept_as_it_comes() {
    let from = place();
    let digest = from.build("one", &first());
    let (stream, _) = from.export(&digest, None);
    let to = place();
    let keeping = Keeping { every_bytes: 1 };
    let mut failing = Failing { from: &stream, left: stream.len() - 40 };
    let said = to.builds.import(&mut failing, &keeping, &()).unwrap_err();
    assert!(matches!(said, TransferError::Read(_)), "{said}");
    assert_eq!(to.contents(), 6);
    assert_eq!(to.import(&stream).unwrap().passed, 6);
}

/// A source that breaks.
struct Failing<'a> {
    from: &'a [u8],
    left: usize,
}

impl Read for Failing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = out.len().min(self.left);
        let n = self.from.read(&mut out[..most])?;
        self.left -= n;
        Ok(n)
    }
}

#[test]
fn any_flipped_bit_is_found() {
    let from = place();
    let digest = from.build("one", &[("a", noise(1, 400)), ("b", b"text ".repeat(90)), ("c!", noise(3, 50))]);
    let (stream, _) = from.export(&digest, None);
    for at in (0..stream.len()).step_by(3) {
        let to = place();
        let mut bad = stream.clone();
        bad[at] ^= 1 << (at % 8);
        let said = to.import(&bad);
        assert!(said.is_err(), "flipped at {at}");
        assert!(to.builds.manifest(&digest).is_err() || at + 41 >= stream.len(), "flipped at {at}: visible");
        to.assert_clean("flipped");
    }
}

#[test]
fn a_later_version_and_other_files_are_told() {
    let from = place();
    let (stream, _) = from.export(&from.build("one", &first()), None);
    let to = place();
    let mut newer = stream.clone();
    newer[12] = 2;
    assert!(matches!(to.import(&newer), Err(TransferError::Newer { found: 2, known: 1 })));
    for other in [&b""[..], b"PK\x03\x04", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert!(matches!(to.import(other), Err(TransferError::Foreign)), "{other:?}");
    }
    let mut longer = stream;
    longer.push(0);
    assert!(matches!(to.import(&longer), Err(TransferError::Corrupt { .. })));
    assert!(to.builds.record(&Digest::of(b"")).unwrap().is_none());
}

/// A made-up stream whose end mark is right.
fn forge(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut out = Writer::open(&mut stream).unwrap();
    for (kind, payload) in frames {
        out.frame(*kind, payload.len() as u64).unwrap();
        out.write(payload).unwrap();
    }
    out.end().unwrap();
    stream
}

fn forged_head(text: &[u8], said: u64) -> Vec<(Kind, Vec<u8>)> {
    let head = Head { build: Digest::of(text), base: None, manifest_bytes: said, origin: None };
    let mut manifest = vec![export::PACKED];
    manifest.extend(patch::pack(&[], &mut &text[..], text.len() as u64, u64::MAX).unwrap().unwrap());
    vec![(Kind::Head, serde_json::to_vec(&head).unwrap()), (Kind::Manifest, manifest)]
}

fn forged_content(bytes: &[u8], said: &Digest, size: u64, form: u8) -> (Kind, Vec<u8>) {
    let mut payload = said.bytes().to_vec();
    payload.extend([0, form]);
    payload.extend(size.to_le_bytes());
    payload.extend(bytes);
    (Kind::Content, payload)
}

fn refused(frames: &[(Kind, Vec<u8>)], says: &str) {
    let to = place();
    let said = to.import(&forge(frames)).unwrap_err().to_string();
    assert!(said.contains(says), "{said:?} does not say {says:?}");
    assert_eq!(to.contents(), 0, "{says}");
    assert_eq!(std::fs::read_dir(to.temp.path().join("builds/incoming")).unwrap().count(), 0, "{says}");
}

#[test]
fn made_up_streams_are_refused_each_for_its_reason() {
    let (a, b) = (Digest::of(b"aaaa"), Digest::of(b"bbbb"));
    let text = format!("stoker tree 1\nf\ta\t{}\nf\tb\t{}\n", a.hex(), b.hex()).into_bytes();
    let head = |text: &[u8]| forged_head(text, text.len() as u64);
    let with = |more: Vec<(Kind, Vec<u8>)>| [head(&text), more].concat();
    let content_a = forged_content(b"aaaa", &a, 4, export::RAW);
    let content_b = forged_content(b"bbbb", &b, 4, export::RAW);
    assert!(place().import(&forge(&with(vec![content_a.clone(), content_b.clone()]))).is_ok());

    refused(&with(vec![content_b.clone(), content_a.clone()]), "comes twice or too late");
    refused(&with(vec![content_a.clone(), content_a.clone()]), "comes twice or too late");
    refused(&with(vec![forged_content(b"cccc", &Digest::of(b"cccc"), 4, 0)]), "is not of this build");
    refused(&with(vec![forged_content(b"aaab", &a, 4, 0)]), &format!("content {a} is b3:"));
    refused(&with(vec![forged_content(b"aaaa", &a, 5, 0)]), "has another length");
    refused(&with(vec![forged_content(b"aaaa", &a, 4, 9)]), "unknown form");
    refused(&with(vec![forged_content(b"aaaa", &a, 4, export::PATCH)]), "a frame is too short");
    refused(&with(vec![forged_content(b"aaaa", &a, u64::MAX, 0)]), "exceeds the limit");
    refused(&with(head(&text)), "comes twice");
    refused(&with(vec![content_a.clone()]), "1 of its contents");
    refused(&head(&text)[1..], "does not begin with its head");
    refused(&head(&text)[..1], "its manifest is missing");
    refused(&[], "does not begin with its head");
    refused(&[(Kind::Head, b"{}".to_vec())], "its head");
    refused(&[(Kind::Head, vec![b' '; 300_000])], "exceeds the limit");
    refused(&forged_head(&text, 10), "longer than is said");
    refused(&forged_head(&text, u64::MAX), "exceeds the limit");
    refused(&head(b"stoker tree 1\nl\ta\t../out\nf\tb\t00\n"), "its manifest");
    let out = format!("stoker tree 1\nf\ta\t{}\nl\tb\tx/../../y\n", a.hex());
    refused(&head(out.as_bytes()), "leaves the tree");
    refused(&head(b"stoker tree 1\nd\ta\n"), "no files");
    let mut other = head(&text);
    other[1] = head(out.as_bytes()).remove(1);
    refused(&other, "is not that of build");
}

/// Bytes that unpack to far more than they are.
#[test]
fn bombs_stop_where_they_were_to_end() {
    let zeros = vec![0; 50 << 20];
    let packed = patch::pack(&[], &mut &zeros[..], zeros.len() as u64, u64::MAX).unwrap().unwrap();
    let small = Digest::of(&[0; 10]);
    let text = format!("stoker tree 1\nf\ta\t{}\n", small.hex()).into_bytes();
    let mut frames = forged_head(&text, text.len() as u64);
    frames.push(forged_content(&packed, &small, 10, export::PACKED));
    refused(&frames, "it is too long");
    // A manifest of more lines than are allowed.
    let mut many = b"stoker tree 1\n".to_vec();
    for n in 0..1000 {
        many.extend(format!("d\t{n:04}\n").bytes());
    }
    let to = place();
    let builds = Builds::open(&to.temp.path().join("other"))
        .unwrap()
        .with_limits(Limits { entries: 100, ..Limits::default() });
    let stream = forge(&forged_head(&many, many.len() as u64));
    let said = builds.import(&mut &stream[..], &Keeping::default(), &()).unwrap_err();
    assert!(matches!(said, TransferError::Limit { unit: "members", .. }), "{said}");
}

#[test]
fn cancelling_ends_both_ends() {
    struct Stops(Cell<u32>);
    impl Progress for Stops {
        fn step(&self, _: u64, _: Option<u64>) {}
        fn cancelled(&self) -> bool {
            self.0.set(self.0.get() + 1);
            self.0.get() > 2
        }
    }
    let (from, to) = (place(), place());
    let digest = from.build("one", &first());
    let (stream, _) = from.export(&digest, None);
    let stops = || Stops(Cell::new(0));
    let sent = from.builds.export(&digest, &Have::default(), &mut Vec::new(), &stops());
    assert!(matches!(sent, Err(TransferError::Cancelled)));
    let got = to.builds.import(&mut &stream[..], &Keeping::default(), &stops());
    assert!(matches!(got, Err(TransferError::Cancelled)));
    assert_eq!(to.contents(), 0);
}

#[test]
fn a_damaged_build_is_not_sent_to_its_end() {
    let from = place();
    let digest = from.build("one", &first());
    let blob = Digest::of(&noise(2, 400_000)).hex();
    let path = from.temp.path().join("builds/blobs").join(&blob[..2]).join(&blob);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, noise(7, 400_000)).unwrap();
    let mut stream = Vec::new();
    let said = from.builds.export(&digest, &Have::default(), &mut stream, &()).unwrap_err();
    assert!(said.to_string().contains(&blob), "{said}");
    assert!(place().import(&stream).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Frames of any kind, length and content never panic, never hang, and never make a build visible.
    #[test]
    fn no_stream_does_harm(
        frames in proptest::collection::vec(
            (prop_oneof![Just(Kind::Head), Just(Kind::Manifest), Just(Kind::Content), Just(Kind::End)],
             proptest::collection::vec(any::<u8>(), 0..120)),
            0..6,
        ),
        begun in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let a = Digest::of(b"aaaa");
        let text = format!("stoker tree 1\nf\ta\t{}\n", a.hex()).into_bytes();
        let mut all = if begun { forged_head(&text, text.len() as u64) } else { Vec::new() };
        all.extend(frames);
        let mut stream = forge(&all);
        for (at, with) in &flips {
            let at = at.index(stream.len());
            stream[at] ^= with;
        }
        stream.truncate(cut.index(stream.len() + 1));
        let to = place();
        prop_assert!(to.import(&stream).is_err());
        prop_assert!(to.builds.manifest(&Digest::of(&text)).is_err());
        prop_assert_eq!(to.builds.verify().unwrap(), vec![]);
    }

    /// Whatever two versions are like, the second arrives.
    #[test]
    fn any_second_version_arrives(
        old in proptest::collection::btree_map("[a-c]{1,2}(-[0-9]\\.[0-9])?", (any::<u64>(), 0usize..3000), 1..6),
        new in proptest::collection::btree_map("[a-c]{1,2}(-[0-9]\\.[0-9])?", (any::<u64>(), 0usize..3000), 1..6),
        same in any::<u64>(),
    ) {
        let (from, to) = (place(), place());
        let files = |of: &std::collections::BTreeMap<String, (u64, usize)>| -> Vec<(String, Vec<u8>)> {
            of.iter()
                .map(|(name, (seed, len))| {
                    let seed = if seed % 3 == 0 { same } else { *seed };
                    (name.clone(), noise(seed, *len))
                })
                .collect()
        };
        let (old, new) = (files(&old), files(&new));
        let borrow = |of: &[(String, Vec<u8>)]| -> Vec<(&'static str, Vec<u8>)> {
            of.iter().map(|(n, b)| (&*Box::leak(n.clone().into_boxed_str()), b.clone())).collect()
        };
        let one = from.build("one", &borrow(&old));
        let two = from.build("two", &borrow(&new));
        to.import(&from.export(&one, None).0).unwrap();
        let got = to.import(&from.export(&two, Some(&one)).0).unwrap();
        prop_assert_eq!(got.digest, two);
        prop_assert_eq!(to.builds.verify().unwrap(), vec![]);
    }
}
