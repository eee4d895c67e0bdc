//! The members of a source as they come in. Owns what may stand beside what: folders above, duplicates, twins,
//! counts; and the layout of the tree that comes of them. It must not touch the disk: members' names reach a file
//! system only when a checked manifest is linked as a tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stoker_model::ids::Digest;

use super::Limits;
use super::error::{BuildError, Fault, printable};
use super::layout::Layout;
use super::manifest::{Manifest, Node};
use super::name;

/// How many times its own size an archive may unpack to, where that is more than [`ANYWAY`]: builds pack two to ten
/// times, bombs a thousand times and more.
const RATIO: u64 = 200;
/// Bytes that any archive may unpack to.
const ANYWAY: u64 = 256 << 20;

/// Collects members into a manifest.
#[derive(Debug)]
pub(super) struct Members {
    source: PathBuf,
    limits: Limits,
    nodes: BTreeMap<Box<str>, Node>,
    name_bytes: u64,
    bytes: u64,
    files: u64,
    seen: u64,
}

impl Members {
    pub(super) fn new(source: &Path, limits: &Limits) -> Self {
        Self {
            source: source.to_owned(),
            limits: limits.clone(),
            nodes: BTreeMap::new(),
            name_bytes: 0,
            bytes: 0,
            files: 0,
            seen: 0,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A fault of the member with this raw name.
    pub(super) fn fault(&self, raw: &[u8], fault: Fault) -> BuildError {
        BuildError::member(&self.source, raw, fault)
    }

    /// Checks a raw name; the clean path comes out.
    pub(super) fn clean(&self, raw: &[u8]) -> Result<String, BuildError> {
        name::clean(raw, self.limits.path_bytes).map(str::to_owned).map_err(|fault| self.fault(raw, fault))
    }

    /// Counts one member of any kind, before anything of it is kept.
    pub(super) fn count(&mut self) -> Result<(), BuildError> {
        self.seen += 1;
        self.limit(self.seen, self.limits.entries, "members")
    }

    /// Counts the bytes of a file that is about to come, before they do. `packed` is the archive's size.
    pub(super) fn count_bytes(&mut self, size: u64, packed: Option<u64>) -> Result<(), BuildError> {
        self.bytes = self.bytes.saturating_add(size);
        self.limit(self.bytes, self.limits.bytes, "bytes")?;
        if packed.is_some_and(|packed| self.bytes > ANYWAY.max(packed.saturating_mul(RATIO))) {
            return self.limit(self.bytes, RATIO, "times its own size");
        }
        Ok(())
    }

    fn limit(&self, value: u64, limit: u64, unit: &'static str) -> Result<(), BuildError> {
        if value > limit {
            return Err(BuildError::Limit { source_path: self.source.clone(), limit, unit });
        }
        Ok(())
    }

    /// Fails if a file or link cannot stand at `path`: asked before its content is read.
    pub(super) fn check_free(&self, path: &str) -> Result<(), BuildError> {
        if path.is_empty() {
            return Err(self.fault(b".", Fault::TwoKinds));
        }
        match self.nodes.get(path) {
            None => Ok(()),
            Some(Node::Folder) => Err(self.fault(path.as_bytes(), Fault::TwoKinds)),
            Some(_) => Err(self.fault(path.as_bytes(), Fault::Duplicate)),
        }
    }

    /// A folder; naming one twice is harmless.
    pub(super) fn folder(&mut self, path: &str) -> Result<(), BuildError> {
        if path.is_empty() {
            return Ok(());
        }
        match self.nodes.get(path) {
            Some(Node::Folder) => return Ok(()),
            Some(_) => return Err(self.fault(path.as_bytes(), Fault::TwoKinds)),
            None => {}
        }
        self.parents(path)?;
        self.insert(path, Node::Folder)
    }

    /// A file whose content is stored.
    pub(super) fn file(&mut self, path: &str, blob: Digest, exec: bool) -> Result<(), BuildError> {
        self.check_free(path)?;
        self.parents(path)?;
        self.files += 1;
        self.insert(path, Node::File { blob, exec })
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &[u8]) -> Result<(), BuildError> {
        self.check_free(path)?;
        let target = name::check_target(target, self.limits.path_bytes)
            .map_err(|fault| self.fault(path.as_bytes(), fault))?;
        self.parents(path)?;
        self.name_bytes += target.len() as u64;
        self.insert(path, Node::Link(target.into()))
    }

    /// A hard link to an earlier file or link.
    pub(super) fn hard_link(&mut self, path: &str, to: &[u8]) -> Result<(), BuildError> {
        self.check_free(path)?;
        let missing = || Fault::HardLink(printable(to));
        let earlier = name::clean(to, self.limits.path_bytes).ok().and_then(|to| self.nodes.get(to));
        match earlier.cloned() {
            None | Some(Node::Folder) => Err(self.fault(path.as_bytes(), missing())),
            Some(node) => {
                self.parents(path)?;
                self.files += u64::from(matches!(node, Node::File { .. }));
                self.insert(path, node)
            }
        }
    }

    fn parents(&mut self, path: &str) -> Result<(), BuildError> {
        let Some(parent) = name::parent(path) else { return Ok(()) };
        match self.nodes.get(parent) {
            Some(Node::Folder) => Ok(()),
            Some(_) => Err(self.fault(path.as_bytes(), Fault::BelowFile(printable(parent.as_bytes())))),
            None => {
                // At most `name::DEPTH` deep.
                self.parents(parent)?;
                self.insert(parent, Node::Folder)
            }
        }
    }

    fn insert(&mut self, path: &str, node: Node) -> Result<(), BuildError> {
        self.name_bytes += path.len() as u64;
        self.limit(self.name_bytes, self.limits.name_bytes, "bytes of names")?;
        self.nodes.insert(path.into(), node);
        self.limit(self.nodes.len() as u64, self.limits.entries, "members")
    }

    /// The finished tree: of an archive a lone top folder is taken off and twins are refused; the first
    /// fitting layout is applied and the links are checked.
    pub(super) fn finish(self, archive: bool, layouts: &[Layout]) -> Result<Manifest, BuildError> {
        let Self { source, nodes, files, .. } = self;
        if files == 0 {
            return Err(BuildError::Empty { source_path: source });
        }
        if archive {
            // What tools that ignore case would merge; a folder on this disk has no such reader.
            check_twins(&source, &nodes)?;
        }
        let nodes = if archive { strip_top(nodes) } else { nodes };
        let nodes = match layouts.iter().find(|layout| layout.fits(&nodes)) {
            Some(layout) => layout.apply(&source, nodes)?,
            None => nodes,
        };
        let manifest = Manifest::new(nodes);
        if manifest.files().next().is_none() {
            return Err(BuildError::Empty { source_path: source });
        }
        manifest
            .check_links()
            .map_err(|(path, fault)| BuildError::member(&source, path.as_bytes(), fault))?;
        Ok(manifest)
    }
}

fn check_twins(source: &Path, nodes: &BTreeMap<Box<str>, Node>) -> Result<(), BuildError> {
    // Half a digest each instead of the names: 200 000 of them are 3 MB.
    let fold = |path: &str| -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&Digest::of(path.to_lowercase().as_bytes()).bytes()[..16]);
        half
    };
    let mut folded: Vec<[u8; 16]> = nodes.keys().map(|path| fold(path)).collect();
    folded.sort_unstable();
    let Some(twin) = folded.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]) else {
        return Ok(());
    };
    let mut twins = nodes.keys().filter(|path| fold(path) == twin);
    let first = twins.next().map(|p| printable(p.as_bytes())).unwrap_or_default();
    let second = twins.next().map(|p| p.as_bytes()).unwrap_or_default();
    Err(BuildError::member(source, second, Fault::CaseTwin(first)))
}

