//! Where everything lies: below one folder with `--dir`, in the system's places when installed. Owns every path's
//! name and the way to a socket whose path is too long for the kernel; must not read or write what is there.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::problem::{Problem, codes};

/// The kernel's limit of a socket's path, less its closing zero.
const SOCKET_LIMIT: usize = 107;

/// All paths of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    /// The folder itself; `--dir`, or `/var/lib/stoker`.
    pub root: PathBuf,
    /// True below `--dir`: everything is in `root`, services bind loopback.
    pub local: bool,
    /// `stoker.toml`; its drop-ins are in `stoker.toml.d` beside it.
    pub config: PathBuf,
    /// The API's socket.
    pub socket: PathBuf,
    /// What does not outlive a boot: sockets of hook tools.
    pub run: PathBuf,
    /// Records and logs of services.
    pub services: PathBuf,
    /// Blobs, trees, incoming.
    pub builds: PathBuf,
    /// The embedded store.
    pub store: PathBuf,
    /// This host's journal.
    pub journal: PathBuf,
    /// Held by the one agent of this folder for as long as it lives.
    pub lock: PathBuf,
    /// The key that seals secrets.
    pub key: PathBuf,
    /// `<model>/units/<app>-<n>`.
    pub models: PathBuf,
    /// Data of removed units.
    pub kept: PathBuf,
    /// What can be made again.
    pub cache: PathBuf,
    /// What goes with a tree and can be made again: `<digest>/<user>`.
    pub warm: PathBuf,
    /// Charms below the folder, searched first.
    pub charms: PathBuf,
    /// What was asked of the agent beside changes.
    pub events: PathBuf,
    /// The agent's log.
    pub log: PathBuf,
}

impl Paths {
    /// The paths for `--dir DIR`, or the installed ones. The folder need not exist; a relative one is made
    /// absolute.
    pub(crate) fn resolve(dir: Option<&Path>) -> Self {
        let Some(dir) = dir else {
            let run = Path::new("/run/stoker");
            let etc = Path::new("/etc/stoker");
            let log = Path::new("/var/log/stoker/agent.log");
            return Self::with(Path::new("/var/lib/stoker"), false, etc, run, &run.join("api.sock"), log);
        };
        let root =
            std::fs::canonicalize(dir).or_else(|_| std::path::absolute(dir)).unwrap_or_else(|_| dir.into());
        Self::with(&root, true, &root, &root.join("run"), &root.join("api.sock"), &root.join("agent.log"))
    }

    fn with(root: &Path, local: bool, config: &Path, run: &Path, socket: &Path, log: &Path) -> Self {
        Self {
            root: root.to_owned(),
            local,
            config: config.join("stoker.toml"),
            socket: socket.to_owned(),
            run: run.to_owned(),
            services: root.join("services"),
            builds: root.join("builds"),
            store: root.join("model.db"),
            journal: root.join("agent.db"),
            lock: root.join("agent.lock"),
            key: root.join("secret.key"),
            models: root.join("models"),
            kept: root.join("kept"),
            cache: root.join("cache"),
            warm: root.join("warm"),
            charms: root.join("charms"),
            events: root.join("events.jsonl"),
            log: log.to_owned(),
        }
    }

    /// `stoker.toml.d`.
    pub(crate) fn drop_ins(&self) -> PathBuf {
        self.config.with_extension("toml.d")
    }

    /// Makes the folder and those in it, and refuses one that cannot be used. For the agent's start only.
    pub(crate) fn prepare(&self) -> Result<(), Problem> {
        let folders =
            [&self.root, &self.run, &self.services, &self.builds, &self.models, &self.kept, &self.cache];
        for folder in folders.into_iter().map(PathBuf::as_path).chain(self.log.parent()) {
            std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
        }
        if nix::unistd::geteuid().is_root() { self.reachable() } else { Ok(()) }
    }

    /// With a root agent services run as other users, who must be able to walk to their folders.
    fn reachable(&self) -> Result<(), Problem> {
        for folder in self.models.ancestors() {
            let found = std::fs::metadata(folder).map_err(|error| unusable(folder, &error))?;
            if found.permissions().mode() & 0o001 == 0 {
                let shown = folder.display();
                return Err(Problem::new(
                    codes::FOLDER,
                    format!(
                        "cannot use `{}`: the users of services cannot walk through `{shown}`",
                        self.root.display()
                    ),
                )
                .evidence(format!("`{shown}` has mode {:04o}", found.mode() & 0o7777))
                .fix(format!("chmod o+x {shown}, or choose another --dir")));
            }
        }
        Ok(())
    }
}

fn unusable(folder: &Path, error: &io::Error) -> Problem {
    Problem::new(codes::FOLDER, format!("cannot use the folder `{}`: {error}", folder.display()))
        .fix("give a --dir that you may write to, or run as root")
}

/// A way to a socket that the kernel takes, however long its real path is: through its folder, held open. Keep it
/// for as long as the path is used.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    // Keeps `/proc/self/fd/N` meaning this folder.
    _folder: Option<File>,
}

impl SocketPath {
    /// The way to `socket`, whose folder must exist.
    pub(crate) fn of(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= SOCKET_LIMIT {
            return Ok(Self { path: socket.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket's path needs a folder and a name",
            ));
        };
        // O_PATH: neither reading nor writing the folder is needed, only walking through it.
        let folder = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY)
            .open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    /// What to give to `bind` and `connect`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_below_dir() {
        let paths = Paths::resolve(Some(Path::new("/srv/a")));
        for path in [&paths.config, &paths.socket, &paths.store, &paths.log, &paths.services, &paths.run] {
            assert!(path.starts_with("/srv/a"), "{}", path.display());
        }
        assert_eq!(paths.drop_ins(), Path::new("/srv/a/stoker.toml.d"));
        assert_eq!(Paths::resolve(None).socket, Path::new("/run/stoker/api.sock"));
    }

    #[test]
    fn a_closed_folder_above_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        let root = closed.join("in");
        std::fs::create_dir_all(root.join("models")).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let problem = Paths::resolve(Some(&root)).reachable().unwrap_err();
        assert!(problem.title.contains(&format!("walk through `{}`", closed.display())), "{problem}");
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o701)).unwrap();
        // What is above the test's folder is not ours to open.
        if let Err(problem) = Paths::resolve(Some(&root)).reachable() {
            assert!(!problem.title.contains("closed`"), "{problem}");
        }
    }

    #[test]
    fn sockets_work_below_a_long_folder() {
        let dir = tempfile::tempdir().unwrap();
        let mut root = dir.path().to_owned();
        while root.as_os_str().len() < 200 {
            root.push("a-folder-with-a-name");
        }
        std::fs::create_dir_all(&root).unwrap();
        let socket = root.join("api.sock");
        let way = SocketPath::of(&socket).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(way.path()).unwrap();
        assert!(socket.exists(), "the socket is where it was asked for");
        let other = SocketPath::of(&socket).unwrap();
        std::os::unix::net::UnixStream::connect(other.path()).unwrap();
        listener.accept().unwrap();
    }
}
