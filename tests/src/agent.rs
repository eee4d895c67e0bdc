//! An agent of its own for a test, and the command line beside it. Owns the agent's process and folder: when an
//! [`Agent`] is dropped, its services are stopped, it has ended, and nothing of it is left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::machine::{self, Process};
use crate::until::{until, until_seen, until_some};
use crate::{Answer, Output, charms, wire};

/// The path of one of the programs under test.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("STOKER_BIN_DIR").map_or_else(built, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "`{}` is missing: cargo build -p stoker -p stoker-host -p stoker-hooks, or set STOKER_BIN_DIR",
        path.display()
    );
    path
}

/// `TARGET/debug`: this test's own program is in `TARGET/debug/deps`.
fn built() -> PathBuf {
    let own = std::env::current_exe().expect("this program's path");
    own.ancestors().nth(2).expect("a target folder").to_owned()
}

/// The command line, with an environment of which nothing but the path is this test's.
pub fn stoker<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Output {
    ended(command(words))
}

fn command<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program("stoker"));
    command.args(words).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("HOME", "/nonexistent").env("LANG", "C.UTF-8").stdin(Stdio::null());
    command
}

fn ended(mut command: Command) -> Output {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let done = command.output().expect("the program `stoker`");
    Output {
        line: words.join(" "),
        code: status(done.status),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

fn status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(-1)
}

/// A folder that users of services can walk through, removed in the end.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A new one.
    pub fn new() -> Self {
        let made = tempfile::Builder::new().prefix("stoker-e2e-").tempdir_in("/var/tmp").expect("a folder");
        fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755)).expect("an open folder");
        Self(made)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        open(self.path());
    }
}

/// Makes folders writable again: those of builds are not, and would stay where tests do not run as root.
fn open(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open(&entry.path());
        }
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

/// An agent with its folder `D`; beside `D` there is room for a test's own files.
#[derive(Debug)]
pub struct Agent {
    dir: PathBuf,
    address: String,
    child: Option<Child>,
    // Removed when all that runs in it has ended.
    folder: Option<Folder>,
}

impl Agent {
    /// An agent in a new folder that answers. Its charms are those for tests.
    pub fn start() -> Self {
        let folder = Folder::new();
        let mut agent = Self::at(&folder.path().join("D"));
        agent.folder = Some(folder);
        agent.resume();
        agent
    }

    /// An agent that is not started yet, with its folder made and settings written.
    pub fn at(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("the agent's folder");
        let agent = Self { dir: dir.to_owned(), address: own_address(), child: None, folder: None };
        // A charm's run gets more time than usual: many tests share few cores.
        let (address, charms) = (&agent.address, charms());
        let text = format!(
            "address = \"{address}\"\ncharms.path = [\"{}\"]\ncharm.timeout = \"60s\"\n",
            charms.display()
        );
        fs::write(dir.join("stoker.toml"), text).expect("settings");
        agent
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path beside its folder, for files of the test.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.with_file_name(name)
    }

    /// The loopback address that its services bind: each agent has its own, so that agents of tests that run at
    /// once do not meet on ports.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Writes a drop-in with `more` settings, beside those that all tests need.
    pub fn settings(&self, more: &str) {
        let folder = self.dir.join("stoker.toml.d");
        fs::create_dir_all(&folder).expect("a folder");
        // By rename, as an editor does.
        let new = self.dir.join("more.new");
        fs::write(&new, more).expect("settings");
        fs::rename(&new, folder.join("more.toml")).expect("settings");
    }

    /// The same for an agent that runs; returns when it has taken them up.
    pub fn reload(&self, more: &str) {
        let taken = |agent: &Self| agent.log().matches("settings have changed").count();
        let before = taken(self);
        self.settings(more);
        until("settings are taken up", || taken(self) > before);
    }

    /// Starts it and waits until it answers.
    pub fn resume(&mut self) {
        self.launch();
        until("the agent answers", || {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().expect("the agent's state")
            {
                let said = fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
                panic!("the agent has ended with {status}: {said}");
            }
            self.cli("version").stdout.contains("\nagent ")
        });
    }

    /// Starts it, and waits for nothing. What it says is in `D/stderr`.
    pub fn launch(&mut self) {
        let errors = File::create(self.dir.join("stderr")).expect("a file");
        let mut command = command(["agent", "--dir"]);
        command.arg(&self.dir).stdout(errors.try_clone().expect("a file")).stderr(errors);
        self.child = Some(command.spawn().expect("the agent"));
    }

