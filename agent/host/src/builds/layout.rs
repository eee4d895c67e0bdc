//! Layouts: how the members of a source become the tree its user wants. Owns the rule; must not know any product.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{BuildError, Fault};
use super::manifest::Node;
use super::name;

/// Moves paths of a source about, without moving a byte. Paths are those after a lone top folder was taken off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// The layout applies where all of these are there.
    #[serde(default)]
    pub when: Vec<String>,
    /// From prefix, to prefix: a prefix that ends in `/` moves what is in that folder, any other that very path
    /// (and what is below). The first that fits a path moves it.
    #[serde(default)]
    pub moves: Vec<(String, String)>,
    /// Paths left out, with what is below.
    #[serde(default)]
    pub drop: Vec<String>,
}

impl Layout {
    pub(super) fn fits(&self, nodes: &BTreeMap<Box<str>, Node>) -> bool {
        self.when.iter().all(|path| nodes.contains_key(path.trim_end_matches('/')))
    }

    /// The new place of a path; `None` where it goes away.
    fn place(&self, path: &str) -> Option<String> {
        if self.drop.iter().any(|drop| name::within(path, drop.trim_end_matches('/'))) {
            return None;
        }
        for (from, to) in &self.moves {
            let folder = from.trim_end_matches('/');
            if name::within(path, folder) {
                let rest = path[folder.len()..].trim_start_matches('/');
                let to = to.trim_end_matches('/');
                return match (to, rest) {
                    ("", "") => None,
                    ("", rest) => Some(rest.to_owned()),
                    (to, "") => Some(to.to_owned()),
                    (to, rest) => Some(format!("{to}/{rest}")),
                };
            }
        }
        Some(path.to_owned())
    }

    pub(super) fn apply(
        &self,
        source: &Path,
        nodes: BTreeMap<Box<str>, Node>,
    ) -> Result<BTreeMap<Box<str>, Node>, BuildError> {
        let mut placed = BTreeMap::new();
        for (path, node) in nodes {
            let Some(to) = self.place(&path) else { continue };
            let fault = |fault| BuildError::member(source, to.as_bytes(), fault);
            name::check(&to, usize::MAX).map_err(fault)?;
            put(&mut placed, &to, node).map_err(fault)?;
        }
        Ok(placed)
    }
}

/// Puts a node at a path, with the folders above it. Two folders at one place are one.
pub(super) fn put(nodes: &mut BTreeMap<Box<str>, Node>, path: &str, node: Node) -> Result<(), Fault> {
    let mut above = name::parent(path);
    while let Some(folder) = above {
        match nodes.get(folder) {
            Some(Node::Folder) => break,
            Some(_) => return Err(Fault::BelowFile(folder.to_owned())),
            None => {
                nodes.insert(folder.into(), Node::Folder);
            }
        }
        above = name::parent(folder);
    }
    match (nodes.get(path), &node) {
        (None, _) => {
            nodes.insert(path.into(), node);
            Ok(())
        }
        (Some(Node::Folder), Node::Folder) => Ok(()),
        (Some(Node::Folder), _) | (Some(_), Node::Folder) => Err(Fault::TwoKinds),
        (Some(_), _) => Err(Fault::Duplicate),
    }
}

#[cfg(test)]
mod tests {
    use stoker_model::ids::Digest;

    use super::*;

    fn nodes(paths: &[&str]) -> BTreeMap<Box<str>, Node> {
        let mut nodes = BTreeMap::new();
        for path in paths {
            let node = match path.strip_suffix('/') {
                Some(_) => Node::Folder,
                None => Node::File { blob: Digest::of(path.as_bytes()), exec: false },
            };
            put(&mut nodes, path.trim_end_matches('/'), node).unwrap();
        }
        nodes
    }

    fn layout(when: &[&str], moves: &[(&str, &str)], drop: &[&str]) -> Layout {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Layout {
            when: own(when),
            moves: moves.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            drop: own(drop),
        }
    }

    #[test]
    fn a_source_distribution_becomes_a_home() {
        let all = nodes(&[
            "deps/bin/run",
            "deps/jars/a.jar",
            "lib/z.zip",
            "pkg/__init__.py",
            "setup.py",
            "pkg.egg-info/x",
        ]);
        let layout = layout(
            &["deps/bin", "deps/jars"],
            &[
                ("deps/", ""),
                ("lib/", "python/lib/"),
                ("pkg/", "python/pkg/"),
                ("setup.py", "python/setup.py"),
            ],
            &["pkg.egg-info"],
        );
        assert!(layout.fits(&all));
        let placed = layout.apply(Path::new("s"), all).unwrap();
        let paths: Vec<&str> = placed.keys().map(|p| &**p).collect();
        assert_eq!(
            paths,
            [
                "bin",
                "bin/run",
                "jars",
                "jars/a.jar",
                "python",
                "python/lib",
                "python/lib/z.zip",
                "python/pkg",
                "python/pkg/__init__.py",
                "python/setup.py"
            ]
        );
    }

    #[test]
    fn it_does_not_fit_without_all_its_paths() {
        let all = nodes(&["bin/run"]);
        assert!(!layout(&["bin", "jars"], &[], &[]).fits(&all));
        assert!(layout(&["bin/"], &[], &[]).fits(&all));
    }

    #[test]
    fn two_files_at_one_place_are_refused() {
        let all = nodes(&["a/x", "b/x"]);
        let error = layout(&[], &[("a/", ""), ("b/", "")], &[]).apply(Path::new("s"), all).unwrap_err();
        assert!(matches!(error, BuildError::Member { fault: Fault::Duplicate, .. }), "{error}");
    }

    #[test]
    fn a_prefix_is_a_whole_part() {
        let all = nodes(&["lib/a", "library/b"]);
        let placed = layout(&[], &[("lib/", "x/")], &[]).apply(Path::new("s"), all).unwrap();
        assert!(placed.contains_key("x/a") && placed.contains_key("library/b"));
    }

    #[test]
    fn a_layout_cannot_lead_outside() {
        let all = nodes(&["a/x"]);
        assert!(layout(&[], &[("a/", "../")], &[]).apply(Path::new("s"), all).is_err());
    }
}
