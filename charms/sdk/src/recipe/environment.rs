//! The recipe of Python environments: a relocatable virtual environment on the host's own Python. Owns what makes its
//! tree fit for moving; must leave nothing in it that names where it was made, and must not choose what is installed.

#![allow(clippy::disallowed_methods, reason = "a recipe runs installers and sweeps its own scratch folder")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{check_cancelled, output, run};
use crate::Progress;

/// The host's Python; one in a user's home would be out of reach for service users.
const BASE: &str = "/usr/bin/python3";
/// Scratch below the output, so that it is on the same filesystem and goes away with it.
const SCRATCH: &str = ".making";
/// Steps that progress counts.
const STEPS: u64 = 5;
/// Test suites of libraries: thousands of files that nothing imports.
const UNUSED: [&str; 3] = ["pandas/tests", "pyarrow/tests", "numpy/*/tests"];
/// What only a shell on this host would use; `activate` scripts name the place where they were made.
const SHELL: [&str; 3] = ["activate", "deactivate", "pydoc.bat"];
/// What a folder is told by that is a list of requirements with what belongs to it.
const LIST: &str = "requirements.txt";

/// What goes into an environment.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Requirements as pip writes them, on the command line.
    pub packages: Vec<String>,
    /// A file of them.
    pub file: Option<PathBuf>,
    /// Modules that must be there in the end.
    pub imports: &'static [&'static str],
}

impl Contents {
    /// Those of a file of requirements, or of a folder with a `requirements.txt`, by absolute path; none where the text
    /// is no path (but a version, say).
    pub fn of_path(text: &str) -> Option<Result<Self>> {
        let path = Path::new(text);
        if !path.is_absolute() {
            return None;
        }
        let file = if path.is_dir() { path.join(LIST) } else { path.to_owned() };
        Some(if file.is_file() {
            Ok(Self { file: Some(file), ..Self::default() })
        } else {
            Err(anyhow::anyhow!(
                "cannot find `{}`: a folder is made into an environment by its {LIST}",
                file.display()
            ))
        })
    }
}

/// Makes an environment from a list of requirements: the product `python` of charms that have no recipe of their own.
pub(crate) fn from_list(text: &str, out: &Path, progress: &mut Progress) -> Result<()> {
    match Contents::of_path(text) {
        Some(contents) => make(&contents?, out, progress),
        None => bail!(
            "cannot make a Python environment `{text}`: give a file of requirements, as in recipe:./requirements.txt"
        ),
    }
}

/// Makes the environment in `out`.
pub fn make(contents: &Contents, out: &Path, progress: &mut Progress) -> Result<()> {
    let (base, python) = base()?;
    let scratch = out.join(SCRATCH);
    remove(&scratch)?;
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make `{}`", scratch.display()))?;

    progress.step("installing uv", 0, STEPS);
    let uv = uv(&base, &scratch)?;
    progress.step("making the environment", 1, STEPS);
    // Beside the scratch folder: uv refuses a folder that is not empty.
    let env = scratch.join("env");
    run(with_env(Command::new(&uv), &scratch)
        .args(["venv", "--relocatable", "--python"])
        .arg(&base)
        .arg(&env))?;
    progress.step("installing packages", 2, STEPS);
    let mut install = Command::new(&uv);
    let install = with_env_of(&mut install, &scratch);
    install.args(["pip", "install", "--no-progress", "--link-mode", "copy", "--python"]);
    install.arg(env.join("bin/python")).args(&contents.packages);
    if let Some(file) = &contents.file {
        // Paths in the list are relative to it.
        install.current_dir(file.parent().unwrap_or(out)).arg("--requirements").arg(file);
    }
    run(install).context("cannot install the packages that were asked for")?;
    progress.step("compiling", 3, STEPS);
    let site = env.join(format!("lib/python{}.{}/site-packages", python.0, python.1));
    prune(&site)?;
    settle(&env, &base)?;
    compile(&env)?;
    progress.step("checking", 4, STEPS);
    for entry in fs::read_dir(&env).with_context(|| format!("cannot read `{}`", env.display()))? {
        let entry = entry?;
        let to = out.join(entry.file_name());
        fs::rename(entry.path(), &to).with_context(|| format!("cannot move to `{}`", to.display()))?;
    }
    remove(&scratch)?;
    check(out, contents.imports)?;
    progress.step("checking", STEPS, STEPS);
    Ok(())
}

