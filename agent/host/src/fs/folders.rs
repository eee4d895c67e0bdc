//! Folders that services use: made with their mode and owner, told apart by the filesystem they are on.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes a folder (and those above it, with mode 0755) with exactly this mode and owner; one that is there gets them.
pub fn make_folder(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    if let Some(above) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
    }
    if found.mode() & 0o7777 != mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    if let Some((uid, gid)) = owner.filter(|(uid, gid)| (found.uid(), found.gid()) != (*uid, *gid)) {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// The id of the filesystem that a folder is on: it stays over reboots and differs between mounts.
pub fn filesystem_id(path: &Path) -> io::Result<String> {
    let found = rustix::fs::statvfs(path)?;
    Ok(format!("{:x}", found.f_fsid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_and_mends_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        make_folder(&path, 0o750, None).unwrap();
        make_folder(&path, 0o700, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(filesystem_id(&path).unwrap(), filesystem_id(dir.path()).unwrap());
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_folder(&dir.path().join("file"), 0o700, None).is_err());
    }
}
