//! Facts of a Java installation: its `release` file and `bin/java`.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use crate::Facts;

pub(super) fn facts(tree: &Path) -> anyhow::Result<Option<Facts>> {
    let release = tree.join("release");
    if !release.is_file() || !tree.join("bin/java").is_file() {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(&release).with_context(|| format!("cannot read `{}`", release.display()))?;
    let said = crate::jars::properties(&text);
    let get =
        |key: &str| said.get(key).map(|value| value.trim_matches('"').to_owned()).filter(|v| !v.is_empty());
    // Other products have a `release` file too.
    let Some(version) = get("JAVA_VERSION") else { return Ok(None) };
    let feature = feature(&version).with_context(|| format!("cannot read the Java version `{version}`"))?;
    let mut facts = Facts { product: "java".into(), version, ..Facts::default() };
    facts.shape = Some(if tree.join("bin/javac").is_file() { "jdk" } else { "jre" }.into());
    facts.provides.insert("java".into(), json!(feature));
    for (name, key) in [("vendor", "IMPLEMENTOR"), ("arch", "OS_ARCH"), ("os", "OS_NAME"), ("libc", "LIBC")] {
        if let Some(value) = get(key) {
            facts.details.insert(name.into(), json!(value));
        }
    }
    Ok(Some(facts))
}

/// The feature version: 8 of `1.8.0_402`, 17 of `17.0.18`.
fn feature(version: &str) -> Option<u32> {
    let mut numbers = version.split(['.', '_', '-', '+']).map(|part| part.parse::<u32>().ok());
    match numbers.next()?? {
        1 => numbers.next()?,
        feature => Some(feature),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features() {
        assert_eq!(feature("1.8.0_402"), Some(8));
        assert_eq!(feature("17.0.18"), Some(17));
        assert_eq!(feature("25-ea"), Some(25));
        assert_eq!(feature("x"), None);
        assert_eq!(feature("1"), None);
    }

    #[test]
    fn reads_a_jdk() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path();
        assert_eq!(facts(path).unwrap(), None);
        std::fs::create_dir(path.join("bin")).unwrap();
        std::fs::write(path.join("bin/java"), "").unwrap();
        std::fs::write(
            path.join("release"),
            "IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.18\"\nOS_ARCH=\"x86_64\"\n",
        )
        .unwrap();
        let found = facts(path).unwrap().unwrap();
        assert_eq!((found.product.as_str(), found.version.as_str()), ("java", "17.0.18"));
        assert_eq!(found.provides["java"], json!(17));
        assert_eq!(found.shape.as_deref(), Some("jre"));
        assert_eq!(found.details["arch"], json!("x86_64"));
        std::fs::write(path.join("release"), "JAVA_VERSION=\"new\"\n").unwrap();
        assert!(facts(path).unwrap_err().to_string().contains("`new`"));
        std::fs::write(path.join("release"), "Other 1.0\n").unwrap();
        assert_eq!(facts(path).unwrap(), None);
    }
}
