//! The agent away, the keeper killed, the record damaged: nothing runs twice and nothing is lost.

use std::time::Duration;

use stoker_host::services::{Phase, RestartOn, Supervisor as _};

use crate::place::{PATIENCE, Place, eventually, kill, sh};

#[tokio::test]
async fn a_service_outlives_the_agent_and_is_found_again() {
    let place = Place::new();
    let spec = sh("a", "exec sleep 600");
    place.start(&spec).await;
    let before = place.until_phase("a", Phase::Running).await;
    let place = place.reopen();
    assert_eq!(place.see("a").await, before);
    assert_eq!(place.supervisor.list().await.unwrap(), vec![before.clone()]);
    // It is told once, so that the agent looks at it, and followed from then on.
    assert_eq!(tokio::time::timeout(PATIENCE, place.supervisor.changed()).await.unwrap(), "a");
    place.start(&spec).await;
    assert_eq!(place.see("a").await.pid, before.pid);
    kill(before.pid.unwrap(), "KILL");
    tokio::time::timeout(PATIENCE, async {
        while place.see("a").await.phase != Phase::Failed {
            place.supervisor.changed().await;
        }
    })
    .await
    .expect("its end is told to the new agent");
}

#[tokio::test]
async fn it_is_started_again_while_the_agent_is_away() {
    let place = Place::new();
    let mut spec = sh("a", "exec sleep 600");
    spec.restart.on = RestartOn::Failure;
    spec.restart.backoff = vec![Duration::from_millis(1)];
    place.start(&spec).await;
    let first = place.until_phase("a", Phase::Running).await;
    let services = place.supervisor_dir();
    let place = {
        // Nobody listens at the socket any more.
        std::fs::remove_file(services.join("agent.notify")).unwrap();
        kill(first.pid.unwrap(), "KILL");
        place.until("a", |seen| seen.restarts == 1 && seen.phase == Phase::Running).await;
        place.reopen()
    };
    let second = place.see("a").await;
    assert!(second.pid.is_some() && second.pid != first.pid);
    assert_eq!(place.processes("a").len(), 1);
    place.supervisor.stop("a").await.unwrap();
}

#[tokio::test]
async fn a_killed_keeper_is_noticed_and_its_service_never_doubled() {
    let place = Place::new();
    let spec = sh("a", "setsid sleep 600 & echo up; exec sleep 600");
    place.start(&spec).await;
    place.until_log("a", "up").await;
    eventually(|| place.processes("a").len() == 2).await;
    let before = place.see("a").await;
    kill(place.keeper("a"), "KILL");
    tokio::time::timeout(PATIENCE, async {
        while !place.see("a").await.lost {
            place.supervisor.changed().await;
        }
    })
    .await
    .expect("the keeper's death is told");
    let lost = place.see("a").await;
    // What it kept goes on, and is not taken for kept.
    assert_eq!((lost.phase, lost.pid), (Phase::Failed, before.pid));
    place.start(&spec).await;
    let after = place.until_phase("a", Phase::Running).await;
    assert_ne!(after.pid, before.pid);
    eventually(|| place.processes("a").len() == 2).await;
    assert!(place.processes("a").iter().all(|one| Some(one.pid) != before.pid));
    // And the same for a stop in the keeper's place.
    kill(place.keeper("a"), "KILL");
    place.until("a", |seen| seen.lost).await;
    place.supervisor.stop("a").await.unwrap();
    let stopped = place.see("a").await;
    assert_eq!((stopped.phase, stopped.pid, stopped.lost), (Phase::Stopped, None, false));
    assert!(place.processes("a").is_empty());
}

#[tokio::test]
async fn a_damaged_or_missing_state_hides_no_process() {
    for damage in [&b""[..], b"\0\0\0\0", b"{\"format\":1}", b"missing"] {
        let place = Place::new();
        let spec = sh("a", "exec sleep 600");
        place.start(&spec).await;
        let before = place.until_phase("a", Phase::Running).await;
        kill(place.keeper("a"), "KILL");
        place.until("a", |seen| seen.lost).await;
        let state = place.record("a").join("state.json");
        if damage == b"missing" { std::fs::remove_file(&state) } else { std::fs::write(&state, damage) }
            .unwrap();
        assert_eq!(place.see("a").await.phase, Phase::Stopped);
        place.start(&spec).await;
        let after = place.until_phase("a", Phase::Running).await;
        assert_ne!(after.pid, before.pid);
        assert_eq!(place.processes("a").iter().map(|one| one.pid).collect::<Vec<_>>(), [after.pid.unwrap()]);
        place.supervisor.stop("a").await.unwrap();
    }
}

#[tokio::test]
async fn a_pid_of_another_boot_or_another_process_is_a_stranger() {
    let place = Place::new();
    let spec = sh("a", "exec sleep 600");
    place.start(&spec).await;
    place.until_phase("a", Phase::Running).await;
    place.supervisor.stop("a").await.unwrap();
    // A process that happens to have the PIDs of the record.
    let mut stranger = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let path = place.record("a").join("state.json");
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let forge = |key: &str, value: serde_json::Value| {
        let mut forged = state.clone();
        forged["phase"] = "running".into();
        forged["pid"] = stranger.id().into();
        forged["shim_pid"] = stranger.id().into();
        forged["start_ticks"] = 1.into();
        forged[key] = value;
        std::fs::write(&path, serde_json::to_vec(&forged).unwrap()).unwrap();
    };
    forge("shim_start_ticks", 1.into());
    let seen = place.see("a").await;
    assert_eq!((seen.phase, seen.pid, seen.lost), (Phase::Failed, None, true));
    place.supervisor.stop("a").await.unwrap();
    forge("boot_id", "another boot".into());
    let seen = place.see("a").await;
    assert_eq!((seen.phase, seen.pid, seen.lost), (Phase::Stopped, None, false));
    place.start(&spec).await;
    place.until_phase("a", Phase::Running).await;
    place.supervisor.stop("a").await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was hit");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn names_alike_in_two_folders_do_not_meet() {
    let (here, there) = (Place::new(), Place::new());
    let spec = sh("a", "exec sleep 600");
    here.start(&spec).await;
    there.start(&spec).await;
    let neighbour = there.until_phase("a", Phase::Running).await;
    kill(here.keeper("a"), "KILL");
    here.until("a", |seen| seen.lost).await;
    here.supervisor.stop("a").await.unwrap();
    assert_eq!(there.see("a").await, neighbour);
    there.supervisor.stop("a").await.unwrap();
}
