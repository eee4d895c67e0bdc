//! `checkpoint-due`: whether the SecondaryNameNode may start: once the NameNode has been up for a while, so that its
//! JVM does not take cores from what people wait for. Never fails: what cannot be asked is not due.

use std::process::ExitCode;

use stoker_charm::serde_json::json;

use super::{Args, done};
use stoker_charm::webhdfs::NameNode;

/// Milliseconds that the NameNode has to be up.
const SETTLED: u64 = 60_000;

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["namenode"])?;
    let node = NameNode { url: args.need("namenode")?.to_owned(), user: String::new() };
    let uptime = node.attribute("java.lang:type=Runtime", "Uptime").ok().and_then(|value| value.as_u64());
    done(&json!({"due": uptime.is_some_and(|up| up >= SETTLED)}))
}
