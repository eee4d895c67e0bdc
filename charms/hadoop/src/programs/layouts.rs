//! `layouts`: whether data have the layouts that a build works with, from what HDFS itself wrote beside them. Runs while
//! nothing has been stopped; ends with 1 where they differ.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use stoker_charm::serde_json::json;

use super::version_file::Current;
use super::{Args, done, say};

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["name", "data", "namenode", "datanode"])?;
    let build = |who: &str| args.get(who).and_then(|text| text.parse::<i64>().ok());
    let mut differs = None;
    let mut lowest = |what: &str, who: &str| -> anyhow::Result<Option<i64>> {
        let mut lowest: Option<i64> = None;
        for folder in args.all(what) {
            let current =
                Current::read(Path::new(folder)).with_context(|| format!("cannot read `{folder}`"))?;
            let Some(had) = current.layout else { continue };
            if build(who) != Some(had) {
                let has = build(who).map_or_else(|| "an unknown one".to_owned(), |has| has.to_string());
                differs.get_or_insert_with(|| format!("{folder} has {who} layout {had}, the build {has}"));
            }
            lowest = Some(lowest.map_or(had, |so_far| so_far.min(had)));
        }
        Ok(lowest)
    };
    let (namenode, datanode) = (lowest("name", "namenode")?, lowest("data", "datanode")?);
    match differs {
        None => done(&json!({"layout": namenode, "layout-datanode": datanode})),
        Some(reason) => {
            say(&json!({"reason": reason, "layout": namenode, "layout-datanode": datanode}).to_string())?;
            Ok(ExitCode::FAILURE)
        }
    }
}
