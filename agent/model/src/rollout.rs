//! Rollouts: an application's units go to its newest release a few at a time. Owns the record of one and the decision
//! what its next step is; it must not know how a unit moves, nor what time it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::UnitId;
use crate::status::State;

/// A rollout that goes on, or that came to a stop and is still to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The release that units go to.
    pub to: u64,
    /// The release that all of them were at, to go back to.
    pub from: u64,
    /// How many units may be on their way at once.
    pub most: u32,
    /// No further unit is begun.
    #[serde(default)]
    pub paused: bool,
    /// It goes back: the last units first, and it does not turn again.
    #[serde(default)]
    pub back: bool,
    /// Units on their way, since when, and how they were before.
    #[serde(default)]
    pub moving: BTreeMap<UnitId, Moving>,
    /// Units that were begun so far.
    #[serde(default)]
    pub begun: u32,
    /// Why it came to a stop, or why it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// All units are there; it is kept for its [`Rollout::why`].
    #[serde(default)]
    pub done: bool,
}

/// A unit on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// When it was begun, or last waited for busy services: milliseconds since 1970.
    pub since: u64,
    /// What its status was: it may not be worse afterwards.
    pub before: State,
}

/// What stopped a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The release that was given up.
    pub release: u64,
    /// The change that it came from.
    pub change: u64,
    /// The unit that did not become healthy, and how it is.
    pub says: String,
}

/// How a unit stands, for the decision. Units that are being removed are not among them.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Which.
    pub id: UnitId,
    /// The release that it is to be at.
    pub release: u64,
    /// The release whose plan is applied.
    pub applied: u64,
    /// What its plan says of its place in the order.
    pub order: i64,
    /// The status shown.
    pub state: State,
    /// The status' message.
    pub message: String,
    /// Its worker has looked at everything up to now and goes on with nothing.
    pub rests: bool,
    /// It waits for busy services.
    pub deferred: bool,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These are there and healthy; those may begin. Never both empty.
    Step {
        /// On their way no longer.
        arrived: Vec<UnitId>,
        /// To be pointed to the release.
        begin: Vec<UnitId>,
        /// On their way, and waiting for busy services: their time begins anew.
        waiting: Vec<UnitId>,
    },
    /// Nothing until something changes, or until this time.
    Wait(Option<u64>),
    /// All are there.
    Done,
    /// A unit is not healthy: the rollout stops.
    Stop(UnitId, String),
}

/// A wait for busy services is noted this often at the most, in milliseconds.
const NOTED: u64 = 60_000;

