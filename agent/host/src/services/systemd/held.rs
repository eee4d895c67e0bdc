//! Whether what a unit asks for holds on this host: systemd accepts limits and sandboxes that it cannot enforce, and
//! says nothing. Reads `/proc` and the control groups only.

use std::path::Path;

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
    fn what_no_group_holds_is_told() {
        let limits = Limits { memory: 1, cores: 1, nofile: 1 };
        let found = unenforced(limits, std::process::id(), "/no-such-group");
        assert!(found.contains(&"memory".to_owned()) && found.contains(&"cores".to_owned()), "{found:?}");
        assert!(!found.contains(&"nofile".to_owned()), "{found:?}");
    }
}
