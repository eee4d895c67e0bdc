//! The recipe: a Spark home from PyPI's source distribution of pyspark. Uses pip in a virtual environment of its
//! own; owns the layout of the result. Must not leave anything but the result and a download cache.
#![allow(clippy::disallowed_methods, reason = "recipes run tools and clean up after them")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use stoker_charm::recipe::{check_cancelled, output, run_lines};
use stoker_charm::{Progress, recipe};

use crate::align::Version;

/// What the source distribution holds beside Spark: how to install it.
const LEFT_OUT: [&str; 4] = ["setup.py", "setup.cfg", "MANIFEST.in", "pyspark.egg-info"];
/// What of it goes where.
const MOVES: [(&str, &str); 3] = [("deps", ""), ("lib", "python/lib"), ("pyspark", "python/pyspark")];

/// Makes the Spark home of a version.
pub(crate) fn make(version: &str, out: &Path, progress: &mut Progress) -> Result<()> {
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
        bail!("cannot make Spark `{version}`: not a version");
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make `{}`", out.display()))?;
    let scratch = Scratch::beside(out)?;
    progress.step("preparing", 0, 0);
    let pip = Pip::new(&scratch.0.join("venv"))?;
    progress.step("downloading", 0, 0);
    let archive = pip.download(version, &scratch.0.join("sdist"), progress)?;
    progress.step("unpacking", 0, 0);
    let tree = scratch.0.join("tree");
    fs::create_dir_all(&tree).with_context(|| format!("cannot make `{}`", tree.display()))?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(&tree).args(["--no-same-owner", "--strip-components=1"]);
    recipe::run(tar).with_context(|| format!("cannot unpack `{}`", archive.display()))?;
    lay_out(&tree, out)?;
    progress.step("done", 1, 1);
    Ok(())
}

/// The versions that PyPI has, newest first.
pub(crate) fn versions() -> Result<Vec<String>> {
    let scratch = Scratch::beside(&env::temp_dir().join("stoker-spark-versions"))?;
    Pip::new(&scratch.0.join("venv"))?.versions()
}

/// Moves the distribution's parts to where a Spark home has them. Same filesystem, so nothing is copied.
fn lay_out(tree: &Path, out: &Path) -> Result<()> {
    for path in ["deps/jars", "deps/bin", "lib", "pyspark"] {
        if !tree.join(path).is_dir() {
            bail!("cannot lay out the distribution: it has no `{path}`");
        }
    }
    let rename = |from: &Path, to: &Path| {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
        }
        fs::rename(from, to)
            .with_context(|| format!("cannot move `{}` to `{}`", from.display(), to.display()))
    };
    let names = |folder: &Path| -> Result<Vec<PathBuf>> {
        let found = fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        found.map(|entry| Ok(entry?.path())).collect()
    };
    for path in names(tree)? {
        check_cancelled()?;
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        match MOVES.iter().find(|(from, _)| *from == name) {
            Some((_, "")) => {
                for part in names(&path)? {
                    let to = out.join(part.file_name().unwrap_or_default());
                    rename(&part, &to)?;
                }
            }
            Some((_, to)) => rename(&path, &out.join(to))?,
            None => rename(&path, &out.join(&name))?,
        }
    }
    Ok(())
}

/// A folder that goes with the recipe. On the result's filesystem, so that moving is renaming.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(out: &Path) -> Result<Self> {
        let name = out.file_name().and_then(|n| n.to_str()).unwrap_or("spark");
        let path = out.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// pip in a virtual environment that can build source distributions.
struct Pip(PathBuf);

