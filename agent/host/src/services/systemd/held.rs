//! Whether what a unit asks for holds on this host: systemd accepts limits and sandboxes that it cannot enforce, and
//! says nothing. Reads `/proc` and the control groups only.

use std::path::{Path, PathBuf};

use crate::services::Limits;

/// What was asked for and does not hold for the process `pid` in the control group at `group`.
pub(super) fn unenforced(limits: Limits, pid: u32, group: &str) -> Vec<String> {
    let mut found = Vec::new();
    if limits.memory > 0 && !has(group, "memory", &["memory.max"], &["memory.limit_in_bytes"]) {
        found.push("memory".to_owned());
    }
    if limits.cores > 0 && !has(group, "cpu", &["cpu.max"], &["cpu.cfs_quota_us"]) {
        found.push("cores".to_owned());
    }
    if limits.nofile > 0 && open_files(pid).is_some_and(|most| most < limits.nofile) {
        found.push("nofile".to_owned());
    }
    if !sees_its_own_mounts(pid) {
        found.push("deny-write".to_owned());
    }
    found
}

/// Where the kernel counts what it killed of the control group at `group` for want of memory, in either kind of hierarchy.
pub(super) fn memory_events(group: &str) -> Option<PathBuf> {
    let (root, group) = (Path::new("/sys/fs/cgroup"), group.trim_start_matches('/'));
    let files =
        [root.join(group).join("memory.events"), root.join("memory").join(group).join("memory.oom_control")];
    files.into_iter().find(|file| !group.is_empty() && file.exists())
}

/// How many processes of a service the kernel killed for want of memory since the service was started, as its
/// [`memory_events`](crate::services::Observed::memory_events) say.
pub fn killed_for_memory(events: &Path) -> u64 {
    let text = std::fs::read_to_string(events).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or_default()
}

/// Whether the controller's file is there for the group, in either kind of hierarchy.
fn has(group: &str, controller: &str, unified: &[&str], legacy: &[&str]) -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let group = group.trim_start_matches('/');
    unified.iter().any(|file| root.join(group).join(file).exists())
        || legacy.iter().any(|file| root.join(controller).join(group).join(file).exists())
}

fn open_files(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    most_open_files(&text)
}

fn most_open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let hard = line.split_ascii_whitespace().nth(1)?;
    if hard == "unlimited" { Some(u64::MAX) } else { hard.parse().ok() }
}

/// Without a view of its own nothing is read-only for it.
fn sees_its_own_mounts(pid: u32) -> bool {
    let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    // Gone meanwhile, or not ours to see: nothing is known against it.
    match (of(&pid.to_string()), of("1")) {
        (Some(its), Some(first)) => its != first,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let line = |hard: &str| {
            format!(
                "Limit  Soft  Hard  Units\nMax open files            1024                 {hard}             files\n"
            )
        };
        assert_eq!(most_open_files(&line("20000")), Some(20000));
        assert_eq!(most_open_files(&line("unlimited")), Some(u64::MAX));
        assert_eq!(most_open_files("nothing"), None);
        assert!(open_files(std::process::id()).is_some());
    }

    #[test]
    fn what_was_killed_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        assert_eq!(killed_for_memory(&file), 0);
        std::fs::write(&file, "low 0\noom 5\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert_eq!(killed_for_memory(&file), 2);
        std::fs::write(&file, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n").unwrap();
        assert_eq!(killed_for_memory(&file), 3);
        assert_eq!(memory_events("/no-such-group"), None);
        assert_eq!(memory_events(""), None, "that of all groups is nobody's");
    }

    #[test]
    fn what_no_group_holds_is_told() {
        let limits = Limits { memory: 1, cores: 1, nofile: 1 };
        let found = unenforced(limits, std::process::id(), "/no-such-group");
        assert!(found.contains(&"memory".to_owned()) && found.contains(&"cores".to_owned()), "{found:?}");
        assert!(!found.contains(&"nofile".to_owned()), "{found:?}");
    }
}
