//! The roles of a charm's executable, by running the example charm.
#![allow(clippy::disallowed_methods, reason = "the test starts the charm")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use stoker_hooks::wire::{Request, Response};

/// The example's executable, beside this test's folder.
fn charm() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let charm = test.parent().and_then(Path::parent).unwrap().join("examples/echo");
    assert!(
        charm.is_file(),
        "not built: `cargo build -p stoker-charm --example echo` (plain `cargo test` does it)"
    );
    charm
}

fn run(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(charm());
    command.args(args).env_remove("JUJU_AGENT_SOCKET_ADDRESS");
    with_input(command, input)
}

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn observation(mode: &str) -> String {
    json!({"format": 1, "unit": "echo/3", "config": {"mode": mode}, "surprise": true}).to_string()
}

#[test]
fn plans_over_standard_streams() {
    for args in [vec!["dispatch"], vec![]] {
        let output = run(&args, &observation("plain"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&plan["format"], &plan["status"]["message"]), (&json!(1), &json!("I am echo/3")));
    }
}

#[test]
fn a_failing_plan_says_the_whole_chain() {
    let output = run(&["dispatch"], &observation("fail"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    assert_eq!(text(&output.stderr), "cannot plan: the inner reason\n");
    let output = run(&["dispatch"], &observation("panic"));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("no such luck") && said.contains("echo.rs") && said.lines().count() == 1, "{said}");
}

#[test]
fn observations_that_cannot_be_read() {
    assert!(text(&run(&["dispatch"], "garbage").stderr).starts_with("cannot read the observation"));
    let output = run(&["dispatch"], "{\"format\":2}");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("its format is 2"));
}

fn serve(socket: &Path, answers: Vec<Response>) -> JoinHandle<Vec<Request>> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let one = |answer: Response| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = Vec::new();
            BufReader::new(stream.try_clone().unwrap()).read_until(b'\n', &mut line).unwrap();
            stream.write_all(&answer.encode().unwrap()).unwrap();
            Request::decode(&line).unwrap()
        };
        answers.into_iter().map(one).collect()
    })
}

fn over_socket(answers: Vec<Response>) -> (Output, Vec<Request>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.socket");
    let server = serve(&socket, answers);
    let mut command = Command::new(charm());
    command.arg("dispatch").env("JUJU_AGENT_SOCKET_ADDRESS", &socket);
    command.env("JUJU_AGENT_SOCKET_NETWORK", "unix").env("JUJU_CONTEXT_ID", "c1");
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output, server.join().unwrap())
}

#[test]
fn plans_over_the_socket() {
    let (output, requests) = over_socket(vec![Response::done(observation("plain")), Response::done("")]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
    let tools: Vec<(&str, &str)> = requests.iter().map(|r| (r.token.as_str(), r.tool.as_str())).collect();
    assert_eq!(tools, [("c1", "observe"), ("c1", "plan")]);
    let plan: Value = serde_json::from_slice(&requests[1].stdin.as_ref().unwrap().0).unwrap();
    assert_eq!(plan["services"]["echo"]["command"], json!(["sleep", "infinity"]));
}

#[test]
fn a_refused_plan_is_an_error() {
    let refused = Response::failed(1, "cannot use the plan: port `x`: no such range");
    let (output, _) = over_socket(vec![Response::done(observation("plain")), refused]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "cannot hand over the plan: cannot use the plan: port `x`: no such range\n"
    );
    let (output, _) = over_socket(vec![Response::failed(1, "bad request: wrong context ID")]);
    assert_eq!(text(&output.stderr), "cannot observe: bad request: wrong context ID\n");
}

#[test]
fn inspects() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().to_str().unwrap();
    assert_eq!(run(&["inspect", "-", tree], "").status.code(), Some(3));
    std::fs::write(folder.path().join("ECHO"), "1.5\n").unwrap();
    let output = run(&["inspect", "-", tree], "");
    assert_eq!(output.status.code(), Some(0));
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts, json!({"product": "echo", "version": "1.5"}));
    assert_eq!(run(&["inspect", "java", tree], "").status.code(), Some(3));
    std::fs::write(folder.path().join("ECHO"), "").unwrap();
    let output = run(&["inspect", "echo", tree], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("names no version"));
    assert_eq!(run(&["inspect", "-", "/nowhere"], "").status.code(), Some(1));

    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::fs::remove_file(folder.path().join("ECHO")).unwrap();
    std::fs::write(folder.path().join("bin/java"), "").unwrap();
    std::fs::write(folder.path().join("release"), "JAVA_VERSION=\"21.0.1\"\n").unwrap();
    // A Java without its virtual machine is none that could run.
    let output = run(&["inspect", "-", tree], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot find the virtual machine"), "{}", text(&output.stderr));
    std::fs::create_dir_all(folder.path().join("lib/server")).unwrap();
    std::fs::write(folder.path().join("lib/server/libjvm.so"), "21.0.1").unwrap();
    let output = run(&["inspect", "-", tree], "");
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&facts["product"], &facts["version"]), (&json!("java"), &json!("21.0.1")));
}

#[test]
fn recipes() {
    let output = run(&["recipe", "versions"], "");
    assert_eq!(text(&output.stdout), "[\"2\",\"1\"]\n");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/out");
    let output = run(&["recipe", "make", "7", out.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(out.join("ECHO")).unwrap(), "7\n");
    let output = run(&["recipe", "make", "bad", out.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "cannot run `/bin/sh`: exit status: 7\n  no luck\n");
}

#[test]
fn progress_goes_to_descriptor_3() {
    let folder = tempfile::tempdir().unwrap();
    let script = "exec 4>&1; \"$0\" recipe make 7 \"$1\" 3>&1 >&4 | cat";
    let output =
        Command::new("/bin/sh").args(["-c", script]).arg(charm()).arg(folder.path()).output().unwrap();
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let step = |done| json!({"step": "writing", "done": done, "total": 1});
    assert_eq!(lines, [step(0), step(1)], "{}", text(&output.stderr));
}

#[test]
fn progress_keeps_out_of_what_is_only_read() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::write(&input, "kept").unwrap();
    let script = "exec \"$0\" recipe make 7 \"$1\" 3<\"$1/input\"";
    let output =
        Command::new("/bin/sh").args(["-c", script]).arg(charm()).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(&input).unwrap(), "kept");
}

/// Waits until `holds`, at most half a minute.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sigterm_ends_a_recipe_and_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let mut command = Command::new(charm());
    command.args(["recipe", "make", "slow"]).arg(folder.path()).stderr(Stdio::piped());
    let recipe = command.spawn().unwrap();
    until("the child", || started.exists());
    let child = std::fs::read_to_string(&started).unwrap().trim().to_owned();
    let runs = || {
        // A zombie that nobody has waited for yet has ended all the same.
        std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    };
    assert!(runs());
    kill(Pid::from_raw(i32::try_from(recipe.id()).unwrap()), Signal::SIGTERM).unwrap();
    let output = recipe.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "cancelled\n".to_owned()));
    until("the child's end", || !runs());
}

#[test]
fn own_programs_and_wrong_usage() {
    assert_eq!(run(&["later"], "").status.code(), Some(75));
    assert_eq!(run(&["later", "now"], "").status.code(), Some(0));
    for wrong in
        [&["dance"][..], &["dispatch", "x"], &["inspect", "-"], &["recipe"], &["recipe", "make", "1"]]
    {
        let output = run(wrong, "");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(text(&output.stderr).starts_with("usage: dispatch |"));
    }
}
