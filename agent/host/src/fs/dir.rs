//! An open folder, and the names in it. Owns reaching names that somebody else chose: each component is opened
//! relative to a folder that is held open, never through a link and never above where it began. It must not take
//! an absolute path but in [`Dir::open`] and [`Dir::create`], whose paths are the agent's own.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, IFlags, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec, Timestamps,
};
use rustix::io::Errno;

/// An open folder. All names are single components unless said otherwise.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// One name in a folder.
#[derive(Debug)]
pub struct DirEntry {
    /// The name as the disk has it: any bytes.
    pub name: std::ffi::OsString,
    /// What it is, links not followed.
    pub kind: FileType,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

impl Dir {
    /// Opens a folder of the agent's own.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, FOLDER, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Opens a folder of the agent's own, making it and those above it (mode 0755 under the umask).
    pub fn create(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Opens a folder below this one; `path` may have several components and no link among them.
    pub fn sub(&self, path: impl AsRef<OsStr>) -> io::Result<Self> {
        let fd = self.open_inside(path.as_ref(), FOLDER | OFlags::NOFOLLOW)?;
        Ok(Self { fd })
    }

    /// Opens a file below this folder for reading; `path` may have several components and no link among them.
    /// Never waits on a pipe.
    pub fn open_file(&self, path: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(File::from(self.open_inside(path.as_ref(), flags)?))
    }

    fn open_inside(&self, path: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        // The kernel answers EAGAIN when something was renamed while it looked: it asks to be asked again.
        for _ in 0..64 {
            match rustix::fs::openat2(&self.fd, path.as_bytes(), flags, Mode::empty(), INSIDE) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                // Taken away where set-id bits are forbidden (`RestrictSUIDSGID=`), and by older sandboxes.
                Err(Errno::NOSYS) => return self.open_by_steps(path, flags),
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The same, a component at a time: none may be a link or lead up.
    fn open_by_steps(&self, path: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        let bytes = path.as_bytes();
        let mut names: Vec<&[u8]> =
            bytes.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
        if bytes.is_empty() {
            return Err(Errno::NOENT.into());
        }
        if bytes.starts_with(b"/") || names.contains(&&b".."[..]) {
            return Err(Errno::XDEV.into());
        }
        let last = names.pop().unwrap_or(b".");
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at: Option<OwnedFd> = None;
        for name in names {
            at = Some(rustix::fs::openat(at.as_ref().unwrap_or(&self.fd), name, step, Mode::empty())?);
        }
        Ok(rustix::fs::openat(
            at.as_ref().unwrap_or(&self.fd),
            last,
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )?)
    }

    /// Makes a folder here, with these permission bits under the umask, and opens it.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<Self> {
        let name = single(name.as_ref())?;
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))?;
        self.sub(OsStr::from_bytes(name))
    }

    /// Makes a new file here for writing, with these permission bits under the umask; it must not exist.
    pub fn create_new(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, single(name.as_ref())?, flags, Mode::from_raw_mode(mode))?;
        Ok(File::from(fd))
    }

