//! Tasks: keyed, gated, tried again, once for an application, every so often.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use stoker_tests::{Agent, until, until_seen};

fn data(agent: &Agent, unit: &str) -> PathBuf {
    agent.dir().join(format!("models/default/units/{}/data/data", unit.replace('/', "-")))
}

fn runs(agent: &Agent, unit: &str, task: &str) -> u32 {
    let text = fs::read_to_string(data(agent, unit).join(format!("{task}-runs"))).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn state(agent: &Agent, task: &str) -> Value {
    agent.unit("echo/0")["tasks"][task]["state"].clone()
}

#[test]
fn a_task_is_retried_found_bad_and_run_again() {
    let agent = Agent::start();
    // 75: later. The service that needs it waits.
    agent.ok("deploy py-echo echo --config prepare=flag");
    let status = agent.until_status("echo/0", "waiting");
    until("the task was tried", || runs(&agent, "echo/0", "prepare") > 0);
    assert!(!agent.processes().contains_key("echo-0-echo"), "{status}");
    until_seen("it is to be retried", || state(&agent, "prepare"), |state| state == "retry");
    fs::write(data(&agent, "echo/0").join("allow"), "").unwrap();
    agent.until_status("echo/0", "active");
    assert_eq!(state(&agent, "prepare"), "done");
    let done = runs(&agent, "echo/0", "prepare");
    assert!(done >= 2, "{done}");

    // Done is done: another change, another start, and it does not run again. Its need gates the first start only.
    agent.config("echo text=new");
    agent.ok("restart echo/0/echo --wait");
    assert_eq!(runs(&agent, "echo/0", "prepare"), done);

    // Another failure: bad after one more try, with its output as evidence; what runs goes on.
    let before = agent.processes();
    agent.ok("config echo prepare=fail");
    until_seen("it is bad", || state(&agent, "prepare"), |state| state == "bad");
    assert_eq!(runs(&agent, "echo/0", "prepare"), done + 2);
    let look = || agent.unit_status("echo/0");
    until_seen("the status says so", look, |status| {
        !status.starts_with("active") && status.contains("prepare")
    });
    let why = agent.ok("why echo/0").stdout;
    assert!(why.contains("told to fail") && why.contains("stoker restart echo/0/prepare"), "{why}");
    agent.ok("restart echo/0/prepare");
    until("it ran again", || runs(&agent, "echo/0", "prepare") > done + 2);
    assert_eq!(agent.processes().get("echo-0-echo"), before.get("echo-0-echo"));

    // It did its work and says nothing that can be understood: done, without a result. Killed is bad.
    for (how, end) in [("garbage", "done"), ("huge", "done"), ("killed", "bad")] {
        agent.ok(&format!("config echo prepare={how}"));
        let look = || agent.unit("echo/0")["tasks"]["prepare"].clone();
        let task = until_seen(how, look, |task| task["state"] == end && task["runs"].as_u64() > Some(0));
        assert!(task["result"].is_null(), "{how}: {task}");
    }
    agent.config("echo --reset prepare");
    assert_eq!(agent.unit_status("echo/0"), "active");
    assert_eq!(agent.unit("echo/0")["tasks"], serde_json::json!({}));
}

#[test]
fn a_gate_leaves_the_old_service_running_and_says_why() {
    let agent = Agent::start();
    // Nothing runs yet: a gate that waits holds back only `active`.
    agent.ok("deploy py-echo echo --config check=flag --config text=old");
    agent.process("echo-0-echo");
    let look = || agent.unit_status("echo/0");
    until_seen("its gate is shown", look, |status| status.starts_with("waiting") && status.contains("check"));
    fs::write(data(&agent, "echo/0").join("allow"), "").unwrap();
    agent.until_status("echo/0", "active");
    let before = agent.process("echo-0-echo");

    agent.ok("config echo check=text text=bad-one");
    let status = agent.until_status("echo/0", "blocked");
    assert!(status.contains("check"), "{status}");
    assert_eq!(agent.process("echo-0-echo"), before);
    assert_eq!(agent.about("echo/0")["text"], "old");
    assert_eq!(agent.unit("echo/0")["release"], serde_json::json!({"applied": 1, "wanted": 2}));
    let why = agent.ok("why echo").stdout;
    assert!(why.contains("told to fail"), "{why}");
    // A wait for it ends well, since a person must act; strictly it does not.
    agent.ok("wait echo").says(&["blocked"]);
    agent.cli("wait echo --fail-on-blocked").exits(1).is_problem();

    // Waiting is not blocked.
    agent.ok("config echo check=later text=third");
    until_seen("its gate is shown", look, |status| status.starts_with("waiting") && status.contains("check"));
    assert_eq!(agent.process("echo-0-echo"), before);

    // The old plan again: no gate is in its way, and nothing has moved.
    agent.ok("rollback echo --to 1 --wait");
    assert_eq!(agent.unit_status("echo/0"), "active");
    assert_eq!(agent.process("echo-0-echo"), before);

    // A text that passes: it moves.
    agent.config("echo check=text text=good");
    assert_ne!(agent.process("echo-0-echo"), before);
    assert_eq!(agent.about("echo/0")["text"], "good");
    let result = agent.unit("echo/0")["tasks"]["check"]["result"].clone();
    assert_eq!(result["text"], "good");
}

#[test]
fn a_task_for_the_application_runs_once_and_one_with_a_beat_again() {
    let agent = Agent::start();
    agent.deploy("py-echo echo -n 3 --config check=pass --config check-once=true --config every=1s");
    let total: u32 = ["echo/0", "echo/1", "echo/2"].iter().map(|unit| runs(&agent, unit, "check")).sum();
    assert_eq!(total, 1, "one unit ran it for all");
    agent.ok("add-unit echo --wait --timeout 60s");
    assert_eq!(runs(&agent, "echo/3", "check"), 0, "its result serves who comes later");
    // Another candidate is another key; going back does not run it again.
    agent.config("echo text=next");
    agent.ok("rollback echo --wait --timeout 60s");
    let total: u32 = (0..4).map(|n| runs(&agent, &format!("echo/{n}"), "check")).sum();
    assert_eq!(total, 2);

    // Every second; only a different result is seen.
    let first = runs(&agent, "echo/0", "tick");
    until("it runs again", || runs(&agent, "echo/0", "tick") > first + 1);
    let result = || agent.unit("echo/0")["tasks"]["tick"]["result"]["tick"].clone();
    assert_eq!(result(), "");
    fs::write(data(&agent, "echo/0").join("tick"), "tock\n").unwrap();
    until_seen("its result is observed", result, |seen| seen == "tock");
    assert!(agent.unit_status("echo/0") == "active", "{}", agent.unit_status("echo/0"));
}

#[test]
fn actions_run_beside_and_answer() {
    let agent = Agent::start();
    agent.deploy("py-echo echo -n 2");
    let file = agent.beside("words");
    fs::write(&file, "from a file").unwrap();
    let file = file.display();
    let said = agent.json(&format!("run echo/0 say text=hi times=2 file={file}"));
    let results = &said["echo/0"]["results"];
    assert_eq!((&results["text"], &results["file"]), (&"hi".into(), &"from a file".into()), "{said}");
    let names = results["env"].to_string();
    assert!(!names.contains("CARGO") && !names.contains("HOME_OF"), "built from nothing: {names}");
    let both = agent.json("run echo/0 echo/1 say text=x");
    assert_eq!(both.as_object().unwrap().len(), 2);

    agent.cli("run echo/0 say text=no exit=4").exits(1).is_problem().says(&["say"]);
    agent.cli("run echo/0 say").exits(2).is_problem().says(&["text"]);
    agent.cli("run echo/0 say text=x tmes=3").exits(5).is_problem().says(&["times"]);
    agent.cli("run echo/0 say text=x times=often").exits(2).is_problem();
    agent.cli("run echo/0 sya text=x").exits(5).is_problem().says(&["say"]);
    agent.cli("run echo/7 say text=x").exits(5).is_problem();
    agent.cli("run echo/0 say text=x file=/nonexistent").exits(5).is_problem();

    // Several at once; a background one is followed by its number.
    let started = agent.json("run echo/0 sleep seconds=600 --background");
    let id = started["actions"][0].to_string();
    let quick = agent.json("run echo/0 sleep seconds=0.1");
    assert_eq!(quick["echo/0"]["status"], "completed");
    let look = || agent.json(&format!("show-task {id}"))["status"].clone();
    until_seen("the slow one runs", look, |status| status == "running");
    agent.cli("run echo/0 sleep seconds=600 --timeout 1s").exits(8).is_problem();
    agent.cli("show-task 999").exits(5).is_problem();
}

#[test]
fn what_an_action_remembers_is_planned_from_once_it_is_done() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    assert_eq!(agent.cli("run echo/0 remember word=one exit=3").code, 1);
    assert_eq!(agent.unit_status("echo/0"), "active", "what failed is not remembered");
    agent.ok("run echo/0 remember word=two");
    agent.until_status("echo/0", "active: two");
    agent.config("echo text=other");
    assert_eq!(agent.unit_status("echo/0"), "active: two");
    agent.ok("run echo/0 remember word=");
    until_seen("it is forgotten", || agent.unit_status("echo/0"), |status| status == "active");
}
