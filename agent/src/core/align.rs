//! Alignment, asked before anything is attached or moved: whether a build fits what it would run with. A charm's `align`
//! program knows; here it gets the builds that its answer needs, taken in or made for it. Owns those two documents; must
//! not know what is aligned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stoker_host::builds::{Node, Source};
use stoker_host::exec::{self, Exec, Sandbox};
use stoker_model::observation::{Facts, Java, Python};

use super::builds::{MadeBuild, refused, tail};
use super::charms::{self, LoadedCharm};
use super::{Core, find_app};
use crate::api::ProgressSink;
use crate::api::align::{AlignCheck, Alignment, Explained, Swapped};
use crate::api::types::Progress;
use crate::problem::{Problem, codes};

/// How long an answer may take: a server that does not answer, a large build on a busy host.
const DEADLINE: Duration = Duration::from_mins(3);
/// How many of the program's last words are shown when it fails.
const LINES: usize = 8;

/// What the program is asked.
#[derive(Serialize)]
struct Question {
    format: u32,
    build: Given,
    with: BTreeMap<String, With>,
    jars: Option<Given>,
    host: Host,
    cache: PathBuf,
}

#[derive(Serialize)]
struct Given {
    digest: String,
    tree: PathBuf,
    facts: Facts,
}

#[derive(Serialize, Default)]
struct With {
    value: String,
    version: String,
    build: Option<Given>,
}

#[derive(Serialize)]
struct Host {
    java: Vec<Java>,
    python: Vec<Python>,
}

/// What `align ask` answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    with: BTreeMap<String, About>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    /// What the value means.
    version: String,
    /// The build that is needed for it.
    #[serde(default)]
    build: Option<Needed>,
}

/// A build: one of these products and this version, else one of `product` by the charm's recipe.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Needed {
    products: Vec<String>,
    version: String,
    product: String,
    recipe: String,
}

/// Whether a value names a build by itself.
fn is_source(value: &str) -> bool {
    value.starts_with('/') || ["build:", "recipe:", "https:"].iter().any(|kind| value.starts_with(kind))
}

impl Core {
    /// Checks a build.
    pub(crate) async fn align(
        &self,
        asked: AlignCheck,
        progress: &ProgressSink,
    ) -> Result<Alignment, Problem> {
        let _hold = self.builds.hold("a build is checked");
        let charm = self.aligning_charm(asked.charm.as_deref()).await?;
        let about = charm.description.align.clone().unwrap_or_default();
        if let Some(other) = asked.with.keys().find(|name| !about.with.contains_key(*name)) {
            let known: Vec<&str> = about.with.keys().map(String::as_str).collect();
            let title = format!("cannot check with `{other}`: charm {} knows none", charm.description.name);
            return Err(Problem::new(codes::INVALID_VALUE, title)
                .evidence(format!("it knows {}", known.join(", ")))
                .did_you_mean(other, known));
        }
        let only = std::slice::from_ref(&charm);
        let made = self.make_build(&asked.source, only, &about.product, progress).await?;
        if made.facts.product != about.product {
            let title = format!(
                "cannot check `{}`: charm {} judges builds of {}, and this is {}",
                asked.source, charm.description.name, about.product, made.facts.product
            );
            return Err(Problem::new(codes::UNKNOWN_PRODUCT, title));
        }
        let mut with = BTreeMap::new();
        for (name, value) in asked.with {
            let build = if is_source(&value) {
                Some(self.given(self.make_build(&value, only, "-", progress).await?)?)
            } else {
                None
            };
            with.insert(name, With { value, build, ..With::default() });
        }
        let host = self.host();
        let mut question = Question {
            format: 1,
            build: self.given(made)?,
            with,
            jars: self.take_jars(&asked.jars, only).await?,
            host: Host { java: host.java.clone(), python: host.python.clone() },
            cache: self.align_cache(&charm)?,
        };
        let needs: Asked = self.run_align(&charm, "ask", &question).await?;
        for (name, about) in needs.with {
            let slot = question.with.entry(name).or_default();
            slot.version = about.version;
            if let Some(needed) = about.build {
                slot.build = Some(self.needed(&needed, only, progress).await?);
            }
        }
        let _ = progress.try_send(Progress::Step { step: "checking".into(), done: 0, total: None });
        self.run_align(&charm, "check", &question).await
    }

