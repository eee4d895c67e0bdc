//! The record of one service on disk: `spec.json`, `state.json`, `log`, `stdout` and `lock` in a folder of its name.
//!
//! Owns these files' names, formats and how they are written. The keeper writes `state.json`, the agent `spec.json`;
//! neither writes the other's.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::spec::ServiceSpec;

/// The newest format of `spec.json` and `state.json` this code reads; a newer one is refused.
pub const FORMAT: u32 = 1;
/// Exit status of a keeper that found another one holding the lock.
pub const EXIT_LOCKED: u8 = 75;
/// Exit status of a keeper whose ticket is no longer the record's.
pub const EXIT_OUTRUN: u8 = 76;
/// Environment variable that every process of a service carries: its name.
pub const ENV_SERVICE: &str = "STOKER_SERVICE";
/// Environment variable that every process of a service carries: the folder of its record.
pub const ENV_RECORD: &str = "STOKER_SERVICE_RECORD";
/// The socket beside the records that keepers tell their changes to.
pub const NOTIFY: &str = "agent.notify";

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nobody knows it.
    Absent,
    /// Its keeper is up, its command is not yet.
    Starting,
    /// Its command runs.
    Running,
    /// It ended and will be started again.
    Backoff,
    /// It was stopped on request, or the host went down under it.
    Stopped,
    /// It ended badly, or its keeper was lost, and nobody starts it again.
    Failed,
    /// It ended well and nobody starts it again.
    Exited,
}

impl Phase {
    /// Whether nothing happens any more by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Absent | Self::Stopped | Self::Failed | Self::Exited)
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// It was ended since its time was over.
    #[serde(default)]
    pub deadline: bool,
    /// It was killed while the host killed processes for want of memory: likely this one.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Whether the spec counts this as success.
    #[serde(default)]
    pub success: bool,
}

impl Exit {
    /// The code that success is judged by: 128 + N for death by signal N.
    pub fn as_code(&self) -> i32 {
        self.code.or(self.signal.map(|n| 128 + n)).unwrap_or(-1)
    }
}

/// `state.json`: what the keeper last knew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// See [`FORMAT`].
    pub format: u32,
    /// The digest of the spec that the keeper has.
    pub digest: String,
    /// The boot during which this was written; a PID of another boot means nothing.
    pub boot_id: String,
    /// The keeper.
    pub shim_pid: u32,
    /// When the keeper started, in clock ticks since boot.
    pub shim_start_ticks: u64,
    /// The main process.
    pub pid: Option<u32>,
    /// When the main process started, in clock ticks since boot.
    pub start_ticks: Option<u64>,
    /// When the main process started, in milliseconds since 1970.
    pub started: Option<u64>,
    /// How often it was started again.
    pub restarts: u32,
    /// What it does.
    pub phase: Phase,
    /// How it last ended.
    pub exit: Option<Exit>,
    /// What was asked for and does not hold here.
    pub unenforced: Vec<String>,
    /// Where in `log` its newest run begins, in bytes.
    pub log_from: u64,
    /// Why it cannot run, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `spec.json`: the spec with its format.
#[derive(Serialize, Deserialize)]
struct Kept<S> {
    format: u32,
    spec: S,
}

/// The folder of one service's record.
#[derive(Debug, Clone)]
pub struct Record {
    dir: PathBuf,
}

impl Record {
    /// The record in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The keeper's lock.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The current log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// A task's captured stdout.
    pub fn stdout(&self) -> PathBuf {
        self.dir.join("stdout")
    }

    /// Where the spec is.
    pub fn spec_path(&self) -> PathBuf {
        self.dir.join("spec.json")
    }

    /// Where the state is.
    pub fn state_path(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Where the ticket of the keeper that may begin is.
    pub fn ticket_path(&self) -> PathBuf {
        self.dir.join("ticket")
    }

    /// The ticket of the keeper that may begin; `None` where none may.
    pub fn ticket(&self) -> io::Result<Option<String>> {
        Ok(read(&self.ticket_path())?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Lets the keeper with this ticket begin, and no other.
    pub fn write_ticket(&self, ticket: &str) -> io::Result<()> {
        write_atomic(&self.ticket_path(), ticket.as_bytes(), false)
    }

    /// Lets no keeper begin.
    pub fn remove_ticket(&self) -> io::Result<()> {
        match std::fs::remove_file(self.ticket_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The spec, or `None` where there is none.
    pub fn spec(&self) -> io::Result<Option<ServiceSpec>> {
        let Some(bytes) = read(&self.spec_path())? else { return Ok(None) };
        let kept: Kept<ServiceSpec> = serde_json::from_slice(&bytes)?;
        known(kept.format)?;
        Ok(Some(kept.spec))
    }

    /// Writes the spec, readable by its owner only, so that it survives a power cut.
    pub fn write_spec(&self, spec: &ServiceSpec) -> io::Result<()> {
        write_atomic(&self.spec_path(), &serde_json::to_vec(&Kept { format: FORMAT, spec })?, true)
    }

    /// The state, or `None` where there is none. A state that cannot be read is an error: it may hide a process.
    pub fn state(&self) -> io::Result<Option<State>> {
        let Some(bytes) = read(&self.state_path())? else { return Ok(None) };
        let state: State = serde_json::from_slice(&bytes)?;
        known(state.format)?;
        Ok(Some(state))
    }

    /// Writes the state; final ones so that they survive a power cut, others only a crash of the keeper.
    pub fn write_state(&self, state: &State) -> io::Result<()> {
        write_atomic(&self.state_path(), &serde_json::to_vec(state)?, state.phase.is_final())
    }
}

fn known(format: u32) -> io::Result<()> {
    if format > FORMAT {
        let text = format!("its format {format} is newer than {FORMAT}, the newest known here");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces `path` by a file of mode 0600 with `bytes`: whole or not at all; `durable`, also after a power cut.
fn write_atomic(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = path.with_extension("new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(nofollow())
        .open(&new)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&new, path)?;
    if let (true, Some(dir)) = (durable, path.parent()) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

fn nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            format: FORMAT,
            digest: "d".into(),
            boot_id: "b".into(),
            shim_pid: 1,
            shim_start_ticks: 2,
            pid: Some(3),
            start_ticks: Some(4),
            started: Some(5),
            restarts: 0,
            phase: Phase::Running,
            exit: None,
            unenforced: vec![],
            log_from: 0,
            reason: None,
        }
    }

    #[test]
    fn written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::new(dir.path());
        assert!(record.state().unwrap().is_none() && record.spec().unwrap().is_none());
        record.write_state(&state()).unwrap();
        assert_eq!(record.state().unwrap(), Some(state()));
        let spec = ServiceSpec::new("a", "d", vec!["true".into()]);
        record.write_spec(&spec).unwrap();
        assert_eq!(record.spec().unwrap(), Some(spec));
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(std::fs::metadata(record.spec_path()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn damaged_and_newer_files_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::new(dir.path());
        for bad in ["", "{", "\0\0\0", "{}"] {
            std::fs::write(record.state_path(), bad).unwrap();
            assert!(record.state().is_err(), "{bad:?}");
        }
        record.write_state(&State { format: FORMAT + 1, ..state() }).unwrap();
        assert!(record.state().unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn signals_count_as_codes() {
        assert_eq!(Exit { signal: Some(15), ..Exit::default() }.as_code(), 143);
        assert_eq!(Exit { code: Some(3), ..Exit::default() }.as_code(), 3);
    }
}
