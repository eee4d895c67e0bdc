//! What is refused, and that nothing of it stays.

use super::*;

fn refused(what: &str, bytes: &[u8]) -> BuildError {
    let place = place();
    let Err(error) = place.add("bad", bytes) else { panic!("{what} was taken in") };
    place.assert_nothing_left(what);
    let text = error.to_string();
    assert!(text.starts_with("cannot add `"), "{what}: {text}");
    assert!(!text.chars().any(char::is_control), "{what}: {text:?}");
    error
}

fn fault(what: &str, bytes: &[u8]) -> (String, Fault) {
    match refused(what, bytes) {
        BuildError::Member { member, fault, .. } => (member, fault),
        other => panic!("{what}: {other}"),
    }
}

fn member(what: &str, bad: Member) -> (String, Fault) {
    fault(what, &gz(&tar_of(&[file("top/good", "x"), bad, file("top/after", "y")])))
}

fn raw(name: &[u8]) -> Member {
    Member { name: name.to_vec(), ..file("", "evil") }
}

#[test]
fn names_that_lead_elsewhere_or_cannot_be_shown() {
    for (name, expected) in [
        (&b"/etc/passwd"[..], Fault::Absolute),
        (b"//x", Fault::Absolute),
        (b"../x", Fault::Parent),
        (b"./../x", Fault::Parent),
        (b"top/../../x", Fault::Parent),
        (b"top//x", Fault::OddPart),
        (b"top/./x", Fault::OddPart),
        (b"top\\x", Fault::Backslash),
        (b"top/a\nb", Fault::Control),
        (b"top/a\x1b[2Jb", Fault::Control),
        (b"top/\xff", Fault::NotUtf8),
        (b"", Fault::NoName),
    ] {
        let (_, found) = member(&format!("{name:?}"), raw(name));
        assert_eq!(found, expected, "{name:?}");
    }
    let (_, found) = member("a NUL", raw(b"top/a\0b"));
    assert!(matches!(found, Fault::Ambiguous(_)), "{found}");
}

#[test]
fn links_that_leave() {
    for target in ["/etc/passwd", "../../x", "..", "../top/../../x", "a\\b"] {
        let (name, found) = member(target, link("top/l", target));
        assert!(matches!(found, Fault::LinkOutside(_)), "{target}: {found}");
        // A target that is wrong by itself is met before the top folder is off.
        assert!(name.ends_with('l'), "{name}");
    }
    // Each link is fine by its text; the chain is not.
    let chain = [
        file("top/f", "x"),
        folder("top/a/"),
        folder("top/a/b/"),
        link("top/a/b/up", "../.."),
        link("top/out", "a/b/up/../x"),
    ];
    let (name, found) = fault("chain", &tar_of(&chain));
    assert_eq!((name.as_str(), found), ("out", Fault::LinkOutside("a/b/up/../x".into())));
    let (_, found) = fault("loop", &tar_of(&[file("t/f", "x"), link("t/a", "b"), link("t/b", "a")]));
    assert!(matches!(found, Fault::LinkLoop(_)), "{found}");
    // The archive's top is taken off: what reached within it now reaches out.
    let (_, found) = fault("top", &tar_of(&[file("t/f", "x"), link("t/a", "../t/f")]));
    assert!(matches!(found, Fault::LinkOutside(_)), "{found}");
    for to in ["/etc/passwd", "../x", "top/later", "top", ""] {
        let (_, found) = fault(to, &tar_of(&[file("top/f", "x"), hard("top/h", to), file("top/later", "x")]));
        assert_eq!(found, Fault::HardLink(to.into()), "{to}");
    }
}

