//! How services and tasks end, and what comes after it.

use std::time::Duration;

use stoker_host::services::{OneShot, Phase, RestartOn, Supervisor as _};

use crate::place::{Place, eventually, is_root, sh};

#[tokio::test]
async fn who_does_not_hear_is_killed_with_all_its_children() {
    let place = Place::new();
    // The script, a child in its group, a grandchild in a session of its own: none of them listens to TERM.
    let script = "trap '' TERM; sleep 600 & setsid sh -c 'trap \"\" TERM; sleep 600' & echo up; while :; do wait; done";
    let mut spec = sh("a", script);
    spec.stop.grace = Duration::from_millis(300);
    place.start(&spec).await;
    place.until_log("a", "up").await;
    eventually(|| place.processes("a").len() == 4).await;
    place.supervisor.stop("a").await.unwrap();
    assert!(place.processes("a").is_empty());
    let seen = place.see("a").await;
    assert_eq!((seen.phase, seen.exit.unwrap().signal), (Phase::Stopped, Some(9)));
}

#[tokio::test]
async fn children_may_tidy_up_while_their_service_stops() {
    let place = Place::new();
    let script = "setsid sh -c 'trap \"echo tidied; exit\" TERM; echo armed; while :; do sleep 0.01; done' & echo up; exec sleep 600";
    place.start(&sh("a", script)).await;
    place.until_log("a", "up").await;
    place.until_log("a", "armed").await;
    eventually(|| place.processes("a").len() >= 2).await;
    place.supervisor.stop("a").await.unwrap();
    assert!(place.log("a").contains("tidied"), "{}", place.log("a"));
    assert!(place.processes("a").is_empty());
}

#[tokio::test]
async fn what_outlives_its_service_is_ended() {
    let place = Place::new();
    place.start(&sh("a", "setsid sleep 600 & sleep 600 & exit 0")).await;
    let seen = place.until_phase("a", Phase::Exited).await;
    assert!(seen.exit.unwrap().success);
    assert!(place.processes("a").is_empty());
}

#[tokio::test]
async fn exit_codes_are_judged_by_the_spec() {
    let place = Place::new();
    let cases = [
        ("ok", "exit 0", Phase::Exited),
        ("term", "exit 143", Phase::Exited),
        ("by-term", "kill -TERM $$", Phase::Exited),
        ("bad", "exit 3", Phase::Failed),
        ("by-kill", "kill -KILL $$", Phase::Failed),
    ];
    for (name, script, phase) in cases {
        place.start(&sh(name, script)).await;
        let seen = place.until(name, |seen| seen.phase.is_final()).await;
        assert_eq!(seen.phase, phase, "{name}");
        assert_eq!(seen.exit.unwrap().success, phase == Phase::Exited, "{name}");
    }
    assert_eq!(place.see("by-kill").await.exit.unwrap().signal, Some(9));
}

#[tokio::test]
async fn failures_are_started_again_and_successes_are_not() {
    let place = Place::new();
    let count = place.path("count");
    // Fails twice, then ends well.
    let script = format!("echo x >> {0}; [ $(wc -l < {0}) -ge 3 ]", count.display());
    let mut spec = sh("a", &script);
    spec.restart.on = RestartOn::Failure;
    spec.restart.backoff = vec![Duration::from_millis(1), Duration::from_millis(20)];
    place.start(&spec).await;
    let seen = place.until_phase("a", Phase::Exited).await;
    assert_eq!(seen.restarts, 2);
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 3);
    assert!(
        place.log("a").contains("starts again in 1 ms") && place.log("a").contains("starts again in 2 ms")
    );

    let mut spec = sh("b", "exit 0");
    spec.restart.on = RestartOn::Always;
    spec.restart.backoff = vec![Duration::from_millis(1)];
    place.start(&spec).await;
    place.until("b", |seen| seen.restarts >= 3).await;
    place.supervisor.stop("b").await.unwrap();
    assert_eq!(place.see("b").await.phase, Phase::Stopped);
}

