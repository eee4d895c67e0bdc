//! Telling the service manager that started this process how it is: ready, alive, ending.
//!
//! Owns the words and the way to `NOTIFY_SOCKET`. Without such a socket all of it does nothing.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// This process is up.
pub const READY: &str = "READY=1";
/// This process is about to end.
pub const STOPPING: &str = "STOPPING=1";
/// This process is alive.
pub const ALIVE: &str = "WATCHDOG=1";

/// Tells it. Nobody may be listening.
pub fn tell(word: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), &address));
    if let Err(error) = told {
        tracing::warn!(%error, word, "cannot tell the service manager");
    }
}

/// How often [`ALIVE`] is to be told: half of what the service manager waits for it. `None` where it does not.
pub fn watchdog() -> Option<Duration> {
    let get = |name: &str| std::env::var(name).ok();
    interval(get("WATCHDOG_USEC").as_deref(), get("WATCHDOG_PID").as_deref(), std::process::id())
}

fn interval(usec: Option<&str>, pid: Option<&str>, me: u32) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(me));
    let usec: u64 = usec?.parse().ok()?;
    (ours && usec > 0).then(|| Duration::from_micros(usec) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_told_twice_as_often_as_asked() {
        assert_eq!(interval(Some("60000000"), None, 7), Some(Duration::from_secs(30)));
        assert_eq!(interval(Some("60000000"), Some("7"), 7), Some(Duration::from_secs(30)));
        assert_eq!(interval(Some("60000000"), Some("8"), 7), None, "it is another's");
        assert_eq!(
            (interval(None, None, 7), interval(Some("x"), None, 7), interval(Some("0"), None, 7)),
            (None, None, None)
        );
    }
}
