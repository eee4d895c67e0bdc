//! Releases: each change of charm, configuration or resources is one. What changes nothing makes none.

use std::collections::BTreeMap;

use serde_json::Value;
use stoker_model::charm::Charm;
use stoker_model::keys::Key;
use stoker_model::record::{App, Release};
use stoker_model::rollout::Rollout;

use super::applications::put_revision;
use super::draft::Draft;
use super::inputs::Inputs;
use super::revisions::missing;
use crate::problem::{Problem, codes};

/// Checks options; what is kept is as written, so that a later charm reads it in its own way.
pub(super) fn check_config(
    charm: &Charm,
    config: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, Problem> {
    for (name, value) in config {
        let Some(option) = charm.config.get(name) else {
            let title = format!("cannot set option `{name}`: charm {} has no such option", charm.name);
            return Err(Problem::new(codes::NOT_FOUND, title)
                .evidence(format!("options: {}", names(charm.config.keys())))
                .did_you_mean(name, charm.config.keys().map(String::as_str)));
        };
        option.check(value).map_err(|why| {
            Problem::new(codes::INVALID_VALUE, format!("cannot set option `{name}`: {why}"))
        })?;
    }
    Ok(config.clone())
}

fn names<'a>(keys: impl Iterator<Item = &'a String>) -> String {
    keys.map(String::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn configure(
    draft: &mut Draft,
    name: &str,
    set: &BTreeMap<String, Value>,
    reset: &[String],
) -> Result<String, Problem> {
    let app = draft.app(name, "configure")?;
    let release = draft.release(name)?;
    let mut config = release.config.clone();
    config.extend(check_config(&release.description, set)?);
    let unset: BTreeMap<String, Value> = reset.iter().map(|option| (option.clone(), Value::Null)).collect();
    if let Some(unknown) = unset.keys().find(|option| !release.description.config.contains_key(*option)) {
        let title =
            format!("cannot reset option `{unknown}`: charm {} has no such option", release.charm_name);
        let known = release.description.config.keys().map(String::as_str);
        return Err(Problem::new(codes::NOT_FOUND, title)
            .fix(format!("stoker config {name}"))
            .did_you_mean(unknown, known));
    }
    config.retain(|option, _| !unset.contains_key(option));
    if config == release.config {
        return Ok(format!("{name} has that configuration already"));
    }
    next(draft, app, Release { config, ..release })
}

pub(super) fn next(draft: &mut Draft, mut app: App, release: Release) -> Result<String, Problem> {
    let n = draft.put_release(&mut app, release)?;
    Ok(format!("release {n} of {}", app.name))
}

pub(super) fn attach(
    draft: &mut Draft,
    inputs: &Inputs,
    name: &str,
    resource: &str,
) -> Result<String, Problem> {
    let app = draft.app(name, "attach a resource to")?;
    let mut release = draft.release(name)?;
    let missing = || Problem::new(codes::INTERNAL, "cannot attach: the build was not made");
    let made = inputs.resources.get(resource).ok_or_else(missing)?;
    let newest = draft.snapshot.newest_revision(name, resource).cloned();
    let in_use = release.resources.get(resource).copied();
    if let Some(same) = newest.as_ref().filter(|r| r.build == made.digest && Some(r.revision) == in_use) {
        return Ok(format!("{name} has these bytes already: {resource} revision {}", same.revision));
    }
    // Also above those that were removed: a number means the same bytes for ever.
    let range = (name.to_owned(), 0)..=(name.to_owned(), u64::MAX);
    let named = draft.snapshot.releases.range(range).filter_map(|(_, r)| r.resources.get(resource).copied());
    let revision = named.chain(newest.map(|revision| revision.revision)).max().unwrap_or_default() + 1;
    put_revision(draft, name, resource, revision, made)?;
    if let Some(stays) = in_use.filter(|_| release.pins.contains(resource)) {
        return Ok(format!(
            "attached {resource} revision {revision} ({} {}); {name} is pinned at revision {stays}: stoker unpin {name} {resource}",
            made.facts.product, made.facts.version
        ));
    }
    release.resources.insert(resource.to_owned(), revision);
    let said = next(draft, app, release)?;
    Ok(format!(
        "attached {resource} revision {revision} ({} {}); {said}",
        made.facts.product, made.facts.version
    ))
}

pub(super) fn refresh(draft: &mut Draft, inputs: &Inputs, name: &str) -> Result<String, Problem> {
    let app = draft.app(name, "refresh")?;
    let mut release = draft.release(name)?;
    let missing = || Problem::new(codes::INTERNAL, "cannot refresh: the charm was not taken in");
    let charm = inputs.charm.as_ref().ok_or_else(missing)?;
    if charm.description.name != release.charm_name {
        let title = format!(
            "cannot refresh `{name}`: it is of charm {}, not {}",
            release.charm_name, charm.description.name
        );
        return Err(Problem::new(codes::CONFLICT, title));
    }
    if charm.digest == release.charm {
        return Ok(format!("{name} has this charm already"));
    }
    let gone: Vec<String> =
        release.config.keys().filter(|o| !charm.description.config.contains_key(*o)).cloned().collect();
    for option in gone {
        release.config.remove(&option);
        draft.warnings.push(format!("option {option} is gone from the charm; its value was dropped"));
    }
    check_config(&charm.description, &release.config)?;
    release.charm = charm.digest.clone();
    release.description = charm.description.clone();
    next(draft, app, release)
}

pub(super) fn rollback(draft: &mut Draft, name: &str, to: Option<u64>) -> Result<String, Problem> {
    let app = draft.app(name, "roll back")?;
    let newest = draft.release(name)?;
    let content = |r: &Release| (r.charm.clone(), r.config.clone(), r.resources.clone(), r.pins.clone());
    let earlier = draft.snapshot.releases.range((name.to_owned(), 0)..(name.to_owned(), newest.n));
    let target = match to {
        Some(n) => draft.snapshot.releases.get(&(name.to_owned(), n)).cloned(),
        None => earlier
            .rev()
            .map(|(_, r)| r.clone())
            .find(|r| content(r) != content(&newest) && missing(draft, r, name).is_none()),
    };
    let Some(target) = target else {
        let title = match to {
            Some(n) => format!("cannot roll `{name}` back: there is no release {n}"),
            None => format!("cannot roll `{name}` back: no earlier release differs from this one"),
        };
        return Err(Problem::new(codes::NOT_FOUND, title).fix(format!("stoker releases {name}")));
    };
    if content(&target) == content(&newest) {
        return Ok(format!("{name} is at what release {} was already", target.n));
    }
    let n = target.n;
    if let Some(gone) = missing(draft, &target, name) {
        let title = format!("cannot roll `{name}` back to release {n}: {gone} was removed");
        return Err(Problem::new(codes::CONFLICT, title).fix(format!("stoker releases {name}")));
    }
    draft.back = true;
    let said = next(draft, app, Release::clone(&target))?;
    Ok(format!("{said}, as release {n} was"))
}

pub(super) fn now(draft: &mut Draft, name: &str) -> Result<String, Problem> {
    let app = draft.app(name, "roll out")?;
    let now = draft.number();
    // All that are left, at once.
    let rollout = app.rollout.clone().map(|rollout| Rollout { most: u32::MAX, paused: false, ..rollout });
    draft.put(Key::App(name.to_owned()), &App { now, rollout, ..app })?;
    draft.concerns(name);
    Ok(format!("moves of {name} no longer wait for busy services"))
}

/// The application's rollout, where it goes on.
fn under_way(app: &App, what: &str) -> Result<Rollout, Problem> {
    let name = &app.name;
    let live = app.rollout.clone().filter(|rollout| !rollout.done);
    live.ok_or_else(|| {
        let title = format!("cannot {what} the rollout of `{name}`: all its units are at its newest release");
        Problem::new(codes::CONFLICT, title).fix(format!("stoker rollout {name}"))
    })
}

pub(super) fn pause(draft: &mut Draft, name: &str, paused: bool) -> Result<String, Problem> {
    let what = if paused { "pause" } else { "resume" };
    let app = draft.app(name, "roll out")?;
    let rollout = under_way(&app, what)?;
    let to = rollout.to;
    if rollout.paused == paused {
        return Ok(format!("the rollout of {name} {} already", if paused { "is paused" } else { "goes on" }));
    }
    let rollout = Some(Rollout { paused, ..rollout });
    draft.put(Key::App(name.to_owned()), &App { rollout, ..app })?;
    draft.concerns(name);
    Ok(format!("{what}s the rollout of {name} to release {to}"))
}

pub(super) fn abort(draft: &mut Draft, name: &str) -> Result<String, Problem> {
    let app = draft.app(name, "roll out")?;
    let rollout = under_way(&app, "abort")?;
    if rollout.back {
        let title = format!("cannot abort the rollout of `{name}`: it goes back already");
        return Err(Problem::new(codes::CONFLICT, title).fix(format!("stoker rollout {name}")));
    }
    rollback(draft, name, Some(rollout.from))
}
