//! A service's unit file: written from its spec, and read back for whose it is.
//!
//! Owns every line of it. Pure: the same spec gives the same text on the same host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::quote;
use crate::services::record::{ENV_RECORD, ENV_SERVICE};
use crate::services::spec::{RestartOn, ServiceSpec};

/// The newest format of our own section that this code reads.
const FORMAT: u32 = 1;
/// Who stops before whom when the host goes down: services end with the agent no longer looking.
const AGENT: &str = "stoker.service";
/// How long the steps of a stop get at least: the last one writes how the service ended.
const LEAST_GRACE: Duration = Duration::from_secs(5);
/// From this version on systemd lengthens the waits between restarts by itself.
const HAS_STEPS: u32 = 254;
/// Where it does not: so many starts within this long, and the agent goes on with the longest wait.
const BURST: (u32, Duration) = (5, Duration::from_mins(10));

/// What a unit file says besides its spec.
pub(super) struct Around<'a> {
    /// The folder of the service's record.
    pub record: &'a Path,
    /// The program `stoker-shim`.
    pub shim: &'a Path,
    /// systemd's version.
    pub version: u32,
}

/// What our own section of a unit file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    /// The digest of the spec.
    pub digest: String,
    /// It runs once and is not started at boot.
    pub oneshot: bool,
    /// Where the record is: tells agents of one host apart.
    pub record: PathBuf,
    /// Whose it is.
    pub mark: BTreeMap<String, String>,
}

/// The unit file, or why systemd cannot run the service.
pub(super) fn render(spec: &ServiceSpec, around: &Around<'_>) -> Result<String, String> {
    spec.check()?;
    let mut to = Lines::default();
    let oneshot = spec.oneshot.is_some();
    let mark = |key: &str| spec.mark.get(key).map_or("", String::as_str);
    to.comment("Made by stoker, which replaces and removes it. Settings of your own: systemctl edit.");
    to.section("Unit");
    let what = if oneshot { mark("task") } else { mark("service") };
    to.set("Description", quote::prose(&format!("stoker: {} {what}", mark("unit"))));
    to.set("After", "network-online.target remote-fs.target nss-user-lookup.target");
    to.set("Wants", "network-online.target");
    to.set("Before", AGENT);
    let mounts: BTreeSet<&PathBuf> = spec.write.iter().chain(&spec.deny_write).chain(&spec.cwd).collect();
    to.set("RequiresMountsFor", quote::words(paths(mounts)?));
    if oneshot {
        // What it came to is written down: systemd need not remember it, nor call the host degraded for it.
        to.set("CollectMode", "inactive-or-failed");
    }
    let restarts = !oneshot && spec.restart.on != RestartOn::Never;
    if restarts && around.version < HAS_STEPS {
        to.set("StartLimitIntervalSec", seconds(BURST.1));
        to.set("StartLimitBurst", BURST.0);
    } else {
        to.set("StartLimitIntervalSec", "0");
    }
    to.section("Service");
    to.set("Type", "exec");
    to.set("Slice", "stoker.slice");
    command(&mut to, spec, around)?;
    environment(&mut to, spec, around)?;
    output(&mut to, spec, around)?;
    ending(&mut to, spec, around, restarts)?;
    limits(&mut to, spec);
    sandbox(&mut to, spec)?;
    if !oneshot {
        to.section("Install");
        to.set("WantedBy", "multi-user.target");
    }
    to.section("X-Stoker");
    to.set("Format", FORMAT);
    to.set("OneShot", yes(oneshot));
    // JSON escapes what would end a line.
    to.set("Digest", json(&spec.digest)?);
    to.set("Record", json(&around.record)?);
    to.set("Mark", json(&spec.mark)?);
    Ok(to.0)
}

/// What a unit file says of itself; `None` where it is not one of ours, or of a newer stoker.
pub(super) fn read(text: &str) -> Option<Own> {
    let section = text.split_once("\n[X-Stoker]\n")?.1;
    let set: BTreeMap<&str, &str> = section.lines().filter_map(|line| line.split_once('=')).collect();
    if set.get("Format")?.parse::<u32>().ok()? > FORMAT {
        return None;
    }
    Some(Own {
        digest: serde_json::from_str(set.get("Digest")?).ok()?,
        oneshot: set.get("OneShot") == Some(&"yes"),
        record: serde_json::from_str(set.get("Record")?).ok()?,
        mark: serde_json::from_str(set.get("Mark")?).ok()?,
    })
}

