//! Files and folders of this host. Owns writing a file whole or not at all, removing a folder without following
//! links, and [`Dir`], the only way to names that somebody else chose. It must not know what the files are for.

pub mod dir;
pub mod failpoint;
mod folders;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub use dir::Dir;
pub use folders::{filesystem_id, make_folder};

/// Writes `bytes` to `path` whole or not at all: a new file beside it, made durable, then renamed over it.
///
/// `mode` are the permission bits; `owner` is `(uid, gid)`, the process's own where it is `None`. A link at
/// `path` is replaced, never followed. The folder must exist.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let (folder, name) = split(path)?;
    sweep_unready(folder, name);
    let fresh = folder.join(format!(".{name}.{}", unique()));
    let written = write_new(&fresh, bytes, mode, owner).and_then(|()| {
        failpoint::hit("fs.write.before-rename");
        std::fs::rename(&fresh, path)
    });
    if let Err(error) = written {
        // The first error is the one to tell; a leftover is hidden and harmless.
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    sync_folder(folder)
}

/// Removes what a process that was killed left of this very file. Best effort: what stays is hidden and harmless.
fn sweep_unready(folder: &Path, name: &str) {
    let own = format!("{:x}", std::process::id());
    let prefix = format!(".{name}.");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let Some(rest) = found.to_str().and_then(|found| found.strip_prefix(&prefix)) else { continue };
        let parts: Vec<&str> = rest.split('-').collect();
        let ours = parts.len() == 3 && parts.iter().all(|part| u128::from_str_radix(part, 16).is_ok());
        let alive = |pid: &str| {
            u32::from_str_radix(pid, 16).is_ok_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
        };
        if ours && parts[0] != own && !alive(parts[0]) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write_new(fresh: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        // Closed to others until the owner is set.
        .mode(0o600)
        .open(fresh)?;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes what is at `path` — a folder with all in it, a file or a link — without following any link. Nothing
/// there is no error. Read-only folders of our own are opened for it.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (folder, name) = split(path)?;
    match Dir::open(folder) {
        Ok(dir) => dir.remove_tree(name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|n| n.to_str());
    let folder = path.parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
    match (folder, name) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{}` has no readable last name", path.display()),
        )),
    }
}

/// A name that no other call on this host gives, for files that are not ready to be seen.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{count:x}", std::process::id(), since.as_nanos())
}

/// Free bytes for this process on the file system that holds `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    let free = if rustix::process::geteuid().is_root() { stat.f_bfree } else { stat.f_bavail };
    Ok(free.saturating_mul(stat.f_frsize))
}

/// The absolute form of a path, without asking the disk.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        atomic_write(&path, b"one", 0o644, None).unwrap();
        atomic_write(&path, b"two", 0o600, None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let own = format!(".a.{:x}-1-0", std::process::id());
        // No process has a number above the kernel's limit.
        for name in [".a.7fffffff-12ab-0", own.as_str(), ".a.b", ".b.7fffffff-12ab-0"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        atomic_write(&dir.path().join("a"), b"one", 0o644, None).unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap().flatten();
        let names: BTreeSet<String> = names.map(|e| e.file_name().into_string().unwrap()).collect();
        assert_eq!(
            names,
            BTreeSet::from([own.as_str(), ".a.b", ".b.7fffffff-12ab-0", "a"].map(str::to_owned))
        );
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (canary, path) = (dir.path().join("canary"), dir.path().join("link"));
        std::fs::write(&canary, "safe").unwrap();
        std::os::unix::fs::symlink(&canary, &path).unwrap();
        atomic_write(&path, b"new", 0o644, None).unwrap();
        assert_eq!(std::fs::read(&canary).unwrap(), b"safe");
        assert!(!path.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn a_missing_folder_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(atomic_write(&dir.path().join("no/a"), b"x", 0o644, None).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn removing_follows_no_link_and_opens_read_only_folders() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary"), "safe").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::write(tree.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        std::fs::set_permissions(tree.join("a/b"), std::fs::Permissions::from_mode(0o555)).unwrap();
        std::fs::set_permissions(tree.join("a"), std::fs::Permissions::from_mode(0o555)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read(outside.join("canary")).unwrap(), b"safe");
        remove_tree(&tree).unwrap();
    }
}
