//! One pass of a unit's worker: look, decide, do one thing. Every operation is prepare → execute → commit, and its
//! steps are written to the journal before they are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stoker_host::fs::failpoint::hit;
use stoker_model::digest::canonical;
use stoker_model::echo::{Cause, cause};
use stoker_model::ids::Digest;
use stoker_model::local::{Failure, Op, RemoveStep};
use stoker_model::next::{MAX_ECHOES, Next, Seen, next_operation};
use stoker_model::observation::{Observation, TaskState};
use stoker_model::observe::{Here, missing_resources, observe, task_result};
use stoker_model::plan::Plan;
use stoker_model::probe::is_busy;
use stoker_model::record::{TaskResult, Unit};
use stoker_model::resolve::Applied;
use stoker_model::snapshot::Snapshot;
use stoker_model::status::{State, Status};

use super::busy::ask_busy;
use super::trouble::{SOON, Trouble};
use super::worker::{Pass, Worker};
use crate::core::{Core, Outcome};

/// Runs of a charm that failed are tried again after this long, then twice as long, up to the second.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_mins(5);

/// How long an agent that has just started waits for the first answers of services that it finds running.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What a pass looks at.
pub(super) struct View {
    pub snapshot: Arc<Snapshot>,
    pub unit: Arc<Unit>,
}

/// An observation with its digest.
struct Looked {
    observation: Observation,
    canonical: Vec<u8>,
    digest: Digest,
}

impl Looked {
    fn at(observation: Observation) -> Result<Self, Trouble> {
        let canonical = canonical(&observation).map_err(|e| Trouble::from_error("ST0332", &e))?;
        let digest = Digest::of(&canonical);
        Ok(Self { observation, canonical, digest })
    }
}

impl Worker {
    /// One pass.
    pub(super) async fn pass(&mut self) -> Pass {
        // Trees that are linked in this pass stay until the journal or a service refers to them.
        let _hold = self.core.builds.hold("a pass of a unit");
        let snapshot = self.core.snapshot();
        let revision = snapshot.revision;
        let Some(unit) = snapshot.units.get(&self.id).cloned() else {
            return self.take_down_leftovers().await;
        };
        let view = View { snapshot, unit };
        let done = match self.look_and_do(&view).await {
            Ok(Pass::Wait(wait)) => self.save_plan().map(|()| Pass::Wait(wait)),
            other => other,
        };
        match done {
            Ok(pass) => {
                if let Pass::Wait(_) = pass {
                    let outcome = Outcome {
                        revision,
                        pending: self.pending(&view),
                        deferred: self
                            .busy
                            .as_ref()
                            .filter(|busy| !busy.is_empty())
                            .map(|busy| busy.join(", ")),
                        standing: Some(self.standing()),
                    };
                    self.core.seen.note(&self.id, outcome);
                    // What was said is forgotten, so that the next pass asks anew.
                    (self.busy, self.asked) = (None, false);
                    if let Err(trouble) = self.decide_ends().await {
                        tracing::warn!(unit = %self.id, "{}", trouble.status.message);
                    }
                }
                match pass {
                    Pass::Wait(wait) => {
                        let also = [self.drain_wait(&view), self.action_wait(&view)];
                        Pass::Wait(wait.into_iter().chain(also.into_iter().flatten()).min())
                    }
                    other => other,
                }
            }
            Err(trouble) => {
                let retry = trouble.retry;
                tracing::warn!(unit = %self.id, status = trouble.status.state.word(), "{}", trouble.status.message);
                self.trouble = Some(trouble);
                // What is applied goes on whatever is in the way of what is new.
                let kept = self.keep_running(&view).await.map(drop);
                for further in [kept, self.save_plan()].into_iter().filter_map(Result::err) {
                    tracing::warn!(unit = %self.id, "{}", further.status.message);
                }
                let _ = self.report(&view).await;
                self.core.seen.note(&self.id, Outcome { revision, ..Outcome::default() });
                Pass::Wait(retry)
            }
        }
    }

    /// A unit that the store knows as one that was here, and the journal has nothing of.
    fn has_lost_its_journal(&self, view: &View) -> bool {
        let known = self.local.applied.is_some() || self.local.candidate.is_some() || self.local.op.is_some();
        !known && view.snapshot.reports.contains_key(&self.id)
    }

