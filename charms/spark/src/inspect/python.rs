//! What a build says of Python: in a package's metadata, or in the script that makes the package. Owns where that is.

use std::fs;
use std::path::Path;

use anyhow::Result;
use stoker_charm::shelf;

#[derive(Debug, Default)]
pub(super) struct Python {
    /// The range, `>=3.8`.
    pub(super) requires: Option<String>,
    /// Versions that it was released for.
    pub(super) tested: Vec<String>,
    /// The version of py4j that its Python code comes with.
    pub(super) py4j: Option<String>,
}

const LANGUAGE: &str = "Programming Language :: Python :: ";
/// Where tarballs have the script.
const SETUP: [&str; 3] = ["python/setup.py", "python/packaging/classic/setup.py", "setup.py"];

/// What the tree says.
pub(super) fn of(tree: &Path) -> Result<Python> {
    let mut found = metadata(tree).or_else(|| script(tree)).unwrap_or_default();
    if found.requires.is_none() {
        // Before 3.1 packages said it by what they were released for, and only so.
        found.requires = found.tested.first().map(|least| format!(">={least}"));
    }
    found.py4j = py4j(tree)?;
    Ok(found)
}

fn metadata(tree: &Path) -> Option<Python> {
    let installed = fs::read_dir(tree)
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("pyspark") && name.ends_with(".dist-info")
        })
        .map(|path| path.join("METADATA"));
    let text =
        [tree.join("PKG-INFO")].into_iter().chain(installed).find_map(|p| fs::read_to_string(p).ok())?;
    let mut found = Python::default();
    // A description in the header goes on in indented lines.
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if let Some(needs) = line.strip_prefix("Requires-Python:") {
            found.requires = Some(needs.trim().to_owned());
        }
        if let Some(rest) = line.strip_prefix("Classifier: ").and_then(|rest| rest.strip_prefix(LANGUAGE)) {
            found.tested.extend(minor(rest));
        }
    }
    (found.requires.is_some() || !found.tested.is_empty()).then_some(found)
}

fn script(tree: &Path) -> Option<Python> {
    let text = SETUP.iter().find_map(|path| fs::read_to_string(tree.join(path)).ok())?;
    let mut found = Python::default();
    for line in text.lines().map(str::trim) {
        if let Some(needs) = line.strip_prefix("python_requires=") {
            let quoted = needs.trim_matches([',', '"', '\'']);
            found.requires = Some(quoted.to_owned());
        }
        let quoted = line.trim_matches([',', '"', '\'']);
        if let Some(rest) = quoted.strip_prefix(LANGUAGE) {
            found.tested.extend(minor(rest));
        }
    }
    (found.requires.is_some() || !found.tested.is_empty()).then_some(found)
}

/// `3.8` of a classifier's end; none of `3`, and of those about implementations.
fn minor(rest: &str) -> Option<String> {
    let rest = rest.trim();
    let (major, minor) = rest.split_once('.')?;
    (major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok()).then(|| rest.to_owned())
}

/// From the code itself; its archive's name has it too, but names are not asked.
fn py4j(tree: &Path) -> Result<Option<String>> {
    let Ok(entries) = fs::read_dir(tree.join("python/lib")) else { return Ok(None) };
    let mut zips: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|e| e == "zip"))
        .collect();
    zips.sort_unstable();
    for zip in zips {
        let text = shelf::text_of(&zip, "py4j/version.py")
            .map_err(|error| anyhow::anyhow!("cannot read `{}`: {error}", zip.display()))?;
        let version = text.as_deref().and_then(|text| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix("__version__"))?;
            Some(line.trim_start_matches([' ', '=']).trim_matches(['"', '\'', ' ']).to_owned())
        });
        if version.is_some() {
            return Ok(version);
        }
    }
    Ok(None)
}

/// Whether this is the Python code of PySpark without any Spark, as in `pyspark-client`.
pub(super) fn is_client_alone(tree: &Path) -> bool {
    let jars = |folder: &str| tree.join(folder).join("jars").is_dir();
    ["", "python", "src"].iter().any(|above| tree.join(above).join("pyspark/__init__.py").is_file())
        && !["", "deps", "pyspark"].iter().any(|folder| jars(folder))
        || package_name(tree)
            .is_some_and(|name| ["pyspark-client", "pyspark-connect"].contains(&name.as_str()))
            && !jars("")
}

fn package_name(tree: &Path) -> Option<String> {
    let text = fs::read_to_string(tree.join("PKG-INFO")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Name:")).map(|name| name.trim().replace('_', "-"))
}
