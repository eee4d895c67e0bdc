//! Against a real Hadoop: its facts, and that a format that is killed at any moment is started over. Run with
//! `HADOOP_HOME=… JAVA_HOME=… cargo test -p charm-hadoop -- --ignored`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stoker_charm::serde_json::{self, Value};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hadoop");

fn home(variable: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set")))
}

fn result(command: &mut Command) -> Value {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
#[ignore = "needs a real Hadoop"]
fn layouts_are_read_from_the_classes() {
    let facts = result(Command::new(PROGRAM).args(["inspect", "hadoop"]).arg(home("HADOOP_HOME")));
    let version = facts["version"].as_str().unwrap();
    let expected = match version {
        old if old.starts_with("3.3.") => (-66, -57),
        new if new.starts_with("3.4.") || new.starts_with("3.5.") => (-67, -57),
        other => panic!("no layouts are known for {other}"),
    };
    let found = (&facts["provides"]["layout-namenode"], &facts["provides"]["layout-datanode"]);
    assert_eq!(found, (&Value::from(expected.0), &Value::from(expected.1)));
}

#[test]
#[ignore = "needs a real Hadoop"]
fn a_killed_format_starts_over() {
    let share = home("HADOOP_HOME").join("share/hadoop");
    let share = share.display();
    let classpath =
        format!("{share}/common/*:{share}/common/lib/*:{share}/hdfs:{share}/hdfs/*:{share}/hdfs/lib/*");
    for delay in (0..6).map(|n| Duration::from_millis(150 + 250 * n)) {
        let dir = tempfile::tempdir().unwrap();
        let storage = || {
            let mut command = Command::new(PROGRAM);
            command.arg("storage").arg("--name").arg(dir.path()).args([
                "--nameservice",
                "lake",
                "--format",
                "CID-x",
            ]);
            command.arg("--java").arg(home("JAVA_HOME").join("bin/java")).args(["--classpath", &classpath]);
            command.args(["--option", "-XX:TieredStopAtLevel=1", "--option", "-XX:+UseSerialGC"]);
            command
        };
        let mut child = storage().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The moment is what is varied; wherever it falls, the outcome is the same.
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = result(&mut storage());
        assert_eq!(
            (&found["cluster-id"], &found["formatted"]),
            (&Value::from("CID-x"), &Value::Bool(true)),
            "{delay:?}"
        );
        // A JVM that outlived its program may have written until now; the next run sweeps what it left.
        let end = Instant::now() + Duration::from_secs(30);
        let left = || {
            let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        while left() != [".stoker-storage.lock", "current", "stoker-hdfs.json"] {
            assert!(Instant::now() < end, "{delay:?}: {:?}", left());
            assert_eq!(result(&mut storage())["cluster-id"], "CID-x");
        }
    }
}
