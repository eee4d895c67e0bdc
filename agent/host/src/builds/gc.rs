//! Collecting: what nobody refers to goes. Owns what is garbage and the order in which it goes; must not decide
//! what is referred to: the caller names the roots, and who uses something now is in the book of leases.
//!
//! Two phases. First everything is put out of sight: records, then trees, then blobs, by renames into one folder
//! below `incoming/`, with nobody able to begin using a blob meanwhile. Then that folder is removed. Killed between
//! any two steps, what is left is whole: a record always has its build, and the folder goes at the next start.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use stoker_model::ids::Digest;

use super::Builds;
use super::blobs::parse_name;
use super::error::BuildError;
use super::lease::{Key, key};
use super::manifest::Manifest;
use super::mend::QUARANTINE;
use super::usage::{blobs_of, disk_size};
use crate::fs::failpoint::hit;
use crate::fs::{Dir, unique};

/// What is referred to: builds and trees by digest, each with who refers to it, for people.
pub type Roots = BTreeMap<Digest, Vec<String>>;

/// What to collect.
#[derive(Debug, Clone, Default)]
pub struct Collect {
    /// Only this build and what it alone has; everything else stays, garbage too.
    pub only: Option<Digest>,
    /// Do it; otherwise it is only said what would be done.
    pub apply: bool,
}

/// A build that went or would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Its digest.
    pub digest: Digest,
    /// Bytes the disk gets back with it, once all that goes with it is gone.
    pub bytes: u64,
}

/// What was or would be collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Builds with a record.
    pub builds: Vec<Gone>,
    /// Builds with a record that stay, with who refers to them.
    pub kept: Roots,
    /// Trees.
    pub trees: u64,
    /// Blobs.
    pub blobs: u64,
    /// Files and folders that repairs put aside.
    pub leftovers: u64,
    /// Bytes the disk gets back for blobs and leftovers.
    pub bytes: u64,
}

/// What stays.
struct Live {
    roots: Roots,
    blobs: HashSet<(Key, bool)>,
    /// Every digest that was looked at, also those that are no build of this host.
    seen: HashSet<Digest>,
    /// Those that were none when they were looked at; what is being taken in becomes one.
    unknown: HashSet<Digest>,
}

impl Live {
    /// Everything that the roots need. A root that is not on this host needs nothing; one whose manifest is damaged
    /// might need anything, so nothing can be collected.
    fn of(builds: &Builds, roots: Roots) -> Result<Self, BuildError> {
        let mut live = Self {
            roots: Roots::new(),
            blobs: HashSet::new(),
            seen: HashSet::new(),
            unknown: HashSet::new(),
        };
        for (digest, why) in roots {
            live.add(builds, digest, why)?;
        }
        Ok(live)
    }

