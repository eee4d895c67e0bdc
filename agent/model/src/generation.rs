//! Generations: what must be alike everywhere runs beside what was so before, until nobody needs the old one. Owns
//! names and numbers of generations, what freezing keeps of an applied plan, and when one ends for the whole
//! application; must not do any of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::local::Local;
use crate::observation::Memory;
use crate::plan::Plan;
use crate::record::UnitReport;
use crate::resolve::Applied;

/// How many may drain beside the newest; a further move waits.
pub const MOST: usize = 2;

/// A generation of one unit: the charm's key for it, and the number that its services, ports and folders carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// The number: rising, never used twice by a unit.
    pub n: u64,
    /// What must be alike everywhere, in the charm's words.
    pub key: String,
}

/// A generation that is not the newest any more: as it was applied, but for what is not of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    /// Which.
    pub generation: Numbered,
    /// Its services with all that they were resolved to.
    pub applied: Applied,
    /// The store's revision when it was frozen: ends that were decided before do not concern it.
    pub revision: u64,
    /// Since when it drains, milliseconds since 1970: since the newest one was ready for the first time.
    pub draining: Option<u64>,
}

/// The name of what belongs to generation `n`.
pub fn named(name: &str, n: u64) -> String {
    format!("{name}.g{n}")
}

/// A name without its generation, and the generation.
pub fn split(name: &str) -> (&str, Option<u64>) {
    match name.rsplit_once(".g") {
        Some((plain, n)) => n.parse().map_or((name, None), |n| (plain, Some(n))),
        None => (name, None),
    }
}

impl Frozen {
    /// Freezes what is of a generation in an applied plan; `None` where that is no service.
    pub fn of(mut applied: Applied, revision: u64) -> Option<Self> {
        let generation = applied.bindings.generation.clone()?;
        let plan = &mut applied.plan;
        plan.services.retain(|_, service| service.generation);
        applied.services.retain(|name, _| plan.services.contains_key(name));
        if plan.services.is_empty() {
            return None;
        }
        let drains: BTreeSet<String> =
            plan.services.values().filter_map(|service| service.stop.drain.clone()).collect();
        plan.tasks.retain(|name, _| drains.contains(name));
        applied.tasks.retain(|name, _| drains.contains(name));
        // What is told to others is the newest plan's to say.
        plan.relations.clear();
        plan.verdicts.clear();
        plan.state = Memory::default();
        (plan.app_status, plan.hold, plan.action, plan.scale) = (None, None, None, None);
        Some(Self { generation, applied, revision, draining: None })
    }
}

/// The folders of a plan that generation `n` has, by the name that they are made under.
pub fn folders(plan: &Plan, n: Option<u64>) -> impl Iterator<Item = String> {
    plan.dirs.iter().map(move |(name, dir)| match n {
        Some(n) if dir.generation => named(name, n),
        _ => name.clone(),
    })
}

impl Local {
    /// What is applied, then the frozen generations, oldest first: all whose services live.
    pub fn living(&self) -> impl Iterator<Item = &Applied> {
        self.applied.iter().chain(self.generations.iter().map(|frozen| &frozen.applied))
    }