/// The base interpreter, all links resolved, and its minor version.
pub fn base() -> Result<(PathBuf, (u32, u32))> {
    let base = fs::canonicalize(BASE).with_context(|| {
        format!("cannot find `{BASE}`: the environment stands on the host's Python; install python3")
    })?;
    let said = output(Command::new(&base).args(["-c", "import sys; print(*sys.version_info[:2])"]))?;
    let mut numbers = said.split_whitespace().map_while(|n| n.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => Ok((base, (major, minor))),
        _ => bail!("cannot read the version of `{BASE}`: it said `{}`", said.trim()),
    }
}

/// Installs uv for this run only, from the package index that pip is set up for.
fn uv(base: &Path, scratch: &Path) -> Result<PathBuf> {
    let home = scratch.join("uv");
    run(Command::new(base).args(["-m", "venv"]).arg(&home)).context(
        "cannot make a virtual environment: is the package `python3-venv` (or `python3-full`) installed?",
    )?;
    run(with_env(Command::new(home.join("bin/python")), scratch).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "uv>=0.5",
    ]))
    .context("cannot install uv")?;
    Ok(home.join("bin/uv"))
}

/// Settings that keep uv to the host's Python and out of configuration files; a cache that was asked for is used.
fn with_env(mut command: Command, scratch: &Path) -> Command {
    with_env_of(&mut command, scratch);
    command
}

fn with_env_of<'a>(command: &'a mut Command, scratch: &Path) -> &'a mut Command {
    command.env("UV_PYTHON_DOWNLOADS", "never").env("UV_NO_CONFIG", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    let set = |name: &str| std::env::var_os(name).is_some();
    if !set("UV_CACHE_DIR") && !set("HOME") && !set("XDG_CACHE_HOME") {
        command.env("UV_CACHE_DIR", scratch.join("cache"));
    }
    // uv reads none of pip's settings; the index and the certificates are what a host behind a mirror has to set.
    for (pip, uv) in [
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
        ("PIP_CERT", "SSL_CERT_FILE"),
    ] {
        if let (Some(value), false) = (std::env::var_os(pip), set(uv)) {
            command.env(uv, value);
        }
    }
    command
}

/// Removes test suites.
fn prune(site: &Path) -> Result<()> {
    for path in UNUSED {
        match path.split_once("/*/") {
            None => remove(&site.join(path))?,
            Some((parent, child)) => {
                for entry in fs::read_dir(site.join(parent)).into_iter().flatten().flatten() {
                    remove(&entry.path().join(child))?;
                }
            }
        }
    }
    Ok(())
}

/// Makes the environment independent of where it is and what made it.
fn settle(env: &Path, base: &Path) -> Result<()> {
    // A link out of the tree becomes a copy of what it names; the library is still found through `home`.
    let python = env.join("bin/python");
    fs::remove_file(&python).with_context(|| format!("cannot remove `{}`", python.display()))?;
    fs::copy(base, &python).with_context(|| format!("cannot copy `{}`", base.display()))?;
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of `{}`", python.display()))?;
    for name in [".lock", ".gitignore", "CACHEDIR.TAG"] {
        remove(&env.join(name))?;
    }
    let bin = env.join("bin");
    for entry in fs::read_dir(&bin).with_context(|| format!("cannot read `{}`", bin.display()))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| SHELL.iter().any(|shell| name.starts_with(shell))) {
            remove(&entry.path())?;
        }
    }
    // Which uv made it is no property of the environment.
    let config = env.join("pyvenv.cfg");
    let text = fs::read_to_string(&config).with_context(|| format!("cannot read `{}`", config.display()))?;
    let kept: String = text.lines().filter(|line| !line.starts_with("uv ")).flat_map(|l| [l, "\n"]).collect();
    fs::write(&config, kept).with_context(|| format!("cannot write `{}`", config.display()))
}

