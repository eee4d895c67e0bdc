//! Claims on ports among the agents of a host. A port that is allotted is not listened on yet: what another agent
//! would find free is told by a socket in the abstract namespace, which the kernel gives to one process only and takes
//! back when that process ends. Must not look at who listens.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};

/// The claims that this process holds.
#[derive(Debug, Default)]
pub struct Claims(Mutex<BTreeMap<(IpAddr, u16), UnixDatagram>>);

impl Claims {
    /// Claims `count` ports from `first` on; false, and nothing more is held than before, where another process has
    /// one of them.
    pub fn hold(&self, addr: IpAddr, first: u16, count: u16) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = Vec::new();
        for port in first..=first.saturating_add(count.max(1) - 1) {
            if held.contains_key(&(addr, port)) {
                continue;
            }
            match claim(addr, port) {
                Ok(socket) => new.push(((addr, port), socket)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return false,
                // Without claims (no such sockets, no descriptors left) ports are allotted as they were.
                Err(_) => {}
            }
        }
        held.extend(new);
        true
    }

    /// Gives up `count` ports from `first` on.
    pub fn release(&self, addr: IpAddr, first: u16, count: u16) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for port in first..=first.saturating_add(count.max(1) - 1) {
            held.remove(&(addr, port));
        }
    }
}

fn claim(addr: IpAddr, port: u16) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("stoker-port-{addr}-{port}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_claimed_once_on_an_address() {
        let addr: IpAddr = [127, 77, 3, 9].into();
        let (one, two) = (Claims::default(), Claims::default());
        assert!(one.hold(addr, 4000, 3));
        assert!(one.hold(addr, 4000, 3), "its own claims are no obstacle");
        assert!(!two.hold(addr, 3998, 3), "4000 is the other's");
        assert!(two.hold(addr, 3998, 2), "a failed claim has left something held");
        assert!(two.hold([127, 77, 3, 10].into(), 4000, 1));
        one.release(addr, 4000, 1);
        assert!(two.hold(addr, 4000, 1));
        assert!(!two.hold(addr, 4001, 1));
        drop(one);
        assert!(two.hold(addr, 4001, 1));
    }
}