    async fn look_and_do(&mut self, view: &View) -> Result<Pass, Trouble> {
        if !self.adopted && self.has_lost_its_journal(view) {
            // What runs may be right: that is seen once there is a plan, with the ports that it had.
            if let Some(report) = view.snapshot.reports.get(&self.id).filter(|_| self.local.is_blank()) {
                self.local.recall(report);
                self.core.set_ports(&self.id, Some(self.local.ports.clone()));
                self.save()?;
            }
        } else if !self.adopted {
            self.stop_orphans().await?;
            self.sweep_actions()?;
            if self.local.op.is_none() {
                // What a move that an agent did not come to the end of left.
                self.drop_folders()?;
                self.sweep_files()?;
            }
            hit("agent.worker.adopted");
            self.services.refresh(&self.local).await?;
            self.services.first_answers(FIRST_LOOK).await;
            self.adopted = true;
        }
        self.services.refresh(&self.local).await?;
        self.note_draining()?;
        self.ask_draining(view).await;
        self.harvest_tasks(view).await?;
        if self.drive_actions(view).await? {
            return Ok(Pass::Again);
        }

        let release = view.snapshot.release_of(&view.unit);
        let missing = release.map(|release| missing_resources(release)).unwrap_or_default();
        let dying = view.unit.life == stoker_model::observation::Life::Dying;
        if let (Some(name), false) = (missing.first(), dying) {
            let app = &self.id.app;
            let fix = format!("stoker attach-resource {app} {name}=SOURCE");
            self.trouble = Some(Trouble::blocked("ST0320", format!("attach {name}"), fix));
            self.keep_running(view).await?;
            self.report(view).await?;
            return Ok(Pass::Wait(None));
        }
        let seen = match self.observe(view) {
            Some(observation) => Some(Looked::at(observation)?),
            None => None,
        };
        let digest = seen.as_ref().map(|seen| &seen.digest);
        self.forgive_echoes(seen.as_ref())?;
        let mut next = self.decide(view, digest);
        if let (Next::Plan, Some(seen)) = (&next, &seen) {
            self.run_charm(view, seen).await;
            if self.core.snapshot().concerns(&self.id) > view.snapshot.revision {
                // What came meanwhile is planned for before anything is moved.
                return Ok(Pass::Again);
            }
            next = self.decide(view, digest);
        }
        if next == Next::Prepare {
            self.prepare(view).await?;
            // What was prepared is seen in the next observation (its tasks are): it is carried on with first, so
            // that a plan that answers its own preparation still gets somewhere.
            next = self.decide(view, digest);
        }
        if let Some(same) = self.same_as_applied() {
            // Only which observation it answers is new: noted, and on with what is applied.
            self.commit_move(view, same).await?;
            next = self.decide(view, digest);
        }
        match next {
            Next::Resume => {
                self.resume(view).await?;
                Ok(Pass::Again)
            }
            Next::Remove => self.begin_removal(view).await,
            Next::Plan => Ok(if seen.is_some() { Pass::Again } else { Pass::Wait(None) }),
            Next::Failed => self.wait_for_retry(view).await,
            Next::Unsettled => {
                let last: Vec<&String> = self.local.echoes.iter().rev().take(2).collect();
                let says = last.iter().rev().map(|s| s.as_str()).collect::<Vec<_>>().join("; then ");
                let mut trouble = Trouble::error(
                    "ST0321",
                    format!("does not settle: its own output keeps changing {says}"),
                );
                trouble.retry = None;
                self.trouble = Some(trouble);
                self.keep_running(view).await?;
                self.report(view).await?;
                Ok(Pass::Wait(None))
            }
            Next::Prepare => Ok(Pass::Again),
            Next::Hold => {
                self.trouble = None;
                self.hold(view).await?;
                self.keep_running(view).await?;
                self.report(view).await?;
                Ok(Pass::Wait(None))
            }
            Next::Gate { waiting, bad } => {
                self.trouble = Some(gate_trouble(&waiting, &bad, &self.task_results(view)));
                let wait = self.keep_running(view).await?;
                self.report(view).await?;
                Ok(Pass::Wait(wait))
            }
            Next::AskBusy(services) => {
                self.busy = Some(self.ask_busy(view, &services).await);
                Ok(Pass::Again)
            }
            Next::AskFrozen(services) => {
                let answers = ask_busy(&self.core, &self.local, &services).await;
                self.services.busy.extend(answers);
                self.asked = true;
                Ok(Pass::Again)
            }
            Next::Defer(busy) => {
                let release = self.local.applied.as_ref().map_or(0, |applied| applied.release);
                let app = &self.id.app;
                let message = format!(
                    "{} on release {release}; moves when they end, or stoker rollout {app} now",
                    busy.join(", ")
                );
                let status = Status::new(State::Waiting, message).fix(format!("stoker rollout {app} now"));
                self.trouble = Some(Trouble { status, retry: None });
                self.keep_running(view).await?;
                self.report(view).await?;
                // Asked again after a while.
                Ok(Pass::Wait(Some(self.patience(view))))
            }
            Next::Move(stop) => {
                self.trouble = None;
                (self.busy, self.asked) = (None, false);
                self.begin_move(view, stop).await?;
                self.services.refresh(&self.local).await?;
                self.keep_running(view).await?;
                Ok(Pass::Again)
            }
            Next::End(n) => {
                self.begin_end(view, n).await?;
                Ok(Pass::Again)
            }
            Next::Full => {
                let app = &self.id.app;
                let releases: Vec<String> =
                    self.local.generations.iter().map(|frozen| frozen.applied.release.to_string()).collect();
                let message = format!(
                    "releases {} drain; moves when one of them has ended, or stoker rollout {app} now",
                    releases.join(" and ")
                );
                let status =
                    Status::new(State::Waiting, message.clone()).fix(format!("stoker rollout {app} now"));
                self.trouble = Some(Trouble { status, retry: None });
                // What drains idle ends by itself soon.
                let busy = self.services.busy.values().flat_map(BTreeMap::values).any(is_busy);
                self.busy = busy.then(|| vec![message]);
                self.keep_running(view).await?;
                self.report(view).await?;
                Ok(Pass::Wait(Some(self.patience(view))))
            }
            Next::Keep => {
                self.trouble = None;
                self.busy = None;
                self.forget_answers();
                self.use_up_now(view)?;
                let wait = self.keep_running(view).await?;
                self.report(view).await?;
                Ok(Pass::Wait(wait))
            }
        }
    }

