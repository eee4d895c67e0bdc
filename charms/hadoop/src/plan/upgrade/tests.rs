//! Upgrades from observations: a small world plays agent and disk. It runs what plans ask for in any order, fails what
//! it likes, asks for anything at any time, and plans again between preparing a plan and committing it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Observation, Ours, Service, ServiceState, Task, TaskState};
use stoker_charm::plan::Plan;
use stoker_charm::serde_json::{Value, json};
use stoker_charm::status::State;

use super::{Phase, UPGRADE, Upgrade, tasks};
use crate::plan::tests::{bag, done, planned, resource, settle, unit};

// Not those of the real ones: what the small world formats has -67.
const OLD: i64 = -67;
const NEW: i64 = -68;

struct World {
    seen: Observation,
    applied: Plan,
    /// What tasks answered, by name and key.
    answers: BTreeMap<(String, String), Task>,
    /// The layout of the metadata.
    data: i64,
    /// The request that the namespace was saved for is not over.
    saved: bool,
    asked: u64,
    /// Statuses, in the order of their first appearance.
    said: Vec<String>,
}

impl World {
    /// A filesystem of 3.3.6 to which 3.4.1 was attached.
    fn new() -> Self {
        let mut seen = unit("hadoop/0", &["hadoop/0"], true);
        seen.resources.insert("hadoop".into(), resource("3.3.6", OLD));
        let applied = settle(&mut seen, &[0]);
        let mut answers = BTreeMap::new();
        for (name, task) in &applied.tasks {
            let key = task.key.clone().unwrap_or_default();
            answers.insert((name.clone(), key), seen.tasks[name].clone());
        }
        let mut world = Self { seen, applied, answers, data: OLD, saved: false, asked: 0, said: Vec::new() };
        world.pass();
        world.seen.resources.insert("hadoop".into(), resource("3.4.1", NEW));
        world.pass();
        world
    }

    fn upgrade(&self) -> Option<Upgrade> {
        stoker_charm::serde_json::from_str(self.seen.state.unit.get(UPGRADE)?).unwrap()
    }

    fn phase(&self) -> Option<Phase> {
        self.upgrade().map(|upgrade| upgrade.phase)
    }

    /// One pass of the agent: plan, prepare, plan again, commit.
    fn pass(&mut self) {
        let plan = planned(&self.seen);
        self.observe_tasks(&plan);
        let again = planned(&self.seen);
        assert!(again == plan, "preparing a plan changed it: {:?}, {:?}", plan.status, again.status);
        if plan.services.is_empty() && !self.applied.services.is_empty() {
            assert!(self.saved, "stopped before the namespace was saved");
        }
        if plan.services.contains_key("namenode") {
            let layout = if plan.trees["hadoop"].base == Digest::of(b"3.3.6") { OLD } else { NEW };
            assert_eq!(layout, self.data, "a NameNode of {layout} on data of {}", self.data);
        }
        for (name, service) in &plan.services {
            if self.applied.services.get(name).map(|before| &before.command) != Some(&service.command) {
                self.seen
                    .services
                    .insert(name.clone(), Service { state: ServiceState::Starting, ..Service::default() });
            }
        }
        self.seen.services.retain(|name, _| plan.services.contains_key(name));
        self.seen.state = plan.state.clone();
        for relation in &mut self.seen.relations {
            let ours = &plan.relations[&relation.id.to_string()];
            relation.ours = Ours { app: ours.app.clone(), unit: ours.unit.clone() };
        }
        let said = format!("{} {}", plan.status.state.word(), plan.status.message);
        if !self.said.contains(&said) {
            self.said.push(said);
        }
        if !plan.state.unit.contains_key(UPGRADE) {
            self.saved = false;
        }
        self.applied = plan;
    }

    fn observe_tasks(&mut self, plan: &Plan) {
        self.seen.tasks = BTreeMap::new();
        for (name, task) in &plan.tasks {
            let key = task.key.clone().unwrap_or_default();
            let known = self.answers.get(&(name.clone(), key.clone())).cloned().unwrap_or_default();
            self.seen.tasks.insert(name.clone(), Task { key, ..known });
        }
    }

    fn answer(&mut self, name: &str, task: Task) {
        let key = self.applied.tasks[name].key.clone().unwrap_or_default();
        self.answers.insert((name.to_owned(), key.clone()), task.clone());
        self.seen.tasks.insert(name.to_owned(), Task { key, ..task });
    }

    fn ask(&mut self, verb: &str) {
        if self.applied.tasks.contains_key(tasks::ASKED) {
            self.asked += 1;
            self.answer(tasks::ASKED, done(json!({"nr": self.asked, "verb": verb, "now": false})));
        }
    }

