//! Taking a unit down: services stopped and confirmed, data put aside (or destroyed where that was said), then the
//! records. Each step is in the journal before it is taken; data is never destroyed by inference.

use std::path::PathBuf;

use stoker_host::fs::failpoint::hit;
use stoker_model::ids::UnitId;
use stoker_model::keys::Key;
use stoker_model::local::{Op, RemoveStep};
use stoker_model::observation::Life;
use stoker_model::record::App;
use stoker_model::snapshot::Snapshot;
use stoker_store::Txn;

use super::pass::View;
use super::trouble::Trouble;
use super::worker::{Pass, Worker, journal_key};
use super::{name_prefix, split_name};
use crate::core::{Core, MODEL};

/// The description of kept data, beside its folders.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct KeptMeta {
    /// Its form.
    pub format: u32,
    /// The unit that had it.
    pub unit: UnitId,
    /// The application's identity then.
    pub app_uuid: String,
    /// The charm's name.
    pub charm: String,
    /// When it was removed, milliseconds since 1970.
    pub removed: u64,
    /// Folders of data that were somewhere else and stayed there.
    pub elsewhere: Vec<String>,
}

impl Worker {
    /// Begins to take the unit down.
    pub(super) async fn begin_removal(&mut self, view: &View) -> Result<Pass, Trouble> {
        tracing::info!(unit = %self.id, "is taken down");
        self.local.op = Some(Op::Remove(RemoveStep::Stopping));
        self.save()?;
        hit("agent.remove.begun");
        self.go_on_removing(view).await?;
        Ok(Pass::Gone)
    }

    /// Goes on from the step in the journal.
    pub(super) async fn go_on_removing(&mut self, view: &View) -> Result<(), Trouble> {
        let Some(Op::Remove(mut step)) = self.local.op.clone() else { return Ok(()) };
        if step == RemoveStep::Stopping {
            self.stop_all().await?;
            hit("agent.remove.stopped");
            step = RemoveStep::Keeping;
            self.local.op = Some(Op::Remove(step));
            self.save()?;
        }
        if step == RemoveStep::Keeping {
            self.put_data_aside(view)?;
            hit("agent.remove.kept");
            step = RemoveStep::Forgetting;
            self.local.op = Some(Op::Remove(step));
            self.save()?;
        }
        if step == RemoveStep::Forgetting {
            let folder = self.core.unit_folder(&self.id);
            stoker_host::fs::remove_tree(&folder).map_err(|e| {
                Trouble::error("ST0336", format!("cannot remove `{}`: {e}", folder.display()))
            })?;
            hit("agent.remove.folder-gone");
            self.delete_records().await?;
            hit("agent.remove.records-gone");
            self.core.journal.delete(&journal_key(&self.id))?;
            hit("agent.remove.journal-gone");
            self.core.set_ports(&self.id, None);
        }
        Ok(())
    }

    async fn stop_all(&mut self) -> Result<(), Trouble> {
        let prefix = name_prefix(&self.id);
        for name in self.core.supervisor.names(&prefix)? {
            if split_name(&name).is_some_and(|(unit, _)| unit == self.id) {
                self.core.supervisor.stop(&name).await?;
                self.core.supervisor.forget(&name).await?;
            }
        }
        Ok(())
    }

