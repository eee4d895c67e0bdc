//! `upgrade-verify`: HDFS is there again: the Hadoop that is meant, every DataNode, no block missing, writable.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use stoker_charm::serde_json::{Value, json};
use stoker_charm::webhdfs::NameNode;

use super::Step;
use super::prepare::lacks;
use crate::programs::{Args, done, later};

const PACE: Duration = Duration::from_millis(200);
/// After this the status says what is missing, and it is looked again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["name", "nr", "namenode", "units", "outcome", "version"])?;
    let step = Step::of(&args)?;
    let units: usize = args.need("units")?.parse().context("`--units` is no number")?;
    let node = NameNode { url: args.need("namenode")?.to_owned(), user: String::new() };
    let start = Instant::now();
    let info = loop {
        let info = node.bean("Hadoop:service=NameNode,name=NameNodeInfo").unwrap_or(Value::Null);
        match not_yet(&info, units, args.need("version")?) {
            None => break info,
            Some(why) if start.elapsed() > PATIENCE => return later(&json!({"reason": why}), &why),
            Some(_) => thread::sleep(PACE),
        }
    };
    if let Some(outcome) = args.get("outcome").filter(|outcome| !outcome.is_empty()) {
        step.ends(outcome)?;
    }
    done(&json!({"nr": step.nr, "live": units, "blocks": info["TotalBlocks"]}))
}

fn not_yet(info: &Value, units: usize, version: &str) -> Option<String> {
    let Some(runs) = info["SoftwareVersion"].as_str() else {
        return Some("the NameNode does not answer yet".to_owned());
    };
    if runs != version {
        return Some(format!("the NameNode is of Hadoop {runs}, not {version}"));
    }
    if let Some(why) = lacks(info, units) {
        return Some(why);
    }
    if info["Safemode"] != "" {
        return Some("the NameNode is in safe mode".to_owned());
    }
    let missing = info["NumberOfMissingBlocks"].as_u64().unwrap_or(0);
    (missing > 0).then(|| format!("{missing} blocks are missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for() {
        let mut info = json!({});
        let mut says = |name: &str, value: Value| {
            info[name] = value;
            not_yet(&info, 1, "3.4.1")
        };
        assert!(says("TotalBlocks", json!(1)).unwrap().contains("does not answer"));
        assert!(says("SoftwareVersion", json!("3.3.6")).unwrap().contains("3.3.6"));
        assert!(says("SoftwareVersion", json!("3.4.1")).unwrap().contains("0 of 1"));
        assert!(says("LiveNodes", json!(r#"{"a:1":{}}"#)).unwrap().contains("safe mode"));
        assert_eq!(says("Safemode", json!("")), None);
        assert!(says("NumberOfMissingBlocks", json!(2)).unwrap().contains("2 blocks"));
    }
}
