//! `trees ROOT N BASE OTHER PREFIX...`: links the tree of the build BASE anew, then derives one in which the file whose
//! name begins with each PREFIX is the one of build OTHER, and prints the seconds that both took. The Nth file of BASE
//! is left out, so that each N makes another tree. For the benches.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;
use std::time::Instant;

use stoker_host::builds::{Builds, Derive, Manifest, Take};
use stoker_model::ids::Digest;

fn find<'a>(manifest: &'a Manifest, prefix: &str) -> Result<&'a str, String> {
    let last = |path: &'a str| path.rsplit_once('/').map_or(path, |(_, last)| last);
    let mut found = manifest.files().map(|(path, ..)| path).filter(|path| last(path).starts_with(prefix));
    found.next().ok_or_else(|| format!("no file begins with {prefix}"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [root, nth, base, other, prefixes @ ..] = args.as_slice() else {
        return Err("usage: trees ROOT N BASE OTHER PREFIX...".into());
    };
    let builds = Builds::open(Path::new(root))?;
    let (base, from): (Digest, Digest) = (base.parse()?, other.parse()?);
    let (old, new) = (builds.manifest(&base)?, builds.manifest(&from)?);
    builds.remove_tree(&base)?;
    let begun = Instant::now();
    let path = builds.tree(&base)?;
    let tree = begun.elapsed().as_secs_f64();
    let mut spec = Derive { base, drop: Vec::new(), take: Vec::new() };
    let left_out = old.files().nth(nth.parse()?).map(|(path, ..)| path.to_owned());
    spec.drop.extend(left_out.filter(|path| path.rsplit_once('.').is_none_or(|(_, end)| end != "jar")));
    for prefix in prefixes {
        let (gone, put) = (find(&old, prefix)?, find(&new, prefix)?);
        let folder = gone.rsplit_once('/').map_or("", |(folder, _)| folder);
        let last = put.rsplit_once('/').map_or(put, |(_, last)| last);
        spec.drop.push(gone.to_owned());
        spec.take.push(Take { from: from.clone(), path: put.to_owned(), to: format!("{folder}/{last}") });
    }
    let before = builds.usage()?.bytes;
    let begun = Instant::now();
    let derived = builds.derive(&spec)?;
    let linked = begun.elapsed().as_secs_f64();
    builds.settle(&derived.digest)?;
    let durable = begun.elapsed().as_secs_f64();
    // The manifest is no data: it says which data.
    let manifest = builds.manifest(&derived.digest)?.text().len() as u64;
    let data = builds.usage()?.bytes - before - manifest;
    println!(
        "{}",
        serde_json::json!({
            "tree": path,
            "tree_seconds": tree,
            "derived": derived.path,
            "linked_seconds": linked,
            "durable_seconds": durable,
            "data_bytes": data,
        })
    );
    Ok(())
}
