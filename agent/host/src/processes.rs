//! Processes as the kernel shows them: which words and environment they have, who is whose parent, on which ports they
//! listen. Owns reading `/proc`; it must not signal anybody.

use std::collections::BTreeMap;
use std::fs;

/// The numbers of all processes.
pub fn all() -> impl Iterator<Item = u32> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(number)
}

/// A process's words, one by one; none where there is no such process.
pub fn words(pid: u32) -> Vec<String> {
    let text = String::from_utf8_lossy(&read(pid, "cmdline")).into_owned();
    text.split('\0').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A process's environment; empty where it cannot be read.
pub fn environment(pid: u32) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&read(pid, "environ")).into_owned();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split('\0').filter_map(pair).collect()
}

/// A process's parent.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Whether a process of this number runs (one that has ended and is not collected does not).
pub fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z"))
}

/// The TCP ports that a process listens on.
pub fn listens_on(pid: u32) -> Vec<u16> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        let inode = link.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        sockets.extend(inode.map(str::to_owned));
    }
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9))
            else {
                continue;
            };
            if *state == "0A" && sockets.iter().any(|socket| socket == inode) {
                ports.extend(local.rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok()));
            }
        }
    }
    ports
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        assert!(all().any(|pid| pid == own) && runs(own) && !words(own).is_empty());
        assert!(parent(own).is_some_and(|parent| parent > 0) && environment(own).contains_key("PATH"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listens_on(own).contains(&listener.local_addr().unwrap().port()));
        assert!(!runs(u32::MAX) && words(u32::MAX).is_empty());
    }
}
