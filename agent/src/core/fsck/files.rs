//! What lies in the folder: rendered files are those of the plans, byte by byte, and nothing half made is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stoker_model::ids::Digest;

use super::records::{living, service_names};
use super::{Found, Records};
use crate::core::MODEL;

/// Names in a folder, sorted; empty where there is none.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// All files below a folder, links not followed.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for name in names(folder) {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => walk(&path, found),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
}

/// Checks everything on the disk but the databases.
pub(super) fn check(dir: &Path, records: &Records, found: &mut Found) {
    for empty in ["builds/incoming", "cache/making", "run/scratch"] {
        for name in names(&dir.join(empty)) {
            found.unrest("files", format!("{empty}/{name} is left"));
        }
    }
    for name in names(&dir.join("warm")) {
        // What went with a tree that was collected goes with the next collection.
        if Digest::from_hex(&name).is_err() {
            found.damage("files", format!("warm/{name} goes with no tree"));
        }
    }
    unready(dir, found);
    service_records(dir, records, found);
    let units = dir.join("models").join(MODEL).join("units");
    for unit in names(&units) {
        match records.journal.get(&unit) {
            Some(local) => rendered(&units.join(&unit), local, &unit, found),
            None => found.unrest("units", format!("models/{MODEL}/units/{unit} is left")),
        }
    }
    for id in names(&dir.join("kept")) {
        let meta = fs::read(dir.join("kept").join(&id).join("meta.json")).unwrap_or_default();
        let meta: Value = serde_json::from_slice(&meta).unwrap_or_default();
        let elsewhere = meta["elsewhere"].as_array().is_some_and(|folders| !folders.is_empty());
        if meta["format"] != 1 || !(elsewhere || dir.join("kept").join(&id).join("data").is_dir()) {
            found.damage("kept", format!("kept/{id} has no description or no data"));
        }
    }
    builds(dir, records, found);
}

/// Files that were to be renamed when they are whole.
fn unready(dir: &Path, found: &mut Found) {
    if !found.strict {
        return;
    }
    let mut files = Vec::new();
    walk(dir, &mut files);
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
        let unique = |end: &str| end.matches('-').count() == 2 && end.split('-').all(is_number);
        let hidden = name.starts_with('.') && name.rsplit('.').next().is_some_and(unique);
        let in_services = path.starts_with(dir.join("services"));
        let new = path.extension().is_some_and(|end| end == "new");
        if hidden || (in_services && (new || path.display().to_string().contains("/.gone-"))) {
            found.unrest("files", format!("{} is left half made", path.display()));
        }
    }
}

/// Each record of a service belongs to a service, a task or an action that the unit has.
fn service_records(dir: &Path, records: &Records, found: &mut Found) {
    let mut known = BTreeSet::new();
    for (unit, local) in &records.journal {
        let full = |name: &str| format!("stoker-{MODEL}-{unit}-{name}");
        for applied in living(local).chain([&local["candidate"]]) {
            known.extend(service_names(applied).iter().map(|(_, run)| full(run)));
        }
        for plan in ["applied", "candidate"] {
            let tasks = local[plan]["tasks"].as_object().into_iter().flat_map(|map| map.keys());
            known.extend(tasks.map(|name| full(&format!("t.{name}"))));
        }
        let id = local["unit"].as_str().unwrap_or_default();
        let actions = records.of("action").filter(|(_, action)| action["unit"] == id);
        known.extend(actions.map(|(_, action)| full(&format!("a.{}", action["id"]))));
    }
    for name in names(&dir.join("services")) {
        if dir.join("services").join(&name).is_dir() && !known.contains(&name) {
            found.unrest("services", format!("services/{name} is of nothing that the plans have"));
        }
    }
}

