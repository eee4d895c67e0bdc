//! `report`: the filesystem as the NameNode sees it, from its JMX.

use std::process::ExitCode;

use anyhow::Context;
use stoker_charm::serde_json::{self, Map, Value, json};

use super::{Args, done, say};
use stoker_charm::webhdfs::NameNode;

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["namenode"])?;
    let node = NameNode { url: args.need("namenode")?.to_owned(), user: String::new() };
    let bean = |name: &str| {
        node.bean(&format!("Hadoop:service=NameNode,name={name}")).context("cannot ask the NameNode")
    };
    let (info, system, status) = (bean("NameNodeInfo")?, bean("FSNamesystem")?, bean("NameNodeStatus")?);
    let report = report(&info, &system, &status);
    for (name, value) in &report {
        say(&format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))?;
    }
    done(&Value::Object(report))
}

fn report(info: &Value, system: &Value, status: &Value) -> Map<String, Value> {
    // JMX gives the nodes as JSON inside a string.
    let nodes = |key: &str| -> Map<String, Value> {
        info[key].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let live: Vec<Value> = nodes("LiveNodes")
        .iter()
        .map(|(name, node)| {
            json!({"name": name, "address": node["xferaddr"], "version": node["version"], "state": node["adminState"],
                   "capacity": node["capacity"], "used": node["used"], "remaining": node["remaining"],
                   "blocks": node["numBlocks"], "volume-failures": node["volfails"]})
        })
        .collect();
    let dead: Vec<String> = nodes("DeadNodes").keys().cloned().collect();
    let pairs = [
        ("version", info["SoftwareVersion"].clone()),
        ("cluster-id", info["ClusterId"].clone()),
        ("state", status["State"].clone()),
        (
            "safemode",
            info["Safemode"]
                .as_str()
                .map_or(Value::Null, |text| if text.is_empty() { "off".into() } else { text.into() }),
        ),
        ("capacity", info["Total"].clone()),
        ("used", info["Used"].clone()),
        ("free", info["Free"].clone()),
        ("files", system["FilesTotal"].clone()),
        ("blocks", info["TotalBlocks"].clone()),
        ("missing-blocks", info["NumberOfMissingBlocks"].clone()),
        ("under-replicated", system["UnderReplicatedBlocks"].clone()),
        ("corrupt-blocks", system["CorruptBlocks"].clone()),
        ("last-checkpoint", system["LastCheckpointTime"].clone()),
        ("transactions-since-checkpoint", system["TransactionsSinceLastCheckpoint"].clone()),
        ("live", Value::from(live)),
        ("dead", Value::from(dead)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
