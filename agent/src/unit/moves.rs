//! Moving a unit to its newest plan, and telling the store: stops confirmed, then one commit of relation data, state,
//! status and what is applied; starting comes after, by itself.

use std::collections::{BTreeMap, BTreeSet};

use stoker_host::fs::failpoint::hit;
use stoker_model::generation::{folders, named};
use stoker_model::keys::Key;
use stoker_model::local::{MoveStep, Op};
use stoker_model::observe::{generations, services_of, task_result};
use stoker_model::plan::Plan;
use stoker_model::record::{Secret, TaskResult, UnitReport};
use stoker_model::report::{bags, shown_status};
use stoker_model::resolve::{Applied, Bindings};
use stoker_model::status::{State, Status};
use stoker_store::Txn;

use super::pass::View;
use super::service_name;
use super::trouble::Trouble;
use super::worker::Worker;
use crate::core::Core;

/// How often a drain task is looked at, and how long its keeper may take beyond its own deadline.
const DRAIN_LOOK: std::time::Duration = std::time::Duration::from_millis(100);
const DRAIN_SLACK: std::time::Duration = std::time::Duration::from_secs(15);
/// Transactions hold at most this many operations; a store refuses more.
const MAX_OPS: usize = 90;

impl Worker {
    /// Begins a move: writes down what will be stopped, then does it.
    pub(super) async fn begin_move(&mut self, view: &View, stop: BTreeSet<String>) -> Result<(), Trouble> {
        let Some(to) = self.local.candidate.clone() else { return Ok(()) };
        if stop.is_empty() {
            // Nothing is undone on the way: until the journal says that it is applied, all of it is done again.
            return self.commit_move(view, to).await;
        }
        tracing::info!(unit = %self.id, release = to.release, stops = ?stop, "moves");
        self.local.op = Some(Op::Move { to: Box::new(to), stop, step: MoveStep::Stopping });
        self.save()?;
        hit("agent.move.begun");
        self.resume(view).await
    }

    /// Goes on with the operation that the journal says is in flight.
    pub(super) async fn resume(&mut self, view: &View) -> Result<(), Trouble> {
        match self.local.op.clone() {
            Some(Op::Move { to, stop, step }) => {
                if step == MoveStep::Stopping {
                    for name in &stop {
                        self.stop_one(name).await?;
                        hit("agent.move.stopped-one");
                    }
                    self.local.op = Some(Op::Move { to: to.clone(), stop, step: MoveStep::Stopped });
                    self.save()?;
                    hit("agent.move.stopped");
                }
                self.commit_move(view, *to).await
            }
            Some(Op::End(n)) => self.go_on_ending(n).await,
            Some(Op::Remove(_)) => self.go_on_removing(view).await,
            None => Ok(()),
        }
    }

    /// Tells the store, then the journal, that a plan is applied; then removes what no plan names any more.
    pub(super) async fn commit_move(&mut self, view: &View, to: Applied) -> Result<(), Trouble> {
        self.publish(view, &to.plan, &to.bindings).await?;
        hit("agent.move.published");
        // Before the plan counts as applied: after that nobody would come back to it.
        self.scale(&to.plan).await?;
        hit("agent.move.scaled");
        self.keep_inputs(&to)?;
        self.local.become_applied(to, self.core.snapshot().revision);
        self.local.op = None;
        self.save()?;
        hit("agent.move.committed");
        self.drop_folders()?;
        hit("agent.move.folders-dropped");
        self.sweep_files()?;
        hit("agent.move.swept");
        Ok(())
    }

    /// Stops a living service, by the name that it runs under, confirmed.
    pub(super) async fn stop_one(&mut self, run: &str) -> Result<(), Trouble> {
        self.drain(run).await?;
        self.core.supervisor.stop(&service_name(&self.id, run)).await?;
        self.core.supervisor.forget(&service_name(&self.id, run)).await?;
        self.services.forget(run);
        Ok(())
    }

