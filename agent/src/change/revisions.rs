//! Revisions of resources that are there already: staying on one, and forgetting one. Must not make any.

use std::sync::Arc;

use stoker_model::keys::Key;
use stoker_model::record::{Release, Revision};

use super::draft::Draft;
use super::releases::next;
use crate::problem::{Problem, codes};

/// The revision, where it is there.
fn find(draft: &Draft, app: &str, resource: &str, n: u64, what: &str) -> Result<Arc<Revision>, Problem> {
    let known =
        |revision: &u64| draft.snapshot.revisions.get(&(app.to_owned(), resource.to_owned(), *revision));
    known(&n).cloned().ok_or_else(|| {
        let range =
            (app.to_owned(), resource.to_owned(), 0)..=(app.to_owned(), resource.to_owned(), u64::MAX);
        let numbers: Vec<String> =
            draft.snapshot.revisions.range(range).map(|((_, _, n), _)| n.to_string()).collect();
        let title = format!("cannot {what}: `{app}` has no revision {n} of {resource}");
        let problem = Problem::new(codes::NOT_FOUND, title).fix(format!("stoker resources {app} --details"));
        if numbers.is_empty() { problem } else { problem.evidence(format!("it has {}", numbers.join(", "))) }
    })
}

/// What of a release was removed since: it cannot be gone back to.
pub(super) fn missing(draft: &Draft, release: &Release, app: &str) -> Option<String> {
    let there = |(name, n): &(&String, &u64)| {
        draft.snapshot.revisions.contains_key(&(app.to_owned(), (*name).clone(), **n))
    };
    let gone = release.resources.iter().find(|used| !there(used));
    gone.map(|(name, n)| format!("{name} revision {n}"))
}

/// Stays on a revision: what is attached later is kept, and not moved to.
pub(super) fn pin(draft: &mut Draft, name: &str, resource: &str, n: Option<u64>) -> Result<String, Problem> {
    let app = draft.app(name, "pin a resource of")?;
    let release = draft.release(name)?;
    let current = release.resources.get(resource).copied();
    let Some(n) = n.or(current) else {
        let title = format!("cannot pin {resource}: `{name}` has none attached");
        return Err(Problem::new(codes::NOT_FOUND, title).fix(format!("stoker resources {name}")));
    };
    let revision = find(draft, name, resource, n, &format!("pin {resource}"))?;
    if current == Some(n) && release.pins.contains(resource) {
        return Ok(format!("{resource} of {name} is pinned at revision {n} already"));
    }
    let mut pinned = release;
    pinned.resources.insert(resource.to_owned(), n);
    pinned.pins.insert(resource.to_owned());
    let said = next(draft, app, pinned)?;
    Ok(format!("pinned {resource} at revision {n} ({}); {said}", revision.facts.version))
}

/// Goes to the newest revision, and with it from now on.
pub(super) fn unpin(draft: &mut Draft, name: &str, resource: &str) -> Result<String, Problem> {
    let app = draft.app(name, "unpin a resource of")?;
    let mut release = draft.release(name)?;
    if !release.pins.remove(resource) {
        let title = format!("cannot unpin {resource}: `{name}` has no such pin");
        return Err(Problem::new(codes::NOT_FOUND, title).fix(format!("stoker resources {name}")));
    }
    if let Some(newest) = draft.snapshot.newest_revision(name, resource) {
        release.resources.insert(resource.to_owned(), newest.revision);
    }
    next(draft, app, release)
}

/// Forgets a revision. What units use or may go to never is; what only earlier releases name, with `force`.
pub(super) fn remove(
    draft: &mut Draft,
    name: &str,
    resource: &str,
    n: u64,
    force: bool,
) -> Result<String, Problem> {
    let app = draft.app(name, "remove a revision from")?;
    find(draft, name, resource, n, "remove it")?;
    let snapshot = &draft.snapshot;
    let newest = snapshot.newest_release(name).map_or(0, |release| release.n);
    let rollout =
        app.rollout.iter().filter(|rollout| !rollout.done).flat_map(|rollout| [rollout.from, rollout.to]);
    let applied = |unit: &stoker_model::ids::UnitId| snapshot.reports.get(unit).map(|report| report.release);
    let units = snapshot.units_of(name).flat_map(|unit| [Some(unit.release), applied(&unit.id)]).flatten();
    let draining = snapshot.units_of(name).filter_map(|unit| snapshot.reports.get(&unit.id));
    let draining = draining.flat_map(|report| report.generations.iter().map(|generation| generation.release));
    let live: std::collections::BTreeSet<u64> =
        rollout.chain(units).chain(draining).chain([newest]).collect();
    let range = (name.to_owned(), 0)..=(name.to_owned(), u64::MAX);
    let names = |release: &&Arc<Release>| release.resources.get(resource) == Some(&n);
    let users: Vec<u64> = snapshot.releases.range(range).map(|(_, r)| r).filter(names).map(|r| r.n).collect();
    let words = |all: &[u64]| {
        let numbers = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("{} {numbers}", if all.len() == 1 { "release" } else { "releases" })
    };
    let title = format!("cannot remove revision {n} of {resource}");
    let held: Vec<u64> = users.iter().copied().filter(|release| live.contains(release)).collect();
    if !held.is_empty() {
        let title = format!("{title}: needed by {}, which units run or go to", words(&held));
        let fix = format!("stoker attach-resource {name} {resource}=…, and wait until its units have moved");
        return Err(Problem::new(codes::CONFLICT, title).fix(fix));
    }
    if !users.is_empty() && !force {
        let title = format!("{title}: {} could no longer be gone back to", words(&users));
        let fix = format!("stoker remove-resource {name} {resource}={n} --force");
        return Err(Problem::new(codes::CONFLICT, title).fix(fix));
    }
    draft.delete(Key::Revision(name.to_owned(), resource.to_owned(), n))?;
    Ok(format!(
        "removed revision {n} of {resource} from {name}; stoker builds gc frees what nothing else uses"
    ))
}
