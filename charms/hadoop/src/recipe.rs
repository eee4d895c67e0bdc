//! The recipe: a whole Hadoop (HDFS, client, YARN, MapReduce, web pages, commands) from Maven, since no tarball is
//! published there. Owns which artefacts and where they go; Maven does all fetching.

mod lay;
mod maven;

use std::path::Path;

use anyhow::{Context, ensure};
use stoker_charm::Progress;

use self::maven::Maven;

/// Makes a version's HADOOP_HOME in an empty folder.
pub(crate) fn make(version: &str, out: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    ensure!(
        version.starts_with(|c: char| c.is_ascii_digit()) && version.chars().all(plain),
        "cannot make Hadoop `{version}`: that is no version, as in 3.4.1"
    );
    let mut entries = std::fs::read_dir(out).with_context(|| format!("cannot read `{}`", out.display()))?;
    ensure!(entries.next().is_none(), "cannot make Hadoop in `{}`: it is not empty", out.display());
    let mut whole = || -> anyhow::Result<()> {
        // Below OUT, so that jars are moved and not copied.
        let work = out.join(".recipe");
        maven::write_reactor(&work, version)?;
        Maven::find(out)?.fetch(&work, version, progress)?;
        lay::lay(&work, version, out, progress)
    };
    whole().with_context(|| format!("cannot make Hadoop {version}"))
}

/// The released versions, newest first.
pub(crate) fn versions() -> anyhow::Result<Vec<String>> {
    let scratch = std::env::temp_dir();
    Maven::find(&scratch).and_then(|maven| maven.versions()).context("cannot list Hadoop's versions")
}