    /// Runs the drain task of a service that is about to stop, to its end or its deadline; one that fails does not
    /// keep the service from being stopped.
    async fn drain(&mut self, run: &str) -> Result<(), Trouble> {
        let Some((applied, name)) = self.local.owner(run) else { return Ok(()) };
        let (applied, frozen) = (applied.clone(), self.local.applied.as_ref() != Some(applied));
        let Some(task) = applied.plan.services.get(name).and_then(|service| service.stop.drain.clone())
        else {
            return Ok(());
        };
        let (Some(spec), true) = (applied.plan.tasks.get(&task), self.services.running().contains(run))
        else {
            return Ok(());
        };
        // A frozen generation's is none of the newest plan's tasks.
        let short = format!("t.{}", if frozen { applied_task(&applied, &task) } else { task.clone() });
        let key = applied.tasks.get(&task).cloned().unwrap_or_default();
        let spec = self.task_spec(&applied, &short, &key, spec, super::launch::task_timeout())?;
        let limit = spec.oneshot.map_or(super::launch::task_timeout(), |oneshot| oneshot.timeout);
        let end = std::time::Instant::now() + limit + DRAIN_SLACK;
        self.core.supervisor.start(&spec).await?;
        hit("agent.move.draining");
        while std::time::Instant::now() < end
            && !self.core.supervisor.observe(&spec.name).await?.phase.is_final()
        {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        if frozen {
            self.core.supervisor.forget(&spec.name).await?;
        }
        Ok(())
    }

    /// Grows or shrinks the application to what the leader's plan asks for.
    async fn scale(&self, plan: &Plan) -> Result<(), Trouble> {
        let Some(wanted) = plan.scale else { return Ok(()) };
        let _turn = self.core.turn().await;
        let snapshot = self.core.snapshot();
        if snapshot.leader_of(&self.id.app).as_ref() != Some(&self.id) {
            return Ok(());
        }
        let host = self.core.host();
        let mut txn = Txn::new();
        for key in crate::change::scaled(&snapshot, &host, &self.id.app, wanted) {
            let (key, value) = key.map_err(|e| Trouble::from_error("ST0332", &e))?;
            txn = txn.put(Core::key(&key), value);
        }
        let _ = self.core.commit(txn).await?;
        Ok(())
    }

    /// A plan that waits for others: relation data, state and status are committed, nothing else.
    pub(super) async fn hold(&mut self, view: &View) -> Result<(), Trouble> {
        let Some(plan) = self.local.plan.clone() else { return Ok(()) };
        self.save_plan()?;
        let bindings = self.bind(view, &plan, false).await?;
        self.publish(view, &plan, &bindings).await
    }

    /// Writes relation data, state and grants where they differ from what the store has.
    async fn publish(&self, view: &View, plan: &Plan, bindings: &Bindings) -> Result<(), Trouble> {
        let snapshot = self.core.snapshot();
        let leads = snapshot.leader_of(&self.id.app).as_ref() == Some(&self.id);
        let address = self.core.address_of(&self.id.app).to_string();
        let mut puts: Vec<(Key, Vec<u8>)> = Vec::new();
        let json = |value: &dyn erased::Json| value.json().map_err(|e| Trouble::from_error("ST0332", &e));
        for relation in snapshot.relations_of(&self.id.app) {
            let (app, unit) = bags(plan, relation.id, bindings, &address);
            let at = (relation.id, self.id.clone());
            if snapshot.unit_data.get(&at).map(AsRef::as_ref) != Some(&unit) {
                puts.push((Key::UnitData(relation.id, self.id.clone()), json(&unit)?));
            }
            let at = (relation.id, self.id.app.clone());
            if leads && snapshot.app_data.get(&at).map_or(&BTreeMap::new(), AsRef::as_ref) != &app {
                puts.push((Key::AppData(relation.id, self.id.app.clone()), json(&app)?));
            }
        }
        let none = BTreeMap::new();
        if snapshot.unit_state.get(&self.id).map_or(&none, AsRef::as_ref) != &plan.state.unit {
            puts.push((Key::UnitState(self.id.clone()), json(&plan.state.unit)?));
        }
        if leads && snapshot.app_state.get(&self.id.app).map_or(&none, AsRef::as_ref) != &plan.state.app {
            puts.push((Key::AppState(self.id.app.clone()), json(&plan.state.app)?));
        }
        if leads {
            for (name, wanted) in plan.secrets.iter().filter(|(_, wanted)| wanted.generate.is_some()) {
                let Some(secret) = bindings.secrets.get(name).and_then(|id| snapshot.secrets.get(id)) else {
                    continue;
                };
                if secret.grants != wanted.grant {
                    let granted = Secret { grants: wanted.grant.clone(), ..Secret::clone(secret) };
                    puts.push((Key::Secret(secret.id.clone()), json(&granted)?));
                }
            }
        }
        let alive = Core::key(&Key::Unit(view.unit.id.clone()));
        for some in puts.chunks(MAX_OPS) {
            let mut txn = Txn::new().exists(alive.clone());
            for (key, value) in some {
                txn = txn.put(Core::key(key), value.clone());
            }
            // `None`: the unit was removed meanwhile; the next pass sees that.
            let _ = self.core.commit(txn).await?;
        }
        Ok(())
    }

    /// Tells the store how the unit is, where that differs from what it has.
    pub(super) async fn report(&mut self, view: &View) -> Result<(), Trouble> {
        let snapshot = self.core.snapshot();
        let all = self.services.observed();
        let services = self.local.applied.as_ref().map(|a| services_of(a, &all)).unwrap_or_default();
        let tasks = self.task_results(view);
        let mut status = match (&self.local.plan, &self.local.failure) {
            (Some(plan), _) => shown_status(plan, &services, &view.unit.stopped, &tasks),
            (None, _) => Status::new(State::Maintenance, "plans"),
        };
        if let Some(trouble) = &self.trouble {
            status = if trouble.status.state >= status.state { trouble.status.clone() } else { status };
        }
        let further = [self.drains_in_words(), self.services.killed_in_words()].into_iter().flatten();
        if status.state == State::Active {
            let said = std::iter::once(status.message.clone()).filter(|said| !said.is_empty());
            status.message = said.chain(further).collect::<Vec<_>>().join("; ");
        }
        status.fix = status.fix.replace("UNIT", &self.id.to_string());
        let before = snapshot.reports.get(&self.id);
        let since = before.filter(|b| b.status == status).map_or_else(crate::core::now, |b| b.since);
        let applied = self.local.applied.as_ref();
        let plan = self.local.plan.as_ref();
        let report = UnitReport {
            agent: self.agent_word(&status).into(),
            since,
            version: plan.map(|plan| plan.version.clone()).unwrap_or_default(),
            release: applied.map_or(0, |applied| applied.release),
            order: applied.map_or(0, |applied| applied.plan.order),
            verdicts: plan.map(|plan| plan.verdicts.clone()).unwrap_or_default(),
            services,
            ports: applied.map(|applied| applied.bindings.ports.clone()).unwrap_or_default(),
            // Where it is, not where it is to go.
            address: applied
                .and_then(|applied| applied.bindings.addresses.get("default").cloned())
                .unwrap_or_else(|| self.core.address_of(&self.id.app).to_string()),
            app_status: plan.and_then(|plan| plan.app_status.clone()),
            trees: applied
                .map(|a| a.bindings.trees.iter().map(|(n, (d, _))| (n.clone(), d.clone())).collect())
                .unwrap_or_default(),
            deferred: self.busy.as_ref().filter(|busy| !busy.is_empty()).map(|busy| busy.join(", ")),
            generation: applied.and_then(|a| a.bindings.generation.clone()),
            generations: generations(&self.local, &all),
            status,
        };
        if before.map(AsRef::as_ref) == Some(&report) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&report).map_err(|e| Trouble::from_error("ST0332", &e))?;
        let alive = Core::key(&Key::Unit(self.id.clone()));
        let txn = Txn::new().exists(alive).put(Core::key(&Key::Report(self.id.clone())), bytes);
        hit("agent.report.before-commit");
        let _ = self.core.commit(txn).await?;
        hit("agent.report.committed");
        Ok(())
    }

