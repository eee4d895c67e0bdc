//! `transfer export ROOT DIGEST FILE [SINCE]` writes a build as a stream, `transfer import ROOT FILE` takes it in;
//! prints what came of it as JSON, with the seconds that it took. For the benches.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use stoker_host::builds::Builds;
use stoker_host::builds::transfer::{Have, Keeping};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let mut out = match args.as_slice() {
        ["export", root, digest, file, since @ ..] => {
            let base = since.first().map(|digest| digest.parse()).transpose()?;
            let have = Have { base, ..Have::default() };
            let mut to = BufWriter::with_capacity(256 * 1024, File::create(file)?);
            let sent = Builds::open(Path::new(root))?.export(&digest.parse()?, &have, &mut to, &())?;
            to.flush()?;
            serde_json::to_value(sent)?
        }
        ["import", root, file] => {
            let mut from = BufReader::with_capacity(256 * 1024, File::open(file)?);
            let got = Builds::open(Path::new(root))?.import(&mut from, &Keeping::default(), &())?;
            serde_json::to_value(got)?
        }
        _ => return Err("usage: transfer export ROOT DIGEST FILE [SINCE] | transfer import ROOT FILE".into()),
    };
    out["seconds"] = begun.elapsed().as_secs_f64().into();
    println!("{out}");
    Ok(())
}
