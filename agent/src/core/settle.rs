//! Settling: when all effects of a change have come to rest. Never "looks idle": every unit that it can concern has
//! made a pass at or after the newest revision, and none has anything pending.

use std::collections::BTreeSet;
use std::time::Duration;

use stoker_model::record::ActionState;
use stoker_model::snapshot::Snapshot;
use stoker_model::status::State;

use super::{Core, find_app, lock};
use crate::api::types::ChangeStatus;
use crate::problem::{Problem, codes};

/// What became of releases of this change that were given up.
fn given_up(snapshot: &Snapshot, apps: &[String], change: u64) -> Vec<String> {
    let of = |name: &String| {
        let rollout = snapshot.apps.get(name)?.rollout.as_ref()?;
        let why = rollout.why.as_ref().filter(|why| why.change == change)?;
        let back = if rollout.back { "; it went back" } else { "" };
        Some(format!("{name}: release {} was given up: {}{back}", why.release, why.says))
    };
    apps.iter().filter_map(of).collect()
}

impl Core {
    /// Remembers the revision that a change was committed at.
    pub(crate) fn note_change(&self, number: u64, revision: u64) {
        lock(&self.revisions).insert(number, revision);
    }

    /// Applications that a change to `apps` can reach: those and all that are related, however far.
    fn reach(snapshot: &Snapshot, apps: &[String]) -> BTreeSet<String> {
        let mut reached: BTreeSet<String> = apps.iter().cloned().collect();
        loop {
            let more: Vec<String> = snapshot
                .relations
                .values()
                .filter(|relation| relation.ends.iter().any(|end| reached.contains(&end.app)))
                .flat_map(|relation| relation.ends.iter().map(|end| end.app.clone()))
                .filter(|app| !reached.contains(app))
                .collect();
            if more.is_empty() {
                return reached;
            }
            reached.extend(more);
        }
    }

    fn look(&self, apps: &BTreeSet<String>, least: u64, asked: Option<u64>) -> ChangeStatus {
        let snapshot = self.snapshot();
        let mut status = ChangeStatus::default();
        for unit in snapshot.units.values().filter(|unit| apps.contains(&unit.id.app)) {
            let id = &unit.id;
            let seen = self.seen.of(id);
            let report = snapshot.reports.get(id);
            let state = report.map(|report| report.status.state).unwrap_or_default();
            let words =
                || report.map(|report| format!("{id}: {}", report.status.message)).unwrap_or_default();
            match state {
                State::Error => status.errors.push(words()),
                State::Blocked => status.blocked.push(words()),
                _ => {}
            }
            match seen {
                None => status.pending.push(format!("{id}: starting")),
                Some(seen) => {
                    let fresh = snapshot.revision >= least && seen.revision >= snapshot.concerns(id);
                    // What was deferred before the change may be what the change lets go, at once or when its turn comes.
                    let rollout = snapshot.apps.get(&id.app).and_then(|app| app.rollout.as_ref());
                    let later = rollout.is_some_and(|rollout| {
                        !rollout.done && !rollout.paused && unit.release != rollout.to
                    });
                    if let Some(what) = seen.deferred.filter(|_| fresh && !later) {
                        status.deferred.push(format!("{id}: {what}"));
                    }
                    if !fresh {
                        status.pending.push(format!("{id}: looking"));
                    } else if !matches!(state, State::Blocked | State::Error) {
                        status.pending.extend(seen.pending.iter().map(|what| format!("{id}: {what}")));
                    }
                }
            }
            if unit.life == stoker_model::observation::Life::Dying {
                status.pending.push(format!("{id}: is being removed"));
            }
        }
        for app in snapshot.apps.values().filter(|app| apps.contains(&app.name)) {
            let Some(rollout) = app.rollout.as_ref().filter(|rollout| !rollout.done) else { continue };
            let name = &app.name;
            let left = snapshot.units_of(name).filter(|unit| unit.release != rollout.to).count();
            let units = snapshot.units_of(name).count();
            if rollout.paused && rollout.moving.is_empty() {
                let moved = units - left;
                status.deferred.push(format!(
                    "{name}: its rollout is paused, {moved} of {units} units are at release {}",
                    rollout.to
                ));
            } else {
                status
                    .pending
                    .push(format!("{name}: {left} of {units} units go to release {} later", rollout.to));
            }
        }
        // An action may run for hours: a change waits for those alone that it asked for.
        let concerns = |enqueued: u64| asked.is_none_or(|time| time == enqueued);
        let actions = snapshot.actions.values();
        for action in actions.filter(|a| apps.contains(&a.unit.app) && concerns(a.enqueued)) {
            if matches!(action.state, ActionState::Pending | ActionState::Running) {
                status.pending.push(format!("{}: action {} ({})", action.unit, action.name, action.id));
            }
        }
        status.settled = status.pending.is_empty();
        status
    }

