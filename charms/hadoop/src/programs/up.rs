//! `namenode-up`: waits until the NameNode has loaded its image. A DataNode that asks earlier, while the NameNode's port
//! is open but the NameNode not started, is sent away and comes back five seconds later; one that starts when this ends
//! asks late enough.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stoker_charm::serde_json::json;

use super::{Args, done, later};
use stoker_charm::webhdfs::NameNode;

const PACE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_mins(4);

/// Runs the program.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["namenode"])?;
    let node = NameNode { url: args.need("namenode")?.to_owned(), user: String::new() };
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        // The rest of its start is shorter than that of a DataNode's JVM. (JMX tells the same, ten seconds late.)
        if node.loaded().unwrap_or(false) {
            return done(&json!({"loaded": true}));
        }
        thread::sleep(PACE);
    }
    let why = format!("the NameNode at {} does not answer", node.url);
    later(&json!({"reason": why}), &why)
}
