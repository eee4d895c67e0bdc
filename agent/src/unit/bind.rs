//! Binding a plan to this host: ports allotted, folders made, trees linked, secrets found. All of it before anything
//! is stopped, all of it idempotent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stoker_host::builds::{Derive, Take};
use stoker_host::fs::failpoint::hit;
use stoker_host::{ports, users};
use stoker_model::exposure;
use stoker_model::generation::{Numbered, folders as made_under, named};
use stoker_model::ids::{Digest, UnitId};
use stoker_model::local::Folder;
use stoker_model::plan::{Dir, Plan, Port, Tree};
use stoker_model::resolve::{Bindings, resolve};

use super::pass::View;
use super::trouble::Trouble;
use super::worker::Worker;
use crate::core::Core;

/// The marker in a folder of data: a mount that is missing is not an empty folder.
const MARKER: &str = ".stoker-data";

/// Trees as they are bound: digest and path by the plan's names.
type Trees = BTreeMap<String, (Digest, String)>;

/// Where a plan's folder is.
pub(super) fn place(core: &Core, unit: &UnitId, name: &str, dir: &Dir, trees: &Trees) -> PathBuf {
    let folder = core.unit_folder(unit);
    if let Some((tree, _)) = dir.tree.as_ref().and_then(|tree| trees.get(tree)) {
        return core.tree_folder(tree, dir.user.as_deref());
    }
    match (&dir.path, dir.keep) {
        (Some(path), _) => PathBuf::from(path),
        (None, true) => folder.join("data").join(name),
        (None, false) => folder.join("scratch").join(name),
    }
}

/// Where rendered files go.
pub(super) fn files_root(core: &Core, unit: &UnitId) -> PathBuf {
    core.unit_folder(unit).join("files")
}

/// The name that a plan's port is remembered under.
pub(super) fn port_name(name: &str, port: &Port, generation: Option<u64>) -> String {
    generation.filter(|_| port.generation).map_or_else(|| name.to_owned(), |n| named(name, n))
}

/// What a plan's tree is derived by.
pub(super) fn recipe(tree: &Tree) -> Derive {
    let take = tree.take.iter().cloned().map(|t| Take { from: t.from, path: t.path, to: t.to });
    Derive { base: tree.base.clone(), drop: tree.drop.clone(), take: take.collect() }
}

impl Worker {
    /// Binds and renders the newest plan: what the unit will move to.
    pub(super) async fn prepare(&mut self, view: &View) -> Result<(), Trouble> {
        let (Some(plan), Some(answers)) = (self.local.plan.clone(), self.local.answered.clone()) else {
            return Ok(());
        };
        let bindings = self.bind(view, &plan, true).await?;
        hit("agent.prepare.bound");
        let root = files_root(&self.core, &self.id);
        let release = self.local.planned_release;
        let candidate = resolve(&plan, release, &answers, bindings, &root.display().to_string())
            .map_err(|e| Trouble::from_error("ST0333", &e))?;
        // What is equal but for the observation that it answers was prepared already.
        self.render(&candidate)?;
        hit("agent.prepare.rendered");
        let moves = !self.local.applied.as_ref().is_some_and(|applied| candidate.alters_nothing(applied));
        self.local.candidate = Some(candidate);
        if moves {
            self.save()?;
        }
        // What alters nothing is written once, when it is applied.
        hit("agent.prepare.done");
        Ok(())
    }

    /// Binds a plan. With `folders` false nothing is made on disk but trees' links.
    pub(super) async fn bind(
        &mut self,
        view: &View,
        plan: &Plan,
        folders: bool,
    ) -> Result<Bindings, Trouble> {
        let secrets = self.bind_secrets(view, plan).await?;
        let mut trees = BTreeMap::new();
        for (name, tree) in &plan.trees {
            trees.insert(name.clone(), self.bind_tree(name, tree).await?);
        }
        let generation = self.bind_generation(plan)?;
        let n = generation.as_ref().map(|generation| generation.n);
        self.bind_ports(plan, n)?;
        if folders {
            self.bind_folders(view, plan, n, &trees).await?;
        }
        let dirs = plan.dirs.iter().zip(made_under(plan, n)).map(|((name, dir), made)| {
            (name.clone(), place(&self.core, &self.id, &made, dir, &trees).display().to_string())
        });
        let dirs: BTreeMap<String, String> = dirs.collect();
        let port = |(name, port): (&String, &Port)| {
            Some((name.clone(), *self.local.ports.get(&port_name(name, port, n))?))
        };
        Ok(Bindings {
            trees,
            ports: plan.ports.iter().filter_map(port).collect(),
            dirs,
            secrets,
            addresses: exposure::addresses(
                &self.core.host(),
                view.snapshot.apps.get(&self.id.app).map(AsRef::as_ref),
            ),
            files: BTreeMap::new(),
            generation,
        })
    }