/// Compiles all modules; by content and not by time, since trees have one fixed time, and without the path.
fn compile(env: &Path) -> Result<()> {
    check_cancelled()?;
    let done = run(Command::new(env.join("bin/python"))
        .args(["-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s"])
        .arg(env)
        .arg(env.join("lib")));
    match done {
        Ok(()) => Ok(()),
        // Templates and code for other Pythons do not compile, and nobody imports them.
        Err(_) if env.join("lib").is_dir() => check_cancelled(),
        Err(why) => Err(why),
    }
}

/// Whether it can be used from where the tree is now, and whether links stay inside.
fn check(out: &Path, imports: &[&str]) -> Result<()> {
    let mut links = Vec::new();
    outside(out, out, &mut links)?;
    ensure!(links.is_empty(), "the environment has links that leave it: {}", links.join(", "));
    let python = out.join("bin/python");
    for module in imports {
        run(Command::new(&python).args(["-B", "-c", &format!("import {module}")]))
            .with_context(|| format!("cannot use the environment that was made: it must have `{module}`"))?;
    }
    run(Command::new(&python).args(["-B", "-c", "import sys"]))
        .context("cannot use the environment that was made")
}

fn outside(root: &Path, folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let path = entry?.path();
        let kind =
            fs::symlink_metadata(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        if kind.is_symlink() {
            let inside = fs::canonicalize(&path)
                .is_ok_and(|to| fs::canonicalize(root).is_ok_and(|root| to.starts_with(root)));
            if !inside || fs::read_link(&path).is_ok_and(|to| to.is_absolute()) {
                found.push(path.display().to_string());
            }
        } else if kind.is_dir() {
            outside(root, &path, found)?;
        }
    }
    Ok(())
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let done = match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(gone) if matches!(gone.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(why) => Err(why),
    };
    done.with_context(|| format!("cannot remove `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn lists_are_files_or_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        assert!(Contents::of_path("4.6").is_none());
        assert!(Contents::of_path(&path).unwrap().unwrap_err().to_string().contains("requirements.txt"));
        fs::write(folder.path().join("requirements.txt"), "").unwrap();
        assert!(Contents::of_path(&path).unwrap().unwrap().file.unwrap().ends_with("requirements.txt"));
        let said = from_list("3.11", folder.path(), &mut Progress::silent()).unwrap_err().to_string();
        assert!(said.contains("recipe:./requirements.txt"), "{said}");
    }

    #[test]
    fn links_that_leave_are_found() {
        let tree = tempfile::tempdir().unwrap();
        let at = tree.path();
        fs::create_dir(at.join("lib")).unwrap();
        std::os::unix::fs::symlink("lib", at.join("lib64")).unwrap();
        let mut found = Vec::new();
        outside(at, at, &mut found).unwrap();
        assert!(found.is_empty(), "{found:?}");
        std::os::unix::fs::symlink("/etc/hostname", at.join("lib/python")).unwrap();
        outside(at, at, &mut found).unwrap();
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn settles_an_environment() {
        let tree = tempfile::tempdir().unwrap();
        let env = tree.path();
        fs::create_dir(env.join("bin")).unwrap();
        std::os::unix::fs::symlink("/bin/sh", env.join("bin/python")).unwrap();
        for name in ["bin/activate.fish", "bin/jupyter", "CACHEDIR.TAG"] {
            fs::write(env.join(name), "").unwrap();
        }
        fs::write(env.join("pyvenv.cfg"), "home = /usr/bin\nuv = 0.9\nversion_info = 3.11.2\n").unwrap();
        settle(env, &fs::canonicalize("/bin/sh").unwrap()).unwrap();
        assert!(!fs::symlink_metadata(env.join("bin/python")).unwrap().is_symlink());
        let names: BTreeSet<_> =
            fs::read_dir(env.join("bin")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(!env.join("CACHEDIR.TAG").exists());
        assert_eq!(
            fs::read_to_string(env.join("pyvenv.cfg")).unwrap(),
            "home = /usr/bin\nversion_info = 3.11.2\n"
        );
    }
}
