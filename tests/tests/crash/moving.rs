//! Kills at moments that nobody chose, and an end that is asked for in the middle of a move.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use stoker_tests::checker::{published, revision, running, violations};
use stoker_tests::{LONG, until};

use crate::victim::{Victim, programs};

/// Kills in all (`STOKER_CRASH_ROUNDS`).
const ROUNDS: usize = 50;

/// A small generator (xorshift); its seed is printed, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn settle(victim: &Victim, what: &str, text: &str) {
    let end = Instant::now() + LONG;
    loop {
        let waited = victim.cli(&["wait", "--timeout", "10s"]);
        let mut found = violations(victim.dir());
        if !waited.ok {
            found.push(waited.text);
        }
        let local = victim.local("echo-0");
        let said = local["applied"]["groups"]["conf"]["files"]["echo.json"]["text"].to_string();
        if !said.contains(text) {
            found.push(format!("applied is {said}, expected {text}"));
        }
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{what}: {found:#?}\n{}", victim.log_end());
    }
}

#[test]
fn kills_at_random_moments_leave_nothing_behind() {
    let _turn = crate::turn();
    programs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let seed = std::env::var("STOKER_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now | 1);
    eprintln!("seed {seed} (STOKER_CRASH_SEED)");
    std::thread::scope(|scope| {
        for half in 0..2 {
            let count = (crate::number("STOKER_CRASH_ROUNDS", ROUNDS) / 2).max(1);
            scope.spawn(move || rounds(Random(seed ^ (half << 32) | 1), count));
        }
    });
}

fn rounds(mut random: Random, count: usize) {
    let mut victim = Victim::new();
    victim.start(None);
    let said = victim.cli(&[
        "deploy",
        "py-echo",
        "echo",
        "--config",
        "prepare=pass",
        "--config",
        "check=pass",
        "--wait",
    ]);
    assert!(said.ok, "{}", said.text);
    let mut newest = "hello".to_owned();
    for round in 0..count {
        let text = format!("text={round}.");
        let said = victim.cli(&["config", "echo", &text]);
        if said.ok {
            newest = format!("{round}.");
        }
        // The moment of the kill is what is random here.
        let moment = Duration::from_micros(random.next(900_000));
        let until_then = Instant::now() + moment;
        while Instant::now() < until_then {
            std::thread::sleep(Duration::from_micros(500));
        }
        let before = running(victim.dir());
        victim.kill();
        assert_eq!(published(&victim.records()), [""; 0], "round {round}, killed after {moment:?}");
        victim.start(None);
        if round % 5 == 4 || round + 1 == count {
            settle(&victim, &format!("round {round}, killed after {moment:?}"), &newest);
        } else {
            let after = running(victim.dir());
            for (name, (process, digest)) in before.iter().filter(|(name, _)| name.ends_with("-echo")) {
                if let Some((now, _)) = after.get(name).filter(|(_, same)| same == digest) {
                    assert_eq!(now, process, "round {round}: {name} has another process by the same spec");
                }
            }
        }
    }
    let at_rest = (revision(victim.dir()), running(victim.dir()));
    victim.kill();
    victim.start(None);
    // A service whose first answer is late is noted in the journal, and once more when it has answered. The store's
    // revision only grows: a write to it would never be taken back.
    let end = Instant::now() + LONG;
    loop {
        victim.cli(&["wait", "--timeout", "10s"]);
        let now = (revision(victim.dir()), running(victim.dir()));
        if now == at_rest {
            return;
        }
        assert!(Instant::now() < end, "a restart at rest changed something: {at_rest:?}, then {now:?}");
    }
}

#[test]
fn an_agent_that_is_told_to_end_finishes_its_move() {
    let _turn = crate::turn();
    programs();
    let mut victim = Victim::new();
    victim.start(None);
    let words =
        ["deploy", "py-echo", "echo", "--config", "workload=stubborn", "--config", "grace=2s", "--wait"];
    assert!(victim.cli(&words).ok);
    let before = running(victim.dir());
    assert!(victim.cli(&["config", "echo", "text=other"]).ok);
    until("the move has begun", || !victim.local("echo-0")["op"]["move"].is_null());
    victim.signal(Signal::SIGTERM);
    assert_eq!(victim.ended(), Some(0), "{}", victim.log_end());
    let local = victim.local("echo-0");
    assert!(local["op"].is_null(), "the step in hand was not finished: {}", local["op"]);
    assert_eq!(local["applied"]["release"], 2);
    let after = running(victim.dir());
    assert!(before.iter().all(|(name, old)| after.get(name) != Some(old)), "the old service still runs");
    victim.start(None);
    settle(&victim, "after the end", "other");
}
