//! From the model's records and a host's own facts to a unit's observation. Owns what a charm sees and what not.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::exposure;
use crate::generation;
use crate::ids::UnitId;
use crate::local::Local;
use crate::observation::{
    FORMAT, Generation, Host, Life, Memory, Observation, Ours, Relation, Resource, Service, Task, TaskState,
};
use crate::record::{Release, TaskResult, Unit};
use crate::resolve::Applied;
use crate::snapshot::Snapshot;

/// The host's side of an observation.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// This host, without the grant.
    pub host: &'a Host,
    /// System users by the charm's names.
    pub users: &'a BTreeMap<String, String>,
    /// Services as they are, by the names that they run under.
    pub services: &'a BTreeMap<String, Service>,
}

/// Services of one plan by its names for them, out of those by the names that they run under.
pub fn services_of(applied: &Applied, all: &BTreeMap<String, Service>) -> BTreeMap<String, Service> {
    let one = |name: &String| Some((name.clone(), all.get(&applied.run_name(name))?.clone()));
    applied.services.keys().filter_map(one).collect()
}

/// Frozen generations as they are.
pub fn generations(local: &Local, services: &BTreeMap<String, Service>) -> Vec<Generation> {
    let one = |frozen: &generation::Frozen| Generation {
        n: frozen.generation.n,
        key: frozen.generation.key.clone(),
        release: frozen.applied.release,
        draining: frozen.draining.is_some(),
        ports: frozen
            .applied
            .bindings
            .ports
            .iter()
            .map(|(name, (first, _))| (name.clone(), *first))
            .collect(),
        services: services_of(&frozen.applied, services),
    };
    local.generations.iter().map(one).collect()
}

/// The ports allotted so far, by the plan's names; those of a generation are of the one that is applied.
fn ports(local: &Local) -> BTreeMap<String, u16> {
    let of = local.applied.as_ref().or(local.candidate.as_ref());
    let n = of.and_then(|applied| applied.bindings.generation.as_ref()).map(|generation| generation.n);
    let (mut plain, mut of_it) = (BTreeMap::new(), BTreeMap::new());
    for (name, (first, _)) in &local.ports {
        match generation::split(name) {
            (name, None) => plain.insert(name.to_owned(), *first),
            (name, of) if of == n => of_it.insert(name.to_owned(), *first),
            _ => None,
        };
    }
    plain.extend(of_it);
    plain
}

/// Every option with its value: set, else default; options without either are left out.
pub fn config_of(release: &Release) -> BTreeMap<String, Value> {
    let mut config = BTreeMap::new();
    for (name, option) in &release.description.config {
        let written = release.config.get(name).or(option.default.as_ref());
        if let Some(value) = written {
            // Both were checked when they were written; a value that no longer fits is passed as it is.
            config.insert(name.clone(), option.check(value).unwrap_or_else(|_| value.clone()));
        }
    }
    config
}

/// Required resources that a release does not have.
pub fn missing_resources(release: &Release) -> Vec<String> {
    let wanted = release.description.resources.iter().filter(|(_, resource)| resource.required);
    wanted.map(|(name, _)| name.clone()).filter(|name| !release.resources.contains_key(name)).collect()
}

/// Who owns a task's result: the application for `once = "app"`, else the unit.
pub fn task_owner(unit: &UnitId, once: Option<&str>) -> String {
    if once == Some("app") { unit.app.clone() } else { unit.dashed() }
}

/// The result of one of the unit's tasks, by its key.
pub fn task_result<'a>(
    snapshot: &'a Snapshot,
    unit: &UnitId,
    name: &str,
    once: Option<&str>,
    key: &str,
) -> Option<&'a TaskResult> {
    let at = (task_owner(unit, once), name.to_owned(), key.to_owned());
    snapshot.tasks.get(&at).map(AsRef::as_ref)
}

