//! Room on the disk: what refers to a build, and collecting what nothing refers to. Owns the question what is kept;
//! how it goes is the host's.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use stoker_host::builds::{Collect, Collected, Record, Roots};
use stoker_host::fs::failpoint::hit;
use stoker_model::ids::{Digest, UnitId};
use stoker_model::record::ActionState;
use stoker_model::snapshot::Snapshot;

use super::builds::refused;
use super::{Core, MODEL, now};
use crate::api::stock::{BuildsUsage, CollectBuilds, CollectedBuilds, GoneBuild, KeptBuild};
use crate::problem::{Problem, codes};

/// Digests found in a text: `b3:` or `trees/`, then 64 hexadecimal digits. Whatever form a record has or will have,
/// what it names stays.
fn named_in(text: &str, found: &mut BTreeSet<Digest>) {
    for mark in ["b3:", "trees/"] {
        for (at, _) in text.match_indices(mark) {
            let digits = text.get(at + mark.len()..at + mark.len() + 64);
            found.extend(digits.and_then(|hex| Digest::from_hex(hex).ok()));
        }
    }
}

fn named_by(what: &impl serde::Serialize) -> BTreeSet<Digest> {
    let mut found = BTreeSet::new();
    named_in(&serde_json::to_string(what).unwrap_or_default(), &mut found);
    found
}

/// Adds `why` to each digest's reasons, once.
fn add(roots: &mut Roots, digests: impl IntoIterator<Item = Digest>, why: &str) {
    for digest in digests {
        let reasons = roots.entry(digest).or_default();
        if !reasons.iter().any(|known| known == why) {
            reasons.push(why.to_owned());
        }
    }
}

/// What the model refers to: releases within the window and those that units are at, what is published and
/// remembered, actions that have not ended.
fn of_model(snapshot: &Snapshot, window: usize, roots: &mut Roots) {
    for (name, app) in &snapshot.apps {
        let of_app = |(app, _): &&(String, u64)| app == name;
        let mut numbers: BTreeSet<u64> =
            snapshot.releases.keys().rev().filter(of_app).take(window).map(|(_, n)| *n).collect();
        numbers.insert(app.release);
        for unit in snapshot.units_of(name) {
            numbers.insert(unit.release);
            numbers.extend(snapshot.reports.get(&unit.id).map(|report| report.release));
        }
        for n in numbers {
            let Some(release) = snapshot.releases.get(&(name.clone(), n)) else { continue };
            let builds = release.resources.iter().filter_map(|(resource, revision)| {
                let key = (name.clone(), resource.clone(), *revision);
                Some(snapshot.revisions.get(&key)?.build.clone())
            });
            add(roots, builds.chain([release.charm.clone()]), &format!("release {n} of {name}"));
        }
    }
    for (unit, report) in &snapshot.reports {
        add(roots, report.trees.values().cloned(), &format!("unit {unit}"));
    }
    for (app, state) in &snapshot.app_state {
        add(roots, named_by(&**state), &format!("what {app} remembers"));
    }
    for (unit, state) in &snapshot.unit_state {
        add(roots, named_by(&**state), &format!("what {unit} remembers"));
    }
    for ((relation, app), data) in &snapshot.app_data {
        add(roots, named_by(&**data), &format!("what {app} publishes in relation {relation}"));
    }
    for ((relation, unit), data) in &snapshot.unit_data {
        add(roots, named_by(&**data), &format!("what {unit} publishes in relation {relation}"));
    }
    for action in snapshot.actions.values() {
        if matches!(action.state, ActionState::Pending | ActionState::Running) {
            add(roots, named_by(&**action), &format!("action {}", action.id));
        }
    }
}

/// What services and tasks on the disk were started with, running or not: their specs name paths in trees.
fn of_services(folder: &Path, roots: &mut Roots) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let text = match std::fs::read_to_string(entry.path().join("spec.json")) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut found = BTreeSet::new();
        named_in(&text, &mut found);
        add(roots, found, &format!("service {}", entry.file_name().display()));
    }
    Ok(())
}

