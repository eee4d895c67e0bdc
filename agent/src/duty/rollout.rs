//! Rollouts: points units to their application's newest release, a few at a time, and back where one of them does not
//! become as well as it was. Owns the steps; what the next one is, is decided by `stoker_model::rollout`.

use std::sync::Arc;
use std::time::Duration;

use stoker_host::fs::failpoint::hit;
use stoker_model::keys::Key;
use stoker_model::observation::Life;
use stoker_model::record::{App, Unit};
use stoker_model::rollout::{Moving, Next, Rollout, Standing, Why, next};
use stoker_model::snapshot::Snapshot;
use stoker_model::status::State;
use stoker_store::Txn;

use crate::api::caller::Caller;
use crate::api::types::{Write, WriteRequest};
use crate::core::{Core, MODEL, now};
use crate::problem::Problem;

/// How long a step that failed is left alone.
const AGAIN: u64 = 5_000;

/// Takes all rollouts on, step by step, until the agent ends.
pub(crate) async fn keep(core: Arc<Core>) {
    let mut follow = core.follow();
    let mut ticks = core.seen.follow();
    let mut rest = core.rest.subscribe();
    loop {
        follow.mark_unchanged();
        ticks.mark_unchanged();
        let mut again: Option<u64> = None;
        let under_way: Vec<String> = core
            .snapshot()
            .apps
            .values()
            .filter(|app| live(app).is_some())
            .map(|app| app.name.clone())
            .collect();
        for app in under_way {
            let until = match step(&core, &app).await {
                Ok(until) => until,
                Err(problem) => {
                    tracing::error!(app, "cannot take the rollout on: {}", problem.title);
                    Some(now() + AGAIN)
                }
            };
            again = [again, until].into_iter().flatten().min();
        }
        let sleep = async {
            match again {
                Some(until) => tokio::time::sleep(Duration::from_millis(until.saturating_sub(now()))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = follow.changed() => if changed.is_err() { return },
            _ = ticks.changed() => {}
            () = sleep => {}
            _ = rest.wait_for(|rest| *rest) => return,
        }
    }
}

/// The application's rollout, where something is still to be done for it.
fn live(app: &App) -> Option<&Rollout> {
    app.rollout.as_ref().filter(|rollout| !rollout.done && app.life == Life::Alive)
}

/// One step; when to look again though nothing changes.
async fn step(core: &Core, name: &str) -> Result<Option<u64>, Problem> {
    let turn = core.turn().await;
    let snapshot = core.snapshot();
    let Some((app, rollout)) = snapshot.apps.get(name).and_then(|app| Some((app, live(app)?))) else {
        return Ok(None);
    };
    if rollout.why.is_some() && !rollout.back {
        let (from, to) = (rollout.from, rollout.to);
        let one_way = one_way(core, &snapshot, name, to)?;
        if let Some(what) = one_way.first() {
            let mut stopped = rollout.clone();
            stopped.done = true;
            if let Some(why) = &mut stopped.why {
                why.says = format!("{}; it does not go back by itself: {what}", why.says);
            }
            return commit(core, app, stopped, Vec::new()).await.map(|()| None);
        }
        drop(turn);
        return go_back(core, name, from).await.map(|()| None);
    }
    let patience = core.settings().health_timeout.as_millis() as u64;
    let mut rollout = rollout.clone();
    let mut units = Vec::new();
    match next(&rollout, &standing(core, &snapshot, name), now(), patience) {
        Next::Wait(until) => return Ok(until),
        Next::Done => {
            rollout.done = true;
            rollout.moving.clear();
        }
        Next::Stop(unit, says) => {
            tracing::warn!(%unit, release = rollout.to, "the rollout stops: {says}");
            let change = snapshot.releases.get(&(name.to_owned(), rollout.to)).map_or(0, |r| r.change);
            if rollout.back {
                rollout.done = true;
                let earlier =
                    rollout.why.take().map(|why| format!("{}; then ", why.says)).unwrap_or_default();
                let says = format!("{earlier}on the way back {says}");
                rollout.why = Some(Why { release: rollout.to, change, says });
            } else {
                rollout.why = Some(Why { release: rollout.to, change, says });
            }
        }
        Next::Step { arrived, begin, waiting } => {
            rollout.moving.retain(|id, _| !arrived.contains(id));
            for id in waiting {
                if let Some(moving) = rollout.moving.get_mut(&id) {
                    moving.since = now();
                }
            }
            for id in begin {
                let Some(unit) = snapshot.units.get(&id) else { continue };
                let before = snapshot.reports.get(&id).map_or(State::Unknown, |report| report.status.state);
                tracing::info!(unit = %id, release = rollout.to, "goes to the release");
                rollout.moving.insert(id, Moving { since: now(), before });
                rollout.begun += 1;
                units.push(Unit { release: rollout.to, ..Unit::clone(unit) });
            }
        }
    }
    commit(core, app, rollout, units).await.map(|()| None)
}

/// Writes the rollout as it stands now and the units that it points elsewhere, at once.
async fn commit(core: &Core, app: &App, rollout: Rollout, units: Vec<Unit>) -> Result<(), Problem> {
    let wrong = |e: &dyn std::error::Error| Problem::internal("cannot write a step of a rollout", e);
    let rollout = Some(rollout).filter(|rollout| !rollout.done || rollout.why.is_some());
    let app = App { rollout, ..app.clone() };
    let bytes = serde_json::to_vec(&app).map_err(|e| wrong(&e))?;
    let mut txn = Txn::new().put(Core::key(&Key::App(app.name.clone())), bytes);
    for unit in units {
        let bytes = serde_json::to_vec(&unit).map_err(|e| wrong(&e))?;
        let key = Core::key(&Key::Unit(unit.id.clone()));
        txn = txn.exists(key.clone()).put(key, bytes);
    }
    hit("agent.rollout.before-step");
    core.commit(txn).await.map_err(|e| wrong(&e))?;
    hit("agent.rollout.stepped");
    Ok(())
}

/// What all units but those being removed are like.
fn standing(core: &Core, snapshot: &Snapshot, app: &str) -> Vec<Standing> {
    let alive = snapshot.units_of(app).filter(|unit| unit.life == Life::Alive);
    let standing = |unit: &Arc<Unit>| {
        let report = snapshot.reports.get(&unit.id).map(|report| report.as_ref().clone()).unwrap_or_default();
        let seen = core.seen.of(&unit.id);
        let fresh = seen.as_ref().is_some_and(|seen| seen.revision >= snapshot.concerns(&unit.id));
        let ends = seen.as_ref().is_some_and(|seen| seen.pending.is_empty());
        Standing {
            id: unit.id.clone(),
            release: unit.release,
            applied: report.release,
            order: report.order,
            state: report.status.state,
            message: report.status.message,
            rests: fresh && (ends || report.status.state >= State::Blocked),
            deferred: seen.is_some_and(|seen| seen.deferred.is_some()),
        }
    };
    alive.map(standing).collect()
}

/// What cannot be taken back of what units have done at this release, by their plans.
fn one_way(core: &Core, snapshot: &Snapshot, app: &str, release: u64) -> Result<Vec<String>, Problem> {
    let mut found = Vec::new();
    for unit in snapshot.units_of(app).filter(|unit| unit.release == release) {
        if let Some(applied) = core.local(&unit.id)?.and_then(|local| local.applied)
            && applied.release == release
        {
            found.extend(applied.plan.one_way.clone());
        }
    }
    Ok(found)
}

/// Makes what an earlier release was the newest one, as a change of the agent's own.
async fn go_back(core: &Core, app: &str, to: u64) -> Result<(), Problem> {
    let request = WriteRequest {
        what: Write::Rollback { app: app.to_owned(), to: Some(to) },
        command: format!("stoker rollback {app} --to {to}"),
        preview: false,
        if_token: None,
        mode: None,
        patience: None,
    };
    let (progress, _) = tokio::sync::mpsc::channel(1);
    let reply = core.write(MODEL, request, &Caller::agent(), &progress).await?;
    if !reply.changed {
        // Both releases are alike: there is nothing to go back to.
        let _turn = core.turn().await;
        let snapshot = core.snapshot();
        if let Some((record, rollout)) = snapshot.apps.get(app).and_then(|app| Some((app, live(app)?))) {
            let stopped = Rollout { done: true, ..rollout.clone() };
            commit(core, record, stopped, Vec::new()).await?;
        }
    }
    Ok(())
}
