//! Maven: the reactor that names what is wanted, how `mvn` is run, and what its errors mean.
//!
//! One module per folder of the tree; each imports the version's own dependency management, without which libraries
//! of different versions meet. That import drops the log binding, so it is named. Some needs are not declared
//! upstream (hadoop-common of hadoop-hdfs, timelineservice of the ResourceManager) and are named, too.

#![allow(clippy::disallowed_methods, reason = "a recipe runs Maven")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use stoker_charm::{Progress, recipe};

const YARN: [&str; 7] = [
    "hadoop-common",
    "hadoop-hdfs-client",
    "hadoop-yarn-server-resourcemanager",
    "hadoop-yarn-server-timelineservice",
    "hadoop-yarn-server-nodemanager",
    "hadoop-yarn-server-web-proxy",
    "hadoop-yarn-client",
];
const MAPREDUCE: [&str; 3] =
    ["hadoop-mapreduce-client-jobclient", "hadoop-mapreduce-client-hs", "hadoop-mapreduce-client-shuffle"];
/// The binding's version comes from the dependency management.
const LOG_BINDING: (&str, &str) = ("org.slf4j", "slf4j-reload4j");
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1";

/// Modules in the order in which a jar is claimed by the first that has it.
pub(super) const MODULES: [&str; 6] = ["client", "common", "hdfs", "yarn", "mapreduce", "webapps"];

fn wanted(module: &str) -> Vec<&'static str> {
    match module {
        "client" => vec!["hadoop-client-api", "hadoop-client-runtime"],
        "common" => vec!["hadoop-common"],
        "hdfs" => vec!["hadoop-common", "hadoop-hdfs", "hadoop-hdfs-client"],
        "yarn" => YARN.to_vec(),
        "mapreduce" => YARN.into_iter().chain(MAPREDUCE).collect(),
        _ => Vec::new(),
    }
}

/// Writes the reactor's poms.
pub(super) fn write_reactor(work: &Path, version: &str) -> anyhow::Result<()> {
    let write = |path: PathBuf, text: String| -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
    };
    let modules = MODULES.map(|name| format!("<module>{name}</module>")).concat();
    let import =
        dependency("org.apache.hadoop", "hadoop-project", version, "<type>pom</type><scope>import</scope>");
    let parent = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>stoker</groupId><artifactId>hadoop-home</artifactId>\
         <version>1</version><packaging>pom</packaging><modules>{modules}</modules>\
         <dependencyManagement><dependencies>{import}</dependencies></dependencyManagement></project>\n"
    );
    write(work.join("pom.xml"), parent)?;
    for module in MODULES {
        let mut wants: String =
            wanted(module).iter().map(|name| dependency("org.apache.hadoop", name, version, "")).collect();
        match module {
            "common" => {
                let (group, name) = LOG_BINDING;
                let _ = write!(
                    wants,
                    "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId></dependency>"
                );
            }
            "webapps" => {
                // The pages are in the jar of the tests, and nowhere else.
                let alone = "<classifier>tests</classifier><exclusions><exclusion><groupId>*</groupId>\
                             <artifactId>*</artifactId></exclusion></exclusions>";
                wants = dependency("org.apache.hadoop", "hadoop-hdfs", version, alone);
            }
            _ => {}
        }
        let pom = format!(
            "<project><modelVersion>4.0.0</modelVersion><parent><groupId>stoker</groupId>\
             <artifactId>hadoop-home</artifactId><version>1</version></parent><artifactId>{module}</artifactId>\
             <dependencies>{wants}</dependencies></project>\n"
        );
        write(work.join(module).join("pom.xml"), pom)?;
    }
    Ok(())
}

fn dependency(group: &str, name: &str, version: &str, more: &str) -> String {
    format!(
        "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>{more}</dependency>"
    )
}

/// A Maven that can be run.
pub(super) struct Maven {
    /// The local repository: what was fetched once is not fetched again.
    repository: PathBuf,
}

