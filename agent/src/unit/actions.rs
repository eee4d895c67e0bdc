//! Actions: each is a run of the charm of its own, whose plan's `action` is a task. At most once: an action that was
//! begun is never begun again. Owns which generation an action runs on.

use std::time::Duration;

use stoker_host::fs::failpoint::hit;
use stoker_host::services::{Observed, Phase, ServiceSpec};
use stoker_model::generation::serving;
use stoker_model::ids::Digest;
use stoker_model::keys::Key;
use stoker_model::observation::{Action as Asked, Memory, Observation, TaskState};
use stoker_model::plan::{Plan, Task};
use stoker_model::record::{Action, ActionState, TaskResult};
use stoker_model::resolve::resolve;
use stoker_store::Txn;

use super::bind::files_root;
use super::pass::View;
use super::service_name;
use super::trouble::Trouble;
use super::worker::Worker;
use crate::core::Core;

/// How much of an action's output is kept in the store; the log has the rest.
const OUTPUT: u64 = 32 * 1024;
/// How long an action waits for the generation that it is to run on; then the charm's answer stands as it is.
const COMING: Duration = Duration::from_mins(2);
/// How often it is looked whether it is there.
const LOOK: Duration = Duration::from_secs(1);

/// An action's task, ready to be started.
struct Planned {
    spec: ServiceSpec,
    /// The key of the generation that it is of.
    generation: Option<String>,
    /// What is remembered once it is done.
    remember: Memory,
}

/// Whether the action was asked for a short while ago.
fn is_young(action: &Action) -> bool {
    Duration::from_millis(crate::core::now().saturating_sub(action.enqueued)) < COMING
}

impl Worker {
    /// Begins what is pending and takes in what has ended. True where something is remembered of that: then all that
    /// was planned is of before.
    pub(super) async fn drive_actions(&mut self, view: &View) -> Result<bool, Trouble> {
        let mut news = false;
        let open: Vec<Action> = view
            .snapshot
            .actions
            .values()
            .filter(|a| a.unit == self.id && matches!(a.state, ActionState::Pending | ActionState::Running))
            .map(|a| Action::clone(a))
            .collect();
        for action in open {
            match action.state {
                ActionState::Pending => self.begin_action(view, action).await?,
                _ => news |= self.follow_action(action).await?,
            }
        }
        Ok(news)
    }

    async fn begin_action(&mut self, view: &View, action: Action) -> Result<(), Trouble> {
        match self.plan_action(view, &action).await {
            Ok(None) => Ok(()),
            Ok(Some(Planned { spec, generation, remember })) => {
                hit("agent.action.ready");
                let running = Action {
                    state: ActionState::Running,
                    started: Some(crate::core::now()),
                    generation,
                    remember,
                    ..action.clone()
                };
                self.put_action(&running).await?;
                hit("agent.action.claimed");
                if let Err(error) = self.core.supervisor.start(&spec).await {
                    return self.end_action(running, crate::problem::chain(&error)).await;
                }
                hit("agent.action.started");
                Ok(())
            }
            Err(trouble) => self.end_action(action, trouble.status.message).await,
        }
    }

    /// Plans an action and readies its task: on the newest generation, or, while that is only on its way, on the one
    /// before it. `None` where it waits: what it goes back to, or what it cannot be planned for, is there soon.
    async fn plan_action(&mut self, view: &View, action: &Action) -> Result<Option<Planned>, Trouble> {
        let wanted = self.local.plan.as_ref().and_then(|plan| plan.generation.as_ref());
        if let Some(wanted) = wanted.map(|generation| generation.key.clone())
            && self.comes(&wanted)
            && is_young(action)
        {
            return Ok(self.plan_before(view, action, &wanted).await);
        }
        let gone = || Trouble::error("ST0340", "the unit has no release");
        let release = view.snapshot.release_of(&view.unit).cloned().ok_or_else(gone)?;
        let observation = self.observe(view).ok_or_else(gone)?;
        let plan =
            self.run_for(action, &release.charm, &release.description.programs.dispatch, observation).await?;
        let wanted = plan.generation.as_ref().map(|generation| generation.key.clone());
        match wanted.filter(|wanted| self.comes(wanted) && is_young(action)) {
            Some(wanted) => Ok(self.plan_before(view, action, &wanted).await),
            None => self.ready_action(view, action, &plan, view.unit.release).await.map(Some),
        }
    }

