//! The recipe of jars from Maven coordinates: what a build has no room for and a host without a network cannot fetch.
//! Owns the pom that asks for them; Maven does all fetching.

#![allow(clippy::disallowed_methods, reason = "a recipe runs Maven")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::run_lines;
use crate::Progress;

const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// Makes a folder of the jars of `GROUP:ARTEFACT:VERSION[,…]` and what they need at run time.
pub fn make(wanted: &str, out: &Path, progress: &mut Progress) -> Result<()> {
    let pom = pom(wanted)?;
    let work = out.join(".making");
    fs::create_dir_all(&work).with_context(|| format!("cannot make `{}`", work.display()))?;
    fs::write(work.join("pom.xml"), pom).with_context(|| format!("cannot write `{}`", work.display()))?;
    let mut maven = Command::new("mvn");
    maven.current_dir(&work).args(["-B", "-U", "-Dstyle.color=never", "-DincludeScope=runtime", PLUGIN]);
    // Scala's own library is the build's: another one before it on a class path breaks both.
    maven.args(["-DexcludeGroupIds=org.scala-lang"]).arg(format!("-DoutputDirectory={}", out.display()));
    if let Some(cache) = std::env::var_os("STOKER_CACHE").filter(|cache| !cache.is_empty()) {
        maven.arg(format!("-Dmaven.repo.local={}", PathBuf::from(cache).join("maven").display()));
    }
    let (mut fetched, mut errors) = (0, Vec::new());
    progress.step("asking Maven", 0, 0);
    let done = run_lines(&mut maven, |line| {
        if let Some(error) = line.strip_prefix("[ERROR]") {
            errors.push(error.trim().to_owned());
        } else if line.contains("Downloaded from") && line.contains(".jar ") {
            fetched += 1;
            progress.step("fetching jars", fetched, 0);
        }
    });
    if let Err(failed) = done {
        super::check_cancelled()?;
        let said =
            errors.into_iter().find(|error| !error.is_empty()).unwrap_or_else(|| format!("{failed:#}"));
        bail!("cannot fetch `{wanted}` by Maven: {said}");
    }
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove `{}`", work.display()))
}

fn pom(wanted: &str) -> Result<String> {
    let mut wants = String::new();
    for each in wanted.split(',') {
        let parts: Vec<&str> = each.split(':').collect();
        let [group, artefact, version] = parts.as_slice() else {
            bail!(
                "cannot make jars of `{each}`: give GROUP:ARTEFACT:VERSION, several with commas between them"
            );
        };
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
        };
        ensure!(
            parts.iter().all(|part| plain(part)),
            "cannot make jars of `{each}`: it is no Maven coordinate"
        );
        let _ = write!(
            wants,
            "<dependency><groupId>{group}</groupId><artifactId>{artefact}</artifactId><version>{version}</version></dependency>"
        );
    }
    Ok(format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>stoker</groupId><artifactId>jars</artifactId>\
         <version>1</version><dependencies>{wants}</dependencies></project>\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_become_dependencies() {
        let text = pom("org.x:y_2.12:1.0,org.x:z:2").unwrap();
        assert!(
            text.contains("<artifactId>y_2.12</artifactId><version>1.0</version>")
                && text.contains("<version>2<")
        );
        for bad in ["", "org.x:y", "a:b:c:d", "a:b:<x>", "a:b:1,"] {
            assert!(pom(bad).is_err(), "{bad}");
        }
    }
}
