//! The `identify` and `storage` programs on real folders: what may be formatted and what never. Java is a stand-in
//! script that writes what a format writes, so that each moment of an interruption can be hit; the real one is run by
//! `real_hadoop.rs`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use stoker_charm::serde_json::{self, Value};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hadoop");

/// Acts as `java … NameNode -format`: the folder is in an argument, the cluster id is the last one.
const JAVA: &str = r#"#!/bin/sh
for word; do
  case $word in dfs.namenode.name.dir=file://*) dir=${word#dfs.namenode.name.dir=file://} ;; esac
  id=$word
done
echo run >>"${0%/*}/runs"
mkdir "$dir/current" || exit 1
printf 'clusterID=%s\nlayoutVersion=-67\nstorageType=NAME_NODE\n' "$id" >"$dir/current/VERSION"
[ -e "${0%/*}/stall" ] && { : >"${0%/*}/stalled"; sleep 60; }
[ -e "${0%/*}/fail" ] && { echo "java.io.IOException: No space left on device" >&2; echo "	at org.x.Y" >&2; exit 1; }
echo image >"$dir/current/fsimage_0000000000000000000"
"#;

struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["name", "data"] {
            fs::create_dir(lab.path(folder)).unwrap();
        }
        fs::write(lab.path("java"), JAVA).unwrap();
        fs::set_permissions(lab.path("java"), fs::Permissions::from_mode(0o755)).unwrap();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, program: &str, more: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg(program).args(["--name", self.path("name").to_str().unwrap()]);
        command.args(["--data", self.path("data").to_str().unwrap(), "--nameservice", "lake"]);
        command.args(["--java", self.path("java").to_str().unwrap(), "--classpath", "x"]).args(more);
        command
    }

    fn run(&self, program: &str, more: &[&str]) -> (Option<i32>, Value) {
        outcome(&self.command(program, more).output().unwrap())
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    fn version(&self, folder: &str, cluster: &str) {
        let current = self.path(folder).join("current");
        fs::create_dir_all(&current).unwrap();
        fs::write(current.join("VERSION"), format!("clusterID={cluster}\nlayoutVersion=-57\n")).unwrap();
    }
}

fn outcome(output: &Output) -> (Option<i32>, Value) {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or("null");
    (output.status.code(), serde_json::from_str(last).unwrap())
}

fn leftovers(folder: &Path) -> Vec<String> {
    let names =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".format-")).collect()
}

const FORMAT: [&str; 2] = ["--format", "CID-new"];
const EXPECT: [&str; 2] = ["--expect", "CID-new"];

#[test]
fn formats_once_and_keeps_the_name() {
    let lab = Lab::new();
    let (code, found) = lab.run("identify", &FORMAT);
    assert_eq!(
        (code, &found["fresh"], &found["nameservice"]),
        (Some(0), &Value::Bool(true), &Value::from("lake"))
    );
    assert_eq!(lab.runs(), 0);
    let (code, found) = lab.run("storage", &FORMAT);
    assert_eq!(
        (code, &found["layout"], &found["formatted"]),
        (Some(0), &Value::from(-67), &Value::Bool(true))
    );
    // Again, and under another application: nothing is formatted, the name stays.
    for more in [&FORMAT[..], &EXPECT, &["--format", "CID-other", "--nameservice", "pond"]] {
        for program in ["storage", "identify"] {
            let (code, found) = lab.run(program, more);
            assert_eq!(
                (code, &found["cluster-id"]),
                (Some(0), &Value::from("CID-new")),
                "{program} {more:?}"
            );
            assert_eq!((&found["nameservice"], &found["fresh"]), (&Value::from("lake"), &Value::Bool(false)));
        }
    }
    assert_eq!((lab.runs(), leftovers(&lab.path("name"))), (1, Vec::new()));
}