fn command(to: &mut Lines, spec: &ServiceSpec, around: &Around<'_>) -> Result<(), String> {
    if let Some(user) = &spec.user {
        to.set("User", quote::rest_of_line(user).ok_or("has a user that systemd cannot name")?);
    }
    let cwd = spec.cwd.clone().unwrap_or_else(|| "/".into());
    to.set("WorkingDirectory", line("its folder", &cwd)?);
    let mut words = Vec::new();
    if spec.oneshot.is_some() {
        // Its stdout goes to a file as well as to the log; systemd cannot do both.
        words.extend([text(around.shim)?.to_owned(), "capture".into(), "--".into()]);
        words.extend(spec.command.iter().cloned());
    } else {
        words.push(program(spec, &cwd));
        words.extend(spec.command.iter().skip(1).cloned());
    }
    // The colon: no variables are put in. It belongs inside the quotes.
    words[0].insert(0, ':');
    to.set("ExecStart", quote::words(words.iter().map(String::as_str)));
    Ok(())
}

/// The program as systemd wants it: an absolute path, found in the service's own `PATH`.
fn program(spec: &ServiceSpec, cwd: &Path) -> String {
    let name = &spec.command[0];
    if name.contains('/') {
        return cwd.join(name).display().to_string();
    }
    let path = spec.env.get("PATH").map_or("", String::as_str);
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
    found.map_or_else(|| name.clone(), |file| file.display().to_string())
}

fn environment(to: &mut Lines, spec: &ServiceSpec, around: &Around<'_>) -> Result<(), String> {
    let all = || spec.env.iter().chain(&spec.secret_env);
    if let Some((name, _)) = all().find(|(name, _)| !quote::is_name(name)) {
        return Err(format!("has the environment variable `{}`, which systemd drops", name.escape_debug()));
    }
    to.set("Environment", quote::word(&format!("{ENV_SERVICE}={}", spec.name)));
    to.set("Environment", quote::word(&format!("{ENV_RECORD}={}", text(around.record)?)));
    for (name, value) in &spec.env {
        to.set("Environment", quote::word(&format!("{name}={value}")));
    }
    if !spec.secret_env.is_empty() {
        to.set("EnvironmentFile", line("the folder of its record", &around.record.join("env"))?);
    }
    // What systemd adds is none of the service's environment, which is the same under every supervisor.
    let added = [
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "SYSTEMD_EXEC_PID",
        "PATH",
        "LANG",
    ]
    .into_iter()
    .filter(|name| !all().any(|(known, _)| known == name));
    to.set("UnsetEnvironment", added.collect::<Vec<_>>().join(" "));
    Ok(())
}

/// The text of the file that secrets are handed over in, readable by root alone.
pub(super) fn secrets(spec: &ServiceSpec) -> String {
    spec.secret_env.iter().map(|(name, value)| quote::assignment(name, value)).collect()
}

fn output(to: &mut Lines, spec: &ServiceSpec, around: &Around<'_>) -> Result<(), String> {
    if spec.oneshot.is_some() {
        let file = line("the folder of its record", &around.record.join("stdout"))?;
        // Not truncated by systemd: the last step would open it once more. A start removes it.
        to.set("StandardOutput", format!("file:{file}"));
        // What it said is its result: nothing may be missing.
        to.set("LogRateLimitIntervalSec", "0");
    } else {
        to.set("StandardOutput", "journal");
    }
    to.set("StandardError", "journal");
    to.set("SyslogIdentifier", &spec.name);
    let fields = spec.mark.iter().filter(|(key, _)| quote::is_name(key) && *key != "dir");
    let fields: Vec<String> =
        fields.map(|(key, value)| format!("STOKER_{}={value}", key.to_ascii_uppercase())).collect();
    to.set("LogExtraFields", quote::words(fields.iter().map(String::as_str)));
    Ok(())
}

