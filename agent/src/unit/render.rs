//! Rendering: all files of a plan are made in memory before the first is written; what is named by content is
//! written once, what is live is replaced by rename.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stoker_host::fs::failpoint::hit;
use stoker_host::users;
use stoker_model::resolve::Applied;

use super::bind::files_root;
use super::inputs::FOLDER;
use super::trouble::Trouble;
use super::worker::Worker;
use crate::core::Core;

struct Ready {
    path: PathBuf,
    bytes: Vec<u8>,
    mode: u32,
    owner: Option<(u32, u32)>,
    live: bool,
}

impl Worker {
    /// Writes the files of a resolved plan.
    pub(super) fn render(&self, applied: &Applied) -> Result<(), Trouble> {
        let mut ready = Vec::new();
        for group in applied.groups.values() {
            for (within, file) in &group.files {
                let base = Path::new(&group.path);
                let path = if within.is_empty() { base.to_owned() } else { base.join(within) };
                let text = if file.secret {
                    applied.bindings.fill_with(&file.text, |name| {
                        self.secret_value(&applied.plan, &applied.bindings.secrets, name)
                    })?
                } else {
                    // Already resolved; what is left of `${…}` belongs to the file.
                    file.text.clone()
                };
                let owner = owner_now(file.user.as_deref())?;
                ready.push(Ready {
                    path,
                    bytes: text.into_bytes(),
                    mode: file.mode,
                    owner,
                    live: group.live,
                });
            }
        }
        for file in ready {
            // Named by content: what is there is complete, since it came by rename.
            if !file.live && file.path.exists() {
                continue;
            }
            let written = file
                .path
                .parent()
                .map_or(Ok(()), |folder| stoker_host::fs::make_folder(folder, 0o755, None))
                .and_then(|()| stoker_host::fs::atomic_write(&file.path, &file.bytes, file.mode, file.owner));
            written.map_err(|error| {
                Trouble::error("ST0339", format!("cannot write `{}`: {error}", file.path.display()))
            })?;
            hit("agent.prepare.file-written");
        }
        Ok(())
    }

    /// Removes rendered files that neither what lives nor the candidate names.
    pub(super) fn sweep_files(&self) -> Result<(), Trouble> {
        let root = files_root(&self.core, &self.id);
        let kept: BTreeSet<PathBuf> = self
            .local
            .living()
            .chain(&self.local.candidate)
            .flat_map(|applied| applied.groups.values())
            .filter_map(|group| Path::new(&group.path).parent().map(Path::to_owned))
            .collect();
        let Ok(entries) = std::fs::read_dir(&root) else { return Ok(()) };
        for entry in entries.flatten() {
            let path = entry.path();
            if !kept.contains(&path)
                && path.file_name().is_some_and(|name| name != "live" && name != "actions" && name != FOLDER)
            {
                stoker_host::fs::remove_tree(&path).map_err(|e| {
                    Trouble::error("ST0339", format!("cannot remove `{}`: {e}", path.display()))
                })?;
            }
        }
        self.sweep_inputs();
        self.sweep_live_files(&root.join("live"))
    }

    /// Live files have a fixed place: what the plans no longer name there would be read for ever.
    fn sweep_live_files(&self, live: &Path) -> Result<(), Trouble> {
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        for group in self.local.living().chain(&self.local.candidate).flat_map(|a| a.groups.values()) {
            for within in group.files.keys().filter(|_| group.live) {
                let base = Path::new(&group.path);
                let file = if within.is_empty() { base.to_owned() } else { base.join(within) };
                kept.extend(file.ancestors().take_while(|above| above.starts_with(live)).map(Path::to_owned));
            }
        }
        let mut folders = vec![live.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if !kept.contains(&path) {
                    stoker_host::fs::remove_tree(&path).map_err(|e| {
                        Trouble::error("ST0339", format!("cannot remove `{}`: {e}", path.display()))
                    })?;
                } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        Ok(())
    }
}

fn owner_now(user: Option<&str>) -> Result<Option<(u32, u32)>, Trouble> {
    let Some(name) = Core::system_user(user) else { return Ok(None) };
    let found = users::lookup(&name).map_err(|e| Trouble::from_error("ST0338", &e))?;
    Ok(found.filter(|account| !account.own).map(|account| (account.uid, account.gid)))
}
