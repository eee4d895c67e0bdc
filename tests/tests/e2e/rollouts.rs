//! Rollouts: several units go to a release one after the other, each as well as before, or all of them back.

use std::collections::BTreeMap;

use serde_json::Value;
use stoker_tests::{Agent, until, until_seen};

/// The release whose plan each unit has applied.
fn applied(agent: &Agent) -> BTreeMap<String, u64> {
    let status = agent.status();
    let units = status["applications"]["echo"]["units"].as_object().cloned().unwrap_or_default();
    units.into_iter().map(|(unit, record)| (unit, record["release"].as_u64().unwrap_or(0))).collect()
}

/// Where units went, in order, as the agent's log says.
fn steps(agent: &Agent, release: u64) -> Vec<String> {
    let wanted = format!("goes to the release release={release}");
    let unit = |line: &str| Some(line.split_once("unit-echo-")?.1.split(':').next()?.to_owned());
    agent.log().lines().filter(|line| line.ends_with(&wanted)).filter_map(unit).collect()
}

fn rollout(agent: &Agent) -> Value {
    agent.status()["rollouts"][0].clone()
}

#[test]
fn units_go_one_after_the_other_and_back_from_the_last() {
    let agent = Agent::start();
    agent.deploy("py-echo echo -n 3");
    assert_eq!(applied(&agent).into_values().collect::<Vec<_>>(), [1, 1, 1]);
    let before = agent.processes();
    // A preview shows the end, and nothing is begun.
    let preview = agent.json("config echo text=second --preview");
    assert_eq!(preview["restarts"], 3, "{preview}");
    agent.config("echo text=second");
    assert_eq!(applied(&agent).into_values().collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(steps(&agent, 2), ["0", "1", "2"]);
    assert!(agent.processes().iter().all(|(name, process)| before.get(name) != Some(process)));
    assert!(rollout(&agent).is_null(), "a rollout that is over is not shown");
    agent.ok("rollback echo --wait");
    assert_eq!(steps(&agent, 3), ["2", "1", "0"]);
    for unit in ["echo/0", "echo/1", "echo/2"] {
        assert_eq!(agent.about(unit)["text"], "hello");
    }
}

#[test]
fn a_unit_that_is_worse_than_before_stops_it_and_what_has_moved_goes_back() {
    let agent = Agent::start();
    agent.deploy("py-echo echo -n 3 --config text=good");
    let before = agent.processes();
    let failed = agent.cli("config echo workload=exit exit-code=3 restart=never --wait --timeout 60s");
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert!(failed.stderr.contains("release 2 was given up"), "{}", failed.stderr);
    assert_eq!(steps(&agent, 2), ["0"], "only the first was touched");
    let after = agent.processes();
    for name in ["echo-1-echo", "echo-2-echo"] {
        assert_eq!(after.get(name), before.get(name), "the others were left alone");
    }
    until("it is as good as before", || agent.unit_status("echo/0").starts_with("active"));
    assert_eq!(agent.about("echo/0")["text"], "good");
    let releases = agent.json("releases echo");
    let newest =
        releases.as_array().and_then(|all| all.iter().max_by_key(|one| one["release"].as_u64())).cloned();
    let newest = newest.unwrap_or_default();
    assert_eq!((newest["release"].as_u64(), newest["by"].as_str()), (Some(3), Some("the agent")));
    // It is told until the next change.
    let shown = rollout(&agent);
    assert!(shown["message"].as_str().is_some_and(|said| said.contains("echo/0 is")), "{shown}");
    assert!(agent.ok("status").stdout.contains("was given up"));
    agent.config("echo text=better");
    assert!(rollout(&agent).is_null());
}

#[test]
fn it_is_paused_taken_on_and_given_up() {
    let agent = Agent::start();
    agent.deploy("py-echo echo -n 2");
    let idle = agent.cli("rollout echo pause");
    assert_eq!(idle.code, 6, "there is none: {}", idle.stderr);
    // The first one's gate holds it where it can be seen.
    agent.ok("config echo text=second check=flag --no-wait");
    until("the first has begun", || steps(&agent, 2) == ["0"]);
    agent.ok("rollout echo pause --no-wait");
    assert_eq!(rollout(&agent)["paused"], true);
    let gate = agent.dir().join("models/default/units/echo-0/data/data/allow");
    std::fs::create_dir_all(gate.parent().unwrap()).unwrap();
    std::fs::write(&gate, "").unwrap();
    until_seen("the first is there", || applied(&agent), |now| now["echo/0"] == 2);
    let paused = agent.cli("wait echo --timeout 60s");
    assert_eq!(paused.code, 8, "{}", paused.stderr);
    assert!(paused.stderr.contains("paused"), "{}", paused.stderr);
    assert_eq!(applied(&agent)["echo/1"], 1, "a paused one begins nothing");
    agent.ok("rollout echo abort --wait");
    until_seen("all are back", || agent.about("echo/0")["text"].clone(), |text| text == "hello");
    assert_eq!(steps(&agent, 2), ["0"], "the second never went there");

    agent.ok("config echo text=third --no-wait");
    agent.ok("rollout echo now --wait");
    for unit in ["echo/0", "echo/1"] {
        assert_eq!(agent.about(unit)["text"], "third");
    }
}

#[test]
fn what_is_taken_back_before_it_moved_is_settled() {
    let agent = Agent::start();
    agent.deploy("py-echo echo -n 2 --config busy=true");
    agent.ok("run echo/0 work jobs=a");
    let before = agent.processes();
    agent.cli("config echo text=second --wait").exits(8);
    assert_eq!(applied(&agent)["echo/1"], 1, "it waits for the one before it");
    // What the first waited for is not what this change waits for.
    agent.ok("rollback echo --wait --timeout 60s");
    assert_eq!(agent.processes(), before, "nothing was ever disturbed");
}
