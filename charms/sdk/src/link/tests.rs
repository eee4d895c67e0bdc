//! Jars made of the smallest class files that link, with gaps put in on purpose.

use std::io::Write as _;

use proptest::prelude::*;
use zip::write::SimpleFileOptions;

use super::*;

/// A class file being written: a constant pool, and what it declares.
struct Maker {
    pool: Vec<Vec<u8>>,
    name: u16,
    parents: Vec<u16>,
    methods: Vec<(u16, u16, u16)>,
}

impl Maker {
    fn new(name: &str, superclass: &str, interfaces: &[&str]) -> Self {
        let mut maker = Self { pool: Vec::new(), name: 0, parents: Vec::new(), methods: Vec::new() };
        maker.name = maker.class(name);
        maker.parents = std::iter::once(superclass)
            .chain(interfaces.iter().copied())
            .map(|name| maker.class(name))
            .collect();
        maker
    }

    fn add(&mut self, entry: Vec<u8>) -> u16 {
        self.pool.push(entry);
        u16::try_from(self.pool.len()).unwrap()
    }

    fn text(&mut self, text: &str) -> u16 {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        self.add([&[1], &length[..], text.as_bytes()].concat())
    }

    fn class(&mut self, name: &str) -> u16 {
        let name = self.text(name).to_be_bytes();
        self.add([&[7], &name[..]].concat())
    }

    fn declares(mut self, access: u16, name: &str, descriptor: &str) -> Self {
        let method = (access, self.text(name), self.text(descriptor));
        self.methods.push(method);
        self
    }

    fn calls(mut self, owner: &str, name: &str, descriptor: &str) -> Self {
        let owner = self.class(owner).to_be_bytes();
        let (name, descriptor) = (self.text(name).to_be_bytes(), self.text(descriptor).to_be_bytes());
        let member = self.add([&[12], &name[..], &descriptor[..]].concat()).to_be_bytes();
        self.add([&[10], &owner[..], &member[..]].concat());
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 52];
        let two = |out: &mut Vec<u8>, value: usize| out.extend(u16::try_from(value).unwrap().to_be_bytes());
        two(&mut out, self.pool.len() + 1);
        out.extend(self.pool.concat());
        two(&mut out, 1);
        out.extend(self.name.to_be_bytes());
        out.extend(self.parents[0].to_be_bytes());
        two(&mut out, self.parents.len() - 1);
        out.extend(self.parents[1..].iter().flat_map(|parent| parent.to_be_bytes()));
        two(&mut out, 0);
        two(&mut out, self.methods.len());
        for (access, name, descriptor) in &self.methods {
            out.extend([access, name, descriptor].iter().flat_map(|value| value.to_be_bytes()));
            two(&mut out, 0);
        }
        two(&mut out, 0);
        out
    }
}

const OBJECT: &str = "java/lang/Object";

fn jar(folder: &Path, name: &str, classes: &[(&str, Maker)]) -> PathBuf {
    let path = folder.join(name);
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, class) in classes {
        zip.start_file(format!("{name}.class"), SimpleFileOptions::default()).unwrap();
        zip.write_all(&class.bytes()).unwrap();
    }
    zip.finish().unwrap();
    path
}

/// A file system class of a client, and a base class of it, with these methods.
fn client(folder: &Path, name: &str, methods: &[(&str, &str)], more: &[&str]) -> PathBuf {
    let mut stream = Maker::new("fs/Stream", "java/io/DataInputStream", &["fs/Readable"]);
    for (name, descriptor) in methods {
        stream = stream.declares(1, name, descriptor);
    }
    let mut classes = vec![
        ("fs/Stream", stream),
        (
            "fs/Readable",
            Maker::new("fs/Readable", OBJECT, &[]).declares(1, "read", "(J)I").declares(2, "secret", "()V"),
        ),
    ];
    classes.extend(more.iter().map(|name| (*name, Maker::new(name, OBJECT, &[]))));
    jar(folder, name, &classes)
}

