//! What a change restarts, and what it leaves alone.

use std::fs;

use stoker_tests::{Agent, until_seen};

#[test]
fn a_change_restarts_what_it_concerns_and_nothing_else() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    assert_eq!(agent.unit_status("echo/0"), "active");
    let first = agent.process("echo-0-echo");
    assert_eq!(agent.processes().len(), 1, "{:?}", agent.processes());

    // A second service comes, the first stays.
    agent.config("echo services=2");
    let second = agent.process("echo-0-echo-b");
    assert_eq!(agent.process("echo-0-echo"), first);

    // A file that both name: both are started again.
    agent.config("echo text=other");
    let after = agent.processes();
    assert!(after["echo-0-echo"] != first && after["echo-0-echo-b"] != second, "{after:?}");

    // One goes, the other stays.
    agent.config("echo services=1");
    assert_eq!(agent.process("echo-0-echo"), after["echo-0-echo"]);
    assert_eq!(agent.processes().len(), 1, "{:?}", agent.processes());
    assert_eq!(agent.about("echo/0")["text"], "other");

    // What the plan says of itself alone restarts nothing.
    agent.config("echo message=busy order=3");
    assert_eq!(agent.unit_status("echo/0"), "active: busy");
    assert_eq!(agent.processes(), [("echo-0-echo".to_owned(), after["echo-0-echo"].clone())].into());
}

#[test]
fn a_change_that_alters_no_plan_starts_nothing() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    let before = agent.processes();
    let records = records(&agent);
    let plan = agent.json("show-plan echo/0");
    // `exit-code` is of another workload: the charm runs, and its answer is the same.
    agent.config("echo exit-code=7");
    assert_eq!(agent.json("show-plan echo/0"), plan);
    assert_eq!(agent.processes(), before);
    assert_eq!(records, self::records(&agent), "no service or task was started");
    assert_eq!(agent.json("releases echo")[0]["release"], 2);
    assert_eq!(agent.unit("echo/0")["release"], serde_json::json!({"applied": 2, "wanted": 2}));
    // Setting what is set already is no change at all.
    let changes = agent.api("GET", "/v1/models/default/changes", "").json();
    agent.ok("config echo exit-code=7 --wait");
    assert_eq!(agent.json("releases echo")[0]["release"], 2);
    assert_eq!(agent.api("GET", "/v1/models/default/changes", "").json(), changes);
}

/// Names and contents of the supervisor's records.
fn records(agent: &Agent) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(agent.dir().join("services")).unwrap().flatten() {
        let spec = fs::read_to_string(entry.path().join("spec.json")).unwrap_or_default();
        found.push((entry.file_name().to_string_lossy().into_owned(), spec));
    }
    found.sort();
    found
}

#[test]
fn placeholders_are_filled_and_live_files_restart_nothing() {
    let agent = Agent::start();
    let text = "text=at ${address:default}:${port:http} ${dir:data} $${port:http} ${HOME}";
    agent.words(&["deploy", "py-echo", "echo", "--wait", "--config", text]).exits(0);
    let port = agent.port("echo/0");
    let data = agent.dir().join("models/default/units/echo-0/data/data");
    let told = format!("at {}:{port} {} ${{port:http}} ${{HOME}}", agent.address(), data.display());
    assert_eq!(agent.about("echo/0")["text"], told);

    // An unknown name in the closed set is refused, and what runs goes on.
    let before = agent.processes();
    agent.words(&["config", "echo", "text=${port:htp}", "--wait"]).exits(1).is_problem().says(&["htp"]);
    assert_eq!(agent.processes(), before);
    agent.ok("config echo --reset text --wait");
    assert_eq!(agent.unit_status("echo/0"), "active");

    // A live file has a fixed place, is followed, and restarts nothing.
    agent.config("echo live=true text=one");
    assert_eq!(agent.get(port, "/text").unwrap().body, "one");
    let before = agent.processes();
    agent.config("echo text=two");
    assert_eq!(agent.get(port, "/text").unwrap().body, "two");
    agent.words(&["config", "echo", "text=now at ${port:http}", "--wait"]).exits(0);
    assert_eq!(agent.get(port, "/text").unwrap().body, format!("now at {port}"));
    assert_eq!(agent.processes(), before, "a live file restarts nothing");
}

