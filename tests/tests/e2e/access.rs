//! Who may ask the agent for what, over the real socket as other users, and what `stoker events` says of it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use stoker_tests::{Agent, is_root, program};

const NOBODY: u32 = 65_534;

/// One request by curl as such a user: the HTTP status.
fn asks(agent: &Agent, (uid, gid): (u32, u32), method: &str, path: &str) -> u16 {
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--max-time",
        "2",
        "-X",
        &method.to_uppercase(),
    ]);
    curl.arg("--unix-socket").arg(agent.dir().join("api.sock")).arg(format!("http://stoker{path}"));
    curl.args(["-H", "content-type: application/json", "-d", "{}"]);
    let said = curl.uid(uid).gid(gid).output().expect("curl").stdout;
    String::from_utf8_lossy(&said).parse().unwrap_or_default()
}

/// All routes of the document with names filled in: method, path, right.
fn routes(agent: &Agent) -> Vec<(String, String, String)> {
    let document = agent.api("GET", "/v1/openapi.json", "").json();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let names = [
                ("{model}", "default"),
                ("{app}", "echo"),
                ("{n}", "1"),
                ("{id}", "1"),
                ("{digest}", "b3:0"),
                ("{charm}", "py-echo"),
            ];
            let path = names.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
            all.push((method.clone(), path, operation["x-right"].as_str().unwrap().to_owned()));
        }
    }
    assert!(all.len() > 30, "{all:?}");
    all
}

#[test]
fn each_route_is_for_whom_it_says() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo");
    agent.ok("builds");
    let mode =
        |agent: &Agent| std::fs::metadata(agent.dir().join("api.sock")).unwrap().permissions().mode() & 0o777;
    if !is_root() {
        // Others cannot be asked as: what can be seen is that the socket is this user's alone.
        assert_eq!(mode(&agent), 0o600);
        return;
    }
    assert_eq!(mode(&agent), 0o660);
    let (other, member) = ((NOBODY, NOBODY), (NOBODY, 0));
    assert_eq!(asks(&agent, other, "get", "/v1/version"), 0, "the kernel lets nobody in");
    assert_eq!(asks(&agent, member, "get", "/v1/version"), 200);

    agent.settings("[access]\nothers = \"look\"\n");
    agent.term();
    agent.resume();
    assert_eq!(mode(&agent), 0o666);
    for (method, path, right) in routes(&agent) {
        let refused = |who| asks(&agent, who, &method, &path) == 403;
        assert_eq!(refused(other), right != "look", "{method} {path} by others");
        assert_eq!(refused(member), right == "admin", "{method} {path} by the group");
    }
    assert_eq!(asks(&agent, other, "get", "/v1/nothing"), 404);

    // The command line as such a user.
    let run = |words: &[&str]| {
        let mut stoker = Command::new(program("stoker"));
        stoker.arg("--dir").arg(agent.dir()).args(words).uid(NOBODY).gid(NOBODY).output().unwrap()
    };
    assert_eq!(run(&["status"]).status.code(), Some(0));
    for words in [&["config", "echo", "text=no"][..], &["logs", "echo"], &["down"], &["events"]] {
        let done = run(words);
        assert_eq!(done.status.code(), Some(4), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let events = agent.json("events");
    let last = events.as_array().unwrap().last().unwrap();
    assert_eq!((&last["uid"], &last["result"]), (&NOBODY.into(), &"refused ST0003".into()), "{last}");
    agent.ok("status");
}

#[test]
fn events_say_who_what_when_and_from_where() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo");
    agent.config("echo text=one");
    agent.cli("config echo txet=no").exits(5);
    agent.cli("builds add /usr/bin/env").exits(1);
    agent.ok("config echo text=two --preview");
    let commands = |line: &str| -> Vec<(String, String)> {
        let all = agent.json(line);
        let of = |event: &serde_json::Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        all.as_array().unwrap().iter().map(|e| (of(e, "command"), of(e, "result"))).collect()
    };
    let all = commands("events");
    let said: Vec<&str> = all.iter().map(|(_, result)| result.as_str()).collect();
    assert_eq!(said[..4], ["done", "done", "done", "failed ST0005"], "{all:?}");
    assert!(said.len() == 5 && said[4].starts_with("failed ST00"), "{all:?}");
    assert!(
        all[0].0.starts_with("the agent started") && all[2].0.contains("config echo text=one"),
        "{all:?}"
    );
    assert!(all[4].0.contains("builds add /usr/bin/env"), "a preview is no event: {all:?}");
    assert_eq!(commands("events --app echo").len(), 2);
    assert_eq!(commands("events -n 1"), all[4..]);
    assert_eq!(commands("events --since 2030-01-01T00:00:00Z").len(), 0);
    assert_eq!(commands("events --since 1h"), all);
    let change = &agent.json("events --app echo")[1];
    assert_eq!(change["change"], 2);
    assert_eq!(change["program"], "stoker");
    assert!(change["pid"].as_u64().is_some_and(|pid| pid > 1) && change["uid"].is_u64(), "{change}");
    assert!(agent.ok("events").stdout.contains("config echo text=one"));

    // It is there after a kill, and after a stop.
    agent.kill9();
    agent.resume();
    let after = agent.json("events");
    assert_eq!(after.as_array().unwrap().len(), 6, "{after}");
}
