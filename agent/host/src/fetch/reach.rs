//! Which addresses may be reached. Owns what is private, and the list of what may be reached all the same; must not
//! resolve a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Private hosts and networks that may be reached: none, unless they are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    names: Vec<String>,
    networks: Vec<Network>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Reach {
    /// Reads the list: addresses, networks (`10.0.0.0/8`), names (`repo.example.internal`), and all names below one
    /// (`.example.internal`). The entry that cannot be read is the error.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        let mut reach = Self::default();
        for entry in entries {
            match Network::parse(entry) {
                Some(network) => reach.networks.push(network),
                None if is_name(entry.strip_prefix('.').unwrap_or(entry)) => {
                    reach.names.push(entry.to_ascii_lowercase());
                }
                None => return Err(entry.clone()),
            }
        }
        Ok(reach)
    }

    /// Why this address of this host must not be reached; `None` where it may.
    pub(super) fn refusal(&self, host: &str, address: IpAddr) -> Option<&'static str> {
        let (kind, by_name) = private(address)?;
        let address = canonical(address);
        if self.networks.iter().any(|network| network.has(address)) {
            return None;
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let named = |name: &String| *name == host || (name.starts_with('.') && host.ends_with(name.as_str()));
        if by_name && self.names.iter().any(named) { None } else { Some(kind) }
    }
}

fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // What looks like an address and is none is a mistake.
    !name.is_empty() && name.split('.').all(part) && !name.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
            None => (text.parse::<IpAddr>().ok()?, None),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(self, address: IpAddr) -> bool {
        let bits = u32::from(self.bits);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// An IPv4 address that is written as an IPv6 one is that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => embedded(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The IPv4 address that packets to this IPv6 address end at: mapped, or translated (64:ff9b::/96).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = Ipv4Addr::from_bits(v6.to_bits() as u32);
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(low),
        _ => None,
    }
}

/// Networks that are not the public internet, and whether a name in the list is enough for them: what a cloud gives
/// its secrets out at, and what is no host's address at all, must be named by its network.
const V4: [(Ipv4Addr, u8, &str, bool); 16] = [
    (Ipv4Addr::UNSPECIFIED, 8, "which means this host", false),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private network", true),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a carrier's private network", true),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "this host", true),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's service for its machines", false),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local address, where clouds keep machines' secrets", false),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private network", true),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a reserved address", false),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address for documentation", false),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a reserved address", false),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private network", true),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a network for measurements", true),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "an address for documentation", false),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address for documentation", false),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a group of hosts", false),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address", false),
];

/// What kind of private address this is, and whether a name in the list is enough for it; `None` for a public one.
fn private(address: IpAddr) -> Option<(&'static str, bool)> {
    match canonical(address) {
        IpAddr::V4(v4) => {
            let within = |(network, bits, ..): &&(Ipv4Addr, u8, &str, bool)| {
                Network { address: IpAddr::V4(*network), bits: *bits }.has(IpAddr::V4(v4))
            };
            V4.iter().find(within).map(|(_, _, kind, by_name)| (*kind, *by_name))
        }
        IpAddr::V6(v6) => private6(v6),
    }
}

fn private6(v6: Ipv6Addr) -> Option<(&'static str, bool)> {
    let segments = v6.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(("this host", true)),
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(("which means this host", false)),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Some(("a cloud's service for its machines", false)),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some(("a private network", true)),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some(("a link-local address", false)),
        // Tunnels end at an IPv4 address of the sender's choice.
        [0x2002, ..] | [0x2001, 0, ..] => Some(("a tunnel's address", false)),
        [0x2001, 0xdb8, ..] => Some(("an address for documentation", false)),
        [0x3fff, second, ..] if second < 0x1000 => Some(("an address for documentation", false)),
        [0x2001, second, ..] if second < 0x200 => Some(("a reserved address", false)),
        [first, ..] if first & 0xe000 == 0x2000 => None,
        _ => Some(("no public address", false)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reach(entries: &[&str]) -> Reach {
        Reach::parse(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn refused(reach: &Reach, host: &str, address: &str) -> bool {
        reach.refusal(host, address.parse().unwrap()).is_some()
    }

    #[test]
    fn only_the_public_internet_is_reached() {
        let none = Reach::default();
        for public in [
            "8.8.8.8",
            "151.101.0.223",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2a04:4e42::223",
            "2606:4700::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "168.63.129.17",
        ] {
            assert!(!refused(&none, "h", public), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
            "2001:10::1",
            "5f00::1",
        ] {
            assert!(refused(&none, "h", private), "{private}");
        }
    }

    #[test]
    fn what_is_named_is_reached_and_nothing_beside_it() {
        let some =
            reach(&["10.1.0.0/16", "repo.corp", ".apps.corp", "127.0.0.1", "fd12::/16", "169.254.7.0/24"]);
        for (host, address) in [
            ("h", "10.1.2.3"),
            ("repo.corp", "192.168.0.9"),
            ("REPO.corp.", "10.9.9.9"),
            ("a.apps.corp", "172.16.0.1"),
            ("h", "127.0.0.1"),
            ("h", "::ffff:127.0.0.1"),
            ("h", "fd12::9"),
            ("h", "169.254.7.1"),
            ("h", "8.8.8.8"),
        ] {
            assert!(!refused(&some, host, address), "{host} {address}");
        }
        for (host, address) in [
            ("h", "10.2.0.1"),
            ("xrepo.corp", "10.9.9.9"),
            ("apps.corp", "10.9.9.9"),
            ("h", "127.0.0.2"),
            ("h", "fd13::1"),
            ("repo.corp", "169.254.169.254"),
            ("repo.corp", "0.0.0.0"),
            ("repo.corp", "fd00:ec2::254"),
            ("h", "::1"),
        ] {
            assert!(refused(&some, host, address), "{host} {address}");
        }
        let all = reach(&["0.0.0.0/0", "::/0"]);
        assert!(!refused(&all, "h", "169.254.169.254") && !refused(&all, "h", "fe80::1"));
    }

    #[test]
    fn entries_that_are_none_are_told() {
        for bad in ["", ".", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "::/129", "a b", "a..b", "https://x", "*"]
        {
            assert_eq!(Reach::parse(&[bad.to_owned()]), Err(bad.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_what_it_stands_for(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let none = Reach::default();
            let plain = none.refusal("h", IpAddr::V4(v4)).is_some();
            prop_assert_eq!(none.refusal("h", IpAddr::V6(v4.to_ipv6_mapped())).is_some(), plain);
            let std = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
            prop_assert!(plain || !std, "{}", v4);
        }
    }
}
