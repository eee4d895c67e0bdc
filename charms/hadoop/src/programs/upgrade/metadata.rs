//! A NameNode's folder on its way between two layouts. Hadoop keeps the old metadata in `previous` and changes by
//! renames; a rename that was cut off is gone on with or undone here by Hadoop's own rules: what has a VERSION is whole.
//! Owns those rules; must only run where no NameNode does, which the lock that NameNodes take says.

#![allow(clippy::disallowed_methods, reason = "removes half-made metadata, and those that are rolled back")]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, ensure};
use rustix::fs::{FlockOperation, fcntl_lock};

use crate::programs::format::sync;
use crate::programs::version_file::Current;

/// The lock that a NameNode holds on its folder.
const LOCK: &str = "in_use.lock";

/// Where a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// As before the upgrade.
    Before,
    /// Upgraded, with what was before beside.
    After,
}

/// A step that brings a folder nearer to being whole, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    Rename(&'static str, &'static str),
    Remove(&'static str),
}

/// Takes the NameNode's lock for as long as the result lives; none where a NameNode has it.
pub(super) fn lock(folder: &Path) -> anyhow::Result<Option<File>> {
    let path = folder.join(LOCK);
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = open.with_context(|| format!("cannot open `{}`", path.display()))?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
    }
}

/// Where a whole folder is.
pub(super) fn side(folder: &Path, from: i64, to: i64) -> anyhow::Result<Side> {
    let shown = folder.display();
    let current = Current::read(folder).with_context(|| format!("cannot read `{shown}`"))?;
    let layout = current.layout.with_context(|| format!("`{shown}` holds no metadata"))?;
    ensure!(current.image, "`{shown}` holds no image of the namespace");
    if folder.join("previous").exists() {
        ensure!(layout == to, "`{shown}` was upgraded to layout {layout}, not {to}, and is not finalized");
        Ok(Side::After)
    } else {
        ensure!(layout == from, "`{shown}` has layout {layout}, not {from}");
        Ok(Side::Before)
    }
}

/// Goes on with what was cut off, until the folder is whole.
pub(super) fn mend(folder: &Path) -> anyhow::Result<()> {
    go(folder, next_to_mend, usize::MAX)
}

/// Puts `previous` back where there is one; `from` is the layout that it must have.
pub(super) fn put_back(folder: &Path, from: i64) -> anyhow::Result<()> {
    mend(folder)?;
    let previous = folder.join("previous");
    if previous.exists() {
        let version = previous.join("VERSION");
        let text =
            fs::read_to_string(&version).with_context(|| format!("cannot read `{}`", version.display()))?;
        let layout = stoker_charm::jars::properties(&text).get("layoutVersion").and_then(|n| n.parse().ok());
        ensure!(
            layout == Some(from),
            "`{}` does not have layout {from}: it is not what to go back to",
            previous.display()
        );
        go(folder, next_back, usize::MAX)?;
    }
    Ok(())
}

/// Does steps until there is none, `most` at the most.
fn go(folder: &Path, next: fn(&Path) -> Option<Move>, most: usize) -> anyhow::Result<()> {
    for _ in 0..most {
        let Some(step) = next(folder) else { return Ok(()) };
        let done = || -> io::Result<()> {
            match step {
                Move::Rename(from, to) => fs::rename(folder.join(from), folder.join(to))?,
                Move::Remove(what) => fs::remove_dir_all(folder.join(what))?,
            }
            sync(folder)
        };
        done().with_context(|| format!("cannot mend `{}`: {step:?}", folder.display()))?;
    }
    Ok(())
}

