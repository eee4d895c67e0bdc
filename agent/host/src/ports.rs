//! Ports on this host: which are free, and who listens on the others.
//!
//! Owns looking and choosing; what was chosen is remembered by the caller, and nothing is reserved here.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::ops::RangeInclusive;

/// The lowest port that is chosen by itself: those below belong to root and to well-known services.
const LOWEST: u16 = 1024;

/// A process that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its PID; `None` where it is another user's and this process may not look.
    pub pid: Option<u32>,
    /// Its command, or empty.
    pub command: String,
}

/// Why there is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// A stranger listens there.
    #[error("port {port} is taken by {}", who(*pid, command))]
    Taken {
        /// The port.
        port: u16,
        /// The stranger.
        pid: Option<u32>,
        /// Its command, or empty.
        command: String,
    },
    /// No run of free ports is long enough.
    #[error("cannot find {count} free ports in a row")]
    None {
        /// How many were asked for.
        count: u16,
    },
}

fn who(pid: Option<u32>, command: &str) -> String {
    match pid {
        Some(pid) if command.is_empty() => format!("process {pid}"),
        Some(pid) => format!("`{command}` (process {pid})"),
        None => "another process".to_owned(),
    }
}

/// Whether nobody listens on the port, and this process could.
pub fn is_free(addr: IpAddr, port: u16) -> bool {
    match TcpListener::bind((addr, port)) {
        Ok(_) => true,
        // Not an address of this host: say what can be said about the port.
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => listener_of(addr, port).is_none(),
        Err(_) => false,
    }
}

/// Whether `count` ports from `port` on are free; the first that is not is named with who has it.
pub fn check(addr: IpAddr, port: u16, count: u16) -> Result<(), PortError> {
    for port in port..=port.saturating_add(count.max(1) - 1) {
        if !is_free(addr, port) {
            let listener = listener_of(addr, port).unwrap_or(Listener { pid: None, command: String::new() });
            return Err(PortError::Taken { port, pid: listener.pid, command: listener.command });
        }
    }
    Ok(())
}

/// The first of `count` ports in a row: `prefer` where all of them are neither `taken` nor in use, else the next such
/// run above it, then below, outside the kernel's ephemeral range.
pub fn choose(prefer: u16, count: u16, taken: &BTreeSet<u16>, addr: IpAddr) -> Result<u16, PortError> {
    let ephemeral = ephemeral_range();
    choose_from(prefer, count, &ephemeral, |port| !taken.contains(&port) && is_free(addr, port))
}

fn choose_from(
    prefer: u16,
    count: u16,
    ephemeral: &RangeInclusive<u16>,
    free: impl Fn(u16) -> bool,
) -> Result<u16, PortError> {
    let count = count.max(1);
    let last = |first: u16| first.checked_add(count - 1);
    let fits = |first: u16| last(first).is_some_and(|last| (first..=last).all(&free));
    if prefer > 0 && fits(prefer) {
        return Ok(prefer);
    }
    let outside =
        |first: u16| last(first).is_some_and(|last| last < *ephemeral.start() || first > *ephemeral.end());
    let from = prefer.max(LOWEST);
    let above = from..=u16::MAX;
    let below = LOWEST..from;
    above.chain(below).find(|first| outside(*first) && fits(*first)).ok_or(PortError::None { count })
}

/// The ports that the kernel gives to outgoing connections.
pub fn ephemeral_range() -> RangeInclusive<u16> {
    let read = || {
        let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        Some(numbers.next()?.ok()?..=numbers.next()?.ok()?)
    };
    read().unwrap_or(32768..=60999)
}

/// Who listens on the port over TCP, on this address or on all of them; `None` where nobody does.
pub fn listener_of(addr: IpAddr, port: u16) -> Option<Listener> {
    let inodes: BTreeSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, addr, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let pid = holder(&inodes);
    let command = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    Some(Listener { pid, command: command.unwrap_or_default().trim_end().to_owned() })
}

