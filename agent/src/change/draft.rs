//! A draft: a change being put together over a copy of the snapshot, so that it can be checked, previewed and then
//! committed as it is.

use std::collections::BTreeMap;

use serde::Serialize;
use stoker_model::keys::Key;
use stoker_model::observation::Life;
use stoker_model::record::{App, Change, Model, Move, MoveMode, Origin, Release, Unit};
use stoker_model::rollout::Rollout;
use stoker_model::snapshot::Snapshot;
use stoker_store::{MAX_OPS, Txn};

use crate::api::caller::Caller;
use crate::api::types::WriteRequest;
use crate::core::{Core, find_app, find_unit, now};
use crate::problem::{Problem, codes};

/// How many changes are remembered. An older one can no longer be waited for, and is in no `stoker events`.
const KEPT: u64 = 1000;

/// A change in the making.
pub(super) struct Draft {
    /// The model as it would be.
    pub snapshot: Snapshot,
    /// Said to the user beside the result.
    pub warnings: Vec<String>,
    /// Actions that were enqueued.
    pub actions: Vec<u64>,
    /// How moves may go.
    pub moving: Move,
    /// When.
    pub time: u64,
    /// Who.
    pub by: String,
    /// From where.
    origin: Option<Origin>,
    /// The command as typed.
    pub command: String,
    /// It goes back to what was before.
    pub back: bool,
    /// How many units of an application go to another release at once.
    most: u32,
    /// Units that go to their release later, step by step.
    later: Vec<Key>,
    on_its_own: bool,
    model: Model,
    apps: Vec<String>,
    writes: Vec<(Key, Option<Vec<u8>>)>,
}

impl Draft {
    /// `most` = how many units of an application go to another release at once.
    pub(super) fn new(
        snapshot: &Snapshot,
        request: &WriteRequest,
        caller: &Caller,
        most: u32,
    ) -> Result<Self, Problem> {
        let missing = || Problem::new(codes::INTERNAL, "cannot change the model: its record is missing");
        let mut model = Model::clone(snapshot.model.as_ref().ok_or_else(missing)?);
        model.changes += 1;
        let time = now();
        let mode = match request.mode.as_deref() {
            None | Some("when-idle") => MoveMode::WhenIdle,
            Some("now") => MoveMode::Now,
            Some(other) => {
                let title = format!("cannot change the model: mode `{other}` is neither when-idle nor now");
                return Err(Problem::new(codes::USAGE, title));
            }
        };
        Ok(Self {
            snapshot: snapshot.clone(),
            warnings: Vec::new(),
            actions: Vec::new(),
            moving: Move { mode, by: request.patience.map(|patience| time + patience) },
            time,
            by: caller.user.clone(),
            origin: caller.origin(),
            command: request.command.clone(),
            back: false,
            most,
            later: Vec::new(),
            on_its_own: caller.is_agent(),
            model,
            apps: Vec::new(),
            writes: Vec::new(),
        })
    }

    /// The change's number.
    pub(super) fn number(&self) -> u64 {
        self.model.changes
    }

    /// The next relation's number.
    pub(super) fn next_relation(&mut self) -> u64 {
        self.model.relations += 1;
        self.model.relations
    }

    /// The next action's number.
    pub(super) fn next_action(&mut self) -> u64 {
        self.model.actions += 1;
        self.model.actions
    }

