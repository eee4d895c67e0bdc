//! What changed: one queue of names, fed by the keepers' datagrams and by their deaths.
//!
//! Nothing here polls: while no service changes, nothing wakes. A name is a hint; the record says what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixDatagram;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::identity::Identity;
use super::record::NOTIFY;
use super::spec::check_name;

/// The queue and what feeds it. Dropping it ends the feeding, never a service.
pub(super) struct Watch {
    queue: Arc<Queue>,
    tasks: Mutex<BTreeMap<String, JoinHandle<()>>>,
    socket: JoinHandle<()>,
}

/// Names of services that changed.
#[derive(Default)]
pub(super) struct Queue {
    names: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Queue {
    /// Puts the name in, once.
    pub(super) fn push(&self, name: String) {
        lock(&self.names).insert(name);
        self.wake.notify_one();
    }

    /// The next name; waits for one.
    pub(super) async fn next(&self) -> String {
        loop {
            let woken = self.wake.notified();
            let (name, more) = {
                let mut names = lock(&self.names);
                (names.pop_first(), !names.is_empty())
            };
            if more {
                self.wake.notify_one();
            }
            match name {
                Some(name) => return name,
                None => woken.await,
            }
        }
    }
}

impl Watch {
    /// Binds the socket in `dir` that keepers tell their changes to. Needs a running tokio runtime.
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let socket = bind(dir)?;
        let to = Arc::clone(&queue);
        let socket = tokio::spawn(async move {
            let mut buffer = [0; 256];
            // An error of a bound datagram socket does not pass: the keepers' deaths still come.
            while let Ok(count) = socket.recv(&mut buffer).await {
                if let Some(name) =
                    std::str::from_utf8(&buffer[..count]).ok().filter(|n| check_name(n).is_ok())
                {
                    to.push(name.to_owned());
                }
            }
        });
        Ok(Self { queue, tasks: Mutex::default(), socket })
    }

    /// Puts the name into the queue.
    pub(super) fn push(&self, name: &str) {
        self.queue.push(name.to_owned());
    }

    /// Puts the name into the queue when its keeper dies, at once if it is dead.
    pub(super) fn follow(&self, name: &str, keeper: Identity) {
        let pidfd = open_pidfd(keeper).ok().flatten();
        let queue = Arc::clone(&self.queue);
        let owned = name.to_owned();
        let task = tokio::spawn(async move {
            if let Some(pidfd) = pidfd {
                // Without a reactor there is nothing to wait on: tell now rather than never.
                let _ = died(pidfd).await;
            }
            queue.push(owned);
        });
        if let Some(old) = lock(&self.tasks).insert(name.to_owned(), task) {
            old.abort();
        }
    }

    /// Stops following the name's keeper.
    pub(super) fn unfollow(&self, name: &str) {
        if let Some(task) = lock(&self.tasks).remove(name) {
            task.abort();
        }
    }

    /// The next name; waits for one.
    pub(super) async fn next(&self) -> String {
        self.queue.next().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.socket.abort();
        for task in lock(&self.tasks).values() {
            task.abort();
        }
    }
}

/// Opens the process for signals and its end; `None` when it is gone or its PID another's.
pub(super) fn open_pidfd(process: Identity) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Looked at after it was opened: the descriptor stays with this process whatever becomes of the PID.
    Ok(process.is_alive().then_some(fd))
}

/// Waits until the process has ended.
pub(super) async fn died(pidfd: OwnedFd) -> io::Result<()> {
    #[allow(
        deprecated,
        reason = "its replacement is unsafe for types whose descriptor may change; an OwnedFd's does not"
    )]
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
    let _ = pidfd.readable().await?;
    Ok(())
}

/// Binds through the folder's descriptor, since a socket's address holds 108 bytes only.
fn bind(dir: &Path) -> io::Result<UnixDatagram> {
    use std::os::fd::AsRawFd as _;
    match std::fs::remove_file(dir.join(NOTIFY)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folder = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixDatagram::bind(format!("/proc/self/fd/{}/{NOTIFY}", folder.as_raw_fd()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_come_once_and_strange_ones_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Watch::new(dir.path()).unwrap();
        let shim = std::os::unix::net::UnixDatagram::unbound().unwrap();
        for name in ["b", "a", "a", "../x", "c"] {
            shim.send_to(name.as_bytes(), dir.path().join(NOTIFY)).unwrap();
        }
        let mut seen = BTreeSet::new();
        while seen.len() < 3 {
            seen.insert(watch.next().await);
        }
        assert_eq!(seen, BTreeSet::from(["a".into(), "b".into(), "c".into()]));
    }

    #[tokio::test]
    async fn a_long_folder_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        Watch::new(&deep).unwrap();
        Watch::new(&deep).unwrap();
    }
}
