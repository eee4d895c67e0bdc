//! Generations on this host: what drains is asked until it is idle, its end is decided with all other units, and then
//! it goes with its ports and folders. Owns when the newest one counts as ready; which ones end is the model's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_host::fs::failpoint::hit;
use stoker_host::services::Phase;
use stoker_model::generation::{Drain, Frozen, Standing, ends};
use stoker_model::ids::UnitId;
use stoker_model::keys::Key;
use stoker_model::local::Op;
use stoker_model::observation::{Life, ServiceState};
use stoker_model::observe::services_of;
use stoker_model::record::{ActionState, App};
use stoker_model::size;
use stoker_model::snapshot::Snapshot;
use stoker_store::Txn;

use super::busy::{answers, in_words};
use super::pass::View;
use super::trouble::Trouble;
use super::worker::Worker;
use crate::core::Core;

/// How often what drains is asked what it is busy with.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// So often in a row it must not be busy.
const IDLE: u32 = 2;

/// What is known of a generation that drains.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// When it was asked last.
    at: Option<Instant>,
    /// How often in a row it was not busy.
    idle: u32,
}

impl Worker {
    /// Notes that the newest generation is ready for the first time: from now on the others drain.
    pub(super) fn note_draining(&mut self) -> Result<(), Trouble> {
        let waits = self.local.generations.iter().any(|frozen| frozen.draining.is_none());
        if !waits || self.local.op.is_some() {
            return Ok(());
        }
        let Some(applied) = &self.local.applied else { return Ok(()) };
        let states = services_of(applied, &self.services.observed());
        let mut of_it = applied.plan.services.iter().filter(|(_, service)| service.generation);
        if !of_it.all(|(name, _)| states.get(name).is_some_and(|s| s.state == ServiceState::Ready)) {
            return Ok(());
        }
        for frozen in &mut self.local.generations {
            frozen.draining.get_or_insert_with(crate::core::now);
        }
        self.save()?;
        hit("agent.generation.draining");
        Ok(())
    }

    /// Asks what the draining generations are busy with, where it is time.
    pub(super) async fn ask_draining(&mut self, view: &View) {
        let numbers: BTreeSet<u64> =
            self.local.generations.iter().map(|frozen| frozen.generation.n).collect();
        self.drains.retain(|n, _| numbers.contains(n));
        let due = |asked: Option<&Asked>| asked.and_then(|a| a.at).is_none_or(|at| at.elapsed() >= LOOK);
        for frozen in self.local.generations.clone() {
            let n = frozen.generation.n;
            if !is_asked(view, &frozen) || !due(self.drains.get(&n)) {
                continue;
            }
            let (mut busy, mut silent) = (BTreeMap::new(), false);
            for name in frozen.applied.services.keys() {
                let run = frozen.applied.run_name(name);
                if !self.services.get(&run).is_some_and(|seen| seen.phase == Phase::Running) {
                    self.services.busy.remove(&run);
                    continue;
                }
                let mut values = BTreeMap::new();
                for (what, value) in answers(&self.core, &self.id, &frozen.applied, name).await {
                    // One that runs and does not answer may be busy all the more.
                    silent |= value.is_none();
                    values.insert(what, value.unwrap_or(Value::Null));
                }
                self.services.busy.insert(run.clone(), values.clone());
                busy.insert(run, values);
            }
            let asked = self.drains.entry(n).or_default();
            asked.at = Some(Instant::now());
            asked.idle = if silent || !in_words(&busy).is_empty() { 0 } else { asked.idle.saturating_add(1) };
        }
    }

    /// Nothing moves: what services of the newest plan were busy with when one was about to is no news any more.
    pub(super) fn forget_answers(&mut self) {
        let frozen: BTreeSet<String> =
            self.local.generations.iter().flat_map(|frozen| frozen.applied.runs().into_keys()).collect();
        self.services.busy.retain(|run, _| frozen.contains(run));
    }

    /// When to look at what drains again; `None` where nothing does.
    pub(super) fn drain_wait(&self, view: &View) -> Option<Duration> {
        let drains = self.local.generations.iter().filter(|frozen| is_asked(view, frozen));
        let left = |frozen: &Frozen| {
            let at = self.drains.get(&frozen.generation.n).and_then(|asked| asked.at);
            at.map_or(Duration::ZERO, |at| LOOK.saturating_sub(at.elapsed()))
        };
        drains.map(left).min().map(|left| left.max(Duration::from_millis(50)))
    }

    /// Whether no frozen generation is busy, as far as was asked.
    pub(super) fn idle(&self) -> bool {
        let idle =
            |frozen: &Frozen| self.drains.get(&frozen.generation.n).is_some_and(|asked| asked.idle >= IDLE);
        self.local.generations.iter().all(idle)
    }

    /// How this unit stands with its generations.
    pub(super) fn standing(&self) -> Standing {
        let plan = self.local.plan.as_ref().and_then(|plan| plan.generation.as_ref());
        let limit = plan.and_then(|generation| size::duration(generation.deadline.as_deref()?).ok());
        let drain = |frozen: &Frozen| {
            let since =
                frozen.draining.map(|at| Duration::from_millis(crate::core::now().saturating_sub(at)));
            Drain {
                draining: frozen.draining.is_some(),
                idle: self.drains.get(&frozen.generation.n).is_some_and(|asked| asked.idle >= IDLE),
                due: since.zip(limit).is_some_and(|(since, limit)| since >= limit),
                revision: frozen.revision,
            }
        };
        let applied = self.local.applied.as_ref().and_then(|applied| applied.bindings.generation.as_ref());
        Standing {
            newest: applied.map(|generation| generation.key.clone()),
            wanted: plan.map(|generation| generation.key.clone()),
            keep: plan.map(|generation| generation.keep.iter().cloned().collect()).unwrap_or_default(),
            frozen: self.local.generations.iter().map(|f| (f.generation.key.clone(), drain(f))).collect(),
        }
    }