    /// The living applied plan that has the service of this name, as it runs, with the plan's name for it.
    pub fn owner<'a>(&self, run: &'a str) -> Option<(&Applied, &'a str)> {
        let (plain, _) = split(run);
        self.living()
            .find(|applied| applied.services.contains_key(plain) && applied.run_name(plain) == run)
            .map(|applied| (applied, plain))
    }

    /// The number of a plan's generation: the one that its key has, or the next. True where it is new.
    pub fn number(&mut self, key: &str) -> (u64, bool) {
        if let Some(n) = self.numbers.get(key) {
            return (*n, false);
        }
        self.numbered += 1;
        self.numbers.insert(key.to_owned(), self.numbered);
        (self.numbered, true)
    }

    /// Whether neither ports nor numbers are remembered.
    pub fn is_blank(&self) -> bool {
        self.ports.is_empty() && self.numbered == 0
    }

    /// Remembers what the store was told last, where the journal is gone: ports, by the plan's names until a plan says
    /// which of them are of its generation, and the numbers, so that what runs is known again and none is used twice.
    pub fn recall(&mut self, report: &UnitReport) {
        self.ports.clone_from(&report.ports);
        let older = report.generations.iter().map(|generation| generation.n);
        self.numbered = older.chain(report.generation.iter().map(|of| of.n)).max().unwrap_or_default();
        self.numbers.extend(report.generation.iter().map(|of| (of.key.clone(), of.n)));
    }

    /// Gives a port that was recalled the name that it has in its generation.
    pub fn claim_recalled(&mut self, name: &str, n: u64) {
        let theirs = named(name, n);
        if self.applied.is_none()
            && !self.ports.contains_key(&theirs)
            && let Some(port) = self.ports.remove(name)
        {
            self.ports.insert(theirs, port);
        }
    }

    /// Takes a resolved plan for applied: freezes the generation before it, thaws its own.
    pub fn become_applied(&mut self, to: Applied, revision: u64) {
        let next = to.bindings.generation.as_ref().map(|generation| generation.n);
        self.generations.retain(|frozen| Some(frozen.generation.n) != next);
        if let Some(old) = self.applied.take().filter(|old| freezes(old, &to)) {
            self.generations.extend(Frozen::of(old, revision));
        }
        self.applied = Some(to);
    }

    /// Forgets a frozen generation whose services are stopped, and a candidate that would have thawed it.
    pub fn end(&mut self, n: u64) {
        self.generations.retain(|frozen| frozen.generation.n != n);
        let of = |applied: &Applied| applied.bindings.generation.as_ref().is_some_and(|g| g.n == n);
        if self.candidate.as_ref().is_some_and(of) {
            self.candidate = None;
        }
        self.prune();
    }

    /// Forgets numbers and ports of generations that are nowhere any more. True where there were any.
    pub fn prune(&mut self) -> bool {
        let lives: BTreeSet<u64> = self
            .living()
            .chain(&self.candidate)
            .filter_map(|applied| applied.bindings.generation.as_ref().map(|generation| generation.n))
            .collect();
        // The newest plan may be on its way: what was made for it would be made anew.
        let coming =
            self.plan.as_ref().and_then(|plan| self.numbers.get(&plan.generation.as_ref()?.key)).copied();
        let stays = |n: &u64| lives.contains(n) || coming == Some(*n);
        let before = (self.numbers.len(), self.ports.len());
        self.numbers.retain(|_, n| stays(n));
        self.ports.retain(|name, _| split(name).1.is_none_or(|n| stays(&n)));
        before != (self.numbers.len(), self.ports.len())
    }

    /// Whether applying a plan would leave more generations to drain than may.
    pub fn full(&self, to: &Applied) -> bool {
        let next = to.bindings.generation.as_ref().map(|generation| generation.n);
        let others = self.generations.iter().filter(|frozen| Some(frozen.generation.n) != next).count();
        let more = self.applied.as_ref().is_some_and(|old| freezes(old, to) && !old.services.is_empty());
        others + usize::from(more) > MOST
    }
}

/// Whether what is of a generation in `old` goes on beside `new`.
pub fn freezes(old: &Applied, new: &Applied) -> bool {
    match (&old.bindings.generation, &new.bindings.generation) {
        (Some(old), Some(new)) => old.n != new.n,
        _ => false,
    }
}

/// The generation that serves while `wanted` is only on its way: the newest one that was ready. `None` where what is
/// wanted is frozen, since it is there again as soon as it is thawed.
pub fn serving<'a>(local: &'a Local, wanted: &str) -> Option<&'a Numbered> {
    let applied = local.applied.as_ref()?.bindings.generation.as_ref()?;
    if local.generations.iter().any(|frozen| frozen.generation.key == wanted) {
        return None;
    }
    // All that were frozen since one was ready last wait to drain; that one is the first of them.
    let ready = local.generations.iter().find(|frozen| frozen.draining.is_none());
    Some(ready.map_or(applied, |frozen| &frozen.generation))
}

/// How one unit stands with its generations, for the decision that all of them share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The key of what is applied.
    pub newest: Option<String>,
    /// The key of the newest plan.
    pub wanted: Option<String>,
    /// Keys that the newest plan keeps.
    pub keep: BTreeSet<String>,
    /// Frozen ones by key.
    pub frozen: BTreeMap<String, Drain>,
}

