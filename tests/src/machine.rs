//! Processes as the kernel shows them: who runs below an agent's folder, since when, with what words. Owns reading
//! `/proc`, and the stranger on a port; asks nothing of the agent.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// A process, told from a later one of the same number by its start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Clock ticks from boot to its start.
    pub start: u64,
    /// The service that it is part of, as the supervisor names it: `stoker-MODEL-APP-N-SERVICE`.
    pub service: String,
}

/// All processes of services and tasks whose records are below `dir`, the keepers left out: by service, the one
/// that was started first.
pub fn processes_below(dir: &Path) -> BTreeMap<String, Process> {
    let mut found: BTreeMap<String, Process> = BTreeMap::new();
    let wanted = format!("{}/", dir.display());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environment = environment(pid);
        if !environment.get("STOKER_SERVICE_RECORD").is_some_and(|record| record.starts_with(&wanted)) {
            continue;
        }
        let (Some(service), Some(start)) = (environment.get("STOKER_SERVICE"), start_of(pid)) else {
            continue;
        };
        let process = Process { pid, start, service: service.clone() };
        let first = found.entry(service.clone()).or_insert_with(|| process.clone());
        if (process.start, process.pid) < (first.start, first.pid) {
            *first = process;
        }
    }
    found
}

/// Every process that has something of `dir` in its command line or environment.
pub(crate) fn touching(dir: &Path) -> Vec<u32> {
    let wanted = format!("{}/", dir.display());
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let has = |file: &str| String::from_utf8_lossy(&read(pid, file)).contains(&wanted);
        if pid != own && (has("cmdline") || has("environ")) {
            found.push(pid);
        }
    }
    found
}

/// Whether a process of this number runs (one that has ended and is not collected does not).
pub fn alive(pid: u32) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z')
}

/// A process's environment; empty where it cannot be read.
pub fn environment(pid: u32) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&read(pid, "environ")).into_owned();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split('\0').filter_map(pair).collect()
}

/// A process's words.
pub fn command_line(pid: u32) -> String {
    String::from_utf8_lossy(&read(pid, "cmdline")).replace('\0', " ")
}

/// Listens on a port, as a stranger would.
pub fn stranger_on(address: &str, port: u16) -> TcpListener {
    TcpListener::bind((address, port)).expect("a port for the stranger")
}

fn read(pid: u32, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The fields of `stat` after the name, which may have blanks.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(&read(pid, "stat")).into_owned();
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn state_of(pid: u32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

fn start_of(pid: u32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}
