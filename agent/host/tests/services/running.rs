//! Starting, what a service is given, and being told of changes.

use std::collections::BTreeSet;
use std::path::Path;

use stoker_host::services::{Phase, RestartOn, ServiceSpec, Supervisor as _};

use crate::place::{PATIENCE, Place, eventually, is_root, sh};

#[tokio::test]
async fn a_service_runs_until_it_is_stopped() {
    let place = Place::new();
    assert_eq!(place.see("a").await.phase, Phase::Absent);
    let mut spec = sh("a", "echo up; exec sleep 600");
    spec.mark.insert("unit".into(), "app/0".into());
    place.start(&spec).await;
    let seen = place.until_phase("a", Phase::Running).await;
    assert!(seen.pid.is_some() && seen.started_ms.is_some() && !seen.lost);
    assert_eq!((seen.digest.as_str(), seen.mark["unit"].as_str()), (spec.digest.as_str(), "app/0"));
    place.until_log("a", "up").await;
    place.supervisor.stop("a").await.unwrap();
    let seen = place.see("a").await;
    assert_eq!((seen.phase, seen.pid), (Phase::Stopped, None));
    assert!(
        seen.exit.is_some_and(|exit| exit.signal == Some(15) && exit.success),
        "{seen:?} {}",
        place.log("a")
    );
    assert!(place.processes("a").is_empty());
    place.supervisor.stop("a").await.unwrap();
    place.supervisor.stop("never-was").await.unwrap();
    place.supervisor.forget("a").await.unwrap();
    assert_eq!(place.see("a").await.phase, Phase::Absent);
    assert!(place.supervisor.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_digest_is_left_alone_and_another_replaces_it() {
    let place = Place::new();
    let spec = sh("a", "exec sleep 600");
    place.start(&spec).await;
    let first = place.until_phase("a", Phase::Running).await;
    place.start(&spec).await;
    assert_eq!(place.see("a").await.pid, first.pid);
    let other = sh("a", "exec sleep 601");
    place.start(&other).await;
    let second = place.until_phase("a", Phase::Running).await;
    assert_ne!(second.pid, first.pid);
    assert_eq!(second.digest, other.digest);
    eventually(|| place.processes("a").len() == 1).await;
    place.supervisor.restart("a").await.unwrap();
    let third = place.until_phase("a", Phase::Running).await;
    assert_ne!(third.pid, second.pid);
    place.supervisor.forget("a").await.unwrap();
}

#[tokio::test]
async fn a_second_keeper_is_refused() {
    let place = Place::new();
    place.start(&sh("a", "exec sleep 600")).await;
    let before = place.until_phase("a", Phase::Running).await;
    let second = || {
        let mut command = std::process::Command::new(crate::place::SHIM);
        command.arg("keep").arg(place.record("a")).arg("old ticket").status().unwrap().code()
    };
    assert_eq!(second(), Some(75));
    assert_eq!(place.see("a").await, before);
    place.supervisor.stop("a").await.unwrap();
    // One that comes too late does not begin.
    assert_eq!(second(), Some(76));
    assert_eq!(place.see("a").await.phase, Phase::Stopped);
}

#[tokio::test]
async fn the_environment_is_what_was_given() {
    let place = Place::new();
    let mut spec = ServiceSpec::new("a", "d", vec!["/usr/bin/env".into()]);
    spec.restart.on = RestartOn::Never;
    spec.env.insert("GIVEN".into(), "a b=c".into());
    spec.secret_env.insert("TOKEN".into(), "hunter2".into());
    place.start(&spec).await;
    place.until_phase("a", Phase::Exited).await;
    let log = place.log("a");
    let seen: BTreeSet<&str> = log.lines().filter(|line| !line.starts_with("[stoker]")).collect();
    let record = format!("STOKER_SERVICE_RECORD={}", place.record("a").display());
    assert_eq!(seen, BTreeSet::from(["GIVEN=a b=c", "TOKEN=hunter2", "STOKER_SERVICE=a", record.as_str()]));
    let state = std::fs::read_to_string(place.record("a").join("state.json")).unwrap();
    assert!(!state.contains("hunter2"));
}

#[tokio::test]
async fn every_change_is_told() {
    let place = Place::new();
    let told = async |wanted: &str| {
        tokio::time::timeout(PATIENCE, async { while place.supervisor.changed().await != wanted {} })
            .await
            .unwrap();
    };
    place.start(&sh("a", "read line < gate; exit 3")).await;
    told("a").await;
    let mut spec = sh("b", "cat gate");
    spec.cwd = Some(place.path(""));
    nix::unistd::mkfifo(&place.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    place.start(&spec).await;
    told("b").await;
    let gate = place.path("gate");
    tokio::task::spawn_blocking(move || std::fs::write(gate, "go\n")).await.unwrap().unwrap();
    tokio::time::timeout(PATIENCE, async {
        while place.see("b").await.phase != Phase::Exited {
            place.supervisor.changed().await;
        }
    })
    .await
    .expect("the end is told");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said() {
    let place = Place::new();
    let mut spec = ServiceSpec::new("a", "d", vec!["/no/such/program".into()]);
    spec.restart.on = RestartOn::Never;
    place.start(&spec).await;
    let seen = place.until_phase("a", Phase::Failed).await;
    assert!(seen.reason.unwrap().contains("/no/such/program"));
    assert_eq!(seen.exit.unwrap().code, Some(127));
    // Also beside what does not hold.
    let mut capped = ServiceSpec::new("c", "d", vec!["/no/such/program".into()]);
    capped.restart.on = RestartOn::Never;
    capped.limits.nofile = 1 << 50;
    place.start(&capped).await;
    let seen = place.until_phase("c", Phase::Failed).await;
    assert_eq!(seen.unenforced, ["nofile"]);
    assert!(seen.reason.unwrap().contains("/no/such/program"));
    let mut nobody = sh("b", "true");
    nobody.user = Some("no-such-user-here".into());
    place.start(&nobody).await;
    let seen = place.until_phase("b", Phase::Failed).await;
    assert!(seen.reason.unwrap().contains("no-such-user-here"));
}

#[tokio::test]
async fn limits_hold_or_are_said_not_to() {
    let place = Place::new();
    let mut spec = sh("a", "ulimit -n; exec sleep 600");
    spec.limits.nofile = 345;
    spec.limits.memory = 1 << 30;
    place.start(&spec).await;
    let seen = place.until_phase("a", Phase::Running).await;
    place.until_log("a", "345").await;
    assert_eq!(seen.unenforced, ["memory"]);
    place.supervisor.stop("a").await.unwrap();
}

#[tokio::test]
async fn a_denied_folder_is_not_written() {
    let place = Place::new();
    let (denied, allowed) = (place.path("builds"), place.path("data"));
    for folder in [&denied, &allowed] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("old"), "old").unwrap();
    }
    let script = "for d in builds data; do echo x 2>&1 > $d/new; echo x 2>&1 > $d/old; rm -f $d/old; done; echo x > top; true";
    let mut spec = sh("a", script);
    spec.cwd = Some(place.path(""));
    spec.deny_write = vec![denied.clone()];
    place.start(&spec).await;
    let seen = place.until_phase("a", Phase::Exited).await;
    if seen.unenforced.contains(&"deny-write".to_owned()) {
        assert!(!is_root(), "root can have a mount namespace here: {}", place.log("a"));
        return;
    }
    assert!(!denied.join("new").exists() && allowed.join("new").exists());
    assert_eq!(std::fs::read_to_string(denied.join("old")).unwrap(), "old");
    assert!(!allowed.join("old").exists());
    // Landlock, which is what others than root have, cannot allow this one.
    assert!(place.path("top").exists() || !is_root());
}

#[tokio::test]
async fn another_user_is_taken_on_whole() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    // No shell between: it would mend the signals itself.
    let mut spec = ServiceSpec::new("a", "d", vec!["/bin/cat".into(), "/proc/self/status".into()]);
    spec.restart.on = RestartOn::Never;
    spec.user = Some("nobody".into());
    place.start(&spec).await;
    place.until_phase("a", Phase::Exited).await;
    let nobody = stoker_host::users::lookup("nobody").unwrap().unwrap();
    let log = place.log("a");
    let field = |name: &str| log.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let four = |id: u32| [id.to_string(), id.to_string(), id.to_string(), id.to_string()].join("\t");
    assert_eq!((field("Uid:"), field("Gid:")), (four(nobody.uid), four(nobody.gid)));
    assert_eq!(field("Groups:"), nobody.gid.to_string());
    assert_eq!((field("NoNewPrivs:").as_str(), field("CapEff:").as_str()), ("1", "0000000000000000"));
    assert_eq!(field("SigBlk:"), "0000000000000000");
    // Rust ignores SIGPIPE (13); the command must not.
    assert_eq!(u64::from_str_radix(&field("SigIgn:"), 16).unwrap() & (1 << 12), 0);
}

#[tokio::test]
async fn wrong_specs_start_nothing() {
    let place = Place::new();
    for spec in [
        ServiceSpec::new("../a", "d", vec!["true".into()]),
        ServiceSpec::new("a", "d", vec![]),
        ServiceSpec::new("a", "d", vec![String::new()]),
    ] {
        place.supervisor.start(&spec).await.unwrap_err();
    }
    let mut spec = sh("a", "true");
    spec.env.insert("A=B".into(), "c".into());
    place.supervisor.start(&spec).await.unwrap_err();
    assert!(place.supervisor.list().await.unwrap().is_empty());
    assert!(!Path::new(&place.path("a")).exists());
}
