//! Repairing builds from what is on this host. Owns the order — what is wrong is put aside, its content is found
//! again, then trees are mended — and where content is looked for. It must not trust a source: every byte is
//! hashed, and what has the right digest is right wherever it came from.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use rustix::fs::FileType;
use stoker_model::ids::Digest;

use super::blobs::{Body, Staging, file_name, hash_blob, parse_name};
use super::error::BuildError;
use super::ingest::{Sink, Watch};
use super::layout::Layout;
use super::manifest::{Manifest, Node};
use super::mend::{self, Look, QUARANTINE};
use super::records::Record;
use super::verify::{Check, Checked, Damage, Kind};
use super::{Builds, Progress, Source, folder, ingest};
use crate::fs::Dir;
use crate::fs::failpoint::hit;

/// Blobs that are wanted: digest, and whether they can be run.
type Wanted = HashSet<(Digest, bool)>;

/// Mends what can be mended; each damage then says how, or what would help.
pub(super) fn repair(
    builds: &Builds,
    what: &Check,
    checked: &mut Checked,
    progress: &(dyn Progress + Sync),
) -> Result<(), BuildError> {
    let _alone = builds.alone();
    let _hold = builds.hold("builds are repaired");
    let wanted: Wanted = checked.damage.iter().filter_map(Damage::needs).collect();
    put_aside(builds, checked)?;
    let found = refetch(builds, &wanted, progress)?;
    for damage in &mut checked.damage {
        settle_one(builds, damage, &found)?;
    }
    let trees = builds.trees.all().map_err(|e| BuildError::io("list", &builds.root.join("trees"), e))?;
    for tree in trees.into_iter().filter(|tree| what.only.is_empty() || what.only.contains(tree)) {
        mend_tree(builds, &tree, checked)?;
    }
    let records: HashMap<Digest, Record> = builds
        .records
        .digests()?
        .into_iter()
        .filter_map(|d| Some((d.clone(), builds.record(&d).ok()??)))
        .collect();
    let needed = needed(builds, &wanted)?;
    for damage in checked.damage.iter_mut().filter(|damage| damage.repaired.is_none()) {
        if damage.needs().is_some_and(|name| !needed.contains(&name)) {
            damage.repaired = Some("it was put aside: nothing needs it".into());
            continue;
        }
        damage.remedy = Some(remedy(damage, &records));
    }
    Ok(())
}

