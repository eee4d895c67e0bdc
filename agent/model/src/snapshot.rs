//! A model at one revision, typed: the records by key, kept up to date event by event. Owns how stored bytes
//! become records; a record that does not read is an error that names its key, never a silent gap.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::concern::Concerns;
use crate::ids::UnitId;
use crate::keys::Key;
use crate::observation::{Bag, Life};
use crate::record::{
    Action, App, Change, Model, Relation, Release, Revision, Secret, TaskResult, Unit, UnitReport,
};

/// A stored record that does not read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the record at `{key}`")]
pub struct BadRecord {
    /// Where.
    pub key: String,
    /// Why.
    #[source]
    pub source: serde_json::Error,
}

/// All records of a model. Cheap to clone: values are shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The store's revision that this is at.
    pub revision: u64,
    /// The model's record.
    pub model: Option<Arc<Model>>,
    /// Changes by number.
    pub changes: BTreeMap<u64, Arc<Change>>,
    /// Applications.
    pub apps: BTreeMap<String, Arc<App>>,
    /// Releases by application and number.
    pub releases: BTreeMap<(String, u64), Arc<Release>>,
    /// Revisions by application, resource, number.
    pub revisions: BTreeMap<(String, String, u64), Arc<Revision>>,
    /// What applications remember.
    pub app_state: BTreeMap<String, Arc<Bag>>,
    /// Units, desired.
    pub units: BTreeMap<UnitId, Arc<Unit>>,
    /// Units, reported.
    pub reports: BTreeMap<UnitId, Arc<UnitReport>>,
    /// What units remember.
    pub unit_state: BTreeMap<UnitId, Arc<Bag>>,
    /// Relations.
    pub relations: BTreeMap<u64, Arc<Relation>>,
    /// Application data by relation and application.
    pub app_data: BTreeMap<(u64, String), Arc<Bag>>,
    /// Unit data by relation and unit.
    pub unit_data: BTreeMap<(u64, UnitId), Arc<Bag>>,
    /// Task results by owner, task, key.
    pub tasks: BTreeMap<(String, String, String), Arc<TaskResult>>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// Actions by number.
    pub actions: BTreeMap<u64, Arc<Action>>,
    /// Whom which revision concerns.
    pub concerns: Concerns,
}

fn set<K: Ord, V: serde::de::DeserializeOwned>(
    map: &mut BTreeMap<K, Arc<V>>,
    key: K,
    value: Option<&[u8]>,
) -> Result<(), serde_json::Error> {
    match value {
        Some(bytes) => map.insert(key, Arc::new(serde_json::from_slice(bytes)?)),
        None => map.remove(&key),
    };
    Ok(())
}

impl Snapshot {
    /// Takes over one key's new value (`None` = deleted). Keys that this version does not know are passed over.
    pub fn apply(&mut self, rest: &str, value: Option<&[u8]>) -> Result<(), BadRecord> {
        let Some(key) = Key::parse(rest) else { return Ok(()) };
        let done = match key {
            Key::Model => {
                if let Some(bytes) = value {
                    serde_json::from_slice(bytes).map(|m| self.model = Some(Arc::new(m)))
                } else {
                    self.model = None;
                    Ok(())
                }
            }
            Key::Change(n) => set(&mut self.changes, n, value),
            Key::App(app) => set(&mut self.apps, app, value),
            Key::Release(app, n) => self.set_release(app, n, value),
            Key::Revision(app, resource, n) => set(&mut self.revisions, (app, resource, n), value),
            Key::AppState(app) => set(&mut self.app_state, app, value),
            Key::Unit(unit) => set(&mut self.units, unit, value),
            Key::Report(unit) => set(&mut self.reports, unit, value),
            Key::UnitState(unit) => set(&mut self.unit_state, unit, value),
            Key::Relation(id) => set(&mut self.relations, id, value),
            Key::AppData(id, app) => set(&mut self.app_data, (id, app), value),
            Key::UnitData(id, unit) => set(&mut self.unit_data, (id, unit), value),
            Key::Task(owner, task, key) => set(&mut self.tasks, (owner, task, key), value),
            Key::Secret(id) => set(&mut self.secrets, id, value),
            Key::Action(id) => set(&mut self.actions, id, value),
        };
        done.map_err(|source| BadRecord { key: rest.to_owned(), source })
    }

