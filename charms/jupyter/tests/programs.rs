//! The charm's executable as the agent and Jupyter run it.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the tests run the charm's executable, and may fail"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn charm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_jupyter"))
}

fn output(args: &[&str]) -> Output {
    charm().args(args).output().unwrap()
}

/// A kernel that tells its options and lives until its input ends.
struct Kernel(Child);

impl Kernel {
    fn start(folder: &Path, first: u16) -> (Self, String) {
        let mut child = charm()
            .arg("kernel-launch")
            .args(["--slots".as_ref(), folder.join("slots").as_os_str()])
            // Nobody else listens there; a port found free by trying may be another test's child's a moment later.
            .args(["--address", "127.9.0.5", "--first", &first.to_string(), "--count", "2", "--spark"])
            .arg(folder.join("spark"))
            .args(["--", "/bin/sh", "-c", "echo \"$PYSPARK_SUBMIT_ARGS|$PYTHONPATH|$JUPYTER_TOKEN\"; cat"])
            .env("JUPYTER_TOKEN", "t0ken")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (Self(child), line.trim().to_owned())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kernels_at_once_have_ports_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("spark/python/lib")).unwrap();
    fs::write(folder.path().join("spark/python/lib/py4j-0.10.9.7-src.zip"), "").unwrap();
    let first = 30_100;
    let (one, said) = Kernel::start(folder.path(), first);
    let (_two, other) = Kernel::start(folder.path(), first);
    let ports = |said: &str| -> BTreeSet<u16> {
        said.split(['=', ' ']).filter_map(|word| word.parse().ok()).collect()
    };
    assert_eq!(ports(&said), (first..first + 3).collect());
    assert_eq!(ports(&other), (first + 3..first + 6).collect());
    assert!(said.contains("/python/lib/py4j-0.10.9.7-src.zip|") && !said.contains("t0ken"), "{said}");
    assert_eq!(Kernel::start(folder.path(), first).1, "", "there are only two sets");
    // Whatever way a kernel ends, its set is free again.
    drop(one);
    assert_eq!(ports(&Kernel::start(folder.path(), first).1), (first..first + 3).collect());
}

#[test]
fn the_action_tells_the_address() {
    let done = charm()
        .args(["url", "http://h:8888", "/env/bin/python"])
        .env("JUPYTER_TOKEN", "abc")
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(said["url"], "http://h:8888/lab?token=abc");
    let none = charm().args(["url", "http://h:8888", "p"]).env_remove("JUPYTER_TOKEN").output().unwrap();
    assert!(!none.status.success() && none.stdout.is_empty());
}

#[test]
fn plans_are_made_from_standard_input() {
    let mut child =
        charm().arg("dispatch").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"format\":1,\"app\":\"nb\",\"unknown\":1}").unwrap();
    let done = child.wait_with_output().unwrap();
    let plan: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(plan["status"]["state"], "blocked");
    assert!(plan["status"]["fix"].as_str().unwrap().starts_with("stoker attach-resource nb python="));
}

#[test]
fn recipes_refuse_what_they_do_not_know() {
    let known: Vec<String> = serde_json::from_slice(&output(&["recipe", "versions"]).stdout).unwrap();
    assert!(known.contains(&"4.6".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let refused = output(&["recipe", "make", "latest", &folder.path().join("out").display().to_string()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot make `latest`"));
}

#[test]
fn the_charms_description_is_valid_and_names_what_the_plan_reads() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/charm.toml")).unwrap();
    let charm = stoker_charm::charm::parse(&text).unwrap();
    assert_eq!(charm.resources["python"].default.as_deref(), Some("recipe:4.6"));
    let code = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/options.rs")).unwrap();
    for option in charm.config.keys() {
        assert!(code.contains(&format!("\"{option}\"")), "{option} is read by nobody");
    }
}
