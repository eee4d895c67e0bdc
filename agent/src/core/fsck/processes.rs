//! Which processes there are: each service that should run is one tree below one keeper, and nothing else lives in the
//! folder. Owns who belongs to whom.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use stoker_host::processes as proc;
use stoker_host::services::systemd;

use super::{Found, Records};
use crate::core::MODEL;
use crate::hooks::AGENT_MARK;
use crate::settings::Paths;

/// One process of the host that has to do with the folder.
struct Seen {
    pid: u32,
    parent: u32,
    /// The service that it is part of, where its record is below the folder.
    service: Option<String>,
    /// The record that it keeps.
    keeps: Option<String>,
    /// A program of a charm that this agent started.
    marked: bool,
}

fn all(dir: &Path) -> Vec<Seen> {
    let wanted = format!("{}/", dir.display());
    let mut seen = Vec::new();
    for pid in proc::all() {
        let environment = proc::environment(pid);
        let ours = environment.get("STOKER_SERVICE_RECORD").is_some_and(|record| record.starts_with(&wanted));
        let marked = environment.get(AGENT_MARK).is_some_and(|root| Path::new(root) == dir);
        let words = proc::words(pid);
        let keeps = match words.as_slice() {
            [program, mode, record, ..] if program.ends_with("stoker-shim") && mode == "keep" => record
                .strip_prefix(&wanted)
                .and_then(|rest| rest.strip_prefix("services/"))
                .map(str::to_owned),
            _ => None,
        };
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        let touches =
            ours || marked || keeps.is_some() || folder || words.iter().any(|word| word.contains(&wanted));
        let service = environment.get("STOKER_SERVICE").filter(|_| ours).cloned();
        if touches && proc::runs(pid) {
            let parent = proc::parent(pid).unwrap_or_default();
            seen.push(Seen { pid, parent, service, keeps, marked });
        }
    }
    seen
}

/// Checks all processes of the folder.
pub(super) fn check(paths: &Paths, records: &Records, agent: Option<u32>, found: &mut Found) {
    let seen = all(&paths.root);
    let by_systemd: BTreeSet<String> =
        systemd::units_of(&paths.services).unwrap_or_default().into_iter().collect();
    let mut wanted = BTreeSet::new();
    for unit in records.journal.keys() {
        for (name, runs) in records.services(unit) {
            let full = format!("stoker-{MODEL}-{unit}-{name}");
            if runs {
                one_tree(&seen, &full, by_systemd.contains(&full), found);
                own_ports(&seen, &full, &records.journal[unit], found);
                wanted.insert(full);
            }
        }
    }
    for process in &seen {
        match (&process.service, &process.keeps) {
            (Some(name), _) | (None, Some(name)) if wanted.contains(name) => {}
            // A task, an action, or a service that is just being stopped.
            (Some(name), _) => {
                found.unrest("services", format!("process {} of {name}, which should not run", process.pid));
            }
            (None, Some(name)) => {
                found.unrest("services", format!("keeper {} of {name}, which should not run", process.pid));
            }
            (None, None) if Some(process.pid) == agent => {}
            (None, None) => stray(&paths.root, process, agent, found),
        }
    }
}

fn one_tree(seen: &[Seen], name: &str, by_systemd: bool, found: &mut Found) {
    let of = |process: &&Seen| process.service.as_deref() == Some(name);
    let members: BTreeSet<u32> = seen.iter().filter(of).map(|process| process.pid).collect();
    let roots: Vec<u32> =
        seen.iter().filter(of).filter(|p| !members.contains(&p.parent)).map(|process| process.pid).collect();
    match roots.len() {
        1 => {}
        // It failed, or the host was shut down in order: the status says so.
        0 => found.unrest("services", format!("{name}: no process of it runs")),
        n => found.damage("services", format!("{name}: {n} process trees: {roots:?}")),
    }
    let keepers: Vec<u32> = seen.iter().filter(|p| p.keeps.as_deref() == Some(name)).map(|p| p.pid).collect();
    match (keepers.len(), usize::from(!by_systemd)) {
        (n, expected) if n == expected => {}
        (0, _) => found.unrest("services", format!("{name}: nobody keeps it")),
        (n, _) => found.damage("services", format!("{name}: {n} keepers: {keepers:?}")),
    }
}

/// What its processes listen on is what was allotted to the unit. Some programs take further ports by themselves.
fn own_ports(seen: &[Seen], name: &str, local: &Value, found: &mut Found) {
    let allotted: Vec<(u64, u64)> = local["ports"]
        .as_object()
        .into_iter()
        .flat_map(|ports| ports.values())
        .filter_map(|port| Some((port[0].as_u64()?, port[1].as_u64()?)))
        .collect();
    if !found.strict {
        return;
    }
    for process in seen.iter().filter(|process| process.service.as_deref() == Some(name)) {
        for port in proc::listens_on(process.pid) {
            if !allotted.iter().any(|(first, count)| (*first..first + count).contains(&u64::from(port))) {
                let pid = process.pid;
                found.unrest(
                    "services",
                    format!("{name}: process {pid} listens on {port}, which it was not given"),
                );
            }
        }
    }
}

/// A process in the folder that is neither service nor keeper: a charm's or a recipe's that outlived its agent.
fn stray(dir: &Path, process: &Seen, agent: Option<u32>, found: &mut Found) {
    let words = proc::words(process.pid).join(" ");
    let cli = words.contains("/stoker ") && !words.contains(" agent ");
    let child = agent.is_some_and(|agent| process.parent == agent);
    let inside =
        std::fs::read_link(format!("/proc/{}/exe", process.pid)).is_ok_and(|exe| exe.starts_with(dir));
    // Whoever asks, whoever they were started by, and what else that one started.
    let own = std::process::id();
    let mut above: Vec<u32> = std::iter::successors(Some(own), |pid| proc::parent(*pid)).collect();
    above.retain(|pid| *pid > 1);
    let asker = above.contains(&process.pid) || above.get(1).is_some_and(|first| process.parent == *first);
    if cli || child || !(inside || process.marked || !asker) {
        return;
    }
    let says = format!("process {} belongs to nothing: {words}", process.pid);
    if process.marked && agent.is_none() && !asker {
        found.damage("services", says);
    } else {
        found.unrest("services", says);
    }
}