    /// The candidate where applying it alters nothing.
    fn same_as_applied(&self) -> Option<Applied> {
        let (applied, candidate) = (self.local.applied.as_ref()?, self.local.candidate.as_ref()?);
        let same = applied != candidate
            && self.local.op.is_none()
            && candidate.plan.hold.is_none()
            && candidate.alters_nothing(applied);
        same.then(|| candidate.clone())
    }

    fn decide(&self, view: &View, digest: Option<&Digest>) -> Next {
        let running: BTreeSet<String> = self.services.running();
        let tasks: BTreeMap<String, TaskState> = self.task_states(view);
        let seen = Seen {
            observation: digest,
            life: view.unit.life,
            force: view.unit.force,
            running: &running,
            tasks: &tasks,
            now: self.may_disturb(view),
            busy: self.busy.as_deref(),
            asked: self.asked,
            idle: self.idle(),
            ends: self.ended(&view.snapshot),
        };
        next_operation(&self.local, seen)
    }

    /// The unit's observation.
    pub(super) fn observe(&self, view: &View) -> Option<Observation> {
        let host = self.core.host();
        let users = Core::users_of(view.snapshot.release_of(&view.unit).map(AsRef::as_ref));
        let services = self.services.observed();
        observe(
            &view.snapshot,
            &view.unit,
            &self.local,
            Here { host: &host, users: &users, services: &services },
        )
    }

