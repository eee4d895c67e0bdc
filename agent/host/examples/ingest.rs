//! `ingest ROOT SOURCE [untreed]`: takes one archive or folder in, links its tree (unless told not to) and prints
//! what came of it as JSON. For the benches.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::time::Instant;

use stoker_host::builds::{Builds, Record, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, source, rest @ ..] = args.as_slice() else { return Err("usage: ingest ROOT SOURCE".into()) };
    let source = Path::new(source);
    let begun = Instant::now();
    let builds = Builds::open(Path::new(root))?;
    let from = if source.is_dir() { Source::Folder(source) } else { Source::File(source) };
    let ingested = builds.ingest(from, &())?;
    // Visible already; the measure is when it is durable.
    builds.settle(&ingested.digest)?;
    let seconds = begun.elapsed().as_secs_f64();
    builds.put_record(&Record {
        digest: ingested.digest.clone(),
        source: source.display().to_string(),
        archive: None,
        facts: serde_json::Value::Null,
        files: ingested.files,
        bytes: ingested.bytes,
        added: String::new(),
    })?;
    let linking = Instant::now();
    if rest.is_empty() {
        builds.tree(&ingested.digest)?;
    }
    let mut out = serde_json::to_value(&ingested)?;
    out["seconds"] = seconds.into();
    out["tree_seconds"] = linking.elapsed().as_secs_f64().into();
    println!("{out}");
    Ok(())
}
