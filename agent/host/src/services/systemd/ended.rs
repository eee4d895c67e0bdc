//! How a service last ended: `ended.json` in its record, written by `stoker-shim ended` as the unit's last step.
//!
//! Owns the document and what systemd's words in it mean. systemd itself forgets how a unit ended; this does not.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::held;
use crate::services::boot_id;
use crate::services::record::Exit;
use crate::services::spec::ServiceSpec;

/// The newest format that this code reads.
const FORMAT: u32 = 1;
/// Its name in the record.
const NAME: &str = "ended.json";

/// How a service ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    format: u32,
    /// The digest of the spec it ran with.
    pub digest: String,
    /// systemd's id of the run.
    pub invocation: String,
    /// The boot that it ended in.
    pub boot_id: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How.
    pub exit: Exit,
    /// It was ended by a stop that systemd was asked for, not by itself.
    #[serde(default)]
    pub stopped: bool,
}

impl Ended {
    /// From the variables that systemd gives to a unit's last step; `invocation` is systemd's id of the run.
    pub fn new(
        spec: &ServiceSpec,
        env: &BTreeMap<String, String>,
        invocation: String,
        at_ms: u64,
        out_of_memory: bool,
    ) -> Self {
        let get = |name: &str| env.get(name).map_or("", String::as_str);
        let (how, status, result) = (get("EXIT_CODE"), get("EXIT_STATUS"), get("SERVICE_RESULT"));
        let mut exit = Exit::default();
        if how == "exited" {
            exit.code = status.parse().ok();
        } else {
            exit.signal = format!("SIG{status}").parse::<Signal>().ok().map(|signal| signal as i32);
            exit.signal = exit.signal.or(status.parse().ok());
        }
        let killed = exit.signal == Some(Signal::SIGKILL as i32);
        exit.deadline = result == "timeout" && spec.oneshot.is_some();
        exit.out_of_memory = result == "oom-kill" || (killed && result != "timeout" && out_of_memory);
        exit.success = !exit.deadline && spec.success.contains(&exit.as_code());
        // systemd finds death by its own signal good; what died so for any other reason is told apart by the spec.
        let stopped = result == "success" && !exit.success;
        Self {
            format: FORMAT,
            digest: spec.digest.clone(),
            invocation,
            boot_id: boot_id().unwrap_or_default(),
            at_ms,
            exit,
            stopped,
        }
    }

    /// Reads it from a record; `None` where there is none, or none that can be read: it is lost then.
    pub(super) fn read(record: &Path) -> Option<Self> {
        let ended: Self = serde_json::from_slice(&std::fs::read(record.join(NAME)).ok()?).ok()?;
        (ended.format <= FORMAT).then_some(ended)
    }

    /// Writes it into a record, so that it survives a power cut.
    pub fn write(&self, record: &Path) -> io::Result<()> {
        crate::fs::atomic_write(&record.join(NAME), &serde_json::to_vec(self)?, 0o600, None)
    }

    /// Removes it from a record: another run begins.
    pub(super) fn remove(record: &Path) -> io::Result<()> {
        match std::fs::remove_file(record.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// systemd's id of the service's run, while its unit is in memory.
pub fn invocation_of(service: &str) -> String {
    let link = Path::new("/run/systemd/units").join(format!("invocation:{service}.service"));
    std::fs::read_link(link).ok().and_then(|id| id.into_os_string().into_string().ok()).unwrap_or_default()
}

/// How often the kernel killed a process of the control group that this process is in for want of memory. `None`
/// where nobody counts.
pub fn oom_kills_of_own_group() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        matches!(controllers, "" | "memory")
            .then(|| held::memory_events(path))
            .flatten()
            .map(|events| held::killed_for_memory(&events))
    })
}

/// What the exit codes mean that systemd itself uses where it cannot begin a command.
pub(super) fn in_words(code: i32) -> Option<&'static str> {
    Some(match code {
        200 => "cannot enter its folder",
        203 => "cannot run its program: it is not there, or not executable",
        209 | 222 => "cannot open the files of its output",
        216 | 217 => "cannot become its user",
        219 => "cannot enter its control group",
        226 => "cannot set up what it may see: a folder that it may write is missing",
        228 => "cannot set up what it may call",
        243 => "cannot read its credentials",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::services::spec::OneShot;

    fn ended(oneshot: bool, said: [&str; 3]) -> Ended {
        let mut spec = ServiceSpec::new("a", "d", vec!["true".into()]);
        if oneshot {
            spec.oneshot = Some(OneShot { timeout: Duration::from_secs(1) });
            spec.success = vec![0];
        }
        let names = ["SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"];
        let env =
            names.iter().zip(said).map(|(name, value)| ((*name).to_owned(), value.to_owned())).collect();
        Ended::new(&spec, &env, "i".into(), 1, true)
    }

    #[test]
    fn systemd_s_words_become_exits() {
        let exit = |oneshot, said| ended(oneshot, said).exit;
        assert_eq!(
            exit(false, ["success", "exited", "0"]),
            Exit { code: Some(0), success: true, ..Exit::default() }
        );
        assert_eq!(exit(true, ["exit-code", "exited", "75"]), Exit { code: Some(75), ..Exit::default() });
        let term = exit(false, ["success", "killed", "TERM"]);
        assert_eq!((term.signal, term.success), (Some(15), true));
        let oom = exit(false, ["signal", "killed", "KILL"]);
        assert!(oom.out_of_memory && oom.signal == Some(9) && !oom.success);
        let late = exit(true, ["timeout", "killed", "KILL"]);
        assert!(late.deadline && !late.out_of_memory && !late.success);
        // A service that does not end in its grace is no task that runs out of time.
        assert!(!exit(false, ["timeout", "killed", "KILL"]).deadline);
        assert_eq!(exit(false, ["resources", "", ""]), Exit::default());
    }

    #[test]
    fn a_task_that_was_stopped_did_not_fail() {
        assert!(ended(true, ["success", "killed", "TERM"]).stopped);
        assert!(!ended(true, ["success", "exited", "0"]).stopped);
        assert!(!ended(true, ["exit-code", "exited", "1"]).stopped);
        assert!(!ended(false, ["success", "killed", "TERM"]).stopped, "143 is one of its good ends");
    }

    #[test]
    fn written_is_read_until_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Ended::read(dir.path()), None);
        let ended = ended(true, ["success", "exited", "0"]);
        ended.write(dir.path()).unwrap();
        assert_eq!(Ended::read(dir.path()), Some(ended));
        std::fs::write(dir.path().join(NAME), "{").unwrap();
        assert_eq!(Ended::read(dir.path()), None);
        Ended::remove(dir.path()).unwrap();
        Ended::remove(dir.path()).unwrap();
    }
}
