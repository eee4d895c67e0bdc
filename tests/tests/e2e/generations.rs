//! Generations: a new one beside what is busy, back to one that still runs, the end of one that nobody needs.

use serde_json::Value;
use stoker_tests::{Agent, until, until_seen};

/// The text that the service behind a port answers; null where nobody does.
fn text_at(agent: &Agent, port: u16) -> Value {
    agent.get(port, "/").map_or(Value::Null, |answer| answer.json()["text"].clone())
}

/// The port that a generation of `echo/0` answers at.
fn port_of(agent: &Agent, n: u64) -> Option<u16> {
    let unit = agent.unit("echo/0");
    let all = unit["generations"].as_array().cloned().unwrap_or_default();
    let of = all.iter().find(|generation| generation["n"] == n)?;
    Some(u16::try_from(of["ports"]["http"].as_u64()?).unwrap_or_default())
}

fn until_only(agent: &Agent, services: &[&str]) {
    until_seen(
        &format!("only {services:?} run"),
        || agent.processes().into_keys().collect::<Vec<_>>(),
        |names| names.iter().eq(services),
    );
}

#[test]
fn a_new_generation_starts_beside_what_is_busy_and_back_is_where_it_was() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo --config busy=true --config generation=k1 --config text=one");
    let port = agent.ports("echo/0")[0];
    agent.ok("run echo/0 work jobs=a");
    let first = agent.process("echo-0-echo.g1");

    let preview = agent.ok("config echo generation=k2 text=two --preview").stdout;
    assert!(preview.contains("starts a generation beside: echo"), "{preview}");
    assert!(preview.contains("0 services stopped"), "{preview}");
    agent.config("echo generation=k2 text=two");
    assert_eq!(agent.process("echo-0-echo.g1"), first, "what is busy goes on");
    let second = agent.process("echo-0-echo.g2");
    let newest = agent.ports("echo/0")[0];
    assert_ne!(newest, port);
    assert_eq!((text_at(&agent, port), text_at(&agent, newest)), ("one".into(), "two".into()));
    let status = until_seen(
        "the status says who is left",
        || agent.unit_status("echo/0"),
        |status| status.contains("1 job on release 1"),
    );
    assert!(status.starts_with("active"), "{status}");

    // Back, while it runs: the same process is the newest again, and what was newest has nothing to do.
    let preview = agent.ok("rollback echo --preview").stdout;
    assert!(preview.contains("goes back to a generation that runs: echo"), "{preview}");
    agent.ok("rollback echo --wait --timeout 60s");
    assert_eq!(agent.process("echo-0-echo.g1"), first);
    assert_eq!(agent.ports("echo/0")[0], port);
    until_only(&agent, &["echo-0-echo.g1"]);
    assert_eq!(text_at(&agent, newest), Value::Null, "{second:?}");
    until_seen("nothing is left to say", || agent.unit_status("echo/0"), |status| status == "active");

    // Forward again is a new start; the old one ends when it is idle, and its folder and port go with it.
    agent.config("echo generation=k2 text=two");
    let folder = agent.dir().join("models/default/units/echo-0/scratch");
    assert!(folder.join("work.g1").is_dir() && folder.join("work.g3").is_dir());
    assert!(agent.put(port, "/busy", "[]"));
    until_only(&agent, &["echo-0-echo.g3"]);
    until("its folder is gone", || !folder.join("work.g1").exists());
    until("nothing is told of it", || port_of(&agent, 1).is_none());

    // Without its journal an agent finds what runs by the store's last word.
    let (running, at) = (agent.processes(), agent.ports("echo/0"));
    agent.kill9();
    for name in ["agent.db", "agent.db-wal", "agent.db-shm"] {
        let _ = std::fs::remove_file(agent.dir().join(name));
    }
    agent.resume();
    agent.ok("wait echo --timeout 60s");
    agent.until_status("echo/0", "active");
    assert_eq!((agent.processes(), agent.ports("echo/0")), (running, at), "it goes on, where it was");
}