#[tokio::test]
async fn a_service_that_waits_for_its_next_start_is_stopped_at_once() {
    let place = Place::new();
    let mut spec = sh("a", "exit 1");
    spec.restart.on = RestartOn::Failure;
    spec.restart.backoff = vec![Duration::from_hours(1)];
    place.start(&spec).await;
    let seen = place.until_phase("a", Phase::Backoff).await;
    assert_eq!((seen.pid, seen.exit.unwrap().code), (None, Some(1)));
    place.supervisor.stop("a").await.unwrap();
    assert_eq!(place.see("a").await.phase, Phase::Stopped);
}

#[tokio::test]
async fn a_task_leaves_its_result() {
    let place = Place::new();
    let mut spec = sh("t", "echo noise >&2; echo first; echo '{\"n\":1}'");
    spec.oneshot = Some(OneShot { timeout: Duration::from_mins(1) });
    spec.restart.on = RestartOn::Always;
    place.start(&spec).await;
    let seen = place.until(&spec.name, |seen| seen.phase.is_final()).await;
    assert_eq!((seen.phase, seen.restarts), (Phase::Exited, 0));
    assert_eq!(std::fs::read_to_string(place.supervisor.stdout_path("t")).unwrap(), "first\n{\"n\":1}\n");
    assert!(place.log("t").contains("noise") && place.log("t").contains("first"));
    // The record outlives the agent; a second run begins with nothing.
    let place = place.reopen();
    assert_eq!(place.see("t").await, seen);
    spec.command[2] = "exit 75".into();
    place.start(&spec).await;
    let seen = place.until(&spec.name, |seen| seen.phase.is_final()).await;
    assert_eq!((seen.phase, seen.exit.unwrap().code), (Phase::Failed, Some(75)));
    assert_eq!(std::fs::read_to_string(place.supervisor.stdout_path("t")).unwrap(), "");
}

#[tokio::test]
async fn a_task_ends_at_its_deadline() {
    let place = Place::new();
    let mut spec = sh("t", "trap '' TERM; echo begun; sleep 600 & wait; sleep 600");
    spec.oneshot = Some(OneShot { timeout: Duration::from_millis(200) });
    spec.stop.grace = Duration::from_millis(100);
    place.start(&spec).await;
    let seen = place.until(&spec.name, |seen| seen.phase.is_final()).await;
    let exit = seen.exit.unwrap();
    assert_eq!(seen.phase, Phase::Failed);
    assert!(exit.deadline && !exit.success);
    assert!(place.processes("t").is_empty());
}

#[tokio::test]
async fn a_flood_is_rotated_and_its_end_kept() {
    let place = Place::new();
    place.start(&sh("a", "yes 0123456789012345678901234567890 | head -c 40000000; echo the end")).await;
    place.until_phase("a", Phase::Exited).await;
    let sizes: Vec<u64> = ["log", "log.1", "log.2"]
        .iter()
        .map(|name| std::fs::metadata(place.record("a").join(name)).unwrap().len())
        .collect();
    assert!(sizes.iter().all(|size| *size <= (8 << 20) + 65536), "{sizes:?}");
    assert!(!place.record("a").join("log.3").exists());
    let tail = place.supervisor.log_tail("a", 200).await.unwrap();
    assert!(tail.contains("the end") && tail.len() <= 200 && tail.starts_with("0123"), "{tail}");
    assert_eq!(place.supervisor.log_tail("never-was", 200).await.unwrap(), "");
}

#[tokio::test]
async fn a_full_disk_stops_no_service() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    // A log that takes nothing: the service must not wait for it.
    let spec = sh("a", "head -c 1000000 /dev/zero; echo done > done; exec sleep 600");
    std::fs::create_dir(place.record("a")).unwrap();
    std::os::unix::fs::symlink("/dev/full", place.record("a").join("log")).unwrap();
    let spec = stoker_host::services::ServiceSpec { cwd: Some(place.path("")), ..spec };
    place.start(&spec).await;
    eventually(|| place.path("done").exists()).await;
    place.supervisor.stop("a").await.unwrap();
}