    /// `asked` = when the change was made whose actions count; those of all without it.
    async fn settled(
        &self,
        apps: &[String],
        least: u64,
        asked: Option<u64>,
        wait: Option<Duration>,
    ) -> ChangeStatus {
        let deadline = wait.map(|wait| tokio::time::Instant::now() + wait);
        let mut ticks = self.seen.follow();
        let mut follow = self.follow();
        loop {
            ticks.mark_unchanged();
            follow.mark_unchanged();
            let reached = Self::reach(&self.snapshot(), apps);
            let status = self.look(&reached, least, asked);
            let Some(deadline) = deadline else { return status };
            // A deferred move does not end by itself: there is nothing to wait for.
            if status.settled || !status.deferred.is_empty() {
                return status;
            }
            tokio::select! {
                _ = ticks.changed() => {}
                _ = follow.changed() => {}
                () = tokio::time::sleep_until(deadline) => return status,
            }
        }
    }

    /// Where a change stands; with `wait`, once it has settled or the time is over.
    pub(crate) async fn change(
        &self,
        model: &str,
        n: u64,
        wait: Option<Duration>,
    ) -> Result<ChangeStatus, Problem> {
        Self::check_model(model)?;
        let Some(change) = self.snapshot().changes.get(&n).cloned() else {
            let newest = self.snapshot().model.as_ref().map_or(0, |model| model.changes);
            let why = if n > 0 && n <= newest {
                "it is older than those that are kept"
            } else {
                "there is no such change"
            };
            let title = format!("cannot show change {n}: {why}");
            return Err(Problem::new(codes::NOT_FOUND, title));
        };
        let least = lock(&self.revisions).get(&n).copied().unwrap_or_default();
        let mut status = self.settled(&change.apps, least, Some(change.time), wait).await;
        status.errors.extend(given_up(&self.snapshot(), &change.apps, n));
        Ok(ChangeStatus {
            change: n,
            time: change.time,
            by: change.by.clone(),
            command: change.command.clone(),
            ..status
        })
    }

    /// Where an application stands (all of them without a name).
    pub(crate) async fn settle(
        &self,
        model: &str,
        app: Option<&str>,
        wait: Option<Duration>,
    ) -> Result<ChangeStatus, Problem> {
        Self::check_model(model)?;
        let snapshot = self.snapshot();
        let apps: Vec<String> = match app {
            Some(name) => vec![find_app(&snapshot, name, "wait for")?.name.clone()],
            None => snapshot.apps.keys().cloned().collect(),
        };
        Ok(self.settled(&apps, snapshot.revision, None, wait).await)
    }

    /// All changes, newest last, without looking at whether they have settled.
    pub(crate) fn changes(&self, model: &str) -> Result<Vec<ChangeStatus>, Problem> {
        Self::check_model(model)?;
        let describe = |change: &std::sync::Arc<stoker_model::record::Change>| ChangeStatus {
            change: change.n,
            time: change.time,
            by: change.by.clone(),
            command: change.command.clone(),
            ..ChangeStatus::default()
        };
        Ok(self.snapshot().changes.values().map(describe).collect())
    }

    /// Wakes at each new revision.
    pub(crate) fn events(&self, model: &str) -> Result<tokio::sync::watch::Receiver<u64>, Problem> {
        Self::check_model(model)?;
        let (send, receive) = tokio::sync::watch::channel(self.snapshot().revision);
        let mut follow = self.follow();
        let mut stop = self.stop.subscribe();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = follow.changed() => if changed.is_err() { return },
                    () = send.closed() => return,
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                let revision = follow.borrow_and_update().revision;
                if send.send(revision).is_err() {
                    return;
                }
            }
        });
        Ok(receive)
    }
}
