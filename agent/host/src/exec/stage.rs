//! What `stoker-shim exec` applies to itself before it becomes the command: the words between the two programs.
//!
//! Owns only the document. It is passed in an argument, so it must hold nothing secret.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All of it, in the order it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stage {
    /// What the inherited stdin is.
    pub stdin: Stdin,
    /// A pipe with a name that becomes the command's descriptor 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<PathBuf>,
    /// Open files, capped at what may be had; 0 leaves the limit alone.
    pub nofile: u64,
    /// Where it runs; `None` stays.
    pub cwd: Option<PathBuf>,
    /// Folders below which it may write nothing.
    pub deny_write: Vec<PathBuf>,
    /// Write nothing but below given paths.
    pub sandbox: Option<Sandbox>,
    /// The user to become.
    pub user: Option<String>,
    /// Its user and primary group id where they are known: nothing is looked up then, and it has no other groups.
    pub ids: Option<(u32, u32)>,
}

/// What the stage does with the stdin it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// The command's.
    #[default]
    Keep,
    /// A pipe that is told [`Report`] and closes when the command begins.
    Report,
    /// A pipe that becomes the command's descriptor 3.
    Progress,
}

/// What a sandboxed command may do; reading and running programs is not restricted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// Files and folders it may write, with all below them.
    pub write: Vec<PathBuf>,
    /// It may neither connect nor listen over TCP.
    pub no_network: bool,
}

/// What the stage says before the command begins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// What was asked for and does not hold here.
    pub unenforced: Vec<String>,
    /// Why the command could not begin.
    pub error: Option<String>,
}
