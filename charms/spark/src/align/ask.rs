//! The `align` role: whether a build fits, before anything is attached or moved. `align ask` says which builds the answer
//! needs, `align check` answers; the question comes on standard input. Owns both documents and the cache of what was
//! linked; decides nothing: the plan's own decision is asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Java, Python};
use stoker_charm::{Facts, link, print};

use super::link::{CHECKER, Found, Jars};
use super::{Version, server};
use crate::inspect::client_in;
use crate::plan::{Asked, Judged, judge};

/// The role.
pub(crate) const ALIGN: &str = "align";
/// How many results are kept.
const KEPT: usize = 256;
/// The two jars of a client, as Maven knows them.
const MAVEN: [&str; 2] = ["org.apache.hadoop:hadoop-client-api", "org.apache.hadoop:hadoop-client-runtime"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    format: u32,
    build: Build,
    with: BTreeMap<String, With>,
    /// The user's jars.
    jars: Option<Build>,
    host: Host,
    /// Where results may be kept.
    cache: PathBuf,
}

#[derive(Deserialize)]
struct Build {
    digest: Digest,
    tree: PathBuf,
    facts: Facts,
}

#[derive(Deserialize)]
struct With {
    /// As it was typed.
    value: String,
    /// What `align ask` took it for.
    #[serde(default)]
    version: String,
    /// The build that was asked for, or given.
    #[serde(default)]
    build: Option<Build>,
}

#[derive(Deserialize)]
struct Host {
    java: Vec<Java>,
    python: Vec<Python>,
}

/// What `align check` says.
#[derive(Serialize)]
struct Answer {
    level: String,
    says: String,
    fix: String,
    client: Value,
    works: BTreeMap<String, Value>,
    gaps: Vec<Value>,
    more_gaps: u64,
    seconds: f64,
    cached: bool,
}

/// The program: `align ask`, `align check`.
pub(crate) fn program(args: &[String]) -> Result<ExitCode> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).context("cannot read the question")?;
    let question: Question = serde_json::from_str(&text).context("cannot read the question")?;
    ensure!(question.format == 1, "cannot read the question: its format is {}", question.format);
    let known = ["hdfs", "java", "python"];
    if let Some(other) = question.with.keys().find(|key| !known.contains(&key.as_str())) {
        bail!("cannot check with `{other}`: there are {}", known.join(", "));
    }
    match args {
        [verb] if verb == "ask" => print(&serde_json::to_string(&question.ask()?)?),
        [verb] if verb == "check" => print(&serde_json::to_string(&question.check()?)?),
        _ => bail!("usage: {ALIGN} ask | check"),
    }
}

impl Question {
    fn hdfs(&self) -> Result<&With> {
        self.with
            .get("hdfs")
            .context("cannot check without an HDFS: say --with hdfs=VERSION, or its NameNode's URL")
    }

    /// Which builds the answer needs beside this one.
    fn ask(&self) -> Result<Value> {
        let hdfs = self.hdfs()?;
        if let Some(build) = &hdfs.build {
            return Ok(json!({"with": {"hdfs": {"version": version_of(build)?}}}));
        }
        let version = server::version(&hdfs.value)?;
        let mut about = json!({"version": version});
        if let Some(client) = self.judge(&version, None)?.client {
            about["build"] = json!({"products": ["hadoop"], "version": client, "product": "jars",
                "recipe": MAVEN.map(|artefact| format!("{artefact}:{client}")).join(",")});
        }
        Ok(json!({"with": {"hdfs": about}}))
    }

    fn check(&self) -> Result<Answer> {
        let begun = Instant::now();
        let hdfs = self.hdfs()?;
        let mut judged = self.judge(&hdfs.version, None)?;
        let mut cached = false;
        let mut found = None;
        if let Some(key) = judged.key.clone() {
            let kept = self.kept(&key);
            cached = kept.is_some();
            let linked = match kept {
                Some(found) => found,
                None => self.link(&judged)?,
            };
            if !cached {
                self.keep(&key, &linked);
            }
            judged = self.judge(&hdfs.version, Some(&linked))?;
            found = Some(linked);
        }
        let Judged { verdict, shipped, chosen, client, .. } = judged;
        let swapped = client.as_ref() == Some(&chosen);
        let gaps = found.iter().flat_map(|found| &found.gaps);
        let gaps =
            gaps.filter(|named| if swapped { named.gap.after } else { named.gap.before }).map(|named| {
                let mut gap =
                    json!({"jar": named.gap.jar, "class": named.gap.class, "target": named.gap.target});
                if !named.harmless.is_empty() {
                    gap["harmless"] = json!(named.harmless);
                }
                gap
            });
        Ok(Answer {
            level: verdict.level,
            says: verdict.says,
            fix: verdict.fix,
            client: json!({"shipped": shipped, "chosen": chosen}),
            works: verdict
                .works
                .into_iter()
                .map(|(name, work)| (name, json!({"ok": work.ok, "by": work.by, "why": work.why})))
                .collect(),
            gaps: gaps.collect(),
            more_gaps: found.as_ref().map_or(0, |found| found.more),
            seconds: begun.elapsed().as_secs_f64(),
            cached,
        })
    }