/// Decides the next step of `rollout`. `now` is milliseconds since 1970, `patience` how long a unit may take.
pub fn next(rollout: &Rollout, units: &[Standing], now: u64, patience: u64) -> Next {
    let mut on_their_way = 0;
    let mut arrived = Vec::new();
    let mut waiting = Vec::new();
    let mut soonest: Option<u64> = None;
    for (id, moving) in &rollout.moving {
        // One that is gone, or that is somewhere else by now, is not waited for.
        let Some(unit) = units.iter().find(|unit| unit.id == *id && unit.release == rollout.to) else {
            arrived.push(id.clone());
            continue;
        };
        let good = unit.state <= moving.before.max(State::Active);
        if unit.applied == rollout.to && unit.rests && good {
            arrived.push(id.clone());
            continue;
        }
        on_their_way += 1;
        if unit.deferred {
            if now >= moving.since + NOTED {
                waiting.push(id.clone());
            }
            continue;
        }
        let until = moving.since + patience;
        let refused = unit.rests && !good && unit.state >= State::Blocked;
        if refused || now >= until {
            let says = match (refused, unit.message.as_str()) {
                (_, "") => format!("{id} is {}", unit.state.word()),
                (true, message) => format!("{id} is {}: {message}", unit.state.word()),
                (false, message) => {
                    format!("{id} is {} after {} s: {message}", unit.state.word(), patience / 1000)
                }
            };
            return Next::Stop(id.clone(), says);
        }
        soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
    }
    let mut left: Vec<&Standing> = units.iter().filter(|unit| unit.release != rollout.to).collect();
    if left.is_empty() && on_their_way == 0 {
        return Next::Done;
    }
    left.sort_by_key(|unit| (unit.order, unit.id.n));
    if rollout.back {
        left.reverse();
    }
    let room = if rollout.paused { 0 } else { rollout.most.max(1).saturating_sub(on_their_way) };
    let begin: Vec<UnitId> = left.into_iter().take(room as usize).map(|unit| unit.id.clone()).collect();
    if arrived.is_empty() && begin.is_empty() && waiting.is_empty() {
        return Next::Wait(soonest);
    }
    Next::Step { arrived, begin, waiting }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rollout(most: u32) -> Rollout {
        Rollout {
            to: 2,
            from: 1,
            most,
            paused: false,
            back: false,
            moving: BTreeMap::new(),
            begun: 0,
            why: None,
            done: false,
        }
    }

    fn unit(number: u32) -> Standing {
        Standing {
            id: UnitId { app: "web".into(), n: number },
            release: 1,
            applied: 1,
            order: 0,
            state: State::Active,
            message: String::new(),
            rests: true,
            deferred: false,
        }
    }

    /// Does what was decided; units that begin are executing.
    fn apply(rollout: &mut Rollout, units: &mut [Standing], next: &Next, now: u64) {
        let Next::Step { arrived, begin, waiting } = next else { return };
        rollout.moving.retain(|id, _| !arrived.contains(id));
        for id in waiting {
            rollout.moving.get_mut(id).unwrap().since = now;
        }
        for id in begin {
            let unit = units.iter_mut().find(|unit| unit.id == *id).unwrap();
            rollout.moving.insert(id.clone(), Moving { since: now, before: unit.state });
            (unit.release, unit.rests) = (2, false);
        }
    }

    #[test]
    fn one_by_one_and_back_from_the_last() {
        let (mut plan, mut units) = (rollout(1), vec![unit(0), unit(1), unit(2)]);
        units[2].order = -1;
        let mut order = Vec::new();
        for now in 0..10 {
            let next = next(&plan, &units, now, 100);
            if next == Next::Done {
                break;
            }
            if let Next::Step { begin, .. } = &next {
                order.extend(begin.iter().map(|id| id.n));
            }
            apply(&mut plan, &mut units, &next, now);
            for unit in &mut units {
                (unit.applied, unit.rests) = (unit.release, true);
            }
        }
        assert_eq!(order, [2, 0, 1]);
        assert_eq!(next(&plan, &units, 10, 100), Next::Done);
        let back = Rollout { back: true, to: 3, ..rollout(1) };
        let Next::Step { begin, .. } = next(&back, &units, 10, 100) else { panic!() };
        assert_eq!(begin[0].n, 1, "the last first");
    }

    #[test]
    fn one_that_is_worse_than_before_stops_it() {
        let (mut plan, mut units) = (rollout(1), vec![unit(0), unit(1)]);
        let first = next(&plan, &units, 0, 100);
        apply(&mut plan, &mut units, &first, 0);
        assert_eq!(next(&plan, &units, 50, 100), Next::Wait(Some(100)), "it is on its way");
        (units[0].applied, units[0].state) = (2, State::Waiting);
        assert_eq!(next(&plan, &units, 99, 100), Next::Wait(Some(100)));
        assert!(matches!(next(&plan, &units, 100, 100), Next::Stop(..)), "too late");
        (units[0].state, units[0].rests, units[0].message) = (State::Error, true, "crashed".into());
        let Next::Stop(_, says) = next(&plan, &units, 1, 100) else { panic!() };
        assert_eq!(says, "web/0 is error: crashed");
        // It was no better before.
        plan.moving.get_mut(&units[0].id).unwrap().before = State::Error;
        assert!(matches!(next(&plan, &units, 1, 100), Next::Step { .. }));
    }

    #[test]
    fn waiting_for_busy_services_takes_no_time_and_a_pause_begins_nothing() {
        let (mut plan, mut units) = (rollout(1), vec![unit(0), unit(1)]);
        let first = next(&plan, &units, 0, 100);
        apply(&mut plan, &mut units, &first, 0);
        units[0].deferred = true;
        assert_eq!(next(&plan, &units, NOTED - 1, 100), Next::Wait(None));
        let again = next(&plan, &units, NOTED, 100);
        assert_eq!(again, Next::Step { arrived: vec![], begin: vec![], waiting: vec![units[0].id.clone()] });
        apply(&mut plan, &mut units, &again, NOTED);
        units[0].deferred = false;
        assert_eq!(next(&plan, &units, NOTED + 1, 100), Next::Wait(Some(NOTED + 100)));
        plan.paused = true;
        (units[0].applied, units[0].rests) = (2, true);
        let Next::Step { arrived, begin, .. } = next(&plan, &units, NOTED + 2, 100) else { panic!() };
        assert_eq!((arrived.len(), begin.len()), (1, 0));
        plan.moving.clear();
        assert_eq!(next(&plan, &units, NOTED + 3, 100), Next::Wait(None));
    }

    proptest! {
        #[test]
        fn never_more_at_once_and_it_ends(
            count in 1u32..7,
            most in 0u32..4,
            choices in prop::collection::vec(0u8..8, 0..200),
        ) {
            let mut plan = rollout(most);
            let mut units: Vec<Standing> = (0..count).map(unit).collect();
            let mut choices = choices.into_iter();
            for now in 0..400u64 {
                let step = next(&plan, &units, now, 1_000_000);
                if step == Next::Done {
                    prop_assert!(units.iter().all(|unit| unit.release == 2 && unit.applied == 2));
                    return Ok(());
                }
                prop_assert!(!matches!(step, Next::Stop(..)));
                apply(&mut plan, &mut units, &step, now);
                prop_assert!(plan.moving.len() <= most.max(1) as usize);
                // Any of those on their way comes on; in the end all do.
                let choice = choices.next().unwrap_or(0);
                for unit in units.iter_mut().filter(|unit| unit.release == 2 && !unit.rests) {
                    if choice != 7 {
                        (unit.applied, unit.rests) = (2, true);
                    }
                }
            }
            prop_assert!(false, "it does not end");
        }
    }
}