    pub(super) fn changes_anything(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Writes a record, in the copy and for the commit.
    pub(super) fn put<T: Serialize>(&mut self, key: Key, record: &T) -> Result<(), Problem> {
        let bytes = serde_json::to_vec(record).map_err(|e| Problem::internal("cannot write a record", &e))?;
        self.write(key, Some(bytes))
    }

    /// Deletes a record.
    pub(super) fn delete(&mut self, key: Key) -> Result<(), Problem> {
        self.write(key, None)
    }

    fn write(&mut self, key: Key, value: Option<Vec<u8>>) -> Result<(), Problem> {
        let whole = key.of("");
        let rest = whole.strip_prefix(&stoker_model::keys::model_prefix("")).unwrap_or(&whole);
        self.snapshot
            .apply(rest, value.as_deref())
            .map_err(|e| Problem::internal("cannot write a record", &e))?;
        self.writes.retain(|(other, _)| *other != key);
        self.writes.push((key, value));
        Ok(())
    }

    /// Names an application that the change is about.
    pub(super) fn concerns(&mut self, app: &str) {
        if !self.apps.iter().any(|known| known == app) {
            self.apps.push(app.to_owned());
        }
    }

    /// An application, or the problem that it is not there.
    pub(super) fn app(&self, name: &str, what: &str) -> Result<App, Problem> {
        find_app(&self.snapshot, name, what).map(|app| App::clone(app))
    }

    /// An application's newest release.
    pub(super) fn release(&self, app: &str) -> Result<Release, Problem> {
        let missing = || Problem::new(codes::INTERNAL, format!("cannot read the newest release of `{app}`"));
        Ok(Release::clone(self.snapshot.newest_release(app).ok_or_else(missing)?))
    }

    /// A unit, or the problem that it is not there.
    pub(super) fn unit(&self, text: &str, what: &str) -> Result<Unit, Problem> {
        let wrong =
            |e: stoker_model::ids::IdError| Problem::new(codes::INVALID_VALUE, format!("cannot {what}: {e}"));
        text.parse::<stoker_model::ids::UnitId>().map_err(wrong)?;
        find_unit(&self.snapshot, text, what).map(|unit| Unit::clone(unit))
    }

    /// Makes a release the newest one. A lone unit is pointed to it at once, several are rolled out step by step; in
    /// this copy all are there, so that a preview shows the end.
    pub(super) fn put_release(&mut self, app: &mut App, mut release: Release) -> Result<u64, Problem> {
        let units: Vec<Unit> = self.snapshot.units_of(&app.name).map(|u| Unit::clone(u)).collect();
        let old = app.rollout.take();
        let staying: Vec<&Unit> = units.iter().filter(|unit| unit.life == Life::Alive).collect();
        if staying.len() > 1 {
            let under_way = old.as_ref().filter(|old| !old.done && !old.back);
            app.rollout = Some(Rollout {
                to: app.release + 1,
                from: under_way.map_or(app.release, |old| old.from),
                most: self.most,
                paused: false,
                back: self.back,
                moving: BTreeMap::new(),
                begun: 0,
                why: old.and_then(|old| old.why).filter(|_| self.on_its_own),
                done: false,
            });
            self.later.extend(staying.iter().map(|unit| Key::Unit(unit.id.clone())));
        }
        app.release += 1;
        app.change = self.number();
        release.n = app.release;
        release.change = self.number();
        release.time = self.time;
        release.by.clone_from(&self.by);
        release.command.clone_from(&self.command);
        release.moving = self.moving.clone();
        let n = release.n;
        self.put(Key::Release(app.name.clone(), n), &release)?;
        self.put(Key::App(app.name.clone()), app)?;
        self.concerns(&app.name);
        for unit in units {
            self.put(Key::Unit(unit.id.clone()), &Unit { release: n, ..unit })?;
        }
        Ok(n)
    }

    /// Refuses a change that no single transaction holds: in several, an end between them would leave half of it.
    pub(super) fn check_size(&self) -> Result<(), Problem> {
        let own = |(key, _): &&(Key, Option<Vec<u8>>)| matches!(key, Key::App(_));
        // The change's and the model's record come in the end, the oldest change goes, and applications whose moves may
        // go at once are written.
        let later = 3 + self.apps.len() - self.writes.iter().filter(own).count().min(self.apps.len());
        let count = self.writes.len() + later;
        if count <= MAX_OPS {
            return Ok(());
        }
        let title = format!(
            "cannot make the change: it is of {count} records, and one change holds {MAX_OPS} at the most"
        );
        Err(Problem::new(codes::TOO_LARGE, title)
            .fix("do it in several changes, for example with fewer units at a time"))
    }

    /// The transaction, with the change's record; its compare holds only if no other change came between.
    pub(super) fn finish(mut self) -> Result<(u64, Txn), Problem> {
        let number = self.number();
        for name in self.apps.clone() {
            let Some(app) = self.snapshot.apps.get(&name).map(|app| App::clone(app)) else { continue };
            let mut moved = app.clone();
            if self.moving.mode == MoveMode::Now {
                moved.now = number;
            }
            if let Some(by) = self.moving.by {
                moved.now_at = Some((number, by));
            }
            if moved != app {
                self.put(Key::App(name), &moved)?;
            }
        }
        let change = Change {
            n: number,
            time: self.time,
            by: self.by.clone(),
            command: self.command.clone(),
            apps: self.apps.clone(),
            origin: self.origin.clone(),
        };
        self.put(Key::Change(number), &change)?;
        if let Some(oldest) = number.checked_sub(KEPT)
            && self.snapshot.changes.contains_key(&oldest)
        {
            self.delete(Key::Change(oldest))?;
        }
        let model = self.model.clone();
        self.put(Key::Model, &model)?;
        let mut txn = Txn::new().absent(Core::key(&Key::Change(number)));
        for (key, value) in self.writes {
            if self.later.contains(&key) {
                continue;
            }
            let key = Core::key(&key);
            txn = match value {
                Some(bytes) => txn.put(key, bytes),
                None => txn.delete(key),
            };
        }
        Ok((number, txn))
    }
}