/// Moves blobs that are wrong, and what is no blob, out of the way: nothing new is linked to them, and content that
/// comes back finds its name free.
fn put_aside(builds: &Builds, checked: &Checked) -> Result<(), BuildError> {
    let fail = |error| BuildError::io("put aside into", &builds.root.join(QUARANTINE), error);
    for damage in &checked.damage {
        let name = damage.path.rsplit('/').next().unwrap_or_default();
        match (&damage.kind, &damage.blob) {
            (Kind::Content { exec }, Some(blob)) => {
                let to = mend::quarantine(builds).map_err(fail)?;
                builds
                    .blobs
                    .move_out(blob, *exec, &to, &mend::aside(&file_name(blob, *exec)))
                    .map_err(fail)?;
                hit("builds.repair.put-aside");
            }
            (Kind::Stray, _) => {
                let to = mend::quarantine(builds).map_err(fail)?;
                let folder = damage.path.strip_prefix("blobs/").and_then(|path| path.split('/').next());
                let from = builds.blobs.dir().sub(folder.unwrap_or_default()).map_err(fail)?;
                from.rename(name, &to, mend::aside(name)).map_err(fail)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Brings back what is wanted from wherever it still is; which source each came from is the result.
fn refetch(
    builds: &Builds,
    wanted: &Wanted,
    progress: &(dyn Progress + Sync),
) -> Result<HashMap<(Digest, bool), String>, BuildError> {
    let mut found = HashMap::new();
    let mut left = wanted.clone();
    let mut take = |left: &mut Wanted, from: &str| -> Result<(), BuildError> {
        let there: Vec<_> = left
            .iter()
            .filter(|(blob, exec)| builds.blobs.has(blob, *exec).unwrap_or(false))
            .cloned()
            .collect();
        for name in there {
            left.remove(&name);
            found.insert(name, from.to_owned());
        }
        Ok(())
    };
    if left.is_empty() {
        return Ok(found);
    }
    from_twins(builds, &left)?;
    take(&mut left, "the same content with another mode")?;
    from_trees(builds, &left)?;
    take(&mut left, "a tree that still has it")?;
    for (path, layouts) in sources(builds, &left) {
        if left.is_empty() {
            break;
        }
        match refill(builds, &path, &layouts, &left, progress) {
            Ok(()) => take(&mut left, &format!("`{}`", path.display()))?,
            Err(error @ BuildError::Cancelled { .. }) => return Err(error),
            // Another source may still have it; what is not found is said in the end.
            Err(error) => {
                tracing::warn!(%error, source = %path.display(), "a source is of no use for a repair");
            }
        }
    }
    Ok(found)
}

/// A file's content for the staging.
struct Whole {
    file: File,
    buffer: Vec<u8>,
    filled: usize,
    at: usize,
}

impl Body for Whole {
    fn piece(&mut self) -> Result<&[u8], BuildError> {
        if self.at == self.filled {
            let read = self.file.read(&mut self.buffer);
            self.filled = read.map_err(|error| BuildError::io("read", Path::new("a blob"), error))?;
            self.at = 0;
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    fn done(&mut self, n: usize) {
        self.at += n;
    }
}

fn staging<'a>(builds: &'a Builds, wanted: &Wanted) -> Result<Staging<'a>, BuildError> {
    let lease = builds.leases.take("builds are repaired");
    let mut staging = Staging::new(&builds.blobs, &builds.incoming, &builds.root, lease)?;
    staging.want(wanted.clone());
    Ok(staging)
}

fn publish(builds: &Builds, staging: Staging<'_>) -> Result<(), BuildError> {
    builds.publish(staging)?;
    hit("builds.repair.published");
    let fail = |error| BuildError::io("make durable what is below", &builds.root, error);
    builds.settler.wait(None).map_err(fail)
}

fn store(staging: &mut Staging<'_>, file: File, exec: bool) -> Result<(), BuildError> {
    let size = file.metadata().map_err(|e| BuildError::io("read", Path::new("a blob"), e))?.len();
    let mut body = Whole { file, buffer: vec![0; 256 * 1024], filled: 0, at: 0 };
    staging.store(size, exec, None, &mut body).map(drop)
}

/// The same content is there as a file that can be run, or that cannot.
fn from_twins(builds: &Builds, wanted: &Wanted) -> Result<(), BuildError> {
    let mut staging = staging(builds, wanted)?;
    for (blob, exec) in wanted {
        if let Ok(file) = builds.blobs.open_blob(blob, !exec) {
            store(&mut staging, file, *exec)?;
        }
    }
    publish(builds, staging)
}

/// A tree still has a link to it, or a copy of its own; or it is a manifest, and its tree is there.
fn from_trees(builds: &Builds, wanted: &Wanted) -> Result<(), BuildError> {
    let mut staging = staging(builds, wanted)?;
    let fail = |error| BuildError::io("read trees of", &builds.root, error);
    for tree in builds.trees.all().map_err(fail)? {
        let Ok(top) = builds.trees.dir().sub(tree.hex()) else { continue };
        if wanted.contains(&(tree.clone(), false)) {
            if let Some(manifest) = of_tree(&top).ok().filter(|manifest| manifest.digest() == tree) {
                staging.store_manifest(&manifest)?;
            }
            continue;
        }
        let Ok(manifest) = builds.manifest(&tree) else { continue };
        for (path, blob, exec) in manifest.files() {
            if wanted.contains(&(blob.clone(), exec))
                && let Ok(file) = top.open_file(path)
            {
                store(&mut staging, file, exec)?;
            }
        }
    }
    publish(builds, staging)
}

/// The manifest that a tree's content has.
fn of_tree(top: &Dir) -> io::Result<Manifest> {
    let mut nodes: BTreeMap<Box<str>, Node> = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(below) = folders.pop() {
        let dir = if below.is_empty() { None } else { Some(top.sub(&below)?) };
        let dir = dir.as_ref().unwrap_or(top);
        for entry in dir.entries()? {
            let Some(name) = entry.name.to_str() else { return Err(io::ErrorKind::InvalidData.into()) };
            let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            let node = match entry.kind {
                FileType::Directory => {
                    folders.push(path.clone());
                    Node::Folder
                }
                FileType::Symlink => {
                    let target = String::from_utf8(dir.read_link(name)?);
                    Node::Link(target.map_err(|_| io::ErrorKind::InvalidData)?.into())
                }
                _ => {
                    let file = dir.open_file(name)?;
                    let exec = rustix::fs::fstat(&file)?.st_mode & 0o100 != 0;
                    Node::File { blob: hash_blob(&file)?, exec }
                }
            };
            nodes.insert(path.into(), node);
        }
    }
    Ok(Manifest::new(nodes))
}

/// Archives and folders on this host that builds with a wanted blob came from, each once, with the layouts that
/// were used.
fn sources(builds: &Builds, wanted: &Wanted) -> Vec<(PathBuf, Vec<Layout>)> {
    let has = |digest: &Digest| {
        wanted.contains(&(digest.clone(), false))
            || builds.manifest(digest).is_ok_and(|manifest| {
                manifest.files().any(|(_, blob, exec)| wanted.contains(&(blob.clone(), exec)))
            })
    };
    let seen = builds.archives.all();
    let mut found: Vec<(PathBuf, Vec<Layout>)> = Vec::new();
    let mut add = |path: PathBuf, layouts: &[Layout]| {
        let known = found.iter().any(|(other, with)| *other == path && with == layouts);
        if path.is_absolute() && path.exists() && !known {
            found.push((path, layouts.to_vec()));
        }
    };
    for archive in seen.iter().filter(|archive| has(&archive.digest)) {
        if let Some(path) = &archive.path {
            add(path.clone(), &archive.layouts);
        }
    }
    for digest in builds.records.digests().unwrap_or_default().iter().filter(|digest| has(digest)) {
        let Ok(Some(record)) = builds.record(digest) else { continue };
        let layouts = seen.iter().find(|archive| archive.digest == *digest);
        add(PathBuf::from(&record.source), layouts.map_or(&[], |archive| &archive.layouts));
    }
    found
}

/// Reads a source again and takes from it what is wanted, nothing else.
fn refill(
    builds: &Builds,
    path: &Path,
    layouts: &[Layout],
    wanted: &Wanted,
    progress: &(dyn Progress + Sync),
) -> Result<(), BuildError> {
    let fail = |error| BuildError::io("open", path, error);
    let meta = std::fs::metadata(path).map_err(fail)?;
    let (done, told) = (AtomicU64::new(0), Cell::new(0));
    let likely = builds.likely();
    let watch = Watch::new(path, progress, &done, meta.is_file().then_some(meta.len()), &told);
    let mut sink = Sink::new(watch, &builds.limits, staging(builds, wanted)?, &likely);
    let source = if meta.is_dir() { Source::Folder(path) } else { Source::File(path) };
    match source {
        Source::Folder(path) => ingest::read_source(&mut sink, |sink| folder::read(path, sink))?,
        Source::File(path) => {
            let file = File::open(path).map_err(fail)?;
            ingest::read_source(&mut sink, |sink| ingest::read_archive(&file, sink, &done)).map(drop)?;
        }
    }
    let (members, mut staging) = sink.into_parts();
    if let Ok(manifest) = members.finish(meta.is_file(), layouts)
        && wanted.contains(&(manifest.digest(), false))
    {
        staging.store_manifest(&manifest)?;
    }
    publish(builds, staging)
}

/// Says of one damage that it is mended, where it is; modes, records and what was put aside are mended here.
fn settle_one(
    builds: &Builds,
    damage: &mut Damage,
    found: &HashMap<(Digest, bool), String>,
) -> Result<(), BuildError> {
    damage.repaired = match (&damage.kind, &damage.blob, &damage.tree) {
        (Kind::Content { .. } | Kind::Gone { .. }, ..) => {
            damage.needs().and_then(|name| found.get(&name)).map(|from| format!("taken again from {from}"))
        }
        (Kind::Mode { exec }, Some(blob), _) => {
            let fail = |error| BuildError::io("set the mode of a blob below", builds.blobs.path(), error);
            match builds.blobs.open_blob(blob, *exec) {
                Ok(file) => {
                    use std::os::unix::fs::PermissionsExt as _;
                    let mode = if *exec { 0o555 } else { 0o444 };
                    file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(fail)?;
                    Some("its mode was set".to_owned())
                }
                // Put aside for its content, which is said by itself.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some("it was put aside".to_owned()),
                Err(error) => return Err(fail(error)),
            }
        }
        (Kind::Stray, ..) => Some("it was put aside".to_owned()),
        (Kind::Record, _, Some(digest)) => rebuild_record(builds, digest)?,
        _ => None,
    };
    hit("builds.repair.one-settled");
    Ok(())
}

/// A record that cannot be read is written anew from what the manifest says.
fn rebuild_record(builds: &Builds, digest: &Digest) -> Result<Option<String>, BuildError> {
    let Ok(manifest) = builds.manifest(digest) else { return Ok(None) };
    let folder = builds.root.join(QUARANTINE);
    mend::quarantine(builds).map_err(|error| BuildError::io("make", &folder, error))?;
    builds.records.put_aside(digest, &folder.join(mend::aside(&format!("{}.json", digest.hex()))))?;
    let (mut files, mut bytes) = (0, 0);
    for (_, blob, exec) in manifest.files() {
        files += 1;
        bytes += builds.blobs.size(blob, exec).ok().flatten().unwrap_or(0);
    }
    builds.put_record(&Record {
        digest: digest.clone(),
        source: format!("build:{digest}"),
        archive: None,
        facts: serde_json::Value::Null,
        files,
        bytes,
        added: String::new(),
    })?;
    Ok(Some("written anew from the build itself; where it came from is not known any more".to_owned()))
}

fn mend_tree(builds: &Builds, tree: &Digest, checked: &mut Checked) -> Result<(), BuildError> {
    let mended =
        builds.manifest(tree).and_then(|manifest| mend::tree(builds, tree, &manifest, Look::Content));
    let (how, differences) = match mended {
        Ok(differences) => (Some("mended in its place"), differences),
        // Its blob or its manifest is still gone: that is said of the blob, and of what was found in the tree.
        Err(BuildError::Damaged { .. } | BuildError::Unknown(_)) => (None, Vec::new()),
        Err(error) => return Err(error),
    };
    if how.is_some() {
        builds.trees.checked(tree);
    }
    let folder = format!("trees/{}/", tree.hex());
    for damage in &mut checked.damage {
        if damage.kind == Kind::Tree && damage.path.starts_with(&folder) {
            damage.repaired = how.map(str::to_owned);
        }
    }
    // Files that were the bad blob itself: found only now that the blob is another file.
    for difference in differences {
        let path = format!("{folder}{}", difference.path);
        if !checked.damage.iter().any(|damage| damage.path == path) {
            let mut damage = Damage::new(path, "it was linked to a blob that was wrong", Kind::Tree);
            damage.tree = Some(tree.clone());
            damage.repaired = how.map(str::to_owned);
            checked.damage.push(damage);
        }
    }
    Ok(())
}

/// Those of the wanted that a build with a record or a tree is not whole without.
fn needed(builds: &Builds, wanted: &Wanted) -> Result<Wanted, BuildError> {
    let mut all = builds.records.digests()?;
    all.extend(builds.trees.all().map_err(|e| BuildError::io("list", &builds.root.join("trees"), e))?);
    let mut found = Wanted::new();
    for digest in all {
        if let Ok(manifest) = builds.manifest(&digest) {
            let files = manifest.files().map(|(_, blob, exec)| (blob.clone(), exec));
            found.extend(files.filter(|name| wanted.contains(name)));
        }
        found.extend(wanted.get(&(digest, false)).cloned());
    }
    Ok(found)
}

/// What a user can do where nothing on this host helped.
fn remedy(damage: &Damage, records: &HashMap<Digest, Record>) -> String {
    let of = damage.builds.iter().chain(damage.tree.iter()).find_map(|digest| records.get(digest));
    let Some(record) = of else {
        let blobs_of_nobody = damage.path.rsplit('/').next().and_then(parse_name).is_some();
        return if blobs_of_nobody && damage.builds.is_empty() && damage.tree.is_none() {
            "nothing with a record needs it; a charm or a derived tree may: deploy or refresh its application again"
                .to_owned()
        } else {
            "what it came from is not on this host: deploy or attach it again".to_owned()
        };
    };
    let source = &record.source;
    if let Some(version) = source.strip_prefix("recipe:") {
        let product = record.facts.get("product").and_then(serde_json::Value::as_str).unwrap_or("CHARM");
        return format!("make it again: stoker builds add recipe:{version} --charm {product}");
    }
    if source.starts_with('/') {
        let sum = record.archive.as_ref().map(|a| format!(" (sha256 {})", a.sha256)).unwrap_or_default();
        let state =
            if Path::new(source).exists() { "has other content now" } else { "is not there any more" };
        return format!(
            "`{source}`{sum} {state}: put it back, then stoker builds verify --repair; \
             or add the same build from elsewhere: stoker builds add SOURCE"
        );
    }
    format!("add it again: stoker builds add {source}")
}
