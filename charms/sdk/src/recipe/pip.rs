//! pip, in a virtual environment of its own: fetching packages' archives and asking which versions there are. Owns how
//! pip is called and what its failures mean; must not know what the packages are for.

#![allow(clippy::disallowed_methods, reason = "recipes run tools")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{check_cancelled, output, run, run_lines};
use crate::Progress;

/// Which of a package's archives are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The source distribution.
    Source,
    /// The wheel for this platform.
    Wheel,
}

impl Kind {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Source => &["--no-binary", ":all:"],
            Self::Wheel => &["--only-binary", ":all:"],
        }
    }
}

/// pip in a virtual environment that can build source distributions.
#[derive(Debug)]
pub struct Pip {
    venv: PathBuf,
    tmp: PathBuf,
}

impl Pip {
    /// The environment that is kept with the downloads; made first in a folder, which is the caller's to remove.
    pub fn new(scratch: &Path) -> Result<Self> {
        let tmp = scratch.with_extension("tmp");
        fs::create_dir_all(&tmp).with_context(|| format!("cannot make `{}`", tmp.display()))?;
        let kept = kept();
        if let Some(venv) = kept.as_ref().filter(|venv| works(venv)) {
            return Ok(Self { venv: venv.clone(), tmp });
        }
        make(scratch)?;
        let mut pip = Self { venv: scratch.to_path_buf(), tmp };
        pip.renew()?;
        if let Some(kept) = kept {
            // One whose Python has gone is in the way; where another recipe was faster, ours serves as well.
            if kept.exists() && !works(&kept) {
                let _ = fs::remove_dir_all(&kept);
            }
            if fs::rename(scratch, &kept).is_ok() {
                pip.venv = kept;
            }
        }
        Ok(pip)
    }

    /// A package's versions, newest first, asked with the host's own pip where it can tell them. What is made for that
    /// goes again.
    pub fn known(package: &str, kind: Kind) -> Result<Vec<String>> {
        let scratch = env::temp_dir().join(format!("stoker-pip-{}", std::process::id()));
        let ask = || {
            let kept = kept().filter(|venv| works(venv));
            let venv = kept.unwrap_or_else(|| scratch.join("venv"));
            let pip = Self { venv, tmp: scratch.join("tmp") };
            fs::create_dir_all(&pip.tmp).with_context(|| format!("cannot make `{}`", pip.tmp.display()))?;
            if pip.venv.starts_with(&scratch) {
                make(&pip.venv)?;
            }
            match pip.versions(package, kind) {
                Err(_) => pip.renew().and_then(|()| pip.versions(package, kind)),
                found => found,
            }
        };
        let found = ask();
        let _ = fs::remove_dir_all(&scratch);
        found
    }

    fn renew(&self) -> Result<()> {
        let mut install = self.command("install");
        // A pip that can tell its progress, and what building a distribution's metadata needs.
        install.args(["--quiet", "--upgrade", "pip>=24.1", "setuptools", "wheel"]);
        run(install).context("cannot install pip, setuptools and wheel from the package index")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(self.venv.join("bin/python"));
        // What pip leaves behind when it is cancelled goes with what it was asked for.
        command.env("TMPDIR", &self.tmp);
        command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]).arg(verb);
        if let Some(cache) = cache() {
            command.arg("--cache-dir").arg(cache);
        }
        command
    }

    /// The archive of a version of a package, in `folder`. A version that there is not is told with those near it.
    pub fn download(
        &self,
        package: &str,
        version: &str,
        kind: Kind,
        folder: &Path,
        progress: &mut Progress,
    ) -> Result<PathBuf> {
        let mut download = self.command("download");
        download.args(["--no-deps", "--no-build-isolation", "--progress-bar", "raw"]);
        download.args(kind.arguments()).arg("--dest").arg(folder).arg(format!("{package}=={version}"));
        let done = run_lines(download, |line| {
            if let Some((done, total)) = raw_progress(line) {
                progress.step("downloading", done, total);
            }
        });
        if let Err(failed) = done {
            check_cancelled()?;
            let known = self.versions(package, kind).unwrap_or_default();
            if !known.is_empty() && !known.iter().any(|known| known == version) {
                bail!(
                    "cannot find {package} {version} on the package index; there are {}",
                    near(version, &known).join(", ")
                );
            }
            return Err(failed).with_context(|| format!("cannot download {package} {version}"));
        }
        let found = fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        let archive = found.flatten().map(|entry| entry.path()).find(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".tar.gz") || path.extension().is_some_and(|end| end == "whl")
        });
        archive.with_context(|| {
            format!("cannot find the archive of {package} {version} among what pip downloaded")
        })
    }

    /// A package's versions, newest first.
    pub fn versions(&self, package: &str, kind: Kind) -> Result<Vec<String>> {
        let mut ask = self.command("index");
        ask.args(["versions", package]).args(kind.arguments());
        let said =
            output(ask).with_context(|| format!("cannot ask the package index for versions of {package}"))?;
        let known = said.lines().find_map(|line| line.strip_prefix("Available versions:"));
        let known =
            known.with_context(|| format!("cannot read what pip says of the versions of {package}"))?;
        Ok(known.split(',').map(|version| version.trim().to_owned()).collect())
    }
}

