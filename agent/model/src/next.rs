//! What a unit's worker does next: a pure function of what this host remembers and what it sees. Owns the order of
//! decisions; must not do anything itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::Digest;
use crate::local::{Local, Op};
use crate::observation::{Life, TaskState};
use crate::resolve::Changes;

/// Runs in a row that only echo the charm's own output, before it is stopped.
pub const MAX_ECHOES: usize = 8;

/// What the worker sees.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The digest of the observation; `None` where something that it needs is missing.
    pub observation: Option<&'a Digest>,
    /// Whether the unit is to stay.
    pub life: Life,
    /// Dying: do not wait for the charm.
    pub force: bool,
    /// Services with a process.
    pub running: &'a BTreeSet<String>,
    /// The candidate's tasks.
    pub tasks: &'a BTreeMap<String, TaskState>,
    /// Whether a move may disturb busy services.
    pub now: bool,
    /// What is busy in the services that a move would stop; `None` = not asked.
    pub busy: Option<&'a [String]>,
}

/// The next operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Go on with the operation in flight.
    Resume,
    /// Take the unit down.
    Remove,
    /// Run the charm.
    Plan,
    /// The charm failed for this very observation: wait for another one, or for the retry.
    Failed,
    /// The charm never settles: wait for a change that is not its own.
    Unsettled,
    /// Allot, render and link what the newest plan names.
    Prepare,
    /// The plan waits for others: only say so.
    Hold,
    /// Before-move tasks are not done: run them. The bad ones, if any, are named.
    Gate {
        /// Tasks that are not done.
        waiting: Vec<String>,
        /// Tasks that failed for good.
        bad: Vec<String>,
    },
    /// Ask the busy probes of these services.
    AskBusy(BTreeSet<String>),
    /// Wait until they are idle.
    Defer(Vec<String>),
    /// Stop these services, then apply.
    Move(BTreeSet<String>),
    /// Keep what is applied running.
    Keep,
}