    /// Starts it where it is to refuse: how it ended, and what it said.
    pub fn refused(&mut self) -> Output {
        self.launch();
        let child = self.child.as_mut().expect("launched");
        let ended = until_some("the agent refuses to start", || child.try_wait().expect("the agent's state"));
        self.child = None;
        Output {
            line: "agent".into(),
            code: status(ended),
            stdout: String::new(),
            stderr: fs::read_to_string(self.dir.join("stderr")).unwrap_or_default(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("an agent that runs").id()
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> bool {
        let ended =
            self.child.as_mut().is_none_or(|child| child.try_wait().expect("the agent's state").is_some());
        if ended {
            self.child = None;
        }
        ended
    }

    /// Ends it with SIGKILL.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    /// Ends it with SIGTERM; returns its exit status.
    pub fn term(&mut self) -> i32 {
        self.signal(Signal::SIGTERM)
    }

    fn signal(&mut self, signal: Signal) -> i32 {
        let mut child = self.child.take().expect("an agent that runs");
        kill(Pid::from_raw(child.id() as i32), signal).expect("a signal to the agent");
        let ended = until_some("the agent ends", || child.try_wait().expect("the agent's state"));
        status(ended)
    }

    /// Runs a command; words are parted by blanks.
    pub fn cli(&self, line: &str) -> Output {
        self.words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command whose words may have blanks.
    pub fn words<S: AsRef<OsStr>>(&self, words: &[S]) -> Output {
        let mut command = command(["--dir"]);
        command.arg(&self.dir).args(words);
        ended(command)
    }

    /// A command that goes on while the test does.
    pub fn spawn(&self, line: &str) -> Child {
        let mut command = command(["--dir"]);
        command.arg(&self.dir).args(line.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program `stoker`")
    }

    /// Runs a command that must exit with 0.
    #[track_caller]
    pub fn ok(&self, line: &str) -> Output {
        self.cli(line).exits(0)
    }

    /// The JSON that a command prints.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.ok(&format!("{line} --format json")).json()
    }

    /// The status.
    pub fn status(&self) -> Value {
        self.json("status")
    }

    /// A unit's status: `active`, `waiting: for what`.
    pub fn unit_status(&self, unit: &str) -> String {
        let app = unit.split('/').next().unwrap_or_default();
        let status = self.status();
        let shown = &status["applications"][app]["units"][unit]["workload-status"];
        let word = shown["current"].as_str().unwrap_or("absent");
        match shown["message"].as_str() {
            Some(message) if !message.is_empty() => format!("{word}: {message}"),
            _ => word.to_owned(),
        }
    }

    /// Waits until a unit's status begins with `begins`; returns it.
    #[track_caller]
    pub fn until_status(&self, unit: &str, begins: &str) -> String {
        let what = format!("{unit} is {begins}");
        until_seen(&what, || self.unit_status(unit), |status| status.starts_with(begins))
    }

    /// Deploys with `--wait`; it must become active.
    #[track_caller]
    pub fn deploy(&self, line: &str) {
        self.ok(&format!("deploy {line} --wait --timeout 60s"));
    }

    /// Sets options with `--wait`; that must end well.
    #[track_caller]
    pub fn config(&self, line: &str) {
        self.ok(&format!("config {line} --wait --timeout 60s"));
    }

    /// A unit in full.
    pub fn unit(&self, unit: &str) -> Value {
        self.json(&format!("show-unit {unit}"))[unit].take()
    }

    /// The port of a unit's service that was opened at `at`, in the order of numbers.
    pub fn ports(&self, unit: &str) -> Vec<u16> {
        let shown = self.unit(unit);
        let ports = shown["opened-ports"].as_array().cloned().unwrap_or_default();
        let first = |port: &Value| port.as_str()?.split(['/', '-']).next()?.parse().ok();
        ports.iter().filter_map(first).collect()
    }

    /// The only port of a unit.
    #[track_caller]
    pub fn port(&self, unit: &str) -> u16 {
        let ports = self.ports(unit);
        assert_eq!(ports.len(), 1, "{unit} has the ports {ports:?}");
        ports[0]
    }

    /// What a unit's service answers to `GET /`.
    #[track_caller]
    pub fn about(&self, unit: &str) -> Value {
        let port = self.port(unit);
        until_some("the service answers", || self.get(port, "/").map(|answer| answer.json()))
    }

    /// GETs from a service of this agent; nothing where nobody answers.
    pub fn get(&self, port: u16, path: &str) -> Option<Answer> {
        wire::get(&self.address, port, path)
    }

    /// PUTs to a service of this agent; whether it took it.
    pub fn put(&self, port: u16, path: &str, body: &str) -> bool {
        wire::ask(&self.address, port, "PUT", path, body).is_some_and(|answer| answer.status == 200)
    }

    /// Services and tasks that run, by `APP-N-SERVICE`.
    pub fn processes(&self) -> BTreeMap<String, Process> {
        let found = machine::processes_below(&self.dir);
        let short = |name: String| name.strip_prefix("stoker-default-").map(str::to_owned).unwrap_or(name);
        found.into_iter().map(|(name, process)| (short(name), process)).collect()
    }

    /// The process of one service.
    #[track_caller]
    pub fn process(&self, name: &str) -> Process {
        until_some(&format!("{name} runs"), || self.processes().remove(name))
    }

    /// One request to the API.
    pub fn api(&self, method: &str, path: &str, body: &str) -> Answer {
        wire::over_socket(&self.dir.join("api.sock"), method, path, body)
    }

    /// The model's revision, as the first event says it.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }
}

/// Of 127/8, another one at each call; of two processes at the same time they differ as their numbers do.
fn own_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    format!("127.{}.{}.{}", 1 + process % 250, 1 + process / 250 % 250, 1 + n % 250)
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- the end of {}/agent.log\n{end}", self.dir.display());
        }
        if let Some(mut child) = self.child.take() {
            let down = self.cli("down --timeout 30s");
            if down.code != 0 {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
        // An agent that was killed, or did not end in order, leaves services: they were started here, and end here.
        for _ in 0..50 {
            let left = machine::touching(&self.dir);
            for pid in &left {
                let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
            }
            if left.is_empty() {
                break;
            }
        }
    }
}
