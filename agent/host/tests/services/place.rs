//! A folder of records, its supervisor, and waiting for what must come.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stoker_host::services::{
    Identity, Observed, Phase, Restart, RestartOn, ServiceSpec, ShimSupervisor, Stop, Supervisor as _, marked,
};

/// The program under test.
pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_stoker-shim");
/// How long anything may take; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A supervisor over a folder of its own, which leaves no process behind.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) supervisor: ShimSupervisor,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = ShimSupervisor::new(&dir.path().join("services"), Path::new(SHIM)).unwrap();
        Self { dir, supervisor }
    }

    /// The agent's restart: the old supervisor goes without a word, a new one comes.
    pub(crate) fn reopen(mut self) -> Self {
        self.supervisor = ShimSupervisor::new(&self.supervisor_dir(), Path::new(SHIM)).unwrap();
        self
    }

    pub(crate) fn supervisor_dir(&self) -> PathBuf {
        self.dir.path().join("services").canonicalize().unwrap()
    }

    pub(crate) fn record(&self, name: &str) -> PathBuf {
        self.supervisor_dir().join(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn start(&self, spec: &ServiceSpec) {
        self.supervisor.start(spec).await.unwrap();
    }

    pub(crate) async fn see(&self, name: &str) -> Observed {
        self.supervisor.observe(name).await.unwrap()
    }

    /// Waits until what is observed is as wanted.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Observed) -> bool) -> Observed {
        let end = Instant::now() + PATIENCE;
        loop {
            let observed = self.see(name).await;
            if wanted(&observed) {
                return observed;
            }
            assert!(Instant::now() < end, "still {observed:?}, log: {}", self.log(name));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until_phase(&self, name: &str, phase: Phase) -> Observed {
        self.until(name, |observed| observed.phase == phase).await
    }

    pub(crate) async fn until_log(&self, name: &str, text: &str) {
        eventually(|| self.log(name).contains(text)).await;
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.record(name).join("log")).unwrap_or_default()
    }

    /// All processes that were started for the service.
    pub(crate) fn processes(&self, name: &str) -> Vec<Identity> {
        marked(name, &self.record(name))
    }

    /// The keeper, as its state has it.
    pub(crate) fn keeper(&self, name: &str) -> u32 {
        let text = std::fs::read(self.record(name).join("state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&text).unwrap();
        state["shim_pid"].as_u64().unwrap() as u32
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A failed test leaves nothing running: keepers first, then what they kept.
        for entry in std::fs::read_dir(self.supervisor_dir()).into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let state = std::fs::read(entry.path().join("state.json")).ok();
            let state = state.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
            if let Some(state) = state {
                let pid = state["shim_pid"].as_u64().unwrap_or(0) as u32;
                let start_ticks = state["shim_start_ticks"].as_u64().unwrap_or(0);
                let keeper = Identity { pid, start_ticks };
                if keeper.is_alive() {
                    kill(pid, "KILL");
                }
            }
            for process in self.processes(&name) {
                kill(process.pid, "KILL");
            }
        }
    }
}

/// A service that runs a shell script, killed soon and not started again.
pub(crate) fn sh(name: &str, script: &str) -> ServiceSpec {
    let command = vec!["/bin/sh".into(), "-c".into(), script.into()];
    let mut spec = ServiceSpec::new(name, format!("digest of {script}"), command);
    spec.env.insert("PATH".into(), "/usr/bin:/bin".into());
    spec.stop = Stop { signal: "TERM".into(), grace: Duration::from_secs(10) };
    spec.restart = Restart { on: RestartOn::Never, backoff: vec![] };
    spec
}

pub(crate) fn is_root() -> bool {
    stoker_host::users::can_switch()
}

pub(crate) fn kill(pid: u32, signal: &str) {
    use nix::sys::signal::{Signal, kill};
    let signal: Signal = format!("SIG{signal}").parse().unwrap();
    let _ = kill(nix::unistd::Pid::from_raw(pid as i32), signal);
}

/// Waits until it is so.
pub(crate) async fn eventually(mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