    /// How the tasks of the newest plan stand.
    pub(super) fn task_states(&self, view: &View) -> BTreeMap<String, TaskState> {
        let Some(newest) = self.local.candidate.as_ref().or(self.local.applied.as_ref()) else {
            return BTreeMap::new();
        };
        let state = |name: &String, key: &String| {
            let once = newest.plan.tasks.get(name).and_then(|task| task.once.as_deref());
            task_result(&view.snapshot, &self.id, name, once, key)
                .map(|result| result.state)
                .unwrap_or_default()
        };
        newest.tasks.iter().map(|(name, key)| (name.clone(), state(name, key))).collect()
    }

    /// Whether a move may disturb busy services: `now` was said after the last move that used it, or its time came.
    fn may_disturb(&self, view: &View) -> bool {
        let Some(app) = view.snapshot.apps.get(&self.id.app) else { return true };
        let by_time =
            app.now_at.is_some_and(|(change, at)| change > self.local.now_seen && crate::core::now() >= at);
        app.now > self.local.now_seen || by_time
    }

    /// How long to wait before busy services are asked again.
    fn patience(&self, view: &View) -> Duration {
        let until = view.snapshot.apps.get(&self.id.app).and_then(|app| app.now_at);
        let left = until.map(|(_, at)| Duration::from_millis(at.saturating_sub(crate::core::now())));
        left.map_or(SOON, |left| left.clamp(Duration::from_millis(100), SOON))
    }

    /// Nothing is left to move: a `now` that was said is used up, so that it disturbs no later move.
    fn use_up_now(&mut self, view: &View) -> Result<(), Trouble> {
        let said = view.snapshot.apps.get(&self.id.app).map_or(0, |app| app.now);
        if said > self.local.now_seen && self.local.generations.is_empty() {
            self.local.now_seen = said;
            self.save()?;
        }
        Ok(())
    }

    /// Runs the charm. Nothing is written: a plan goes to the journal with the first thing that follows from it.
    async fn run_charm(&mut self, view: &View, seen: &Looked) {
        let Some(release) = view.snapshot.release_of(&view.unit) else { return };
        self.note_echo(seen);
        hit("agent.plan.pending");
        let plan = match self.charm_folder(&release.charm).await {
            Ok(folder) => {
                let timeout = self.core.settings().charm_timeout;
                let dispatch = &release.description.programs.dispatch;
                self.core.hooks.plan(&folder, dispatch, &seen.observation, timeout).await.map_err(|error| {
                    let code =
                        if matches!(error, crate::hooks::HookError::Plan(_)) { "ST0323" } else { "ST0322" };
                    (code, crate::problem::chain(&error), error.evidence().to_owned())
                })
            }
            Err(trouble) => Err(("ST0324", trouble.status.message, String::new())),
        };
        hit("agent.plan.ran");
        self.last_seen = Some(seen.canonical.clone());
        let digest = seen.digest.clone();
        match plan {
            Ok(plan) => self.take_plan(plan, view.unit.release, digest),
            Err((code, message, evidence)) => {
                let count = self.local.failure.as_ref().map_or(0, |failure| failure.count) + 1;
                let wait = FIRST_RETRY.saturating_mul(1 << (count - 1).min(10)).min(LAST_RETRY);
                self.plan_wait = Some(Instant::now() + wait);
                let code = code.to_owned();
                self.local.failure = Some(Failure { observation: digest, count, code, message, evidence });
            }
        }
        self.unsaved = true;
        hit("agent.plan.done");
    }

    fn take_plan(&mut self, plan: Plan, release: u64, digest: Digest) {
        self.local.plan = Some(plan);
        self.local.planned_release = release;
        self.local.answered = Some(digest);
        self.local.failure = None;
        self.plan_wait = None;
        self.busy = None;
    }

    /// Counts a run whose only cause is the unit's own last output.
    fn note_echo(&mut self, seen: &Looked) {
        let Some(cause) = self.cause(seen) else { return };
        match cause {
            Cause::World => {
                self.local.echoes.clear();
                self.streak.clear();
            }
            Cause::Own(what) => self.local.echoes.push(what),
            Cause::Steps(what) if self.streak.contains(&seen.digest) => self.local.echoes.push(what),
            Cause::Steps(_) => {}
        }
        self.streak.insert(seen.digest.clone());
    }

