//! Tasks: started once for their key when they may, harvested when they end, tried again where that can help. Their
//! results are in the store, so that any unit and any later release finds them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_host::fs::failpoint::hit;
use stoker_host::services::{Observed, Phase};
use stoker_model::keys::Key;
use stoker_model::observation::{ServiceState, TaskState};
use stoker_model::observe::{services_of, task_owner, task_result};
use stoker_model::plan::Task;
use stoker_model::record::TaskResult;
use stoker_model::size;
use stoker_store::Txn;

use super::launch::task_timeout;
use super::pass::View;
use super::services::how_it_ended;
use super::trouble::Trouble;
use super::worker::Worker;
use super::{name_prefix, service_name, split_name};
use crate::core::Core;

/// Exit status for "not now, but maybe later".
const TRY_LATER: i32 = 75;
/// The largest result.
const MAX_RESULT: usize = 64 * 1024;
const LAST_WAIT: Duration = Duration::from_mins(1);

impl Worker {
    /// The tasks of the newest plan: the candidate's, else the applied plan's.
    fn newest_tasks(&self) -> Vec<(String, String, Task)> {
        let Some(newest) = self.local.candidate.as_ref().or(self.local.applied.as_ref()) else {
            return Vec::new();
        };
        let task = |(name, key): (&String, &String)| {
            Some((name.clone(), key.clone(), newest.plan.tasks.get(name)?.clone()))
        };
        newest.tasks.iter().filter_map(task).collect()
    }

    /// Takes in the results of tasks that ended.
    pub(super) async fn harvest_tasks(&mut self, view: &View) -> Result<(), Trouble> {
        for (name, key, task) in self.newest_tasks() {
            let once = task.once.as_deref();
            let known = task_result(&view.snapshot, &self.id, &name, once, &key).cloned();
            let ours = known
                .as_ref()
                .is_some_and(|r| r.state == TaskState::Running && r.unit.as_ref() == Some(&self.id));
            let short = format!("t.{name}");
            let repeats = self.repeating.contains(&short);
            if !ours && !repeats {
                continue;
            }
            let observed = self.core.supervisor.observe(&service_name(&self.id, &short)).await?;
            let known = known.unwrap_or_default();
            if repeats {
                // A repeated run shows only when it ends, and only where its result differs.
                if observed.digest == key && observed.phase.is_final() {
                    self.repeating.remove(&short);
                    let runs = known.runs;
                    let result = self.read_result(&short, &observed, &task, known).await;
                    if result.state != TaskState::Retry {
                        self.put_result(&name, once, &key, TaskResult { runs, ..result }).await?;
                    }
                }
            } else if observed.digest != key || observed.phase == Phase::Stopped {
                // Claimed, then the agent ended before it was started, or it was stopped and did not end by itself:
                // tried at once, and not counted as bad. A start lets no keeper of an earlier one begin.
                self.put_result(&name, once, &key, TaskResult { state: TaskState::Retry, ..known }).await?;
            } else if observed.phase.is_final() {
                let result = self.read_result(&short, &observed, &task, known).await;
                hit("agent.task.ended");
                if result.state == TaskState::Retry {
                    let wait =
                        Duration::from_secs(1 << (result.runs.saturating_sub(1)).min(6)).min(LAST_WAIT);
                    self.task_waits.insert(short, Instant::now() + wait);
                }
                self.put_result(&name, once, &key, result).await?;
                hit("agent.task.recorded");
            }
        }
        Ok(())
    }

