//! The checker: what must hold of an agent's folder. Owns the invariants between the store, the journal, the files and
//! the processes of a host. It reads only databases, files and `/proc`, and asks nothing of the agent, so that an agent
//! that lies is found out; it changes nothing.

mod files;
mod processes;
mod records;

use std::path::Path;

use serde::{Deserialize, Serialize};
use stoker_host::processes as proc;

use crate::settings::Paths;
use records::Records;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Of what: `store`, `journal`, `units`, `services`, `files`, `builds` or `kept`.
    pub of: String,
    /// What was found.
    pub found: String,
    /// What helps.
    pub fix: String,
}

/// What was found so far. What only holds where nothing goes on is told apart from what always holds.
#[derive(Debug, Default)]
struct Found {
    strict: bool,
    all: Vec<Finding>,
}

/// What helps with each kind of damage.
fn fix(of: &str) -> &'static str {
    match of {
        "store" | "journal" => "put a backup in its place, or install the version of stoker that wrote it",
        "builds" => "stoker builds verify --repair",
        "files" => "put back what the plan says: stoker show-plan UNIT",
        "kept" => "look at what is left of it below `kept` before `stoker kept destroy`",
        _ => "start the agent again: it goes on where it was, and stops what belongs to no unit",
    }
}

impl Found {
    /// Never holds in a sound folder.
    fn damage(&mut self, of: &str, found: String) {
        self.all.push(Finding { of: of.to_owned(), found, fix: fix(of).to_owned() });
    }

    /// Is seen in a sound folder while something goes on.
    fn unrest(&mut self, of: &str, found: String) {
        if self.strict {
            self.damage(of, found);
        }
    }
}

/// The agent of the folder, where one runs.
pub(crate) fn agent_of(paths: &Paths) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(&paths.lock).ok()?.trim().parse().ok()?;
    let is_agent = proc::words(pid).iter().skip(1).any(|word| word == "agent");
    (proc::runs(pid) && is_agent).then_some(pid)
}

/// Everything that does not hold; empty = the folder is sound. `strict` adds what holds only where nothing goes on.
pub(crate) fn look(paths: &Paths, strict: bool) -> Vec<Finding> {
    let mut found = Found { strict, all: Vec::new() };
    let agent = agent_of(paths);
    let records = Records::read(paths, &mut found);
    if let Some(records) = &records {
        records::check(records, &mut found);
        processes::check(paths, records, agent, &mut found);
        files::check(&paths.root, records, &mut found);
    }
    found.all.sort();
    found.all.dedup();
    found.all
}

/// Every content of every build against its name; what is wrong.
pub(crate) fn contents(builds: &Path) -> Result<Vec<Finding>, stoker_host::builds::BuildError> {
    let damage = stoker_host::builds::Builds::look(builds)?.verify()?;
    let of = |damage: stoker_host::builds::Damage| Finding {
        of: "builds".to_owned(),
        found: format!("builds/{}: {}", damage.path, damage.detail),
        fix: fix("builds").to_owned(),
    };
    Ok(damage.into_iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_found_by_strict_alone() {
        for strict in [false, true] {
            let mut found = Found { strict, all: Vec::new() };
            found.unrest("units", "an operation".into());
            found.damage("builds", "a tree".into());
            assert_eq!(found.all.len(), 1 + usize::from(strict));
            assert!(found.all.iter().all(|finding| !finding.fix.is_empty()));
        }
    }

    #[test]
    fn a_folder_of_nobody_is_no_agents() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(Some(folder.path()));
        assert_eq!(agent_of(&paths), None);
        std::fs::write(&paths.lock, std::process::id().to_string()).unwrap();
        assert_eq!(agent_of(&paths), None, "a process of that number that is no agent");
        let found = look(&paths, false);
        assert_eq!(
            found.iter().map(|f| f.of.as_str()).collect::<Vec<_>>(),
            ["journal", "store"],
            "{found:?}"
        );
    }
}
