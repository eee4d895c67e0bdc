//! Children that outlived the process that started them, found by a variable of their environment. Must end nothing
//! else: what is ended carries the mark with the very value.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::services::{Identity, pids};

/// Kills all processes with `name=value` in the environment that they were started with, but this one. How many.
pub fn end_strays(name: &str, value: &str) -> usize {
    let mark = [name.as_bytes(), b"=", value.as_bytes()].concat();
    let mut ended = 0;
    // One that was just starting another may have been passed over: until none is found.
    for _ in 0..10 {
        let marked = |pid: u32| {
            let before = Identity::of(pid)?;
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let has = environment.split(|byte| *byte == 0).any(|entry| entry == mark);
            (has && pid != std::process::id() && before.is_alive()).then_some(before)
        };
        let found: Vec<Identity> = pids().filter_map(marked).collect();
        if found.is_empty() {
            break;
        }
        ended += found.len();
        for one in found {
            // Gone meanwhile is what was wanted.
            let _ = kill(Pid::from_raw(one.pid as i32), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_carries_the_mark_is_ended() {
        let value = format!("test-{}", std::process::id());
        let sleep =
            |mark: &str| Command::new("sleep").arg("600").env("STOKER_TEST_MARK", mark).spawn().unwrap();
        let (mut ours, mut other) = (sleep(&value), sleep("other"));
        assert_eq!(end_strays("STOKER_TEST_MARK", &value), 1);
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
