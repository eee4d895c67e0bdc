//! Fragments in order become one: what a later one says replaces what an earlier one said, key by key. Owns the
//! order of files; must not validate.

use std::path::{Path, PathBuf};

use super::fragment::{
    Access, Charm, Charms, Fragment, Gc, Limits, Log, Probe, Recipes, Rollout, SettingsError, Sources,
};

/// `or` key by key, for a table: `later.or(earlier)`.
macro_rules! over {
    ($earlier:expr, $later:expr, $kind:ident { $($field:ident),* }) => {
        match ($earlier, $later) {
            (Some(earlier), Some(later)) => Some($kind { $($field: later.$field.or(earlier.$field)),* }),
            (earlier, later) => later.or(earlier),
        }
    };
}

impl Fragment {
    /// This one with `later` over it.
    pub(crate) fn with(self, later: Self) -> Self {
        Self {
            address: later.address.or(self.address),
            host_name: later.host_name.or(self.host_name),
            supervisor: later.supervisor.or(self.supervisor),
            access: over!(self.access, later.access, Access { others }),
            charms: over!(self.charms, later.charms, Charms { path }),
            recipes: over!(self.recipes, later.recipes, Recipes { env }),
            sources: over!(
                self.sources,
                later.sources,
                Sources { allow_private, ca_file, max_size, timeout }
            ),
            charm: over!(self.charm, later.charm, Charm { timeout }),
            probe: over!(self.probe, later.probe, Probe { interval }),
            rollout: over!(self.rollout, later.rollout, Rollout { max_unavailable, health_timeout }),
            gc: over!(self.gc, later.gc, Gc { keep_releases, keep_unused }),
            limits: over!(self.limits, later.limits, Limits { archive_entries, archive_size, file_size }),
            log: over!(self.log, later.log, Log { level }),
        }
    }
}

/// `stoker.toml` and, in the order of their names, the drop-ins `*.toml` beside it.
pub(super) fn read_all(config: &Path, drop_ins: &Path) -> Result<Fragment, SettingsError> {
    let mut merged = Fragment::read(config)?.unwrap_or_default();
    for file in files(drop_ins)? {
        if let Some(fragment) = Fragment::read(&file)? {
            merged = merged.with(fragment);
        }
    }
    Ok(merged)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let read = |source| SettingsError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_names_win_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let (config, drops) = (dir.path().join("stoker.toml"), dir.path().join("stoker.toml.d"));
        std::fs::create_dir(&drops).unwrap();
        std::fs::write(&config, "address = '10.0.0.1'\n[limits]\narchive-entries = 1\nfile-size = '1g'\n")
            .unwrap();
        std::fs::write(drops.join("20-b.toml"), "address = '10.0.0.3'\n").unwrap();
        std::fs::write(drops.join("10-a.toml"), "address = '10.0.0.2'\n[limits]\narchive-entries = 2\n")
            .unwrap();
        std::fs::write(drops.join("30-c.toml.bak"), "nonsense").unwrap();
        std::fs::write(drops.join(".40-d.toml"), "nonsense").unwrap();
        let merged = read_all(&config, &drops).unwrap();
        assert_eq!(merged.address.as_deref(), Some("10.0.0.3"));
        let limits = merged.limits.unwrap();
        assert_eq!((limits.archive_entries, limits.file_size.as_deref()), (Some(2), Some("1g")));
    }

    #[test]
    fn no_files_are_no_settings() {
        let dir = tempfile::tempdir().unwrap();
        let merged = read_all(&dir.path().join("a.toml"), &dir.path().join("a.toml.d")).unwrap();
        assert_eq!(merged, Fragment::default());
    }

    #[test]
    fn a_bad_drop_in_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("10.toml"), "x = 1").unwrap();
        let error = read_all(&dir.path().join("a.toml"), dir.path()).unwrap_err();
        assert!(error.to_string().contains("10.toml"), "{error}");
    }
}