/// Its product and version.
pub(super) fn what(record: Option<&Record>) -> String {
    let fact = |name: &str| record.and_then(|record| record.facts.get(name)).and_then(Value::as_str);
    match (fact("product"), fact("version")) {
        (Some(product), Some(version)) => format!("{product} {version}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

impl Core {
    /// Everything that must stay, with why.
    fn roots(&self) -> Result<Roots, Problem> {
        let settings = self.settings();
        let mut roots = Roots::new();
        let window = usize::try_from(settings.keep_releases).unwrap_or(usize::MAX);
        of_model(&self.snapshot(), window, &mut roots);
        let journal = self.journal.range(&format!("unit/{MODEL}/"));
        let journal = journal.map_err(|e| Problem::internal("cannot read the journal", &e))?;
        for (key, bytes) in journal {
            let mut found = BTreeSet::new();
            named_in(&String::from_utf8_lossy(&bytes), &mut found);
            let dashed = key.rsplit('/').next().unwrap_or_default();
            let unit =
                UnitId::from_dashed(dashed).map_or_else(|_| dashed.to_owned(), |unit| unit.to_string());
            add(&mut roots, found, &format!("unit {unit}"));
        }
        of_services(&self.paths.services, &mut roots)
            .map_err(|e| Problem::internal("cannot read what services were started with", &e))?;
        let young = settings.keep_unused;
        for record in self.builds.records().map_err(|e| refused(&e))? {
            let added = record.added.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
            let age = added.and_then(|added| now().checked_sub(u64::try_from(added).ok()?));
            if age.is_some_and(|age| u128::from(age) < young.as_millis()) {
                add(&mut roots, [record.digest], &format!("added less than {}s ago", young.as_secs()));
            }
        }
        Ok(roots)
    }

    /// Collects what nothing refers to, or says what would be; one build alone where it is named.
    pub(crate) async fn collect_builds(
        self: &Arc<Self>,
        asked: CollectBuilds,
    ) -> Result<CollectedBuilds, Problem> {
        let only = asked.only.as_deref().map(|text| self.find_record(text)).transpose()?;
        let core = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || core.collect(only, asked.apply)).await;
        done.map_err(|e| Problem::internal("cannot collect builds", &e))?
    }

    fn collect(&self, only: Option<Record>, apply: bool) -> Result<CollectedBuilds, Problem> {
        let records = self.builds.records().map_err(|e| refused(&e))?;
        let find = |digest: &Digest| records.iter().find(|record| record.digest == *digest);
        let what_to = Collect { only: only.as_ref().map(|record| record.digest.clone()), apply };
        let roots = || -> Result<Roots, Unfinished> {
            let mut roots = self.roots()?;
            if let Some(record) = &only {
                // That it is new keeps it from being collected unasked, not from being removed.
                if let Some(why) = roots.get_mut(&record.digest) {
                    why.retain(|why| !why.starts_with("added less than"));
                    if why.is_empty() {
                        roots.remove(&record.digest);
                    }
                }
                if let Some(why) = roots.get(&record.digest) {
                    return Err(in_use(record, why).into());
                }
            }
            Ok(roots)
        };
        let collected: Collected = self.builds.collect(&what_to, roots).map_err(Unfinished::into_problem)?;
        if let Some(record) = &only
            && let Some(why) = collected.kept.get(&record.digest)
        {
            return Err(in_use(record, why));
        }
        if apply {
            hit("agent.builds.collected");
            self.drop_tree_folders();
            let (builds, bytes) = (collected.builds.len(), collected.bytes);
            tracing::info!(
                builds,
                trees = collected.trees,
                blobs = collected.blobs,
                bytes,
                "builds were collected"
            );
        }
        let gone = |gone: &stoker_host::builds::Gone| GoneBuild {
            digest: gone.digest.to_string(),
            what: what(find(&gone.digest)),
            source: find(&gone.digest).map(|record| record.source.clone()).unwrap_or_default(),
            bytes: gone.bytes,
        };
        let kept = |(digest, why): (&Digest, &Vec<String>)| KeptBuild {
            digest: digest.to_string(),
            what: what(find(digest)),
            why: why.clone(),
        };
        Ok(CollectedBuilds {
            applied: apply,
            removed: collected.builds.iter().map(gone).collect(),
            // Of one build's removal nobody asks what else stays.
            kept: if only.is_none() { collected.kept.iter().map(kept).collect() } else { Vec::new() },
            trees: collected.trees,
            blobs: collected.blobs,
            leftovers: collected.leftovers,
            bytes: collected.bytes,
        })
    }

    /// What goes with trees that are not here any more. What cannot be removed now goes the next time.
    fn drop_tree_folders(&self) {
        for entry in std::fs::read_dir(&self.paths.warm).into_iter().flatten().flatten() {
            if self.paths.builds.join("trees").join(entry.file_name()).exists() {
                continue;
            }
            if let Err(error) = stoker_host::fs::remove_tree(&entry.path()) {
                tracing::warn!(folder = %entry.path().display(), %error, "cannot remove what went with a tree");
            }
        }
    }

    /// Refuses to refer to builds that are not here (any more), and waits until those that are are durable.
    pub(crate) async fn check_builds(&self, needed: Vec<Digest>) -> Result<(), Problem> {
        let builds = Arc::clone(&self.builds);
        let checked = tokio::task::spawn_blocking(move || {
            needed.iter().try_for_each(|digest| builds.manifest(digest).and_then(|_| builds.settle(digest)))
        });
        checked.await.map_err(|e| Problem::internal("cannot look at builds", &e))?.map_err(|error| {
            let fix = "attach the build again; those of releases beyond gc.keep-releases are collected by stoker builds gc";
            refused(&error).fix(fix)
        })
    }

    /// What builds take on the disk.
    pub(crate) async fn builds_usage(&self) -> Result<BuildsUsage, Problem> {
        let builds = Arc::clone(&self.builds);
        let warm = self.paths.warm.clone();
        let (usage, warm_bytes) = tokio::task::spawn_blocking(move || (builds.usage(), disk_bytes(&warm)))
            .await
            .map_err(|e| Problem::internal("cannot count what builds take", &e))?;
        let usage = usage.map_err(|e| refused(&e))?;
        Ok(BuildsUsage {
            builds: usage.builds,
            trees: usage.trees,
            blobs: usage.blobs,
            bytes: usage.bytes,
            disk_bytes: usage.total_disk_bytes,
            warm_bytes,
        })
    }
}

/// Bytes the disk gives for a folder's files, links not followed. What goes away meanwhile takes nothing.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(one).sum()
}

/// Why a collection did not come to its end: a problem of ours, or of the builds.
enum Unfinished {
    Asked(Problem),
    Builds(stoker_host::builds::BuildError),
}

impl From<stoker_host::builds::BuildError> for Unfinished {
    fn from(error: stoker_host::builds::BuildError) -> Self {
        Self::Builds(error)
    }
}

impl From<Problem> for Unfinished {
    fn from(problem: Problem) -> Self {
        Self::Asked(problem)
    }
}

impl Unfinished {
    fn into_problem(self) -> Problem {
        match self {
            Self::Asked(problem) => problem,
            Self::Builds(error @ stoker_host::builds::BuildError::Damaged { .. }) => {
                let title =
                    "cannot collect builds: one that is needed is damaged, and what it needs is not known";
                Problem::new(codes::DAMAGED, title)
                    .evidence(crate::problem::chain(&error))
                    .fix("stoker builds verify --repair")
            }
            Self::Builds(error) => refused(&error),
        }
    }
}

fn in_use(record: &Record, why: &[String]) -> Problem {
    let title =
        format!("cannot remove build {} ({}): it is in use", record.digest.short(), what(Some(record)));
    let mut problem = Problem::new(codes::CONFLICT, title);
    for why in why {
        problem = problem.evidence(format!("kept for {why}"));
    }
    problem.fix("remove what uses it first; releases that are older than gc.keep-releases keep nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_any_text() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let text =
            format!("{{\"x\":\"b3:short {one}, /a/builds/trees/{}/bin b3:{}\"}}", two.hex(), "z".repeat(64));
        let mut found = BTreeSet::new();
        named_in(&text, &mut found);
        assert_eq!(found, BTreeSet::from([one, two]));
        // Whatever lies at the cut.
        let mut found = BTreeSet::new();
        named_in("b3:é", &mut found);
        named_in(&format!("b3:{}é", "a".repeat(63)), &mut found);
        assert!(found.is_empty());
    }
}
