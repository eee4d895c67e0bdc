//! Short children.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stoker_host::exec::{Exec, Sandbox, run, run_with_progress};

use crate::place::{SHIM, eventually, is_root};

fn sh(script: &str) -> Exec {
    Exec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        deadline: Duration::from_secs(30),
        shim: Some(PathBuf::from(SHIM)),
        ..Exec::default()
    }
}

#[tokio::test]
async fn output_input_and_code_come_through() {
    let cmd = Exec { stdin: Some(b"in".to_vec()), ..sh("cat; echo err >&2; pwd; exit 4") };
    let output = run(&cmd).await.unwrap();
    assert_eq!((output.status, output.signal, output.timed_out), (Some(4), None, false));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"in/\n"[..], &b"err\n"[..]));
    let output = run(&sh("kill -9 $$")).await.unwrap();
    assert_eq!((output.status, output.signal), (None, Some(9)));
    run(&Exec { program: "/no/such".into(), ..Exec::default() }).await.unwrap_err();
}

#[tokio::test]
async fn the_environment_is_built_from_nothing() {
    let cmd = Exec { program: "/usr/bin/env".into(), args: vec![], ..sh("") };
    assert_eq!(run(&cmd).await.unwrap().stdout, b"PATH=/usr/bin:/bin\n");
    let cmd = Exec { sandbox: Some(Sandbox::default()), ..cmd };
    assert_eq!(run(&cmd).await.unwrap().stdout, b"PATH=/usr/bin:/bin\n");
}

#[tokio::test]
async fn a_flood_is_cut_and_never_blocks() {
    let output =
        run(&Exec { output_cap: 1000, ..sh("head -c 5000000 /dev/zero; echo end >&2") }).await.unwrap();
    assert_eq!((output.stdout.len(), output.truncated, output.status), (1000, true, Some(0)));
    assert_eq!(output.stderr, b"end\n");
}

#[tokio::test]
async fn the_deadline_ends_the_whole_group() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "trap '' TERM; (echo $$; exec sleep 600) & setsid sleep 601 & echo $! > {}; wait",
        file.path().display()
    );
    let output = run(&Exec { deadline: Duration::from_millis(300), ..sh(&script) }).await.unwrap();
    assert!(output.timed_out && output.signal == Some(9));
    let apart: u32 = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
    eventually(|| !stoker_host::services::Identity::of(apart).is_some_and(|one| one.is_alive())).await;
}

#[tokio::test]
async fn what_is_left_behind_holds_nobody_up() {
    let output = run(&sh("sleep 600 & echo $!; exit 0")).await.unwrap();
    let left: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(stoker_host::services::Identity::of(left).is_some_and(|one| one.is_alive()));
    crate::place::kill(left, "KILL");
    let output = run(&Exec { kill_leftovers: true, ..sh("sleep 600 & echo $!; exit 0") }).await.unwrap();
    let left: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    eventually(|| !stoker_host::services::Identity::of(left).is_some_and(|one| one.is_alive())).await;
}

#[tokio::test]
async fn a_dropped_run_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let cmd = sh(&format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", file.display()));
    let task = tokio::spawn(async move { run(&cmd).await });
    eventually(|| file.exists()).await;
    let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    task.abort();
    eventually(|| !stoker_host::services::Identity::of(pid).is_some_and(|one| one.is_alive())).await;
}

#[tokio::test]
async fn a_sandbox_writes_only_where_it_may() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["may", "not"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join("old"), "old").unwrap();
    }
    let sandbox = Sandbox { write: vec![dir.path().join("may")], no_network: true };
    let script = "for d in may not; do echo x > $d/new; echo x > $d/old; mkdir $d/dir; done; cat not/old; echo x > /dev/null";
    let cmd = Exec { sandbox: Some(sandbox), cwd: Some(dir.path().into()), ..sh(script) };
    let output = run(&cmd).await.unwrap();
    assert_eq!((output.status, output.stdout.as_slice()), (Some(0), &b"old"[..]), "{output:?}");
    assert!(dir.path().join("may/new").exists() && dir.path().join("may/dir").exists());
    assert!(!dir.path().join("not/new").exists() && !dir.path().join("not/dir").exists());
    assert_eq!(std::fs::read_to_string(dir.path().join("not/old")).unwrap(), "old");
}

#[tokio::test]
async fn a_sandbox_reaches_no_port_and_no_process() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stranger = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let script = format!(
        "(exec 5<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo connected; kill -9 {} 2>/dev/null && echo killed; true",
        stranger.id()
    );
    let bash = |sandbox| Exec { program: "/bin/bash".into(), sandbox, ..sh(&script) };
    let held = run(&bash(Some(Sandbox { write: vec![], no_network: true }))).await.unwrap();
    assert_eq!((held.status, held.stdout.as_slice()), (Some(0), &b""[..]), "{held:?}");
    assert!(stranger.try_wait().unwrap().is_none());
    // The same without a sandbox reaches both: the test can fail.
    let free = run(&bash(None)).await.unwrap();
    assert_eq!(free.stdout, b"connected\nkilled\n");
    stranger.wait().unwrap();
}

#[tokio::test]
async fn another_user_without_rights() {
    if !is_root() {
        return;
    }
    let output = run(&Exec { user: Some("nobody".into()), ..sh("id -un; cat /etc/shadow") }).await.unwrap();
    assert_eq!((output.status, output.stdout.as_slice()), (Some(1), &b"nobody\n"[..]));
    let output = run(&Exec { user: Some("no-such-user-here".into()), ..sh("true") }).await.unwrap();
    assert_eq!(output.status, Some(127));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no-such-user-here"));
}

#[tokio::test]
async fn progress_comes_line_by_line() {
    let mut lines = Vec::new();
    let script = "echo out; echo one >&3; echo two >&3; printf three >&3; read x || echo no input";
    let output = run_with_progress(&sh(script), |line| lines.push(line)).await.unwrap();
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!((output.status, output.stdout.as_slice()), (Some(0), &b"out\nno input\n"[..]));
    assert!(Path::new(SHIM).exists());
}
