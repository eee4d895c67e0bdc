//! Applications and units: deployed, added, removed. Placement on one host: each unit gets a share that stays.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stoker_model::charm::Role;
use stoker_model::ids::{UnitId, check_name};
use stoker_model::keys::Key;
use stoker_model::observation::{Grant, Host, Life};
use stoker_model::record::{App, End, Move, Relation, Release, Revision, Unit};
use stoker_model::snapshot::Snapshot;

use super::draft::Draft;
use super::inputs::Inputs;
use super::releases::check_config;
use crate::core::{Core, MadeBuild, random_id};
use crate::problem::{Problem, codes};

/// A unit gets at least this much memory.
const LEAST: u64 = 1 << 30;
/// A plan's `scale` adds at most so many units at once: each transaction is bounded.
const MAX_GROWTH: usize = 50;

pub(super) fn deploy(
    core: &Core,
    draft: &mut Draft,
    inputs: &Inputs,
    name: Option<&str>,
    units: u32,
    config: &BTreeMap<String, Value>,
    reuse: &[String],
) -> Result<String, Problem> {
    let missing = || Problem::new(codes::INTERNAL, "cannot deploy: the charm was not taken in");
    let charm = inputs.charm.as_ref().ok_or_else(missing)?;
    let name = name.unwrap_or(&charm.description.name).to_owned();
    check_name(&name)
        .map_err(|e| Problem::new(codes::INVALID_VALUE, format!("cannot deploy `{name}`: {e}")))?;
    if draft.snapshot.apps.contains_key(&name) {
        let title = format!("cannot deploy `{name}`: there is an application of that name");
        return Err(Problem::new(codes::CONFLICT, title).fix("stoker status"));
    }
    let config = check_config(&charm.description, config)?;
    let mut resources = BTreeMap::new();
    for (resource, made) in &inputs.resources {
        put_revision(draft, &name, resource, 1, made)?;
        resources.insert(resource.clone(), 1);
    }
    let mut app = App {
        name: name.clone(),
        uuid: random_id(16)?,
        life: Life::Alive,
        next_unit: 0,
        release: 0,
        leader: None,
        now: 0,
        now_at: None,
        change: draft.number(),
        rollout: None,
        ended: BTreeMap::new(),
        exposed: None,
    };
    let release = Release {
        n: 1,
        charm: charm.digest.clone(),
        charm_name: charm.description.name.clone(),
        description: charm.description.clone(),
        config,
        resources,
        pins: BTreeSet::new(),
        change: 0,
        time: 0,
        by: String::new(),
        command: String::new(),
        moving: Move::default(),
    };
    draft.put_release(&mut app, release)?;
    for (endpoint, known) in charm.description.relations.iter().filter(|(_, e)| e.role == Role::Peer) {
        let id = draft.next_relation();
        let end = End { app: name.clone(), endpoint: endpoint.clone(), role: Role::Peer };
        let relation =
            Relation { id, interface: known.interface.clone(), life: Life::Alive, ends: vec![end] };
        draft.put(Key::Relation(id), &relation)?;
    }
    add(core, draft, app, units, reuse)?;
    Ok(format!("deployed {name} with {}", count(units)))
}

/// Writes a resource's revision.
pub(super) fn put_revision(
    draft: &mut Draft,
    app: &str,
    resource: &str,
    revision: u64,
    made: &MadeBuild,
) -> Result<(), Problem> {
    let record = Revision {
        revision,
        build: made.digest.clone(),
        facts: made.facts.clone(),
        source: made.source.clone(),
        files: made.files,
        bytes: made.bytes,
        time: draft.time,
        change: draft.number(),
    };
    draft.put(Key::Revision(app.to_owned(), resource.to_owned(), revision), &record)
}

fn count(units: u32) -> String {
    if units == 1 { "1 unit".into() } else { format!("{units} units") }
}

pub(super) fn add_units(
    core: &Core,
    draft: &mut Draft,
    name: &str,
    units: u32,
    reuse: &[String],
) -> Result<String, Problem> {
    let app = draft.app(name, "add units to")?;
    alive(&app, "add units to")?;
    add(core, draft, app, units, reuse)?;
    Ok(format!("added {} to {name}", count(units)))
}

fn alive(app: &App, what: &str) -> Result<(), Problem> {
    if app.life == Life::Alive {
        return Ok(());
    }
    let name = &app.name;
    Err(Problem::new(codes::CONFLICT, format!("cannot {what} `{name}`: it is being removed"))
        .fix(format!("stoker wait {name} --for gone")))
}

fn add(core: &Core, draft: &mut Draft, mut app: App, units: u32, reuse: &[String]) -> Result<(), Problem> {
    if reuse.len() > units as usize {
        let title = format!("cannot take back {} kept folders with {}", reuse.len(), count(units));
        return Err(Problem::new(codes::INVALID_VALUE, title).fix("give as many units with -n"));
    }
    let charm = draft.release(&app.name)?.charm_name;
    for id in reuse {
        core.check_reuse(id, &charm, &draft.snapshot)?;
    }
    let host = core.host();
    for i in 0..units {
        let taken: u64 = draft.snapshot.units.values().map(|unit| unit.grant.memory).sum();
        let unit = new_unit(&mut app, &host, taken, reuse.get(i as usize).cloned());
        draft.put(Key::Unit(unit.id.clone()), &unit)?;
        app.leader = app.leader.or(Some(unit.id));
    }
    draft.put(Key::App(app.name.clone()), &app)?;
    draft.concerns(&app.name);
    Ok(())
}