/// Decides.
pub fn next_operation(local: &Local, seen: Seen<'_>) -> Next {
    if matches!(&local.op, Some(Op::Move { .. } | Op::Remove(_))) {
        return Next::Resume;
    }
    let dying = seen.life == Life::Dying;
    if dying && seen.force {
        return Next::Remove;
    }
    let Some(observation) = seen.observation else { return if dying { Next::Remove } else { Next::Keep } };
    if local.answered.as_ref() != Some(observation) {
        if local.failure.as_ref().is_some_and(|failure| failure.observation == *observation) {
            return Next::Failed;
        }
        if local.echoes.len() >= MAX_ECHOES {
            return Next::Unsettled;
        }
        return Next::Plan;
    }
    let Some(plan) = &local.plan else { return Next::Plan };
    let Some(candidate) = local.candidate.as_ref().filter(|candidate| candidate.answers == *observation)
    else {
        return if plan.hold.is_some() { Next::Hold } else { Next::Prepare };
    };
    if plan.hold.is_some() {
        return Next::Hold;
    }
    if local.applied.as_ref() == Some(candidate) {
        return if dying && plan.gone { Next::Remove } else { Next::Keep };
    }
    let stops = Changes::between(local.applied.as_ref(), candidate).stops();
    let disturbed: BTreeSet<String> = stops.intersection(seen.running).cloned().collect();
    if !disturbed.is_empty() {
        let open: Vec<(&String, TaskState)> = plan
            .tasks
            .iter()
            .filter(|(_, task)| task.when.as_deref() == Some("before-move"))
            .map(|(name, _)| (name, seen.tasks.get(name).copied().unwrap_or_default()))
            .filter(|(_, state)| *state != TaskState::Done)
            .collect();
        if !open.is_empty() {
            let of = |bad: bool| {
                open.iter()
                    .filter(|(_, s)| (*s == TaskState::Bad) == bad)
                    .map(|(name, _)| (*name).clone())
                    .collect()
            };
            return Next::Gate { waiting: of(false), bad: of(true) };
        }
        if !seen.now {
            match seen.busy {
                None => return Next::AskBusy(disturbed),
                Some([]) => {}
                Some(busy) => return Next::Defer(busy.to_vec()),
            }
        }
    }
    Next::Move(stops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UnitId;
    use crate::plan::Plan;
    use crate::resolve::{Bindings, resolve};
    use serde_json::{Value, json};

    fn local(old: Option<Value>, new: Value) -> (Local, Digest) {
        let digest = Digest::of(b"observation");
        let read = |value: Value| -> Plan { serde_json::from_value(value).unwrap() };
        let applied = |value: Value| resolve(&read(value), 1, &digest, Bindings::default(), "/f").unwrap();
        let mut local = Local::new(UnitId::new("web", 0));
        local.plan = Some(read(new.clone()));
        local.candidate = Some(applied(new));
        local.applied = old.map(applied);
        local.answered = Some(digest.clone());
        (local, digest)
    }

    fn ask(
        local: &Local,
        digest: &Digest,
        running: &[&str],
        tasks: &[(&str, TaskState)],
        busy: Option<&[String]>,
    ) -> Next {
        let running = running.iter().map(|s| (*s).to_owned()).collect();
        let tasks = tasks.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect();
        next_operation(
            local,
            Seen {
                observation: Some(digest),
                life: Life::Alive,
                force: false,
                running: &running,
                tasks: &tasks,
                now: false,
                busy,
            },
        )
    }

    fn web(command: &str) -> Value {
        json!({"format": 1, "services": {"web": {"command": [command]}}})
    }

    #[test]
    fn the_same_observation_costs_nothing() {
        let (local, digest) = local(Some(web("a")), web("a"));
        assert_eq!(ask(&local, &digest, &["web"], &[], None), Next::Keep);
        assert_eq!(ask(&local, &Digest::of(b"other"), &["web"], &[], None), Next::Plan);
    }

    #[test]
    fn a_move_waits_for_gates_then_for_busy_services() {
        let mut gated = web("b");
        gated["tasks"] = json!({"proof": {"command": ["x"], "when": "before-move"}});
        let (local, digest) = local(Some(web("a")), gated);
        let stop: BTreeSet<String> = ["web".to_owned()].into();
        let waits = Next::Gate { waiting: vec!["proof".into()], bad: vec![] };
        assert_eq!(ask(&local, &digest, &["web"], &[("proof", TaskState::Running)], None), waits);
        let bad = Next::Gate { waiting: vec![], bad: vec!["proof".into()] };
        assert_eq!(ask(&local, &digest, &["web"], &[("proof", TaskState::Bad)], None), bad);
        let done = [("proof", TaskState::Done)];
        assert_eq!(ask(&local, &digest, &["web"], &done, None), Next::AskBusy(stop.clone()));
        let busy = ["app-1".to_owned()];
        assert_eq!(ask(&local, &digest, &["web"], &done, Some(&busy)), Next::Defer(busy.to_vec()));
        assert_eq!(ask(&local, &digest, &["web"], &done, Some(&[])), Next::Move(stop.clone()));
        // Nothing runs that it would stop: at once, the task only holds back `active`.
        assert_eq!(ask(&local, &digest, &[], &[], None), Next::Move(stop));
    }

    #[test]
    fn holds_and_failures() {
        let mut held = web("b");
        held["hold"] = json!("waits for a peer");
        let (held, digest) = local(Some(web("a")), held);
        assert_eq!(ask(&held, &digest, &["web"], &[], None), Next::Hold);
        let mut failed = held;
        let other = Digest::of(b"other");
        failed.failure = Some(crate::local::Failure {
            observation: other.clone(),
            count: 1,
            code: String::new(),
            message: String::new(),
            evidence: String::new(),
        });
        assert_eq!(ask(&failed, &other, &[], &[], None), Next::Failed);
        failed.failure = None;
        failed.echoes = vec![String::new(); MAX_ECHOES];
        assert_eq!(ask(&failed, &other, &[], &[], None), Next::Unsettled);
    }
}
