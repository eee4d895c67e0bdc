//! Which process is which: boot id, start ticks, descendants and marks, all read from `/proc`.
//!
//! A PID alone says nothing, since it is given out again. This module must not signal anything.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::record::{ENV_RECORD, ENV_SERVICE};

/// A process, so that a later one of the same PID is never taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its PID.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Identity {
    /// The process that has `pid` now.
    pub fn of(pid: u32) -> Option<Self> {
        start_ticks(pid).map(|start_ticks| Self { pid, start_ticks })
    }

    /// Whether it is still there and not merely waiting to be reaped.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.dead)
    }
}

/// The id of this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When the process started, in clock ticks since boot.
pub fn start_ticks(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.start_ticks)
}

/// All processes below `root`, not itself; those that wait to be reaped are left out.
pub fn descendants(root: u32) -> Vec<Identity> {
    let all: Vec<(u32, Stat)> = pids().filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let mut found = BTreeSet::from([root]);
    // A child's PID may be lower than its parent's: repeat until nothing is added.
    while all.iter().any(|(pid, stat)| found.contains(&stat.parent) && found.insert(*pid)) {}
    all.iter()
        .filter(|(pid, stat)| *pid != root && found.contains(pid) && !stat.dead)
        .map(|(pid, stat)| Identity { pid: *pid, start_ticks: stat.start_ticks })
        .collect()
}

/// All processes that were started for the service `name` whose record is in `record`.
pub fn marked(name: &str, record: &Path) -> Vec<Identity> {
    use std::os::unix::ffi::OsStrExt as _;
    let service = [ENV_SERVICE.as_bytes(), b"=", name.as_bytes()].concat();
    let folder = [ENV_RECORD.as_bytes(), b"=", record.as_os_str().as_bytes()].concat();
    pids()
        .filter_map(|pid| {
            let before = Identity::of(pid)?;
            let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let has = |wanted: &[u8]| environ.split(|byte| *byte == 0).any(|entry| entry == wanted);
            (has(&service) && has(&folder) && before.is_alive()).then_some(before)
        })
        .collect()
}

struct Stat {
    parent: u32,
    start_ticks: u64,
    dead: bool,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything, parentheses too.
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&text[after..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { parent, start_ticks: fields.nth(17)?.parse().ok()?, dead })
}

pub(crate) fn pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_and_not_another_of_its_pid() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive() && me.start_ticks > 0);
        assert!(!Identity { start_ticks: me.start_ticks + 1, ..me }.is_alive());
        assert!(Identity::of(u32::MAX).is_none());
        assert_eq!(boot_id().unwrap().len(), 36);
    }

    #[test]
    fn finds_children() {
        #![allow(clippy::disallowed_methods, reason = "a child to find")]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let below = descendants(std::process::id());
        let found = below.iter().any(|one| one.pid == child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