    async fn bind_tree(&mut self, name: &str, tree: &Tree) -> Result<(Digest, String), Trouble> {
        let spec = serde_json::to_string(tree).map_err(|e| Trouble::from_error("ST0332", &e))?;
        // One that was linked in an earlier pass may have been collected since.
        if let Some(known) = self.trees.get(&spec)
            && self.core.builds.reuse_tree(&known.0)
        {
            return Ok(known.clone());
        }
        let builds = Arc::clone(&self.core.builds);
        let tree = tree.clone();
        let linked = tokio::task::spawn_blocking(move || -> Result<_, stoker_host::builds::BuildError> {
            if tree.drop.is_empty() && tree.take.is_empty() {
                let path = builds.tree(&tree.base)?;
                return Ok((tree.base, path));
            }
            let derived = builds.derive(&recipe(&tree))?;
            Ok((derived.digest, derived.path))
        })
        .await
        .map_err(|e| Trouble::from_error("ST0334", &e))?;
        let (digest, path) = linked.map_err(|error| {
            let mut trouble = Trouble::from_error("ST0334", &error);
            trouble.status.message = format!("tree {name}: {}", trouble.status.message);
            trouble
        })?;
        hit("agent.prepare.tree-linked");
        let bound = (digest, path.display().to_string());
        self.trees.insert(spec, bound.clone());
        Ok(bound)
    }

    /// The generation that a plan's key stands for on this host; a new one's number is written down before anything
    /// carries it.
    fn bind_generation(&mut self, plan: &Plan) -> Result<Option<Numbered>, Trouble> {
        let Some(generation) = &plan.generation else { return Ok(None) };
        let (n, new) = self.local.number(&generation.key);
        if new {
            self.save()?;
            hit("agent.generation.numbered");
        }
        Ok(Some(Numbered { n, key: generation.key.clone() }))
    }

    fn bind_ports(&mut self, plan: &Plan, generation: Option<u64>) -> Result<(), Trouble> {
        let address = self.core.address_of(&self.id.app);
        let mut changed = false;
        for (name, port) in &plan.ports {
            if let Some(n) = generation.filter(|_| port.generation) {
                self.local.claim_recalled(name, n);
            }
            let name = &port_name(name, port, generation);
            // Remembered, never moved in silence; only a range that must grow is allotted anew.
            if self.local.ports.get(name).is_some_and(|(_, count)| *count >= port.count) {
                continue;
            }
            // Until it is known as ours nobody else of this agent chooses: claims are only seen by other processes.
            let _alone = self.core.choosing_ports();
            let mut taken = self.core.ports_of_others(&self.id);
            for (first, count) in self.local.ports.values() {
                taken.extend(*first..=first.saturating_add(count - 1));
            }
            let choose = |taken: &BTreeSet<u16>| {
                ports::choose(port.prefer, port.count, taken, address).map_err(|error| {
                    let fix = "free a port, or prefer another one";
                    Trouble::blocked("ST0335", format!("port {name}: {error}"), fix)
                })
            };
            let mut first = choose(&taken)?;
            while !self.core.claim_ports(first, port.count) {
                // Another agent has it, though nothing listens there yet.
                taken.insert(first);
                first = choose(&taken)?;
            }
            self.local.ports.insert(name.clone(), (first, port.count));
            hit("agent.prepare.port-chosen");
            self.core.set_ports(&self.id, Some(self.local.ports.clone()));
            changed = true;
        }
        if changed { self.save() } else { Ok(()) }
    }

