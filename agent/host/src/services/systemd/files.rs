//! Unit files on the disk: where they are, and which of them are this agent's.
//!
//! Services are in `/etc`, enabled by a link, so that they come up at boot without the agent; what runs once is in
//! `/run`, which a boot empties. Owns these files and links. It must not ask systemd anything.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::unit::{self, Own};
use crate::fs::{atomic_write, sync_folder};

const KEPT: &str = "/etc/systemd/system";
const PASSING: &str = "/run/systemd/system";
/// Where the links are of what is started at boot.
const WANTED: &str = "multi-user.target.wants";

/// The folders of unit files.
pub(super) struct Files {
    kept: PathBuf,
    passing: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { kept: KEPT.into(), passing: PASSING.into() }
    }
}

/// The unit of a service.
pub(super) fn unit_name(service: &str) -> String {
    format!("{service}.service")
}

impl Files {
    /// What the service's unit file says, and its text.
    pub(super) fn read(&self, service: &str) -> io::Result<Option<(Own, String)>> {
        for folder in [&self.kept, &self.passing] {
            match std::fs::read_to_string(folder.join(unit_name(service))) {
                Ok(text) => match unit::read(&text) {
                    Some(own) => return Ok(Some((own, text))),
                    None => return Err(io::Error::other("it is another's, or a newer stoker's")),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes the service's unit file; one that runs at boot is enabled.
    pub(super) fn write(&self, service: &str, text: &str, oneshot: bool) -> io::Result<()> {
        let (folder, other) = if oneshot { (&self.passing, &self.kept) } else { (&self.kept, &self.passing) };
        gone(&other.join(unit_name(service)))?;
        std::fs::create_dir_all(folder)?;
        let path = folder.join(unit_name(service));
        if std::fs::read(&path).is_ok_and(|before| before == text.as_bytes()) {
            return Ok(());
        }
        atomic_write(&path, text.as_bytes(), 0o644, None)
    }

    /// Has the service started at boot.
    pub(super) fn enable(&self, service: &str) -> io::Result<()> {
        let link = self.link(service);
        let target = self.kept.join(unit_name(service));
        if std::fs::read_link(&link).is_ok_and(|now| now == target) {
            return Ok(());
        }
        let folder = self.kept.join(WANTED);
        std::fs::create_dir_all(&folder)?;
        gone(&link)?;
        std::os::unix::fs::symlink(&target, &link)?;
        sync_folder(&folder)
    }

    /// Has the service not started at boot.
    pub(super) fn disable(&self, service: &str) -> io::Result<()> {
        let link = self.link(service);
        if std::fs::symlink_metadata(&link).is_err() {
            return Ok(());
        }
        gone(&link)?;
        sync_folder(&self.kept.join(WANTED))
    }

    /// Removes the service's unit file and link.
    pub(super) fn remove(&self, service: &str) -> io::Result<()> {
        self.disable(service)?;
        gone(&self.passing.join(unit_name(service)))?;
        let path = self.kept.join(unit_name(service));
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(());
        }
        gone(&path)?;
        sync_folder(&self.kept)
    }

    /// All services whose records are in `records` and whose names begin so, by name.
    pub(super) fn all(&self, records: &Path, prefix: &str) -> io::Result<BTreeMap<String, Own>> {
        let mut found = BTreeMap::new();
        for folder in [&self.kept, &self.passing] {
            let entries = match std::fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let name = entry?.file_name().into_string().unwrap_or_default();
                let ours = |name: &&str| name.starts_with("stoker-") && name.starts_with(prefix);
                let Some(service) = name.strip_suffix(".service").filter(ours) else {
                    continue;
                };
                // Another's, or one that cannot be read: none of ours.
                if let Ok(Some((own, _))) = self.read(service)
                    && own.record.parent() == Some(records)
                {
                    found.insert(service.to_owned(), own);
                }
            }
        }
        Ok(found)
    }

    fn link(&self, service: &str) -> PathBuf {
        self.kept.join(WANTED).join(unit_name(service))
    }
}

fn gone(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::spec::ServiceSpec;
    use crate::services::systemd::unit::{Around, render};

    #[test]
    fn ours_are_told_from_others_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { kept: dir.path().join("etc"), passing: dir.path().join("run") };
        let text = |name: &str, records: &str| {
            let record = Path::new(records).join(name);
            let around = Around { record: &record, shim: Path::new("/bin/shim"), version: 252 };
            render(&ServiceSpec::new(name, "d", vec!["/bin/true".into()]), &around).unwrap()
        };
        files.write("stoker-a", &text("stoker-a", "/one"), false).unwrap();
        files.enable("stoker-a").unwrap();
        files.write("stoker-b", &text("stoker-b", "/two"), true).unwrap();
        std::fs::write(dir.path().join("etc/stoker-c.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
        assert_eq!(files.all(Path::new("/one"), "").unwrap().into_keys().collect::<Vec<_>>(), ["stoker-a"]);
        assert_eq!(files.all(Path::new("/two"), "").unwrap().into_keys().collect::<Vec<_>>(), ["stoker-b"]);
        assert!(files.read("stoker-c").is_err());
        let link = files.link("stoker-a");
        assert_eq!(std::fs::read_link(&link).unwrap(), dir.path().join("etc/stoker-a.service"));
        files.disable("stoker-a").unwrap();
        assert!(!link.exists() && files.read("stoker-a").unwrap().is_some());
        for name in ["stoker-a", "stoker-b", "stoker-none"] {
            files.remove(name).unwrap();
            assert_eq!(files.read(name).unwrap(), None);
        }
    }
}
