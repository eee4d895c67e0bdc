//! Kept data of removed units: found by id, taken back once, destroyed in two steps, so that data and the record of its
//! end go together. Owns the folder `kept/` but for how data gets there, which is a unit's removal.

use std::io;
use std::path::{Path, PathBuf};

use stoker_host::fs::failpoint::hit;
use stoker_host::fs::{remove_tree, sync_folder};
use stoker_model::snapshot::Snapshot;

use super::Core;
use crate::problem::{Problem, codes};

/// Before the number of the change that destroys it, and the id: data that is on its way out.
const GOING: &str = ".going-";

fn going(change: u64, id: &str) -> String {
    format!("{GOING}{change}-{id}")
}

/// Kept data that was on its way out when an agent ended: destroyed where the change was committed, else put back.
pub(super) fn tidy(folder: &Path, snapshot: &Snapshot) -> io::Result<()> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let parts = name.strip_prefix(GOING).and_then(|rest| rest.split_once('-'));
        let Some((change, id)) = parts.and_then(|(n, id)| Some((n.parse::<u64>().ok()?, id))) else {
            continue;
        };
        if snapshot.changes.contains_key(&change) {
            remove_tree(&entry.path())?;
        } else {
            std::fs::rename(entry.path(), folder.join(id))?;
        }
    }
    Ok(())
}

impl Core {
    /// The folder of kept data.
    pub(crate) fn kept_folder(&self, id: &str) -> Result<PathBuf, Problem> {
        let known = crate::unit::kept(&self.paths.kept);
        if let Some((_, _, folder)) = known.iter().find(|(known, ..)| known == id) {
            return Ok(folder.clone());
        }
        let title = format!("cannot find kept data `{id}`");
        let known = known.iter().map(|(id, ..)| id.as_str());
        Err(Problem::new(codes::NOT_FOUND, title).fix("stoker kept list").did_you_mean(id, known))
    }

    /// Takes kept data out of sight for the change that destroys it; [`end_kept`](Self::end_kept) does the rest.
    pub(crate) fn set_kept_aside(&self, id: &str, change: u64) -> Result<(), Problem> {
        let folder = self.kept_folder(id)?;
        let aside = self.paths.kept.join(going(change, id));
        std::fs::rename(&folder, &aside)
            .and_then(|()| sync_folder(&self.paths.kept))
            .map_err(|e| Problem::internal(format!("cannot remove `{}`", folder.display()), &e))?;
        hit("agent.destroy-kept.aside");
        Ok(())
    }

    /// Destroys what was set aside for a change that was committed, else puts it back.
    pub(crate) fn end_kept(&self, id: &str, change: u64, committed: bool) -> Result<(), Problem> {
        let aside = self.paths.kept.join(going(change, id));
        let done =
            if committed { remove_tree(&aside) } else { std::fs::rename(&aside, self.paths.kept.join(id)) };
        done.map_err(|e| Problem::internal(format!("cannot remove `{}`", aside.display()), &e))?;
        hit("agent.destroy-kept.gone");
        Ok(())
    }

    /// Refuses to take back data that is another charm's, or that another unit takes back already.
    pub(crate) fn check_reuse(&self, id: &str, charm: &str, snapshot: &Snapshot) -> Result<(), Problem> {
        self.kept_folder(id)?;
        let known = crate::unit::kept(&self.paths.kept);
        let of = known.iter().find(|(known, ..)| known == id).map(|(_, meta, _)| meta.charm.clone());
        if let Some(other) = of.filter(|other| other != charm) {
            let title = format!("cannot take back `{id}`: it is data of charm {other}, not of {charm}");
            return Err(Problem::new(codes::CONFLICT, title));
        }
        if let Some(unit) = snapshot.units.values().find(|unit| unit.reuse.as_deref() == Some(id)) {
            let title = format!("cannot take back `{id}`: {} takes it back", unit.id);
            return Err(Problem::new(codes::CONFLICT, title));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stoker_model::record::Change;

    use super::*;

    #[test]
    fn what_was_on_its_way_out_goes_with_its_change_or_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a-0-1f", ".going-7-b-0-2e", ".going-8-c-0-3d"] {
            std::fs::create_dir_all(folder.path().join(name).join("data")).unwrap();
        }
        let change = Change {
            n: 7,
            time: 0,
            by: String::new(),
            command: String::new(),
            apps: Vec::new(),
            origin: None,
        };
        let snapshot = Snapshot { changes: [(7, Arc::new(change))].into(), ..Snapshot::default() };
        tidy(folder.path(), &snapshot).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a-0-1f", "c-0-3d"]);
    }
}
