//! What a generation was planned from, kept beside its files for as long as it lives: an action that is asked for while
//! the next generation is only on its way is planned from it once more. A file that is lost or torn costs such an
//! action its wait, nothing else. Must not decide which generation an action runs on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use stoker_model::generation::Numbered;
use stoker_model::ids::Digest;
use stoker_model::observation::Observation;
use stoker_model::resolve::Applied;

use super::bind::files_root;
use super::trouble::Trouble;
use super::worker::Worker;

/// The folder among a unit's rendered files.
pub(super) const FOLDER: &str = "inputs";

impl Worker {
    /// Keeps what `applied` was planned from, where it is of a generation and that is still known.
    pub(super) fn keep_inputs(&self, applied: &Applied) -> Result<(), Trouble> {
        let (Some(generation), Some(seen)) = (&applied.bindings.generation, &self.last_seen) else {
            return Ok(());
        };
        // After a restart of the agent the last observation is one of a plan that was not applied yet, or none.
        if Digest::of(seen) != applied.answers {
            return Ok(());
        }
        let path = self.inputs_file(generation.n);
        let written = path
            .parent()
            .map_or(Ok(()), |folder| stoker_host::fs::make_folder(folder, 0o700, None))
            .and_then(|()| stoker_host::fs::atomic_write(&path, seen, 0o600, None));
        written
            .map_err(|error| Trouble::error("ST0339", format!("cannot write `{}`: {error}", path.display())))
    }

    /// What a generation was planned from while its services ran as they do.
    pub(super) fn inputs_of(&self, generation: &Numbered) -> Option<Observation> {
        let bytes = std::fs::read(self.inputs_file(generation.n)).ok()?;
        let seen: Observation = serde_json::from_slice(&bytes).ok()?;
        // One that was kept when it had just been applied still speaks of the services of the one before.
        (seen.generation.as_ref() == Some(generation)).then_some(seen)
    }

    /// Removes what is kept of generations that live no more.
    pub(super) fn sweep_inputs(&self) {
        let generations = self.local.living().filter_map(|applied| applied.bindings.generation.as_ref());
        let lives: BTreeSet<PathBuf> = generations.map(|generation| self.inputs_file(generation.n)).collect();
        let folder = files_root(&self.core, &self.id).join(FOLDER);
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if !lives.contains(&path) {
                // Tried again with the next move.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn inputs_file(&self, n: u64) -> PathBuf {
        files_root(&self.core, &self.id).join(FOLDER).join(format!("{n}.json"))
    }
}