#[test]
fn ports_are_remembered_and_services_obey() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo --config services=2 --config port-range=5");
    let ports = agent.ports("echo/0");
    assert_eq!(ports.len(), 3, "{ports:?}");
    let before = agent.process("echo-0-echo");
    let other = agent.process("echo-0-echo-b");

    agent.ok("restart echo/0/echo --wait");
    assert_ne!(agent.process("echo-0-echo"), before);
    assert_eq!(agent.process("echo-0-echo-b"), other, "only the one that was named");

    agent.ok("stop echo/0/echo --wait");
    assert!(!agent.processes().contains_key("echo-0-echo"));
    assert!(
        agent.get(ports[0], "/").is_none()
            || agent.get(ports[1], "/").is_none()
            || agent.get(ports[2], "/").is_none()
    );
    assert_ne!(agent.unit_status("echo/0"), "active", "a service that is stopped is shown");
    // It stays stopped, whatever changes and whoever restarts.
    agent.ok("config echo text=x --wait");
    agent.term();
    agent.resume();
    agent.ok("wait echo");
    assert!(!agent.processes().contains_key("echo-0-echo"));
    agent.ok("start echo/0/echo --wait");
    assert_eq!(agent.unit_status("echo/0"), "active");
    assert_eq!(agent.ports("echo/0"), ports);

    // Another name is another port; the old one comes back to whoever asks by its name.
    agent.config("echo services=1 port-name=web port-range=0");
    agent.config("echo port-name=http");
    let again = agent.ports("echo/0");
    assert!(ports.contains(&again[0]), "{again:?} of {ports:?}");

    // A preferred port is taken where it is free.
    let free = std::net::TcpListener::bind((agent.address(), 0)).unwrap().local_addr().unwrap().port();
    agent.deploy(&format!("py-echo second --config port={free}"));
    assert_eq!(agent.port("second/0"), free);
}

#[test]
fn a_service_that_ends_is_started_again_and_its_readiness_is_seen() {
    let agent = Agent::start();
    agent.deploy("py-echo echo --config live-probe=true");
    let before = agent.process("echo-0-echo");
    // Whether it answers or not, it ends.
    agent.cli("run echo/0 exit code=3");
    let what = "it runs again";
    until_seen(
        what,
        || agent.processes().get("echo-0-echo").cloned(),
        |now| now.as_ref().is_some_and(|p| *p != before),
    );
    agent.until_status("echo/0", "active");
    assert_eq!(agent.unit("echo/0")["services"]["echo"]["restarts"], 1);

    // It never becomes ready: the unit waits, and says for which service.
    agent.ok("config echo workload=never-ready");
    let what = "the service that it waits for, and for what of it";
    until_seen(
        what,
        || agent.unit_status("echo/0"),
        |s| s.starts_with("waiting: echo") && s.contains("/state"),
    );
    // It ends at once, for good.
    agent.ok("config echo workload=exit exit-code=9 restart=never");
    let what = "its end is shown";
    let status = until_seen(what, || agent.unit_status("echo/0"), |status| status.contains("exit status 9"));
    assert!(!status.starts_with("active"), "{status}");
    let why = agent.ok("why echo/0").stdout;
    assert!(why.contains("ends now") && why.contains("exit status 9"), "{why}");
    // A program that does not exist.
    agent.ok("config echo workload=missing");
    until_seen(
        "the missing program is named",
        || agent.ok("why echo/0").stdout,
        |why| why.contains("/nonexistent/program"),
    );
    agent.config("echo --reset workload,restart,exit-code");
    assert_eq!(agent.unit_status("echo/0"), "active");
}