/// The files of a unit are those of its applied plan and its candidate, byte by byte, and what living generations were
/// planned from.
fn rendered(folder: &Path, local: &Value, unit: &str, found: &mut Found) {
    let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
    for applied in living(local).chain([&local["candidate"]]) {
        for group in applied["groups"].as_object().into_iter().flat_map(|groups| groups.values()) {
            let base = PathBuf::from(group["path"].as_str().unwrap_or_default());
            for (within, file) in group["files"].as_object().into_iter().flatten() {
                let path = if within.is_empty() { base.clone() } else { base.join(within) };
                let text = file["text"].as_str().unwrap_or_default();
                match fs::read(&path) {
                    Ok(bytes) if file["secret"] == true || bytes == text.as_bytes() => {}
                    Ok(_) => {
                        found
                            .damage("files", format!("{unit}: {} is not what the plan says", path.display()));
                    }
                    Err(error) => found.damage("files", format!("{unit}: {}: {error}", path.display())),
                }
                wanted.insert(path);
            }
        }
    }
    let generations = living(local).filter_map(|applied| applied["bindings"]["generation"]["n"].as_u64());
    wanted.extend(generations.map(|n| folder.join("files/inputs").join(format!("{n}.json"))));
    let mut files = Vec::new();
    walk(&folder.join("files"), &mut files);
    for path in files.into_iter().filter(|path| !wanted.contains(path)) {
        found.unrest("files", format!("{unit}: {} is in no plan", path.display()));
    }
}

/// Resources' revisions that are kept whatever the settings: those of each application's newest two releases, and of
/// those that units are at. The builds of older ones may have been collected.
fn kept(records: &Records) -> BTreeSet<String> {
    let units: BTreeSet<String> = records
        .of("unit")
        .filter_map(|(at, unit)| {
            let app = at.split(['/', '-']).next()?;
            Some(format!("{app}/{:010}", unit["release"].as_u64()?))
        })
        .collect();
    let all: Vec<(&str, &Value)> = records.of("release").collect();
    let mut kept = BTreeSet::new();
    for (n, (at, release)) in all.iter().enumerate() {
        let app = at.split('/').next().unwrap_or_default();
        let later = all[n + 1..].iter().filter(|(other, _)| other.split('/').next() == Some(app)).count();
        if later < 2 || units.contains(*at) {
            let resources = release["resources"].as_object().into_iter().flatten();
            kept.extend(resources.filter_map(|(name, n)| Some(format!("{app}/{name}/{:010}", n.as_u64()?))));
        }
    }
    kept
}

/// Every build that the model names is here, and every tree is whole: its files are links to blobs.
fn builds(dir: &Path, records: &Records, found: &mut Found) {
    use std::os::unix::fs::MetadataExt;
    let hex = |digest: &Value| digest.as_str().and_then(|text| text.strip_prefix("b3:")).map(str::to_owned);
    let kept = kept(records);
    for (at, revision) in records.of("resource").filter(|(at, _)| kept.contains(*at)) {
        let name = hex(&revision["build"]).unwrap_or_default();
        if !dir.join("builds/records").join(format!("{name}.json")).exists() {
            found.damage("builds", format!("resource {at}: its build {name} has no record"));
        }
    }
    let mut needed: BTreeSet<String> = BTreeSet::new();
    for local in records.journal.values() {
        let trees = living(local).filter_map(|applied| applied["bindings"]["trees"].as_object());
        needed.extend(trees.flat_map(|trees| trees.values()).filter_map(|tree| hex(&tree[0])));
    }
    for name in needed {
        if !dir.join("builds/trees").join(&name).is_dir() {
            found.damage("builds", format!("the tree {name} is missing"));
        }
    }
    let mut files = Vec::new();
    walk(&dir.join("builds/trees"), &mut files);
    for path in files {
        let meta = fs::symlink_metadata(&path);
        if meta.is_ok_and(|meta| meta.is_file() && meta.nlink() < 2) {
            found.damage("builds", format!("{} is no link to a blob", path.display()));
        }
    }
}