fn ending(to: &mut Lines, spec: &ServiceSpec, around: &Around<'_>, restarts: bool) -> Result<(), String> {
    let number = spec.stop.number().unwrap_or(Signal::SIGTERM as i32);
    to.set("KillMode", "control-group");
    to.set("KillSignal", number);
    to.set("TimeoutStopSec", seconds(spec.stop.grace.max(LEAST_GRACE)));
    if let Some(oneshot) = &spec.oneshot {
        to.set("RuntimeMaxSec", seconds(oneshot.timeout.max(Duration::from_millis(1))));
    }
    let mut success = Vec::new();
    for code in spec.success.iter().filter(|code| (0..=255).contains(*code)) {
        success.push(code.to_string());
        success.extend(
            code.checked_sub(128).and_then(|n| Signal::try_from(n).ok()).map(|s| s.as_str().to_owned()),
        );
    }
    to.set("SuccessExitStatus", success.join(" "));
    to.set(
        "Restart",
        match (restarts, spec.restart.on) {
            (true, RestartOn::Always) => "always",
            (true, _) => "on-failure",
            (false, _) => "no",
        },
    );
    if restarts {
        to.set("RestartSec", seconds(spec.restart.delay(0)));
        let last = spec.restart.delay(u32::MAX);
        if around.version >= HAS_STEPS && last > spec.restart.delay(0) {
            to.set("RestartSteps", "6");
            to.set("RestartMaxDelaySec", seconds(last));
        }
        // systemd takes death by these for a good end; the spec may not.
        let clean = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE];
        let bad = clean.into_iter().filter(|signal| !spec.success.contains(&(128 + *signal as i32)));
        to.set("RestartForceExitStatus", bad.map(Signal::as_str).collect::<Vec<_>>().join(" "));
    }
    // Written before the unit counts as ended, whether or not there is an agent: `+` is as root, `-` must not fail it.
    let words = [format!("-+{}", text(around.shim)?), "ended".to_owned(), text(around.record)?.to_owned()];
    to.set("ExecStopPost", quote::words(words.iter().map(String::as_str)));
    Ok(())
}

fn limits(to: &mut Lines, spec: &ServiceSpec) {
    // One child that runs out of memory dies alone; where it is the main process, that ends the service anyway.
    to.set("OOMPolicy", "continue");
    if spec.limits.memory > 0 {
        to.set("MemoryMax", spec.limits.memory);
    }
    if spec.limits.cores > 0 {
        to.set("CPUQuota", format!("{}%", spec.limits.cores.saturating_mul(100)));
    }
    match spec.limits.nofile {
        0 => to.set("LimitNOFILE", "65536:524288"),
        files => to.set("LimitNOFILE", files),
    }
    to.set("TasksMax", "infinity");
}

/// What a service may see and do. All of them run code of others, so what a JIT, child processes, shared memory,
/// local sockets and unpacked libraries need is left open.
fn sandbox(to: &mut Lines, spec: &ServiceSpec) -> Result<(), String> {
    let near = |folder: &str| mentions(spec, folder);
    to.set("UMask", "0027");
    to.set("IgnoreSIGPIPE", "no");
    to.set("NoNewPrivileges", "yes");
    to.set("ProtectSystem", "strict");
    if !spec.write.is_empty() {
        to.set("ReadWritePaths", quote::words(paths(&spec.write)?));
    }
    to.set("ProtectHome", if near("/home/") || near("/root/") { "read-only" } else { "yes" });
    to.set("PrivateTmp", yes(!near("/tmp/") && !near("/var/tmp/")));
    for setting in [
        "PrivateDevices",
        "PrivateMounts",
        "ProtectClock",
        "ProtectControlGroups",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "RestrictNamespaces",
        "RestrictRealtime",
        "RestrictSUIDSGID",
        "LockPersonality",
        "RemoveIPC",
    ] {
        to.set(setting, "yes");
    }
    to.set("ProtectProc", "invisible");
    to.set("KeyringMode", "private");
    to.set("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK");
    to.set("CapabilityBoundingSet", "");
    to.set("AmbientCapabilities", "");
    to.set("SystemCallArchitectures", "native");
    to.set("SystemCallFilter", "@system-service");
    to.set("SystemCallFilter", "~@privileged");
    to.set("SystemCallErrorNumber", "EPERM");
    Ok(())
}

/// Whether the service is told of something in a folder, which must then not be hidden from it.
fn mentions(spec: &ServiceSpec, folder: &str) -> bool {
    let paths = spec.write.iter().chain(&spec.deny_write).chain(&spec.cwd).filter_map(|path| path.to_str());
    let texts = spec.command.iter().chain(spec.env.values()).map(String::as_str);
    let begins = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "_-./".contains(c));
    paths.chain(texts).any(|text| text.match_indices(folder).any(|(at, _)| begins(&text[..at])))
}

fn paths<'a>(all: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<&'a str>, String> {
    all.into_iter().map(|path| text(path)).collect()
}

fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("has the path `{}`, which is no UTF-8", path.display()))
}

fn line(what: &str, path: &Path) -> Result<String, String> {
    quote::rest_of_line(text(path)?).ok_or_else(|| {
        format!("has `{}` as {what}, which systemd cannot name", path.display().to_string().escape_debug())
    })
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string(value).map_err(|error| format!("cannot be written down: {error}"))
}

fn seconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn section(&mut self, name: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "\n[{name}]\n");
    }

    fn comment(&mut self, text: &str) {
        let _ = writeln!(self.0, "# {text}");
    }

    fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{key}={value}");
    }
}

#[cfg(test)]
#[path = "unit_tests.rs"]
mod tests;
