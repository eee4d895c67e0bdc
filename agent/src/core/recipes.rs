//! Recipes: running what makes a build. Owns what `recipe:` may name, where a recipe works and what it is told; must
//! not know what is made.
//!
//! `recipe:VERSION` is the charm's own recipe. `recipe:FOLDER[@VERSION]` with an executable `stoker-recipe` in it is the
//! user's. Any other `recipe:FILE` or `recipe:FOLDER` is handed to the charm's recipe in place of a version. Files and
//! folders are taken in first: the recipe gets a copy that nobody changes, and equal contents are made once.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use stoker_host::builds::{Record, Source};
use stoker_host::exec::{self, Exec};
use stoker_host::fs::failpoint::hit;
use stoker_host::services::apart::{self, Apart};
use stoker_model::ids::Digest;

use super::Core;
use super::builds::{MadeBuild, layouts, refused, tail};
use super::charms::{self, LoadedCharm};
use crate::api::ProgressSink;
use crate::api::types::{Progress, RecipeDoc};
use crate::problem::{Problem, codes};

/// Any product, where a charm is asked for one.
const ANY: &str = "-";
/// The user's own recipe in a folder.
const SCRIPT: &str = "stoker-recipe";
/// How long a recipe may take.
const MAKE: Duration = Duration::from_hours(1);
/// How long it may take to list versions.
const LIST: Duration = Duration::from_mins(3);
/// The largest file that is handed to a recipe in place of a version, in bytes.
const LARGEST: u64 = 1 << 20;
/// How many of a recipe's last words are shown when it fails.
const LINES: usize = 12;

/// What is run, and with what.
struct Made {
    /// As the build's record names it.
    source: String,
    program: PathBuf,
    args: Vec<String>,
    /// The folder of its cache, by name.
    cache: String,
    /// Where it starts; its own work folder without it.
    start: Option<PathBuf>,
    /// A file for the work folder, by name.
    file: Option<(String, Vec<u8>)>,
}

fn wrong(source: &str, why: &str) -> Problem {
    Problem::new(codes::RECIPE, format!("cannot make `recipe:{source}`: {why}"))
}

/// A path and, after its last `@`, a version. A path that exists as it stands has none.
fn split(text: &str) -> (PathBuf, &str) {
    let whole = PathBuf::from(text);
    if whole.exists() {
        return (whole, "");
    }
    text.rsplit_once('@').map_or((whole, ""), |(path, version)| (PathBuf::from(path), version))
}

