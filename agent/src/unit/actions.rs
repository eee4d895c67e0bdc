//! Actions: each is a run of the charm of its own, whose plan's `action` is a task. At most once: an action that was
//! begun is never begun again.

use std::time::Duration;

use stoker_host::fs::failpoint::hit;
use stoker_host::services::{Observed, Phase};
use stoker_model::keys::Key;
use stoker_model::observation::{Action as Asked, TaskState};
use stoker_model::plan::Task;
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

/// Whether the action was asked for a short while ago.
fn is_young(action: &Action) -> bool {
    Duration::from_millis(crate::core::now().saturating_sub(action.enqueued)) < COMING
}

impl Worker {
    /// Begins what is pending and takes in what has ended.
    pub(super) async fn drive_actions(&mut self, view: &View) -> Result<(), Trouble> {
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
                _ => self.follow_action(action).await?,
            }
        }
        Ok(())
    }

    async fn begin_action(&mut self, view: &View, action: Action) -> Result<(), Trouble> {
        match self.plan_action(view, &action).await {
            Ok((_, generation)) if self.comes(generation.as_deref()) && is_young(&action) => Ok(()),
            Ok((spec, generation)) => {
                hit("agent.action.ready");
                let running = Action {
                    state: ActionState::Running,
                    started: Some(crate::core::now()),
                    generation,
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

    /// Whether a generation is only on its way: not applied yet, or never ready so far.
    fn comes(&self, generation: Option<&str>) -> bool {
        let applied = self.local.applied.as_ref().and_then(|applied| applied.bindings.generation.as_ref());
        let starting = self.local.generations.iter().any(|frozen| frozen.draining.is_none());
        generation.zip(applied).is_some_and(|(key, applied)| key != applied.key || starting)
    }

    /// When to look at actions again that wait for their generation; `None` where none does.
    pub(super) fn action_wait(&self, view: &View) -> Option<Duration> {
        let mut actions = view.snapshot.actions.values();
        actions.any(|a| a.unit == self.id && a.state == ActionState::Pending).then_some(LOOK)
    }

    /// Runs the charm for the action and readies its task; with the key of the generation that it is of.
    async fn plan_action(
        &mut self,
        view: &View,
        action: &Action,
    ) -> Result<(stoker_host::services::ServiceSpec, Option<String>), Trouble> {
        let gone = || Trouble::error("ST0340", "the unit has no release");
        let release = view.snapshot.release_of(&view.unit).cloned().ok_or_else(gone)?;
        let mut observation = self.observe(view).ok_or_else(gone)?;
        observation.action = Some(Asked { name: action.name.clone(), params: action.params.clone() });
        let folder = self.charm_folder(&release.charm).await?;
        let deadline = self.core.settings().charm_timeout;
        let plan = self
            .core
            .hooks
            .plan(&folder, &release.description.programs.dispatch, &observation, deadline)
            .await
            .map_err(|error| {
                let said = error.evidence().lines().last().unwrap_or_default().to_owned();
                Trouble::error(
                    "ST0322",
                    format!(
                        "{}{}{said}",
                        crate::problem::chain(&error),
                        if said.is_empty() { "" } else { ": " }
                    ),
                )
            })?;
        let Some(task) = plan.action.clone() else {
            let status = &plan.status;
            let why =
                if status.message.is_empty() { "the charm plans nothing for it" } else { &status.message };
            return Err(Trouble::error("ST0340", why));
        };
        let bindings = self.bind(view, &plan, true).await?;
        let answers = stoker_model::ids::Digest::of(format!("action/{}", action.id).as_bytes());
        let root = files_root(&self.core, &self.id).join("actions").join(action.id.to_string());
        let applied = resolve(&plan, view.unit.release, &answers, bindings, &root.display().to_string())
            .map_err(|e| Trouble::from_error("ST0333", &e))?;
        self.render(&applied)?;
        let short = format!("a.{}", action.id);
        let timeout = Duration::from_millis(action.timeout);
        let spec = self.task_spec(&applied, &short, &action.id.to_string(), &task, timeout)?;
        Ok((spec, applied.bindings.generation.map(|generation| generation.key)))
    }

    async fn follow_action(&mut self, action: Action) -> Result<(), Trouble> {
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
            return self.end_action(action, why.into()).await;
        }
        if !observed.phase.is_final() {
            return Ok(());
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
        self.put_action(&ended).await?;
        hit("agent.action.ended");
        self.sweep_actions()?;
        hit("agent.action.swept");
        Ok(())
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
        let bytes = serde_json::to_vec(action).map_err(|e| Trouble::from_error("ST0332", &e))?;
        let _ = self.core.commit(Txn::new().put(Core::key(&Key::Action(action.id)), bytes)).await?;
        Ok(())
    }
}
