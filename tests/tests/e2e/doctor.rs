//! `stoker doctor`: what it finds, with a fix for each, and errors in logs that charms know.

use std::fs;

use stoker_tests::{Agent, until_some};

fn findings(agent: &Agent, code: &[i32]) -> Vec<[String; 4]> {
    let done = agent.cli("doctor --format json");
    assert!(code.contains(&done.code), "{done:?}");
    let word =
        |finding: &serde_json::Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let all = done.json()["findings"].as_array().cloned().unwrap_or_default();
    all.iter().map(|f| [word(f, "check"), word(f, "state"), word(f, "found"), word(f, "fix")]).collect()
}

#[test]
fn each_finding_that_is_not_well_has_its_fix() {
    let mut agent = Agent::start();
    // A charm beside the agent brings its table; what it knows is in a service's log.
    let charm = agent.dir().join("charms/py-known");
    fs::create_dir_all(&charm).unwrap();
    let table = "[[error]]\nhas = ['trouble', 'brewing']\nmeans = 'the kettle is on'\nfix = 'take it off'\n";
    fs::write(charm.join("known-errors.toml"), table).unwrap();
    agent.deploy("py-echo echo");
    agent.words(&["run", "echo/0", "say", "text=there is trouble brewing"]).exits(0);
    let known = until_some("the error is found", || {
        findings(&agent, &[0, 1])
            .into_iter()
            .find(|[check, state, ..]| check == "known errors" && state != "ok")
    });
    assert!(known[2].contains("the kettle is on") && known[2].contains("echo/0"), "{known:?}");
    assert_eq!((known[1].as_str(), known[3].as_str()), ("warning", "take it off"));

    let all = findings(&agent, &[0, 1]);
    for [check, state, found, fix] in &all {
        assert!(!found.is_empty() && (state == "ok") == fix.is_empty(), "{check}: {state} {found} {fix}");
    }
    for check in [
        "java",
        "python",
        "names",
        "clock",
        "open files",
        "control groups",
        "containers",
        "disk",
        "ports",
        "folder",
    ] {
        assert!(all.iter().any(|[each, ..]| each == check), "{check}: {all:?}");
    }
    let text = agent.cli("doctor").stdout;
    assert!(text.contains("fix: take it off") && text.contains("folder"), "{text}");

    // What the checker finds, it tells as a problem; and it needs no agent.
    agent.term();
    let journal = agent.dir().join("agent.db");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() / 2]).unwrap();
    let all = findings(&agent, &[1]);
    assert!(all.iter().any(|[check, state, ..]| check == "folder" && state == "problem"), "{all:?}");
    fs::write(&journal, whole).unwrap();
    agent.resume();
}
