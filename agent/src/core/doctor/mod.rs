//! `stoker doctor`: what is good enough for services on this host, and what helps where it is not. Owns the judgement;
//! reading the host is `stoker-host`'s. It changes nothing, and asks an agent for nothing but logs.

pub(crate) mod known;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stoker_host::checks::{self, Names};
use stoker_host::facts::{self, Disk, HostFacts};
use stoker_host::processes;
use stoker_model::local::Local;

use super::fsck;
use crate::settings::{Paths, Settings};

const GIB: u64 = 1 << 30;
/// What a service with many connections and many open files needs.
const FILES: u64 = 65_536;

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// What was looked at.
    pub check: String,
    /// `ok`, `warning` or `problem`.
    pub state: String,
    /// What was found.
    pub found: String,
    /// What helps; empty where all is well.
    pub fix: String,
}

pub(crate) fn finding(check: &str, state: &str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { check: check.to_owned(), state: state.to_owned(), found: found.into(), fix: fix.into() }
}

pub(crate) fn ok(check: &str, found: impl Into<String>) -> Finding {
    finding(check, "ok", found, "")
}

/// All of the host and the folder, in the order in which a host is set up.
pub(crate) async fn examine(paths: &Paths, settings: &Settings) -> Vec<Finding> {
    let name = settings.host();
    let address = settings.bind_address(paths);
    let mut all = programs(&facts::gather().await).to_vec();
    all.push(names(&name, address, &checks::names(&name, address).await));
    all.push(clock(checks::clock_is_kept().await));
    all.push(files(checks::open_files()));
    all.push(groups(checks::control_groups()));
    all.push(containers(checks::program(&["podman", "docker"]).as_deref()));
    let units = units(paths);
    all.extend(disks(&paths.root, units.iter()));
    all.push(ports(&units, &strangers(paths)));
    all.extend(health(paths));
    all
}

/// What this host's journal says of its units; nothing where it cannot be read, which the checker tells.
fn units(paths: &Paths) -> Vec<Local> {
    let Ok(journal) = stoker_store::Survey::of_journal(&paths.journal) else { return Vec::new() };
    let unit = |(key, value): &(String, Vec<u8>)| {
        let id = stoker_model::ids::UnitId::from_dashed(key.rsplit('/').next()?).ok()?;
        Local::read(&id, value).ok()
    };
    journal.pairs.iter().filter_map(unit).collect()
}

/// The checker's findings, and services that no unit has any more.
fn health(paths: &Paths) -> Vec<Finding> {
    if !paths.store.exists() && !paths.journal.exists() {
        return vec![ok("folder", format!("no agent was ever started in {}", paths.root.display()))];
    }
    let damage = fsck::look(paths, false);
    let mut all: Vec<Finding> = damage
        .iter()
        .map(|each| finding("folder", "problem", format!("{}: {}", each.of, each.found), each.fix.clone()))
        .collect();
    // What passes is looked at twice: only what lasts is told.
    let first = fsck::look(paths, true);
    let lasting = if first.is_empty() { Vec::new() } else { fsck::look(paths, true) };
    let orphans =
        lasting.iter().filter(|each| first.contains(each) && each.of == "services" && !damage.contains(each));
    all.extend(orphans.map(|each| finding("services", "warning", each.found.clone(), each.fix.clone())));
    if all.is_empty() {
        all.push(ok(
            "folder",
            format!("{}: store, journal, units, services and builds are sound", paths.root.display()),
        ));
    }
    all
}

fn programs(host: &HostFacts) -> [Finding; 2] {
    let java: Vec<String> = host.java.iter().map(|one| format!("{} in {}", one.version, one.home)).collect();
    let python: Vec<String> =
        host.python.iter().map(|one| format!("{} as {}", one.version, one.path)).collect();
    let check = |name: &str, found: Vec<String>, package: &str| {
        if found.is_empty() {
            let fix =
                format!("apt install {package}, or attach one as the resource `{name}` of an application");
            finding(name, "warning", "none that users of services can run", fix)
        } else {
            ok(name, found.join(", "))
        }
    };
    [check("java", java, "openjdk-17-jre-headless"), check("python", python, "python3")]
}

