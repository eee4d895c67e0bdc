//! `folders`: makes folders in HDFS over WebHDFS, without a JVM. Owns that nothing of somebody else's is changed:
//! an existing folder keeps its mode, and its owner unless that is the superuser.

use std::process::ExitCode;

use anyhow::{Context, bail};
use stoker_charm::serde_json::{self, Value, json};

use super::{Args, done, later};
use stoker_charm::webhdfs::{Failure, Folder, NameNode};

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["namenode", "user", "dirs", "made"])?;
    let node = NameNode { url: args.need("namenode")?.to_owned(), user: args.need("user")?.to_owned() };
    let asked: Value = serde_json::from_str(args.need("dirs")?).context("cannot read `--dirs`")?;
    let folders = Folder::all(&asked).map_err(anyhow::Error::msg)?;
    let mut kept = Vec::new();
    for folder in &folders {
        match make(&node, folder) {
            Ok(None) => {}
            Ok(Some(owner)) => kept.push(json!({"path": folder.path, "owner": owner})),
            Err(Failure::Later(why)) => return later(&json!({"waits-for": why}), &why),
            Err(Failure::Absent) => bail!("cannot make `{}` in HDFS: it vanishes", folder.path),
            Err(Failure::Bad(error)) => {
                return Err(error.context(format!("cannot make `{}` in HDFS", folder.path)));
            }
        }
    }
    done(&json!({"made": args.get("made"), "kept": kept}))
}

/// HDFS's group of what the superuser makes.
const SUPERGROUP: &str = "supergroup";

/// Makes a folder; the owner's name where an existing one belongs to somebody else.
fn make(node: &NameNode, folder: &Folder) -> Result<Option<String>, Failure> {
    let path = folder.path.as_str();
    match node.ask(path, "GETFILESTATUS") {
        Err(Failure::Absent) => {
            // The mode comes with the folder itself, so that only the owner can be missing after an interruption.
            node.put(path, "MKDIRS", &[("permission", &folder.mode)])?;
            give(node, folder, &node.user, SUPERGROUP)
        }
        Err(other) => Err(other),
        Ok(answer) => {
            let status = &answer["FileStatus"];
            if status["type"] == "FILE" {
                return Err(Failure::Bad(anyhow::anyhow!("a file is there")));
            }
            let text = |name: &str| status[name].as_str().unwrap_or_default();
            give(node, folder, text("owner"), text("group"))
        }
    }
}

/// Gives a folder that is still the superuser's to whom it is for.
fn give(node: &NameNode, folder: &Folder, owner: &str, group: &str) -> Result<Option<String>, Failure> {
    let for_group = !folder.group.is_empty() && group != folder.group;
    let ours = owner == node.user && (owner != folder.owner || (for_group && group == SUPERGROUP));
    if !ours {
        return Ok((owner != folder.owner).then(|| owner.to_owned()));
    }
    let mut with = vec![("owner", folder.owner.as_str())];
    if for_group {
        with.push(("group", folder.group.as_str()));
    }
    node.put(&folder.path, "SETOWNER", &with).map(|_| None)
}