/// The observation of a unit; `None` where its application or release is gone.
pub fn observe(snapshot: &Snapshot, unit: &Unit, local: &Local, here: Here<'_>) -> Option<Observation> {
    let app = snapshot.apps.get(&unit.id.app)?;
    let release = snapshot.release_of(unit)?;
    let mut host = here.host.clone();
    host.grant = unit.grant;
    host.addresses = exposure::addresses(here.host, Some(app));
    let resources = release.resources.iter().filter_map(|(name, revision)| {
        let record = snapshot.revisions.get(&(app.name.clone(), name.clone(), *revision))?;
        let seen = Resource { revision: *revision, build: record.build.clone(), facts: record.facts.clone() };
        Some((name.clone(), seen))
    });
    let tasks = local.candidate.as_ref().or(local.applied.as_ref()).map(|applied| {
        let seen = applied.tasks.iter().map(|(name, key)| {
            let once = applied.plan.tasks.get(name).and_then(|task| task.once.as_deref());
            (name.clone(), task_seen(task_result(snapshot, &unit.id, name, once, key), key))
        });
        seen.collect()
    });
    let secrets = snapshot.secrets.values().filter(|secret| {
        secret.app == app.name && secret.unit.as_ref().is_none_or(|owner| *owner == unit.id)
    });
    Some(Observation {
        format: FORMAT,
        model: snapshot.model.as_ref().map(|m| m.name.clone()).unwrap_or_default(),
        app: app.name.clone(),
        app_uuid: app.uuid.clone(),
        unit: unit.id.to_string(),
        units: snapshot
            .units_of(&app.name)
            .filter(|u| u.life == Life::Alive)
            .map(|u| u.id.to_string())
            .collect(),
        life: unit.life,
        leader: snapshot.leader_of(&app.name).as_ref() == Some(&unit.id),
        release: unit.release,
        charm: release.charm.to_string(),
        users: here.users.clone(),
        config: config_of(release),
        host,
        exposed: app.exposed.clone(),
        resources: resources.collect(),
        relations: snapshot.relations_of(&app.name).filter_map(|r| relation(snapshot, unit, r)).collect(),
        ports: ports(local),
        secrets: secrets.map(|secret| (secret.name.clone(), format!("secret:{}", secret.id))).collect(),
        state: Memory {
            app: snapshot.app_state.get(&app.name).map(|bag| bag.as_ref().clone()).unwrap_or_default(),
            unit: snapshot.unit_state.get(&unit.id).map(|bag| bag.as_ref().clone()).unwrap_or_default(),
        },
        services: local
            .applied
            .as_ref()
            .map(|applied| services_of(applied, here.services))
            .unwrap_or_default(),
        generation: local.applied.as_ref().and_then(|applied| applied.bindings.generation.clone()),
        generations: generations(local, here.services),
        tasks: tasks.unwrap_or_default(),
        action: None,
    })
}

/// A task's result as a charm sees it.
pub fn task_seen(result: Option<&TaskResult>, key: &str) -> Task {
    let Some(result) = result else { return Task { key: key.to_owned(), ..Task::default() } };
    let ended = matches!(result.state, TaskState::Done | TaskState::Bad);
    Task {
        key: key.to_owned(),
        state: result.state,
        exit: result.exit.filter(|_| ended),
        result: if ended { result.result.clone() } else { Value::Null },
        reason: result.reason.clone(),
    }
}

fn relation(snapshot: &Snapshot, unit: &Unit, record: &crate::record::Relation) -> Option<Relation> {
    let (ours, theirs) = record.seen_by(&unit.id.app)?;
    let app_bag = |app: &str| {
        snapshot
            .app_data
            .get(&(record.id, app.to_owned()))
            .map(|bag| bag.as_ref().clone())
            .unwrap_or_default()
    };
    let unit_bag = |id: &UnitId| {
        snapshot.unit_data.get(&(record.id, id.clone())).map(|bag| bag.as_ref().clone()).unwrap_or_default()
    };
    let others = snapshot
        .unit_data
        .range((record.id, UnitId::new("", 0))..(record.id + 1, UnitId::new("", 0)))
        .filter(|((_, id), _)| id.app == theirs.app && *id != unit.id && snapshot.units.contains_key(id));
    Some(Relation {
        id: record.id,
        endpoint: ours.endpoint.clone(),
        interface: record.interface.clone(),
        remote: theirs.app.clone(),
        life: record.life,
        app: app_bag(&theirs.app),
        units: others.map(|((_, id), bag)| (id.to_string(), bag.as_ref().clone())).collect(),
        ours: Ours { app: app_bag(&ours.app), unit: unit_bag(&unit.id) },
    })
}
