//! Moves do not disturb: busy services, releases, going back.

use serde_json::Value;
use stoker_tests::{Agent, until_seen};

fn text(agent: &Agent) -> Value {
    agent.about("echo/0")["text"].clone()
}

#[test]
fn a_busy_service_is_left_alone_until_it_may_move() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --config busy=true --config text=r1");
    agent.ok("run echo/0 work jobs=a,b");
    let before = agent.process("echo-0-echo");

    agent
        .cli("config echo text=r2 --wait")
        .exits(8)
        .is_problem()
        .says(&["2 jobs", "stoker rollout echo now"]);
    let status = agent.until_status("echo/0", "waiting");
    assert!(status.contains("2 jobs on release 1") && status.contains("rollout echo now"), "{status}");
    assert_eq!(agent.process("echo-0-echo"), before);
    assert_eq!(text(&agent), "r1");
    let rollout = agent.json("rollout echo");
    assert_eq!((&rollout["release"], &rollout["units"]["echo/0"]), (&2.into(), &1.into()), "{rollout}");
    let preview = agent.json("rollout echo now --preview");
    assert_eq!(preview["restarts"], 1, "{preview}");
    assert!(preview["touched"].to_string().contains("2 jobs"), "{preview}");

    // Now is a choice.
    agent.ok("rollout echo now --wait --timeout 60s");
    assert_eq!(text(&agent), "r2");
    assert_ne!(agent.process("echo-0-echo"), before);

    // ... that lasts for no later move.
    agent.ok("run echo/0 work jobs=c");
    agent.cli("config echo text=r3 --wait").exits(8);
    assert_eq!(text(&agent), "r2");
    // It ends by itself: it moves by itself.
    agent.ok("run echo/0 work");
    agent.until_status("echo/0", "active");
    assert_eq!(text(&agent), "r3");

    agent.ok("run echo/0 work jobs=d");
    agent.ok("config echo text=r4 --now --wait --timeout 60s");
    assert_eq!(text(&agent), "r4");

    agent.ok("run echo/0 work jobs=e");
    agent.cli("config echo text=r5 --when-idle=2s --wait").exits(8);
    let before = agent.process("echo-0-echo");
    until_seen(
        "its time has come",
        || agent.processes().get("echo-0-echo").cloned(),
        |now| now.as_ref().is_some_and(|now| *now != before),
    );
    agent.until_status("echo/0", "active");
    assert_eq!(text(&agent), "r5");

    // A change that stops nothing asks nobody.
    agent.ok("run echo/0 work jobs=f");
    agent.config("echo message=said");
    assert_eq!(agent.unit_status("echo/0"), "active: said");
}

#[test]
fn releases_are_counted_and_lead_back() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --config text=one --resource payload=recipe:1.0");
    agent.config("echo text=two");
    agent.ok("attach-resource echo payload=recipe:2.0 --wait --timeout 60s");
    let about = agent.about("echo/0");
    assert_eq!((&about["text"], &about["payload"]), (&"two".into(), &"2.0".into()));

    let releases = agent.json("releases echo");
    let numbers: Vec<u64> =
        releases.as_array().unwrap().iter().map(|r| r["release"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 2, 1], "newest first");
    assert_eq!(releases[0]["units"], serde_json::json!(["echo/0"]));
    assert!(releases[1]["command"].as_str().unwrap().ends_with("config echo text=two --wait --timeout 60s"));
    assert_eq!(releases[1]["difference"].as_array().unwrap().len(), 1, "{releases}");
    assert!(!releases[0]["by"].as_str().unwrap().is_empty());

    // Back to the one before, then to one by its number: each is a release of its own.
    agent.ok("rollback echo --wait --timeout 60s");
    assert_eq!(agent.about("echo/0")["payload"], "1.0");
    agent.ok("rollback echo --to 1 --wait --timeout 60s");
    let about = agent.about("echo/0");
    assert_eq!((&about["text"], &about["payload"]), (&"one".into(), &"1.0".into()));
    assert_eq!(agent.json("config echo text"), "one");
    agent.cli("rollback echo --to 99").exits(5).is_problem();
    agent.deploy("py-echo fresh");
    agent.cli("rollback fresh").exits(5).is_problem();
    let newest = agent.json("releases echo")[0]["release"].as_u64().unwrap();
    assert!(newest >= 3, "{newest}");
}