    /// The frozen generation of this unit whose end is decided.
    pub(super) fn ended(&self, snapshot: &Snapshot) -> Option<u64> {
        let ended = &snapshot.apps.get(&self.id.app)?.ended;
        let decided = |frozen: &&Frozen| {
            let at = ended.get(&frozen.generation.key);
            frozen.draining.is_some() && at.is_some_and(|at| *at >= frozen.revision)
        };
        self.local.generations.iter().find(decided).map(|frozen| frozen.generation.n)
    }

    /// Decides for the whole application which generations end. Any unit's worker may: they take turns.
    pub(super) async fn decide_ends(&self) -> Result<(), Trouble> {
        if wanted_ends(&self.core, &self.core.snapshot(), &self.id).is_none() {
            return Ok(());
        }
        let _turn = self.core.turn().await;
        let snapshot = self.core.snapshot();
        let Some(app) = wanted_ends(&self.core, &snapshot, &self.id) else { return Ok(()) };
        hit("agent.generation.before-decided");
        tracing::info!(app = app.name, ended = ?app.ended, "decides which generations end");
        let key = Core::key(&Key::App(app.name.clone()));
        let bytes = serde_json::to_vec(&app).map_err(|e| Trouble::from_error("ST0332", &e))?;
        let _ = self.core.commit(Txn::new().exists(key.clone()).put(key, bytes)).await?;
        hit("agent.generation.decided");
        Ok(())
    }

    /// Begins to end a frozen generation.
    pub(super) async fn begin_end(&mut self, view: &View, n: u64) -> Result<(), Trouble> {
        tracing::info!(unit = %self.id, generation = n, "ends");
        self.local.op = Some(Op::End(n));
        self.save()?;
        hit("agent.generation.ending");
        self.resume(view).await
    }

    /// Stops what is of the generation, then forgets it with its ports and folders.
    pub(super) async fn go_on_ending(&mut self, n: u64) -> Result<(), Trouble> {
        let frozen = self.local.generations.iter().find(|frozen| frozen.generation.n == n).cloned();
        for run in frozen.iter().flat_map(|frozen| frozen.applied.runs().into_keys()) {
            self.stop_one(&run).await?;
            hit("agent.generation.stopped-one");
        }
        self.local.op = None;
        self.local.end(n);
        self.save()?;
        self.core.set_ports(&self.id, Some(self.local.ports.clone()));
        hit("agent.generation.ended");
        self.drop_folders()?;
        hit("agent.generation.folders-dropped");
        self.sweep_files()
    }

    /// What older generations of this unit are about, in words: `1 application on release 11`.
    pub(super) fn drains_in_words(&self) -> Option<String> {
        let mut words = Vec::new();
        for frozen in &self.local.generations {
            let release = frozen.applied.release;
            let of_it = |run: String| Some((run.clone(), self.services.busy.get(&run)?.clone()));
            let busy = in_words(&frozen.applied.runs().into_keys().filter_map(of_it).collect());
            words.push(match frozen.draining {
                None => format!("starts beside release {release}"),
                Some(_) if busy.is_empty() => format!("release {release} drains"),
                Some(_) => format!("{} on release {release}", busy.join(", ")),
            });
        }
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// Whether a frozen generation is asked what it is busy with: once it drains, or where its unit is to go.
fn is_asked(view: &View, frozen: &Frozen) -> bool {
    frozen.draining.is_some() || view.unit.life == Life::Dying
}

/// The application's record with what ends now, where that differs from what it says.
fn wanted_ends(core: &Core, snapshot: &Snapshot, unit: &UnitId) -> Option<App> {
    let app = snapshot.apps.get(&unit.app)?;
    let units: Vec<Option<Standing>> = snapshot
        .units_of(&unit.app)
        .map(|unit| core.seen.of(&unit.id).and_then(|seen| seen.standing))
        .collect();
    let frozen = |key: &String| units.iter().flatten().any(|unit| unit.frozen.contains_key(key));
    if app.ended.is_empty() && !units.iter().flatten().any(|unit| !unit.frozen.is_empty()) {
        return None;
    }
    let open = |state| matches!(state, ActionState::Pending | ActionState::Running);
    let running = snapshot.actions.values().filter(|a| a.unit.app == unit.app && open(a.state));
    let used: BTreeSet<String> = running.filter_map(|action| action.generation.clone()).collect();
    let known = units.iter().all(Option::is_some);
    let mut ended = app.ended.clone();
    // Ended everywhere: it may come again.
    ended.retain(|key, _| !known || frozen(key));
    for key in ends(&units, &used) {
        let newest = units.iter().flatten().filter_map(|unit| Some(unit.frozen.get(&key)?.revision)).max();
        // Decided already, and on its way.
        if ended.get(&key).copied() < newest {
            ended.insert(key, snapshot.revision);
        }
    }
    (ended != app.ended).then(|| App { ended, ..App::clone(app) })
}
