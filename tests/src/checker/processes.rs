//! Which processes there are: each service that should run is one tree below one keeper, and nothing else lives in the
//! folder. Owns reading who belongs to whom from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Records;
use crate::machine::{self, Process};

/// A service as it runs: its process and the digest of the spec that it was started by.
pub type Running = BTreeMap<String, (Process, String)>;

/// The services and tasks that run below the folder.
pub fn running(dir: &Path) -> Running {
    let digest = |service: &str| {
        let text = fs::read(dir.join("services").join(service).join("state.json")).unwrap_or_default();
        let state: Value = serde_json::from_slice(&text).unwrap_or_default();
        state["digest"].as_str().unwrap_or_default().to_owned()
    };
    let with_digest = |(name, process): (String, Process)| {
        let digest = digest(&name);
        (name, (process, digest))
    };
    machine::processes_below(dir).into_iter().map(with_digest).collect()
}

/// One process of the host.
struct Seen {
    pid: u32,
    parent: u32,
    /// The service that it is part of, where its record is below the folder.
    service: Option<String>,
    /// The record that it keeps.
    keeps: Option<String>,
    /// It names the folder.
    touches: bool,
}

fn all(dir: &Path) -> Vec<Seen> {
    let wanted = format!("{}/", dir.display());
    let mut seen = Vec::new();
    for pid in machine::pids() {
        let environment = machine::environment(pid);
        let ours = environment.get("STOKER_SERVICE_RECORD").is_some_and(|record| record.starts_with(&wanted));
        let words = machine::words(pid);
        let keeps = match words.as_slice() {
            [program, mode, record, ..] if program.ends_with("stoker-shim") && mode == "keep" => record
                .strip_prefix(&wanted)
                .and_then(|rest| rest.strip_prefix("services/"))
                .map(str::to_owned),
            _ => None,
        };
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        let touches = ours || keeps.is_some() || folder || words.iter().any(|word| word.contains(&wanted));
        let service = environment.get("STOKER_SERVICE").filter(|_| ours).cloned();
        if touches && machine::alive(pid) {
            seen.push(Seen {
                pid,
                parent: machine::parent_of(pid).unwrap_or_default(),
                service,
                keeps,
                touches,
            });
        }
    }
    seen
}

/// Checks all processes of the folder.
pub(super) fn check(dir: &Path, records: &Records, agent: Option<u32>, found: &mut Vec<String>) {
    let seen = all(dir);
    let mut wanted = BTreeSet::new();
    for unit in records.journal.keys() {
        for (name, runs) in records.services(unit) {
            let full = format!("stoker-default-{unit}-{name}");
            if runs {
                one_tree(&seen, &full, found);
                own_ports(&seen, &full, &records.journal[unit], found);
                wanted.insert(full);
            }
        }
    }
    for process in &seen {
        match (&process.service, &process.keeps) {
            (Some(name), _) | (None, Some(name)) if wanted.contains(name) => {}
            (Some(name), _) => found.push(format!("process {} of {name}, which should not run", process.pid)),
            (None, Some(name)) => {
                found.push(format!("keeper {} of {name}, which should not run", process.pid));
            }
            // The test itself, its shells and its command lines name the folder too: only what works in it counts.
            (None, None) if Some(process.pid) == agent || !process.touches => {}
            (None, None) => stray(dir, process, agent, found),
        }
    }
}

fn one_tree(seen: &[Seen], name: &str, found: &mut Vec<String>) {
    let of = |process: &&Seen| process.service.as_deref() == Some(name);
    let members: BTreeSet<u32> = seen.iter().filter(of).map(|process| process.pid).collect();
    let roots: Vec<u32> =
        seen.iter().filter(of).filter(|p| !members.contains(&p.parent)).map(|process| process.pid).collect();
    if roots.len() != 1 {
        found.push(format!("{name}: {} process trees: {roots:?}", roots.len()));
    }
    let keepers: Vec<u32> = seen.iter().filter(|p| p.keeps.as_deref() == Some(name)).map(|p| p.pid).collect();
    if keepers.len() != 1 {
        found.push(format!("{name}: {} keepers: {keepers:?}", keepers.len()));
    }
}

/// What its processes listen on is what was allotted to the unit.
fn own_ports(seen: &[Seen], name: &str, local: &Value, found: &mut Vec<String>) {
    let allotted: Vec<(u64, u64)> = local["ports"]
        .as_object()
        .into_iter()
        .flat_map(|ports| ports.values())
        .filter_map(|port| Some((port[0].as_u64()?, port[1].as_u64()?)))
        .collect();
    for process in seen.iter().filter(|process| process.service.as_deref() == Some(name)) {
        for port in machine::listens_on(process.pid) {
            if !allotted.iter().any(|(first, count)| (*first..first + count).contains(&u64::from(port))) {
                found.push(format!(
                    "{name}: process {} listens on {port}, which it was not given",
                    process.pid
                ));
            }
        }
    }
}

/// A process in the folder that is neither service nor keeper: a charm's or a recipe's that outlived its agent.
fn stray(dir: &Path, process: &Seen, agent: Option<u32>, found: &mut Vec<String>) {
    let words = machine::words(process.pid).join(" ");
    let cli = words.contains("/stoker ") && !words.contains(" agent ");
    let child = agent.is_some_and(|agent| process.parent == agent);
    let inside = fs::read_link(format!("/proc/{}/exe", process.pid)).is_ok_and(|exe| exe.starts_with(dir));
    let test = process.pid == std::process::id() || process.parent == std::process::id();
    if !cli && !child && (inside || !test) {
        found.push(format!("process {} belongs to nothing: {words}", process.pid));
    }
}
