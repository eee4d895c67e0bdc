//! The checker: what must hold of an agent's folder when nothing goes on in it, as `stoker fsck` finds it; and the form
//! in which two folders are compared. Reads only databases, files and `/proc`, and asks nothing of the agent, so that an
//! agent that lies is found out.

mod processes;
mod records;
mod state;

use std::path::Path;

pub use processes::{Running, running};
pub use records::{Records, published, revision};
pub use state::{difference, state};

/// Everything that does not hold in the folder of an agent at rest; empty = it is sound.
pub fn violations(dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    let done = crate::stoker(["--dir", &dir, "fsck", "--strict", "--patience", "0s", "--format", "json"]);
    let Ok(said) = serde_json::from_str::<serde_json::Value>(&done.stdout) else {
        return vec![format!("it cannot be checked: {done:?}")];
    };
    let line = |finding: &serde_json::Value| {
        let word = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", word("of"), word("found"))
    };
    let found: Vec<String> = said["findings"].as_array().into_iter().flatten().map(line).collect();
    assert_eq!(
        (found.is_empty(), done.code == 0),
        (said["sound"] == true, said["sound"] == true),
        "{done:?}"
    );
    found
}