    fn add(&mut self, builds: &Builds, digest: Digest, why: Vec<String>) -> Result<(), BuildError> {
        self.seen.insert(digest.clone());
        match builds.read_manifest(&digest) {
            Ok(manifest) => self.blobs.extend(blobs_of(&digest, &manifest).into_keys()),
            // Not a build: what is named is some other thing with a digest, or a build that was never here.
            Err(BuildError::Unknown(_)) => {
                self.unknown.insert(digest);
                return Ok(());
            }
            Err(BuildError::Damaged { .. }) if !builds.is_build(&digest)? => {
                self.blobs.extend([(key(&digest), false), (key(&digest), true)]);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.unknown.remove(&digest);
        self.roots.entry(digest).or_default().extend(why);
        Ok(())
    }

    /// Whether what the build needs is not among these yet. Asked with the book in hand: a build whose manifest is not
    /// visible then is still being taken in, and whoever does that counts on each of its blobs.
    fn lacks(&self, builds: &Builds, digest: &Digest) -> bool {
        !self.seen.contains(digest)
            || self.unknown.contains(digest) && builds.blobs.has(digest, false).unwrap_or(true)
    }

    fn has_blob(&self, blob: &Digest, exec: bool) -> bool {
        self.blobs.contains(&(key(blob), exec))
    }
}

/// Names of blobs, with the bytes that the disk gives for each.
type Condemned = Vec<(Digest, bool, u64)>;

/// Finds what is garbage, and removes it where that is asked for. `roots` is asked after the collection has begun:
/// what anybody uses from then on stays too.
pub(super) fn collect<E: From<BuildError>>(
    builds: &Builds,
    what: &Collect,
    roots: impl FnOnce() -> Result<Roots, E>,
) -> Result<Collected, E> {
    let _alone = builds.alone();
    let _collecting = builds.leases.collect();
    let mut roots = roots()?;
    if let Some(only) = &what.only {
        for digest in builds.records.digests()?.into_iter().filter(|digest| digest != only) {
            roots.entry(digest).or_default();
        }
    }
    for (digest, by) in builds.leases.look(|used, _| used.clone()) {
        roots.entry(digest).or_default().push(by);
    }
    let mut live = Live::of(builds, roots)?;
    let mut collected = Collected::default();
    let mut records = Vec::new();
    for digest in builds.records.digests()? {
        match live.roots.get(&digest) {
            Some(why) => drop(collected.kept.insert(digest, why.clone())),
            None if what.only.as_ref().is_none_or(|only| *only == digest) => records.push(digest),
            None => {}
        }
    }
    let trees: Vec<Digest> = match &what.only {
        Some(only) if live.roots.contains_key(only) => Vec::new(),
        Some(only) => Vec::from_iter(builds.trees.has(only)?.then(|| only.clone())),
        None => {
            let all =
                builds.trees.all().map_err(|error| BuildError::io("list trees of", &builds.root, error))?;
            all.into_iter().filter(|tree| !live.roots.contains_key(tree)).collect()
        }
    };
    let blobs = condemned(builds, what.only.as_ref(), &live)?;
    collected.trees = trees.len() as u64;
    collected.blobs = blobs.len() as u64;
    collected.bytes = blobs.iter().map(|(_, _, bytes)| bytes).sum();
    for digest in &records {
        collected.builds.push(Gone { digest: digest.clone(), bytes: frees(builds, digest, &live)? });
    }
    let aside = if what.only.is_none() { leftovers(builds)? } else { Vec::new() };
    collected.leftovers = aside.len() as u64;
    collected.bytes += aside.iter().map(|(_, bytes)| bytes).sum::<u64>();
    if what.apply {
        sweep(builds, &records, &trees, blobs, &mut live)?;
        for (name, _) in aside {
            let fail = |error| BuildError::io("remove what was put aside below", &builds.root, error);
            Dir::open(&builds.root.join(QUARANTINE)).and_then(|dir| dir.remove_tree(name)).map_err(fail)?;
        }
    }
    Ok(collected)
}

/// The blobs that nothing needs, manifests of condemned builds among them.
fn condemned(builds: &Builds, only: Option<&Digest>, live: &Live) -> Result<Condemned, BuildError> {
    let mut found = Condemned::new();
    let mut add = |blob: &Digest, exec: bool| -> Result<(), BuildError> {
        if !live.has_blob(blob, exec)
            && let Some(bytes) = disk_size(&builds.blobs, blob, exec)?
        {
            found.push((blob.clone(), exec, bytes));
        }
        Ok(())
    };
    if let Some(only) = only {
        match builds.read_manifest(only) {
            Ok(manifest) => {
                for (blob, exec) in blobs_of(only, &manifest).into_values() {
                    add(blob, exec)?;
                }
            }
            Err(BuildError::Unknown(_)) => {}
            // What is left of it is nobody's: a later collection of everything finds it.
            Err(BuildError::Damaged { .. }) => add(only, false)?,
            Err(error) => return Err(error),
        }
        return Ok(found);
    }
    let fail = |error| BuildError::io("list", builds.blobs.path(), error);
    for (_, shard) in builds.blobs.folders().map_err(fail)? {
        for entry in shard.each_entry() {
            if let Some((blob, exec)) = entry.map_err(fail)?.name.to_str().and_then(parse_name) {
                add(&blob, exec)?;
            }
        }
    }
    Ok(found)
}

/// What the disk gets back for one build: what nothing that stays needs.
fn frees(builds: &Builds, digest: &Digest, live: &Live) -> Result<u64, BuildError> {
    let Ok(manifest) = builds.read_manifest(digest) else { return Ok(0) };
    let mut bytes = 0;
    for (blob, exec) in blobs_of(digest, &manifest).into_values() {
        if !live.has_blob(blob, exec) {
            bytes += disk_size(&builds.blobs, blob, exec)?.unwrap_or(0);
        }
    }
    Ok(bytes)
}

/// What was put aside by earlier repairs.
fn leftovers(builds: &Builds) -> Result<Vec<(std::ffi::OsString, u64)>, BuildError> {
    let folder = builds.root.join(QUARANTINE);
    let fail = |error| BuildError::io("list", &folder, error);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let dir = Dir::open(&folder).map_err(fail)?;
    let mut found = Vec::new();
    for entry in dir.entries().map_err(fail)? {
        let bytes = dir.try_stat(&entry.name).map_err(fail)?.map_or(0, |stat| stat.st_blocks as u64 * 512);
        found.push((entry.name, bytes));
    }
    Ok(found)
}

fn sweep(
    builds: &Builds,
    records: &[Digest],
    trees: &[Digest],
    blobs: Condemned,
    live: &mut Live,
) -> Result<(), BuildError> {
    hit("builds.gc.marked");
    // Who began to use one of them since keeps all of it.
    let mut records = records.to_vec();
    let mut trees = trees.to_vec();
    spare(builds, live)?;
    records.retain(|digest| !live.roots.contains_key(digest));
    trees.retain(|digest| !live.roots.contains_key(digest));
    builds.records.remove_all(&records)?;
    hit("builds.gc.records-gone");
    for tree in &trees {
        if !builds.leases.look(|used, _| used.contains_key(tree)) {
            builds.trees.remove(tree)?;
            hit("builds.gc.tree-gone");
        }
    }
    let incoming = Dir::open(&builds.incoming).map_err(|e| BuildError::io("open", &builds.incoming, e))?;
    let gone = Gathered::new(&incoming, &builds.incoming)?;
    // Manifests first: what is left of a build after a kill here is no build, and is collected the next time.
    let (manifests, contents): (Condemned, Condemned) =
        blobs.into_iter().partition(|(blob, exec, _)| !exec && records.contains(blob));
    for part in manifests.chunks(256).chain(contents.chunks(256)) {
        // In parts, so that nobody waits long for the book.
        spare(builds, live)?;
        builds.leases.look(|used, counted_on| -> Result<(), BuildError> {
            let late = used.keys().any(|digest| live.lacks(builds, digest));
            for (blob, exec, _) in part {
                // Whoever came between has its build's blobs looked at in the next part; this one waits for another time.
                if late || counted_on(&key(blob)) || live.has_blob(blob, *exec) {
                    continue;
                }
                gone.take(builds, blob, *exec)?;
            }
            Ok(())
        })?;
        hit("builds.gc.half-moved");
    }
    hit("builds.gc.moved");
    builds.archives.forget(|digest| builds.blobs.has(digest, false).unwrap_or(true));
    gone.remove()?;
    hit("builds.gc.removed");
    Ok(())
}

/// Takes those among the live that somebody uses by now.
fn spare(builds: &Builds, live: &mut Live) -> Result<(), BuildError> {
    for (digest, by) in builds.leases.look(|used, _| used.clone()) {
        if live.lacks(builds, &digest) {
            live.add(builds, digest, vec![by])?;
        }
    }
    Ok(())
}

/// The folder below `incoming/` where blobs go out of sight.
struct Gathered<'a> {
    incoming: &'a Dir,
    shown: &'a Path,
    name: String,
    dir: Dir,
}

impl<'a> Gathered<'a> {
    fn new(incoming: &'a Dir, shown: &'a Path) -> Result<Self, BuildError> {
        let name = unique();
        let dir =
            incoming.make_dir(&name, 0o700).map_err(|error| BuildError::io("write below", shown, error))?;
        Ok(Self { incoming, shown, name, dir })
    }

