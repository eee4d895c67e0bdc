//! `upgrade-convert`: the metadata to the new layout, by the new Hadoop itself, with the old ones kept in `previous`.
//! `upgrade-restore`: the old ones back. Both may be cut off anywhere and are run again.

#![allow(clippy::disallowed_methods, reason = "converting runs Hadoop's own program")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use stoker_charm::serde_json::json;

use super::Step;
use super::metadata::{Side, lock, mend, put_back, side};
use crate::programs::format::cause;
use crate::programs::{Args, done, later};

const KNOWN: [&str; 8] = ["name", "nr", "from", "to", "nameservice", "java", "classpath", "option"];
/// How much of what the conversion said goes to the task's log.
const SAID: usize = 16 * 1024;

/// Runs `upgrade-convert`.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &KNOWN)?;
    let step = Step::of(&args)?;
    step.run(|| convert(&args, &step))
}

/// Runs `upgrade-restore`.
pub(crate) fn restore(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &KNOWN)?;
    let step = Step::of(&args)?;
    step.run(|| {
        let from = layout(&args, "from")?;
        let Some(_locks) = locks(&args)? else { return in_use() };
        for folder in folders(&args) {
            put_back(&folder, from)?;
            ensure!(
                side(&folder, from, from)? == Side::Before,
                "`{}` is not as before the upgrade",
                folder.display()
            );
        }
        done(&json!({"nr": step.nr, "layout": from}))
    })
}

fn folders(args: &Args) -> Vec<PathBuf> {
    args.all("name").map(PathBuf::from).collect()
}

fn layout(args: &Args, name: &str) -> anyhow::Result<i64> {
    args.need(name)?.parse().with_context(|| format!("`--{name}` is no layout"))
}

/// The locks of all folders; none where a NameNode uses one.
fn locks(args: &Args) -> anyhow::Result<Option<Vec<std::fs::File>>> {
    folders(args).iter().map(|folder| lock(folder)).collect()
}

fn in_use() -> anyhow::Result<ExitCode> {
    let why = "a NameNode still uses the metadata";
    later(&json!({"reason": why}), why)
}

fn convert(args: &Args, step: &Step) -> anyhow::Result<ExitCode> {
    let (from, to) = (layout(args, "from")?, layout(args, "to")?);
    let Some(locks) = locks(args)? else { return in_use() };
    let sides = || -> anyhow::Result<Vec<Side>> {
        folders(args).iter().map(|folder| mend(folder).and_then(|()| side(folder, from, to))).collect()
    };
    let all = sides()?;
    if !all.iter().all(|side| *side == Side::After) {
        // Some are, some are not: cut off between two folders. All begin anew.
        for folder in folders(args) {
            put_back(&folder, from)?;
        }
        // The NameNode takes them itself.
        drop(locks);
        java(args)?;
        ensure!(
            sides()?.iter().all(|side| *side == Side::After),
            "the NameNode said that it has upgraded, and the metadata are as before"
        );
    }
    done(&json!({"nr": step.nr, "layout": to}))
}

fn java(args: &Args) -> anyhow::Result<()> {
    let java = args.need("java")?;
    let name = args.need("nameservice")?;
    let mut command = Command::new(java);
    command.args(args.all("option")).args(["-cp", args.need("classpath")?]);
    command.arg("org.apache.hadoop.hdfs.server.namenode.NameNode");
    // It opens its ports for a moment: nobody is to come there.
    for address in ["rpc-address", "http-address"] {
        command.args(["-D", &format!("dfs.namenode.{address}.{name}.nn1=127.0.0.1:0")]);
    }
    let output = command
        .arg("-upgradeOnly")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start `{java}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let tail = said.char_indices().rev().nth(SAID).map_or(0, |(at, _)| at);
    let _ = std::io::stderr().lock().write_all(&said.as_bytes()[tail..]);
    if !output.status.success() {
        bail!("the NameNode's upgrade ended with {}: {}", output.status, cause(&said));
    }
    Ok(())
}
