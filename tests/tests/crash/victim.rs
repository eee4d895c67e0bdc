//! An agent that is killed and started again, built with its failpoints. Owns its process and folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stoker_tests::checker::Records;
use stoker_tests::{Folder, LONG, charms, until, until_some};

/// The programs with failpoints, built once beside the ordinary ones; `STOKER_FAILPOINTS_BIN_DIR` names others.
pub(crate) fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("STOKER_FAILPOINTS_BIN_DIR") {
            return folder.into();
        }
        let own = std::env::current_exe().expect("this program's path");
        let target = own.ancestors().nth(3).expect("a target folder").join("failpoints");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "-p", "stoker", "-p", "stoker-host", "-p", "stoker-hooks"]);
        cargo.args(["--features", "stoker/failpoints", "--target-dir"]).arg(&target);
        let done = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo");
        assert!(done.success(), "the programs with failpoints cannot be built");
        target.join("debug")
    })
}

/// What a command did.
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

pub(crate) struct Victim {
    folder: Folder,
    dir: PathBuf,
    child: Option<Child>,
    /// Where the agents write which points they pass.
    log: Option<PathBuf>,
    /// A program, with its first words, that the agent is started through.
    pub(crate) through: Vec<String>,
}

impl Victim {
    /// One that was never started; services listen on an address of its own.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = Folder::new();
        let dir = folder.path().join("D");
        fs::create_dir(&dir).expect("a folder");
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let (high, low) = (1 + std::process::id() % 250, 1 + count % 250);
        let text =
            format!("address = \"127.9.{high}.{low}\"\n[charms]\npath = [\"{}\"]\n", charms().display());
        fs::write(dir.join("stoker.toml"), text).expect("settings");
        Self { folder, dir, child: None, log: None, through: Vec::new() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn beside(&self) -> &Path {
        self.folder.path()
    }

    /// From now on agents write the points that they pass.
    pub(crate) fn record(&mut self) {
        self.log = Some(self.beside().join("points"));
    }

    /// The points passed since this was asked last.
    pub(crate) fn passed(&self) -> Vec<String> {
        let Some(log) = &self.log else { return Vec::new() };
        let text = fs::read_to_string(log).unwrap_or_default();
        let _ = fs::remove_file(log);
        text.lines().map(str::to_owned).collect()
    }

    fn command(&self) -> Command {
        Self::cleared(Command::new(programs().join("stoker")), &self.dir)
    }

    fn agent(&self) -> Command {
        let Some((first, words)) = self.through.split_first() else { return self.command() };
        let mut command = Self::cleared(Command::new(first), &self.dir);
        command.args(words).arg(programs().join("stoker"));
        command
    }

    fn cleared(mut command: Command, dir: &Path) -> Command {
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("STOKER_DIR", dir);
        command.stdin(Stdio::null());
        command
    }

    /// Starts the agent, which is to die at `aim`. False where it died before it answered.
    pub(crate) fn start(&mut self, aim: Option<&str>) -> bool {
        let errors =
            File::options().append(true).create(true).open(self.beside().join("stderr")).expect("a file");
        let mut command = self.agent();
        command.arg("agent").stdout(Stdio::null()).stderr(errors);
        if let Some(log) = &self.log {
            command.env("STOKER_FAILPOINT_LOG", log);
        }
        if let Some(aim) = aim {
            command.env("STOKER_FAILPOINT", format!("{aim}=abort"));
        }
        self.child = Some(command.spawn().expect("the agent"));
        !self.died()
    }

    /// Whether the agent dies: it answers, or has ended soon. A connection that broke is there before its end is seen.
    pub(crate) fn died(&mut self) -> bool {
        let mut up = false;
        until("the agent answers or has ended", || {
            up = self.cli(&["version"]).text.contains("\nagent ");
            up || self.dead()
        });
        !up
    }

    /// Whether the agent was killed by the point that it was aimed at (or never started).
    pub(crate) fn dead(&mut self) -> bool {
        let Some(child) = &mut self.child else { return true };
        let Some(status) = child.try_wait().expect("the agent's state") else { return false };
        assert!(status.signal() == Some(9), "the agent ended by itself, with {status}: {}", self.log_end());
        self.child = None;
        true
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(child) = &self.child {
            kill(Pid::from_raw(child.id() as i32), signal).expect("a signal to the agent");
        }
    }

    /// Waits for its end; its exit status, or none where it was killed.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        until_some("the agent ends", || child.try_wait().expect("the agent's state")).code()
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    pub(crate) fn cli(&self, words: &[&str]) -> Said {
        let mut command = self.command();
        command.args(words);
        let done = command.output().expect("the program `stoker`");
        let text = [done.stdout, done.stderr].concat();
        Said { ok: done.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    pub(crate) fn records(&self) -> Records {
        Records::read(&self.dir).expect("databases that can be read")
    }

    /// What the charm's programs counted in the data folders of units: a number per unit and counter.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        let units = fs::read_dir(self.dir.join("models/default/units")).into_iter().flatten().flatten();
        for unit in units {
            let data = unit.path().join("data/data");
            for name in ["prepare-runs", "check-runs", "drain-runs", "starts"] {
                let text = fs::read_to_string(data.join(name)).unwrap_or_default();
                let number =
                    if name == "starts" { text.lines().count() as u64 } else { text.parse().unwrap_or(0) };
                // A check may be one for the whole application, run by whichever unit was first.
                let unit = unit.file_name().display().to_string();
                let whose = if name == "check-runs" {
                    unit.rsplit_once('-').map_or("", |(app, _)| app)
                } else {
                    &unit
                };
                *counted.entry(format!("{whose} {name}")).or_default() += number;
            }
        }
        counted.into_iter().collect()
    }

    /// The end of the agent's log, for a failure.
    pub(crate) fn log_end(&self) -> String {
        let log = fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// The first kept data's id; empty where there is none.
    pub(crate) fn kept(&self) -> String {
        let entries = fs::read_dir(self.dir.join("kept")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).min().unwrap_or_default()
    }

    /// The unit's journal record.
    pub(crate) fn local(&self, unit: &str) -> Value {
        self.records().journal.remove(unit).unwrap_or_default()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if self.dead_or_gone() {
            self.start(None);
        }
        self.cli(&["down", "--timeout", "30s"]);
        if let Some(mut child) = self.child.take() {
            let end = std::time::Instant::now() + LONG;
            while child.try_wait().ok().flatten().is_none() && std::time::Instant::now() < end {
                std::thread::yield_now();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Victim {
    fn dead_or_gone(&mut self) -> bool {
        match &mut self.child {
            None => true,
            Some(child) => child.try_wait().ok().flatten().is_some(),
        }
    }
}