    /// Makes a symbolic link here; the target is written as it is.
    pub fn symlink(&self, target: &str, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.fd, single(name.as_ref())?)?)
    }

    /// Makes a hard link here to `from_name` in `from`, which is not followed if it is a link.
    pub fn link(&self, name: impl AsRef<OsStr>, from: &Self, from_name: impl AsRef<OsStr>) -> io::Result<()> {
        let (from_name, name) = (single(from_name.as_ref())?, single(name.as_ref())?);
        Ok(rustix::fs::linkat(&from.fd, from_name, &self.fd, name, AtFlags::empty())?)
    }

    /// Moves `name` to `to_name` in `to`, replacing what is there.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, to_name: impl AsRef<OsStr>) -> io::Result<()> {
        let (name, to_name) = (single(name.as_ref())?, single(to_name.as_ref())?);
        Ok(rustix::fs::renameat(&self.fd, name, &to.fd, to_name)?)
    }

    /// Moves `name` to `to_name` in `to` where there is nothing yet; `AlreadyExists` otherwise.
    pub fn rename_new(
        &self,
        name: impl AsRef<OsStr>,
        to: &Self,
        to_name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (name, to_name) = (single(name.as_ref())?, single(to_name.as_ref())?);
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, to_name, RenameFlags::NOREPLACE) {
            // File systems without the flag: two steps, the name there is complete all the time.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
            }
            other => Ok(other?),
        }
    }

    /// Removes a file or a link here.
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, single(name.as_ref())?, AtFlags::empty())?)
    }

    /// What is at `name` here, not followed if it is a link.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, single(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What is at `name` here, if anything is.
    pub fn try_stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        match self.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the link `name` here points to.
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.fd, single(name.as_ref())?, Vec::new())?.into_bytes())
    }

    /// What is in this folder, without `.` and `..`, in the disk's order.
    pub fn entries(&self) -> io::Result<Vec<DirEntry>> {
        self.each_entry().collect()
    }

    /// The same, one by one.
    pub fn each_entry(&self) -> impl Iterator<Item = io::Result<DirEntry>> + '_ {
        let (listing, failed) = match rustix::fs::Dir::read_from(&self.fd) {
            Ok(listing) => (Some(listing), None),
            Err(error) => (None, Some(Err(error.into()))),
        };
        let named = listing.into_iter().flatten().filter_map(|entry| self.named(entry).transpose());
        failed.into_iter().chain(named)
    }

    fn named(&self, entry: rustix::io::Result<rustix::fs::DirEntry>) -> io::Result<Option<DirEntry>> {
        let entry = entry?;
        let bytes = entry.file_name().to_bytes();
        if bytes == b"." || bytes == b".." {
            return Ok(None);
        }
        let name = OsStr::from_bytes(bytes).to_owned();
        let kind = match entry.file_type() {
            // Some file systems do not say in the listing.
            FileType::Unknown => FileType::from_raw_mode(self.stat(&name)?.st_mode),
            kind => kind,
        };
        Ok(Some(DirEntry { name, kind }))
    }

    /// Removes `name` here with all that is in it, following no link. Nothing there is no error.
    pub fn remove_tree(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = single(name.as_ref())?;
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            // Of a read-only folder of our own: the caller opened it; of anything else: the error is true.
            Err(error) => return Err(error.into()),
        }
        let dir = self.sub(OsStr::from_bytes(name))?;
        dir.clear()?;
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes all that is in this folder, following no link.
    pub fn clear(&self) -> io::Result<()> {
        let stat = rustix::fs::fstat(&self.fd)?;
        if stat.st_mode & 0o200 == 0 {
            self.set_mode(0o700)?;
        }
        for entry in self.entries()? {
            self.remove_tree(&entry.name)?;
        }
        Ok(())
    }

    /// Sets this folder's permission bits.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))?)
    }

    /// Sets this folder's times, in seconds since 1970.
    pub fn set_time(&self, seconds: i64) -> io::Result<()> {
        Ok(rustix::fs::futimens(&self.fd, &times(seconds))?)
    }

    /// Makes the names in this folder durable.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Makes everything on this folder's file system durable, everybody's.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }

    /// Asks the file system to spread this folder's sub-folders over the disk (ext4), where it can.
    pub fn spread(&self) {
        // A hint: other file systems have no such flag.
        if let Ok(flags) = rustix::fs::ioctl_getflags(&self.fd) {
            let _ = rustix::fs::ioctl_setflags(&self.fd, flags | IFlags::TOPDIR);
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Both times of a file set to one second.
pub(crate) fn times(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

fn single(name: &OsStr) -> io::Result<&[u8]> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{}` is not a single name", name.to_string_lossy().escape_debug()),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn names_with_several_parts_are_no_names() {
        let (_temp, dir) = dir();
        for bad in ["", ".", "..", "a/b", "/a", "a\0b"] {
            assert!(dir.create_new(bad, 0o644).is_err(), "{bad:?}");
            assert!(dir.make_dir(bad, 0o755).is_err(), "{bad:?}");
            assert!(dir.symlink("x", bad).is_err(), "{bad:?}");
            assert!(dir.remove_tree(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_is_reached_through_a_link_or_above() {
        let (temp, dir) = dir();
        std::fs::create_dir_all(temp.path().join("in/deep")).unwrap();
        std::fs::write(temp.path().join("in/deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("in", temp.path().join("link")).unwrap();
        assert!(dir.open_file("in/deep/file").is_ok());
        assert!(dir.sub("in/deep").is_ok());
        assert!(dir.open_file("link/deep/file").is_err());
        assert!(dir.sub("link").is_err());
        assert!(dir.sub("in").unwrap().sub("../in").is_err());
        assert!(dir.sub("in").unwrap().sub("..").is_err());
        assert!(dir.open_file("/etc/passwd").is_err());
    }

    #[test]
    fn a_component_at_a_time_opens_and_refuses_the_same() {
        let (temp, dir) = dir();
        std::fs::create_dir_all(temp.path().join("in/deep")).unwrap();
        std::fs::write(temp.path().join("in/deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("in", temp.path().join("link")).unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("in/deep/link")).unwrap();
        let both = |path: &str, flags| {
            let path = OsStr::new(path);
            let steps = dir.open_by_steps(path, flags).is_ok();
            assert_eq!(steps, dir.open_inside(path, flags).is_ok(), "{path:?}");
            steps
        };
        for good in ["in/deep/file", "in//deep/./file", "./in/deep/file"] {
            assert!(both(good, OFlags::RDONLY), "{good}");
        }
        assert!(both("in/deep", FOLDER) && both(".", FOLDER));
        for bad in ["link/deep/file", "in/deep/link", "../in", "/etc/passwd", "in/deep/none", ""] {
            assert!(!both(bad, OFlags::RDONLY), "{bad}");
        }
        assert!(!both("link", FOLDER) && !both("in/deep/file", FOLDER));
    }

    #[test]
    fn a_new_file_never_goes_through_a_link() {
        let (temp, dir) = dir();
        std::os::unix::fs::symlink("target", temp.path().join("name")).unwrap();
        assert_eq!(dir.create_new("name", 0o644).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!temp.path().join("target").exists());
    }

    #[test]
    fn rename_new_does_not_replace() {
        let (temp, dir) = dir();
        std::fs::write(temp.path().join("a"), "a").unwrap();
        std::fs::write(temp.path().join("b"), "b").unwrap();
        assert_eq!(dir.rename_new("a", &dir, "b").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        dir.rename_new("a", &dir, "c").unwrap();
        assert_eq!(std::fs::read(temp.path().join("c")).unwrap(), b"a");
    }
}