/// Whether it can be given to a program as a version.
fn is_version(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-:,=".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

impl Core {
    /// Makes a build by a recipe; what was made of the same before is taken again.
    pub(super) async fn make_by_recipe(
        &self,
        what: &str,
        charms: &[LoadedCharm],
        product: &str,
        progress: &ProgressSink,
    ) -> Result<MadeBuild, Problem> {
        let made = self.how(what, charms).await?;
        if product != ANY
            && let Some(known) = self.made_before(&made.source, product)?
        {
            return self.known_build(&known.digest.to_string(), charms, product).await;
        }
        self.run_recipe(made, charms, product, progress).await
    }

    /// Makes what a record tells of once more, where its recipe is still what it was.
    pub(super) async fn make_once_more(
        &self,
        record: &Record,
        charms: &[LoadedCharm],
        progress: &ProgressSink,
    ) -> Result<MadeBuild, Problem> {
        let what = record.source.strip_prefix("recipe:").unwrap_or_default();
        let made = self.how(what.rsplit_once('#').map_or(what, |(what, _)| what), charms).await?;
        if made.source != record.source {
            return Err(wrong(what, "what it was made from has changed since"));
        }
        let product = record.facts.get("product").and_then(Value::as_str).unwrap_or(ANY);
        self.run_recipe(made, charms, product, progress).await
    }

    async fn how(&self, what: &str, charms: &[LoadedCharm]) -> Result<Made, Problem> {
        if what.starts_with('/') {
            return self.by_path(what, charms).await;
        }
        if !is_version(what) {
            return Err(wrong(what, "that is no version, and no path that begins with / or ./"));
        }
        let (charm, program) = of_charm(what, charms)?;
        Ok(Made {
            source: format!("recipe:{what}"),
            program,
            args: vec!["recipe".into(), "make".into(), what.into()],
            cache: charm.description.name.clone(),
            start: None,
            file: None,
        })
    }

    fn made_before(&self, source: &str, product: &str) -> Result<Option<Record>, Problem> {
        let fits = |record: &Record| {
            record.source == source && record.facts.get("product").and_then(Value::as_str) == Some(product)
        };
        Ok(self.builds.records().map_err(|e| refused(&e))?.into_iter().find(fits))
    }

    /// A file or folder of the user's.
    async fn by_path(&self, what: &str, charms: &[LoadedCharm]) -> Result<Made, Problem> {
        let (path, version) = split(what);
        if !version.is_empty() && !is_version(version) {
            return Err(wrong(what, &format!("`{version}` is no version")));
        }
        let found = std::fs::metadata(&path)
            .map_err(|e| wrong(what, &format!("cannot read `{}`: {e}", path.display())))?;
        let shown = |digest: &Digest| {
            let at = if version.is_empty() { String::new() } else { format!("@{version}") };
            format!("recipe:{}{at}#{}", path.display(), &digest.hex()[..16])
        };
        if found.is_dir() {
            let builds = Arc::clone(&self.builds);
            let folder = path.clone();
            let taken = tokio::task::spawn_blocking(move || builds.ingest(Source::Folder(&folder), &()))
                .await
                .map_err(|e| Problem::internal("cannot take the recipe's folder in", &e))?
                .map_err(|e| refused(&e))?;
            let tree = self.builds.tree(&taken.digest).map_err(|e| refused(&e))?;
            let (program, mut args, cache) = if is_program(&tree.join(SCRIPT)) {
                (tree.join(SCRIPT), vec!["make".to_owned()], "own".to_owned())
            } else {
                let (charm, program) = of_charm(what, charms).map_err(|problem| {
                    problem.evidence(format!("`{}` has no executable `{SCRIPT}`", path.display()))
                })?;
                (program, vec!["recipe".to_owned(), "make".to_owned()], charm.description.name.clone())
            };
            let own = program.starts_with(&tree);
            args.push(if own { version.to_owned() } else { tree.display().to_string() });
            return Ok(Made {
                source: shown(&taken.digest),
                program,
                args,
                cache,
                start: Some(tree),
                file: None,
            });
        }
        if found.len() > LARGEST {
            return Err(wrong(what, "the file is too large to be a recipe's"));
        }
        let bytes = std::fs::read(&path)
            .map_err(|e| wrong(what, &format!("cannot read `{}`: {e}", path.display())))?;
        let (charm, program) = of_charm(what, charms)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Made {
            source: shown(&Digest::of(&bytes)),
            program,
            args: vec!["recipe".into(), "make".into()],
            cache: charm.description.name.clone(),
            start: None,
            file: Some((name, bytes)),
        })
    }

    async fn run_recipe(
        &self,
        made: Made,
        charms: &[LoadedCharm],
        product: &str,
        progress: &ProgressSink,
    ) -> Result<MadeBuild, Problem> {
        let shown = made.source.strip_prefix("recipe:").unwrap_or(&made.source).to_owned();
        let (cache, work) = self.recipe_folders(&made.cache)?;
        let out = work.join("out");
        let mut args = made.args;
        if let Some((name, bytes)) = &made.file {
            let path = work.join(name);
            stoker_host::fs::atomic_write(&path, bytes, 0o644, None)
                .map_err(|e| wrong(&shown, &format!("cannot write `{}`: {e}", path.display())))?;
            args.push(path.display().to_string());
        }
        args.push(out.display().to_string());
        let cmd = Exec {
            cwd: Some(made.start.unwrap_or_else(|| work.clone())),
            deadline: MAKE,
            ..self.recipe_exec(made.program, args, &cache, &work, product)
        };
        let sink = progress.clone();
        let run = self.run_apart(&cmd, &made.source, &cache, &work, move |line| {
            if let Ok(step) = serde_json::from_str::<Value>(&line) {
                let text = step.get("step").and_then(Value::as_str).unwrap_or("making").to_owned();
                let number = |key: &str| step.get(key).and_then(Value::as_u64);
                let done = number("done").unwrap_or_default();
                let _ = sink.try_send(Progress::Step { step: text, done, total: number("total") });
            }
        });
        // Whoever asked is gone: the recipe is cancelled by dropping its run, which ends all that it started.
        let output = tokio::select! {
            output = run => output,
            () = progress.closed() => Err(wrong(&shown, "cancelled")),
        };
        if self.supervisor.is_beside() {
            // Only behind our back, if it was cancelled: nothing of it may be left where it worked.
            let name = apart_name(&work);
            self.supervisor
                .forget(&name)
                .await
                .map_err(|e| Problem::internal("cannot stop the recipe", &e))?;
        }
        let done =
            match output {
                Ok(output) if output.is_success() => {
                    hit("agent.recipe.made");
                    let layouts = charms.iter().flat_map(layouts).collect();
                    self.workshop().ingest(out, layouts, progress).await
                }
                Ok(output) if output.timed_out => Err(wrong(&shown, "the recipe took longer than an hour")
                    .evidence(tail(&output.stderr, LINES))),
                Ok(output) => Err(wrong(&shown, "the recipe failed").evidence(tail(&output.stderr, LINES))),
                Err(problem) => Err(problem),
            };
        hit("agent.recipe.taken");
        remove(&work);
        self.record(done?, &made.source, charms, product).await
    }

    /// A cache that stays and a work folder that goes, both the recipes' user's.
    fn recipe_folders(&self, cache: &str) -> Result<(PathBuf, PathBuf), Problem> {
        let cache = self.paths.cache.join("recipes").join(cache);
        let work = self.paths.cache.join("making").join(super::random_id(8)?);
        let user = Self::system_user(None);
        let account = user.and_then(|name| stoker_host::users::lookup(&name).ok().flatten());
        for folder in [&cache, &work] {
            stoker_host::fs::make_folder(folder, 0o755, account.as_ref().map(|a| (a.uid, a.gid))).map_err(
                |e| {
                    Problem::new(
                        codes::RECIPE,
                        format!("cannot make `{}` for a recipe: {e}", folder.display()),
                    )
                },
            )?;
        }
        Ok((cache, work))
    }

    /// Runs a recipe: as a unit of its own where the services are, else as a child.
    async fn run_apart(
        &self,
        cmd: &Exec,
        source: &str,
        cache: &Path,
        work: &Path,
        on_line: impl FnMut(String),
    ) -> Result<exec::Output, Problem> {
        let failed = |error: &dyn std::error::Error| Problem::internal("cannot run the recipe", error);
        if !self.supervisor.is_beside() {
            return exec::run_with_progress(cmd, on_line).await.map_err(|e| failed(&e));
        }
        let child = Apart {
            cmd,
            id: &random_part(work),
            title: source,
            write: vec![cache.to_owned(), work.to_owned()],
            scratch: work,
            memory: self.host().memory / 4 * 3,
        };
        apart::run_apart(&self.supervisor, child, &self.apart, on_line).await.map_err(|e| failed(&e))
    }

    fn recipe_exec(
        &self,
        program: PathBuf,
        args: Vec<String>,
        cache: &Path,
        work: &Path,
        product: &str,
    ) -> Exec {
        let settings = self.settings();
        let passes = |name: &str| {
            settings
                .recipes_env
                .iter()
                .any(|p| p.strip_suffix('*').map_or(p == name, |prefix| name.starts_with(prefix)))
        };
        let mut env: BTreeMap<String, String> = std::env::vars().filter(|(name, _)| passes(name)).collect();
        let own = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", cache.display().to_string()),
            ("STOKER_CACHE", cache.display().to_string()),
            ("TMPDIR", work.display().to_string()),
            (crate::hooks::AGENT_MARK, self.paths.root.display().to_string()),
        ];
        env.extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)));
        if product != ANY {
            env.insert("STOKER_PRODUCT".to_owned(), product.to_owned());
        }
        Exec {
            program,
            args,
            env,
            cwd: Some(work.to_owned()),
            user: Self::system_user(None),
            output_cap: 1 << 20,
            kill_leftovers: true,
            shim: Some(self.hooks.shim().to_owned()),
            ..Exec::default()
        }
    }

    /// The resources that charms on this host can make by themselves.
    pub(crate) fn recipes(&self) -> Vec<RecipeDoc> {
        let mut all = Vec::new();
        for (name, folder) in charms::all(&self.charm_path()) {
            let text = std::fs::read_to_string(folder.join("charm.toml")).unwrap_or_default();
            let Ok(charm) = stoker_model::charm::parse(&text) else { continue };
            if charm.programs.recipe.is_none() {
                continue;
            }
            for (resource, about) in charm.resources {
                let default = about.default.filter(|default| default.starts_with("recipe:"));
                if default.is_some() || !about.recipe.is_empty() {
                    all.push(RecipeDoc {
                        charm: name.clone(),
                        resource,
                        product: about.product,
                        takes: about.recipe,
                        default: default.unwrap_or_default(),
                    });
                }
            }
        }
        all
    }

    /// The versions that a charm's recipe can make of a resource (its first that has a recipe by default, when none is
    /// named), newest first.
    pub(crate) async fn recipe_versions(
        &self,
        charm: &str,
        resource: Option<&str>,
    ) -> Result<Vec<String>, Problem> {
        let loaded = self.take_charm(charm).await?;
        let product = match resource {
            None => ANY,
            Some(name) => {
                let Some(resource) = loaded.description.resources.get(name) else {
                    let names: Vec<&str> = loaded.description.resources.keys().map(String::as_str).collect();
                    let title =
                        format!("cannot list versions of `{name}`: charm {charm} has no such resource");
                    return Err(Problem::new(codes::NOT_FOUND, title)
                        .evidence(format!("resources: {}", names.join(", "))));
                };
                resource.product.as_str()
            }
        };
        let failed = |why: &str| {
            Problem::new(
                codes::RECIPE,
                format!("cannot list the versions that charm {charm} can make: {why}"),
            )
        };
        let Some(program) = &loaded.description.programs.recipe else {
            return Err(failed("it has no recipe"));
        };
        let (cache, work) = self.recipe_folders(&loaded.description.name)?;
        let args = vec!["recipe".to_owned(), "versions".to_owned()];
        let cmd = Exec {
            deadline: LIST,
            ..self.recipe_exec(loaded.folder.join(program), args, &cache, &work, product)
        };
        let source = "recipe versions";
        let output = self.run_apart(&cmd, source, &cache, &work, |_| {}).await;
        remove(&work);
        let output = output?;
        if !output.is_success() {
            return Err(failed("its recipe failed").evidence(tail(&output.stderr, LINES)));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| failed(&format!("it said no list of texts: {e}")))
    }
}

