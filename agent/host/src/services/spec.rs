//! What a service is asked to be: the document a supervisor is handed and keeps as `spec.json`.
//!
//! Owns its spelling and its defaults. It must not start anything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One service (or, with `oneshot`, one task), fully resolved.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// `stoker-<model>-<app>-<n>-<service>`; also the name of its folder.
    pub name: String,
    /// What makes two specs the same service: equal digests are never restarted.
    pub digest: String,
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// The environment, whole.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// More environment, of resolved secrets: never logged, never shown.
    #[serde(default)]
    pub secret_env: BTreeMap<String, String>,
    /// The user to run as; `None` is the agent's own.
    #[serde(default)]
    pub user: Option<String>,
    /// Where it runs; `None` is `/`.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// How it is stopped.
    #[serde(default)]
    pub stop: Stop,
    /// Exit codes that are no failure; death by signal N counts as 128 + N.
    #[serde(default = "default_success")]
    pub success: Vec<i32>,
    /// What happens when it ends by itself.
    #[serde(default)]
    pub restart: Restart,
    /// What it may use; 0 is no limit.
    #[serde(default)]
    pub limits: Limits,
    /// Folders below which it may write nothing, even as root.
    #[serde(default)]
    pub deny_write: Vec<PathBuf>,
    /// Folders that it may write. A supervisor that can leaves it nothing else to write; the others leave it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<PathBuf>,
    /// Set for a task: run once, with a deadline, its stdout captured.
    #[serde(default)]
    pub oneshot: Option<OneShot>,
    /// Whose it is: model, app, unit, service, release, dir.
    #[serde(default)]
    pub mark: BTreeMap<String, String>,
}

/// How a service is asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// A signal's name, with or without `SIG`.
    pub signal: String,
    /// How long it has before it is killed.
    #[serde(rename = "grace_ms", with = "millis")]
    pub grace: Duration,
}

/// What happens when a service ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// On which endings it is started again.
    pub on: RestartOn,
    /// Delays before the next start. The listed ones come in order; from the last but one they double up to the last.
    #[serde(rename = "backoff_ms", with = "millis_list")]
    pub backoff: Vec<Duration>,
}

/// On which endings a service is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartOn {
    /// On an exit code that is no success.
    Failure,
    /// On any.
    Always,
    /// On none.
    Never,
}

/// What a service may use; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Processor cores.
    pub cores: u64,
    /// Open files of one process.
    pub nofile: u64,
}

/// A run that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneShot {
    /// When it is killed.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: "TERM".into(), grace: Duration::from_mins(1) }
    }
}

impl Stop {
    /// The signal's number.
    pub fn number(&self) -> Option<i32> {
        let name = self.signal.trim().to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self { on: RestartOn::Failure, backoff: vec![Duration::from_secs(1), Duration::from_mins(1)] }
    }
}

impl Restart {
    /// The delay before the start that follows `failures` endings in a row (0 = the first).
    pub fn delay(&self, failures: u32) -> Duration {
        let list = &self.backoff;
        let Some(last) = list.last().copied() else { return Duration::from_secs(1) };
        let index = failures as usize;
        if index + 1 < list.len() {
            return list[index];
        }
        let Some(base) = list.len().checked_sub(2) else { return last };
        let doublings = u32::try_from(index - base).unwrap_or(31).min(31);
        list[base].saturating_mul(1 << doublings).min(last)
    }
}

impl ServiceSpec {
    /// A service with defaults for all but its name, digest and command.
    pub fn new(name: impl Into<String>, digest: impl Into<String>, command: Vec<String>) -> Self {
        Self {
            name: name.into(),
            digest: digest.into(),
            command,
            env: BTreeMap::new(),
            secret_env: BTreeMap::new(),
            user: None,
            cwd: None,
            stop: Stop::default(),
            success: default_success(),
            restart: Restart::default(),
            limits: Limits::default(),
            deny_write: Vec::new(),
            write: Vec::new(),
            oneshot: None,
            mark: BTreeMap::new(),
        }
    }

    /// What is wrong with the spec, if anything.
    pub fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        match self.command.first() {
            None => return Err("has no command".into()),
            Some(program) if program.is_empty() => return Err("has an empty program".into()),
            Some(_) => {}
        }
        for (key, value) in self.env.iter().chain(&self.secret_env) {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!("environment variable `{}` cannot be passed on", key.escape_debug()));
            }
        }
        if self.stop.number().is_none() {
            return Err(format!("is stopped by `{}`, which is no signal", self.stop.signal.escape_debug()));
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            return Err("a word of its command holds a NUL".into());
        }
        Ok(())
    }
}

/// Whether `name` can name a service and its folder.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(fits) {
        return Err(format!("`{}` is no name of a service", name.escape_debug()));
    }
    Ok(())
}

/// Shows all but the secrets' values.
impl std::fmt::Debug for ServiceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSpec")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .field("command", &self.command)
            .field("env", &self.env)
            .field("secret_env", &self.secret_env.keys())
            .field("user", &self.user)
            .field("oneshot", &self.oneshot)
            .finish_non_exhaustive()
    }
}

fn default_success() -> Vec<i32> {
    vec![0, 143]
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

mod millis_list {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &[Duration], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(value.iter().map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Duration>, D::Error> {
        Ok(Vec::<u64>::deserialize(from)?.into_iter().map(Duration::from_millis).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restart(list: &[u64]) -> Restart {
        Restart { on: RestartOn::Failure, backoff: list.iter().map(|s| Duration::from_secs(*s)).collect() }
    }

    #[test]
    fn backoff_grows_to_the_last() {
        let secs = |r: &Restart| (0..8).map(|n| r.delay(n).as_secs()).collect::<Vec<_>>();
        assert_eq!(secs(&restart(&[1, 60])), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(secs(&restart(&[1, 5, 30])), [1, 5, 10, 20, 30, 30, 30, 30]);
        assert_eq!(secs(&restart(&[3])), [3; 8]);
        assert_eq!(secs(&restart(&[])), [1; 8]);
        assert_eq!(restart(&[1, 60]).delay(u32::MAX).as_secs(), 60);
    }

    #[test]
    fn signals_have_numbers() {
        let stop = |signal: &str| Stop { signal: signal.into(), ..Stop::default() }.number();
        assert_eq!((stop("TERM"), stop("sigint"), stop("QUIT")), (Some(15), Some(2), Some(3)));
        assert_eq!((stop(""), stop("SIG"), stop("15"), stop("TERMINATE")), (None, None, None, None));
    }

    #[test]
    fn names_stay_inside_their_folder() {
        for bad in ["", ".", "..", "a/b", ".hidden", "a\0", "é", &"x".repeat(201)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("stoker-default-app-0-worker.g2").is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut spec = ServiceSpec::new("a", "d", vec!["true".into()]);
        spec.secret_env.insert("TOKEN".into(), "hunter2".into());
        let shown = format!("{spec:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"));
        let back: ServiceSpec = serde_json::from_slice(&serde_json::to_vec(&spec).unwrap()).unwrap();
        assert_eq!(back, spec);
    }
}