/// The records that bring an application to `wanted` units, as its leader's plan asks: new units at the end, or the
/// highest ones told to go. Nothing where it has as many already, or is being removed.
pub(crate) fn scaled(
    snapshot: &Snapshot,
    host: &Host,
    name: &str,
    wanted: u32,
) -> Vec<Result<(Key, Vec<u8>), serde_json::Error>> {
    let Some(app) = snapshot.apps.get(name).filter(|app| app.life == Life::Alive) else { return Vec::new() };
    let alive: Vec<&std::sync::Arc<Unit>> =
        snapshot.units_of(name).filter(|u| u.life == Life::Alive).collect();
    let mut records = Vec::new();
    // The leader stays: it is its plan that asks.
    let spare = alive.iter().rev().filter(|unit| app.leader.as_ref() != Some(&unit.id));
    for unit in spare.take(alive.len().saturating_sub(wanted.max(1) as usize)) {
        let going = Unit { life: Life::Dying, ..Unit::clone(unit) };
        records.push(serde_json::to_vec(&going).map(|bytes| (Key::Unit(unit.id.clone()), bytes)));
    }
    let missing = (wanted as usize).saturating_sub(alive.len()).min(MAX_GROWTH);
    let mut next = App::clone(app);
    for _ in 0..missing {
        let taken = snapshot.units.values().map(|unit| unit.grant.memory).sum();
        let unit = new_unit(&mut next, host, taken, None);
        records.push(serde_json::to_vec(&unit).map(|bytes| (Key::Unit(unit.id.clone()), bytes)));
    }
    if next != **app {
        records.push(serde_json::to_vec(&next).map(|bytes| (Key::App(name.to_owned()), bytes)));
    }
    records
}

/// A further unit of an application.
fn new_unit(app: &mut App, host: &Host, taken: u64, reuse: Option<String>) -> Unit {
    let id = UnitId::new(app.name.clone(), app.next_unit);
    app.next_unit += 1;
    Unit {
        id,
        host: host.name.clone(),
        life: Life::Alive,
        release: app.release,
        grant: Grant { cores: host.cores, memory: share(host.memory, taken) },
        force: false,
        destroy_data: false,
        reuse,
        stopped: Vec::new(),
        restart: BTreeMap::new(),
    }
}

/// A quarter of what is left of nine tenths of the host's memory, in steps of 256 MiB: sticky, so that a unit that
/// comes later changes no earlier one.
fn share(memory: u64, taken: u64) -> u64 {
    let left = (memory / 10 * 9).saturating_sub(taken);
    (left / 4 / (256 << 20) * (256 << 20)).max(LEAST)
}

pub(super) fn remove_unit(
    draft: &mut Draft,
    text: &str,
    force: bool,
    destroy: bool,
) -> Result<String, Problem> {
    let unit = draft.unit(text, "remove")?;
    dying(draft, unit, force, destroy)?;
    Ok(format!("removes {text}{}", if destroy { " with its data" } else { "; its data is kept" }))
}

fn dying(draft: &mut Draft, unit: Unit, force: bool, destroy: bool) -> Result<(), Problem> {
    let next = Unit {
        life: Life::Dying,
        force: unit.force || force,
        destroy_data: unit.destroy_data || destroy,
        ..unit.clone()
    };
    if next != unit {
        draft.put(Key::Unit(unit.id.clone()), &next)?;
        draft.concerns(&unit.id.app);
    }
    Ok(())
}

pub(super) fn remove_application(
    draft: &mut Draft,
    name: &str,
    force: bool,
    destroy: bool,
) -> Result<String, Problem> {
    let app = draft.app(name, "remove")?;
    let units: Vec<Unit> = draft.snapshot.units_of(name).map(|u| Unit::clone(u)).collect();
    if units.is_empty() {
        delete_application(draft, name)?;
    } else {
        if app.life == Life::Alive {
            draft.put(Key::App(name.to_owned()), &App { life: Life::Dying, ..app })?;
        }
        for unit in units {
            dying(draft, unit, force, destroy)?;
        }
    }
    draft.concerns(name);
    Ok(format!("removes {name}{}", if destroy { " with its data" } else { "; its data is kept" }))
}

fn delete_application(draft: &mut Draft, name: &str) -> Result<(), Problem> {
    let snapshot = draft.snapshot.clone();
    for relation in snapshot.relations_of(name) {
        super::relations::delete(draft, relation.id)?;
    }
    for (app, n) in snapshot.releases.keys().filter(|(app, _)| app == name) {
        draft.delete(Key::Release(app.clone(), *n))?;
    }
    for (app, resource, n) in snapshot.revisions.keys().filter(|(app, ..)| app == name) {
        draft.delete(Key::Revision(app.clone(), resource.clone(), *n))?;
    }
    for secret in snapshot.secrets.values().filter(|secret| secret.app == name) {
        draft.delete(Key::Secret(secret.id.clone()))?;
    }
    for (owner, task, key) in snapshot.tasks.keys().filter(|(owner, ..)| owner == name) {
        draft.delete(Key::Task(owner.clone(), task.clone(), key.clone()))?;
    }
    draft.delete(Key::AppState(name.to_owned()))?;
    draft.delete(Key::App(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_shrink_and_never_vanish() {
        let memory = 24 << 30;
        let first = share(memory, 0);
        let second = share(memory, first);
        assert!(first > second && second > LEAST);
        assert_eq!(share(memory, memory), LEAST);
        assert_eq!(share(1 << 30, 0), LEAST);
    }
}
