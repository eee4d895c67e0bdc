//! Which services run, as which processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::machine::{self, Process};

/// A service as it runs: its process and the digest of the spec that it was started by.
pub type Running = BTreeMap<String, (Process, String)>;

/// The services and tasks that run below the folder.
pub fn running(dir: &Path) -> Running {
    let digest = |service: &str| {
        let text = fs::read(dir.join("services").join(service).join("state.json")).unwrap_or_default();
        let state: Value = serde_json::from_slice(&text).unwrap_or_default();
        state["digest"].as_str().unwrap_or_default().to_owned()
    };
    let with_digest = |(name, process): (String, Process)| {
        let digest = digest(&name);
        (name, (process, digest))
    };
    machine::processes_below(dir).into_iter().map(with_digest).collect()
}
