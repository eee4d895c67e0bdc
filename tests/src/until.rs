//! Waiting for a condition with a deadline. Owns the only pause of all tests, the one between two looks.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long anything may take on a machine that does much else.
pub const LONG: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(25);

/// Looks until `holds`; where that never comes, the test fails with `what`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_some(what, || holds().then_some(()));
}

/// Looks until there is something, and returns it.
pub fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LONG, "it did not come so far in {LONG:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Looks until what is seen is right; a failure shows what was seen last.
pub fn until_seen<T: Debug>(what: &str, mut look: impl FnMut() -> T, right: impl Fn(&T) -> bool) -> T {
    let start = Instant::now();
    loop {
        let seen = look();
        if right(&seen) {
            return seen;
        }
        assert!(start.elapsed() < LONG, "it did not come so far in {LONG:?}: {what}; last seen: {seen:#?}");
        std::thread::sleep(PAUSE);
    }
}
