//! Settings that change while the agent runs: saved files are read again once they are quiet. Owns the watch; what
//! a new setting means is the callback's. A file that is not valid changes nothing and is said in the log.

use std::path::PathBuf;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{Paths, Settings};

/// Editors write a file in several steps: it is read when nothing happened for so long.
const QUIET: Duration = Duration::from_millis(200);

impl Settings {
    /// `fresh`, but with those keys of `self` that need a restart; true when such a key differs.
    fn live(&self, fresh: Self) -> (Self, bool) {
        let kept = self.address != fresh.address
            || self.host_name != fresh.host_name
            || self.supervisor != fresh.supervisor;
        let host_name = self.host_name.clone();
        (Self { address: self.address, host_name, supervisor: self.supervisor, ..fresh }, kept)
    }
}

/// Calls `changed` with the new settings whenever they change, until the task is aborted or the runtime ends.
/// Where the folder cannot be watched, a warning says so and settings stay as they are.
pub(crate) fn spawn(
    paths: &Paths,
    current: Settings,
    changed: impl Fn(&Settings) + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(run(paths.clone(), current, changed))
}

async fn run(paths: Paths, mut current: Settings, changed: impl Fn(&Settings) + Send) {
    let (config, drop_ins) = (paths.config.clone(), paths.drop_ins());
    let (wake, mut woken) = mpsc::channel::<()>(1);
    let concerns = {
        let drop_ins = drop_ins.clone();
        move |path: &PathBuf| *path == config || *path == drop_ins || path.parent() == Some(&*drop_ins)
    };
    let heard = move |event: notify::Result<notify::Event>| {
        // Our own reading opens files: that is no change. A full channel has a wake-up in it already.
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(&concerns)) {
            let _ = wake.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(heard) {
        Ok(watcher) => watcher,
        Err(error) => return tracing::warn!(%error, "cannot watch the settings: they are read at start only"),
    };
    let Some(folder) = paths.config.parent() else { return };
    if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
        return tracing::warn!(%error, folder = %folder.display(), "cannot watch the settings' folder");
    }
    loop {
        // The folder of drop-ins may appear later, and again; no folder is no error.
        let _ = watcher.watch(&drop_ins, RecursiveMode::NonRecursive);
        if woken.recv().await.is_none() {
            return;
        }
        while tokio::time::timeout(QUIET, woken.recv()).await.is_ok_and(|more| more.is_some()) {}
        match Settings::load(&paths) {
            Err(problem) => tracing::warn!(%problem, "the settings stay as they were"),
            Ok(fresh) => {
                let (fresh, kept) = current.live(fresh);
                if kept {
                    tracing::warn!("`address` and `host-name` take effect when the agent is started again");
                }
                if fresh != current {
                    tracing::info!("settings have changed");
                    current = fresh;
                    changed(&current);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_saved_file_is_seen_and_a_bad_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(Some(dir.path()));
        std::fs::create_dir(paths.drop_ins()).unwrap();
        let (said, mut heard) = mpsc::unbounded_channel();
        let settings = Settings::load(&paths).unwrap();
        let task = spawn(&paths, settings, move |fresh| said.send(fresh.clone()).unwrap());
        // The watch starts some time after the task: save again and again until it is seen.
        let mut seen = None;
        for keep in 20..120 {
            std::fs::write(&paths.config, "nonsense").unwrap();
            std::fs::write(&paths.config, format!("address = '10.0.0.9'\n[gc]\nkeep-releases = {keep}\n"))
                .unwrap();
            if let Ok(fresh) = tokio::time::timeout(Duration::from_millis(500), heard.recv()).await {
                seen = fresh;
                break;
            }
        }
        let fresh = seen.expect("a saved file is seen");
        assert!(fresh.keep_releases >= 20);
        assert_eq!(fresh.address, None, "an address needs a restart");
        std::fs::write(paths.drop_ins().join("a.toml"), "[gc]\nkeep-releases = 7\n").unwrap();
        let mut last = fresh;
        while last.keep_releases != 7 {
            last = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await.unwrap().unwrap();
        }
        task.abort();
    }
}