fn names(name: &str, address: IpAddr, seen: &Names) -> Finding {
    let list = seen.forward.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let back = seen.back.first().cloned().unwrap_or_default();
    if address.is_loopback() {
        return ok("names", format!("services bind {address}: no name is needed"));
    }
    if seen.forward.is_empty() {
        let fix = format!("add a record `{name} A {address}` to the name server, or a line to /etc/hosts");
        return finding("names", "problem", format!("`{name}` has no address"), fix);
    }
    if !seen.forward.contains(&address) {
        let fix = format!(
            "let `{name}` mean {address}: in the name server, or in /etc/hosts in place of 127.0.1.1"
        );
        return finding("names", "problem", format!("`{name}` is {list}, services bind {address}"), fix);
    }
    let same = |found: &str| found == name || found.split('.').next() == name.split('.').next();
    if !seen.back.iter().any(|found| same(found)) {
        let found = if back.is_empty() { "has no name".to_owned() } else { format!("is `{back}`") };
        let fix =
            format!("add a record that leads from {address} back to `{name}`: servers know each other by it");
        return finding("names", "warning", format!("`{name}` is {address}, which {found}"), fix);
    }
    ok("names", format!("`{name}` is {address}, and that is `{back}`"))
}

fn clock(kept: Option<bool>) -> Finding {
    match kept {
        Some(true) => ok("clock", "it is kept right"),
        Some(false) => finding(
            "clock",
            "warning",
            "nothing keeps it right",
            "apt install systemd-timesyncd, or another time service; hosts of one cluster must agree",
        ),
        None => ok("clock", "there is nobody who could tell whether it is kept right"),
    }
}

/// The folder's disk, and each other disk that units have folders on.
fn disks<'a>(root: &Path, units: impl Iterator<Item = &'a Local>) -> Vec<Finding> {
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    folders.extend(units.flat_map(|unit| unit.dirs.values().map(|folder| PathBuf::from(&folder.path))));
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for folder in folders {
        let shown = folder.display().to_string();
        match checks::filesystem(&folder) {
            Ok(id) if !seen.insert(id) => {}
            Ok(_) => match facts::disk(&folder) {
                Ok(disk) => all.push(room(&shown, disk, checks::free_inodes(&folder))),
                Err(error) => {
                    all.push(finding("disk", "problem", format!("{shown}: {error}"), "mount it again"));
                }
            },
            Err(error) => {
                all.push(finding(
                    "disk",
                    "problem",
                    format!("{shown}: {error}"),
                    "mount the disk that it was on",
                ));
            }
        }
    }
    if checks::is_passing(root) {
        let found = format!("{} is in memory: a boot empties it", root.display());
        all.push(finding("disk", "warning", found, "put the agent's folder on a disk"));
    }
    all
}

fn room(path: &str, disk: Disk, inodes: Option<u64>) -> Finding {
    let of_hundred = disk.free.saturating_mul(100) / disk.total.max(1);
    let found = format!("{path}: {} of {} GiB are free", disk.free / GIB, disk.total / GIB);
    let fix = "make room: `stoker builds gc` removes builds that nothing uses, `stoker kept` lists data of removed units";
    match (disk.free, of_hundred, inodes) {
        (free, ..) if free < GIB => finding("disk", "problem", found, fix),
        (.., Some(inodes)) if inodes < 5 => {
            finding("disk", "problem", format!("{path}: {inodes} of 100 inodes are free"), fix)
        }
        (_, share, _) if share < 10 => finding("disk", "warning", found, fix),
        _ => ok("disk", found),
    }
}

/// Ports that others than this agent's services listen on, with who they are.
fn strangers(paths: &Paths) -> Vec<(u16, String)> {
    let ours = format!("{}/", paths.root.display());
    let mut all = Vec::new();
    for pid in processes::all() {
        let environment = processes::environment(pid);
        if environment.get("STOKER_SERVICE_RECORD").is_some_and(|record| record.starts_with(&ours)) {
            continue;
        }
        let words = processes::words(pid).into_iter().next().unwrap_or_default();
        all.extend(
            processes::listens_on(pid).into_iter().map(|port| (port, format!("process {pid} ({words})"))),
        );
    }
    all
}

fn ports(units: &[Local], strangers: &[(u16, String)]) -> Finding {
    let mut taken = Vec::new();
    let mut count = 0;
    for unit in units {
        for (name, (first, many)) in &unit.ports {
            count += 1;
            let own = *first..=first.saturating_add(many.saturating_sub(1));
            let who = strangers.iter().find(|(port, _)| own.contains(port));
            taken.extend(who.map(|(port, who)| format!("{port} ({name} of {}) is {who}'s", unit.unit)));
        }
    }
    if taken.is_empty() {
        return ok("ports", format!("{count} are allotted, and nobody else listens on them"));
    }
    let fix = "end what listens there, or restart the unit's service once it has gone";
    finding("ports", "warning", taken.join("; "), fix)
}