#[test]
fn an_action_runs_on_what_serves_while_the_next_one_is_on_its_way() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo --config generation=k1 --config text=one");
    let first = agent.ports("echo/0")[0];
    let busy = |agent: &Agent, port| {
        agent.get(port, "/busy").map_or(Value::Null, |answer| answer.json()["jobs"].clone())
    };

    agent.ok("config echo generation=k2 text=two ready-after=600000 --no-wait");
    agent.ok("run echo/0 work jobs=a");
    assert_eq!(busy(&agent, first), serde_json::json!(["a"]), "asked for at once");
    let second = until_seen(
        "the next one starts beside it",
        || agent.processes().contains_key("echo-0-echo.g2").then(|| agent.ports("echo/0")[0]),
        |port| port.is_some_and(|port| port != first),
    );
    agent.ok("run echo/0 work jobs=b");
    assert_eq!(busy(&agent, first), serde_json::json!(["b"]), "asked for while it starts");

    // The agent that comes back knows what serves, too.
    agent.kill9();
    agent.resume();
    agent.ok("run echo/0 work jobs=c");
    assert_eq!(busy(&agent, first), serde_json::json!(["c"]));
    assert_eq!(busy(&agent, second.unwrap_or_default()), serde_json::json!([]));

    // What goes back to a generation that runs is waited for: it is there at once.
    agent.ok("config echo generation=k1 text=one --reset ready-after --no-wait");
    agent.ok("run echo/0 work jobs=d");
    assert_eq!(busy(&agent, first), serde_json::json!(["d"]));
    until_only(&agent, &["echo-0-echo.g1"]);
}

#[test]
fn what_is_kept_or_busy_stays_over_restarts_and_now_ends_it() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo -n 2 --config busy=true --config generation=k1");
    agent.ok("run echo/1 work jobs=a");
    let before = agent.processes();
    agent.config("echo generation=k2 text=two");
    // It ends for all units at once: the idle unit's stays for the busy one's.
    agent.ok("run echo/0 work jobs=b");
    agent.config("echo generation=k3 text=three");
    let names = ["echo-0-echo.g1", "echo-0-echo.g2", "echo-0-echo.g3", "echo-1-echo.g1", "echo-1-echo.g2"];
    let all = until_seen("three generations", || agent.processes(), |all| all.len() == 6);
    assert!(names.iter().all(|name| all.contains_key(*name)), "{all:?}");

    // A third move waits, and says for what.
    let waits = agent.cli("config echo generation=k4 text=four --wait --timeout 60s");
    assert_eq!(waits.code, 8, "{waits:?}");
    let status = agent.unit_status("echo/0");
    assert!(status.starts_with("waiting") && status.contains("releases 1 and 2 drain"), "{status}");
    // Taken back before it could move.
    agent.ok("config echo generation=k3 text=three --no-wait");
    agent.until_status("echo/0", "active");

    agent.kill9();
    agent.resume();
    agent.ok("wait echo --timeout 60s");
    assert_eq!(agent.processes(), all, "a restart of the agent concerns none of them");
    assert!(before.iter().all(|(name, process)| all.get(name) == Some(process)));

    agent.ok("stop echo/0/echo.g1");
    until("it is stopped", || !agent.processes().contains_key("echo-0-echo.g1"));
    agent.ok("start echo/0/echo.g1");
    until("it is started", || agent.processes().contains_key("echo-0-echo.g1"));
    agent.ok("restart echo/0 --wait --timeout 60s");
    let now = agent.processes();
    assert_eq!(now["echo-0-echo.g2"], all["echo-0-echo.g2"], "a restart means the newest");
    assert_ne!(now["echo-0-echo.g3"], all["echo-0-echo.g3"]);
    agent.ok("logs echo/0/echo.g1 -n 5");

    // Now is a choice.
    agent.ok("rollout echo now --wait --timeout 60s");
    until_only(&agent, &["echo-0-echo.g3", "echo-1-echo.g3"]);

    // A key that somebody keeps does not end, idle as it is; a unit that goes is not held by it.
    agent.config("echo generation=k5 generation-keep=k3");
    agent.until_status("echo/0", "active: release");
    assert_eq!(agent.processes().len(), 4);
    agent.ok("remove-unit echo/1 --wait --timeout 60s");
    until_only(&agent, &["echo-0-echo.g3", "echo-0-echo.g5"]);
    agent.config("echo --reset generation-keep");
    until_only(&agent, &["echo-0-echo.g5"]);

    // A deadline ends what is busy.
    agent.ok("run echo/0 work jobs=c");
    agent.config("echo generation=k6 generation-deadline=1s");
    until_only(&agent, &["echo-0-echo.g6"]);

    // Busy or not, a removal that is forced takes all.
    agent.ok("run echo/0 work jobs=d");
    agent.config("echo generation=k7 --reset generation-deadline");
    assert_eq!(agent.processes().len(), 2);
    agent.ok("remove-application echo --yes --force --wait --timeout 60s");
    assert!(agent.processes().is_empty());
}
