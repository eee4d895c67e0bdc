//! The link check of a Spark build: which references its jars and the user's make into the Hadoop client do not resolve,
//! with the shipped client and with a candidate; and which the user's make into Spark itself. Owns the check's result, as a task gives it and `align check` keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use stoker_charm::link::{self, Gap};
use stoker_charm::print;
use stoker_charm::shelf::Shelf;

use super::gaps::{breaks, harmless, words};

/// The version of what is checked and how it is judged: results of others are not taken for ours.
pub(crate) const CHECKER: u32 = 3;
/// `link TREE CLIENT-JAR[,…] [FOLDER]`: checks TREE with the jars in `TREE/candidate` in the place of its client's, and the
/// user's jars in FOLDER with them.
pub(crate) const LINK: &str = "link";
/// Where a candidate's jars are in a tree that is to be checked.
pub(crate) const CANDIDATE: &str = "candidate";
/// How many gaps a result names.
const NAMED: usize = 100;

const S3A: &str = "org/apache/hadoop/fs/s3a/S3AFileSystem.class";
const SDKS: [&str; 2] =
    ["com/amazonaws/services/s3/AmazonS3.class", "software/amazon/awssdk/services/s3/S3Client.class"];

/// Spark's own API.
pub(super) const SPARK: &str = "org.apache.spark.";

/// What breaks, and by which gap: workload and one line.
pub(crate) type Harm = BTreeMap<String, String>;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// [`CHECKER`].
    pub(crate) checker: u32,
    /// Class files looked at.
    pub(crate) classes: u64,
    /// References into the client.
    pub(crate) references: u64,
    /// What breaks with the shipped client.
    pub(crate) before: Harm,
    /// What breaks with the candidate.
    pub(crate) after: Harm,
    /// The version of `hadoop-aws` among the user's jars; empty where it does not say it.
    pub(crate) aws: Option<String>,
    /// The major versions of AWS' SDK among the user's jars.
    pub(crate) sdks: Vec<u32>,
    /// Gaps that the shipped client does not have, and all of the user's jars.
    pub(crate) gaps: Vec<Named>,
    /// How many more there are.
    pub(crate) more: u64,
}

/// A gap, and why it does no harm, if so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    #[serde(flatten)]
    pub(crate) gap: Gap,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) harmless: String,
}

/// What is checked.
#[derive(Debug, Default)]
pub(crate) struct Jars {
    /// The build's.
    pub(crate) build: Vec<PathBuf>,
    /// Those of them that are its client.
    pub(crate) shipped: Vec<PathBuf>,
    /// What would be in their place; none = they stay.
    pub(crate) candidate: Vec<PathBuf>,
    /// The user's.
    pub(crate) users: Vec<PathBuf>,
}

impl Jars {
    /// Checks them.
    pub(crate) fn check(&self) -> Result<Found> {
        // The user's come first on the class path.
        let own: Vec<PathBuf> = self
            .build
            .iter()
            .filter(|jar| !self.shipped.contains(jar) && !self.candidate.contains(jar))
            .cloned()
            .collect();
        let callers: Vec<PathBuf> = if self.candidate.is_empty() {
            // Nothing of the build changes: only what came to it is to be looked at.
            self.users.clone()
        } else {
            self.users.iter().chain(&own).cloned().collect()
        };
        let candidate = if self.candidate.is_empty() { &self.shipped } else { &self.candidate };
        let mut report = link::check(&callers, &self.shipped, candidate)?;
        if !self.users.is_empty() {
            // Made for another Spark: that no client mends.
            let within = link::check(&self.users, &own, &own)?;
            report.references += within.references;
            report.gaps.extend(within.gaps.into_iter().filter(|gap| gap.target.starts_with(SPARK)));
        }
        let name = |jar: &PathBuf| jar.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let users: BTreeSet<String> = self.users.iter().map(name).collect();
        let mut found = Found {
            checker: CHECKER,
            classes: report.classes,
            references: report.references,
            ..Found::default()
        };
        for gap in report.gaps {
            let of_users = users.contains(&gap.jar);
            // What the build lacks as it is, it was released with.
            let counts = (of_users && gap.before, gap.after && (of_users || !gap.before));
            for (counts, harm) in [(counts.0, &mut found.before), (counts.1, &mut found.after)] {
                for workload in breaks(&gap, of_users).iter().filter(|_| counts) {
                    harm.entry((*workload).to_owned()).or_insert_with(|| words(&gap));
                }
            }
            if !counts.0 && !counts.1 {
                continue;
            }
            if found.gaps.len() < NAMED {
                let harmless = harmless(&gap).unwrap_or_default().to_owned();
                found.gaps.push(Named { gap, harmless });
            } else {
                found.more += 1;
            }
        }
        for folder in self.users.iter().filter_map(|jar| jar.parent()).collect::<BTreeSet<_>>() {
            let shelf = Shelf::of(folder, &[S3A, SDKS[0], SDKS[1]])?;
            if !shelf.with(S3A).is_empty() {
                found.aws = Some(shelf.version(S3A, &["org.apache.hadoop/hadoop-aws"])?.unwrap_or_default());
            }
            for (major, class) in (1..).zip(SDKS) {
                if !shelf.with(class).is_empty() && !found.sdks.contains(&major) {
                    found.sdks.push(major);
                }
            }
        }
        Ok(found)
    }
}

/// The program of the plan's task.
pub(crate) fn program(args: &[String]) -> Result<ExitCode> {
    let (tree, client, users) = match args {
        [tree, client] => (tree, client, None),
        [tree, client, users] => (tree, client, Some(users)),
        _ => bail!("usage: {LINK} TREE CLIENT-JAR[,…] [FOLDER]"),
    };
    // The cluster that it is for may be starting on the same cores.
    stoker_charm::give_way();
    let tree = Path::new(tree);
    let all = |folder: &Path| link::jars_in(folder, |_| false);
    let jars = Jars {
        build: all(&tree.join("jars")),
        shipped: client.split(',').filter(|jar| !jar.is_empty()).map(|jar| tree.join(jar)).collect(),
        candidate: all(&tree.join(CANDIDATE)),
        users: users.map(|folder| all(Path::new(folder))).unwrap_or_default(),
    };
    // That nothing can be said is no reason to keep anything from moving.
    let said = match jars.check().with_context(|| format!("cannot check `{}`", tree.display())) {
        Ok(found) => serde_json::to_string(&found)?,
        Err(error) => serde_json::json!({"reason": format!("{error:#}")}).to_string(),
    };
    print(&said)
}

#[cfg(test)]
mod tests;
