//! The charm's own programs, run in tasks: they name a submitted file so that Spark can tell its kind, and refuse
//! what cannot be done. Must not decide anything that the plan can.
#![allow(clippy::disallowed_methods, reason = "a task's program becomes the driver that it prepared")]

mod archives;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use stoker_charm::{ProgramFn, warm};

use crate::align;

/// `launch FOLDER FILE -- COMMAND…`: gives the file a name that tells its kind, in FOLDER, puts it where the command
/// says [`APP`], and becomes the command.
pub(crate) const LAUNCH: &str = "launch";
/// `refuse REASON`: says why an action cannot be done, and fails.
pub(crate) const REFUSE: &str = "refuse";
/// Stands for the named file in a command.
pub(crate) const APP: &str = "{app}";

/// All programs by name.
pub(crate) const ALL: &[(&str, ProgramFn)] = &[
    (LAUNCH, launch),
    (REFUSE, refuse),
    (align::LINK, align::link),
    (align::ALIGN, align::ask),
    (warm::START, warm::start),
    (warm::MAKE, archives::make),
];

fn refuse(args: &[String]) -> Result<ExitCode> {
    bail!("cannot run the action: {}", args.join(" "))
}

fn launch(args: &[String]) -> Result<ExitCode> {
    let [folder, file, dashes, program, rest @ ..] = args else {
        bail!("usage: launch FOLDER FILE -- COMMAND…")
    };
    if dashes != "--" {
        bail!("usage: launch FOLDER FILE -- COMMAND…");
    }
    let app = named(Path::new(folder), Path::new(file))?;
    let app = app.to_str().with_context(|| format!("cannot pass on `{}`", app.display()))?;
    let rest = rest.iter().map(|word| if word == APP { app } else { word.as_str() });
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("cannot start `{program}`"))
}

/// A link to the file that ends in `.py` or `.jar`, or the file itself where its name does already. Links of
/// programs that have ended are swept.
fn named(folder: &Path, file: &Path) -> Result<PathBuf> {
    let known = |ext: &std::ffi::OsStr| ["py", "jar", "zip", "egg"].iter().any(|known| ext == *known);
    if file.extension().is_some_and(known) {
        return Ok(file.to_path_buf());
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|n| n.strip_prefix("app-")?.split('.').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let mut head = [0_u8; 4];
    let opened = fs::File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let count =
        opened.take(4).read(&mut head).with_context(|| format!("cannot read `{}`", file.display()))?;
    let kind = if count == 4 && head == *b"PK\x03\x04" { "jar" } else { "py" };
    // The process keeps its id when it becomes the command.
    let link = folder.join(format!("app-{}.{kind}", std::process::id()));
    let _ = fs::remove_file(&link);
    symlink(file, &link).with_context(|| format!("cannot link `{}`", link.display()))?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let blob = folder.path().join("b3-1234");
        fs::write(&blob, "print(1)\n").unwrap();
        let stale = folder.path().join("app-4194999.py");
        fs::write(&stale, "").unwrap();
        let link = named(folder.path(), &blob).unwrap();
        assert_eq!((link.extension().unwrap(), fs::read_link(&link).unwrap()), ("py".as_ref(), blob.clone()));
        assert!(!stale.exists(), "what ended programs left is swept");
        fs::write(&blob, b"PK\x03\x04....").unwrap();
        assert_eq!(named(folder.path(), &blob).unwrap().extension().unwrap(), "jar");
        let plain = folder.path().join("job.py");
        assert_eq!(named(folder.path(), &plain).unwrap(), plain);
        assert!(named(folder.path(), &folder.path().join("none")).is_err());
    }
}
