//! The charm's own programs for tasks and actions: arguments in, one line of JSON on standard output at the end,
//! exit status as the outcome. Owns how arguments are read and results are told.

pub(crate) mod checkpoint;
pub(crate) mod folders;
mod format;
pub(crate) mod layouts;
pub(crate) mod report;
pub(crate) mod storage;
pub(crate) mod tools;
pub(crate) mod up;
pub(crate) mod upgrade;
mod version_file;
pub(crate) mod warm;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use stoker_charm::TRY_LATER;
use stoker_charm::serde_json::Value;

/// Arguments of the form `--name value`, in their order.
pub(crate) struct Args(Vec<(String, String)>);

impl Args {
    /// Reads them; names outside `known` are refused.
    pub(crate) fn read(args: &[String], known: &[&str]) -> anyhow::Result<Self> {
        let mut out = Vec::new();
        let mut rest = args.iter();
        while let Some(name) = rest.next() {
            let Some(known) = known.iter().find(|known| name.strip_prefix("--") == Some(**known)) else {
                bail!("unknown argument `{name}`");
            };
            let value = rest.next().with_context(|| format!("`{name}` needs a value"))?;
            out.push(((*known).to_owned(), value.clone()));
        }
        Ok(Self(out))
    }

    /// The value of an argument that may be absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The value of an argument that must be there.
    pub(crate) fn need(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.get(name).with_context(|| format!("`--{name}` is missing"))?;
        ensure!(!value.is_empty(), "`--{name}` is empty");
        Ok(value)
    }

    /// All values of an argument that may be there several times.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_owned();
        self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// Prints a line.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Done, with this result.
pub(crate) fn done(result: &Value) -> anyhow::Result<ExitCode> {
    say(&result.to_string()).map(|()| ExitCode::SUCCESS)
}

/// Not now: try again later; what there is to know so far is the result.
pub(crate) fn later(result: &Value, why: &str) -> anyhow::Result<ExitCode> {
    say(&result.to_string())?;
    // The reason goes to the log; nothing can be said where standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{why}");
    Ok(ExitCode::from(TRY_LATER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let args = Args::read(&words("--data /a --name /n --data /b"), &["name", "data"]).unwrap();
        assert_eq!(args.all("data").collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!((args.need("name").unwrap(), args.get("format")), ("/n", None));
        assert!(Args::read(&words("--nam /n"), &["name"]).is_err());
        assert!(Args::read(&words("--name"), &["name"]).is_err());
    }
}
