//! Several units: who leads, what is remembered, and a plan that waits for others.

use stoker_tests::{Agent, until_seen};

#[test]
fn the_leader_is_the_lowest_and_memory_stays() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo -n 3");
    let leaders = |agent: &Agent| -> Vec<String> {
        let status = agent.status();
        let units = status["applications"]["echo"]["units"].as_object().unwrap().clone();
        units.into_iter().filter(|(_, unit)| unit["leader"] == true).map(|(name, _)| name).collect()
    };
    assert_eq!(leaders(&agent), ["echo/0"]);
    assert_eq!(
        agent.unit("echo/2")["state"]["app"]["first"],
        "echo/0",
        "what the leader said is seen by all"
    );
    let ports: std::collections::BTreeSet<u16> =
        ["echo/0", "echo/1", "echo/2"].iter().map(|unit| agent.port(unit)).collect();
    assert_eq!(ports.len(), 3, "each has a port of its own");
    let others = [agent.process("echo-1-echo"), agent.process("echo-2-echo")];

    agent.ok("remove-unit echo/0 --wait --timeout 60s");
    assert_eq!(leaders(&agent), ["echo/1"]);
    assert_eq!(
        agent.unit("echo/1")["state"]["app"]["first"],
        "echo/0",
        "a sticky choice outlives who made it"
    );
    agent.ok("add-unit echo -n 2 --wait --timeout 60s");
    assert_eq!(leaders(&agent), ["echo/1"]);
    let units = agent.status()["applications"]["echo"]["units"].clone();
    let names: Vec<&String> = units.as_object().unwrap().keys().collect();
    assert_eq!(names, ["echo/1", "echo/2", "echo/3", "echo/4"], "a number is given once");
    agent.kill9();
    agent.resume();
    agent.ok("wait echo");
    assert_eq!(leaders(&agent), ["echo/1"], "it stays leader while it lives");
    assert_eq!([agent.process("echo-1-echo"), agent.process("echo-2-echo")], others, "they were left alone");
    agent.ok("run echo/leader say text=me --wait");
    agent.cli("remove-unit echo/9").exits(5).is_problem();
}

#[test]
fn a_plan_that_holds_leaves_what_is_applied() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --config text=old");
    let before = agent.processes();
    agent.ok("config echo hold=others text=new");
    until_seen("its reason is shown", || agent.unit_status("echo/0"), |status| status.contains("others"));
    assert_eq!(agent.about("echo/0")["text"], "old");
    assert_eq!(agent.processes(), before);
    agent.ok("config echo --reset hold --wait");
    assert_eq!(agent.unit_status("echo/0"), "active");
    assert_eq!(agent.about("echo/0")["text"], "new");

    // From the first plan on: nothing is started.
    agent.ok("deploy py-echo held --config hold=first");
    until_seen("its reason is shown", || agent.unit_status("held/0"), |status| status.contains("first"));
    assert!(!agent.processes().contains_key("held-0-echo"));

    // A dying unit goes when its plan says so, or when it is forced.
    agent.config("echo linger=true");
    agent.cli("remove-unit echo/0 --wait --timeout 2s").exits(8).is_problem();
    assert!(agent.unit_status("echo/0").contains("removed"), "{}", agent.unit_status("echo/0"));
    agent.ok("remove-unit echo/0 --force --wait --timeout 60s");
    assert_eq!(agent.unit_status("echo/0"), "absent");
}

#[test]
fn the_worst_of_plan_service_and_task_is_shown() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    for (state, shown) in [
        ("waiting", "waiting: it"),
        ("blocked", "blocked: it"),
        ("maintenance", "maintenance: it"),
        ("error", "error: it"),
    ] {
        agent.ok(&format!("config echo status={state} message=it"));
        assert_eq!(agent.until_status("echo/0", shown), shown);
        let app = agent.status()["applications"]["echo"]["application-status"]["current"].clone();
        assert_eq!(app, state);
    }
    agent.config("echo --reset status,message live-probe=true");
    assert_eq!(agent.unit_status("echo/0"), "active");
    // The plan says active, a task that it has failed: that is what is shown.
    agent.ok("config echo prepare=fail");
    let look = || agent.unit_status("echo/0");
    until_seen("the failed task is shown", look, |status| {
        !status.starts_with("active") && status.contains("prepare")
    });
}
