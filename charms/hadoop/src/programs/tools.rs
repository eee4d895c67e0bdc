//! `safemode` and `fsck`: Hadoop's own tools, run by a JVM; what they print goes on, the outcome is told as JSON.

#![allow(clippy::disallowed_methods, reason = "an action runs Hadoop's own tools")]

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use stoker_charm::serde_json::json;

use super::{Args, done, say};

/// `safemode`: enter, leave or get.
pub(crate) fn safemode(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["java", "classpath", "option", "action"])?;
    let action = args.need("action")?;
    ensure!(matches!(action, "enter" | "leave" | "get"), "`{action}` is none of enter, leave, get");
    let mut on = None;
    tool(&args, "org.apache.hadoop.hdfs.tools.DFSAdmin", &["-safemode", action], &mut |line| {
        on = match line.split_once("Safe mode is ").map(|(_, rest)| rest) {
            Some(rest) if rest.starts_with("ON") => Some(true),
            Some(rest) if rest.starts_with("OFF") => Some(false),
            _ => on,
        };
    })?;
    let on = on.context("the NameNode did not say whether it is in safe mode")?;
    done(&json!({"safemode": on}))
}

/// `fsck`: the health of files below a path.
pub(crate) fn fsck(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["java", "classpath", "option", "path"])?;
    let path = args.need("path")?;
    ensure!(path.starts_with('/'), "`{path}` is no absolute path");
    let mut healthy = None;
    let outcome = tool(&args, "org.apache.hadoop.hdfs.tools.DFSck", &[path], &mut |line| {
        healthy = match line {
            line if line.contains(" is HEALTHY") => Some(true),
            line if line.contains(" is CORRUPT") => Some(false),
            _ => healthy,
        };
    });
    // A corrupt filesystem is an answer, though the tool ends with 1.
    match healthy {
        Some(healthy) => done(&json!({"path": path, "healthy": healthy})),
        None => outcome.and_then(|()| anyhow::bail!("fsck said nothing about `{path}`")),
    }
}

/// Runs one of Hadoop's tools; each line that it prints is shown, and given to `each`.
pub(super) fn tool(
    args: &Args,
    class: &str,
    words: &[&str],
    each: &mut dyn FnMut(&str),
) -> anyhow::Result<()> {
    let java = args.need("java")?;
    let mut child = Command::new(java)
        .args(args.all("option"))
        .args(["-cp", args.need("classpath")?, class])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{java}`"))?;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.with_context(|| format!("cannot read what {class} prints"))?;
            each(&line);
            say(&line)?;
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{java}`"))?;
    ensure!(status.success(), "{class} ended with {status}");
    Ok(())
}