#[test]
fn nothing_is_written_through_a_link() {
    let canary = tempfile::tempdir().unwrap();
    let outside = canary.path().to_str().unwrap();
    for members in [
        vec![link("top/l", outside), file("top/l/evil", "x")],
        vec![folder("top/d/"), link("top/l", "d"), file("top/l/evil", "x")],
        vec![folder("top/d/"), link("top/d", "x"), file("top/d/evil", "x")],
        vec![link("top/l", "x"), hard("top/h", "top/l"), file("top/h/evil", "x")],
        vec![link("top/l", "d"), folder("top/l/")],
    ] {
        refused("through a link", &tar_of(&members));
        assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_not_a_file() {
    for (kind, word) in [(b'3', "device"), (b'4', "device"), (b'6', "pipe")] {
        let (name, found) = member(word, typed(kind, "top/special"));
        assert_eq!((name.as_str(), found), ("top/special", Fault::Special(word)));
    }
    for kind in [b'S', b'7', b'V', b'M', b'D', b'Z', 200] {
        member("an odd kind", typed(kind, "top/odd"));
    }
    let place = place();
    let folder = place.temp.path().join("src");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("f"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("s")).unwrap();
    let error = place.builds.ingest(Source::Folder(&folder), &()).unwrap_err();
    assert!(matches!(error, BuildError::Member { fault: Fault::Special("socket"), .. }), "{error}");
    place.assert_nothing_left("socket");
}

#[test]
fn what_cannot_stand_together() {
    for (what, bad, expected) in [
        ("twice", file("top/good", "z"), Fault::Duplicate),
        ("twice with ./", file("./top/good", "z"), Fault::Duplicate),
        ("link over file", link("top/good", "x"), Fault::Duplicate),
        ("folder over file", folder("top/good/"), Fault::TwoKinds),
        ("below a file", file("top/good/x", "z"), Fault::BelowFile("top/good".into())),
        ("twin", file("top/GOOD", "z"), Fault::CaseTwin("top/GOOD".into())),
        ("twin folder", file("Top/x", "z"), Fault::CaseTwin("Top".into())),
    ] {
        assert_eq!(member(what, bad).1, expected, "{what}");
    }
}

fn pax(kind: u8, records: &str) -> Vec<u8> {
    block(&Member { kind, data: records.into(), ..file("ext", "") })
}

fn long(kind: u8, name: &str) -> Vec<u8> {
    block(&Member { kind, data: format!("{name}\0").into(), ..file("././@LongLink", "") })
}

#[test]
fn headers_that_can_be_read_in_two_ways() {
    let plain = block(&file("top/f", "12345"));
    for (what, start) in [
        ("size by PAX", pax(b'x', "10 size=4\n")),
        ("size by PAX, no number", pax(b'x', "11 size=-5\n")),
        ("global size", pax(b'g', "10 size=4\n")),
        ("global path", pax(b'g', "13 path=x/yz\n")),
        ("stacked", [pax(b'x', "11 mtime=1\n"), pax(b'x', "11 mtime=2\n")].concat()),
        ("repeated record", pax(b'x', "13 path=t/aa\n13 path=t/bb\n")),
        ("GNU and PAX", [long(b'L', "t/a"), pax(b'x', "13 path=t/bb\n")].concat()),
        ("PAX and GNU", [pax(b'x', "13 path=t/bb\n"), long(b'L', "t/a")].concat()),
        ("GNU twice", [long(b'L', "t/a"), long(b'L', "t/b")].concat()),
        ("GNU longer than it says", {
            let mut cut = long(b'L', "t/abc");
            cut[124..136].copy_from_slice(b"00000000004\0");
            seal(&mut cut);
            cut
        }),
        ("NUL in GNU", long(b'L', "t/a\0b")),
        ("NUL in PAX", pax(b'x', "13 path=t/\0a\n")),
        ("empty PAX path", pax(b'x', "8 path=\n")),
        ("wrong length", pax(b'x', "99 path=t/a\n")),
        ("zero length", pax(b'x', "0 path=t/a\n")),
        ("leading zero", pax(b'x', "013 path=t/a\n")),
        ("no newline", pax(b'x', "12 path=t/bb")),
        ("no key", pax(b'x', "4 =x\n")),
        ("huge length", pax(b'x', "99999999999999999999999 path=t\n")),
        ("sparse", pax(b'x', "22 GNU.sparse.major=1\n")),
        ("real size", pax(b'x', "21 SCHILY.realsize=9\n")),
        ("charset", pax(b'x', "21 hdrcharset=BINARY\n")),
    ] {
        let (_, found) = fault(what, &[start, plain.clone(), vec![0; 1024]].concat());
        assert!(matches!(found, Fault::Ambiguous(_)), "{what}: {found}");
    }
    for (what, at, bytes) in [
        ("a prefix the form has not", 345, &b"p"[..]),
        ("an unknown form", 263, b"11"),
        ("an owner that is no number", 108, b"x"),
        ("a time that is no number", 136, b"-"),
    ] {
        let mut odd = block(&file("top/f", "12345"));
        if at == 345 {
            odd[257..265].copy_from_slice(b"ustar  \0");
        }
        odd[at..at + bytes.len()].copy_from_slice(bytes);
        seal(&mut odd);
        let (_, found) = fault(what, &[odd, vec![0; 1024]].concat());
        assert!(matches!(found, Fault::Ambiguous(_)), "{what}: {found}");
    }
    refused(
        "a global header at the end",
        &[plain.clone(), pax(b'g', "13 comment=x\n"), vec![0; 1024]].concat(),
    );
    let mut folder_with_content = block(&Member { kind: b'5', ..file("top/d", "12345") });
    folder_with_content.extend(vec![0; 1024]);
    fault("folder with content", &folder_with_content);
    fault("file named as a folder", &tar_of(&[file("top/f/", "12345")]));
    let mut odd_size = block(&file("top/f", "12345"));
    odd_size[124..136].copy_from_slice(b"0000000 5 \0\0");
    seal(&mut odd_size);
    fault("odd size", &[odd_size, vec![0; 1024]].concat());
}

#[test]
fn huge_headers_and_sizes_cost_nothing() {
    let mut absurd = block(&file("top/f", ""));
    absurd[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    seal(&mut absurd);
    let error = refused("8 EiB", &[absurd.clone(), vec![0; 4096]].concat());
    assert!(matches!(error, BuildError::Limit { unit: "bytes", .. }), "{error}");
    absurd[156] = b'x';
    seal(&mut absurd);
    fault("8 EiB of header", &[absurd, vec![0; 4096]].concat());
    let many: Vec<u8> = (0..2000).flat_map(|_| long(b'K', &"x".repeat(400))).collect();
    fault("headers without end", &many);
}

#[test]
fn limits_hold() {
    let small = Limits { entries: 5, bytes: 1000, path_bytes: 50, name_bytes: 200 };
    for (unit, members) in [
        ("members", (0..6).map(|n| file(&format!("{n}"), "")).collect::<Vec<_>>()),
        ("members", vec![file("a/b/c/d/e/f", "")]),
        ("members", (0..6).map(|_| folder("same/")).collect()),
        ("bytes", vec![file("a", &"x".repeat(600)), file("b", &"x".repeat(600))]),
        ("bytes of names", (0..5).map(|n| file(&format!("{n}{}", "x".repeat(45)), "")).collect()),
    ] {
        for bytes in [
            gz(&tar_of(&members)),
            if unit == "members" && members.len() > 5 && members[0].kind == b'5' {
                continue;
            } else {
                zip_of(&members)
            },
        ] {
            let place = place();
            let builds = Builds::open(&place.temp.path().join("builds")).unwrap().with_limits(small.clone());
            let path = place.write("a", &bytes);
            match builds.ingest(Source::File(&path), &()).unwrap_err() {
                BuildError::Limit { unit: found, .. } => assert_eq!(found, unit),
                other => panic!("{unit}: {other}"),
            }
            place.assert_nothing_left(unit);
        }
    }
    let (_, found) = member("long name", raw("x/".repeat(2500).as_bytes()));
    assert!(matches!(found, Fault::OddPart | Fault::Ambiguous(_) | Fault::LongName), "{found}");
}

#[test]
fn every_cut_is_noticed() {
    let tar = tar_of(&[file("top/a", &noise(1, 3000)), file("top/b", "x"), folder("top/c/")]);
    for (form, bytes, step) in [
        ("tar", tar[..tar.len() - 1024].to_vec(), 97),
        ("gz", gz(&tar), 31),
        ("zst", zstd::stream::encode_all(&*tar, 3).unwrap(), 31),
        ("zip", zip_of(&[file("top/a", &noise(1, 3000)), file("top/b", "x")]), 31),
    ] {
        for end in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            refused(&format!("{form} cut at {end}"), &bytes[..end]);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    let members = [file("top/a", &noise(1, 600)), program("top/b", "x"), link("top/c", "a")];
    let place = place();
    let mut accepted = 0;
    for bytes in [tar_of(&members), gz(&tar_of(&members)), zip_of(&members)] {
        // Headers and the first contents; each bit of a byte in turn.
        for at in (0..bytes.len().min(2000)).step_by(3) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            let before = place.left();
            match place.add("bad", &bad) {
                Ok(_) => accepted += 1,
                Err(_) => assert_eq!(place.left(), before, "byte {at}"),
            }
        }
    }
    // Owners, times and contents of a plain tar may be anything.
    assert!(accepted > 0);
    assert_clean(&place.builds);
}

#[test]
fn nothing_may_follow_or_precede() {
    let tar = tar_of(&[file("top/a", "x")]);
    let members = [file("top/a", "x")];
    for (what, bytes) in [
        ("tar + text", [&tar[..], b"trailing"].concat()),
        ("tar + tar", [&tar[..], &tar[..]].concat()),
        ("gz + text", [&gz(&tar)[..], b"trailing garbage that is long enough"].concat()),
        ("gz + one byte", [&gz(&tar)[..], b"x"].concat()),
        ("gz + zeros", [&gz(&tar)[..], &[0; 64]].concat()),
        ("gz of tar + text", gz(&[&tar[..], b"trailing"].concat())),
        ("zst + text", [&zstd::stream::encode_all(&*tar, 3).unwrap()[..], b"trailing"].concat()),
        ("zip + text", [&zip_of(&members)[..], b"trailing"].concat()),
        ("text + zip", [b"PK\x03\x04leading", &zip_of(&members)[..]].concat()),
        ("zip + zip", [zip_of(&members), zip_of(&members)].concat()),
        ("tar without its end", tar[..1024].to_vec()),
    ] {
        refused(what, &bytes);
    }
    // A record's padding is no garbage.
    place().add("padded", &[&tar[..], &[0; 9000]].concat()).unwrap();
}

#[test]
fn what_is_no_archive() {
    for (what, bytes) in [
        ("empty", vec![]),
        ("text", b"hello".to_vec()),
        ("html", b"<html>".to_vec()),
        ("zeros", vec![0; 4096]),
        ("xz", b"\xfd7zXZ\0 and more".to_vec()),
        ("gz of text", gz(b"hello")),
        ("gz of gz", gz(&gz(&tar_of(&[file("a", "x")])))),
        ("gz of nothing", gz(b"")),
    ] {
        let error = refused(what, &bytes);
        assert!(matches!(error, BuildError::NotArchive { .. }), "{what}: {error}");
        assert!(error.to_string().contains("not an archive: looked for"), "{error}");
    }
    for (what, bytes) in [("no members", tar_of(&[folder("a/")])), ("empty zip", zip_of(&[]))] {
        let error = refused(what, &bytes);
        assert!(matches!(error, BuildError::Empty { .. }), "{what}: {error}");
    }
    let place = place();
    let error = place.builds.ingest(Source::File(place.temp.path()), &()).unwrap_err();
    assert!(matches!(error, BuildError::NotArchive { .. }), "{error}");
    assert!(place.builds.ingest(Source::File(Path::new("/nowhere")), &()).is_err());
}

/// Bytes of a zip with `from` replaced by `to` at each place, or only at the last.
fn patched(zip: &[u8], from: &[u8], to: &[u8], last_only: bool) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = zip.to_vec();
    let places: Vec<usize> = (0..=zip.len() - from.len()).filter(|at| zip[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places.iter().skip(if last_only { places.len() - 1 } else { 0 }) {
        out[*at..at + to.len()].copy_from_slice(to);
    }
    out
}

#[test]
fn zips_that_lie() {
    let good = zip_of(&[file("top/aaa", "12345"), file("top/bbb", "67890")]);
    for (what, bytes) in [
        ("directory names another", patched(&good, b"top/bbb", b"top/ccc", true)),
        ("a name in both is bad", patched(&good, b"top/bbb", b"../../b", false)),
        ("a NUL", patched(&good, b"top/bbb", b"top/b\0b", false)),
        ("twice", patched(&good, b"top/bbb", b"top/aaa", false)),
        ("backslash", patched(&good, b"top/bbb", b"top\\bbb", false)),
        ("no members in the end record", patched(&good, &[2, 0, 2, 0], &[1, 0, 1, 0], true)),
        ("too many members", patched(&good, &[2, 0, 2, 0], &[3, 0, 3, 0], true)),
    ] {
        refused(what, &bytes);
    }
    let mut encrypted = good.clone();
    for (mark, at) in [(&b"PK\x03\x04"[..], 6), (b"PK\x01\x02", 8)] {
        for place in 0..good.len() - 4 {
            if good[place..].starts_with(mark) {
                encrypted[place + at] |= 1;
            }
        }
    }
    assert!(matches!(fault("encrypted", &encrypted).1, Fault::Unsupported(_)));
    let (_, found) = fault("link", &zip_of(&[file("t/a", "x"), link("t/l", "../../etc/passwd")]));
    assert!(matches!(found, Fault::LinkOutside(_)), "{found}");
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let place = place();
    let limits = Limits { bytes: 10 << 20, ..Limits::default() };
    let builds = Builds::open(&place.temp.path().join("builds")).unwrap().with_limits(limits);
    let big = "x".repeat(20 << 20);
    for bytes in [gz(&tar_of(&[file("t/a", &big)])), zip_of(&[file("t/a", &big)])] {
        let path = place.write("bomb", &bytes);
        let error = builds.ingest(Source::File(&path), &()).unwrap_err();
        assert!(matches!(error, BuildError::Limit { unit: "bytes", .. }), "{error}");
        place.assert_nothing_left("bomb");
    }
    // Zeros without end after the end mark.
    let mut tar = tar_of(&[file("t/a", "x")]);
    tar.resize(tar.len() + (40 << 20), 0);
    refused("padding without end", &gz(&tar));
}