    /// Moves the unit's data to `kept/`, or removes it where that was said.
    fn put_data_aside(&self, view: &View) -> Result<(), Trouble> {
        let data = self.core.unit_folder(&self.id).join("data");
        let wrong = |path: &std::path::Path, error: &std::io::Error| {
            Trouble::error("ST0336", format!("cannot put `{}` aside: {error}", path.display()))
        };
        let elsewhere: Vec<String> = self
            .local
            .dirs
            .values()
            .filter(|folder| folder.keep && !std::path::Path::new(&folder.path).starts_with(&data))
            .map(|folder| folder.path.clone())
            .collect();
        if view.unit.destroy_data {
            for folder in &elsewhere {
                let path = std::path::Path::new(folder);
                stoker_host::fs::remove_tree(path).map_err(|e| wrong(path, &e))?;
            }
            return stoker_host::fs::remove_tree(&data).map_err(|e| wrong(&data, &e));
        }
        let any = std::fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
        if !any && elsewhere.is_empty() {
            return Ok(());
        }
        let app = view.snapshot.apps.get(&self.id.app);
        let uuid = app.map(|app| app.uuid.clone()).unwrap_or_default();
        let id = format!("{MODEL}-{}-{}", self.id.dashed(), uuid.get(..8).unwrap_or_default());
        let kept = self.core.paths.kept.join(&id);
        stoker_host::fs::make_folder(&kept, 0o755, None).map_err(|e| wrong(&kept, &e))?;
        let meta = KeptMeta {
            format: 1,
            unit: self.id.clone(),
            app_uuid: uuid,
            charm: view.snapshot.release_of(&view.unit).map(|r| r.charm_name.clone()).unwrap_or_default(),
            removed: crate::core::now(),
            elsewhere,
        };
        let bytes = serde_json::to_vec_pretty(&meta).map_err(|e| Trouble::from_error("ST0332", &e))?;
        let path = kept.join("meta.json");
        stoker_host::fs::atomic_write(&path, &bytes, 0o644, None).map_err(|e| wrong(&path, &e))?;
        hit("agent.remove.keeping");
        // One rename: the data is in one place or the other, never in both, never in halves.
        if any {
            std::fs::rename(&data, kept.join("data")).map_err(|e| wrong(&data, &e))?;
            hit("agent.remove.data-moved");
        }
        stoker_host::fs::sync_folder(&kept).map_err(|e| wrong(&kept, &e))
    }

    /// Takes kept data back before the first folder of data is made.
    pub(super) fn take_back_data(&mut self, view: &View) -> Result<(), Trouble> {
        let Some(id) = view.unit.reuse.as_ref().filter(|_| !self.local.reused) else { return Ok(()) };
        let from = self.core.paths.kept.join(id);
        let data = self.core.unit_folder(&self.id).join("data");
        let wrong = |error: std::io::Error| {
            let fix = "stoker kept list";
            Trouble::blocked("ST0329", format!("cannot take back the data of `{id}`: {error}"), fix)
        };
        if from.join("data").exists() {
            stoker_host::fs::make_folder(&self.core.unit_folder(&self.id), 0o755, None).map_err(wrong)?;
            std::fs::rename(from.join("data"), &data).map_err(wrong)?;
            hit("agent.reuse.renamed");
        } else if !data.exists() {
            return Err(wrong(std::io::Error::new(std::io::ErrorKind::NotFound, "it is not there")));
        }
        // Before it is noted: what is left of the kept folder would be taken for data that can be taken back.
        stoker_host::fs::remove_tree(&from).map_err(wrong)?;
        hit("agent.reuse.swept");
        self.local.reused = true;
        self.save()?;
        hit("agent.reuse.noted");
        Ok(())
    }

    /// In a turn of its own, as a change: two last units that go at once would each leave the application's records
    /// to the other, and a leader is named over what a change has just said of the application.
    async fn delete_records(&self) -> Result<(), Trouble> {
        let _turn = self.core.turn().await;
        let snapshot = self.core.snapshot();
        for keys in removed_keys(&snapshot, &self.id).chunks(50) {
            let mut txn = Txn::new();
            for key in keys {
                txn = txn.delete(Core::key(key));
            }
            // The record that names a new leader goes with the unit's.
            if keys.contains(&Key::Unit(self.id.clone()))
                && let Some((key, app)) = next_leader(&snapshot, &self.id)
            {
                let bytes = serde_json::to_vec(&app).map_err(|e| Trouble::from_error("ST0332", &e))?;
                txn = txn.put(Core::key(&key), bytes);
            }
            let _ = self.core.commit(txn).await?;
        }
        Ok(())
    }

