//! The link check by hand, on folders of jars or single jars: `link CALLERS… -- SHIPPED… -- CANDIDATE…`.
//! A caller that is also a shipped jar is left out of the callers.

#![allow(clippy::print_stdout, reason = "its output is for a person")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use stoker_charm::link;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let sides: Vec<Vec<PathBuf>> =
        words.split(|word| word == "--").map(|side| side.iter().flat_map(|at| jars(at)).collect()).collect();
    let [callers, shipped, candidate] = sides.as_slice() else {
        return Err("link CALLERS… -- SHIPPED… -- CANDIDATE…".into());
    };
    let callers: Vec<PathBuf> = callers.iter().filter(|jar| !shipped.contains(jar)).cloned().collect();
    let begun = Instant::now();
    let report = link::check(&callers, shipped, candidate)?;
    let took = begun.elapsed();
    for gap in &report.gaps {
        let when = match (gap.before, gap.after) {
            (true, true) => "both    ",
            (true, false) => "before  ",
            _ => "",
        };
        println!("{when}{}  {}  {}", gap.jar, gap.class, gap.target);
    }
    println!(
        "{} classes, {} references, {} gaps, {took:.2?}",
        report.classes,
        report.references,
        report.gaps.len()
    );
    Ok(())
}

fn jars(at: &str) -> Vec<PathBuf> {
    let path = Path::new(at);
    if path.is_dir() { link::jars_in(path, |_| false) } else { vec![path.to_owned()] }
}
