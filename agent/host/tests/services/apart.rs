//! What is run apart: its progress, its end, and that nothing of it is left however it is left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use stoker_host::exec::Exec;
use stoker_host::services::apart::{Apart, PREFIX, end_apart, run_apart};
use stoker_host::services::{ShimSupervisor, Supervisor};
use tokio::sync::Notify;

use crate::place::{PATIENCE, SHIM, eventually};

struct Here {
    dir: tempfile::TempDir,
    supervisor: Arc<dyn Supervisor>,
    woken: Notify,
}

impl Here {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = ShimSupervisor::new(&dir.path().join("services"), Path::new(SHIM)).unwrap();
        Self { dir, supervisor: Arc::new(supervisor), woken: Notify::new() }
    }

    async fn run(&self, id: &str, script: &str, on_line: impl FnMut(String)) -> stoker_host::exec::Output {
        let cmd = Exec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            deadline: Duration::from_secs(20),
            shim: Some(PathBuf::from(SHIM)),
            ..Exec::default()
        };
        let scratch = self.dir.path().join(id);
        std::fs::create_dir(&scratch).unwrap();
        let write = vec![scratch.clone()];
        let apart = Apart { cmd: &cmd, id, title: "a test", write, scratch: &scratch, memory: 0 };
        run_apart(&self.supervisor, apart, &self.woken, on_line).await.unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.supervisor.names(PREFIX).unwrap()
    }
}

#[tokio::test]
async fn it_tells_its_progress_and_its_end() {
    let here = Here::new();
    let mut lines = Vec::new();
    let script = "echo one >&3; echo said; echo why >&2; echo two >&3; exit 4";
    let output =
        tokio::time::timeout(PATIENCE, here.run("a", script, |line| lines.push(line))).await.unwrap();
    assert_eq!(lines, ["one", "two"]);
    assert_eq!((output.status, output.stdout.as_slice()), (Some(4), b"said\n".as_slice()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("why"), "{output:?}");
    assert!(here.names().is_empty(), "nothing is left of it");
}

#[tokio::test]
async fn it_ends_with_whoever_waits_for_it() {
    let here = Here::new();
    let begun = std::sync::atomic::AtomicBool::new(false);
    let run = here.run("b", "echo begun >&3; exec sleep 600", |_| {
        begun.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    tokio::select! {
        output = run => panic!("it ended by itself: {output:?}"),
        () = eventually(|| begun.load(std::sync::atomic::Ordering::SeqCst)) => {}
    }
    eventually(|| here.names().is_empty()).await;
}

#[tokio::test]
async fn what_a_killed_agent_left_is_stopped() {
    let here = Here::new();
    let spec = crate::place::sh(&format!("{PREFIX}left"), "exec sleep 600");
    here.supervisor.start(&spec).await.unwrap();
    assert_eq!(end_apart(here.supervisor.as_ref()).await.unwrap(), 1);
    assert!(here.names().is_empty());
    assert_eq!(end_apart(here.supervisor.as_ref()).await.unwrap(), 0);
}
