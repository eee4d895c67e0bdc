//! What can be wrong with a host: its names, clock, limits, disks and control groups, as they are now.
//!
//! Owns reading them, with a deadline each. It must not judge: what is good enough is the asker's question.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::exec::{Exec, run};

/// How long a name server, or whatever else is asked, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a host's name and address lead to each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The addresses of its name.
    pub forward: Vec<IpAddr>,
    /// The names of its address, the first one first.
    pub back: Vec<String>,
}

/// Asks for a name and an address as services do: by the system's resolver.
pub async fn names(name: &str, address: IpAddr) -> Names {
    let forward = said("/usr/bin/getent", &["ahosts", name]).await.unwrap_or_default();
    let back = said("/usr/bin/getent", &["hosts", &address.to_string()]).await.unwrap_or_default();
    let mut addresses: Vec<IpAddr> =
        forward.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let names = back.lines().flat_map(|line| line.split_whitespace().skip(1)).map(str::to_owned).collect();
    Names { forward: addresses, back: names }
}

/// Whether something keeps the clock right; `None` where nobody can tell.
pub async fn clock_is_kept() -> Option<bool> {
    match said("/usr/bin/timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// How many files a process of this one's may open at most.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard)
}

/// Which control groups this host has: 2, or 1 where the memory controller is still an old one; 0 for none.
pub fn control_groups() -> u8 {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() { 2 } else { u8::from(root.join("memory").exists()) }
}

/// The first of the programs that there is, of those that a user of the system finds.
pub fn program(names: &[&str]) -> Option<PathBuf> {
    let folders = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
    names
        .iter()
        .flat_map(|name| folders.map(|folder| Path::new(folder).join(name)))
        .find(|path| path.is_file())
}

/// Whether what is written there is gone after a boot.
pub fn is_passing(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

/// Which filesystem a path is on.
///
/// # Errors
/// It is not there, or cannot be reached.
pub fn filesystem(path: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|found| found.dev())
}

/// The share of inodes that are free, of a hundred; `None` where the disk does not count them.
pub fn free_inodes(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    (found.f_files > 0).then(|| found.f_favail.saturating_mul(100) / found.f_files)
}

/// What a program prints; `None` where it is not there or takes too long. A failure may have printed something.
async fn said(program: &str, args: &[&str]) -> Option<String> {
    let command = Exec {
        program: program.into(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: BTreeMap::from([("LANG".to_owned(), "C".to_owned())]),
        deadline: PATIENCE,
        ..Exec::default()
    };
    let done = run(&command).await.ok().filter(|done| !done.timed_out)?;
    Some(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_found_both_ways() {
        let found = names("localhost", IpAddr::from([127, 0, 0, 1])).await;
        assert!(found.forward.iter().all(IpAddr::is_loopback) && !found.forward.is_empty(), "{found:?}");
        assert!(found.back.contains(&"localhost".to_owned()), "{found:?}");
        assert_eq!(names("no-such-name.invalid", IpAddr::from([192, 0, 2, 1])).await, Names::default());
    }

    #[test]
    fn limits_and_programs_are_read() {
        assert!(open_files().is_some_and(|files| files > 0));
        assert!(program(&["no-such-program", "sh"]).is_some());
        assert_eq!(program(&["no-such-program"]), None);
        assert!(!is_passing(Path::new("/proc")) && free_inodes(Path::new("/proc")).is_none());
    }
}
