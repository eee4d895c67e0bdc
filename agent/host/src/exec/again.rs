//! Becoming the same program again under other variables that only count at a process's start.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Variables of the C library's allocator: one arena and early give-back instead of one arena a thread that keeps what
/// it had. A process that stays for months and works for seconds is the smaller for it.
const SMALL: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

/// Starts this process's program anew (same process id, same arguments) with an allocator set for little memory; does
/// nothing where that was done, or where the user has set it otherwise. Comes back only with the reason it could not.
pub fn with_small_memory() -> Option<io::Error> {
    if SMALL.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return None;
    }
    let me = match std::env::current_exe() {
        Ok(me) => me,
        Err(error) => return Some(error),
    };
    let mut words = std::env::args_os();
    let mut command = Command::new(me);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    Some(command.args(words).envs(SMALL).exec())
}
