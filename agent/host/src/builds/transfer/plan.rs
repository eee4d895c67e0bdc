//! What is sent and against what. Owns the choice of a patch's base by the names of files; must not touch the disk.

use std::collections::{BTreeMap, HashMap, HashSet};

use stoker_model::ids::Digest;

use super::Have;
use crate::builds::manifest::{Manifest, Node};

/// Larger contents are sent whole: both sides of a patch are held in memory. In bytes.
pub(super) const PATCHED: u64 = 64 << 20;

/// A content to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) blob: &'a Digest,
    pub(super) exec: bool,
    /// Contents of the base that are probably like it, the likeliest first.
    pub(super) like: Vec<(&'a Digest, bool)>,
}

/// The contents of a tree, each once, in the order of the first path that has it.
pub(super) fn contents(manifest: &Manifest) -> impl Iterator<Item = (&Digest, bool)> {
    let mut seen = HashSet::new();
    manifest.files().filter_map(move |(_, blob, exec)| seen.insert((blob, exec)).then_some((blob, exec)))
}

/// What the other side lacks of `manifest`, in the manifest's order.
pub(super) fn plan<'a>(manifest: &'a Manifest, base: Option<&'a Manifest>, have: &Have) -> Vec<Item<'a>> {
    let mut there: HashMap<&Digest, bool> = HashMap::new();
    let mut whole: HashSet<(&Digest, bool)> = HashSet::new();
    let mut named: HashMap<String, Vec<&str>> = HashMap::new();
    for (path, blob, exec) in base.into_iter().flat_map(Manifest::files) {
        there.insert(blob, exec);
        whole.insert((blob, exec));
        named.entry(artifact(path)).or_default().push(path);
    }
    let mut at: BTreeMap<(&Digest, bool), &str> = BTreeMap::new();
    for (path, blob, exec) in manifest.files() {
        at.entry((blob, exec)).or_insert(path);
    }
    let mut items = Vec::new();
    for (blob, exec) in contents(manifest) {
        if whole.contains(&(blob, exec)) || have.contents.contains(&(blob.clone(), exec)) {
            continue;
        }
        let mut like = Vec::new();
        // The very content with another mode comes first: a patch of nothing.
        like.extend(there.get(blob).map(|&exec| (blob, exec)));
        if let (Some(base), Some(&path)) = (base, at.get(&(blob, exec))) {
            let mut others: Vec<&str> = named.get(&artifact(path)).cloned().unwrap_or_default();
            // The nearest name first: `a_2.12-1.0` stands for `a_2.12-1.1`, not for `a_2.13-1.1`.
            others.sort_by_key(|other| (std::cmp::Reverse(shared(other, path)), *other));
            for near in std::iter::once(path).chain(others.into_iter().take(2)) {
                if let Some(Node::File { blob, exec }) = base.get(near)
                    && !like.contains(&(blob, *exec))
                {
                    like.push((blob, *exec));
                }
            }
        }
        items.push(Item { blob, exec, like });
    }
    items
}

/// A path without versions: each run of digits and dots that begins with a digit is one mark.
fn artifact(path: &str) -> String {
    let mut name = String::with_capacity(path.len());
    let mut in_version = false;
    for c in path.chars() {
        let digit = c.is_ascii_digit();
        if digit && !in_version {
            name.push('#');
        }
        in_version = digit || (in_version && c == '.');
        if !in_version {
            name.push(c);
        }
    }
    name
}

/// Bytes at the start that two names share.
fn shared(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str, bool)]) -> Manifest {
        let mut nodes: BTreeMap<Box<str>, Node> = BTreeMap::new();
        for (path, text, exec) in files {
            let mut above = *path;
            while let Some((folder, _)) = above.rsplit_once('/') {
                nodes.insert(folder.into(), Node::Folder);
                above = folder;
            }
            nodes.insert((*path).into(), Node::File { blob: Digest::of(text.as_bytes()), exec: *exec });
        }
        Manifest::new(nodes)
    }

    #[test]
    fn artifacts_are_names_without_versions() {
        for (one, other) in [
            ("jars/core_2.12-3.5.3.jar", "jars/core_2.12-3.5.4.jar"),
            ("lib/py4j-0.10.9.7-src.zip", "lib/py4j-0.10.9.9-src.zip"),
            ("a-1.2.3/b", "a-2/b"),
            ("x.so.1", "x.so.2.1"),
        ] {
            assert_eq!(artifact(one), artifact(other), "{one}");
        }
        for (one, other) in [("jars/core-1.jar", "jars/corE-1.jar"), ("a/x-1.jar", "b/x-1.jar"), ("a", "a1")]
        {
            assert_ne!(artifact(one), artifact(other), "{one}");
        }
    }

    #[test]
    fn only_what_is_missing_is_sent_against_what_is_like_it() {
        let old = tree(&[
            ("jars/a-1.0.jar", "a1", false),
            ("jars/b_2.12-1.0.jar", "b12", false),
            ("jars/b_2.13-1.0.jar", "b13", false),
            ("run", "tool", false),
            ("same", "same", false),
            ("text", "old", false),
        ]);
        let new = tree(&[
            ("jars/a-1.1.jar", "a2", false),
            ("jars/b_2.13-1.1.jar", "b13n", false),
            ("moved", "same", false),
            ("other", "fresh", false),
            ("run", "tool", true),
            ("text", "new", false),
            ("text2", "new", false),
            ("there", "there", false),
        ]);
        let have = Have { contents: [(Digest::of(b"there"), false)].into(), base: None };
        let items = plan(&new, Some(&old), &have);
        let told: Vec<(Digest, bool, Vec<Digest>)> = items
            .iter()
            .map(|item| (item.blob.clone(), item.exec, item.like.iter().map(|(d, _)| (*d).clone()).collect()))
            .collect();
        let of = |text: &str| Digest::of(text.as_bytes());
        assert_eq!(told[0], (of("a2"), false, vec![of("a1")]));
        assert_eq!((&told[1].0, &told[1].2[0]), (&of("b13n"), &of("b13")));
        assert_eq!(told[2], (of("fresh"), false, vec![]));
        assert_eq!((&told[3].0, told[3].1, &told[3].2[0]), (&of("tool"), true, &of("tool")));
        assert_eq!((&told[4].0, &told[4].2[0]), (&of("new"), &of("old")));
        assert_eq!(told.len(), 5);
        assert_eq!(plan(&new, None, &Have::default()).len(), 7);
    }
}
