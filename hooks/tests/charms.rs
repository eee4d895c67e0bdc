//! The test charms in Python, run as the agent runs them: through the tools, against a server in a thread. They show
//! that the contract needs no SDK, and that each fault of `py-echo` is the fault that it says.
#![allow(clippy::disallowed_methods, reason = "the test starts the charm")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use stoker_hooks::tools::{Call, NAMES, parse};
use stoker_hooks::wire::{Request, Response};
use stoker_model::observation::{FORMAT, Memory, Observation, Relation};
use stoker_model::{charm, plan};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/charms").join(name)
}

/// An observation of a first run: every option at its default but those given.
fn observation(name: &str, config: &Value) -> Observation {
    let text = std::fs::read_to_string(folder(name).join("charm.toml")).unwrap();
    let charm = charm::parse(&text).unwrap();
    let mut seen = Observation {
        format: FORMAT,
        app: name.into(),
        unit: format!("{name}/0"),
        units: vec![format!("{name}/0")],
        leader: true,
        charm: format!("b3:{}", "a".repeat(64)),
        ..Observation::default()
    };
    for (key, option) in &charm.config {
        let value = config.get(key).or(option.default.as_ref()).cloned().unwrap_or(Value::Null);
        seen.config.insert(key.clone(), option.check(&value).unwrap());
    }
    let known = |key: &String| charm.config.contains_key(key);
    assert!(config.as_object().unwrap().keys().all(known), "{config}");
    seen
}

struct Ran {
    output: Output,
    plans: Vec<Vec<u8>>,
    log: Vec<String>,
}

/// A charm's dispatch with the environment of a run; the tools are linked into `place`.
fn start(name: &str, place: &Path, socket: &Path) -> Command {
    for tool in NAMES {
        symlink(env!("CARGO_BIN_EXE_stoker-hook"), place.join(tool)).unwrap();
    }
    let mut command = Command::new(folder(name).join("bin/dispatch"));
    command
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", place.display()))
        .env("JUJU_CONTEXT_ID", "t")
        .env("JUJU_AGENT_SOCKET_ADDRESS", socket)
        .env("JUJU_AGENT_SOCKET_NETWORK", "unix")
        .stdin(Stdio::null());
    command
}

/// Runs a charm's dispatch as the agent does; the server answers until the charm has ended.
fn run(name: &str, seen: &Observation) -> Ran {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("agent.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let json = serde_json::to_string(seen).unwrap();
    let server = thread::spawn(move || {
        let (mut plans, mut log) = (Vec::new(), Vec::new());
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = Vec::new();
            BufReader::new(stream.try_clone().unwrap()).read_until(b'\n', &mut line).unwrap();
            if line.is_empty() {
                return (plans, log);
            }
            let request = Request::decode(&line).unwrap();
            let answer = match (parse(&request.tool, &request.args), request.stdin) {
                (Ok(Call::Observe), _) => Response::done(json.as_str()),
                (Ok(Call::Plan), None) => Response::ask_stdin(),
                (Ok(Call::Plan), Some(plan)) => {
                    plans.push(plan.0);
                    Response::done("")
                }
                (Ok(Call::Log(line)), _) => {
                    log.push(line.message);
                    Response::done("")
                }
                (other, _) => Response::failed(2, format!("{other:?}")),
            };
            stream.write_all(&answer.encode().unwrap()).unwrap();
        }
    });
    let output = start(name, place.path(), &socket).output().unwrap();
    // An empty connection ends the server.
    drop(std::os::unix::net::UnixStream::connect(&socket).unwrap());
    let (plans, log) = server.join().unwrap();
    Ran { output, plans, log }
}