    /// Why an observation differs from the last one that the charm ran for; `None` where there is none.
    fn cause(&self, seen: &Looked) -> Option<Cause> {
        let last = serde_json::from_slice(self.last_seen.as_ref()?).ok()?;
        Some(cause(&last, &serde_json::from_slice(&seen.canonical).ok()?))
    }

    /// A unit that was stopped for not settling goes on with the first change that is not its own.
    fn forgive_echoes(&mut self, seen: Option<&Looked>) -> Result<(), Trouble> {
        let Some(seen) = seen.filter(|_| self.local.echoes.len() >= MAX_ECHOES) else { return Ok(()) };
        if self.cause(seen).is_none_or(|cause| cause == Cause::World) {
            self.local.echoes.clear();
            self.streak.clear();
            self.save()?;
        }
        Ok(())
    }

    async fn wait_for_retry(&mut self, view: &View) -> Result<Pass, Trouble> {
        let Some(failure) = self.local.failure.clone() else { return Ok(Pass::Again) };
        let now = Instant::now();
        if self.plan_wait.is_none_or(|at| at <= now) {
            // The failure stays known until a run succeeds, for the backoff; only its claim on this
            // observation is dropped.
            if let Some(known) = self.local.failure.as_mut() {
                known.observation = Digest::of(b"");
            }
            return Ok(Pass::Again);
        }
        let mut trouble = Trouble::error(&failure.code, failure.message);
        trouble.status.fix = format!("stoker why {}", self.id);
        self.trouble = Some(trouble);
        self.keep_running(view).await?;
        self.report(view).await?;
        Ok(Pass::Wait(self.plan_wait.map(|at| at - now)))
    }

    /// Services and tasks of what is applied go on, whatever the newest plan waits for. Returns when to look again.
    async fn keep_running(&mut self, view: &View) -> Result<Option<Duration>, Trouble> {
        let services = self.start_services(view).await?;
        let tasks = self.start_tasks(view).await?;
        Ok([services, tasks].into_iter().flatten().min())
    }

    /// What will go on by itself.
    fn pending(&self, view: &View) -> Vec<String> {
        let applied = self.local.applied.as_ref();
        let mut pending =
            applied.map(|applied| self.services.pending(applied, &view.unit.stopped)).unwrap_or_default();
        if let Some(newest) = &self.local.applied {
            for (name, state) in self.task_states(view) {
                let endless =
                    newest.plan.tasks.get(&name).is_some_and(|task| task.every.is_some() || task.idle);
                if matches!(state, TaskState::Running | TaskState::Retry) && !endless {
                    pending.push(format!("task {name}"));
                }
            }
        }
        let full = self.local.candidate.as_ref().is_some_and(|candidate| self.local.full(candidate));
        if full && self.busy.is_none() {
            pending.push("earlier generations end".into());
        }
        if matches!(self.local.op, Some(Op::Move { .. })) {
            pending.push("moving".into());
        }
        if matches!(
            self.local.op,
            Some(Op::Remove(RemoveStep::Stopping | RemoveStep::Keeping | RemoveStep::Forgetting))
        ) {
            pending.push("removing".into());
        }
        let gate = self.trouble.as_ref().filter(|t| t.status.code == "ST0325");
        pending.extend(gate.map(|t| t.status.message.clone()));
        pending
    }
}

fn gate_trouble(waiting: &[String], bad: &[String], results: &BTreeMap<String, TaskResult>) -> Trouble {
    let said = |names: &[String]| {
        let each = names.iter().map(|name| match results.get(name).map(|result| result.reason.as_str()) {
            None | Some("") => name.clone(),
            Some(reason) => format!("{name} ({reason})"),
        });
        each.collect::<Vec<_>>().join(", ")
    };
    let Some(first) = bad.first() else {
        let message = format!("proves the new builds before it moves: {}", said(waiting));
        return Trouble { status: Status::new(State::Waiting, message).code("ST0325"), retry: None };
    };
    let message =
        format!("does not move: failed on the new builds: {}; what runs was not touched", said(bad));
    let status =
        Status::new(State::Blocked, message).code("ST0326").fix(format!("stoker restart UNIT/{first}"));
    Trouble { status, retry: None }
}