    /// The action as of the generation that serves while `wanted` is on its way; `None` where there is none, or where
    /// it cannot be planned for any more.
    async fn plan_before(&mut self, view: &View, action: &Action, wanted: &str) -> Option<Planned> {
        let serving = serving(&self.local, wanted)?.clone();
        let seen = self.inputs_of(&serving)?;
        let release = view.snapshot.releases.get(&(self.id.app.clone(), seen.release)).cloned()?;
        let (number, charm) = (seen.release, release.charm.clone());
        let planned = self.run_for(action, &charm, &release.description.programs.dispatch, seen).await;
        let of_it = |plan: &Plan| plan.generation.as_ref().is_some_and(|of| of.key == serving.key);
        let planned = match planned {
            Ok(plan) if plan.action.is_some() && of_it(&plan) => {
                self.ready_action(view, action, &plan, number).await
            }
            Ok(_) => return None,
            Err(trouble) => Err(trouble),
        };
        planned
            .inspect_err(|trouble| {
                tracing::info!(unit = %self.id, generation = serving.n, "{}", trouble.status.message);
            })
            .ok()
    }

    /// Whether a generation is only on its way: not applied yet, or never ready so far.
    fn comes(&self, wanted: &str) -> bool {
        let applied = self.local.applied.as_ref().and_then(|applied| applied.bindings.generation.as_ref());
        let starting = self.local.generations.iter().any(|frozen| frozen.draining.is_none());
        applied.is_some_and(|applied| wanted != applied.key || starting)
    }

    /// When to look at actions again that wait for their generation; `None` where none does.
    pub(super) fn action_wait(&self, view: &View) -> Option<Duration> {
        let mut actions = view.snapshot.actions.values();
        actions.any(|a| a.unit == self.id && a.state == ActionState::Pending).then_some(LOOK)
    }

    /// Runs a charm for an action.
    async fn run_for(
        &self,
        action: &Action,
        charm: &Digest,
        dispatch: &str,
        mut seen: Observation,
    ) -> Result<Plan, Trouble> {
        seen.action = Some(Asked { name: action.name.clone(), params: action.params.clone() });
        let folder = self.charm_folder(charm).await?;
        let deadline = self.core.settings().charm_timeout;
        self.core.hooks.plan(&folder, dispatch, &seen, deadline).await.map_err(|error| {
            let said = error.evidence().lines().last().unwrap_or_default().to_owned();
            let joint = if said.is_empty() { "" } else { ": " };
            Trouble::error("ST0322", format!("{}{joint}{said}", crate::problem::chain(&error)))
        })
    }

    /// Readies the task of an action's plan.
    async fn ready_action(
        &mut self,
        view: &View,
        action: &Action,
        plan: &Plan,
        release: u64,
    ) -> Result<Planned, Trouble> {
        let Some(task) = plan.action.clone() else {
            let status = &plan.status;
            let why =
                if status.message.is_empty() { "the charm plans nothing for it" } else { &status.message };
            return Err(Trouble::error("ST0340", why));
        };
        let bindings = self.bind(view, plan, true).await?;
        let answers = Digest::of(format!("action/{}", action.id).as_bytes());
        let root = files_root(&self.core, &self.id).join("actions").join(action.id.to_string());
        let applied = resolve(plan, release, &answers, bindings, &root.display().to_string())
            .map_err(|e| Trouble::from_error("ST0333", &e))?;
        self.render(&applied)?;
        let short = format!("a.{}", action.id);
        let timeout = Duration::from_millis(action.timeout);
        let spec = self.task_spec(&applied, &short, &action.id.to_string(), &task, timeout)?;
        let generation = applied.bindings.generation.map(|generation| generation.key);
        Ok(Planned { spec, generation, remember: applied.plan.remember })
    }