    /// Tasks of the applied plan that have not ended.
    fn open(&self) -> Vec<String> {
        let ended = |name: &String| {
            let key = self.applied.tasks[name].key.clone().unwrap_or_default();
            let known = self.answers.get(&(name.clone(), key)).map(|task| task.state);
            matches!(known, Some(TaskState::Done | TaskState::Bad))
        };
        let all = self.applied.tasks.keys().filter(|name| !ended(name) && *name != tasks::ASKED);
        all.cloned().collect()
    }

    fn run(&mut self, name: &str) {
        match name {
            tasks::PREPARE => self.saved = true,
            tasks::CONVERT | tasks::RESTORE => {
                assert!(self.seen.services.is_empty(), "{name} while daemons run");
                self.data = if name == tasks::CONVERT { NEW } else { OLD };
            }
            _ => {}
        }
        let nr = self.upgrade().map(|upgrade| upgrade.nr);
        self.answer(name, done(json!({"nr": nr})));
    }

    /// Everything that can go well does, until nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..100 {
            let before = (self.seen.clone(), self.applied.clone());
            // What failed is run again, as a user would.
            let bad = |task: &Task| task.state == TaskState::Bad;
            let failed: Vec<String> =
                self.seen.tasks.iter().filter(|(_, task)| bad(task)).map(|(name, _)| name.clone()).collect();
            for name in failed.into_iter().chain(self.open()) {
                self.run(&name);
            }
            for service in self.seen.services.values_mut() {
                service.state = ServiceState::Ready;
            }
            self.pass();
            if (&self.seen, &self.applied) == (&before.0, &before.1) {
                return;
            }
        }
        panic!("does not settle: {:?}", self.phase());
    }

    fn told(&self) -> &str {
        bag(&self.applied, "4", "version").unwrap()
    }
}

#[test]
fn nothing_changes_until_it_is_asked_for() {
    let mut world = World::new();
    let before = world.applied.clone();
    world.settle();
    assert_eq!(before.services, world.applied.services);
    assert_eq!(
        (world.applied.status.state, world.applied.status.fix.as_str()),
        (State::Blocked, "stoker run hadoop/leader upgrade")
    );
    assert_eq!((world.applied.version.as_str(), world.told()), ("3.3.6", "3.3.6"));
    // Only what can be now is taken up.
    world.ask("rollback");
    world.ask("finalize");
    world.settle();
    assert_eq!((world.phase(), &before.services), (None, &world.applied.services));
}

#[test]
fn upgraded_and_finalized() {
    let mut world = World::new();
    world.ask("upgrade");
    world.settle();
    assert_eq!((world.phase(), world.data, world.told()), (Some(Phase::Open), NEW, "3.4.1"));
    assert!(!world.applied.services.contains_key("secondary"));
    world.ask("finalize");
    world.settle();
    assert_eq!((world.phase(), world.applied.status.state), (None, State::Active));
    assert_eq!((world.applied.version.as_str(), world.told()), ("3.4.1", "3.4.1"));
    assert!(
        world.applied.services.contains_key("secondary") && !world.applied.tasks.contains_key(tasks::ASKED)
    );
    assert_eq!(
        world.said,
        [
            "active namenode on hadoop/0, 1 datanode",
            "blocked Hadoop 3.4.1 has NameNode layout -68, the data have -67: needs an explicit upgrade; 3.3.6 goes on until then",
            "waiting upgrade 3.3.6 to 3.4.1, 1 of 4: saving the namespace; next: HDFS stops",
            "waiting upgrade 3.3.6 to 3.4.1, 2 of 4: stopping HDFS; next: the metadata are converted",
            "waiting upgrade 3.3.6 to 3.4.1, 3 of 4: converting the metadata; next: HDFS starts",
            "waiting upgrade 3.3.6 to 3.4.1, 4 of 4: starting; next: finalize or rollback",
            "active namenode on hadoop/0, 1 datanode; upgraded from 3.3.6, next: stoker run hadoop/leader finalize, or rollback (loses what was written since)",
            "waiting finalize 3.4.1, letting go of what was kept; next: it cannot be taken back",
        ]
    );
}