/// Makes a virtual environment with the pip that the host's Python has.
fn make(venv: &Path) -> Result<()> {
    let python =
        ["/usr/bin/python3", "python3"].into_iter().find(|p| !p.starts_with('/') || Path::new(p).exists());
    let mut make = Command::new(python.unwrap_or("python3"));
    make.args(["-m", "venv"]).arg(venv);
    run(make).context("cannot make a virtual environment (on Debian: apt install python3-venv)")
}

/// Where the environment is kept; nowhere without a cache.
fn kept() -> Option<PathBuf> {
    cache().map(|cache| cache.with_file_name("pip-environment"))
}

/// Whether an environment is whole and its Python still there.
fn works(venv: &Path) -> bool {
    venv.is_dir() && run(Command::new(venv.join("bin/python")).args(["-m", "pip", "--version"])).is_ok()
}

/// Where downloads are kept: below `STOKER_CACHE`, else pip's own place, which needs a home.
fn cache() -> Option<PathBuf> {
    env::var_os("STOKER_CACHE").filter(|dir| !dir.is_empty()).map(|dir| PathBuf::from(dir).join("pip"))
}

/// `Progress 123 of 456`, as pip's raw progress bar says it.
fn raw_progress(line: &str) -> Option<(u64, u64)> {
    let (done, total) = line.trim().strip_prefix("Progress ")?.split_once(" of ")?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

/// The versions nearest to one that does not exist: of its minor line, else of its major, else the newest.
pub fn near(version: &str, known: &[String]) -> Vec<String> {
    let parts: Vec<&str> = version.split('.').collect();
    let matching = |count: usize| -> Vec<String> {
        let same = |known: &&String| known.split('.').take(count).eq(parts.iter().take(count).copied());
        if parts.len() < count { Vec::new() } else { known.iter().filter(same).take(8).cloned().collect() }
    };
    [matching(2), matching(1)]
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_else(|| known.iter().take(8).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_versions_near_a_missing_one() {
        let known: Vec<String> = ["4.0.1", "4.0.0", "3.5.9", "3.5.8", "3.4.4"].map(ToOwned::to_owned).into();
        assert_eq!(near("3.5.77", &known), ["3.5.9", "3.5.8"]);
        assert_eq!(near("3.9.0", &known), ["3.5.9", "3.5.8", "3.4.4"]);
        assert_eq!(near("4", &known), ["4.0.1", "4.0.0"]);
        assert_eq!(near("new", &known).len(), 5);
    }

    #[test]
    fn reads_pips_progress() {
        assert_eq!(raw_progress("Progress 100 of 316840219"), Some((100, 316_840_219)));
        for other in ["Collecting pyspark==3.5.9", "Progress", "Progress x of y"] {
            assert_eq!(raw_progress(other), None, "{other}");
        }
    }
}
