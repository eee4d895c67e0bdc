//! Builds for tests: small folders and archives of the product `payload` (see `py-echo`).

use std::fs;
use std::path::Path;
use std::process::Command;

/// A folder that the charm's inspection takes for a payload of this version.
pub fn payload_folder(at: &Path, version: &str) {
    fs::create_dir_all(at.join("data")).expect("a folder");
    fs::write(at.join("VERSION"), format!("{version}\n")).expect("a file");
    fs::write(at.join("data/a"), format!("a of {version}\n")).expect("a file");
    fs::write(at.join("data/b"), "the same in all versions\n").expect("a file");
}

/// Packs the folder `from` (its last part is the archive's top folder) with the system's own tar and gzip.
pub fn tar(from: &Path, to: &Path) {
    let name = from.file_name().expect("a folder with a name");
    let parent = from.parent().expect("a folder above");
    let done = Command::new("tar").arg("-czf").arg(to).arg("-C").arg(parent).arg(name).status().expect("tar");
    assert!(done.success(), "tar of {}", from.display());
}
