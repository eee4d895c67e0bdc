//! The agent killed at every step of starting, stopping and forgetting services. Runs only with the feature
//! `failpoints`.
#![cfg(feature = "failpoints")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test, of the crate where processes are started"
)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stoker_host::fs::failpoint;
use stoker_host::services::{Phase, ServiceSpec, ShimSupervisor, Stop, Supervisor as _, marked};

/// Tells a child of the test what to do and where.
const PLACE: &str = "STOKER_TEST_PLACE";

fn spec(name: &str, seconds: u32) -> ServiceSpec {
    let command = vec!["/bin/sleep".to_owned(), seconds.to_string()];
    let mut spec = ServiceSpec::new(name, format!("digest {seconds}"), command);
    spec.stop = Stop { signal: "TERM".into(), grace: Duration::from_secs(10) };
    spec
}

/// All that is done to services, from nothing or from wherever an earlier try stopped.
async fn work(dir: &Path) {
    let open = || ShimSupervisor::new(dir, Path::new(env!("CARGO_BIN_EXE_stoker-shim"))).unwrap();
    let supervisor = open();
    supervisor.start(&spec("stays", 600)).await.unwrap();
    supervisor.start(&spec("changes", 600)).await.unwrap();
    drop(supervisor);
    let supervisor = open();
    supervisor.start(&spec("stays", 600)).await.unwrap();
    supervisor.start(&spec("changes", 601)).await.unwrap();
    supervisor.start(&spec("goes", 600)).await.unwrap();
    supervisor.forget("goes").await.unwrap();
}

/// What a child does; nothing when the test itself is run.
#[tokio::test]
async fn child() {
    if let Some(place) = std::env::var_os(PLACE) {
        work(Path::new(&place)).await;
    }
}

/// Runs a child; whether it came to its end.
fn run(dir: &Path, aim: Option<&str>, log: &Path) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--test-threads", "1"])
        .env(PLACE, dir)
        .env("STOKER_FAILPOINT_LOG", log);
    if let Some(aim) = aim {
        command.env("STOKER_FAILPOINT", aim);
    }
    command.output().unwrap().status.success()
}

/// Exactly the two that should run, once each, and nothing of the third.
async fn check(dir: &Path, after: &str) {
    let supervisor = ShimSupervisor::new(dir, Path::new(env!("CARGO_BIN_EXE_stoker-shim"))).unwrap();
    let seen = supervisor.list().await.unwrap();
    let names: Vec<_> = seen.iter().map(|one| (one.name.as_str(), one.phase, one.digest.as_str())).collect();
    let wanted = [("changes", Phase::Running, "digest 601"), ("stays", Phase::Running, "digest 600")];
    assert_eq!(names, wanted, "after {after}");
    let dir = dir.canonicalize().unwrap();
    for (name, count) in [("stays", 1), ("changes", 1), ("goes", 0)] {
        assert_eq!(marked(name, &dir.join(name)).len(), count, "processes of {name} after {after}");
    }
    for name in ["stays", "changes"] {
        supervisor.forget(name).await.unwrap();
        assert!(marked(name, &dir.join(name)).is_empty(), "after {after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_survives_a_kill() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("log");
    let clean = temp.path().join("clean");
    assert!(run(&clean, None, &log));
    check(&clean, "nothing").await;
    let hits = std::fs::read_to_string(&log).unwrap();
    for name in failpoint::ALL.iter().filter(|name| name.starts_with("services.")) {
        let count = hits.lines().filter(|hit| hit == name).count();
        assert!(count > 0, "`{name}` is never reached");
        for nth in 1..=count {
            let dir = temp.path().join(format!("{name}-{nth}"));
            let aim = format!("{name}=abort@{nth}");
            assert!(!run(&dir, Some(&aim), &log), "`{aim}` did not kill");
            // And once more on the way back; a step that is not passed again kills nobody.
            run(&dir, Some(&format!("{name}=abort@1")), &log);
            assert!(run(&dir, None, &log), "cannot go on after {aim}");
            check(&dir, &aim).await;
        }
    }
}