    /// What a task that ended has to say.
    pub(super) async fn read_result(
        &self,
        short: &str,
        observed: &Observed,
        task: &Task,
        known: TaskResult,
    ) -> TaskResult {
        let name = service_name(&self.id, short);
        let exit = observed.exit.unwrap_or_default();
        let code = exit.code;
        let stdout = std::fs::read(self.core.supervisor.stdout_path(&name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&stdout);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let result = (last.len() <= MAX_RESULT).then(|| serde_json::from_str::<Value>(last).ok()).flatten();
        if code == Some(0) && !exit.deadline {
            return TaskResult {
                state: TaskState::Done,
                exit: code,
                result: result.unwrap_or(Value::Null),
                reason: String::new(),
                ..known
            };
        }
        let later = code == Some(TRY_LATER) || exit.deadline || observed.lost;
        let bad = if later { known.bad } else { known.bad + 1 };
        let state = if later || bad <= task.retry { TaskState::Retry } else { TaskState::Bad };
        let said =
            result.as_ref().and_then(|r| r.get("reason")).and_then(Value::as_str).map(ToOwned::to_owned);
        let log = self.core.supervisor.log_tail(&name, 4096).await.unwrap_or_default();
        let line = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let mut reason = said.unwrap_or_else(|| line.trim().escape_debug().to_string());
        if reason.is_empty() || exit.deadline {
            reason = how_it_ended(&exit);
        }
        reason.truncate(reason.char_indices().nth(400).map_or(reason.len(), |(at, _)| at));
        TaskResult { state, exit: code, result: result.unwrap_or(Value::Null), reason, bad, ..known }
    }

    /// Starts what may start; stops what the newest plan no longer has. Returns when to look again.
    pub(super) async fn start_tasks(&mut self, view: &View) -> Result<Option<Duration>, Trouble> {
        if self.local.op.is_some() {
            return Ok(None);
        }
        self.stop_old_tasks().await?;
        let moved = self.local.candidate.is_none() || self.local.applied == self.local.candidate;
        let all = self.services.observed();
        let states =
            self.local.applied.as_ref().map(|applied| services_of(applied, &all)).unwrap_or_default();
        let task_states = self.task_states(view);
        let mut again: Option<Duration> = None;
        for (name, key, task) in self.newest_tasks() {
            let short = format!("t.{name}");
            let once = task.once.as_deref();
            let known = task_result(&view.snapshot, &self.id, &name, once, &key).cloned();
            let rerun = self.asked_again(view, &name);
            match known.as_ref().map(|result| result.state).unwrap_or_default() {
                TaskState::Done if self.repeating.contains(&short) => continue,
                TaskState::Done if !rerun => match self.due(&short, &task) {
                    Some(Duration::ZERO) => {}
                    Some(wait) => {
                        again = Some(again.map_or(wait, |a| a.min(wait)));
                        continue;
                    }
                    None => continue,
                },
                TaskState::Bad if !rerun => continue,
                TaskState::Running => continue,
                _ => {}
            }
            if task.when.as_deref() != Some("before-move") && !moved {
                continue;
            }
            // A service's drain task runs when that service is about to stop, and only then.
            if self.drains(&name) {
                continue;
            }
            // A key that never ran has nothing to wait for: what is kept is another's.
            let waits = known.is_some() && !rerun;
            if let Some(at) = self.task_waits.get(&short).filter(|at| waits && **at > Instant::now()) {
                let wait = *at - Instant::now();
                again = Some(again.map_or(wait, |a| a.min(wait)));
                continue;
            }
            let ready = |need: &String| match need.strip_prefix("task:") {
                Some(other) => task_states.get(other) == Some(&TaskState::Done),
                None => states.get(need).is_some_and(|s| s.state == ServiceState::Ready),
            };
            if !task.needs.iter().all(ready) {
                continue;
            }
            self.start_task(&name, &key, &task, known.unwrap_or_default(), rerun).await?;
        }
        Ok(again)
    }

    fn drains(&self, task: &str) -> bool {
        let newest = self.local.candidate.as_ref().or(self.local.applied.as_ref());
        newest.is_some_and(|n| n.plan.services.values().any(|s| s.stop.drain.as_deref() == Some(task)))
    }

    /// When a task that repeats is due; `None` where it does not repeat.
    fn due(&mut self, short: &str, task: &Task) -> Option<Duration> {
        let every = size::duration(task.every.as_deref()?).ok()?;
        let at = *self.task_waits.entry(short.to_owned()).or_insert_with(|| Instant::now() + every);
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Whether a user asked for a task's next run (`restart UNIT/TASK`); noted once.
    fn asked_again(&mut self, view: &View, name: &str) -> bool {
        let at = format!("task:{name}");
        let asked = view.unit.restart.get(&at).copied().unwrap_or(0);
        if asked > self.local.restarted.get(&at).copied().unwrap_or(0) {
            self.local.restarted.insert(at, asked);
            return self.save().is_ok();
        }
        false
    }

    async fn start_task(
        &mut self,
        name: &str,
        key: &str,
        task: &Task,
        known: TaskResult,
        rerun: bool,
    ) -> Result<(), Trouble> {
        let Some(newest) = self.local.candidate.clone().or_else(|| self.local.applied.clone()) else {
            return Ok(());
        };
        let short = format!("t.{name}");
        let repeats = task.every.is_some() && known.state == TaskState::Done;
        let claim = TaskResult {
            state: TaskState::Running,
            unit: Some(self.id.clone()),
            runs: known.runs + 1,
            bad: if rerun { 0 } else { known.bad },
            reason: String::new(),
            ..known
        };
        if repeats {
            self.repeating.insert(short.clone());
        } else if !self.put_result(name, task.once.as_deref(), key, claim).await? {
            return Ok(());
        }
        hit("agent.task.claimed");
        // A plan of tasks alone has neither folders nor files that would have made the user.
        self.account(task.user.as_deref()).await?;
        let spec = self.task_spec(&newest, &short, key, task, task_timeout())?;
        // What a run of another key left is of no use; an ended run of this key is run again by `start`.
        self.core.supervisor.stop(&spec.name).await?;
        self.core.supervisor.start(&spec).await?;
        self.task_waits.remove(&short);
        hit("agent.task.started");
        Ok(())
    }

    /// Writes a result where it differs from what is there. False where another unit has the claim.
    async fn put_result(
        &self,
        name: &str,
        once: Option<&str>,
        key: &str,
        result: TaskResult,
    ) -> Result<bool, Trouble> {
        let snapshot = self.core.snapshot();
        let known = task_result(&snapshot, &self.id, name, once, key);
        let claimed = known.is_some_and(|k| {
            matches!(k.state, TaskState::Running | TaskState::Retry)
                && k.unit.as_ref().is_some_and(|unit| *unit != self.id && snapshot.units.contains_key(unit))
        });
        if claimed {
            return Ok(false);
        }
        if known == Some(&result) {
            return Ok(true);
        }
        let at = Core::key(&Key::Task(task_owner(&self.id, once), name.to_owned(), key.to_owned()));
        let bytes = serde_json::to_vec(&result).map_err(|e| Trouble::from_error("ST0332", &e))?;
        let mut txn = Txn::new();
        if known.is_none() {
            txn = txn.absent(at.clone());
        }
        Ok(self.core.commit(txn.put(at, bytes)).await?.is_some())
    }

    /// Tasks that are not in the newest plan are stopped and forgotten; looked for where its tasks are others.
    async fn stop_old_tasks(&mut self) -> Result<(), Trouble> {
        let Some(newest) = self.local.candidate.as_ref().or(self.local.applied.as_ref()) else {
            return Ok(());
        };
        let wanted: BTreeSet<String> = newest.tasks.keys().map(|name| format!("t.{name}")).collect();
        if self.known_tasks.as_ref() == Some(&wanted) {
            return Ok(());
        }
        for name in self.core.supervisor.names(&format!("{}t.", name_prefix(&self.id)))? {
            let ours = split_name(&name).filter(|(unit, _)| *unit == self.id).map(|(_, short)| short);
            if ours.is_some_and(|short| !wanted.contains(short)) {
                self.core.supervisor.forget(&name).await?;
                hit("agent.task.dropped");
            }
        }
        self.known_tasks = Some(wanted);
        Ok(())
    }

    /// What runs under this unit's name without being in any of its plans: stopped and forgotten, once a life.
    pub(super) async fn stop_orphans(&mut self) -> Result<(), Trouble> {
        let prefix = name_prefix(&self.id);
        let mut wanted = std::collections::BTreeSet::new();
        wanted.extend(
            self.local.living().chain(&self.local.candidate).flat_map(|applied| applied.runs().into_keys()),
        );
        for applied in [&self.local.applied, &self.local.candidate].into_iter().flatten() {
            wanted.extend(applied.tasks.keys().map(|name| format!("t.{name}")));
        }
        // Without an applied plan there is no other word on whether what runs is what should.
        let candidate = self.local.candidate.as_ref().filter(|_| self.local.applied.is_none());
        for name in self.core.supervisor.names(&prefix)? {
            let ours = split_name(&name).is_some_and(|(unit, _)| unit == self.id);
            let Some(short) = name.strip_prefix(&prefix).filter(|short| ours && !short.starts_with("a."))
            else {
                continue;
            };
            let other = match candidate.and_then(|candidate| candidate.services.get(short)) {
                Some(digest) => self.core.supervisor.observe(&name).await?.digest != digest.to_string(),
                None => false,
            };
            if !wanted.contains(short) || other {
                tracing::warn!(unit = %self.id, service = short, "stops what no plan has");
                self.core.supervisor.forget(&name).await?;
            }
        }
        Ok(())
    }
}