#[test]
fn upgraded_and_taken_back() {
    let mut world = World::new();
    world.ask("upgrade");
    world.settle();
    world.said.clear();
    world.ask("rollback");
    world.settle();
    assert_eq!((world.phase(), world.data, world.told()), (None, OLD, "3.3.6"));
    assert_eq!(world.applied.status.fix, "stoker run hadoop/leader upgrade");
    assert!(!world.applied.services["datanode"].command.contains(&"-rollback".to_owned()));
    assert_eq!(
        world.said,
        [
            "waiting rollback 3.4.1 to 3.3.6, 1 of 3: stopping HDFS; next: the metadata are put back",
            "waiting rollback 3.4.1 to 3.3.6, 2 of 3: putting the metadata back; next: HDFS starts",
            "waiting rollback 3.4.1 to 3.3.6, 3 of 3: starting; next: all is as before the upgrade",
            "blocked Hadoop 3.4.1 has NameNode layout -68, the data have -67: needs an explicit upgrade; 3.3.6 goes on until then",
        ]
    );
    // And once more, as if it had never been.
    world.ask("upgrade");
    world.settle();
    assert_eq!((world.phase(), world.data), (Some(Phase::Open), NEW));
}

#[test]
fn what_fails_says_so_and_can_be_run_again_or_taken_back() {
    let bad = |reason: &str| Task {
        state: TaskState::Bad,
        exit: Some(1),
        result: json!({"reason": reason}),
        ..Task::default()
    };
    let mut world = World::new();
    world.ask("upgrade");
    world.pass();
    // Called off before anything stopped: nothing ever stops.
    let before = world.applied.services.clone();
    world.answer(tasks::PREPARE, bad("4 blocks are missing"));
    world.pass();
    assert_eq!(
        (
            world.applied.status.state,
            world.applied.status.message.as_str(),
            world.applied.status.fix.as_str()
        ),
        (
            State::Blocked,
            "upgrade 3.3.6 to 3.4.1, 1 of 4: saving the namespace, failed: 4 blocks are missing",
            "stoker restart hadoop/0/upgrade-prepare; or back: stoker run hadoop/leader rollback"
        )
    );
    world.ask("rollback");
    world.settle();
    assert_eq!((world.phase(), world.data), (None, OLD));
    assert_eq!(world.applied.services["namenode"].command, before["namenode"].command);
    world.ask("upgrade");
    world.pass();
    world.run(tasks::PREPARE);
    world.pass();
    world.pass();
    world.answer(tasks::CONVERT, bad("no space"));
    world.pass();
    assert_eq!((world.phase(), world.applied.status.state), (Some(Phase::Convert), State::Blocked));
    world.ask("rollback");
    world.settle();
    assert_eq!((world.phase(), world.data, world.applied.services.len()), (None, OLD, 3));
}

#[test]
fn other_builds_wait_for_its_end() {
    let mut world = World::new();
    world.ask("upgrade");
    world.settle();
    for (version, layout, verb) in [("3.3.6", OLD, "rollback"), ("3.5.0", NEW, "finalize")] {
        world.seen.resources.insert("hadoop".into(), resource(version, layout));
        let before = world.applied.services.clone();
        world.settle();
        assert_eq!((&before, world.applied.status.state), (&world.applied.services, State::Blocked));
        assert_eq!(world.applied.status.fix, format!("stoker run hadoop/leader {verb}"));
    }
    world.ask("finalize");
    world.settle();
    assert_eq!((world.phase(), world.applied.version.as_str()), (None, "3.5.0"));
}

#[test]
fn requests_are_actions_that_say_why_not() {
    let mut world = World::new();
    let ask = |world: &World, verb: &str| {
        let mut seen = world.seen.clone();
        seen.action = stoker_charm::serde_json::from_value(json!({"name": verb, "params": {}})).unwrap();
        crate::plan::plan(&seen)
            .map(|plan| plan.action.unwrap().command.join(" "))
            .map_err(|error| error.to_string())
    };
    assert!(
        ask(&world, "upgrade")
            .unwrap()
            .contains("upgrade-ask --name ${dir:name} --for u1 --verb upgrade --after 0")
    );
    assert_eq!(ask(&world, "finalize").unwrap_err(), "cannot finalize: no upgrade is under way");
    world.ask("upgrade");
    world.pass();
    assert_eq!(ask(&world, "upgrade").unwrap_err(), "cannot upgrade: an upgrade is under way");
    world.settle();
    assert!(ask(&world, "finalize").unwrap().contains("--after 1") && ask(&world, "rollback").is_ok());
    assert!(ask(&world, "upgrade").unwrap_err().contains("finalize or rollback is next"));
    world.ask("finalize");
    world.settle();
    assert!(ask(&world, "upgrade").unwrap_err().contains("have the layout of Hadoop 3.4.1"));
    world.seen.resources.insert("hadoop".into(), resource("3.3.6", OLD));
    world.settle();
    let down = ask(&world, "upgrade").unwrap_err();
    assert!(down.contains("has NameNode layout -67, the data have -68"), "{down}");
    assert!(
        world.applied.status.message.contains("a layout does not go back"),
        "{}",
        world.applied.status.message
    );
    world.seen.host.java.clear();
    world.seen.resources.insert("hadoop".into(), resource("3.4.1", NEW));
    assert!(ask(&world, "upgrade").is_err());
}

