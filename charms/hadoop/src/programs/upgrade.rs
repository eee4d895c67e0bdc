//! The programs of an upgrade of the data's layout: what each step of it does, so that a step that was cut off anywhere
//! is gone on with. Owns what is left beside the metadata: requests, their outcomes, copies of the namespace.

pub(crate) mod ask;
pub(crate) mod convert;
pub(crate) mod finalize;
mod metadata;
pub(crate) mod prepare;
pub(crate) mod verify;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use stoker_charm::serde_json::{self, Value, json};

use super::format::sync;
use super::{Args, say};

/// A request, as the action leaves it.
const REQUEST: &str = "stoker-upgrade.json";
/// What became of the last request.
const OUTCOME: &str = "stoker-upgrade.outcome.json";
/// Copies of the namespace from before an upgrade start with this; a number follows.
const COPY: &str = "stoker-before-upgrade-";

/// Reads a small document; none where there is none.
fn read(folder: &Path, name: &str) -> anyhow::Result<Option<Value>> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("cannot read `{}`", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Puts a small document in place in one step.
fn write(folder: &Path, name: &str, value: &Value) -> anyhow::Result<()> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let put = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        writeln!(file, "{value}")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync(folder)
    };
    put().with_context(|| format!("cannot write `{}`", path.display()))
}

/// The request that a step is of.
struct Step {
    folder: PathBuf,
    nr: u64,
}

impl Step {
    fn of(args: &Args) -> anyhow::Result<Self> {
        let nr = args.need("nr")?.parse().context("`--nr` is no number")?;
        Ok(Self { folder: PathBuf::from(args.need("name")?), nr })
    }

    /// The request has come to its end.
    fn ends(&self, outcome: &str) -> anyhow::Result<()> {
        write(&self.folder, OUTCOME, &json!({"nr": self.nr, "outcome": outcome}))
    }

    /// Runs the step; a failure is told to who asked, and with the reason as the task's result.
    fn run(&self, step: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
        step().or_else(|error| {
            let reason = format!("{error:#}");
            let outcome = json!({"nr": self.nr, "failed": reason});
            if let Err(further) = write(&self.folder, OUTCOME, &outcome) {
                let _ = writeln!(std::io::stderr().lock(), "{further:#}");
            }
            say(&json!({"reason": reason}).to_string())?;
            Ok(ExitCode::FAILURE)
        })
    }
}