/// How a frozen generation of one unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drain {
    /// The newest one was ready once.
    pub draining: bool,
    /// Not busy twice in a row.
    pub idle: bool,
    /// Its deadline has passed.
    pub due: bool,
    /// [`Frozen::revision`].
    pub revision: u64,
}

/// The keys that end now for the whole application. `units` has one entry a unit, `None` for one that is not known to
/// stand anywhere yet; `used` are the keys of running actions.
pub fn ends(units: &[Option<Standing>], used: &BTreeSet<String>) -> BTreeSet<String> {
    let Some(units) = units.iter().map(Option::as_ref).collect::<Option<Vec<&Standing>>>() else {
        return BTreeSet::new();
    };
    let keys: BTreeSet<&String> = units.iter().flat_map(|unit| unit.frozen.keys()).collect();
    let ends = |key: &&String| {
        let key = *key;
        let all: Vec<&Drain> = units.iter().filter_map(|unit| unit.frozen.get(key)).collect();
        let lives =
            units.iter().any(|unit| unit.newest.as_ref() == Some(key) || unit.wanted.as_ref() == Some(key));
        if lives || !all.iter().all(|drain| drain.draining) {
            return false;
        }
        let needed = used.contains(key) || units.iter().any(|unit| unit.keep.contains(key));
        all.iter().any(|drain| drain.due) || (!needed && all.iter().all(|drain| drain.idle))
    };
    keys.into_iter().filter(ends).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Digest, UnitId};
    use crate::resolve::{Bindings, Changes, resolve};
    use proptest::prelude::*;
    use serde_json::json;

    /// A plan of generation `key` whose services have `what` in their commands.
    fn prepared(local: &mut Local, key: u8, what: u8) -> Applied {
        let key = format!("k{key}");
        let plan: Plan = serde_json::from_value(json!({"format": 1, "generation": {"key": key},
            "ports": {"p": {"generation": true}, "fixed": {}},
            "services": {"web": {"command": ["x", what.to_string()], "generation": true},
                "log": {"command": ["y"]}}}))
        .unwrap();
        let (n, _) = local.number(&key);
        local.ports.insert(named("p", n), (1000 + n as u16, 1));
        let generation = Some(Numbered { n, key });
        let bindings = Bindings { generation, ..Bindings::default() };
        resolve(&plan, 1, &Digest::of(b"o"), bindings, "/files").unwrap()
    }

    #[test]
    fn names_carry_the_number() {
        assert_eq!(split(&named("web", 12)), ("web", Some(12)));
        assert_eq!(
            (split("web"), split("t.web"), split("web.gx")),
            (("web", None), ("t.web", None), ("web.gx", None))
        );
    }

    #[test]
    fn a_key_that_comes_back_is_thawed_with_its_processes() {
        let mut local = Local::new(UnitId::new("web", 0));
        let one = prepared(&mut local, 1, 0);
        local.become_applied(one.clone(), 1);
        let two = prepared(&mut local, 2, 0);
        let changes = Changes::between(&local, &two);
        assert_eq!((changes.stops().len(), changes.frozen.len()), (0, 1), "{changes:?}");
        assert_eq!(changes.added, ["web.g2".to_owned()].into());
        local.become_applied(two, 2);
        assert_eq!(local.generations.len(), 1);
        assert!(local.generations[0].applied.services.keys().eq(["web"]), "the log is not of it");
        let back = Changes::between(&local, &one);
        assert_eq!((back.stops().len(), back.added.len()), (0, 0), "{back:?}");
        assert_eq!(back.thawed, ["web.g1".to_owned()].into());
        // Frozen with other inputs than the plan has now: that is a restart, which asks what is busy.
        let other = prepared(&mut local, 1, 7);
        assert_eq!(Changes::between(&local, &other).stops(), ["web.g1".to_owned()].into());
        local.become_applied(one, 3);
        assert_eq!(local.generations[0].generation.n, 2);
        local.end(2);
        assert!(local.generations.is_empty() && !local.numbers.contains_key("k2"));
        assert!(local.ports.keys().eq([&named("p", 1)]));
        assert_eq!(local.number("k2"), (3, true), "no number is used twice");
    }

    #[test]
    fn what_was_ready_last_serves_until_the_next_one_is() {
        let mut local = Local::new(UnitId::new("web", 0));
        assert_eq!(serving(&local, "k1"), None);
        let served = |local: &Local, wanted: &str| serving(local, wanted).map(|generation| generation.n);
        for key in 1..=3 {
            let to = prepared(&mut local, key, 0);
            local.become_applied(to, u64::from(key));
            if key == 1 {
                assert_eq!(served(&local, "k2"), Some(1), "the next one is not applied yet");
            }
        }
        // The second was never ready, nor is the third.
        assert_eq!(served(&local, "k3"), Some(1));
        assert_eq!(served(&local, "k1"), None, "it runs still, and is waited for");
        local.generations.iter_mut().for_each(|frozen| frozen.draining = Some(1));
        assert_eq!(served(&local, "k4"), Some(3));
    }

    proptest! {
        /// Whatever plans come and whatever ends: never more than may drain, no number twice, no living port gone,
        /// and no move stops a service of a generation that goes on.
        #[test]
        fn moves_freeze_and_thaw(steps in prop::collection::vec((0u8..5, 0u8..3, any::<bool>()), 1..40)) {
            let mut local = Local::new(UnitId::new("web", 0));
            for (revision, (key, what, end)) in steps.into_iter().enumerate() {
                if let Some(first) = local.generations.first().filter(|_| end) {
                    let n = first.generation.n;
                    local.end(n);
                }
                let to = prepared(&mut local, key, what);
                if local.full(&to) {
                    local.prune();
                    continue;
                }
                let changes = Changes::between(&local, &to);
                let next = to.bindings.generation.as_ref().unwrap().n;
                for stopped in changes.stops() {
                    prop_assert!(split(&stopped).1.is_none_or(|n| n == next), "{stopped} for {next}");
                }
                local.candidate = Some(to.clone());
                local.become_applied(to, revision as u64);
                local.prune();
                prop_assert!(local.generations.len() <= MOST);
                let mut numbers: Vec<u64> = local.living().map(|a| a.bindings.generation.as_ref().unwrap().n).collect();
                prop_assert!(numbers.iter().all(|n| local.ports.contains_key(&named("p", *n))));
                numbers.sort_unstable();
                numbers.dedup();
                prop_assert_eq!(numbers.len(), local.generations.len() + 1);
                let bytes = local.write();
                prop_assert!(local.plan.is_some() || bytes.is_ok());
            }
        }

        /// Nothing ends that somebody needs; more that is needed never ends more.
        #[test]
        fn ends_are_shared_and_careful(units in prop::collection::vec(standing(), 1..4), at in 0usize..4,
            used in prop::collection::btree_set(key(), 0..2)) {
            let known: Vec<Option<Standing>> = units.iter().cloned().map(Some).collect();
            let ended = ends(&known, &used);
            for key in &ended {
                let drains = || units.iter().filter_map(|u| u.frozen.get(key));
                prop_assert!(drains().count() > 0 && drains().all(|d| d.draining));
                let lives = |u: &Standing| u.newest.as_ref() == Some(key) || u.wanted.as_ref() == Some(key);
                prop_assert!(!units.iter().any(lives));
                let due = drains().any(|d| d.due);
                prop_assert!(due || drains().all(|d| d.idle));
                prop_assert!(due || !(used.contains(key) || units.iter().any(|u| u.keep.contains(key))));
            }
            let mut busier = units;
            let at = at % busier.len();
            busier[at].frozen.values_mut().for_each(|drain| (drain.idle, drain.due) = (false, false));
            let busier: Vec<Option<Standing>> = busier.into_iter().map(Some).collect();
            prop_assert!(ends(&busier, &used).is_subset(&ended));
            let mut unknown = busier;
            unknown.push(None);
            prop_assert!(ends(&unknown, &used).is_empty());
        }
    }

    fn key() -> impl Strategy<Value = String> {
        (0u8..3).prop_map(|n| format!("k{n}"))
    }

    fn standing() -> impl Strategy<Value = Standing> {
        let drain = any::<(bool, bool, bool)>().prop_map(|(draining, idle, due)| Drain {
            draining,
            idle,
            due: due && idle,
            revision: 0,
        });
        (
            prop::option::of(key()),
            prop::option::of(key()),
            prop::collection::btree_set(key(), 0..2),
            prop::collection::btree_map(key(), drain, 0..3),
        )
            .prop_map(|(newest, wanted, keep, frozen)| Standing { newest, wanted, keep, frozen })
    }
}
