//! Formatting a NameNode's folder so that it is either formatted or untouched, wherever the power goes.
//! Owns the one place where HDFS is formatted; whether it may be is decided in `storage`.
//!
//! The image is made in a folder beside `current`, made durable, then renamed into place in one step.

#![allow(
    clippy::disallowed_methods,
    reason = "formatting runs Hadoop's own program, and sweeps only its own leftovers"
)]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::version_file::Current;

/// Folders of unfinished attempts start with this.
const ATTEMPT: &str = ".format-";

/// What formatting needs.
pub(super) struct Format<'a> {
    /// The NameNode's folder.
    pub(super) folder: &'a Path,
    /// The id that the new filesystem gets.
    pub(super) cluster: &'a str,
    /// The Java executable.
    pub(super) java: &'a str,
    /// JVM options.
    pub(super) options: Vec<&'a str>,
    /// The class path.
    pub(super) classpath: &'a str,
}

impl Format<'_> {
    /// Formats, and puts aside a `current` that an interrupted format left.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        sweep(self.folder)?;
        // A name of its own: a JVM that outlived an earlier attempt cannot write into this one.
        let attempt = self.folder.join(format!("{ATTEMPT}{}", std::process::id()));
        fs::create_dir(&attempt).with_context(|| format!("cannot make `{}`", attempt.display()))?;
        self.java(&attempt)?;
        let made = Current::read(&attempt)?;
        ensure!(
            made.image && made.cluster.as_deref() == Some(self.cluster),
            "the NameNode's format left no image of cluster {}",
            self.cluster
        );
        sync_tree(&attempt).with_context(|| format!("cannot sync `{}`", attempt.display()))?;
        let current = self.folder.join("current");
        if current.exists() {
            let aside = free_name(self.folder, "interrupted")?;
            fs::rename(&current, &aside)
                .with_context(|| format!("cannot put `{}` aside", current.display()))?;
        }
        fs::rename(attempt.join("current"), &current)
            .with_context(|| format!("cannot put the image into `{}`", current.display()))?;
        Ok(sync(self.folder)?)
    }

    fn java(&self, attempt: &Path) -> anyhow::Result<()> {
        let uri = format!("file://{}", attempt.display());
        let output = Command::new(self.java)
            .args(&self.options)
            .args(["-cp", self.classpath, "org.apache.hadoop.hdfs.server.namenode.NameNode"])
            .arg("-D")
            .arg(format!("dfs.namenode.name.dir={uri}"))
            .arg("-D")
            .arg(format!("dfs.namenode.edits.dir={uri}"))
            .args(["-format", "-nonInteractive", "-clusterId", self.cluster])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("cannot start `{}`", self.java))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the NameNode's format ended with {}: {}", output.status, cause(&said))
    }
}

/// Why a JVM of Hadoop ended: the last line that is no part of a stack trace and not the farewell.
pub(super) fn cause(said: &str) -> &str {
    let tells = |line: &&str| {
        !line.is_empty()
            && !line.starts_with("at ")
            && !line.starts_with("...")
            && !line.starts_with(['*', '/'])
            && !line.contains("SHUTDOWN_MSG")
            && !line.contains("Exiting with status")
    };
    said.lines().rev().map(str::trim).find(tells).unwrap_or("nothing was said")
}

/// Removes what unfinished attempts left. What a JVM of such an attempt still writes stays until the next time.
pub(super) fn sweep(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(ATTEMPT) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn free_name(folder: &Path, stem: &str) -> anyhow::Result<PathBuf> {
    (0..1000)
        .map(|n| folder.join(format!("{stem}.{n}")))
        .find(|path| !path.exists())
        .with_context(|| format!("`{}` holds too many folders `{stem}.N`", folder.display()))
}

/// Makes a folder durable with all that is in it.
pub(super) fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(folder)
}

/// Makes a file or a folder durable.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