#[test]
fn missing_data_are_never_formatted() {
    let lab = Lab::new();
    // The application remembers.
    for program in ["identify", "storage"] {
        let (code, found) = lab.run(program, &EXPECT);
        assert_eq!((code, &found["problem"]), (Some(75), &Value::from("missing")));
        assert!(found["says"].as_str().unwrap().contains("data of cluster CID-new is missing"), "{found}");
    }
    // Only the record remembers.
    lab.run("storage", &FORMAT);
    fs::rename(lab.path("name/current"), lab.path("away")).unwrap();
    let (code, found) = lab.run("storage", &["--format", "CID-other"]);
    assert_eq!((code, &found["problem"]), (Some(75), &Value::from("missing")));
    // It heals when they are back.
    fs::rename(lab.path("away"), lab.path("name/current")).unwrap();
    assert_eq!(lab.run("storage", &FORMAT).0, Some(0));
    assert_eq!(lab.runs(), 1);
}

#[test]
fn an_interrupted_format_is_finished_only_where_nothing_is_known() {
    let lab = Lab::new();
    lab.version("name", "CID-half");
    let (code, found) = lab.run("storage", &["--expect", "CID-half"]);
    assert_eq!((code, found["says"].as_str().unwrap().contains("incomplete")), (Some(75), true));
    let (code, found) = lab.run("storage", &FORMAT);
    assert_eq!((code, &found["cluster-id"]), (Some(0), &Value::from("CID-new")));
    assert!(lab.path("name/interrupted.0/VERSION").exists());
}

#[test]
fn what_holds_anything_is_left_alone() {
    let lab = Lab::new();
    lab.version("name", "CID-half");
    fs::write(lab.path("name/current/edits_inprogress_0000000000000000001"), "").unwrap();
    assert_eq!(lab.run("storage", &FORMAT).1["problem"], "damaged");
    fs::remove_dir_all(lab.path("name/current")).unwrap();
    lab.version("data", "CID-blocks");
    let (code, found) = lab.run("storage", &FORMAT);
    assert_eq!((code, &found["problem"]), (Some(75), &Value::from("other-cluster")));
    assert_eq!(lab.runs(), 0);
    // Blocks of another filesystem beside a whole one.
    lab.version("name", "CID-name");
    fs::write(lab.path("name/current/fsimage_0000000000000000007"), "").unwrap();
    assert_eq!(lab.run("identify", &FORMAT).1["problem"], "other-cluster");
    lab.version("data", "CID-name");
    assert_eq!(lab.run("identify", &FORMAT).1["layout-datanode"], -57);
    assert_eq!(lab.run("identify", &["--expect", "CID-third"]).1["problem"], "other-cluster");
}

#[test]
fn killed_at_any_moment_it_starts_over() {
    let lab = Lab::new();
    fs::write(lab.path("stall"), "").unwrap();
    let mut child = lab.command("storage", &FORMAT).stdout(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while !lab.path("stalled").exists() {
        assert!(Instant::now() < end, "the format did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!lab.path("name/current").exists());
    fs::remove_file(lab.path("stall")).unwrap();
    let (code, found) = lab.run("storage", &FORMAT);
    assert_eq!((code, &found["formatted"]), (Some(0), &Value::Bool(true)));
    // In place, but not recorded: the image says whose it is.
    fs::remove_file(lab.path("name/stoker-hdfs.json")).unwrap();
    assert_eq!(lab.run("storage", &FORMAT).1["formatted"], true);
    assert!(lab.path("name/stoker-hdfs.json").exists());
    assert_eq!((lab.runs(), leftovers(&lab.path("name"))), (2, Vec::new()));
}

#[test]
fn a_format_that_fails_says_why_and_leaves_nothing() {
    let lab = Lab::new();
    fs::write(lab.path("fail"), "").unwrap();
    let (code, found) = lab.run("storage", &FORMAT);
    assert_eq!((code, &found["problem"]), (Some(75), &Value::from("format-failed")));
    assert!(found["says"].as_str().unwrap().ends_with("No space left on device"), "{found}");
    assert!(!lab.path("name/current").exists());
    fs::remove_file(lab.path("fail")).unwrap();
    assert_eq!(lab.run("storage", &FORMAT).0, Some(0));
    assert_eq!(leftovers(&lab.path("name")), Vec::<String>::new());
}
