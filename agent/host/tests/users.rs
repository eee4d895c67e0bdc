//! System users, made for real: runs only as root where `useradd` is, and removes what it made.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, of the crate where processes are started"
)]

use std::path::Path;
use std::process::Command;

use stoker_host::users::{can_switch, ensure_system_user, lookup};

#[tokio::test]
async fn made_once_however_many_ask() {
    if !can_switch() || !Path::new("/usr/sbin/useradd").exists() {
        return;
    }
    let name = format!("stoker-t{}", std::process::id());
    let home = Path::new("/nonexistent");
    let (a, b) = tokio::join!(ensure_system_user(&name, home), ensure_system_user(&name, home));
    let now = lookup(&name);
    let entry = std::fs::read_to_string("/etc/passwd").unwrap();
    Command::new("/usr/sbin/userdel").arg(&name).status().unwrap();
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a, Some(a)), (b, now.unwrap()));
    let lines: Vec<&str> = entry.lines().filter(|line| line.starts_with(&format!("{name}:"))).collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with(":/nonexistent:/usr/sbin/nologin"), "{lines:?}");
    assert!(a.uid != 0 && a.gid != 0 && !a.own);
    assert_eq!(lookup(&name).unwrap(), None);
}
