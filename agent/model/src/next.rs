//! What a unit's worker does next: a pure function of what this host remembers and what it sees. Owns the order of
//! decisions; must not do anything itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::Digest;
use crate::local::Local;
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
    /// What a move would freeze was asked what it is busy with, and the charm has seen the answers.
    pub asked: bool,
    /// No frozen generation of this unit is busy.
    pub idle: bool,
    /// The frozen generation whose end was decided for the whole application.
    pub ends: Option<u64>,
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
    /// Ask the busy probes of these services: they would go on beside the new ones, which are planned by it.
    AskFrozen(BTreeSet<String>),
    /// As many generations drain as may: wait until one ends.
    Full,
    /// Stop these services, then apply.
    Move(BTreeSet<String>),
    /// Stop the services of this frozen generation.
    End(u64),
    /// Keep what is applied running.
    Keep,
}

/// Decides.
pub fn next_operation(local: &Local, seen: Seen<'_>) -> Next {
    if local.op.is_some() {
        return Next::Resume;
    }
    let dying = seen.life == Life::Dying;
    if dying && seen.force {
        return Next::Remove;
    }
    if let Some(n) = seen.ends {
        return Next::End(n);
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
        let drains = local.generations.iter().find(|frozen| frozen.draining.is_some());
        return match drains {
            Some(frozen) if seen.now => Next::End(frozen.generation.n),
            // What is still busy is waited for.
            _ if dying && plan.gone && (seen.idle || local.generations.is_empty()) => Next::Remove,
            _ => Next::Keep,
        };
    }
    if local.full(candidate) {
        let oldest = local.generations.first().filter(|_| seen.now);
        return oldest.map_or(Next::Full, |frozen| Next::End(frozen.generation.n));
    }
    let changes = Changes::between(local, candidate);
    let stops = changes.stops();
    let disturbed: BTreeSet<String> = stops.intersection(seen.running).cloned().collect();
    if !disturbed.is_empty() || !changes.frozen.is_disjoint(seen.running) {
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
        if !seen.now && !disturbed.is_empty() {
            match seen.busy {
                None => return Next::AskBusy(disturbed),
                Some([]) => {}
                Some(busy) => return Next::Defer(busy.to_vec()),
            }
        }
    }
    let frozen: BTreeSet<String> = changes.frozen.intersection(seen.running).cloned().collect();
    if !frozen.is_empty() && !seen.asked {
        return Next::AskFrozen(frozen);
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
                asked: true,
                idle: false,
                ends: None,
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

    fn of(key: &str, command: &str) -> Value {
        json!({"format": 1, "generation": {"key": key},
            "services": {"web": {"command": [command], "generation": true}},
            "tasks": {"proof": {"command": ["x"], "when": "before-move"}}})
    }

    /// A unit at `old` that is to go to `new`, each a generation of its own.
    fn generations(old: &str, new: &str) -> (Local, Digest) {
        let (mut local, digest) = local(Some(of(old, "a")), of(new, "b"));
        let mut numbers = std::collections::BTreeMap::new();
        for applied in [&mut local.applied, &mut local.candidate].into_iter().flatten() {
            let key = applied.plan.generation.clone().unwrap_or_default().key;
            let next = numbers.len() as u64 + 1;
            let n = *numbers.entry(key.clone()).or_insert(next);
            applied.bindings.generation = Some(crate::generation::Numbered { n, key });
        }
        local.numbers = numbers.clone();
        local.numbered = numbers.len() as u64;
        (local, digest)
    }

    #[test]
    fn a_generation_moves_beside_what_is_busy_once_it_is_proven() {
        let (mut local, digest) = generations("k1", "k2");
        let done = [("proof", TaskState::Done)];
        let waits = Next::Gate { waiting: vec!["proof".into()], bad: vec![] };
        assert_eq!(ask(&local, &digest, &["web.g1"], &[], None), waits);
        assert_eq!(
            ask(&local, &digest, &["web.g1"], &done, None),
            Next::Move(BTreeSet::new()),
            "nobody is asked"
        );
        let to = local.candidate.clone().unwrap();
        local.become_applied(to, 1);
        assert_eq!(ask(&local, &digest, &["web.g1", "web.g2"], &done, None), Next::Keep);
        let ended = Seen {
            observation: Some(&digest),
            life: Life::Alive,
            force: false,
            running: &BTreeSet::new(),
            tasks: &std::collections::BTreeMap::new(),
            now: false,
            busy: None,
            asked: false,
            idle: false,
            ends: Some(1),
        };
        assert_eq!(next_operation(&local, ended), Next::End(1));
        let now = Seen { now: true, ends: None, ..ended };
        assert_eq!(next_operation(&local, now), Next::Keep, "the newest one was not ready yet");
        local.generations[0].draining = Some(1);
        assert_eq!(next_operation(&local, now), Next::End(1));
        // A unit that is to go waits for what drains, unless that was said.
        local.plan.as_mut().unwrap().gone = true;
        let dying = Seen { life: Life::Dying, ends: None, ..ended };
        assert_eq!(next_operation(&local, dying), Next::Keep);
        assert_eq!(next_operation(&local, Seen { idle: true, ..dying }), Next::Remove);
        assert_eq!(next_operation(&local, Seen { force: true, ..dying }), Next::Remove);
    }

    #[test]
    fn a_third_move_waits_until_one_has_ended() {
        let (mut local, digest) = generations("k1", "k2");
        let next = |local: &mut Local, n: u64| {
            let mut to = local.candidate.clone().unwrap();
            to.bindings.generation = Some(crate::generation::Numbered { n, key: format!("k{n}") });
            local.candidate = Some(to.clone());
            to
        };
        for n in [2, 3] {
            let to = next(&mut local, n);
            local.become_applied(to, n);
        }
        next(&mut local, 4);
        let done = [("proof", TaskState::Done)];
        assert_eq!(ask(&local, &digest, &["web.g3"], &done, None), Next::Full);
        next(&mut local, 1);
        assert_eq!(
            ask(&local, &digest, &["web.g3"], &done, None),
            Next::Move(["web.g1".to_owned()].into()),
            "thawed"
        );
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
