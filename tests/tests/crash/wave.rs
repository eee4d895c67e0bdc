//! One pass through the scenario, with a kill in some of its steps, and what is compared after each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use stoker_tests::checker::{Records, Running, difference, published, revision, running, state, violations};

use crate::scenario::{STEPS, Step, prepare};
use crate::victim::Victim;

/// How long the agent may take to come to rest after the last fault.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the scenario leads to without a fault, after each step.
pub(crate) struct Reference {
    pub(crate) states: Vec<Value>,
    counters: Vec<Vec<(String, u64)>>,
    /// The points that each step passes.
    pub(crate) passed: Vec<Vec<String>>,
}

/// What became of a kill.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Killed, and all is as without.
    Sound,
    /// The step did not pass the point this time.
    Missed,
    /// Something does not hold.
    Broken(Vec<String>),
}

/// A step, a point in it, and what became of it.
pub(crate) type Tried = (usize, String, Outcome);

impl Outcome {
    /// Its word in the table.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Missed => "MISSED",
            Self::Broken(_) => "BROKEN",
        }
    }
}

/// Goes through the scenario without a fault.
pub(crate) fn reference() -> Reference {
    let mut victim = Victim::new();
    prepare(victim.beside());
    victim.record();
    let mut reference = Reference { states: Vec::new(), counters: Vec::new(), passed: Vec::new() };
    for step in STEPS {
        perform(&mut victim, step, None);
        let end = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        loop {
            victim.cli(&["wait", "--timeout", "10s"]);
            let now = comparable(&victim);
            let found = violations(victim.dir());
            if found.is_empty() && now == last {
                break;
            }
            assert!(
                Instant::now() < end,
                "{}: does not come to rest: {found:#?}\n{}",
                step.name(),
                victim.log_end()
            );
            last = now;
        }
        reference.passed.push(victim.passed());
        reference.states.push(last);
        reference.counters.push(victim.counters());
    }
    reference
}

/// The state without what a kill may change: an action that was begun is never begun again, so it may have failed.
fn comparable(victim: &Victim) -> Value {
    let mut state = state(victim.dir());
    if let Some(model) = state["model"].as_object_mut() {
        model.retain(|key, _| !key.starts_with("action/"));
    }
    state
}

/// Does a step; an agent that is not alive is started first.
fn perform(victim: &mut Victim, step: &Step, aim: Option<&str>) {
    match step {
        Step::First => {
            victim.start(aim);
        }
        Step::Again => {
            victim.kill();
            victim.start(aim);
        }
        Step::Term => {
            victim.signal(Signal::SIGTERM);
            if let Some(status) = victim.ended() {
                assert_eq!(status, 0, "{}", victim.log_end());
            }
            if aim.is_none() {
                victim.start(None);
            }
        }
        Step::Verb(_) | Step::Restart(_) => issue(victim, step),
    }
}

fn issue(victim: &mut Victim, step: &Step) {
    let words = step.words(victim).unwrap_or_default();
    let said = victim.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.ok || victim.died(), "{}: {}\n{}", step.name(), said.text, victim.log_end());
}

/// Whether the verb's change was committed: a user whose answer was lost looks, and asks again only if it was not.
fn was_committed(victim: &Victim, step: &Step) -> bool {
    let Some(words) = step.words(victim) else { return true };
    // What is destroyed is no longer there to be named.
    let is_name = |word: &String| !word.starts_with('-') && !word.starts_with("default-");
    let named: Vec<String> = words.into_iter().take_while(is_name).collect();
    victim.records().has_change(&format!("stoker {}", named.join(" ")))
}

/// Goes through the scenario up to the last step with a kill; `aims` names the point per step.
pub(crate) fn wave(reference: &Reference, aims: &BTreeMap<usize, String>) -> Vec<Tried> {
    let mut victim = Victim::new();
    prepare(victim.beside());
    let mut outcomes: Vec<Tried> = Vec::new();
    let mut kills = 0;
    for (at, step) in STEPS.iter().enumerate() {
        if outcomes.len() == aims.len() {
            break;
        }
        let aim = aims.get(&at).map(String::as_str);
        let starts = matches!(step, Step::First | Step::Again);
        if aim.is_some() && !starts {
            // What is at rest stays as it is over a restart: nothing is written, no process is another.
            let before = (revision(victim.dir()), running(victim.dir()));
            victim.kill();
            victim.start(aim);
            if !victim.dead() {
                victim.cli(&["wait", "--timeout", "10s"]);
                let after = (revision(victim.dir()), running(victim.dir()));
                if before != after && !victim.dead() {
                    let why =
                        vec![format!("a restart at rest changed something: {before:?}, then {after:?}")];
                    outcomes.push((at, aim.unwrap_or_default().to_owned(), Outcome::Broken(why)));
                    break;
                }
            }
        }
        perform(&mut victim, step, aim);
        let outcome = rest(&mut victim, reference, at, &mut kills, aim);
        match (aim, outcome) {
            (Some(point), outcome) => {
                let broken = matches!(outcome, Outcome::Broken(_));
                outcomes.push((at, point.to_owned(), outcome));
                if broken {
                    break;
                }
            }
            (None, Outcome::Broken(why)) => {
                // Without a kill in this step: an earlier one of this wave did it.
                let earlier =
                    outcomes.iter().map(|(_, point, _)| point.as_str()).collect::<Vec<_>>().join(", ");
                outcomes.push((at, format!("(after {earlier})"), Outcome::Broken(why)));
                break;
            }
            (None, _) => {}
        }
    }
    outcomes
}

