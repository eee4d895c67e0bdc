//! Charms: found by name or folder, taken in as builds, their `charm.toml` read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use stoker_host::builds::{Builds, Source};
use stoker_host::fs::failpoint::hit;
use stoker_host::users;
use stoker_model::charm::{self, Charm};
use stoker_model::ids::Digest;
use stoker_model::record::Release;

use super::{Core, find_app};
use crate::problem::{Problem, chain, codes};

/// The system user of charms' own programs, and of services that name none.
pub(crate) const CHARM_USER: &str = "stoker-charm";

/// A charm that was taken in.
#[derive(Debug, Clone)]
pub(crate) struct LoadedCharm {
    /// Its build.
    pub digest: Digest,
    /// Its description.
    pub description: Arc<Charm>,
    /// Its tree.
    pub folder: PathBuf,
}

/// Reads a charm's folder and takes it in.
pub(crate) fn load(builds: &Builds, folder: &Path) -> Result<LoadedCharm, Problem> {
    let shown = folder.display();
    let invalid =
        |why: String| Problem::new(codes::CHARM, format!("cannot use the charm in `{shown}`: {why}"));
    if folder.join("metadata.yaml").exists() || folder.join("charmcraft.yaml").exists() {
        if folder.join("charm.toml").exists() {
            return Err(invalid("it has both charm.toml and metadata.yaml; it is one or the other".into()));
        }
        let title = format!("cannot use the charm in `{shown}`: hook charms are not supported yet");
        return Err(Problem::new(codes::NOT_YET, title));
    }
    let text = std::fs::read_to_string(folder.join("charm.toml")).map_err(|e| {
        let title = format!("cannot use the charm in `{shown}`: cannot read charm.toml");
        Problem::new(
            if e.kind() == std::io::ErrorKind::NotFound { codes::NOT_FOUND } else { codes::CHARM },
            title,
        )
        .evidence(e.to_string())
    })?;
    let description = Arc::new(charm::parse(&text).map_err(|e| invalid(e.to_string()))?);
    for program in description.programs.all() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(folder.join(program)).map(|m| m.permissions().mode());
        match mode {
            Ok(mode) if mode & 0o111 != 0 => {}
            Ok(_) => return Err(invalid(format!("its program `{program}` is not executable"))),
            Err(_) => return Err(invalid(format!("its program `{program}` is missing"))),
        }
    }
    let taken = builds.ingest(Source::Folder(folder), &()).map_err(|e| invalid(chain(&e)))?;
    let folder = builds.tree(&taken.digest).map_err(|e| invalid(chain(&e)))?;
    Ok(LoadedCharm { digest: taken.digest, description, folder })
}

/// Folders that hold charms, in the order of the search.
pub(crate) fn search_path(own: &Path, configured: &[PathBuf]) -> Vec<PathBuf> {
    let mut path = vec![own.to_owned()];
    // Beside the program, as it is staged and installed: PREFIX/bin and PREFIX/share/stoker/charms.
    if let Ok(me) = std::env::current_exe() {
        path.extend(me.parent().and_then(Path::parent).map(|prefix| prefix.join("share/stoker/charms")));
    }
    path.extend(configured.iter().cloned());
    path
}

/// All charms of the search path by name; the first of a name counts.
pub(crate) fn all(path: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for folder in path {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().join("charm.toml").exists()) {
            found.entry(entry.file_name().to_string_lossy().into_owned()).or_insert_with(|| entry.path());
        }
    }
    found
}

/// The folder of a charm given by name or by path.
pub(crate) fn find(path: &[PathBuf], charm: &str) -> Result<PathBuf, Problem> {
    if charm.starts_with('/') {
        return Ok(PathBuf::from(charm));
    }
    if charm.starts_with("./") || charm.starts_with("../") {
        // Whose current folder it is relative to only the asker knows.
        let title = format!("cannot use the charm in `{charm}`: its folder must be absolute");
        return Err(Problem::new(codes::INVALID_VALUE, title).fix("give the whole path"));
    }
    let known = all(path);
    if let Some(folder) = known.get(charm) {
        return Ok(folder.clone());
    }
    let looked: Vec<String> = path.iter().map(|p| p.display().to_string()).collect();
    let fix = "give its folder, starting with ./ or /; `charms.path` in stoker.toml names more folders";
    Err(Problem::new(codes::NOT_FOUND, format!("cannot find charm `{charm}`"))
        .evidence(format!("looked in {}", looked.join(", ")))
        .fix(fix)
        .did_you_mean(charm, known.keys().map(String::as_str)))
}

impl Core {
    pub(super) fn charm_path(&self) -> Vec<PathBuf> {
        search_path(&self.paths.charms, &self.settings().charms_path)
    }

    /// Takes a charm in, by name or by folder.
    pub(crate) async fn take_charm(&self, charm: &str) -> Result<LoadedCharm, Problem> {
        let folder = find(&self.charm_path(), charm)?;
        let builds = Arc::clone(&self.builds);
        let taken = tokio::task::spawn_blocking(move || load(&builds, &folder))
            .await
            .map_err(|e| Problem::internal("cannot take the charm in", &e))?;
        hit("agent.charm.taken");
        taken
    }

    /// The charm of an application's newest release.
    pub(crate) fn charm_of(&self, app: &str, what: &str) -> Result<LoadedCharm, Problem> {
        let snapshot = self.snapshot();
        find_app(&snapshot, app, what)?;
        let missing = || Problem::new(codes::INTERNAL, format!("cannot {what} `{app}`: it has no release"));
        let release = snapshot.newest_release(app).ok_or_else(missing)?;
        let folder =
            self.builds.tree(&release.charm).map_err(|e| Problem::internal("cannot link the charm", &e))?;
        Ok(LoadedCharm {
            digest: release.charm.clone(),
            description: Arc::clone(&release.description),
            folder,
        })
    }

    /// All charms that can be deployed by name.
    pub(crate) fn charms(&self) -> Value {
        let describe = |(name, folder): (String, PathBuf)| {
            let text = std::fs::read_to_string(folder.join("charm.toml")).unwrap_or_default();
            let summary = charm::parse(&text).map_or_else(|e| e.to_string(), |c| c.summary);
            json!({"name": name, "summary": summary, "path": folder})
        };
        all(&self.charm_path()).into_iter().map(describe).collect()
    }

    /// The system user behind a charm's user; `None` = the agent's own, where it cannot switch.
    pub(crate) fn system_user(user: Option<&str>) -> Option<String> {
        if !users::can_switch() {
            return None;
        }
        Some(user.map_or_else(|| CHARM_USER.to_owned(), |name| format!("stoker-{name}")))
    }

    /// System users by a charm's names, as the observation tells them.
    pub(crate) fn users_of(release: Option<&Release>) -> BTreeMap<String, String> {
        let Some(release) = release else { return BTreeMap::new() };
        let own = || {
            nix::unistd::User::from_uid(nix::unistd::geteuid())
                .ok()
                .flatten()
                .map(|u| u.name)
                .unwrap_or_default()
        };
        let system = |name: &String| (name.clone(), Self::system_user(Some(name)).unwrap_or_else(own));
        release.description.users.keys().map(system).collect()
    }
}