/// The plan of a run that must go well, checked as the agent checks it.
fn planned(name: &str, seen: &Observation) -> Value {
    let mut ran = run(name, seen);
    assert!(ran.output.status.success(), "{}", String::from_utf8_lossy(&ran.output.stderr));
    assert_eq!(ran.plans.len(), 1);
    let json = ran.plans.remove(0);
    if let Err(error) = plan::parse(&json, seen) {
        panic!("{error}: {}", String::from_utf8_lossy(&json));
    }
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn every_option_gives_a_valid_plan() {
    for config in [
        json!({}),
        json!({"workload": "sleep"}),
        json!({"workload": "exit", "exit-code": 3, "restart": "never"}),
        json!({"workload": "missing"}),
        json!({"workload": "none", "status": "blocked", "message": "m"}),
        json!({"services": 3, "port": 18000, "port-range": 4, "port-name": "web", "grace": "1s"}),
        json!({"live": true, "live-probe": true, "busy": true, "ready-after": 100, "workload": "never-ready"}),
        json!({"user": true, "secret": true, "keep": false, "memory": "64m"}),
        json!({"check": "flag", "check-once": true, "prepare": "later", "every": "1s"}),
        json!({"hold": "others", "order": 2, "one-way": "a,b", "scale": 2, "data-path": "/srv/x"}),
        json!({"text": "${user.home} $${port:x} é", "prepare": "pass"}),
    ] {
        let seen = observation("py-echo", &config);
        let plan = planned("py-echo", &seen);
        assert_eq!(plan, planned("py-echo", &seen), "the same observation gives another plan");
    }
}

#[test]
fn actions_are_tasks() {
    for (name, params) in [
        ("say", json!({"text": "hi", "times": 1})),
        ("sleep", json!({"seconds": 1.5})),
        ("work", json!({"jobs": "a, b"})),
        ("ready", json!({"ready": "false"})),
        ("exit", json!({})),
    ] {
        let mut seen = observation("py-echo", &json!({}));
        seen.action = serde_json::from_value(json!({"name": name, "params": params})).unwrap();
        let plan = planned("py-echo", &seen);
        let words = plan["action"]["command"].as_array().unwrap();
        match name {
            "work" => assert_eq!(words.last().unwrap(), "[\"a\", \"b\"]"),
            "ready" => assert_eq!(words.last().unwrap(), "false"),
            _ => assert!(words.len() >= 4),
        }
    }
}

#[test]
fn faults_are_what_they_say() {
    let faulty = |fault: &str| {
        let seen = observation("py-echo", &json!({"fault": fault}));
        let ran = run("py-echo", &seen);
        let said = match ran.plans.first().map(|json| plan::parse(json, &seen)) {
            None => "no plan".to_owned(),
            Some(Ok(_)) => "a plan".to_owned(),
            Some(Err(error)) => error.to_string(),
        };
        (ran.output.status, said, ran)
    };
    for (fault, code, said) in [
        ("none", 0, "a plan"),
        ("crash", 1, "no plan"),
        ("no-plan", 0, "no plan"),
        ("garbage", 0, "cannot read the plan: "),
        ("truncated", 0, "cannot read the plan: EOF"),
        ("not-an-object", 0, ""),
        ("unknown-key", 0, "did you mean `services`"),
        ("wrong-format", 0, "its format is 2"),
        ("too-large", 0, "at most 262144 are allowed"),
        ("too-much", 1, "no plan"),
        ("bad-reference", 0, "names nothing in the plan"),
        ("bad-type", 0, "invalid type: string"),
        ("generation", 0, "the plan names none"),
        ("twice", 0, "a plan"),
        ("chatty", 0, "a plan"),
        ("crash-after", 1, "a plan"),
        ("network", 0, "a plan"),
    ] {
        let (status, found, ran) = faulty(fault);
        assert_eq!(status.code(), Some(code), "{fault}: {}", String::from_utf8_lossy(&ran.output.stderr));
        assert!(found.contains(said) && (said.contains("plan") || found != "a plan"), "{fault}: {found}");
        assert_eq!(ran.plans.len(), if fault == "twice" { 2 } else { usize::from(found != "no plan") });
    }
    let (status, _, _) = faulty("killed");
    assert_eq!(status.signal(), Some(9));
    let (_, _, ran) = faulty("chatty");
    assert!(ran.output.stdout.len() >= 1 << 20 && ran.output.stderr.len() >= 1 << 20);
    assert_eq!(ran.log, ["planned for py-echo/0"]);
}

#[test]
fn an_unsettled_charm_never_repeats_itself() {
    for fault in ["unsettled", "unsettled-app", "flapping"] {
        let mut seen = observation("py-echo", &json!({"fault": fault}));
        let mut states: Vec<Memory> = Vec::new();
        for _ in 0..3 {
            let plan = planned("py-echo", &seen);
            let next: Memory = serde_json::from_value(plan["state"].clone()).unwrap();
            assert_ne!(next, seen.state, "{fault}");
            states.push(next.clone());
            seen.state = next;
        }
        assert_eq!(states[0] == states[2], fault == "flapping");
    }
}

#[test]
fn a_hanging_charm_ends_only_by_force() {
    let seen = observation("py-echo", &json!({"fault": "hang-stubborn"}));
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("agent.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut child = start("py-echo", place.path(), &socket).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
    stream.write_all(&Response::done(serde_json::to_string(&seen).unwrap()).encode().unwrap()).unwrap();
    drop(stream);
    // It hangs from when its own child runs in a session of its own.
    let own =
        |what: &str| std::fs::read_to_string(format!("/proc/{}/{what}", child.id())).unwrap_or_default();
    let start = Instant::now();
    let grandchild: i32 = loop {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", own("status"));
        let found = own(&format!("task/{}/children", child.id())).trim().parse().ok();
        let session = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        match found.filter(|pid| session(*pid).contains(&format!(" {pid} {pid} "))) {
            Some(pid) => break pid,
            None => thread::yield_now(),
        }
    };
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    kill(pid, Signal::SIGKILL).unwrap();
    kill(Pid::from_raw(grandchild), Signal::SIGKILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_dying_unit_goes_unless_it_lingers() {
    for linger in [false, true] {
        let mut seen = observation("py-echo", &json!({"linger": linger}));
        seen.life = stoker_model::observation::Life::Dying;
        let plan = planned("py-echo", &seen);
        assert_eq!((&plan["gone"], &plan["services"]), (&json!(!linger), &json!({})));
    }
}

#[test]
fn the_peer_listens_to_what_the_echo_says() {
    let relation = |id: u64, endpoint: &str, remote: &str, app: &Value, units: Value| Relation {
        id,
        endpoint: endpoint.into(),
        interface: "echo".into(),
        remote: remote.into(),
        app: serde_json::from_value(app.clone()).unwrap(),
        units: serde_json::from_value(units).unwrap(),
        ..Relation::default()
    };
    let mut echo = observation("py-echo", &json!({"secret": true, "text": "ho"}));
    echo.relations.push(relation(4, "echo", "py-peer", &json!({}), json!({})));
    echo.secrets.insert("token".into(), "secret:abc".into());
    let said = planned("py-echo", &echo);
    assert_eq!(said["secrets"]["token"]["grant"], json!([4]));
    let bags = &said["relations"]["4"];
    assert_eq!(bags["app"], json!({"text": "ho", "token": "secret:abc"}));

    let mut peer = observation("py-peer", &json!({"token": true}));
    assert_eq!(planned("py-peer", &peer)["status"]["state"], "blocked");
    peer.relations.push(relation(4, "echo", "py-echo", &json!({}), json!({})));
    assert_eq!(planned("py-peer", &peer)["hold"], "first data of py-echo");
    let unit = json!({"py-echo/0": {"url": "http://127.0.0.1:1"}});
    peer.relations[0] = relation(4, "echo", "py-echo", &bags["app"], unit);
    let plan = planned("py-peer", &peer);
    assert_eq!(plan["status"]["message"], "asks py-echo");
    assert_eq!(plan["secrets"]["token"]["from"], "secret:abc");
    peer.tasks.insert(
        "ask".into(),
        serde_json::from_value(json!({"state": "done", "result": {"text": "ho"}})).unwrap(),
    );
    let plan = planned("py-peer", &peer);
    assert_eq!(plan["status"], json!({"state": "active", "message": "heard: ho"}));
    assert_eq!(plan["relations"]["4"]["unit"]["heard"], "ho");
}

#[test]
fn inspects_and_makes() {
    let out = tempfile::tempdir().unwrap();
    let charm =
        |args: &[&str]| Command::new(folder("py-echo").join("bin/dispatch")).args(args).output().unwrap();
    let path = out.path().to_str().unwrap();
    assert_eq!(charm(&["inspect", "-", path]).status.code(), Some(3));
    assert_eq!(charm(&["recipe", "make", "1.0", path]).status.code(), Some(0));
    let facts: Value = serde_json::from_slice(&charm(&["inspect", "payload", path]).stdout).unwrap();
    assert_eq!(facts, json!({"product": "payload", "version": "1.0", "details": {"files": 4}}));
    std::fs::write(out.path().join("VERSION"), "").unwrap();
    assert_eq!(charm(&["inspect", "-", path]).status.code(), Some(1));
    assert_eq!(charm(&["recipe", "make", "bad", path]).status.code(), Some(1));
    assert_eq!(charm(&["recipe", "versions"]).stdout, b"[\"2.0\", \"1.0\"]\n");
}