    /// A release; what its charm says of itself is shared with the application's other releases by the same charm,
    /// since there may be hundreds.
    fn set_release(&mut self, app: String, n: u64, value: Option<&[u8]>) -> Result<(), serde_json::Error> {
        let Some(bytes) = value else {
            self.releases.remove(&(app, n));
            return Ok(());
        };
        let mut release: Release = serde_json::from_slice(bytes)?;
        let others = self.releases.range((app.clone(), 0)..=(app.clone(), u64::MAX));
        let mut newest_first = others.rev().map(|(_, other)| other);
        let same = newest_first
            .find(|other| other.charm == release.charm && other.description == release.description);
        if let Some(same) = same {
            release.description = Arc::clone(&same.description);
        }
        self.releases.insert((app, n), Arc::new(release));
        Ok(())
    }

    /// The units of an application, by number.
    pub fn units_of<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Arc<Unit>> {
        let ids = UnitId::new(app, 0)..=UnitId::new(app, u32::MAX);
        self.units.range(ids).map(|(_, unit)| unit)
    }

    /// The release that a unit is to be at.
    pub fn release_of(&self, unit: &Unit) -> Option<&Arc<Release>> {
        self.releases.get(&(unit.id.app.clone(), unit.release))
    }

    /// The builds that the newest release of an application names: its charm's and its resources'.
    pub fn builds_of(&self, app: &str) -> Vec<crate::ids::Digest> {
        let Some(release) = self.newest_release(app) else { return Vec::new() };
        let build = |(resource, n): (&String, &u64)| {
            Some(self.revisions.get(&(app.to_owned(), resource.clone(), *n))?.build.clone())
        };
        release.resources.iter().filter_map(build).chain([release.charm.clone()]).collect()
    }

    /// The newest release of an application.
    pub fn newest_release(&self, app: &str) -> Option<&Arc<Release>> {
        let n = self.apps.get(app)?.release;
        self.releases.get(&(app.to_owned(), n))
    }

    /// The newest revision of a resource.
    pub fn newest_revision(&self, app: &str, resource: &str) -> Option<&Arc<Revision>> {
        let from = (app.to_owned(), resource.to_owned(), 0);
        let to = (app.to_owned(), resource.to_owned(), u64::MAX);
        self.revisions.range(from..=to).next_back().map(|(_, revision)| revision)
    }

    /// Relations that an application takes part in, by id.
    pub fn relations_of<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Arc<Relation>> {
        self.relations.values().filter(move |r| r.ends.iter().any(|end| end.app == app))
    }

    /// The unit that should lead: the present leader while it is alive, else the lowest that is.
    pub fn leader_of(&self, app: &str) -> Option<UnitId> {
        let alive = |unit: &UnitId| self.units.get(unit).is_some_and(|u| u.life == Life::Alive);
        let present = self.apps.get(app)?.leader.clone().filter(|unit| alive(unit));
        present.or_else(|| self.units_of(app).find(|u| u.life == Life::Alive).map(|u| u.id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_build_and_unbuild_it() {
        let mut snapshot = Snapshot::default();
        snapshot.apply("app-state/web", Some(br#"{"k":"v"}"#)).unwrap();
        assert_eq!(snapshot.app_state["web"]["k"], "v");
        snapshot.apply("app-state/web", None).unwrap();
        assert!(snapshot.app_state.is_empty());
        snapshot.apply("something/new", Some(b"x")).unwrap();
        assert!(
            snapshot.apply("app-state/web", Some(b"[")).unwrap_err().to_string().contains("app-state/web")
        );
    }
}