    fn judge(&self, version: &str, found: Option<&Found>) -> Result<Judged> {
        let told = |name: &str| self.with.get(name).map(|with| with.value.clone());
        let java = match told("java") {
            None => self.host.java.clone(),
            Some(text) => {
                let version = text.split('.').next().and_then(|major| major.parse().ok());
                let version = version
                    .with_context(|| format!("cannot read Java `{text}`: give a version such as 17"))?;
                vec![Java { home: format!("/java-{version}"), version }]
            }
        };
        let python = match told("python") {
            None => self.host.python.clone(),
            Some(version) => vec![Python { path: format!("python{version}"), version }],
        };
        let hdfs = self.hdfs()?.build.as_ref();
        judge(&Asked {
            build: &self.build.digest,
            facts: &self.build.facts,
            version,
            // Of a release that is to be fetched the name is as good: it stands in no plan. A vendor's cannot be.
            server: match hdfs {
                Some(build) => Some(build.digest.clone()),
                None => Version::read(version)
                    .is_none_or(|version| version.released())
                    .then(|| Digest::of(version.as_bytes())),
            },
            jars: self.jars.as_ref().map(|jars| (&jars.digest, &jars.facts)),
            java,
            python,
            found,
        })
        .map_err(|why| anyhow::anyhow!("cannot check the build: {why}"))
    }

    fn link(&self, judged: &Judged) -> Result<Found> {
        let candidate = match (&judged.client, &self.hdfs()?.build) {
            (None, _) => Vec::new(),
            (Some(_), Some(build)) => client_jars(build)?.0,
            (Some(version), None) => bail!("cannot check client {version}: its build was not given"),
        };
        let tree = &self.build.tree;
        let jars = Jars {
            build: link::jars_in(&tree.join("jars"), |_| false),
            shipped: judged.shipped_jars.iter().map(|jar| tree.join(jar)).collect(),
            candidate,
            users: self.jars.iter().flat_map(|jars| link::jars_in(&jars.tree, |_| false)).collect(),
        };
        jars.check()
    }

    fn place(&self, key: &str) -> PathBuf {
        self.cache.join(format!("{}.json", key.trim_start_matches("b3:")))
    }

    fn kept(&self, key: &str) -> Option<Found> {
        let found: Found = serde_json::from_slice(&fs::read(self.place(key)).ok()?).ok()?;
        (found.checker == CHECKER).then_some(found)
    }

    /// Without a cache the next answer is as good, and later.
    fn keep(&self, key: &str, found: &Found) {
        let place = self.place(key);
        let fresh = place.with_extension(format!("{}.new", std::process::id()));
        let Ok(text) = serde_json::to_vec(found) else { return };
        if fs::write(&fresh, text).is_err() || fs::rename(&fresh, &place).is_err() {
            let _ = fs::remove_file(&fresh);
            return;
        }
        let entries = fs::read_dir(&self.cache).into_iter().flatten().flatten();
        let mut all: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        all.sort_unstable();
        for (_, old) in all.iter().take(all.len().saturating_sub(KEPT)) {
            let _ = fs::remove_file(old);
        }
    }
}

/// The client's jars in a Hadoop build, or in a folder of them; and their version.
fn client_jars(build: &Build) -> Result<(Vec<PathBuf>, String)> {
    let mut looked: Vec<PathBuf> = vec![build.tree.join("share/hadoop/client"), build.tree.clone()];
    looked.retain(|folder| folder.is_dir());
    for folder in looked.iter().map(PathBuf::as_path).map(client_in) {
        if let Some(found) = folder? {
            return Ok(found);
        }
    }
    let shown = |path: &Path| path.display().to_string();
    bail!("cannot find the two jars of a shaded Hadoop client in `{}`", shown(&build.tree))
}

fn version_of(build: &Build) -> Result<String> {
    Ok(match build.facts.product.as_str() {
        "hadoop" => build.facts.version.clone(),
        _ => client_jars(build)?.1,
    })
}
