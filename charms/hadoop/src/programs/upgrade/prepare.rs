//! `upgrade-prepare`: before anything stops, HDFS is whole, nobody writes, the namespace is saved, and a copy of it is
//! put aside. Leaves safe mode again where that is not to be had.

#![allow(clippy::disallowed_methods, reason = "removes copies of earlier upgrades")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use stoker_charm::serde_json::{self, Value, json};
use stoker_charm::webhdfs::NameNode;

use super::{COPY, Step};
use crate::programs::format::{sync, sync_tree};
use crate::programs::tools::tool;
use crate::programs::{Args, done, later};

const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSAdmin";
const SYSTEM: &str = "Hadoop:service=NameNode,name=FSNamesystem";
const KNOWN: [&str; 8] = ["name", "nr", "namenode", "units", "now", "java", "classpath", "option"];

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &KNOWN)?;
    let step = Step::of(&args)?;
    step.run(|| prepare(&args, &step))
}

/// Runs `upgrade-release`: safe mode is left where an upgrade was called off.
pub(crate) fn release(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &KNOWN)?;
    let step = Step::of(&args)?;
    step.run(|| {
        tool(&args, ADMIN, &["-safemode", "leave"], &mut |_| ())?;
        sweep(&step.folder)?;
        step.ends("called-off")?;
        done(&json!({"nr": step.nr, "safemode": false}))
    })
}

fn prepare(args: &Args, step: &Step) -> anyhow::Result<ExitCode> {
    let node = NameNode { url: args.need("namenode")?.to_owned(), user: String::new() };
    let not_yet = |why: String| later(&json!({"reason": why}), &why);
    let Ok(info) = node.bean("Hadoop:service=NameNode,name=NameNodeInfo") else {
        return not_yet("the NameNode does not answer".to_owned());
    };
    let units: usize = args.need("units")?.parse().context("`--units` is no number")?;
    if let Some(why) = unfit(&info, units)? {
        return not_yet(why);
    }
    let now = args.get("now") == Some("true");
    if let Some(why) = written(&node).filter(|_| !now) {
        return not_yet(why);
    }
    tool(args, ADMIN, &["-safemode", "enter"], &mut |_| ())?;
    let leave = |why: &dyn std::fmt::Display| {
        tool(args, ADMIN, &["-safemode", "leave"], &mut |_| ())
            .with_context(|| format!("cannot leave safe mode again after: {why}"))
    };
    // Who began to write in between is not cut off either.
    if let Some(why) = written(&node).filter(|_| !now) {
        leave(&why)?;
        return not_yet(why);
    }
    let saved =
        tool(args, ADMIN, &["-saveNamespace"], &mut |_| ()).and_then(|()| copy(&step.folder, step.nr));
    match saved {
        Ok(image) => done(&json!({"nr": step.nr, "image": image, "blocks": info["TotalBlocks"]})),
        Err(error) => {
            leave(&error)?;
            Err(error)
        }
    }
}

/// Why HDFS is not to be upgraded as it is: what passes is a text, the rest an error.
fn unfit(info: &Value, units: usize) -> anyhow::Result<Option<String>> {
    ensure!(
        info["UpgradeFinalized"] != false,
        "an earlier upgrade of this HDFS is not finalized: hdfs dfsadmin -finalizeUpgrade"
    );
    ensure!(
        info["RollingUpgradeStatus"].is_null(),
        "a rolling upgrade of this HDFS is under way: hdfs dfsadmin -rollingUpgrade finalize"
    );
    let missing = info["NumberOfMissingBlocks"].as_u64().unwrap_or(0);
    ensure!(missing == 0, "{missing} blocks are missing: stoker run APP/leader fsck tells of which files");
    Ok(lacks(info, units))
}

/// DataNodes that are not there.
pub(super) fn lacks(info: &Value, units: usize) -> Option<String> {
    let nodes: Option<serde_json::Map<String, Value>> =
        info["LiveNodes"].as_str().and_then(|text| serde_json::from_str(text).ok());
    let live = nodes.map_or(0, |nodes| nodes.len());
    (live < units).then(|| format!("{live} of {units} DataNodes are there"))
}

/// Files that are being written; where a NameNode does not count them (before 2.8), none are known of.
fn written(node: &NameNode) -> Option<String> {
    let files = node.attribute(SYSTEM, "NumFilesUnderConstruction").ok()?.as_u64()?;
    let what = if files == 1 { "a file is".to_owned() } else { format!("{files} files are") };
    (files > 0).then(|| format!("{what} being written"))
}

/// Copies the newest image with what belongs to it; the copy is there whole or not at all.
fn copy(folder: &Path, nr: u64) -> anyhow::Result<String> {
    let to = folder.join(format!("{COPY}{nr}"));
    sweep(folder)?;
    let current = folder.join("current");
    let mut images: Vec<String> = fs::read_dir(&current)
        .with_context(|| format!("cannot read `{}`", current.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.strip_prefix("fsimage_").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
        })
        .collect();
    images.sort_unstable();
    let image = images.pop().with_context(|| format!("`{}` holds no image", current.display()))?;
    let new = folder.join(format!("{COPY}{nr}.new"));
    let make = || -> std::io::Result<()> {
        fs::create_dir(&new)?;
        for name in [image.clone(), format!("{image}.md5"), "VERSION".to_owned(), "seen_txid".to_owned()] {
            fs::copy(current.join(&name), new.join(&name))?;
        }
        sync_tree(&new)?;
        fs::rename(&new, &to)?;
        sync(folder)
    };
    make().with_context(|| format!("cannot copy the namespace to `{}`", to.display()))?;
    Ok(image)
}

/// Removes copies of the namespace.
pub(super) fn sweep(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(COPY) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove `{}`", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_against_an_upgrade() {
        let info = |change: Value| {
            let mut info = json!({"UpgradeFinalized": true, "RollingUpgradeStatus": null, "NumberOfMissingBlocks": 0,
                "LiveNodes": r#"{"a:1":{},"b:1":{}}"#});
            info.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            info
        };
        assert_eq!(unfit(&info(json!({})), 2).unwrap(), None);
        assert_eq!(unfit(&info(json!({})), 3).unwrap().as_deref(), Some("2 of 3 DataNodes are there"));
        for (change, word) in [
            (json!({"UpgradeFinalized": false}), "-finalizeUpgrade"),
            (json!({"RollingUpgradeStatus": {}}), "rolling"),
            (json!({"NumberOfMissingBlocks": 4}), "4 blocks are missing"),
        ] {
            let wrong = unfit(&info(change), 2).unwrap_err().to_string();
            assert!(wrong.contains(word), "{wrong}");
        }
    }

    #[test]
    fn the_newest_image_is_copied_once() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("current");
        fs::create_dir(&current).unwrap();
        for name in
            ["fsimage_0007", "fsimage_0007.md5", "fsimage_0009", "fsimage_0009.md5", "VERSION", "seen_txid"]
        {
            fs::write(current.join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join(format!("{COPY}1.new"))).unwrap();
        assert_eq!(copy(dir.path(), 1).unwrap(), "fsimage_0009");
        assert_eq!(copy(dir.path(), 2).unwrap(), "fsimage_0009");
        let copy = dir.path().join(format!("{COPY}2"));
        assert_eq!(fs::read(copy.join("fsimage_0009")).unwrap(), b"fsimage_0009");
        assert!(!dir.path().join(format!("{COPY}1")).exists());
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::remove_file(current.join("fsimage_0009.md5")).unwrap();
        assert!(super::copy(dir.path(), 3).is_err());
    }
}