/// The one charm whose recipe is meant, and its program.
fn of_charm<'a>(what: &str, charms: &'a [LoadedCharm]) -> Result<(&'a LoadedCharm, PathBuf), Problem> {
    let [charm] = charms else {
        return Err(wrong(what, "name the charm whose recipe it is")
            .fix(format!("stoker builds add recipe:{what} --charm CHARM")));
    };
    match &charm.description.programs.recipe {
        Some(program) => Ok((charm, charm.folder.join(program))),
        None => Err(wrong(what, &format!("charm {} has no recipe", charm.description.name))),
    }
}

/// The last part of a work folder's path, which is of one run alone.
fn random_part(work: &Path) -> String {
    work.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What the run that works in a folder is called.
fn apart_name(work: &Path) -> String {
    format!("{}{}", apart::PREFIX, random_part(work))
}

fn remove(work: &Path) {
    if let Err(error) = stoker_host::fs::remove_tree(work) {
        tracing::warn!(%error, folder = %work.display(), "cannot remove what a recipe left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_paths() {
        for version in ["3.5.9", "17", "4.6-spark4.0", "org.x:y_2.12:1.0,org.x:z:2"] {
            assert!(is_version(version), "{version}");
        }
        for other in ["", "-rf", "a b", "a/b", "1;2", "$(x)"] {
            assert!(!is_version(other), "{other}");
        }
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a@1");
        std::fs::create_dir(&odd).unwrap();
        let text = |path: &Path| path.display().to_string();
        assert_eq!(split(&text(&odd)), (odd.clone(), ""));
        assert_eq!(split(&format!("{}@2", text(&odd))), (odd.clone(), "2"));
        assert_eq!(split("/none@3").1, "3");
    }
}