    fn agent_word(&self, status: &Status) -> &'static str {
        match (&self.local.op, status.state) {
            (Some(_), _) => "executing",
            (None, State::Error) => "error",
            (None, _) => "idle",
        }
    }

    /// Results of the newest plan's tasks, by name.
    pub(super) fn task_results(&self, view: &View) -> BTreeMap<String, TaskResult> {
        let Some(newest) = self.local.candidate.as_ref().or(self.local.applied.as_ref()) else {
            return BTreeMap::new();
        };
        let result = |(name, key): (&String, &String)| {
            let once = newest.plan.tasks.get(name).and_then(|task| task.once.as_deref());
            let result = task_result(&view.snapshot, &self.id, name, once, key)?;
            Some((name.clone(), result.clone()))
        };
        newest.tasks.iter().filter_map(result).collect()
    }

    /// Scratch folders that no living plan has any more are removed, with what else was of ended generations; data
    /// never is by absence.
    pub(super) fn drop_folders(&mut self) -> Result<(), Trouble> {
        if self.local.applied.is_none() {
            return Ok(());
        }
        let pruned = self.local.prune();
        let of = |applied: &Applied| {
            let n = applied.bindings.generation.as_ref().map(|generation| generation.n);
            folders(&applied.plan, n).collect::<Vec<_>>()
        };
        let lives: BTreeSet<String> = self.local.living().flat_map(of).collect();
        let gone: Vec<String> = self
            .local
            .dirs
            .iter()
            .filter(|(name, folder)| !folder.keep && !lives.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            if let Some(folder) = self.local.dirs.remove(name) {
                stoker_host::fs::remove_tree(std::path::Path::new(&folder.path))
                    .map_err(|e| Trouble::error("ST0336", format!("cannot remove `{}`: {e}", folder.path)))?;
            }
        }
        if pruned {
            self.core.set_ports(&self.id, Some(self.local.ports.clone()));
        }
        if gone.is_empty() && !pruned { Ok(()) } else { self.save() }
    }
}

/// The name of a frozen generation's task.
fn applied_task(applied: &Applied, task: &str) -> String {
    applied.bindings.generation.as_ref().map_or_else(|| task.to_owned(), |of| named(task, of.n))
}

mod erased {
    /// A document of any of the types that are published.
    pub(super) trait Json {
        fn json(&self) -> Result<Vec<u8>, serde_json::Error>;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
            serde_json::to_vec(self)
        }
    }
}