/// Starts the agent again where it died, asks again where nothing was committed, and waits until all is as without
/// the fault.
fn rest(
    victim: &mut Victim,
    reference: &Reference,
    at: usize,
    kills: &mut u64,
    aim: Option<&str>,
) -> Outcome {
    let step = &STEPS[at];
    let end = Instant::now() + PATIENCE;
    let mut killed: Option<Running> = None;
    loop {
        if victim.dead() {
            *kills += 1;
            // Killed before it had made its databases, there is nothing to say of them.
            let untold = Records::read(victim.dir()).map(|records| published(&records)).unwrap_or_default();
            if !untold.is_empty() {
                return Outcome::Broken(untold);
            }
            if aim.is_some() && killed.is_none() {
                // And once more on the way back, where it comes by again.
                killed = Some(running(victim.dir()));
                victim.start(aim);
            } else {
                victim.start(None);
            }
            if victim.dead() {
                continue;
            }
            if !was_committed(victim, step) {
                issue(victim, step);
            }
        }
        victim.cli(&["wait", "--timeout", "5s"]);
        let mut found = difference(&reference.states[at], &comparable(victim));
        found.extend(violations(victim.dir()));
        found.extend(counted(&reference.counters[at], &victim.counters(), *kills));
        found.extend(actions(victim));
        if let Some(before) = &killed {
            found.extend(kept_running(before, &running(victim.dir()), step));
        }
        if found.is_empty() && !victim.dead() {
            return if aim.is_some() && killed.is_none() { Outcome::Missed } else { Outcome::Sound };
        }
        if Instant::now() > end {
            found.push(victim.log_end());
            return Outcome::Broken(found);
        }
    }
}

/// Services whose spec is the same have the same process as when the agent was killed.
fn kept_running(before: &Running, after: &Running, step: &Step) -> Vec<String> {
    let exempt = match step {
        Step::Restart(line) => line.rsplit(' ').next().unwrap_or_default().replace('/', "-"),
        _ => String::new(),
    };
    let mut found = Vec::new();
    for (name, (process, digest)) in before {
        let task = name.contains("-t.") || name.contains("-a.");
        if let Some((now, same)) =
            after.get(name).filter(|_| !task && (exempt.is_empty() || !name.ends_with(&exempt)))
            && digest == same
            && now != process
        {
            found
                .push(format!("{name} was restarted though its spec is the same: {process:?}, then {now:?}"));
        }
    }
    found
}

/// A service is started once; a task runs at least once, and once more at most for each kill.
fn counted(expected: &[(String, u64)], seen: &[(String, u64)], kills: u64) -> Vec<String> {
    let seen: BTreeMap<&str, u64> = seen.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let wrong = |(name, count): &(String, u64)| {
        let now = seen.get(name.as_str()).copied().unwrap_or_default();
        let most = if name.ends_with("starts") { *count } else { count + kills };
        (!(*count..=most).contains(&now)).then(|| format!("{name}: {now}, expected {count} to {most}"))
    };
    expected.iter().filter_map(wrong).collect()
}

/// An action runs at most once, and where it did not, it says so.
fn actions(victim: &Victim) -> Vec<String> {
    let mut found = Vec::new();
    for (at, action) in victim.records().of("action") {
        let output = action["output"].as_str().unwrap_or_default();
        let runs = output.lines().filter(|line| line.trim_end().ends_with("hi")).count();
        let why = action["message"].as_str().unwrap_or_default();
        let sound = match action["state"].as_str() {
            Some("completed") => runs == 1 && action["result"]["text"] == "hi",
            Some("failed") => runs <= 1 && why.contains("not begun again"),
            _ => false,
        };
        if !sound {
            found.push(format!("action {at} is {action}"));
        }
    }
    found
}
