//! Making builds: from files, folders, recipes and builds that are there, with the facts that a charm reads.

mod downloads;
pub(super) mod moving;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use stoker_host::builds::{Archive, BuildError, Builds, Ingested, Layout, Record, Share, Source};
use stoker_host::exec::{self, Exec, Sandbox};
use stoker_host::fs::failpoint::hit;
use stoker_model::ids::Digest;
use stoker_model::observation::Facts;
use tokio::sync::mpsc;

use super::charms::{self, LoadedCharm};
use super::{Core, now, rfc3339};
use crate::api::ProgressSink;
use crate::api::types::{AddBuild, Build, Progress};
use crate::problem::{Problem, chain, codes};

/// How long an inspection may take.
const INSPECT: Duration = Duration::from_mins(1);
/// Exit status of an inspector for what is not its own.
const NOT_MINE: i32 = 3;

/// A build with its facts.
#[derive(Debug, Clone)]
pub(crate) struct MadeBuild {
    /// Its digest.
    pub digest: Digest,
    /// What was read from it.
    pub facts: Facts,
    /// Where it came from, as typed.
    pub source: String,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Bytes that were not there before.
    pub new_bytes: u64,
}

/// What inspections and ingests need; there with and without an agent.
pub(super) struct Workshop {
    builds: Arc<Builds>,
    shim: PathBuf,
    user: Option<String>,
}