    /// The charm that is named, or the only one that knows how to.
    async fn aligning_charm(&self, named: Option<&str>) -> Result<LoadedCharm, Problem> {
        let can = |charm: &LoadedCharm| charm.description.programs.align.is_some();
        if let Some(name) = named {
            let charm = self.take_charm(name).await?;
            if !can(&charm) {
                let title = format!("cannot check with charm {name}: it has no program `align`");
                return Err(Problem::new(codes::NOT_FOUND, title));
            }
            return Ok(charm);
        }
        let mut names = Vec::new();
        for (name, folder) in charms::all(&self.charm_path()) {
            let text = std::fs::read_to_string(folder.join("charm.toml")).unwrap_or_default();
            if stoker_model::charm::parse(&text).is_ok_and(|charm| charm.programs.align.is_some()) {
                names.push(name);
            }
        }
        match names.as_slice() {
            [only] => self.take_charm(only).await,
            [] => Err(Problem::new(codes::NOT_FOUND, "cannot check: no charm here has a program `align`")
                .fix("name the charm by --charm ./FOLDER")),
            several => {
                Err(Problem::new(codes::USAGE, "cannot check: more than one charm has a program `align`")
                    .evidence(format!("these have: {}", several.join(", ")))
                    .fix(format!("say --charm {}", several[0])))
            }
        }
    }

    fn given(&self, made: MadeBuild) -> Result<Given, Problem> {
        let tree = self.builds.tree(&made.digest).map_err(|e| refused(&e))?;
        Ok(Given { digest: made.digest.to_string(), tree, facts: made.facts })
    }

    /// A build that is there, or is made.
    async fn needed(
        &self,
        needed: &Needed,
        charms: &[LoadedCharm],
        progress: &ProgressSink,
    ) -> Result<Given, Problem> {
        let records = self.builds.records().map_err(|e| refused(&e))?;
        let there = records.into_iter().find_map(|record| {
            let facts: Facts = serde_json::from_value(record.facts).ok()?;
            let fits = needed.products.contains(&facts.product) && facts.version == needed.version;
            // One that cannot be linked is as good as none: it is made.
            let tree = fits.then(|| self.builds.tree(&record.digest).ok()).flatten()?;
            Some(Given { digest: record.digest.to_string(), tree, facts })
        });
        match there {
            Some(given) => Ok(given),
            None => self.given(self.make_by_recipe(&needed.recipe, charms, &needed.product, progress).await?),
        }
    }

    /// The user's jars as one build, named by content: the program's user may not see what the asker sees.
    async fn take_jars(&self, jars: &[String], charms: &[LoadedCharm]) -> Result<Option<Given>, Problem> {
        if jars.is_empty() {
            return Ok(None);
        }
        let folder = self.paths.cache.join("making").join(super::random_id(8)?);
        let taken = self.copy_and_take(jars, &folder, charms).await;
        if let Err(error) = stoker_host::fs::remove_tree(&folder) {
            tracing::warn!(%error, folder = %folder.display(), "cannot remove copies of jars");
        }
        taken.and_then(|made| self.given(made)).map(Some)
    }

    async fn copy_and_take(
        &self,
        jars: &[String],
        folder: &Path,
        charms: &[LoadedCharm],
    ) -> Result<MadeBuild, Problem> {
        let unusable = |jar: &str, why: String| {
            Problem::new(codes::INVALID_VALUE, format!("cannot use jar `{jar}`: {why}"))
        };
        stoker_host::fs::make_folder(folder, 0o755, None)
            .map_err(|e| Problem::internal("cannot make a folder for jars", &e))?;
        for jar in jars {
            let path = Path::new(jar);
            let Some(name) = path.file_name().filter(|_| path.is_absolute() && path.is_file()) else {
                return Err(unusable(jar, "it is no file".to_owned()));
            };
            let copy = folder.join(name);
            if copy.exists() {
                return Err(unusable(jar, "another has the same name".to_owned()));
            }
            std::fs::copy(path, &copy).map_err(|e| unusable(jar, e.to_string()))?;
        }
        let (builds, from) = (Arc::clone(&self.builds), folder.to_owned());
        let taken = tokio::task::spawn_blocking(move || builds.ingest(Source::Folder(&from), &()))
            .await
            .map_err(|e| Problem::internal("cannot take jars in", &e))?
            .map_err(|e| refused(&e))?;
        self.record(taken, &jars.join(" "), charms, "jars").await
    }

    /// Where a charm's program keeps what it found.
    fn align_cache(&self, charm: &LoadedCharm) -> Result<PathBuf, Problem> {
        let folder = self.paths.cache.join("align").join(&charm.description.name);
        let user = self.hooks.user();
        let account = user.and_then(|name| stoker_host::users::lookup(&name).ok().flatten());
        stoker_host::fs::make_folder(&folder, 0o755, account.as_ref().map(|a| (a.uid, a.gid)))
            .map_err(|e| Problem::internal("cannot make the folder of known answers", &e))?;
        Ok(folder)
    }

