//! A tree's canonical manifest. Owns its form, its digest and whether its links stay inside; must not touch the
//! disk. Equal trees have equal manifests, and a tree's digest is its manifest's.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use stoker_model::ids::Digest;

use super::error::Fault;
use super::name;

/// The first line: the form of the rest.
const HEAD: &str = "stoker tree 1\n";
/// The most links followed in a row.
const HOPS: usize = 40;

/// What is at a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder,
    /// A file: its content and whether it can be run.
    File {
        /// The content's digest.
        blob: Digest,
        /// Mode 0555 instead of 0444.
        exec: bool,
    },
    /// A symbolic link and its target, as written.
    Link(Box<str>),
}

/// All paths of a tree, sorted, each folder named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    nodes: BTreeMap<Box<str>, Node>,
}

/// A manifest's text cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {why}")]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Manifest {
    pub(super) fn new(nodes: BTreeMap<Box<str>, Node>) -> Self {
        Self { nodes }
    }

    pub(super) fn into_nodes(self) -> BTreeMap<Box<str>, Node> {
        self.nodes
    }

    /// The paths in order, with what is there.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (&**path, node))
    }

    /// What is at `path`, links not followed.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The files in order: path, content, whether it can be run.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Digest, bool)> {
        self.iter().filter_map(|(path, node)| match node {
            Node::File { blob, exec } => Some((path, blob, *exec)),
            Node::Folder | Node::Link(_) => None,
        })
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Writes the canonical form.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(HEAD.as_bytes())?;
        for (path, node) in &self.nodes {
            match node {
                Node::Folder => writeln!(out, "d\t{path}")?,
                Node::File { blob, exec } => {
                    writeln!(out, "{}\t{path}\t{}", if *exec { 'x' } else { 'f' }, blob.hex())?;
                }
                Node::Link(target) => writeln!(out, "l\t{path}\t{target}")?,
            }
        }
        Ok(())
    }

    /// The canonical form.
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // A vector takes every write.
        let _ = self.write(&mut out);
        out
    }

    /// The tree's digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.text())
    }

    /// Reads the canonical form, and nothing but it: what comes back writes the same bytes.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut lines = Lines::default();
        for line in text.split_inclusive(|b| *b == b'\n') {
            lines.add(line)?;
        }
        lines.end()
    }

    /// The same from a stream, without holding its text; the digest of the text comes with it.
    pub(super) fn read(mut from: impl BufRead) -> io::Result<(Result<Self, ManifestError>, Digest)> {
        let mut hasher = blake3::Hasher::new();
        let mut lines = Lines::default();
        let mut line = Vec::new();
        let mut wrong = None;
        while from.read_until(b'\n', &mut line)? > 0 {
            hasher.update(&line);
            if wrong.is_none() {
                wrong = lines.add(&line).err();
            }
            line.clear();
        }
        let manifest = match wrong {
            Some(error) => Err(error),
            None => lines.end(),
        };
        Ok((manifest, Digest::new(*hasher.finalize().as_bytes())))
    }

    /// Whether a file begins as manifests do.
    pub(super) fn begins(file: &std::fs::File) -> io::Result<bool> {
        let mut start = [0; HEAD.len()];
        let got = std::os::unix::fs::FileExt::read_at(file, &mut start, 0)?;
        Ok(start[..got] == *HEAD.as_bytes())
    }

    /// Checks that no link leaves the tree, however many others it goes through. A target that is not there is
    /// fine: nothing can be put there later.
    pub(super) fn check_links(&self) -> Result<(), (String, Fault)> {
        for (path, node) in &self.nodes {
            if let Node::Link(target) = node {
                let mut hops = 0;
                let mut at = name::parent(path).unwrap_or("").to_owned();
                self.walk(&mut at, target, &mut hops).map_err(|stop| {
                    let shown = super::error::printable(target.as_bytes());
                    let fault = match stop {
                        Stop::Outside => Fault::LinkOutside(shown),
                        Stop::Loop => Fault::LinkLoop(shown),
                    };
                    (path.to_string(), fault)
                })?;
            }
        }
        Ok(())
    }

    /// Follows `target` from the folder `at` as the kernel would; `at` is then where it arrived.
    fn walk(&self, at: &mut String, target: &str, hops: &mut usize) -> Result<(), Stop> {
        *hops += 1;
        if *hops > HOPS {
            return Err(Stop::Loop);
        }
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." if at.is_empty() => return Err(Stop::Outside),
                ".." => at.truncate(at.rfind('/').unwrap_or(0)),
                part => {
                    let folder = at.len();
                    if folder > 0 {
                        at.push('/');
                    }
                    at.push_str(part);
                    if let Some(Node::Link(next)) = self.nodes.get(at.as_str()) {
                        at.truncate(folder);
                        self.walk(at, next, hops)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The canonical form, line by line.
#[derive(Default)]
struct Lines {
    nodes: BTreeMap<Box<str>, Node>,
    last: String,
    count: usize,
}

impl Lines {
    fn add(&mut self, line: &[u8]) -> Result<(), ManifestError> {
        self.count += 1;
        let n = self.count;
        let fail = |why| Err(ManifestError { line: n, why });
        let Ok(line) = std::str::from_utf8(line) else { return fail("is not UTF-8") };
        if n == 1 {
            return if line == HEAD { Ok(()) } else { fail("is not a tree of form 1") };
        }
        let Some(line) = line.strip_suffix('\n') else { return fail("is cut off") };
        let mut fields = line.split('\t');
        let (kind, path, value) = (fields.next(), fields.next().unwrap_or(""), fields.next());
        if fields.next().is_some() || name::check(path, usize::MAX).is_err() {
            return fail("has no clean path");
        }
        let node = match (kind, value) {
            (Some("d"), None) => Node::Folder,
            (Some(kind @ ("f" | "x")), Some(hex)) => match Digest::from_hex(hex) {
                Ok(blob) if blob.hex() == hex => Node::File { blob, exec: kind == "x" },
                _ => return fail("has no digest"),
            },
            (Some("l"), Some(target)) if name::check_target(target.as_bytes(), usize::MAX).is_ok() => {
                Node::Link(target.into())
            }
            _ => return fail("is not an entry"),
        };
        if *path <= *self.last {
            return fail("is out of order");
        }
        if name::parent(path).is_some_and(|parent| self.nodes.get(parent) != Some(&Node::Folder)) {
            return fail("has no folder to lie in");
        }
        path.clone_into(&mut self.last);
        self.nodes.insert(path.into(), node);
        Ok(())
    }

    fn end(self) -> Result<Manifest, ManifestError> {
        if self.count == 0 {
            return Err(ManifestError { line: 1, why: "is not there" });
        }
        Ok(Manifest { nodes: self.nodes })
    }
}

enum Stop {
    Outside,
    Loop,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> Node {
        Node::File { blob: Digest::of(text.as_bytes()), exec: false }
    }

    fn link(target: &str) -> Node {
        Node::Link(target.into())
    }

    fn tree(nodes: &[(&str, Node)]) -> Manifest {
        Manifest::new(nodes.iter().map(|(path, node)| ((*path).into(), node.clone())).collect())
    }

    #[test]
    fn a_digest_is_that_of_the_text_and_of_nothing_else() {
        let a = tree(&[("a", Node::Folder), ("a/b", file("x"))]);
        assert_eq!(a.digest(), Digest::of(&a.text()));
        assert_ne!(a.digest(), tree(&[("a", Node::Folder), ("a/b", file("y"))]).digest());
        assert_ne!(a.digest(), tree(&[("a", Node::Folder)]).digest());
        let run = Node::File { blob: Digest::of(b"x"), exec: true };
        assert_ne!(a.digest(), tree(&[("a", Node::Folder), ("a/b", run)]).digest());
    }

    #[test]
    fn the_form_is_fixed() {
        let m = tree(&[("a", Node::Folder), ("a/b", file("x")), ("c", link("a/b"))]);
        let hex = Digest::of(b"x").hex();
        assert_eq!(m.text(), format!("stoker tree 1\nd\ta\nf\ta/b\t{hex}\nl\tc\ta/b\n").into_bytes());
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        let hex = Digest::of(b"x").hex();
        for bad in [
            String::new(),
            "stoker tree 2\n".into(),
            "stoker tree 1\nd\tb\nd\ta\n".into(),
            "stoker tree 1\nd\ta\nd\ta\n".into(),
            "stoker tree 1\nd\ta".into(),
            "stoker tree 1\nd\t../a\n".into(),
            format!("stoker tree 1\nf\ta/b\t{hex}\n"),
            format!("stoker tree 1\nf\ta\t{}\n", hex.to_uppercase()),
            format!("stoker tree 1\nf\ta\t{hex}\textra\n"),
            format!("stoker tree 1\nf\ta\t{hex}\nf\ta/b\t{hex}\n"),
            "stoker tree 1\nl\ta\t/etc\n".into(),
            "stoker tree 1\nz\ta\n".into(),
        ] {
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_are_followed_as_the_kernel_would() {
        let good = tree(&[
            ("a", Node::Folder),
            ("a/b", Node::Folder),
            ("a/b/up", link("../..")),
            ("a/self", link(".")),
            ("to-b", link("a/b")),
            ("gone", link("nowhere/at/all")),
        ]);
        assert_eq!(good.check_links(), Ok(()));
        for (name, target, extra) in [
            ("l", "..", None),
            ("l", "a/../../x", None),
            ("l", "x/../../y", None),
            // `up` is at the top, though by its text `down/up` is two folders deep.
            ("l", "down/up/..", Some(("down/up", ".."))),
            ("l", "q", Some(("q", "l"))),
        ] {
            let mut nodes = vec![(name, link(target)), ("down", Node::Folder)];
            if let Some((path, to)) = extra {
                nodes.push((path, link(to)));
            }
            assert!(tree(&nodes).check_links().is_err(), "{name} -> {target}");
        }
    }

    fn any_tree() -> impl Strategy<Value = BTreeMap<Box<str>, Node>> {
        let node = prop_oneof![
            any::<[u8; 4]>().prop_map(|b| Node::File { blob: Digest::of(&b), exec: b[0] % 2 == 0 }),
            "[a-z]{1,4}".prop_map(|t| Node::Link(t.into())),
            Just(Node::Folder),
        ];
        proptest::collection::vec(("[a-zA-Z .é-]{1,6}", "[a-z]{1,6}", node), 0..30).prop_map(|parts| {
            let mut nodes = BTreeMap::new();
            for (folder, name, node) in parts {
                if name::check(&format!("{folder}/{name}"), 4096).is_ok() {
                    nodes.insert(folder.clone().into(), Node::Folder);
                    nodes.insert(format!("{folder}/{name}").into(), node);
                }
            }
            nodes
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(nodes in any_tree()) {
            let manifest = Manifest::new(nodes);
            let back = Manifest::parse(&manifest.text()).unwrap();
            prop_assert_eq!(&back, &manifest);
            prop_assert_eq!(back.digest(), manifest.digest());
        }

        #[test]
        fn order_of_adding_does_not_matter(nodes in any_tree(), seed in any::<u64>()) {
            let mut shuffled: Vec<_> = nodes.clone().into_iter().collect();
            let len = shuffled.len().max(1);
            for i in 0..shuffled.len() {
                shuffled.swap(i, (seed as usize).wrapping_mul(i + 7) % len);
            }
            prop_assert_eq!(Manifest::new(shuffled.into_iter().collect()).digest(), Manifest::new(nodes).digest());
        }

        #[test]
        fn garbage_never_panics(text in any::<Vec<u8>>()) {
            let _ = Manifest::parse(&text);
        }
    }
}