pub(super) struct Steps(pub(super) ProgressSink, pub(super) &'static str);

impl stoker_host::builds::Progress for Steps {
    fn step(&self, done: u64, total: Option<u64>) {
        // A client that reads slowly misses steps, nothing else.
        let _ = self.0.try_send(Progress::Step { step: self.1.into(), done, total });
    }

    fn cancelled(&self) -> bool {
        self.0.is_closed()
    }
}

/// What a build's error is to a user.
pub(super) fn refused(error: &BuildError) -> Problem {
    let code = match error {
        BuildError::NoSpace { .. } => codes::NO_SPACE,
        BuildError::Unknown(_) => codes::NOT_FOUND,
        _ => codes::ARCHIVE,
    };
    Problem::new(code, chain(error))
}

pub(super) fn layouts(charm: &LoadedCharm) -> Vec<Layout> {
    let layout = |l: &stoker_model::charm::Layout| Layout {
        when: l.when.clone(),
        moves: l.moves.clone(),
        drop: l.drop.clone(),
    };
    charm.description.layouts.iter().map(layout).collect()
}

impl Workshop {
    pub(super) async fn ingest(
        &self,
        path: PathBuf,
        layouts: Vec<Layout>,
        progress: &ProgressSink,
    ) -> Result<Ingested, Problem> {
        let found = std::fs::metadata(&path).map_err(|e| {
            let code =
                if e.kind() == std::io::ErrorKind::NotFound { codes::NOT_FOUND } else { codes::ARCHIVE };
            Problem::new(code, format!("cannot add `{}`: {e}", path.display()))
        })?;
        let builds = Arc::clone(&self.builds);
        let steps = Steps(progress.clone(), "adding");
        tokio::task::spawn_blocking(move || {
            let source = if found.is_dir() { Source::Folder(&path) } else { Source::File(&path) };
            builds.ingest_with_layouts(source, &layouts, &steps)
        })
        .await
        .map_err(|e| Problem::internal("cannot add the build", &e))?
        .map_err(|e| refused(&e))
    }

    /// The facts of a build, read by the first of the charms whose it is.
    async fn facts(&self, digest: &Digest, charms: &[LoadedCharm], product: &str) -> Result<Facts, Problem> {
        let tree = self.builds.tree(digest).map_err(|e| refused(&e))?;
        let mut said = Vec::new();
        for charm in charms {
            let Some(program) = &charm.description.programs.inspect else { continue };
            let cmd = Exec {
                program: charm.folder.join(program),
                args: vec!["inspect".into(), product.into(), tree.display().to_string()],
                env: [
                    ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
                    ("LANG".to_owned(), "C.UTF-8".to_owned()),
                ]
                .into(),
                cwd: Some(charm.folder.clone()),
                user: self.user.clone(),
                deadline: INSPECT,
                sandbox: Some(Sandbox { write: Vec::new(), no_network: true }),
                kill_leftovers: true,
                shim: Some(self.shim.clone()),
                ..Exec::default()
            };
            let name = &charm.description.name;
            let output = exec::run(&cmd)
                .await
                .map_err(|e| Problem::internal(format!("cannot run charm {name}"), &e))?;
            let stderr = tail(&output.stderr, 5);
            match output.status {
                Some(0) => {
                    return serde_json::from_slice(&output.stdout).map_err(|e| {
                        let why = stoker_model::strict::explain(&e.to_string());
                        Problem::new(
                            codes::CHARM,
                            format!("cannot read the facts that charm {name} gives: {why}"),
                        )
                    });
                }
                Some(NOT_MINE) => {
                    said.push(format!("{name}: {}", if stderr.is_empty() { "not its own" } else { &stderr }));
                }
                _ => {
                    let title = format!("cannot read the facts of the build: charm {name} failed");
                    return Err(Problem::new(codes::UNKNOWN_PRODUCT, title).evidence(stderr));
                }
            }
        }
        let mut problem = Problem::new(
            codes::UNKNOWN_PRODUCT,
            "cannot tell what the build is: no charm knows what is in it",
        );
        for line in said {
            problem = problem.evidence(line);
        }
        Err(problem.fix("attach an archive of a layout that one of these charms knows"))
    }
}

/// The last lines of a program's words, safe to print.
pub(super) fn tail(bytes: &[u8], lines: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all[from..].iter().map(|line| line.escape_debug().to_string()).collect::<Vec<_>>().join("\n")
}

impl Core {
    pub(super) fn workshop(&self) -> Workshop {
        Workshop {
            builds: Arc::clone(&self.builds),
            shim: self.hooks.shim().to_owned(),
            user: self.hooks.user(),
        }
    }

    /// Makes a resource's build for a charm and checks that it is what the resource asks for.
    pub(crate) async fn make_resource(
        &self,
        charm: &LoadedCharm,
        name: &str,
        source: &str,
        progress: &ProgressSink,
    ) -> Result<MadeBuild, Problem> {
        let known = &charm.description.resources;
        let Some(resource) = known.get(name) else {
            let title =
                format!("cannot attach `{name}`: charm {} has no such resource", charm.description.name);
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            return Err(Problem::new(codes::NOT_FOUND, title)
                .evidence(format!("resources: {}", names.join(", ")))
                .did_you_mean(name, names));
        };
        let made = self.make_build(source, std::slice::from_ref(charm), &resource.product, progress).await?;
        if made.facts.product != resource.product {
            let title = format!(
                "cannot attach `{name}`: it takes a build of {}, and this is {} {}",
                resource.product, made.facts.product, made.facts.version
            );
            return Err(Problem::new(codes::UNKNOWN_PRODUCT, title));
        }
        Ok(made)
    }

    pub(super) async fn make_build(
        &self,
        source: &str,
        charms: &[LoadedCharm],
        product: &str,
        progress: &ProgressSink,
    ) -> Result<MadeBuild, Problem> {
        if let Some(digest) = source.strip_prefix("build:") {
            return self.known_build(digest, charms, product).await;
        }
        if let Some(what) = source.strip_prefix("recipe:") {
            return self.make_by_recipe(what, charms, product, progress).await;
        }
        if source.starts_with("https://") || source.starts_with("http://") {
            return self.make_from_link(source, charms, product, progress).await;
        }
        let layouts = charms.iter().flat_map(layouts).collect();
        let taken = self.workshop().ingest(PathBuf::from(source), layouts, progress).await?;
        self.record(taken, source, charms, product).await
    }

    pub(super) async fn known_build(
        &self,
        text: &str,
        charms: &[LoadedCharm],
        product: &str,
    ) -> Result<MadeBuild, Problem> {
        let record = self.find_record(text)?;
        let facts = match serde_json::from_value::<Facts>(record.facts.clone()) {
            Ok(facts) if product == "-" || facts.product == product => facts,
            _ => self.workshop().facts(&record.digest, charms, product).await?,
        };
        Ok(MadeBuild {
            digest: record.digest,
            facts,
            source: record.source,
            files: record.files,
            bytes: record.bytes,
            new_bytes: 0,
        })
    }

    /// A build's record by digest; the prefix `b3:` and the end of the digits may be left out.
    pub(super) fn find_record(&self, text: &str) -> Result<Record, Problem> {
        let digits = text.strip_prefix("b3:").unwrap_or(text);
        let records = self.builds.records().map_err(|e| refused(&e))?;
        let mut fits: Vec<Record> =
            records.into_iter().filter(|r| r.digest.hex().starts_with(digits)).collect();
        let missing = |why: &str| {
            Problem::new(codes::NOT_FOUND, format!("cannot find build `{text}`: {why}")).fix("stoker builds")
        };
        if digits.len() < 6 {
            return Err(missing("give at least 6 digits of its digest"));
        }
        match (fits.pop(), fits.pop()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(missing("more than one begins like that")),
            (None, _) => Err(missing("there is no such build on this host")),
        }
    }

    /// Reads facts and writes the build's record.
    pub(super) async fn record(
        &self,
        taken: Ingested,
        source: &str,
        charms: &[LoadedCharm],
        product: &str,
    ) -> Result<MadeBuild, Problem> {
        hit("agent.build.ingested");
        let facts = self.workshop().facts(&taken.digest, charms, product).await?;
        hit("agent.build.before-record");
        let size = std::fs::metadata(source).map(|m| m.len()).unwrap_or_default();
        let record = Record {
            digest: taken.digest.clone(),
            source: source.to_owned(),
            archive: taken.archive_sha256.map(|sha256| Archive { sha256, size }),
            facts: serde_json::to_value(&facts).map_err(|e| Problem::internal("cannot write facts", &e))?,
            files: taken.files,
            bytes: taken.bytes,
            added: rfc3339(now()),
        };
        let builds = Arc::clone(&self.builds);
        tokio::task::spawn_blocking(move || builds.put_record(&record))
            .await
            .map_err(|e| Problem::internal("cannot write the build's record", &e))?
            .map_err(|e| refused(&e))?;
        hit("agent.build.recorded");
        Ok(MadeBuild {
            digest: taken.digest,
            facts,
            source: source.to_owned(),
            files: taken.files,
            bytes: taken.bytes,
            new_bytes: taken.new_bytes,
        })
    }

    async fn charms_for(&self, charm: Option<&str>) -> Result<Vec<LoadedCharm>, Problem> {
        if let Some(name) = charm {
            return Ok(vec![self.take_charm(name).await?]);
        }
        let mut all = Vec::new();
        for folder in charms::all(&self.charm_path()).into_values() {
            match self.take_charm(&folder.display().to_string()).await {
                Ok(charm) => all.push(charm),
                Err(problem) => tracing::warn!("passes over a charm: {}", problem.title),
            }
        }
        Ok(all)
    }

    /// Adds a build for nobody in particular.
    pub(crate) async fn add_build(&self, add: AddBuild, progress: &ProgressSink) -> Result<Build, Problem> {
        let start = Instant::now();
        let _hold = self.builds.hold("a build is added");
        let charms = self.charms_for(add.charm.as_deref()).await?;
        let made = self.make_build(&add.source, &charms, "-", progress).await?;
        let mut build = self.build(&made.digest.to_string())?;
        build.new_bytes = Some(made.new_bytes);
        build.seconds = Some(start.elapsed().as_secs_f64());
        Ok(build)
    }

    /// The facts of a source; nothing refers to what was taken in for it.
    pub(crate) async fn inspect(&self, add: AddBuild, progress: &ProgressSink) -> Result<Value, Problem> {
        let _hold = self.builds.hold("a build is inspected");
        let charms = self.charms_for(add.charm.as_deref()).await?;
        let made = self.make_build(&add.source, &charms, "-", progress).await?;
        serde_json::to_value(made.facts).map_err(|e| Problem::internal("cannot write facts", &e))
    }

    /// All builds of this host.
    pub(crate) fn builds(&self) -> Result<Vec<Build>, Problem> {
        let records = self.builds.records().map_err(|e| refused(&e))?;
        let shares = self.builds.shares().map_err(|e| refused(&e))?;
        let document = |record: Record| {
            let share = shares.get(&record.digest).cloned();
            self.build_document(record, share)
        };
        Ok(records.into_iter().map(document).collect())
    }

    /// One build.
    pub(crate) fn build(&self, digest: &str) -> Result<Build, Problem> {
        let record = self.find_record(digest)?;
        let share = self.builds.shares().map_err(|e| refused(&e))?.remove(&record.digest);
        Ok(self.build_document(record, share))
    }

    /// A build as it is shown; `share` is what it takes on the disk, absent where its manifest is damaged.
    fn build_document(&self, record: Record, share: Option<Share>) -> Build {
        let snapshot = self.snapshot();
        let users = snapshot.revisions.iter().filter(|(_, revision)| revision.build == record.digest);
        Build {
            digest: record.digest.to_string(),
            facts: record.facts,
            source: record.source,
            files: record.files,
            bytes: record.bytes,
            new_bytes: None,
            seconds: None,
            added: record.added,
            damaged: share.as_ref().is_none_or(|share| share.missing > 0),
            unique_bytes: share.as_ref().map_or(0, |share| share.unique),
            shared_bytes: share.map_or(0, |share| share.shared),
            used_by: users.map(|((app, resource, n), _)| format!("{app}/{resource}@{n}")).collect(),
        }
    }
}

/// The facts of a file or folder with no agent about: taken in to a folder that goes away again.
pub(crate) async fn inspect_without_agent(
    file: &str,
    charm: Option<&str>,
    settings: &crate::settings::Settings,
) -> Result<Value, Problem> {
    let folder = tempfile::tempdir().map_err(|e| Problem::internal("cannot make a folder to work in", &e))?;
    let builds = Builds::open(&folder.path().join("builds")).map_err(|e| refused(&e))?;
    let workshop = Workshop { builds: Arc::new(builds), shim: exec::shim_beside_me(), user: None };
    let path =
        charms::search_path(Path::new("/nonexistent"), &crate::settings::Settings::default().charms_path);
    let folders = match charm {
        Some(charm) => vec![charms::find(&path, charm)?],
        None => charms::all(&path).into_values().collect(),
    };
    let loaded: Result<Vec<LoadedCharm>, Problem> =
        folders.iter().map(|folder| charms::load(&workshop.builds, folder)).collect();
    let loaded = loaded?;
    let (progress, mut steps) = mpsc::channel(16);
    let drain = tokio::spawn(async move { while steps.recv().await.is_some() {} });
    let layouts = loaded.iter().flat_map(layouts).collect();
    let is_link = file.starts_with("https:") || file.starts_with("http:");
    let taken = if is_link {
        // Kept until it is taken in.
        match downloads::fetch_without_agent(&workshop.builds, settings, file, &progress).await {
            Ok(fetched) => workshop.ingest(fetched.path().to_owned(), layouts, &progress).await,
            Err(problem) => Err(problem),
        }
    } else {
        workshop.ingest(PathBuf::from(file), layouts, &progress).await
    };
    drop(progress);
    let _ = drain.await;
    let facts = workshop.facts(&taken?.digest, &loaded, "-").await?;
    let value = serde_json::to_value(facts).map_err(|e| Problem::internal("cannot write facts", &e));
    // Trees are read-only folders, which the ordinary way of removing a temporary folder trips over.
    let kept = folder.keep();
    stoker_host::fs::remove_tree(&kept)
        .map_err(|e| Problem::internal("cannot remove the folder worked in", &e))?;
    value
}