/// A DataNode elsewhere stops when it is told, says so, and starts with the rest.
#[test]
fn the_other_units_follow() {
    let units = ["hadoop/0", "hadoop/1"];
    let mut world = World::new();
    world.seen.units = units.map(str::to_owned).to_vec();
    let mut one = unit("hadoop/1", &units, false);
    one.resources.clone_from(&world.seen.resources);
    let mut exchange = |world: &mut World| -> Plan {
        let mut last = Plan::default();
        for _ in 0..4 {
            let mut told = world.applied.relations["1"].unit.clone();
            told.insert("rpc".into(), "10.0.0.1:8020".into());
            told.insert("http".into(), "10.0.0.1:9870".into());
            one.relations[0].units.insert("hadoop/0".into(), told);
            one.state.app.clone_from(&world.seen.state.app);
            last = planned(&one);
            one.state.unit.clone_from(&last.state.unit);
            one.services = last.services.keys().map(|name| (name.clone(), Service::default())).collect();
            world.seen.relations[0].units.insert("hadoop/1".into(), last.relations["1"].unit.clone());
        }
        last
    };
    let before = exchange(&mut world);
    assert!(before.trees.contains_key("hadoop"), "{:?}", before.status);
    assert_eq!(before.trees["hadoop"].base, Digest::of(b"3.3.6"));
    world.pass();
    // The application is blocked, its units are not: else a rollout would go back.
    let blocked = world.applied.app_status.clone().unwrap();
    assert_eq!((world.applied.status.state, blocked.state), (State::Active, State::Blocked));
    world.ask("upgrade");
    world.settle();
    assert_eq!(world.phase(), Some(Phase::Stop), "it waits for the other");
    let said = &world.applied.status.message;
    assert!(said.contains("stopping HDFS (hadoop/1 still to be stopped)"), "{said}");
    assert!(exchange(&mut world).services.is_empty());
    world.settle();
    assert_eq!(world.phase(), Some(Phase::Open));
    let after = exchange(&mut world);
    assert_eq!((after.services.len(), &after.trees["hadoop"].base), (1, &Digest::of(b"3.4.1")));
    world.ask("rollback");
    world.settle();
    assert_eq!(world.phase(), Some(Phase::BackStop));
    exchange(&mut world);
    world.settle();
    exchange(&mut world);
    world.settle();
    let back = exchange(&mut world);
    assert_eq!((world.phase(), &back.trees["hadoop"].base), (None, &Digest::of(b"3.3.6")));
    assert_eq!(back.services["datanode"].command, before.services["datanode"].command);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: nothing stops before the namespace was saved, no NameNode meets metadata that
    /// are not its own, and in the end the cursor is where the last request leads.
    #[test]
    fn the_cursor_always_goes_on(events in proptest::collection::vec((0usize..9, 0usize..8), 0..50), keep in any::<bool>()) {
        let mut world = World::new();
        for (event, choice) in events {
            let open = world.open();
            match event {
                0 => world.ask(["upgrade", "finalize", "rollback", "dance"][choice % 4]),
                1 | 2 if !open.is_empty() => world.run(&open[choice % open.len()]),
                3 if !open.is_empty() => {
                    let bad = Task { state: TaskState::Bad, exit: Some(1), reason: "x".into(), result: Value::Null, ..Task::default() };
                    world.answer(&open[choice % open.len()], bad);
                }
                4 => {
                    // Killed between planning and committing, or the same events a second time.
                    let plan = planned(&world.seen);
                    world.observe_tasks(&plan);
                }
                5 => world.seen.services.values_mut().for_each(|service| service.state = ServiceState::Ready),
                _ => world.pass(),
            }
        }
        world.settle();
        prop_assert!(matches!(world.phase(), None | Some(Phase::Open)), "{:?}", world.phase());
        if world.phase().is_none() && world.data == OLD {
            world.ask("upgrade");
            world.settle();
        }
        if world.data == NEW && world.phase().is_some() {
            world.ask(if keep { "finalize" } else { "rollback" });
            world.settle();
            prop_assert_eq!((world.phase(), world.data), (None, if keep { NEW } else { OLD }));
        }
        prop_assert_eq!(world.applied.services.len(), 3);
    }
}