/// Takes off the one folder that holds everything, if there is one.
fn strip_top(nodes: BTreeMap<Box<str>, Node>) -> BTreeMap<Box<str>, Node> {
    let top = match nodes.first_key_value() {
        Some((top, Node::Folder)) if !top.contains('/') => top.clone(),
        _ => return nodes,
    };
    if !nodes.keys().all(|path| name::within(path, &top)) {
        return nodes;
    }
    nodes
        .into_iter()
        .filter_map(|(path, node)| Some((path.strip_prefix(&*top)?.strip_prefix('/')?.into(), node)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        Members::new(Path::new("a.tar"), &Limits::default())
    }

    fn blob() -> Digest {
        Digest::of(b"x")
    }

    fn fault(result: Result<impl std::fmt::Debug, BuildError>) -> Fault {
        match result.unwrap_err() {
            BuildError::Member { fault, .. } => fault,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn folders_above_are_made_and_one_top_is_taken_off() {
        let mut m = members();
        m.file("top/a/b", blob(), false).unwrap();
        m.folder("top/empty").unwrap();
        m.folder("top").unwrap();
        let manifest = m.finish(true, &[]).unwrap();
        let paths: Vec<&str> = manifest.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/b", "empty"]);
    }

    #[test]
    fn two_tops_or_a_lone_file_stay() {
        let mut m = members();
        m.file("top/a", blob(), false).unwrap();
        m.file("top-1/a", blob(), false).unwrap();
        assert!(m.finish(true, &[]).unwrap().get("top-1/a").is_some());
        let mut m = members();
        m.file("lone", blob(), false).unwrap();
        assert!(m.finish(true, &[]).unwrap().get("lone").is_some());
    }

    #[test]
    fn what_cannot_stand_together_is_refused() {
        let mut m = members();
        m.file("a", blob(), false).unwrap();
        m.link("l", b"a").unwrap();
        m.folder("d").unwrap();
        assert_eq!(fault(m.file("a", blob(), false)), Fault::Duplicate);
        assert_eq!(fault(m.link("a", b"x")), Fault::Duplicate);
        assert_eq!(fault(m.file("a/b", blob(), false)), Fault::BelowFile("a".into()));
        assert_eq!(fault(m.file("l/b", blob(), false)), Fault::BelowFile("l".into()));
        assert_eq!(fault(m.folder("a")), Fault::TwoKinds);
        assert_eq!(fault(m.folder("l")), Fault::TwoKinds);
        assert_eq!(fault(m.file("d", blob(), false)), Fault::TwoKinds);
        assert_eq!(fault(m.link("l2", b"/etc/passwd")), Fault::LinkOutside("/etc/passwd".into()));
        assert_eq!(fault(m.hard_link("h", b"later")), Fault::HardLink("later".into()));
        assert_eq!(fault(m.hard_link("h", b"../a")), Fault::HardLink("../a".into()));
        assert_eq!(fault(m.hard_link("h", b"d")), Fault::HardLink("d".into()));
        m.hard_link("h", b"./a").unwrap();
    }

    #[test]
    fn twins_are_refused_in_folders_above_too() {
        let mut m = members();
        m.file("Lib/a", blob(), false).unwrap();
        m.file("lib/b", blob(), false).unwrap();
        assert_eq!(fault(m.finish(true, &[])), Fault::CaseTwin("Lib".into()));
    }

    #[test]
    fn a_link_out_of_the_stripped_top_is_refused() {
        let mut m = members();
        m.file("top/a", blob(), false).unwrap();
        m.link("top/l", b"../top/a").unwrap();
        assert_eq!(fault(m.finish(true, &[])), Fault::LinkOutside("../top/a".into()));
    }

    #[test]
    fn names_are_limited_with_the_folders_they_imply() {
        let limits = Limits { name_bytes: 1000, ..Limits::default() };
        let mut m = Members::new(Path::new("a.tar"), &limits);
        let deep = "d/".repeat(100) + "f";
        assert!(matches!(
            m.file(&deep, blob(), false),
            Err(BuildError::Limit { unit: "bytes of names", .. })
        ));
        let limits = Limits { entries: 3, ..Limits::default() };
        let mut m = Members::new(Path::new("a.tar"), &limits);
        assert!(matches!(m.file("a/b/c/d", blob(), false), Err(BuildError::Limit { unit: "members", .. })));
    }
}