impl Pip {
    fn new(venv: &Path) -> Result<Self> {
        let python = ["/usr/bin/python3", "python3"]
            .into_iter()
            .find(|p| !p.starts_with('/') || Path::new(p).exists());
        fs::create_dir_all(venv.join("tmp")).with_context(|| format!("cannot make `{}`", venv.display()))?;
        let mut make = Command::new(python.unwrap_or("python3"));
        make.args(["-m", "venv"]).arg(venv);
        recipe::run(make)
            .context("cannot make a virtual environment (on Debian: apt install python3-venv)")?;
        let pip = Self(venv.to_path_buf());
        let mut install = pip.command("install");
        // A pip that can tell its progress, and what building a distribution's metadata needs.
        install.args(["--quiet", "--upgrade", "pip>=24.1", "setuptools", "wheel"]);
        recipe::run(install).context("cannot install pip, setuptools and wheel from the package index")?;
        Ok(pip)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(self.0.join("bin/python"));
        // What pip leaves behind when it is cancelled goes with the environment.
        command.env("TMPDIR", self.0.join("tmp"));
        command.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]).arg(verb);
        if let Some(cache) = cache() {
            command.arg("--cache-dir").arg(cache);
        }
        command
    }

    /// The archive of a version.
    fn download(&self, version: &str, folder: &Path, progress: &mut Progress) -> Result<PathBuf> {
        let mut download = self.command("download");
        download.args([
            "--no-deps",
            "--no-binary",
            ":all:",
            "--no-build-isolation",
            "--progress-bar",
            "raw",
            "--dest",
        ]);
        download.arg(folder).arg(format!("pyspark=={version}"));
        let done = run_lines(download, |line| {
            if let Some((done, total)) = raw_progress(line) {
                progress.step("downloading", done, total);
            }
        });
        if let Err(failed) = done {
            check_cancelled()?;
            let known = self.versions().unwrap_or_default();
            if !known.is_empty() && !known.iter().any(|known| known == version) {
                bail!(
                    "cannot find Spark {version} on the package index; there are {}",
                    near(version, &known).join(", ")
                );
            }
            return Err(failed)
                .with_context(|| format!("cannot download the source distribution of pyspark {version}"));
        }
        let found = fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        let archive = found
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().ends_with(".tar.gz"));
        archive.with_context(|| {
            format!("cannot find the archive of pyspark {version} among what pip downloaded")
        })
    }

    fn versions(&self) -> Result<Vec<String>> {
        let mut ask = self.command("index");
        ask.args(["versions", "pyspark", "--no-binary", ":all:"]);
        let said = output(ask).context("cannot ask the package index for versions of pyspark")?;
        let known = said.lines().find_map(|line| line.strip_prefix("Available versions:"));
        let known = known.context("cannot read what pip says of the versions of pyspark")?;
        Ok(known.split(',').map(|version| version.trim().to_owned()).collect())
    }
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
fn near(version: &str, known: &[String]) -> Vec<String> {
    let wanted = Version::read(version);
    let matching = |fits: &dyn Fn(&Version, &Version) -> bool| -> Vec<String> {
        let Some(wanted) = &wanted else { return Vec::new() };
        known.iter().filter(|k| Version::read(k).is_some_and(|k| fits(&k, wanted))).take(8).cloned().collect()
    };
    let line = matching(&|k, w| (k.major, k.minor) == (w.major, w.minor));
    let major = matching(&|k, w| k.major == w.major);
    [line, major]
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
        assert_eq!(near("new", &known).len(), 5);
    }

    #[test]
    fn reads_pips_progress() {
        assert_eq!(raw_progress("Progress 100 of 316840219"), Some((100, 316_840_219)));
        for other in ["Collecting pyspark==3.5.9", "Progress", "Progress x of y"] {
            assert_eq!(raw_progress(other), None, "{other}");
        }
    }

    #[test]
    fn lays_out_a_spark_home() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, out) = (folder.path().join("tree"), folder.path().join("out"));
        for file in [
            "deps/jars/a.jar",
            "deps/bin/spark-class",
            "lib/pyspark.zip",
            "pyspark/__init__.py",
            "PKG-INFO",
            "setup.py",
        ] {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::create_dir_all(&out).unwrap();
        lay_out(&tree, &out).unwrap();
        for file in [
            "jars/a.jar",
            "bin/spark-class",
            "python/lib/pyspark.zip",
            "python/pyspark/__init__.py",
            "PKG-INFO",
        ] {
            assert!(out.join(file).is_file(), "{file}");
        }
        assert!(!out.join("setup.py").exists());
        let empty = tempfile::tempdir().unwrap();
        let said = lay_out(empty.path(), &out).unwrap_err().to_string();
        assert!(said.contains("deps/jars"), "{said}");
    }
}
