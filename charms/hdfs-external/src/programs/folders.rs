//! `folders`: makes what a client asks for, over WebHDFS, as the client itself: nobody here is the superuser. Owns that
//! nothing is written outside of the one folder, and that what exists stays as it is.

use std::process::ExitCode;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stoker_charm::webhdfs::{Failure, Folder, NameNode};

use super::{done, later, question};

/// Of folders between the one folder and what is asked for, which several may need.
const SHARED: &str = "1777";

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Where WebHDFS may be.
    pub(crate) pages: Vec<String>,
    /// The one folder.
    pub(crate) folder: String,
    /// The folders below it, as the client published them.
    pub(crate) dirs: Value,
    /// What is told when they are there.
    pub(crate) made: String,
}

/// The program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let asked: Question = question(args)?;
    let dirs = Folder::all(&asked.dirs).map_err(anyhow::Error::msg)?;
    let mut whys = Vec::new();
    for page in &asked.pages {
        match all(&format!("http://{page}"), &asked.folder, &dirs) {
            Ok(kept) => return done(&json!({"made": asked.made, "kept": kept})),
            Err((_, Failure::Later(why))) => whys.push(format!("{page}: {why}")),
            Err((path, Failure::Absent)) => bail!("cannot make `{path}`: it vanishes"),
            Err((path, Failure::Bad(error))) => {
                done(&json!({"reason": format!("cannot make `{path}`: {error:#}")}))?;
                return Err(error.context(format!("cannot make `{path}`")));
            }
        }
    }
    let why = format!("no WebHDFS makes folders: {}", whys.join("; "));
    later(json!({"waits-for": why}), &why)
}

/// Makes them; which exist and are somebody else's. An error comes with its path.
fn all(url: &str, root: &str, dirs: &[Folder]) -> Result<Vec<Value>, (String, Failure)> {
    let mut kept = Vec::new();
    for dir in dirs {
        let node = NameNode { url: url.to_owned(), user: dir.owner.clone() };
        for path in on_the_way(root, &dir.path) {
            ensure(&node, path, SHARED).map_err(|failure| (path.to_owned(), failure))?;
        }
        match ensure(&node, &dir.path, &dir.mode).map_err(|failure| (dir.path.clone(), failure))? {
            Some(owner) if owner != dir.owner => kept.push(json!({"path": dir.path, "owner": owner})),
            Some(_) => {}
            // A group that the owner is not in is the HDFS's to refuse.
            None if dir.group.is_empty() => {}
            None => match node.put(&dir.path, "SETOWNER", &[("group", &dir.group)]) {
                Ok(_) | Err(Failure::Bad(_)) => {}
                Err(failure) => return Err((dir.path.clone(), failure)),
            },
        }
    }
    Ok(kept)
}

/// The root, and what is between it and the path.
fn on_the_way<'a>(root: &str, path: &'a str) -> Vec<&'a str> {
    let ends =
        path.char_indices().filter(|(at, c)| *c == '/' && *at >= root.len()).map(|(at, _)| &path[..at]);
    ends.filter(|part| part.len() < path.len()).collect()
}

/// Makes a folder where there is none; the owner of one that is there.
fn ensure(node: &NameNode, path: &str, mode: &str) -> Result<Option<String>, Failure> {
    match node.ask(path, "GETFILESTATUS") {
        Ok(answer) if answer["FileStatus"]["type"] == "FILE" => {
            Err(Failure::Bad(anyhow::anyhow!("a file is there")))
        }
        Ok(answer) => Ok(Some(answer["FileStatus"]["owner"].as_str().unwrap_or_default().to_owned())),
        Err(Failure::Absent) => node.put(path, "MKDIRS", &[("permission", mode)]).map(|_| None),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folder_and_what_is_in_it_is_made() {
        assert_eq!(on_the_way("/a/b", "/a/b/user/x"), ["/a/b", "/a/b/user"]);
        assert_eq!(on_the_way("/a/b", "/a/b/x"), ["/a/b"]);
        assert!(on_the_way("/a/b", "/a/b").is_empty());
    }
}