/// The next step to a whole folder: of an upgrade (`previous.tmp`) or a rollback (`removed.tmp`) that was cut off.
fn next_to_mend(folder: &Path) -> Option<Move> {
    let has = |name: &str| folder.join(name).exists();
    let whole = has("current/VERSION");
    Some(match () {
        () if has("previous.tmp") && whole => Move::Rename("previous.tmp", "previous"),
        () if has("previous.tmp") && has("current") => Move::Remove("current"),
        () if has("previous.tmp") => Move::Rename("previous.tmp", "current"),
        () if has("removed.tmp") && whole => Move::Remove("removed.tmp"),
        () if has("removed.tmp") && has("previous") => Move::Rename("previous", "current"),
        () if has("removed.tmp") => Move::Rename("removed.tmp", "current"),
        () => return None,
    })
}

/// The next step back to what was before.
fn next_back(folder: &Path) -> Option<Move> {
    let has = |name: &str| folder.join(name).exists();
    match next_to_mend(folder) {
        None if has("previous") => Some(Move::Rename("current", "removed.tmp")),
        step => step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(folder: &Path, name: &str, layout: i64) {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("fsimage_0000000000000000007"), name).unwrap();
        fs::write(folder.join(name).join("VERSION"), format!("layoutVersion={layout}\nclusterID=CID-1\n"))
            .unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// What Hadoop leaves when an upgrade from -63 to -66 is cut off, by how far it came.
    fn cut_off(folder: &Path, at: usize) {
        match at {
            0 => version(folder, "current", -63),
            1 => version(folder, "previous.tmp", -63),
            2 | 3 => {
                version(folder, "previous.tmp", -63);
                version(folder, "current", -66);
                if at == 2 {
                    fs::remove_file(folder.join("current/VERSION")).unwrap();
                }
            }
            _ => {
                version(folder, "previous", -63);
                version(folder, "current", -66);
            }
        }
    }

    #[test]
    fn an_upgrade_that_was_cut_off_is_before_or_after() {
        for at in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            cut_off(dir.path(), at);
            mend(dir.path()).unwrap();
            let expected = if at < 3 { Side::Before } else { Side::After };
            assert_eq!(side(dir.path(), -63, -66).unwrap(), expected, "{at}");
            put_back(dir.path(), -63).unwrap();
            assert_eq!(names(dir.path()), ["current"], "{at}");
            assert_eq!(side(dir.path(), -63, -66).unwrap(), Side::Before, "{at}");
        }
    }

    /// Wherever going back ends, the next time comes to the same end, and never without metadata of before.
    #[test]
    fn going_back_is_gone_on_with() {
        for cut in 0..6 {
            let dir = tempfile::tempdir().unwrap();
            cut_off(dir.path(), 4);
            go(dir.path(), next_back, cut).unwrap();
            put_back(dir.path(), -63).unwrap();
            assert_eq!(side(dir.path(), -63, -66).unwrap(), Side::Before, "{cut}");
            assert_eq!(names(dir.path()), ["current"], "{cut}");
        }
    }

    #[test]
    fn what_is_not_the_old_is_not_put_back() {
        let dir = tempfile::tempdir().unwrap();
        cut_off(dir.path(), 4);
        let wrong = put_back(dir.path(), -64).unwrap_err().to_string();
        assert!(wrong.contains("does not have layout -64"), "{wrong}");
        assert_eq!(names(dir.path()), ["current", "previous"]);
        assert!(side(dir.path(), -63, -67).unwrap_err().to_string().contains("not finalized"));
        assert!(side(&dir.path().join("nowhere"), -63, -67).is_err());
    }

    #[test]
    fn a_folder_in_use_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(lock(dir.path()).unwrap().is_some());
        // Of the same process a second lock would be had: another one holds it.
        let held = dir.path().join(LOCK);
        let mut other = std::process::Command::new("python3")
            .args(["-c", "import fcntl,sys,time\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint(1,flush=True)\nsys.stdin.read()"])
            .arg(&held)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.take().unwrap()), &mut line)
            .unwrap();
        assert!(lock(dir.path()).unwrap().is_none());
        drop(other.stdin.take());
        other.wait().unwrap();
        assert!(lock(dir.path()).unwrap().is_some());
    }
}
