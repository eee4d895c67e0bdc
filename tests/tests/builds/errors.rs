//! Errors of the disk, given to the agent in the place of a system call's result.

use crate::place::Place;
use crate::{tried, turn};

/// What the N-th call of a thread answers. The agent is traced from its start; its children are not.
const CASES: &[(&str, &str, u32)] = &[
    ("syncfs", "EIO", 1),
    ("linkat", "EIO", 1),
    ("linkat", "ENOSPC", 4),
    ("linkat", "EMLINK", 7),
    ("mkdirat", "ENOSPC", 2),
    ("utimensat", "EIO", 3),
    ("renameat2", "EIO", 1),
    ("unlinkat", "EIO", 1),
    ("fsync", "EIO", 1),
];

#[test]
fn an_error_of_any_call_fails_the_add_or_nothing() {
    let _turn = turn();
    let mut place = Place::new();
    for (call, error, when) in CASES {
        let archive = place.archive();
        let archive = archive.to_str().expect("a path");
        place.victim.kill();
        // `--seccomp-bpf` leaves all other calls at their speed; -D makes the tracer the grandchild, not the agent.
        let inject = format!("inject={call}:error={error}:when={when}..{}", when + 1);
        let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", "-e"];
        place.victim.through = words.iter().map(|word| (*word).to_owned()).collect();
        place.victim.through.extend([format!("trace={call}"), "-e".to_owned(), inject]);
        let up = place.victim.start(None);
        let said = if up {
            place.victim.cli(&["builds", "add", archive])
        } else {
            crate::victim::Said { ok: false, text: String::new() }
        };
        place.victim.through.clear();
        place.again();
        place.check(call);
        place.ok(&["builds", "add", archive]);
        place.ok(&["builds", "gc", "--yes"]);
        place.check(call);
        let outcome = if said.ok { "the add went on" } else { "the add failed, nothing stayed" };
        tried(
            &format!("{call} answers {error}"),
            &format!("calls {when} and {} of a thread", when + 1),
            outcome,
        );
    }
}
