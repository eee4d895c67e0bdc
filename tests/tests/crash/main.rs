//! The real agent killed at every step of every operation, started again, and checked. Owns the proof of crash
//! safety; what must hold is in `stoker_tests::checker`. The agent is built with its failpoints for it, which takes
//! a while the first time.

mod moving;
mod scenario;
mod victim;
mod wave;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::catch_unwind;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use scenario::{STEPS, Step, points};
use wave::{Outcome, Reference, reference, wave};

/// One test at a time: each drives two agents, and a machine may have two cores.
pub(crate) fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wave's points by step. Each point goes where it is passed, to the step with the fewest so far.
fn plan(reference: &Reference, wanted: &[String]) -> VecDeque<BTreeMap<usize, String>> {
    let passed: Vec<BTreeSet<&str>> =
        reference.passed.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
    let again = STEPS.iter().position(|step| *step == Step::Again).expect("a restart among the steps");
    let mut at: Vec<(Vec<usize>, &String)> = Vec::new();
    for name in wanted {
        let mut steps: Vec<usize> =
            (0..STEPS.len()).filter(|step| passed[*step].contains(name.as_str())).collect();
        if passed[again].contains(name.as_str()) {
            // It is passed at each start: where the agent is started aimed at it, it dies.
            steps.retain(|step| matches!(STEPS[*step], Step::First | Step::Again));
        }
        at.push((steps, name));
    }
    at.sort_by_key(|(steps, _)| steps.len());
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); STEPS.len()];
    for (steps, name) in at {
        let least = steps.iter().min_by_key(|step| columns[**step].len()).expect("a point that is passed");
        columns[*least].push(name.clone());
    }
    let waves = columns.iter().map(Vec::len).max().unwrap_or(0);
    let row = |n: usize| {
        let of = |(step, column): (usize, &Vec<String>)| Some((step, column.get(n)?.clone()));
        columns.iter().enumerate().filter_map(of).collect()
    };
    (0..waves).map(row).collect()
}

#[test]
fn the_agent_killed_at_every_step_comes_back_to_the_same_state() {
    let _turn = turn();
    victim::programs();
    let started = Instant::now();
    let reference = reference();
    let took = started.elapsed();
    let all = points();
    let reached: BTreeSet<&String> = reference.passed.iter().flatten().collect();
    let never: Vec<&String> = all.iter().filter(|name| !reached.contains(name)).collect();
    let unlisted: Vec<&&String> = reached.iter().filter(|name| !all.contains(name)).collect();
    assert!(unlisted.is_empty(), "points that are in no list: {unlisted:?}");
    assert!(never.is_empty(), "points that the scenario never reaches: {never:#?}");
    let only = std::env::var("STOKER_CRASH_POINTS").unwrap_or_default();
    let wanted: Vec<String> =
        all.into_iter().filter(|name| only.is_empty() || name.contains(&only)).collect();
    let queue = Mutex::new(plan(&reference, &wanted));
    let table: Mutex<BTreeMap<String, (usize, Outcome)>> = Mutex::default();
    let again: Mutex<BTreeMap<String, u32>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(aims) = queue.lock().expect("a queue").pop_front() else { return };
                    let outcomes = catch_unwind(|| wave(&reference, &aims)).unwrap_or_else(|_| {
                        let point = aims.values().next().cloned().unwrap_or_default();
                        vec![(
                            point,
                            Outcome::Broken(vec![format!("the wave broke off (see above): {aims:?}")]),
                        )]
                    });
                    let mut left = aims.clone();
                    for (point, outcome) in outcomes {
                        let step = aims.iter().find(|(_, name)| **name == point).map_or(0, |(step, _)| *step);
                        let mut again = again.lock().expect("a table");
                        let tries = again.entry(point.clone()).or_default();
                        *tries += 1;
                        if matches!(outcome, Outcome::Missed) && *tries < 3 {
                            continue;
                        }
                        left.remove(&step);
                        if let Outcome::Broken(why) = &outcome {
                            eprintln!("{point} in `{}`, with {aims:?}:", STEPS[step].name());
                            for line in why {
                                eprintln!("    {line}");
                            }
                        }
                        table.lock().expect("a table").insert(point, (step, outcome));
                    }
                    // What a broken wave did not come to, and what was missed, in a wave of its own.
                    if !left.is_empty() {
                        queue.lock().expect("a queue").push_back(left);
                    }
                }
            });
        }
    });
    let table = table.into_inner().expect("a table");
    for (point, (step, outcome)) in &table {
        eprintln!("{point:42} {:7} {}", outcome.word(), STEPS[*step].name());
    }
    let broken = table.values().filter(|(_, outcome)| !matches!(outcome, Outcome::Sound)).count();
    let seconds = started.elapsed().as_secs();
    eprintln!("{} points, {broken} not sound; reference {took:.1?}, all {seconds} s", table.len());
    assert_eq!(broken, 0, "see the table");
    assert_eq!(table.len(), wanted.len());
}