    async fn run_align<T: serde::de::DeserializeOwned>(
        &self,
        charm: &LoadedCharm,
        verb: &str,
        question: &Question,
    ) -> Result<T, Problem> {
        let name = &charm.description.name;
        let Some(program) = &charm.description.programs.align else {
            return Err(Problem::new(codes::NOT_FOUND, format!("cannot check: charm {name} has no `align`")));
        };
        let stdin =
            serde_json::to_vec(question).map_err(|e| Problem::internal("cannot write the question", &e))?;
        let cmd = Exec {
            program: charm.folder.join(program),
            args: vec!["align".into(), verb.into()],
            env: [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            cwd: Some(charm.folder.clone()),
            user: self.hooks.user(),
            deadline: DEADLINE,
            stdin: Some(stdin),
            // Asking may mean to ask a server.
            sandbox: Some(Sandbox { write: vec![question.cache.clone()], no_network: verb != "ask" }),
            kill_leftovers: true,
            shim: Some(self.hooks.shim().to_owned()),
            ..Exec::default()
        };
        let output =
            exec::run(&cmd).await.map_err(|e| Problem::internal(format!("cannot run charm {name}"), &e))?;
        if output.timed_out {
            let title = format!("cannot check: charm {name} did not answer within {} s", DEADLINE.as_secs());
            return Err(Problem::new(codes::ALIGN, title));
        }
        if !output.is_success() {
            return Err(Problem::new(codes::ALIGN, format!("cannot check: charm {name} refuses"))
                .evidence(tail(&output.stderr, LINES)));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| {
            let why = stoker_model::strict::explain(&e.to_string());
            Problem::new(codes::CHARM, format!("cannot read the answer of charm {name}: {why}"))
        })
    }

    /// What is known of how an application is aligned: from its leader's plan and report, nothing is asked anew.
    pub(crate) async fn explain_alignment(&self, model: &str, app: &str) -> Result<Explained, Problem> {
        let snapshot = self.snapshot();
        find_app(&snapshot, app, "explain")?;
        let leader = snapshot.leader_of(app).map(|id| id.to_string());
        let unit = leader.ok_or_else(|| {
            Problem::new(codes::NOT_FOUND, format!("cannot explain `{app}`: it has no unit"))
                .fix(format!("stoker add-unit {app}"))
        })?;
        let shown = self.unit(model, &unit).await?;
        let plan = self.plan(model, &unit)?;
        let verdicts = plan["verdicts"].as_array().cloned().unwrap_or_default();
        let mut swapped = Vec::new();
        for (name, tree) in plan["trees"].as_object().into_iter().flatten() {
            // Of trees that nothing runs from, only the proofs are told.
            let runs = plan["services"].as_object().into_iter().flatten().any(|(_, service)| {
                service["trees"].as_array().into_iter().flatten().any(|used| used == name)
            });
            let drop: Vec<String> = texts(&tree["drop"]);
            if runs && !(drop.is_empty() && tree["take"].as_array().is_none_or(Vec::is_empty)) {
                swapped.push(self.swapped(name, tree, drop));
            }
        }
        let proofs = shown.tasks.into_iter().filter(|(name, _)| {
            plan["tasks"][name.as_str()]["once"] == "app"
                || plan["tasks"][name.as_str()]["when"] == "before-move"
        });
        Ok(Explained { app: app.to_owned(), unit, verdicts, swapped, proofs: proofs.collect() })
    }

    fn swapped(&self, name: &str, tree: &Value, drop: Vec<String>) -> Swapped {
        let mut taken = BTreeMap::new();
        for take in tree["take"].as_array().into_iter().flatten() {
            let text = |key: &str| take[key].as_str().unwrap_or_default().to_owned();
            let (from, path) = (text("from"), text("path"));
            let manifest = from.parse().ok().and_then(|digest| self.builds.manifest(&digest).ok());
            let digest = manifest.and_then(|manifest| match manifest.get(&path) {
                Some(Node::File { blob, .. }) => Some(blob.clone()),
                _ => None,
            });
            let source = self.find_record(&from).map(|record| record.source).unwrap_or_default();
            let origin = [("build", from), ("path", path), ("source", source)]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .chain(digest.map(|digest| ("digest".to_owned(), digest.to_string())))
                .collect();
            taken.insert(text("to"), origin);
        }
        Swapped { tree: name.to_owned(), drop, taken }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::is_source;

    #[test]
    fn sources_are_told_from_versions_and_servers() {
        for source in ["build:b3:0011", "recipe:1.0", "/a/folder", "https://x/y#sha512=00"] {
            assert!(is_source(source), "{source}");
        }
        for other in ["3.4.1", "http://host:9870/jmx", "17", "db://host"] {
            assert!(!is_source(other), "{other}");
        }
    }
}
