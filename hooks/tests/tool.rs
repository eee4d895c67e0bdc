//! The tool binary against a server in a thread: what it sends, prints and exits with.
#![allow(clippy::disallowed_methods, reason = "the test starts the tool")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use stoker_hooks::client::Connection;
use stoker_hooks::tools::NAMES;
use stoker_hooks::wire::{MAX_STDIN, Request, Response};
use tempfile::TempDir;

const TOOL: &str = env!("CARGO_BIN_EXE_stoker-hook");

/// Answers one request per connection; yields the requests.
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

struct Run {
    folder: TempDir,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in NAMES.iter().chain(&["relation-get"]) {
            symlink(TOOL, folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.socket")
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(self.folder.path().join(tool));
        command
            .env_clear()
            .env("JUJU_CONTEXT_ID", "web/0-run-1")
            .env("JUJU_AGENT_SOCKET_ADDRESS", self.socket())
            .env("JUJU_AGENT_SOCKET_NETWORK", "unix")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The tool may end without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn forwards_and_gives_back() {
    let run = Run::new();
    let answer = Response { code: 3, stderr: "warned\n".into(), ..Response::done(vec![b'a', 0, 0xff]) };
    let server = serve(&run.socket(), vec![answer]);
    let output = run.command("relation-get").args(["-r", "db:7", "-", "é"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout, text(&output.stderr)), (vec![b'a', 0, 0xff], "warned\n".to_owned()));
    let request = server.join().unwrap().remove(0);
    assert_eq!((request.token.as_str(), request.tool.as_str()), ("web/0-run-1", "relation-get"));
    assert_eq!(request.args, ["-r", "db:7", "-", "é"]);
    assert_eq!(Path::new(&request.cwd), run.folder.path().canonicalize().unwrap());
    assert_eq!(request.stdin, None);
}

#[test]
fn is_called_by_its_own_name_too() {
    let run = Run::new();
    symlink(TOOL, run.folder.path().join("stoker-hook")).unwrap();
    let server = serve(&run.socket(), vec![Response::done("{}\n")]);
    let output = run.command("stoker-hook").args(["observe", "x"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "{}\n".to_owned()));
    assert_eq!(server.join().unwrap()[0].args, ["x"]);
    assert_eq!(run.command("stoker-hook").output().unwrap().status.code(), Some(2));
}

#[test]
fn reads_standard_input_only_when_asked() {
    let run = Run::new();
    let server =
        serve(&run.socket(), vec![Response::done(""), Response::ask_stdin(), Response::done("taken\n")]);
    // Not asked: what is there stays there for the next reader.
    let script = "printf 'one\\ntwo\\n' | { observe; cat; }";
    let mut shell = run.command("observe");
    shell = {
        let mut sh = Command::new("/bin/sh");
        sh.args(["-c", script]).env_clear().current_dir(run.folder.path());
        sh.envs(shell.get_envs().filter_map(|(k, v)| Some((k, v?))));
        sh.env("PATH", format!("{}:/usr/bin:/bin", run.folder.path().display()));
        sh
    };
    let output = shell.output().unwrap();
    assert_eq!(text(&output.stdout), "one\ntwo\n", "{}", text(&output.stderr));
    let output = with_input(run.command("plan"), b"{\"format\":1}");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "taken\n".to_owned()));
    let requests = server.join().unwrap();
    assert_eq!(requests[1].stdin, None);
    assert_eq!(requests[2].stdin.as_ref().unwrap().0, b"{\"format\":1}");
}

#[test]
fn plan_reads_its_file_itself() {
    let run = Run::new();
    std::fs::write(run.folder.path().join("p.json"), "{}").unwrap();
    let server = serve(&run.socket(), vec![Response::failed(1, "no")]);
    let output = run.command("plan").args(["--file", "p.json"]).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), "ERROR no\n".to_owned()));
    let request = server.join().unwrap().remove(0);
    assert!(request.args.is_empty());
    assert_eq!(request.stdin.unwrap().0, b"{}");
    let output = run.command("plan").args(["--file", "absent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ERROR cannot read `absent`"));
}

#[test]
fn too_much_input_is_refused() {
    let run = Run::new();
    let server = serve(&run.socket(), vec![Response::ask_stdin()]);
    let output = with_input(run.command("plan"), &vec![b' '; MAX_STDIN + 1]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("at most 1048576 are allowed"), "{}", text(&output.stderr));
    server.join().unwrap();
}

#[test]
fn says_what_is_missing() {
    let run = Run::new();
    for name in ["JUJU_CONTEXT_ID", "JUJU_AGENT_SOCKET_ADDRESS", "JUJU_AGENT_SOCKET_NETWORK"] {
        let output = run.command("observe").env_remove(name).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), format!("{name} not set\n")));
    }
    let output = run.command("observe").env("JUJU_AGENT_SOCKET_NETWORK", "tcp").output().unwrap();
    assert!(text(&output.stderr).contains("only unix"));
    let output = run.command("observe").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("ERROR cannot reach the agent"), "{}", text(&output.stderr));
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let run = Run::new();
    let listener = UnixListener::bind(run.socket()).unwrap();
    let server = thread::spawn(move || {
        for answer in ["", "garbage\n", "{\"version\":9}\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = Vec::new();
            BufReader::new(stream.try_clone().unwrap()).read_until(b'\n', &mut line).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for expected in ["connection to the agent broke", "not as it should be", "version 9"] {
        let output = run.command("observe").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    server.join().unwrap();
}

#[test]
fn reaches_sockets_below_long_paths() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    // Bound by a short way, since an address has no room for the long one.
    let short = folder.path().join("s");
    symlink(&deep, &short).unwrap();
    let server = serve(&short.join("agent.socket"), vec![Response::done("ok")]);
    let address = deep.join("agent.socket").to_string_lossy().into_owned();
    let connection = Connection { token: "t".into(), address };
    let response = connection.call("observe", &[], &mut std::io::empty()).unwrap();
    assert_eq!(response.stdout.text(), "ok");
    server.join().unwrap();
}