/// The sockets' inodes that listen on the port, of a table of `/proc/net`.
fn listening(table: &str, addr: IpAddr, port: u16) -> Vec<String> {
    let wanted = format!("{port:04X}");
    // Words of four bytes in the host's order; an IPv4 address may be in IPv6's dress.
    let words = |bytes: &[u8]| -> String {
        let (words, _) = bytes.as_chunks();
        let shown: Vec<String> =
            words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect();
        shown.concat()
    };
    let (own, dressed) = match addr {
        IpAddr::V4(addr) => (words(&addr.octets()), words(&addr.to_ipv6_mapped().octets())),
        IpAddr::V6(addr) => (words(&addr.octets()), String::new()),
    };
    let meets = |local: &str| {
        addr.is_unspecified() || local == own || local == dressed || local.bytes().all(|byte| byte == b'0')
    };
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            // 0A is the state LISTEN.
            let (local, at) = fields.get(1)?.split_once(':')?;
            let listens = at == wanted && meets(local) && *fields.get(3)? == "0A";
            listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
        .collect()
}

fn holder(inodes: &BTreeSet<String>) -> Option<u32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        std::fs::read_dir(entry.path().join("fd")).ok()?.flatten().find_map(|fd| {
            let target = std::fs::read_link(fd.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inodes.contains(inode).then_some(pid)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn prefers_then_goes_up_then_wraps_round() {
        let range = 32768..=60999;
        assert_eq!(choose_from(7077, 1, &range, |_| true), Ok(7077));
        assert_eq!(choose_from(7077, 1, &range, |port| port != 7077), Ok(7078));
        assert_eq!(choose_from(25000, 48, &range, |port| port != 25010), Ok(25011));
        assert_eq!(choose_from(32760, 20, &range, |port| port != 32760), Ok(61000));
        // What is preferred may be ephemeral or privileged; what is chosen may not.
        assert_eq!(choose_from(40000, 1, &range, |_| true), Ok(40000));
        assert_eq!(choose_from(80, 1, &range, |port| port != 80), Ok(1024));
        assert_eq!(choose_from(61000, 1, &range, |port| port < 61000), Ok(1024));
        assert_eq!(choose_from(1, 2, &range, |port| port % 2 == 0), Err(PortError::None { count: 2 }));
        assert_eq!(choose_from(65535, 1, &range, |port| port == 65535), Ok(65535));
    }

    #[test]
    fn a_listener_is_found_and_named() {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(LOCAL, port));
        assert_eq!(listener_of(LOCAL, port).unwrap().pid, Some(std::process::id()));
        let error = check(LOCAL, port, 1).unwrap_err();
        assert!(matches!(error, PortError::Taken { pid: Some(pid), .. } if pid == std::process::id()));
        assert_ne!(choose(port, 1, &BTreeSet::new(), LOCAL).unwrap(), port);
        drop(listener);
        assert_eq!(listener_of(LOCAL, port), None);
        assert_eq!(choose(port, 1, &BTreeSet::new(), LOCAL), Ok(port));
        assert_ne!(choose(port, 1, &BTreeSet::from([port]), LOCAL), Ok(port));
    }

    #[test]
    fn connections_are_no_listeners() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1BA5 00000000:0000 0A 0:0 00:0 0 0 0 4242 1\n\
                     1: 0100007F:1BA5 0100007F:9000 01 0:0 00:0 0 0 0 4343 1\n";
        assert_eq!(listening(table, LOCAL, 7077), ["4242"]);
        assert!(listening(table, LOCAL, 7078).is_empty());
        assert!(listening("garbage\nmore garbage\n", LOCAL, 1).is_empty());
        // Another address of the host is another's port; one that is bound to all of them is everybody's.
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        assert!(listening(table, other, 7077).is_empty());
        assert_eq!(listening(&table.replace("0100007F:1BA5 00", "00000000:1BA5 00"), other, 7077), ["4242"]);
        let dressed = table.replace("0100007F:1BA5 00", "0000000000000000FFFF00000100007F:1BA5 00");
        assert_eq!(listening(&dressed, LOCAL, 7077), ["4242"]);
    }
}