    /// The unit's record is gone though this host still has it: what is left is stopped, its data put aside.
    pub(super) async fn take_down_leftovers(&mut self) -> Pass {
        let known = self.core.journal.get(&journal_key(&self.id)).ok().flatten().is_some();
        if !known {
            return Pass::Gone;
        }
        let unit = std::sync::Arc::new(stoker_model::record::Unit {
            id: self.id.clone(),
            host: String::new(),
            life: Life::Dying,
            release: 0,
            grant: stoker_model::observation::Grant::default(),
            force: true,
            destroy_data: false,
            reuse: None,
            stopped: Vec::new(),
            restart: std::collections::BTreeMap::new(),
        });
        let view = View { snapshot: self.core.snapshot(), unit };
        match self.begin_removal(&view).await {
            Ok(pass) => pass,
            Err(trouble) => {
                tracing::error!(unit = %self.id, "{}", trouble.status.message);
                Pass::Wait(trouble.retry)
            }
        }
    }
}

/// All keys that go with a unit; with the last unit of a dying application, the application's too. The unit's own
/// record is last, so that an interrupted removal goes on.
fn removed_keys(snapshot: &Snapshot, unit: &UnitId) -> Vec<Key> {
    let mut keys = Vec::new();
    let dashed = unit.dashed();
    let app = &unit.app;
    let last = !snapshot.units_of(app).any(|other| other.id != *unit);
    let all = last && snapshot.apps.get(app).is_none_or(|record| record.life == Life::Dying);
    let owned = |owner: &String| *owner == dashed || (all && owner == app);
    let tasks = snapshot.tasks.keys().filter(|(owner, ..)| owned(owner));
    keys.extend(tasks.map(|(owner, task, key)| Key::Task(owner.clone(), task.clone(), key.clone())));
    keys.extend(
        snapshot.unit_data.keys().filter(|(_, u)| u == unit).map(|(id, u)| Key::UnitData(*id, u.clone())),
    );
    let secrets =
        snapshot.secrets.values().filter(|s| s.app == *app && (all || s.unit.as_ref() == Some(unit)));
    keys.extend(secrets.map(|secret| Key::Secret(secret.id.clone())));
    if all {
        keys.extend(
            snapshot.releases.keys().filter(|(a, _)| a == app).map(|(a, n)| Key::Release(a.clone(), *n)),
        );
        let revisions = snapshot.revisions.keys().filter(|(a, ..)| a == app);
        keys.extend(revisions.map(|(a, resource, n)| Key::Revision(a.clone(), resource.clone(), *n)));
        for relation in snapshot.relations_of(app) {
            keys.push(Key::Relation(relation.id));
            let data = snapshot.app_data.keys().filter(|(id, _)| *id == relation.id);
            keys.extend(data.map(|(id, app)| Key::AppData(*id, app.clone())));
            let data = snapshot.unit_data.keys().filter(|(id, _)| *id == relation.id);
            keys.extend(data.map(|(id, u)| Key::UnitData(*id, u.clone())));
        }
        keys.push(Key::AppState(app.clone()));
        keys.push(Key::App(app.clone()));
    }
    keys.push(Key::UnitState(unit.clone()));
    keys.push(Key::Report(unit.clone()));
    keys.push(Key::Unit(unit.clone()));
    // A unit's data of a relation that goes too was named twice; a store takes each key once.
    let mut once: Vec<Key> = Vec::new();
    for key in keys {
        if !once.contains(&key) {
            once.push(key);
        }
    }
    once
}

fn next_leader(snapshot: &Snapshot, unit: &UnitId) -> Option<(Key, App)> {
    let app = snapshot.apps.get(&unit.app)?;
    if app.leader.as_ref() != Some(unit) || app.life == Life::Dying {
        return None;
    }
    let next =
        snapshot.units_of(&unit.app).find(|u| u.id != *unit && u.life == Life::Alive).map(|u| u.id.clone());
    Some((Key::App(unit.app.clone()), App { leader: next, ..App::clone(app) }))
}

/// Kept data on this host: id, description and folder.
pub(crate) fn kept(folder: &std::path::Path) -> Vec<(String, KeptMeta, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let read = |entry: std::fs::DirEntry| {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            return None;
        }
        let bytes = std::fs::read(entry.path().join("meta.json")).ok()?;
        Some((
            entry.file_name().to_string_lossy().into_owned(),
            serde_json::from_slice(&bytes).ok()?,
            entry.path(),
        ))
    };
    let mut all: Vec<_> = entries.flatten().filter_map(read).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}
