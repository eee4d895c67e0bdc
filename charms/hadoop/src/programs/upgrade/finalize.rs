//! `upgrade-finalize`: what was kept of before the upgrade is let go, by the NameNode and, at its word, by the
//! DataNodes: they hear of it with their next report of blocks, which is asked for.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stoker_charm::serde_json::json;
use stoker_charm::webhdfs::NameNode;

use super::Step;
use super::prepare::sweep;
use crate::programs::tools::tool;
use crate::programs::{Args, done, later};

const ADMIN: &str = "org.apache.hadoop.hdfs.tools.DFSAdmin";
const KNOWN: [&str; 8] = ["name", "nr", "namenode", "datanode", "data", "java", "classpath", "option"];
const PACE: Duration = Duration::from_millis(200);
/// How long DataNodes may take to hear of it before they are asked to report again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &KNOWN)?;
    let step = Step::of(&args)?;
    step.run(|| {
        let node = NameNode { url: args.need("namenode")?.to_owned(), user: String::new() };
        let finalized = || {
            let bean = node.bean("Hadoop:service=NameNode,name=NameNodeInfo");
            bean.map(|info| info["UpgradeFinalized"] == true)
        };
        match finalized() {
            Err(_) => return later(&json!({}), "the NameNode does not answer"),
            Ok(true) => {}
            Ok(false) => tool(&args, ADMIN, &["-finalizeUpgrade"], &mut |_| ())?,
        }
        if !finalized().unwrap_or(false) {
            return later(&json!({}), "the NameNode has not finalized the upgrade yet");
        }
        for datanode in args.all("datanode") {
            if let Err(error) = tool(&args, ADMIN, &["-triggerBlockReport", datanode], &mut |_| ()) {
                return later(&json!({}), &format!("{datanode} is not asked for its blocks: {error:#}"));
            }
        }
        let start = Instant::now();
        while args.all("data").any(|volume| keeps(Path::new(volume))) {
            if start.elapsed() > PATIENCE {
                return later(&json!({}), "the DataNode still keeps the blocks of before");
            }
            thread::sleep(PACE);
        }
        sweep(&step.folder)?;
        step.ends("finalized")?;
        done(&json!({"nr": step.nr, "finalized": true}))
    })
}

/// Whether a volume still has what was before an upgrade.
fn keeps(volume: &Path) -> bool {
    let pools = std::fs::read_dir(volume.join("current")).into_iter().flatten().flatten();
    pools
        .map(|pool| pool.path())
        .any(|pool| pool.join("previous").exists() || pool.join("finalized.tmp").exists())
}
