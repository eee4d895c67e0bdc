//! Warm JVMs: class-data archives of a charm's daemons, beside the tree that their classes are in. Owns how a JVM is
//! started with one and how one is made; must not know any product: what a daemon needs to come up is its charm's.
//!
//! A service's command is [`START`] before the JVM's own, whether there is an archive or not, so that one that appears
//! changes no plan and restarts nothing. A JVM maps an archive without looking whether it is whole, and dies of one that
//! is not; so it is read and compared with its record before every start, and left out where anything differs.
//!
//! A JVM takes an archive only where its class path begins with the one that the archive was made with, and makes none
//! of a class path with a folder before the last class. So jars come first, and configuration last.

mod record;
mod train;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

pub use self::train::{Jvm, Maker, free_port, until};
use crate::plan::{Dir, Service};

/// The program that starts a JVM: `start-jvm FOLDER NAME JAVA ARGUMENT…`.
pub const START: &str = "start-jvm";
/// The name of the task that makes archives, and of the program that it runs.
pub const MAKE: &str = "warm";
/// The folder that archives are in.
pub const FOLDER: &str = "warm";
/// The first Java whose JVMs write an archive when they end.
pub const SINCE: u32 = 13;

/// The folder of a tree's archives.
pub fn folder(tree: &str, user: &str) -> Dir {
    Dir {
        user: Some(user.to_owned()),
        mode: Some("0750".to_owned()),
        tree: Some(tree.to_owned()),
        ..Dir::default()
    }
}

/// Lets a service's JVM start with the archive `name`. The charm is only followed: another one restarts nothing.
pub fn started(service: &mut Service, program: &str, name: &str) {
    let before = [program, START, &format!("${{dir:{FOLDER}}}"), name].map(ToOwned::to_owned);
    service.command.splice(0..0, before);
    service.follows.extend(["tree:charm".to_owned(), format!("dir:{FOLDER}")]);
}

/// Becomes the JVM, with the archive where there is one that is whole and of this very JVM.
#[allow(clippy::disallowed_methods, reason = "the program becomes the JVM that it was asked to start")]
pub fn start(args: &[String]) -> anyhow::Result<ExitCode> {
    let [folder, name, java, rest @ ..] = args else { bail!("usage: {START} FOLDER NAME JAVA ARGUMENT…") };
    let error = Command::new(java).args(flags(Path::new(folder), name, Path::new(java))).args(rest).exec();
    Err(error).with_context(|| format!("cannot start `{java}`"))
}

/// The JVM's options for an archive; none where there is none to use. Where the JVM refuses it all the same, it says
/// nothing and loads its classes from their jars.
fn flags(folder: &Path, name: &str, java: &Path) -> Vec<OsString> {
    let Some(archives) = record::usable(folder, name, java) else { return Vec::new() };
    let mut file = OsString::from("-XX:SharedArchiveFile=");
    file.push(archives);
    let quiet = ["-Xshare:auto", "-Xlog:cds*=off", "-Xlog:class+path=off"].map(OsString::from);
    std::iter::once(file).chain(quiet).collect()
}

#[cfg(test)]
mod tests;