#[test]
fn what_a_replacement_lacks_is_named() {
    let at = tempfile::tempdir().unwrap();
    let at = at.path();
    let old = client(at, "old.jar", &[("check", "(I)V"), ("list", "()V")], &["fs/Bulk"]);
    let new = client(at, "new.jar", &[("check", "(I)I")], &[]);
    let callers = jar(
        at,
        "caller.jar",
        &[
            (
                "a/Caller",
                Maker::new("a/Caller", OBJECT, &[])
                    .calls("fs/Stream", "check", "(I)V")
                    .calls("fs/Stream", "read", "(J)I")
                    .calls("fs/Stream", "skipBytes", "(I)I")
                    .calls("fs/Stream", "bulk", "(I)[Lfs/Bulk;")
                    .calls("fs/Bulk", "delete", "()V")
                    .calls("java/lang/String", "gone", "()V"),
            ),
            // Reaches the client through a class of its own.
            (
                "a/Own",
                Maker::new("a/Own", "fs/Stream", &[])
                    .declares(2, "mine", "()V")
                    .calls("a/Own", "mine", "()V"),
            ),
            ("a/Own$Part", Maker::new("a/Own$Part", OBJECT, &[]).calls("a/Own", "mine", "()V")),
            (
                "a/Uses",
                Maker::new("a/Uses", OBJECT, &[]).calls("a/Own", "list", "()V").calls(
                    "fs/Readable",
                    "secret",
                    "()V",
                ),
            ),
        ],
    );
    let report = check(&[callers], std::slice::from_ref(&old), &[new]).unwrap();
    let shown: Vec<String> = report
        .gaps
        .iter()
        .map(|gap| format!("{} {} {} {}", gap.class, gap.target, gap.before, gap.after))
        .collect();
    assert_eq!(
        shown,
        [
            "a.Caller fs.Bulk false true",
            "a.Caller fs.Bulk.delete()V true false",
            // Java's own classes, which it may inherit from, cannot have a method that names a class of others.
            "a.Caller fs.Stream.bulk(I)[Lfs/Bulk; true true",
            "a.Caller fs.Stream.check(I)V false true",
            "a.Uses a.Own.list()V false true",
            // What was private is not for others, now or before; the runtime's `skipBytes` and `String` are not judged.
            "a.Uses fs.Readable.secret()V true true",
        ]
    );
    assert_eq!((report.classes, report.new_gaps().count()), (4, 3));
    let same =
        check(&[jar(at, "again.jar", &[])], std::slice::from_ref(&old), std::slice::from_ref(&old)).unwrap();
    assert_eq!(same, Report::default());
}

#[test]
fn a_jar_that_is_none_is_an_error_with_its_name() {
    let at = tempfile::tempdir().unwrap();
    let bad = at.path().join("bad.jar");
    std::fs::write(&bad, b"no zip").unwrap();
    let error = check(&[bad], &[], &[]).unwrap_err();
    assert!(error.to_string().contains("bad.jar"), "{error}");
}

#[test]
fn a_circle_of_classes_ends() {
    let at = tempfile::tempdir().unwrap();
    let circle = jar(
        at.path(),
        "circle.jar",
        &[
            ("a/A", Maker::new("a/A", "a/B", &[]).calls("a/B", "x", "()V")),
            ("a/B", Maker::new("a/B", "a/A", &[])),
        ],
    );
    let client = client(at.path(), "client.jar", &[], &[]);
    assert_eq!(
        check(&[circle], std::slice::from_ref(&client), std::slice::from_ref(&client)).unwrap().gaps,
        []
    );
}

/// Everything that can be asked of a class file.
fn read(bytes: &[u8]) {
    let mut reader = class::Reader::default();
    if let Some(class) = reader.read(bytes) {
        let _ = (scan::shape(&class), class.pointers().count());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }

    #[test]
    fn a_broken_class_file_is_read_without_harm(at in 0_usize..120, to in any::<u8>()) {
        let maker = Maker::new("a/B", OBJECT, &["a/I"]).declares(1, "m", "()V").calls("c/D", "m", "()V");
        let mut bytes = maker.bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        read(&bytes);
        read(&bytes[..at]);
    }
}
