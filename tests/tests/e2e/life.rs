//! The agent's own life: it ends, is killed, starts again; services never notice.

use std::fs;

use stoker_tests::{Agent, alive, until, until_seen};

#[test]
fn services_outlive_the_agent_however_it_ends() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo -n 2 --config services=2 --config text=one");
    agent.ok("deploy py-peer peer");
    agent.ok("integrate peer echo --wait --timeout 60s");
    agent.until_status("peer/0", "active");
    let before = agent.processes();
    assert_eq!(before.len(), 5, "{before:?}");

    assert_eq!(agent.term(), 0, "SIGTERM is an end in order");
    assert_eq!(agent.processes(), before, "services go on");
    agent.cli("status").exits(7).is_problem();
    agent.resume();
    agent.ok("wait --for active --timeout 60s");
    assert_eq!(agent.processes(), before, "the same processes, none twice");

    // Killed, also in the middle of what it does.
    for text in ["two", "three", "four"] {
        agent.ok(&format!("config echo text={text}"));
        agent.kill9();
        agent.resume();
        agent.ok("wait --timeout 60s");
        agent.ok("wait --for active --timeout 60s");
        let now = agent.processes();
        let names = |of: &std::collections::BTreeMap<_, _>| of.keys().cloned().collect::<Vec<String>>();
        assert_eq!(names(&now), names(&before));
        let port = agent.ports("echo/0")[0];
        let look = || agent.get(port, "/text").map(|answer| answer.body);
        until_seen("the change is made", look, |body| body.as_deref() == Some(text));
        agent.until_status("peer/0", &format!("active: heard: {text}"));
    }
    let before = agent.processes();
    agent.kill9();
    // A service that ends while nobody watches is started again by its keeper.
    let victim = before["echo-1-echo"].clone();
    nix_kill(victim.pid);
    let look = || agent.processes().remove("echo-1-echo");
    let risen =
        until_seen("its keeper starts it again", look, |now| now.as_ref().is_some_and(|now| *now != victim));
    agent.resume();
    agent.ok("wait --for active --timeout 60s");
    let now = agent.processes();
    assert_eq!(now.get("echo-1-echo"), risen.as_ref());
    for name in ["echo-0-echo", "echo-0-echo-b", "echo-1-echo-b", "peer-0-ear"] {
        assert_eq!(now[name], before[name], "{name}");
    }

    // Down is the end of all of it, and loses nothing.
    let agent_pid = agent.pid();
    agent.ok("down");
    assert!(agent.processes().is_empty(), "{:?}", agent.processes());
    until("the agent is gone", || agent.ended());
    assert!(!alive(agent_pid));
    agent.resume();
    agent.ok("wait --for active --timeout 60s");
    assert_eq!(agent.processes().len(), 5);
}

fn nix_kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn what_is_in_the_way_of_a_start_is_said() {
    let mut agent = Agent::start();
    agent.deploy("py-echo echo");
    let before = agent.processes();

    // A second agent on the same folder.
    let second = stoker_tests::stoker(["agent".as_ref(), "--dir".as_ref(), agent.dir().as_os_str()]);
    second.exits(6).is_problem().says(&[&agent.pid().to_string(), "ST0010"]);
    assert_eq!(agent.unit_status("echo/0"), "active");

    // An unknown key, and a value that is none: it does not start.
    agent.term();
    agent.settings("[prob]\ninterval = \"1s\"\n");
    agent.refused().exits(1).is_problem().says(&["prob", "did you mean `probe`", "more.toml", "ST0012"]);
    agent.settings("[log]\nlevel = \"loud\"\n");
    agent.refused().exits(1).is_problem().says(&["level", "ST0012"]);
    agent.settings("[log\n");
    agent.refused().exits(1).is_problem().says(&["more.toml"]);
    agent.settings("");
    agent.resume();
    agent.ok("wait --for active --timeout 60s");
    assert_eq!(agent.processes(), before);

    // A folder that users of services cannot reach.
    if stoker_tests::is_root() {
        use std::os::unix::fs::PermissionsExt;
        let closed = agent.beside("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let refused =
            stoker_tests::stoker(["agent".as_ref(), "--dir".as_ref(), closed.join("D").as_os_str()]);
        refused.exits(1).is_problem().says(&["closed`", "chmod o+x", "ST0013"]);
    }
    let file = agent.beside("file");
    fs::write(&file, "").unwrap();
    let refused = stoker_tests::stoker(["agent".as_ref(), "--dir".as_ref(), file.as_os_str()]);
    refused.exits(1).is_problem().says(&["Not a directory"]);
}

#[test]
fn settings_are_taken_up_while_it_runs() {
    let agent = Agent::start();
    agent.deploy("py-echo echo");
    // The level of the log.
    let traced = |agent: &Agent| agent.log().lines().filter(|line| line.contains(" DEBUG ")).count();
    let before = traced(&agent);
    agent.reload("[log]\nlevel = \"debug\"\n");
    let mut n = 0;
    until("there is more in the log", || {
        n += 1;
        agent.ok(&format!("config echo exit-code={n} --wait"));
        traced(&agent) > before
    });
    // The time that a charm's run may take.
    agent.reload("[charm]\ntimeout = \"300ms\"\n");
    agent.ok("config echo fault=hang");
    let status = agent.until_status("echo/0", "error");
    assert!(status.contains("300ms"), "{status}");
    agent.reload("");
    agent.ok("config echo --reset fault");
    agent.until_status("echo/0", "active");

    // A file that is not valid changes nothing, and is said.
    agent.settings("[log]\nlevle = \"info\"\n");
    until("it is in the log", || agent.log().contains("levle"));
    agent.config("echo exit-code=99");
    assert_eq!(agent.unit_status("echo/0"), "active");
}