    fn take(&self, builds: &Builds, blob: &Digest, exec: bool) -> Result<(), BuildError> {
        let name = super::blobs::file_name(blob, exec);
        let moved = builds.blobs.move_out(blob, exec, &self.dir, &name);
        moved.map(drop).map_err(|error| BuildError::io("remove blobs into", self.shown, error))
    }

    fn remove(self) -> Result<(), BuildError> {
        let removed = self.incoming.remove_tree(&self.name);
        removed.map_err(|error| BuildError::io("remove what was collected below", self.shown, error))
    }
}

impl Builds {
    /// Whether the blob with this digest begins as a manifest does; a damaged one may.
    fn is_build(&self, digest: &Digest) -> Result<bool, BuildError> {
        if self.records.get(digest).is_ok_and(|record| record.is_some()) || self.trees.has(digest)? {
            return Ok(true);
        }
        let fail = |error| BuildError::io("read", self.blobs.path(), error);
        let file = self.blobs.open_blob(digest, false).map_err(fail)?;
        Manifest::begins(&file).map_err(fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builds::Source;

    /// A build that was being taken in when the collection began, and that is there, its lease ended, when blobs go.
    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn what_becomes_a_build_meanwhile_stays_whole() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("file"), "content").unwrap();
        let builds = Builds::open(&temp.path().join("builds")).unwrap();
        let ingest = || builds.ingest(Source::Folder(&folder), &()).unwrap().digest;
        let digest = ingest();
        builds.settle(&digest).unwrap();
        builds.collect::<BuildError>(&Collect { only: None, apply: true }, || Ok(Roots::new())).unwrap();
        assert!(!builds.blobs.has(&digest, false).unwrap(), "it is gone");

        let _hold = builds.hold("a change");
        let _collecting = builds.leases.collect();
        let coming = builds.leases.take("an ingest");
        coming.build(&digest);
        let mut live = Live::of(&builds, [(digest.clone(), vec!["used".to_owned()])].into()).unwrap();
        assert!(live.roots.is_empty(), "there is no manifest yet");
        ingest();
        builds.settle(&digest).unwrap();
        drop(coming);
        let blobs = condemned(&builds, None, &live).unwrap();
        assert_eq!(blobs.len(), 2, "the manifest and the file");
        sweep(&builds, &[], &[], blobs, &mut live).unwrap();
        assert_eq!(std::fs::read(builds.tree(&digest).unwrap().join("file")).unwrap(), b"content");
    }
}
