//! Facts of a Java installation: what its `release` file says, and what its virtual machine is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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
    for (name, key) in [("vendor", "IMPLEMENTOR"), ("os", "OS_NAME"), ("libc", "LIBC")] {
        if let Some(value) = get(key) {
            facts.details.insert(name.into(), json!(value));
        }
    }
    if let Some(modules) = get("MODULES") {
        facts.details.insert("modules".into(), json!(modules.split_whitespace().collect::<Vec<_>>()));
    }
    let library = machine(tree).with_context(|| {
        format!(
            "cannot find the virtual machine of Java {}: none of {} is there",
            facts.version,
            MACHINES.join(", ")
        )
    })?;
    let read = Machine::read(&tree.join(&library), facts.version.as_bytes())
        .with_context(|| format!("cannot read `{}`", library.display()))?;
    facts.details.insert("libjvm".into(), json!(library));
    // A file that was copied from elsewhere does not make an old machine a new one.
    facts.details.insert("libjvm-agrees".into(), json!(read.says_version));
    if let Some(arch) = read.arch.map(str::to_owned).or_else(|| get("OS_ARCH")) {
        facts.details.insert("arch".into(), json!(arch));
    }
    Ok(Some(facts))
}

/// Where the virtual machine is; before 9 below `jre` and the name of the architecture.
const MACHINES: [&str; 4] = [
    "lib/server/libjvm.so",
    "jre/lib/amd64/server/libjvm.so",
    "jre/lib/aarch64/server/libjvm.so",
    "lib/client/libjvm.so",
];

fn machine(tree: &Path) -> Option<PathBuf> {
    MACHINES.iter().find(|path| tree.join(path).is_file()).map(PathBuf::from)
}

/// What a virtual machine's library is.
struct Machine {
    arch: Option<&'static str>,
    says_version: bool,
}

impl Machine {
    /// Reads the header of the ELF file, and looks for the version's text in the whole, a piece at a time.
    fn read(path: &Path, version: &[u8]) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let mut piece = vec![0; 1 << 20];
        let (mut filled, mut arch, mut first) = (0, None, true);
        let mut says_version = false;
        loop {
            let n = file.read(&mut piece[filled..])?;
            let end = filled + n;
            if first {
                arch = match piece.get(..20) {
                    Some(head) if head.starts_with(b"\x7fELF") => {
                        match u16::from_le_bytes([head[18], head[19]]) {
                            0x3E => Some("x86_64"),
                            0xB7 => Some("aarch64"),
                            _ => None,
                        }
                    }
                    _ => None,
                };
                first = false;
            }
            says_version |= piece[..end].windows(version.len().max(1)).any(|window| window == version);
            if n == 0 || says_version {
                return Ok(Self { arch, says_version });
            }
            // The text may begin at the end of this piece.
            let keep = end.min(version.len());
            piece.copy_within(end - keep..end, 0);
            filled = keep;
        }
    }
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
        let mut machine = b"\x7fELF".to_vec();
        machine.resize(18, 0);
        machine.extend([0x3E, 0]);
        machine.resize((1 << 20) - 3, b'.');
        machine.extend(b"17.0.18+8-Debian");
        std::fs::create_dir_all(path.join("lib/server")).unwrap();
        std::fs::write(path.join("lib/server/libjvm.so"), machine).unwrap();
        std::fs::write(
            path.join("release"),
            "IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.18\"\nOS_ARCH=\"amd64\"\nMODULES=\"java.base java.sql\"\n",
        )
        .unwrap();
        let found = facts(path).unwrap().unwrap();
        assert_eq!((found.product.as_str(), found.version.as_str()), ("java", "17.0.18"));
        assert_eq!(found.provides["java"], json!(17));
        assert_eq!(found.shape.as_deref(), Some("jre"));
        assert_eq!(
            (&found.details["arch"], &found.details["libjvm-agrees"]),
            (&json!("x86_64"), &json!(true))
        );
        assert_eq!(found.details["modules"], json!(["java.base", "java.sql"]));
        std::fs::write(path.join("release"), "JAVA_VERSION=\"17.0.19\"\n").unwrap();
        assert_eq!(facts(path).unwrap().unwrap().details["libjvm-agrees"], json!(false));
        std::fs::write(path.join("release"), "JAVA_VERSION=\"new\"\n").unwrap();
        assert!(facts(path).unwrap_err().to_string().contains("`new`"));
        std::fs::write(path.join("release"), "Other 1.0\n").unwrap();
        assert_eq!(facts(path).unwrap(), None);
        std::fs::write(path.join("release"), "JAVA_VERSION=\"21\"\n").unwrap();
        std::fs::remove_file(path.join("lib/server/libjvm.so")).unwrap();
        assert!(facts(path).unwrap_err().to_string().contains("virtual machine"));
    }
}
