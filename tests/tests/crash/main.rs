//! The real agent killed at every step of every operation, started again, and checked. Owns the proof of crash
//! safety; what must hold is in `stoker_tests::checker`. The agent is built with its failpoints for it, which takes
//! a while the first time.
//!
//! `STOKER_CRASH_SHARE=N` tries every Nth point, `STOKER_CRASH_STEPS=N` each point in at most N steps,
//! `STOKER_CRASH_POINTS=TEXT` those with the text in their names; `STOKER_CRASH_ROUNDS` is how many kills are random.

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

/// A number from the environment.
pub(crate) fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// A wave's points by step. Each point goes where it is passed, to the `each` steps with the fewest so far.
fn plan(reference: &Reference, wanted: &[String], each: usize) -> VecDeque<BTreeMap<usize, String>> {
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
        let mut steps = steps;
        assert!(!steps.is_empty(), "{name} is never passed");
        steps.sort_by_key(|step| columns[*step].len());
        for step in steps.into_iter().take(each) {
            columns[step].push(name.clone());
        }
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
    // Names are sorted by operation: every so manieth is some of each.
    let share = number("STOKER_CRASH_SHARE", 1).max(1);
    let wanted: Vec<String> =
        all.into_iter().filter(|name| only.is_empty() || name.contains(&only)).step_by(share).collect();
    // In how many of its steps a point is tried.
    let each = number("STOKER_CRASH_STEPS", 2);
    let queue = Mutex::new(plan(&reference, &wanted, each));
    let table: Mutex<BTreeMap<(String, usize), Outcome>> = Mutex::default();
    let missed: Mutex<BTreeMap<(String, usize), u32>> = Mutex::default();
    std::thread::scope(|scope| {
        // A wave waits as often as it works: one more than there are cores.
        for _ in 0..=std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(aims) = queue.lock().expect("a queue").pop_front() else { return };
                    let tried = catch_unwind(|| wave(&reference, &aims)).unwrap_or_else(|_| {
                        let (step, point) = aims.first_key_value().expect("a wave with an aim");
                        let why = vec![format!("the wave broke off (see above): {aims:?}")];
                        vec![(*step, point.clone(), Outcome::Broken(why))]
                    });
                    let mut left = aims.clone();
                    let broken = tried.iter().any(|(_, _, outcome)| matches!(outcome, Outcome::Broken(_)));
                    for (step, point, outcome) in tried {
                        if matches!(outcome, Outcome::Missed) {
                            let mut missed = missed.lock().expect("a table");
                            let times = missed.entry((point.clone(), step)).or_default();
                            *times += 1;
                            if *times < 3 {
                                continue;
                            }
                        }
                        left.remove(&step);
                        if let Outcome::Broken(why) = &outcome {
                            eprintln!("{point} in `{}`, with {aims:?}:", STEPS[step].name());
                            for line in why {
                                eprintln!("    {line}");
                            }
                        }
                        table.lock().expect("a table").insert((point, step), outcome);
                    }
                    // A wave that broke before its first aim would break there again, for ever.
                    if left == aims && broken {
                        let why = || Outcome::Broken(vec!["the wave broke before it came here".to_owned()]);
                        let never = left.iter().map(|(step, point)| ((point.clone(), *step), why()));
                        table.lock().expect("a table").extend(never);
                        left.clear();
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
    for ((point, step), outcome) in &table {
        eprintln!("{point:42} {:7} {}", outcome.word(), STEPS[*step].name());
    }
    let broken = table.values().filter(|outcome| matches!(outcome, Outcome::Broken(_))).count();
    let killed: BTreeSet<&String> = table
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Sound))
        .map(|((point, _), _)| point)
        .collect();
    let not_killed: Vec<&String> = wanted.iter().filter(|point| !killed.contains(point)).collect();
    let seconds = started.elapsed().as_secs();
    eprintln!(
        "{} points in {} steps, {broken} broken; without a fault {took:.1?}, all {seconds} s",
        killed.len(),
        table.len()
    );
    assert_eq!(broken, 0, "see the table");
    assert!(not_killed.is_empty(), "points that were never killed at: {not_killed:?}");
}
