//! Who may reach an application's services from elsewhere: nobody, until it is exposed. Owns what the addresses of a
//! unit's host are to it, and the rules of a firewall that lets
//! some networks in alone; it opens and closes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::observation::Host;
use crate::record::App;
use crate::resolve::Ports;

/// The binding that everything else falls back on.
const DEFAULT: &str = "default";
const LOOPBACK: &str = "127.0.0.1";

/// An application that may be reached from other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exposure {
    /// Networks that may; everybody where there are none.
    #[serde(default)]
    pub to: Vec<String>,
}

/// A text that names no network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkError {
    /// Neither an address nor a network.
    #[error("`{0}` is no network")]
    Form(String),
    /// Bits behind the prefix.
    #[error("`{0}` is an address in a network, which is `{1}`")]
    Host(String, String),
}

/// Reads a network such as `10.0.0.0/8`, or one address, and spells it as a firewall does.
pub fn network(text: &str) -> Result<String, NetworkError> {
    let bad = || NetworkError::Form(text.to_owned());
    let (address, prefix) =
        text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let (bits, value, most) = match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits()), u128::from(u32::MAX)),
        IpAddr::V6(address) => (128, address.to_bits(), u128::MAX),
    };
    let Some(prefix) = prefix else { return Ok(address.to_string()) };
    let length: u32 =
        prefix.parse().ok().filter(|length| *length <= bits && !prefix.starts_with('+')).ok_or_else(bad)?;
    let mask = most & most.checked_shl(bits - length).unwrap_or(0);
    let first = match address {
        IpAddr::V4(_) => {
            IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::try_from(value & mask).unwrap_or_default()))
        }
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::from_bits(value & mask)),
    };
    if first != address {
        return Err(NetworkError::Host(text.to_owned(), format!("{first}/{length}")));
    }
    Ok(if length == bits { address.to_string() } else { format!("{first}/{length}") })
}

/// The host's addresses as an application's units bind and publish them: loopback alone until it is exposed.
pub fn addresses(host: &Host, app: Option<&App>) -> BTreeMap<String, String> {
    let open = app.is_some_and(|app| app.exposed.is_some());
    let shown = |text: &String| {
        let loopback = text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if open || loopback { text.clone() } else { LOOPBACK.to_owned() }
    };
    host.addresses.iter().map(|(name, address)| (name.clone(), shown(address))).collect()
}

/// The address that an application's services bind.
pub fn address(host: &Host, app: Option<&App>) -> String {
    addresses(host, app).remove(DEFAULT).unwrap_or_else(|| LOOPBACK.to_owned())
}

/// Ports that a firewall keeps from others: whose they are, which they are, and the networks that reach them all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The application.
    pub app: String,
    /// First and count.
    pub ports: BTreeSet<(u16, u16)>,
    /// Nobody where there are none.
    pub to: Vec<String>,
}

/// The rules of the table `name` (for nft), whole. `None` where nothing is kept.
pub fn rules(name: &str, address: IpAddr, kept: &[Kept]) -> Option<String> {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    let mut chain = String::new();
    for Kept { app, ports, to } in kept.iter().filter(|kept| !kept.ports.is_empty()) {
        let span = |(first, count): &(u16, u16)| match count {
            0 | 1 => first.to_string(),
            _ => format!("{first}-{}", first.saturating_add(count - 1)),
        };
        let ports = ports.iter().map(span).collect::<Vec<_>>().join(", ");
        let of_family = |network: &&String| network.contains(':') == address.is_ipv6();
        let allowed: Vec<&str> = to.iter().filter(of_family).map(String::as_str).collect();
        let from = match allowed.as_slice() {
            [] => String::new(),
            some => format!(" {family} saddr != {{ {} }}", some.join(", ")),
        };
        let rule = format!("{family} daddr {address} tcp dport {{ {ports} }}{from} reject with tcp reset");
        let _ = writeln!(chain, "    {rule} comment \"{app}\"");
    }
    if chain.is_empty() {
        return None;
    }
    let head = "type filter hook input priority filter; policy accept;\n    iifname \"lo\" accept";
    Some(format!("table inet {name} {{\n  chain input {{\n    {head}\n{chain}  }}\n}}\n"))
}

/// The ports of a unit, as first and count, without their names.
pub fn spans(ports: &Ports) -> BTreeSet<(u16, u16)> {
    ports.values().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(to: Option<&[&str]>) -> App {
        let exposed = to.map(|to| Exposure { to: to.iter().map(|&text| text.to_owned()).collect() });
        let app = serde_json::json!({"name": "web", "uuid": "u", "life": "alive", "next_unit": 1, "release": 1,
            "leader": null, "now": 0, "change": 1, "exposed": exposed});
        serde_json::from_value(app).unwrap()
    }

    #[test]
    fn networks_are_spelled_one_way_or_refused() {
        for (text, spelled) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("FD00::/8", "fd00::/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).as_deref(), Ok(spelled));
        }
        assert_eq!(network("10.1.2.3/8"), Err(NetworkError::Host("10.1.2.3/8".into(), "10.0.0.0/8".into())));
        for text in
            ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "host", "10.0.0.0/8; drop", "::/129"]
        {
            assert_eq!(network(text), Err(NetworkError::Form(text.to_owned())));
        }
    }

    #[test]
    fn what_is_not_exposed_is_on_loopback() {
        let host = |address: &str| Host {
            addresses: [("default".into(), address.into())].into(),
            ..Host::default()
        };
        assert_eq!(address(&host("10.0.0.5"), Some(&app(None))), "127.0.0.1");
        assert_eq!(address(&host("10.0.0.5"), None), "127.0.0.1");
        assert_eq!(address(&host("10.0.0.5"), Some(&app(Some(&[])))), "10.0.0.5");
        assert_eq!(address(&host("127.3.0.1"), Some(&app(None))), "127.3.0.1", "as it was set");
        assert_eq!(address(&Host::default(), Some(&app(Some(&[])))), "127.0.0.1");
    }

    #[test]
    fn rules_let_in_whom_they_name() {
        let v4: IpAddr = [10, 0, 0, 5].into();
        let kept = |to: &[&str]| Kept {
            app: "web".into(),
            ports: BTreeSet::from([(8080, 1), (25000, 48)]),
            to: to.iter().map(|&text| text.to_owned()).collect(),
        };
        assert_eq!(rules("stoker", v4, &[]), None);
        assert_eq!(rules("stoker", v4, &[Kept { ports: BTreeSet::new(), ..kept(&[]) }]), None);
        let text = rules("stoker", v4, &[kept(&["10.2.0.0/16", "fd00::/8"])]).unwrap();
        assert!(text.starts_with("table inet stoker {"), "{text}");
        let rule = "ip daddr 10.0.0.5 tcp dport { 8080, 25000-25047 } ip saddr != { 10.2.0.0/16 } reject";
        assert!(text.contains(rule), "{text}");
        // No network of the address' family: nobody.
        let none = rules("stoker", v4, &[kept(&["fd00::/8"])]).unwrap();
        assert!(none.contains("dport { 8080, 25000-25047 } reject with tcp reset"), "{none}");
    }
}
