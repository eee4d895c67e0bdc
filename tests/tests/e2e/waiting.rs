//! `--wait` and what it means for scripts; being interrupted.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stoker_tests::{Agent, until, until_some};

#[test]
fn a_wait_ends_when_all_effects_have_settled() {
    let agent = Agent::start();
    // Off a terminal nothing waits unless told to: the number is the answer.
    let change = agent.ok("deploy py-echo echo --config ready-after=1500");
    assert_eq!(change.stdout, "change 1\n");
    assert_ne!(agent.unit_status("echo/0"), "active");
    agent.cli("wait 1 --timeout 100ms").exits(8).is_problem().says(&["stoker wait 1"]);
    agent.ok("wait 1 --timeout 60s");
    assert_eq!(agent.unit_status("echo/0"), "active", "settled is not `looks idle`");
    agent.ok("wait --timeout 60s");
    agent.ok("wait echo --for active --timeout 60s");
    agent.cli("wait echo --for gone --timeout 300ms").exits(8).is_problem();
    agent.cli("wait 77").exits(5).is_problem();
    agent.cli("wait ehco").exits(5).is_problem().says(&["echo"]);
    agent.cli("wait 1 --for active").exits(2).is_problem();
    agent.cli("wait echo --timeout soon").exits(2);

    // A change of one application has settled when those that are related have.
    agent.ok("deploy py-peer peer --wait").says(&["blocked: peer/0: no echo"]);
    agent.cli("config peer hold=true --wait --fail-on-blocked").exits(1).is_problem();
    agent.cli("wait peer --fail-on-blocked").exits(1).is_problem();
    agent.ok("integrate peer echo --wait --timeout 60s");
    assert_eq!(agent.unit_status("peer/0"), "active: heard: hello");
    agent.ok("config echo text=again --wait --timeout 60s");
    assert_eq!(agent.unit_status("peer/0"), "active: heard: again");

    // Errors end it with 1, at once.
    agent.cli("config echo fault=crash --wait --timeout 60s").exits(1).is_problem().says(&["ST0025"]);
    let document = agent.cli("wait echo --format json").exits(1).json();
    assert!(document["errors"][0].as_str().unwrap().starts_with("echo/0: "), "{document}");
    let change = agent.json("config echo --reset fault --wait --timeout 60s");
    assert_eq!(change["settled"]["settled"], true, "{change}");
    assert!(change["change"].is_u64(), "{change}");
}

#[test]
fn an_interrupted_wait_ends_with_130_and_the_change_goes_on() {
    let agent = Agent::start();
    for line in [
        "deploy py-echo echo --config workload=never-ready --wait",
        "wait echo",
        "run echo/0 sleep seconds=600",
        "logs echo -f",
        "debug-log -f",
        "status --watch",
    ] {
        let child = agent.spawn(line);
        let pid = Pid::from_raw(child.id() as i32);
        // It waits once it has a connection that it has asked something on.
        until("the service runs", || agent.processes().contains_key("echo-0-echo"));
        until(line, || sleeping_with_socket(child.id()));
        kill(pid, Signal::SIGINT).unwrap();
        let mut child = child;
        let ended = until_some("it ends", || child.try_wait().unwrap());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        assert_eq!(ended.code(), Some(130), "{line}: {said}");
        if line.starts_with("deploy") || line.starts_with("wait") {
            let how = said.contains("stoker wait") || said.contains("stoker status");
            assert!(how && said.contains("ST0022"), "it says how to follow it: {said}");
        }
    }
    agent.ok("config echo --reset workload --wait --timeout 60s");
    assert_eq!(agent.unit_status("echo/0"), "active");
}

/// Whether a process catches SIGINT: it does from the moment when it waits.
fn sleeping_with_socket(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).unwrap_or(0) & 0b10 != 0
}