    /// Takes in an action that has ended. True where something is remembered of it.
    async fn follow_action(&mut self, action: Action) -> Result<bool, Trouble> {
        let short = format!("a.{}", action.id);
        let name = service_name(&self.id, &short);
        let mut observed = self.core.supervisor.observe(&name).await?;
        let begun = |seen: &Observed| seen.phase != Phase::Stopped || seen.started_ms.is_some();
        if !begun(&observed) {
            // Its keeper may be just coming up: after a stop none begins any more, and what is seen then stays so.
            self.core.supervisor.stop(&name).await?;
            observed = self.core.supervisor.observe(&name).await?;
        }
        if observed.phase == Phase::Absent || !begun(&observed) {
            let why = "the agent ended before its task was started; it is not begun again";
            return self.end_action(action, why.into()).await.map(|()| false);
        }
        // What a move in flight remembers is of before the action, and would come over it.
        if !observed.phase.is_final() || self.local.op.is_some() {
            return Ok(false);
        }
        let result = self.read_result(&short, &observed, &Task::default(), TaskResult::default()).await;
        let done = result.state == TaskState::Done;
        let ended = Action {
            state: if done { ActionState::Completed } else { ActionState::Failed },
            exit: result.exit,
            result: result.result,
            message: result.reason,
            output: self.core.supervisor.log_tail(&name, OUTPUT).await.unwrap_or_default(),
            completed: Some(crate::core::now()),
            ..action
        };
        let remembered = if done { self.remembered(&ended)? } else { Txn::new() };
        self.put_with(remembered, &ended).await?;
        hit("agent.action.ended");
        self.sweep_actions()?;
        hit("agent.action.swept");
        Ok(done && ended.remember != Memory::default())
    }

    /// Removes the files of actions that have ended: those of an action may hold secrets.
    pub(super) fn sweep_actions(&self) -> Result<(), Trouble> {
        let snapshot = self.core.snapshot();
        let open = |id: u64| {
            let action = snapshot.actions.get(&id);
            action.is_some_and(|a| matches!(a.state, ActionState::Pending | ActionState::Running))
        };
        let Ok(entries) = std::fs::read_dir(files_root(&self.core, &self.id).join("actions")) else {
            return Ok(());
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            if !id.is_some_and(open) {
                stoker_host::fs::remove_tree(&path).map_err(|e| {
                    Trouble::error("ST0339", format!("cannot remove `{}`: {e}", path.display()))
                })?;
            }
        }
        Ok(())
    }

    async fn end_action(&self, action: Action, message: String) -> Result<(), Trouble> {
        let completed = Some(crate::core::now());
        self.put_action(&Action { state: ActionState::Failed, message, completed, ..action }).await?;
        self.sweep_actions()
    }

    async fn put_action(&self, action: &Action) -> Result<(), Trouble> {
        self.put_with(Txn::new(), action).await
    }

    async fn put_with(&self, txn: Txn, action: &Action) -> Result<(), Trouble> {
        let bytes = serde_json::to_vec(action).map_err(|e| Trouble::from_error("ST0332", &e))?;
        let _ = self.core.commit(txn.put(Core::key(&Key::Action(action.id)), bytes)).await?;
        Ok(())
    }

    /// Writes what is remembered of an action. Only this worker writes its unit's state, only the leader's the
    /// application's, and both do so in a pass: nothing comes between.
    fn remembered(&self, action: &Action) -> Result<Txn, Trouble> {
        let snapshot = self.core.snapshot();
        let mut txn = Txn::new();
        let app = (snapshot.leader_of(&self.id.app).as_ref() == Some(&self.id)).then(|| {
            (Key::AppState(self.id.app.clone()), snapshot.app_state.get(&self.id.app), &action.remember.app)
        });
        let unit =
            (Key::UnitState(self.id.clone()), snapshot.unit_state.get(&self.id), &action.remember.unit);
        for (key, before, news) in app.into_iter().chain([unit]).filter(|(_, _, news)| !news.is_empty()) {
            let mut bag = before.map(|bag| bag.as_ref().clone()).unwrap_or_default();
            bag.extend(news.clone());
            bag.retain(|name, _| news.get(name) != Some(&String::new()));
            let bytes = serde_json::to_vec(&bag).map_err(|e| Trouble::from_error("ST0332", &e))?;
            txn = txn.put(Core::key(&key), bytes);
        }
        Ok(txn)
    }
}
