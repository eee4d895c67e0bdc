//! Hosts with systemd, an address, names and a disk of their own: `tests/hosts/lab`, for tests in Rust. Owns the life of
//! a [`Lab`]: where it is dropped, nothing of it is left. What a host is made of, only the program knows.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Output, is_root};

/// Some hosts, `h1`, `h2`, …, in a network of their own.
#[derive(Debug)]
pub struct Lab {
    name: String,
}

impl Lab {
    /// A lab whose hosts are up. The name tells labs of one test apart: lower-case letters, few.
    #[track_caller]
    pub fn up(name: &str, hosts: usize) -> Self {
        let lab = Self { name: format!("{name}{}", std::process::id()) };
        lab.verb(&["up", &hosts.to_string()]).exits(0);
        lab
    }

    /// Its name: it is in those of the hosts, `HOST.NAME.test`, and of all that the lab has on this machine.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A verb of the program: `["cut", "h1", "h2"]`.
    pub fn verb(&self, words: &[&str]) -> Output {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("hosts/lab");
        let mut command = if is_root() {
            Command::new(program)
        } else {
            // As tests/run gets packages.
            let mut command = Command::new("sudo");
            command.arg("-n").arg("--preserve-env=HOME,XDG_CACHE_HOME").arg(program);
            command
        };
        command.args(["--name", &self.name]).args(words).stdin(Stdio::null());
        let done = command.output().expect("tests/hosts/lab");
        Output {
            line: format!("tests/hosts/lab {}", words.join(" ")),
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }

    /// Runs a line of shell on a host, as root.
    pub fn sh(&self, host: &str, line: &str) -> Output {
        self.verb(&["exec", host, "sh", "-c", line])
    }

    /// A host's address.
    #[track_caller]
    pub fn address(&self, host: &str) -> String {
        let listed = self.verb(&["list", "--json"]).exits(0).json();
        listed[host]["address"].as_str().expect("a host of this lab").to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.verb(&["down"]);
        if down.code != 0 {
            eprintln!("the lab {} is not all gone: {}", self.name, down.stderr);
        }
    }
}