    async fn bind_folders(
        &mut self,
        view: &View,
        plan: &Plan,
        generation: Option<u64>,
        trees: &Trees,
    ) -> Result<(), Trouble> {
        self.take_back_data(view)?;
        let wrong = |path: &Path, error: &std::io::Error| {
            Trouble::error("ST0336", format!("cannot make the folder `{}`: {error}", path.display()))
        };
        let base = self.core.unit_folder(&self.id);
        for folder in [base.clone(), base.join("data"), base.join("scratch"), base.join("files")] {
            stoker_host::fs::make_folder(&folder, 0o755, None).map_err(|e| wrong(&folder, &e))?;
        }
        for (name, dir) in made_under(plan, generation).zip(plan.dirs.values()) {
            let name = &name;
            let path = place(&self.core, &self.id, name, dir, trees);
            let mode = dir.mode.as_deref().and_then(|m| u32::from_str_radix(m, 8).ok()).unwrap_or(0o750);
            let owner = self.account(dir.user.as_deref()).await?;
            let known =
                self.local.dirs.get(name).filter(|folder| folder.path == path.display().to_string()).cloned();
            if dir.keep {
                check_data(name, &path, known.as_ref())?;
            }
            stoker_host::fs::make_folder(&path, mode, owner).map_err(|e| wrong(&path, &e))?;
            // What goes with a tree is not the unit's to remember or to remove.
            if known.is_none() && dir.tree.is_none() {
                hit("agent.prepare.folder-bare");
                let filesystem = dir.keep.then(|| stoker_host::fs::filesystem_id(&path)).transpose();
                let filesystem = filesystem.map_err(|e| wrong(&path, &e))?;
                if let Some(id) = &filesystem {
                    let marker = serde_json::json!({"format": 1, "unit": self.id.to_string(), "folder": name,
                        "filesystem": id});
                    let text = marker.to_string();
                    stoker_host::fs::atomic_write(&path.join(MARKER), text.as_bytes(), 0o644, None)
                        .map_err(|e| wrong(&path, &e))?;
                }
                hit("agent.prepare.folder-made");
                let folder = Folder { path: path.display().to_string(), keep: dir.keep, filesystem };
                self.local.dirs.insert(name.clone(), folder);
                self.save()?;
            }
        }
        Ok(())
    }

    /// The owner's ids of one of the charm's users; `None` = the agent's own.
    pub(super) async fn account(&self, user: Option<&str>) -> Result<Option<(u32, u32)>, Trouble> {
        let Some(name) = Core::system_user(user) else { return Ok(None) };
        let account = users::ensure_system_user(&name, Path::new("/nonexistent"))
            .await
            .map_err(|e| Trouble::from_error("ST0338", &e))?;
        Ok((!account.own).then_some((account.uid, account.gid)))
    }

    /// The charm's folder on disk.
    pub(super) async fn charm_folder(&self, charm: &Digest) -> Result<PathBuf, Trouble> {
        let builds = Arc::clone(&self.core.builds);
        let digest = charm.clone();
        let linked = tokio::task::spawn_blocking(move || builds.tree(&digest)).await;
        linked.map_err(|e| Trouble::from_error("ST0324", &e))?.map_err(|e| Trouble::from_error("ST0324", &e))
    }
}

/// A folder of data that was made before must still be the one that was made: same filesystem, marker in it.
fn check_data(name: &str, path: &Path, known: Option<&Folder>) -> Result<(), Trouble> {
    let Some(known) = known else { return Ok(()) };
    let blocked = |why: String| {
        let fix = format!("mount what belongs at `{}`, or restore it", path.display());
        Err(Trouble::blocked(
            "ST0337",
            format!("data folder {name} is not the one that was made: {why}"),
            fix,
        ))
    };
    if !path.join(MARKER).exists() {
        return blocked(format!("`{}` has no marker; a missing mount?", path.display()));
    }
    match stoker_host::fs::filesystem_id(path) {
        Ok(id) if known.filesystem.as_ref().is_none_or(|before| *before == id) => Ok(()),
        Ok(_) => blocked("it is on another filesystem".into()),
        Err(error) => blocked(error.to_string()),
    }
}
