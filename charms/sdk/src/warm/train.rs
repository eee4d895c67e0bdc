//! Making archives: one maker at a time in a folder, at the lowest priority, once the host has nothing better to do.
//! A JVM that is asked to runs as its daemon does, and writes its archive when it is ended.

#![allow(clippy::disallowed_methods, reason = "a task's program runs the JVMs whose archives it makes")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process, setpriority_process};

use super::record::{self, Identity};

/// How long a busy host is waited for, at most.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long anything of a JVM may take: at the lowest priority that can be long.
const LIMIT: Duration = Duration::from_mins(10);
const LOOK: Duration = Duration::from_millis(200);
/// What every JVM of a maker gets.
const OPTIONS: [&str; 4] = ["-Xlog:disable", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
/// What is being made is in this folder.
const MAKING: &str = ".making";

/// The one who makes archives in a folder.
#[derive(Debug)]
pub struct Maker {
    folder: PathBuf,
    java: PathBuf,
    jvm: Identity,
    /// Held for life.
    _lock: File,
}

impl Maker {
    /// Waits for its turn in the folder. What an earlier one that was killed left is removed.
    pub fn open(folder: &str, java: &str) -> Result<Self> {
        let (folder, java) = (PathBuf::from(folder), PathBuf::from(java));
        let jvm =
            Identity::of(&java).with_context(|| format!("cannot find the JVM of `{}`", java.display()))?;
        // All that it starts has its priority. Where sessions are scheduled apart, so has the session, if it is its own.
        let _ = setpriority_process(None, 19);
        if std::env::var_os("STOKER_SERVICE").is_some() {
            let _ = fs::write("/proc/self/autogroup", "19");
        }
        let path = folder.join(".lock");
        let lock = File::create(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
        flock(&lock, FlockOperation::LockExclusive).context("cannot wait for another maker")?;
        let maker = Self { folder, java, jvm, _lock: lock };
        maker.clear()?;
        record::sweep(&maker.folder).context("cannot remove what is of JVMs that are gone")?;
        Ok(maker)
    }

    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(self.scratch()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove `{}`", self.scratch().display()))
            }
            _ => Ok(()),
        }
    }

    /// A folder to work in: it is there after [`Self::begin`], and goes with the maker.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join(MAKING)
    }

    /// Whether one of these archives is missing, or none that its JVM could use.
    pub fn lacks(&self, names: &[&str]) -> bool {
        names.iter().any(|name| record::usable(&self.folder, name, &self.java).is_none())
    }

    /// Waits until the host has cores to spare, though not for ever; and sees to an archive of Java's own classes, which
    /// runtimes that were cut to size lack.
    pub fn begin(&self) -> Result<()> {
        fs::create_dir(self.scratch()).context("cannot make a folder to work in")?;
        let end = Instant::now() + PATIENCE;
        let mut quiet = 0;
        while quiet < 3 && Instant::now() < end {
            quiet = if idle_share(Duration::from_secs(1)) >= 0.5 { quiet + 1 } else { 0 };
        }
        if self.jvm.own_archive().is_none() {
            let mut dump = Command::new(&self.java);
            dump.arg("-Xshare:dump").arg(format!("-XX:SharedArchiveFile={}", self.base().display()));
            let done = dump.stdin(Stdio::null()).output().context("cannot start the JVM")?;
            ensure!(
                done.status.success() && self.base().is_file(),
                "the JVM makes no archive of its own classes"
            );
        }
        Ok(())
    }

    /// The archive below all others.
    fn base(&self) -> PathBuf {
        self.jvm.own_archive().unwrap_or_else(|| self.scratch().join("base.jsa"))
    }

    /// Starts a daemon's JVM with a class path of jars alone; its archive will be called `name`.
    pub fn run(&self, name: &str, words: &[String], env: &[(&str, &str)]) -> Result<Jvm> {
        let scratch = self.scratch();
        let archive = scratch.join(format!("{name}.jsa"));
        let log = scratch.join(format!("{name}.log"));
        let said = File::create(&log).with_context(|| format!("cannot make `{}`", log.display()))?;
        let child = Command::new(&self.java)
            .arg(format!("-XX:SharedArchiveFile={}", self.base().display()))
            .arg(format!("-XX:ArchiveClassesAtExit={}", archive.display()))
            .args(OPTIONS)
            .args(words)
            .envs(env.iter().copied())
            .current_dir(&scratch)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.java.display()))?;
        Ok(Jvm { name: name.to_owned(), child, archive, log })
    }

    /// Runs a JVM to its end, which has to be a good one, without an archive.
    pub fn tool(&self, words: &[String]) -> Result<()> {
        let mut tool = Command::new(&self.java);
        tool.args(OPTIONS).args(words).current_dir(self.scratch()).stdin(Stdio::null());
        let done = tool.output().with_context(|| format!("cannot start `{}`", self.java.display()))?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "a JVM ended with {}: {}", done.status, last_line(&said));
        Ok(())
    }

    /// Ends a JVM and publishes its archive.
    pub fn keep(&self, mut jvm: Jvm) -> Result<()> {
        jvm.end()?;
        ensure!(jvm.archive.is_file(), "the JVM of {} left no archive: {}", jvm.name, jvm.last_words());
        record::publish(&self.folder, &jvm.name, &self.jvm, &self.base(), &jvm.archive)
            .with_context(|| format!("cannot keep the archive of {}", jvm.name))
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        // What stays is removed by the next one.
        let _ = self.clear();
    }
}

/// A JVM whose archive is being made. It ends with its owner.
#[derive(Debug)]
pub struct Jvm {
    name: String,
    child: Child,
    archive: PathBuf,
    log: PathBuf,
}

impl Jvm {
    fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("cannot wait for the JVM")?.is_some())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + LIMIT;
        while !self.ended()? {
            ensure!(Instant::now() < end, "the JVM of {} does not end", self.name);
            sleep(LOOK);
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        last_line(&String::from_utf8_lossy(&text)).to_owned()
    }
}

fn last_line(text: &str) -> &str {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing")
}

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds, while all these JVMs run.
pub fn until(what: &str, jvms: &mut [&mut Jvm], mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while !holds() {
        for jvm in &mut *jvms {
            if jvm.ended()? {
                bail!("the JVM of {} ended: {}", jvm.name, jvm.last_words());
            }
        }
        ensure!(Instant::now() < end, "no {what}");
        sleep(LOOK);
    }
    Ok(())
}

/// A port of the loopback that nobody listens on now.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot find a free port")?.port())
}

/// Which share of the host's cores had nothing to do for a while; all of them where that cannot be told.
fn idle_share(span: Duration) -> f64 {
    let before = times(Path::new("/proc/stat"));
    sleep(span);
    match (before, times(Path::new("/proc/stat"))) {
        (Some((idle, all)), Some((idle_now, all_now))) if all_now > all => {
            #[allow(clippy::cast_precision_loss, reason = "ticks of some seconds")]
            let share = (idle_now.saturating_sub(idle)) as f64 / (all_now - all) as f64;
            share
        }
        _ => 1.0,
    }
}

/// Ticks of idleness, and all, since the start.
fn times(stat: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(stat).ok()?;
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
}