impl Maven {
    /// Looks for `mvn`; `scratch` holds the repository where neither STOKER_CACHE nor HOME says another place.
    pub(super) fn find(scratch: &Path) -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|folder| folder.join("mvn").is_file()) {
            bail!("Maven is not installed (no `mvn` on PATH): apt install maven");
        }
        let place = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let repository = place("STOKER_CACHE")
            .map(|cache| cache.join("maven"))
            .or_else(|| place("HOME").map(|home| home.join(".m2/repository")))
            .unwrap_or_else(|| scratch.join(".recipe/repository"));
        Ok(Self { repository })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("mvn");
        // -U: a failure of yesterday must not be taken from the cache.
        command.args(["-B", "-U", "-Dstyle.color=never"]);
        command.arg(format!("-Dmaven.repo.local={}", self.repository.display()));
        command
    }

    /// Fetches the reactor's jars into `MODULE/jars`.
    pub(super) fn fetch(&self, work: &Path, version: &str, progress: &mut Progress) -> anyhow::Result<()> {
        progress.step("asking Maven", 0, 0);
        let mut command = self.command();
        command.current_dir(work).arg(format!("{PLUGIN}:copy-dependencies"));
        command.args(["-DincludeScope=runtime", "-DoutputDirectory=${project.basedir}/jars"]);
        let (mut errors, mut fetched) = (Vec::new(), 0);
        let outcome = recipe::run_lines(&mut command, |line| {
            if let Some(error) = line.strip_prefix("[ERROR]") {
                errors.push(error.trim().to_owned());
            } else if line.contains("Downloaded from") && line.contains(".jar ") {
                fetched += 1;
                progress.step("fetching jars", fetched, 0);
            }
        });
        outcome.map_err(|error| explain(&errors, error, version))
    }

    /// Released versions of the client, newest first: Maven leaves the list in its repository.
    pub(super) fn versions(&self) -> anyhow::Result<Vec<String>> {
        let mut command = self.command();
        command.args([&format!("{PLUGIN}:get"), "-Dtransitive=false"]);
        command.arg("-Dartifact=org.apache.hadoop:hadoop-client-api:LATEST:pom");
        let mut errors = Vec::new();
        let outcome = recipe::run_lines(&mut command, |line| {
            errors.extend(line.strip_prefix("[ERROR]").map(|error| error.trim().to_owned()));
        });
        outcome.map_err(|error| explain(&errors, error, "LATEST"))?;
        let folder = self.repository.join("org/apache/hadoop/hadoop-client-api");
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("maven-metadata-") && path.extension().is_some_and(|end| end == "xml") {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
                found.extend(versions_in(&text));
            }
        }
        found.sort_by_key(|version| std::cmp::Reverse(numbers(version)));
        found.dedup();
        Ok(found)
    }
}

/// Final releases named in a `maven-metadata.xml`.
fn versions_in(text: &str) -> Vec<String> {
    let version = |piece: &str| piece.split_once("</version>").map(|(version, _)| version.trim().to_owned());
    let is_final = |version: &String| version.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.split("<version>").skip(1).filter_map(version).filter(is_final).collect()
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Maven's errors in one sentence: which artefact, and what to do.
fn explain(errors: &[String], error: anyhow::Error, version: &str) -> anyhow::Error {
    let after = |mark: &str| {
        errors.iter().find_map(|line| {
            let rest = line.split(mark).nth(1)?;
            rest.split_whitespace().next().map(|artefact| (artefact.to_owned(), line.clone()))
        })
    };
    if let Some((artefact, _)) = after("Could not find artifact ") {
        return anyhow::anyhow!(
            "Maven has no `{artefact}`: is {version} a released version? (`recipe versions` lists them)"
        );
    }
    if let Some((artefact, line)) = after("Could not transfer artifact ") {
        let why = line.rsplit("): ").next().unwrap_or_default();
        let why = why.split(" -> ").next().unwrap_or(why).trim();
        return anyhow::anyhow!(
            "cannot fetch `{artefact}`: {why} (check the network, and Maven's settings.xml)"
        );
    }
    match errors.iter().find(|line| !line.is_empty()) {
        Some(line) => anyhow::anyhow!("Maven failed: {line}"),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(line: &str) -> String {
        explain(&[String::new(), line.to_owned()], anyhow::anyhow!("exit 1"), "9.9.9").to_string()
    }

    #[test]
    fn errors_name_the_artefact() {
        let said = explained(
            "Non-resolvable import POM: Could not find artifact org.apache.hadoop:hadoop-project:pom:9.9.9 in central (https://x) @ line 3",
        );
        assert!(said.contains("`org.apache.hadoop:hadoop-project:pom:9.9.9`"), "{said}");
        let said = explained(
            "Failed: Could not transfer artifact org.x:y:jar:1 from/to central (https://x): Connect to x:443 failed -> [Help 1]",
        );
        assert!(said.contains("`org.x:y:jar:1`: Connect to x:443 failed ("), "{said}");
        assert_eq!(explained("disk full"), "Maven failed: disk full");
        assert_eq!(explain(&[], anyhow::anyhow!("cancelled"), "1").to_string(), "cancelled");
    }

    #[test]
    fn only_final_releases() {
        let text = "<versions><version>3.0.0-alpha2</version><version>3.4.1</version></versions>";
        assert_eq!(versions_in(text), ["3.4.1"]);
    }

    #[test]
    fn the_reactor_names_every_module() {
        let dir = tempfile::tempdir().unwrap();
        write_reactor(dir.path(), "3.4.1").unwrap();
        for module in MODULES {
            let pom = fs::read_to_string(dir.path().join(module).join("pom.xml")).unwrap();
            assert!(pom.contains("<version>3.4.1</version>"), "{pom}");
        }
    }
}