fn files(most: Option<u64>) -> Finding {
    match most {
        Some(most) if most < FILES => finding(
            "open files",
            "warning",
            format!("a process may open {most}; servers with many connections need {FILES}"),
            "raise the hard limit of the agent: LimitNOFILE= of its unit, or `ulimit -Hn` where it is started",
        ),
        Some(most) => ok("open files", format!("a process may open {most}")),
        None => ok("open files", "the limit cannot be read"),
    }
}

fn groups(version: u8) -> Finding {
    match version {
        2 => ok("control groups", "version 2"),
        1 => finding(
            "control groups",
            "warning",
            "version 1: limits hold, but what ran out of memory cannot always be told",
            "boot with systemd.unified_cgroup_hierarchy=1",
        ),
        _ => finding(
            "control groups",
            "problem",
            "none: no service's limits hold",
            "mount them at /sys/fs/cgroup, as every distribution with systemd does",
        ),
    }
}

fn containers(found: Option<&Path>) -> Finding {
    match found {
        Some(path) => ok("containers", path.display().to_string()),
        None => ok("containers", "neither podman nor docker; nothing needs one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn state(forward: &[[u8; 4]], back: &[&str]) -> String {
        let seen = Names {
            forward: forward.iter().map(|&bytes| IpAddr::from(bytes)).collect(),
            back: back.iter().map(|&name| name.to_owned()).collect(),
        };
        names("web.example", OWN, &seen).state
    }

    #[test]
    fn names_must_lead_there_and_back() {
        assert_eq!(state(&[[10, 0, 0, 7]], &["web.example"]), "ok");
        assert_eq!(state(&[[10, 0, 0, 7]], &["web"]), "ok", "a short name is one");
        assert_eq!(state(&[[10, 0, 0, 7]], &["other.example"]), "warning");
        assert_eq!(state(&[[10, 0, 0, 7]], &[]), "warning");
        assert_eq!(state(&[[127, 0, 1, 1]], &["web.example"]), "problem", "as Debian's installer has it");
        assert_eq!(state(&[], &[]), "problem");
        assert_eq!(names("x", IpAddr::from([127, 0, 0, 1]), &Names::default()).state, "ok");
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_seen_in_time() {
        let state = |total: u64, free: u64, inodes| {
            room("/d", Disk { total: total * GIB, free: free * GIB }, inodes).state
        };
        assert_eq!(state(100, 50, Some(90)), "ok");
        assert_eq!(state(100, 5, Some(90)), "warning");
        assert_eq!(state(100, 0, Some(90)), "problem");
        assert_eq!(state(100, 50, Some(1)), "problem");
        assert_eq!(state(100, 50, None), "ok");
    }

    #[test]
    fn a_disk_is_told_of_once_and_one_that_is_gone_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            disks(folder.path(), [].iter())
                .iter()
                .filter(|f| f.check == "disk" && f.found.contains("GiB"))
                .count(),
            1
        );
        let gone = disks(&folder.path().join("gone"), [].iter());
        assert!(gone[0].state == "problem" && gone[0].fix.contains("mount"), "{gone:?}");
    }

    #[test]
    fn a_port_of_a_unit_that_a_stranger_has_is_told() {
        let mut unit = Local::new("web/0".parse().unwrap());
        unit.ports.insert("http".into(), (8080, 2));
        let units = [unit];
        assert_eq!(ports(&units, &[(8079, "x".into()), (8082, "x".into())]).state, "ok");
        let found = ports(&units, &[(8081, "process 7 (nginx)".into())]);
        assert!(
            found.state == "warning" && found.found.contains("8081 (http of web/0) is process 7"),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_not_ok_has_its_fix() {
        let host = HostFacts {
            name: String::new(),
            arch: String::new(),
            cores: 1,
            memory: 1,
            addresses: std::collections::BTreeMap::new(),
            java: Vec::new(),
            python: Vec::new(),
        };
        let all =
            [programs(&host).to_vec(), vec![clock(Some(false)), files(Some(1024)), groups(1), groups(0)]];
        for finding in all.concat() {
            assert!(finding.state != "ok" && !finding.fix.is_empty(), "{finding:?}");
        }
        for finding in [clock(None), clock(Some(true)), files(Some(FILES)), files(None), groups(2)] {
            assert!(finding.state == "ok" && finding.fix.is_empty(), "{finding:?}");
        }
    }
}
