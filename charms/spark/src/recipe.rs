//! The recipe: a Spark home from PyPI's source distribution of pyspark. Uses pip in a virtual environment of its
//! own; owns the layout of the result. Must not leave anything but the result and a download cache.
#![allow(clippy::disallowed_methods, reason = "recipes run tools and clean up after them")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use stoker_charm::recipe::check_cancelled;
use stoker_charm::recipe::pip::{Kind, Pip};
use stoker_charm::{Progress, recipe};

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
    let archive = pip.download("pyspark", version, Kind::Source, &scratch.0.join("sdist"), progress)?;
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
    Pip::known("pyspark", Kind::Source)
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

#[cfg(test)]
mod tests {
    use super::*;

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
