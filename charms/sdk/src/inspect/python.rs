//! Facts of a Python environment: its version, the interpreter that it stands on, its packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use crate::Facts;

pub(super) fn facts(tree: &Path) -> anyhow::Result<Option<Facts>> {
    let Some((minor, lib)) = library(tree) else { return Ok(None) };
    let config = tree.join("pyvenv.cfg");
    let venv = config.is_file();
    // A folder with `lib/pythonX.Y` and neither is some other product that carries Python code.
    if !venv && !tree.join("bin").join(format!("python{minor}")).is_file() {
        return Ok(None);
    }
    let said = if venv {
        let text = std::fs::read_to_string(&config)
            .with_context(|| format!("cannot read `{}`", config.display()))?;
        pairs(&text)
    } else {
        BTreeMap::new()
    };
    let version =
        said.get("version").or_else(|| said.get("version_info")).map_or(minor.as_str(), |v| v.as_str());
    // `version_info` may have a release level at its end: 3.11.2.final.0.
    let version: Vec<&str> = version.split('.').take(3).collect();
    let mut facts = Facts { product: "python".into(), version: version.join("."), ..Facts::default() };
    facts.shape = Some(if venv { "venv" } else { "prefix" }.into());
    facts.provides.insert("python".into(), json!(minor));
    if venv {
        let home = said.get("home").map_or("", String::as_str);
        let prefix = home.strip_suffix("/bin").unwrap_or(home);
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        let kind = said.get("implementation").map_or("CPython", String::as_str);
        facts.requires.insert("base".into(), json!(format!("{kind} {minor} at {prefix}")));
        let system = said.get("include-system-site-packages").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        facts.details.insert("system-packages".into(), json!(system));
    }
    facts.details.insert("packages".into(), json!(packages(&lib.join("site-packages"))?));
    Ok(Some(facts))
}

/// The newest `lib/pythonX.Y`: `X.Y` and the folder.
fn library(tree: &Path) -> Option<(String, PathBuf)> {
    let found = std::fs::read_dir(tree.join("lib")).ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name().to_str()?.strip_prefix("python")?.to_owned();
        let (major, minor) = name.split_once('.')?;
        let numbers: (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        entry.path().is_dir().then(|| (numbers, name, entry.path()))
    });
    found.max().map(|(_, name, path)| (name, path))
}

/// Lines of `key = value`.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// Installed distributions with their versions, from the names of `*.dist-info` folders; names as PyPI spells them.
fn packages(site: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    if !site.is_dir() {
        return Ok(out);
    }
    let entries = std::fs::read_dir(site).with_context(|| format!("cannot read `{}`", site.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let parts = name.to_str().and_then(|name| name.strip_suffix(".dist-info")?.rsplit_once('-'));
        if let Some((name, version)) = parts {
            out.insert(name.to_ascii_lowercase().replace(['_', '.'], "-"), version.to_owned());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_environment() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path();
        let site = path.join("lib/python3.11/site-packages");
        for package in ["Jinja2-3.1.4", "jupyter_core-5.7.2", "ruamel.yaml-0.18"] {
            std::fs::create_dir_all(site.join(format!("{package}.dist-info"))).unwrap();
        }
        assert_eq!(facts(path).unwrap(), None);
        std::fs::write(
            path.join("pyvenv.cfg"),
            "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\nexecutable = /usr/bin/python3.11\n",
        )
        .unwrap();
        let found = facts(path).unwrap().unwrap();
        assert_eq!((found.product.as_str(), found.version.as_str()), ("python", "3.11.2"));
        assert_eq!(found.provides["python"], json!("3.11"));
        assert_eq!(found.requires["base"], json!("CPython 3.11 at /usr"));
        assert_eq!(found.details["system-packages"], json!(false));
        let packages = json!({"jinja2": "3.1.4", "jupyter-core": "5.7.2", "ruamel-yaml": "0.18"});
        assert_eq!(found.details["packages"], packages);
    }

    #[test]
    fn reads_a_whole_prefix() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path();
        for minor in ["3.9", "3.12"] {
            std::fs::create_dir_all(path.join("lib/python".to_owned() + minor)).unwrap();
        }
        std::fs::create_dir(path.join("bin")).unwrap();
        std::fs::write(path.join("bin/python3.12"), "").unwrap();
        let found = facts(path).unwrap().unwrap();
        assert_eq!((found.version.as_str(), found.shape.as_deref()), ("3.12", Some("prefix")));
        assert!(found.requires.is_empty());
    }
}
